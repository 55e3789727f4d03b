"""Amber NetCDF: classic NetCDF (versions 1, 2, 5) with fixed records; NetCDF-4 is read as the HDF5 that it is."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from mdinsight.errors import TrajectoryError
from mdinsight.trajectories._formats._base import (
    SINGLE,
    Damage,
    Format,
    Frames,
    Scan,
    box_from_cell,
    not_this_format,
)
from mdinsight.trajectories._formats._h5 import read_atoms, together
from mdinsight.trajectories._formats._records import Coordinates, read_fields, read_records

_TYPES = {1: "i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8", 7: "u1", 8: ">u2", 9: ">u4", 10: ">i8", 11: ">u8"}
_WINDOW = 8
_TOO_LARGE = (1 << 31) - 4
"""From so many bytes on the size of a variable does not fit into its place in the header."""
_CELL = ("cell_lengths", "cell_angles")


@dataclass
class _Variable:
    dims: tuple[int, ...]
    kind: str
    begin: int
    size: int
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Bytes of one value."""
        return np.dtype(self.kind).itemsize


class AmberNetCDF(Format):
    """Amber NetCDF trajectories (coordinates in Å, times in ps)."""

    name = "Amber NetCDF"
    suffixes = (".nc", ".ncdf")

    def scan(self, path: Path) -> Scan:
        with path.open("rb") as handle:
            magic = handle.read(4)
            if magic == b"\x89HDF":
                return _scan4(path, self.name)
            if magic[:3] != b"CDF" or magic[3:] not in (b"\x01", b"\x02", b"\x05"):
                raise not_this_format(path, self.name, f"it begins with {magic!r}")
            try:
                header = _Header(handle, magic[3])
            except (struct.error, EOFError):
                return Scan(0, 0, damage=Damage("torn", 0, 0, path.stat().st_size, None, "its header is not whole"))
        return _scan3(path, header, self.name)

    def read(self, path: Path, scan: Scan, frames: range, atoms: np.ndarray | None) -> Frames:
        if "record" not in scan.layout:
            return _read4(path, scan, frames, atoms)
        layout, coordinates = scan.layout, scan.layout["coordinates"]
        width = coordinates.width
        where = Coordinates(0, width, 3 * width, coordinates.kind, layout["scale"])
        begins = coordinates.begin + layout["record"] * np.arange(frames.start, frames.stop, frames.step)
        cells = [layout[name] for name in _CELL] if scan.has_box else []
        fields = [(cell.begin - coordinates.begin, 3 * cell.width) for cell in cells]
        atoms = np.arange(scan.n_atoms) if atoms is None else atoms
        found = read_records(path, begins, where, atoms, fields)
        numbers = [row.view(cell.kind) for row, cell in zip(found.fields, cells, strict=True)]
        return Frames(found.xyz, _boxes(scan, *numbers) if scan.has_box else None, found.reach)


class _Header:
    """The header of a classic NetCDF file: dimensions and variables, with where their data begin."""

    def __init__(self, handle: BinaryIO, version: int) -> None:
        self.handle = handle
        self.size = os.fstat(handle.fileno()).st_size
        self.types = _TYPES if version == 5 else {code: kind for code, kind in _TYPES.items() if code <= 6}
        self.count = ">q" if version == 5 else ">i"
        self.offset = ">i" if version == 1 else ">q"
        self.n_records = self._number()
        if self.n_records < -1:
            raise ValueError(f"it states {self.n_records} frames")
        self.dims = [(self._name(), self._number()) for _ in range(self._list(10))]
        self.attributes = self._attributes()
        self.variables = {}
        for _ in range(self._list(11)):
            name = self._name()
            dims = tuple(self._number() for _ in range(self._number()))
            attributes = self._attributes()
            kind = self.types[self._unpack(">i")]
            size, begin = self._number(), self._unpack(self.offset)
            self.variables[name] = _Variable(dims, kind, begin, size, attributes)
        self.end = handle.tell()

    def _bytes(self, count: int) -> bytes:
        if not 0 <= count <= self.size - self.handle.tell():
            raise EOFError
        return self.handle.read(count)

    def _unpack(self, kind: str) -> int:
        return struct.unpack(kind, self._bytes(struct.calcsize(kind)))[0]

    def _number(self) -> int:
        return self._unpack(self.count)

    def _list(self, tag: int) -> int:
        found, length = self._unpack(">i"), self._number()
        if length < 0 or found not in (0, tag) or (length and not found):
            raise ValueError(f"a list of {length} begins with {found} where {tag} should stand")
        return length

    def _name(self) -> str:
        length = self._number()
        return self._bytes((length + 3) // 4 * 4)[:length].decode("utf-8", "replace")

    def _attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(self._list(12)):
            name = self._name()
            kind = np.dtype(self.types[self._unpack(">i")])
            count = self._number()
            raw = self._bytes((count * kind.itemsize + 3) // 4 * 4)[: count * kind.itemsize]
            found[name] = raw.decode("latin1") if kind.kind == "S" else np.frombuffer(raw, kind)
        return found

    def fixed_end(self) -> int:
        """Byte after the header and the variables that have no value for each frame."""
        ends = [
            v.begin + v.width * math.prod(self.dims[d][1] for d in v.dims)
            for v in self.variables.values()
            if not self.is_record(v)
        ]
        return (max([self.end, *ends]) + 3) // 4 * 4

    def is_record(self, variable: _Variable) -> bool:
        """Whether the variable has a value for each frame."""
        return bool(variable.dims) and self.dims[variable.dims[0]][1] == 0


def _scan3(path: Path, header: _Header, name: str) -> Scan:
    records = {key: v for key, v in header.variables.items() if header.is_record(v)}
    if "coordinates" not in records:
        raise not_this_format(path, name, "it has no coordinates for each frame")
    shapes = {key: tuple(header.dims[dim][1] for dim in v.dims[1:]) for key, v in records.items()}
    coordinates = records["coordinates"]
    if len(shapes["coordinates"]) != 2 or shapes["coordinates"][1] != 3 or coordinates.kind not in (">f4", ">f8"):
        why = f"its coordinates are {coordinates.kind} of shape {shapes['coordinates']}, not float of (atoms, 3)"
        raise not_this_format(path, name, why)
    n_atoms = shapes["coordinates"][0]
    begin, record = _tiled(path, header, records, shapes, name)
    size = path.stat().st_size
    n_frames, damage = _count(header.n_records, begin, record, size)
    if damage is not None and begin != header.fixed_end():  # the byte is wrong rather than the file torn
        why = f"its header is corrupt: the first frame begins at byte {begin} instead of {header.fixed_end()}"
        raise not_this_format(path, name, why)
    layout: dict[str, object] = {"record": record, "coordinates": coordinates}
    if n_frames and all(key in records and shapes[key] == (3,) for key in _CELL):
        layout |= {key: records[key] for key in _CELL}
    layout |= _scales({key: records[key].attributes for key in ("coordinates", *_CELL) if key in layout})
    times = None
    if "time" in records and shapes["time"] == () and n_frames:
        time = records["time"]
        times = _column(path, time, record, np.arange(n_frames), 1)[:, 0] * _time_scale(time.attributes)
        mad = _first_mad(times)
        if mad is not None:  # bytes are missing or too many in the record before, if its time stands ahead of them
            n_frames = mad - 1 if mad and time.begin <= coordinates.begin else mad
            times, end = times[:n_frames], begin + n_frames * record
            detail = "the times from there on make no sense"
            damage = Damage("corrupt", n_frames, end, size - end, max(1, round((size - end) / record)), detail)
    has_box = False
    if n_frames and "cell_lengths" in layout:
        ends = np.unique([0, n_frames - 1])
        has_box = bool((_column(path, records["cell_lengths"], record, ends, 3) > 0).all())
    half = [key for key in _CELL if key in records] if "cell_lengths" not in layout else []
    note = f"it has {' and '.join(half)} that make no box, so it is read without" if half and n_frames else ""
    return Scan(n_frames, n_atoms, times, SINGLE, has_box, damage, layout, box_note=note)


def _column(path: Path, variable: _Variable, record: int, frames: np.ndarray, count: int) -> np.ndarray:
    """The first values of a variable in each of the frames, float64 of shape (n, count)."""
    raw = read_fields(path, variable.begin + record * frames, [(0, count * variable.width)])[0]
    return raw.view(variable.kind).astype(np.float64)


def _tiled(
    path: Path, header: _Header, records: dict[str, _Variable], shapes: dict[str, tuple[int, ...]], name: str
) -> tuple[int, int]:
    """Where the records begin, and the bytes of one; the variables must fill it without gap or overlap.

    Raises
    ------
    FormatError
        If they do not: then a number of the header is not what was written.
    """
    first = at = min(v.begin for v in records.values())
    for key, variable in sorted(records.items(), key=lambda item: item[1].begin):
        size = (variable.width * math.prod(shapes[key]) + 3) // 4 * 4
        if variable.begin != at or (variable.size != size and size < _TOO_LARGE):
            why = f"its header is corrupt: {key} has {variable.size} bytes from byte {variable.begin} on"
            raise not_this_format(
                path, name, f"{why}, its dimensions and what stands before it make that {size} from {at}"
            )
        at += size
    for key, variable in header.variables.items():
        if variable.begin < header.end or (key not in records and variable.begin > first):
            raise not_this_format(path, name, f"its header is corrupt: {key} cannot begin at byte {variable.begin}")
    return first, at - first


def _count(stated: int, begin: int, record: int, size: int) -> tuple[int, Damage | None]:
    """Whole frames, and what is lost; ``stated`` is the number in the header, -1 or 0 where it was never written."""
    whole, rest = divmod(max(0, size - begin), record)
    n_frames = whole if stated <= 0 else min(whole, stated)
    end = begin + n_frames * record
    if stated > whole:
        return n_frames, Damage("torn", whole, end, size - end, stated - whole)
    if stated <= 0 < rest:
        return n_frames, Damage("torn", whole, end, rest, 1)
    if size > end:
        detail = "its header does not count what follows"
        return n_frames, Damage("torn", n_frames, end, size - end, max(1, round((size - end) / record)), detail)
    return n_frames, None


def _first_mad(times: np.ndarray) -> int | None:
    """The first frame from which on the times are those of no simulation, None where all may be.

    There most steps are unlike the first of the file, and many go back; or a time is no number that a time can be. Pieces
    of other spacing and a step back here and there are not meant.
    """
    none = ~np.isfinite(times) | (np.abs(times) > 1e15) | ((times != 0) & (np.abs(times) < 1e-15))
    absurd = int(np.argmax(none)) if none.any() else None
    steps = np.diff(times[:absurd])
    if len(steps) < 2 or not steps[0] > 0:
        return absurd
    near = 4 * SINGLE * (np.abs(times[1:absurd]) + np.abs(times[: len(steps)]))
    odd = np.abs(steps - steps[0]) > 0.01 * steps[0] + near
    back = steps <= 0
    odd_sums, back_sums = (np.concatenate([[0], np.cumsum(flags)]) for flags in (odd, back))
    at = np.flatnonzero(odd)
    at = at[at < len(steps) - 1]
    soon = np.minimum(at + _WINDOW, len(steps))
    mad = np.ones(len(at), bool)
    for stop in (soon, len(steps)):
        mad &= odd_sums[stop] - odd_sums[at] > 0.5 * (stop - at)
    mad &= back_sums[-1] - back_sums[at] > 0.2 * (len(steps) - at)
    if mad.any():
        return int(at[np.argmax(mad)]) + 1
    while absurd is not None and absurd > 1 and odd[absurd - 2]:  # those beside it are not to be trusted either
        absurd -= 1
    return absurd


def _scan4(path: Path, name: str) -> Scan:
    with _open4(path) as file:
        if "coordinates" not in file:
            raise not_this_format(path, name, "it has no variable 'coordinates'")
        coordinates = file["coordinates"]
        n_frames, n_atoms = coordinates.shape[:2]
        times = None
        if "time" in file and len(file["time"]) == n_frames:
            times = file["time"][:].astype(np.float64) * _time_scale(file["time"].attrs)
        has_box = all(key in file for key in _CELL) and n_frames > 0 and bool((file["cell_lengths"][0] > 0).all())
        layout = _scales({key: file[key].attrs for key in ("coordinates", *_CELL) if key in file})
        return Scan(n_frames, n_atoms, times, SINGLE, has_box, None, layout, block=together(coordinates))


def _read4(path: Path, scan: Scan, frames: range, atoms: np.ndarray | None) -> Frames:
    rows = slice(frames.start, frames.stop, frames.step)
    with _open4(path) as file:
        xyz = read_atoms(file["coordinates"], frames, atoms, np.float64(scan.layout["scale"]))
        return Frames(xyz, _boxes(scan, *(file[name][rows] for name in _CELL)) if scan.has_box else None)


def _boxes(scan: Scan, lengths: np.ndarray, angles: np.ndarray) -> np.ndarray:
    return box_from_cell(lengths * scan.layout["cell_scale"], angles * scan.layout["angle_scale"])


def _open4(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise TrajectoryError(f"{path} cannot be opened as NetCDF-4: {error}") from error


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _factor(attributes: Mapping[str, Any]) -> float:
    """The convention's ``scale_factor``: what the stored numbers are multiplied with to be in the stated unit."""
    return float(np.ravel(attributes.get("scale_factor", 1.0))[0])


def _scales(attributes: Mapping[str, Mapping[str, Any]]) -> dict[str, object]:
    """nm in one stored coordinate and in one stored box length, degrees in one stored box angle."""
    lengths, angles = (attributes.get(name, {}) for name in _CELL)
    scale = _scale(attributes["coordinates"].get("units"))
    cell = _scale(lengths["units"]) if "units" in lengths else scale
    return {
        "scale": scale * _factor(attributes["coordinates"]),
        "cell_scale": cell * _factor(lengths),
        "angle_scale": _factor(angles),
    }


def _scale(units: object) -> float:
    return 1.0 if _text(units).strip().lower().startswith(("nanomet", "nm")) else 0.1


def _time_scale(attributes: Mapping[str, Any]) -> float:
    text = _text(attributes.get("units")).strip().lower()
    return _factor(attributes) * (1e-3 if text.startswith("femto") else 1e3 if text.startswith("nano") else 1.0)
