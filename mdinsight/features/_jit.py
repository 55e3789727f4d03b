"""How every kernel is compiled, and the one loop that runs a kernel over frames."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba import types

_log = logging.getLogger(__name__)
_COMPILING = threading.Lock()
F = TypeVar("F", bound=Callable[..., Any])

_MATRIX = types.Array(types.float64, 2, "C")
_VECTOR = types.Array(types.float64, 1, "C")
_INDEX = types.Array(types.int32, 2, "C")

SIGNATURE = types.void(_MATRIX, _MATRIX, types.boolean, _INDEX, _MATRIX, _VECTOR, _VECTOR, _MATRIX)
"""``kernel(xyz, box, has_box, index, params, out, cot, grad)``, the same for every kind."""

_LOOP = types.void(
    types.FunctionType(SIGNATURE),
    types.Array(types.float32, 3, "C"),
    types.Array(types.float32, 3, "C"),
    types.boolean,
    _INDEX,
    _MATRIX,
    types.Array(types.float32, 2, "C"),
)

Kernel = Callable[[np.ndarray, np.ndarray, bool, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]


def _sources() -> str:
    """Identity of all the code that is compiled together: the features', and the bias that calls them."""
    digest = hashlib.sha256()
    for room in ("features", "bias"):
        for path in sorted((Path(__file__).parent.parent / room).glob("*.py")):
            content = path.read_bytes()
            if b"@jit" in content or b"@inlined" in content:
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
    fast = {"reassoc", "contract", "nsz"} if reorder else False
    try:
        compiled = numba.njit(function, nogil=True, cache=True, error_model="numpy", fastmath=fast)
        # numba looks at the file of the function alone, but code from the other files of the room is inlined into it as well
        with suppress(AttributeError):
            compiled._cache._cache_file._source_stamp = _SOURCES
        return compiled
    except RuntimeError as error:  # numba finds no folder that it may write to, as in a read-only container
        _log.info("compiled code of %s is not kept: %s", function.__name__, error)
        return numba.njit(function, nogil=True, cache=False, error_model="numpy", fastmath=fast)


@jit
def _over_frames(kernel, xyz, boxes, has_box, index, params, out):  # type: ignore[no-untyped-def]
    frame = np.empty((xyz.shape[1], 3))
    box = np.zeros((3, 3))
    values = np.empty(out.shape[1])
    no_cotangent = np.empty(0)
    no_gradient = np.empty((0, 3))
    for f in range(xyz.shape[0]):
        frame[:] = xyz[f]
        if has_box:
            box[:] = boxes[f]
        kernel(frame, box, has_box, index, params, values, no_cotangent, no_gradient)
        out[f] = values


def _loop() -> Any:
    """The loop, compiled once for a kernel as a pointer: not anew for each kernel that is passed to it."""
    with _COMPILING:
        if not _over_frames.signatures:  # type: ignore[attr-defined]
            _over_frames.compile(_LOOP)  # type: ignore[attr-defined]
            _over_frames.disable_compile()  # type: ignore[attr-defined]
    return _over_frames


def ready(kernel: Kernel) -> Kernel:
    """The kernel, compiled for its one signature (or fetched from disk)."""
    kernel.compile(SIGNATURE)  # type: ignore[attr-defined]
    return kernel


def over_frames(
    kernel: Kernel, xyz: np.ndarray, boxes: np.ndarray | None, index: np.ndarray, params: np.ndarray, n_out: int
) -> np.ndarray:
    """Run a kernel over (n_frames, n_atoms, 3) float32 coordinates: (n_frames, n_out) float32.

    Each frame is widened to double precision first, so the arithmetic is that of one frame inside MD, and a frame's
    values do not depend on what stands beside it in the chunk.
    """
    out = np.empty((len(xyz), n_out), dtype=np.float32)
    has_box = boxes is not None
    cells = np.zeros((0, 3, 3), np.float32) if boxes is None else np.require(boxes, np.float32, ["C", "W"])
    _loop()(ready(kernel), np.require(xyz, np.float32, ["C", "W"]), cells, has_box, index, params, out)
    return out
