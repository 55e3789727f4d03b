"""LAMMPS text dumps: atoms in any order, sorted by id; scaled columns and tilted boxes understood."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mdinsight.errors import CorruptFrameError, FormatError
from mdinsight.trajectories._formats._base import (
    Damage,
    Format,
    Frames,
    Scan,
    direction_note,
    leave_out,
    not_this_format,
    read_bytes,
    unwrapped,
)
from mdinsight.trajectories._formats._text import Lines

_LENGTH = {"real": 0.1, "metal": 0.1, "nano": 1.0}
_TIME = {"real": 1e-3, "metal": 1.0, "nano": 1e3}
_START = b"ITEM: TIMESTEP"
_UNITS = b"ITEM: UNITS"
_WITH_UNITS = re.compile(rb"ITEM: UNITS\r?\n[^\n]*\nITEM: TIMESTEP")
_MARK = re.compile(rb"^(ITEM: (?:TIMESTEP|UNITS))", re.MULTILINE)
_MOST = 1 << 16
"""Bytes that the lines above the atoms of a frame take at most."""
_HEAD = re.compile(
    rb"(?:ITEM: UNITS\r?\n[^\n]*\n)?ITEM: TIMESTEP\r?\n\s*(\d+)\s*\n"
    rb"(?:ITEM: (?!NUMBER|BOX|ATOMS)[^\n]*\n[^\n]*\n)*ITEM: NUMBER OF ATOMS\r?\n\s*(\d+)\s*\n"
    rb"ITEM: BOX BOUNDS([^\n]*)\n((?:[^\n]*\n){3})ITEM: ATOMS ([^\n]*)\n"
)


class LAMMPSDump(Format):
    """LAMMPS dump; lengths are in Å (units real and metal) unless its UNITS line says ``nano``.

    A time step is known only where ``dump_modify time yes units yes`` wrote it; else give ``dt=``.
    """

    name = "LAMMPS dump"
    suffixes = (".lammpstrj", ".dump")

    def scan(self, path: Path) -> Scan:
        with Lines(path) as lines:
            top = lines.read(0, _MOST)
            if not top.startswith((_START[: lines.size], _UNITS)):
                raise not_this_format(path, self.name, f"it begins with {top[:20]!r}")
            units = _item(top[:4096], b"UNITS") or ""
            if units and units not in _LENGTH:
                raise not_this_format(path, self.name, f"its units are {units!r}; read are {', '.join(_LENGTH)}")
            walk = _Walk(lines)
            walk.run()
            first = lines.read(*walk.offsets[0][:2]) if walk.offsets else b""
        known = units in _TIME and walk.offsets and all(value is not None for value in walk.times)
        clock = np.array([float(value) for value in walk.times if value]) * _TIME[units] if known else None
        periodic = _periodic(first) if first else np.zeros(3, bool)
        layout: dict[str, Any] = {
            "offsets": np.array(walk.offsets, np.int64).reshape(-1, 3),
            "columns": walk.columns.decode().split(),
            "length": _LENGTH.get(units, 0.1),
            "periodic": periodic,
        }
        if walk.offsets:
            _positions(layout["columns"], path)
        note = direction_note(periodic) if periodic.any() and not periodic.all() else ""
        has_box, n_atoms = bool(periodic.any()), max(walk.n_atoms, 0)
        return Scan(len(walk.offsets), n_atoms, clock, 1e-9, has_box, walk.damage, layout, box_note=note)

    def read(self, path: Path, scan: Scan, frames: range, atoms: np.ndarray | None) -> Frames:
        names, scale = scan.layout["columns"], scan.layout["length"]
        columns, scaled = _positions(names, path)
        keep = slice(None) if atoms is None else atoms
        xyz = np.empty((len(frames), scan.n_atoms if atoms is None else len(atoms), 3), np.float32)
        boxes = np.empty((len(frames), 3, 3), np.float32)
        with path.open("rb") as handle:
            for row, frame in enumerate(frames):
                begin, body, end = (int(i) for i in scan.layout["offsets"][frame])
                text = read_bytes(handle.fileno(), begin, end - begin, path)
                origin, vectors = _box(text[: body - begin])
                values = _values(text[body - begin :], names, columns, path, frame)
                if scaled:
                    values = values @ vectors + origin
                xyz[row] = values[keep] * scale
                boxes[row] = vectors * scale
        return Frames(xyz, unwrapped(boxes, scan.layout["periodic"]).astype(np.float32) if scan.has_box else None)


class _Walk:
    """One pass over the lines that open frames, and one over the frames."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.n_atoms, self.columns = -1, b""
        self.offsets: list[tuple[int, int, int]] = []
        self.times: list[str | None] = []
        self.damage: Damage | None = None

    def run(self) -> None:
        size, begins = self.lines.size, self._begins()
        for number, (begin, limit) in enumerate(itertools.pairwise([*begins, size])):
            text = self.lines.read(begin, min(limit, begin + _MOST))
            match = _HEAD.match(text)
            if match and self.n_atoms < 0:
                self.n_atoms, self.columns = int(match[2]), match[5].strip()
            end, why = self._body(match, text, begin, limit)
            bad, place = number, begin
            if match and end:
                self.offsets.append((begin, begin + match.end(), end))
                self.times.append(_item(match[0], b"TIME"))
                if any(block.strip() for _, block in self.lines.blocks(end, limit)):
                    bad, place, why = number + 1, end, "its header is not whole"  # of what stands behind
            if why:
                kind: Literal["torn", "corrupt"] = "torn" if number == len(begins) - 1 else "corrupt"
                self.damage = Damage(kind, bad, place, size - place, max(1, len(begins) - bad), why)
                return
        if not begins:
            self.damage = Damage("torn", 0, 0, size, 1)

    def _begins(self) -> list[int]:
        """Where each frame begins, with the lines of its units where it has them."""
        begins: list[int] = []
        counted = 0
        for start, block in self.lines.blocks():
            for match in _MARK.finditer(block):
                at = start + match.start(1)
                if at < counted:
                    continue
                if match[1] == _UNITS:
                    both = _WITH_UNITS.match(self.lines.read(at, at + _MOST))
                    if both is None:
                        continue
                    counted = at + both.end()
                begins.append(at)
        return begins

    def _body(self, match: re.Match[bytes] | None, text: bytes, begin: int, limit: int) -> tuple[int, str]:
        """(byte behind the frame's last line, empty) or (0, why the frame cannot be used)."""
        if match is None:
            return 0, "its header is not whole"
        if int(match[2]) != self.n_atoms:
            return 0, f"it has {int(match[2])} atoms, the frames before it have {self.n_atoms}"
        if match[5].strip() != self.columns:
            return 0, "its columns are not those of the frames before it"
        whole = begin + len(text) == limit
        body = [(begin + match.end(), text[match.end() :])] if whole else self.lines.blocks(begin + match.end(), limit)
        count, end = 0, begin + match.end()
        for start, block in body:
            found = block.count(b"\n")
            if count + found > self.n_atoms:
                places = itertools.islice(re.finditer(rb"\n", block), self.n_atoms - count)
                return max([end, *(start + place.end() for place in places)]), ""
            count += found
            end = start + block.rfind(b"\n") + 1
        return (end, "") if count == self.n_atoms else (0, f"it has {count} of {self.n_atoms} whole lines")


def _item(text: bytes, name: bytes) -> str | None:
    match = re.search(rb"ITEM: " + name + rb"\r?\n\s*(\S+)", text)
    return match[1].decode() if match else None


def _periodic(head: bytes) -> np.ndarray:
    """Whether each of the three directions is periodic; dumps of old versions do not tell, they are taken to be."""
    match = re.search(rb"BOX BOUNDS([^\n]*)\n", head)
    flags = [word for word in (match[1].split() if match else []) if len(word) == 2 and set(word) <= set(b"pfsm")]
    return np.array([word == b"pp" for word in flags] if len(flags) == 3 else [not flags or b"pp" in flags] * 3)


def _positions(names: list[str], path: Path) -> tuple[list[int], bool]:
    """Which columns hold x, y and z, and whether they are fractions of the box."""
    for suffix, scaled in (("", False), ("u", False), ("s", True), ("su", True)):
        wanted = [axis + suffix for axis in "xyz"]
        if all(name in names for name in wanted):
            return [names.index(name) for name in wanted], scaled
    raise FormatError(f"{path} has the columns {' '.join(names)}; needed are x y z, xu yu zu, xs ys zs or xsu ysu zsu")


def _values(body: bytes, names: list[str], columns: list[int], path: Path, frame: int) -> np.ndarray:
    words = body.split()
    width = len(names)
    try:
        table = np.array([words[column::width] for column in columns]).astype(np.float64).T
        ids = np.array(words[names.index("id") :: width]).astype(np.int64) if "id" in names else None
    except ValueError as error:
        raise CorruptFrameError.at(
            frame, f"{path}, frame {frame}: its lines cannot be read ({error}); {leave_out(frame)}"
        ) from error
    if len(words) % width:
        raise CorruptFrameError.at(
            frame, f"{path}, frame {frame}: its lines do not all have {width} columns; {leave_out(frame)}"
        )
    return table if ids is None else table[np.argsort(ids, kind="stable")]


def _box(head: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Origin (3,) and box vectors (3, 3) as rows, in the file's unit."""
    match = re.search(rb"BOX BOUNDS([^\n]*)\n((?:[^\n]*\n){3})", head)
    if match is None:
        return np.zeros(3), np.zeros((3, 3))
    rows = [[float(word) for word in line.split()] for line in match[2].splitlines()]
    if len(rows[0]) == 4:  # a general triclinic box: its three vectors, then the origin
        table = np.array(rows)
        return table[:, 3], table[:, :3]
    (xlo, xhi), (ylo, yhi), (zlo, zhi) = (row[:2] for row in rows)
    xy, xz, yz = (row[2] if len(row) > 2 else 0.0 for row in rows)
    xlo, xhi = xlo - min(0.0, xy, xz, xy + xz), xhi - max(0.0, xy, xz, xy + xz)
    ylo, yhi = ylo - min(0.0, yz), yhi - max(0.0, yz)
    vectors = np.array([[xhi - xlo, 0, 0], [xy, yhi - ylo, 0], [xz, yz, zhi - zlo]])
    return np.array([xlo, ylo, zlo]), vectors
