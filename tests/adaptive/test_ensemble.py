"""Splitting and merging: weights conserved, numbers reached, averages unchanged, bins where they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdinsight.adaptive._ensemble import WeightedEnsemble, bins_of, resample
from mdinsight.adaptive._walkers import Ensemble
from mdinsight.errors import DegenerateError, NonFiniteError, ParameterError

WEIGHT = st.one_of(st.just(0.0), st.floats(1e-250, 1.0), st.floats(0.01, 1.0))
WALKERS = st.lists(st.tuples(WEIGHT, st.integers(-3, 4)), min_size=1, max_size=60).filter(
    lambda walkers: any(weight > 0 for weight, _ in walkers)
)


@given(walkers=WALKERS, per_bin=st.integers(1, 9), seed=st.integers(0, 2**20))
@settings(max_examples=300, deadline=None)
def test_every_bin_keeps_its_weight_and_reaches_its_number(walkers, per_bin, seed) -> None:
    weights, bins = np.array([w for w, _ in walkers]), np.array([b for _, b in walkers])
    parents, new = resample(weights, bins, per_bin, np.random.default_rng(seed))
    assert (new > 0).all() and (weights[parents] > 0).all()
    assert (np.diff(bins[parents]) >= 0).all()
    for name in np.unique(bins):
        inside, total = bins[parents] == name, weights[bins == name].sum()
        assert inside.sum() == (per_bin if total > 0 else 0)
        assert new[inside].sum() == pytest.approx(total, rel=1e-14, abs=0)
    again = resample(weights, bins, per_bin, np.random.default_rng(seed))
    np.testing.assert_array_equal(again[0], parents)
    np.testing.assert_array_equal(again[1], new)


@given(
    weights=st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=40),
    per_bin=st.integers(2, 8),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=200, deadline=None)
def test_weights_become_alike(weights, per_bin, seed) -> None:
    weights = np.array(weights)
    new = resample(weights, np.zeros(len(weights), dtype=int), per_bin, np.random.default_rng(seed))[1]
    assert new.max() <= 2.0 * new.mean() * (1 + 1e-12)  # no walker stands for more than two


@pytest.mark.parametrize("per_bin", [1, 2, 3, 6])
def test_no_average_changes_in_expectation(per_bin) -> None:
    """The mean of each walker's share over many draws is its weight, so that any average is unbiased."""
    rng = np.random.default_rng(per_bin)
    weights = np.array([0.4, 0.001, 0.05, 0.2, 0.003, 0.1, 0.12, 0.008, 0.07, 0.05])
    bins = np.array([0, 0, 1, 1, 1, 1, 0, 0, 1, 0])
    draws = 20_000
    shares = np.empty((draws, 10))
    for draw in range(draws):
        parents, new = resample(weights, bins, per_bin, rng)
        shares[draw] = np.bincount(parents, weights=new, minlength=10)
    error = shares.std(axis=0) / np.sqrt(draws)
    seen = (shares > 0).sum(axis=0) > 30  # of too rare a survivor the mean's error is not known
    assert (np.abs(shares.mean(axis=0) - weights)[seen] <= 4.5 * error[seen] + 1e-12).all()
    observable = np.sin(np.arange(10.0))
    values = shares @ observable
    assert abs(values.mean() - weights @ observable) < 4.5 * values.std() / np.sqrt(draws) + 1e-15


def test_an_exact_expectation_of_two_that_merge() -> None:
    rng = np.random.default_rng(0)
    kept = np.array([resample(np.array([0.25, 0.75]), np.zeros(2, dtype=int), 1, rng)[0][0] for _ in range(20_000)])
    assert kept.mean() == pytest.approx(0.75, abs=4.5 * np.sqrt(0.1875 / 20_000))


def test_heavy_ones_are_split_first() -> None:
    parents, new = resample(np.array([0.1, 0.7, 0.2]), np.zeros(3, dtype=int), 5, np.random.default_rng(0))
    # a mean of 0.2: the heavy one becomes four of 0.175, of which one merges with the 0.1 to make five in all
    np.testing.assert_allclose(np.sort(new), [0.175, 0.175, 0.175, 0.2, 0.275])
    assert (parents == 1).sum() >= 3 and parents[-1] == 2


@pytest.mark.parametrize(
    ("weights", "bins", "per_bin", "error", "words"),
    [
        ([0.5, np.nan], [0, 0], 2, NonFiniteError, "walker 1 is nan"),
        ([0.5, -0.1], [0, 0], 2, ParameterError, "walker 1 is -0.1"),
        ([0.5], [0, 0], 2, ParameterError, "do not fit"),
        ([0.5, 0.5], [0.0, 1.0], 2, ParameterError, "an int a walker"),
        ([0.0, 0.0], [0, 0], 2, DegenerateError, "none of the 2 walkers has a weight"),
        ([0.5, 0.5], [0, 0], 0, ParameterError, "per_bin=0"),
    ],
)
def test_what_does_not_fit_is_named(weights, bins, per_bin, error, words) -> None:
    with pytest.raises(error, match=words):
        resample(np.array(weights), np.array(bins), per_bin, np.random.default_rng(0))


def test_fixed_bins() -> None:
    s = np.array([-1.0, 0.0, 0.4, 0.5, 3.0])
    assert bins_of(s, (0.0, 0.5)).tolist() == [0, 1, 1, 2, 2]
    both = np.column_stack([s, s[::-1]])
    assert bins_of(both, ((0.0, 0.5), (1.0,))).tolist() == [1, 2, 2, 4, 4]
    assert bins_of(both, (0.0, 0.5)).tolist() == [0, 1, 1, 2, 2]


def test_adaptive_bins_follow_the_walkers_and_single_out_the_extremes() -> None:
    s = np.array([0.0, 0.1, 2.6, 5.1, 9.9, 10.0])
    bins = bins_of(s, 4)
    assert bins.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(bins_of(100 * s - 7, 4), bins)
    assert len(set(bins_of(np.full(5, 2.0), 4))) == 1
    rng = np.random.default_rng(1)
    points = rng.normal(size=(400, 2))
    plane = bins_of(points, 3)
    for column in points.T:
        for end in (np.argmin(column), np.argmax(column)):
            assert (plane == plane[end]).sum() == 1
    assert len(np.unique(plane)) <= 3 * 3 + 4


@pytest.mark.parametrize("bins", [0, True, 2.5, (), (0.3, 0.1), ((0.1,), (0.2, 0.2)), ("a",), (np.nan,)])
def test_bad_bins_are_named(bins) -> None:
    with pytest.raises(ParameterError, match="bins="):
        WeightedEnsemble(bins)


def test_bins_for_other_coordinates_or_broken_walkers() -> None:
    with pytest.raises(ParameterError, match="edges for 2 coordinates, but the walkers have 1"):
        bins_of(np.zeros(3), ((0.1,), (0.2,)))
    with pytest.raises(NonFiniteError, match="walker 1"):
        bins_of(np.array([0.0, np.inf]), 3)


def test_a_policy_is_a_value() -> None:
    assert WeightedEnsemble([0.1, 0.2], 3) == WeightedEnsemble((0.1, 0.2), 3) != WeightedEnsemble(2, 3)
    assert WeightedEnsemble(np.array([0.1, 0.2])).bins == (0.1, 0.2)
    with pytest.raises(ParameterError, match="per_bin=0"):
        WeightedEnsemble(per_bin=0)


def test_labels_never_merge_and_follow_their_walkers() -> None:
    rng = np.random.default_rng(2)
    ensemble = Ensemble.start(40, rng.integers(2, size=40))
    assert ensemble.weights.sum() == pytest.approx(1.0)
    s = rng.normal(size=40)
    policy = WeightedEnsemble((-0.5, 0.5), 4)
    after = ensemble.resampled(policy, s, rng)
    np.testing.assert_array_equal(after.labels, ensemble.labels[after.parents])
    for label in (0, 1):
        kept = after.weights[after.labels == label].sum()
        assert kept == pytest.approx(ensemble.weights[ensemble.labels == label].sum(), rel=1e-14)
    assert len(after) == 2 * 3 * 4
    seen = after.visited(np.where(np.arange(len(after)) < 5, 1, -1))
    assert (seen.labels[:5] == 1).all() and (seen.labels[5:] == after.labels[5:]).all()
    with pytest.raises(ParameterError, match="start the ensemble with labels"):
        Ensemble.start(3).visited(np.zeros(3, dtype=int))
    with pytest.raises(ParameterError, match="n=0"):
        Ensemble.start(0)
