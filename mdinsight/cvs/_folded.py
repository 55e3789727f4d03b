r"""The covariances of rows a lag apart, taken forward and backward in time, for few products.

A chain of rows a lag apart, :math:`y_0, y_1, \dots`, is cut into links of eight. The discrete Fourier transform of a link turns
:math:`\sum_k y_k y_k^T` and the cyclic :math:`\sum_k y_k y_{k+1}^T` (symmetrized) into the same five sums of squares with
other weights, 1 and :math:`\cos\omega` (Wiener and Khinchin). Two more squares a link set right that :math:`y_7` is followed by
:math:`y_8` and not by :math:`y_0`. That makes 1.25 symmetric products a row; one by one they are two.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator

import numpy as np

from mdinsight.compiled import compiled

FOLD = 8
"""Rows in a link."""
WIDEST = 1000
"""Columns: with more of them the sums that are held take more memory than the time is worth."""
_ROOT = math.sqrt(0.5)
_FREQUENCIES = ((0, 1), (1, 2), (2, 4), (4, 6), (6, 8))
"""Which of a link's ten vectors make up frequencies 0, 4, 2, 1 and 3; the last two are for its end."""
_VECTORS = 10
_SUMS, _FOLDED_SUMS = 5, 13
"""How many sums are held at most, the square of the mean among them."""
_MIXED = 1024
"""Numbers that are mixed at once: they stay in the nearest cache."""


@compiled
def _transforms(rows: np.ndarray, shift: np.ndarray, lag: int, first: int, out: np.ndarray) -> None:
    """The vectors of the links ``first`` and on, out (10, n_links, n_columns)."""
    for link in range(out.shape[1]):
        block, phase = divmod(first + link, lag)
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
            out[0, link, i] = even + odd
            out[1, link, i] = even - odd
            out[2, link, i] = s0 - s2
            out[3, link, i] = s1 - s3
            out[4, link, i] = d0 + p
            out[5, link, i] = q + d2
            out[6, link, i] = d0 - p
            out[7, link, i] = q - d2
            out[8, link, i] = y7 + (y8 - y0)
            out[9, link, i] = y7 - (y8 - y0)


@compiled
def _mix(squares: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """``out = weights @ squares`` for few rows, in one pass over memory."""
    for begin in range(0, out.shape[1], _MIXED):
        end = min(begin + _MIXED, out.shape[1])
        for k in range(out.shape[0]):
            for e in range(begin, end):
                out[k, e] = weights[k, 0] * squares[0, e]
            for s in range(1, weights.shape[1]):
                weight = weights[k, s]
                if weight != 0.0:
                    for e in range(begin, end):
                        out[k, e] += weight * squares[s, e]


def paired(rows: np.ndarray, lag: int, shift: np.ndarray, chunk: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and covariances of all pairs (x, y) of rows, each taken both ways: the pair (y, x) counts as well.

    Parameters
    ----------
    rows
        (n, n_columns), more than ``lag``.
    lag
        Rows from x to y, at least 1.
    shift
        (n_columns,), a point amid the rows, so that nothing cancels.
    chunk
        Rows widened to float64 at once.

    Returns
    -------
    mean, c00, c0t
        (n_columns,) and (n_columns, n_columns), float64.
    """
    if rows.dtype not in (np.float32, np.float64) or not rows.flags.c_contiguous:
        rows = np.ascontiguousarray(rows, np.float64)
    n = len(rows) - lag
    blocks = n // (FOLD * lag) if rows.shape[1] <= WIDEST else 0
    first = blocks * FOLD * lag
    squares = _Squares(rows.shape[1], _FOLDED_SUMS if blocks else _SUMS)
    total = squares.add_links(rows, shift, lag, blocks, chunk // FOLD) if blocks else np.zeros(rows.shape[1])
    overlapping = 2 * lag < n  # then the second rows are the first ones but for both ends
    if first < n:  # xy' + yx' = xx' + yy' - (y - x)(y - x)'
        total += squares.add(
            shifted(rows[first:n], shift, chunk), 2.0 if overlapping else 1.0, 2.0 if overlapping else 1.0
        )
        squares.add(changes(rows[first:], lag, chunk), 0.0, -1.0)
    if overlapping:
        ends = squares.add(shifted(rows[n:], shift, chunk), 1.0, float(first < n))
        ends -= squares.add(shifted(rows[:lag], shift, chunk), -1.0, -float(first == 0))
        if 0 < first < n:
            squares.add(shifted(rows[first : first + lag], shift, chunk), 0.0, -1.0)
        mean = (2 * total + ends) / (2 * n)
    else:
        mean = (total + squares.add(shifted(rows[lag:], shift, chunk), 1.0, 1.0)) / (2 * n)
    c00, c0t = squares.mixed(mean, 2 * n)
    return shift + mean, c00, c0t


class _Squares:
    """Sums of squares xx', each with the weight that it has in the sum of xx' + yy' and in that of xy' + yx'."""

    def __init__(self, n_columns: int, n_sums: int) -> None:
        self._k = n_columns
        self._sums = _held("sums", (n_sums, n_columns, n_columns))
        self._weights: list[tuple[float, float]] = []

    def add(self, chunks: Iterable[np.ndarray], square: float, product: float) -> np.ndarray:
        """One more sum of squares, that of all rows of the chunks; returns the sum of the rows."""
        place, total = self._sums[len(self._weights)], np.zeros(self._k)
        self._weights.append((square, product))
        for number, x in enumerate(chunks):
            _accumulate(x, place, number == 0)
            total += x.sum(axis=0)
        return total

    def add_links(self, rows: np.ndarray, shift: np.ndarray, lag: int, n_blocks: int, n_links: int) -> np.ndarray:
        """Those of the pairs that begin in the first ``n_blocks * FOLD * lag`` rows; returns the sum of these rows."""
        places, total = self._sums[:7], np.zeros(self._k)
        for first in range(0, n_blocks * lag, max(1, n_links)):
            count = min(max(1, n_links), n_blocks * lag - first)
            vectors = _held("vectors", (_VECTORS, count, self._k))
            _transforms(rows, shift, lag, first, vectors)
            total += vectors[0].sum(axis=0)
            for place, (a, b) in zip(places, (*_FREQUENCIES, (8, 9), (9, 10)), strict=True):
                _accumulate(vectors[a:b].reshape(-1, self._k), place, first == 0)
        c = _ROOT / 2
        self._weights += [(0.25, 0.25), (0.25, -0.25), (0.5, 0.0), (0.5, c), (0.5, -c), (0.0, 0.5), (0.0, -0.5)]
        return total

    def mixed(self, mean: np.ndarray, n: int) -> np.ndarray:
        """Both sums (2, n_columns, n_columns), divided by n, less the square of the mean."""
        count = len(self._weights)
        np.multiply.outer(mean, mean, out=self._sums[count])
        weights = np.array([*self._weights, (-n, -n)]).T / n
        out = np.empty((2, self._k, self._k))
        _mix(self._sums[: count + 1].reshape(count + 1, -1), np.ascontiguousarray(weights), out.reshape(2, -1))
        return out


def _accumulate(x: np.ndarray, place: np.ndarray, begin: bool) -> None:
    """Add x'x, which NumPy takes by ``syrk``."""
    if begin:
        np.matmul(x.T, x, out=place)
    else:
        place += x.T @ x


_HELD = threading.local()
_MOST_HELD = 4_000_000
"""Numbers: 32 MB."""


def _held(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Memory of this thread, not cleared, held for its next piece: fresh pages cost more than what is computed in them."""
    size = math.prod(shape)
    if size > _MOST_HELD:
        return np.empty(shape)
    have: np.ndarray | None = getattr(_HELD, name, None)
    if have is None or have.size < size:
        have = np.empty(size)
        setattr(_HELD, name, have)
    return have[:size].reshape(shape)


def shifted(rows: np.ndarray, shift: np.ndarray, chunk: int) -> Iterator[np.ndarray]:
    """The rows less a point, widened to float64, some at a time."""
    for start in range(0, len(rows), chunk):
        yield np.subtract(rows[start : start + chunk], shift, dtype=np.float64)


def changes(rows: np.ndarray, lag: int, chunk: int) -> Iterator[np.ndarray]:
    """The rows less those a lag before them, widened to float64, some at a time."""
    for start in range(0, len(rows) - lag, chunk):
        stop = min(start + chunk, len(rows) - lag)
        yield np.subtract(rows[start + lag : stop + lag], rows[start:stop], dtype=np.float64)
