"""Implied timescales: known ones, converged or not, and the same on any number of workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mdinsight.errors import ConnectivityError, LagError, ParameterError
from mdinsight.msm import BayesianMSM, implied_timescales
from mdinsight.series import TimeSeries


def test_double_well(double_well: np.ndarray) -> None:
    found = implied_timescales([double_well], lags=[5, 10, 20, 40], k=3, n_samples=40, seed=1)
    np.testing.assert_array_equal(found.lags, [5, 10, 20, 40])
    assert found.timescales.value[1, 0] == pytest.approx(310.87, abs=0.01)
    assert (found.timescales.low[:, 0] < 330).all() and (found.timescales.high[:, 0] > 300).all()
    np.testing.assert_array_equal(found.resolved()[:, 1], [True, False, False, False])
    assert found.choose_lag() in (5, 10)
    assert all(verdict.holds for verdict in found.verdicts())
    model = BayesianMSM(10, n_samples=40, seed=1).fit([double_well]).model
    np.testing.assert_array_equal(model.timescales(3).low, found.timescales.low[1])


def test_any_number_of_workers_gives_the_same(double_well: np.ndarray) -> None:
    arrays = [double_well[i * 4000 : (i + 1) * 4000] // 4 for i in range(6)]
    found = [implied_timescales(arrays, k=3, n_samples=10, seed=5, workers=workers) for workers in (1, 2, 5, None)]
    with ThreadPoolExecutor(3) as pool:
        found.append(implied_timescales(arrays, k=3, n_samples=10, seed=5, workers=pool))
    assert len({one.hash for one in found}) == 1
    assert implied_timescales(arrays, k=3, n_samples=10, seed=6, workers=2).hash != found[0].hash


def test_memory_shows_as_timescales_that_grow(simulate) -> None:
    """A fast jump hides the slow one: the timescale rises with the lag until it is right."""
    flux = np.array([[500, 1, 0.0, 100], [1, 500, 100, 0], [0, 100, 20, 6], [100, 0, 6, 20]])
    flux = (flux + flux.T) / 2
    matrix = flux / flux.sum(axis=1, keepdims=True)
    seen = np.array([0, 1, 0, 1])  # the wrong partition of {0, 3} and {1, 2}
    arrays = [seen[simulate(matrix, 20_000, seed=i)] for i in range(4)]
    found = implied_timescales(arrays, lags=[1, 2, 4, 8, 16], k=1, n_samples=40)
    slow = found.timescales
    assert slow.value[-1, 0] > 1.3 * slow.value[0, 0]
    assert found.choose_lag() > 1


def test_a_rising_timescale_is_not_converged(simulate) -> None:
    """Frames in the wrong state make the timescale rise to 500 with the lag; the few data agree with nearly any value."""
    matrix = np.array([[0.999, 0.001], [0.001, 0.999]])
    accepted = 0
    for repeat in range(8):
        rng = np.random.default_rng(repeat)
        hidden = [simulate(matrix, 1000, seed=100 * repeat + i) for i in range(10)]
        arrays = [np.where(rng.random(1000) < 0.02, 1 - array, array) for array in hidden]
        found = implied_timescales(arrays, lags=[1, 2, 5, 10, 21, 44, 94, 200], n_samples=50)
        accepted += found.verdicts()[0].holds
        assert found.choose_lag() >= 10  # where nothing converges, not the lag where the rise is steepest
    assert accepted <= 1


@pytest.mark.parametrize("length", [1000, 5000])
def test_markovian_data_converge_at_short_lags(simulate, length: int) -> None:
    matrix = np.array([[0.999, 0.001], [0.001, 0.999]])
    chosen = []
    for repeat in range(8):
        arrays = [simulate(matrix, length, seed=100 * repeat + i) for i in range(10)]
        found = implied_timescales(arrays, lags=[1, 2, 5, 10, 21, 44, 94, 200], n_samples=50)
        chosen.append(found.choose_lag() if found.verdicts()[0].holds else 1000)
    assert np.median(chosen) <= 5 and sum(lag < 1000 for lag in chosen) >= 7


def test_never_converging_says_so(simulate) -> None:
    drift = np.concatenate([np.repeat(np.arange(10), 50), np.repeat(np.arange(10)[::-1], 50)])
    found = implied_timescales([np.tile(drift, 3)], lags=[1, 3, 10, 30, 100, 200], n_samples=30)
    verdict = found.verdicts()[0]
    assert not verdict.holds and "longer trajectories" in verdict.remedy
    assert found.choose_lag() in found.lags
    fast = simulate(np.array([[0.85, 0.15], [0.15, 0.85]]), 5000, seed=0)  # 2.8 frames
    coarse = implied_timescales([fast], lags=[1, 2, 4, 8, 16], n_samples=10)
    assert coarse.choose_lag() == 1 and "too few to compare" in coarse.verdicts()[0].says
    noise = implied_timescales([np.random.default_rng(0).integers(3, size=2000)], lags=[5, 10, 20], n_samples=20)
    assert "no timescale is longer than its lag" in noise.verdicts()[0].says


def test_default_lags_times_and_few_states() -> None:
    walk = np.arange(1000) // 7 % 2
    found = implied_timescales(TimeSeries([walk, walk], dt=0.5), n_samples=0)
    assert found.lags[0] == 1 and found.lags[-1] == 200 and found.timescales.unit == "ps"
    assert np.isnan(found.timescales.low).all()
    assert np.isfinite(found.timescales.value[:, 0]).all()
    assert np.isnan(found.timescales.value[:, 1:]).all()  # two states have one process
    np.testing.assert_allclose(found.steps, found.lags * 0.5)
    by_time = implied_timescales(TimeSeries([walk], dt=0.5), lags=["1 ps", 5], n_samples=2)
    np.testing.assert_array_equal(by_time.lags, [2, 5])


def test_refusals() -> None:
    walk = np.arange(100) // 7 % 2
    with pytest.raises(LagError, match="lags"):
        implied_timescales([walk], lags=[1, 100])
    with pytest.raises(LagError, match="empty"):
        implied_timescales([walk], lags=[])
    with pytest.raises(ParameterError, match="workers=0"):
        implied_timescales([walk], workers=0)
    with pytest.raises(ParameterError, match="k=0"):
        implied_timescales([walk], k=0)
    with pytest.raises(ConnectivityError):
        implied_timescales([np.zeros(50, int), np.ones(50, int)])


def test_lags_that_disconnect_are_left_out() -> None:
    array = np.zeros(60, dtype=int)
    array[25:35] = 1
    found = implied_timescales([array], lags=[1, 2, 40], n_samples=5)
    np.testing.assert_array_equal(found.lags, [1, 2])
    assert "40 frames" in found.skipped[0]
