"""Policies that need no model of the dynamics: by visits, observable, distance, stratum and weight."""

from __future__ import annotations

import math
import numbers
from typing import Any, ClassVar

import numpy as np

from mdinsight.adaptive._cover import farthest_points
from mdinsight.adaptive._frames import Frames
from mdinsight.adaptive._policy import Policy, around, place, ranked, systematic
from mdinsight.errors import ParameterError
from mdinsight.features import Definition, Features


class LeastCounts(Policy):
    """Start in the microstates that were visited least, each walker in another one (Bowman, Ensign and Pande 2010,
    10.1021/ct900620b).

    When to use it: always possible and hard to beat for discovery; it looks at nothing but the number of frames in each state.
    Ties are decided at random, and so is the frame of a state. With more walkers than states the order begins again.
    """

    def _choose(self, frames: Frames, n: int, rng: np.random.Generator) -> np.ndarray:
        return place(frames.states, around(least_visited(frames, rng), n), rng)


class FAST(Policy):
    """Start where an observable is large (or small), traded against where little was sampled (Zimmerman and Bowman 2015,
    10.1021/acs.jctc.5b00737).

    The reward of a microstate is the mean of the observable over its frames, scaled to 0..1 over the states, plus ``alpha``
    times the same of its lack of visits. Walkers start in the states of highest reward, each in another one.

    When to use it: a physical quantity is known that goes up on the way (a pocket's volume, a distance to open).

    Parameters
    ----------
    direction
        ``"max"`` or ``"min"``: where the observable should go.
    alpha
        Weight of exploration, 0 for none; 1 gives it as much as the observable.
    towards
        The observable: features of one column, such as ``Distances(pairs=[(4, 20)])`` or ``RadiusOfGyration()``, with or
        without a gradient. A run computes it on all frames from which walkers may start. A plan needs it.

    Raises
    ------
    ParameterError
        If a parameter has a value that it cannot have.
    """

    needs: ClassVar[tuple[str, ...]] = ("observable",)

    direction: str = "max"
    alpha: float = 1.0
    towards: Any = None

    def __post_init__(self) -> None:
        if self.towards is not None and not isinstance(self.towards, Definition):
            raise ParameterError(f"towards={self.towards!r} are no features; give e.g. RadiusOfGyration()")
        if self.towards is not None and not isinstance(self.towards, Features):
            self._set("towards", Features((self.towards,)))
        if self.direction not in ("max", "min"):
            raise ParameterError(f"direction={self.direction!r} is no direction; give 'max' or 'min'")
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, numbers.Real) or not 0 <= self.alpha < math.inf:
            raise ParameterError(f"alpha={self.alpha!r} is not a weight of exploration; give 0 or more, e.g. 1")
        self._set("alpha", float(self.alpha))
        super().__post_init__()

    def _choose(self, frames: Frames, n: int, rng: np.random.Generator) -> np.ndarray:
        states = np.flatnonzero(frames.visits)
        visits = frames.visits[states]
        mean = np.bincount(frames.states, weights=frames.observable, minlength=frames.n_states)[states] / visits
        reward = _unit(mean if self.direction == "max" else -mean) + self.alpha * _unit(-visits.astype(np.float64))
        return place(frames.states, around(states[ranked(reward, rng)], n), rng)


class Diverse(Policy):
    """Start at frames that lie as far from each other as possible along the coordinate, scaled by its spread (greedy k-centre:
    Gonzalez 1985, 10.1016/0304-3975(85)90224-5).

    When to use it: to pick the starts of a swarm out of an exploration, when weights and visits mean nothing yet. The first
    frame is drawn at random; with more walkers than distinct points the choice begins again.
    """

    def _choose(self, frames: Frames, n: int, rng: np.random.Generator) -> np.ndarray:
        chosen = farthest_points(frames.points, n, int(rng.integers(len(frames))))
        if len(chosen) == n:
            return chosen
        # all points are taken: other frames at the same points, as far as there are any
        groups = np.unique(frames.points, axis=0, return_inverse=True)[1].reshape(-1)
        return place(groups, around(groups[chosen], n), rng)


class Stratified(Policy):
    """Start as many walkers in each stratum as in any other: equal bins along the first coordinate, or the microstates.

    When to use it: for the swarms that give kinetics and populations, whose starts shall cover the whole coordinate, barrier
    included. Where walkers do not divide evenly, the strata that get one more are drawn at random; the idea is that of
    stratified samples with equal allocation (Neyman 1934, 10.2307/2342192).

    Parameters
    ----------
    bins
        Number of bins of equal width along the first coordinate; None takes the microstates. Empty bins get no walker.
    weighted
        Draw the frames of a stratum with their weights in the unbiased ensemble, so that the starts are in local equilibrium;
        strata without weight get no walker. By default each frame of a stratum is as likely, and none is taken twice while
        others are left.

    Raises
    ------
    ParameterError
        If a parameter has a value that it cannot have.
    """

    bins: int | None = 20
    weighted: bool = False

    def __post_init__(self) -> None:
        whole = isinstance(self.bins, numbers.Integral) and not isinstance(self.bins, bool)
        if self.bins is not None and (not whole or self.bins < 1):
            raise ParameterError(
                f"bins={self.bins!r} is not a number of bins; give at least 1, or None for microstates"
            )
        if not isinstance(self.weighted, bool):
            raise ParameterError(f"weighted={self.weighted!r} is neither True nor False")
        super().__post_init__()

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Weights, where the frames of a stratum are drawn with them."""
        return ("log_weights",) if self.weighted else ()

    def _choose(self, frames: Frames, n: int, rng: np.random.Generator) -> np.ndarray:
        strata = frames.states if self.bins is None else _bins(frames.s[:, 0], int(self.bins))
        held = strata if frames.weights is None or not self.weighted else strata[frames.weights > 0]
        targets = around(rng.permutation(np.unique(held)), n)
        if not self.weighted or frames.weights is None:
            return place(strata, targets, rng)
        rows = np.empty(n, dtype=np.int64)
        for stratum in np.unique(targets):
            inside, walkers = np.flatnonzero(strata == stratum), np.flatnonzero(targets == stratum)
            share = frames.weights[inside] / frames.weights[inside].sum()
            rows[walkers] = inside[systematic(share, len(walkers), rng)]
        return rows


class Equilibrium(Policy):
    """Start at frames drawn with their weights in the unbiased ensemble, by systematic resampling (Kitagawa 1996,
    10.1080/10618600.1996.10474692).

    When to use it: for plain continuation, and for swarms whose starts shall be in equilibrium. A frame of weight w is chosen
    floor(n w) or ceil(n w) times, so where few frames have all the weight they are chosen again and again.
    """

    needs: ClassVar[tuple[str, ...]] = ("log_weights",)

    def _choose(self, frames: Frames, n: int, rng: np.random.Generator) -> np.ndarray:
        return systematic(np.asarray(frames.weights), n, rng)


def usable(policy: Policy, frames: Frames) -> Policy:
    """The policy, or :class:`LeastCounts` as long as the frames lack what it needs: before a bias settles no weight is known."""
    return policy if all(getattr(frames, name) is not None for name in policy.needs) else LeastCounts()


def least_visited(frames: Frames, rng: np.random.Generator) -> np.ndarray:
    """The microstates that hold frames, from the least visited up; equal ones in random order."""
    states = np.flatnonzero(frames.visits)
    return states[ranked(-frames.visits[states].astype(np.float64), rng)]


def _unit(values: np.ndarray) -> np.ndarray:
    """Values scaled to 0..1; all 0 if they are equal."""
    spread = np.ptp(values)
    return (values - values.min()) / spread if spread > 0 else np.zeros_like(values)


def _bins(values: np.ndarray, number: int) -> np.ndarray:
    low, width = values.min(), np.ptp(values)
    if width == 0:
        return np.zeros(len(values), dtype=np.int64)
    return np.minimum((number * ((values - low) / width)).astype(np.int64), number - 1)
