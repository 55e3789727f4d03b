"""The rows of a stream handed on in order, for a loop of the user's own."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, cast

import numpy as np

from mdinsight.features._stream import FeatureStream, _shorten, _Sweep, leaves_the_process
from mdinsight.parallel import ordered_map
from mdinsight.passes import Piece, Work, grid, rows_of_a_piece
from mdinsight.progress import track


def chunks(stream: FeatureStream, size: int | None) -> Iterator[np.ndarray]:
    """See :meth:`FeatureStream.iter_chunks`."""
    with closing(_handed(stream)) as pieces:
        yield from (rows for _, rows in pieces) if size is None else _regrouped(pieces, size)


def _handed(stream: FeatureStream) -> Generator[tuple[int, np.ndarray], None, None]:
    """One pass whose rows are handed on: trajectory and rows, piece by piece. A corrupt frame ends its trajectory.

    The user's code runs between the pieces, so the libraries' threads are left as they are.
    """
    files, rows = stream.files, _Rows()
    step = rows_of_a_piece(files.lengths, 4 * stream.n_columns)
    groups = list(grid(files.lengths, step, 0))
    with _Sweep([stream], [(stream, rows)], step, leaves_the_process(files.workers)) as sweeper:
        todo = (sweeper.task(group) for group in groups)
        results = cast("Generator[Any, None, None]", ordered_map(sweeper.function, todo, files.workers))
        with closing(results) as done:  # no worker writes any more when the entries are closed
            for result in track(done, files.progress, total=len(groups), desc="pass"):
                sweeper.take(result)
                found = [(i, start, array) for i, start, array in rows.taken if start < files.lengths[i]]
                rows.taken = []
                ended = {i: end for i, end in sweeper.ends.items() if end[0] < files.lengths[i]}
                if ended:
                    _shorten(files, ended)
                    for i, (end, _) in ended.items():
                        if end % step:  # rows of the piece with the corrupt frame, before that
                            found.append((i, end - end % step, stream.rows(i, end - end % step, end)))
                    found.sort(key=lambda item: item[:2])
                yield from ((i, array) for i, _, array in found)


class _Rows:
    """A consumer that keeps what was taken until it is handed on."""

    overlap = 0
    paired = False

    def __init__(self) -> None:
        self.taken: list[tuple[int, int, np.ndarray]] = []

    def work(self, piece: Piece) -> Work:
        return np.array  # out of the cache they are rows of a mapped file, which would stay open

    def add(self, piece: Piece, result: np.ndarray) -> None:
        self.taken.append((piece.trajectory, piece.start, result))


def _regrouped(pieces: Iterator[tuple[int, np.ndarray]], size: int) -> Iterator[np.ndarray]:
    """The rows ``size`` at a time; fewer at the end of each trajectory."""
    held: list[np.ndarray] = []
    count, trajectory = 0, -1
    for i, rows in pieces:
        if held and i != trajectory:
            yield np.concatenate(held)
            held, count = [], 0
        trajectory, first = i, 0
        while len(rows) - first >= size - count:
            last = first + size - count
            yield np.concatenate([*held, rows[first:last]])
            held, count, first = [], 0, last
        if first < len(rows):
            held.append(rows[first:])
            count += len(rows) - first
    if held:
        yield np.concatenate(held)
