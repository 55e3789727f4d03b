"""LAMMPS text dumps: atoms in any order, sorted by id; scaled columns and tilted boxes understood."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np

from mdinsight.errors import CorruptFrameError, FormatError
from mdinsight.trajectories._formats._base import (
    Damage,
    Format,
    Frames,
    Scan,
    direction_note,
    map_bytes,
    not_this_format,
    read_bytes,
    unwrapped,
)

_LENGTH = {"real": 0.1, "metal": 0.1, "nano": 1.0}
_TIME = {"real": 1e-3, "metal": 1.0, "nano": 1e3}
_START = b"ITEM: TIMESTEP"
_BEGIN = re.compile(rb"^(?:ITEM: UNITS\r?\n[^\n]*\n)?ITEM: TIMESTEP", re.MULTILINE)
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
        raw = map_bytes(path).data
        size = len(raw)
        if bytes(raw[: len(_START)]) not in (_START[:size], _START) and not bytes(raw[:64]).startswith(b"ITEM: UNITS"):
            raise not_this_format(path, self.name, f"it begins with {bytes(raw[:20])!r}")
        begins = [match.start() for match in _BEGIN.finditer(raw)]
        units = _item(bytes(raw[: min(size, 4096)]), b"UNITS") or ""
        if units and units not in _LENGTH:
            raise not_this_format(path, self.name, f"its units are {units!r}; read are {', '.join(_LENGTH)}")
        n_atoms, columns, damage = -1, b"", None
        offsets: list[tuple[int, int, int]] = []
        for number, (begin, limit) in enumerate(itertools.pairwise([*begins, size])):
            match = _HEAD.match(raw, begin, limit)
            if match and n_atoms < 0:
                n_atoms, columns = int(match[2]), match[5].strip()
            end, why = _body(match, raw, limit, n_atoms, columns)
            last = number == len(begins) - 1
            if match and end and bytes(raw[end:limit]).strip():  # not a whole frame, or not a frame at all
                offsets.append((begin, match.end(), end))
                number, begin, why = number + 1, end, "its header is not whole"
            if match is None or why:
                lost = max(1, len(begins) - number)
                damage = Damage("torn" if last else "corrupt", number, begin, size - begin, lost, why)
                break
            offsets.append((begin, match.end(), end))
        if not begins:
            damage = Damage("torn", 0, 0, size, 1)
        times = [_item(bytes(raw[begin:body]), b"TIME") for begin, body, _ in offsets]
        known = units in _TIME and offsets and all(value is not None for value in times)
        clock = np.array([float(value) for value in times if value]) * _TIME[units] if known else None
        layout: dict[str, Any] = {
            "offsets": np.array(offsets, np.int64).reshape(-1, 3),
            "columns": columns.decode().split(),
        }
        layout["length"] = _LENGTH.get(units, 0.1)
        periodic = _periodic(bytes(raw[offsets[0][0] : offsets[0][1]])) if offsets else np.zeros(3, bool)
        layout["periodic"] = periodic
        if offsets:
            _positions(layout["columns"], path)
        note = direction_note(periodic) if periodic.any() and not periodic.all() else ""
        return Scan(len(offsets), max(n_atoms, 0), clock, 1e-9, bool(periodic.any()), damage, layout, box_note=note)

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


def _body(match: re.Match[bytes] | None, raw: memoryview, limit: int, n_atoms: int, columns: bytes) -> tuple[int, str]:
    """(byte behind the frame's last line, empty) or (0, why the frame cannot be used)."""
    if match is None:
        return 0, "its header is not whole"
    if int(match[2]) != n_atoms:
        return 0, f"it has {int(match[2])} atoms, the frames before it have {n_atoms}"
    if match[5].strip() != columns:
        return 0, "its columns are not those of the frames before it"
    text = bytes(raw[match.end() : limit])
    lines = text.count(b"\n")
    if lines < n_atoms:
        return 0, f"it has {lines} of {n_atoms} whole lines"
    end = len(text)
    if lines > n_atoms or not text.endswith(b"\n"):
        end = [place.end() for place in itertools.islice(re.finditer(rb"\n", text), n_atoms)][-1]
    return match.end() + end, ""


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
            frame, f"{path}, frame {frame}: its lines cannot be read ({error}); leave it out with stop={frame}"
        ) from error
    if len(words) % width:
        raise CorruptFrameError.at(
            frame, f"{path}, frame {frame}: its lines do not all have {width} columns; leave it out with stop={frame}"
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
