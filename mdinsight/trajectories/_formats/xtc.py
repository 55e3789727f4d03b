"""XTC (GROMACS): frames of compressed integers, found by hopping from header to header."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mdinsight.errors import CorruptFrameError, TrajectoryError
from mdinsight.trajectories._formats import _xtc_walk as walk
from mdinsight.trajectories._formats._base import (
    SINGLE,
    Damage,
    Format,
    Frames,
    Scan,
    in_threads,
    leave_out,
    not_this_format,
    read_bytes,
)
from mdinsight.trajectories._formats._xtc_bits import HEAD, MAGIC, MAGIC_LARGE, SPARE, decode
from mdinsight.trajectories._formats._xtc_index import Found, find

_MANY = 500
"""Atoms; in frames of fewer it costs little to decode all of them, and only then it shows whether the bits end well."""
_MARGIN = 1.25
"""How much more of a frame is read than the part that the wanted atoms are of it, as they may be packed less densely."""


class XTC(Format):
    """GROMACS XTC, magic numbers 1995 and 2023."""

    name = "XTC"
    suffixes = (".xtc",)

    def scan(self, path: Path) -> Scan:
        with path.open("rb") as handle:
            descriptor, size = handle.fileno(), path.stat().st_size
            start = read_bytes(descriptor, 0, min(size, HEAD), path)
            magic, n_atoms = (int.from_bytes(start[at : at + 4], "big", signed=True) for at in (0, 4))
            if len(start) == HEAD and (magic not in (MAGIC, MAGIC_LARGE) or n_atoms < 1):
                raise not_this_format(path, self.name, f"it begins with {start[:4]!r}")
            if len(start) < HEAD:
                return Scan(0, 0, damage=Damage("torn", 0, 0, size, 1))
            found = find(path, descriptor, n_atoms)
            if found.state == walk.CORRUPT and len(found) and not _sound(path, descriptor, found, n_atoms):
                found = found.without_last()
        damage = _damage(found)
        has_box = len(found) > 0 and bool(found.boxed.all())
        layout = {"offsets": np.append(found.offsets, found.end)}
        return Scan(len(found), n_atoms, found.times.astype(np.float64), SINGLE, has_box, damage, layout, found.steps)

    def read(self, path: Path, scan: Scan, frames: range, atoms: np.ndarray | None) -> Frames:
        offsets = scan.layout["offsets"]
        rows = np.arange(frames.start, frames.stop, frames.step)
        begins, sizes = offsets[rows], offsets[rows + 1] - offsets[rows]
        n_atoms, take = scan.n_atoms, int(sizes.max(initial=0))
        chosen = np.empty(0, np.int64) if atoms is None else np.ascontiguousarray(atoms, np.int64)
        last = n_atoms
        if atoms is not None and n_atoms > _MANY and chosen[-1] + 1 < 0.6 * n_atoms:
            last = int(chosen[-1]) + 1
            take = int(sizes.mean() * _MARGIN * last / n_atoms) + 512
        n_columns = n_atoms if atoms is None else len(chosen)
        xyz = np.empty((len(rows), n_columns, 3), np.float32)
        flat = xyz.reshape(len(rows), -1)
        states, reach = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.float32)
        boxes = np.zeros((len(rows), 9), np.float32)
        with path.open("rb") as handle:
            descriptor = handle.fileno()

            def work(first: int, after: int) -> None:
                part = slice(first, after)
                outputs = states[part], reach[part], boxes.view(np.int32)[part], flat[part]
                walk.read(descriptor, begins[part], sizes[part], take, n_atoms, last, chosen, *outputs)

            in_threads(work, len(rows), 12 * last * len(rows) + min(take * len(rows), int(sizes.sum())))
        if states.any():
            _refuse(path, rows, states, begins)
        return Frames(xyz, boxes.reshape(-1, 3, 3) if scan.has_box else None, float(reach.max(initial=0.0)))


def _refuse(path: Path, rows: np.ndarray, states: np.ndarray, begins: np.ndarray) -> None:
    """Raise the error for the first frame that is not good."""
    first = int(np.argmax(states != walk.GOOD))
    bad = int(rows[first])
    if states[first] == walk.SHORT:
        what = f"its compressed coordinates (the frame begins at byte {begins[first]}) are corrupt"
        text = f"{path}, frame {bad}: {what}; {leave_out(bad)}"
        raise CorruptFrameError.at(bad, text)
    what = "frame {} is not all there" if states[first] == walk.GONE else "frame {} is another one"
    raise TrajectoryError(f"{path} was changed since it was opened ({what.format(bad)}); open it again")


def _sound(path: Path, descriptor: int, found: Found, n_atoms: int) -> bool:
    """Whether the last frame is what its header says.

    The one before a corrupt place may be torn, with another frame behind it: then that one's header stands inside of it,
    or its bit stream does not end where it should.
    """
    begin, size = int(found.offsets[-1]), found.end - int(found.offsets[-1])
    window = read_bytes(descriptor, begin + 4, min(size + HEAD, found.size - begin) - 4, path)
    count = n_atoms.to_bytes(4, "big")
    for magic in (MAGIC, MAGIC_LARGE):
        at = window.find(magic.to_bytes(4, "big") + count)
        while 0 <= at < size - 4:
            if window[at + 52 : at + 56] == count:
                return False
            at = window.find(magic.to_bytes(4, "big") + count, at + 1)
    if n_atoms <= 9:
        return True
    data = np.frombuffer(read_bytes(descriptor, begin, size, path) + bytes(SPARE), np.uint8).copy()
    used = decode(data, 0, size, n_atoms, n_atoms, np.empty(3 * n_atoms, np.int32))[0]
    return bool(used == walk.stated(data, 0))


def _damage(found: Found) -> Damage | None:
    n_frames, end = len(found), found.end
    lost = found.size - end
    if lost == 0:
        return None
    if found.state == walk.TORN:
        return Damage("torn", n_frames, end, lost, 1)
    mean = end / n_frames if n_frames else lost
    return Damage("corrupt", n_frames, end, lost, max(1, round(lost / mean)))
