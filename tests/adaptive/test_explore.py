"""The first exploration."""

import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.adaptive import Hot, Plain, Plan, Pushed
from mdinsight.adaptive._tasks import pushed


@pytest.fixture(scope="module")
def system():
    return mdi.engine.System.from_pdb("example_trajs/ala2/top.pdb", forcefield="amber99sb", solvent="vacuum")


def test_a_pushed_walker_goes_further_than_a_plain_one(system, tmp_path):
    plan = Plan(system, mdi.features.Torsions("phi psi"), explore=Pushed(60), seed=3)
    bias = pushed(plan, 0)
    assert bias.coordinate.dim == 2 and bias.coordinate.periods == pytest.approx((2 * np.pi, 2 * np.pi))
    start = system.prepared(3).positions[None]
    spread = []
    for name, given in (("plain", None), ("pushed", bias)):
        segment = mdi.engine.Segment(name, "explore", 40_000, 100, 7, start, 300.0, bias=given, features=plan.features)
        (tmp_path / name).mkdir()
        mdi.engine.run(system, segment, tmp_path / name)
        found = np.load(tmp_path / name / "features.npy")
        phi = np.arctan2(found[:, 1], found[:, 0])
        psi = np.arctan2(found[:, 3], found[:, 2])
        spread.append(len(np.unique(np.floor(np.degrees(np.column_stack([phi, psi])) / 20), axis=0)))
    assert spread[1] > 1.5 * spread[0]  # cells of 20 x 20 degrees


def test_each_walker_is_pushed_along_torsions_of_its_own(system):
    tetra = mdi.engine.System.from_sequence("AAA", forcefield="amber99sb", solvent="vacuum", caps=True)
    plan = Plan(tetra, mdi.features.Torsions("phi psi"), explore=Pushed(), seed=1)
    assert len({pushed(plan, walker).coordinate.hash for walker in range(4)}) > 1
    assert pushed(plan, 2).hash == pushed(plan, 2).hash


def test_defaults_follow_the_molecule(system):
    plan = Plan(system)
    assert isinstance(plan.explore, Hot) and plan.explore.kelvin(300.0) == 1500.0
    assert plan.swarm == 20.0 and plan.lag == pytest.approx(2.0) and plan.lag_frames == 10
    assert plan.swarm_steps * system.timestep == pytest.approx(20.0)
    chain = mdi.engine.System.from_sequence("A" * 14, forcefield="amber99sb", solvent="vacuum")
    assert isinstance(Plan(chain).explore, Plain)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"walkers": 0}, "walkers=0"),
        ({"swarm": "1 ps", "cv": mdi.cvs.TICA(lag="1 ps")}, "too short for the lag"),
        ({"segment": "1 fs"}, "shorter than ten steps"),
        ({"features": mdi.features.SASA()}, "has no gradient"),
        ({"bias": mdi.bias.Umbrella(0.0, 1.0)}, "does not grow"),
        ({"cv": mdi.cvs.PCA(dim=1)}, "no estimator of slow coordinates"),
        ({"policy": mdi.adaptive.WeightedEnsemble()}, "bias=None"),
        ({"explore": "cold"}, "no exploration"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_by_name(system, given, says):
    with pytest.raises(mdi.errors.ParameterError, match=says):
        Plan(system, **given)
