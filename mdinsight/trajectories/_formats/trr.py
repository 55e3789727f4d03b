"""TRR (GROMACS): uncompressed frames, single or double precision; frames without coordinates are passed over."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np

from mdinsight.trajectories._formats._base import (
    SINGLE,
    Damage,
    Format,
    Frames,
    Scan,
    not_this_format,
)
from mdinsight.trajectories._formats._records import Coordinates, read_fields, read_records

_MAGIC = struct.pack(">iii", 1993, 13, 12) + b"GMX_trn_file"
_SIZES = len(_MAGIC)  # then 10 sizes in bytes, natoms, step, nre, time, lambda
_HEAD = _SIZES + 13 * 4


class TRR(Format):
    """GROMACS TRR."""

    name = "TRR"
    suffixes = (".trr",)

    def scan(self, path: Path) -> Scan:
        with path.open("rb") as handle:
            head = handle.read(len(_MAGIC))
            if head != _MAGIC[: len(head)]:
                raise not_this_format(path, self.name, f"it begins with {head[:4]!r}")
            walk = _Walk(handle.fileno(), path.stat().st_size)
            walk.run()
        times = np.array(walk.times, np.float64)
        error = 1e-12 if walk.width == 8 else SINGLE
        boxes = np.array(walk.box, np.int64)
        layout = {"x": np.array(walk.x, np.int64), "box": boxes, "width": walk.width}
        has_box = bool(walk.x) and min(walk.box) >= 0
        if has_box:
            has_box = bool(read_fields(path, boxes, [(0, 9 * walk.width)])[0].any(axis=1).all())
        steps = np.array(walk.steps, np.int32)
        return Scan(len(walk.x), max(walk.n_atoms, 0), times, error, has_box, walk.damage, layout, steps)

    def read(self, path: Path, scan: Scan, frames: range, atoms: np.ndarray | None) -> Frames:
        width, rows = scan.layout["width"], slice(frames.start, frames.stop, frames.step)
        begins = scan.layout["x"][rows]
        where = Coordinates(0, width, 3 * width, f">f{width}", 1.0)
        atoms = np.arange(scan.n_atoms) if atoms is None else atoms
        back = (
            scan.layout["box"][rows] - begins
        )  # from the coordinates, the same in all frames but for those of odd writers
        alike = scan.has_box and bool((back == back[0]).all())
        found = read_records(path, begins, where, atoms, [(int(back[0]), 9 * width)] if alike else [])
        fields = found.fields
        if scan.has_box and not alike:
            fields = read_fields(path, scan.layout["box"][rows], [(0, 9 * width)])
        box = fields[0].view(f">f{width}").astype(np.float32).reshape(-1, 3, 3) if scan.has_box else None
        return Frames(found.xyz, box, found.reach)


class _Walk:
    """One pass over the headers."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor, self.size = descriptor, size
        self.n_atoms, self.width = -1, 4
        self.x: list[int] = []
        self.box: list[int] = []
        self.times: list[float] = []
        self.steps: list[int] = []
        self.begins: list[int] = []
        self.damage: Damage | None = None

    def run(self) -> None:
        at, size = 0, self.size
        while at < size:
            head = os.pread(self.descriptor, _HEAD + 16, at)
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
        self.damage = Damage("torn", len(self.x), at, self.size - at, 1)

    def _corrupt(self, at: int) -> None:
        """The frame before may be torn, with another one behind it: then that one's magic stands inside of it."""
        if self.begins and _MAGIC in self._between(self.begins[-1] + 4, at + len(_MAGIC) - 1):
            at = self.begins.pop()
            for values in (self.x, self.box, self.times, self.steps):
                values.pop()
        mean = at / len(self.x) if self.x else self.size
        lost = self.size - at
        self.damage = Damage("corrupt", len(self.x), at, lost, max(1, round(lost / mean)))

    def _between(self, begin: int, end: int) -> bytes:
        return os.pread(self.descriptor, min(end, self.size) - begin, begin)
