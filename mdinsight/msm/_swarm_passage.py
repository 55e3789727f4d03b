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

HUGE = 1e200
"""Stands for an infinite time where quantiles are interpolated."""

FLAT = 0.1
"""Change of the time with the lag that is no matter."""


class Passage(Record):
    """Mean first passage time from the states A to the states B; see :func:`swarm_passage`.

    Attributes
    ----------
    mfpt
        From A, entered with its equilibrium weights, to the first visit of B, ``Estimate``.
    ratio
        That over the time which paths of half the lag give, ``Estimate``; 1 once the memory of the start is lost.
    lag
        In frames.
    effective
        How many paths show the passage: those that arrive in B within the lag, by weight; fewer where the error of the
        time says that its weakest step rests on fewer.
    dt
        ps between frames, or None.
    """

    mfpt: Estimate
    ratio: Estimate
    lag: int
    effective: float
    dt: float | None

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether the time changes with the lag, and whether enough paths show it."""
        lag = units.format_lag(self.lag, self.dt)
        steady = bool(self.ratio.contains(1.0)) or abs(float(self.ratio.value) - 1.0) < FLAT
        says = f"from half of {lag} to {lag} the mean time changes by a factor of {self.ratio}"
        found = Verdict("lag", steady, says, "make the swarms longer, or take more and smaller states")
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
        How far to follow, frames (int) or a time; at least two frames. By then the memory of what a state does not fix
        must be lost.

    Raises
    ------
    LagError
        If the lag is longer than the paths or shorter than two frames.
    ParameterError
        If A and B overlap, or no window begins in A.

    Notes
    -----
    The times m of all states outside B follow from

        m_i = E_i[min(T, lag)] + sum over j of P_i(x_lag in j, T > lag) m_j,

    T the first visit of B. The expectations are ratios of sums over weighted windows (see ``swarm_model``), taken
    forward and backward in time. What has not arrived within the lag goes on from the state where it is, as in a Markov
    model; arrivals are seen at every frame. Other long-lived states on the way do not matter, unlike for a rate of
    arrivals (10.1063/1.436049), which needs A and B to be the only two.
    """
    check_samples(n_samples, LEAST)
    frames = swarms.check_lag(lag)
    if frames < 2:
        raise LagError(f"lag={frames} frames is too short to be compared with half of it; give at least 2")
    source, target = _members(swarms, A, "A"), _members(swarms, B, "B")
    if (source & target).any():
        raise ParameterError(
            f"A and B share the states {np.flatnonzero(source & target).tolist()}; give two sets without overlap"
        )
    strata = resolve_weights(swarms, weights, weight_samples, n_samples, seed, compare=False)
    factors = swarms.random_factors(n_samples, seed)
    with one_thread():
        half = _times(windows(swarms, frames // 2), source, target, strata, factors)
        found = windows(swarms, frames)
        whole = _times(found, source, target, strata, factors)
    if np.isnan(whole[0]):
        raise ParameterError(f"no window of the swarms begins in A={A!r}; give states that they visit")
    dt, unit = (1.0, "frames") if swarms.dt is None else (swarms.dt, "ps")
    with np.errstate(invalid="ignore"):
        ratio = whole / half
    ratio = np.where(np.isfinite(ratio), ratio, np.nan)
    return Passage(
        _with_infinite(whole[0] * dt, whole[1:] * dt, unit),
        Estimate.from_samples(ratio[0], ratio[1:]),
        frames,
        min(_shown_by(found, target, strata), _worth(whole)),
        swarms.dt,
    )


def _times(
    found: Windows, source: np.ndarray, target: np.ndarray, strata: StrataInUse, factors: np.ndarray
) -> np.ndarray:
    """Mean frames from the source to the target, (1 + n_samples,), the first of all paths as they are."""
    swarms, lag, n = found.swarms, found.lag, found.swarms.paths.n_states
    labels = []
    for begin, end, wait in _ways(found, target):
        state = swarms.flat_states[begin]
        place = np.where(wait > lag, swarms.flat_states[end], n + np.clip(wait, 1, lag) - 1)
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
    after how many frames. Infinite where the source does not lead to arrivals, NaN where nothing begins in it."""
    n = len(table)
    stay, arrive = table[:, :n], table[:, n:]
    lag = arrive.shape[1]
    spent = lag * stay.sum(axis=1) + arrive @ np.arange(1.0, lag + 1.0)
    total, times = table.sum(axis=1), np.full(n, np.inf)
    held = source & (total > 0)
    for members in connected_sets(stay + stay.T + np.diag(total)):
        if arrive[members].sum() > 0:
            inside = stay[np.ix_(members, members)]
            inside = np.diag(total[members]) - 0.5 * (inside + inside.T)  # time reversal
            times[members] = np.linalg.solve(inside, spent[members])
    return float(total[held] @ times[held] / total[held].sum()) if held.any() else np.nan


def _worth(times: np.ndarray) -> float:
    """How many paths would leave as large an error: a rate that rests on k of them is known to 1 / sqrt(k)."""
    if not np.isfinite(times).all():
        return 0.0
    return 1.0 / max(float(np.log(times[1:]).var()), 1e-300)


def _shown_by(found: Windows, target: np.ndarray, strata: StrataInUse) -> float:
    """How many paths, by weight, arrive."""
    given = np.zeros(len(found.used))
    for begin, _, wait in _ways(found, target):
        arrives = ~target[found.swarms.flat_states[begin]] & (wait <= found.lag)
        given += found.per_path(np.where(arrives, 0, -1), strata.weights)
    return float(given.sum() ** 2 / max((given**2).sum(), 1e-300))


def _ways(found: Windows, target: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]:
    """Of each window, forward and backward in time: where it begins and ends, and after how many frames it arrives."""
    before, after = _nearest(found.swarms, target)
    first, last = found.first, found.first + found.lag
    return (first, last, after[first]), (last, first, before[last])


def _with_infinite(value: np.ndarray, samples: np.ndarray, unit: str) -> Estimate:
    """The interval of samples of which some may be infinite: nothing arrived in them."""
    figure = Estimate.from_samples(value, np.minimum(samples, HUGE), unit)
    return figure.replace(high=np.where(figure.high > 1e-3 * HUGE, np.inf, figure.high))


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
