"""Policies: each starts where its method says, repeats with the same generator, and names what it lacks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdinsight.adaptive._frames import Frames
from mdinsight.adaptive._frontier import Frontier
from mdinsight.adaptive._policies import FAST, Diverse, Equilibrium, LeastCounts, Stratified
from mdinsight.adaptive._uncertainty import Uncertainty
from mdinsight.errors import ParameterError, PlanError

KT = 2.494
ALL = [LeastCounts(), Uncertainty(), Frontier(), FAST(), Diverse(), Stratified(), Stratified(None, True), Equilibrium()]


def full(n: int = 200, dim: int = 2, seed: int = 0, n_states: int = 12) -> Frames:
    rng = np.random.default_rng(seed)
    s = rng.normal(size=(n, dim)).cumsum(axis=0)
    return Frames.of(
        s,
        KT,
        n_states=n_states,
        segments=np.arange(n) // 50,
        log_weights=rng.normal(size=n),
        observable=s[:, 0] ** 2,
        trajectories=np.arange(n) // 50,
    )


def visited(visits: list[int], **more) -> Frames:
    """Frames with the given number of visits in each state."""
    states = np.repeat(np.arange(len(visits)), visits)
    n = len(states)
    return Frames(states[:, None] * 1.0, states, len(visits), np.zeros(n, dtype=int), KT, **more)


@pytest.mark.parametrize("policy", ALL, ids=repr)
@given(n=st.integers(1, 40), size=st.integers(1, 60), dim=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_rows_are_rows_and_the_generator_decides(policy, n, size, dim, seed) -> None:
    frames = full(size, dim, seed)
    rows = policy.choose(frames, n, np.random.default_rng(seed))
    assert rows.shape == (n,) and rows.dtype == np.int64
    assert rows.min() >= 0 and rows.max() < size
    np.testing.assert_array_equal(rows, policy.choose(frames, n, np.random.default_rng(seed)))


@pytest.mark.parametrize("policy", ALL, ids=repr)
def test_bad_numbers_and_hopeless_frames(policy) -> None:
    rng = np.random.default_rng(0)
    for n in (0, -1, 1.5, True):
        with pytest.raises(ParameterError, match="not a number of walkers"):
            policy.choose(full(), n, rng)
    same = Frames.of(
        np.ones((7, 2)),
        KT,
        log_weights=np.zeros(7),
        observable=np.ones(7),
        trajectories=np.zeros(7, dtype=int),
    )
    assert policy.choose(same, 9, rng).shape == (9,)


@pytest.mark.parametrize(
    ("policy", "lacks"),
    [
        (Uncertainty(), "counts"),
        (Frontier(), "log_weights"),
        (FAST(), "observable"),
        (Equilibrium(), "log_weights"),
        (Stratified(weighted=True), "log_weights"),
    ],
)
def test_what_is_lacking_is_named_with_another_policy(policy, lacks) -> None:
    with pytest.raises(PlanError, match=rf"{type(policy).__name__} needs {lacks} .*take LeastCounts"):
        policy.choose(visited([3, 2]), 2, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FAST("up"), "direction='up'"),
        (lambda: FAST(alpha=-1), "alpha=-1"),
        (lambda: Frontier(0), "ceiling=0"),
        (lambda: Frontier("3 nm"), "not a energy|not an energy"),
        (lambda: Stratified(0), "bins=0"),
        (lambda: Stratified(weighted=1), "weighted=1"),
        (lambda: Uncertainty(-3), "samples=-3"),
    ],
)
def test_parameters_are_checked(make, words) -> None:
    with pytest.raises(ParameterError, match=words):
        make()


def test_the_same_policy_has_the_same_hash() -> None:
    assert Frontier("10 kcal/mol") == Frontier(41.84) != Frontier()
    assert FAST("min", 1) == FAST("min", 1.0) != FAST("max")


def test_least_counts_takes_the_least_visited_each_once() -> None:
    frames = visited([50, 3, 0, 20, 1, 7])
    rows = LeastCounts().choose(frames, 3, np.random.default_rng(1))
    assert sorted(frames.states[rows]) == [1, 4, 5]
    more = LeastCounts().choose(frames, 7, np.random.default_rng(1))  # five states hold frames: two come again
    assert sorted(frames.states[more]) == [0, 1, 1, 3, 4, 4, 5]
    assert len(set(more[frames.states[more] == 1])) == 2  # at another frame


def test_least_counts_breaks_ties_at_random_and_evenly() -> None:
    frames, rng = visited([4] * 6), np.random.default_rng(2)
    rows = np.concatenate([LeastCounts().choose(frames, 2, rng) for _ in range(3000)])
    taken = np.bincount(rows, minlength=24)
    assert abs(taken - 250).max() < 5 * np.sqrt(250)  # each of the 24 frames alike


def test_fast_goes_up_and_explores() -> None:
    # state 2 has the largest observable and most visits; 0 the smallest observable and fewest visits
    visits, level = [10, 40, 100, 60], np.array([0.0, 4.0, 5.0, 1.0])
    frames = visited(visits, observable=np.repeat(level, visits))
    rng = np.random.default_rng(0)

    def order(policy) -> list[int]:
        return frames.states[policy.choose(frames, 4, rng)].tolist()

    assert order(FAST("max", 0.0)) == [2, 1, 3, 0]
    assert order(FAST("min", 0.0)) == [0, 3, 1, 2]
    assert order(FAST("max", 100.0)) == [0, 1, 3, 2]
    assert order(FAST("max", 1.0)) == [1, 0, 2, 3] or order(FAST("max", 1.0)) == [1, 2, 0, 3]  # 1.47, 1, 1, 0.64


def test_fast_does_not_see_the_unit_of_the_observable() -> None:
    frames = full(400)
    a = FAST("max", 0.7).choose(frames, 5, np.random.default_rng(3))
    other = frames.replace(observable=frames.observable * 1e6 - 77.0)
    np.testing.assert_array_equal(a, FAST("max", 0.7).choose(other, 5, np.random.default_rng(3)))


def test_diverse_is_within_twice_the_best_cover() -> None:
    rng = np.random.default_rng(5)
    for _ in range(5):
        s = rng.normal(size=(12, 2))
        frames = Frames.of(s, KT)
        points = frames.points
        gaps = np.linalg.norm(points[:, None] - points[None], axis=2)

        def radius(rows, gaps=gaps) -> float:
            return gaps[:, list(rows)].min(axis=1).max()

        best = min(radius((i, j, k)) for i in range(12) for j in range(i) for k in range(j))
        rows = Diverse().choose(frames, 3, rng)
        assert len(set(rows)) == 3 and radius(rows) <= 2 * best + 1e-12


def test_diverse_finds_the_clusters_whatever_their_size_and_unit() -> None:
    rng = np.random.default_rng(6)
    sizes = [2000, 30, 5, 1]
    middle = np.array([[0, 0], [1, 0], [0, 1000], [1, 1000]])
    s = np.repeat(middle, sizes, axis=0) + rng.normal(size=(sum(sizes), 2)) * [0.01, 10]
    rows = Diverse().choose(Frames.of(s, KT), 4, rng)
    assert sorted(np.repeat(np.arange(4), sizes)[rows]) == [0, 1, 2, 3]


def test_diverse_repeats_points_at_other_frames() -> None:
    frames = visited([3, 3])
    rows = Diverse().choose(frames, 6, np.random.default_rng(0))
    assert sorted(rows) == list(range(6))


def test_stratified_gives_each_bin_as_many() -> None:
    rng = np.random.default_rng(7)
    s = np.concatenate([rng.uniform(0, 1, 900), rng.uniform(1, 10, 300)])
    frames = Frames.of(s, KT)
    rows = Stratified(10).choose(frames, 43, rng)
    low, width = s.min(), np.ptp(s)
    per_bin = np.bincount(np.minimum((10 * (s[rows] - low) / width).astype(int), 9), minlength=10)
    assert set(per_bin) == {4, 5} and per_bin.sum() == 43
    assert len(set(rows)) == 43
    per_state = np.bincount(frames.states[Stratified(None).choose(frames, 200, rng)], minlength=frames.n_states)
    assert set(per_state) == {2}


def test_stratified_draws_by_weight_inside_a_stratum() -> None:
    weights = np.array([1.0, 3.0, 0.0, 4.0, 5.0, 0.0])
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    states = np.array([0, 0, 0, 1, 1, 2])
    frames = Frames(states * 1.0, states, 3, np.zeros(6, dtype=int), KT, log_weights)
    rng = np.random.default_rng(8)
    rows = np.concatenate([Stratified(None, True).choose(frames, 2, rng) for _ in range(4000)])
    share = np.bincount(rows, minlength=6) / 4000
    np.testing.assert_allclose(share, [1 / 4, 3 / 4, 0, 4 / 9, 5 / 9, 0], atol=5 * 0.5 / np.sqrt(4000))


def test_equilibrium_takes_floor_or_ceil_and_the_weights_on_average() -> None:
    rng = np.random.default_rng(9)
    log_weights = rng.normal(0, 2, 30)
    log_weights[4] = -np.inf
    frames = Frames.of(rng.normal(size=30), KT, log_weights=log_weights)
    taken = np.array([np.bincount(Equilibrium().choose(frames, 10, rng), minlength=30) for _ in range(4000)])
    expected = 10 * frames.weights
    assert (taken >= np.floor(expected - 1e-12)).all() and (taken <= np.ceil(expected + 1e-12)).all()
    np.testing.assert_allclose(taken.mean(axis=0), expected, atol=5 * 0.5 / np.sqrt(4000))
    assert taken[:, 4].max() == 0


@pytest.mark.parametrize(
    "policy", [LeastCounts(), Frontier(), Diverse(), FAST(), Uncertainty(), Stratified()], ids=repr
)
def test_a_rare_place_is_found_at_a_thousandth_of_what_waiting_costs(policy) -> None:
    """A walk up a hill of 12 steps, each four times as likely down as up: plain dynamics takes 19 million steps to the top."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x, seen = np.zeros(6, dtype=int), []
        while len(seen) < 150:
            path = [x]
            for _ in range(20):
                u = rng.random(6)
                x = np.clip(x + np.where(u < 0.1, 1, 0) - np.where(u > 0.6, 1, 0), 0, 11)
                path.append(x)
            seen.append(np.array(path).T.ravel())
            if x.max() == 11 or seen[-1].max() == 11:
                break
            s = np.concatenate(seen)
            n = len(s)
            frames = Frames.of(
                s, KT, seed=seed, log_weights=np.zeros(n), observable=s * 1.0, trajectories=np.arange(n) // 21, lag=2
            )
            x = s[policy.choose(frames, 6, rng)]
        assert seen[-1].max() == 11 and len(seen) * 6 * 20 < 19_000
