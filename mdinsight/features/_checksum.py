"""Checksums at the speed of memory: what is kept on disk is looked at whenever it is read, so looking must cost little.

Bytes are taken as words of 32 bits, in blocks of 2048, and a block's sum is sum((a_j + k_j) (b_j + l_j)) over its halves a and b
modulo 2^64 with fixed words k and l: NH of Black et al. (UMAC, CRYPTO 1999), which misses a damage that knows nothing of k and l
with probability 2^-32, as a CRC does. The sums of several blocks are the coefficients of a polynomial.
"""
# The compiled function bears no annotations: numba infers them.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import hashlib

import numpy as np
from numba import types

from mdinsight.features._jit import jit

_WORDS = 2048
_KEY = np.frombuffer(hashlib.shake_256(b"mdinsight").digest(4 * _WORDS), "<u4").astype(np.uint32)
_AT = np.uint64(0x9E3779B97F4A7C15)
"""Where the polynomial is taken: any odd number would do, so that each block's difference counts in full."""
_READ_ONLY = types.Array(types.uint32, 1, "C", readonly=True)
_SIGNATURE = types.void(_READ_ONLY, types.Array(types.uint32, 1, "C"), types.intp, types.Array(types.uint64, 1, "C"))


@jit
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
    words = array.reshape(-1).view(np.uint32)
    words.flags.writeable = False  # of this view alone: one compiled function does for mapped files as well
    out = np.empty(-(-len(array) // rows), np.uint64)
    if not _sums.signatures:  # type: ignore[attr-defined]
        _sums.compile(_SIGNATURE)  # type: ignore[attr-defined]
    _sums(words, _KEY, rows * (len(words) // max(1, len(array))), out)
    return out
