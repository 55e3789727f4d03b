"""Where more data would make the slowest process of a Markov model more certain."""

from __future__ import annotations

import numbers
from typing import ClassVar

import numpy as np

from mdinsight.adaptive._frames import Frames
from mdinsight.adaptive._policies import least_visited
from mdinsight.adaptive._policy import Policy, around, place
from mdinsight.errors import DegenerateError, ParameterError
from mdinsight.records import Record


class Uncertainty(Policy):
    """Start where new transitions are expected to reduce most the variance of the slowest eigenvalue of the Markov model
    (Hinrichs and Pande 2007, 10.1063/1.2740261).

    Each row of the transition matrix has a Dirichlet posterior; to first order row i adds ``q_i / (w_i + 1)`` to the variance
    (:func:`eigenvalue_variance`), and m more transitions from state i are expected to take ``q_i / (w_i + 1) -
    q_i / (w_i + m + 1)`` of it. Walkers are given out one at a time, each to the state that gains most given those before it.

    States that hold frames but no counted transition are unknown to the model. Up to half of the walkers (one of one) go to
    them, the least visited first, as :class:`LeastCounts` would.

    When to use it: when the states are found and their kinetics shall be known with few simulations; not for discovery.

    Parameters
    ----------
    samples
        Transitions that a walker is expected to add to its first state; by default what a state has on average.

    Raises
    ------
    ParameterError
        If ``samples`` is not positive.
    """

    needs: ClassVar[tuple[str, ...]] = ("counts",)

    samples: float | None = None

    def __post_init__(self) -> None:
        real = isinstance(self.samples, numbers.Real) and not isinstance(self.samples, bool)
        if self.samples is not None and (not real or not 0 < self.samples < np.inf):
            raise ParameterError(f"samples={self.samples!r} is not a number of transitions; give a positive number")
        super().__post_init__()

    def _choose(self, frames: Frames, n: int, rng: np.random.Generator) -> np.ndarray:
        counts = np.asarray(frames.counts)
        held = frames.visits > 0
        known = counts.sum(axis=1) > 0
        order = least_visited(frames, rng)
        unknown, usable = order[~known[order]], np.flatnonzero(held & known)
        if len(usable) == 0 or np.count_nonzero(known) < 2:  # no model yet
            return place(frames.states, around(order, n), rng)
        targets = unknown[: (n + 1) // 2]
        gained = self._allot(counts, usable, n - len(targets))
        return place(frames.states, np.concatenate([targets, gained]), rng)

    def _allot(self, counts: np.ndarray, usable: np.ndarray, n: int) -> np.ndarray:
        """n states among the usable ones, by the greatest expected gain of each walker in turn."""
        active = np.flatnonzero((counts.sum(axis=0) > 0) | (counts.sum(axis=1) > 0))
        part = counts[np.ix_(active, active)]
        variance = eigenvalue_variance(part)
        position = np.searchsorted(active, usable)
        q, w = variance.sensitivity[position], variance.samples[position].copy()
        step = float(part.sum() / len(active)) if self.samples is None else float(self.samples)
        chosen = np.empty(n, dtype=np.int64)
        for walker in range(n):
            best = int(np.argmax(q / (w + 1.0) - q / (w + 1.0 + step)))
            chosen[walker] = usable[best]
            w[best] += step
        return chosen


class EigenvalueVariance(Record):
    """First-order uncertainty of the slowest eigenvalue of a Markov model.

    Attributes
    ----------
    eigenvalue
        The second largest of the posterior mean of the transition matrix (real part).
    sensitivity
        (n_states,) q: the variance of the eigenvalue's derivative under the row's transition probabilities.
    samples
        (n_states,) w: the sum of the Dirichlet parameters of each row.
    """

    eigenvalue: float
    sensitivity: np.ndarray
    samples: np.ndarray

    @property
    def contributions(self) -> np.ndarray:
        """(n_states,) part of the variance that each row adds; their sum is the variance."""
        return self.sensitivity / (self.samples + 1.0)


def eigenvalue_variance(counts: np.ndarray, prior: float | None = None) -> EigenvalueVariance:
    """How uncertain the slowest eigenvalue is, and because of which states (Hinrichs and Pande 2007, 10.1063/1.2740261).

    Parameters
    ----------
    counts
        (n_states, n_states) transitions counted.
    prior
        Added to each count as the Dirichlet parameter; by default 1/n_states, one transition a state. It also connects what
        no transition was seen to connect.

    Raises
    ------
    DegenerateError
        If there are fewer than two states.
    """
    from scipy.linalg import eig

    n = len(counts)
    if n < 2:
        raise DegenerateError(f"{n} state has no slow process; take more states")
    parameters = counts + (1.0 / n if prior is None else prior)
    samples = parameters.sum(axis=1)
    matrix = parameters / samples[:, None]
    values, left, right = eig(matrix, left=True, right=True)
    slow = np.argsort(-values.real, kind="stable")[1]
    a, b = left[:, slow].conj(), right[:, slow]
    # d lambda / d T_ij = a_i b_j / (a . b); of a row only the differences between its elements matter
    factor = a / (a @ b)
    spread = np.real(factor[:, None] * b[None, :])
    mean = np.einsum("ij,ij->i", matrix, spread)
    sensitivity = np.einsum("ij,ij->i", matrix, (spread - mean[:, None]) ** 2)
    return EigenvalueVariance(float(values[slow].real), sensitivity, samples)
