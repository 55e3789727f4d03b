"""Where the frames of a trajectory come from: a file, or an object in memory."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import mdtraj
import numpy as np

from mdinsight.checksums import identity
from mdinsight.errors import CorruptFrameError, TopologyError, TrajectoryError
from mdinsight.trajectories._formats import Format, Frames, Scan
from mdinsight.trajectories._formats._base import box_from_cell, leave_out
from mdinsight.trajectories._memory import taken

_BLOCKS, _BLOCK = 64, 1 << 12
_VOLATILE = 32
"""Bytes at the beginning of a file in which DCD and NetCDF count their frames, anew with each that is appended."""
BROKEN = (OSError, ValueError, LookupError, ArithmeticError, RuntimeError, MemoryError, struct.error)
"""What a reader may raise on bytes that make no sense."""


class Source(Protocol):
    """Something that frames can be read from, by several threads at once."""

    label: str
    scan: Scan

    @property
    def path(self) -> Path | None:
        """The file, None for an object in memory."""

    @property
    def kind(self) -> str:
        """The name of the format."""

    @property
    def fingerprint(self) -> str:
        """Identity of the content."""

    def read(self, frames: range, atoms: np.ndarray | None) -> Frames:
        """Coordinates of the frames; atoms are increasing indices, or None for all."""


class FileSource:
    """A file in one of the formats."""

    def __init__(self, path: Path, kind: Format, label: str) -> None:
        self.path: Path | None = path
        self.label, self.kind = label, kind.name
        self._format, self._path = kind, path.absolute()  # the working folder may be another one when frames are read
        self._opened_by = _process()
        self._opened = self._seen = _stamp(path)
        self.scan = kind.scan(path)
        self._sample = _sampled(path, self._opened.size)

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the file's size, its time of change, and 64 blocks of 4 kB spread evenly over it.

        A change between the blocks is not seen if the size stays and the time of change is set back.
        """
        return hashlib.sha256(f"{self._opened.size} {self._opened.changed} {self._sample}".encode()).hexdigest()

    def read(self, frames: range, atoms: np.ndarray | None) -> Frames:
        """Coordinates of the frames.

        Raises
        ------
        CorruptFrameError
            If a frame cannot be decoded.
        TrajectoryError
            If the file cannot be read, or was changed since it was opened.
        """
        try:
            self._check_same()
            return self._format.read(self._path, self.scan, frames, atoms)
        except FileNotFoundError:
            raise TrajectoryError(self._gone()) from None
        except MemoryError:
            raise
        except CorruptFrameError:
            self._check_same()
            raise
        except BROKEN as error:  # TrajectoryError is one of them
            system = next((e for e in (error, error.__cause__) if isinstance(e, OSError) and e.errno is not None), None)
            if system is not None:
                raise TrajectoryError(f"{self.path} cannot be read: {system.strerror or system}") from error
            self._check_same()
            frame = self._first_corrupt(frames, atoms)
            text = f"{self.path}, frame {frame}: it is corrupt ({error}); {leave_out(frame)}"
            raise CorruptFrameError.at(frame, text) from error

    def _gone(self) -> str:
        if self._opened_by == _process():
            return f"{self.path} was there when it was opened and is gone now"
        return (
            f"{self._path} was not found by the worker on {socket.gethostname()}; files must have the same path there"
        )

    def _first_corrupt(self, frames: range, atoms: np.ndarray | None) -> int:
        """The first frame that cannot be read, by halving."""
        good, bad = 0, len(frames)  # so many from the first on can, cannot be read
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                self._format.read(self._path, self.scan, frames[good:middle], atoms)
                good = middle
            except BROKEN:
                bad = middle
        return frames[bad - 1]

    def _check_same(self) -> None:
        """Refuse a file that was replaced; frames may have been appended.

        Raises
        ------
        TrajectoryError
            If it was changed.
        """
        now = _stamp(self._path)
        if now == self._seen:
            return
        if now.size < self._opened.size or _sampled(self._path, self._opened.size) != self._sample:
            raise TrajectoryError(f"{self.path} was changed since it was opened; open it again")
        self._seen = now


class MemorySource:
    """An ``mdtraj.Trajectory``, held as it is."""

    path: Path | None = None
    kind = "mdtraj.Trajectory"

    def __init__(self, trajectory: mdtraj.Trajectory, label: str) -> None:
        self.label = label
        self._xyz = trajectory.xyz
        lengths, angles = trajectory.unitcell_lengths, trajectory.unitcell_angles
        self._box = None if lengths is None or angles is None else box_from_cell(lengths, angles)
        times = None if trajectory.time is None else np.asarray(trajectory.time, np.float64)
        has_box = self._box is not None and bool(self._box.any())
        error = 2.0**-24 if np.asarray(trajectory.time).dtype.itemsize == 4 else 1e-12
        counted = times is not None and len(times) > 1 and np.array_equal(times, np.arange(len(times)))
        note = "its times are 0, 1, 2, ... ps, which mdtraj makes up for files without times" if counted else ""
        self.scan = Scan(len(self._xyz), self._xyz.shape[1], times, error, has_box, time_note=note)

    @property
    def fingerprint(self) -> str:
        """Identity of the coordinates and the box, as they are now: mdtraj superposes and centers in place."""
        return identity(self._xyz) if self._box is None else identity(self._xyz, self._box)

    def read(self, frames: range, atoms: np.ndarray | None) -> Frames:
        """Coordinates of the frames; always a copy."""
        xyz, reach = taken(self._xyz, frames, atoms)
        box = None
        if self._box is not None and self.scan.has_box:
            box = self._box[frames.start : frames.stop : frames.step].copy()
        return Frames(xyz, box, reach)


class UniverseSource:
    """An MDAnalysis ``Universe``: read through copies of its own reader, with its own transformations; Å to nm."""

    kind = "MDAnalysis.Universe"

    def __init__(self, universe: Any, label: str) -> None:
        self.label = label
        reader = universe.trajectory
        self._reader = reader
        name = getattr(reader, "filename", None)
        self.path: Path | None = Path(name) if isinstance(name, (str, os.PathLike)) and Path(name).is_file() else None
        box = reader.ts.dimensions
        n_frames = len(reader)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dt = float(reader.dt) if n_frames > 1 else None
        if any("no dt information" in str(warning.message) for warning in caught):
            dt = None
        times = None if dt is None else float(reader.ts.time) + dt * (np.arange(n_frames) - reader.ts.frame)
        self.scan = Scan(n_frames, len(universe.atoms), times, 2.0**-24, box is not None and bool(np.all(box[:3] > 0)))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the first, the middle and the last frame, and of the file's size and time of change."""
        n_frames = self.scan.n_frames
        digest = hashlib.sha256(f"{n_frames} {self.path} {_stamp(self.path)[:2] if self.path else ''}".encode())
        for frame in sorted({0, n_frames // 2, n_frames - 1}) if self.path else range(n_frames):
            digest.update(self.read(range(frame, frame + 1), None).xyz.tobytes())
        return digest.hexdigest()

    def read(self, frames: range, atoms: np.ndarray | None) -> Frames:
        """Coordinates of the frames.

        Raises
        ------
        TrajectoryError
            If the times of the frames are not as evenly spaced as MDAnalysis says.
        """
        if hasattr(self._reader, "coordinate_array"):
            return self._from_memory(frames, atoms)
        n_atoms = self.scan.n_atoms if atoms is None else len(atoms)
        xyz = np.empty((len(frames), n_atoms, 3), np.float32)
        boxes = np.zeros((len(frames), 3, 3), np.float32)
        times = np.empty(len(frames))
        reader = self._reader.copy()
        try:
            for row, step in enumerate(reader[frames.start : frames.stop : frames.step]):
                positions = step.positions if atoms is None else step.positions[atoms]
                xyz[row] = positions * np.float32(0.1)
                times[row] = step.time
                if self.scan.has_box:
                    boxes[row] = step.triclinic_dimensions * np.float32(0.1)
        finally:
            reader.close()
        self._check_times(times, frames)
        return Frames(xyz, boxes if self.scan.has_box else None)

    def _from_memory(self, frames: range, atoms: np.ndarray | None) -> Frames:
        """Out of a MemoryReader, whose copy would copy all of its frames."""
        from MDAnalysis.lib.mdamath import triclinic_vectors

        order = self._reader.stored_order
        xyz = np.transpose(self._reader.coordinate_array, [order.index(axis) for axis in "fac"])
        rows = slice(frames.start, frames.stop, frames.step)
        xyz = (xyz[rows] if atoms is None else xyz[rows][:, atoms]) * np.float32(0.1)
        if not self.scan.has_box:
            return Frames(xyz.astype(np.float32))
        cells = np.broadcast_to(self._reader.dimensions_array, (self.scan.n_frames, 6))[rows]
        return Frames(xyz.astype(np.float32), np.array([triclinic_vectors(cell) for cell in cells]) * np.float32(0.1))

    def _check_times(self, times: np.ndarray, frames: range) -> None:
        if self.scan.times is None:
            return
        expected = self.scan.times[frames.start : frames.stop : frames.step]
        step = float(self.scan.times[1] - self.scan.times[0])
        wrong = np.abs(times - expected) > 0.01 * abs(step) + 4 * 2.0**-24 * np.abs(times) + 1e-5 * np.abs(expected)
        if wrong.any():
            row = int(np.argmax(wrong))
            file = f"mdi.open({str(self.path)!r}, top=...)" if self.path else "the pieces one by one"
            raise TrajectoryError(
                f"{self.label}, frame {frames[row]}: its time is {times[row]:g} ps, evenly spaced frames would "
                f"have {expected[row]:g}; open {file}, which cuts at gaps in time"
            )


def topology_of_universe(universe: Any) -> mdtraj.Topology:
    """An mdtraj topology with the names, elements, residues, segments and bonds of a Universe.

    Raises
    ------
    TopologyError
        If its atoms have no names.
    """
    atoms = universe.atoms
    if not hasattr(atoms, "names"):
        raise TopologyError("the Universe has no atom names; give top=")
    elements = atoms.elements if hasattr(atoms, "elements") else [""] * len(atoms)
    topology = mdtraj.Topology()
    chain = residue = None
    last_chain = last_residue = -1
    for atom, symbol in zip(atoms, elements, strict=True):
        if atom.segindex != last_chain or chain is None:
            chain, last_chain = topology.add_chain(), atom.segindex
        if atom.resindex != last_residue or residue is None:
            segment = atom.segid if hasattr(atom, "segid") else ""
            residue = topology.add_residue(getattr(atom, "resname", "UNK"), chain, int(atom.resid), segment)
            last_residue = atom.resindex
        topology.add_atom(atom.name, _element(str(symbol), atom.name), residue)
    if hasattr(universe, "bonds") and len(universe.bonds):
        made = list(topology.atoms)
        for first, second in universe.bonds.indices:
            topology.add_bond(made[first], made[second])
    else:
        topology.create_standard_bonds()
    return topology


def _element(symbol: str, name: str) -> Any:
    table = mdtraj.element
    for guess in (symbol, name.lstrip("0123456789")[:1]):
        try:
            return table.get_by_symbol(guess.capitalize())
        except KeyError:
            continue
    return table.virtual


def _process() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


class _Stamp(NamedTuple):
    size: int
    changed: int
    inode: int


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return _Stamp(status.st_size, status.st_mtime_ns, status.st_ino)


def _sampled(path: Path, size: int) -> str:
    """Identity of blocks spread evenly over the first ``size`` bytes, the first and the last among them."""
    begins = np.unique(np.linspace(_VOLATILE, max(_VOLATILE, size - _BLOCK), _BLOCKS).astype(np.int64))
    with path.open("rb", buffering=0) as handle:
        blocks = [os.pread(handle.fileno(), min(_BLOCK, max(0, size - begin)), begin) for begin in begins.tolist()]
    return identity(np.frombuffer(b"".join(blocks), np.uint8))
