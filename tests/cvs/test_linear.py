"""TICA, VAMP and PCA: against deeptime and scikit-learn on the same arrays, against theory, and on bad input."""

from __future__ import annotations

import numpy as np
import pytest
from deeptime.data import ellipsoids, ornstein_uhlenbeck
from deeptime.decomposition import TICA as DeeptimeTICA
from deeptime.decomposition import VAMP as DeeptimeVAMP
from sklearn import decomposition
from sklearn.base import clone

from mdinsight import cvs
from mdinsight.errors import DataWarning, DegenerateError, LagError, NonFiniteError, NotFittedError, ParameterError
from mdinsight.series import TimeSeries


def deeptime_pairs(arrays, lag):
    """Pairs as deeptime takes them, none across the end of a trajectory."""
    x = np.concatenate([np.asarray(a, np.float64)[:-lag] for a in arrays])
    y = np.concatenate([np.asarray(a, np.float64)[lag:] for a in arrays])
    return x, y


@pytest.mark.parametrize("scaling", [None, "kinetic_map"])
@pytest.mark.parametrize("lag", [1, 7])
def test_tica_equals_deeptime(mixed, lag, scaling):
    ours = cvs.TICA(lag, dim=3, scaling=scaling, n_bootstrap=0).fit(mixed)
    theirs = DeeptimeTICA(lagtime=lag, dim=3, scaling=scaling).fit(deeptime_pairs(mixed, lag)).fetch_model()
    np.testing.assert_allclose(ours.model.eigenvalues, theirs.singular_values, rtol=1e-10)
    np.testing.assert_allclose(ours.transform(mixed[1]), theirs.transform(mixed[1]), atol=1e-9)
    np.testing.assert_allclose(ours.model.timescales().value, theirs.timescales(lagtime=lag)[:3], rtol=1e-9)
    np.testing.assert_allclose(ours.model.cumulative_kinetic_variance, theirs.cumulative_kinetic_variance, rtol=1e-10)


@pytest.mark.parametrize("scaling", [None, "kinetic_map"])
def test_vamp_equals_deeptime(mixed, scaling):
    ours = cvs.VAMP(3, dim=3, scaling=scaling, n_bootstrap=0).fit(mixed).model
    theirs = DeeptimeVAMP(lagtime=3, dim=3, scaling=scaling).fit(deeptime_pairs(mixed, 3)).fetch_model()
    np.testing.assert_allclose(ours.eigenvalues, theirs.singular_values, rtol=1e-10)
    left, right = theirs.instantaneous_obs(mixed[2]), theirs.timelagged_obs(mixed[2])
    signs = np.sign(np.sum(left * ours.transform(mixed[2]), axis=0))  # the sign of a singular vector is free
    np.testing.assert_allclose(ours.transform(mixed[2]), left * signs, atol=1e-9)
    np.testing.assert_allclose(ours.values_lagged(mixed[2]), right * signs, atol=1e-9)


def test_pca_equals_sklearn(mixed):
    ours = cvs.PCA(dim=3).fit(mixed).model
    x = np.concatenate(mixed)
    theirs = decomposition.PCA(3).fit(x)
    np.testing.assert_allclose(ours.eigenvalues[:3], theirs.explained_variance_, rtol=1e-10)
    np.testing.assert_allclose(ours.explained_variance_ratio[:3], theirs.explained_variance_ratio_, rtol=1e-10)
    np.testing.assert_allclose(ours.matrix, theirs.components_.T, atol=1e-9)
    np.testing.assert_allclose(ours.transform(mixed[0]), theirs.transform(mixed[0]), atol=1e-8)


@pytest.mark.parametrize("estimator", [cvs.PCA(), cvs.TICA(5), cvs.VAMP(5)])
def test_the_size_of_the_chunks_does_not_matter(mixed, estimator):
    whole = clone(estimator).fit(mixed, chunk=10**9).model
    for chunk in (64, 1000):
        small = clone(estimator).fit(mixed, chunk=chunk).model
        np.testing.assert_allclose(small.eigenvalues, whole.eigenvalues, rtol=1e-10)
        np.testing.assert_allclose(small.matrix, whole.matrix, atol=1e-10)


def test_float32_is_accumulated_as_float64(mixed):
    single = [(x + 1000.0).astype(np.float32) for x in mixed]  # float32 sums would lose every digit of the variance
    ours = cvs.TICA(5, n_bootstrap=0).fit(single, chunk=500).model
    exact = cvs.TICA(5, n_bootstrap=0).fit([x.astype(np.float64) for x in single]).model
    np.testing.assert_allclose(ours.eigenvalues, exact.eigenvalues, rtol=1e-10)
    np.testing.assert_allclose(ours.matrix, exact.matrix, rtol=1e-6)


def test_no_pair_crosses_the_end_of_a_trajectory():
    # Each trajectory stands at its own height and swings in antiphase with itself at the lag: a crossing pair would show.
    swing = np.tile([1.0, -1.0], 50)
    model = cvs.TICA(1, dim=1).fit([swing, -swing]).model
    np.testing.assert_allclose(model.eigenvalues, [-1.0], atol=1e-12)
    assert np.isnan(model.timescales().value[0])
    assert not model.verdicts()[0].holds


def test_ellipsoids_timescale():
    # Two states with P = 0.97: t = -1 / ln(0.94) = 16.16. The overlap of the states scales the eigenvalue at every lag alike,
    # so the ratio at two lags is free of it.
    x = ellipsoids(laziness=0.97, seed=3).observations(300_000, n_dim=2, noise=False)
    first, second = (cvs.TICA(lag, dim=1, n_bootstrap=0).fit(x).model.eigenvalues[0] for lag in (2, 8))
    assert -6 / np.log(second / first) == pytest.approx(16.16, rel=0.04)
    assert cvs.TICA(12, dim=1).fit(x).model.timescales().value[0] == pytest.approx(16.16, rel=0.05)


@pytest.mark.parametrize("estimator", [cvs.TICA, cvs.VAMP])
def test_ornstein_uhlenbeck_rates(estimator):
    dt = 0.1
    x = ornstein_uhlenbeck(h=1e-3, n_steps=100).trajectory(np.zeros((1, 1)), 400_000, seed=11)
    model = estimator(2, dim=3, n_bootstrap=20).fit(TimeSeries([np.hstack([x, x**2, x**3])], dt=dt)).model
    rates = 1.0 / model.timescales().value
    np.testing.assert_allclose(rates, [1.0, 2.0, 3.0], rtol=0.04)
    assert model.timescales().unit == "ps"


def test_commute_map_is_the_papers(mixed):
    plain = cvs.TICA(2, dim=2, scaling=None, n_bootstrap=0).fit(mixed).model
    scaled = cvs.TICA(2, dim=2, scaling="commute_map", n_bootstrap=0).fit(mixed).model
    t = plain.timescales().value
    damped = 0.5 * t * (1 + np.tanh(np.pi * (t - 2) / 2))
    np.testing.assert_allclose(scaled.matrix, plain.matrix * np.sqrt(damped / 2), rtol=1e-10)


def test_dim_as_a_fraction_of_the_kinetic_variance(mixed):
    model = cvs.TICA(1, dim=0.8, n_bootstrap=0).fit(mixed).model
    cumulative = model.cumulative_kinetic_variance
    assert cumulative[model.dim - 1] >= 0.8 > cumulative[model.dim - 2]
    assert cvs.TICA(1, dim=1.0).fit(mixed).model.dim == 5
    assert cvs.TICA(1, dim=None).fit(mixed).model.dim == 5
    assert cvs.TICA(1, dim=1).fit(mixed).model.dim == 1


@pytest.mark.parametrize("estimator", [cvs.TICA, cvs.VAMP])
def test_redundant_columns_change_nothing(mixed, estimator):
    redundant = [np.hstack([x, x[:, :2], x[:, :1] + x[:, 1:2]]).astype(np.float32) for x in mixed]
    with pytest.warns(DataWarning, match="only 5 independent"):
        model = estimator(3, dim=8, scaling=None, n_bootstrap=10).fit(redundant).model
    plain = estimator(3, dim=5, scaling=None, n_bootstrap=0).fit(mixed).model
    np.testing.assert_allclose(model.eigenvalues, plain.eigenvalues, rtol=1e-4)
    ours, theirs = model.transform(redundant[0]), plain.transform(mixed[0])
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-3)
    np.testing.assert_allclose(model.shares.sum(axis=0), 1.0)


def test_units_of_the_columns_do_not_matter(mixed):
    # 1e-5 of the size: a cutoff in the columns' own units would drop all of them.
    plain, tiny = cvs.TICA(3).fit(mixed).model, cvs.TICA(3).fit([1e-5 * x for x in mixed]).model
    np.testing.assert_allclose(tiny.eigenvalues, plain.eigenvalues, rtol=1e-9)
    np.testing.assert_allclose(tiny.transform(1e-5 * mixed[0]), plain.transform(mixed[0]), atol=1e-9)


@pytest.mark.parametrize("estimator", [cvs.PCA(), cvs.TICA(3), cvs.VAMP(3)])
def test_constant_columns_are_left_out_by_name(named, estimator):
    arrays = [np.hstack([x, np.full((len(x), 1), 0.1, np.float32)]) for x in named]
    column = named.columns[0].replace(name="omega ALA2")
    series = TimeSeries(arrays, named.dt, (*named.columns, column))
    with pytest.warns(DataWarning, match="1 of 6 columns never change.*'omega ALA2'"):
        model = clone(estimator).fit(series).model
    plain = clone(estimator).fit(named).model
    np.testing.assert_allclose(model.matrix[:5], plain.matrix, rtol=1e-9)
    assert not model.matrix[5].any()
    assert model.shares[5].max() == 0.0


@pytest.mark.parametrize("estimator", [cvs.PCA(), cvs.TICA(3), cvs.VAMP(3), cvs.VAMPNet(3)])
def test_nothing_but_constant_columns_is_refused(estimator):
    with pytest.raises(DegenerateError, match="all 2 columns are constant"):
        clone(estimator).fit(np.ones((100, 2)))


@pytest.mark.parametrize("estimator", [cvs.TICA(200), cvs.VAMP(200), cvs.VAMPNet(200)])
def test_lag_longer_than_every_trajectory_is_refused(estimator):
    with pytest.raises(LagError, match="lag=200 frames is not shorter than the longest of the 2 trajectories"):
        estimator.fit([np.random.default_rng(0).standard_normal((n, 2)) for n in (100, 150)])


def test_short_trajectories_are_left_out_in_one_warning(mixed):
    with pytest.warns(DataWarning, match=r"2 of 8 trajectories \(13 frames\)") as caught:
        model = cvs.TICA(10).fit([*mixed, mixed[0][:8], mixed[1][:5]]).model
    assert len(caught) == 1
    np.testing.assert_allclose(model.eigenvalues, cvs.TICA(10).fit(mixed).model.eigenvalues, rtol=1e-12)


def test_nan_is_refused_with_its_place(mixed):
    bad = mixed[0].copy()
    bad[17, 3] = np.nan
    with pytest.raises(NonFiniteError, match="frame 17: column '3' is nan"):
        cvs.TICA(1).fit([mixed[1], bad])


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (cvs.TICA(1, dim=0), "dim=0"),
        (cvs.TICA(1, dim=1.5), "dim=1.5"),
        (cvs.TICA(1, dim=True), "dim=True"),
        (cvs.TICA(1, dim="two"), "dim='two'"),
        (cvs.TICA(1, scaling="km"), "scaling='km' is not known; take one of 'kinetic_map'"),
        (cvs.VAMP(1, scaling="commute_map"), "scaling='commute_map'"),
        (cvs.TICA(1, epsilon=0), "epsilon=0"),
        (cvs.TICA(1, n_bootstrap=-1), "n_bootstrap=-1"),
        (cvs.TICA(1, seed=-1), "seed=-1"),
        (cvs.TICA(0), "lag=0"),
        (cvs.TICA("10 ps"), "the data have no time step"),
        (cvs.PCA(dim=-1), "dim=-1"),
    ],
)
def test_bad_parameters_are_named(mixed, estimator, message):
    with pytest.raises(ParameterError, match=message):
        estimator.fit(mixed)


@pytest.mark.parametrize("kind", [cvs.TICA, cvs.VAMP, cvs.VAMPNet])
def test_no_lag_is_refused_where_one_is_needed(mixed, kind):
    message = rf"{kind.__name__}: lag=None is no lag time; give .* such as {kind.__name__}\(lag='10 ps'\)"
    with pytest.raises(ParameterError, match=message):
        kind(lag=None).fit(mixed)
    for lag in (None, 2):
        with pytest.raises(ParameterError, match=message):
            cvs.score_cv(kind(lag=None), mixed, lag=lag)


@pytest.mark.parametrize("kind", [cvs.PCA, cvs.TICA, cvs.VAMP, cvs.VAMPNet])
def test_estimators_follow_scikit_learn(kind):
    estimator = kind() if kind is cvs.PCA else kind("10 ps")
    assert clone(estimator).get_params() == estimator.get_params()
    estimator.set_params(dim=3)
    assert clone(estimator).dim == 3
    with pytest.raises(NotFittedError, match=f"{kind.__name__} has no model yet"):
        estimator.transform(np.zeros((3, 2)))


def test_the_interval_is_as_wide_as_independent_data_say(autoregressive):
    fits = [cvs.TICA(2, dim=1).fit([autoregressive(500, [20.0], 1000 * r + i) for i in range(20)]) for r in range(12)]
    values = np.array([fit.model.timescales().value[0] for fit in fits])
    widths = np.array([float(np.ptp([fit.model.timescales().low, fit.model.timescales().high])) for fit in fits])
    assert 0.5 < widths.mean() / (3.92 * values.std(ddof=1)) < 2.0
    assert np.mean([fit.model.timescales().contains(20.0)[0] for fit in fits]) >= 0.75


def test_the_interval_of_a_timescale_holds_the_true_one(autoregressive):
    """Nominally in 95 % of the cases; the quantiles of the resamplings do in 85 %."""
    held = quantiles = 0
    for run in range(60):
        x = [autoregressive(1000, [60.0, 4.0], 100 * run + i) for i in range(8)]
        model = cvs.TICA(5, dim=1, n_bootstrap=50, seed=run).fit(x).model
        held += bool(model.timescales().contains(60.0)[0])
        low, high = np.quantile(-5 / np.log(model.samples[:, 0]), [0.025, 0.975])
        quantiles += bool(low <= 60.0 <= high)
        assert 16 <= model.n_blocks <= 32
    assert held >= 53 and held > quantiles
