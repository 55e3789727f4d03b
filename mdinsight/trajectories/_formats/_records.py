"""Frames that stand in a file uncompressed, each at a known byte: of these the wanted bytes alone are read.

A file that is mapped into memory kills the process if it is cut short meanwhile, and a page that is touched for the first time
costs more than the call that copies it. So the bytes are read, some ten kilobytes at once, and unpacked while they still are
in the cache of the core; both in compiled code, without the interpreter lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import types

from mdinsight.errors import TrajectoryError
from mdinsight.trajectories._formats._base import in_threads, jit, read_bytes

_GAP = 1 << 14
"""Bytes between two wanted places; reading on over fewer costs less than another call."""
_BLOCK = 1 << 16
"""Bytes that are read before they are unpacked, if that many belong together."""

_pread = types.ExternalFunction("pread", types.int64(types.int32, types.uintp, types.uintp, types.int64))


@dataclass(frozen=True)
class Coordinates:
    """Where the coordinates stand in a frame: that of an axis of an atom at ``begin + axis * i + atom * j``, in bytes.

    ``kind`` is their type, float32 or float64 in either byte order; ``scale`` is nm in one of their units, and the product is
    taken in its precision, before it is rounded to float32.
    """

    begin: int
    axis: int
    atom: int
    kind: str
    scale: float | np.float32


Field = tuple[int, int]
"""Other bytes of a frame: where they begin, a multiple of four bytes from the coordinates; how many they are."""


@dataclass(frozen=True)
class Records:
    """``xyz`` float32 of shape (n, n_atoms, 3) in nm; the bytes of each field, uint8 of shape (n, size); see ``Frames``."""

    xyz: np.ndarray
    fields: list[np.ndarray]
    reach: float


def read_records(
    path: Path, begins: np.ndarray, where: Coordinates, atoms: np.ndarray, fields: Sequence[Field] = ()
) -> Records:
    """Coordinates and other bytes of some frames.

    Parameters
    ----------
    path
        The file.
    begins
        Byte of the file at which each wanted frame begins, increasing.
    where
        Where the coordinates stand in a frame.
    atoms
        Numbers of the wanted atoms, increasing.
    fields
        What else to read of each frame.

    Raises
    ------
    TrajectoryError
        If the file has become shorter since it was scanned.
    """
    plan = _Plan(begins, where, atoms, fields)
    xyz = np.empty((len(begins), len(atoms), 3), np.float32)
    words = [(size + 3) // 4 for _, size in fields]
    raw = np.empty((len(begins), sum(words)), np.uint32)
    most = _run(path, plan, xyz, raw)
    ends = np.cumsum(words)
    columns = [np.ascontiguousarray(raw[:, end - n : end]).view(np.uint8) for n, end in zip(words, ends, strict=True)]
    return Records(
        xyz,
        [column[:, :size] for column, (_, size) in zip(columns, fields, strict=True)],
        float(np.array(most, np.uint32).view(np.float32)),
    )


def read_fields(path: Path, begins: np.ndarray, fields: Sequence[Field]) -> list[np.ndarray]:
    """The bytes of some fields alone; see :func:`read_records`."""
    return read_records(path, begins, Coordinates(0, 4, 12, "<f4", 1.0), np.empty(0, np.int64), fields).fields


class _Plan:
    """The spans of bytes that are read of each frame, and where in the memory for one frame the values are found then."""

    def __init__(self, begins: np.ndarray, where: Coordinates, atoms: np.ndarray, fields: Sequence[Field]) -> None:
        kind = np.dtype(where.kind)
        self.begins = np.ascontiguousarray(begins, np.int64)
        self.scale, self.wide = where.scale, kind.itemsize == 8
        self.single = not self.wide and isinstance(where.scale, np.float32)
        self.swap = kind.newbyteorder("=") != kind
        self.lows, self.sizes = _spans(
            [*_ranges(where, atoms, kind.itemsize), *((at, at + size) for at, size in fields)]
        )
        phases = (self.lows - where.begin) % 4  # a coordinate is to begin at a whole word of the memory
        widths = (phases + self.sizes + 3) // 4 * 4
        self.places = phases + np.cumsum(widths) - widths
        self.width = int(widths.sum())
        steps = np.diff(self.begins)
        self.joined = len(self.lows) == 1 and bool(((steps - self.sizes[0] <= _GAP) & (steps % 4 == 0)).all())
        # where atoms stand side by side, the word of the first of them is enough
        self.dense = len(atoms) > 0 and int(atoms[-1]) - int(atoms[0]) == len(atoms) - 1 and not self.wide
        some = atoms[:1] if self.dense else atoms
        bytes_of = where.begin + where.axis * np.arange(3)[:, None] + where.atom * np.asarray(some, np.int64)
        self.index = (self._place(bytes_of) // 4).astype(np.int32)
        self.together = where.atom != kind.itemsize
        words = [at + 4 * np.arange((size + 3) // 4) for at, size in fields]
        self.fields = self._place(np.concatenate([np.empty(0, np.int64), *words])) // 4

    def _place(self, at: np.ndarray) -> np.ndarray:
        """Where in the memory a byte of the frame comes to stand."""
        span = np.searchsorted(self.lows, at, side="right") - 1
        return self.places[span] + at - self.lows[span]


def _ranges(where: Coordinates, atoms: np.ndarray, width: int) -> list[tuple[int, int]]:
    """Bytes of a frame with the wanted coordinates, cut where more than ``_GAP`` lie between two atoms."""
    if not len(atoms):
        return []
    cuts = np.flatnonzero(np.diff(atoms) * where.atom > _GAP) + 1
    firsts, lasts = atoms[np.concatenate([[0], cuts])], atoms[np.concatenate([cuts, [len(atoms)]]) - 1]
    axes = (0,) if where.atom != width else (0, where.axis, 2 * where.axis)
    return [
        (where.begin + axis + where.atom * int(first), where.begin + axis + where.atom * (int(last) + 1))
        for axis in axes
        for first, last in zip(firsts, lasts, strict=True)
    ]


def _spans(ranges: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Begins and sizes of the ranges, those close to each other made one."""
    spans: list[list[int]] = []
    for low, high in sorted(ranges):
        if spans and low - spans[-1][1] <= _GAP:
            spans[-1][1] = max(high, spans[-1][1])
        else:
            spans.append([low, high])
    table = np.array(spans, np.int64).reshape(-1, 2)
    return table[:, 0].copy(), table[:, 1] - table[:, 0]


def _run(path: Path, plan: _Plan, xyz: np.ndarray, raw: np.ndarray) -> int:
    """Read in pieces, in parallel where that pays; the bits of the largest coordinate."""
    if not len(plan.lows):
        return 0
    found, bits = [0], xyz.view(np.uint32)
    layout = (plan.lows, plan.sizes, plan.places, plan.width, plan.joined, plan.fields)
    kind = (plan.index, plan.dense, plan.together, plan.wide, plan.swap, plan.single, float(plan.scale))

    with path.open("rb") as handle:
        descriptor = handle.fileno()

        def work(first: int, last: int) -> None:
            done = -1
            while first < last:
                if first == done:
                    raise TrajectoryError(f"{path} cannot be read at byte {plan.begins[first]}")
                done = first
                first, most = _read(descriptor, plan.begins, first, last, layout, kind, xyz, bits, raw)
                found.append(most)
                if first < last:  # the same in Python, for the reason in words
                    for begin in plan.begins[first:last].tolist():
                        for low, size in zip(plan.lows.tolist(), plan.sizes.tolist(), strict=True):
                            read_bytes(descriptor, begin + low, size, path)

        in_threads(work, len(xyz), xyz.nbytes + len(xyz) * plan.width)
    return max(found)


@jit
def _fill(descriptor, memory, begin, size, offset):  # type: ignore[no-untyped-def]
    """Read ``size`` bytes of the file from ``offset`` on, to byte ``begin`` of the memory; whether they were there."""
    done = 0
    while done < size:
        got = _pread(descriptor, memory.ctypes.data + begin + done, size - done, offset + done)
        if got <= 0:
            return False
        done += got
    return True


@jit
def _read(descriptor, begins, first, last, layout, kind, xyz, bits, raw):  # type: ignore[no-untyped-def]
    """Frames ``first`` to ``last`` (left out). The first that could not be read, or ``last``; the largest coordinate, as bits."""
    most = np.uint32(0)
    lows, sizes, places, width, joined, fields = layout
    memory = np.empty(max(_BLOCK, width) // 4 + 2, np.uint32)
    octets = memory.view(np.uint8)
    while first < last:
        after = first + 1
        if joined:
            while after < last and begins[after] - begins[first] + width <= _BLOCK:
                after += 1
            size = begins[after - 1] - begins[first] + sizes[0]
            if not _fill(descriptor, octets, places[0], size, begins[first] + lows[0]):
                return first, most
        else:
            after = min(last, first + max(1, _BLOCK // width))
            for frame in range(first, after):
                for i in range(len(lows)):
                    at = (frame - first) * width + places[i]
                    if not _fill(descriptor, octets, at, sizes[i], begins[frame] + lows[i]):
                        return first, most
        for frame in range(first, after):
            at = begins[frame] - begins[first] if joined else (frame - first) * width
            for i in range(len(fields)):
                raw[frame, i] = memory[at // 4 + fields[i]]
            _unpack(memory, at // 4, kind, xyz[frame].reshape(-1))
            most = max(most, _largest(bits[frame].reshape(-1)))
        first = after
    return last, most


@jit
def _largest(bits):  # type: ignore[no-untyped-def]
    most = np.uint32(0)
    for i in range(len(bits)):  # in the order of the bits NaN and infinity are larger than any number
        most = max(most, np.uint32(bits[i] & np.uint32(0x7FFFFFFF)))
    return most


@jit
def _unpack(memory, at, kind, out):  # type: ignore[no-untyped-def]
    """One frame, (3 n) numbers, out of the words of the file from ``at`` on."""
    index, dense, together, wide, swap, single, scale = kind
    n = len(out) // 3
    if wide:
        for i in range(n):
            for axis in range(3):
                word = at + index[axis, i]
                out[3 * i + axis] = np.float32(_double(memory[word], memory[word + 1], swap) * scale)
    elif not dense:
        for i in range(n):
            for axis in range(3):
                out[3 * i + axis] = _scaled(_single(memory[at + index[axis, i]], swap), single, scale)
    elif together:
        _copied(memory[at + index[0, 0] : at + index[0, 0] + 3 * n], swap, single, scale, out)
    else:
        x, y, z = at + index[0, 0], at + index[1, 0], at + index[2, 0]
        _woven(memory[x : x + n], memory[y : y + n], memory[z : z + n], swap, single, scale, out)


@jit
def _swapped(word):  # type: ignore[no-untyped-def]
    middle = ((word >> np.uint32(8)) & np.uint32(0xFF00)) | ((word << np.uint32(8)) & np.uint32(0xFF0000))
    return np.uint32((word >> np.uint32(24)) | middle | (word << np.uint32(24)))


@jit
def _single(word, swap):  # type: ignore[no-untyped-def]
    return np.uint32(_swapped(word) if swap else word).view(np.float32)


@jit
def _double(first, second, swap):  # type: ignore[no-untyped-def]
    high, low = (_swapped(first), _swapped(second)) if swap else (second, first)
    return np.uint64((np.uint64(high) << np.uint64(32)) | np.uint64(low)).view(np.float64)


@jit
def _scaled(number, single, scale):  # type: ignore[no-untyped-def]
    return number * np.float32(scale) if single else np.float32(np.float64(number) * scale)


@jit
def _copied(words, swap, single, scale, out):  # type: ignore[no-untyped-def]
    for i in range(len(words)):
        out[i] = _scaled(_single(words[i], swap), single, scale)


@jit
def _woven(x, y, z, swap, single, scale, out):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        out[3 * i] = _scaled(_single(x[i], swap), single, scale)
        out[3 * i + 1] = _scaled(_single(y[i], swap), single, scale)
        out[3 * i + 2] = _scaled(_single(z[i], swap), single, scale)
