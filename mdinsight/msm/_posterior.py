"""Samples of transition matrices that the data allow, windows that overlap in time not taken as independent.

The posterior of a transition matrix, given independent counts, is a Dirichlet distribution of each row. It can be
drawn by giving each count an exponential weight (the Bayesian bootstrap, Rubin, 10.1214/aos/1176345338). Sliding
windows are not independent: one crossing lies in as many windows as the lag has frames. So the weights are drawn for
blocks of time several lags long instead, and all windows of a block share one: at a lag of one frame and blocks of
one frame this is the Dirichlet posterior; in general, k crossings give an uncertainty of 1 / sqrt(k), which is what
they are worth. (Statistical inefficiencies computed state by state, the usual "effective counts", see only correlation
among the visits to one state; with many states they take overlapping windows as independent, and the 95 % interval
held the exact timescale in 3 to 5 of 10 repeats of the double well of ``tests/msm/test_posterior.py``.)

Where few blocks hold the windows of a state, they vary too little among themselves: of a state visited once, within
one block, all windows share a weight, which cancels in its row. What is missing, a part 1 / n of the row's own
variance for n blocks, is added as Dirichlet noise of its independent windows, one a lag.
"""

from __future__ import annotations

import numpy as np
from deeptime.markov.tools.analysis import stationary_distribution
from deeptime.markov.tools.estimation import transition_matrix

from mdinsight import seeds
from mdinsight.states import Discrete

LENGTH = 5
"""Length of a block in lags. In shorter ones the windows of one event often lie in two, which count as two events."""

FLOOR = 1e-4
"""Least factor that the noise puts on a count, so that no sample falls apart."""


def sample_posterior(
    used: Discrete,
    active: np.ndarray,
    lag: int,
    reversible: bool,
    n_samples: int,
    seed: int,
    *keys: seeds.Key,
    length: int | None = None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Transition matrices (n_samples, n, n), their stationary distributions (n_samples, n), and the number of blocks.

    Parameters
    ----------
    used
        The trajectories, each longer than the lag.
    active
        The connected states, ascending.
    lag
        In frames.
    reversible
        Estimate each sample under detailed balance.
    n_samples, seed, keys
        How many, and the branch of the seed that decides them.
    length
        Frames in a block; None takes five lags.
    """
    flat, block, borders = _windows(used, active, lag, LENGTH * lag if length is None else length)
    n, blocks = len(active), int(block.max()) + 1
    # the weights of an event whose windows lie on both sides of a border vary less: (L^2 - 1) / 3L windows' worth
    shape = 1.0 - min(0.5, borders * (lag - 1 / lag) / 3 / len(flat))
    seen, noise = _row_noise(flat, block, n, lag)
    rng = seeds.generator(seed, "msm.posterior", lag, *keys)
    matrices, stationary = np.empty((n_samples, n, n)), np.empty((n_samples, n))
    for i in range(n_samples):
        weights = rng.standard_gamma(shape, size=blocks)
        counts = np.bincount(flat, weights=weights[block], minlength=n * n)
        counts[seen] *= np.maximum(rng.standard_gamma(noise) / noise, FLOOR)
        counts = counts.reshape(n, n)
        if reversible:
            matrices[i], stationary[i] = reversible_estimate(counts)
        else:
            matrices[i] = counts / counts.sum(axis=1, keepdims=True)
            stationary[i] = stationary_distribution(matrices[i])
    return matrices, stationary, blocks


def reversible_estimate(counts: np.ndarray, tolerance: float = 1e-10) -> tuple[np.ndarray, np.ndarray]:
    """Reversible maximum-likelihood transition matrix (n, n) and its stationary distribution (n,) of connected counts.

    With x_ij = pi_i P_ij and c_i the row sums, the estimate obeys x_ij = (c_ij + c_ji) / (l_i + l_j), l_i = c_i / x_i
    (10.1063/1.3565032, eq. 62). In v = ln l this is the minimum of a convex function, where Newton's method takes a
    handful of steps; the usual fixed-point iteration takes thousands for metastable counts, which is too slow for a
    hundred samples.
    """
    both, rows = counts + counts.T, counts.sum(axis=1)
    v = np.zeros(len(counts))
    for _ in range(100):
        multiplier = np.exp(v)
        x = both / (multiplier[:, None] + multiplier)
        gradient = multiplier * x.sum(axis=1) - rows
        if np.abs(gradient).max() <= tolerance * rows.sum():
            break
        curvature = -x * (multiplier[:, None] * multiplier) / (multiplier[:, None] + multiplier)
        curvature[np.diag_indices_from(curvature)] -= curvature.sum(axis=1) - 1e-12 * rows
        # v is fixed up to a constant: the first element stays
        step = np.concatenate([[0.0], np.linalg.solve(curvature[1:, 1:], -gradient[1:])])
        v += step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
    else:
        matrix, stationary = transition_matrix(counts, reversible=True, return_statdist=True, warn_not_converged=False)
        return np.asarray(matrix), np.asarray(stationary)
    total = x.sum(axis=1)
    return x / total[:, None], total / total.sum()


def _row_noise(flat: np.ndarray, block: np.ndarray, n: int, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of states that were seen, and the shape of the gamma noise on the count of each.

    With shapes (independent counts of the pair) x (blocks that hold the row), its variance is the Dirichlet one for a
    row within one block and vanishes for a row in many, or where each window is a block.
    """
    counts = np.bincount(flat, minlength=n * n).astype(np.float64)
    rows = counts.reshape(n, n).sum(axis=1)
    n_blocks = int(block.max()) + 1
    held, windows = np.unique(flat // n * n_blocks + block, return_counts=True)
    effective = rows**2 / np.bincount(held // n_blocks, weights=windows.astype(np.float64) ** 2, minlength=n)
    missing = np.maximum(1 / effective - 1 / rows, 1e-9)  # none if each window is a block
    independent = np.maximum(rows / lag, 1.0)
    seen = np.flatnonzero(counts)
    return seen, counts[seen] * (independent / rows / missing)[seen // n]


def _windows(used: Discrete, active: np.ndarray, lag: int, length: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The pair of states (as one number) and the block of every window between active states, and the number of
    borders between blocks within trajectories."""
    position = np.full(used.n_states, -1, dtype=np.int64)
    position[active] = np.arange(len(active))
    first = 0
    flat, block = [], []
    for array in used.arrays:
        states = position[array]
        source, target = states[:-lag], states[lag:]
        # equal pieces, so that no short end of a trajectory is a block of its own
        pieces = max(1, round(len(source) / length))
        number = first + np.arange(len(source)) * pieces // len(source)
        inside = (source >= 0) & (target >= 0)
        flat.append(source[inside] * len(active) + target[inside])
        block.append(number[inside])
        first += pieces
    labels = np.unique(np.concatenate(block), return_inverse=True)[1]
    return np.concatenate(flat), labels, first - len(used)
