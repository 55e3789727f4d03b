"""Swarms: short unbiased paths whose starts were drawn stratum by stratum, and the weighted windows in them.

Let mu be the equilibrium measure of paths, W_s the equilibrium weight of stratum s and x_0 .. x_lag a window. A path
drawn from equilibrium with its start in stratum s shows, at the offset m of its start, a window with the density
1[x_m in s] / W_s relative to mu, since mu is stationary. All n_s starts of all strata and all offsets together show a
window with the density D(x) = sum_m n_s(x_m) / W_s(x_m). So for every function f of a window, summed over all windows
that contain the start of their path,

    E[sum f / D] = integral mu f D / D = E_mu[f; the window meets a stratum with starts],

which is multiple importance sampling with the balance heuristic (10.1145/218380.218498; for paths of MD
10.1063/1.3242285, 10.1063/1.3592152). Nothing is assumed of the dynamics but that it is stationary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mdinsight import seeds, units
from mdinsight.compiled import compiled
from mdinsight.errors import LagError, ParameterError
from mdinsight.states import Discrete, as_discrete
from mdinsight.words import some

FLOOR = 1e-4
"""Least random weight of a path in a sample, so that no sample falls apart."""

FEWEST = 10
"""Starts in a stratum below which they tell little of their own spread."""


@dataclass(frozen=True)
class Swarms:
    """Short unbiased paths from starts that are equilibrium samples of their strata; see :func:`swarms`.

    Attributes
    ----------
    paths
        State numbers, one array a path.
    strata
        Stratum numbers of the same frames.
    starts
        The start's frame in each path, (n,): the path was propagated from there, forward and (as a rule) backward.
    importance
        Weight of each start within its stratum, (n,).
    origins
        Number of the run that each start was taken from, (n,).
    """

    paths: Discrete
    strata: Discrete
    starts: np.ndarray
    importance: np.ndarray
    origins: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def dt(self) -> float | None:
        """ps between frames, None where not known."""
        return self.paths.dt

    @cached_property
    def n_strata(self) -> int:
        """One more than the highest stratum number."""
        return self.strata.n_states

    @cached_property
    def start_strata(self) -> np.ndarray:
        """The stratum of each start, (n,)."""
        return np.array([a[start] for a, start in zip(self.strata.arrays, self.starts, strict=True)], dtype=np.int64)

    @cached_property
    def counts(self) -> np.ndarray:
        """Starts in each stratum, (n_strata,)."""
        return np.bincount(self.start_strata, minlength=self.n_strata)

    @cached_property
    def backward(self) -> np.ndarray:
        """Frames before the start, (n,)."""
        return self.starts.copy()

    @cached_property
    def forward(self) -> np.ndarray:
        """Frames after the start, (n,)."""
        return self.paths.lengths - 1 - self.starts

    @cached_property
    def flat_states(self) -> np.ndarray:
        """The states of all paths in one array."""
        return np.concatenate(self.paths.arrays).astype(np.int64)

    @cached_property
    def flat_strata(self) -> np.ndarray:
        """The strata of all paths in one array."""
        return np.concatenate(self.strata.arrays).astype(np.int64)

    @cached_property
    def flat_starts(self) -> np.ndarray:
        """Where the starts are in the flat arrays, (n,)."""
        return self.starts + np.concatenate([[0], np.cumsum(self.paths.lengths)[:-1]])

    def path_weights(self, used: np.ndarray, factors: np.ndarray | None = None) -> np.ndarray:
        """The weight of each of the used paths, (len(used),): their mean is 1 in each stratum.

        With random factors, strata with fewer than ten of the used paths are drawn together, and the mean is 1 over all of
        these: one path alone shows no spread, and three but little (the collapsed strata of Hansen, Hurwitz and Madow,
        which err on the side of too much).
        """
        strata = self.start_strata[used]
        weights = _with_mean_one(self.importance[used], strata)
        if factors is None:
            return weights
        few = np.bincount(strata, minlength=self.n_strata) < FEWEST
        return _with_mean_one(weights * factors[used], np.where(few[strata], self.n_strata, strata))

    def random_factors(self, n_samples: int, seed: int) -> np.ndarray:
        """Random weights of the paths, (n_samples, n): the Bayesian bootstrap within each stratum.

        The shape (n_s - 2) / n_s of the gamma variates gives the mean over a stratum the variance that it has, s^2 / n_s
        with the unbiased s^2 (10.1214/aos/1176345338 with shape 1 gives s^2 (n_s - 1) / n_s / (n_s + 1)). All weights
        are positive, so that no sample loses a connection. Strata with few starts are one: see :meth:`path_weights`.

        Starts of one origin are alike in what their stratum does not fix, however many they are. So each origin has a
        random weight besides, the same in all strata.
        """
        few = self.counts < FEWEST
        number = np.where(few, self.counts[few].sum(), self.counts)[self.start_strata]
        shape = np.maximum((number - 2) / number, 0.2)
        rng = seeds.generator(seed, "msm.swarms")
        drawn = rng.standard_gamma(shape, size=(n_samples, len(self)))
        labels, origin = np.unique(self.origins, return_inverse=True)
        if len(labels) > 1:
            drawn *= rng.standard_gamma(max(1.0 - 2.0 / len(labels), 0.2), size=(n_samples, len(labels)))[:, origin]
        return np.maximum(drawn, FLOOR)

    def check_lag(self, lag: Any, name: str = "lag") -> int:
        """A lag in frames that some path holds.

        Raises
        ------
        LagError
            If every path is shorter.
        """
        frames = units.lag_frames(lag, self.dt, name)
        longest = int(self.paths.lengths.max()) - 1
        if frames > longest:
            raise LagError(
                f"{name}={units.format_lag(frames, self.dt)} is longer than the longest of the {len(self)} paths "
                f"({units.format_lag(longest, self.dt)}); take a shorter lag or make the swarms longer"
            )
        return frames


def swarms(
    paths: Any,
    starts: np.ndarray | Sequence[int],
    strata: Any = None,
    importance: np.ndarray | Sequence[float] | None = None,
    dt: Any = None,
    origins: np.ndarray | Sequence[int] | None = None,
) -> Swarms:
    """Short unbiased paths whose starts are equilibrium samples of their strata.

    Each start is drawn from the equilibrium distribution restricted to its stratum, with fresh Maxwell velocities, and
    propagated without bias forward and, from the negated velocities, backward; the backward half is reversed in time
    and joined. Langevin dynamics then makes the whole an equilibrium path, given the stratum of its start. How long a
    path is must not depend on where it went.

    Parameters
    ----------
    paths
        State numbers: a ``TimeSeries`` of one column, or a list of int arrays, one a path.
    starts
        The start's frame in each path, (n,); 0 for paths that go forward only.
    strata
        Stratum numbers of the same frames; None takes the states.
    importance
        Weight of each start within its stratum, (n,) positive, where the starts were not drawn with their equilibrium
        weights; only ratios within a stratum matter.
    dt
        Time between frames (ps, or with a unit); None takes the one of ``paths``.
    origins
        Number of the run that each start was taken from, (n,) int, where starts are frames of correlated trajectories:
        the intervals then hold how little those may show of a stratum. None: all starts are independent.

    Raises
    ------
    ParameterError
        If the numbers of paths, frames, starts and weights do not agree.
    """
    states = as_discrete(paths)
    if dt is not None:
        states = Discrete(states.arrays, units.time(dt, "dt"), states.origins, states.definition)
    levels = states if strata is None else as_discrete(strata)
    if len(levels) != len(states) or (levels.lengths != states.lengths).any():
        raise ParameterError(
            f"strata ({len(levels)} arrays, {levels.n_frames} frames) are not of the same frames as paths "
            f"({len(states)} arrays, {states.n_frames} frames); give one stratum number for each frame of each path"
        )
    where = np.asarray(starts)
    if where.shape != (len(states),) or where.dtype.kind not in "iu":
        raise ParameterError(
            f"starts has shape {where.shape} and type {where.dtype}; give one int for each of the {len(states)} paths"
        )
    outside = np.flatnonzero((where < 0) | (where >= states.lengths))
    if len(outside):
        worst = int(outside[0])
        raise ParameterError(
            f"the start of path {worst} is frame {where[worst]}, outside its {states.lengths[worst]} frames; "
            "give the number of the frame that the path was propagated from"
        )
    weights = np.ones(len(states)) if importance is None else np.asarray(importance, dtype=np.float64)
    if weights.shape != (len(states),) or not (np.isfinite(weights) & (weights > 0)).all():
        raise ParameterError(
            f"importance has shape {weights.shape} or a weight that is not positive; "
            f"give one positive weight for each of the {len(states)} starts"
        )
    source = np.zeros(len(states), np.int64) if origins is None else np.asarray(origins)
    if source.shape != (len(states),) or source.dtype.kind not in "iu":
        raise ParameterError(
            f"origins has shape {source.shape} and type {source.dtype}; give one int for each of the {len(states)} starts"
        )
    return Swarms(states, levels, where.astype(np.int64), weights, source.astype(np.int64))


@dataclass(frozen=True)
class Windows:
    """All windows of one lag that contain the start of their path at an offset from ``low`` to ``high``.

    The offsets are the same for all paths ``used`` (numbers), so that D sums over these positions of a window.
    """

    swarms: Swarms
    lag: int
    low: int
    high: int
    used: np.ndarray

    @cached_property
    def first(self) -> np.ndarray:
        """Where each window begins in the flat arrays, (n_used, n_offsets)."""
        return self.swarms.flat_starts[self.used][:, None] - np.arange(self.low, self.high + 1)

    @cached_property
    def counts(self) -> np.ndarray:
        """Starts of the used paths in each stratum, (n_strata,)."""
        return np.bincount(self.swarms.start_strata[self.used], minlength=self.swarms.n_strata)

    def rates(self, weights: np.ndarray) -> np.ndarray:
        """n_s / W_s, 0 for strata without starts or weight, (n_strata,)."""
        own = weights[: self.swarms.n_strata]
        return np.divide(self.counts, own, out=np.zeros(len(own)), where=(own > 0) & (self.counts > 0))

    def sums(
        self, labels: np.ndarray, n_labels: int, weights: np.ndarray, factors: np.ndarray | None = None
    ) -> np.ndarray:
        """Equilibrium probabilities of labels of windows, (n_labels,).

        Parameters
        ----------
        labels
            A number for each window, (n_used, n_offsets); -1 for none.
        weights
            Equilibrium weights of the strata, (n_strata,).
        factors
            Random weights of all paths, (n,), for a sample.
        """
        shares = self.swarms.path_weights(self.used, factors)
        flat, starts = self.swarms.flat_strata, self.swarms.flat_starts[self.used]
        return _window_sums(labels, n_labels, flat, starts, self.rates(weights), shares)

    def per_path(self, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """What each used path gives to the windows whose label is not -1, (n_used,)."""
        own = np.where(labels >= 0, np.arange(len(self.used))[:, None], -1)
        return self.sums(own, len(self.used), weights)


def windows(swarms: Swarms, lag: int) -> Windows:
    """The windows of a lag: of all choices of paths and offsets the one with most windows.

    Raises
    ------
    LagError
        If no path is long enough.
    """
    backward, forward = np.minimum(swarms.backward, lag), np.minimum(swarms.forward, lag)
    best, most = (0, 0), 0
    for before, after in np.unique(np.stack([backward, forward], axis=1), axis=0):
        reach = int(((backward >= before) & (forward >= after)).sum()) * max(0, int(before + after) - lag + 1)
        if reach > most:
            best, most = (int(before), int(after)), reach
    if most == 0:
        swarms.check_lag(lag)
        raise LagError(f"lag={units.format_lag(lag, swarms.dt)} is longer than every path; take a shorter lag")
    used = np.flatnonzero((backward >= best[0]) & (forward >= best[1]))
    return Windows(swarms, lag, lag - best[1], best[0], used)


def _with_mean_one(weights: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Weights (n,) divided by their mean in their group."""
    number, total = np.bincount(groups), np.bincount(groups, weights=weights)
    return np.asarray(weights * (number / np.where(total > 0, total, 1.0))[groups])


def check_weights(swarms: Swarms, weights: Any, samples: Any) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the strata that someone gives, (n_strata,) with sum 1, and their samples (n, n_strata)."""
    given = np.asarray(weights, dtype=np.float64)
    if given.ndim != 1 or len(given) < swarms.n_strata:
        raise ParameterError(
            f"weights has shape {given.shape}, the paths visit strata up to {swarms.n_strata - 1}; "
            f"give one equilibrium weight for each of at least {swarms.n_strata} strata"
        )
    drawn = np.empty((0, len(given))) if samples is None else np.asarray(samples, dtype=np.float64)
    if drawn.ndim != 2 or drawn.shape[1] != len(given):
        raise ParameterError(f"weight_samples has shape {drawn.shape}; give (n_samples, {len(given)})")
    for array in (given, drawn):
        if not np.isfinite(array).all() or (array < 0).any():
            raise ParameterError("weights are not all finite and at least 0; give equilibrium weights of the strata")
    lacking = np.flatnonzero((swarms.counts > 0) & (given[: swarms.n_strata] == 0))
    if len(lacking) or not (drawn[:, swarms.counts.nonzero()[0]] > 0).all():
        raise ParameterError(
            f"the weight of a stratum with starts is 0 (strata {some(list(lacking))}); its starts show that it is "
            "visited: give its weight, or leave those paths out"
        )
    return given / given.sum(), drawn / drawn.sum(axis=1, keepdims=True)


@compiled
def _window_sums(
    labels: np.ndarray, n_labels: int, strata: np.ndarray, starts: np.ndarray, rates: np.ndarray, shares: np.ndarray
) -> np.ndarray:
    """Sums of share / D by label. D is added up outwards from the start: all terms positive, nothing cancels."""
    n, offsets = labels.shape
    out = np.zeros(n_labels)
    before, after = np.zeros(offsets), np.zeros(offsets)
    for k in range(n):
        start = starts[k]
        own = rates[strata[start]]
        if own == 0.0:
            continue
        for m in range(1, offsets):
            before[m] = before[m - 1] + rates[strata[start - m]]
            after[m] = after[m - 1] + rates[strata[start + m]]
        for m in range(offsets):
            label = labels[k, m]
            if label >= 0:
                out[label] += shares[k] / (own + before[m] + after[offsets - 1 - m])
    return out
