"""From a decision to the segments that it asks for: a pure function of what is committed."""

from __future__ import annotations

from typing import Any

import numpy as np

from mdinsight import seeds
from mdinsight.adaptive._explore import Pushed
from mdinsight.adaptive._history import Decision, History
from mdinsight.adaptive._plan import Plan
from mdinsight.bias import OPES, BiasModel, Coordinate
from mdinsight.engine import Segment
from mdinsight.errors import PlanError
from mdinsight.features import Torsions
from mdinsight.series import Column


def segment(plan: Plan, history: History, decision: Decision, number: int) -> Segment:
    """The segment of one task of a decision."""
    task = decision.tasks[number]
    positions, boxes, velocities = _starts(history, task)
    bias: BiasModel | None = None
    if task.get("bias"):
        bias = history.model(decision, "bias")
    elif "pushed" in task:
        bias = pushed(plan, int(task["pushed"]))
    return Segment(
        name=decision.task_name(number),
        kind="swarm" if task["kind"] == "kinetics" else task["kind"],
        steps=int(task["steps"]),
        stride=int(task["stride"]),
        seed=seeds.integer(plan.seed, "segment", decision.round, number),
        positions=positions,
        boxes=boxes,
        velocities=velocities,
        temperature=float(task.get("temperature", plan.system.temperature)),
        with_start=bool(task.get("with_start", False)),
        two_way=bool(task.get("two_way", False)),
        bias=bias,
        features=history.definition,
    )


def _starts(history: History, task: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    if "continue" in task:
        end = history.piece(task["continue"]).end
        return end["positions"], end.get("boxes"), end["velocities"]
    if "parents" in task:
        ends = [(history.piece(name).end, number) for name, number in task["parents"]]
        boxes = None if "boxes" not in ends[0][0] else np.array([end["boxes"][i] for end, i in ends])
        return (
            np.array([end["positions"][i] for end, i in ends]),
            boxes,
            np.array([end["velocities"][i] for end, i in ends]),
        )
    start = history.start
    copies = int(task.get("copies", 1))
    first = (
        np.repeat(start.positions[None], copies, axis=0)
        if task.get("initial")
        else np.empty((0, *start.positions.shape))
    )
    box = None if start.box is None else start.box[None]
    places = [tuple(place) for place in task.get("starts", [])]
    if not places:
        return first, None if box is None else np.repeat(box, copies, axis=0), None
    xyz, boxes = history.frames(places)  # type: ignore[arg-type]
    if boxes is not None and box is not None and task.get("initial"):
        boxes = np.concatenate([box, boxes])
    return np.concatenate([first, xyz]), boxes, None


def pushed(plan: Plan, walker: int) -> BiasModel:
    """The empty bias of one walker of a :class:`Pushed` exploration: on two torsions of its own."""
    if not isinstance(plan.explore, Pushed):
        raise PlanError(f"explore={plan.explore!r} pushes nothing")
    topology = plan.system.topology
    columns: tuple[Column, ...] = Torsions("phi psi chi1", raw=True).columns(topology)
    rng = seeds.generator(plan.seed, "pushed", walker)
    chosen = rng.choice(len(columns), size=min(2, len(columns)), replace=False)
    torsions = Torsions(quadruplets=np.array([columns[int(i)].atoms for i in sorted(chosen)]), raw=True)
    potential = OPES(barrier=plan.explore.barrier, explore=True)
    return BiasModel.empty(Coordinate.of(torsions, topology), potential, plan.system.temperature)
