"""What every format offers: ``scan`` finds the whole frames without reading coordinates, ``read`` gives chosen ones."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

import mdtraj
import numpy as np

from mdinsight.compiled import compiled
from mdinsight.errors import FormatError, TrajectoryError
from mdinsight.parallel import cores, is_held
from mdinsight.words import counted

_LEAST = 1 << 22
"""Bytes that it must be to be worth a thread of its own."""
_NOTHING = 1e-6
"""nm; a component of a box vector that is smaller is what rounding left of zero."""
F = TypeVar("F", bound=Callable[..., Any])

SINGLE = 2.0**-24
"""Relative error of a time that is stored as a 32-bit float."""


@dataclass(frozen=True)
class Damage:
    """What of a file cannot be used: everything from ``byte`` on, where frame ``frame`` would begin."""

    kind: Literal["torn", "corrupt"]
    frame: int
    byte: int
    lost_bytes: int
    lost_frames: int | None = None
    """How many frames are lost, None where that cannot be counted."""
    detail: str = ""

    def describe(self) -> str:
        """One sentence that counts what was lost, to stand after the name of the file."""
        used = f"the {counted(self.frame, 'whole frame')} before it {'is' if self.frame == 1 else 'are'} used"
        lost = f"{counted(self.lost_bytes, 'byte')} lost"
        if self.lost_frames is not None:
            about = "" if self.kind == "torn" and self.lost_frames <= 1 else "about "
            lost = f"{about}{counted(self.lost_frames, 'frame')} ({counted(self.lost_bytes, 'byte')}) lost"
        detail = f": {self.detail}" if self.detail else ""
        if self.kind == "torn":
            return f"torn in frame {self.frame}, which begins at byte {self.byte}{detail}; {used}, {lost}"
        return f"corrupt at byte {self.byte}, where frame {self.frame} would begin{detail}; {used}, {lost}"


@dataclass(frozen=True)
class Scan:
    """What a look at a file's headers and record markers tells.

    Parameters
    ----------
    n_frames, n_atoms
        Whole frames, and atoms in each.
    times
        Time of each frame in ps, float64 of shape (n_frames,); None where the file has none.
    time_error
        Relative error of the times as they are stored.
    has_box
        Whether every frame has a periodic box.
    damage
        What is torn or corrupt, None where the file is whole.
    layout
        Whatever the format's own ``read`` wants to know again: offsets, byte order, names of data sets.
    steps
        Number of the integration step of each frame, int32 of shape (n_frames,); None where the file has none.
    time_note, box_note
        What a user should know about the times (left out where ``dt=`` is given) and about the box; mostly empty.
    block
        Frames that the file keeps together, so that to read some of them costs as much as to read all.
    """

    n_frames: int
    n_atoms: int
    times: np.ndarray | None = None
    time_error: float = 1e-12
    has_box: bool = False
    damage: Damage | None = None
    layout: dict[str, Any] = field(default_factory=dict, repr=False)
    steps: np.ndarray | None = field(default=None, repr=False)
    time_note: str = ""
    box_note: str = ""
    block: int = 1


@dataclass(frozen=True)
class Frames:
    """Coordinates: ``xyz`` (n, n_atoms, 3) float32 nm; ``box`` (n, 3, 3) float32 nm, rows are the box vectors, or None.

    ``reach``, where the format knows it without looking at them, is a number that no coordinate exceeds, up or down.
    """

    xyz: np.ndarray
    box: np.ndarray | None = None
    reach: float = math.inf


class Format:
    """One file format. A subclass sets ``name`` and ``suffixes`` and writes ``scan`` and ``read``.

    An instance holds no state: ``read`` opens the file anew, so that several threads may read one file.
    """

    name: str = ""
    suffixes: tuple[str, ...] = ()

    def scan(self, path: Path) -> Scan:
        """Find the whole frames; reads headers and record markers only.

        Raises
        ------
        FormatError
            If the file is not of this format.
        """
        raise NotImplementedError

    def read(self, path: Path, scan: Scan, frames: range, atoms: np.ndarray | None) -> Frames:
        """Coordinates of the frames (an increasing range) and atoms (increasing indices; None: all of them).

        Raises
        ------
        TrajectoryError
            If a frame cannot be decoded, or the file was changed since the scan.
        """
        raise NotImplementedError

    def topology(self, path: Path) -> mdtraj.Topology | None:
        """The topology that the file carries, None where the format has none."""
        return None


def _sources() -> str:
    """Identity of all the code that is compiled together."""
    contents = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(content for content in contents if b"@jit" in content)).hexdigest()


_SOURCES = _sources()


def jit(function: F) -> F:
    """Compile without the interpreter lock; code from the other files here is inlined into it as well."""
    return compiled(function, _SOURCES)


def in_threads(work: Callable[[int, int], None], n_frames: int, n_bytes: int) -> None:
    """``work(first, last)`` for all frames: cut over the cores, or in one piece where that is better.

    It is in one piece where the caller is a worker itself (any thread but the main one, any process that another one
    started), as the others have work of their own; where ``workers=1`` was asked for; and where it is little, ``n_bytes`` of
    what is read and written. The work must hold no interpreter lock. The first exception in the order of the frames is raised.
    """
    worker = threading.current_thread() is not threading.main_thread() or multiprocessing.parent_process() is not None
    alone = worker or is_held()
    count = 1 if alone else min(cores(), n_bytes // _LEAST, n_frames)
    if count < 2:
        work(0, n_frames)
        return
    edges = np.linspace(0, n_frames, count + 1).astype(int).tolist()
    try:
        others = [_pool().submit(work, first, last) for first, last in pairwise(edges[1:])]
    except RuntimeError:  # no more threads may be started, or the interpreter ends
        _pool().shutdown(cancel_futures=True)
        _pool.cache_clear()
        work(0, n_frames)
        return
    try:
        work(0, edges[1])
    finally:
        wait(others)
    for other in others:
        other.result()


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that stay, one fewer than cores: to start one costs a tenth of what there is to read."""
    return ThreadPoolExecutor(max(1, cores() - 1), thread_name_prefix="mdinsight-read")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def read_bytes(descriptor: int, start: int, count: int, path: Path) -> bytes:
    """Exactly ``count`` bytes from ``start`` on.

    Raises
    ------
    TrajectoryError
        If the file has become shorter since it was scanned.
    """
    parts, have = [], 0
    while have < count:
        part = os.pread(descriptor, min(count - have, 1 << 30), start + have)
        if not part:
            raise TrajectoryError(
                f"{path} ends at byte {start + have}: it was changed since it was opened; open it again"
            )
        parts.append(part)
        have += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@np.errstate(all="ignore")
def box_from_cell(lengths: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Box vectors (n, 3, 3) float32 out of lengths (n, 3) in nm and angles (n, 3) in degrees.

    The first lies along x, the second in the plane of x and y. They are zero where a length or an angle is, and NaN where the
    numbers are those of no box. mdtraj has the same function, but with a loop in Python, which costs more than reading the
    coordinates.
    """
    lengths, angles = np.asarray(lengths, np.float64), np.asarray(angles, np.float64)
    vectors = np.zeros((len(lengths), 3, 3), np.float32)
    real: np.ndarray = (lengths != 0).all(axis=1) & (angles != 0).all(axis=1)
    lengths = np.where(lengths > 0, lengths, np.nan)
    angles = np.where((angles > 0) & (angles < 180), angles, np.nan)
    lengths, angles = lengths[real], angles[real]
    if len(angles) and (angles == angles[0]).all():  # as nearly always
        angles = angles[:1]
    a, b, c = lengths.T
    cos_a, cos_b, cos_c = np.cos(np.radians(angles)).T
    sin_c = np.sin(np.radians(angles[:, 2]))
    x, y = c * cos_b, c * (cos_a - cos_b * cos_c) / sin_c
    rest = c * c - x * x - y * y
    z = np.sqrt(rest, out=np.full_like(rest, np.nan), where=rest > 0)
    found = np.zeros((len(a), 3, 3))
    for (i, j), values in {(0, 0): a, (1, 0): b * cos_c, (1, 1): b * sin_c, (2, 0): x, (2, 1): y, (2, 2): z}.items():
        found[:, i, j] = np.where(np.abs(values) < _NOTHING, 0.0, values)
    vectors[real] = found
    return vectors


NEVER = 1000.0
"""Length in nm of a box vector that nothing is wrapped along; as Å it still fits the columns of a PDB file."""


def unwrapped(box: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """Box vectors (n, 3, 3) in nm with those of the directions that are not periodic made too long to wrap along."""
    lengths = np.linalg.norm(box, axis=2, keepdims=True)
    units = np.where(lengths > 0, box / np.maximum(lengths, 1e-30), np.eye(3))
    return np.where(np.asarray(periodic)[:, None], box, units * np.maximum(NEVER, 10.0 * lengths))


def direction_note(periodic: np.ndarray) -> str:
    """What to tell of a box that is periodic in some directions only."""
    axes, others = (
        [axis for axis, yes in zip("xyz", periodic, strict=True) if bool(yes) is want] for want in (True, False)
    )
    return f"its box is periodic along {' and '.join(axes)} only; along {' and '.join(others)} nothing is wrapped"


def leave_out(frame: int) -> str:
    """What to do about a frame that is corrupt; ``stop`` counts in each file that is opened."""
    return f"open this file by itself with stop={frame}" if frame else "leave this file out"


def not_this_format(path: Path, name: str, why: str) -> FormatError:
    """The error for a file that is not what its suffix says."""
    return FormatError(f"{path} is no {name} file: {why}; is its suffix right?")
