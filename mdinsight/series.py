"""Time series: what flows from features to coordinates to states, with where each row came from.

A :class:`TimeSeries` is a sequence of arrays, one for each trajectory, and stands wherever deeptime or scikit-learn take a list
of arrays. A plain list of arrays, or one array, is accepted wherever a TimeSeries is.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np

from mdinsight import units
from mdinsight.errors import LagError, NonFiniteError, ParameterError, SelectionError
from mdinsight.records import Model, Record


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


class TimeSeries(Sequence[np.ndarray]):
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
        The frozen model (features, coordinate) that computed the series.

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
        definition: Model | None = None,
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
        self.columns = tuple(columns) if columns is not None else tuple(Column(str(i)) for i in range(self.n_columns))
        if len(self.columns) != self.n_columns:
            raise ParameterError(f"{len(self.columns)} columns are named, the arrays have {self.n_columns}")
        self.origins = (
            tuple(origins) if origins is not None else tuple(Origin(f"array {i}") for i in range(len(self.arrays)))
        )
        if len(self.origins) != len(self.arrays):
            raise ParameterError(f"{len(self.origins)} origins for {len(self.arrays)} arrays; give one for each")
        self.definition = definition
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

    def __repr__(self) -> str:
        step = "" if self.dt is None else f", {units.format_time(self.dt)} apart"
        return (
            f"<{type(self).__name__}: {len(self)} trajectories, {self.n_frames} frames{step}, {self.n_columns} columns>"
        )

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return int(self.arrays[0].shape[1])

    @property
    def n_frames(self) -> int:
        """Number of rows in all trajectories together."""
        return sum(len(array) for array in self.arrays)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

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
            self.columns,
            [self.origins[i] for i in picked],
            self.definition,
            check_finite=False,
        )

    def select(self, *patterns: str) -> TimeSeries:
        """The columns whose names match any of the patterns (``*`` and ``?`` as in a shell), in their own order.

        Raises
        ------
        SelectionError
            If a pattern matches no column.
        """
        keep = match_columns(self.columns, patterns)
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

    def lag_frames(self, lag: Any, name: str = "lag") -> int:
        """A lag time in frames, checked against the lengths of the trajectories.

        Raises
        ------
        LagError
            If the lag is not shorter than the longest trajectory, or is no multiple of ``dt``.
        """
        frames = units.lag_frames(lag, self.dt, name)
        longest = max(len(array) for array in self.arrays)
        if frames >= longest:
            raise LagError(
                f"{name}={units.format_lag(frames, self.dt)} is not shorter than the longest of the {len(self)} trajectories "
                f"({units.format_lag(longest, self.dt)}); take a shorter lag or longer trajectories"
            )
        return frames

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


def as_series(data: TimeSeries | np.ndarray | Sequence[np.ndarray]) -> TimeSeries:
    """A TimeSeries out of whatever holds one: itself, one array, or a list of arrays."""
    if isinstance(data, TimeSeries):
        return data
    if isinstance(data, np.ndarray):
        data = [data]
    if not isinstance(data, Sequence):
        raise ParameterError(f"expected an array, a list of arrays or a TimeSeries, got {type(data).__name__}")
    return TimeSeries(data)


def match_columns(columns: Sequence[Column], patterns: Sequence[str]) -> list[int]:
    """Numbers of the columns whose names match any pattern; a pattern that matches none is refused."""
    keep: set[int] = set()
    for pattern in patterns:
        found = {
            i for i, column in enumerate(columns) if column.name == pattern or fnmatch.fnmatchcase(column.name, pattern)
        }
        if not found:
            some = ", ".join(repr(column.name) for column in columns[:6])
            raise SelectionError(
                f"no column matches {pattern!r}; the columns are {some}{', ...' if len(columns) > 6 else ''}"
            )
        keep |= found
    if not keep:
        raise SelectionError("no pattern was given; name at least one column")
    return sorted(keep)


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
