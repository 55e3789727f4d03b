"""Hidden Markov models: the exact parameters, deeptime's result, and seeded samples."""

from __future__ import annotations

import numpy as np
import pytest
from deeptime.markov.hmm import MaximumLikelihoodHMM, init

from mdinsight.errors import DegenerateError, ParameterError
from mdinsight.msm import HiddenMarkovModel, HiddenMSM
from mdinsight.records import load
from mdinsight.series import TimeSeries

HIDDEN = np.array([[0.98, 0.02], [0.04, 0.96]])
OUTPUT = np.array([[0.7, 0.25, 0.05, 0.0], [0.0, 0.1, 0.3, 0.6]])
SYMBOLS = np.array([1, 2, 5, 9])


@pytest.fixture(scope="module")
def data(simulate) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(1)
    hidden = [simulate(HIDDEN, 4000, seed=i) for i in range(4)]
    return hidden, [np.array([rng.choice(SYMBOLS, p=OUTPUT[state]) for state in path]) for path in hidden]


@pytest.fixture(scope="module")
def model(data) -> HiddenMarkovModel:
    return HiddenMSM(lag=1, n_states=2, seed=3, n_samples=40).fit(TimeSeries(data[1], dt=2.0)).model


def test_finds_the_parameters(model: HiddenMarkovModel) -> None:
    np.testing.assert_array_equal(model.symbols, SYMBOLS)
    np.testing.assert_allclose(model.transition_matrix, HIDDEN, atol=0.01)
    np.testing.assert_allclose(model.output_probabilities, OUTPUT, atol=0.02)
    exact = -2.0 / np.log(0.94)
    slow, populations = model.timescales(), model.populations()
    assert slow.unit == "ps" and slow.contains(exact)[0] and slow.value[0] == pytest.approx(exact, rel=0.15)
    assert populations.contains(np.array([2 / 3, 1 / 3])).all()
    assert populations.high[0] - populations.low[0] < 0.25
    assert model.mfpt(0, 1).contains(2.0 / 0.02)
    assert "population of hidden state 0" in model.summary()


def test_equals_deeptime(data, model: HiddenMarkovModel) -> None:
    arrays = [np.searchsorted(SYMBOLS, array) for array in data[1]]
    start = init.discrete.metastable_from_data(arrays, 2, 1)
    theirs = MaximumLikelihoodHMM(start, 1, accuracy=1e-3).fit_fetch(arrays)
    order = np.argsort(-theirs.transition_model.stationary_distribution)
    np.testing.assert_allclose(
        model.transition_matrix, theirs.transition_model.transition_matrix[np.ix_(order, order)], rtol=1e-10
    )
    np.testing.assert_allclose(model.output_probabilities, theirs.output_probabilities[order], rtol=1e-10, atol=1e-15)
    assert model.log_likelihood == pytest.approx(float(theirs.likelihood))


def test_viterbi_paths(data, model: HiddenMarkovModel) -> None:
    paths = model.paths(TimeSeries(data[1], dt=2.0))
    assert paths[0].dtype == np.int32 and paths.names == ("hidden state",) and paths.definition == model
    right = np.mean([np.mean(path[:, 0] == true) for path, true in zip(paths, data[0], strict=True)])
    assert right > 0.95
    with pytest.raises(ParameterError, match="states \\[7\\]"):
        model.paths([np.array([1, 2, 7])])


def test_longer_lag_has_the_same_timescale_and_wider_paths(data) -> None:
    model = HiddenMSM(lag=5, n_states=2, n_samples=20).fit(data[1]).model
    exact = -1.0 / np.log(0.94)
    assert model.timescales().value[0] == pytest.approx(exact, rel=0.2)
    assert model.timescales().low[0] < exact < model.timescales().high[0]
    paths = model.paths(data[1])
    assert [len(path) for path in paths] == [4000] * 4
    assert np.mean(paths[0][:, 0] == data[0][0]) > 0.85


def test_events_of_the_hidden_path(data, model: HiddenMarkovModel) -> None:
    true = sum(int((np.diff(path) == 1).sum()) for path in data[0])
    assert 0.5 * true < model.crossings[0, 1] < 1.1 * true
    assert all(verdict.holds for verdict in model.verdicts())
    hidden = np.repeat([0, 1, 0], [700, 400, 900])
    shown = np.where(np.random.default_rng(0).random(2000) < 0.1, 1 - hidden, hidden)
    rare = HiddenMSM(lag=1, n_states=2, n_samples=20).fit([shown]).model
    np.testing.assert_array_equal(rare.crossings, [[0, 1], [1, 0]])
    verdict = rare.verdicts()[2]
    assert verdict.subject == "transitions" and not verdict.holds and "rest on one event" in verdict.says
    assert "NO: transitions" in rare.summary()


def test_seeded_saved_and_memberships(data, model: HiddenMarkovModel, tmp_path) -> None:
    again = HiddenMSM(lag=1, n_states=2, seed=3, n_samples=40).fit(TimeSeries(data[1], dt=2.0)).model
    assert again.hash == model.hash
    short = [array[:500] for array in data[1]]
    one, other = (HiddenMSM(1, 2, seed=seed, n_samples=3).fit(short).model for seed in (1, 2))
    assert not np.array_equal(one.samples, other.samples)
    assert load(model.save(tmp_path / "hmm.model")).hash == model.hash
    np.testing.assert_allclose(model.memberships.sum(axis=1), 1.0)
    assert model.memberships[0, 0] > 0.95 and model.memberships[3, 1] > 0.95


def test_refusals(data, model: HiddenMarkovModel) -> None:
    with pytest.raises(DegenerateError, match="from 4 observed"):
        HiddenMSM(1, 5).fit(data[1])
    with pytest.raises(ParameterError, match="n_states=1"):
        HiddenMSM(1, 1).fit(data[1])
    with pytest.raises(ParameterError, match="two different"):
        model.mfpt(0, 2)
