"""Frozen coordinates: what every fitted coordinate can do, and the linear ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from mdinsight import units
from mdinsight.cvs._columns import check_columns
from mdinsight.cvs._explain import Explanation, explain
from mdinsight.cvs._verdicts import verdicts_of
from mdinsight.errors import ParameterError
from mdinsight.passes import Collected, until_whole
from mdinsight.records import Model
from mdinsight.results import Estimate, Verdict
from mdinsight.series import Column, Rows, TimeSeries, as_rows

if TYPE_CHECKING:
    from mdinsight.cvs._base import CVEstimator
    from mdinsight.cvs._scoring import Score

_PREFIX = {"PCA": "PC", "TICA": "TIC", "VAMP": "VAMP", "VAMPNet coordinates": "SRV", "VAMPNet states": "soft state"}
_GIVEN = ("network", "linear")
_CHUNK_VALUES = 4_000_000


class CVModel(Model):
    """A fitted coordinate: immutable, hashed, saved without pickle. Base of :class:`LinearCV` and :class:`NetworkCV`.

    Attributes
    ----------
    kind
        ``"PCA"``, ``"TICA"``, ``"VAMP"``, ``"VAMPNet coordinates"`` or ``"VAMPNet states"``; ``"network"`` or ``"linear"``
        for one that was not fitted here but given (:func:`mdinsight.cvs.from_layers`, :func:`mdinsight.cvs.from_linear`).
    columns
        The input columns that it was fitted on.
    features
        The frozen definition of those columns, None where the data were plain arrays.
    lag, dt
        Lag in frames (0 for PCA and given ones); time between frames in ps, None where not known.
    settings
        The estimator's parameters; of a given one its names and where it came from.
    eigenvalues
        (rank,) eigenvalues (TICA, VAMPNet coordinates), singular values (VAMP, VAMPNet states) or variances (PCA).
    samples
        (n_bootstrap, k) the leading eigenvalues of resampled data.
    block_frames
        Typical length in frames of one uninterrupted piece of the data (a trajectory, or a block of one): half of the
        frames lie in pieces at least as long.
    n_blocks
        How many units (trajectories, groups of them, or blocks) were resampled.
    n_frames
        Number of frames that it was fitted on; of a given one, that its shares were taken from, 0 for none.
    deviations
        (n_features,) standard deviation of each input column.
    correlations
        (n_features, dim) correlation of each input column with each coordinate.
    shares
        (n_features, dim) how much each column makes of each coordinate; not negative, each coordinate's sum to one.
    """

    kind: str
    columns: tuple[Column, ...]
    features: Model | None
    lag: int
    dt: float | None
    settings: dict[str, Any]
    eigenvalues: np.ndarray
    samples: np.ndarray
    block_frames: float
    n_blocks: int
    n_frames: int
    deviations: np.ndarray
    correlations: np.ndarray
    shares: np.ndarray

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return int(self.shares.shape[1])

    @property
    def n_features(self) -> int:
        """Number of input columns."""
        return len(self.columns)

    @property
    def given(self) -> bool:
        """Whether it was not fitted here but given as numbers, so that it has no lag and no eigenvalues."""
        return self.kind in _GIVEN

    @property
    def reversible(self) -> bool:
        """Whether it is fitted and scored on the pairs taken forward and backward in time (all but VAMP and soft states)."""
        return self.kind in ("PCA", "TICA", "VAMPNet coordinates")

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> np.ndarray:
        """Names of the coordinates, such as ``"TIC 1"``; shape (dim,)."""
        if self.given:
            return np.array(self.settings["names"], dtype=object)
        return np.array([f"{_PREFIX[self.kind]} {i + 1}" for i in range(self.dim)], dtype=object)

    def values(self, x: np.ndarray) -> np.ndarray:
        """Coordinates (n_frames, dim) of rows (n_frames, n_features), float64, no checks."""
        raise NotImplementedError

    def values_lagged(self, y: np.ndarray) -> np.ndarray:
        """The functions that the coordinates are paired with at t + lag (VAMP's right singular functions)."""
        return self.values(y)

    def value_and_vjp(self, x: np.ndarray, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value of the coordinates at one frame, and a gradient of a function of them.

        Parameters
        ----------
        x
            (n_features,) one row of the input.
        cotangent
            (dim,) derivative of a scalar V with respect to the coordinates.

        Returns
        -------
        value
            (dim,) float64.
        gradient
            (n_features,) float64: dV/dx.
        """
        raise NotImplementedError

    @until_whole
    def transform(self, X: Rows | np.ndarray | Sequence[np.ndarray]) -> Any:
        """Coordinates of each frame.

        Parameters
        ----------
        X
            A TimeSeries, a stream (in one pass over its files) or a list of arrays gives a :class:`TimeSeries` whose columns
            are named (``"TIC 1"``) and whose ``definition`` is this model; one array (n_frames, n_features) one array.

        Raises
        ------
        SelectionError
            If the columns are not those that the model was fitted on; the message names which.
        """
        series = as_rows(X)
        self.check_columns(series)
        rows = Collected(series.lengths, self.dim, np.float64, work=partial(_projected, self))
        series.sweep([rows])
        arrays = list(rows.arrays.values())
        if isinstance(X, np.ndarray):
            return arrays[0]
        columns = [Column(str(name), kind="cv") for name in self.get_feature_names_out()]
        return TimeSeries(arrays, series.dt, columns, series.origins, self)

    def check_columns(self, series: Rows) -> None:
        """Refuse a series whose columns are not those of the model.

        Plain arrays have no names, so of those only the number of columns is checked. Columns of another topology
        match by their key.
        """
        check_columns(series.columns, self.columns, self.kind)

    @property
    def kinetic_variance(self) -> np.ndarray:
        """(rank,) squared eigenvalues: what each mode adds to the kinetic variance (doi 10.1021/acs.jctc.5b00553).

        Raises
        ------
        ParameterError
            For PCA, which has no lag (see :attr:`LinearCV.explained_variance_ratio`), and for a given coordinate.
        """
        self._refuse_given("kinetic variance")
        if self.lag == 0:
            raise ParameterError(
                "PCA has no lag time and so no kinetic variance; use explained_variance_ratio, or fit TICA"
            )
        return np.asarray(self.eigenvalues**2)

    @property
    def cumulative_kinetic_variance(self) -> np.ndarray:
        """(rank,) fraction of the kinetic variance in the modes up to each one."""
        total = np.cumsum(self.kinetic_variance)
        return np.asarray(total / total[-1])

    def timescales(self, k: int | None = None) -> Estimate:
        """Relaxation time -lag / ln(eigenvalue) of the first ``k`` coordinates (by default all that the model keeps).

        In ps where the time step is known, else in frames. An eigenvalue that is not positive has no timescale (NaN). Of
        VAMP's singular values these are timescales only so far as the data are in equilibrium; of a network the interval
        holds the network fixed.

        The 95 % interval is Student's, of the logarithm, with the spread among resampled trajectories (or blocks). On
        Gaussian processes of known timescales (200 and 50 frames; 20000 to 80000 frames in 1 to 40 trajectories) it holds
        the true one in 91 to 95 % of the cases.

        Raises
        ------
        ParameterError
            For PCA, which has no lag, and for a given coordinate.
        """
        self._refuse_given("timescales")
        if self.lag == 0:
            raise ParameterError("PCA has no lag time and so no timescales; fit TICA on the same data")
        k = min(self.dim if k is None else k, len(self.eigenvalues))
        step, unit = (1.0, "frames") if self.dt is None else (self.dt, "ps")
        values = implied(self.eigenvalues[:k], self.lag * step)
        samples = np.full((len(self.samples), k), np.nan)
        width = min(k, self.samples.shape[1]) if len(self.samples) else 0
        samples[:, :width] = implied(self.samples[:, :width], self.lag * step)
        low, high = _interval(values, samples, self.n_blocks)
        return Estimate(values, low, high, unit)

    def explain(self, top: int = 5) -> Explanation:
        """Which features, and so which residues, make up each coordinate; print it, or read its ``table``.

        Raises
        ------
        ParameterError
            For a coordinate that was given without data (``X=``).
        """
        if self.given and self.n_frames == 0:
            raise ParameterError(
                f"this {self.kind} coordinate was given without data, so the features' shares are not known; "
                "give X=, the features of some trajectories, where it is made"
            )
        return explain(self, top)

    def estimator(self) -> CVEstimator:
        """A new, unfitted estimator with the settings that this model was fitted with.

        Raises
        ------
        ParameterError
            For a given coordinate, which no estimator made.
        """
        self._refuse_given("estimator, and so no cross-validated score")
        from mdinsight import cvs

        return getattr(cvs, self.kind.split()[0])(**self.settings)

    def score_cv(
        self, X: Rows | np.ndarray | Sequence[np.ndarray], folds: int = 5, lag: Any = None, seed: int = 0
    ) -> Score:
        """Cross-validated VAMP-2 score of the estimator that made this model; see :func:`mdinsight.cvs.score_cv`.

        Raises
        ------
        SelectionError
            If the columns are not those that the model was fitted on; the message names which.
        """
        from mdinsight.cvs._scoring import score_cv

        estimator, series = self.estimator(), as_rows(X)
        self.check_columns(series)
        return score_cv(estimator, series, folds=folds, lag=lag, seed=seed)

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether there are enough data for the columns, whether they are long enough, and whether the lag resolves what is slow.

        Of fewer than ten pairs of frames a column nothing else is said, nor of an interval where there is none (``samples``).
        """
        return verdicts_of(self) if self.lag else ()

    def _refuse_given(self, what: str) -> None:
        if self.given:
            raise ParameterError(
                f"this {self.kind} coordinate was given, not fitted, so it has no {what}; "
                "fit cvs.TICA(lag) on model.transform(X) to see how slow it is"
            )

    def summary(self) -> str:
        """A few lines: what it is, its timescales, whether they hold."""
        plural = "" if self.dim == 1 else "s"
        origin = f"given ({self.settings['source']})" if self.given else f"{self.n_frames} frames"
        lines = [f"{self.kind}: {self.n_features} columns -> {self.dim} coordinate{plural}, {origin}"]
        if self.lag:
            lines[0] += f", lag {units.format_lag(self.lag, self.dt)}"
            lines.append(f"timescales: {self.timescales()}")
        return "\n".join(lines + [str(verdict) for verdict in self.verdicts()])

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary().splitlines()[0]}, {self.hash[:12]}>"


def _projected(model: CVModel, rows: np.ndarray) -> np.ndarray:
    step = max(256, _CHUNK_VALUES // rows.shape[1])
    return np.concatenate([model.values(rows[a : a + step].astype(float)) for a in range(0, len(rows), step)])


class LinearCV(CVModel):
    """Linear coordinates ``(x - mean) @ matrix``; what PCA, TICA and VAMP fit.

    ``mean`` has shape (n_features,), ``matrix`` (n_features, dim). ``mean_lagged`` and ``matrix_lagged`` are the right
    singular functions of VAMP, None where they are the same.
    """

    mean: np.ndarray
    matrix: np.ndarray
    mean_lagged: np.ndarray | None = None
    matrix_lagged: np.ndarray | None = None

    def values(self, x: np.ndarray) -> np.ndarray:
        """Coordinates (n_frames, dim) of rows (n_frames, n_features)."""
        return np.asarray((x - self.mean) @ self.matrix)

    def values_lagged(self, y: np.ndarray) -> np.ndarray:
        """VAMP's right singular functions of rows (n_frames, n_features)."""
        if self.matrix_lagged is None:
            return self.values(y)
        return np.asarray((y - self.mean_lagged) @ self.matrix_lagged)

    def value_and_vjp(self, x: np.ndarray, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value (dim,) at one frame and the gradient (n_features,); see :meth:`CVModel.value_and_vjp`."""
        return (np.asarray(x, np.float64) - self.mean) @ self.matrix, self.matrix @ np.asarray(cotangent, np.float64)

    @property
    def explained_variance_ratio(self) -> np.ndarray:
        """(rank,) fraction of the variance in each mode (PCA).

        Raises
        ------
        ParameterError
            For TICA and VAMP (see :attr:`CVModel.kinetic_variance`) and for a given coordinate.
        """
        self._refuse_given("variance")
        if self.kind != "PCA":
            raise ParameterError(
                f"{self.kind} has a kinetic variance, not an explained one; use cumulative_kinetic_variance"
            )
        return np.asarray(self.eigenvalues / self.eigenvalues.sum())


def implied(eigenvalues: np.ndarray, lag: float) -> np.ndarray:
    """-lag / ln(eigenvalue); NaN where the eigenvalue is not positive, infinite where it is one."""
    times = np.full(np.shape(eigenvalues), np.nan)
    positive = eigenvalues > 0.0
    with np.errstate(divide="ignore"):
        times[positive] = -lag / np.minimum(np.log(eigenvalues[positive]), -0.0)
    return np.abs(times)


def _interval(values: np.ndarray, samples: np.ndarray, n_blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of timescales out of resampled ones (n, k); NaN where there is none.

    Quantiles of the resampled ones are too narrow with few blocks: they hold the truth in 85 % of the cases with 16.
    """
    usable = np.isfinite(samples) & (samples > 0)
    logs = np.log(np.where(usable, samples, 1.0))
    count = usable.sum(axis=0)
    known = np.isfinite(values) & (count > 1) & (n_blocks > 1)
    count = np.maximum(count, 2)
    mean = np.where(usable, logs, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(usable, (logs - mean) ** 2, 0.0).sum(axis=0) / (count - 1))
    n = max(n_blocks, 2)  # a resampling spreads less than the estimate does, by the root of (n - 1) / n
    half = float(stdtrit(n - 1, 0.975)) * np.sqrt(n / (n - 1)) * spread
    with np.errstate(over="ignore"):
        return np.where(known, values * np.exp(-half), np.nan), np.where(known, values * np.exp(half), np.nan)
