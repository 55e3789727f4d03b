"""One seed, a tree of generators: the same keys give the same numbers whatever else was drawn before.

A seed is an int; a branch is named by strings and ints, for example ``generator(7, "kmeans", 2)``. There is no global state.
"""

from __future__ import annotations

import hashlib
import numbers

import numpy as np

from mdinsight.errors import ParameterError

Key = str | int


def sequence(seed: int, *keys: Key) -> np.random.SeedSequence:
    """The branch of the seed's tree that the keys name.

    Raises
    ------
    ParameterError
        If the seed is not a non-negative integer.
    """
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        raise ParameterError(f"seed={seed!r} is not a seed; give a non-negative int")
    words = [
        int.from_bytes(hashlib.sha256(f"{type(key).__name__}:{key}".encode()).digest()[:8], "little") for key in keys
    ]
    return np.random.SeedSequence([int(seed), *words])


def generator(seed: int, *keys: Key) -> np.random.Generator:
    """A NumPy generator for one branch."""
    return np.random.default_rng(sequence(seed, *keys))


def integer(seed: int, *keys: Key, bits: int = 31) -> int:
    """An int for a library that takes only an int seed (scikit-learn, torch, OpenMM)."""
    return int(sequence(seed, *keys).generate_state(1, np.uint64)[0] >> np.uint64(64 - bits))
