"""First passage times between core sets out of swarms, without any Markov assumption within the length of a path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mdinsight import units
from mdinsight.errors import LagError, ParameterError
from mdinsight.msm._connectivity import connected_sets
from mdinsight.msm._estimators import check_samples
from mdinsight.msm._macrostates import ENOUGH
from mdinsight.msm._swarm_model import StrataInUse, resolve_weights
from mdinsight.msm._swarm_paths import Swarms, Windows, windows
from mdinsight.msm._swarm_weights import LEAST
from mdinsight.parallel import one_thread
from mdinsight.records import Record
from mdinsight.results import Estimate, Verdict

POINTS = 8
"""Times at which the survival is taken."""

HUGE = 1e200
"""Stands for an infinite time where quantiles are interpolated."""

FLAT = 0.1
"""Change of the rate that is no matter."""

ELSEWHERE = 0.05
"""Most of the equilibrium from which neither set is met within the lag where A and B are all that is long-lived."""


class Passage(Record):
    """Mean first passage time from the states A to the states B; see :func:`swarm_passage`.

    Attributes
    ----------
    mfpt
        From A, entered with its equilibrium weights, to the first visit of B, ``Estimate``.
    rate
        Part of what is still on the way that arrives per ps (or frame) in the second half of the lag, ``Estimate``.
    ratio
        The rate in the last quarter over that in the quarter before, ``Estimate``; 1 once the memory of the start is
        lost. If put together, the mean time at the lag over that at half of it.
    steps
        Times from the start, (n,) in frames.
    arrived
        Part that has met B by then, ``Estimate`` (n,).
    elsewhere
        Part of the equilibrium from which neither A nor B is met within the lag.
    effective
        How many paths, by weight, show the passage.
    dt
        ps between frames, or None.
    joined
        Whether the mean time is put together from many paths, because there is no one rate of arrivals: other long-lived
        states are on the way (``elsewhere`` above 5 %), none arrives within the lag, or the rate is not steady.
    """

    mfpt: Estimate
    rate: Estimate
    ratio: Estimate
    steps: np.ndarray
    arrived: Estimate
    elsewhere: float
    effective: float
    dt: float | None
    joined: bool = False

    @property
    def is_steady(self) -> bool:
        """Whether ``ratio`` is 1, within its interval or a tenth."""
        return bool(self.ratio.contains(1.0)) or abs(float(self.ratio.value) - 1.0) < FLAT

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether the rate has a plateau (if put together: whether the lag matters), and enough paths show it."""
        lag = units.format_lag(int(self.steps[-1]), self.dt)
        if self.joined:
            says = f"from half of {lag} to {lag} the mean time changes by a factor of {self.ratio}"
            found = Verdict("lag", self.is_steady, says, "make the swarms longer, or take more and smaller states")
        else:
            says = f"the rate in the second half of {lag} changes by a factor of {self.ratio}"
            remedy = "make the swarms longer, or take smaller core sets inside the basins"
            found = Verdict("plateau", self.is_steady, says, remedy)
        says = f"the passage is shown by {self.effective:.3g} paths, by weight"
        return found, Verdict("paths", self.effective >= ENOUGH, says, "draw more starts between A and B")

    def summary(self) -> str:
        """The time and the verdicts in words."""
        return "\n".join([f"mean first passage time {self.mfpt}", *(f"  {verdict}" for verdict in self.verdicts())])

    def __str__(self) -> str:
        return self.summary()


def swarm_passage(
    swarms: Swarms,
    A: int | Sequence[int] | np.ndarray,
    B: int | Sequence[int] | np.ndarray,
    lag: Any,
    weights: Any = None,
    weight_samples: Any = None,
    n_samples: int = 200,
    seed: int = 0,
) -> Passage:
    """Mean first passage time from A to B out of swarms, by their first arrivals.

    To be preferred to the Markov model's: the way into B is followed frame by frame, and no visit of it is missed.

    Parameters
    ----------
    swarms, weights, weight_samples, n_samples, seed
        As for ``swarm_model``.
    A, B
        State numbers, without overlap.
    lag
        How far to follow, frames (int) or a time; at least four frames. By half of it the memory of the start must be
        lost.

    Raises
    ------
    LagError
        If the lag is longer than the paths or shorter than four frames.
    ParameterError
        If A and B overlap, or no window begins in A.

    Notes
    -----
    S(t), the part of A's equilibrium that has not met B by t, is a ratio of sums over weighted windows of length t (see
    ``swarm_model``), taken forward and backward in time. Once the memory of the start is lost S falls with a constant
    rate k (the plateau of Chandler, 10.1063/1.436049, with an absorbing B instead of its population), so the mean time
    is the sum of S up to the lag plus S(lag) / k. Nothing else is assumed.

    That needs A and B to be the cores of the only two long-lived basins. Where from more than 5 % of the equilibrium
    neither is met within the lag, a way may rest in a third one; where the rate is not steady or nothing arrives, the
    way is longer than the lag. There is no one rate then, and the times m of all states follow from m_i =
    E_i[min(T, lag)] + sum over j of P_i(x_lag in j, T > lag) m_j, T the first visit of B: what has not arrived within
    the lag goes on from the state where it is, as in a Markov model, but arrivals are seen at every frame.
    """
    check_samples(n_samples, LEAST)
    frames = swarms.check_lag(lag)
    if frames < 4:
        raise LagError(f"lag={frames} frames is too short to see a rate settle; give at least 4")
    source, target = _members(swarms, A, "A"), _members(swarms, B, "B")
    if (source & target).any():
        raise ParameterError(
            f"A and B share the states {np.flatnonzero(source & target).tolist()}; give two sets without overlap"
        )
    strata = resolve_weights(swarms, weights, weight_samples, n_samples, seed, compare=False)
    even = np.round(np.linspace(0, frames, POINTS + 1))[1:].astype(int)
    steps = np.union1d(even, [frames // 2, frames // 2 + frames // 4])
    arrived, drawn = np.empty(len(steps)), np.empty((n_samples, len(steps)))
    factors = swarms.random_factors(n_samples, seed)
    before, after = _nearest(swarms, target)
    with one_thread():
        for column, step in enumerate(steps):
            found = windows(swarms, int(step))
            ahead, back = _labels(found, source, before, after)
            arrived[column] = _arrived(found, ahead, back, strata.weights, None)
            for row in range(n_samples):
                drawn[row, column] = _arrived(found, ahead, back, strata.row(row), factors[row])
    if np.isnan(arrived).any():
        raise ParameterError(f"no window of the swarms begins in A={A!r}; give states that they visit")
    elsewhere = _elsewhere(found, source | target, strata)
    made = _passage(swarms, steps, arrived, drawn, elsewhere, _shown_by(found, ahead, back, strata))
    if elsewhere <= ELSEWHERE and np.isfinite(made.mfpt.value) and made.is_steady:
        return made
    with one_thread():
        half, whole = (_put_together(swarms, source, target, lag, strata, factors) for lag in (frames // 2, frames))
    made = made.replace(effective=_shown_by(found, *_labels(found, ~target, before, after), strata))
    return _of_times(made, whole, half)


def _passage(
    swarms: Swarms, steps: np.ndarray, arrived: np.ndarray, drawn: np.ndarray, elsewhere: float, effective: float
) -> Passage:
    dt, unit = (1.0, "frames") if swarms.dt is None else (swarms.dt, "ps")
    last = steps[-1]
    half, middle = last // 2, last // 2 + last // 4
    rate, rate_drawn = (_hazard(steps, a, half, last) for a in (arrived, drawn))
    times, times_drawn = (_mean(steps, a, h) for a, h in ((arrived, rate), (drawn, rate_drawn)))
    with np.errstate(divide="ignore", invalid="ignore"):
        change, change_drawn = (
            _hazard(steps, a, middle, last) / _hazard(steps, a, half, middle) for a in (arrived, drawn)
        )
    change_drawn = np.where(np.isfinite(change_drawn), change_drawn, np.nan)
    ratio = Estimate.from_samples(np.where(np.isfinite(change), change, np.nan), change_drawn)
    return Passage(
        _with_infinite(times * dt, times_drawn * dt, unit),
        Estimate.from_samples(rate / dt, rate_drawn / dt, f"1/{unit}"),
        ratio,
        steps,
        Estimate.from_samples(arrived, drawn),
        elsewhere,
        effective,
        swarms.dt,
    )


def _shown_by(found: Windows, ahead: np.ndarray, back: np.ndarray, strata: StrataInUse) -> float:
    """How many paths, by weight, arrive."""
    given = found.per_path(np.where(ahead == 1, 0, -1), strata.weights)
    given += found.per_path(np.where(back == 1, 0, -1), strata.weights)
    return float(given.sum() ** 2 / max((given**2).sum(), 1e-300))


def _put_together(
    swarms: Swarms, source: np.ndarray, target: np.ndarray, lag: int, strata: StrataInUse, factors: np.ndarray
) -> np.ndarray:
    """Mean frames from the source to the target, (1 + n_samples,), the first of all paths; inf where it is not reached."""
    found, n = windows(swarms, lag), swarms.paths.n_states
    before, after = _nearest(swarms, target)
    first, last = found.first, found.first + lag
    labels = []
    for begin, end, wait in ((first, last, after[first]), (last, first, before[last])):
        place = np.where(wait > lag, swarms.flat_states[end], n + np.clip(wait, 1, lag) - 1)
        state = swarms.flat_states[begin]
        labels.append(np.where(target[state], -1, state * (n + lag) + place))
    times = np.empty(1 + len(factors))
    for row in range(len(times)):
        weights = strata.row(row - 1) if row else strata.weights
        given = factors[row - 1] if row else None
        table = sum(found.sums(label, n * (n + lag), weights, given) for label in labels)
        times[row] = _time(np.reshape(table, (n, n + lag)), source)
    return times


def _time(table: np.ndarray, source: np.ndarray) -> float:
    """Mean frames from the source: weights (n, n + lag) of those that from each state came to which, and that arrived
    after how many frames."""
    n = len(table)
    stay, arrive = table[:, :n], table[:, n:]
    lag = arrive.shape[1]
    spent = lag * stay.sum(axis=1) + arrive @ np.arange(1.0, lag + 1.0)
    total, times = table.sum(axis=1), np.full(n, np.inf)
    for members in connected_sets(stay + stay.T + np.diag(total)):
        if arrive[members].sum() > 0:
            inside = stay[np.ix_(members, members)]
            inside = np.diag(total[members]) - 0.5 * (inside + inside.T)  # time reversal
            times[members] = np.linalg.solve(inside, spent[members])
    held = source & (total > 0)
    return float(total[held] @ times[held] / total[held].sum()) if held.any() else np.inf


def _of_times(made: Passage, whole: np.ndarray, half: np.ndarray) -> Passage:
    """The passage with these mean times."""
    dt, unit = (1.0, "frames") if made.dt is None else (made.dt, "ps")
    with np.errstate(invalid="ignore"):
        ratio = whole / half
    ratio = np.where(np.isfinite(ratio), ratio, np.nan)
    known = bool(np.isfinite(whole).all())
    # its weakest step may be one on the way; so many paths would scatter as much
    worth = 1.0 / max(float(np.log(whole[1:]).var()), 1e-300) if known else 0.0
    return made.replace(
        mfpt=_with_infinite(whole[0] * dt, whole[1:] * dt, unit),
        ratio=Estimate.from_samples(ratio[0], ratio[1:]),
        effective=min(made.effective, worth),
        joined=True,
    )


def _with_infinite(value: np.ndarray, samples: np.ndarray, unit: str) -> Estimate:
    """The interval of samples of which some may be infinite: nothing arrived in them."""
    figure = Estimate.from_samples(value, np.minimum(samples, HUGE), unit)
    return figure.replace(high=np.where(figure.high > 1e-3 * HUGE, np.inf, figure.high))


def _hazard(steps: np.ndarray, arrived: np.ndarray, low: int, high: int) -> np.ndarray:
    """Part of what is on the way that arrives per frame between two times."""
    first, last = np.searchsorted(steps, [low, high])
    with np.errstate(divide="ignore", invalid="ignore"):  # all have arrived: no rate
        log = np.log1p(-arrived)
        return np.asarray(-np.expm1((log[..., last] - log[..., first]) / (high - low)))


def _mean(steps: np.ndarray, arrived: np.ndarray, hazard: np.ndarray) -> np.ndarray:
    """Mean frames until arrival: the sum of what is on the way over all frames, its end a geometric series."""
    grid = np.concatenate([[0], steps])
    survival = 1.0 - np.concatenate([np.zeros_like(arrived[..., :1]), arrived], axis=-1)
    pieces = 0.5 * (survival[..., 1:] + survival[..., :-1]) * np.diff(grid)
    seen = pieces.sum(axis=-1) + 0.5 * (1.0 - survival[..., -1])  # a sum over frames, not an integral
    with np.errstate(divide="ignore"):
        return np.where(hazard > 0, seen + survival[..., -1] / np.where(hazard > 0, hazard, 1.0), np.inf)


def _members(swarms: Swarms, states: Any, name: str) -> np.ndarray:
    """Which states are in a set, (n_states,) bool."""
    numbers = np.unique(np.atleast_1d(np.asarray(states)))
    if numbers.size == 0 or numbers.dtype.kind not in "iu":
        raise ParameterError(f"{name}={states!r} is no set of state numbers; give an int or a list of ints")
    n = swarms.paths.n_states
    if numbers[0] < 0 or numbers[-1] >= n:
        raise ParameterError(f"{name}={states!r} names a state that is none of the {n} states; give numbers below {n}")
    inside = np.zeros(n, dtype=bool)
    inside[numbers] = True
    return inside


def _nearest(swarms: Swarms, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each frame of the flat arrays how many frames ago, and in how many, its path is in the target."""
    hit = target[swarms.flat_states]
    number = np.arange(len(hit))
    ends = np.cumsum(swarms.paths.lengths)
    begins = ends - swarms.paths.lengths
    own = np.repeat(np.arange(len(swarms)), swarms.paths.lengths)
    never = 2 * len(hit)
    last = np.maximum.accumulate(np.where(hit, number, -1))
    following = np.minimum.accumulate(np.where(hit, number, never)[::-1])[::-1]
    before = np.where(last >= begins[own], number - last, never)
    after = np.where(following < ends[own], following - number, never)
    return before, after


def _labels(found: Windows, source: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each window, forward and backward in time: 1 from A with a visit to B, 0 from A without, -1 not from A."""
    states, first, last = found.swarms.flat_states, found.first, found.first + found.lag
    ahead = np.where(source[states[first]], after[first] <= found.lag, -1)
    back = np.where(source[states[last]], before[last] <= found.lag, -1)
    return ahead.astype(np.int64), back.astype(np.int64)


def _arrived(
    found: Windows, ahead: np.ndarray, back: np.ndarray, weights: np.ndarray, factors: np.ndarray | None
) -> float:
    sums = found.sums(ahead, 2, weights, factors) + found.sums(back, 2, weights, factors)
    total = sums.sum()
    return float(sums[1] / total) if total > 0 else float("nan")


def _elsewhere(found: Windows, either: np.ndarray, strata: StrataInUse) -> float:
    """Part of the equilibrium from which neither set is met within the lag."""
    _, after = _nearest(found.swarms, either)
    sums = found.sums((after[found.first] > found.lag).astype(np.int64), 2, strata.weights)
    return float(sums[1] / sums.sum())
