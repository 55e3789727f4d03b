"""What a run has committed: its decisions and segments, read from the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mdinsight import trajectories
from mdinsight.adaptive._course import (
    Round,
    asked,
    cost_of,
    cost_rows,
    provenance_of,
    provenance_rows,
    rounds_of,
    tests_of,
)
from mdinsight.adaptive._plan import Plan
from mdinsight.bias import BiasModel, Trace
from mdinsight.cvs import CVModel
from mdinsight.engine import System, deposits_of
from mdinsight.features import Definition, Features
from mdinsight.records import load
from mdinsight.results import Verdict
from mdinsight.series import Column, Origin, TimeSeries
from mdinsight.store import Store

DECISION = "decision.json"
START = "start"
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


class History:
    """The committed part of a run. Reads only; everything that it gives is a function of the store."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self.store = store
        self.plan = plan
        self._pieces: dict[str, Piece] = {}
        self._decisions: list[Decision] = []
        self._models: dict[str, Any] = {}
        self._memory: dict[Hashable, Any] = {}

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The feature columns."""
        return self.plan.features.columns(self.plan.system.topology)

    @cached_property
    def definition(self) -> Features:
        """The features as coordinates are fitted on them."""
        return (
            self.plan.features.fixed(self.columns)
            if not isinstance(self.plan.features, Features)
            else self.plan.features
        )

    @cached_property
    def start(self) -> System:
        """The system minimised and equilibrated, from which the first walkers start."""
        return System.load(self.store.entry(START).file("system.mdi"))

    # -- decisions -------------------------------------------------------------------------------------------------------

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

    def model(self, decision: Decision, name: str) -> Any:
        """A model that was committed with a decision, such as ``"coordinate"``."""
        key = f"{decision.name}/{name}"
        if key not in self._models:
            self._models[key] = load(self.store.entry(decision.name).file(f"{name}.mdi"))
        return self._models[key]

    def coordinate(self, version: int) -> CVModel | None:
        """The coordinate of a version; None before the first."""
        for decision in self.decisions:
            if decision.version == version and decision.learned is not None and decision.learned["is_new"]:
                found: CVModel = self.model(decision, "coordinate")
                return found
        return None

    def bias_after(self, decision: Decision) -> BiasModel:
        """The bias with what all walkers of a biased round deposited."""
        from mdinsight.bias import merged

        pieces = self.pieces([decision])
        key = f"{decision.name}/after {len(pieces)}"  # who looks while the round runs must not have it stay as it was then
        if key not in self._models:
            base: BiasModel = self.model(decision, "bias")
            deposits = [deposits_of(piece.path) for piece in pieces]
            ends = [BiasModel.load(piece.path / "bias.mdi") for piece in pieces]
            self._models[key] = merged(base, deposits, ends) if pieces else base
        return self._models[key]  # type: ignore[no-any-return]

    def remembered(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What follows from committed data is computed once a session."""
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]

    # -- how it went -----------------------------------------------------------------------------------------------------

    def asked(self) -> tuple[tuple[str, str], ...]:
        """What the plan asks for, in words: (what, how) line by line."""
        return asked(self.plan)

    def rounds(self) -> tuple[Round, ...]:
        """Each round: what it did and cost, and what was known when it was decided."""
        return rounds_of(self)

    def cost(self) -> dict[str, float]:
        """Simulated ps by kind of round (``"explore"``, ``"swarm"``, ``"biased"``, ``"kinetics"``), all segments counted."""
        return cost_of(self)

    def cost_rows(self) -> list[tuple[str, str, str]]:
        """The cost in words: what, simulated time, share."""
        return cost_rows(self)

    def provenance(self) -> dict[str, Any]:
        """Seed, hashes of all that went in and came out, versions of what computed it, platforms of OpenMM."""
        return provenance_of(self)

    def provenance_rows(self) -> list[tuple[str, str]]:
        """The same in words: (what, which) line by line."""
        return provenance_rows(self)

    def tests(self) -> tuple[Verdict, ...]:
        """The tests of convergence as they stood when the last round was decided."""
        return tests_of(self)

    # -- segments --------------------------------------------------------------------------------------------------------

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

    def frames(self, where: Iterable[tuple[str, int, int]]) -> tuple[np.ndarray, np.ndarray | None]:
        """Positions (n, n_atoms, 3) nm and boxes (n, 3, 3) of frames given as (segment, trajectory, frame)."""
        places = list(where)
        xyz: list[Any] = [None] * len(places)
        boxes: list[Any] = [None] * len(places)
        by_file: dict[Path, list[int]] = {}
        for number, (name, trajectory, _) in enumerate(places):
            by_file.setdefault(self.piece(name).file(trajectory), []).append(number)
        for file, numbers in by_file.items():
            opened = trajectories.open(str(file), top=self.plan.system.topology)[0]
            for number in numbers:
                frame = places[number][2]
                chunk = opened.read_chunk(frame, frame + 1)
                xyz[number] = np.asarray(chunk.xyz[0], np.float64)
                boxes[number] = None if chunk.box is None else np.asarray(chunk.box[0], np.float64)
        return np.array(xyz), None if boxes and boxes[0] is None else np.array(boxes)

    def read(self, piece: Piece, trajectory: int) -> np.ndarray:
        """Positions (n_frames, n_atoms, 3) of one trajectory, nm."""
        opened = trajectories.open(str(piece.file(trajectory)), top=self.plan.system.topology)[0]
        return np.asarray(opened.read_chunk(0, opened.n_frames).xyz)

    def observed(self, piece: Piece, definition: Definition) -> list[np.ndarray]:
        """(n_frames,) of each trajectory of a segment: features of one column, computed on its files."""

        def compute() -> list[np.ndarray]:
            top = self.plan.system.topology
            opened = (trajectories.open(str(piece.file(number)), top=top) for number in range(len(piece.lengths)))
            values = [definition.transform(each, workers=1, cache=False) for each in opened]
            return [np.asarray(each.concatenated()[:, 0], np.float64) for each in values]

        return self.remembered(("observed", piece.name, definition.hash), compute)  # type: ignore[no-any-return]

    def unbiased(self, skip: float = 0.0) -> TimeSeries | None:
        """Features of all unbiased trajectories at the system's temperature, without the first part of each.

        Parameters
        ----------
        skip
            Fraction of a swarm trajectory left out at its beginning, where it still forgets how it was prepared.
        """
        arrays, origins = [], []
        for piece in self.pieces():
            if piece.kind != "swarm":
                continue
            for number, part in enumerate(piece.parts):
                start = int(skip * len(part))
                if len(part) - start > self.plan.lag_frames:
                    arrays.append(np.asarray(part[start:]))
                    origins.append(Origin(str(piece.file(number)), start))
        if not arrays:
            return None
        return TimeSeries(arrays, self.plan.swarm_dt, self.columns, origins, self.definition, check_finite=False)
