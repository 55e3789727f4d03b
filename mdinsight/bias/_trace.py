"""What a biased run recorded: where it was on its coordinates, and what the bias was worth there at that moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mdinsight import units
from mdinsight.errors import BiasError, NonFiniteError, ParameterError, SelectionError
from mdinsight.records import Model


class Trace(Model):
    """The coordinates and the bias of one or several walkers, row by row; rows of a walker are in time order.

    Attributes
    ----------
    names
        The coordinates, one for each column of ``s``.
    periods
        The period of each coordinate, None where it is not periodic.
    temperature
        K.
    walker
        (n,) the walker of each row.
    step
        (n,) MD step, ascending within a walker.
    time
        (n,) ps.
    s
        (n, dim) coordinates.
    bias
        (n,) kJ/mol: the adaptive potentials at that moment.
    fixed
        (n,) kJ/mol: walls, restraints and frozen biases.
    offset
        (n,) kJ/mol: c(t) of metadynamics at that moment (10.1021/jp504920s), 0 for other potentials.

    Raises
    ------
    ParameterError
        If the arrays do not fit each other, or the steps of a walker do not ascend.
    NonFiniteError
        If a value is NaN or infinite; the message names the field and the row.
    """

    names: tuple[str, ...]
    periods: tuple[float | None, ...]
    temperature: float
    walker: np.ndarray
    step: np.ndarray
    time: np.ndarray
    s: np.ndarray
    bias: np.ndarray
    fixed: np.ndarray
    offset: np.ndarray

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "names", tuple(self.names))
        set_(self, "periods", tuple(None if p is None else float(p) for p in self.periods))
        set_(self, "temperature", units.temperature(self.temperature))
        for name, kind in (("walker", np.int32), ("step", np.int64)):
            set_(self, name, _integers(getattr(self, name), name, kind))
        for name in ("time", "bias", "fixed", "offset"):
            set_(self, name, _numbers(getattr(self, name), name, 1))
        set_(self, "s", _numbers(self.s, "s", 2))
        super().__post_init__()
        self._check()

    def _check(self) -> None:
        if self.s.shape[1] != len(self.names) or len(self.periods) != len(self.names):
            raise ParameterError(
                f"s has {self.s.shape[1]} columns, {len(self.names)} are named and {len(self.periods)} have a period; "
                "give one name and one period (or None) for each column"
            )
        lengths = {
            name: len(getattr(self, name)) for name in ("walker", "step", "time", "s", "bias", "fixed", "offset")
        }
        if len(set(lengths.values())) > 1:
            raise ParameterError(
                f"the arrays of a trace have different lengths: {lengths}; give one entry for each row"
            )
        for number in np.unique(self.walker):
            steps = self.step[self.walker == number]
            if (np.diff(steps) <= 0).any():
                at = int(np.argmax(np.diff(steps) <= 0))
                raise ParameterError(
                    f"walker {number}: step {steps[at]} is followed by {steps[at + 1]}; the rows of a walker must be in "
                    "time order, each step once"
                )

    def __len__(self) -> int:
        return len(self.step)

    def __repr__(self) -> str:
        first, last = (self.time.min(), self.time.max()) if len(self) else (0.0, 0.0)
        return (
            f"<Trace: {len(self)} rows of {len(self.walkers)} walkers, {units.format_time(last - first)}, "
            f"of {', '.join(self.names)} at {self.temperature:g} K>"
        )

    @property
    def kT(self) -> float:
        """kJ/mol."""
        return units.GAS_CONSTANT * self.temperature

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return len(self.names)

    @property
    def walkers(self) -> tuple[int, ...]:
        """The walkers that have rows."""
        return tuple(int(number) for number in np.unique(self.walker))

    def log_weights(self) -> np.ndarray:
        """(n,) logarithm of what each frame weighs in the unbiased ensemble, up to one constant.

        (bias + fixed - offset) / kT with the values at that moment. Frames of the first picoseconds of an adaptive bias
        carry weights that do not compare with later ones; :func:`mdinsight.bias.frame_weights` leaves them out.
        """
        return (self.bias + self.fixed - self.offset) / self.kT

    def select(self, walker: int) -> Trace:
        """The rows of one walker.

        Raises
        ------
        SelectionError
            If there is none.
        """
        rows = np.flatnonzero(self.walker == walker)
        if not len(rows):
            raise SelectionError(f"no row is of walker {walker}; the walkers are {', '.join(map(str, self.walkers))}")
        return self.take(rows)

    def take(self, rows: Any) -> Trace:
        """Some of the rows: numbers, a slice or a mask; those of a walker stay in time order."""
        picked = {
            name: getattr(self, name)[rows] for name in ("walker", "step", "time", "s", "bias", "fixed", "offset")
        }
        return self.replace(**picked)

    def rows_at(self, when: Any, walker: int = 0) -> np.ndarray:
        """The rows of a walker at certain moments, as those of the frames of a saved trajectory.

        Parameters
        ----------
        when
            Integers are steps, floats are times in ps (as ``TimeSeries`` and trajectories have them).
        walker
            Whose rows.

        Returns
        -------
        numpy.ndarray
            One row number for each moment, in the order given.

        Raises
        ------
        SelectionError
            If the walker has no row at one of the moments.
        """
        wanted = np.atleast_1d(np.asarray(when))
        own = np.flatnonzero(self.walker == walker)
        if not len(own):
            raise SelectionError(f"no row is of walker {walker}; the walkers are {', '.join(map(str, self.walkers))}")
        by_step = wanted.dtype.kind in "iu"
        known = (self.step if by_step else self.time)[own]
        at = np.clip(np.searchsorted(known, wanted), 1, max(1, len(known) - 1))
        at = np.minimum(at, len(known) - 1)
        left = np.maximum(at - 1, 0)
        at = np.where(np.abs(wanted - known[left]) <= np.abs(wanted - known[at]), left, at)
        spacing = float(np.min(np.diff(known))) if len(known) > 1 else 1.0
        tolerance = 0 if by_step else max(1e-3 * spacing, 1e-6 * float(np.abs(known).max()))
        missing = ~(np.abs(wanted - known[at]) <= tolerance)  # NaN is missing as well
        if missing.any():
            first = wanted[missing][0]
            raise SelectionError(
                f"walker {walker} has no row at {f'step {first}' if by_step else f'{first:g} ps'} ({int(missing.sum())} of "
                f"{len(wanted)} moments are missing; the nearest is {known[at][missing][0]:g}); record the trace at a stride "
                "that divides that of the trajectory"
            )
        return own[at]

    @classmethod
    def concatenate(cls, traces: Sequence[Trace], independent: bool = False) -> Trace:
        """Several traces as one.

        Parameters
        ----------
        traces
            Of the same coordinates at one temperature.
        independent
            False: parts of one run; a walker goes on where its number comes again. True: runs that have nothing to do
            with each other; walkers are numbered anew.

        Raises
        ------
        ParameterError
            If none is given, or a walker's steps overlap.
        BiasError
            If coordinates or temperatures differ.
        """
        traces = list(traces)
        if not traces:
            raise ParameterError("no trace to concatenate; give at least one")
        first, walkers, next_one = traces[0], [], 0
        for number, trace in enumerate(traces):
            for name in ("names", "periods", "temperature"):
                mine, other = getattr(trace, name), getattr(first, name)
                if mine != other:
                    raise BiasError(f"trace {number} has {name} {mine}, the first {other}; join only runs that agree")
            if independent:
                labels = np.unique(trace.walker, return_inverse=True)[1]
                walkers.append(labels + next_one)
                next_one += len(trace.walkers)
            else:
                walkers.append(trace.walker)
        joined = {
            name: np.concatenate([getattr(trace, name) for trace in traces])
            for name in ("step", "time", "s", "bias", "fixed", "offset")
        }
        return first.replace(walker=np.concatenate(walkers), **joined)


def _integers(values: Any, name: str, kind: type) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and len(array)):
        raise ParameterError(f"{name} has shape {array.shape} and type {array.dtype}; expected integers of shape (n,)")
    return array.astype(kind)


def _numbers(values: Any, name: str, ndim: int) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != ndim or array.dtype.kind not in "fiub":
        raise ParameterError(
            f"{name} has shape {array.shape} and type {array.dtype}; expected numbers of shape "
            f"{'(n,)' if ndim == 1 else '(n, dim)'}"
        )
    array = array.astype(np.float64)
    bad = ~np.isfinite(array)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise NonFiniteError(
            f"{name} of row {row} is {array[row]} ({int(bad.any(axis=tuple(range(1, ndim))).sum())} rows of it are not "
            "finite); leave those rows out"
        )
    return array
