"""One trajectory: an uninterrupted, evenly spaced piece of one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import mdtraj
import numpy as np

from mdinsight.errors import NonFiniteError, ParameterError
from mdinsight.series import Origin
from mdinsight.trajectories._formats import Frames
from mdinsight.trajectories._formats._base import leave_out
from mdinsight.trajectories._sources import Source
from mdinsight.trajectories._topology import Selection, is_rising, select_atoms
from mdinsight.words import counted

_CHUNK_BYTES = 1 << 25
_FARTHEST = 1e5
"""nm; farther from the origin (a tenth of a millimetre) no molecule gets, so such a coordinate is none."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some consecutive rows of one trajectory.

    Parameters
    ----------
    index
        Number of the trajectory in its data set.
    start
        Row of the trajectory that ``xyz[0]`` is.
    xyz
        Coordinates in nm, float32 of shape (n, n_atoms, 3).
    time
        Times in ps, float64 of shape (n,), or None where they are not known.
    box
        Box vectors in nm as rows, float32 of shape (n, 3, 3), or None where there is no box.
    """

    index: int
    start: int
    xyz: np.ndarray
    time: np.ndarray | None = None
    box: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.xyz)


class Trajectory:
    """An uninterrupted piece of one file whose frames are ``dt`` apart; made by :func:`mdinsight.open`.

    Reading opens the file anew, so a trajectory may be read by several threads at once.
    """

    def __init__(
        self,
        source: Source,
        topology: mdtraj.Topology,
        frames: range,
        dt: float | None,
        label: str,
        index: int = 0,
        trust_times: bool = True,
    ) -> None:
        self._source = source
        self._frames = frames
        self._trust_times = trust_times
        self.topology = topology
        self.label = label
        self.index = index
        self.dt = dt
        """Time between rows in ps, None where it is not known."""

    def __len__(self) -> int:
        return self.n_frames

    def __repr__(self) -> str:
        from mdinsight.units import format_time

        step = "" if self.dt is None or self.n_frames == 1 else f", {format_time(self.dt)} apart"
        frames, box = counted(self.n_frames, "frame"), ", box" if self.has_box else ""
        return f"<Trajectory {self.label}: {frames}{step}, {self.n_atoms} atoms{box}>"

    @property
    def path(self) -> Path | None:
        """The file, None for an object in memory."""
        return self._source.path

    @property
    def kind(self) -> str:
        """The name of the format."""
        return self._source.kind

    @property
    def n_frames(self) -> int:
        """Number of rows."""
        return len(self._frames)

    @property
    def n_atoms(self) -> int:
        """Number of atoms in a frame."""
        return int(self._source.scan.n_atoms)

    @property
    def has_box(self) -> bool:
        """Whether every frame has a periodic box."""
        return self._source.scan.has_box

    @property
    def fingerprint(self) -> str:
        """Identity of the content of the file (not of the rows chosen from it)."""
        return self._source.fingerprint

    @cached_property
    def origin(self) -> Origin:
        """Which file and frames the rows are."""
        file = self._source.label if self.path is None else str(self.path)
        return Origin(file, self._frames.start, self._frames.step, self.fingerprint)

    @property
    def times(self) -> np.ndarray | None:
        """Time of each row in ps, None where not known."""
        return self._times(0, self.n_frames)

    def numbered(self, index: int) -> Trajectory:
        """The same trajectory with another number; the source is shared."""
        return Trajectory(self._source, self.topology, self._frames, self.dt, self.label, index, self._trust_times)

    def select(self, atoms: Selection) -> np.ndarray:
        """Atom indices of a selection; see :func:`mdinsight.trajectories.select_atoms`."""
        return select_atoms(self.topology, atoms)

    def iter_chunks(self, size: int | None = None, atoms: Selection = None) -> Iterator[Chunk]:
        """All rows in chunks.

        Parameters
        ----------
        size
            Rows in a chunk; by default as many as take about 32 MB, and at most 10000.
        atoms
            A selection of atoms; only these are held in memory.

        Raises
        ------
        ParameterError
            If the size is not positive.
        """
        chosen = None if atoms is None else self.select(atoms)
        size = self.chunk_size(None if chosen is None else len(chosen)) if size is None else size
        if isinstance(size, bool) or int(size) != size or size < 1:
            raise ParameterError(f"size={size!r} is no number of frames; give at least 1")
        for start in range(0, self.n_frames, int(size)):
            yield self.read_chunk(start, min(start + int(size), self.n_frames), chosen)

    def chunk_size(self, n_atoms: int | None = None) -> int:
        """Rows that take about 32 MB, and whole blocks of the file where its frames are packed in blocks."""
        size = max(1, min(10_000, _CHUNK_BYTES // (12 * max(1, n_atoms or self.n_atoms))))
        block = self._source.scan.block
        return size if self._frames.step > 1 or block > size else size // block * block

    def read_chunk(self, start: int, stop: int, atoms: Selection = None) -> Chunk:
        """Rows ``start`` to ``stop`` (left out).

        Raises
        ------
        ParameterError
            If there are no such rows.
        NonFiniteError
            If a coordinate is NaN, infinite or beyond all sense (100 micrometres); the message names file and frame.
        CorruptFrameError
            If a frame cannot be decoded; its ``frame`` is the number in the file.
        """
        if not 0 <= start < stop <= self.n_frames:
            raise ParameterError(
                f"{self.label} has rows 0 to {self.n_frames - 1}; rows {start} to {stop - 1} were asked for"
            )
        chosen = None if atoms is None else self.select(atoms)
        frames = self._read(self._frames[start:stop], chosen)
        return Chunk(self.index, start, frames.xyz, self._times(start, stop), frames.box)

    def read(
        self, frames: Sequence[int] | np.ndarray | slice | None = None, atoms: Selection = None
    ) -> mdtraj.Trajectory:
        """Rows as an ``mdtraj.Trajectory``, for writing structures.

        Parameters
        ----------
        frames
            Row numbers in any order, also more than once; a slice; or None for all rows.
        atoms
            A selection of atoms; the topology is cut to it.

        Raises
        ------
        ParameterError
            If a row does not exist.
        """
        rows = np.arange(self.n_frames)[frames] if frames is None or isinstance(frames, slice) else np.asarray(frames)
        rows = rows.reshape(-1)
        if rows.dtype.kind not in "iu" and len(rows):
            raise ParameterError(f"rows of type {rows.dtype} are no row numbers; give ints")
        if len(rows) and (rows.min() < 0 or rows.max() >= self.n_frames):
            bad = int(rows.min() if rows.min() < 0 else rows.max())
            raise ParameterError(f"{self.label} has no row {bad}; it has rows 0 to {self.n_frames - 1}")
        chosen = None if atoms is None else self.select(atoms)
        unique, back = np.unique(rows.astype(np.int64), return_inverse=True)
        parts = [self._read(self._frames[a:b], chosen) for a, b in _runs(unique)]
        n_atoms = self.n_atoms if chosen is None else len(chosen)
        xyz = _joined([part.xyz for part in parts], back) if parts else np.empty((0, n_atoms, 3), np.float32)
        topology = self.topology if chosen is None else self.topology.subset(chosen)
        times = self.times
        time = np.asarray(rows if times is None else times[unique][back], np.float64)
        result = mdtraj.Trajectory(xyz, topology, time=time)
        if self.has_box and parts:
            result.unitcell_vectors = _joined([part.box for part in parts if part.box is not None], back)
        return result

    def _read(self, frames: range, atoms: np.ndarray | None) -> Frames:
        if atoms is None or is_rising(atoms):
            found = self._source.read(frames, atoms)
        else:
            ordered, back = np.unique(atoms, return_inverse=True)
            found = self._source.read(frames, ordered)
            found = Frames(np.ascontiguousarray(found.xyz[:, back]), found.box, found.reach)
        self._check_finite(found, frames, atoms)
        return found

    def _check_finite(self, found: Frames, frames: range, atoms: np.ndarray | None) -> None:
        box_ok = found.box is None or np.isfinite(found.box).all()
        if box_ok and found.reach < _FARTHEST:
            return
        if box_ok and found.xyz.max() < _FARTHEST and found.xyz.min() > -_FARTHEST:  # NaN is neither
            return
        bad = ~(np.abs(found.xyz) < _FARTHEST)
        name = self._source.label if self.path is None else self.path
        if not bad.any():
            row = int(np.argmax(~np.isfinite(found.box).all(axis=(1, 2))))  # type: ignore[arg-type]
            raise NonFiniteError(f"{name}, frame {frames[row]}: its box is not finite; {leave_out(frames[row])}")
        row, atom, axis = (int(i) for i in np.argwhere(bad)[0])
        number = atom if atoms is None else int(atoms[atom])
        raise NonFiniteError(
            f"{name}, frame {frames[row]}: {'xyz'[axis]} of atom {number} ({self.topology.atom(number)}) "
            f"is {found.xyz[row, atom, axis]} nm; the simulation or the file broke there: {leave_out(frames[row])}"
        )

    def _times(self, start: int, stop: int) -> np.ndarray | None:
        part = self._frames[start:stop]
        if self._source.scan.times is not None and self._trust_times:
            return self._source.scan.times[part.start : part.stop : part.step]
        return None if self.dt is None else np.arange(part.start, part.stop, part.step) * (self.dt / self._frames.step)


def _joined(arrays: list[np.ndarray], order: np.ndarray) -> np.ndarray:
    """The rows of all arrays in this order, in memory of their own; not copied where they have it already."""
    whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return whole if whole.flags.owndata and np.array_equal(order, np.arange(len(whole))) else whole[order]


def _runs(rows: np.ndarray) -> list[tuple[int, int]]:
    """[first, after) of the runs of consecutive numbers."""
    if not len(rows):
        return []
    edges = np.flatnonzero(np.diff(rows) != 1) + 1
    firsts, lasts = np.concatenate([[0], edges]), np.concatenate([edges, [len(rows)]])
    return [(int(rows[a]), int(rows[b - 1]) + 1) for a, b in zip(firsts, lasts, strict=True)]
