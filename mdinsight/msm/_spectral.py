"""Transition matrices, their eigenvalues and timescales."""

from __future__ import annotations

import warnings

import numpy as np
from deeptime.markov.msm import MaximumLikelihoodMSM as DeeptimeMSM

from mdinsight.errors import StatisticsWarning, warn_user
from mdinsight.results import Estimate


def maximum_likelihood(counts: np.ndarray, reversible: bool) -> tuple[np.ndarray, np.ndarray]:
    """Transition matrix (n, n) and stationary distribution (n,) of connected counts (deeptime, 10.1063/1.3565032)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = DeeptimeMSM(reversible=reversible).fit(counts).fetch_model()
    if any("converge" in str(item.message) for item in caught):
        warn_user(
            "the reversible maximum-likelihood estimate has not converged; some states hold very few counts, "
            "take fewer states or a longer trajectory",
            StatisticsWarning,
        )
    return np.asarray(model.transition_matrix), np.asarray(model.stationary_distribution)


def eigenvalues(matrices: np.ndarray, stationary: np.ndarray, reversible: bool) -> np.ndarray:
    """All eigenvalues by falling modulus, (..., n), of one matrix or of a stack of them."""
    if matrices.ndim == 3:
        rows = [eigenvalues(matrix, pi, reversible) for matrix, pi in zip(matrices, stationary, strict=True)]
        return np.array(rows).reshape(matrices.shape[:-1])
    if reversible:
        root = np.sqrt(stationary)
        symmetric = root[:, None] * matrices / root
        values = np.linalg.eigvalsh(0.5 * (symmetric + symmetric.T))
    else:
        values = np.linalg.eigvals(matrices)
    return values[np.argsort(-np.abs(values), kind="stable")]


def timescales(values: np.ndarray, lag: float, k: int) -> np.ndarray:
    """Implied timescales -lag / ln |lambda| of the ``k`` slowest processes, (..., k), in the unit of ``lag``."""
    modulus = np.clip(np.abs(values[..., 1 : k + 1]), 1e-300, 1.0 - 1e-13)  # what is beyond is rounding
    return -lag / np.log(modulus)


def with_samples(value: np.ndarray, samples: np.ndarray, unit: str = "") -> Estimate:
    """Timescales with the interval of their samples, widened where needed to hold the value.

    Sampled counts are noisier than the data's, which slows processes that are not resolved: their samples may all lie
    above.
    """
    figure = Estimate.from_samples(value, samples, unit)
    return figure.replace(low=np.minimum(figure.low, figure.value), high=np.maximum(figure.high, figure.value))
