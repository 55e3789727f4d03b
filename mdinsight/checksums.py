"""Checksums and identities at the speed of memory: what is kept is looked at whenever it is read, so looking must cost little.

Bytes are taken as words of 32 bits, in blocks of 2048, and a block's sum is sum((a_j + k_j) (b_j + l_j)) over its halves a and b
modulo 2^64 with fixed words k and l: NH of Black et al. (UMAC, CRYPTO 1999). Two blocks that know nothing of k and l have one sum
with probability 2^-32, as with a CRC; with four sets of words all four sums are the same with 2^-128.
"""
# The compiled function bears no annotations: numba infers them.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import hashlib

import numpy as np
from numba import types

from mdinsight.compiled import compiled

_WORDS = 2048
_KEYS = (
    np.frombuffer(hashlib.shake_256(b"mdinsight").digest(4 * 4 * _WORDS), "<u4").astype(np.uint32).reshape(4, _WORDS)
)
_NEAR = 1 << 17
"""Words that stay in the fast memory of a core while they are summed four times."""
_AT = np.uint64(0x9E3779B97F4A7C15)
"""Where the polynomial is taken whose coefficients are the blocks' sums: at an odd number, so that each counts in full."""
_READ_ONLY = types.Array(types.uint32, 1, "C", readonly=True)
_SIGNATURE = types.void(_READ_ONLY, types.Array(types.uint32, 1, "C"), types.intp, types.Array(types.uint64, 1, "C"))


@compiled
def _sums(words, key, count, out):
    """A sum for each ``count`` words, the last of what is left; a block that is not whole is filled up with zeros."""
    half = key.shape[0] // 2
    rest = np.zeros(2 * half, np.uint32)
    for n in range(out.shape[0]):
        at, stop = n * count, min((n + 1) * count, words.shape[0])
        found = np.uint64(0)
        while at < stop:
            whole = stop - at >= 2 * half
            block = words[at : at + 2 * half]
            total = np.uint64(0)
            if whole:
                for j in range(half):
                    a, b = np.uint32(block[j] + key[j]), np.uint32(block[half + j] + key[half + j])
                    total += np.uint64(a) * np.uint64(b)
            else:
                rest[:] = np.uint32(0)
                rest[: stop - at] = words[at:stop]
                for j in range(half):
                    a, b = np.uint32(rest[j] + key[j]), np.uint32(rest[half + j] + key[half + j])
                    total += np.uint64(a) * np.uint64(b)
            found = found * _AT + total
            at += 2 * half
        out[n] = found


def checksums(array: np.ndarray, rows: int) -> np.ndarray:
    """A checksum for every ``rows`` rows of a C-contiguous array of 4- or 8-byte numbers: (n,) uint64."""
    words = _words(array)
    out = np.empty(-(-len(array) // rows), np.uint64)
    _sums(words, _KEYS[0], rows * (len(words) // max(1, len(array))), out)
    return out


def identity(*arrays: np.ndarray) -> str:
    """SHA-256 of the types, the shapes and four sums of each block of arrays of 4- or 8-byte numbers.

    SHA-256 of all bytes takes ten times as long. This is no protection against somebody who looks for two arrays of one identity.
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        words = _words(np.ascontiguousarray(array))
        for start in range(0, len(words), _NEAR):
            near = words[start : start + _NEAR]
            sums = np.empty((len(_KEYS), -(-len(near) // _WORDS)), np.uint64)
            for key, out in zip(_KEYS, sums, strict=True):
                _sums(near, key, _WORDS, out)
            digest.update(sums.astype("<u8").tobytes())
    return digest.hexdigest()


def _words(array: np.ndarray) -> np.ndarray:
    if not _sums.signatures:  # type: ignore[attr-defined]
        _sums.compile(_SIGNATURE)  # type: ignore[attr-defined]
    words = array.reshape(-1).view(np.uint32)
    words.flags.writeable = False  # of this view alone: one compiled function does for mapped files as well
    return words
