"""The cross-validated VAMP-2 score: train and test share no frame within the lag."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import t as student
from sklearn.base import clone

from mdinsight import units
from mdinsight.cvs._base import CVEstimator, check_lag, resolve_dim, varying_columns
from mdinsight.cvs._blocks import Block, Folds, make_folds, pairs_in, take_blocks, typical_length
from mdinsight.cvs._decompose import vamp2
from mdinsight.cvs._linear import LinearEstimator
from mdinsight.cvs._models import CVModel, implied
from mdinsight.cvs._moments import Moments, block_moments, combine
from mdinsight.errors import DegenerateError, LagError, ParameterError, StatisticsWarning, warn_user
from mdinsight.parallel import Workers, check_workers, one_thread, ordered_map
from mdinsight.passes import until_whole
from mdinsight.records import Record
from mdinsight.results import Estimate, Verdict
from mdinsight.series import Rows, TimeSeries, as_rows, as_series
from mdinsight.words import counted

_PAIRS_A_FUNCTION = 10
"""A test set with fewer pairs than this for each coordinate gives a score of the noise, so it is left out."""


SLOWER_THAN_THE_LAG = float(np.exp(-2.0))
"""What a process whose timescale is the lag adds to VAMP-2; a slower one adds more."""


_TIMESCALES_A_BLOCK = 3.0
"""Blocks of one trajectory must be longer than this many slowest timescales to count as independent of each other."""


class Score(Record):
    """A cross-validated VAMP-2 score; the constant function counts 1, so 1 means that nothing slow was found.

    Attributes
    ----------
    test, train
        Mean over the folds of the score on unseen data and on the data that was fitted, each with a 95 % interval.
    test_folds, train_folds
        (folds,) the score of each fold; NaN where the fold has too little data.
    lag, dt, dim
        Lag in frames, time step in ps or None, number of coordinates.
    kind, split, seed
        The estimator, how the data were split, and the seed of the split.
    timescale
        Relaxation time of the slowest coordinate in frames, the median over the folds; NaN where there is none.
    block_frames
        Typical length in frames of the blocks of one trajectory that the folds are made of; infinite where they are made
        of whole trajectories.
    """

    test: Estimate
    train: Estimate
    test_folds: np.ndarray
    train_folds: np.ndarray
    lag: int
    dt: float | None
    dim: int
    kind: str
    split: str
    seed: int
    timescale: float = np.nan
    block_frames: float = np.inf

    @property
    def verdict(self) -> Verdict:
        """Whether something slow was found, and whether it holds on data that was not fitted."""
        test, low, high = (float(v) for v in (self.test.value, self.test.low, self.test.high))
        train = float(self.train.value)
        subject = "cross-validation"
        if not np.isfinite(low):
            return Verdict(
                subject, False, "fewer than two folds could be scored", "Take more data, a shorter lag or fewer folds"
            )
        interval = f"{test:.3f} [{low:.3f}, {high:.3f}]"
        seen = int(np.sum(self.test_folds - 1.0 > 0.5 * (train - 1.0)))
        if low <= 1.0 and 0 < seen < len(self.test_folds) and train - 1.0 >= SLOWER_THAN_THE_LAG:
            return Verdict(
                subject,
                False,
                f"{interval} on unseen data against {train:.3f} on the data that was fitted: "
                f"the slow process shows in {seen} of {len(self.test_folds)} folds only",
                "It is visited too rarely to be tested; take more trajectories that visit it",
            )
        if low <= 1.0:
            return Verdict(
                subject,
                False,
                f"the test score {interval} is not above 1, what no slow process at all would give",
                "Take a shorter lag, other features or more data",
            )
        both = f"{train:.3f} on the data that was fitted, {interval} on unseen data"
        gap, kinetic = train - test, train - 1.0
        if high < train and gap > 0.1 * kinetic:
            return Verdict(
                subject,
                False,
                f"overfitted: {both}",
                "Take fewer features or coordinates, a smaller network or more data",
            )
        if self.block_frames < _TIMESCALES_A_BLOCK * self.timescale:
            slow, block = (_told(frames, self.dt) for frames in (self.timescale, self.block_frames))
            return Verdict(
                subject,
                False,
                f"the blocks are not independent: they are about {block} of one trajectory, the slowest timescale is "
                f"{slow} ({both})",
                "A drift would look the same; take more or longer trajectories, or fewer folds",
            )
        return Verdict(subject, True, f"fine: {both}")

    def __str__(self) -> str:
        return (
            f"{self.kind} VAMP-2 on unseen data: {self.test} (train {float(self.train.value):.3g}); "
            f"lag {units.format_lag(self.lag, self.dt)}, {counted(self.dim, 'coordinate')}, "
            f"{len(self.test_folds)} folds {self.split}\n"
            f"{self.verdict}"
        )


@until_whole
def score_cv(
    estimator: CVEstimator,
    X: Rows | np.ndarray | Sequence[np.ndarray],
    folds: int = 5,
    lag: Any = None,
    seed: int = 0,
    workers: Workers = 1,
) -> Score:
    """Cross-validated VAMP-2 score of an estimator's coordinates.

    The estimator is fitted on all folds but one; its coordinates are scored on the one left out, with the covariances
    of that fold in the fitted basis (Wu and Noe, doi 10.1007/s00332-019-09567-y, eq. 33; McGibbon and Pande,
    doi 10.1063/1.4916292). Folds are made of whole trajectories, or of contiguous blocks longer than the lag and a
    lag apart where there are fewer trajectories than folds.

    Parameters
    ----------
    estimator
        Any of this room; it is not changed.
    X
        TimeSeries, list of arrays (n_frames, n_features), or one array; PCA, TICA and VAMP take a stream too.
    folds
        Number of folds, at least 2.
    lag
        The lag at which is scored; by default the estimator's own. PCA has none, so it must be given.
    seed
        Of the split.
    workers
        Folds fitted at once (the linear estimators need one pass over the data for all).

    Returns
    -------
    Score
        The interval is Student's, with the variance corrected for folds that share training data
        (Nadeau and Bengio 2003, doi 10.1023/A:1024068626366).

    Raises
    ------
    ParameterError
        If a parameter has a value that it cannot have, or PCA is scored without ``lag=``.
    LagError
        If the data are too short for that lag and number of folds.

    Warns
    -----
    StatisticsWarning
        If a fold has too little data to be scored; it is left out of the mean.
    """
    check_workers(workers)
    who = f"the score of {type(estimator).__name__}"
    series = as_rows(X) if isinstance(estimator, LinearEstimator) else as_series(X, who)
    scored_lag = scoring_lag(estimator, series, lag)
    fit_lag = 0 if estimator.lag is None else series.lag_frames(estimator.lag)
    split = make_folds(series, max(scored_lag, fit_lag), folds, seed)
    with one_thread(series.n_columns):
        dims, train, test, slowest = fold_scores(
            estimator, series, split, fit_lag, scored_lag, [estimator.dim], workers
        )
    warn_of_gaps(test[:, 0])
    kind = type(estimator).__name__
    return Score(
        mean_of_folds(test[:, 0]),
        mean_of_folds(train[:, 0]),
        test[:, 0],
        train[:, 0],
        scored_lag,
        series.dt,
        dims[0],
        kind,
        split.how,
        seed,
        _median(implied(slowest, float(max(fit_lag, 1)))) if fit_lag else np.nan,
        np.inf if split.whole else typical_length(block for blocks in split.blocks for block in blocks),
    )


def _median(values: np.ndarray) -> float:
    return float(np.nanmedian(values)) if not np.isnan(values).all() else np.nan


def _told(frames: float, dt: float | None) -> str:
    return f"{frames:.3g} frames" if dt is None else units.format_time(frames * dt)


def scoring_lag(estimator: CVEstimator, series: Rows, lag: Any) -> int:
    """The lag in frames at which an estimator is scored."""
    if "lag" in estimator.get_params():
        check_lag(type(estimator).__name__, estimator.lag)
    elif lag is None:
        raise ParameterError(
            f"{type(estimator).__name__} has no lag time of its own; give score_cv the lag= to score it at"
        )
    return series.lag_frames(estimator.lag if lag is None else lag)


def mean_of_folds(scores: np.ndarray) -> Estimate:
    """Mean over the folds with its 95 % interval; NaN folds are left out."""
    good = scores[np.isfinite(scores)]
    if len(good) == 0:
        return Estimate(np.nan, np.nan, np.nan)  # type: ignore[arg-type]
    mean, half = float(good.mean()), np.nan
    if len(good) > 1:
        half = float(student.ppf(0.975, len(good) - 1)) * standard_error(good)
    return Estimate(mean, mean - half, mean + half)  # type: ignore[arg-type]


def standard_error(scores: np.ndarray) -> float:
    """Standard error of the mean over folds, corrected for the training data that they share."""
    good = scores[np.isfinite(scores)]
    k = len(good)
    if k < 2:
        return np.nan
    return float(good.std(ddof=1) * np.sqrt(1.0 / k + 1.0 / (k - 1)))


def warn_of_gaps(test: np.ndarray) -> None:
    """One warning for the folds that could not be scored."""
    missing = np.flatnonzero(~np.isfinite(test))
    if len(missing):
        warn_user(
            f"{len(missing)} of {len(test)} folds have too little data to be scored and are left out of the mean; "
            "take fewer folds, a shorter lag or more data",
            StatisticsWarning,
        )


def fold_scores(
    estimator: CVEstimator,
    series: Rows,
    split: Folds,
    fit_lag: int,
    lag: int,
    dims: Sequence[Any],
    workers: Workers = 1,
) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray]:
    """Scores of every fold and dimension.

    Returns
    -------
    dims
        The number of coordinates of each of ``dims`` as fitted (a fraction of the variance becomes a number).
    train, test
        (folds, len(dims)) VAMP-2 scores; NaN where a fold has too little data.
    slowest
        (folds,) the largest eigenvalue of the model fitted without the fold.
    """
    if isinstance(estimator, LinearEstimator):
        return _linear_scores(estimator, series, split, fit_lag, lag, dims)
    tasks = [(fold, dim) for fold in range(len(split)) for dim in dims]
    results = list(ordered_map(partial(_fit_and_score, estimator, as_series(series), split, lag), tasks, workers))
    table = np.array(results, dtype=np.float64).reshape(len(split), len(dims), 4)
    counts = [int(np.nanmax(table[:, j, 0])) if np.isfinite(table[:, j, 0]).any() else 0 for j in range(len(dims))]
    return counts, table[:, :, 1], table[:, :, 2], table[:, 0, 3]


def _linear_scores(
    estimator: LinearEstimator, series: Rows, split: Folds, fit_lag: int, lag: int, dims: Sequence[Any]
) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray]:
    estimator.check()
    reversible = estimator.kind != "VAMP"  # as CVModel.reversible
    scored = block_moments(series, lag, [pairs_in(blocks, lag) for blocks in split.blocks], reversible=reversible)
    fitted = scored
    if fit_lag != lag:
        blocks_of_pairs = [pairs_in(blocks, fit_lag) for blocks in split.blocks]
        fitted = block_moments(series, fit_lag, blocks_of_pairs, reversible=reversible)
    train, test = np.full((2, len(split), len(dims)), np.nan)
    slowest = np.full(len(split), np.nan)
    sizes = [0] * len(dims)
    for fold in range(len(split)):
        others = [i for i in range(len(split)) if i != fold]
        moments = combine([fitted[i] for i in others])
        keep = varying_columns(moments, series.names, warn=fold == 0)
        modes = estimator.modes(moments.only(keep))
        slowest[fold] = modes.values[0]
        seen, unseen = combine([scored[i] for i in others]).only(keep), scored[fold].only(keep)
        for j, dim in enumerate(dims):
            k = resolve_dim(dim, modes.values**2 if fit_lag else modes.values, warn=False)
            sizes[j] = max(sizes[j], k)
            train[fold, j] = _projected_score(seen, modes.left[:, :k], modes.right[:, :k], reversible)
            test[fold, j] = _projected_score(unseen, modes.left[:, :k], modes.right[:, :k], reversible)
    return sizes, train, test, slowest


def _projected_score(moments: Moments, left: np.ndarray, right: np.ndarray, reversible: bool) -> float:
    small = (moments.symmetrized() if reversible else moments).projected(left, right)
    return _score(small)


def _score(moments: Moments) -> float:
    if moments.n < _PAIRS_A_FUNCTION * len(moments.mean_0):
        return np.nan
    try:
        return vamp2(moments)
    except DegenerateError:
        return 1.0  # every coordinate stands still in this fold: only the constant function is left


def _fit_and_score(
    estimator: CVEstimator, series: TimeSeries, split: Folds, lag: int, task: tuple[int, Any]
) -> tuple[float, float, float, float]:
    fold, dim = task
    train, test = split.train(fold), split.test(fold)
    ours = clone(estimator).set_params(dim=dim)
    if "n_bootstrap" in ours.get_params():
        ours.set_params(n_bootstrap=0)
    try:
        model = ours.fit(take_blocks(series, train)).model
    except (DegenerateError, LagError):
        return np.nan, np.nan, np.nan, np.nan
    seen, unseen = (model_score(model, series, blocks, lag) for blocks in (train, test))
    return float(model.dim), seen, unseen, float(model.eigenvalues[0])


def model_score(model: CVModel, series: TimeSeries, blocks: Sequence[Block], lag: int) -> float:
    """VAMP-2 of a fitted model's coordinates on some blocks of frames."""
    parts = []
    for block in pairs_in(blocks, lag):
        array = series.arrays[block.trajectory]
        x = model.values(np.asarray(array[block.start : block.stop], np.float64))
        y = model.values_lagged(np.asarray(array[block.start + lag : block.stop + lag], np.float64))
        a, b = x - x.mean(axis=0), y - y.mean(axis=0)
        n = len(x)
        parts.append(Moments(n, x.mean(axis=0), y.mean(axis=0), a.T @ a / n, a.T @ b / n, b.T @ b / n))
    if not parts:
        return np.nan
    moments = combine(parts)
    return _score(moments.symmetrized() if model.reversible else moments)
