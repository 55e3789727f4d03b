"""Long-lived states: found, weighted, timed, and honest about how many events they rest on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from deeptime.markov import pcca

from mdinsight.errors import DegenerateError, ParameterError
from mdinsight.msm import BayesianMSM, MaximumLikelihoodMSM
from mdinsight.msm._crossings import count_crossings, jump_sequences
from mdinsight.msm._macrostates import spectral_gap
from mdinsight.states import as_discrete


@pytest.fixture(scope="module")
def model(double_well: np.ndarray):
    return BayesianMSM(10, n_samples=60, seed=2).fit([double_well]).model


def test_double_well_has_two(model) -> None:
    found = model.pcca()
    assert found.n == len(found) == 2
    assert found.populations.value.sum() == pytest.approx(1.0)
    assert found.populations.contains(0.5).all()  # the potential is symmetric
    assert max(found.sets[0].max(), found.sets[1].max()) > 50 > min(found.sets[0].min(), found.sets[1].min())
    assert sorted(np.concatenate(found.sets)) == sorted(model.active_states)
    rate = 1 / found.mfpt.value[0, 1] + 1 / found.mfpt.value[1, 0]
    assert 1 / rate == pytest.approx(model.timescales(1).value[0], rel=0.03)
    assert (found.metastability.value > 0.95).all()
    assert all(verdict.holds for verdict in found.verdicts())
    assert found.mfpt.low[0, 1] < found.mfpt.value[0, 1] < found.mfpt.high[0, 1]
    assert found.mfpt.value[0, 1] == pytest.approx(model.mfpt(found.cores[0], found.cores[1]).value)


def test_memberships_are_deeptime_s(model, prinz: list[np.ndarray]) -> None:
    for given, n in ((model, 2), (MaximumLikelihoodMSM(5).fit(prinz).model, 4)):
        theirs = pcca(given.transition_matrix, n, given.stationary_distribution).memberships
        order = np.argsort(-(given.stationary_distribution @ theirs))
        np.testing.assert_allclose(given.pcca(n).memberships, np.clip(theirs[:, order], 0, 1), atol=1e-12)


def test_prinz_potential_has_four_wells(prinz: list[np.ndarray]) -> None:
    model = BayesianMSM(5, n_samples=30).fit(prinz).model
    assert model.pcca().n == 2  # the widest gap is below the first process, 167 against 25 frames
    four = model.pcca(4)
    spans = sorted((int(states.min()), int(states.max())) for states in four.sets)
    assert all(left[1] < right[0] for left, right in pairwise(spans))  # four intervals of the coordinate, in a row
    assert (four.entries > 50).all()


def test_assignment_of_frames(model, double_well: np.ndarray) -> None:
    found = model.pcca(2)
    (frames,) = found.assign([double_well])
    assert np.mean(frames == 0) == pytest.approx(found.populations.value[0], abs=0.01)
    (outside,) = found.assign([np.array([int(model.active_states[0]), 3])])
    assert outside[1] == -1


def test_crossings_by_hand() -> None:
    # 0 and 1 are one core, 5 and 6 the other, 3 lies between
    arrays = [np.array([0, 1, 3, 0, 3, 5, 5, 3, 5, 6, 3, 1]), np.array([3, 3, 6, 6, 0]), np.array([5, 5, 3])]
    cores = [np.array([0, 1]), np.array([5, 6])]
    events = [count_crossings(*jump_sequences(as_discrete(arrays)), cores, lag) for lag in (1, 2, 4, 20)]
    np.testing.assert_array_equal(events[0], [[0, 1], [2, 0]])
    np.testing.assert_array_equal(events[1], [[0, 1], [0, 0]])  # back in last frames only: nobody saw them stay
    np.testing.assert_array_equal(events[2], [[0, 1], [0, 0]])
    assert events[3].sum() == 0  # no trajectory is that long


def test_flicker_is_no_event() -> None:
    """One visit, every hundredth frame assigned to the wrong state: one event each way, whatever the model sees."""
    hidden = np.zeros(6000, dtype=int)
    hidden[2500:4200] = 1
    for seed in range(5):
        wrong = np.random.default_rng(seed).random(6000) < 0.01
        model = BayesianMSM(100, n_samples=20).fit([np.where(wrong, 1 - hidden, hidden)]).model
        np.testing.assert_array_equal(model.crossings([np.array([0]), np.array([1])]), [[0, 1], [1, 0]])
        transitions = next(v for v in model.verdicts() if v.subject == "transitions")
        assert not transitions.holds and "seen once one way and once back" in transitions.says
        found = model.pcca(2)
        np.testing.assert_array_equal([*found.entries, *found.exits], 1)
        assert not any(verdict.holds for verdict in found.verdicts()[:2])


def test_visits_shorter_than_the_lag_are_confessed(simulate) -> None:
    """States that live 33 to 100 frames: at a lag of 20 the way from 0 to 2 looks a third longer than it is."""
    matrix = np.array([[0.97, 0.03, 0.0], [0.02, 0.97, 0.01], [0.0, 0.03, 0.97]])
    exact = np.linalg.solve(np.eye(2) - matrix[:2, :2], np.ones(2))[0]
    array = simulate(matrix, 60_000, seed=0)
    long = MaximumLikelihoodMSM(20).fit([array]).model
    assert long.mfpt(0, 2).value > 1.2 * exact
    verdict = long.pcca(3).verdicts()[-1]
    assert verdict.subject == "lifetimes" and not verdict.holds
    assert "passage times to it come out too long" in verdict.says and "shorter lag" in verdict.remedy
    short = MaximumLikelihoodMSM(1).fit([array]).model
    assert short.mfpt(0, 2).value == pytest.approx(exact, rel=0.1)
    assert short.pcca(3).verdicts()[-1].holds
    np.testing.assert_allclose(np.sort(short.pcca(3).lifetimes), [33, 33, 33], rtol=0.1)


@pytest.mark.parametrize(("wrong", "lag"), [(0.0, 1), (0.0, 20), (0.05, 20), (0.1, 50)])
def test_many_events_stay_many(simulate, wrong: float, lag: int) -> None:
    """A well sampled process, with and without frames assigned to the wrong state."""
    hidden = simulate(np.array([[0.996, 0.004], [0.004, 0.996]]), 40_000, seed=3)
    true = int((np.diff(hidden) == 1).sum())
    flips = np.random.default_rng(0).random(len(hidden)) < wrong
    model = MaximumLikelihoodMSM(lag).fit([np.where(flips, 1 - hidden, hidden)]).model
    assert 0.6 * true <= model.crossings([np.array([0]), np.array([1])])[0, 1] <= true


def test_few_events_are_confessed() -> None:
    rng = np.random.default_rng(0)
    array = np.repeat([0, 1, 0, 1, 0], 300) * 2 + rng.integers(2, size=1500)
    found = BayesianMSM(1, n_samples=30).fit([array]).model.pcca(2)
    np.testing.assert_array_equal(found.entries, [2, 2])
    np.testing.assert_array_equal(found.exits, [2, 2])
    verdict = found.verdicts()[0]
    assert not verdict.holds
    assert "entered twice and left twice" in verdict.says and "rest on 2 events" in verdict.says
    assert "entered twice" in found.summary() and "NO: macrostate 0" in found.summary()
    ratio = found.mfpt.high[0, 1] / found.mfpt.low[0, 1]
    assert ratio > 5  # two events: a factor of this order is not known


def test_number_from_the_gap() -> None:
    assert spectral_gap(np.array([900.0, 30.0, 25.0, 20.0]), 1.0) == 2
    assert spectral_gap(np.array([900.0, 800.0, 30.0, 20.0]), 1.0) == 3
    assert spectral_gap(np.array([900.0, 300.0, 250.0, 2.0]), 30.0) == 4
    assert spectral_gap(np.array([3.0, 2.0]), 10.0) == 2


def test_refusals(model, double_well: np.ndarray) -> None:
    with pytest.raises(ParameterError, match="n=1"):
        model.pcca(1)
    with pytest.raises(ParameterError, match="n=67"):
        model.pcca(67)
    with pytest.raises(ParameterError, match="reversible=True"):
        MaximumLikelihoodMSM(10, reversible=False).fit([double_well]).model.pcca(2)
    with pytest.raises(DegenerateError, match=r"no 3 macrostates .* hold no state"):
        model.pcca(3)
