"""Amber NetCDF: classic NetCDF (versions 1, 2, 5) with fixed records; NetCDF-4 is read as the HDF5 that it is."""

from __future__ import annotations

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
    map_bytes,
    not_this_format,
    read_bytes,
)

_TYPES = {1: "i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8", 7: "u1", 8: ">u2", 9: ">u4", 10: ">i8", 11: ">u8"}
_BLOCK = 1 << 23
_WINDOW = 8
_CELL = ("cell_lengths", "cell_angles")


@dataclass
class _Variable:
    dims: tuple[int, ...]
    kind: str
    begin: int
    size: int
    attributes: dict[str, Any] = field(default_factory=dict)


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
        layout, record = scan.layout, scan.layout["record"]
        first, last = (0, scan.n_atoms) if atoms is None else (int(atoms[0]), int(atoms[-1]) + 1)
        keep = slice(None) if atoms is None else atoms - first
        spans = {"coordinates": _span(layout["coordinates"], 3 * first, 3 * last)}
        spans |= {name: _span(layout[name], 0, 3) for name in _CELL if scan.has_box}
        low, high = min(begin for begin, _ in spans.values()), max(end for _, end in spans.values())
        xyz = np.empty((len(frames), last - first if atoms is None else len(atoms), 3), np.float32)
        cells = {name: np.empty((len(frames), 3)) for name in _CELL}
        per_block = max(1, _BLOCK // record) if frames.step == 1 else 1
        with path.open("rb") as handle:
            for row in range(0, len(frames), per_block):
                part = frames[row : row + per_block]
                size = (len(part) - 1) * record + high - low
                raw = read_bytes(handle.fileno(), part[0] * record + low, size, path)
                for name, (begin, end) in spans.items():
                    kind = np.dtype(layout[name].kind)
                    shape = (len(part), (end - begin) // kind.itemsize)
                    values = np.ndarray(shape, kind, raw, begin - low, (record, kind.itemsize))
                    if name == "coordinates":
                        xyz[row : row + len(part)] = values.reshape(len(part), -1, 3)[:, keep]
                    else:
                        cells[name][row : row + len(part)] = values
        xyz *= np.float32(layout["scale"])
        return Frames(xyz, _boxes(scan, cells["cell_lengths"], cells["cell_angles"]) if scan.has_box else None)


def _span(variable: _Variable, first: int, last: int) -> tuple[int, int]:
    """Bytes of the values from ``first`` to ``last`` in the first record."""
    width = np.dtype(variable.kind).itemsize
    return variable.begin + first * width, variable.begin + last * width


class _Header:
    """The header of a classic NetCDF file: dimensions and variables, with where their data begin."""

    def __init__(self, handle: BinaryIO, version: int) -> None:
        self.handle = handle
        self.count = ">q" if version == 5 else ">i"
        self.offset = ">i" if version == 1 else ">q"
        self.n_records = self._number()
        self.dims = [(self._name(), self._number()) for _ in range(self._list())]
        self.attributes = self._attributes()
        self.variables = {}
        for _ in range(self._list()):
            name = self._name()
            dims = tuple(self._number() for _ in range(self._number()))
            attributes = self._attributes()
            kind = _TYPES[self._unpack(">i")]
            size, begin = self._number(), self._unpack(self.offset)
            self.variables[name] = _Variable(dims, kind, begin, size, attributes)

    def _bytes(self, count: int) -> bytes:
        data = self.handle.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def _unpack(self, kind: str) -> int:
        return struct.unpack(kind, self._bytes(struct.calcsize(kind)))[0]

    def _number(self) -> int:
        return self._unpack(self.count)

    def _list(self) -> int:
        self._unpack(">i")  # the tag, 0 for an empty list
        return self._number()

    def _name(self) -> str:
        length = self._number()
        return self._bytes((length + 3) // 4 * 4)[:length].decode("utf-8", "replace")

    def _attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(self._list()):
            name = self._name()
            kind = np.dtype(_TYPES[self._unpack(">i")])
            count = self._number()
            raw = self._bytes((count * kind.itemsize + 3) // 4 * 4)[: count * kind.itemsize]
            found[name] = raw.decode("latin1") if kind.kind == "S" else np.frombuffer(raw, kind)
        return found

    def is_record(self, variable: _Variable) -> bool:
        """Whether the variable has a value for each frame."""
        return bool(variable.dims) and self.dims[variable.dims[0]][1] == 0


def _scan3(path: Path, header: _Header, name: str) -> Scan:
    records = {key: v for key, v in header.variables.items() if header.is_record(v)}
    if "coordinates" not in records:
        raise not_this_format(path, name, "it has no coordinates for each frame")
    coordinates = records["coordinates"]
    n_atoms = header.dims[coordinates.dims[1]][1]
    size, begin = path.stat().st_size, min(v.begin for v in records.values())
    record = sum((v.size + 3) // 4 * 4 for v in records.values())
    whole, rest = divmod(max(0, size - begin), record)
    stated = header.n_records
    damage = None
    n_frames = whole if stated <= 0 else min(whole, stated)
    end = begin + n_frames * record
    if stated > whole:
        damage = Damage("torn", whole, end, size - end, stated - whole)
    elif stated <= 0 < rest:
        damage = Damage("torn", whole, end, rest, 1)
    elif size - end > record // 2 and stated > 0:
        detail = "its header does not count what follows"
        damage = Damage("torn", n_frames, end, size - end, max(1, round((size - end) / record)), detail)
    data = map_bytes(path)
    layout: dict[str, object] = {"record": record}
    layout |= {key: records[key] for key in ("coordinates", *_CELL) if key in records}
    layout |= _scales({key: records[key].attributes for key in ("coordinates", *_CELL) if key in records})
    times = None
    if "time" in records and n_frames:
        kind = np.dtype(records["time"].kind)
        at = records["time"].begin + record * np.arange(n_frames)
        times = data[at[:, None] + np.arange(kind.itemsize)].view(kind).ravel().astype(np.float64)
        times *= _time_scale(records["time"].attributes)
        mad = _first_mad(times)
        if mad is not None:  # bytes are missing or too many in the record before, if its time stands ahead of them
            n_frames = mad - 1 if mad and records["time"].begin <= coordinates.begin else mad
            times, end = times[:n_frames], begin + n_frames * record
            detail = "the times from there on make no sense"
            damage = Damage("corrupt", n_frames, end, size - end, max(1, round((size - end) / record)), detail)
    has_box = False
    if n_frames and all(key in records for key in _CELL):
        lengths = records["cell_lengths"]
        kind = np.dtype(lengths.kind)
        at = lengths.begin + record * np.array([0, n_frames - 1])
        has_box = bool((data[at[:, None] + np.arange(3 * kind.itemsize)].view(kind) > 0).all())
    return Scan(n_frames, n_atoms, times, SINGLE, has_box, damage, layout)


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
        return Scan(n_frames, n_atoms, times, SINGLE, has_box, None, layout)


def _read4(path: Path, scan: Scan, frames: range, atoms: np.ndarray | None) -> Frames:
    rows = slice(frames.start, frames.stop, frames.step)
    scale = np.float32(scan.layout["scale"])
    with _open4(path) as file:
        xyz = file["coordinates"][rows].astype(np.float32)
        xyz = (xyz if atoms is None else xyz[:, atoms]) * scale
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
