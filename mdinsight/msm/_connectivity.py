"""Which states are connected in both directions, and where the gap is if that is not all of them."""

from __future__ import annotations

import os

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from mdinsight.records import Record
from mdinsight.results import Verdict
from mdinsight.states import Discrete
from mdinsight.words import some

ENTERED = "entered but never left"
LEFT = "left but never entered"
NEVER = "never connected to the model's states"
UNSEEN = "seen only in trajectories or trajectory ends too short for the lag"

_REMEDY = {
    ENTERED: "start new trajectories in them, so that the way back is seen",
    LEFT: "start new trajectories in the model's states (or more of them), so that the way there is seen",
    NEVER: "start new trajectories there and follow them until they meet the others",
    UNSEEN: "make those trajectories longer",
}


class Gap(Record):
    """States outside the model for one reason.

    ``states`` are their original numbers, ``frames`` how many frames they hold, ``files`` the trajectories that visit
    them.
    """

    reason: str
    states: tuple[int, ...]
    frames: int
    files: tuple[str, ...]

    def __str__(self) -> str:
        states = f"state{'s' if len(self.states) > 1 else ''} {some(self.states, 8)}"
        return f"{states} ({self.frames} frames, in {some(self.files)}): {self.reason}"


class Connectivity(Record):
    """How much of the data the largest connected set holds.

    ``fraction_frames``, ``fraction_counts`` and ``fraction_states`` (of the states visited) are between 0 and 1;
    ``n_sets`` is the number of connected sets; ``gaps`` say which states are outside, why, and which files they are
    in.
    """

    fraction_frames: float
    fraction_counts: float
    fraction_states: float
    n_sets: int
    gaps: tuple[Gap, ...] = ()

    @property
    def complete(self) -> bool:
        """True if every visited state is in the model."""
        return self.fraction_states == 1.0

    @property
    def says(self) -> str:
        """What is inside and where the gap is, in words."""
        inside = (
            f"the model holds {_percent(self.fraction_frames)} of the frames, {_percent(self.fraction_counts)} of the "
            f"counted transitions and {_percent(self.fraction_states)} of the visited states"
        )
        return inside if not self.gaps else f"{inside}; outside are {'; '.join(str(gap) for gap in self.gaps)}"

    @property
    def remedy(self) -> str:
        """What to do about the gap; empty where there is none."""
        if not self.gaps:
            return ""
        steps = [f"{gap.reason}: {_REMEDY[gap.reason]}" for gap in self.gaps]
        return f"{'; '.join(steps)}. A shorter lag or fewer (coarser) states may also close the gap"

    def verdict(self, least: float = 0.999) -> Verdict:
        """Holds if at least a fraction ``least`` of the frames is inside."""
        return Verdict("connected set", self.fraction_frames >= least, self.says, self.remedy)

    def __str__(self) -> str:
        return f"{self.says}. {self.remedy}" if self.gaps else self.says


def connected_sets(counts: np.ndarray) -> list[np.ndarray]:
    """Sets of states that reach each other along observed transitions, the one with most counts inside it first."""
    _, labels = connected_components(csr_matrix(counts > 0), directed=True, connection="strong")
    sets = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]

    def size(members: np.ndarray) -> tuple[float, int, int]:
        return float(counts[np.ix_(members, members)].sum()), len(members), -int(members[0])

    return sorted(sets, key=size, reverse=True)


def describe(counts: np.ndarray, active: np.ndarray, discrete: Discrete) -> Connectivity:
    """The record for the set of states that a model is made of."""
    histogram = discrete.histogram()
    visited = np.flatnonzero(histogram)
    outside = np.setdiff1d(visited, active)
    total = counts.sum()
    sets = [members for members in connected_sets(counts) if histogram[members].any()]
    return Connectivity(
        float(histogram[active].sum() / histogram.sum()),
        float(counts[np.ix_(active, active)].sum() / total) if total else 0.0,
        float(np.isin(visited, active).sum() / len(visited)),
        len(sets),
        _gaps(counts, active, outside, discrete, histogram),
    )


def _gaps(
    counts: np.ndarray, active: np.ndarray, outside: np.ndarray, discrete: Discrete, histogram: np.ndarray
) -> tuple[Gap, ...]:
    forward, backward = _reach(counts, active), _reach(counts.T, active)
    groups: dict[str, list[int]] = {}
    for state in outside:
        if counts[state].sum() + counts[:, state].sum() == 0:
            reason = UNSEEN
        elif forward[state]:
            reason = ENTERED
        elif backward[state]:
            reason = LEFT
        else:
            reason = NEVER
        groups.setdefault(reason, []).append(int(state))
    names, gaps = _names([origin.file for origin in discrete.origins]), []
    for reason, states in groups.items():
        members = np.zeros(len(histogram), dtype=bool)
        members[states] = True
        files = [name for array, name in zip(discrete.arrays, names, strict=True) if members[array].any()]
        gaps.append(Gap(reason, tuple(states), int(histogram[states].sum()), tuple(dict.fromkeys(files))))
    return tuple(sorted(gaps, key=lambda gap: -gap.frames))


def _names(files: list[str]) -> list[str]:
    """Files as seen from the folder that holds them all, so that a model does not depend on where its data lie."""
    folder = (
        os.path.commonpath([os.path.dirname(file) for file in files]) if len({*map(os.path.isabs, files)}) == 1 else ""
    )
    return [os.path.relpath(file, folder) if folder else file for file in files]


def _reach(counts: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Which states can be reached from the active ones."""
    reached = np.zeros(len(counts), dtype=bool)
    reached[active] = True
    edges = counts > 0
    frontier = reached.copy()
    while frontier.any():
        frontier = edges[frontier].any(axis=0) & ~reached
        reached |= frontier
    return reached


def _percent(fraction: float) -> str:
    if 0.9995 <= fraction < 1.0:
        return "99.9+ %"
    return f"{100 * fraction:.3g} %"
