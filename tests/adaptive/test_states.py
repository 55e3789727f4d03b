"""The table of states of a real run: consistent in itself, with the trajectories that it came from, and with known figures."""

import dataclasses
import warnings

import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.adaptive import History
from mdinsight.adaptive._judged import AGAINST, judge
from mdinsight.adaptive._meaning import Members, describe
from mdinsight.adaptive._states import share
from mdinsight.adaptive._weigh import differences
from mdinsight.errors import DegenerateError
from mdinsight.features import Torsions
from mdinsight.results import Estimate

REFERENCE = 9.93  # kJ/mol, C7ax above C7eq in this force field, from long biased runs on phi and psi


@pytest.fixture(scope="module")
def states(sampled):
    return sampled.states()


def values_of(states, places):
    """The coordinate of frames, read again from their trajectory files."""
    history = states.history
    xyz, _ = history.frames(places)
    bound = history.definition.bind(history.plan.system.topology)
    return states.coordinate.values(np.array([bound.value(frame) for frame in xyz]))


def test_populations_and_free_energies_belong_together(states):
    kT = states.history.plan.system.kT
    p, free = states.populations, states.free_energies
    assert p.value.sum() == pytest.approx(1.0)
    assert (np.diff(p.value) <= 0).all() and free.value[0] == 0.0
    assert np.allclose(free.value, -kT * np.log(p.value / p.value[0]), atol=1e-9)
    for figure in (p, free):
        assert (figure.low <= figure.value).all() and (figure.value <= figure.high).all()
    weights = states.weighted.model.weights
    assert np.allclose([weights[states.assigned == i].sum() for i in range(len(states))], p.value)


def test_the_rare_state_is_c7ax_and_weighs_what_is_known_of_it(states):
    assert len(states) == 2
    common, rare = ({mean.name: mean.value for mean in means} for means in states.meaning)
    assert set(rare) == {"phi ALA2", "psi ALA2"}
    assert -160 < common["phi ALA2"] < -60
    assert 35 < rare["phi ALA2"] < 85 and -90 < rare["psi ALA2"] < 0
    assert states.words[1] == f"phi ALA2 {rare['phi ALA2']:.0f}, psi ALA2 {rare['psi ALA2']:.0f}"
    assert states.free_energies[1].contains(REFERENCE)


def test_every_structure_is_of_its_state(states):
    for number, frames in enumerate(states.frames):
        assert 1 < len(frames) <= 10 and len(set(frames)) == len(frames)
        assert (states.assign(values_of(states, frames)) == number).all()


def test_the_structures_in_the_pdb_are_those_frames(states, tmp_path):
    import mdtraj

    files = states.write_structures(tmp_path)
    assert [file.name for file in files] == ["state-1.pdb", "state-2.pdb"]
    for file, frames in zip(files, states.frames, strict=True):
        xyz, _ = states.history.frames(frames)
        read = mdtraj.load(str(file))
        first, again = (mdtraj.Trajectory(x, read.topology) for x in (xyz, read.xyz))
        assert np.allclose(mdtraj.compute_phi(first)[1], mdtraj.compute_phi(again)[1], atol=0.02)


def test_words_from_the_frames_and_from_the_features_agree(sampled, states):
    blind = History(sampled.store, sampled.plan)
    blind.__dict__["columns"] = ()  # as if the features held no torsion
    sets = []
    for number in range(len(states)):
        rows = np.flatnonzero(states.assigned == number)
        weights = states.weighted.model.weights[rows]
        places = tuple(states.weighted.where(rows))
        sets.append(Members(states.weighted.features[rows], states.values()[rows], weights, places))
    for ours, theirs in zip(states.meaning, describe(blind, sets, ["TIC 1"]), strict=True):
        assert [mean.name for mean in ours] == [mean.name for mean in theirs]
        for a, b in zip(ours, theirs, strict=True):
            error = 4 * max(a.spread, b.spread) / np.sqrt(60)
            assert abs((a.value - b.value + 180) % 360 - 180) < error


def test_a_circular_mean_is_not_torn_at_180_degrees(sampled):
    angles = np.radians([170.0, -170.0, 180.0, -160.0])
    columns = Torsions("phi psi").columns(sampled.plan.system.topology)
    history = History(sampled.store, sampled.plan)
    history.__dict__["columns"] = columns
    features = np.column_stack([np.cos(angles), np.sin(angles), np.ones(4), np.zeros(4)])
    one = Members(features, features[:, :1], np.ones(4), tuple(("x", 0, i) for i in range(4)))
    (means,) = describe(history, [one], ["TIC 1"])
    assert means[0].value == pytest.approx(-175.0, abs=0.1) and means[1].value == pytest.approx(0.0, abs=1e-9)
    assert str(means[0]) == "phi ALA2 -175"


def test_passage_times_are_in_detailed_balance(states):
    """p1 k12 = p2 k21, with k = 1 / time."""
    times, p = states.passage_times, states.populations
    assert np.isfinite([times.value[0, 1], times.value[1, 0]]).all() and np.isnan(np.diag(times.value)).all()
    for pair in ((0, 1), (1, 0)):
        assert times.low[pair] <= times.value[pair] <= times.high[pair]
    there = (p.low[0] / times.high[0, 1], p.high[0] / times.low[0, 1])
    back = (p.low[1] / times.high[1, 0], p.high[1] / times.low[1, 0])
    assert there[0] <= back[1] and back[0] <= there[1]


def test_of_two_states_the_lifetime_is_the_passage_time(states):
    assert states.lifetimes.value.tolist() == [states.passage_times.value[0, 1], states.passage_times.value[1, 0]]


def test_all_that_was_simulated_is_counted(sampled, states):
    files = sampled.history.pieces()
    assert states.ps == pytest.approx(sum(states.cost.values())) == pytest.approx(sum(piece.ps for piece in files))
    rounds = sampled.history.rounds()
    assert [one.number for one in rounds] == list(range(len(rounds)))
    assert np.allclose([one.start + one.ps for one in rounds[:-1]], [one.start for one in rounds[1:]])
    assert {one.kind for one in rounds} == {"explore", "swarm", "biased", "kinetics"} == set(states.cost)
    assert rounds[0].free_energies is None and len(rounds[-1].free_energies) == len(states)


def test_each_thing_is_said_once_and_in_the_states_own_numbers(states):
    verdicts = states.verdicts()
    subjects = [verdict.subject for verdict in verdicts]
    assert subjects[0] == AGAINST and len(set(subjects)) == len(subjects)
    assert "stratum" not in str(states) and "strata" not in str(states) and "array" not in str(states)
    assert all(verdict.remedy for verdict in verdicts if not verdict.holds)


def test_a_disagreement_of_swarms_and_bias_fails_and_stands_at_the_top(states):
    free = states.free_energies
    shift = np.array([0.0, 20.0])
    apart = Estimate(free.value + shift, free.low + shift, free.high + shift, "kJ/mol")
    other = dataclasses.replace(states.exchange, free_energies=apart)
    checks = judge([None], free, other, states.words, 2.5)
    assert checks[0].subject == AGAINST and not checks[0].holds
    assert f"state 2 lies at {free[1]} by the bias, at {apart[1]} by the swarms" in checks[0].says
    text = str(dataclasses.replace(states, exchange=other, checks=checks)).splitlines()
    assert text[1].startswith("NO: swarms against bias: they DISAGREE")


def judged(states, **changes):
    """The verdicts by subject, with the free energy of state 2 from its own trajectories."""
    _, free, each = differences(states.weighted, states.assigned, len(states))
    given = {"each": each, "free": free, "exchange": states.exchange, "touched": (), **changes}
    kT = states.history.plan.system.kT
    return {
        v.subject: v for v in judge(given["each"], given["free"], given["exchange"], states.words, kT, given["touched"])
    }


def test_nothing_is_ok_about_a_state_that_was_only_touched(states):
    found = judged(states, touched=[1])
    assert not found["visits"].holds and "touched state 2 at its border" in found["visits"].says
    assert "weight of state 2" not in found and not found[AGAINST].holds and not found["passage times"].holds
    assert "visits" not in judged(states)


def test_a_free_energy_open_by_more_than_a_factor_of_ten_is_no_weight(states):
    free = states.free_energies
    assert judged(states)["weight of state 2"].holds
    more = np.array([0.0, 20.0])
    wide = Estimate(free.value, free.low - more, free.high + more, "kJ/mol")
    weight = judged(states, free=wide)["weight of state 2"]
    assert not weight.holds and f"its free energy, {wide[1]}, is open by more than a factor of ten" in weight.says


def test_a_state_that_is_cut_off_is_connected_to_nothing(states):
    other = states.exchange.free_energies
    lost = Estimate(*(np.array([0.0, np.nan]) for _ in range(3)), "kJ/mol")
    assert np.isfinite(other.value).all()
    found = judged(states, exchange=dataclasses.replace(states.exchange, free_energies=lost))
    for subject in (AGAINST, "connection of the swarms", "passage times"):
        assert not found[subject].holds
        assert "state 2" in found[subject].says and "to state 1" in found[subject].says


def test_the_table_says_whether_the_run_has_converged(states):
    tests = states.history.tests()
    failing = [test.subject for test in tests if not test.holds]
    last = str(states).splitlines()[-1]
    assert last == states.convergence and tests
    if failing:
        assert last.startswith(f"not converged: NO for {', '.join(failing)}")
    else:
        assert last.startswith("converged") == all(verdict.holds for verdict in states.verdicts())


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ((0.99999, 0.99995, 1.0), "above 99.99 %"),
        ((0.9996, 0.9991, 0.9999), "99.96 % [99.91, 99.99]"),
        ((7e-7, 3e-7, 9e-7), "below 0.001 %"),
        ((5e-7, 2e-7, 0.012), "0.00005 % [0.00002, 1.2]"),
        ((0.0, 0.0, 0.012), "below 1.2 %"),
        ((0.0258, 0.0175, 0.038), "2.58 % [1.75, 3.8]"),
    ],
)
def test_populations_are_written_without_powers_of_ten(figures, text):
    assert share(Estimate(*figures)) == text


def test_passage_times_print_as_a_matrix_from_rows_to_columns(states):
    lines = str(states.passage_times).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("not determined  ") and lines[0].endswith(str(states.passage_times[0, 1]))
    assert lines[1].startswith(str(states.passage_times[1, 0])) and lines[1].endswith("not determined")


def test_the_status_of_a_folder_is_that_of_its_run(sampled):
    assert mdi.adaptive.Status.of(sampled.store.path) == mdi.adaptive.look(sampled.store.path).status()


def test_reading_a_run_warns_of_nothing(sampled):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        again = mdi.adaptive.look(sampled.store.path).states()
    assert str(again) == str(sampled.states())


def test_before_anything_is_weighed_it_says_so(sampled, tmp_path):
    begun = mdi.adaptive.open(tmp_path / "run", sampled.plan)
    with pytest.raises(DegenerateError, match=r"no biased round has settled.*larger budget"):
        begun.states()
    free = mdi.adaptive.open(tmp_path / "free", sampled.plan.replace(bias=None))
    with pytest.raises(DegenerateError, match=r"no bias.*analyze"):
        free.states()
