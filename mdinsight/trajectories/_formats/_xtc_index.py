"""Where the frames of an XTC file begin, found by walking through it, and kept for large files in the cache folder.

What is kept is never trusted blindly: it must be whole, be of a file of this inode that was not changed (or only became
longer), and the headers at places spread over the file must say what it says. Else the file is walked through again, without
a word.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mdinsight.errors import OutputError, TrajectoryError
from mdinsight.files import atomic, index_folder
from mdinsight.trajectories._formats import _xtc_walk as walk

_log = logging.getLogger(__name__)
KEPT_FROM = 1000
"""Frames; where the file has fewer, walking through it takes no longer than keeping what was found."""
_LARGE = 1 << 24
"""Bytes; a file that has fewer is read whole in some milliseconds."""
LIMIT = 1 << 28
"""Bytes that all indices may take together; those that were not used for longest go first."""
_PLACES = 16
_HEAD = struct.Struct("<8sqqqqqqI")
_MAGIC = b"mdixtc01"
_START = np.dtype([("magic", ">i4"), ("n_atoms", ">i4"), ("step", ">i4"), ("time", ">f4")])


@dataclass(frozen=True, eq=False)
class Found:
    """The whole frames of a file.

    Parameters
    ----------
    size
        Bytes of the file.
    end
        Byte after the last whole frame.
    state
        Why there are no more: ``END | TORN | CORRUPT`` of :mod:`_xtc_walk`.
    offsets, steps, times, boxed
        Byte at which each frame begins (int64), its step (int32), its time in ps (float32), whether it has a box.
    """

    size: int
    end: int
    state: int
    offsets: np.ndarray
    steps: np.ndarray
    times: np.ndarray
    boxed: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def without_last(self) -> Found:
        """All but the last frame."""
        arrays = (self.offsets, self.steps, self.times, self.boxed)
        return Found(self.size, int(self.offsets[-1]), self.state, *(array[:-1] for array in arrays))


def find(path: Path, descriptor: int, n_atoms: int) -> Found:
    """The frames of an open file, out of the index if there is one that fits, walking through what it does not cover.

    Raises
    ------
    TrajectoryError
        If the file cannot be read, or is cut short meanwhile.
    """
    status = os.fstat(descriptor)
    kept = _kept(path, status, descriptor, n_atoms) if status.st_size >= _LARGE else None
    found = _walk(path, descriptor, status.st_size, n_atoms, kept)
    if status.st_size >= _LARGE and len(found) - (len(kept) if kept else 0) >= KEPT_FROM:
        _keep(path, status, n_atoms, found)
    return found


def _walk(path: Path, descriptor: int, size: int, n_atoms: int, known: Found | None) -> Found:
    """Hop through a file from where ``known`` ends."""
    parts: list[tuple[np.ndarray, ...]] = (
        [] if known is None else [(known.offsets, known.steps, known.times, known.boxed)]
    )
    end = 0 if known is None else known.end
    room, state = 1 << 12, walk.FULL
    while state == walk.FULL:
        arrays = (
            np.empty(room, np.int64),
            np.empty(room, np.int32),
            np.empty(room, np.float32),
            np.empty(room, np.bool_),
        )
        count, end, state = walk.hop(descriptor, end, size, n_atoms, *arrays)
        parts.append(tuple(array[:count] for array in arrays))
        room *= 2
    if state == walk.UNREADABLE:
        os.pread(descriptor, 1, end)  # raises where the system has something to say
        raise TrajectoryError(f"{path} was changed while it was opened; open it again")
    return Found(size, end, state, *(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def index_file(path: Path) -> Path:
    """Where the index of a file is kept."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()
    return index_folder() / f"{name}.idx"


def _kept(path: Path, status: os.stat_result, descriptor: int, n_atoms: int) -> Found | None:
    """The frames that an earlier walk found, if they are those of this file still."""
    file = index_file(path)
    try:
        data = file.read_bytes()
        magic, size, changed, inode, atoms, n_frames, end, checksum = _HEAD.unpack_from(data)
        body = memoryview(data)[_HEAD.size :]
        if (
            magic != _MAGIC
            or len(body) != 17 * n_frames
            or zlib.crc32(data[8 : _HEAD.size - 4], zlib.crc32(body)) != checksum
        ):
            raise ValueError("it is not whole")
        grown = size < status.st_size
        if (inode, atoms) != (status.st_ino, n_atoms) or not (
            grown or (size, changed) == (status.st_size, status.st_mtime_ns)
        ):
            raise ValueError("the file was changed")
        offsets, at = np.frombuffer(body, "<i8", n_frames), 8 * n_frames
        steps, times = (
            np.frombuffer(body, kind, n_frames, at + i * 4 * n_frames) for i, kind in enumerate(("<i4", "<f4"))
        )
        boxed = np.frombuffer(body, np.bool_, n_frames, at + 8 * n_frames)
        found = Found(size, end, walk.END, offsets, steps, times, boxed)
        if not _same(descriptor, found, n_atoms):
            raise ValueError("the file has other frames there")
        with suppress(OSError):  # it may be somebody else's
            os.utime(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, struct.error) as error:
        _log.info("index %s of %s is not used: %s", file, path, error)
        return None
    return found


def _same(descriptor: int, found: Found, n_atoms: int) -> bool:
    """Whether frames spread over the file, the first and the last among them, begin as it was found."""
    for frame in np.unique(np.linspace(0, len(found) - 1, _PLACES).astype(np.int64)).tolist():
        data = os.pread(descriptor, _START.itemsize, int(found.offsets[frame]))
        if len(data) < _START.itemsize:
            return False
        head = np.frombuffer(data, _START)[0]
        if head["magic"] not in (1995, 2023) or head["n_atoms"] != n_atoms:
            return False
        if head["step"] != found.steps[frame] or head["time"] != found.times[frame]:
            return False
    return True


def _keep(path: Path, status: os.stat_result, n_atoms: int, found: Found) -> None:
    """Keep what was found; where that is not possible, the next one walks again."""
    kinds = ("<i8", "<i4", "<f4", "?")
    arrays = (found.offsets, found.steps, found.times, found.boxed)
    body = b"".join(array.astype(kind).tobytes() for array, kind in zip(arrays, kinds, strict=True))
    numbers = (status.st_size, status.st_mtime_ns, status.st_ino, n_atoms, len(found), found.end)
    checksum = zlib.crc32(_HEAD.pack(_MAGIC, *numbers, 0)[8:-4], zlib.crc32(body))
    file = index_file(path)
    try:
        with atomic(file) as handle:
            handle.write(_HEAD.pack(_MAGIC, *numbers, checksum) + body)
        _prune(file.parent)
    except (OutputError, OSError) as error:
        _log.info("the index of %s is not kept: %s", path, error)


def _prune(folder: Path) -> None:
    """Remove what was not used for longest until the indices are within their limit."""
    entries = []
    for file in folder.iterdir():
        with suppress(OSError):
            status = file.stat()
            entries.append((status.st_mtime, status.st_size, file))
    total = sum(size for _, size, _ in entries)
    for _, size, file in sorted(entries):
        if total <= LIMIT:
            return
        with suppress(OSError):
            file.unlink()
            total -= size
