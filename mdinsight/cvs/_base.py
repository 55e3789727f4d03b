"""What all coordinate estimators share."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mdinsight import seeds
from mdinsight.cvs._decompose import Modes, relative_weights
from mdinsight.cvs._models import CVModel
from mdinsight.cvs._moments import Moments, resampled
from mdinsight.errors import DataWarning, DegenerateError, ParameterError, warn_user
from mdinsight.estimators import Estimator
from mdinsight.series import TimeSeries

MODES_KEPT = 50
_FEWEST_BLOCKS = 4


class CVEstimator(Estimator[CVModel]):
    """Base of the coordinate estimators; ``fit(X)`` takes a TimeSeries, a list of arrays or one array."""

    lag: Any
    """The lag time; an int (frames) or a time such as ``"10 ps"``. PCA has none (None)."""
    dim: Any
    """How many coordinates."""

    def fit(self, X: TimeSeries | np.ndarray | Sequence[np.ndarray], y: None = None) -> Any:
        """Fit the model; returns self."""
        raise NotImplementedError

    def transform(self, X: TimeSeries | np.ndarray | Sequence[np.ndarray]) -> Any:
        """Coordinates of each frame; see :meth:`CVModel.transform`."""
        return self.model.transform(X)

    def fit_transform(self, X: TimeSeries | np.ndarray | Sequence[np.ndarray], y: None = None) -> Any:
        """Fit, then the coordinates of the same data."""
        return self.fit(X).transform(X)

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> np.ndarray:
        """Names of the coordinates; shape (dim,)."""
        return self.model.get_feature_names_out(input_features)


def check_lag(who: str, lag: Any) -> None:
    """Refuse a missing lag time; what it is in frames depends on the data.

    Raises
    ------
    ParameterError
        Naming the estimator.
    """
    if lag is None:
        raise ParameterError(
            f"{who}: lag=None is no lag time; give frames (an int) or a time, such as {who}(lag='10 ps'), or fit PCA, "
            "which needs none"
        )


def check_dim(dim: Any) -> None:
    """Refuse what is neither a number of coordinates, a fraction of the variance, nor None.

    Raises
    ------
    ParameterError
        Naming the value and what is allowed.
    """
    if dim is None:
        return
    whole = isinstance(dim, numbers.Integral) and not isinstance(dim, bool) and int(dim) >= 1
    part = isinstance(dim, numbers.Real) and not isinstance(dim, numbers.Integral) and 0.0 < float(dim) <= 1.0
    if not (whole or part):
        raise ParameterError(
            f"dim={dim!r} is not a dimension; give an int of at least 1, a fraction of the variance such as 0.95, "
            "or None for all"
        )


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Refuse a value that is not one of a few."""
    if value not in allowed:
        raise ParameterError(f"{name}={value!r} is not known; take one of {', '.join(repr(a) for a in allowed)}")


def check_count(name: str, value: Any, least: int) -> int:
    """An int of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < least:
        raise ParameterError(f"{name}={value!r} must be an int of at least {least}")
    return int(value)


def check_positive(name: str, value: Any) -> float:
    """A finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0.0 < float(value) < np.inf:
        raise ParameterError(f"{name}={value!r} must be a positive number")
    return float(value)


def resolve_dim(dim: Any, variances: np.ndarray, warn: bool = True) -> int:
    """Number of coordinates to keep, given the variance in each mode."""
    rank = len(variances)
    if dim is None:
        return rank
    if isinstance(dim, numbers.Integral):
        if int(dim) > rank and warn:
            warn_user(
                f"dim={dim} coordinates were asked for, but the columns hold only {rank} independent modes; "
                f"keeping {rank}",
                DataWarning,
            )
        return min(int(dim), rank)
    cumulative = np.cumsum(variances) / variances.sum()
    return min(int(np.searchsorted(cumulative, float(dim) * (1 - 1e-12))) + 1, rank)


def varying_columns(moments: Moments, names: Sequence[str], warn: bool = True) -> np.ndarray:
    """Numbers of the columns that vary; the others are named in one warning.

    Raises
    ------
    DegenerateError
        If none varies.
    """
    varies = moments.varying()
    constant = [repr(name) for name, v in zip(names, varies, strict=True) if not v]
    if not varies.any():
        raise DegenerateError(
            f"all {len(names)} columns are constant ({', '.join(constant[:4])}{', ...' if len(constant) > 4 else ''}), "
            "so there is no coordinate to find; choose other features, or atoms that move"
        )
    if constant and warn:
        warn_user(
            f"{len(constant)} of {len(names)} columns never change and are left out of the coordinate: "
            f"{', '.join(constant[:4])}{f' and {len(constant) - 4} more' if len(constant) > 4 else ''}",
            DataWarning,
        )
    return np.flatnonzero(varies)


def bootstrap(
    parts: Sequence[Moments], modes: Modes, solve: Callable[[Moments], Modes], n_bootstrap: int, seed: int
) -> np.ndarray:
    """Eigenvalues (n_bootstrap, k) of data whose blocks are drawn again with replacement.

    Each resampling is solved within the span of the leading modes, so it costs no pass over the data and little time.
    """
    k = min(MODES_KEPT, len(modes.values))
    if n_bootstrap == 0 or len(parts) < _FEWEST_BLOCKS:
        return np.zeros((0, k))
    small = [part.projected(modes.left[:, :k], modes.right[:, :k]) for part in parts]
    generator = seeds.generator(seed, "bootstrap")
    samples = np.full((n_bootstrap, k), np.nan)
    counts = generator.multinomial(len(small), np.full(len(small), 1.0 / len(small)), size=n_bootstrap)
    for row, moments in zip(samples, resampled(small, counts), strict=True):
        found = solve(moments).values[:k]
        row[: len(found)] = found
    return samples


def meaning(moments: Moments, matrix: np.ndarray, keep: np.ndarray, n_columns: int) -> dict[str, np.ndarray]:
    """Deviations, correlations and shares of linear coordinates, for all columns; zero for those left out."""
    deviation = np.sqrt(np.diag(moments.c00))
    together = moments.c00 @ matrix
    spread = np.sqrt(np.maximum(np.einsum("ij,ij->j", matrix, together), np.finfo(float).tiny))
    correlations = together / np.outer(deviation, spread)
    shares = relative_weights(moments.spectrum, correlations)
    return {
        "deviations": spread_out(deviation, keep, n_columns),
        "correlations": spread_out(np.clip(correlations, -1.0, 1.0), keep, n_columns),
        "shares": spread_out(shares, keep, n_columns),
    }


def spread_out(rows: np.ndarray, keep: np.ndarray, n_columns: int) -> np.ndarray:
    """Rows of some columns put back among all columns, zeros elsewhere."""
    full = np.zeros((n_columns, *rows.shape[1:]))
    full[keep] = rows
    return full
