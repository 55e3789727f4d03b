"""What a policy sees: every frame that a walker may start from, as arrays."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from mdinsight import seeds
from mdinsight.adaptive._cover import farthest_points, nearest_point
from mdinsight.errors import DegenerateError, NonFiniteError, ParameterError
from mdinsight.records import Record


class Frames(Record):
    """All frames that a walker may start from, in the order in which they were committed.

    Parameters
    ----------
    s
        (n, dim) learned coordinate of each frame.
    states
        (n,) number of the microstate of each frame, from 0.
    n_states
        Number of microstates; some may hold no frame.
    segments
        (n,) number of the segment that each frame was committed with.
    kT
        kJ/mol.
    log_weights
        (n,) logarithm of the weight of each frame in the unbiased ensemble, up to a constant; ``-inf`` where a frame has no
        place in it (an exploration at another temperature).
    counts
        (n_states, n_states) transitions that were counted in unbiased trajectories at one lag time.
    observable
        (n,) what :class:`FAST` is asked to make large or small.
    periods
        One for each column of ``s``, None where it is not periodic; by default none is.

    Raises
    ------
    DegenerateError
        If there is no frame, or none with a weight.
    NonFiniteError
        If a value is NaN or infinite; names the frame.
    ParameterError
        If shapes, state numbers or ``kT`` do not fit.
    """

    s: np.ndarray
    states: np.ndarray
    n_states: int
    segments: np.ndarray
    kT: float
    log_weights: np.ndarray | None = None
    counts: np.ndarray | None = None
    observable: np.ndarray | None = None
    periods: tuple[float | None, ...] | None = None

    def __post_init__(self) -> None:
        s = _coordinate(self.s)
        self._set("s", s)
        self._set("periods", _periods(self.periods, s.shape[1]))
        self._set("states", _whole_numbers(self.states, "states", len(s)))
        self._set("segments", _whole_numbers(self.segments, "segments", len(s)))
        if isinstance(self.n_states, bool) or not isinstance(self.n_states, numbers.Integral) or self.n_states < 1:
            raise ParameterError(f"n_states={self.n_states!r} is not a number of states; give an int of at least 1")
        if int(self.states.max()) >= self.n_states:
            raise ParameterError(
                f"states holds the number {self.states.max()}, but n_states={self.n_states}; states count from 0"
            )
        if isinstance(self.kT, bool) or not isinstance(self.kT, numbers.Real) or not 0 < self.kT < math.inf:
            raise ParameterError(f"kT={self.kT!r} is not a positive energy; give it in kJ/mol, 2.49 at 300 K")
        self._set("log_weights", _log_weights(self.log_weights, len(s)))
        self._set("counts", _counts(self.counts, int(self.n_states)))
        if self.observable is not None:
            values = _one_each(self.observable, "observable", len(s))
            _refuse_non_finite(values[:, None], "observable")
            self._set("observable", values)
        super().__post_init__()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.s)

    @classmethod
    def of(
        cls,
        s: np.ndarray,
        kT: float,
        *,
        n_states: int = 100,
        seed: int = 0,
        segments: np.ndarray | None = None,
        log_weights: np.ndarray | None = None,
        observable: np.ndarray | None = None,
        periods: Sequence[float | None] | None = None,
        trajectories: np.ndarray | None = None,
        lag: int = 1,
    ) -> Frames:
        """Frames with microstates made from the coordinate, and with transition counts where trajectories are given.

        The states are the cells of points that cover the visited space evenly (:func:`farthest_points`), not of k-means: a
        cell's number of frames then says how often a place was visited, and rare places have cells of their own.

        Parameters
        ----------
        s, kT, segments, log_weights, observable, periods
            As in the class; ``segments`` by default all 0.
        n_states
            Most states to make. There are fewer if there are fewer than ten frames for each, or fewer distinct points.
        seed
            Decides where the first cell lies.
        trajectories
            (n,) number of the unbiased trajectory that a frame belongs to, -1 for biased frames. The frames of one trajectory
            follow each other in time, equally spaced.
        lag
            Frames between the two ends of a transition; a transition never goes from one trajectory to another.

        Raises
        ------
        DegenerateError, NonFiniteError, ParameterError
            As the class; also if ``n_states`` or ``lag`` is not a positive int.
        """
        for name, value in (("n_states", n_states), ("lag", lag)):
            if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
                raise ParameterError(f"{name}={value!r} is not a positive number; give an int of at least 1")
        s = _coordinate(s)
        points = scaled(s, _periods(periods, s.shape[1]))
        first = int(seeds.generator(seed, "adaptive.states").integers(len(points)))
        centers = farthest_points(points, int(min(n_states, max(1, len(points) // 10))), first)
        states = nearest_point(points, points[centers])
        counts = None
        if trajectories is not None:
            labels = _whole_numbers(trajectories, "trajectories", len(s), least=-1)
            counts = count_transitions(states, labels, len(centers), int(lag))
        return cls(
            s,
            states,
            len(centers),
            np.zeros(len(s), dtype=np.int64) if segments is None else segments,
            kT,
            log_weights,
            counts,
            observable,
            None if periods is None else tuple(periods),
        )

    @cached_property
    def points(self) -> np.ndarray:
        """``s`` as points between which distances mean something: see :func:`scaled`."""
        return scaled(self.s, self.periods)

    @cached_property
    def visits(self) -> np.ndarray:
        """(n_states,) frames in each microstate."""
        return np.bincount(self.states, minlength=self.n_states)

    @cached_property
    def weights(self) -> np.ndarray | None:
        """(n,) weight of each frame in the unbiased ensemble; they sum to 1."""
        if self.log_weights is None:
            return None
        weights = np.exp(self.log_weights - self.log_weights.max())
        return weights / weights.sum()


def scaled(s: np.ndarray, periods: Sequence[float | None] | None) -> np.ndarray:
    """The coordinate (n, dim) with each column divided by its standard deviation; constant columns become 0.

    A periodic column becomes two, its cosine and sine, of total variance 1: so a distance never crosses a border that is none,
    and each coordinate counts alike.
    """
    columns = []
    for column, period in zip(s.T, periods or [None] * s.shape[1], strict=True):
        angle = 2.0 * np.pi * column / period if period else None
        part = column[:, None] if angle is None else np.stack([np.cos(angle), np.sin(angle)], axis=1)
        part = part - part.mean(axis=0)
        spread = math.sqrt(float((part * part).sum(axis=1).mean()))
        tiny = 1e-12 * max(float(np.abs(column).max()), 1e-300)  # what rounding leaves of a constant
        columns.append(part / spread if spread > tiny else np.zeros_like(part))
    return np.ascontiguousarray(np.concatenate(columns, axis=1))


def count_transitions(states: np.ndarray, trajectories: np.ndarray, n_states: int, lag: int) -> np.ndarray:
    """(n_states, n_states) float64 transitions over ``lag`` rows between frames (n,) of one and the same trajectory (>= 0).

    Raises
    ------
    ParameterError
        If the frames of a trajectory do not stand together.
    """
    starts = np.flatnonzero(np.diff(trajectories, prepend=trajectories[0] - 1))
    runs = trajectories[starts]
    runs = runs[runs >= 0]
    if len(np.unique(runs)) < len(runs):
        values, times = np.unique(runs, return_counts=True)
        raise ParameterError(
            f"the frames of trajectory {values[times > 1][0]} do not stand together; give the frames of each in order of time"
        )
    inside = (trajectories[:-lag] == trajectories[lag:]) & (trajectories[:-lag] >= 0)
    flat = states[:-lag][inside] * n_states + states[lag:][inside]
    return np.bincount(flat, minlength=n_states * n_states).reshape(n_states, n_states).astype(np.float64)


def _coordinate(s: Any) -> np.ndarray:
    array = np.asarray(s, dtype=np.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] < 1:
        raise ParameterError(f"s has the shape {np.shape(s)}; give (frames, coordinates)")
    if len(array) == 0:
        raise DegenerateError("there is no frame that a walker could start from; run an exploration first")
    _refuse_non_finite(array, "s")
    return array


def _refuse_non_finite(array: np.ndarray, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise NonFiniteError(
            f"{name} is {array[bad[0]].tolist()} at frame {bad[0]} ({len(bad)} of {len(array)} frames are not finite); "
            "leave out frames of runs that broke down"
        )


def _one_each(values: Any, name: str, n: int) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (n,):
        raise ParameterError(f"{name} has the shape {array.shape}; give one number for each of the {n} frames")
    return array


def _whole_numbers(values: Any, name: str, n: int, least: int = 0) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise ParameterError(
            f"{name} has the shape {array.shape} and type {array.dtype}; give one int for each of the {n} frames"
        )
    if int(array.min()) < least:
        raise ParameterError(f"{name} holds {array.min()}; its least number is {least}")
    return array.astype(np.int64)


def _periods(periods: Any, dim: int) -> tuple[float | None, ...] | None:
    if periods is None:
        return None
    given = tuple(periods)
    real = all(p is None or (isinstance(p, (int, float, np.number)) and 0 < float(p) < math.inf) for p in given)
    if len(given) != dim or not real:
        raise ParameterError(f"periods={periods!r} does not fit {dim} coordinates; give a period or None for each")
    return tuple(None if p is None else float(p) for p in given)


def _log_weights(log_weights: Any, n: int) -> np.ndarray | None:
    if log_weights is None:
        return None
    array = _one_each(log_weights, "log_weights", n)
    bad = np.flatnonzero(np.isnan(array) | (array == np.inf))
    if len(bad):
        raise NonFiniteError(f"log_weights is {array[bad[0]]} at frame {bad[0]}; give a number, or -inf for no weight")
    if not np.isfinite(array).any():
        raise DegenerateError(f"all {n} log_weights are -inf, so no frame has a weight; give log_weights=None instead")
    return array


def _counts(counts: Any, n_states: int) -> np.ndarray | None:
    if counts is None:
        return None
    array = np.asarray(counts, dtype=np.float64)
    if array.shape != (n_states, n_states):
        raise ParameterError(
            f"counts has the shape {array.shape}; give ({n_states}, {n_states}), one row for each state"
        )
    if not (np.isfinite(array) & (array >= 0)).all():
        raise ParameterError("counts holds a negative or non-finite number; give numbers of transitions")
    return array
