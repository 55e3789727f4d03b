"""TRR (GROMACS): uncompressed frames, single or double precision; frames without coordinates are passed over."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from mdinsight.trajectories._formats._base import (
    SINGLE,
    Damage,
    Format,
    Frames,
    Scan,
    map_bytes,
    not_this_format,
    read_bytes,
)

_MAGIC = struct.pack(">iii", 1993, 13, 12) + b"GMX_trn_file"
_SIZES = len(_MAGIC)  # then 10 sizes in bytes, natoms, step, nre, time, lambda
_HEAD = _SIZES + 13 * 4


class TRR(Format):
    """GROMACS TRR."""

    name = "TRR"
    suffixes = (".trr",)

    def scan(self, path: Path) -> Scan:
        data = map_bytes(path)
        if bytes(data[: len(_MAGIC)]) != _MAGIC[: len(data)]:
            raise not_this_format(path, self.name, f"it begins with {bytes(data[:4])!r}")
        walk = _Walk(path, data)
        walk.run()
        times = np.array(walk.times, np.float64)
        error = 1e-12 if walk.width == 8 else SINGLE
        layout = {"x": np.array(walk.x, np.int64), "box": np.array(walk.box, np.int64), "width": walk.width}
        has_box = bool(walk.x) and all(at >= 0 and data[at : at + 9 * walk.width].any() for at in walk.box)
        steps = np.array(walk.steps, np.int32)
        return Scan(len(walk.x), max(walk.n_atoms, 0), times, error, has_box, walk.damage, layout, steps)

    def read(self, path: Path, scan: Scan, frames: range, atoms: np.ndarray | None) -> Frames:
        width = scan.layout["width"]
        kind = f">f{width}"
        first, last = (0, scan.n_atoms) if atoms is None else (int(atoms[0]), int(atoms[-1]) + 1)
        keep = slice(None) if atoms is None else atoms - first
        xyz = np.empty((len(frames), last - first if atoms is None else len(atoms), 3), np.float32)
        box = np.empty((len(frames), 3, 3), np.float32) if scan.has_box else None
        with path.open("rb") as handle:
            for row, frame in enumerate(frames):
                at = int(scan.layout["x"][frame]) + first * 3 * width
                raw = read_bytes(handle.fileno(), at, (last - first) * 3 * width, path)
                xyz[row] = np.frombuffer(raw, kind).reshape(-1, 3)[keep]
                if box is not None:
                    raw = read_bytes(handle.fileno(), int(scan.layout["box"][frame]), 9 * width, path)
                    box[row] = np.frombuffer(raw, kind).reshape(3, 3)
        return Frames(xyz, box)


class _Walk:
    """One pass over the headers."""

    def __init__(self, path: Path, data: np.ndarray) -> None:
        self.path, self.data = path, data
        self.n_atoms, self.width = -1, 4
        self.x: list[int] = []
        self.box: list[int] = []
        self.times: list[float] = []
        self.steps: list[int] = []
        self.begins: list[int] = []
        self.damage: Damage | None = None

    def run(self) -> None:
        at, size = 0, len(self.data)
        while at < size:
            head = bytes(self.data[at : at + _HEAD + 16])
            if head[: len(_MAGIC)] != _MAGIC[: len(head)]:
                return self._corrupt(at)
            if len(head) < _HEAD:
                return self._torn(at)
            numbers = struct.unpack_from(">13i", head, _SIZES)
            box, x, n_atoms = numbers[2], numbers[7], numbers[10]
            width = box // 9 if box else max(numbers[7:10]) // max(3 * n_atoms, 1)
            body = sum(numbers[:10])
            whole = all(s in (0, 3 * n_atoms * width) for s in numbers[7:10]) and min(numbers[:10]) >= 0
            if n_atoms < 1 or width not in (4, 8) or not whole or (self.n_atoms not in (-1, n_atoms)):
                return self._corrupt(at)
            start = at + _HEAD + 2 * width
            if start + body > size:
                return self._torn(at)
            if x:
                (time,) = struct.unpack_from(">d" if width == 8 else ">f", head, _HEAD)
                if not np.isfinite(time):
                    return self._corrupt(at)
                self.n_atoms, self.width = n_atoms, width
                lead = sum(numbers[:2])
                self.box.append(start + lead if box else -1)
                self.x.append(start + sum(numbers[:7]))
                self.times.append(time)
                self.steps.append(numbers[11])
                self.begins.append(at)
            at = start + body
        return None

    def _torn(self, at: int) -> None:
        self.damage = Damage("torn", len(self.x), at, len(self.data) - at, 1)

    def _corrupt(self, at: int) -> None:
        """The frame before may be torn, with another one behind it: then that one's magic stands inside of it."""
        if self.begins and _MAGIC in bytes(self.data[self.begins[-1] + 4 : at + len(_MAGIC) - 1]):
            at = self.begins.pop()
            for values in (self.x, self.box, self.times, self.steps):
                values.pop()
        mean = at / len(self.x) if self.x else len(self.data)
        lost = len(self.data) - at
        self.damage = Damage("corrupt", len(self.x), at, lost, max(1, round(lost / mean)))
