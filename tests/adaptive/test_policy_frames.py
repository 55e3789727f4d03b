"""Frames: what is refused by name, distances on rings, even cells, and counts that never cross a border."""

from __future__ import annotations

import numpy as np
import pytest

from mdinsight.adaptive._frames import Frames, count_transitions, scaled
from mdinsight.errors import DegenerateError, NonFiniteError, ParameterError

KT = 2.494


def frames(n: int = 6, **changes) -> Frames:
    given = {"s": np.arange(n * 2.0).reshape(n, 2), "states": np.arange(n) % 3, "n_states": 3, "kT": KT}
    given["segments"] = np.zeros(n, dtype=int)
    return Frames(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"s": np.array([[0.0, 1.0], [2.0, np.nan], *np.ones((4, 2))])}, NonFiniteError, r"s is .*nan.* at frame 1"),
        ({"s": np.zeros((0, 2))}, DegenerateError, "run an exploration first"),
        ({"s": np.zeros((6, 2, 2))}, ParameterError, "give \\(frames, coordinates\\)"),
        ({"states": np.arange(6)}, ParameterError, "number 5, but n_states=3"),
        ({"states": np.full(6, 0.5)}, ParameterError, "one int for each of the 6 frames"),
        ({"segments": np.zeros(5, dtype=int)}, ParameterError, "segments has the shape"),
        ({"states": np.array([0, 1, 2, -1, 0, 0])}, ParameterError, "states holds -1"),
        ({"kT": 0.0}, ParameterError, "kJ/mol"),
        ({"n_states": 0}, ParameterError, "n_states=0"),
        ({"log_weights": np.array([0, 0, np.nan, 0, 0, 0])}, NonFiniteError, "frame 2"),
        ({"log_weights": np.full(6, -np.inf)}, DegenerateError, "log_weights=None"),
        ({"log_weights": np.zeros(5)}, ParameterError, "one number for each of the 6 frames"),
        ({"counts": np.zeros((2, 2))}, ParameterError, "give \\(3, 3\\)"),
        ({"counts": np.full((3, 3), -1.0)}, ParameterError, "negative"),
        ({"observable": np.array([0, 0, 0, 0, 0, np.inf])}, NonFiniteError, "observable .* frame 5"),
        ({"periods": (None,)}, ParameterError, "does not fit 2 coordinates"),
        ({"periods": (None, -1.0)}, ParameterError, "give a period or None"),
    ],
)
def test_what_does_not_fit_is_named(changes, error, words) -> None:
    with pytest.raises(error, match=words):
        frames(**changes)


def test_weights_sum_to_one_whatever_the_constant() -> None:
    a = frames(log_weights=np.array([0.0, 1.0, 2.0, -np.inf, 0.5, 3.0]) + 900.0)
    assert a.weights.sum() == pytest.approx(1.0)
    assert a.weights[3] == 0 and a.weights[5] / a.weights[0] == pytest.approx(np.exp(3.0))
    assert frames().weights is None


def test_a_distance_does_not_see_units_nor_the_border_of_a_ring() -> None:
    rng = np.random.default_rng(0)
    s = np.column_stack([rng.normal(size=400), rng.uniform(-180, 180, 400)])
    points = scaled(s, (None, 360.0))
    np.testing.assert_allclose(points, scaled(s * [1e4, np.pi / 180], (None, 2 * np.pi)), atol=1e-10)
    np.testing.assert_allclose(points, scaled(s + np.array([3, 720.0]), (None, 360.0)), atol=1e-10)
    near = scaled(np.array([[-179.0], [179.0], [0.0]]), (360.0,))
    gaps = np.linalg.norm(near[:, None] - near[None], axis=2)
    assert gaps[0, 1] < 0.02 * gaps[0, 2]
    spread = points.var(axis=0)
    assert spread[0] == pytest.approx(1.0) and spread[1:].sum() == pytest.approx(1.0)
    assert (scaled(np.full((5, 1), 0.1), None) == 0).all()


def test_cells_are_even_so_that_a_rare_place_has_its_own() -> None:
    rng = np.random.default_rng(1)
    s = np.concatenate([rng.normal(0, 1, 3000), rng.normal(12, 0.2, 10)])[:, None]  # ten frames far out
    made = Frames.of(s, KT, n_states=30, seed=4)
    assert made.n_states == 30 and (made.visits > 0).all()
    assert not set(made.states[-10:]) & set(made.states[:-10])
    sizes = np.array([np.ptp(made.s[made.states == k]) for k in range(30)])
    assert sizes.max() < 3 * np.ptp(s) / 30  # each cell is about its share of the length
    assert made == Frames.of(s, KT, n_states=30, seed=4)
    assert Frames.of(s[:45], KT).n_states == 4  # ten frames a state
    assert Frames.of(np.zeros((50, 1)), KT).n_states == 1


def test_a_transition_never_crosses_a_border() -> None:
    states = np.array([0, 1, 1, 0, 2, 2, 1, 0])
    trajectories = np.array([4, 4, 4, -1, -1, 7, 7, 7])
    expected = np.zeros((3, 3))
    for pair in [(0, 1), (1, 1), (2, 1), (1, 0)]:
        expected[pair] += 1
    np.testing.assert_array_equal(count_transitions(states, trajectories, 3, 1), expected)
    two = count_transitions(states, trajectories, 3, 2)
    assert two.sum() == 2 and two[0, 1] == 1 and two[2, 0] == 1
    assert count_transitions(states, trajectories, 3, 50).sum() == 0
    with pytest.raises(ParameterError, match="trajectory 0 do not stand together"):
        count_transitions(np.zeros(3, dtype=int), np.array([0, 1, 0]), 1, 1)


def test_frames_of_counts_what_was_unbiased() -> None:
    s = np.tile(np.repeat([0.0, 5.0], 10), 3)[:, None]
    made = Frames.of(s, KT, n_states=2, trajectories=np.repeat([0, 1, -1], 20))
    assert made.counts.sum() == 2 * 19 and np.trace(made.counts) == 2 * 18
    with pytest.raises(ParameterError, match="lag=0"):
        Frames.of(s, KT, lag=0)
