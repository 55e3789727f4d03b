"""Counting, the connected set, and what a model says about itself."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import clone

from mdinsight.errors import (
    ConnectivityError,
    DataWarning,
    DegenerateError,
    LagError,
    NotFittedError,
    ParameterError,
    SelectionError,
)
from mdinsight.msm import BayesianMSM, MarkovModel, MaximumLikelihoodMSM, free_energy_surface
from mdinsight.records import load
from mdinsight.results import all_hold
from mdinsight.series import Origin, TimeSeries
from mdinsight.states import KMeans


def test_no_pair_crosses_trajectories() -> None:
    with pytest.raises(ConnectivityError, match="nothing can be estimated"):
        MaximumLikelihoodMSM(1).fit([np.zeros(50, int), np.ones(50, int)])
    arrays = [np.array([0, 0, 1, 1, 0, 0]), np.array([1, 1, 1, 0, 1])]
    model = MaximumLikelihoodMSM(2).fit(arrays).model
    # first: 0>1, 0>1, 1>0, 1>0; second: 1>1, 1>0, 1>1
    np.testing.assert_array_equal(model.count_matrix, [[0, 2], [3, 2]])
    np.testing.assert_array_equal(MaximumLikelihoodMSM(1).fit(arrays).model.count_matrix, [[2, 2], [2, 3]])


def test_one_state_and_lags() -> None:
    with pytest.raises(DegenerateError, match="single state 3"):
        BayesianMSM(1).fit([np.full(100, 3)])
    walk = np.arange(100) // 3 % 3
    with pytest.raises(LagError, match="longest of the 2"):
        BayesianMSM(100).fit([walk, walk[:50]])
    with pytest.raises(LagError, match="no multiple"):
        BayesianMSM("5 ps").fit(TimeSeries([walk], dt=2.0))
    with pytest.raises(LagError):
        BayesianMSM(0).fit([walk])
    with pytest.raises(ParameterError, match="counting='nearest'"):
        MaximumLikelihoodMSM(1, counting="nearest").fit([walk])
    with pytest.raises(ParameterError, match="n_samples"):
        BayesianMSM(1, n_samples=0).fit([walk])
    with pytest.raises(NotFittedError):
        _ = BayesianMSM(1).model


def test_short_trajectories_are_left_out_with_one_warning() -> None:
    walk = np.arange(100) // 4 % 3
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = BayesianMSM(10, n_samples=5).fit([walk, walk[:10], walk[:3]]).model
    assert [w.category for w in caught] == [DataWarning]
    assert "2 of 3 trajectories" in str(caught[0].message) and "13 of 113 frames" in str(caught[0].message)
    np.testing.assert_array_equal(model.count_matrix, MaximumLikelihoodMSM(10).fit([walk]).model.count_matrix)


def test_the_gap_is_told_with_its_files() -> None:
    mixing = np.tile([0, 1, 2, 2, 1, 0], 50)
    arrays = [
        mixing,
        np.concatenate([np.full(20, 5), mixing]),
        np.concatenate([mixing, np.full(30, 4)]),
        np.full(40, 7),
    ]
    origins = [Origin(f"/data/{name}.xtc") for name in ("mix", "from5", "to4", "alone")]
    model = BayesianMSM(1, n_samples=5).fit(TimeSeries(arrays, origins=origins)).model
    np.testing.assert_array_equal(model.active_states, [0, 1, 2])
    record = model.connectivity
    gaps = {gap.reason.split(" but")[0].split(" connected")[0]: gap for gap in record.gaps}
    assert gaps["left"].states == (5,) and gaps["left"].files == ("from5.xtc",)
    assert gaps["entered"].states == (4,) and gaps["entered"].files == ("to4.xtc",)
    assert gaps["never"].states == (7,) and gaps["never"].frames == 40
    assert record.fraction_frames == pytest.approx(900 / 990)
    assert record.fraction_states == pytest.approx(3 / 6)
    assert not record.complete
    verdict = model.verdicts()[0]
    assert not verdict.holds and "from5.xtc" in verdict.says and "start new trajectories" in verdict.remedy
    assert "NO: connected set" in model.summary()


def test_the_set_with_most_counts_is_taken() -> None:
    rare, common = np.tile([0, 1, 2, 1], 10), np.tile([3, 4], 500)
    model = MaximumLikelihoodMSM(1).fit([rare, common]).model
    np.testing.assert_array_equal(model.active_states, [3, 4])
    assert model.n_states == 2 and model.n_states_full == 5


def test_states_outside_are_named() -> None:
    model = MaximumLikelihoodMSM(1).fit([np.tile([2, 4, 7], 30), np.full(10, 3)]).model
    assert model.mfpt(2, 7).value > 0
    with pytest.raises(SelectionError, match="the states 3, 9, outside the 3 active"):
        model.mfpt([2, 3, 9], 7)
    with pytest.raises(SelectionError, match="B holds the state 0"):
        model.tpt(2, 0)
    with pytest.raises(ParameterError, match="share the states \\[4\\]"):
        model.mfpt([2, 4], [4, 7])
    with pytest.raises(ParameterError, match="no set of state numbers"):
        model.mfpt([], 7)


def test_frame_weights(chain, simulate) -> None:
    arrays = [simulate(chain[0], 3000, seed=i) for i in range(3)] + [np.full(20, 6)]
    model = MaximumLikelihoodMSM(1).fit(arrays).model
    weights = model.frame_weights(arrays)
    assert [len(weight) for weight in weights] == [len(array) for array in arrays]
    assert sum(weight.sum() for weight in weights) == pytest.approx(1.0)
    assert (weights[3] == 0).all()
    share = np.bincount(np.concatenate(arrays), np.concatenate(weights))
    np.testing.assert_allclose(share[model.active_states], model.stationary_distribution)
    part = model.frame_weights([arrays[0][arrays[0] != 2]])
    assert sum(weight.sum() for weight in part) == pytest.approx(1.0)
    with pytest.raises(SelectionError, match="no frame"):
        model.frame_weights([np.full(5, 6)])


def test_verdicts_on_good_and_bad_data(chain, simulate) -> None:
    good = BayesianMSM(1, n_samples=50).fit([simulate(chain[0], 5000, seed=i) for i in range(3)]).model
    assert all_hold(good.verdicts())
    bare = MaximumLikelihoodMSM(1).fit([simulate(chain[0], 5000, seed=0)]).model
    assert [v.subject for v in bare.verdicts() if not v.holds] == ["intervals"]
    assert "no interval" in bare.summary()
    rare = BayesianMSM(1, n_samples=50).fit([np.repeat([0, 1, 0, 1, 0], 200)]).model
    events = next(v for v in rare.verdicts() if v.subject == "transitions")
    assert not events.holds and "rest on 2 events" in events.says
    noise = BayesianMSM(5).fit([np.random.default_rng(0).integers(4, size=3000)]).model
    lag = next(v for v in noise.verdicts() if v.subject == "lag")
    assert not lag.holds and "shorter lag" in lag.remedy


def test_saved_and_cloned(double_well: np.ndarray, tmp_path) -> None:
    estimator = BayesianMSM(10, n_samples=10, seed=3)
    assert clone(estimator).get_params() == estimator.get_params()
    model = estimator.fit([double_well[:30000] // 4]).model
    again = load(model.save(tmp_path / "msm.model"))
    assert isinstance(again, MarkovModel) and again.hash == model.hash
    assert again.summary() == model.summary()
    assert again.timescales(3) == model.timescales(3)
    assert "lag 10 frames" in repr(again)


def test_states_of_another_clustering_are_refused() -> None:
    rows = [np.random.default_rng(i).normal(size=(300, 1)) for i in range(3)]
    mine, other = (KMeans(5, seed=seed).fit_transform(rows) for seed in (1, 2))
    model = BayesianMSM(1, n_samples=5).fit(mine).model
    assert sum(weights.sum() for weights in model.frame_weights(mine)) == pytest.approx(1.0)
    for use in (
        model.frame_weights,
        lambda dtrajs: model.chapman_kolmogorov(dtrajs, n_sets=2),
        lambda dtrajs: free_energy_surface(rows, model=model, dtrajs=dtrajs),
    ):
        use(mine)
        with pytest.raises(ParameterError, match="another clustering"):
            use(other)
