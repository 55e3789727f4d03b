"""Frames in memory: the wanted atoms of the wanted frames, and how far the farthest of them is, in one look."""
# The compiled function bears no annotations: numba infers them.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from mdinsight.compiled import compiled


def taken(xyz: np.ndarray, frames: range, atoms: np.ndarray | None) -> tuple[np.ndarray, float]:
    """A copy of chosen frames and atoms, and a number that no coordinate exceeds, up or down; NaN or infinity where one is that.

    Parameters
    ----------
    xyz
        (n_frames, n_atoms, 3) float32.
    frames, atoms
        Which of them; atoms None for all.
    """
    if xyz.dtype != np.float32 or not xyz.flags.c_contiguous:
        xyz = np.ascontiguousarray(xyz[frames.start : frames.stop : frames.step], np.float32)
        frames = range(len(xyz))
    chosen = np.empty(0, np.int64) if atoms is None else np.ascontiguousarray(atoms, np.int64)
    n_atoms = xyz.shape[1] if atoms is None else len(chosen)
    out = np.empty((len(frames), n_atoms, 3), np.float32)
    words = xyz.view(np.int32).reshape(len(xyz), -1)
    words.flags.writeable = False
    most = _take(words, frames.start, frames.step, chosen, atoms is None, out.view(np.int32).reshape(len(out), -1))
    return out, float(np.array(most, np.int32).view(np.float32))


@compiled
def _take(words, start, step, atoms, whole, out):
    most = np.int32(0)  # in the order of the bits NaN and infinity are larger than any number
    for row in range(out.shape[0]):
        frame, to = words[start + row * step], out[row]
        if whole:
            to[:] = frame
        else:
            for n in range(atoms.shape[0]):
                at = 3 * atoms[n]
                to[3 * n], to[3 * n + 1], to[3 * n + 2] = frame[at], frame[at + 1], frame[at + 2]
        for i in range(to.shape[0]):
            most = max(most, np.int32(to[i] & np.int32(0x7FFFFFFF)))
    return most
