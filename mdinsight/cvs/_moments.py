"""Means and time-lagged covariances of rows, one set for each group of blocks, in one pass and float64.

The sums are taken about a point amid the rows, so nothing cancels, and merged by the formula of Chan, Golub and LeVeque (Am.
Stat. 37, 242 (1983), doi 10.1080/00031305.1983.10483115), so they do not hang on the pieces in which the rows come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mdinsight.compiled import compiled
from mdinsight.cvs._blocks import Block
from mdinsight.cvs._folded import paired, shifted
from mdinsight.errors import DegenerateError
from mdinsight.passes import Piece
from mdinsight.series import Rows

_CHUNK_VALUES = 500_000
"""Numbers widened to float64 at once: 4 MB."""
_SHIFT_ROWS = 64


class Spectrum(NamedTuple):
    """A covariance as ``scale`` (n,), one over each column's deviation (0 where that is 0), and the eigenvalues (n,), rising,
    and eigenvectors (n, n) of the correlations."""

    scale: np.ndarray
    values: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(cls, covariance: np.ndarray) -> Spectrum:
        """That of a covariance (n, n)."""
        deviation = _deviation(covariance)
        scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0.0)
        return cls(scale, *np.linalg.eigh(covariance * np.outer(scale, scale)))


@dataclass(frozen=True)
class Moments:
    """Mean-free second moments of pairs (x at t, y at t + lag).

    Attributes
    ----------
    n
        Number of pairs.
    mean_0, mean_t
        (n_columns,) means of x and of y.
    c00, c0t, ctt
        (n_columns, n_columns) covariances, divided by ``n``. Of reversible dynamics ``ctt`` may be the same array as ``c00``.
    """

    n: float
    mean_0: np.ndarray
    mean_t: np.ndarray
    c00: np.ndarray
    c0t: np.ndarray
    ctt: np.ndarray

    @property
    def spectrum(self) -> Spectrum:
        """That of ``c00``, decomposed once; until Python 3.12 ``cached_property`` lets one thread at a time do that."""
        found: Spectrum | None = self.__dict__.get("_spectrum")
        if found is None:
            found = self.__dict__["_spectrum"] = Spectrum.of(self.c00)
        return found

    def symmetrized(self) -> Moments:
        """The moments of the pairs together with the same pairs backwards in time (reversible dynamics)."""
        if self.ctt is self.c00:
            return self
        mean = (self.mean_0 + self.mean_t) / 2
        a, b = self.mean_0 - mean, self.mean_t - mean
        c00 = (self.c00 + self.ctt + np.outer(a, a) + np.outer(b, b)) / 2
        c0t = (self.c0t + self.c0t.T + np.outer(a, b) + np.outer(b, a)) / 2
        return Moments(self.n, mean, mean, c00, c0t, c00)

    def projected(self, left: np.ndarray, right: np.ndarray) -> Moments:
        """The moments of (x @ left, y @ right)."""
        c00 = left.T @ self.c00 @ left
        ctt = c00 if self.ctt is self.c00 and left is right else right.T @ self.ctt @ right
        return Moments(self.n, self.mean_0 @ left, self.mean_t @ right, c00, left.T @ self.c0t @ right, ctt)

    def only(self, keep: np.ndarray) -> Moments:
        """The moments of some of the columns."""
        if len(keep) == len(self.mean_0):
            return self
        grid = np.ix_(keep, keep)
        c00 = self.c00[grid]
        ctt = c00 if self.ctt is self.c00 else self.ctt[grid]
        return Moments(self.n, self.mean_0[keep], self.mean_t[keep], c00, self.c0t[grid], ctt)

    def varying(self) -> np.ndarray:
        """Which columns vary by more than the rounding of float32."""
        tiny = np.finfo(np.float32).eps
        return (_deviation(self.c00) > tiny * np.abs(self.mean_0)) & (_deviation(self.ctt) > tiny * np.abs(self.mean_t))


def _deviation(covariance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(np.diag(covariance), 0.0))


def combine(parts: Sequence[Moments], counts: Sequence[int] | np.ndarray | None = None) -> Moments:
    """The moments of several blocks together; ``counts`` says how often each is taken (as in a bootstrap)."""
    weights = np.array([part.n for part in parts]) * (1.0 if counts is None else np.asarray(counts, dtype=np.float64))
    n = float(weights.sum())
    share = weights / n
    mean_0 = sum(w * p.mean_0 for w, p in zip(share, parts, strict=True))
    mean_t = sum(w * p.mean_t for w, p in zip(share, parts, strict=True))
    root = np.sqrt(share)[:, None]
    a = root * np.stack([part.mean_0 - mean_0 for part in parts])
    b = root * np.stack([part.mean_t - mean_t for part in parts])
    if np.array_equal(a, b):
        b = a  # a product with itself is symmetric to the last bit

    def second(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        total = x.T @ y
        for w, part in zip(share, parts, strict=True):
            if w != 0.0:
                total += w * getattr(part, name)
        return np.asarray(total)

    c00, c0t = second("c00", a, a), second("c0t", a, b)
    ctt = c00 if all(part.ctt is part.c00 for part in parts) else second("ctt", b, b)
    return Moments(n, mean_0, mean_t, c00, c0t, ctt)


def resampled(parts: Sequence[Moments], counts: np.ndarray) -> Iterator[Moments]:
    """:func:`combine` for each row of counts (n, n_parts); for few columns, as all parts are stacked."""
    n = np.array([part.n for part in parts])
    mean_0, mean_t = np.stack([p.mean_0 for p in parts]), np.stack([p.mean_t for p in parts])
    k, alike = mean_0.shape[1], all(part.ctt is part.c00 for part in parts)

    def second(x: np.ndarray, y: np.ndarray, name: str) -> np.ndarray:
        return np.stack([getattr(p, name) + np.outer(a, b) for p, a, b in zip(parts, x, y, strict=True)]).reshape(
            -1, k * k
        )

    # about the mean of all, so that nothing cancels
    middle_0, middle_t = (n @ mean_0) / n.sum(), (n @ mean_t) / n.sum()
    a, b = mean_0 - middle_0, mean_t - middle_t
    c00, c0t = second(a, a, "c00"), second(a, b, "c0t")
    ctt = c00 if alike else second(b, b, "ctt")
    for row in counts:
        weights = row * n
        share = weights / weights.sum()
        x, y = share @ a, share @ b
        first = (share @ c00).reshape(k, k) - np.outer(x, x)
        cross = (share @ c0t).reshape(k, k) - np.outer(x, y)
        last = first if alike else (share @ ctt).reshape(k, k) - np.outer(y, y)
        yield Moments(float(weights.sum()), x + middle_0, y + middle_t, first, cross, last)


def block_moments(
    series: Rows,
    lag: int,
    groups: Sequence[Sequence[Block]],
    chunk: int | None = None,
    reversible: bool = False,
) -> list[Moments]:
    """The moments of each group of blocks of pairs, in one pass over the rows.

    Parameters
    ----------
    series
        The data; float32 is accumulated as float64.
    lag
        Frames; 0 gives the plain covariance (``c0t`` and ``ctt`` equal ``c00``).
    groups
        Each group is a list of blocks; a block's rows are the first rows of its pairs.
    chunk
        Rows widened to float64 at once; the result depends on it to rounding only.
    reversible
        The moments of the pairs taken forward and backward in time (:meth:`Moments.symmetrized`), for less work.
    """
    sums = MomentSums(lag, groups, reversible, chunk)
    series.sweep([sums])
    return sums.moments


class MomentSums:
    """Takes the moments of each group of blocks as the rows pass; see :func:`block_moments`."""

    paired = True

    def __init__(
        self, lag: int, groups: Sequence[Sequence[Block]], reversible: bool = False, chunk: int | None = None
    ) -> None:
        self.overlap = lag
        self._reversible, self._chunk = reversible, chunk
        self._totals: list[Moments | None] = [None] * len(groups)
        self._blocks: dict[int, list[tuple[int, int, int]]] = {}
        for number, group in enumerate(groups):
            for block in group:
                self._blocks.setdefault(block.trajectory, []).append((block.start, block.stop, number))

    def work(self, piece: Piece) -> MomentWork | None:
        """The moments of the pairs whose first rows are the piece's own, for each group that has any."""
        parts = [
            (number, max(start, piece.start) - piece.start, min(stop, piece.stop) - piece.start)
            for start, stop, number in self._blocks.get(piece.trajectory, ())
        ]
        segments = tuple(part for part in parts if part[1] < part[2])
        return MomentWork(self.overlap, segments, self._reversible, self._chunk) if segments else None

    def add(self, piece: Piece, result: list[tuple[int, Moments]]) -> None:
        """Merge the moments of a piece."""
        for number, moments in result:
            total = self._totals[number]
            self._totals[number] = moments if total is None else _merged(total, moments)

    @property
    def moments(self) -> list[Moments]:
        """The moments of each group.

        Raises
        ------
        DegenerateError
            If a group has no pair.
        """
        found = [total for total in self._totals if total is not None]
        if len(found) < len(self._totals):
            raise DegenerateError(
                "a block of the data holds no pair of frames at this lag; take a shorter lag or more data"
            )
        return found


@dataclass(frozen=True)
class MomentWork:
    """The moments of the pairs that begin in some segments (group, first row, row after the last) of a piece."""

    lag: int
    segments: tuple[tuple[int, int, int], ...]
    reversible: bool
    chunk: int | None

    def __call__(self, rows: np.ndarray) -> list[tuple[int, Moments]]:
        chunk = self.chunk or max(512, _CHUNK_VALUES // rows.shape[1])
        return [
            (n, pair_moments(rows[a : b + self.lag], self.lag, self.reversible, chunk)) for n, a, b in self.segments
        ]


def _merged(total: Moments, part: Moments) -> Moments:
    """:func:`combine` of two, written over their own arrays: it is done for each piece."""
    n = total.n + part.n
    share = part.n / n
    a, b = part.mean_0 - total.mean_0, part.mean_t - total.mean_t
    pairs = [(total.c00, part.c00, a, a)]
    if total.c0t is not total.c00:
        pairs.append((total.c0t, part.c0t, a, b))
    if total.ctt is not total.c00:
        pairs.append((total.ctt, part.ctt, b, b))
    for ours, theirs, x, y in pairs:
        _merge(ours, theirs, share, x, y)
    return Moments(n, total.mean_0 + share * a, total.mean_t + share * b, total.c00, total.c0t, total.ctt)


@compiled
def _merge(ours: np.ndarray, theirs: np.ndarray, share: float, x: np.ndarray, y: np.ndarray) -> None:
    apart = share * (1.0 - share)
    for i in range(len(x)):
        for j in range(len(y)):  # in this order it stays symmetric to the last bit
            ours[i, j] = ours[i, j] + share * (theirs[i, j] - ours[i, j]) + apart * (x[i] * y[j])


def pair_moments(rows: np.ndarray, lag: int, reversible: bool, chunk: int) -> Moments:
    """The moments of all pairs within consecutive rows."""
    n = len(rows) - lag
    shift = rows[:: max(1, len(rows) // _SHIFT_ROWS)].mean(axis=0, dtype=np.float64)
    if lag == 0:
        sum_0, square_0 = _sums(shifted(rows, shift, chunk))
        mean = sum_0 / n
        c00 = square_0 / n - np.outer(mean, mean)
        return Moments(n, shift + mean, shift + mean, c00, c00, c00)
    if reversible:
        mean, c00, c0t = paired(rows, lag, shift, chunk)
        return Moments(n, mean, mean, c00, c0t, c00)
    sum_0, square_0 = _sums(shifted(rows[:n], shift, chunk))
    if 2 * lag < n:  # the second rows of the pairs are the first ones but for both ends
        (head, head_2), (tail, tail_2) = (_sums(shifted(part, shift, chunk)) for part in (rows[:lag], rows[n:]))
        sum_t, square_t = sum_0 - head + tail, square_0 - head_2 + tail_2
    else:
        sum_t, square_t = _sums(shifted(rows[lag:], shift, chunk))
    product = np.zeros_like(square_0)
    for x, y in zip(shifted(rows[:n], shift, chunk), shifted(rows[lag:], shift, chunk), strict=True):
        product += x.T @ y
    a, b = sum_0 / n, sum_t / n
    covariances = (square_0 / n - np.outer(a, a), product / n - np.outer(a, b), square_t / n - np.outer(b, b))
    return Moments(n, shift + a, shift + b, *covariances)


def _sums(chunks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the rows, and of their outer products with themselves; NumPy takes these by ``syrk``."""
    total = square = np.zeros(0)
    for x in chunks:
        if not len(total):
            total, square = x.sum(axis=0), x.T @ x
        else:
            total += x.sum(axis=0)
            square += x.T @ x
    return total, square


def packed(parts: Sequence[Moments], reversible: bool) -> np.ndarray:
    """Moments as one float64 row each, symmetric matrices by one triangle; see :func:`unpacked`."""
    lower = np.tril_indices(len(parts[0].mean_0))
    rows = []
    for p in parts:
        more = (p.c0t[lower],) if reversible else (p.mean_t, p.c0t.ravel(), p.ctt[lower])
        rows.append(np.concatenate([[p.n], p.mean_0, p.c00[lower], *more]))
    return np.array(rows)


def packed_shape(n_parts: int, n_columns: int, reversible: bool) -> tuple[int, int]:
    """The shape of what :func:`packed` gives."""
    triangle = n_columns * (n_columns + 1) // 2
    more = triangle if reversible else n_columns + n_columns**2 + triangle
    return n_parts, 1 + n_columns + triangle + more


def unpacked(rows: np.ndarray, n_columns: int, reversible: bool) -> list[Moments]:
    """The moments that :func:`packed` made rows of."""
    k, triangle = n_columns, n_columns * (n_columns + 1) // 2

    def mirrored(values: np.ndarray) -> np.ndarray:
        full = np.empty((k, k))
        _mirror(values, full)
        return full

    parts = []
    for row in rows:
        n, mean = float(row[0]), row[1 : 1 + k]
        c00, rest = mirrored(row[1 + k : 1 + k + triangle]), row[1 + k + triangle :]
        if reversible:
            parts.append(Moments(n, mean, mean, c00, mirrored(rest), c00))
        else:
            c0t = rest[k : k + k * k].reshape(k, k)
            parts.append(Moments(n, mean, rest[:k], c00, c0t, mirrored(rest[k + k * k :])))
    return parts


@compiled
def _mirror(values: np.ndarray, full: np.ndarray) -> None:
    """A symmetric matrix out of its lower triangle, row by row."""
    place = 0
    for i in range(full.shape[0]):
        for j in range(i + 1):
            full[i, j] = full[j, i] = values[place]
            place += 1
