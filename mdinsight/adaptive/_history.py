"""What a run has committed: its decisions and segments, read from the store."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
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
from mdinsight.adaptive._ledger import DECISION as DECISION
from mdinsight.adaptive._ledger import PLAN as PLAN
from mdinsight.adaptive._ledger import Decision as Decision
from mdinsight.adaptive._ledger import Ledger
from mdinsight.adaptive._ledger import Piece as Piece
from mdinsight.adaptive._plan import Plan
from mdinsight.bias import BiasModel
from mdinsight.cvs import CVModel
from mdinsight.engine import System, deposits_of
from mdinsight.features import Definition, Features
from mdinsight.records import load
from mdinsight.results import Verdict
from mdinsight.series import Column, Origin, TimeSeries
from mdinsight.store import Store

START = "start"


class History(Ledger):
    """The committed part of a run. Reads only; everything that it gives is a function of the store."""

    def __init__(self, store: Store, plan: Plan) -> None:
        super().__init__(store)
        self.plan = plan
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
