"""What the policies share: their interface, and how walkers are placed in groups of frames."""

from __future__ import annotations

import numbers
from typing import Any, ClassVar

import numpy as np

from mdinsight.adaptive._frames import Frames
from mdinsight.errors import ParameterError, PlanError
from mdinsight.records import Record

_NEEDED = {
    "log_weights": ("the weight of each frame in the unbiased ensemble", "weigh the frames"),
    "counts": ("transitions of unbiased trajectories", "run unbiased swarms"),
    "observable": ("one number for each frame", "name one, as FAST(towards=...) does in a plan"),
}


class Policy(Record):
    """Chooses the frames from which walkers start next: a pure function of what is committed, and of the generator."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Fields of :class:`Frames` that must not be None."""

    def choose(self, frames: Frames, n: int, rng: np.random.Generator) -> np.ndarray:
        """The rows of the frames at which n walkers start.

        Rows repeat only where there are more walkers than frames to choose from.

        Parameters
        ----------
        frames
            All candidates.
        n
            Number of walkers.
        rng
            Decides all that is random; the same generator gives the same rows.

        Returns
        -------
        np.ndarray
            (n,) int64 row numbers.

        Raises
        ------
        ParameterError
            If n is not a positive int.
        PlanError
            If the frames lack what the policy needs; names it.
        """
        if isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < 1:
            raise ParameterError(f"n={n!r} is not a number of walkers; give an int of at least 1")
        for name in self.needs:
            if getattr(frames, name) is None:
                what, remedy = _NEEDED[name]
                raise PlanError(
                    f"{type(self).__name__} needs {name} ({what}), and these frames have none; "
                    f"{remedy}, or take LeastCounts(), which needs nothing but the coordinate"
                )
        return self._choose(frames, int(n), rng)

    def _choose(self, frames: Frames, n: int, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


def place(groups: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One row for each target, drawn at random from the frames of that group; a row repeats when its group is used up.

    ``groups`` (n_frames,) is the group of each frame, ``targets`` (n,) groups that hold at least one.
    """
    rows = np.empty(len(targets), dtype=np.int64)
    for target in np.unique(targets):
        walkers = np.flatnonzero(targets == target)
        members = rng.permutation(np.flatnonzero(groups == target))
        rows[walkers] = members[np.arange(len(walkers)) % len(members)]
    return rows


def ranked(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The positions of the scores from the highest down; equal ones in random order."""
    return np.lexsort((rng.random(len(scores)), -scores))


def around(order: np.ndarray, n: int) -> np.ndarray:
    """The first n of an order that begins again at its end."""
    return order[np.arange(n) % len(order)]


def systematic(weights: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n rows, each chosen floor or ceil of n times its weight, as evenly as one random number allows.

    Systematic resampling (Kitagawa 1996, 10.1080/10618600.1996.10474692). The weights (m,) sum to 1.
    """
    at = (rng.random() + np.arange(n)) / n
    kept = np.flatnonzero(weights > 0)  # so that rounding never lands on a row without weight
    edges = np.cumsum(weights[kept])
    return kept[np.searchsorted(edges / edges[-1], at, side="right").clip(max=len(kept) - 1)]
