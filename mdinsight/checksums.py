"""Checksums and identities at the speed of memory: what is kept is looked at whenever it is read, so looking must cost little.

XXH3 (https://xxhash.com): 64 bits against damage, 128 as a name. No protection against whoever seeks two arrays of one name.
"""

from __future__ import annotations

import numpy as np
import xxhash


def checksums(array: np.ndarray, rows: int) -> np.ndarray:
    """A checksum for every ``rows`` rows of a C-contiguous array: (n,) uint64."""
    step = rows * (array.nbytes // max(1, len(array)))
    whole = array.reshape(-1).view(np.uint8).data
    found = [xxhash.xxh3_64_intdigest(whole[start : start + step]) for start in range(0, len(whole), max(1, step))]
    return np.array(found, np.uint64)


def identity(*arrays: np.ndarray) -> str:
    """A name, 32 hexadecimal digits, for the types, the shapes and the bytes of arrays."""
    found = xxhash.xxh3_128()
    for array in arrays:
        found.update(f"{array.dtype.str} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return str(found.hexdigest())
