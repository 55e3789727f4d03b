"""The files of a segment: written, opened again, counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mdinsight.bias import Sampler
from mdinsight.engine._segment_checks import parts_of
from mdinsight.errors import OutputError, TrajectoryError
from mdinsight.trajectories import Trajectories
from mdinsight.trajectories import open as open_trajectories

if TYPE_CHECKING:
    from mdinsight.engine._machine import End
    from mdinsight.engine._segment import Segment
    from mdinsight.engine._system import System

DEPOSITS = "deposits.npz"
_IN_MEMORY = 1 << 26  # bytes of frames that are kept before they are written


class TrajectoryFile:
    """An XTC file that is written in large pieces; what is added before :meth:`turn` is written in the reverse order.

    The frames of a way back are all kept in memory until it ends.
    """

    def __init__(self, path: Path, timestep: float) -> None:
        self.path, self.timestep = path, timestep
        self._xyz: list[np.ndarray] = []
        self._steps: list[int] = []
        self._boxes: list[np.ndarray] = []
        self._bytes = 0
        self._begun = False
        self._file: Any = None

    def __enter__(self) -> Self:
        from mdtraj.formats import XTCTrajectoryFile

        self._file = XTCTrajectoryFile(str(self.path), "w")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None or not issubclass(kind, OSError):  # what led to a breakdown is worth a look
                self._write()
        finally:
            self._file.close()
            if kind is not None and not self._begun:  # no frame, so no trajectory
                self.path.unlink(missing_ok=True)

    def add(self, step: int, xyz: np.ndarray, box: np.ndarray | None) -> None:
        """One frame: MD step, (n_atoms, 3) and (3, 3) nm."""
        frame = xyz.astype(np.float32)
        self._xyz.append(frame)
        self._steps.append(step)
        if box is not None:
            self._boxes.append(box)
        self._bytes += frame.nbytes
        if self._bytes > _IN_MEMORY and step >= 0:
            self._write()

    def turn(self) -> None:
        """Put what was added so far in reverse order."""
        for rows in (self._xyz, self._steps, self._boxes):
            rows.reverse()  # type: ignore[attr-defined]

    def _write(self) -> None:
        if self._xyz:
            steps = np.array(self._steps)
            times = (steps * self.timestep).astype(np.float32)
            boxes = np.array(self._boxes, np.float32) if self._boxes else None
            self._begun = True
            try:
                self._file.write(np.array(self._xyz), time=times, step=steps.astype(np.int32), box=boxes)
            except RuntimeError as error:
                raise OSError(f"{self.path.name}: {error}") from error
        self._xyz, self._steps, self._boxes, self._bytes = [], [], [], 0


def arrays(folder: Path, segment: Segment, ends: Sequence[End]) -> None:
    """``lengths.npy`` and ``end.npz``."""
    np.save(folder / "lengths.npy", np.full(segment.n_trajectories, segment.n_frames, np.int64), allow_pickle=False)
    found: dict[str, Any] = {
        "positions": np.array([end.positions for end in ends]),
        "velocities": np.array([e.velocities for e in ends]),
    }
    boxes = [end.box for end in ends if end.box is not None]
    if boxes:
        found["boxes"] = np.array(boxes)
    np.savez(folder / "end.npz", **found)


def bias(folder: Path, sampler: Sampler) -> None:
    """``trace.mdi``, ``bias.mdi`` and ``deposits.npz``."""
    sampler.trace.save(folder / "trace.mdi")
    sampler.model.save(folder / "bias.mdi")
    deposits: dict[str, Any] = {str(number): rows for number, rows in enumerate(sampler.deposits())}
    np.savez(folder / DEPOSITS, **deposits)


def features(folder: Path, system: System, segment: Segment, names: Sequence[str]) -> None:
    """Open the trajectories again, count their frames, and write ``features.npy`` of what was read.

    Raises
    ------
    OutputError
        If a file is torn: the library that writes XTC does not tell of a disk that is full when it closes the file.
    """
    paths = [folder / name for name in names]
    try:
        found = open_trajectories(paths, top=system.topology)
    except TrajectoryError as error:
        raise OutputError(f"{segment.name}: {error}: it was not written whole; make room on the disk") from error
    lengths = {path.name: 0 for path in paths}
    for trajectory in found:
        lengths[trajectory.path.name] += trajectory.n_frames  # type: ignore[union-attr]
    torn = [name for name, length in lengths.items() if length != segment.n_frames]
    if torn or len(found) != len(paths):
        name = torn[0] if torn else names[0]
        raise OutputError(
            f"{folder / name} holds {lengths[name]} of {segment.n_frames} frames ({len(torn)} of {len(paths)} "
            "files are not whole); make room on the disk"
        )
    if segment.features is not None:
        np.save(folder / "features.npy", _values(segment.features, found), allow_pickle=False)


def _values(what: Any, trajectories: Trajectories) -> np.ndarray:
    """(n_frames, n_columns) float64 of all frames in order; no cache is read or written."""
    columns = []
    for features, cv in parts_of(what):
        series = features.transform(trajectories, workers=1, cache=False)
        columns.append(np.vstack((series if cv is None else cv.transform(series)).arrays))
    return np.hstack(columns).astype(np.float64)
