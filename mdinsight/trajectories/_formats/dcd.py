"""DCD (CHARMM, NAMD, OpenMM): records of fixed size between markers, in either byte order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mdinsight.trajectories._formats._base import (
    Damage,
    Format,
    Frames,
    Scan,
    box_from_cell,
    not_this_format,
)
from mdinsight.trajectories._formats._records import Coordinates, read_fields, read_records

AKMA = 0.04888821
"""ps in one unit of time of CHARMM."""
_CELL = (4, 48)
"""The unit cell in a frame that has one: behind its record marker, six doubles."""
_MARKED = 1 << 16
"""Frames whose markers are checked at once."""
_LONGEST_TITLE = 1 << 20
_LONGEST_HEAD = 92 + 8 + _LONGEST_TITLE + 12
_NO_AKMA = {
    b"WRITTEN BY LAMMPS": "LAMMPS, which stores its time step in the units of the run",
    b"CPPTRAJ GENERATED DCD": "cpptraj, which stores no time step",
}
"""Titles of writers whose DELTA is no time in CHARMM's unit (LAMMPS src/dump_dcd.cpp, cpptraj Traj_CharmmDcd.cpp)."""


@dataclass(frozen=True)
class _Layout:
    order: str  # "<" or ">"
    head: int  # bytes before the first frame
    n_atoms: int
    cell: int  # bytes of the unit cell with its markers, 0 without
    fourth: bool  # a fourth coordinate of each atom stands behind the three
    step: float | None  # ps between frames
    begin: float  # ps at the first frame
    writer: str  # why the header's time step is not used, empty where it is

    @property
    def record(self) -> int:
        return 4 * self.n_atoms + 8

    @property
    def frame(self) -> int:
        return self.cell + (4 if self.fourth else 3) * self.record

    def begins(self, frames: np.ndarray) -> np.ndarray:
        """Bytes of the file at which the frames begin."""
        return self.head + frames * self.frame

    def markers(self) -> list[tuple[int, int]]:
        """(position in a frame, value) of every record marker."""
        found = [(0, self.cell - 8), (self.cell - 4, self.cell - 8)] if self.cell else []
        for at in range(self.cell, self.frame, self.record):
            found += [(at, 4 * self.n_atoms), (at + self.record - 4, 4 * self.n_atoms)]
        return found


class DCD(Format):
    """DCD with markers of 4 bytes; the number of frames comes from the size of the file, not from its header."""

    name = "DCD"
    suffixes = (".dcd",)

    def scan(self, path: Path) -> Scan:
        size = path.stat().st_size
        with path.open("rb") as handle:
            layout = _header(path, handle.read(_LONGEST_HEAD), self.name)
        if layout is None:
            return Scan(0, 0, damage=Damage("torn", 0, 0, size, None, "its header is not whole"))
        body = size - layout.head
        n_frames = good = body // layout.frame
        for first in range(0, n_frames, _MARKED):
            right = _check(path, layout, first, min(n_frames, first + _MARKED))
            if not right.all():
                good = first + int(np.argmin(right))
                break
        damage = None
        end = layout.head + good * layout.frame
        if good < n_frames:
            damage = Damage("corrupt", good, end, size - end, n_frames - good, "its record markers are not in place")
        elif end < size:
            damage = Damage("torn", good, end, size - end, 1)
        times = None if layout.step is None else layout.begin + layout.step * np.arange(good)
        has_box = False
        if good and layout.cell:
            ends = layout.begins(np.unique([0, good - 1]))
            has_box = bool(_vectors(layout, *read_fields(path, ends, [_CELL])).any(axis=(1, 2)).all())
        note = f"it was written by {layout.writer}, so the time between frames is not known" if layout.writer else ""
        return Scan(good, layout.n_atoms, times, 1e-6, has_box, damage, {"layout": layout}, time_note=note)

    def read(self, path: Path, scan: Scan, frames: range, atoms: np.ndarray | None) -> Frames:
        layout: _Layout = scan.layout["layout"]
        where = Coordinates(layout.cell + 4, layout.record, 4, layout.order + "f4", np.float32(0.1))
        atoms = np.arange(layout.n_atoms) if atoms is None else atoms
        begins = layout.begins(np.arange(frames.start, frames.stop, frames.step))
        found = read_records(path, begins, where, atoms, [_CELL] if scan.has_box else [])
        return Frames(found.xyz, _vectors(layout, found.fields[0]) if scan.has_box else None, found.reach)


def _header(path: Path, data: bytes, name: str) -> _Layout | None:
    """The layout that the header tells, None where the header is torn."""
    start = data[:8]
    if len(start) < 8:
        return None
    orders = [order for order in "<>" if int(np.frombuffer(start, order + "i4")[0]) == 84]
    if not orders or start[4:8] != b"CORD":
        wide = start[:4] in (b"\0\0\0\0", b"\x54\0\0\0") and len(data) > 12 and data[8:12] == b"CORD"
        raise not_this_format(path, name, "its record markers have 8 bytes" if wide else f"it begins with {start!r}")
    order = orders[0]
    if len(data) < 92 + 8:
        return None
    control = np.frombuffer(data[8:88], order + "i4")
    charmm = control[19] != 0
    if control[8] != 0:
        raise not_this_format(
            path, name, f"{control[8]} of its atoms are fixed, which is not read; convert it to one where none is"
        )
    delta = np.frombuffer(data[44:52], order + ("f4" if charmm else "f8"))[0]
    title = int(np.frombuffer(data[92:96], order + "i4")[0])
    at = 92 + 8 + title
    if title < 4 or title > _LONGEST_TITLE:
        raise not_this_format(path, name, "its title record is corrupt")
    if len(data) < at + 12:
        return None
    if [int(np.frombuffer(data[i : i + 4], order + "i4")[0]) for i in (88, at - 4)] != [84, title]:
        raise not_this_format(path, name, "the records of its header do not end with their length")
    first, n_atoms, last = (int(i) for i in np.frombuffer(data[at : at + 12], order + "i4"))
    if first != 4 or last != 4 or n_atoms < 1:
        raise not_this_format(path, name, "its record of the number of atoms is corrupt")
    every = int(control[2]) or 1
    text = data[96 : 92 + 4 + title].upper()
    writer = next((why for name, why in _NO_AKMA.items() if name in text), "")
    known = not writer and np.isfinite(delta) and delta > 0
    known = known and not (delta == 1.0 and every == 1)  # mdtraj and VMD write 1, 1
    step = float(np.float32(delta)) * AKMA * every if known else None
    begin = float(delta) * AKMA * int(control[1]) if known else 0.0
    cell = 56 if charmm and control[10] else 0
    return _Layout(order, at + 12, n_atoms, cell, bool(charmm and control[11]), step, begin, writer)


def _check(path: Path, layout: _Layout, first: int, last: int) -> np.ndarray:
    """Whether all record markers of the frames are in place."""
    markers = layout.markers()
    found = read_fields(path, layout.begins(np.arange(first, last)), [(at, 4) for at, _ in markers])
    right = np.ones(last - first, bool)
    for raw, (_, value) in zip(found, markers, strict=True):
        right &= raw.view(layout.order + "i4")[:, 0] == value
    return right


def _vectors(layout: _Layout, raw: np.ndarray) -> np.ndarray:
    """Box vectors in nm out of the six numbers of CHARMM's unit cell: A, gamma, B, beta, alpha, C."""
    cells: np.ndarray = raw.view(layout.order + "f8").astype(np.float64)
    lengths, angles = cells[:, [0, 2, 5]] / 10.0, cells[:, [4, 3, 1]]
    cosines: np.ndarray = (np.abs(angles) <= 1.0).all(axis=1) & (lengths > 0).all(axis=1)
    angles = np.where(cosines[:, None], 90.0 - np.degrees(np.arcsin(np.clip(angles, -1, 1))), angles)
    vectors = box_from_cell(lengths, angles)
    shape: np.ndarray = ~cosines & ((cells[:, [1, 3, 4]] < 0).any(axis=1) | (cells[:, [1, 3, 4]] > 180).any(axis=1))
    for row in np.flatnonzero(shape):  # CHARMM since version 36: the symmetric matrix of the box
        a, b, c, d, e, f = cells[row] / 10.0
        matrix = np.array([[a, b, d], [b, c, e], [d, e, f]])
        length = np.linalg.norm(matrix, axis=1)
        cos = [matrix[i] @ matrix[j] / (length[i] * length[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
        vectors[row] = box_from_cell(length[None], np.degrees(np.arccos(cos))[None])[0]
    return vectors
