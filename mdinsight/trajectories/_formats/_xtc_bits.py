"""The compressed bit stream of XTC, in numba: no interpreter lock, and stopped after the last atom that is wanted.

The algorithm is that of ``xdr3dfcoord`` (GROMACS, the xdrfile library): coordinates are integers (nm times the
precision), most of them stored as small differences from the atom before.
"""

from __future__ import annotations

import numba
import numpy as np

HEAD = 56
"""Bytes of a frame up to the coordinates: magic, natoms, step, time, box (9), natoms again."""
END, TORN, CORRUPT = 0, 1, 2
_MAGIC, _MAGIC_LARGE = 1995, 2023
_FIRST = 9

_SIZES = np.array(
    [0] * _FIRST
    + [8, 10, 12, 16, 20, 25, 32, 40, 50, 64, 80, 101, 128, 161, 203, 256, 322, 406, 512, 645, 812, 1024, 1290]
    + [1625, 2048, 2580, 3250, 4096, 5060, 6501, 8192, 10321, 13003, 16384, 20642, 26007, 32768, 41285, 52015]
    + [65536, 82570, 104031, 131072, 165140, 208063, 262144, 330280, 416127, 524287, 660561, 832255, 1048576]
    + [1321122, 1664510, 2097152, 2642245, 3329021, 4194304, 5284491, 6658042, 8388607, 10568983, 13316085]
    + [16777216],
    dtype=np.int64,
)
_LAST = len(_SIZES) - 1


@numba.njit(nogil=True, cache=True, inline="always")
def _int32(data: np.ndarray, at: int) -> np.int64:
    word = (np.uint32(data[at]) << np.uint32(24)) | (np.uint32(data[at + 1]) << np.uint32(16))
    word |= (np.uint32(data[at + 2]) << np.uint32(8)) | np.uint32(data[at + 3])
    return np.int64(np.int32(word))


@numba.njit(nogil=True, cache=True)
def hop(data: np.ndarray, offsets: np.ndarray, first: int, begin: int) -> tuple[int, int, int]:
    """Walk from frame to frame by their headers alone.

    Fills ``offsets`` from index ``first`` on, where a frame begins at byte ``begin``. Returns (index after the last whole frame,
    byte after it, END | TORN | CORRUPT or -1 where ``offsets`` is full).
    """
    size = len(data)
    at, count = begin, first
    n_atoms = _int32(data, 4) if size >= 8 else -1
    while at < size:
        if count == len(offsets):
            return count, at, -1
        if size - at < HEAD:
            known = size - at < 4 or _int32(data, at) == _MAGIC or _int32(data, at) == _MAGIC_LARGE
            return count, at, TORN if known else CORRUPT
        magic = _int32(data, at)
        if magic != _MAGIC and magic != _MAGIC_LARGE:
            return count, at, CORRUPT
        if _int32(data, at + 4) != n_atoms or _int32(data, at + 52) != n_atoms:
            return count, at, CORRUPT
        if n_atoms <= 9:
            end = at + HEAD + 12 * n_atoms
        else:
            wide = magic == _MAGIC_LARGE
            if size - at < (96 if wide else 92):
                return count, at, TORN
            smallidx = _int32(data, at + 84)
            payload = (
                (_int32(data, at + 88) << 32) + (_int32(data, at + 92) & 0xFFFFFFFF) if wide else _int32(data, at + 88)
            )
            if payload < 0 or payload > 16 * n_atoms + 64 or smallidx < _FIRST or smallidx > _LAST:
                return count, at, CORRUPT
            end = at + (96 if wide else 92) + (payload + 3) // 4 * 4
        if end > size:
            return count, at, TORN
        offsets[count] = at
        count += 1
        at = end
    return count, at, END


@numba.njit(nogil=True, cache=True, inline="always")
def _window(data: np.ndarray, bit: int) -> np.uint64:
    """The 64 bits from ``bit`` on, the first one highest."""
    at = bit >> 3
    word = np.uint64(0)
    for i in range(8):
        word = (word << np.uint64(8)) | np.uint64(data[at + i])
    shift = np.uint64(bit & 7)
    return (word << shift) | (np.uint64(data[at + 8]) >> (np.uint64(8) - shift))


@numba.njit(nogil=True, cache=True, inline="always")
def _bits(data: np.ndarray, bit: int, count: int) -> np.int64:
    return np.int64(_window(data, bit) >> np.uint64(64 - count)) if count > 0 else np.int64(0)


@numba.njit(nogil=True, cache=True)
def _long_division(
    data: np.ndarray, bit: int, count: int, size1: int, size2: int
) -> tuple[np.int64, np.int64, np.int64]:
    """Three integers out of a number of more than 64 bits, byte by byte."""
    digits = np.zeros(16, np.int64)
    used = 0
    while count > 0:
        take = min(count, 8)
        digits[used] = _bits(data, bit, take)
        bit += take
        count -= take
        used += 1
    z = np.int64(0)
    for j in range(used - 1, -1, -1):
        z = (z << 8) | digits[j]
        digits[j] = z // size2
        z -= digits[j] * size2
    y = np.int64(0)
    for j in range(used - 1, -1, -1):
        y = (y << 8) | digits[j]
        digits[j] = y // size1
        y -= digits[j] * size1
    return digits[0] | (digits[1] << 8) | (digits[2] << 16) | (digits[3] << 24), y, z


@numba.njit(nogil=True, cache=True, inline="always")
def _three(data: np.ndarray, bit: int, count: int, size1: int, size2: int) -> tuple[np.int64, np.int64, np.int64]:
    """Three integers stored as one number in mixed radix, its bytes lowest first."""
    if count > 64:
        return _long_division(data, bit, count, size1, size2)
    window = _window(data, bit)
    full = count >> 3
    number = np.uint64(0)
    for j in range(full):
        number |= ((window >> np.uint64(56 - 8 * j)) & np.uint64(0xFF)) << np.uint64(8 * j)
    rest = count & 7
    if rest:
        number |= ((window >> np.uint64(64 - count)) & np.uint64((1 << rest) - 1)) << np.uint64(8 * full)
    tail = number // np.uint64(size2)
    z = np.int64(number - tail * np.uint64(size2))
    x = tail // np.uint64(size1)
    return np.int64(x), np.int64(tail - x * np.uint64(size1)), z


@numba.njit(nogil=True, cache=True)
def _bit_length(number: int) -> int:
    bits = 0
    while number > 0:
        bits += 1
        number >>= 1
    return bits


@numba.njit(nogil=True, cache=True)
def _product_bits(sizes: np.ndarray) -> int:
    """Bits of the product of three sizes below 2**24, which may need 72."""
    low = sizes[0] * sizes[1]  # below 2**48
    high_part = (low >> 24) * sizes[2]
    low_part = (low & 0xFFFFFF) * sizes[2]
    top = high_part + (low_part >> 24)
    return 24 + _bit_length(top) if top > 0 else _bit_length(low_part)


@numba.njit(nogil=True, cache=True, inline="always")
def _put(out: np.ndarray, columns: np.ndarray, atom: int, x: int, y: int, z: int, inverse: np.float32) -> None:
    column = columns[atom]
    if column >= 0:
        out[column, 0] = np.float32(x) * inverse
        out[column, 1] = np.float32(y) * inverse
        out[column, 2] = np.float32(z) * inverse


@numba.njit(nogil=True, cache=True, inline="always")
def _inside(x: int, y: int, z: int, low: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether a triple lies in the ranges that the frame states for all of its atoms."""
    return 0 <= x - low[0] < sizes[0] and 0 <= y - low[1] < sizes[1] and 0 <= z - low[2] < sizes[2]


@numba.njit(nogil=True, cache=True)
def _ranges(
    data: np.ndarray, at: int, low: np.ndarray, sizes: np.ndarray, widths: np.ndarray
) -> tuple[int, np.float32]:
    """Fill in the ranges of the coordinates; returns (bits of a whole coordinate triple or -1, nm in one integer)."""
    word = np.empty(1, np.uint32)
    word[0] = np.uint32(_int32(data, at + 56) & 0xFFFFFFFF)
    precision = word.view(np.float32)[0]
    if not precision > 0:
        return -1, np.float32(0.0)
    for i in range(3):
        low[i] = _int32(data, at + 60 + 4 * i)
        sizes[i] = _int32(data, at + 72 + 4 * i) - low[i] + 1
        if sizes[i] <= 0 or sizes[i] > 0xFFFFFFFF:
            return -1, np.float32(0.0)
        widths[i] = _bit_length(sizes[i])
    whole = widths.sum() if widths.max() > 24 else _product_bits(sizes)
    return whole, np.float32(1.0 / np.float64(precision))


@numba.njit(nogil=True, cache=True)
def _decode(data: np.ndarray, at: int, end: int, n_atoms: int, columns: np.ndarray, out: np.ndarray) -> int:
    """Decode one frame that lies at ``data[at:end]``; 16 bytes more must be there.

    Returns the bytes that the bit stream used, -1 where it is not valid and -2 where it goes on past ``end``.
    """
    low, widths, sizes = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int64)
    whole, inverse = _ranges(data, at, low, sizes, widths)
    if whole < 0:
        return -1
    large = widths.max() > 24
    small = _int32(data, at + 84)
    start = at + (96 if _int32(data, at) == _MAGIC_LARGE else 92)
    bit, stop = 8 * start, 8 * end
    half = _SIZES[small] // 2
    run, atom, last = 0, 0, len(columns)
    while atom < last:
        if bit + whole + 6 > stop + 8:
            return -2
        if large:
            x = _bits(data, bit, widths[0])
            y = _bits(data, bit + widths[0], widths[1])
            z = _bits(data, bit + widths[0] + widths[1], widths[2])
        else:
            x, y, z = _three(data, bit, whole, sizes[1], sizes[2])
        bit += whole
        x, y, z = x + low[0], y + low[1], z + low[2]
        if not _inside(x, y, z, low, sizes):
            return -1
        change = 0
        flag = _bits(data, bit, 1)
        bit += 1
        if flag == 1:
            run = _bits(data, bit, 5)
            bit += 5
            change = run % 3
            run -= change
            change -= 1
        n_small = run // 3
        if atom + 1 + n_small > n_atoms:
            return -1
        if bit + n_small * small > stop:
            return -2
        size = _SIZES[small]
        for k in range(n_small):
            dx, dy, dz = _three(data, bit, small, size, size)
            bit += small
            nx, ny, nz = x + dx - half, y + dy - half, z + dz - half
            if not _inside(nx, ny, nz, low, sizes):
                return -1
            if k == 0:  # the first two are swapped: water compresses better so
                if atom < last:
                    _put(out, columns, atom, nx, ny, nz, inverse)
                atom += 1
                if atom < last:
                    _put(out, columns, atom, x, y, z, inverse)
            elif atom < last:
                _put(out, columns, atom, nx, ny, nz, inverse)
            atom += 1
            x, y, z = nx, ny, nz
        if n_small == 0:
            _put(out, columns, atom, x, y, z, inverse)
            atom += 1
        small += change
        if small < _FIRST or small > _LAST:
            return -1
        half = _SIZES[small] // 2
    return -2 if bit > stop else (bit + 7) // 8 - start


@numba.njit(nogil=True, cache=True)
def decode(
    data: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    n_atoms: int,
    columns: np.ndarray,
    out: np.ndarray,
    used: np.ndarray,
) -> None:
    """Decode frames out of ``data`` (uint8, with 16 bytes more than the last frame).

    ``columns[i]`` is the column of ``out`` (n_frames, n_columns, 3) for atom i, or -1; it ends with the last atom that is wanted.
    ``used`` gets each frame's bytes of bit stream, -1 for one that is not valid, -2 for one that ends too early.
    """
    for frame in range(len(starts)):
        used[frame] = _decode(data, starts[frame], ends[frame], n_atoms, columns, out[frame])
