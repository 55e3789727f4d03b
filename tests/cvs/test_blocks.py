"""Train and test never share frames within the lag; bootstrap blocks hold every pair once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdinsight.cvs._blocks import bootstrap_groups, make_folds, take_blocks
from mdinsight.errors import LagError, ParameterError
from mdinsight.series import Origin, TimeSeries

lengths = st.lists(st.integers(5, 400), min_size=1, max_size=8)


def numbered(sizes):
    return TimeSeries([np.arange(n, dtype=float) for n in sizes])


@settings(max_examples=150, deadline=None)
@given(lengths, st.integers(1, 30), st.integers(2, 6), st.integers(0, 5))
def test_no_frame_of_one_fold_is_within_the_lag_of_another(sizes, lag, folds, seed):
    sizes.append(5 * lag + 5)  # no "short trajectory" error for all of them at once
    series = numbered([n for n in sizes if n > lag])
    try:
        split = make_folds(series, lag, folds, seed)
    except LagError:
        assert series.n_frames < 8 * lag * folds  # refused only where the data are short
        return
    assert len(split) == folds
    assert all(split.blocks)
    owner = [np.full(n, -1) for n in map(len, series)]
    for fold, blocks in enumerate(split.blocks):
        for block in blocks:
            assert block.stop <= len(series[block.trajectory])
            assert len(block) > lag
            assert (owner[block.trajectory][block.start : block.stop] == -1).all()
            owner[block.trajectory][block.start : block.stop] = fold
    for folds_of in owner:
        for shift in range(1, min(lag, len(folds_of) - 1) + 1):
            a, b = folds_of[:-shift], folds_of[shift:]
            assert not ((a >= 0) & (b >= 0) & (a != b)).any()
    if len(series) >= folds:
        assert all((folds_of >= 0).all() and np.ptp(folds_of) == 0 for folds_of in owner)  # whole trajectories


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(40, 400), min_size=1, max_size=40), st.integers(1, 30))
def test_bootstrap_blocks_hold_every_pair_once(sizes, lag):
    series = numbered(sizes)
    groups = bootstrap_groups(series, lag)
    assert len(groups) <= 40
    counts = [np.zeros(n - lag) for n in sizes]
    for group in groups:
        for block in group:
            counts[block.trajectory][block.start : block.stop] += 1
    assert all((count == 1).all() for count in counts)


def test_the_split_hangs_on_the_seed_alone():
    series = numbered([100] * 12)
    assert make_folds(series, 3, 4, 7) == make_folds(series, 3, 4, 7)
    assert make_folds(series, 3, 4, 7) != make_folds(series, 3, 4, 8)


def test_blocks_keep_their_provenance():
    series = TimeSeries([np.arange(100.0)], 1.0, origins=[Origin("a.xtc", 50, 2)])
    part = take_blocks(series, make_folds(series, 2, 2, 0).test(1))
    for array, origin in zip(part, part.origins, strict=True):
        assert origin.frame(0) == 50 + 2 * array[0, 0]


@pytest.mark.parametrize("folds", [1, 0, 2.5, True])
def test_bad_numbers_of_folds_are_refused(folds):
    with pytest.raises(ParameterError, match="not a number of folds"):
        make_folds(numbered([100]), 1, folds, 0)


def test_too_little_data_for_the_folds_is_refused():
    with pytest.raises(LagError, match="cannot be split into folds=5 at a lag of 20 frames"):
        make_folds(numbered([60]), 20, 5, 0)
