"""Discrete trajectories out of whatever holds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.records import Model
from mdinsight.series import Origin, Rows, TimeSeries, not_yet_rows


@dataclass(frozen=True)
class Discrete:
    """Checked discrete trajectories: what the estimators of ``msm`` work on.

    ``arrays`` are one-dimensional int32 arrays of state numbers (0, 1, ...), one for each uninterrupted trajectory;
    ``dt`` is the time between frames in ps (None where not known); ``origins`` say which file each came from;
    ``definition`` is the frozen clustering that numbered the states, where known.
    """

    arrays: tuple[np.ndarray, ...]
    dt: float | None
    origins: tuple[Origin, ...]
    definition: Model | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def lengths(self) -> np.ndarray:
        """Number of frames of each trajectory, (n_trajectories,)."""
        return np.array([len(array) for array in self.arrays])

    @property
    def n_frames(self) -> int:
        """Number of frames of all trajectories together."""
        return int(self.lengths.sum())

    @property
    def n_states(self) -> int:
        """One more than the highest state number, or the number of centres of the clustering if that is more."""
        highest = 1 + max(int(array.max()) for array in self.arrays)
        return max(highest, int(getattr(self.definition, "n_states", 0)))

    def histogram(self) -> np.ndarray:
        """Frames in each state, (n_states,) int."""
        n = self.n_states  # of all arrays: once, not once an array
        return sum((np.bincount(a, minlength=n) for a in self.arrays), np.zeros(n, dtype=np.int64))

    def take(self, trajectories: Sequence[int]) -> Discrete:
        """Some of the trajectories."""
        picked = list(trajectories)
        return Discrete(
            tuple(self.arrays[i] for i in picked), self.dt, tuple(self.origins[i] for i in picked), self.definition
        )


def as_discrete(dtrajs: Discrete | TimeSeries | np.ndarray | Sequence[Any]) -> Discrete:
    """Discrete trajectories as :class:`Discrete`, checked.

    Parameters
    ----------
    dtrajs
        A ``TimeSeries`` of one column, one array, or a list of arrays of state numbers. Floats are accepted if they
        are whole.

    Raises
    ------
    ParameterError
        If there is more than one column, a state number is negative (there is no "no state": split such a trajectory
        in two) or not whole.
    """
    if isinstance(dtrajs, Discrete):
        return dtrajs
    if isinstance(dtrajs, str):
        raise ParameterError(f"expected discrete trajectories (a TimeSeries or a list of int arrays), got {dtrajs!r}")
    if isinstance(dtrajs, TimeSeries):
        series = dtrajs
    elif isinstance(dtrajs, Rows) or not_yet_rows(dtrajs):
        raise ParameterError(
            f"a {type(dtrajs).__name__} holds no states: cluster first, e.g. "
            "mdi.states.KMeans(100).fit_transform(coordinates), where the coordinates are a stream or a TimeSeries"
        )
    else:
        if isinstance(dtrajs, np.ndarray) or (
            isinstance(dtrajs, Sequence) and len(dtrajs) > 0 and np.isscalar(dtrajs[0])
        ):
            dtrajs = [np.asarray(dtrajs)]
        if not isinstance(dtrajs, Sequence):
            raise ParameterError(
                f"expected discrete trajectories (a TimeSeries or a list of int arrays), got {type(dtrajs).__name__}"
            )
        series = TimeSeries([np.asarray(array) for array in dtrajs])
    if series.n_columns != 1:
        raise ParameterError(
            f"discrete trajectories have one column, these have {series.n_columns}; "
            "number the states first, e.g. with mdi.states.KMeans"
        )
    arrays = tuple(_integers(array[:, 0], origin) for array, origin in zip(series.arrays, series.origins, strict=True))
    return Discrete(arrays, series.dt, series.origins, series.definition)


def _integers(values: np.ndarray, origin: Origin) -> np.ndarray:
    if values.dtype.kind == "f":
        bad = np.flatnonzero(values != np.round(values))
        if len(bad):
            raise ParameterError(
                f"{origin.file}, frame {origin.frame(int(bad[0]))}: state {values[bad[0]]} is no whole number; "
                "these look like coordinates, number the states first, e.g. with mdi.states.KMeans"
            )
    negative = np.flatnonzero(values < 0)
    if len(negative):
        raise ParameterError(
            f"{origin.file}, frame {origin.frame(int(negative[0]))}: state {int(values[negative[0]])} is negative "
            f"({len(negative)} such frames); states are numbered 0, 1, ...: cut the trajectory there, or give those "
            "frames a state of their own"
        )
    if len(values) and values.max() > np.iinfo(np.int32).max - 1:
        raise ParameterError(f"{origin.file}: state {values.max()} is too large a number; number the states 0, 1, ...")
    return np.ascontiguousarray(values, dtype=np.int32)
