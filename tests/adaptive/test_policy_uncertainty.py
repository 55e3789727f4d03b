"""Uncertainty: the sensitivity against finite differences, the variance against resampling, the choice against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from mdinsight.adaptive._frames import Frames
from mdinsight.adaptive._uncertainty import Uncertainty, eigenvalue_variance
from mdinsight.errors import DegenerateError

KT = 2.494
# two basins of two states each, joined by a rarely sampled bottleneck
COUNTS = np.array([[900, 100, 0, 0], [80, 300, 8, 0], [0, 6, 250, 90], [0, 0, 110, 700.0]])


def second(matrix: np.ndarray) -> float:
    return float(np.sort(np.linalg.eigvals(matrix).real)[-2])


def frames_with(counts: np.ndarray, visits: list[int] | None = None) -> Frames:
    n = len(counts)
    states = np.repeat(np.arange(n), [10] * n if visits is None else visits)
    return Frames(states * 1.0, states, n, np.zeros(len(states), dtype=int), KT, counts=counts)


def test_q_is_the_variance_of_the_derivative_by_finite_differences() -> None:
    prior = 0.25
    found = eigenvalue_variance(COUNTS, prior)
    matrix = (COUNTS + prior) / (COUNTS + prior).sum(axis=1, keepdims=True)
    assert found.eigenvalue == pytest.approx(second(matrix), abs=1e-12)
    step = 1e-6
    for i in range(4):
        slope = np.empty(4)
        for j in range(4):
            direction = -matrix[i].copy()
            direction[j] += 1.0  # towards all probability on j: the row still sums to 1
            up, down = matrix.copy(), matrix.copy()
            up[i] += step * direction
            down[i] -= step * direction
            slope[j] = (second(up) - second(down)) / (2 * step)
        assert found.sensitivity[i] == pytest.approx(matrix[i] @ slope**2, rel=1e-5)


def test_the_variance_is_that_of_the_posterior() -> None:
    counts, prior = COUNTS * 20, 0.25
    found = eigenvalue_variance(counts, prior)
    rng = np.random.default_rng(0)
    drawn = np.array([[rng.dirichlet(row + prior) for row in counts] for _ in range(8000)])
    brute = np.sort(np.linalg.eigvals(drawn).real, axis=1)[:, -2]
    assert found.contributions.sum() == pytest.approx(brute.var(), rel=0.08)
    for i in range(4):  # and row by row: the other rows at their means
        one = np.tile((counts + prior) / (counts + prior).sum(axis=1, keepdims=True), (8000, 1, 1))
        one[:, i] = drawn[:, i]
        alone = np.sort(np.linalg.eigvals(one).real, axis=1)[:, -2].var()
        assert found.contributions[i] == pytest.approx(alone, rel=0.1)


def test_the_best_place_for_more_data_is_that_of_brute_force() -> None:
    """Which state's data, were there 300 more as expected, leave the least variance of the slowest eigenvalue?"""
    rng = np.random.default_rng(1)
    prior, left = 0.25, np.empty(4)
    mean = (COUNTS + prior) / (COUNTS + prior).sum(axis=1, keepdims=True)
    for i in range(4):
        more = COUNTS + prior
        more[i] += 300 * mean[i]
        drawn = np.array([[rng.dirichlet(row) for row in more] for _ in range(4000)])
        left[i] = np.sort(np.linalg.eigvals(drawn).real, axis=1)[:, -2].var()
    best = int(np.argmin(left))
    frames = frames_with(COUNTS)
    chosen = frames.states[Uncertainty(300).choose(frames, 1, rng)]
    assert chosen.tolist() == [best]


def test_walkers_are_shared_as_the_gain_falls() -> None:
    frames = frames_with(COUNTS)
    rows = Uncertainty().choose(frames, 24, np.random.default_rng(2))
    taken = np.bincount(frames.states[rows], minlength=4)
    assert min(taken[1], taken[2]) > max(taken[0], taken[3])  # the two ends of the bottleneck, mostly
    # the greedy choice is the best of all ways to share, by the same formula
    variance = eigenvalue_variance(COUNTS)
    step = COUNTS.sum() / 4

    def left(shares: np.ndarray) -> float:
        return float((variance.sensitivity / (variance.samples + 1 + step * shares)).sum())

    ways = [(a, b, c, 24 - a - b - c) for a in range(25) for b in range(25 - a) for c in range(25 - a - b)]
    assert left(taken) == pytest.approx(min(left(np.array(way)) for way in ways))


def test_disconnected_counts_have_a_slowest_rate_that_is_not_known() -> None:
    counts = np.zeros((4, 4))
    counts[:2, :2], counts[2:, 2:] = [[500, 50], [50, 40]], [[40, 50], [50, 500]]
    doubt = []
    for crossings in (0, 5, 50):
        counts[1, 2] = counts[2, 1] = crossings
        found = eigenvalue_variance(counts)
        assert 0 < found.eigenvalue < 1
        doubt.append(np.sqrt(found.contributions.sum()) / (1 - found.eigenvalue))
    assert doubt[0] > 0.5 and doubt[1] == pytest.approx(1 / np.sqrt(10), rel=0.2)  # ten events
    assert doubt[2] < 0.12


def test_states_that_the_model_does_not_know_get_half() -> None:
    counts = np.zeros((6, 6))
    counts[:4, :4] = COUNTS
    frames = frames_with(counts, [10, 10, 10, 10, 3, 9])
    rng = np.random.default_rng(3)
    states = frames.states[Uncertainty().choose(frames, 4, rng)]
    assert sorted(states[:2]) == [4, 5] and set(states[2:]) <= {1, 2}
    assert frames.states[Uncertainty().choose(frames, 1, rng)].tolist() == [4]  # the least visited of them
    blank = frames_with(np.zeros((3, 3)), [5, 1, 2])
    assert blank.states[Uncertainty().choose(blank, 2, rng)].tolist() == [1, 2]


def test_one_state_has_no_slow_process() -> None:
    with pytest.raises(DegenerateError, match="take more states"):
        eigenvalue_variance(np.ones((1, 1)))
