"""``mdinsight.open``: files to a data set, without reading coordinates."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mdtraj

from mdinsight import units
from mdinsight.errors import (
    MdinsightError,
    ParameterError,
    TopologyError,
    TrajectoryError,
)
from mdinsight.parallel import cores, ordered_map
from mdinsight.progress import Progress, check_progress, track
from mdinsight.trajectories._formats import format_of
from mdinsight.trajectories._formats._base import Damage
from mdinsight.trajectories._paths import Entry, is_universe, labels, resolve
from mdinsight.trajectories._pieces import Cut, cut
from mdinsight.trajectories._sources import (
    BROKEN,
    FileSource,
    MemorySource,
    Source,
    UniverseSource,
    topology_of_universe,
)
from mdinsight.trajectories._steps import (
    Part,
    common_step,
    note_continuations,
    note_overrides,
    note_single,
    resampled,
    tell,
)
from mdinsight.trajectories._topology import load_topology, topology_hash
from mdinsight.trajectories._trajectories import Trajectories
from mdinsight.trajectories._trajectory import Trajectory
from mdinsight.words import counted

log = logging.getLogger(__name__)
_FEW = 4
_WORTH_THREADS = 2e-3
"""Seconds that a file must take; one in an index takes less, and threads would wait for each other at each of its reads."""


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
        is ps. Where it overrides another one that a file tells, a warning says so.
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
    check_progress(progress)
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
    parts: list[Part] = []
    for entry, source in zip(entries, _scan(entries, progress), strict=True):
        _check_frames(source, notes)
        if len(entries) > 1:
            _note_topology(entry, source, notes)
        _note_scan(source, step, notes)
        topology = tops.get(entry, source)
        pieces = cut(source.scan.times, _slice(source, start, stop), source.scan.time_error, source.scan.steps)
        parts += _parts(source, topology, pieces, step, notes)
    note_continuations(parts, notes)
    if step is not None:
        note_overrides(parts, step, notes)
    strides = [stride if resample is None else resampled(part, resample, step) for part in parts]
    note_single(parts, strides, f"stride={stride}" if resample is None else f"resample={resample!r}", notes)
    common = common_step(parts, strides, step)
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
        why = "" if scan.damage is None else f": {_told_without_frames(scan.damage)}"
        raise TrajectoryError(f"{name} has no whole frame{why}; leave it out")
    if scan.damage is not None:
        tell(f"{name} is {scan.damage.describe()}", notes)


def _told_without_frames(damage: Damage) -> str:
    detail = f" ({damage.detail})" if damage.detail else ""
    return f"it is {damage.kind} from byte {damage.byte} on{detail}, {counted(damage.lost_bytes, 'byte')}"


def _note_scan(source: Source, step: float | None, notes: list[str]) -> None:
    """Note what the format knows to be odd about the times and the box."""
    scan, name = source.scan, source.path or source.label
    if scan.time_note and step is None:
        notes.append(f"{name}: {scan.time_note}; give dt=")
    if scan.box_note:
        notes.append(f"{name}: {scan.box_note}")


def _note_topology(entry: Entry, source: Source, notes: list[str]) -> None:
    """A pattern may take the topology's file in; that of a trajectory with many frames may well be meant."""
    given = Path(entry.top).expanduser() if isinstance(entry.top, (str, os.PathLike)) else None
    if given is None or not isinstance(entry.item, Path) or source.scan.n_frames > 1 or not given.is_file():
        return
    if entry.item.samefile(given):
        tell(
            f"{entry.item} is the topology (top=) and among the paths, so it is a trajectory of one frame too; "
            "leave it out of the paths if that is not meant",
            notes,
        )


def _slice(source: Source, start: int, stop: int | None) -> range:
    frames = range(source.scan.n_frames)[slice(start, stop)]
    if not len(frames):
        name = source.path or source.label
        raise ParameterError(
            f"{name} has {source.scan.n_frames} frames; start={start}, stop={stop} leaves none of them"
        )
    return frames


def _parts(source: Source, topology: mdtraj.Topology, found: Cut, step: float | None, notes: list[str]) -> list[Part]:
    name = source.path or source.label
    if found.no_clock and step is None:
        tell(f"{name}: all its frames have the same time, so its time step is not known; give dt=", notes)
    if found.repeated:
        which = ", ".join(map(str, found.repeated[:5])) + (", ..." if len(found.repeated) > 5 else "")
        tell(
            f"{name}: {counted(len(found.repeated), 'frame')} with the time of the frame before left out (frame {which})",
            notes,
        )
    if found.breaks:
        also = f" and at {counted(len(found.breaks) - 1, 'more place')}" if len(found.breaks) > 1 else ""
        tell(f"{name}: {found.breaks[0].what}{also}; it is opened as {len(found.pieces)} trajectories", notes)
    if len(found.pieces) == 1:
        return [Part(source, topology, found.pieces[0], source.label)]
    return [
        Part(source, topology, piece, f"{source.label}[{piece.frames.start}:{piece.frames[-1] + 1}]")
        for piece in found.pieces
    ]


def _once(entries: list[Entry], notes: list[str]) -> list[Entry]:
    """The entries without files that are named twice."""
    seen: set[Path] = set()
    kept = []
    for entry in entries:
        if isinstance(entry.item, Path):
            if entry.item.resolve() in seen:
                tell(f"{entry.item} is given twice; it is used once", notes)
                continue
            seen.add(entry.item.resolve())
        kept.append(entry)
    return kept


def _positive(value: Any, name: str) -> int:
    if isinstance(value, bool) or (not isinstance(value, int) and not hasattr(value, "__index__")) or int(value) < 1:
        raise ParameterError(f"{name}={value!r} is no number of frames; give an int of at least 1")
    return int(value)
