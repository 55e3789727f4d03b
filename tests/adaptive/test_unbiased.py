"""Sampling without bias: policies every round, and weighted walkers."""

import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.adaptive import LeastCounts, Plain, Plan, WeightedEnsemble


@pytest.fixture(scope="module")
def system():
    return mdi.engine.System.from_pdb("example_trajs/ala2/top.pdb", forcefield="amber99sb", solvent="vacuum")


@pytest.fixture(scope="module")
def ensemble(system, tmp_path_factory):
    plan = Plan(
        system,
        mdi.features.Torsions("phi psi"),
        bias=None,
        policy=WeightedEnsemble(bins=6, per_bin=4),
        walkers=2,
        swarm="1 ps",
        swarms=12,
        segment="10 ps",
        seed=5,
    )
    run = mdi.adaptive.open(tmp_path_factory.mktemp("we") / "run", plan)
    run.advance("150 ps", workers=1, progress=False)
    return run


def test_the_weights_of_an_ensemble_sum_to_one_in_every_round(ensemble):
    rounds = ensemble.history.decisions
    assert len(rounds) >= 5
    for decision in rounds:
        weights = np.concatenate([task["weights"] for task in decision.tasks])
        assert (weights > 0).all()
        assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    lightest = min(min(task["weights"]) for task in rounds[-1].tasks)
    assert lightest < 1 / 24 / 4  # walkers were split


def test_a_weighted_walker_goes_on_where_its_parent_ended(ensemble):
    history = ensemble.history
    last = history.decisions[-1]
    for name, task in zip(last.names, last.tasks, strict=True):
        piece = history.piece(name)
        for number, (parent, trajectory) in enumerate(task["parents"]):
            end = history.piece(parent).end["positions"][trajectory]
            first = history.read(piece, number)[0]
            assert np.abs(first - end).max() < 1.1e-3  # the precision of XTC


def test_each_round_of_least_counts_starts_in_rarely_visited_places(system, tmp_path):
    plan = Plan(
        system,
        mdi.features.Torsions("phi psi"),
        bias=None,
        policy=LeastCounts(),
        explore=Plain("10 ps"),
        walkers=3,
        segment="10 ps",
        swarm="2 ps",
        seed=2,
    )
    run = mdi.adaptive.open(tmp_path / "run", plan)
    run.advance("200 ps", workers=1, progress=False)
    history = run.history
    assert [d.kind for d in history.decisions][:3] == ["explore", "swarm", "swarm"]
    last = history.decisions[-1]
    coordinate = history.coordinate(last.version)
    earlier = [part for piece in history.pieces(history.decisions[1:-1]) for part in piece.parts]
    seen = np.concatenate([coordinate.values(np.asarray(part)) for part in earlier])[:, 0]
    counts, edges = np.histogram(seen, bins=20)
    starts = [history.piece(name).parts[t][f] for task in last.tasks for name, t, f in task["starts"]]
    at = np.clip(np.digitize(coordinate.values(np.array(starts))[:, 0], edges) - 1, 0, 19)
    assert counts[at].max() < np.average(counts, weights=counts)  # rarer than where a random frame is
    with pytest.raises(mdi.errors.DegenerateError, match=r"run.markov_model\(\)"):
        run.states()


def test_the_markov_model_of_a_run_without_bias_is_of_its_trajectories_alone(ensemble):
    model = ensemble.markov_model()
    assert model.stationary_distribution.sum() == pytest.approx(1.0)
    frames = sum(piece.n_frames for piece in ensemble.history.pieces(kind="swarm"))
    assert model.count_matrix.sum() < frames
    assert 0.1 < float(model.timescales(1).value[0]) < 1000  # ps: the exchange inside phi < 0
