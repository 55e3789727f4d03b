"""What a run has committed, as it stands in its folder: decisions and segments. Loads no heavy library, so looking is cheap."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight.errors import PlanError
from mdinsight.store import Store

if TYPE_CHECKING:
    from mdinsight.bias import Trace

DECISION = "decision.json"
PLAN = "plan"


@dataclass(frozen=True)
class Piece:
    """One committed segment: one trajectory, or the short ones of a swarm."""

    name: str
    round: int
    kind: str
    path: Path
    info: dict[str, Any]

    @cached_property
    def lengths(self) -> np.ndarray:
        """(n_traj,) frames of each trajectory."""
        return np.asarray(np.load(self.path / "lengths.npy"))

    @cached_property
    def features(self) -> np.ndarray:
        """(n_frames, n_columns) of all its frames, in order."""
        # not mapped: each map holds a file open, and a run of a thousand segments has more than a process may open
        return np.asarray(np.load(self.path / "features.npy"))

    @cached_property
    def parts(self) -> list[np.ndarray]:
        """The features of each trajectory."""
        return np.split(self.features, np.cumsum(self.lengths)[:-1])

    @cached_property
    def trace(self) -> Trace:
        """What the bias was, frame by frame; of biased segments."""
        from mdinsight.bias import Trace

        return Trace.load(self.path / "trace.mdi")

    @cached_property
    def end(self) -> dict[str, np.ndarray]:
        """Positions (n_traj, n_atoms, 3) nm, velocities nm/ps and boxes at the end of each trajectory."""
        with np.load(self.path / "end.npz") as arrays:
            return {name: arrays[name] for name in arrays.files}

    @property
    def ps(self) -> float:
        """Simulated time in all trajectories together."""
        return float(self.info.get("ps", 0.0))

    @property
    def n_frames(self) -> int:
        """Frames in all trajectories."""
        return int(self.lengths.sum())

    def file(self, trajectory: int) -> Path:
        """The file of one of its trajectories."""
        return self.path / f"traj-{trajectory:04d}.xtc"


@dataclass(frozen=True)
class Decision:
    """What a round does, and why; committed before the round runs.

    ``tasks`` are plain data that with the committed segments determine every :class:`mdinsight.engine.Segment`.
    """

    round: int
    kind: str
    says: str
    tasks: tuple[dict[str, Any], ...]
    version: int = -1
    """Number of the coordinate in force, from 0; -1 before there is one."""
    learned: dict[str, Any] | None = None
    found: dict[str, Any] | None = None
    """Figures at the time of the decision: states, free energies, tests of convergence."""

    @property
    def name(self) -> str:
        """Its name in the store."""
        return f"r{self.round:04d}"

    def task_name(self, number: int) -> str:
        """The name of one of its segments."""
        return f"{self.name}-{number:03d}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its segments."""
        return tuple(self.task_name(number) for number in range(len(self.tasks)))

    def to_json(self) -> str:
        """Text that :meth:`from_json` reads, the same for the same decision."""
        return json.dumps(self.__dict__, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Decision:
        """The decision that :meth:`to_json` wrote."""
        content = json.loads(text)
        return cls(**{**content, "tasks": tuple(content["tasks"])})


class Ledger:
    """The decisions and segments of a run."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._pieces: dict[str, Piece] = {}
        self._decisions: list[Decision] = []

    @property
    def decisions(self) -> list[Decision]:
        """All decisions, oldest first."""
        while self.store.has(f"r{len(self._decisions):04d}"):
            entry = self.store.entry(f"r{len(self._decisions):04d}")
            self._decisions.append(Decision.from_json(entry.file(DECISION).read_text()))
        return self._decisions

    def missing(self, decision: Decision) -> list[int]:
        """The numbers of its tasks that are neither committed nor quarantined."""
        broken = set(self.store.quarantined())
        return [i for i, name in enumerate(decision.names) if name not in broken and not self.store.has(name)]

    def pieces(self, decisions: Iterable[Decision] | None = None, kind: str | None = None) -> list[Piece]:
        """The committed segments of some decisions, by default of all, in their order."""
        found = []
        for decision in self.decisions if decisions is None else decisions:
            for name, task in zip(decision.names, decision.tasks, strict=True):
                if kind is not None and task["kind"] != kind:
                    continue
                if name not in self._pieces and self.store.has(name):
                    entry = self.store.entry(name)
                    self._pieces[name] = Piece(name, decision.round, task["kind"], entry.path, dict(entry.info))
                if name in self._pieces:
                    found.append(self._pieces[name])
        return found

    def piece(self, name: str) -> Piece:
        """A committed segment by name."""
        if name not in self._pieces:
            self.pieces()
        return self._pieces[name]

    @property
    def ps(self) -> float:
        """Simulated time of all segments, those that broke down until they did."""
        return self.ps_of(self.decisions)

    def ps_of(self, decisions: Iterable[Decision]) -> float:
        """The same of some decisions."""
        chosen = list(decisions)
        names = {name for decision in chosen for name in decision.names}
        broken = [self.store.entry_of_quarantine(name) for name in self.store.quarantined() if name in names]
        return float(sum(piece.ps for piece in self.pieces(chosen)) + sum(e.info.get("ps", 0.0) for e in broken))


def seen(path: str | os.PathLike[str]) -> Store:
    """The folder of a run, to be looked at only.

    Raises
    ------
    StoreError, PlanError
        If the folder is no run, or one that was never begun.
    """
    store = Store.open(path, read_only=True)
    if not store.has(PLAN):
        raise PlanError(f"the run {path} was created but never begun; there is nothing to see yet")
    return store
