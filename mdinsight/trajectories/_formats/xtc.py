"""XTC (GROMACS): frames of compressed integers, found by hopping from header to header."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mdinsight.errors import CorruptFrameError, TrajectoryError
from mdinsight.trajectories._formats import _xtc_bits as bits
from mdinsight.trajectories._formats._base import SINGLE, Damage, Format, Frames, Scan, map_bytes, not_this_format

_SPARE = 16  # bytes that the bit reader may look at past the end of a frame
_HEAD = np.dtype([("magic", ">i4"), ("n_atoms", ">i4"), ("step", ">i4"), ("time", ">f4"), ("box", ">f4", (3, 3))])


class XTC(Format):
    """GROMACS XTC, magic numbers 1995 and 2023."""

    name = "XTC"
    suffixes = (".xtc",)

    def scan(self, path: Path) -> Scan:
        data = map_bytes(path)
        head = _head(data[: _HEAD.itemsize]) if len(data) >= _HEAD.itemsize else None
        if head is not None and (head["magic"] not in (1995, 2023) or head["n_atoms"] < 1):
            raise not_this_format(path, self.name, f"it begins with {bytes(data[:4])!r}")
        if head is None:
            return Scan(0, 0, damage=Damage("torn", 0, 0, len(data), 1))
        n_atoms = int(head["n_atoms"])
        offsets, end, state = _hop(data)
        if state == bits.CORRUPT and len(offsets) and not _sound(data, int(offsets[-1]), end, n_atoms):
            end, offsets = int(offsets[-1]), offsets[:-1]
        times = _at(data, offsets, 12).view(">f4").ravel().astype(np.float64)
        boxes = _at(data, offsets, 16, 36).view(">f4").astype(np.float32)
        finite = np.isfinite(times) & np.isfinite(boxes).all(axis=1)
        if not finite.all():
            good = int(np.argmin(finite))
            end, offsets, times, boxes, state = (
                int(offsets[good]),
                offsets[:good],
                times[:good],
                boxes[:good],
                bits.CORRUPT,
            )
        damage = _damage(state, len(offsets), end, len(data))
        has_box = len(offsets) > 0 and bool(boxes.any(axis=1).all())
        layout = {"offsets": np.append(offsets, end)}
        steps = _at(data, offsets, 8).view(">i4").ravel().astype(np.int32)
        return Scan(len(offsets), n_atoms, times, SINGLE, has_box, damage, layout, steps)

    def read(self, path: Path, scan: Scan, frames: range, atoms: np.ndarray | None) -> Frames:
        offsets = scan.layout["offsets"]
        rows = np.arange(frames.start, frames.stop, frames.step)
        begins, sizes = offsets[rows], offsets[rows + 1] - offsets[rows]
        wanted = scan.n_atoms if atoms is None else int(atoms[-1]) + 1
        take, decoded = sizes, scan.n_atoms  # all atoms are decoded, as only then it shows whether the bits end well
        if scan.n_atoms > 500 and wanted < 0.6 * scan.n_atoms:  # the bits of the first atoms alone, with a margin
            decoded = wanted
            take = np.minimum(sizes, (sizes * (wanted / scan.n_atoms) * 1.25).astype(np.int64) + 512)
        columns = np.full(decoded, -1, np.int64)
        columns[slice(None) if atoms is None else atoms] = np.arange(decoded if atoms is None else len(atoms))
        with path.open("rb") as handle:
            data, starts = _fetch(handle.fileno(), begins, take, path)
            xyz, short = _decode(data, starts, take, scan.n_atoms, columns, atoms)
            if len(short) and take is not sizes:  # denser at the front than on average
                whole, at = _fetch(handle.fileno(), begins[short], sizes[short], path)
                xyz[short], again = _decode(whole, at, sizes[short], scan.n_atoms, columns, atoms)
                short = short[again]
        magic = _at(data, starts, 0).view(">i4").ravel()
        counts = _at(data, starts, 4).view(">i4").ravel()
        changed = ((magic != 1995) & (magic != 2023)) | (counts != scan.n_atoms)
        if changed.any():
            raise TrajectoryError(f"{path} was changed since it was opened; open it again")
        if len(short):
            bad = int(rows[short[0]])
            text = f"{path}, frame {bad}: its compressed coordinates are corrupt; leave it out with stop={bad}"
            raise CorruptFrameError.at(bad, text)
        box = _at(data, starts, 16, 36).view(">f4").astype(np.float32).reshape(-1, 3, 3) if scan.has_box else None
        return Frames(xyz, box)


def _head(data: np.ndarray) -> np.void:
    return np.frombuffer(data.tobytes(), _HEAD)[0]


def _hop(data: np.ndarray) -> tuple[np.ndarray, int, int]:
    offsets = np.empty(1024, np.int64)
    count, end, state = bits.hop(data, offsets, 0, 0)
    while state == -1:
        offsets = np.concatenate([offsets, np.empty(max(len(offsets), 1024), np.int64)])
        count, end, state = bits.hop(data, offsets, count, end)
    return offsets[:count].copy(), int(end), int(state)


def _at(data: np.ndarray, offsets: np.ndarray, field: int, width: int = 4) -> np.ndarray:
    """Bytes ``[field, field + width)`` of each frame, shape (n_frames, width)."""
    return data[(offsets + field)[:, None] + np.arange(width)]


def _fetch(descriptor: int, begins: np.ndarray, sizes: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The frames' bytes, one behind the other in one buffer, and where each begins in it."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    data = np.zeros(int(starts[-1]) + _SPARE, np.uint8)
    view = data.data
    edges = np.flatnonzero(begins[1:] != begins[:-1] + sizes[:-1]) + 1  # neighbours in the file are read at once
    for first, after in zip([0, *edges], [*edges, len(begins)], strict=True):
        at, stop, source = int(starts[first]), int(starts[after]), int(begins[first])
        while at < stop:
            got = os.preadv(descriptor, [view[at:stop]], source)
            if not got:
                raise TrajectoryError(
                    f"{path} ends at byte {source}: it was changed since it was opened; open it again"
                )
            at, source = at + got, source + got
    return data, starts[:-1]


def _decode(
    data: np.ndarray, starts: np.ndarray, sizes: np.ndarray, n_atoms: int, columns: np.ndarray, atoms: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of each frame, and the numbers of those that could not be decoded."""
    n_columns = n_atoms if atoms is None else len(atoms)
    xyz = np.empty((len(starts), n_columns, 3), np.float32)
    if n_atoms <= 9:  # so few are not compressed
        raw = _at(data, starts, bits.HEAD, 12 * n_atoms).view(">f4").reshape(-1, n_atoms, 3)
        xyz[:] = raw if atoms is None else raw[:, atoms]
        return xyz, np.empty(0, np.int64)
    used = np.empty(len(starts), np.int64)
    bits.decode(data, starts, starts + sizes, n_atoms, columns, xyz, used)
    wrong = used < 0
    if len(columns) == n_atoms:
        wrong |= used != _stated(data, starts)
    return xyz, np.flatnonzero(wrong)


def _stated(data: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Bytes of bit stream that each frame's header states."""
    sizes = _at(data, starts, 88).view(">i4").ravel().astype(np.int64)
    wide = _at(data, starts, 0).view(">i4").ravel() == 2023
    if wide.any():
        sizes[wide] = _at(data, starts[wide], 88, 8).view(">i8").ravel()
    return sizes


def _sound(data: np.ndarray, start: int, end: int, n_atoms: int) -> bool:
    """Whether a frame is what its header says.

    The one before a corrupt place may be torn, with another frame behind it: then that one's header stands inside of it,
    or its bit stream does not end where it should.
    """
    window = data[start + 4 : end + bits.HEAD].tobytes()
    count = n_atoms.to_bytes(4, "big")
    for magic in (1995, 2023):
        at = window.find(magic.to_bytes(4, "big") + count)
        while 0 <= at < end - start - 4:
            if window[at + 52 : at + 56] == count:
                return False
            at = window.find(magic.to_bytes(4, "big") + count, at + 1)
    if n_atoms <= 9:
        return True
    frame = np.concatenate([data[start:end], np.zeros(_SPARE, np.uint8)])
    return not len(_decode(frame, np.zeros(1, np.int64), np.array([end - start]), n_atoms, np.arange(n_atoms), None)[1])


def _damage(state: int, n_frames: int, end: int, size: int) -> Damage | None:
    lost = size - end
    if lost == 0:
        return None
    mean = end / n_frames if n_frames else lost
    if state == bits.TORN:
        return Damage("torn", n_frames, end, lost, 1)
    return Damage("corrupt", n_frames, end, lost, max(1, round(lost / mean)))
