"""The loop on Muller and Brown's potential times 0.15 at kT = 1 kJ/mol, from one basin, against exact integration."""

import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.adaptive._kinetics import kinetics_of
from mdinsight.adaptive._weigh import weigh

TERMS = (
    (-200, -1, 0, -10, 1, 0),
    (-100, -1, 0, -10, 0, 0.5),
    (-170, -6.5, 11, -6.5, -0.5, 1.5),
    (15, 0.7, 0.6, 0.7, -1, 1),
)
TEMPERATURE = 1.0 / mdi.units.GAS_CONSTANT


def energy(x, y):
    return 0.15 * sum(
        A * np.exp(a * (x - u) ** 2 + b * (x - u) * (y - v) + c * (y - v) ** 2) for A, a, b, c, u, v in TERMS
    )


def system():
    import openmm
    from openmm import app

    made, topology = openmm.System(), app.Topology()
    residue = topology.addResidue("MUL", topology.addChain())
    for number in range(4):  # three that stand still say where the axes are
        made.addParticle(1.008 if number == 3 else 0.0)
        topology.addAtom(f"A{number}", app.Element.getBySymbol("H"), residue)
    text = "+".join(
        f"({0.15 * A})*exp(({a})*(x-({u}))^2+({b})*(x-({u}))*(y-({v}))+({c})*(y-({v}))^2)" for A, a, b, c, u, v in TERMS
    )
    force = openmm.CustomExternalForce(text + "+50*z^2")
    force.addParticle(3)
    made.addForce(force)
    positions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.62, 0.03, 0]], float)
    return mdi.engine.System.from_openmm(
        made, topology, positions, temperature=TEMPERATURE, timestep=0.005, friction=10.0, platform="Reference"
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    import mdtraj

    it = system()
    frame = mdtraj.Trajectory(it.positions[None], it.topology)
    features = mdi.features.Positions(frame, "index 3", align="index 0 1 2").select("x *", "y *")
    plan = mdi.adaptive.Plan(
        it,
        features,
        bias=mdi.bias.OPES(barrier=20, pace=100),
        swarm="4 ps",
        segment="100 ps",
        stop=mdi.adaptive.Stop(interval=0.01),
        seed=3,
    )
    made = mdi.adaptive.open(tmp_path_factory.mktemp("loop") / "run", plan)
    made.advance("4 ns", workers=1, progress=False)
    return made


def grid():
    x, y = np.meshgrid(np.linspace(-1.8, 1.4, 801), np.linspace(-0.7, 2.3, 751), indexing="ij")
    return x.ravel(), y.ravel(), np.exp(-energy(x, y)).ravel()


def test_the_free_energy_difference_is_that_of_exact_integration(run):
    x, _, weight = grid()
    exact = np.log(weight[x < 0].sum() / weight[x > 0].sum())
    assert exact == pytest.approx(5.71, abs=0.01)  # published
    weighted = weigh(run.history)
    at = weighted.features[:, 0]
    found = mdi.bias.free_energy_difference(weighted.model, at < 0, at > 0, coordinates=weighted.features)
    assert abs(float(found.value) - exact) < 1.0
    assert float(found.low) - 0.3 < exact < float(found.high) + 0.3


def test_every_kind_of_round_was_made_and_all_steps_are_counted(run):
    kinds = [decision.kind for decision in run.history.decisions]
    assert kinds[:3] == ["explore", "swarm", "biased"]
    assert kinds[-2:] == ["kinetics", "kinetics"]
    steps = sum(piece.info["steps"] for piece in run.history.pieces())
    assert run.history.ps == pytest.approx(steps * 0.005)
    assert 3200 < run.history.ps <= 4000.4


def test_the_swarms_alone_give_the_weights_of_the_cells(run):
    """W of the strata from unbiased paths alone against exact integration over the same cells: up to 10 kT."""
    kinetics = kinetics_of(run.plan, run.history)
    coordinate = run.history.coordinate(run.history.decisions[-1].version)
    x, y, weight = grid()
    cells = kinetics.strata.cells(coordinate.values(np.column_stack([x, y])))
    exact = np.bincount(cells, weight, minlength=kinetics.strata.n)
    known = kinetics.own.strata
    assert len(known) >= 5
    ours = np.log(kinetics.own.weights[known])
    theirs = np.log(exact[known])
    spread = np.log(np.maximum(kinetics.own.samples[:, known], 1e-300)).std(axis=0)
    gap = (ours - theirs) - np.average(ours - theirs, weights=1 / (spread + 0.1) ** 2)
    assert theirs.max() - theirs.min() > 5.0  # kT: no easy range
    assert np.median(np.abs(gap)) < 1.5
    assert np.median(np.abs(gap) / (spread + 0.2)) < 2.0


def test_the_weights_of_the_cells_from_the_bias_are_exact(run):
    kinetics = kinetics_of(run.plan, run.history)
    coordinate = run.history.coordinate(run.history.decisions[-1].version)
    x, y, weight = grid()
    cells = kinetics.strata.cells(coordinate.values(np.column_stack([x, y])))
    exact = np.bincount(cells, weight, minlength=kinetics.strata.n)
    exact /= exact.sum()
    low = -np.log(exact) < 12  # kT
    assert low.sum() >= 5
    assert np.abs(np.log(kinetics.weights[low] / exact[low])).max() < 1.5


def test_the_next_decision_is_a_pure_function_of_what_is_committed(run):
    """Decided again from the store alone, at every point of its history, each round comes out as it was committed."""
    from mdinsight.adaptive import History
    from mdinsight.adaptive._rounds import decide

    class Until(History):
        """The run as it stood before a round."""

        def __init__(self, history, rounds):
            super().__init__(history.store, history.plan)
            self._until = history.decisions[:rounds]

        @property
        def decisions(self):
            return self._until

    for number in (0, 1, 2, 4):
        again = decide(run.plan, Until(run.history, number), 4000.0)
        then = run.history.decisions[number]
        assert again.decision.to_json() == then.to_json()
        for name, model in again.models.items():
            assert model.hash == run.history.model(then, name).hash


def test_advancing_again_with_the_same_budget_does_nothing(run):
    before = run.store.names()
    end = run.advance("4 ns", workers=1, progress=False)
    assert not end.converged and "4 ns" in end.says
    assert run.store.names() == before


def test_a_run_needs_a_budget_for_one_round(tmp_path, run):
    small = mdi.adaptive.open(tmp_path / "small", run.plan)
    with pytest.raises(mdi.errors.PlanError, match=r"does not pay for one round"):
        small.advance("0.5 ns", workers=1, progress=False)


def test_a_coordinate_is_kept_unless_a_new_one_is_better(run):
    from mdinsight.adaptive._learn import SKIP, learn

    series = run.history.unbiased(SKIP)
    mine = run.history.coordinate(run.history.decisions[-1].version)
    again = learn(run.plan, series, mine, 9)
    assert not again.is_new and again.model.hash == mine.hash
    slow = mine.values(np.eye(2)) - mine.values(np.zeros((2, 2)))  # (2, 1): its direction
    across = np.array([[slow[1, 0]], [-slow[0, 0]]])
    fast = mdi.cvs.from_linear(run.plan.features, across, topology=run.plan.system.topology)
    better = learn(run.plan, series, fast, 9)
    assert better.is_new and better.score > better.previous + 0.1
    assert np.corrcoef(*(model.values(series.concatenated())[:, 0] for model in (better.model, mine)))[0, 1] ** 2 > 0.9


def test_metastable_states_are_the_basins(run):
    """The two wells of the potential, which swarms of 4 ps do not leave, are different states; each is one."""
    states = run.history.model([d for d in run.history.decisions if d.kind == "biased"][-1], "states")
    coordinate = run.history.coordinate(run.history.decisions[-1].version)
    wells = np.array([[-0.558, 1.442], [0.623, 0.028]])  # the minima, published
    found = states.assign(coordinate.values(wells))
    assert found[0] != found[1]
    around = wells[:, None] + np.random.default_rng(0).normal(0, 0.05, (2, 50, 2))
    for well, state in zip(around, found, strict=True):
        assert (states.assign(coordinate.values(well)) == state).mean() > 0.9


def test_swarms_whose_cells_have_no_weighted_frame_any_more_are_left_out(run, monkeypatch):
    monkeypatch.setattr("mdinsight.adaptive._weigh.MOST_FRAMES", 300)  # as when a run goes on for long
    again = mdi.adaptive.look(run.history.store.path)
    paths = sum(len(piece.parts) for piece in again.history.pieces(kind="kinetics"))
    assert 0.5 * paths < len(kinetics_of(again.plan, again.history).swarms) < paths
