"""``mdinsight.open``: files to a data set, without reading coordinates."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mdtraj

from mdinsight import units
from mdinsight.errors import (
    DataWarning,
    LagError,
    MdinsightError,
    ParameterError,
    TopologyError,
    TrajectoryError,
    warn_user,
)
from mdinsight.parallel import cores, ordered_map
from mdinsight.progress import Progress, track
from mdinsight.trajectories._formats import format_of
from mdinsight.trajectories._paths import Entry, is_universe, labels, resolve
from mdinsight.trajectories._pieces import Cut, Piece, cut
from mdinsight.trajectories._sources import (
    BROKEN,
    FileSource,
    MemorySource,
    Source,
    UniverseSource,
    topology_of_universe,
)
from mdinsight.trajectories._topology import load_topology, topology_hash
from mdinsight.trajectories._trajectories import Trajectories
from mdinsight.trajectories._trajectory import Trajectory
from mdinsight.words import counted

log = logging.getLogger(__name__)
_FEW = 4
_WORTH_THREADS = 2e-3
"""Seconds that a file must take; one in an index takes less, and threads would wait for each other at each of its reads."""


@dataclass(frozen=True)
class _Part:
    """One piece of one source, before the stride is chosen."""

    source: Source
    topology: mdtraj.Topology
    piece: Piece
    label: str

    @property
    def has_clock(self) -> bool:
        """Whether the times of the file mean something."""
        return self.piece.dt is not None or len(self.piece.frames) == 1


def open(
    paths: Any,
    top: Any = None,
    *,
    stride: int = 1,
    start: int = 0,
    stop: int | None = None,
    dt: units.Time | None = None,
    resample: units.Time | None = None,
    progress: Progress = False,
) -> Trajectories:
    """Open trajectories; headers and record markers are scanned, no coordinates are read.

    Parameters
    ----------
    paths
        A path, a glob, an ``mdtraj.Trajectory``, an MDAnalysis ``Universe``, or a (nested) list of those. Files that
        match a glob are sorted naturally.
    top
        A path, an ``mdtraj.Topology``, or a list with one for each entry of ``paths``. Not needed for formats that carry
        their own (PDB, PDBx/mmCIF, mdtraj's HDF5) and for objects in memory.
    stride
        Take every so many frames of each piece.
    start, stop
        Take these frames of each file, as in a slice, before the stride.
    dt
        Time between the frames of a file, before the stride, where the file does not tell it or tells it wrong; a number
        is ps.
    resample
        Take frames of each file so far apart (a multiple of its saving interval), e.g. ``"10 ps"``; for files with
        different saving intervals.
    progress
        Show the scan.

    Returns
    -------
    Trajectories
        One :class:`Trajectory` for each uninterrupted piece: a file with a gap or a step back in time becomes several.
        A frame with the same time as the one before it is left out. What a torn or corrupt file lost is told in a
        warning and in ``.notes``.

    Raises
    ------
    TrajectoryError
        If a file is missing, empty, unreadable or has no whole frame.
    FormatError
        If a format is not known.
    TopologyError
        If a topology is missing, or its number of atoms is not that of the file.
    ParameterError
        If the files have different saving intervals and ``resample`` is not given.
    LagError
        If ``resample`` is no multiple of a saving interval.

    Notes
    -----
    Read are XTC, TRR, DCD, Amber NetCDF, mdtraj's HDF5 (.h5), H5MD (.h5md), LAMMPS dumps, PDB and PDBx/mmCIF. Lengths of a
    LAMMPS dump are Å (units real, metal) unless it says otherwise in a UNITS line, and its time step is known only where
    ``dump_modify time yes units yes`` wrote it. PDB, PDBx/mmCIF and the DCD of mdtraj, VMD, cpptraj and LAMMPS (whose
    time step is in the units of the run) have no times either: give ``dt=``. Where a box is periodic in some directions
    only (LAMMPS ``BOX BOUNDS pp pp ff``, H5MD's ``boundary``), its vectors in the others are made so long (at least
    1000 nm) that nothing is wrapped there.
    """
    stride = _positive(stride, "stride")
    for name, value in (("start", start), ("stop", stop)):
        if isinstance(value, bool) or not (hasattr(value, "__index__") or (name == "stop" and value is None)):
            raise ParameterError(f"{name}={value!r} is no frame number; give an int")
    step = None if dt is None else units.time(dt, "dt")
    if step is not None and not step > 0:
        raise ParameterError(f"dt={dt!r} is not positive; give the time between frames, e.g. '2 ps'")
    if resample is not None and not 0 < units.time(resample, "resample") < math.inf:
        raise ParameterError(f"resample={resample!r} is no positive time; give the time between frames, e.g. '10 ps'")
    if resample is not None and stride != 1:
        raise ParameterError(f"stride={stride} and resample={resample!r} both choose frames; give one of them")
    notes: list[str] = []
    entries = _once(resolve(paths, top), notes)
    tops = _Topologies()
    parts: list[_Part] = []
    for entry, source in zip(entries, _scan(entries, progress), strict=True):
        _check_frames(source, notes)
        _note_scan(source, step, notes)
        topology = tops.get(entry, source)
        pieces = cut(source.scan.times, _slice(source, start, stop), source.scan.time_error, source.scan.steps)
        parts += _parts(source, topology, pieces, step, notes)
    _note_continuations(parts, notes)
    strides = [stride if resample is None else _resampled(part, resample, step) for part in parts]
    common = _common_step(parts, strides, step)
    trajectories = [
        Trajectory(
            part.source,
            part.topology,
            part.piece.frames[::every],
            common,
            part.label,
            trust_times=step is None and part.has_clock,
        )
        for part, every in zip(parts, strides, strict=True)
    ]
    result = Trajectories(trajectories, notes)
    log.info("opened %d trajectories, %d frames", len(result), result.n_frames)
    return result


class _Topologies:
    """Topologies already read, so that equal ones are one object."""

    def __init__(self) -> None:
        self._by_source: dict[Any, mdtraj.Topology] = {}
        self._distinct: list[mdtraj.Topology] = []
        self._by_hash: dict[str, mdtraj.Topology] = {}

    def get(self, entry: Entry, source: Source) -> mdtraj.Topology:
        key = entry.top if isinstance(entry.top, (str, Path)) else id(entry.top)
        if entry.top is None:
            topology = self._shared(self._own(entry, source))
        elif key in self._by_source:
            topology = self._by_source[key]
        else:
            topology = self._by_source[key] = self._shared(load_topology(entry.top))
        if topology.n_atoms != source.scan.n_atoms:
            name = entry.top if isinstance(entry.top, (str, Path)) else "the topology"
            file = source.path or source.label
            raise TopologyError(
                f"{file} has {source.scan.n_atoms} atoms, {name} has {topology.n_atoms}; "
                f"give the topology of the atoms that were saved"
            )
        return topology

    def _own(self, entry: Entry, source: Source) -> mdtraj.Topology:
        if isinstance(entry.item, mdtraj.Trajectory):
            return entry.item.topology
        if isinstance(source, UniverseSource):
            return topology_of_universe(entry.item)
        topology = format_of(entry.item).topology(entry.item)
        if topology is None:
            raise TopologyError(
                f"{entry.item} ({source.kind}) carries no topology; give its topology file, e.g. a PDB (top=, --top)"
            )
        return topology

    def _shared(self, topology: mdtraj.Topology) -> mdtraj.Topology:
        self._distinct.append(topology)
        if len(self._distinct) == 1:  # most often the only one, so its hash is not needed
            return topology
        self._by_hash.setdefault(topology_hash(self._distinct[0]), self._distinct[0])
        return self._by_hash.setdefault(topology_hash(topology), topology)


def _scan(entries: Sequence[Entry], progress: Progress) -> list[Source]:
    names = iter(labels([entry.item for entry in entries if isinstance(entry.item, Path)]))
    named = [
        (entry.item, next(names) if isinstance(entry.item, Path) else f"object {i}") for i, entry in enumerate(entries)
    ]
    return list(track(_each_scanned(named), progress, total=len(named), desc="opening"))


def _each_scanned(named: list[tuple[Any, str]]) -> Iterator[Source]:
    """In threads where there are several files left after those that took no longer than threads would."""
    for number, item in enumerate(named):
        start = time.perf_counter()
        yield _scan_one(item)
        if time.perf_counter() - start > _WORTH_THREADS and len(named) - number > _FEW and cores() > 1:
            yield from ordered_map(_scan_one, named[number + 1 :])
            return


def _scan_one(item_and_label: tuple[Any, str]) -> Source:
    item, label = item_and_label
    if isinstance(item, mdtraj.Trajectory):
        return MemorySource(item, label)
    if is_universe(item):
        return UniverseSource(item, label)
    kind = format_of(item)
    try:
        return FileSource(item, kind, label)
    except MdinsightError:
        raise
    except OSError as error:
        raise TrajectoryError(f"{item} cannot be read: {error.strerror or error}") from error
    except BROKEN as error:  # the bytes of a corrupt header can mean anything
        why = f"its header is corrupt ({type(error).__name__}: {error})"
        raise TrajectoryError(f"{item} cannot be read as {kind.name}: {why}; leave it out") from error


def _check_frames(source: Source, notes: list[str]) -> None:
    """Refuse a source without frames; tell what a damaged one lost."""
    scan, name = source.scan, source.path or source.label
    if scan.n_frames == 0:
        why = f": it is {scan.damage.describe()}" if scan.damage else ""
        raise TrajectoryError(f"{name} has no whole frame{why}; leave it out")
    if scan.damage is not None:
        _tell(f"{name} is {scan.damage.describe()}", notes)


def _note_scan(source: Source, step: float | None, notes: list[str]) -> None:
    """Note what the format knows to be odd about the times and the box."""
    scan, name = source.scan, source.path or source.label
    if scan.time_note and step is None:
        notes.append(f"{name}: {scan.time_note}; give dt=")
    if scan.box_note:
        notes.append(f"{name}: {scan.box_note}")


def _slice(source: Source, start: int, stop: int | None) -> range:
    frames = range(source.scan.n_frames)[slice(start, stop)]
    if not len(frames):
        name = source.path or source.label
        raise ParameterError(
            f"{name} has {source.scan.n_frames} frames; start={start}, stop={stop} leaves none of them"
        )
    return frames


def _parts(source: Source, topology: mdtraj.Topology, found: Cut, step: float | None, notes: list[str]) -> list[_Part]:
    name = source.path or source.label
    if found.no_clock and step is None:
        _tell(f"{name}: all its frames have the same time, so its time step is not known; give dt=", notes)
    if found.repeated:
        which = ", ".join(map(str, found.repeated[:5])) + (", ..." if len(found.repeated) > 5 else "")
        _tell(
            f"{name}: {counted(len(found.repeated), 'frame')} with the time of the frame before left out (frame {which})",
            notes,
        )
    if found.breaks:
        also = f" and at {counted(len(found.breaks) - 1, 'more place')}" if len(found.breaks) > 1 else ""
        _tell(f"{name}: {found.breaks[0].what}{also}; it is opened as {len(found.pieces)} trajectories", notes)
    if len(found.pieces) == 1:
        return [_Part(source, topology, found.pieces[0], source.label)]
    return [
        _Part(source, topology, piece, f"{source.label}[{piece.frames.start}:{piece.frames[-1] + 1}]")
        for piece in found.pieces
    ]


def _resampled(part: _Part, resample: Any, step: float | None) -> int:
    """The stride that brings a piece to the interval asked for."""
    wanted = units.time(resample, "resample")
    if len(part.piece.frames) == 1:
        return 1
    own = step if step is not None else part.piece.dt
    if own is None:
        raise LagError(f"resample={resample!r} needs the time step of {part.label}, which is not known; give dt=")
    every = round(wanted / own)
    if every < 1 or abs(wanted / own - every) > 1e-3 * every:
        raise LagError(
            f"resample={resample!r} is no multiple of the {units.format_time(own)} between the frames of {part.label}; "
            f"the nearest is {units.format_time(max(1, every) * own)}"
        )
    return every


def _common_step(parts: list[_Part], strides: list[int], step: float | None) -> float | None:
    """The time between rows, the same for all.

    Raises
    ------
    ParameterError
        If two pieces have different ones.
    """
    if step is not None:
        return step * max(strides)
    many = [(part, every) for part, every in zip(parts, strides, strict=True) if len(part.piece.frames) > 1]
    if not many:
        return None
    first, first_stride = max(many, key=lambda pair: len(pair[0].piece.frames))
    reference = None if first.piece.dt is None else first.piece.dt * first_stride
    for part, every in many:
        own = None if part.piece.dt is None else part.piece.dt * every
        if own is None and reference is None:
            continue
        if own is None or reference is None:
            known, unknown = (first, part) if own is None else (part, first)
            raise ParameterError(
                f"{known.label} has a time step and {unknown.label} has none; give dt=, or open them apart"
            )
        slack = (part.piece.slack + first.piece.slack) * every
        if abs(own - reference) > 1e-3 * reference + slack:
            raise ParameterError(
                f"{first.label} is saved every {units.format_time(reference, 6)}, "
                f"{part.label} every {units.format_time(own, 6)}; give resample= with a multiple of both, or open them apart"
            )
    return reference


def _note_continuations(parts: list[_Part], notes: list[str]) -> None:
    """Tell where a file begins with the very time at which the one before it ends."""
    found = []
    for left, right in itertools.pairwise(parts):
        before, after = left.source.scan.times, right.source.scan.times
        if left.source is right.source or left.topology is not right.topology or before is None or after is None:
            continue
        last, first = before[left.piece.frames[-1]], after[right.piece.frames[0]]
        if len(left.piece.frames) > 1 and last == first and first > before[left.piece.frames[0]]:
            found.append(right.label)
    if found:
        some = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        notes.append(
            f"{some}: begins at the time at which the file before it ends; if it continues that one, a frame counts twice"
        )


def _once(entries: list[Entry], notes: list[str]) -> list[Entry]:
    """The entries without files that are named twice."""
    seen: set[Path] = set()
    kept = []
    for entry in entries:
        if isinstance(entry.item, Path):
            if entry.item.resolve() in seen:
                _tell(f"{entry.item} is given twice; it is used once", notes)
                continue
            seen.add(entry.item.resolve())
        kept.append(entry)
    return kept


def _positive(value: Any, name: str) -> int:
    if isinstance(value, bool) or (not isinstance(value, int) and not hasattr(value, "__index__")) or int(value) < 1:
        raise ParameterError(f"{name}={value!r} is no number of frames; give an int of at least 1")
    return int(value)


def _tell(text: str, notes: list[str]) -> None:
    notes.append(text)
    warn_user(text, DataWarning)
