"""Figures that others published, or that follow from theory."""

from __future__ import annotations

import numpy as np
import pytest
from deeptime.data import sqrt_model
from deeptime.markov import TransitionCountEstimator
from deeptime.markov.msm import MarkovStateModel
from deeptime.markov.msm import MaximumLikelihoodMSM as DeeptimeMSM

from mdinsight.msm import BayesianMSM, MarkovModel, MaximumLikelihoodMSM
from mdinsight.series import TimeSeries


def given(matrix: np.ndarray, pi: np.ndarray, dt: float | None = None) -> MarkovModel:
    """A model with exactly this matrix, at a lag of two frames."""
    model = MaximumLikelihoodMSM(1).fit([np.arange(40) % len(matrix), np.arange(40)[::-1] % len(matrix)]).model
    return model.replace(transition_matrix=matrix, stationary_distribution=pi, lag=2, dt=dt)


def test_prinz_potential(prinz: list[np.ndarray]) -> None:
    exact = np.array([166.8, 25.35, 13.02, 2.44])
    slow = BayesianMSM(lag=1, seed=1).fit(prinz).model.timescales(4)
    assert (np.abs(slow.value / exact - 1) < [0.12, 0.06, 0.06, 0.04]).all()
    assert slow.contains(exact)[:3].all()  # t5 is not resolved at a lag of one frame: the bins shorten it
    assert slow.low[0] > 0.7 * exact[0] and slow.high[0] < 1.4 * exact[0]


def test_double_well(double_well: np.ndarray) -> None:
    model = MaximumLikelihoodMSM(lag=10).fit([double_well]).model
    assert model.n_states == 66
    np.testing.assert_allclose(model.timescales(3).value, [310.8725, 8.5093, 5.0908], atol=0.001)
    free = MaximumLikelihoodMSM(lag=10, reversible=False).fit([double_well]).model
    np.testing.assert_allclose(free.timescales(3).value, [310.494, 8.483, 5.026], atol=0.001)
    assert model.timescales(3).unit == "frames" and np.isnan(model.timescales(3).low).all()


def test_square_root_model() -> None:
    hidden, _ = sqrt_model(20_000, seed=3)
    slow = BayesianMSM(lag=1, seed=0).fit([hidden]).model.timescales()
    assert slow.value[0] == pytest.approx(9.491, rel=0.08)
    assert slow.contains(9.491)[0]


@pytest.mark.parametrize("counting", ["sliding", "sample", "effective"])
@pytest.mark.parametrize("reversible", [True, False])
def test_equals_deeptime(prinz: list[np.ndarray], counting: str, reversible: bool) -> None:
    arrays = [states[:1500] // 8 for states in prinz[:4]]
    counts = TransitionCountEstimator(7, counting).fit_fetch(arrays).submodel_largest()
    theirs = DeeptimeMSM(reversible=reversible).fit_fetch(counts)
    ours = MaximumLikelihoodMSM(7, reversible=reversible, counting=counting).fit(arrays).model
    np.testing.assert_array_equal(ours.active_states, counts.state_symbols)
    np.testing.assert_array_equal(ours.count_matrix, counts.count_matrix)
    np.testing.assert_allclose(ours.transition_matrix, theirs.transition_matrix, rtol=1e-12)
    np.testing.assert_allclose(ours.stationary_distribution, theirs.stationary_distribution, rtol=1e-12)
    moduli = np.abs(theirs.eigenvalues(5)[1:])  # deeptime's own timescales warn of imaginary parts
    np.testing.assert_allclose(ours.timescales(4).value, -7 / np.log(moduli), rtol=1e-6)


def test_first_passage_times_of_small_chains() -> None:
    two = np.array([[0.9, 0.1], [0.25, 0.75]])
    model = given(two, np.array([5, 2]) / 7, dt=3.0)
    # 1 / p lags of 2 frames of 3 ps
    assert model.mfpt(0, 1).value == pytest.approx(6.0 / 0.1)
    assert model.mfpt(1, 0).value == pytest.approx(6.0 / 0.25)
    assert model.mfpt(0, 1).unit == "ps"
    # a symmetric walk on a line of 5 states with reflecting ends: n^2 + n steps from one end to the other
    line = 0.5 * (np.eye(5, k=1) + np.eye(5, k=-1))
    line[0, 0] = line[-1, -1] = 0.5
    walk = given(line, np.full(5, 0.2))
    assert walk.mfpt(0, 4).value == pytest.approx(2 * (4 * 4 + 4))
    assert walk.mfpt(0, 4).unit == "frames"
    np.testing.assert_allclose(walk.tpt(0, 4).forward_committor.value, [0, 0.25, 0.5, 0.75, 1])


def test_passage_and_flux_equal_deeptime(double_well: np.ndarray) -> None:
    model = MaximumLikelihoodMSM(lag=10).fit([double_well]).model
    reference = MarkovStateModel(model.transition_matrix, model.stationary_distribution, reversible=True, lagtime=10)
    A, B = model.active_states[:12], model.active_states[-9:]
    at_a, at_b = np.arange(12), np.arange(57, 66)
    flux, theirs = model.tpt(A, B), reference.reactive_flux(at_a, at_b)
    assert model.mfpt(A, B).value == pytest.approx(reference.mfpt(at_a, at_b))
    np.testing.assert_allclose(flux.forward_committor.value, theirs.forward_committor, atol=1e-10)
    np.testing.assert_allclose(flux.backward_committor, theirs.backward_committor, atol=1e-8)
    np.testing.assert_allclose(flux.net_flux, theirs.net_flux / 10, atol=1e-12)
    assert flux.total_flux.value == pytest.approx(theirs.total_flux / 10)
    assert flux.rate.value == pytest.approx(theirs.rate / 10)
    assert flux.rate.unit == "1/frames"


def test_flux_splits_between_two_ways() -> None:
    """0 to 3 through 1 or 2: three times as often through 1."""
    flux = np.zeros((4, 4))
    for i, j, f in [(0, 1, 3.0), (1, 3, 3.0), (0, 2, 1.0), (2, 3, 1.0)]:
        flux[i, j] = flux[j, i] = f
    flux += np.diag([20.0, 10.0, 10.0, 20.0])
    pi = flux.sum(axis=1)
    found = given(flux / pi[:, None], pi / pi.sum(), dt=0.5).tpt([0], [3])
    assert [path.states for path in found.pathways] == [(0, 1, 3), (0, 2, 3)]
    np.testing.assert_allclose([path.fraction for path in found.pathways], [0.75, 0.25])
    np.testing.assert_allclose(found.forward_committor.value, [0, 0.5, 0.5, 1])
    # each of the 4 units of flux out of 0 commits with probability one half, per lag of 2 frames of 0.5 ps
    assert found.total_flux.value == pytest.approx(4.0 / pi.sum() * 0.5 / 1.0)
    assert found.rate.value * found.mfpt.value == pytest.approx(1.0)
    assert "0 > 1 > 3" in found.summary()


def test_mfpt_in_ps_and_frames(double_well: np.ndarray) -> None:
    frames = BayesianMSM(10, n_samples=20).fit([double_well]).model
    ps = BayesianMSM("20 ps", n_samples=20).fit(TimeSeries([double_well], dt=2.0)).model
    assert ps.lag == 10 and ps.dt == 2.0
    one, other = frames.mfpt([40], [60]), ps.mfpt([40], [60])
    assert (one.unit, other.unit) == ("frames", "ps")
    np.testing.assert_allclose([other.value, other.low, other.high], 2 * np.array([one.value, one.low, one.high]))
    assert ps.timescales().unit == "ps" and "ps" in ps.summary()
