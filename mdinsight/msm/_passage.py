"""First passage times and committors of a transition matrix, or of a stack of them (the posterior samples)."""

from __future__ import annotations

import numpy as np


def hitting_times(matrices: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean number of steps from each state until ``target`` is met, (..., n); zero inside it.

    Notes
    -----
    h = 0 on the target, h = 1 + P h elsewhere (10.1137/070699500).
    """
    if matrices.ndim == 3:  # one by one: a stack of systems of equations would need as much memory again
        return _stacked([hitting_times(matrix, target) for matrix in matrices], matrices)
    others = np.setdiff1d(np.arange(len(matrices)), target)
    times = np.zeros(len(matrices))
    times[others] = np.linalg.solve(np.eye(len(others)) - matrices[np.ix_(others, others)], np.ones(len(others)))
    return times


def first_passage(matrices: np.ndarray, stationary: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean steps from ``source``, entered with its stationary weights, to ``target``: (...)."""
    return weighted(hitting_times(matrices, target), stationary, source)


def weighted(times: np.ndarray, stationary: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The mean of a property of states over ``source`` with the stationary weights."""
    weights = stationary[..., source]
    return (times[..., source] * weights).sum(axis=-1) / weights.sum(axis=-1)


def committor(matrices: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Probability to meet ``target`` before ``source`` from each state, (..., n)."""
    if matrices.ndim == 3:
        return _stacked([committor(matrix, source, target) for matrix in matrices], matrices)
    others = np.setdiff1d(np.arange(len(matrices)), np.concatenate([source, target]))
    q = np.zeros(len(matrices))
    q[target] = 1.0
    if len(others):
        inner = np.eye(len(others)) - matrices[np.ix_(others, others)]
        q[others] = np.linalg.solve(inner, matrices[np.ix_(others, target)].sum(axis=1))
    return q


def time_reversed(matrices: np.ndarray, stationary: np.ndarray) -> np.ndarray:
    """The transition matrix of the reversed process, pi_j P_ji / pi_i; a reversible matrix is its own."""
    return np.swapaxes(matrices, -1, -2) * stationary[..., None, :] / stationary[..., :, None]


def _stacked(rows: list[np.ndarray], matrices: np.ndarray) -> np.ndarray:
    return np.array(rows).reshape(matrices.shape[:-1])
