"""The Chapman-Kolmogorov test: it holds for right models, however few the events, and refuses wrong ones."""

from __future__ import annotations

import numpy as np
import pytest

from mdinsight.errors import ConnectivityError, ParameterError
from mdinsight.msm import BayesianMSM, ChapmanKolmogorov, MarkovModel, MaximumLikelihoodMSM, chapman_kolmogorov


@pytest.fixture(scope="module")
def model(double_well: np.ndarray):
    return BayesianMSM(10, n_samples=60, seed=2).fit([double_well]).model


@pytest.fixture(scope="module")
def metastable() -> np.ndarray:
    """Three states that live 180 to 860 frames; timescales of 350 and 125."""
    pi = np.array([0.6, 0.3, 0.1])
    flux = np.array([[0, 6e-4, 1e-4], [6e-4, 0, 5e-4], [1e-4, 5e-4, 0]])
    matrix = flux / pi[:, None]
    matrix[np.diag_indices(3)] = 1 - matrix.sum(axis=1)
    return matrix


@pytest.fixture(scope="module")
def memory() -> np.ndarray:
    """Two visible states, even and odd, that exchange every 50 frames or every 1000: which of the two is hidden, and
    changes every 3000."""
    matrix = np.zeros((4, 4))
    matrix[[0, 1], [1, 0]], matrix[[2, 3], [3, 2]] = 1 / 50, 1 / 1000
    matrix[[0, 2, 1, 3], [2, 0, 3, 1]] = 1 / 3000
    matrix[np.diag_indices(4)] = 1 - matrix.sum(axis=1)
    return matrix


def repeated(
    simulate, matrix: np.ndarray, n: int, frames: int, repeats: int, start: int | None
) -> list[tuple[MarkovModel, ChapmanKolmogorov]]:
    """Model and test of each of the data sets that connect all three states."""
    found = []
    for repeat in range(repeats):
        arrays = [simulate(matrix, frames, 1000 * repeat + i, start) for i in range(n)]
        try:
            made = MaximumLikelihoodMSM(1).fit(arrays).model
        except ConnectivityError:
            continue
        if made.n_states == 3:
            found.append((made, chapman_kolmogorov(made, arrays, 3)))
    return found


def test_holds_for_markovian_data(model, double_well: np.ndarray) -> None:
    test = chapman_kolmogorov(model, [double_well], n_sets=2, multiples=[1, 3, 6])
    np.testing.assert_array_equal(test.lags, [10, 30, 60])
    assert test.n_sets == 2 and test.predicted.value.shape == (3, 2, 2) and test.visits.shape == (3, 2)
    np.testing.assert_allclose(test.predicted.value.sum(axis=2), 1.0)
    np.testing.assert_allclose(test.estimated.value.sum(axis=2), 1.0)
    np.testing.assert_allclose(test.predicted.value[0], test.estimated.value[0], atol=2e-4)  # but for detailed balance
    assert test.verdicts()[0].holds and not test.outside.any()
    assert model.chapman_kolmogorov([double_well], 2, [1, 3, 6]) == test


def test_the_prediction_is_the_matrix_to_that_power(model, double_well: np.ndarray) -> None:
    test = chapman_kolmogorov(model, [double_well], n_sets=2, multiples=[7, 100])
    memberships = model.pcca(2).memberships
    weights = model.stationary_distribution[:, None] * memberships
    for row, multiple in enumerate((1, 7, 100)):
        later = np.linalg.matrix_power(model.transition_matrix, multiple) @ memberships
        expected = (weights / weights.sum(axis=0)).T @ later
        np.testing.assert_allclose(test.predicted.value[row], expected, atol=1e-9)


def test_it_reaches_the_slowest_timescale(simulate, metastable: np.ndarray) -> None:
    arrays = [simulate(metastable, 20_000, seed=1)]
    made = MaximumLikelihoodMSM(2).fit(arrays).model
    slowest = made.timescales(1).value[0]
    lags = chapman_kolmogorov(made, arrays, 3).lags
    assert len(lags) == 6 and lags[0] == 2 and slowest - 2 <= lags[-1] <= slowest
    np.testing.assert_allclose(np.diff(lags[1:]), lags[-1] / 5, atol=2)
    short = [simulate(metastable, 301, seed=i, start=i % 3) for i in range(60)]
    made = MaximumLikelihoodMSM(2).fit(short).model
    assert chapman_kolmogorov(made, short, 3).lags[-1] == 150  # half of a trajectory
    assert chapman_kolmogorov(MaximumLikelihoodMSM(60).fit(short).model, short, 2).lags.tolist() == [
        60,
        120,
        180,
        240,
        300,
    ]


@pytest.mark.parametrize(("n", "frames", "start"), [(1, 30_000, None), (1, 4000, None), (30, 500, 2)])
def test_right_models_pass_and_the_intervals_hold_the_truth(
    simulate, metastable: np.ndarray, n: int, frames: int, start: int | None
) -> None:
    """Many events; a handful; and short trajectories that all begin in the rarest state."""
    found = repeated(simulate, metastable, n, frames, 60, start)
    assert len(found) > 40
    assert np.mean([test.verdicts()[0].holds for _, test in found]) >= 0.9
    inside = []
    for made, test in found:
        states = np.argsort(-made.stationary_distribution)  # the set that each state is
        exact = [np.linalg.matrix_power(metastable, int(lag))[np.ix_(states, states)] for lag in test.lags]
        inside.append(test.estimated.contains(np.array(exact)))
    assert np.mean(inside) >= 0.92
    assert (np.mean(inside, axis=(0, 2)) >= 0.85).all()  # set by set and lag by lag


def test_right_models_of_many_states_pass(simulate, double_well: np.ndarray) -> None:
    whole = MaximumLikelihoodMSM(1).fit([double_well]).model
    for frames in (20_000, 3000):
        holds = []
        for seed in range(25):
            arrays = [whole.active_states[simulate(whole.transition_matrix, frames, seed=seed)]]
            made = MaximumLikelihoodMSM(10).fit(arrays).model
            holds.append(chapman_kolmogorov(made, arrays, 2).verdicts()[0].holds)
        assert np.mean(holds) >= 0.9


def test_hidden_memory_is_refused_where_five_lags_saw_nothing(simulate, memory: np.ndarray) -> None:
    far, near = [], []
    for seed in range(50):
        arrays = [simulate(memory, 40_000, seed=seed) % 2]
        made = MaximumLikelihoodMSM(1).fit(arrays).model
        far.append(chapman_kolmogorov(made, arrays, 2).verdicts()[0].holds)
        near.append(chapman_kolmogorov(made, arrays, 2, range(1, 6)).verdicts()[0].holds)
    assert np.mean(far) <= 0.2
    assert np.mean(near) >= 0.9


def test_poor_states_of_the_prinz_potential_are_refused(prinz: list[np.ndarray]) -> None:
    """112 bins at a lag of 5 are a good model, 6 bins at a lag of 1 are not: borders within the wells."""
    good = BayesianMSM(5, n_samples=20).fit(prinz).model
    assert good.chapman_kolmogorov(prinz, 4).verdicts()[0].holds
    coarse = [array // 22 for array in prinz]
    poor = BayesianMSM(1, n_samples=20).fit(coarse).model
    assert not poor.chapman_kolmogorov(coarse).verdicts()[0].holds


def test_fails_for_hidden_memory(simulate) -> None:
    """A border drawn on the wrong side of a shallow well: the data cross it back and forth."""
    flux = np.array([[3000, 3, 0], [3, 60, 60], [0, 60, 1500]])
    matrix = flux / flux.sum(axis=1, keepdims=True)
    arrays = [np.array([0, 0, 1])[simulate(matrix, 20_000, seed=i)] for i in range(3)]
    model = BayesianMSM(1, n_samples=50).fit(arrays).model
    test = model.chapman_kolmogorov(arrays, n_sets=2, multiples=[2, 5, 20])
    assert not test.verdicts()[0].holds
    assert "lie outside" in test.summary() and "longer lag" in test.verdicts()[0].remedy


@pytest.mark.parametrize(("stays", "about"), [([10], 1), ([10, 10], 2), ([10, 10, 10], 3), ([1500], 15), ([40, 4], 1)])
def test_visits_are_counted_not_frames(stays: list[int], about: int) -> None:
    """A visit shorter than the lag counts once, a long one once a lag, and unequal ones less than their number."""
    pieces = [np.zeros(2000, dtype=int)]
    for stay in stays:
        pieces += [np.ones(stay, dtype=int), np.zeros(2000, dtype=int)]
    array, lag = np.concatenate(pieces), 100
    test = MaximumLikelihoodMSM(1).fit([array]).model.chapman_kolmogorov([array], 2, [1, lag])
    begins = np.flatnonzero(array[:-lag])
    overlap = np.maximum(0, 1 - np.abs(begins[:, None] - begins) / lag)
    assert test.visits[1, 1] == pytest.approx(1 / overlap.mean())
    assert test.visits[1, 1] == pytest.approx(about, rel=0.4)


def test_one_visit_that_ended_is_no_certainty() -> None:
    """Nothing stayed for the lag: the probability to stay is seen as 0, with all but all of the range open."""
    array = np.zeros(4000, dtype=int)
    array[1000:1300] = 1
    made = BayesianMSM(1, n_samples=50).fit([array]).model
    test = made.chapman_kolmogorov([array], 2, [600])
    assert test.estimated.value[1, 1, 1] == 0
    assert test.estimated.low[1, 1, 1] == 0 and test.estimated.high[1, 1, 1] > 0.8
    assert test.verdicts()[0].holds and "from 1.2 independent visits" in test.summary()


def test_what_no_window_shows_is_not_compared() -> None:
    """The second state is seen in the last frames only: no window of 200 frames starts there."""
    array = np.concatenate([np.zeros(1000, dtype=int), np.ones(50, dtype=int), np.zeros(20, dtype=int)])
    made = BayesianMSM(1, n_samples=20).fit([array]).model
    test = made.chapman_kolmogorov([array], 2, [10, 200])
    assert np.isfinite(test.estimated.value[1]).all() and test.visits[2, 1] == 0
    assert np.isnan(test.estimated.value[2, 1]).all() and np.isfinite(test.predicted.value).all()
    assert " of 6 predictions" in test.summary()


def test_nothing_seen_beyond_the_lag_is_confessed() -> None:
    arrays = [np.array([0, 0, 1, 1, 0, 0]), np.array([1, 1, 0, 0, 1, 1])]
    made = MaximumLikelihoodMSM(3).fit(arrays).model
    verdict = made.chapman_kolmogorov(arrays, 2).verdicts()[0]
    assert not verdict.holds and "nothing was seen for longer than the lag of 3 frames" in verdict.says
    assert "longer trajectories" in verdict.remedy


def test_refusals(model, double_well: np.ndarray) -> None:
    with pytest.raises(ParameterError, match="multiples"):
        model.chapman_kolmogorov([double_well], 2, [0, 2])
    with pytest.raises(ParameterError, match="multiples x lag"):
        model.chapman_kolmogorov([double_well], 2, [20_000])
