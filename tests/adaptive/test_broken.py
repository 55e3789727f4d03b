"""Walkers that really break down: the forces are NaN beyond a place that only some of them reach."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mdinsight import adaptive
from mdinsight._worker import simulate
from mdinsight.engine import Segment, System
from mdinsight.errors import InstabilityError, PlanError
from mdinsight.results import all_hold
from mdinsight.store import Store


def plan_of(loop: ModuleType, system: System) -> adaptive.Plan:
    return loop.tiny(system=system, explore=adaptive.Plain())


@pytest.fixture(scope="module")
def free(loop: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> adaptive.Run:
    """A run without a wall in reach, up to its first biased round."""
    run = adaptive.open(tmp_path_factory.mktemp("free") / "run", plan_of(loop, loop.marked()))
    run.advance(run.plan.least_budget, workers=1, progress=False)
    assert [decision.kind for decision in run.history.decisions[:3]] == ["explore", "swarm", "biased"]
    return run


def farthest(run: adaptive.Run, axis: int, sign: int, atom: int) -> list[tuple[float, str]]:
    """How far out each of the first segments came, the farthest first."""
    found = []
    for piece in run.history.pieces(run.history.decisions[:3]):
        frames = np.concatenate([run.history.read(piece, number) for number in range(len(piece.lengths))])
        found.append((float((sign * frames[:, atom, axis]).max()), piece.name))
    return sorted(found, reverse=True)


def wall(loop: ModuleType, run: adaptive.Run, most: int) -> tuple[System, list[str]]:
    """A wall that ``most`` of the first segments run into, and that the preparation of the structure does not."""
    for axis, sign in ((axis, sign) for axis in range(3) for sign in (1, -1)):
        found = farthest(run, axis, sign, loop.ATOM)
        at = 0.5 * (found[most - 1][0] + found[most][0])
        start = sign * run.history.start.positions[loop.ATOM, axis]
        system = loop.marked("xyz"[axis], sign, at)
        try:
            same = np.array_equal(system.prepared(run.plan.seed).positions, run.history.start.positions)
        except InstabilityError:
            continue
        if start < at and same:
            return system, [name for _, name in found[:most]]
    raise AssertionError("no wall does")


@pytest.fixture(scope="module")
def broken(loop: ModuleType, free: adaptive.Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[adaptive.Run, str]:
    """A run in which exactly one of the first segments breaks down, and its name."""
    system, [name] = wall(loop, free, 1)
    run = adaptive.open(tmp_path_factory.mktemp("broken") / "run", plan_of(loop, system))
    run.advance(loop.BUDGET, workers=1, progress=False)
    return run, name


def test_a_walker_that_breaks_down_is_set_aside_and_the_run_goes_on(broken: tuple[adaptive.Run, str]):
    run, name = broken
    quarantined = run.store.quarantined()
    assert quarantined[0] == name and not run.store.has(name)
    number = int(name[1:5])
    assert len(run.history.pieces([run.history.decisions[number]])) == 1, "the other walker's is committed"
    assert len(run.history.decisions) > number + 2
    assert f"{len(quarantined)} broken down (see quarantine/)" in str(run.status())
    assert run.status().broken == len(quarantined) and all_hold(run.verify())


def test_what_it_simulated_until_it_broke_down_counts(loop: ModuleType, broken: tuple[adaptive.Run, str]):
    run, name = broken
    told = json.loads(run.store.entry_of_quarantine(name).file("segment.json").read_text())
    whole = sum(piece.ps for piece in run.history.pieces())
    assert told["ps"] > 0 and run.history.ps >= whole + told["ps"]
    assert run.history.ps == pytest.approx(sum(run.history.cost().values())) == pytest.approx(run.status().ps)
    assert run.history.rounds()[-1].start + run.history.rounds()[-1].ps == pytest.approx(run.history.ps)
    assert run.history.ps <= 60.001


def test_what_is_kept_of_it_begins_it_again(broken: tuple[adaptive.Run, str]):
    import openmm

    run, name = broken
    entry = run.store.entry_of_quarantine(name)
    told = json.loads(entry.file("segment.json").read_text())
    assert told["name"] == name and told["platform"] == "Reference" and 0 < told["step"] <= told["steps"]
    says = entry.info["says"]
    assert f"quarantine/{name}" in says and ".staging" not in says and str(run.store.path) not in says
    system = openmm.XmlSerializer.deserialize(entry.file("system.xml").read_text())
    state = openmm.XmlSerializer.deserialize(entry.file("state.xml").read_text())
    assert system.getNumParticles() == run.plan.system.n_atoms
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setState(state)
    assert np.isfinite(context.getState(energy=True).getPotentialEnergy()._value)


def test_no_frame_of_it_is_ever_used(broken: tuple[adaptive.Run, str]):
    run, _ = broken
    gone = set(run.store.quarantined())
    for decision in run.history.decisions:
        for task in decision.tasks:
            assert task.get("continue") not in gone
            assert not {place[0] for place in task.get("starts", [])} & gone


def test_killed_after_the_breakdown_it_has_the_same_bytes(
    loop: ModuleType, broken: tuple[adaptive.Run, str], tmp_path: Path
):
    run, name = broken
    copy = shutil.copytree(run.store.path, tmp_path / "run")
    for folder in [*(copy / "segments").iterdir(), *(copy / "quarantine").iterdir()]:
        if folder.name[0] == "r" and folder.name >= name:
            shutil.rmtree(folder)
    loop.advance(copy, None)
    assert loop.content(copy) == loop.content(run.store.path)


def test_a_round_that_breaks_down_as_a_whole_is_an_error_that_says_so(
    loop: ModuleType, free: adaptive.Run, tmp_path: Path
):
    start = free.history.start.positions[loop.ATOM]
    for axis, sign in ((axis, sign) for axis in range(3) for sign in (1, -1)):
        explored = min(far for far, name in farthest(free, axis, sign, loop.ATOM) if name.startswith("r0000"))
        at = 0.5 * (sign * start[axis] + explored)
        system = loop.marked("xyz"[axis], sign, at)
        try:
            system.prepared(free.plan.seed)
        except InstabilityError:
            continue
        break
    run = adaptive.open(tmp_path / "run", plan_of(loop, system))
    for _ in range(2):
        with pytest.raises(
            PlanError, match=r"all segments of round 0 \(explore\) broke down; see quarantine/r0000-000"
        ) as all_:
            run.advance(loop.BUDGET, workers=1, progress=False)
        for word in ("cannot go on", "a new run in another folder", "a time step of 1 fs", "equilibrated longer"):
            assert word in str(all_.value)
        assert run.store.quarantined() == ["r0000-000", "r0000-001"] and run.store.holder() is None
    assert "2 broken down" in str(run.status()) and all_hold(run.verify())


@pytest.mark.parametrize(("order", "kept"), [((1,), []), ((0, 1), ["traj-0000.xtc"]), ((1, 0), [])])
def test_what_breaks_down_before_its_first_frame_can_be_set_aside(
    loop: ModuleType, tmp_path: Path, order: tuple[int, ...], kept: list[str]
):
    molecule = loop.molecule()
    crash = molecule.positions.copy()
    crash[5] = crash[15]  # two atoms in one place
    starts = np.array([(molecule.positions, crash)[which] for which in order])
    given: dict[str, Any] = {"name": "r0000-000", "kind": "explore", "steps": 100, "stride": 50, "seed": 3}
    store = Store.create(tmp_path / "run", {})
    result = simulate((str(store.path), molecule, Segment(**given, positions=starts, temperature=300.0)), {})
    assert "broke down by step" in result["broken"]
    entry = store.quarantine("r0000-000", Path(result["folder"]), {"says": result["broken"]})
    assert set(entry.files) == {"state.xml", "system.xml", "segment.json", *kept}
    assert result["info"]["ps"] == pytest.approx(0.2 * order.index(1) + 0.1)  # by the first look at it
