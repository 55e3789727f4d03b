"""What is done for a piece of a trajectory, in this process or in another: read, compute, keep, hand on."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mdinsight.errors import CorruptFrameError, NonFiniteError, ParameterError
from mdinsight.features._bound import Bound
from mdinsight.features._cache import Target, read_rows, write_rows
from mdinsight.parallel import Parcel, one_thread
from mdinsight.passes import Piece, Work
from mdinsight.trajectories import Trajectory

_CHUNK_BYTES = 1 << 23
_MOST_FRAMES = 2048


@dataclass(frozen=True)
class FeatureSet:
    """One set of features of one trajectory: how it is computed, and its entry in the cache.

    ``shape`` is that of the whole trajectory; ``entry`` the file that its rows are read from, ``target`` the one that they are
    written to, each None where there is none.
    """

    bound: Bound
    shape: tuple[int, int]
    entry: Path | None = None
    target: Target | None = None


@dataclass(frozen=True)
class Union:
    """Several sets computed together: ``columns`` tells where those of each set stand among all."""

    sets: tuple[int, ...]
    bound: Bound
    columns: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Plan:
    """What a pass does with one trajectory; the same for all its pieces."""

    trajectory: Trajectory
    sets: tuple[FeatureSet, ...]
    union: Union | None
    chunk: int | None = None

    def lean(self) -> Plan:
        """The same without topologies, which are large and only name atoms in errors."""
        light: dict[int, Bound] = {}

        def stripped(bound: Bound) -> Bound:
            if id(bound) not in light:
                light[id(bound)] = ours = copy.copy(bound)
                ours.labels = ours.definition = None  # type: ignore[assignment]
            return light[id(bound)]

        trajectory = copy.copy(self.trajectory)
        trajectory.topology = _Names(trajectory)
        sets = tuple(FeatureSet(stripped(s.bound), s.shape, s.entry, s.target) for s in self.sets)
        union = None if self.union is None else Union(self.union.sets, stripped(self.union.bound), self.union.columns)
        return Plan(trajectory, sets, union, self.chunk)


class _Names:
    """What reading needs of a topology."""

    def __init__(self, trajectory: Trajectory) -> None:
        self.n_atoms = trajectory.n_atoms

    def atom(self, number: int) -> str:
        """How errors call an atom."""
        return f"number {number}"


@dataclass(frozen=True)
class Job:
    """One piece: each work is for a set and comes with the rows that it wants behind the piece's own."""

    plan: Plan | Parcel[Plan]
    piece: Piece
    works: tuple[tuple[int, int, Work], ...]


@dataclass(frozen=True)
class Done:
    """The results of a job's works; for each set the checksums of what was kept; what was wrong with a frame."""

    results: tuple[Any, ...] = ()
    checksums: tuple[Any, ...] = ()
    error: CorruptFrameError | None = None


def run_jobs(jobs: Sequence[Job]) -> list[Done]:
    """Work on several pieces."""
    return [_run(job) for job in jobs]


def run_jobs_elsewhere(jobs: Parcel[Sequence[Job]]) -> list[Done]:
    """The same in another process."""
    with one_thread():
        return run_jobs(jobs.open(keep=False))


def _run(job: Job) -> Done:
    plan = job.plan.open() if isinstance(job.plan, Parcel) else job.plan
    piece = job.piece
    wanted = {number for number, _, _ in job.works}
    wanted.update(i for i, s in enumerate(plan.sets) if s.target is not None)
    try:
        rows = _rows(plan, piece, wanted)
    except CorruptFrameError as error:
        return Done(error=error)
    own = piece.stop - piece.start
    checksums = tuple(
        None if s.target is None else write_rows(s.target, piece.start, rows[i][:own]) for i, s in enumerate(plan.sets)
    )
    results = tuple(work(rows[number][: own + overlap]) for number, overlap, work in job.works)
    return Done(results, checksums)


def _rows(plan: Plan, piece: Piece, wanted: set[int]) -> dict[int, np.ndarray]:
    """The rows of each wanted set: out of the cache, or computed, several sets at once where they are not in it."""
    found: dict[int, np.ndarray] = {}
    for i in wanted:
        one = plan.sets[i]
        if one.entry is not None:
            kept = read_rows(one.entry, one.shape, piece.start, piece.end)
            if kept is not None:
                found[i] = kept
    missing = wanted - set(found)
    union = plan.union
    if union is not None and len(missing & set(union.sets)) > 1:
        values = compute(plan.trajectory, union.bound, piece.start, piece.end, plan.chunk)
        for i, columns in zip(union.sets, union.columns, strict=True):
            if i in missing:
                found[i] = np.take(values, columns, axis=1)  # in the order of what the cache holds
        missing -= set(found)
    for i in missing:
        found[i] = compute(plan.trajectory, plan.sets[i].bound, piece.start, piece.end, plan.chunk)
    return found


def compute(trajectory: Trajectory, bound: Bound, start: int, stop: int, chunk: int | None = None) -> np.ndarray:
    """Features of rows ``start`` to ``stop``, float32, the coordinates read a few frames at a time.

    Raises
    ------
    CorruptFrameError
        If a frame cannot be decoded.
    NonFiniteError
        If a coordinate or a value is NaN or infinite; the message names file and frame.
    """
    size = chunk or max(1, min(_MOST_FRAMES, _CHUNK_BYTES // (12 * len(bound.atoms))))
    out = np.empty((stop - start, bound.n_columns), np.float32)
    for first in range(start, stop, size):
        last = min(first + size, stop)
        _compute(trajectory, bound, first, last, out[first - start : last - start])
    return out


def _compute(trajectory: Trajectory, bound: Bound, start: int, stop: int, values: np.ndarray) -> None:
    whole = len(bound.atoms) == trajectory.n_atoms
    chunk = trajectory.read_chunk(start, stop, None if whole else bound.atoms)
    try:
        bound.compute(chunk.xyz, chunk.box, chunk.time, values)
    except ParameterError as error:
        origin = trajectory.origin
        where = f"{origin.file}, frames {origin.frame(start)} to {origin.frame(stop - 1)}"
        raise ParameterError(f"{where}: {error}") from error.__cause__
    if not np.isfinite(values).all():
        _refuse(trajectory, bound, start, values)


def _refuse(trajectory: Trajectory, bound: Bound, start: int, values: np.ndarray) -> None:
    bad = ~np.isfinite(values)
    row, column = (int(i) for i in np.argwhere(bad)[0])
    origin = trajectory.origin
    raise NonFiniteError(
        f"{origin.file}, frame {origin.frame(start + row)}: {bound.columns[column].name!r} is "
        f"{values[row, column]} ({int(bad.any(axis=1).sum())} frames of this chunk); "
        "look at the coordinates there, or leave those frames out"
    )
