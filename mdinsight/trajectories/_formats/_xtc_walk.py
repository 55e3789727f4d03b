"""Through an XTC file without the interpreter: from header to header, or frame by frame into coordinates.

The file is read, never mapped, so that one that is cut short meanwhile is an error and not a crash of the process.
"""
# The compiled functions bear no annotations where there are many numbers: numba infers them.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
from numba import types

from mdinsight.trajectories._formats._base import jit
from mdinsight.trajectories._formats._xtc_bits import (
    FIRST,
    GROUP,
    HEAD,
    LAST,
    MAGIC,
    MAGIC_LARGE,
    SPARE,
    decode,
    int32,
)

END, TORN, CORRUPT, UNREADABLE, FULL = 0, 1, 2, 3, 4
"""Why :func:`hop` stopped."""
GOOD, SHORT, GONE, OTHER = 0, 1, 2, 3
"""What :func:`read` found a frame to be."""
_pread = types.ExternalFunction("pread", types.intp(types.int32, types.voidptr, types.uintp, types.int64))
_BLOCK = 1 << 18
"""Bytes that are read at once where they lie together; they stay in the second-level cache until they are decoded."""
_SPARSE = 1 << 13
"""Frames of more bytes than this have their headers read one by one."""


@jit
def _fill(descriptor, buffer, begin, count):
    """Read ``count`` bytes from ``begin`` on; returns how many there were, -1 on an error of the system."""
    have = 0
    while have < count:
        got = _pread(descriptor, buffer[have:].ctypes, np.uint64(count - have), begin + have)
        if got < 0:
            return -1
        if got == 0:
            break
        have += got
    return have


@jit
def _finite(data, at):
    """Whether a number of four bytes is neither infinite nor NaN."""
    return (int32(data, at) & 0x7F800000) != 0x7F800000


@jit
def _length(data, at, left, n_atoms):
    """Bytes of the frame whose header is at ``data[at:]``, of which ``left`` are in the file; -TORN, -CORRUPT."""
    magic = int32(data, at) if left >= 4 else MAGIC
    if magic != MAGIC and magic != MAGIC_LARGE:
        return -CORRUPT
    if left < HEAD:
        return -TORN
    if int32(data, at + 4) != n_atoms or int32(data, at + 52) != n_atoms:
        return -CORRUPT
    if n_atoms <= 9:
        size = HEAD + 12 * n_atoms
    else:
        wide = magic == MAGIC_LARGE
        head = 96 if wide else 92
        if left < head:
            return -TORN
        payload = int32(data, at + 88)
        if wide:
            payload = (payload << 32) + (int32(data, at + 92) & 0xFFFFFFFF)
        small = int32(data, at + 84)
        if payload < 0 or payload > 16 * n_atoms + 64 or small < FIRST or small > LAST:
            return -CORRUPT
        size = head + (payload + 3) // 4 * 4
    if size > left:
        return -TORN
    for field in range(12, 52, 4):
        if not _finite(data, at + field):
            return -CORRUPT
    return size


@jit
def hop(descriptor, begin, size, n_atoms, offsets, steps, times, boxed):
    """Walk from frame to frame by their headers alone, from byte ``begin`` to ``size``.

    Fills byte, step, time and whether there is a box of each whole frame. Returns (number of frames, byte after the last of
    them, END | TORN | CORRUPT | UNREADABLE | FULL).
    """
    buffer = np.empty(_BLOCK, np.uint8)
    bits = np.empty(1, np.int32)
    low, high = begin, begin  # what of the file is in the buffer
    at, count, before = begin, 0, 0
    while at < size:
        if count == len(offsets):
            return count, at, FULL
        left = size - at
        if at + min(left, 96) > high:
            got = _fill(descriptor, buffer, at, min(left, 96 if before > _SPARSE else _BLOCK))
            if got < min(left, 96):
                return count, at, UNREADABLE
            low, high = at, at + got
        length = _length(buffer, at - low, left, n_atoms)
        if length < 0:
            return count, at, -length
        offsets[count] = at
        steps[count] = int32(buffer, at - low + 8)
        bits[0] = int32(buffer, at - low + 12)
        times[count] = bits.view(np.float32)[0]
        boxed[count] = False
        for field in range(16, 52, 4):
            if int32(buffer, at - low + field) & 0x7FFFFFFF:
                boxed[count] = True
        count += 1
        at += length
        before = length
    return count, at, END


@jit
def _place(numbers, nm, atoms, out):
    """The coordinates of the wanted atoms (none: all of them, in place) out of integers."""
    if len(atoms) == 0:
        for i in range(len(out)):
            out[i] = np.float32(numbers[i]) * nm
        return
    for i in range(len(atoms)):
        for k in range(3):
            out[3 * i + k] = np.float32(numbers[3 * atoms[i] + k]) * nm


@jit
def stated(data, at):
    """Bytes of bit stream that the header of a frame states."""
    size = int32(data, at + 88)
    return size if int32(data, at) == MAGIC else (size << 32) + (int32(data, at + 92) & 0xFFFFFFFF)


@jit
def _frame(data, at, end, n_atoms, last, atoms, numbers, out):
    """One frame; returns (GOOD or SHORT, largest coordinate). Up to nine atoms are not compressed."""
    target = out.view(np.int32) if len(atoms) == 0 else numbers
    if n_atoms > 9:
        used, nm, reach = decode(data, at, end, n_atoms, last, target)
        if used < 0 or (last == n_atoms and used != stated(data, at)):
            return SHORT, reach
        _place(target, nm, atoms, out)
        return GOOD, reach
    for i in range(3 * n_atoms):
        target[i] = int32(data, at + HEAD + 4 * i)
    values = target.view(np.float32)
    for i in range(len(atoms)):
        for k in range(3):
            out[3 * i + k] = values[3 * atoms[i] + k]
    return GOOD, np.float32(np.inf)


@jit
def read(descriptor, begins, sizes, take, n_atoms, last, atoms, states, reach, boxes, out):
    """Read and decode frames, up to the atom before ``last``; it ends at the first that is not good.

    ``atoms`` are the ones wanted, none for all. The first ``take`` bytes of a frame are read, and more of it where they do not
    reach. Fills for each frame GOOD | SHORT (its bits are not valid) | GONE | OTHER, the largest coordinate, the bits of
    the box, and ``out``.
    """
    block = _BLOCK
    for size in sizes:
        block = max(block, size)
    buffer = np.empty(block + SPARE, np.uint8)
    numbers = np.empty(3 * (min(n_atoms, last + GROUP) if len(atoms) else 0), np.int32)
    frame = 0
    while frame < len(begins):
        after, total = frame + 1, min(take, sizes[frame])
        while after < len(begins) and begins[after] == begins[frame] + total and total + sizes[after] <= block:
            if sizes[after] > take:
                break
            total += sizes[after]
            after += 1
        there = _fill(descriptor, buffer, begins[frame], total)
        at = 0
        while frame < after:
            have = min(take, sizes[frame])
            if at + have > there:
                states[frame] = GONE
                return
            if _length(buffer, at, sizes[frame], n_atoms) != sizes[frame]:
                states[frame] = OTHER
                return
            state, far = _frame(buffer, at, at + have, n_atoms, last, atoms, numbers, out[frame])
            if state == SHORT and have < sizes[frame]:  # denser at the front than on average: again, with more of it
                take, after = 2 * have, frame
                break
            states[frame], reach[frame] = state, far
            if state != GOOD:
                return
            for i in range(9):
                boxes[frame, i] = int32(buffer, at + 16 + 4 * i)
            at += have
            frame += 1
