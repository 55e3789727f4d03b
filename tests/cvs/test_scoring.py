"""The cross-validated VAMP-2 score: deeptime's on the same split, honest about overfitting and about too little data."""

from __future__ import annotations

import numpy as np
import pytest
from deeptime.covariance import Covariance
from deeptime.decomposition import TICA as DeeptimeTICA
from deeptime.decomposition import VAMP as DeeptimeVAMP

from mdinsight import cvs
from mdinsight.cvs._blocks import make_folds, take_blocks
from mdinsight.cvs._scoring import model_score, standard_error
from mdinsight.errors import LagError, ParameterError, SelectionError, StatisticsWarning


def deeptime_covariance(series, lag, reversible):
    estimator = Covariance(
        lagtime=lag,
        compute_c0t=True,
        compute_ctt=not reversible,
        remove_data_mean=True,
        reversible=reversible,
        bessels_correction=False,
    )
    for array in series:
        estimator.partial_fit((array[:-lag], array[lag:]))
    return estimator.fetch_model()


@pytest.mark.parametrize("n_trajectories", [6, 2])
@pytest.mark.parametrize(("ours", "theirs"), [(cvs.TICA, DeeptimeTICA), (cvs.VAMP, DeeptimeVAMP)])
def test_equals_deeptime_on_the_same_split(named, ours, theirs, n_trajectories):
    series = named.take(range(n_trajectories))
    score = cvs.score_cv(ours(4, dim=2), series, folds=4, seed=3)
    split = make_folds(series, 4, 4, 3)
    reversible = ours is cvs.TICA
    for fold in range(4):
        train, test = (
            deeptime_covariance(take_blocks(series, blocks), 4, reversible)
            for blocks in (split.train(fold), split.test(fold))
        )
        model = theirs(lagtime=4, dim=2).fit_from_covariances(train).fetch_model()
        held_out = theirs(lagtime=4, dim=2).fit_from_covariances(test).fetch_model()
        assert score.test_folds[fold] == pytest.approx(model.score("VAMP2", held_out, epsilon=1e-10), rel=1e-9)
        assert score.train_folds[fold] == pytest.approx(model.score("VAMP2", epsilon=1e-10), rel=1e-9)


@pytest.mark.parametrize("estimator", [cvs.PCA(2), cvs.TICA(4, dim=2), cvs.VAMP(4, dim=2)])
def test_the_short_way_for_linear_estimators_is_the_plain_way(named, estimator):
    score = cvs.score_cv(estimator, named, folds=3, lag=4)
    split = make_folds(named, 4, 3, 0)
    for fold in range(3):
        model = estimator.fit(take_blocks(named, split.train(fold))).model
        assert score.test_folds[fold] == pytest.approx(model_score(model, named, split.test(fold), 4), rel=1e-9)


def test_the_score_is_the_sum_of_squared_eigenvalues(autoregressive):
    x = [autoregressive(4000, [30.0, 8.0], i) for i in range(10)]
    score = cvs.score_cv(cvs.TICA(3, dim=2), x, folds=5)
    exact = 1 + np.exp(-6 / 30) + np.exp(-6 / 8)
    assert score.test.contains(exact)
    assert float(score.test.high - score.test.low) < 0.1
    assert score.verdict.holds
    assert "fine" in str(score)
    assert (score.dim, score.lag, score.kind) == (2, 3, "TICA")


def test_a_model_scores_itself(named):
    fitted = cvs.TICA("8 ps", dim=2).fit(named)
    assert fitted.model.score_cv(named, folds=3) == cvs.score_cv(cvs.TICA("8 ps", dim=2), named, folds=3)
    assert fitted.model.score_cv(named, folds=3, lag="20 ps").lag == 10


def test_a_model_does_not_score_other_columns(named):
    models = [cvs.TICA(4, dim=1).fit(named).model]
    models.append(cvs.VAMPNet(4, dim=1, seeds=1, epochs=1, layers=(4,)).fit(named).model)
    for model in models:
        for other in (named.select("*phi*", "d*"), named[0][:, :2]):
            with pytest.raises(SelectionError) as transformed:
                model.transform(other)
            with pytest.raises(SelectionError) as scored:
                model.score_cv(other)
            assert str(scored.value) == str(transformed.value)


def test_pca_is_scored_at_a_given_lag(named):
    with pytest.raises(ParameterError, match="PCA has no lag time of its own"):
        cvs.score_cv(cvs.PCA(2), named)
    score = cvs.score_cv(cvs.PCA(2), named, lag="8 ps")
    assert 1.0 < float(score.test.value) < float(cvs.score_cv(cvs.TICA("8 ps", dim=2), named).test.value)


def test_overfitting_is_said_in_words(autoregressive):
    few = [np.hstack([autoregressive(120, [30.0], i), autoregressive(120, [2.0] * 40, 100 + i)]) for i in range(5)]
    score = cvs.score_cv(cvs.TICA(2, dim=10), few)
    assert float(score.train.value) > float(score.test.high)
    assert not score.verdict.holds
    assert "overfitted" in score.verdict.says


def test_a_process_that_few_folds_hold_is_said_to_be_rare(autoregressive):
    x = [0.3 * autoregressive(600, [2.0, 2.0], i) for i in range(10)]
    for i in (3, 7):
        x[i][:, 0] += np.where(np.arange(600) // 150 % 2 == 0, 2.0, -2.0)
    score = cvs.score_cv(cvs.TICA(5, dim=1), x, folds=5)
    assert not score.verdict.holds
    assert "folds only" in score.verdict.says
    assert "visited too rarely" in score.verdict.remedy


def test_noise_is_not_taken_for_a_process():
    noise = [np.random.default_rng(i).standard_normal((400, 3)) for i in range(5)]
    score = cvs.score_cv(cvs.VAMP(1, dim=1), noise)
    assert float(score.test.value) < 1.02
    assert float(score.train.value) < 1.02


def test_folds_with_too_little_data_are_left_out_with_a_warning(autoregressive):
    x = [autoregressive(500, [20.0, 3.0], i) for i in range(3)] + [autoregressive(14, [20.0, 3.0], 9)]
    with pytest.warns(StatisticsWarning, match="1 of 4 folds have too little data"):
        score = cvs.score_cv(cvs.TICA(2, dim=2), x, folds=4)
    assert np.isnan(score.test_folds).sum() == 1
    assert np.isfinite([score.test.value, score.test.low, score.test.high]).all()


def test_when_no_fold_can_be_scored_it_says_so(autoregressive):
    with pytest.warns(StatisticsWarning, match="3 of 3 folds"):
        score = cvs.score_cv(cvs.TICA(1, dim=5), [autoregressive(20, [5.0] * 5, i) for i in range(3)], folds=3)
    assert np.isnan(score.test.value)
    assert not score.verdict.holds


def test_a_column_that_stands_still_in_one_fold(autoregressive):
    x = [autoregressive(300, [20.0, 3.0], i) for i in range(4)]
    x[2][:, 0] = 0.0
    score = cvs.score_cv(cvs.TICA(2, dim=1), x, folds=4)
    assert np.isfinite(score.test_folds).all()


def test_the_lag_is_checked(named):
    with pytest.raises(LagError, match="not shorter than the longest"):
        cvs.score_cv(cvs.TICA("100 ns"), named)
    with pytest.raises(LagError, match="no multiple"):
        cvs.score_cv(cvs.TICA(2), named, lag="3 ps")


def test_a_networks_score_does_not_hang_on_the_workers(named):
    network = cvs.VAMPNet(4, dim=1, seeds=1, epochs=2, layers=(4,))
    one, two = (cvs.score_cv(network, named, folds=3, workers=n) for n in (1, 2))
    assert one == two
    assert not hasattr(network, "model_")


def test_standard_error_counts_the_shared_training_data():
    scores = np.array([1.0, 1.2, 1.4, 1.1, np.nan])
    spread = np.std(scores[:4], ddof=1)
    assert standard_error(scores) == pytest.approx(spread * np.sqrt(1 / 4 + 1 / 3))


def test_blocks_of_a_drift_are_not_independent():
    walk = np.cumsum(np.random.default_rng(0).standard_normal((3000, 3)), axis=0)
    score = cvs.score_cv(cvs.TICA(lag=10, dim=1), [walk])
    assert not score.verdict.holds
    one = np.repeat([0.0, 1.0], 3000)[:, None] + 0.1 * np.random.default_rng(1).standard_normal((6000, 3))
    score = cvs.score_cv(cvs.TICA(lag=10, dim=1), [one])  # a single transition
    assert not score.verdict.holds


@pytest.mark.parametrize("estimator", [cvs.TICA(3, dim=1), cvs.VAMPNet(3, dim=1, seeds=1, epochs=3, layers=(8,))])
def test_blocks_of_one_trajectory_must_be_longer_than_the_process(estimator, autoregressive):
    short, long = autoregressive(1000, [100.0], 1), autoregressive(20_000, [20.0], 1)
    score = cvs.score_cv(estimator, [long], folds=5)
    assert score.verdict.holds and score.timescale == pytest.approx(20, rel=0.2)
    assert score.block_frames == pytest.approx(2000, rel=0.01)
    score = cvs.score_cv(estimator, [short], folds=5)
    assert not score.verdict.holds and "not independent" in score.verdict.says
    assert np.isinf(cvs.score_cv(estimator, np.array_split(long, 5), folds=5).block_frames)
