"""Which lag time and how many coordinates: a table of cross-validated scores, a choice, and the reason for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone

from mdinsight import units
from mdinsight.cvs._base import CVEstimator, check_count
from mdinsight.cvs._blocks import Folds, make_folds, pairs_in
from mdinsight.cvs._linear import LinearEstimator
from mdinsight.cvs._scoring import (
    SLOWER_THAN_THE_LAG,
    fold_scores,
    mean_of_folds,
    standard_error,
    warn_of_gaps,
)
from mdinsight.errors import ParameterError
from mdinsight.parallel import Workers, check_workers, one_thread, ordered_map
from mdinsight.progress import Progress, track
from mdinsight.records import Record
from mdinsight.results import Estimate, Verdict
from mdinsight.series import TimeSeries, as_series
from mdinsight.words import counted

_MOST_TIMESCALES = 10
_NEAR = 0.7


class Scan(Record):
    """Scores of an estimator at several lags and dimensions.

    Attributes
    ----------
    kind
        The estimator.
    lags, dt
        (n_lags,) frames; ps or None.
    dims
        (n_dims,) numbers of coordinates.
    scores
        (n_lags, n_dims) VAMP-2 on unseen data with 95 % intervals.
    train, errors
        (n_lags, n_dims) mean score on the fitted data; standard error of ``scores``.
    timescales
        (n_lags, k) relaxation times with 95 % intervals, in ps or frames.
    best_dims
        (n_lags,) the dimension chosen at each lag.
    lag, dim
        The choice: frames, number of coordinates.
    why
        The reason in words.
    verdict
        Whether the timescales stand still at the chosen lag.
    split
        How train and test were split.
    """

    kind: str
    lags: np.ndarray
    dt: float | None
    dims: np.ndarray
    scores: Estimate
    train: np.ndarray
    errors: np.ndarray
    timescales: Estimate
    best_dims: np.ndarray
    lag: int
    dim: int
    why: str
    verdict: Verdict
    split: str

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row for each lag and dimension: lag (frames), dim, score, low, high, train, chosen."""
        return [
            {
                "lag": int(lag),
                "dim": int(dim),
                "score": float(self.scores.value[i, j]),
                "low": float(self.scores.low[i, j]),
                "high": float(self.scores.high[i, j]),
                "train": float(self.train[i, j]),
                "chosen": int(lag) == self.lag and int(dim) == self.dim,
            }
            for i, lag in enumerate(self.lags)
            for j, dim in enumerate(self.dims)
        ]

    def __str__(self) -> str:
        lines = [f"{self.kind}: VAMP-2 on unseen data, {self.split}"]
        lines.append(f"{'lag':>10}  dim  {'score':<22} train   slowest timescale")
        for row in self.table:
            i = int(np.flatnonzero(self.lags == row["lag"])[0])
            first = row["dim"] == int(self.dims[0])
            score = f"{row['score']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            time = str(self.timescales[i, 0]) if first else ""
            mark = "  <- chosen" if row["chosen"] else ""
            label = units.format_lag(row["lag"], self.dt) if first else ""
            lines.append(f"{label:>10}  {row['dim']:>3}  {score:<22} {row['train']:.3f}   {time}{mark}")
        return "\n".join([*lines, self.why, str(self.verdict)])


def scan(
    estimator: CVEstimator,
    X: TimeSeries | np.ndarray | Sequence[np.ndarray],
    lags: Iterable[Any],
    dims: Iterable[int] = (1, 2, 3, 4, 5),
    folds: int = 5,
    seed: int = 0,
    workers: Workers = None,
    progress: Progress = False,
) -> Scan:
    """Score an estimator at several lags and dimensions, and choose one of each.

    Parameters
    ----------
    estimator
        TICA, VAMP or VAMPNet; its own lag and dim are not used.
    X
        TimeSeries, list of arrays (n_frames, n_features), or one array.
    lags
        Lag times: ints (frames) or times such as ``"10 ps"``.
    dims
        Numbers of coordinates.
    folds, seed
        As in :func:`score_cv`. All lags are scored on one split, whose gaps are the longest lag.
    workers
        Lags worked on at once.
    progress
        False, True (a bar), or anything called as ``tqdm``.

    Notes
    -----
    The dimension is chosen at each lag by the one-standard-error rule (Breiman et al. 1984): the fewest coordinates
    whose score is within one standard error of the best.

    The lag is not chosen by the score. A process of timescale t adds exp(-2 lag / t) to VAMP-2, so the score falls
    with the lag even where the coordinates get better, and its maximum is always the shortest lag. What a lag must
    satisfy is, first, that the slowest process outlives it, and does so on unseen data: in one fold at least the score
    is above 1 by what such a process must add, exp(-2), and by ten times what noise would. Second, the timescales no
    longer rise with the lag: by the variational principle they approach the true ones from below (Noe and Nueske
    2013, doi 10.1137/110858616). The choice is the shortest lag that passes the first test and whose slow timescales,
    at any longer lag that passes, are neither above by more than the interval nor by more than 1 / 0.7. Where there
    is none, the verdict says so, and the shortest lag that passes the first test is taken: a process of which the data
    show too little grows slower with every longer lag, and the ones that they do show are lost there.

    Raises
    ------
    ParameterError
        If the estimator has no lag time, or a list is empty.
    LagError
        If the data are too short for the longest lag and that many folds.
    """
    check_workers(workers)
    series = as_series(X, "cvs.scan")
    if "lag" not in estimator.get_params():  # the estimator's own is not used, so it may be None
        raise ParameterError(f"{type(estimator).__name__} has no lag time to scan; scan TICA, VAMP or VAMPNet")
    frames = sorted({series.lag_frames(lag, "lags") for lag in lags})
    sizes = sorted({check_count("dims", dim, 1) for dim in dims})
    if not frames or not sizes:
        raise ParameterError("scan needs at least one lag and one dimension; got none")
    split = make_folds(series, frames[-1], folds, seed)
    work = partial(_at_lag, estimator, series, split, sizes)
    with one_thread():
        results = list(track(ordered_map(work, frames, workers), progress, total=len(frames), desc="lags"))
    test = np.stack([result[1] for result in results])
    warn_of_gaps(test.mean(axis=(0, 2)))
    return _assemble(type(estimator).__name__, series, np.array(frames), np.array(sizes), results, split)


_Result = tuple[np.ndarray, np.ndarray, int, Estimate]


def _at_lag(estimator: CVEstimator, series: TimeSeries, split: Folds, dims: list[int], lag: int) -> _Result:
    ours = clone(estimator).set_params(lag=lag)
    _, train, test, _ = fold_scores(ours, series, split, lag, lag, dims)
    j = one_standard_error(test)
    most = max(dims) if isinstance(ours, LinearEstimator) else dims[j]
    ours.set_params(dim=min(most, series.n_columns) if isinstance(ours, LinearEstimator) else most)
    return train, test, j, ours.fit(series).model.timescales()


def one_standard_error(test: np.ndarray) -> int:
    """Which of the dimensions (columns) has the fewest coordinates within one standard error of the best score."""
    means = np.array([float(mean_of_folds(column).value) for column in test.T])
    if not np.isfinite(means).any():
        return 0
    best = int(np.nanargmax(means))
    error = standard_error(test[:, best])
    return int(np.flatnonzero(means >= means[best] - (error if np.isfinite(error) else 0.0))[0])


def _assemble(
    kind: str, series: TimeSeries, lags: np.ndarray, dims: np.ndarray, results: Sequence[_Result], split: Folds
) -> Scan:
    estimates = [[mean_of_folds(column) for column in test.T] for _, test, _, _ in results]
    value, low, high = (
        np.array([[float(getattr(e, name)) for e in row] for row in estimates]) for name in ("value", "low", "high")
    )
    width = min(_MOST_TIMESCALES, max(len(times) for *_, times in results))
    padded = {
        name: np.array([_padded(getattr(times, name), width) for *_, times in results])
        for name in ("value", "low", "high")
    }
    timescales = Estimate(padded["value"], padded["low"], padded["high"], results[0][3].unit)
    picks = np.array([j for _, _, j, _ in results])
    shown = np.array([_shown(result, split, int(lag), dims) for result, lag in zip(results, lags, strict=True)])
    at, why, verdict = choose_lag(lags, series.dt, timescales, shown > 0, dims[picks])
    if 0 < shown[at] < len(split):
        rare = f"; on unseen data it shows in {shown[at]} of {len(split)} folds only, so it is rarely visited"
        verdict = verdict.replace(says=verdict.says + rare)
    j = picks[at]
    why += (
        f" With {counted(int(dims[j]), 'coordinate')} the score is {value[at, j]:.3f} [{low[at, j]:.3f}, {high[at, j]:.3f}]: "
        "the fewest within one standard error of the best at this lag."
    )
    return Scan(
        kind=kind,
        lags=lags,
        dt=series.dt,
        dims=dims,
        scores=Estimate(value, low, high),
        train=np.array([[float(mean_of_folds(column).value) for column in train.T] for train, *_ in results]),
        errors=np.array([[standard_error(column) for column in test.T] for _, test, _, _ in results]),
        timescales=timescales,
        best_dims=dims[picks],
        lag=int(lags[at]),
        dim=int(dims[j]),
        why=why,
        verdict=verdict,
        split=split.how,
    )


def _shown(result: _Result, split: Folds, lag: int, dims: np.ndarray) -> int:
    """In how many folds a process slower than the lag shows on unseen data."""
    _, test, j, _ = result
    pairs = np.array([sum(len(block) for block in pairs_in(blocks, lag)) for blocks in split.blocks])
    noise = 10.0 * float(dims[j]) ** 2 / np.maximum(pairs, 1)
    return int(np.sum(test[:, j] - 1.0 >= np.maximum(SLOWER_THAN_THE_LAG, noise)))


def _padded(values: np.ndarray, width: int) -> np.ndarray:
    return np.concatenate([values[:width], np.full(max(0, width - len(values)), np.nan)])


def choose_lag(
    lags: np.ndarray, dt: float | None, timescales: Estimate, above_noise: np.ndarray, dims: np.ndarray
) -> tuple[int, str, Verdict]:
    """Which lag, why, and whether the timescales stand still there; see the notes of :func:`scan`.

    Parameters
    ----------
    lags
        (n_lags,) frames, rising.
    dt
        ps or None.
    timescales
        (n_lags, k), in ps or frames as ``dt`` says.
    above_noise
        (n_lags,) whether a process slower than the lag shows on unseen data.
    dims
        (n_lags,) the number of coordinates chosen at each lag.
    """
    times = lags * (dt or 1.0)
    t = timescales.value
    passing = np.flatnonzero(above_noise & (np.nan_to_num(t[:, 0]) > times))
    subject = "choice of lag"
    if len(passing) == 0:
        verdict = Verdict(
            subject,
            False,
            "at no lag is there a slow process above the noise",
            "Take shorter lags, other features or more data",
        )
        return 0, "No lag resolves a slow process; the shortest is shown.", verdict
    last = passing[-1]
    # Only processes that outlive the longest lag can be compared at all lags.
    slow = max(1, int(np.sum(np.nan_to_num(t[last, : dims[last]]) > times[last])))
    for i in passing[:-1]:
        if all(_not_below(timescales, i, longer, slow) for longer in passing[passing > i]):
            here, there = (units.format_lag(int(lags[k]), dt) for k in (i, last))
            what = (
                f"the {slow} slowest timescales no longer rise" if slow > 1 else "the slowest timescale no longer rises"
            )
            says = f"the slowest timescale is {timescales[i, 0]} at {here} and {timescales[last, 0]} at {there}"
            return int(i), f"{here} is the shortest lag from which {what}, up to {there}.", Verdict(subject, True, says)
    first = passing[0]
    label = units.format_lag(int(lags[first]), dt)
    if len(passing) == 1:
        says = (
            f"a slow process stands above the noise only at {label}, so whether its timescale has converged is not seen"
        )
    else:
        says = (
            f"the timescales rise with the lag: {timescales[first, 0]} at {label}, "
            f"{timescales[last, 0]} at {units.format_lag(int(lags[last]), dt)}"
        )
    remedy = "Scan longer lags; if the score falls to the noise there, better features or more data are needed"
    why = f"{label} is the shortest lag at which a slow process stands above the noise."
    return int(first), why, Verdict(subject, False, says, remedy)


def _not_below(timescales: Estimate, i: int, longer: int, slow: int) -> bool:
    value, low = timescales.value[i, :slow], timescales.low[longer, :slow]
    # A wide interval alone would pass a timescale that grows as the lag does, so the figures must lie near each other too.
    near = _NEAR * timescales.value[longer, :slow]
    return bool(np.all(value >= np.fmax(low, near)))
