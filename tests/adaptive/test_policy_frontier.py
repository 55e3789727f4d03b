"""The frontier: the ends of a line, the rim of a disc, below the ceiling only."""

from __future__ import annotations

import numpy as np
import pytest

from mdinsight.adaptive._frames import Frames
from mdinsight.adaptive._frontier import Frontier, one_sidedness

KT = 2.494


def test_the_measure_is_that_of_a_line_and_of_a_plane() -> None:
    line = one_sidedness(np.linspace(0, 1, 101)[:, None], 1)
    assert line[0] == line[-1] == pytest.approx(1.0) and np.abs(line[10:-10]).max() < 1e-10
    grid = np.stack(np.meshgrid(np.arange(31.0), np.arange(31.0)), axis=-1).reshape(-1, 2)
    grid += np.random.default_rng(0).normal(0, 0.05, grid.shape)
    plane = one_sidedness(grid, 2).reshape(31, 31)
    rim = plane[0, 8:-8]  # less than a half-plane's, since the border itself belongs to it
    assert rim.min() > 0.4 and rim.max() < 2 / np.pi
    assert plane[0, 0] > 0.8 and plane[5:-5, 5:-5].max() < 0.25


def test_both_ends_of_a_well_are_the_frontier() -> None:
    rng = np.random.default_rng(1)
    s = rng.normal(0, 1, 5000)
    frames = Frames.of(s, KT, log_weights=np.zeros(5000))
    rows = Frontier().choose(frames, 4, rng)
    outer = np.sort(np.abs(s))[-60]
    assert (np.abs(s[rows]) > outer).all() and (s[rows] > 0).any() and (s[rows] < 0).any()


def test_the_rim_of_a_disc_all_round() -> None:
    rng = np.random.default_rng(2)
    radius, angle = np.sqrt(rng.uniform(0, 1, 6000)), rng.uniform(0, 2 * np.pi, 6000)
    frames = Frames.of(
        np.column_stack([radius * np.cos(angle), 500 * radius * np.sin(angle)]), KT, log_weights=np.zeros(6000)
    )
    rows = Frontier().choose(frames, 8, rng)
    assert radius[rows].min() > 0.85
    assert np.diff(np.sort(angle[rows])).max() < 0.35 * 2 * np.pi


def test_nothing_above_the_ceiling() -> None:
    """A harmonic well sampled flat, as a bias does: F = s^2 / 2 in kT."""
    rng = np.random.default_rng(3)
    s = rng.uniform(-8, 8, 20_000)
    frames = Frames.of(s, KT, log_weights=-(s**2) / 2)
    for ceiling in (2.0, 8.0, 18.0):
        edge = np.sqrt(2 * ceiling)
        rows = Frontier(ceiling * KT).choose(frames, 6, rng)
        assert np.abs(s[rows]).max() < edge + 0.3
    rows = Frontier(1000.0).choose(frames, 6, rng)
    assert np.abs(s[rows]).min() > 7.5


def test_a_ring_that_is_closed_has_no_edge_and_one_with_a_gap_has_two() -> None:
    rng = np.random.default_rng(4)
    angle = rng.uniform(-180, 180, 4000)
    closed = Frames.of(angle, KT, periods=(360.0,), log_weights=np.zeros(4000))
    rows = np.concatenate([Frontier().choose(closed, 5, rng) for _ in range(20)])
    assert np.histogram(angle[rows], 6, (-180, 180))[0].min() > 0
    open_ = Frames.of(angle[np.abs(angle) > 40], KT, periods=(360.0,), log_weights=np.zeros((np.abs(angle) > 40).sum()))
    rows = Frontier().choose(open_, 4, rng)
    assert np.abs(open_.s[rows]).max() < 60


def test_frames_without_weight_are_not_started_from() -> None:
    rng = np.random.default_rng(5)
    s = np.concatenate([rng.normal(0, 1, 2000), rng.normal(30, 1, 200)])
    frames = Frames.of(s, KT, log_weights=np.where(s > 15, -np.inf, 0.0))
    assert s[Frontier().choose(frames, 10, rng)].max() < 15
