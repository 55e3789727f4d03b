"""k-means in passes over rows that need not be in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mdinsight.compiled import compiled
from mdinsight.passes import Piece
from mdinsight.series import Rows
from mdinsight.states._clustering import nearest

_FARTHEST = 16
"""Rows of a piece that are kept in case a cell is empty, those farthest from their centres."""
TOLERANCE = 1e-4
"""As scikit-learn's: of the columns' mean variance, the squared shift of all centres at which they have converged."""


@dataclass
class Found:
    """What :func:`lloyd` found: ``converged`` unless the rounds did not suffice."""

    centers: np.ndarray
    inertia: float
    converged: bool


def lloyd(series: Rows, start: np.ndarray, max_iter: int) -> Found:
    """Lloyd's algorithm from given centres (n_states, n_columns), one pass a round; equal to scikit-learn's to rounding.

    The sums are taken in the order of the rows, so the centres are the same for any number of workers. A cell that is empty
    is given the row farthest from its centre, as scikit-learn does.
    """
    centers, limit, converged = np.ascontiguousarray(start, np.float64), np.inf, False
    for turn in range(max_iter):
        cells = Cells(centers, spread=turn == 0)
        series.sweep([cells])
        if turn == 0:
            limit = TOLERANCE * float(np.mean(cells.squares / cells.n))
        moved = cells.means()
        shift = float(np.sum((moved - centers) ** 2))
        centers = moved
        if shift <= limit:
            converged = True
            break
    last = Cells(centers)
    series.sweep([last])
    return Found(centers, last.inertia, converged)


@dataclass
class Cells:
    """Takes the sums over the cell of each centre as the rows pass; with ``spread`` also those of all rows together."""

    centers: np.ndarray
    spread: bool = False
    overlap: int = 0
    paired: bool = False
    inertia: float = 0.0
    n: int = 0
    mean: np.ndarray = field(init=False)
    squares: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.sums = np.zeros_like(self.centers)
        self.counts = np.zeros(len(self.centers), np.int64)
        self.mean, self.squares = np.zeros(self.centers.shape[1]), np.zeros(self.centers.shape[1])
        self._far: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def work(self, piece: Piece) -> CellWork:
        """The sums over a piece."""
        return CellWork(self.centers, self.spread)

    def add(self, piece: Piece, result: Sums) -> None:
        """Add those of a piece."""
        self.sums += result.sums
        self.counts += result.counts
        self.inertia += result.inertia
        self._far = _farthest([*self._far, result.far])
        if result.squares is not None and result.mean is not None:
            apart, total = result.mean - self.mean, self.n + result.n
            self.squares += result.squares + apart**2 * (self.n * result.n / total)
            self.mean += apart * (result.n / total)
            self.n = total

    def means(self) -> np.ndarray:
        """The mean of each cell; an empty one gets a row far from its own centre, which leaves that one's cell."""
        sums, counts = self.sums.copy(), self.counts.copy()
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            _, rows, states = self._far[0]
            for cell, row, old in zip(empty, rows, states, strict=False):
                sums[old] -= row
                counts[old] -= 1
                sums[cell], counts[cell] = row, 1
        full = counts > 0
        out = self.centers.copy()
        out[full] = sums[full] / counts[full, None]
        return out


@dataclass(frozen=True)
class Sums:
    """What :class:`CellWork` gives."""

    sums: np.ndarray
    counts: np.ndarray
    inertia: float
    far: tuple[np.ndarray, np.ndarray, np.ndarray]
    """Squared distances, rows and cells of those farthest from their centres, the farthest first."""
    n: int
    mean: np.ndarray | None
    squares: np.ndarray | None


@dataclass(frozen=True)
class CellWork:
    """Rows to the sums over the cell of each centre."""

    centers: np.ndarray
    spread: bool

    def __call__(self, rows: np.ndarray) -> Sums:
        x = np.ascontiguousarray(rows, np.float64)
        states, squares = nearest(x, self.centers)
        sums, counts = _cell_sums(x, states, len(self.centers))
        far = np.argsort(-squares, kind="stable")[:_FARTHEST]
        mean = x.mean(axis=0) if self.spread else None
        spread = None if mean is None else ((x - mean) ** 2).sum(axis=0)
        return Sums(sums, counts, float(squares.sum()), (squares[far], x[far], states[far]), len(x), mean, spread)


def _farthest(
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    squares, rows, states = (np.concatenate(parts) for parts in zip(*found, strict=True))
    keep = np.argsort(-squares, kind="stable")[:_FARTHEST]
    return [(squares[keep], rows[keep], states[keep])]


@compiled
def _cell_sums(rows: np.ndarray, states: np.ndarray, n_states: int) -> tuple[np.ndarray, np.ndarray]:
    sums = np.zeros((n_states, rows.shape[1]))
    counts = np.zeros(n_states, dtype=np.int64)
    for t in range(rows.shape[0]):
        k = states[t]
        counts[k] += 1
        for c in range(rows.shape[1]):
            sums[k, c] += rows[t, c]
    return sums, counts


class Sample:
    """Takes evenly spaced rows of all trajectories together, at most so many."""

    overlap = 0
    paired = False

    def __init__(self, series: Rows, most: int) -> None:
        self._stride = max(1, -(-series.n_frames // most))
        self._before = np.concatenate([[0], np.cumsum(series.lengths)])
        self._found: list[np.ndarray] = []

    def work(self, piece: Piece) -> SampleWork:
        """The rows of a piece that are taken."""
        return SampleWork(int(-(self._before[piece.trajectory] + piece.start)) % self._stride, self._stride)

    def add(self, piece: Piece, result: np.ndarray) -> None:
        """Put them behind the others."""
        self._found.append(result)

    @property
    def rows(self) -> np.ndarray:
        """(n, n_columns) float64."""
        return np.ascontiguousarray(np.concatenate(self._found), np.float64)


@dataclass(frozen=True)
class SampleWork:
    """Every so manieth row, from one on."""

    first: int
    stride: int

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return rows[self.first :: self.stride].copy()
