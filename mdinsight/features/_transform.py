"""Features of every frame of a data set: in parallel, and the same for any number of workers and any chunk."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np

from mdinsight.errors import CorruptFrameError, DataWarning, NonFiniteError, ParameterError
from mdinsight.features._base import Definition
from mdinsight.features._bound import Bound, bind_all
from mdinsight.features._cache import Cache, result_key
from mdinsight.features._function import Function
from mdinsight.parallel import Workers, ordered_map
from mdinsight.progress import Progress, track
from mdinsight.series import TimeSeries
from mdinsight.trajectories import Trajectory, topology_hash
from mdinsight.trajectories import open as open_trajectories
from mdinsight.words import counted

_log = logging.getLogger(__name__)
_MOST_FRAMES = 2500
"""Frames of a task at most, so that one long trajectory keeps all cores busy."""


@dataclass(frozen=True)
class _Task:
    number: int
    trajectory: Trajectory
    bound: Bound
    start: int
    stop: int


@dataclass(frozen=True)
class _Part:
    """Values of a task's rows, or of those before a corrupt frame."""

    start: int
    values: np.ndarray
    error: CorruptFrameError | None = None


def transform(
    definition: Definition,
    trajs: Any,
    workers: Workers = None,
    chunk: int | None = None,
    cache: bool | str | Path = True,
    progress: Progress = False,
) -> TimeSeries:
    """See :meth:`mdinsight.features.Definition.transform`."""
    if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
        raise ParameterError(f"chunk={chunk!r} is no number of frames; give at least 1, or None")
    trajectories = as_trajectories(trajs)
    bounds = _bound_to_each(definition, trajectories)
    store = _store(definition, cache)
    shapes = [(t.n_frames, b.n_columns) for t, b in zip(trajectories, bounds, strict=True)]
    keys = [_key(t, b) for t, b in zip(trajectories, bounds, strict=True)] if store else []
    kept = [store.get(key, shape) for key, shape in zip(keys, shapes, strict=True)] if store else [None] * len(shapes)
    arrays = [
        np.empty(shape, np.float32) if array is None else array for array, shape in zip(kept, shapes, strict=True)
    ]
    missing = [i for i, array in enumerate(kept) if array is None]
    tasks = [task for i in missing for task in _tasks(i, trajectories[i], bounds[i], chunk)]
    left = dict.fromkeys(missing, 0)
    for task in tasks:
        left[task.number] += 1
    done = track(ordered_map(_run, tasks, workers), progress, total=len(tasks), desc="features")
    corrupt: dict[int, _Part] = {}
    for task, part in zip(tasks, done, strict=True):
        arrays[task.number][task.start : task.start + len(part.values)] = part.values
        left[task.number] -= 1
        if part.error is not None:
            corrupt.setdefault(task.number, part)
        if store and not left[task.number] and task.number not in corrupt:
            store.put(keys[task.number], arrays[task.number])
    if store:
        store.prune()
    for number, part in corrupt.items():
        arrays[number] = _before(part, trajectories[number], arrays[number])
    columns = bounds[0].columns
    origins = [trajectory.origin for trajectory in trajectories]
    return TimeSeries(
        arrays, _time_step(trajs, trajectories), columns, origins, definition.fixed(columns), check_finite=False
    )


def as_trajectories(trajs: Any) -> Sequence[Trajectory]:
    """Trajectories out of a data set, one trajectory of it, or one ``mdtraj.Trajectory``."""
    if isinstance(trajs, mdtraj.Trajectory):
        trajs = open_trajectories(trajs)
    if isinstance(trajs, Trajectory):
        return [trajs]
    found = list(trajs) if isinstance(trajs, Sequence) and not isinstance(trajs, (str, bytes)) else []
    if found and all(isinstance(t, mdtraj.Trajectory) for t in found):
        found = list(open_trajectories(found))
    if not found or not all(isinstance(t, Trajectory) for t in found):
        raise ParameterError(
            f"transform needs what mdinsight.open gives, or an mdtraj.Trajectory; got {type(trajs).__name__}"
        )
    return found


def _bound_to_each(definition: Definition, trajectories: Sequence[Trajectory]) -> list[Bound]:
    by_hash = {bound.labels.hash: bound for bound in bind_all(definition, trajectories)}
    by_id: dict[int, Bound] = {}
    for trajectory in trajectories:
        if id(trajectory.topology) not in by_id:
            by_id[id(trajectory.topology)] = by_hash[topology_hash(trajectory.topology)]
    return [by_id[id(trajectory.topology)] for trajectory in trajectories]


def _store(definition: Definition, cache: bool | str | Path) -> Cache | None:
    if cache is False:
        return None
    if not definition.cacheable:
        _log.warning(
            "%s: results are not cached on disk, as the content of a function cannot be identified "
            "(it reads a list, an array, an object or a module of your own); pass numbers as defaults instead",
            definition.title,
        )
        return None
    return Cache(None if cache is True else cache)


def _key(trajectory: Trajectory, bound: Bound) -> str:
    origin = trajectory.origin
    clock = []
    if any(isinstance(part.feature, Function) for part in bound.parts):  # it may read the times
        times = trajectory.times
        clock = [trajectory.dt, "" if times is None else hashlib.sha256(np.ascontiguousarray(times).data).hexdigest()]
    return result_key(trajectory.fingerprint, origin.start, origin.step, trajectory.n_frames, bound.content, *clock)


def _tasks(number: int, trajectory: Trajectory, bound: Bound, chunk: int | None) -> Iterator[_Task]:
    size = chunk or min(trajectory.chunk_size(len(bound.atoms)), _MOST_FRAMES)
    for start in range(0, trajectory.n_frames, size):
        yield _Task(number, trajectory, bound, start, min(start + size, trajectory.n_frames))


def _run(task: _Task) -> _Part:
    try:
        return _Part(task.start, _values(task, task.stop))
    except CorruptFrameError as error:
        origin = task.trajectory.origin
        stop = (error.frame - origin.start) // origin.step
        values = _values(task, stop) if stop > task.start else np.empty((0, task.bound.n_columns), np.float32)
        return _Part(task.start, values, error)


def _before(part: _Part, trajectory: Trajectory, array: np.ndarray) -> np.ndarray:
    """The rows before a corrupt frame; one warning counts those that are lost."""
    rows = part.start + len(part.values)
    if rows == 0 and part.error is not None:
        raise part.error
    lost = trajectory.n_frames - rows
    warnings.warn(
        f"{part.error}; {trajectory.label}: the {counted(rows, 'frame')} before it are used, {counted(lost, 'frame')} lost",
        DataWarning,
        stacklevel=4,
    )
    return array[:rows].copy()


def _values(task: _Task, stop: int) -> np.ndarray:
    whole = len(task.bound.atoms) == task.trajectory.n_atoms
    chunk = task.trajectory.read_chunk(task.start, stop, None if whole else task.bound.atoms)
    try:
        values = task.bound.compute(chunk.xyz, chunk.box, chunk.time)
    except ParameterError as error:
        origin = task.trajectory.origin
        where = f"{origin.file}, frames {origin.frame(task.start)} to {origin.frame(stop - 1)}"
        raise ParameterError(f"{where}: {error}") from error.__cause__
    if not np.isfinite(values.sum(dtype=np.float64)):
        _refuse(task, values)
    return values


def _refuse(task: _Task, values: np.ndarray) -> None:
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    row, column = (int(i) for i in np.argwhere(bad)[0])
    origin = task.trajectory.origin
    raise NonFiniteError(
        f"{origin.file}, frame {origin.frame(task.start + row)}: {task.bound.columns[column].name!r} is "
        f"{values[row, column]} ({int(bad.any(axis=1).sum())} frames of this chunk); "
        "look at the coordinates there, or leave those frames out"
    )


def _time_step(trajs: Any, trajectories: Sequence[Trajectory]) -> float | None:
    if isinstance(trajs, (mdtraj.Trajectory, Trajectory)) or not hasattr(trajs, "dt"):
        steps = {trajectory.dt for trajectory in trajectories}
        return steps.pop() if len(steps) == 1 else None
    return trajs.dt
