"""Moments: deeptime's to ten digits, whatever the pieces, in float64 out of float32, and kept without loss."""

from __future__ import annotations

import numpy as np
import pytest
from deeptime.covariance import Covariance

from mdinsight.cvs._blocks import Block
from mdinsight.cvs._folded import WIDEST, paired
from mdinsight.cvs._moments import MomentSums, block_moments, combine, packed, packed_shape, resampled, unpacked
from mdinsight.passes import Piece
from mdinsight.series import TimeSeries

NAMES = ("mean_0", "mean_t", "c00", "c0t", "ctt")


def theirs(pairs, lag):
    running = Covariance(
        lagtime=lag, compute_c0t=True, compute_ctt=True, remove_data_mean=True, bessels_correction=False
    )
    for x, y in pairs:
        running.partial_fit((np.asarray(x, np.float64), np.asarray(y, np.float64)))
    model = running.fetch_model()
    return model.mean_0, model.mean_t, model.cov_00, model.cov_0t, model.cov_tt


def check(ours, expected, rtol=1e-10):
    scale = np.sqrt(np.outer(np.diag(expected[2]), np.diag(expected[4])))
    for name, value in zip(NAMES, expected, strict=True):
        assert (
            np.abs((getattr(ours, name) - value) / (scale if value.ndim == 2 else np.sqrt(np.diag(scale)))).max() < rtol
        ), name


@pytest.mark.parametrize("reversible", [False, True])
@pytest.mark.parametrize("lag", [1, 30, 900])  # 900: the ends of a block are more than what lies between
@pytest.mark.parametrize("chunk", [None, 97])
def test_moments_are_deeptimes(mixed, lag, chunk, reversible):
    series = TimeSeries([(x + 20.0).astype(np.float32) for x in mixed])
    groups = [[Block(0, 0, 500), Block(3, 100, 1100)], [Block(1, 0, len(series[1]) - lag)], [Block(5, 7, 8)]]
    found = block_moments(series, lag, groups, chunk, reversible)
    for moments, group in zip(found[:2], groups, strict=False):
        pairs = [
            (series[b.trajectory][b.start : b.stop], series[b.trajectory][b.start + lag : b.stop + lag]) for b in group
        ]
        assert moments.n == sum(len(b) for b in group)
        check(moments, theirs(pairs + [(y, x) for x, y in pairs] if reversible else pairs, lag))
    assert found[2].n == 1  # one pair has a mean and no spread
    if not reversible:
        np.testing.assert_array_equal(found[2].mean_t, series[5][7 + lag])


def test_one_pass_of_pieces_is_the_sum_over_all(mixed):
    """Whatever the pieces, a pair that begins in one and ends in the next counts once."""
    series = TimeSeries([x.astype(np.float32) for x in mixed])
    lag = 12
    blocks = [[Block(i, 0, n - lag)] for i, n in enumerate(series.lengths)]
    expected = block_moments(series, lag, blocks, reversible=True)
    for size in (1, 13, 700):
        sums = MomentSums(lag, blocks, reversible=True)
        for i, array in enumerate(series[:2]):
            for start in range(0, len(array), size):
                piece = Piece(i, start, min(start + size, len(array)), min(start + size + lag, len(array)))
                work = sums.work(piece)
                if work is not None:
                    sums.add(piece, work(array[piece.start : piece.end]))
        for found, moments in zip(sums._totals[:2], expected, strict=False):
            check(found, [getattr(moments, name) for name in NAMES], 1e-12)


def test_nothing_cancels_far_from_the_origin():
    x = np.random.default_rng(0).standard_normal((5000, 4))
    near, far = (block_moments(TimeSeries([x + shift]), 3, [[Block(0, 0, 4997)]])[0] for shift in (0.0, 2.0**20))
    np.testing.assert_allclose(far.c0t, near.c0t, atol=1e-9)
    np.testing.assert_allclose(far.ctt, near.ctt, atol=1e-9)


@pytest.mark.parametrize(("lag", "reversible"), [(0, True), (5, True), (5, False)])
def test_kept_moments_are_the_same_bits(mixed, lag, reversible):
    series = TimeSeries(mixed)
    parts = block_moments(series, lag, [[Block(i, 0, n - lag)] for i, n in enumerate(series.lengths)], None, reversible)
    rows = packed(parts, reversible)
    assert rows.shape == packed_shape(len(parts), 5, reversible)
    for part, again in zip(parts, unpacked(rows, 5, reversible), strict=True):
        assert again.n == part.n
        for name in NAMES:
            found, expected = getattr(again, name), getattr(part, name)
            if name == "c0t" and not reversible:
                np.testing.assert_array_equal(found, expected)
            else:  # of a symmetric matrix one triangle is kept
                np.testing.assert_array_equal(np.tril(found), np.tril(expected))


def test_moments_together_are_the_same_bits_when_kept():
    rng = np.random.default_rng(3)
    series = TimeSeries(
        [rng.standard_normal((n, 10)) @ rng.standard_normal((10, 10)) + i for i, n in enumerate(range(90, 250, 10))]
    )
    parts = block_moments(series, 5, [[Block(i, 0, n - 5)] for i, n in enumerate(series.lengths)], None, True)
    for counts in (None, rng.multinomial(16, np.full(16, 1 / 16))):
        total = combine(parts, counts)
        again = unpacked(packed([total], True), 10, True)[0]
        for name in NAMES:
            np.testing.assert_array_equal(getattr(again, name), getattr(total, name))


@pytest.mark.parametrize("reversible", [False, True])
def test_resampling_is_combining(mixed, reversible):
    series = TimeSeries([x + 100.0 * i for i, x in enumerate(mixed)])
    parts = block_moments(series, 5, [[Block(i, 0, n - 5)] for i, n in enumerate(series.lengths)], None, reversible)
    counts = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=4)
    for row, found in zip(counts, resampled(parts, counts), strict=True):
        expected = combine(parts, row)
        assert found.n == expected.n
        check(found, [getattr(expected, name) for name in NAMES], 1e-10)


@pytest.mark.parametrize("length", [2, 12, 30, 41, 300])
@pytest.mark.parametrize("lag", [1, 5, 11])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16])
def test_pairs_folded_are_the_pairs_one_by_one(length, lag, kind):
    rows = (100 * np.random.default_rng(lag).standard_normal((length + lag, 7)).cumsum(axis=0)).astype(kind)
    x, y = rows[:length].astype(np.float64), rows[lag:].astype(np.float64)
    mean = (x + y).mean(axis=0) / 2
    x, y = x - mean, y - mean
    expected = mean, (x.T @ x + y.T @ y) / (2 * length), (x.T @ y + y.T @ x) / (2 * length)
    for chunk, given in ((8, rows), (10_000, rows), (100, np.asfortranarray(rows))):
        for found, true in zip(paired(given, lag, rows[0].astype(np.float64), chunk), expected, strict=True):
            np.testing.assert_allclose(found, true, rtol=0, atol=1e-11 * np.abs(expected[1]).max())
            np.testing.assert_array_equal(found, found.T)


def test_wide_rows_are_taken_one_by_one():
    rows = np.random.default_rng(0).standard_normal((120, WIDEST + 1))
    mean, c00, c0t = paired(rows, 3, rows[0], 50)
    x, y = rows[:-3] - mean, rows[3:] - mean
    np.testing.assert_allclose(mean, (rows[:-3] + rows[3:]).mean(axis=0) / 2, rtol=0, atol=1e-13)
    np.testing.assert_allclose(c00, (x.T @ x + y.T @ y) / (2 * len(x)), rtol=0, atol=1e-12)
    np.testing.assert_allclose(c0t, (x.T @ y + y.T @ x) / (2 * len(x)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [80, 81, 90, 95, 160])  # from no pair left behind the links to many
def test_moments_do_not_hang_on_how_many_links_fit(length):
    x = np.random.default_rng(length).standard_normal((length, 3)).cumsum(axis=0).astype(np.float32)
    (found,) = block_moments(TimeSeries([x]), 10, [[Block(0, 0, length - 10)]], reversible=True)
    pairs = [(x[:-10], x[10:]), (x[10:], x[:-10])]
    check(found, theirs(pairs, 10), 1e-12)
