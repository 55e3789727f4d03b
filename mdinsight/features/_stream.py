"""A stream: the features of trajectories as rows that are computed, or read from the cache, when they are asked for."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mdinsight.errors import CacheWarning, DataWarning, ParameterError, warn_user
from mdinsight.features._base import Definition, Features
from mdinsight.features._bound import Bound, bind_all
from mdinsight.features._cache import Cache, Writer, result_key
from mdinsight.features._files import Files
from mdinsight.features._function import Function
from mdinsight.features._tasks import Done, FeatureSet, Job, Plan, Union, compute, run_jobs, run_jobs_elsewhere
from mdinsight.parallel import Parcel, Workers, held_to, one_thread, ordered_map
from mdinsight.passes import Consumer, Piece, Shortened, grid, rows_of_a_piece
from mdinsight.progress import Progress, check_progress, track
from mdinsight.series import Column, Rows, TimeSeries
from mdinsight.trajectories import Trajectory, topology_hash
from mdinsight.words import counted

_NOT_IN_MEMORY = (
    "the rows of a stream are not in memory: take rows(trajectory, start, stop), go through iter_chunks(), or load() them all; "
    "lengths, n_frames and n_columns tell how many there are"
)

_NO_FOLDERS = ("", "true", "false", "none")
"""What somebody writes who means no folder of this name; of one that is really called so ``./none`` can be given."""


class FeatureStream(Rows):
    """Features of trajectories, row by row out of the files: for data larger than memory; made by ``features.stream(trajs)``.

    It has the ``columns``, ``names``, ``lengths``, ``dt``, ``origins`` and ``definition`` of the :class:`TimeSeries` that
    ``features.transform(trajs)`` would make. PCA, TICA, VAMP and k-means fit it, and a model transforms it, in passes over the
    files on all cores. With the cache the first pass keeps the features on disk, and the later ones read them there.
    """

    def __init__(self, definition: Definition, files: Files, store: Cache | None) -> None:
        self.files = files
        self.store = store
        self.bounds = _bound_to_each(definition, files.trajectories)
        self.dt = files.dt
        self.origins = tuple(trajectory.origin for trajectory in files.trajectories)
        self.fixed = partial(definition.fixed, self.bounds[0].later_columns)  # makes the definition

    @cached_property
    def columns(self) -> tuple[Column, ...]:  # type: ignore[override]
        """What each column is."""
        return self.bounds[0].columns

    @cached_property
    def definition(self) -> Features:  # type: ignore[override]
        """The features, fixed to exactly these columns."""
        return self.fixed()

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return self.bounds[0].n_columns

    @property
    def lengths(self) -> tuple[int, ...]:
        """Rows of each trajectory; one that has a corrupt frame ends before it, once a pass has found it."""
        return self.files.lengths

    def select(self, *patterns: str) -> FeatureStream:
        """The columns whose names match any of the patterns; nothing else is computed. See :meth:`TimeSeries.select`."""
        return FeatureStream(self.definition.select(*patterns), self.files, self.store)

    def rows(self, trajectory: int, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` (left out) of a trajectory, float32: out of the cache, or computed."""
        if not 0 <= trajectory < len(self):
            raise ParameterError(
                f"there is no trajectory {trajectory}; this stream has {counted(len(self), 'trajectory')}, counted from 0"
            )
        if not 0 <= start < stop <= self.lengths[trajectory]:
            raise ParameterError(
                f"trajectory {trajectory} has rows 0 to {self.lengths[trajectory] - 1}; rows {start} to {stop - 1} were asked for"
            )
        bound = self.bounds[trajectory]
        found = (
            None if self.store is None else self.store.rows(self.keys[trajectory], self._shape(trajectory), start, stop)
        )
        if found is None:
            with held_to(self.files.workers):
                found = compute(self.files.trajectories[trajectory], bound, start, stop, self.files.chunk)
        return found

    def __getitem__(self, _: object) -> NoReturn:
        raise TypeError(_NOT_IN_MEMORY)

    @property
    def shape(self) -> NoReturn:
        """There is none: the rows are not one array."""
        raise AttributeError(_NOT_IN_MEMORY)

    def iter_chunks(self, size: int | None = None) -> Iterator[np.ndarray]:
        """All rows in order, ``size`` at a time (by default about 8 MB); no chunk holds rows of two trajectories.

        A pass of its own: pieces are computed ahead on all cores, two for each at most, and kept in the cache where there is one.
        A loop that is left early keeps the trajectories that were whole. As in every pass a corrupt frame ends its trajectory,
        which a warning says.

        Raises
        ------
        ParameterError
            If the size is not positive.
        """
        if size is not None and (isinstance(size, bool) or int(size) != size or size < 1):
            raise ParameterError(f"size={size!r} is no number of rows; give at least 1")
        from mdinsight.features._chunks import chunks

        yield from chunks(self, None if size is None else int(size))

    def load(self) -> TimeSeries:
        """All rows in memory: what ``features.transform(trajs)`` gives."""
        from mdinsight.features._transform import load

        return load(self)

    def sweep(self, consumers: Sequence[Consumer]) -> None:
        """One pass over all rows for several consumers, on all cores. See :meth:`Rows.sweep`."""
        sweep([(self, consumer) for consumer in consumers])

    @property
    def remembers(self) -> bool:
        """Whether there is a cache."""
        return self.store is not None

    def recall(self, name: str, shape: tuple[int, int]) -> np.ndarray | None:
        """See :meth:`Rows.recall`."""
        return None if self.store is None else self.store.get(self._name(name), shape, np.float64)

    def remember(self, name: str, array: np.ndarray) -> None:
        """See :meth:`Rows.remember`."""
        if self.store is not None:
            self.store.put(self._name(name), array)
            self.store.prune()

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """What each trajectory's features are kept under."""
        return tuple(_key(t, b) for t, b in zip(self.files.trajectories, self.bounds, strict=True))

    def _name(self, name: str) -> str:
        return result_key(name, self.lengths, self.keys)

    def _shape(self, trajectory: int) -> tuple[int, int]:
        return self.files.trajectories[trajectory].n_frames, self.n_columns


def stream(
    definition: Definition,
    trajs: Any,
    workers: Workers = None,
    cache: bool | str | Path = True,
    progress: Progress = False,
) -> FeatureStream:
    """See :meth:`mdinsight.features.Definition.stream`."""
    return streams([definition], trajs, workers, cache, progress)[0]


def streams(
    definitions: Sequence[Definition],
    trajs: Any,
    workers: Workers = None,
    cache: bool | str | Path = True,
    progress: Progress = False,
) -> list[FeatureStream]:
    """Streams of several feature sets over the same trajectories, which one pass can feed (see :func:`sweep`)."""
    check_progress(progress)
    files = Files.of(trajs, workers, None, progress, "stream")
    made: dict[str, FeatureStream] = {}
    for definition in definitions:
        if definition.hash not in made:
            made[definition.hash] = FeatureStream(definition, files, open_cache(definition, cache))
    return [made[definition.hash] for definition in definitions]


def sweep(jobs: Sequence[tuple[FeatureStream, Consumer]]) -> None:
    """One pass over the files for consumers of several streams: each chunk is read once, each column computed once.

    Raises
    ------
    ParameterError
        If the streams are not over the same trajectories.
    Shortened
        If a frame turned out to be corrupt: its trajectory ends before it from now on, which a warning says.
    """
    streams = list({id(stream): stream for stream, _ in jobs}.values())
    files = streams[0].files
    if any(stream.files is not files for stream in streams):
        raise ParameterError(
            "one pass needs streams over the same trajectories; make them with mdinsight.cvs.fit_together"
        )
    overlap = max(consumer.overlap for _, consumer in jobs)
    row_bytes = 4 * sum(stream.n_columns for stream in streams)
    step = rows_of_a_piece(files.lengths, row_bytes, overlap, any(consumer.paired for _, consumer in jobs))
    groups = list(grid(files.lengths, step, overlap))
    sweeper = _Sweep(streams, jobs, step, leaves_the_process(files.workers))
    with one_thread(), sweeper:
        todo = (sweeper.task(group) for group in groups)
        done = ordered_map(sweeper.function, todo, files.workers)
        for result in track(done, files.progress, total=len(groups), desc="pass"):
            sweeper.take(result)
    if sweeper.ends:
        _shorten(files, sweeper.ends)
        raise Shortened


class _Sweep:
    """A pass under way: makes the tasks, hands the results on, and looks after the entries that are written."""

    def __init__(
        self,
        streams: Sequence[FeatureStream],
        jobs: Sequence[tuple[FeatureStream, Consumer]],
        step: int,
        elsewhere: bool,
    ) -> None:
        self.ends: dict[int, tuple[int, str]] = {}
        self._streams, self._step, self._elsewhere = streams, step, elsewhere
        self._jobs = [(next(i for i, s in enumerate(streams) if s is stream), consumer) for stream, consumer in jobs]
        self._files = streams[0].files
        self._kept = [_kept(stream) for stream in streams]
        self._unions: dict[tuple[Any, ...], Union | None] = {}
        self._plans: dict[int, Plan | Parcel[Plan]] = {}
        self._writers: dict[tuple[int, int], Writer] = {}
        self._under_way: deque[list[tuple[Piece, list[Consumer]]]] = deque()
        self.function: Any = run_jobs_elsewhere if elsewhere else run_jobs

    def __enter__(self) -> _Sweep:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers.values():
            writer.close()
        for stream in self._streams:
            if stream.store is not None:
                stream.store.prune()

    def task(self, pieces: Sequence[Piece]) -> Any:
        """What is done for some pieces; they come in order."""
        made, waiting = [], []
        for piece in pieces:
            works, consumers = [], []
            for number, consumer in self._jobs:
                work = consumer.work(piece)
                if work is not None:
                    works.append((number, consumer.overlap, work))
                    consumers.append(consumer)
            if piece.trajectory not in self._plans:
                self._plans = {piece.trajectory: self._plan(piece.trajectory)}
            made.append(Job(self._plans[piece.trajectory], piece, tuple(works)))
            waiting.append((piece, consumers))
        self._under_way.append(waiting)
        return Parcel(made) if self._elsewhere else made

    def take(self, results: Sequence[Done]) -> None:
        """Hand on the results of the task that was made first of those under way."""
        for (piece, consumers), done in zip(self._under_way.popleft(), results, strict=True):
            i = piece.trajectory
            if done.error is not None:
                origin = self._streams[0].origins[i]
                end = (done.error.frame - origin.start) // origin.step
                if i not in self.ends or end < self.ends[i][0]:
                    self.ends[i] = end, str(done.error)
                if end == 0:
                    raise done.error
                continue
            for consumer, result in zip(consumers, done.results, strict=True):
                consumer.add(piece, result)
            for number, checksums in enumerate(done.checksums):
                writer = self._writers.get((number, i))
                if writer is not None:
                    writer.done(piece.start, checksums)
                    if piece.stop == self._files.trajectories[i].n_frames:
                        self._writers.pop((number, i)).close()

    def _plan(self, i: int) -> Plan | Parcel[Plan]:
        trajectory = self._files.trajectories[i]
        whole = self._files.lengths[i] == trajectory.n_frames
        sets = []
        for number, stream in enumerate(self._streams):
            (kept, writes), entry, target = self._kept[number], None, None
            shape = stream._shape(i)
            if stream.store is not None and kept[i]:
                entry = stream.store.file(stream.keys[i])
            elif stream.store is not None and writes and whole:
                writer = stream.store.writer(stream.keys[i], shape, step=self._step)
                if writer is not None:
                    self._writers[number, i] = writer
                    target = writer.target
            sets.append(FeatureSet(stream.bounds[i], shape, entry, target))
        plan = Plan(trajectory, tuple(sets), self._union(i, sets), self._files.chunk)
        return Parcel(plan.lean()) if self._elsewhere else plan

    def _union(self, i: int, sets: Sequence[FeatureSet]) -> Union | None:
        missing = tuple(number for number, s in enumerate(sets) if s.entry is None)
        if len(missing) < 2:
            return None
        name = (missing, *(id(sets[number].bound) for number in missing))
        if name not in self._unions:
            self._unions[name] = _joined(missing, [self._streams[n] for n in missing], self._files.trajectories[i], i)
        return self._unions[name]


def _joined(numbers: tuple[int, ...], streams: Sequence[FeatureStream], trajectory: Trajectory, i: int) -> Union:
    bound = Features(tuple(stream.definition for stream in streams)).bind(trajectory.topology)
    place = {column.key: n for n, column in enumerate(bound.columns)}
    columns = tuple(np.array([place[c.key] for c in stream.bounds[i].columns]) for stream in streams)
    return Union(numbers, bound, columns)


def _kept(stream: FeatureStream) -> tuple[list[bool], bool]:
    """Which trajectories are in the cache, and whether the others may be put there."""
    store = stream.store
    if store is None:
        return [False] * len(stream), False
    kept = [store.has(key, stream._shape(i)) for i, key in enumerate(stream.keys)]
    size = sum(4 * t.n_frames * stream.n_columns for t, k in zip(stream.files.trajectories, kept, strict=True) if not k)
    return kept, size > 0 and store.room(size)


def _shorten(files: Files, ends: dict[int, tuple[int, str]]) -> None:
    for i, (rows, error) in ends.items():
        lost = files.trajectories[i].n_frames - rows
        warn_user(
            f"{error}; {files.trajectories[i].label}: the {counted(rows, 'frame')} before it are used, "
            f"{counted(lost, 'frame')} lost",
            DataWarning,
        )
    files.lengths = tuple(ends[i][0] if i in ends else length for i, length in enumerate(files.lengths))


def leaves_the_process(workers: Workers) -> bool:
    """Whether the work is done by other processes."""
    return isinstance(workers, Executor) and not isinstance(workers, ThreadPoolExecutor)


def open_cache(definition: Definition, cache: bool | str | Path) -> Cache | None:
    """The cache that a user asked for, None for none, or where the features cannot be identified."""
    folder = _folder(cache)
    if cache is False:
        return None
    if not definition.cacheable:
        warn_user(
            f"{definition.title}: results are not cached on disk, as the content of a function cannot be identified "
            "(it reads a list, an array, an object or a module of your own); pass numbers as defaults instead",
            CacheWarning,
        )
        return None
    return Cache(folder)


def _folder(cache: Any) -> Path | None:
    """The folder of a cache that was given, None where none was named."""
    if isinstance(cache, bool):
        return None
    meant = not (isinstance(cache, str) and cache.strip().lower() in _NO_FOLDERS)
    if not isinstance(cache, (str, os.PathLike)) or not meant:
        raise ParameterError(
            f"cache={cache!r} is no folder; give True (the user's cache folder), False (none) or a folder"
        )
    return Path(cache).absolute()


def _bound_to_each(definition: Definition, trajectories: Sequence[Trajectory]) -> list[Bound]:
    bounds = bind_all(definition, trajectories)
    if len(bounds) == 1:
        return bounds * len(trajectories)
    by_hash = {bound.labels.hash: bound for bound in bounds}
    by_id: dict[int, Bound] = {}
    for trajectory in trajectories:
        if id(trajectory.topology) not in by_id:
            by_id[id(trajectory.topology)] = by_hash[topology_hash(trajectory.topology)]
    return [by_id[id(trajectory.topology)] for trajectory in trajectories]


def _key(trajectory: Trajectory, bound: Bound) -> str:
    origin = trajectory.origin
    clock = []
    if any(isinstance(part.feature, Function) for part in bound.parts):  # it may read the times
        times = trajectory.times
        clock = [trajectory.dt, "" if times is None else hashlib.sha256(np.ascontiguousarray(times).data).hexdigest()]
    return result_key(trajectory.fingerprint, origin.start, origin.step, trajectory.n_frames, bound.content, *clock)
