"""PCA, TICA and VAMP: linear coordinates out of streamed covariances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from mdinsight.cvs._base import (
    MODES_KEPT,
    CVEstimator,
    bootstrap,
    check_choice,
    check_count,
    check_dim,
    check_lag,
    check_positive,
    meaning,
    resolve_dim,
    spread_out,
    varying_columns,
)
from mdinsight.cvs._blocks import Block, bootstrap_groups, typical_length
from mdinsight.cvs._decompose import Modes, reversible_modes, singular_modes, variance_modes
from mdinsight.cvs._models import LinearCV
from mdinsight.cvs._moments import Moments, MomentSums, combine, packed, packed_shape, unpacked
from mdinsight.parallel import one_thread
from mdinsight.passes import Consumer, until_whole
from mdinsight.series import Rows, as_rows

Sweep = Callable[[Sequence[tuple[Any, Consumer]]], None]
_BLOCKS = 16
"""Units to resample at most, so that memory is the same for a few trajectories, which are cut, and for thousands."""
_BLOCK_BYTES = 1 << 29
"""What the covariances of the bootstrap's blocks may take together; wide data get fewer blocks."""
_AFTERWARDS = ("dim", "scaling")
"""Parameters that change no eigenvalue."""


class Source:
    """What a linear fit needs of its data: the rows, the lag in frames, and the blocks of pairs to resample."""

    def __init__(self, estimator: LinearEstimator, series: Rows) -> None:
        estimator.check()
        self.series = series
        self._kept: np.ndarray | None = None
        self.lag = 0 if estimator.lag is None else series.lag_frames(estimator.lag, f"{estimator.kind}: lag")
        self.reversible = estimator.kind == "TICA"
        most = max(1, min(_BLOCKS, _BLOCK_BYTES // ((16 if self.reversible else 24) * series.n_columns**2)))
        if getattr(estimator, "n_bootstrap", 0) > 0:
            self.groups = _merge(bootstrap_groups(series, self.lag), most)
        else:  # nothing is resampled
            self.groups = bootstrap_groups(series, self.lag, most=1, fewest=0)
        self.block_frames = typical_length((block for group in self.groups for block in group), self.lag)

    def recall(self) -> bool:
        """Whether a fit at this lag left the moments in the cache."""
        rows = len(self.groups) + (len(self.groups) > 1)
        shape = packed_shape(rows, self.series.n_columns, self.reversible)
        self._kept = self.series.recall(self._name, shape)
        return self._kept is not None

    def take(self, parts: list[Moments]) -> None:
        """The moments of the groups; they are left in the cache, if there is one."""
        self.parts, self.total = parts, combine(parts)
        if self.series.remembers:
            together = [self.total] if len(parts) > 1 else []
            self.series.remember(self._name, packed([*together, *parts], self.reversible))

    @cached_property
    def total(self) -> Moments:
        """The moments of all groups together."""
        return self._unpacked(slice(0, 1))[0]

    @cached_property
    def parts(self) -> list[Moments]:
        """The moments of each group."""
        return self._unpacked(slice(-len(self.groups), None))

    def resampled(self, estimator: LinearEstimator, modes: Modes, keep: np.ndarray) -> np.ndarray:
        """:func:`bootstrap` of the columns ``keep``, done once where there is a cache."""
        shape = estimator.n_bootstrap, min(MODES_KEPT, len(modes.values))
        who = f"{type(estimator).__module__}.{type(estimator).__qualname__}"  # a subclass may solve in its own way
        settings = {k: v for k, v in estimator.settings().items() if k not in _AFTERWARDS}
        name = f"resampled {who} {settings} {self._name}"
        found = self.series.recall(name, shape)
        if found is None:
            parts = [part.only(keep) for part in self.parts] if estimator.n_bootstrap else []
            found = bootstrap(parts, modes, estimator.modes, estimator.n_bootstrap, estimator.seed)
            if len(found):
                self.series.remember(name, found)
        return found

    def _unpacked(self, rows: slice) -> list[Moments]:
        if self._kept is None:
            raise ValueError("neither recall nor take came first")
        return unpacked(self._kept[rows], self.series.n_columns, self.reversible)

    @property
    def _name(self) -> str:
        blocks = [[(b.trajectory, b.start, b.stop) for b in group] for group in self.groups]
        return f"moments {self.lag} {self.reversible} {blocks}"


class LinearEstimator(CVEstimator):
    """Base of PCA, TICA and VAMP: everything follows from moments, so folds and resamplings cost no second pass."""

    kind: ClassVar[str]
    n_bootstrap: int
    seed: int

    def check(self) -> None:
        """Refuse parameters that cannot be; called by ``fit``."""
        raise NotImplementedError

    def modes(self, moments: Moments) -> Modes:
        """All modes of the moments of varying columns, each of unit variance (PCA: orthonormal directions)."""
        raise NotImplementedError

    def fit(self, X: Rows | np.ndarray | Sequence[np.ndarray], y: None = None, *, chunk: int | None = None) -> Self:
        """Fit in one pass over the data.

        Parameters
        ----------
        X
            TimeSeries, list of arrays (n_frames, n_features), or one array; or a stream (``features.stream(trajs)``), whose
            rows are read from files in one pass on all cores.
        y
            Not used.
        chunk
            Rows widened to double precision at once; the result depends on it to rounding only.

        Raises
        ------
        ParameterError
            If a parameter has a value that it cannot have.
        LagError
            If no trajectory is longer than the lag.
        DegenerateError
            If no column varies.
        """
        fit_all([(self, as_rows(X))], chunk)
        return self

    def scaled(self, modes: Modes, lag: int) -> np.ndarray:
        """The factor for each mode's coordinate."""
        return np.ones_like(modes.values)

    def from_moments(self, source: Source) -> LinearCV:
        """The model, given the moments that the source has by now."""
        series, total = source.series, source.total
        keep = varying_columns(total, series.names)
        total = total.only(keep)
        modes = self.modes(total)
        lagged = self.lag is not None
        dim = resolve_dim(self.dim, modes.values**2 if lagged else modes.values)
        factor = self.scaled(modes, source.lag)[:dim]
        left, right = modes.left[:, :dim] * factor, modes.right[:, :dim] * factor
        n = series.n_columns
        ours = total.symmetrized() if self.kind == "TICA" else total
        paired = self.kind == "VAMP"
        samples = source.resampled(self, modes, keep) if lagged else np.zeros((0, 0))
        return LinearCV(
            kind=self.kind,
            columns=series.columns,
            features=series.definition,
            lag=source.lag,
            dt=series.dt,
            settings=self.settings(),
            eigenvalues=modes.values,
            samples=samples,
            block_frames=source.block_frames,
            n_blocks=len(source.groups),
            n_frames=series.n_frames,
            mean=spread_out(ours.mean_0, keep, n),
            matrix=spread_out(left, keep, n),
            mean_lagged=spread_out(ours.mean_t, keep, n) if paired else None,
            matrix_lagged=spread_out(right, keep, n) if paired else None,
            **meaning(ours, modes.left[:, :dim], keep, n),
        )


@until_whole
def fit_all(jobs: Sequence[tuple[LinearEstimator, Rows]], chunk: int | None = None, sweep: Sweep | None = None) -> None:
    """Fit several estimators; ``sweep`` is one pass for consumers of several rows, by default that of the one job's rows."""
    sources = [Source(estimator, series) for estimator, series in jobs]
    left = [source for source in sources if not source.recall()]
    sums = [MomentSums(source.lag, source.groups, source.reversible, chunk) for source in left]
    if left and sweep is not None:
        sweep([(source.series, each) for source, each in zip(left, sums, strict=True)])
    elif left:
        with one_thread():
            sources[0].series.sweep(sums)
    for source, each in zip(left, sums, strict=True):
        source.take(each.moments)
    for (estimator, _), source in zip(jobs, sources, strict=True):
        with one_thread(source.series.n_columns):
            estimator.model_ = estimator.from_moments(source)


def _merge(groups: list[list[Block]], most: int) -> list[list[Block]]:
    if len(groups) <= most:
        return groups
    return [[block for group in groups[i::most] for block in group] for i in range(most)]


class PCA(LinearEstimator):
    """Principal components: the directions of largest variance. Equal to scikit-learn's, in one streamed pass.

    Parameters
    ----------
    dim
        Number of components; a float in (0, 1] is a fraction of the variance; None keeps all.

    Notes
    -----
    Large motions need not be slow ones; for those see :class:`TICA`.
    """

    kind = "PCA"
    lag = None

    def __init__(self, dim: int | float | None = 2) -> None:
        self.dim = dim

    def check(self) -> None:
        """Refuse parameters that cannot be."""
        check_dim(self.dim)

    def modes(self, moments: Moments) -> Modes:
        """Variances and orthonormal directions."""
        return variance_modes(moments)


class TICA(LinearEstimator):
    r"""Time-lagged independent components: the slowest linear combinations of the columns, for reversible dynamics.

    Solves :math:`C_\tau u = \lambda C_0 u` with covariances over the pairs taken forward and backward in time; the
    timescales are :math:`-\tau/\ln\lambda`. Perez-Hernandez et al., J. Chem. Phys. 139, 015102 (2013),
    doi 10.1063/1.4811489. Equal to deeptime's to rounding.

    Modes are sorted by the magnitude of the eigenvalue, as in deeptime, so one with a negative eigenvalue may stand before a
    slow one: its values alternate from one lag to the next, by a fast oscillation or by noise in short data. Its timescale
    is "not determined", and the model's verdicts name it.

    Parameters
    ----------
    lag
        Lag time: an int (frames) or a time such as ``"10 ps"``.
    dim
        Number of coordinates; a float in (0, 1] is a fraction of the kinetic variance; None keeps all.
    scaling
        ``"kinetic_map"``: times the eigenvalue, so distances are kinetic distances (doi 10.1021/acs.jctc.5b00553).
        ``"commute_map"``: times the root of half the timescale (doi 10.1021/acs.jctc.6b00762), timescales below the lag
        damped as in that paper. None: unit variance.
    epsilon
        Directions whose eigenvalue of the correlation matrix is not above this are left out as redundant.
    n_bootstrap
        Resamplings of trajectories (or blocks) for the intervals; 0 for none.
    seed
        Of the resampling.
    """

    kind = "TICA"

    def __init__(
        self,
        lag: Any,
        dim: int | float | None = 2,
        scaling: str | None = "kinetic_map",
        epsilon: float = 1e-6,
        n_bootstrap: int = 100,
        seed: int = 0,
    ) -> None:
        self.lag = lag
        self.dim = dim
        self.scaling = scaling
        self.epsilon = epsilon
        self.n_bootstrap = n_bootstrap
        self.seed = seed

    def check(self) -> None:
        """Refuse parameters that cannot be."""
        check_lag(type(self).__name__, self.lag)
        check_dim(self.dim)
        check_choice("scaling", self.scaling, ("kinetic_map", "commute_map", None))
        check_positive("epsilon", self.epsilon)
        check_count("n_bootstrap", self.n_bootstrap, 0)

    def modes(self, moments: Moments) -> Modes:
        """Eigenvalues and unit-variance functions, by falling magnitude of the eigenvalue."""
        return reversible_modes(moments, self.epsilon)

    def scaled(self, modes: Modes, lag: int) -> np.ndarray:
        """The factor for each mode's coordinate."""
        if self.scaling == "kinetic_map":
            return modes.values
        if self.scaling == "commute_map":
            with np.errstate(divide="ignore"):
                times = -lag / np.log(np.clip(np.abs(modes.values), 1e-300, 1.0 - 1e-15))
            damped = 0.5 * times * (1.0 + np.tanh(np.pi * (times - lag) / lag))
            return np.asarray(np.sqrt(damped / 2.0))
        return np.ones_like(modes.values)


class VAMP(LinearEstimator):
    r"""The linear singular functions of the dynamics, reversible or not, in equilibrium or not.

    Wu and Noe, J. Nonlinear Sci. 30, 23 (2020), doi 10.1007/s00332-019-09567-y. Equal to deeptime's to rounding.

    Parameters
    ----------
    lag
        Lag time: an int (frames) or a time such as ``"10 ps"``.
    dim
        Number of coordinates; a float in (0, 1] is a fraction of the kinetic variance; None keeps all.
    scaling
        None: unit variance. ``"kinetic_map"``: times the singular value.
    epsilon
        Directions whose eigenvalue of the correlation matrix is not above this are left out as redundant.
    n_bootstrap
        Resamplings of trajectories (or blocks) for the intervals; 0 for none.
    seed
        Of the resampling.
    """

    kind = "VAMP"

    def __init__(
        self,
        lag: Any,
        dim: int | float | None = 2,
        scaling: str | None = None,
        epsilon: float = 1e-6,
        n_bootstrap: int = 100,
        seed: int = 0,
    ) -> None:
        self.lag = lag
        self.dim = dim
        self.scaling = scaling
        self.epsilon = epsilon
        self.n_bootstrap = n_bootstrap
        self.seed = seed

    def check(self) -> None:
        """Refuse parameters that cannot be."""
        check_lag(type(self).__name__, self.lag)
        check_dim(self.dim)
        check_choice("scaling", self.scaling, ("kinetic_map", None))
        check_positive("epsilon", self.epsilon)
        check_count("n_bootstrap", self.n_bootstrap, 0)

    def modes(self, moments: Moments) -> Modes:
        """Singular values and unit-variance left and right functions, by falling singular value."""
        return singular_modes(moments, self.epsilon)

    def scaled(self, modes: Modes, lag: int) -> np.ndarray:
        """The factor for each mode's coordinate."""
        return modes.values if self.scaling == "kinetic_map" else np.ones_like(modes.values)
