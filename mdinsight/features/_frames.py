"""The one loop that runs a kernel over frames, eight at a time."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np

from mdinsight.features._geometry import TABLE, tabulate_box
from mdinsight.features._jit import LOOP, MANY, Kernel, jit
from mdinsight.features._lanes import LANES
from mdinsight.features._memory import aligned, write_block
from mdinsight.parallel import lock

_COMPILING = lock()


@jit
def _take(xyz, start, count, atoms, frames):
    """Eight frames side by side in double precision; where fewer are left the last is repeated, and its values not used."""
    for n in range(LANES):
        f = start + min(n, count - 1)
        for m in range(atoms.shape[0]):
            i = atoms[m]
            frames[m, 0, n] = xyz[f, i, 0]
            frames[m, 1, n] = xyz[f, i, 1]
            frames[m, 2, n] = xyz[f, i, 2]


@jit
def _take_boxes(boxes, start, count, table, box):
    """What the minimum image needs of eight boxes; a box like the one before it costs no more than being compared."""
    for n in range(LANES):
        f = start + min(n, count - 1)
        same = f > 0
        for i in range(3):
            for j in range(3):
                same &= boxes[f, i, j] == box[i, j]
                box[i, j] = boxes[f, i, j]
        if not same:
            tabulate_box(box, table, n)
        elif n > 0:
            for row in range(TABLE):
                table[row, 0, n] = table[row, 0, n - 1]
        else:
            for row in range(TABLE):
                table[row, 0, 0] = table[row, 0, LANES - 1]


@jit
def _put(values, out, start, count, first, n_out):
    whole = n_out - n_out % LANES if count == LANES else 0
    for o in range(0, whole, LANES):
        write_block(values, o, out, start, first + o)
    for n in range(count):
        for o in range(whole, n_out):
            out[start + n, first + o] = values[o, n]


@jit
def _over_frames(kernel, xyz, boxes, has_box, atoms, index, params, out, first, n_out):
    frames = aligned(atoms.shape[0] * 3 * LANES).reshape((atoms.shape[0], 3, LANES))
    values = aligned(n_out * LANES).reshape((n_out, LANES))
    table = aligned(TABLE * LANES).reshape((TABLE, 1, LANES))
    box = np.zeros((3, 3))
    for start in range(0, xyz.shape[0], LANES):
        count = min(LANES, xyz.shape[0] - start)
        _take(xyz, start, count, atoms, frames)
        if has_box:
            _take_boxes(boxes, start, count, table, box)
        kernel(frames, table, has_box, index, params, values, None, None)
        _put(values, out, start, count, first, n_out)


def _loop() -> Any:
    """The loop, compiled once for a kernel as a pointer: not anew for each kernel that is passed to it."""
    with _COMPILING:
        if not _over_frames.signatures:  # type: ignore[attr-defined]
            _over_frames.compile(LOOP)  # type: ignore[attr-defined]
            _over_frames.disable_compile()  # type: ignore[attr-defined]
    return _over_frames


def over_frames(
    kernel: Kernel,
    xyz: np.ndarray,
    boxes: np.ndarray | None,
    atoms: np.ndarray,
    index: np.ndarray,
    params: np.ndarray,
    out: np.ndarray,
    first: int,
    n_out: int,
) -> None:
    """Run a kernel over frames, into ``n_out`` columns of ``out`` (n_frames, n) float32 from ``first`` on.

    ``xyz`` is (n_frames, n_atoms, 3) float32; ``index`` counts within ``atoms``. Each frame is widened to double precision
    first, so the arithmetic is that of one frame inside MD, and a frame's values do not depend on what stands beside it.
    """
    kernel.compile(MANY)  # type: ignore[attr-defined]
    cells = np.zeros((0, 3, 3), np.float32) if boxes is None else np.require(boxes, np.float32, ["C", "W"])
    frames = np.require(xyz, np.float32, ["C", "W"])
    _loop()(kernel, frames, cells, boxes is not None, atoms, index, params, out, first, n_out)
