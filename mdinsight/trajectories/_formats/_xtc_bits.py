"""The compressed bit stream of XTC, in numba: no interpreter lock, and stopped after the last atom that is wanted.

The algorithm is that of ``xdr3dfcoord`` (GROMACS, the xdrfile library): coordinates are integers (nm times the
precision), most of them stored as small differences from the atom before. Three integers are one number in mixed radix. They
are taken apart by multiplication with reciprocals that are exact (T. Granlund, P. L. Montgomery, 1994,
doi:10.1145/773473.178249), as division would take most of the time.
"""
# The compiled functions bear no annotations where there are many numbers: numba infers them.
# mypy: disable-error-code="no-untyped-def,attr-defined,assignment"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped,unused-ignore]
from numba import types
from numba.extending import intrinsic

from mdinsight.trajectories._formats._base import jit

HEAD = 56
"""Bytes of a frame up to the coordinates: magic, natoms, step, time, box (9), natoms again."""
SPARE = 16
"""Bytes that the reader of bits may look at past the end of a frame."""
GROUP = 11
"""Atoms at most that are stored together: one, and a run of ten that are near it."""
MAGIC, MAGIC_LARGE = 1995, 2023
FIRST = 9
_SIZES = np.array(
    [0] * FIRST
    + [8, 10, 12, 16, 20, 25, 32, 40, 50, 64, 80, 101, 128, 161, 203, 256, 322, 406, 512, 645, 812, 1024, 1290]
    + [1625, 2048, 2580, 3250, 4096, 5060, 6501, 8192, 10321, 13003, 16384, 20642, 26007, 32768, 41285, 52015]
    + [65536, 82570, 104031, 131072, 165140, 208063, 262144, 330280, 416127, 524287, 660561, 832255, 1048576]
    + [1321122, 1664510, 2097152, 2642245, 3329021, 4194304, 5284491, 6658042, 8388607, 10568983, 13316085]
    + [16777216],
    dtype=np.int64,
)
LAST = len(_SIZES) - 1
_WINDOW = 57
"""Bits that one load of eight bytes gives wherever they begin within a byte."""
_U = np.uint64


@intrinsic
def _load(typing: Any, data: Any, at: Any) -> Any:
    """Eight bytes from ``at`` on as one number, the first one highest; one instruction or two."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        pointer = builder.bitcast(builder.gep(array.data, [args[1]]), ir.IntType(64).as_pointer())
        return builder.bswap(builder.load(pointer, align=1))

    return types.uint64(data, types.int64), generate


@intrinsic
def _reversed(typing: Any, number: Any) -> Any:
    """The bytes of a number in the opposite order."""
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.bswap(args[0])


@intrinsic
def _high(typing: Any, a: Any, b: Any) -> Any:
    """The upper 64 of the 128 bits of a product."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


@jit
def int32(data, at):
    """The number of four bytes, highest first."""
    word = (np.uint32(data[at]) << np.uint32(24)) | (np.uint32(data[at + 1]) << np.uint32(16))
    word |= (np.uint32(data[at + 2]) << np.uint32(8)) | np.uint32(data[at + 3])
    return np.int64(np.int32(word))


@jit
def reciprocal(divisor):
    """(m, s) so that ``n // divisor == (m * n >> 64) >> s`` for every n below 2**63 and a divisor from 2 to 2**32."""
    shift = 0
    while (np.int64(1) << (shift + 1)) < divisor:
        shift += 1
    by = _U(divisor)  # 2**(64 + s) / divisor, rounded up, as a long division with digits of 32 bits
    rest = _U(1) << _U(shift + 32)
    high = rest // by
    rest = (rest - high * by) << _U(32)
    low = rest // by
    found = (high << _U(32)) + low
    if rest - low * by > _U(0):
        found += _U(1)
    return found, _U(shift)


def _table() -> tuple[np.ndarray, np.ndarray]:
    pairs = [(0, 0)] * FIRST + [reciprocal.py_func(size) for size in _SIZES[FIRST:].tolist()]
    return np.array([m for m, _ in pairs], _U), np.array([s for _, s in pairs], _U)


_FACTORS, _SHIFTS = _table()


@jit
def _bits(data, bit, count):
    """The number of up to 32 bits."""
    return np.int64((_load(data, bit >> 3) << _U(bit & 7)) >> _U(64 - count)) if count > 0 else np.int64(0)


@jit
def _long_division(data, bit, count, size1, size2):
    """Three integers out of a number of any length, byte by byte."""
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


@jit
def _packing(count):
    """How the bytes of a number of ``count`` bits lie: bits and mask of all but its last byte, bits that that one lacks."""
    full = (count - 1) >> 3
    return _U(8 * full), (_U(1) << _U(8 * full)) - _U(1), _U(8 - (count - 8 * full))


@jit
def _three(data, bit, full, mask, lacks, m1, s1, size1, m2, s2, size2):
    """Three integers stored as one number of at most 57 bits in mixed radix, its bytes lowest first."""
    found = _reversed(_load(data, bit >> 3) << _U(bit & 7))
    number = (found & mask) | ((((found >> full) & _U(0xFF)) >> lacks) << full)
    tail = _high(number, m2) >> s2
    x = _high(tail, m1) >> s1
    return np.int64(x), np.int64(tail - x * size1), np.int64(number - tail * size2)


@jit
def _bit_length(number):
    bits = 0
    while number > 0:
        bits += 1
        number >>= 1
    return bits


@jit
def _product_bits(sizes):
    """Bits of the product of three sizes below 2**24, which may need 72."""
    low = sizes[0] * sizes[1]  # below 2**48
    high_part = (low >> 24) * sizes[2]
    low_part = (low & 0xFFFFFF) * sizes[2]
    top = high_part + (low_part >> 24)
    return 24 + _bit_length(top) if top > 0 else _bit_length(low_part)


@jit
def _ranges(data, at, low, sizes, widths):
    """Fill in the ranges of the coordinates; returns (bits of a whole coordinate triple or -1, nm in one integer)."""
    word = np.empty(1, np.uint32)
    word[0] = np.uint32(int32(data, at + 56) & 0xFFFFFFFF)
    precision = np.float64(word.view(np.float32)[0])
    if not 1e-30 < precision < 1e30:
        return -1, np.float32(0.0)
    for i in range(3):
        low[i] = int32(data, at + 60 + 4 * i)
        sizes[i] = int32(data, at + 72 + 4 * i) - low[i] + 1
        if sizes[i] <= 0 or sizes[i] > 0xFFFFFFFF:
            return -1, np.float32(0.0)
        widths[i] = _bit_length(sizes[i])
    wide = max(widths[0], widths[1], widths[2]) > 24
    whole = widths[0] + widths[1] + widths[2] if wide else _product_bits(sizes)
    return whole, np.float32(1.0 / precision)


@jit
def decode(data, at, end, n_atoms, last, out):
    """Decode the first ``last`` atoms of one frame that lies at ``data[at:end]``; ``SPARE`` bytes more must be there.

    ``out`` gets the integers, x, y, z by turns, and has room for those of ``min(n_atoms, last + GROUP)`` atoms. Returns (bytes
    that the bit stream used, -1 where it is not valid, -2 where it goes on past ``end``; nm in one integer; the largest
    coordinate in nm).
    """
    low, widths, sizes = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int64)
    whole, inverse = _ranges(data, at, low, sizes, widths)
    small = int32(data, at + 84)
    if whole < 0 or small < FIRST or small > LAST:
        return -1, inverse, np.float32(0.0)
    low0, low1, low2 = low[0], low[1], low[2]
    top0, top1, top2 = sizes[0] - 1, sizes[1] - 1, sizes[2] - 1
    reach = np.float32(max(-min(low0, low1, low2), low0 + top0, low1 + top1, low2 + top2)) * inverse
    apart = max(widths[0], widths[1], widths[2]) > 24
    quick = not apart and whole <= _WINDOW and top1 > 0 and top2 > 0
    size1, size2 = _U(sizes[1]), _U(sizes[2])
    m1, s1 = reciprocal(sizes[1])
    m2, s2 = reciprocal(sizes[2])
    full, mask, lacks = _packing(whole)
    near_full, near_mask, near_lacks = _packing(small)
    size, near_m, near_s = _SIZES[small], _FACTORS[small], _SHIFTS[small]
    start = at + (96 if int32(data, at) == MAGIC_LARGE else 92)
    bit, stop = 8 * start, 8 * end
    half, near_size = size // 2, _U(size)
    run, atom, wrong, put = 0, 0, 0, _U(0)
    while atom < last:
        if bit + whole >= stop:
            return -2, inverse, reach
        if quick:
            x, y, z = _three(data, bit, full, mask, lacks, m1, s1, size1, m2, s2, size2)
        elif apart:
            x = _bits(data, bit, widths[0])
            y = _bits(data, bit + widths[0], widths[1])
            z = _bits(data, bit + widths[0] + widths[1], widths[2])
        else:
            x, y, z = _long_division(data, bit, whole, sizes[1], sizes[2])
        bit += whole
        # Offsets from the lowest must be in the ranges that the frame states; a sign bit tells of one that is not.
        wrong |= (top0 - x) | (top1 - y) | (top2 - z)
        flag = _load(data, bit >> 3) << _U(bit & 7)
        change = 0
        bit += 1
        if np.int64(flag) < 0:
            run = np.int64((flag >> _U(58)) & _U(31))
            bit += 5
            change = run % 3 - 1
            run -= change + 1
        n_near = run // 3
        if bit + n_near * small > stop:
            return -2, inverse, reach
        if atom + 1 + n_near > n_atoms:
            return -1, inverse, reach
        atom += 1 + n_near
        first = put if n_near == 0 else put + _U(3)  # the first two are swapped: water compresses better so
        out[first], out[first + _U(1)], out[first + _U(2)] = x + low0, y + low1, z + low2
        step = _U(6)
        for _ in range(n_near):
            if small <= _WINDOW:
                dx, dy, dz = _three(
                    data, bit, near_full, near_mask, near_lacks, near_m, near_s, near_size, near_m, near_s, near_size
                )
            else:
                dx, dy, dz = _long_division(data, bit, small, size, size)
            bit += small
            x, y, z = x + dx - half, y + dy - half, z + dz - half
            wrong |= x | (top0 - x) | y | (top1 - y) | z | (top2 - z)
            out[put], out[put + _U(1)], out[put + _U(2)] = x + low0, y + low1, z + low2
            put += step
            step = _U(3)
        if n_near == 0:
            put += step >> _U(1)
        if change != 0:
            small += change
            if small < FIRST or small > LAST:
                return -1, inverse, reach
            near_full, near_mask, near_lacks = _packing(small)
            size, near_m, near_s = _SIZES[small], _FACTORS[small], _SHIFTS[small]
            half, near_size = size // 2, _U(size)
    if wrong < 0:
        return -1, inverse, reach
    return (bit + 7) // 8 - start, inverse, reach
