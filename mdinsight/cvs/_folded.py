r"""Squares and lagged products of rows, folded: both for 1.25 symmetric products a row, where they take two one by one.

A chain of rows a lag apart, :math:`y_0, y_1, \dots`, is cut into links of eight. The discrete Fourier transform of a link turns
:math:`\sum_k y_k y_k^T` and the cyclic :math:`\sum_k y_k y_{k+1}^T` (symmetrized) into the same five sums of squares with
other weights, 1 and :math:`\cos\omega` (Wiener and Khinchin). One product a link sets right that :math:`y_7` is followed by
:math:`y_8` and not by :math:`y_0`.
"""

from __future__ import annotations

import math

import numpy as np

from mdinsight.compiled import compiled

FOLD = 8
"""Rows in a link."""
WIDEST = 1000
"""Columns: with more of them the six sums take more memory than the time is worth."""
_ROOT = math.sqrt(0.5)
_VECTORS = 10


@compiled
def _fold(rows, shift, lag, first, out):
    """The transforms of the links ``first`` and on: (frequencies 0, 4, 2, 1, 3; then the last row, and what follows it less the
    first row)."""
    for unit in range(out.shape[1]):
        block, phase = divmod(first + unit, lag)
        t = 8 * block * lag + phase
        for i in range(rows.shape[1]):
            middle = shift[i]
            y0 = np.float64(rows[t, i]) - middle
            y1 = np.float64(rows[t + lag, i]) - middle
            y2 = np.float64(rows[t + 2 * lag, i]) - middle
            y3 = np.float64(rows[t + 3 * lag, i]) - middle
            y4 = np.float64(rows[t + 4 * lag, i]) - middle
            y5 = np.float64(rows[t + 5 * lag, i]) - middle
            y6 = np.float64(rows[t + 6 * lag, i]) - middle
            y7 = np.float64(rows[t + 7 * lag, i]) - middle
            y8 = np.float64(rows[t + 8 * lag, i]) - middle
            s0, s1, s2, s3 = y0 + y4, y1 + y5, y2 + y6, y3 + y7
            d0, d1, d2, d3 = y0 - y4, y1 - y5, y2 - y6, y3 - y7
            even, odd = s0 + s2, s1 + s3
            p, q = _ROOT * (d1 - d3), _ROOT * (d1 + d3)
            out[0, unit, i] = even + odd
            out[1, unit, i] = even - odd
            out[2, unit, i] = s0 - s2
            out[3, unit, i] = s1 - s3
            out[4, unit, i] = d0 + p
            out[5, unit, i] = q + d2
            out[6, unit, i] = d0 - p
            out[7, unit, i] = q - d2
            out[8, unit, i] = y7
            out[9, unit, i] = y8 - y0


def folded(
    rows: np.ndarray, lag: int, n_blocks: int, shift: np.ndarray, units: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums over the first ``n_blocks * FOLD * lag`` pairs of rows.

    Parameters
    ----------
    rows
        (n, n_columns), at least ``lag`` more than the pairs; they are widened to float64.
    lag
        Rows between the two of a pair.
    shift
        (n_columns,), taken off each row.
    units
        Links worked on at once.

    Returns
    -------
    total, square, product
        The sum of the first rows x of the pairs (n_columns,); of x x'; and of (x y' + y x') / 2, y being the second rows.
    """
    if rows.dtype not in (np.float32, np.float64) or not rows.flags.c_contiguous:
        rows = np.ascontiguousarray(rows, np.float64)
    k, n_units = rows.shape[1], n_blocks * lag
    total, sums = np.zeros(k), np.zeros((6, k, k))
    buffer = np.empty((_VECTORS, min(units, n_units), k))
    for first in range(0, n_units, units):
        if n_units - first < buffer.shape[1]:
            buffer = np.empty((_VECTORS, n_units - first, k))
        _fold(rows, shift, lag, first, buffer)
        total += buffer[0].sum(axis=0)
        for place, some in zip(sums, (buffer[0:1], buffer[1:2], buffer[2:4], buffer[4:6], buffer[6:8]), strict=False):
            flat = some.reshape(-1, k)
            place += flat.T @ flat
        sums[5] += buffer[8].T @ buffer[9]
    zero, four, two, one, three, seam = sums
    square = (zero + four) / 8 + (one + two + three) / 4
    product = (zero - four) / 8 + _ROOT / 4 * (one - three) + (seam + seam.T) / 2
    return total, square, product
