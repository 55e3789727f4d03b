"""The choice of lag and dimension, with its reason."""

from __future__ import annotations

import numpy as np
import pytest
from deeptime.data import ellipsoids

from mdinsight import cvs
from mdinsight.cvs._scan import choose_lag, one_standard_error
from mdinsight.errors import ParameterError
from mdinsight.results import Estimate
from mdinsight.series import TimeSeries


@pytest.fixture(scope="module")
def two_states():
    x = ellipsoids(laziness=0.97, seed=2).observations(60_000, n_dim=4, noise=True)
    return TimeSeries(np.array_split(x, 12), dt=1.0)


def test_two_states_need_one_coordinate_and_a_lag_on_the_plateau(two_states):
    result = cvs.scan(cvs.TICA(1), two_states, lags=["1 ps", "2 ps", "4 ps", "8 ps", "12 ps"], dims=[1, 2, 3])
    assert result.dim == 1
    # Noise in the columns makes the short lags underestimate t = 16.16; the choice stands where that is over.
    chosen = int(np.flatnonzero(result.lags == result.lag)[0])
    assert 4 <= result.lag < 12
    assert result.timescales.value[0, 0] < 0.8 * 16.16
    assert result.timescales.value[chosen, 0] == pytest.approx(16.16, rel=0.15)
    assert result.verdict.holds
    assert "no longer rises" in result.why
    assert "one standard error" in result.why
    assert np.all(np.diff(result.scores.value[:, 0]) < 0)  # why the lag is not chosen by the score
    assert sum(row["chosen"] for row in result.table) == 1
    assert "<- chosen" in str(result)
    assert result.timescales.unit == "ps"


def test_the_score_in_the_table_is_score_cv(two_states):
    result = cvs.scan(cvs.VAMP(1), two_states, lags=[3], dims=[1, 2], folds=4, seed=5)
    score = cvs.score_cv(cvs.VAMP(3, dim=2), two_states, folds=4, seed=5)
    assert result.scores.value[0, 1] == pytest.approx(float(score.test.value), rel=1e-12)
    assert result.scores.high[0, 1] == pytest.approx(float(score.test.high), rel=1e-12)
    assert not result.verdict.holds  # one lag cannot show a plateau


def test_the_number_of_workers_does_not_matter(two_states):
    scans = [cvs.scan(cvs.TICA(1), two_states, lags=[1, 3, 6], dims=[1, 2], workers=n) for n in (1, 3)]
    assert scans[0] == scans[1]


def test_progress_is_told(two_states):
    seen = []

    def bar(items, total, desc):
        seen.append(total)
        yield from items

    cvs.scan(cvs.TICA(1), two_states, lags=[1, 2], dims=[1], progress=bar)
    assert seen == [2]


def test_a_network_is_scanned(two_states):
    network = cvs.VAMPNet(1, seeds=1, epochs=2, layers=(4,))
    result = cvs.scan(network, two_states.take(range(4)), lags=[2, 4], dims=[1], folds=2, workers=1)
    assert result.scores.value.shape == (2, 1)
    assert np.isfinite(result.scores.value).all()


def test_one_standard_error_takes_the_fewest():
    test = np.array([[1.50, 1.78, 1.80], [1.52, 1.84, 1.85], [1.48, 1.75, 1.76], [1.50, 1.80, 1.81]])
    assert one_standard_error(test) == 1
    assert one_standard_error(test[:, :1]) == 0
    assert one_standard_error(np.full((4, 2), np.nan)) == 0


def estimate(values, half):
    values = np.asarray(values, float)[:, None]
    return Estimate(values, values - half, values + half, "frames")


def test_rising_timescales_are_not_taken_for_converged():
    at, _, verdict = choose_lag(
        np.array([1, 2, 4]), None, estimate([10, 15, 22], 0.5), np.ones(3, bool), np.ones(3, int)
    )
    assert at == 0
    assert not verdict.holds
    assert "rise with the lag" in verdict.says


def test_a_wide_interval_does_not_hide_a_timescale_that_grows_with_the_lag():
    values = np.array([[100.0], [200.0], [400.0]])
    times = Estimate(values, values / 10, values * 2, "frames")
    at, _, verdict = choose_lag(np.array([1, 2, 4]), None, times, np.ones(3, bool), np.ones(3, int))
    assert (at, verdict.holds) == (0, False)


def test_lags_below_the_noise_are_not_looked_at():
    times = estimate([10, 20, 20.2, 90], 0.5)  # the last is noise
    at, _, verdict = choose_lag(np.array([1, 2, 4, 8]), None, times, np.array([1, 1, 1, 0], bool), np.ones(4, int))
    assert (at, verdict.holds) == (1, True)


def test_a_process_faster_than_every_lag():
    at, _, verdict = choose_lag(
        np.array([5, 10]), None, estimate([2.0, np.nan], 0.1), np.ones(2, bool), np.ones(2, int)
    )
    assert (at, verdict.holds) == (0, False)
    assert "shorter lags" in verdict.remedy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lags": []}, "at least one lag"),
        ({"lags": [1], "dims": []}, "at least one lag"),
        ({"lags": [1], "dims": [0]}, "dims=0"),
        ({"lags": [1], "folds": 1}, "folds=1"),
    ],
)
def test_bad_parameters_are_named(two_states, arguments, message):
    with pytest.raises(ParameterError, match=message):
        cvs.scan(cvs.TICA(1), two_states, **arguments)


def test_pca_has_no_lag_to_scan(two_states):
    with pytest.raises(ParameterError, match="PCA has no lag time to scan"):
        cvs.scan(cvs.PCA(), two_states, lags=[1])


def test_the_estimators_own_lag_is_not_used(two_states):
    own, none = (cvs.scan(cvs.TICA(lag), two_states, lags=[1, 2], dims=[1]) for lag in (7, None))
    assert own == none
