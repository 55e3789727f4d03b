"""What a model says of itself: too few pairs, modes that alternate, what does not relax, no interval where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from mdinsight import cvs
from mdinsight.cvs._verdicts import most_pairs
from mdinsight.series import TimeSeries


@pytest.fixture(scope="module")
def wide(autoregressive):
    """Eight trajectories of 800 frames, 19 columns."""
    return TimeSeries([autoregressive(800, [30.0] * 19, i) for i in range(8)], dt=1.0)


@pytest.fixture(scope="module")
def alternating(autoregressive):
    """A column that alternates from frame to frame, and one that relaxes in 20 frames."""
    swing = (-1.0) ** np.arange(3000) + 0.1 * np.random.default_rng(0).standard_normal(3000)
    return np.column_stack([swing, autoregressive(3000, [20.0], 1)[:, 0]])


@pytest.mark.parametrize("estimator", [cvs.TICA, cvs.VAMP])
@pytest.mark.parametrize("lag", [799, 787])  # 8 and 104 pairs
def test_too_few_pairs_for_the_columns(wide, estimator, lag):
    model = estimator(lag).fit(wide).model
    (verdict,) = model.verdicts()
    assert verdict.subject == "amount of data" and not verdict.holds
    assert f"lag of {lag} ps" in verdict.says and "19 columns" in verdict.says
    assert "shorter lag" in verdict.remedy and "more data" in verdict.remedy
    assert "nothing in these columns is slow" not in model.summary()


def test_columns_that_never_change_do_not_count(wide):
    few = [np.hstack([x[:, :1], np.ones((len(x), 18))]) for x in wide]
    with pytest.warns(match="never change"):
        model = cvs.TICA(787, dim=1).fit(few).model
    assert "amount of data" not in {verdict.subject for verdict in model.verdicts()}


@pytest.mark.parametrize("n_bootstrap", [0, 100])
@pytest.mark.parametrize("lengths", [[800], [800] * 8, [100] * 40, [3000, 50, 50, 10], [500, 400, 300] * 4])
def test_the_pairs_are_never_more_than_is_said(lengths, n_bootstrap):
    x = [np.random.default_rng(i).standard_normal((n, 1)) for i, n in enumerate(lengths)]
    for lag in (1, 9, 20, 49, 90):
        if lag >= min(lengths):
            continue
        model = cvs.TICA(lag, dim=1, n_bootstrap=n_bootstrap).fit(x).model
        assert sum(n - lag for n in lengths) <= most_pairs(model)


def test_nothing_is_said_of_an_interval_that_is_not_there(wide):
    model = cvs.TICA(10, n_bootstrap=0).fit(wide).model
    assert all(verdict.holds for verdict in model.verdicts())
    short = cvs.TICA(10, dim=1, n_bootstrap=0).fit(np.cumsum(wide[0][:, :2], axis=0)).model
    (length,) = [verdict for verdict in short.verdicts() if verdict.subject == "length of the data"]
    assert not length.holds
    for text in (str(length), *map(str, model.verdicts())):
        assert "resamplings" not in text and "interval is" not in text and "interval comes" not in text
    assert "the interval comes from 100 resamplings" in cvs.TICA(10).fit(wide).model.summary()


def test_a_negative_eigenvalue_before_a_slow_process_is_named(alternating):
    model = cvs.TICA(3).fit(alternating).model
    assert model.eigenvalues[0] < -0.9 and model.eigenvalues[1] == pytest.approx(np.exp(-3 / 20), abs=0.03)
    verdicts = {verdict.subject: verdict for verdict in model.verdicts()}
    sign = verdicts["sign of the eigenvalues"]
    assert not sign.holds and model.verdicts()[0] == sign
    assert "negative for TIC 1 (-0.9" in sign.says and "alternate" in sign.says
    assert "longer or shorter lag" in sign.remedy
    assert "nothing in these columns is slow" not in model.summary()
    slow = verdicts["lag against timescale"]  # of TIC 2
    assert slow.holds and str(model.timescales()[1]) in slow.says
    assert [verdict.subject for verdict in cvs.TICA(3, dim=1).fit(alternating).model.verdicts()] == [sign.subject]


def test_noise_about_zero_after_a_slow_process_is_no_oscillation(autoregressive):
    noise = np.random.default_rng(0).standard_normal((3000, 3))
    model = cvs.TICA(3, dim=None).fit(np.column_stack([autoregressive(3000, [20.0], 1), noise])).model
    assert model.eigenvalues.min() < 0
    assert all(verdict.holds for verdict in model.verdicts())


def test_what_changes_within_no_trajectory_is_not_called_fast(autoregressive):
    x = [np.column_stack([autoregressive(400, [20.0], i), np.full(400, float(i))]) for i in range(3)]
    (verdict,) = cvs.TICA(3).fit(x).model.verdicts()
    assert not verdict.holds
    assert "changes within no trajectory" in verdict.says and "longer trajectories" in verdict.remedy
