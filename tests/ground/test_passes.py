"""The grid of a pass holds every row once, in order, and hangs on the data alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mdinsight.passes import Collected, Piece, Shortened, grid, rows_of_a_piece, until_whole
from mdinsight.passes import given as rows_given
from mdinsight.series import TimeSeries


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=30),
    st.sampled_from([4, 1200, 100_000, 10_000_000]),
    st.integers(0, 2000),
)
def test_every_row_is_in_one_piece(lengths, row_bytes, overlap):
    rows = rows_of_a_piece(lengths, row_bytes, overlap)
    assert rows & (rows - 1) == 0 or rows % 256 == 0 or (overlap > 0 and rows % (8 * overlap) == 0)
    assert overlap == 0 or rows < 8 * overlap or rows % (8 * overlap) == 0
    assert rows == 1 or rows * row_bytes <= 32_000_000
    seen = [np.zeros(n, int) for n in lengths]
    before = (-1, 0)
    for group in grid(lengths, rows, overlap):
        for piece in group:
            assert (piece.trajectory, piece.start) > before
            before = piece.trajectory, piece.start
            assert piece.start % rows == 0 and piece.start < piece.stop <= piece.end
            assert piece.end == min(piece.stop + overlap, lengths[piece.trajectory])
            seen[piece.trajectory][piece.start : piece.stop] += 1
    assert all((count == 1).all() for count in seen)


def test_what_two_pieces_share_is_an_eighth_of_them():
    assert rows_of_a_piece([10**6], 1200, 1000) >= 8000
    assert rows_of_a_piece([10**6], 1200, 10**6) * 1200 <= 32_000_000  # but memory comes first


def test_no_small_rest_is_left_behind():
    for lengths, overlap, expected in (([25_000] * 8, 10, 3200), ([25_000] * 8, 0, 3328), ([9000], 10, 480)):
        rows = rows_of_a_piece(lengths, 1200, overlap)
        last = [(n - 1) % rows + 1 for n in lengths if n > rows]
        assert rows == expected and min(last) > rows / 2
    assert rows_of_a_piece([100] * 5000, 1200) == 6656  # short ones stay together


def test_each_consumer_is_given_the_rows_it_asked_for():
    rows = np.arange(15)
    assert len(rows_given(rows, Piece(0, 100, 110, 115), 3)) == 13
    assert len(rows_given(rows, Piece(0, 100, 110, 115), 9)) == 15


def test_a_series_in_memory_is_swept_like_a_stream():
    arrays = [np.random.default_rng(i).random((n, 3)) for i, n in enumerate((900, 1, 2500))]
    for workers in (1, 3):
        rows = Collected([900, 1, 2500], 1, np.float64, work=lambda x: x.sum(axis=1, keepdims=True))
        TimeSeries(arrays).sweep([rows], workers)
        for array, found in zip(arrays, rows.arrays.values(), strict=True):
            np.testing.assert_array_equal(found[:, 0], array.sum(axis=1))
        assert rows.filled == {0: 900, 1: 1, 2: 2500}


def test_what_was_made_for_other_lengths_is_made_anew():
    calls = []

    @until_whole
    def fit():
        calls.append(1)
        if len(calls) < 3:
            raise Shortened
        return "done"

    assert fit() == "done" and len(calls) == 3
