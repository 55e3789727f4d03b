"""FAST in a run, towards a number that it computes on the frames: up a hill that rises alike on all sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mdinsight as mdi
from mdinsight import adaptive

TEMPERATURE = 1.0 / mdi.units.GAS_CONSTANT


def bowl() -> mdi.engine.System:
    """A particle at the bottom of a cone of 3 kT per nm; three that stand still say where the axes are."""
    import openmm
    from openmm import app

    made, topology = openmm.System(), app.Topology()
    residue = topology.addResidue("BOW", topology.addChain())
    for number in range(4):
        made.addParticle(1.008 if number == 3 else 0.0)
        topology.addAtom(f"A{number}", app.Element.getBySymbol("H"), residue)
    force = openmm.CustomExternalForce("3*sqrt(x^2+y^2+0.01)+50*z^2")
    force.addParticle(3)
    made.addForce(force)
    positions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.1, 0, 0]], float)
    conditions = {"temperature": TEMPERATURE, "timestep": 0.02, "friction": 5.0, "platform": "Reference"}
    return mdi.engine.System.from_openmm(made, topology, positions, **conditions)


@pytest.fixture(scope="module")
def place() -> mdi.features.Positions:
    import mdtraj

    system = bowl()
    frame = mdtraj.Trajectory(system.positions[None], system.topology)
    return mdi.features.Positions(frame, "index 3", align="index 0 1 2")


def reached(folder: Path, place: mdi.features.Positions, policy: adaptive.Policy, seed: int) -> adaptive.Run:
    plan = adaptive.Plan(
        bowl(),
        place.select("x *", "y *"),
        bias=None,
        policy=policy,
        explore=adaptive.Plain("5 ps"),
        segment="5 ps",
        swarm="2 ps",
        seed=seed,
    )
    run = adaptive.open(folder, plan)
    run.advance("160 ps", workers=1, progress=False)
    return run


def farthest(run: adaptive.Run) -> float:
    return float(max(piece.features[:, 0].max() for piece in run.history.pieces()))


@pytest.mark.parametrize("seed", [1, 2])
def test_it_comes_farther_that_way_than_least_counts_in_the_same_time(
    tmp_path: Path, place: mdi.features.Positions, seed: int
):
    policy = adaptive.FAST(towards=place.select("x *"), alpha=0.5)
    fast = reached(tmp_path / "fast", place, policy, seed)
    least = reached(tmp_path / "least", place, adaptive.LeastCounts(), seed)
    assert fast.history.ps == pytest.approx(least.history.ps)
    assert farthest(fast) > farthest(least) + 1.0  # 3 kT higher
    assert fast.history.decisions[-1].says.endswith("chosen by FAST")
    for piece in fast.history.pieces(kind="swarm"):  # the number is that of the frames
        observed = np.concatenate(fast.history.observed(piece, fast.plan.policy.towards))
        np.testing.assert_allclose(observed, piece.features[:, 0], atol=1e-5)
