"""How every kernel is compiled, and for which arguments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba import types

from mdinsight.compiled import compiled

F = TypeVar("F", bound=Callable[..., Any])

_MATRIX = types.Array(types.float64, 2, "C")
_VECTOR = types.Array(types.float64, 1, "C")
_INDEX = types.Array(types.int32, 2, "C")
_STACK = types.Array(types.float64, 3, "C")

SIGNATURE = types.void(_MATRIX, _MATRIX, types.boolean, _INDEX, _MATRIX, _VECTOR, _VECTOR, _MATRIX)
"""``kernel(xyz, box, has_box, index, params, out, cot, grad)`` for one frame, the same for every kind."""

MANY = types.void(_STACK, _STACK, types.boolean, _INDEX, _MATRIX, _MATRIX, types.none, types.none)
"""The same for eight frames side by side (see :mod:`mdinsight.features._lanes`), values alone."""

LOOP = types.void(
    types.FunctionType(MANY),
    types.Array(types.float32, 3, "C"),
    types.Array(types.float32, 3, "C"),
    types.boolean,
    types.Array(types.int64, 1, "C"),
    _INDEX,
    _MATRIX,
    types.Array(types.float32, 2, "C"),
    types.intp,
    types.intp,
)
"""The loop over frames: the kernel, frames, boxes, atoms, index, params, all columns, the first one and how many."""

Kernel = Callable[[np.ndarray, np.ndarray, bool, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]


def _sources() -> str:
    """Identity of all the code that is compiled together: the features', and the bias that calls them."""
    digest = hashlib.sha256()
    for room in ("features", "bias"):
        for path in sorted((Path(__file__).parent.parent / room).glob("*.py")):
            content = path.read_bytes()
            if b"@jit" in content or b"@inlined" in content or b"@intrinsic" in content:
                digest.update(content)
    return digest.hexdigest()


_SOURCES = _sources()


def inlined(function: F) -> F:
    """Compile into whoever calls it, so that branches on what does not change are taken out of the caller's loop."""
    return numba.njit(function, nogil=True, error_model="numpy", inline="always")


def jit(function: F, reorder: bool = False) -> F:
    """Compile without the GIL and keep the machine code on disk, where a folder for it can be written.

    ``reorder`` lets sums be taken in another order, so that they run in vector registers; NaN and infinity stay what they are.
    """
    return compiled(function, _SOURCES, {"reassoc", "contract", "nsz"} if reorder else False)


def ready(kernel: Kernel) -> Kernel:
    """The kernel, compiled for one frame (or fetched from disk)."""
    kernel.compile(SIGNATURE)  # type: ignore[attr-defined]
    return kernel
