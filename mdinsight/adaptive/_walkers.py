"""A weighted ensemble under way, and the mean first passage time that follows from the weight that arrives."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mdinsight import seeds
from mdinsight.adaptive._ensemble import WeightedEnsemble
from mdinsight.errors import DegenerateError, NonFiniteError, ParameterError
from mdinsight.records import Record
from mdinsight.results import Estimate, Verdict
from mdinsight.words import counted

_BLOCKS = 10
_MEMORY = 5
"""Statistical inefficiencies that a block must be long, so that blocks are as good as independent."""


class Ensemble(Record):
    """Weighted walkers at one moment.

    Attributes
    ----------
    weights
        (n,) weights, which sum to 1.
    parents
        (n,) row of each walker's parent in the ensemble before; of a first ensemble its own row.
    labels
        (n,) which of the named states each walker was in last (0, 1, ...; -1 for none yet), or None where no history is kept.
    """

    weights: np.ndarray
    parents: np.ndarray
    labels: np.ndarray | None = None

    @classmethod
    def start(cls, n: int, labels: np.ndarray | None = None) -> Ensemble:
        """n walkers of equal weight.

        Raises
        ------
        ParameterError
            If n is not a positive int, or the labels do not fit.
        """
        if isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < 1:
            raise ParameterError(f"n={n!r} is not a number of walkers; give an int of at least 1")
        if labels is not None and np.shape(labels) != (n,):
            raise ParameterError(f"labels has the shape {np.shape(labels)}; give one for each of the {n} walkers")
        return cls(np.full(n, 1.0 / n), np.arange(n), None if labels is None else np.asarray(labels, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.weights)

    def resampled(self, policy: WeightedEnsemble, s: np.ndarray, rng: np.random.Generator) -> Ensemble:
        """The ensemble after walkers at s (n, dim) were split and merged; walkers of different labels never merge."""
        parents, weights = policy.resample(s, self.weights, rng, self.labels)
        return Ensemble(weights, parents, None if self.labels is None else self.labels[parents])

    def visited(self, now: np.ndarray) -> Ensemble:
        """The ensemble after each walker was seen in state ``now`` (n,), where -1 is none of the named states."""
        if self.labels is None:
            raise ParameterError("these walkers keep no history; start the ensemble with labels")
        return self.replace(labels=np.where(now >= 0, now, self.labels))


@dataclasses.dataclass(frozen=True)
class Iteration:
    """One iteration: the walkers after their dynamics.

    ``states`` (n, ...) as the dynamics left them, before what arrived was sent back; ``ensemble`` their weights, parents and
    labels; ``recycled`` the weight that arrived; ``crossings`` (n_labels, n_labels) the weight whose label changed.
    """

    states: np.ndarray
    ensemble: Ensemble
    recycled: float
    crossings: np.ndarray | None


def weighted_ensemble(
    propagate: Callable[[np.ndarray, np.random.Generator], np.ndarray],
    states: np.ndarray,
    coordinate: Callable[[np.ndarray], np.ndarray],
    policy: WeightedEnsemble,
    rng: np.random.Generator,
    *,
    recycle: Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]] | None = None,
    visited: Callable[[np.ndarray], np.ndarray] | None = None,
    n_labels: int = 2,
) -> Iterator[Iteration]:
    """A weighted ensemble over any dynamics, without end: resample, propagate, send back what arrived (Huber and Kim 1996,
    10.1016/S0006-3495(96)79552-8).

    Parameters
    ----------
    propagate
        ``propagate(states, rng)`` moves all walkers (n, ...) by one unbiased segment.
    states
        (n, ...) starts, of equal weight.
    coordinate
        ``coordinate(states)`` is (n,) or (n, dim).
    policy
        Bins, and walkers in a bin.
    rng
        Decides everything.
    recycle
        ``recycle(states, rng)`` returns the states with those that arrived put back to the source, and (n,) bool which
        those are: the ensemble then goes to the steady state of :func:`mfpt`. By default nothing is sent back, and the
        weights go to equilibrium.
    visited
        ``visited(states)`` is the named state (0, 1, ...) that each walker is in, -1 for none: walkers then carry the one that
        they were in last, which gives rates both ways in equilibrium (Suarez et al. 2014, 10.1021/ct401065r).
    n_labels
        How many named states there are.
    """
    ensemble = Ensemble.start(len(states), None if visited is None else visited(states))
    while True:
        ensemble = ensemble.resampled(policy, coordinate(states), rng)
        states = propagate(states[ensemble.parents], rng)
        crossings = None
        if visited is not None:
            before = ensemble.labels
            ensemble = ensemble.visited(visited(states))
            crossings = _crossings(before, ensemble.labels, ensemble.weights, n_labels)
        moved, arrived = (states, None) if recycle is None else recycle(states, rng)
        recycled = 0.0 if arrived is None else float(ensemble.weights[arrived].sum())
        yield Iteration(states, ensemble, recycled, crossings)
        states = moved


def _crossings(before: Any, after: Any, weights: np.ndarray, n_labels: int) -> np.ndarray:
    crossed = (before != after) & (before >= 0)
    flat = before[crossed] * n_labels + after[crossed]
    return np.bincount(flat, weights=weights[crossed], minlength=n_labels**2).reshape(n_labels, n_labels)


class PassageTime(Record):
    """A mean first passage time from the flux of a weighted ensemble.

    Attributes
    ----------
    mfpt
        In ps if the interval was; else in iterations.
    flux
        Weight that arrives in a unit of that time.
    discarded
        Iterations left out at the beginning.
    kept
        Iterations used.
    halves
        (2,) flux of each half of the kept iterations.
    arrivals
        Kept iterations in which weight arrived.
    blocks
        Blocks of iterations that the interval was resampled from.
    inefficiency
        How many iterations are worth one.
    """

    mfpt: Estimate
    flux: Estimate
    discarded: int
    kept: int
    halves: Estimate
    arrivals: int
    blocks: int
    inefficiency: float

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether the flux was steady, long enough, and made of enough arrivals."""
        steady = bool(self.halves[:1].overlaps(self.halves[1:])[0])
        length = self.kept / self.blocks
        return (
            Verdict(
                "steady flux",
                steady,
                f"{self.halves[0]} in the first half of what was kept, {self.halves[1]} in the second",
                "The ensemble has not reached its steady state: run more iterations",
            ),
            Verdict(
                "independent blocks",
                length >= _MEMORY * self.inefficiency,
                f"blocks of {length:.0f} iterations, a memory of {self.inefficiency:.1f}",
                "The interval is too narrow: run more iterations",
            ),
            Verdict(
                "arrivals",
                self.arrivals >= 5 * _BLOCKS,
                f"weight arrived in {counted(self.arrivals, 'iteration')}",
                "Run more iterations, or put more bins before the target",
            ),
        )


def mfpt(
    recycled: np.ndarray,
    interval: float | None = None,
    *,
    carried: np.ndarray | float = 1.0,
    discard: float = 0.25,
    level: float = 0.95,
    seed: int = 0,
    samples: int = 1000,
) -> PassageTime:
    """Mean first passage time: the inverse of the steady flux into the target of walkers that are sent
    back to the source (Hill relation in weighted ensemble: Bhatt, Zhang and Zuckerman 2010, 10.1063/1.3456985).

    The first part of the iterations is left out as transient, a fixed share: rules that look for its end in the series itself
    leave out early bursts of weight with it, which makes the time too long. Whether what is left was steady is one of the
    verdicts. The interval is the studentised bootstrap over 10 blocks of it. Where the flux rests on a few heavy walkers even
    that is too narrow (10.1021/acs.jctc.9b00015): of 95 % intervals on chains of known flux about 90 % held it.

    Parameters
    ----------
    recycled
        (n,) weight that arrived in each iteration; in equilibrium, the weight whose label changed from the source's to the
        target's.
    interval
        Length of an iteration in ps; None gives iterations.
    carried
        Weight that was on its way: 1 in a steady state with recycling; in equilibrium (n,) the weight that carried the
        source's label.
    discard
        Share of the iterations to leave out at the beginning.
    level
        Of the intervals.
    seed, samples
        Of the bootstrap.

    Raises
    ------
    DegenerateError
        If nothing arrived, or there are fewer than 20 iterations after the transient.
    NonFiniteError
        If a weight is NaN or infinite.
    ParameterError
        If the shapes do not fit.
    """
    arriving, weight, discarded = _kept(recycled, carried, discard)
    step = 1.0 if interval is None else float(interval)
    parts = zip(np.array_split(arriving, _BLOCKS), np.array_split(weight, _BLOCKS), strict=True)
    sums = np.array([[a.sum() / step, w.sum()] for a, w in parts])
    unit = ("", "iterations") if interval is None else ("1/ps", "ps")
    value, low, high = _studentised(sums, seeds.generator(seed, "adaptive.mfpt"), samples, level)
    flux = Estimate(value, low, high, unit[0], level)
    half = np.array([_log_t(part, level) for part in np.split(sums, 2)])
    return PassageTime(
        Estimate(1.0 / flux.value, 1.0 / flux.high, 1.0 / flux.low, unit[1], level),
        flux,
        discarded,
        len(arriving),
        Estimate(half[:, 0], half[:, 1], half[:, 2], unit[0], level),
        int(np.count_nonzero(arriving)),
        _BLOCKS,
        inefficiency(arriving),
    )


def _kept(recycled: Any, carried: Any, discard: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """What arrived and what was on its way after the transient, and the length of the transient."""
    arriving = np.asarray(recycled, dtype=np.float64)
    if arriving.ndim != 1 or np.shape(carried) not in ((), arriving.shape):
        raise ParameterError(
            f"recycled {arriving.shape} and carried {np.shape(carried)} do not fit; give one an iteration"
        )
    weight = np.broadcast_to(np.asarray(carried, dtype=np.float64), arriving.shape)
    if not (np.isfinite(arriving) & np.isfinite(weight)).all():
        raise NonFiniteError("the weights of some iterations are not finite; give the weights that arrived in each")
    if isinstance(discard, bool) or not isinstance(discard, (int, float)) or not 0 <= discard < 1:
        raise ParameterError(f"discard={discard!r} is no share of the iterations; give 0 or more and less than 1")
    discarded = int(discard * len(arriving))
    arriving, weight = arriving[discarded:], weight[discarded:]
    if len(arriving) < 2 * _BLOCKS:
        raise DegenerateError(
            f"{counted(len(arriving), 'iteration')} after the transient are too few for a flux; run at least {2 * _BLOCKS}"
        )
    if not arriving.any() or not weight.any():
        raise DegenerateError(
            f"no weight arrived in the {len(arriving)} iterations after the transient, so the flux is not known; "
            "run more iterations, or put bins where walkers still have to climb"
        )
    return arriving, weight, discarded


def _studentised(sums: np.ndarray, rng: np.random.Generator, samples: int, level: float) -> tuple[Any, Any, Any]:
    """The ratio of the two columns' sums over blocks (n_blocks, 2), and its interval: the bootstrap of its logarithm over the
    standard error, since a flux that rests on few heavy walkers is skewed, and its error bar with it."""
    rows = rng.integers(len(sums), size=(samples, len(sums)))
    value, error = _ratio(sums)
    drawn, errors = _ratio(sums[rows])
    with np.errstate(divide="ignore", invalid="ignore"):
        student = np.log(drawn / value) / errors
    student = student[np.isfinite(student)]  # not of draws without a spread or without an arrival
    if error == 0 or len(student) == 0:
        return value, value, value
    low, high = np.quantile(student, [0.5 - level / 2, 0.5 + level / 2])
    return value, value * np.exp(-high * error), value * np.exp(-low * error)


def _log_t(sums: np.ndarray, level: float) -> tuple[float, float, float]:
    """The ratio, and the interval that Student's t gives its logarithm."""
    from scipy.stats import t

    value, error = _ratio(sums)
    if value == 0:
        return 0.0, 0.0, 0.0
    width = np.exp(t.ppf(0.5 + level / 2, len(sums) - 1) * error)
    return float(value), float(value / width), float(value * width)


def _ratio(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ratio of the sums over blocks (..., n_blocks, 2), and its relative standard error to first order."""
    above, below = sums[..., 0], sums[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = above.sum(axis=-1) / below.sum(axis=-1)
        residual = above - ratio[..., None] * below
        n = sums.shape[-2]
        return ratio, np.sqrt(n / (n - 1) * np.square(residual).sum(axis=-1)) / above.sum(axis=-1)


def inefficiency(series: np.ndarray) -> float:
    """How many consecutive values are worth one: 1 + 2 sum of the autocorrelation up to where it first reaches 0
    (10.1021/ct0502864)."""
    centred = series - series.mean()
    variance = float(centred @ centred)
    if variance <= 1e-24 * float(series @ series):
        return 1.0
    total = 1.0
    for lag in range(1, len(series)):
        correlation = float(centred[:-lag] @ centred[lag:]) / variance
        if correlation <= 0:
            break
        total += 2.0 * correlation
    return total
