"""A run that has converged, on a double well: what a larger budget does, where a verdict holds and where one does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import mdinsight as mdi
from mdinsight import adaptive

TEMPERATURE = 1.0 / mdi.units.GAS_CONSTANT


def well(barrier: float, friction: float) -> mdi.engine.System:
    """One particle between two wells at x = -1 and 1, a barrier in kT; three that stand still say where the axes are."""
    import openmm
    from openmm import app

    made, topology = openmm.System(), app.Topology()
    residue = topology.addResidue("TWO", topology.addChain())
    for number in range(4):
        made.addParticle(1.008 if number == 3 else 0.0)
        topology.addAtom(f"A{number}", app.Element.getBySymbol("H"), residue)
    force = openmm.CustomExternalForce(f"{barrier}*(x^2-1)^2+50*(y^2+z^2)")
    force.addParticle(3)
    made.addForce(force)
    positions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]], float)
    conditions = {"temperature": TEMPERATURE, "timestep": 0.02, "friction": friction, "platform": "Reference"}
    return mdi.engine.System.from_openmm(made, topology, positions, **conditions)


def plan(friction: float, segment: str, swarm: str) -> adaptive.Plan:
    import mdtraj

    system = well(4.0, friction)
    frame = mdtraj.Trajectory(system.positions[None], system.topology)
    features = mdi.features.Positions(frame, "index 3", align="index 0 1 2").select("x *")
    bias, stop = mdi.bias.OPES(barrier=10, pace=50), adaptive.Stop(rounds=1, interval=5)
    return adaptive.Plan(system, features, bias=bias, segment=segment, swarm=swarm, stop=stop, seed=1)


@pytest.fixture(scope="module")
def sure(tmp_path_factory: pytest.TempPathFactory) -> adaptive.Run:
    run = adaptive.open(tmp_path_factory.mktemp("sure") / "run", plan(1.0, "100 ps", "10 ps"))
    run.advance("12 ns", workers=1, progress=False)
    return run


@pytest.fixture(scope="module")
def denied(tmp_path_factory: pytest.TempPathFactory) -> adaptive.Run:
    """Its two-way paths are too short for the way over the barrier."""
    run = adaptive.open(tmp_path_factory.mktemp("denied") / "run", plan(5.0, "40 ps", "2 ps"))
    run.advance("1 ns", workers=1, progress=False)
    return run


def kinds(run: adaptive.Run) -> str:
    return "".join(decision.kind[0] for decision in run.history.decisions)


def test_where_every_verdict_holds_a_larger_budget_adds_nothing(sure: adaptive.Run):
    assert all(verdict.holds for verdict in sure.states().verdicts() + sure.history.tests())
    assert kinds(sure).endswith("bkk") and kinds(sure).count("k") == 2 and sure.history.ps < 6000
    before = sure.store.names()
    for budget in ("12 ns", "30 ns"):
        end = sure.advance(budget, workers=1, progress=False)
        assert end.converged and "every verdict holds; a larger budget adds nothing" in end.says
    assert sure.store.names() == before


def test_where_a_verdict_does_not_hold_a_larger_budget_is_spent_on_it(denied: adaptive.Run, tmp_path: Path):
    assert all(test.holds for test in denied.history.tests())
    assert [verdict.subject for verdict in denied.states().verdicts() if not verdict.holds] == ["passage times"]
    run = adaptive.open(shutil.copytree(denied.store.path, tmp_path / "run"))
    end = run.advance("1 ns", workers=1, progress=False)
    assert not end.converged and run.store.names() == denied.store.names()
    assert "converged, but NO for passage times" in end.says and "the run goes on with 1.45 ns or more" in end.says
    assert run.advance("1.4 ns", workers=1, progress=False) != end and run.store.names() == denied.store.names()

    run.advance("2 ns", workers=1, progress=False)
    assert kinds(run) == kinds(denied) + "bbbkk", "more rounds, then new last swarms"
    assert 1998 < run.history.ps <= 2000.2
    assert len(run.states().kinetics.strata.points) != len(denied.states().kinetics.strata.points)


def test_it_is_not_checked_again_before_it_has_doubled(denied: adaptive.Run, tmp_path: Path):
    """With a large budget, rounds are made until the simulated time has doubled, though all the while the tests hold."""
    run, seen = adaptive.open(shutil.copytree(denied.store.path, tmp_path / "run")), []

    def stop(status: adaptive.Status) -> None:
        if status.rounds > 10 + len(seen) and status.kind == "biased":
            seen.append(status.ps)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.advance("20 ns", workers=1, progress=stop)
    assert kinds(run).startswith(kinds(denied) + "bb"), "no swarms at once"
