"""Time series: what flows from features to coordinates to states, with where each row came from.

A :class:`TimeSeries` is a sequence of arrays, one for each trajectory, and stands wherever deeptime or scikit-learn take a list
of arrays. A plain list of arrays, or one array, is accepted wherever a TimeSeries is. :class:`Rows` is what it has in common with
a stream out of files (:class:`mdinsight.features.FeatureStream`), whose rows are never in memory all at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, overload

import numpy as np

from mdinsight import units
from mdinsight.errors import LagError, NonFiniteError, ParameterError
from mdinsight.parallel import Workers, check_workers, one_thread, ordered_map
from mdinsight.passes import Consumer, Piece, given, grid, rows_of_a_piece
from mdinsight.patterns import match_names
from mdinsight.records import Model, Record

_WORTH_THREADS = 50_000_000
"""Bytes of a series from which a pass over it is worth more than one core."""


class Column(Record):
    """One column of a series: its name, and which atoms and residues it is made of.

    ``kind`` is the feature kind (``"phi"``, ``"distance"``, ...; ``"cv"`` for a coordinate). ``key`` names the same quantity in
    another topology (a mutant's residue has another name but the same key). ``period`` is the length of the range of a
    periodic column, else None.
    """

    name: str
    kind: str = ""
    atoms: tuple[int, ...] = ()
    residues: tuple[str, ...] = ()
    key: str = ""
    unit: str = ""
    period: float | None = None


class Origin(Record):
    """Where the rows of one array came from: row ``j`` is frame ``start + j * step`` of ``file``."""

    file: str
    start: int = 0
    step: int = 1
    fingerprint: str = ""
    """Identity of the file's content, as the trajectory that was read gave it."""

    def frame(self, row: int) -> int:
        """The frame of the file that a row came from."""
        return self.start + row * self.step


class Rows(ABC):
    """Rows of named columns, by trajectory: what an estimator needs of its data, in memory or not.

    Attributes
    ----------
    dt
        Time between rows in ps, None where not known.
    columns, origins, definition
        As in :class:`TimeSeries`.
    """

    dt: float | None
    columns: tuple[Column, ...]
    origins: tuple[Origin, ...]
    definition: Model | None

    @property
    @abstractmethod
    def lengths(self) -> tuple[int, ...]:
        """Rows of each trajectory."""

    @abstractmethod
    def rows(self, trajectory: int, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` (left out) of a trajectory: (stop - start, n_columns)."""

    @abstractmethod
    def sweep(self, consumers: Sequence[Consumer]) -> None:
        """One pass over all rows for several consumers.

        Raises
        ------
        Shortened
            If a trajectory turned out to end earlier, so that what was made for its length must be made anew.
        """

    @property
    def remembers(self) -> bool:
        """Whether there is a cache behind :meth:`remember`."""
        return False

    def recall(self, name: str, shape: tuple[int, int]) -> np.ndarray | None:
        """What :meth:`remember` kept of these rows under a name; a series in memory keeps nothing."""
        return None

    def remember(self, name: str, array: np.ndarray) -> None:
        """Keep a small float64 array that follows from these rows, where there is a cache."""
        return

    def __len__(self) -> int:
        return len(self.lengths)

    def __repr__(self) -> str:
        step = "" if self.dt is None else f", {units.format_time(self.dt)} apart"
        return (
            f"<{type(self).__name__}: {len(self)} trajectories, {self.n_frames} frames{step}, {self.n_columns} columns>"
        )

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return len(self.columns)

    @property
    def n_frames(self) -> int:
        """Number of rows in all trajectories together."""
        return sum(self.lengths)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    def lag_frames(self, lag: Any, name: str = "lag") -> int:
        """A lag time in frames, checked against the lengths of the trajectories.

        Raises
        ------
        LagError
            If the lag is not shorter than the longest trajectory, or is no multiple of ``dt``.
        """
        frames = units.lag_frames(lag, self.dt, name)
        longest = max(self.lengths)
        if frames >= longest:
            raise LagError(
                f"{name}={units.told_lag(lag, frames, self.dt)} is not shorter than the longest of the {len(self)} trajectories "
                f"({units.told_lag(lag, longest, self.dt)}); take a shorter lag or longer trajectories"
            )
        return frames


class TimeSeries(Rows, Sequence[np.ndarray]):
    """Arrays of shape (n_frames, n_columns), one for each uninterrupted trajectory; consecutive rows are ``dt`` apart.

    Parameters
    ----------
    arrays
        One array a trajectory; a one-dimensional array is one column. They are held as they are, not copied.
    dt
        Time between rows in ps, None where not known.
    columns
        What each column is; by default they are numbered.
    origins
        Which file and frames each array came from.
    definition
        The frozen model (features, coordinate) that computed the series, or a function that makes it when it is asked for.

    Raises
    ------
    ParameterError
        If the arrays are empty, of unequal width or not numbers.
    NonFiniteError
        If a value is NaN or infinite; the message names trajectory, row and column.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        dt: float | None = None,
        columns: Sequence[Column] | None = None,
        origins: Sequence[Origin] | None = None,
        definition: Model | Callable[[], Model] | None = None,
        check_finite: bool = True,
    ) -> None:
        self.arrays = tuple(_two_dimensional(array, number) for number, array in enumerate(arrays))
        if not self.arrays:
            raise ParameterError("a time series needs at least one array; got none")
        widths = {array.shape[1] for array in self.arrays}
        if len(widths) > 1:
            raise ParameterError(
                f"the arrays have different numbers of columns: {sorted(widths)}; they must all be the same"
            )
        self.dt = None if dt is None else units.time(dt, "dt")
        named = columns if columns is not None else [Column(str(i)) for i in range(self.n_columns)]
        self._columns: Sequence[Column] = tuple(named) if isinstance(named, list) else named
        if len(self._columns) != self.n_columns:
            raise ParameterError(f"{len(self._columns)} columns are named, the arrays have {self.n_columns}")
        self.origins = (
            tuple(origins) if origins is not None else tuple(Origin(f"array {i}") for i in range(len(self.arrays)))
        )
        if len(self.origins) != len(self.arrays):
            raise ParameterError(f"{len(self.origins)} origins for {len(self.arrays)} arrays; give one for each")
        self._definition = definition
        if check_finite:
            self.check_finite()

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> TimeSeries: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | TimeSeries:
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        return self.arrays[index]

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return int(self.arrays[0].shape[1])

    @cached_property
    def columns(self) -> tuple[Column, ...]:  # type: ignore[override]
        """What each column is."""
        return tuple(self._columns)

    @cached_property
    def definition(self) -> Model | None:  # type: ignore[override]
        """The frozen model that computed the series."""
        given = self._definition
        return given if given is None or isinstance(given, Model) else given()

    @cached_property
    def lengths(self) -> tuple[int, ...]:  # type: ignore[override]
        """Rows of each trajectory."""
        return tuple(len(array) for array in self.arrays)

    def rows(self, trajectory: int, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` (left out) of a trajectory, as a view."""
        return self.arrays[trajectory][start:stop]

    def sweep(self, consumers: Sequence[Consumer], workers: Workers = None) -> None:
        """One pass over all rows for several consumers; large data on all cores."""
        check_workers(workers)
        overlap = max(consumer.overlap for consumer in consumers)
        width = self.n_columns * self.arrays[0].itemsize
        if workers is None and self.n_frames * width < _WORTH_THREADS:
            workers = 1
        step = rows_of_a_piece(self.lengths, width, overlap, any(consumer.paired for consumer in consumers))
        pieces = [piece for group in grid(self.lengths, step, overlap) for piece in group]

        def run(piece: Piece) -> list[tuple[Consumer, Any]]:
            rows = self.arrays[piece.trajectory][piece.start : piece.end]
            todo = [(consumer, consumer.work(piece)) for consumer in consumers]
            return [(consumer, work(given(rows, piece, consumer.overlap))) for consumer, work in todo if work]

        with nullcontext() if workers == 1 else one_thread():
            for piece, results in zip(pieces, ordered_map(run, pieces, workers), strict=True):
                for consumer, result in results:
                    consumer.add(piece, result)

    def concatenated(self) -> np.ndarray:
        """All rows in one array of shape (n_frames, n_columns)."""
        return np.concatenate(self.arrays)

    def with_arrays(
        self, arrays: Sequence[np.ndarray], columns: Sequence[Column] | None = None, definition: Model | None = None
    ) -> TimeSeries:
        """New values for the same frames."""
        return TimeSeries(arrays, self.dt, columns, self.origins, definition)

    def take(self, trajectories: Sequence[int]) -> TimeSeries:
        """Some of the trajectories, in the order given; a number may repeat (as in a bootstrap)."""
        picked = [int(i) for i in trajectories]
        return TimeSeries(
            [self.arrays[i] for i in picked],
            self.dt,
            self._columns,
            [self.origins[i] for i in picked],
            self._definition,
            check_finite=False,
        )

    def select(self, *patterns: str) -> TimeSeries:
        """The columns whose names match any of the patterns (``*`` and ``?`` as in a shell), in their own order.

        Raises
        ------
        ParameterError
            If there is no pattern, or one is no string.
        SelectionError
            If a pattern matches no column.
        """
        keep = match_names(self.names, patterns)
        definition = self.definition
        if definition is not None and hasattr(definition, "select"):
            definition = definition.select(*(self.names[i] for i in keep))
        else:
            definition = None
        return TimeSeries(
            [array[:, keep] for array in self.arrays],
            self.dt,
            [self.columns[i] for i in keep],
            self.origins,
            definition,
            check_finite=False,
        )

    def lagged_pairs(self, lag: int, chunk: int = 100_000) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs (rows at t, rows at t + lag) in chunks; no pair crosses the end of a trajectory."""
        for array in self.arrays:
            for start in range(0, len(array) - lag, chunk):
                stop = min(start + chunk, len(array) - lag)
                yield array[start:stop], array[start + lag : stop + lag]

    def check_finite(self) -> None:
        """Raise :class:`NonFiniteError` at the first NaN or infinite value."""
        for array, origin in zip(self.arrays, self.origins, strict=True):
            if array.dtype.kind != "f" or np.isfinite(array.sum(dtype=np.float64)):
                continue
            bad = ~np.isfinite(array)
            if not bad.any():
                continue
            row, column = (int(i) for i in np.argwhere(bad)[0])
            raise NonFiniteError(
                f"{origin.file}, frame {origin.frame(row)}: column {self.names[column]!r} is {array[row, column]} "
                f"({int(bad.any(axis=1).sum())} frames of it are not finite); leave those frames out"
            )


def as_series(data: Rows | np.ndarray | Sequence[np.ndarray], who: str = "this") -> TimeSeries:
    """A TimeSeries out of whatever holds one in memory: itself, one array, or a list of arrays; ``who`` asks for it.

    Raises
    ------
    ParameterError
        If it is nothing of that, or a stream, whose rows are not in memory.
    """
    if isinstance(data, TimeSeries):
        return data
    if isinstance(data, Rows):
        raise ParameterError(
            f"{who} needs all rows in memory, and a {type(data).__name__} reads them from files; give stream.load() "
            f"({data.n_frames * data.n_columns * 4 / 1e9:.2g} GB), or a coordinate of it (model.transform(stream))"
        )
    if not_yet_rows(data):
        raise ParameterError(
            f"a {type(data).__name__} holds no rows of numbers; compute features first, and give "
            "features.stream(trajs) or features.transform(trajs)"
        )
    if isinstance(data, np.ndarray):
        data = [data]
    if not isinstance(data, Sequence):
        raise ParameterError(f"expected an array, a list of arrays or a TimeSeries, got {type(data).__name__}")
    return TimeSeries(data)


def not_yet_rows(data: Any) -> bool:
    """Whether these are trajectories, or features that were not computed."""
    if isinstance(data, (list, tuple)) and data:
        return not_yet_rows(data[0])
    return any(hasattr(data, name) for name in ("topology", "topologies", "stream"))


def as_rows(data: Rows | np.ndarray | Sequence[np.ndarray]) -> Rows:
    """As :func:`as_series`, for what needs one pass only and so takes a stream as well."""
    return data if isinstance(data, Rows) else as_series(data)


def _two_dimensional(array: np.ndarray, number: int) -> np.ndarray:
    array = array if isinstance(array, np.ndarray) else np.asarray(array)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise ParameterError(
            f"trajectory {number} has shape {array.shape} and type {array.dtype}; expected numbers of shape (n_frames, n_columns)"
        )
    if len(array) == 0:
        raise ParameterError(f"trajectory {number} has no frames; leave it out")
    return array
