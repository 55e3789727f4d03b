"""k-means, mini-batch k-means and regular space: scikit-learn and deeptime behind one interface."""

from __future__ import annotations

import logging
import numbers
import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn import cluster
from sklearn.exceptions import ConvergenceWarning

from mdinsight import seeds
from mdinsight.errors import DegenerateError, ParameterError, StatisticsWarning, warn_user
from mdinsight.estimators import Estimator
from mdinsight.parallel import one_thread
from mdinsight.passes import until_whole
from mdinsight.series import Rows, TimeSeries, as_rows
from mdinsight.states._clustering import STATE, Clustering, nearest
from mdinsight.states._lloyd import Cells, Sample, lloyd

logger = logging.getLogger(__name__)

Data = Rows | np.ndarray | Sequence[np.ndarray]
_SAMPLE_BYTES = 64_000_000


class _Clusterer(Estimator[Clustering]):
    """What the estimators share: rows to centres is all that differs."""

    def _centers(self, rows: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _streamed(self, series: Rows) -> tuple[np.ndarray, float]:
        """Centres and inertia of rows that are not in memory."""
        raise ParameterError(
            f"{type(self).__name__} needs the coordinates in memory, and was given a {type(series).__name__}; give "
            "model.transform(stream), a few coordinates of it, or take KMeans"
        )

    @until_whole
    def fit(self, X: Data, y: Any = None) -> Self:
        """Find the centres.

        Parameters
        ----------
        X
            Coordinates: a ``TimeSeries``, a stream, an array (n_frames, n_columns), or a list of arrays.

        Raises
        ------
        DegenerateError
            If there are fewer distinct points than states.
        NonFiniteError
            If a value is NaN or infinite.
        """
        series = as_rows(X)
        # the order of sums over threads is not fixed in the libraries; one thread gives the same centres on any
        # number of cores
        with one_thread():
            if isinstance(series, TimeSeries):
                rows = np.ascontiguousarray(series.concatenated(), dtype=np.float64)
                centers = np.ascontiguousarray(self._centers(rows), dtype=np.float64)
                inertia = float(nearest(rows, centers)[1].sum())
            else:
                centers, inertia = self._streamed(series)
        self.model_ = Clustering(
            centers, inertia, type(self).__name__, self.settings(), series.columns, series.definition
        )
        self.n_features_in_ = series.n_columns
        logger.info("%s: %d states from %d frames", type(self).__name__, len(centers), series.n_frames)
        return self

    def transform(self, X: Data) -> TimeSeries:
        """The state of each frame: a ``TimeSeries`` of one int32 column named ``"state"``."""
        return self.model.transform(X)

    def fit_transform(self, X: Data, y: Any = None) -> TimeSeries:
        """``fit(X).transform(X)``."""
        return self.fit(X).transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """The name of the one column that comes out."""
        return np.array([STATE.name], dtype=object)


class KMeans(_Clusterer):
    """k-means: centres that minimise the squared distance to the nearest centre (scikit-learn's Lloyd, k-means++
    start).

    Parameters
    ----------
    n_states
        Number of states.
    seed
        The same seed gives the same states, on any number of cores.
    max_iter
        Most rounds of Lloyd's algorithm; a warning says if they did not suffice.
    n_init
        Starts from different centres, of which the best is kept.

    Notes
    -----
    A stream is clustered in passes, one a round, to the centres that scikit-learn finds from the same start; that is made on
    evenly spaced rows, at most 100,000 of them and 64 MB.

    k-means++: Arthur and Vassilvitskii, SODA 2007 (ISBN 978-0-898716-24-5); use in Markov models: 10.1063/1.3565032.
    """

    def __init__(self, n_states: int, seed: int = 0, max_iter: int = 300, n_init: int = 1) -> None:
        self.n_states = n_states
        self.seed = seed
        self.max_iter = max_iter
        self.n_init = n_init

    def _centers(self, rows: np.ndarray) -> np.ndarray:
        _check_states(self.n_states, rows)
        method = cluster.KMeans(
            self.n_states,
            n_init=self.n_init,
            max_iter=self.max_iter,
            random_state=seeds.integer(self.seed, "states.kmeans"),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            method.fit(rows)
        if method.n_iter_ >= self.max_iter:
            self._warn()
        return method.cluster_centers_

    def _streamed(self, series: Rows) -> tuple[np.ndarray, float]:
        sample = _sample(series, 100_000)
        _check_states(self.n_states, sample, series.n_frames)
        state = np.random.RandomState(seeds.integer(self.seed, "states.kmeans"))
        found = [
            lloyd(series, cluster.kmeans_plusplus(sample, self.n_states, random_state=state)[0], self.max_iter)
            for _ in range(self.n_init)
        ]
        best = min(found, key=lambda one: one.inertia)
        if not best.converged:
            self._warn()
        return best.centers, best.inertia

    def _warn(self) -> None:
        warn_user(f"k-means has not converged in max_iter={self.max_iter} rounds; raise it", StatisticsWarning)


class MiniBatchKMeans(_Clusterer):
    """Mini-batch k-means: nearly as good as k-means in a fraction of the time; for millions of frames.

    Parameters
    ----------
    n_states
        Number of states.
    seed
        The same seed gives the same states.
    batch_size
        Frames in a batch.
    max_iter
        Most passes over the frames.

    Notes
    -----
    Of a stream it takes its batches from evenly spaced rows, at most 500,000 of them and 64 MB.

    Sculley, WWW 2010, 10.1145/1772690.1772862.
    """

    def __init__(self, n_states: int, seed: int = 0, batch_size: int = 4096, max_iter: int = 100) -> None:
        self.n_states = n_states
        self.seed = seed
        self.batch_size = batch_size
        self.max_iter = max_iter

    def _centers(self, rows: np.ndarray) -> np.ndarray:
        _check_states(self.n_states, rows)
        method = cluster.MiniBatchKMeans(
            self.n_states,
            batch_size=max(self.batch_size, self.n_states),
            max_iter=self.max_iter,
            n_init=1,
            random_state=seeds.integer(self.seed, "states.minibatch"),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return method.fit(rows).cluster_centers_

    def _streamed(self, series: Rows) -> tuple[np.ndarray, float]:
        sample = _sample(series, 500_000)
        _check_states(self.n_states, sample, series.n_frames)
        centers = np.ascontiguousarray(self._centers(sample), dtype=np.float64)
        cells = Cells(centers)
        series.sweep([cells])
        return centers, cells.inertia


class RegularSpace(_Clusterer):
    """Regular space: a frame farther than ``dmin`` from every centre so far becomes a centre (Euclidean distance).

    The states cover the visited space evenly, rare regions included. The result depends on the order of the frames alone.

    Parameters
    ----------
    dmin
        Least distance between two centres, in the units of the coordinates; None takes the least one (to 2 %) with no more
        than ``max_states`` states.
    max_states
        Refuse to make more states than this.

    Notes
    -----
    Prinz et al., 10.1063/1.3565032; deeptime's implementation.
    """

    def __init__(self, dmin: float | None = None, max_states: int = 1000) -> None:
        self.dmin = dmin
        self.max_states = max_states

    def _centers(self, rows: np.ndarray) -> np.ndarray:
        _check_number(self.max_states, "max_states")
        if self.dmin is None:
            return self._search(rows)
        if isinstance(self.dmin, bool) or not isinstance(self.dmin, numbers.Real) or not self.dmin > 0:
            raise ParameterError(
                f"dmin={self.dmin!r} is not a positive distance; give it in the units of the coordinates"
            )
        centers = _regular(rows, float(self.dmin), self.max_states)
        if len(centers) > self.max_states:
            raise ParameterError(
                f"dmin={self.dmin:g} needs more than max_states={self.max_states} states to cover the data; "
                "raise dmin or max_states"
            )
        return centers

    def _search(self, rows: np.ndarray) -> np.ndarray:
        """The centres for the least distance that does not ask for too many."""
        large = float(np.linalg.norm(np.ptp(rows, axis=0))) or 1.0
        small, best = 1e-4 * large, rows[:1]
        while large > 1.02 * small:
            middle = float(np.sqrt(small * large))
            centers = _regular(rows, middle, self.max_states)
            if len(centers) > self.max_states:
                small = middle
            else:
                large, best = middle, centers
        return best


def _sample(series: Rows, most: int) -> np.ndarray:
    """Evenly spaced rows (n, n_columns), at most so many."""
    sample = Sample(series, max(1, min(most, _SAMPLE_BYTES // (8 * series.n_columns))))
    series.sweep([sample])
    return sample.rows


def _regular(rows: np.ndarray, dmin: float, most: int) -> np.ndarray:
    """deeptime's regular-space centres; one more than ``most`` if that is not enough."""
    from deeptime.clustering import RegularSpace as Deeptime

    with warnings.catch_warnings():  # deeptime warns and keeps what it has
        warnings.simplefilter("ignore")
        return Deeptime(dmin=dmin, max_centers=int(most) + 1, n_jobs=1).fit(rows).fetch_model().cluster_centers


def _check_number(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ParameterError(f"{name}={value!r} is not a number of states; give an int of at least 1")


def _check_states(n_states: Any, rows: np.ndarray, n_frames: int | None = None) -> None:
    """Refuse more states than distinct points; the rows may be a sample of so many frames."""
    _check_number(n_states, "n_states")
    head = rows[: 20 * n_states]
    distinct = len(np.unique(head, axis=0))
    if distinct < n_states:
        distinct = len(np.unique(rows, axis=0))
    if distinct < n_states:
        sampled = n_frames is not None and len(rows) < n_frames
        which = f"rows that the start is drawn from ({n_frames} frames, evenly sampled)" if sampled else "frames"
        raise DegenerateError(
            f"n_states={n_states}, but the {len(rows)} {which} are only {distinct} distinct points; "
            f"ask for at most {distinct} states"
        )
