"""Implied timescales as a function of the lag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mdinsight import units
from mdinsight.errors import ConnectivityError, LagError, ParameterError
from mdinsight.msm._counts import check_lag, count
from mdinsight.msm._estimators import check_samples
from mdinsight.msm._posterior import sample_posterior
from mdinsight.msm._spectral import eigenvalues, maximum_likelihood, timescales, with_samples
from mdinsight.parallel import Workers, check_workers, one_thread, ordered_map
from mdinsight.progress import Progress, track
from mdinsight.records import Record
from mdinsight.results import Estimate, Verdict
from mdinsight.states import Discrete, as_discrete

RISE = 1.2
"""Most that a timescale which only rises with the lag may rise. Few data agree with any value, but not with a trend:
the same trajectories are counted at each lag, so that where the model is Markovian the timescales move together."""

HOPELESS = 10.0
"""Ratio of the ends of an interval from which on a timescale tells nothing of a trend."""


class ImpliedTimescales(Record):
    """Timescales of models at several lags; where they no longer depend on the lag, the model is Markovian.

    Attributes
    ----------
    lags
        In frames, (n_lags,) ascending.
    dt
        ps between frames, or None.
    timescales
        ``Estimate`` (n_lags, k), slowest first, in ps or frames; NaN where a lag has fewer than k processes.
    fractions
        Fraction of the frames in the connected set at each lag, (n_lags,).
    skipped
        Lags at which nothing could be estimated, and why.
    """

    lags: np.ndarray
    dt: float | None
    timescales: Estimate
    fractions: np.ndarray
    skipped: tuple[str, ...] = ()

    @property
    def steps(self) -> np.ndarray:
        """The lags in the unit of the timescales."""
        return self.lags * (1.0 if self.dt is None else self.dt)

    def resolved(self) -> np.ndarray:
        """Where a timescale is longer than its lag, (n_lags, k): what is not holds no information."""
        with np.errstate(invalid="ignore"):
            return self.timescales.value > self.steps[:, None]

    def choose_lag(self) -> int:
        """The smallest lag (frames) from which the slowest timescales agree, within their intervals, at all longer
        lags.

        The timescales compared are those that are longer than the lag at this lag and, one by one, at the longer
        ones. None may lie above this lag's interval at a longer lag, nor do nothing but rise and by more than a fifth,
        as far as the longer lags resolve it (longer than two lags, its interval within a factor of ten). At least two
        longer lags must agree. If there is no such lag, it is the one that fewest longer lags
        disagree with, or, where too few lags are shorter than the slowest timescale to compare, the smallest; the
        verdict of :meth:`verdicts` then says that it does not hold.
        """
        return int(self.lags[self._choice()[0]])

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether the timescales converge with the lag, and whether the connected set holds the data at all lags."""
        index, converged = self._choice()
        lag = units.format_lag(int(self.lags[index]), self.dt)
        usable = np.flatnonzero(self.resolved()[:, 0])
        remedy = "take better coordinates or more states, longer trajectories, or compare more and shorter lags"
        if len(usable) == 0:
            says = "no timescale is longer than its lag"
        elif len(usable) < 3:
            says = f"only {len(usable)} of the {len(self.lags)} lags are shorter than the slowest timescale, too few to compare"
            remedy = "compare more and shorter lags, or save frames more often; or find coordinates that show slower processes"
        else:
            longest = units.format_lag(int(self.lags[usable[-1]]), self.dt)
            says = f"the slowest timescales still change with the lag, up to {longest}"
            if converged:
                says = f"the slowest timescales agree within their intervals from {lag} to {longest}"
        worst = int(np.argmin(self.fractions))
        gap = (
            f"at lag {units.format_lag(int(self.lags[worst]), self.dt)} the connected set holds "
            f"{100 * self.fractions[worst]:.3g} % of the frames, the least of all lags"
        )
        if self.skipped:
            gap += f"; left out: {'; '.join(self.skipped)}"
        whole = Verdict(
            "connected set", bool(self.fractions.min() >= 0.95), gap, "take fewer states or run more trajectories"
        )
        return Verdict("lag convergence", converged, says, remedy), whole

    def _choice(self) -> tuple[int, bool]:
        """Row of the chosen lag, and whether it holds."""
        resolved, misses = self.resolved(), []
        usable = np.flatnonzero(resolved[:, 0])
        if len(usable) == 0:
            return 0, False
        for row in usable:
            longer = [later for later in usable if later > row]
            miss = 0
            for later in longer:
                both = resolved[row] & resolved[later]
                miss += int((both & ~_agree(self.timescales[int(row)], self.timescales[int(later)])).sum())
            miss += self._rises(int(row), longer)
            if miss == 0 and len(longer) >= 2:
                return int(row), True
            misses.append(miss if len(longer) >= 2 else np.inf)
        return int(usable[int(np.argmin(misses))]), False

    def _rises(self, row: int, longer: Sequence[Any]) -> int:
        """How many of the timescales resolved at a lag keep rising at the longer ones."""
        figures, rises = self.timescales, 0
        for process in np.flatnonzero(self.resolved()[row]):
            told = [
                float(figures.value[later, process])
                for later in longer
                if figures.value[later, process] > 2 * self.steps[later]
                and not figures.high[later, process] > HOPELESS * figures.low[later, process]
            ]
            now, above = figures.value[row, process], figures.high[row, process]
            if told and (max(told) > above or (min(told) > now and max(told) > RISE * now)):
                rises += 1
        return rises

    def summary(self) -> str:
        """A table of lags and timescales, and the verdicts."""
        lines = [f"lag        slowest timescales ({'frames' if self.dt is None else 'ps'})"]
        for row, lag in enumerate(self.lags):
            figures = ", ".join(_cell(self.timescales[row, column]) for column in range(self.timescales.value.shape[1]))
            lines.append(f"{units.format_lag(int(lag), self.dt):10s} {figures}")
        return "\n".join([*lines, *map(str, self.verdicts())])

    def __str__(self) -> str:
        return self.summary()


def implied_timescales(
    dtrajs: Any,
    lags: Sequence[Any] | None = None,
    k: int = 5,
    n_samples: int = 50,
    seed: int = 0,
    workers: Workers = None,
    reversible: bool = True,
    progress: Progress = False,
) -> ImpliedTimescales:
    """Implied timescales at several lags, with intervals from the posterior at each.

    Parameters
    ----------
    dtrajs
        Discrete trajectories.
    lags
        Frames (int) or times (``"10 ps"``); None takes about a dozen from one frame to a fifth of the median
        trajectory.
    k
        Number of processes.
    n_samples
        Posterior samples at each lag; 0 for no intervals.
    seed
        Decides the samples, each lag by itself.
    workers
        Threads, or an executor; the result is the same for any number.
    reversible
        Estimate under detailed balance.
    progress
        Show a bar.

    Raises
    ------
    LagError
        If a lag is longer than every trajectory.
    ConnectivityError
        If at no lag anything can be estimated.

    Notes
    -----
    Swope, Pitera, Suits, 10.1021/jp037421y.
    """
    check_workers(workers)
    discrete = as_discrete(dtrajs)
    if n_samples:
        check_samples(n_samples)
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ParameterError(f"k={k!r} is not a number of processes; give an int of at least 1")
    frames = default_lags(discrete) if lags is None else sorted({check_lag(lag, discrete, "lags") for lag in lags})
    if not frames:
        raise LagError("lags is empty; give at least one lag, or None for the default ones")

    def work(lag: int) -> _Row | ConnectivityError:
        try:
            return _at_lag(discrete, lag, k, n_samples, seed, reversible)
        except ConnectivityError as error:
            return error

    with one_thread():  # of each worker
        found = list(track(ordered_map(work, frames, workers), progress, len(frames), "implied timescales"))
    failed = {lag: row for lag, row in zip(frames, found, strict=True) if isinstance(row, ConnectivityError)}
    if len(failed) == len(frames):
        raise failed[frames[0]]
    kept = [(lag, row) for lag, row in zip(frames, found, strict=True) if not isinstance(row, ConnectivityError)]
    stacked = [np.array([row[part] for _, row in kept]) for part in range(3)]
    unit = "frames" if discrete.dt is None else "ps"
    skipped = tuple(f"{units.format_lag(lag, discrete.dt)} (no connected states)" for lag in failed)
    return ImpliedTimescales(
        np.array([lag for lag, _ in kept]),
        discrete.dt,
        Estimate(stacked[0], stacked[1], stacked[2], unit),
        np.array([row[3] for _, row in kept]),
        skipped,
    )


def default_lags(discrete: Discrete, number: int = 12) -> list[int]:
    """Lags in a geometric series from one frame to a fifth of the median trajectory."""
    last = max(2, int(np.median(discrete.lengths)) // 5)
    last = min(last, int(discrete.lengths.max()) - 1)
    if last < 1:
        raise LagError("every trajectory is a single frame; a Markov model needs at least two frames in a row")
    return sorted({round(lag) for lag in np.geomspace(1, last, number)})


_Row = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def _at_lag(discrete: Discrete, lag: int, k: int, n_samples: int, seed: int, reversible: bool) -> _Row:
    counts = count(discrete, lag, "sliding", warn=False)
    matrix, stationary = maximum_likelihood(counts.matrix, reversible)
    step = lag * (1.0 if discrete.dt is None else discrete.dt)
    value = timescales(eigenvalues(matrix, stationary, reversible), step, k)
    samples = np.empty((0, len(value)))
    if n_samples:
        drawn, weights, _ = sample_posterior(counts.used, counts.active, lag, reversible, n_samples, seed)
        samples = timescales(eigenvalues(drawn, weights, reversible), step, k)
    estimate = with_samples(value, samples)
    padding = (0, k - len(value))
    rows = [np.pad(a, padding, constant_values=np.nan) for a in (estimate.value, estimate.low, estimate.high)]
    return rows[0], rows[1], rows[2], counts.connectivity.fraction_frames


def _agree(one: Estimate, other: Estimate) -> np.ndarray:
    """Where two figures agree: one lies in the interval of the other; without intervals, within a tenth."""
    none = np.isnan(one.low) | np.isnan(other.low)
    near = np.abs(one.value - other.value) <= 0.1 * np.abs(other.value)
    return np.where(none, near, one.contains(other.value) | other.contains(one.value))


def _cell(figure: Estimate) -> str:
    if np.isnan(figure.value):
        return "-"
    interval = "" if np.isnan(figure.low) else f" [{float(figure.low):.3g}, {float(figure.high):.3g}]"
    return f"{float(figure.value):.3g}{interval}"
