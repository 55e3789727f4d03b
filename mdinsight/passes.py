"""One pass over rows: a fixed grid of pieces, worked on in parallel, the results taken in order.

The grid hangs on the data alone, so what comes out does not depend on the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

_PIECE_BYTES = 8_000_000
_MOST_BYTES = 32_000_000
_PIECES = 64
_FEWEST_ROWS = 512
_TOGETHER = 8
_OVERLAPS = 8
"""A piece is a multiple of so many times what it shares with the next one, as far as memory lets it; sums over pairs of rows cost
least there (:mod:`mdinsight.cvs._folded`)."""
_ROWS_A_COLUMN = 2
"""As many rows for each column, where a result holds a number for each pair of columns: merging it costs as much."""


@dataclass(frozen=True)
class Piece:
    """Rows ``start`` to ``stop`` of a trajectory, read up to ``end``: the rows behind belong to the next piece too."""

    trajectory: int
    start: int
    stop: int
    end: int


Work = Callable[[np.ndarray], Any]
"""What is done with the rows of a piece, wherever it runs: it can be pickled, and its result is small."""


class Consumer(Protocol):
    """What a pass is made for: it gives the work for each piece, and takes the results in the order of the rows."""

    overlap: int
    """Rows behind the piece's own that the work is given as well, where the trajectory has them."""

    paired: bool
    """Whether a result holds a number for each pair of columns."""

    def work(self, piece: Piece) -> Work | None:
        """The work on this piece, None where there is none."""

    def add(self, piece: Piece, result: Any) -> None:
        """Take the result of the work on a piece."""


class Shortened(Exception):
    """A pass found a trajectory to end earlier than its file said; the rows know it now, and the pass must begin anew."""


def until_whole(function: Callable[P, R]) -> Callable[P, R]:
    """The function is called again when a pass in it found a trajectory to end earlier."""

    @wraps(function)
    def again(*args: P.args, **kwargs: P.kwargs) -> R:
        while True:
            try:
                return function(*args, **kwargs)
            except Shortened:
                continue

    return again


def rows_of_a_piece(lengths: Sequence[int], row_bytes: int, overlap: int = 0, paired: bool = False) -> int:
    """Rows in a piece: by bytes, but enough pieces for many cores; a multiple of eight overlaps, else of 256 or a power of 2.

    It is an eighth more where that saves the longest trajectory a piece, and no more than its pieces need: no small rest stays.
    """
    rows = min(_PIECE_BYTES // row_bytes, max(_FEWEST_ROWS, sum(lengths) // _PIECES))
    fewest = max(_OVERLAPS * overlap, _ROWS_A_COLUMN * row_bytes // 4 if paired else 0)
    rows = max(1, rows, min(fewest, _MOST_BYTES // row_bytes))
    unit = _OVERLAPS * overlap
    if not 0 < unit <= rows:
        if rows < 256:
            return 1 << (rows.bit_length() - 1)
        unit = 256
    rows, longest = rows // unit * unit, max(lengths, default=0)
    if longest <= rows:
        return rows
    most = min(rows + rows // 8, max(rows, _MOST_BYTES // row_bytes // unit * unit))
    even = -(-longest // -(-longest // most))
    return min(-(-even // unit) * unit, most // unit * unit)


def grid(lengths: Sequence[int], rows: int, overlap: int) -> Iterator[tuple[Piece, ...]]:
    """All pieces in order; several short trajectories come together."""
    group: list[Piece] = []
    size = 0
    for trajectory, length in enumerate(lengths):
        for start in range(0, length, rows):
            stop = min(start + rows, length)
            if group and (size + stop - start > rows or len(group) == _TOGETHER):
                yield tuple(group)
                group, size = [], 0
            group.append(Piece(trajectory, start, stop, min(stop + overlap, length)))
            size += stop - start
    if group:
        yield tuple(group)


def given(rows: np.ndarray, piece: Piece, overlap: int) -> np.ndarray:
    """Of the rows from ``piece.start`` on, those that a consumer with this overlap is given."""
    return rows[: min(piece.stop + overlap, piece.end) - piece.start]


class Collected:
    """Keeps what a work gives for each row: arrays (length, width), one a trajectory.

    Parameters
    ----------
    lengths, width, dtype
        Of the arrays.
    only
        Numbers of the trajectories that are wanted; by default all.
    work
        What is done with the rows, which must give a row for each; by default nothing.
    shared
        Whether the work is done in this process: then whoever does it puts the rows where they belong.
    """

    overlap = 0
    paired = False

    def __init__(
        self,
        lengths: Sequence[int],
        width: int,
        dtype: Any,
        only: Sequence[int] | None = None,
        work: Work | None = None,
        shared: bool = False,
    ) -> None:
        wanted = range(len(lengths)) if only is None else only
        self.arrays = {i: np.empty((lengths[i], width), dtype) for i in wanted}
        self.filled = dict.fromkeys(wanted, 0)
        """How many rows are there without a gap, for each trajectory."""
        self._work, self._shared = work or _unchanged, shared

    def work(self, piece: Piece) -> Work | None:
        """The work on a piece of a trajectory that is wanted."""
        if piece.trajectory not in self.arrays:
            return None
        return partial(self._put, piece) if self._shared else self._work

    def _put(self, piece: Piece, rows: np.ndarray) -> None:
        self.arrays[piece.trajectory][piece.start : piece.stop] = self._work(rows)

    def add(self, piece: Piece, result: np.ndarray | None) -> None:
        """Put the rows where they belong, unless they are there."""
        if result is not None:
            self.arrays[piece.trajectory][piece.start : piece.stop] = result
        if self.filled[piece.trajectory] == piece.start:
            self.filled[piece.trajectory] = piece.stop


def _unchanged(rows: np.ndarray) -> np.ndarray:
    return rows
