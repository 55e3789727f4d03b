"""Posterior samples of a hidden Markov model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from deeptime.markov.tools.analysis import stationary_distribution

from mdinsight import seeds
from mdinsight.compiled import compiled
from mdinsight.msm._posterior import reversible_estimate

BURN_IN = 10


def sample_hidden(
    arrays: Sequence[np.ndarray],
    lag: int,
    matrix: np.ndarray,
    initial: np.ndarray,
    output: np.ndarray,
    reversible: bool,
    n_samples: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Transition matrices (n_samples, n, n) and stationary distributions (n_samples, n) by Gibbs sampling.

    In turn: the hidden paths given the model (forward filtering, backward sampling), and the model given the paths.
    The frames one lag apart make up a path; the ``lag`` interleaved paths of a trajectory count as one, since they
    overlap in time. The estimate itself is added as a prior of one count a row. deeptime's sampler does the same, but
    cannot be seeded.

    Notes
    -----
    Chodera et al., arXiv:1108.1430; Noe et al., 10.1063/1.4828816.
    """
    n, symbols = output.shape
    pieces = [piece for array in arrays for offset in range(lag) if len(piece := array[offset::lag]) > 1]
    rng = seeds.generator(seed, "msm.hidden", lag)
    samples, distributions = np.empty((n_samples, n, n)), np.empty((n_samples, n))
    current, start, shown = matrix, initial, output
    for draw in range(-BURN_IN if n_samples else 0, n_samples):
        counts, visits, first = np.zeros((n, n)), np.zeros((n, symbols)), np.zeros(n)
        for piece in pieces:
            _accumulate(piece, current, shown, start, rng.random(len(piece)), counts, visits, first)
        current, weights = _draw_matrix(rng, counts / lag + matrix, reversible)
        shown = _draw_rows(rng, visits / lag + output)
        start = _draw_rows(rng, (first / lag + initial)[None])[0]
        if draw >= 0:
            samples[draw], distributions[draw] = current, weights
    return samples, distributions


def _draw_matrix(rng: np.random.Generator, counts: np.ndarray, reversible: bool) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.where(counts > 0, rng.standard_gamma(np.maximum(counts, 1e-300)), 0.0)
    if reversible:
        return reversible_estimate(np.maximum(drawn, np.where(counts > 0, 1e-12, 0.0)))
    matrix = drawn / drawn.sum(axis=1, keepdims=True)
    return matrix, stationary_distribution(matrix)


def _draw_rows(rng: np.random.Generator, counts: np.ndarray) -> np.ndarray:
    drawn = rng.standard_gamma(np.maximum(counts, 1e-12)) + 1e-300
    return drawn / drawn.sum(axis=1, keepdims=True)


@compiled
def _accumulate(
    observed: np.ndarray,
    matrix: np.ndarray,
    output: np.ndarray,
    initial: np.ndarray,
    uniform: np.ndarray,
    counts: np.ndarray,
    visits: np.ndarray,
    first: np.ndarray,
) -> None:
    """Draw one hidden path and add its transitions, outputs and first state."""
    length, n = len(observed), len(matrix)
    forward = np.empty((length, n))
    for t in range(length):
        total = 0.0
        for j in range(n):
            reach = initial[j]
            if t > 0:
                reach = 0.0
                for i in range(n):
                    reach += forward[t - 1, i] * matrix[i, j]
            forward[t, j] = reach * output[j, observed[t]]
            total += forward[t, j]
        for j in range(n):
            forward[t, j] = forward[t, j] / total if total > 0 else 1.0 / n
    weights, later = np.empty(n), -1
    for t in range(length - 1, -1, -1):
        total = 0.0
        for i in range(n):
            weights[i] = forward[t, i] * (matrix[i, later] if later >= 0 else 1.0)
            total += weights[i]
        threshold, state = uniform[t] * total, n - 1
        for i in range(n):
            threshold -= weights[i]
            if threshold < 0:
                state = i
                break
        if later >= 0:
            counts[state, later] += 1
        visits[state, observed[t]] += 1
        later = state
    first[later] += 1
