"""The trajectories behind one or several streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import mdtraj

from mdinsight.errors import ParameterError
from mdinsight.parallel import Workers, check_workers
from mdinsight.progress import Progress
from mdinsight.trajectories import Trajectory
from mdinsight.trajectories import open as open_trajectories


@dataclass
class Files:
    """What several streams over the same trajectories share: how they are read, and where a corrupt frame ends one."""

    trajectories: tuple[Trajectory, ...]
    dt: float | None
    workers: Workers = None
    chunk: int | None = None
    progress: Progress = False
    lengths: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.lengths = tuple(trajectory.n_frames for trajectory in self.trajectories)

    @classmethod
    def of(cls, trajs: Any, workers: Workers, chunk: int | None, progress: Progress, who: str) -> Files:
        """Trajectories as ``mdinsight.open`` gives them, one of them, or ``mdtraj.Trajectory`` objects, given to ``who``."""
        check_workers(workers)
        if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
            raise ParameterError(f"chunk={chunk!r} is no number of frames; give at least 1, or None")
        trajectories = _trajectories(trajs, who)
        if isinstance(trajs, (mdtraj.Trajectory, Trajectory)) or not hasattr(trajs, "dt"):
            steps = {trajectory.dt for trajectory in trajectories}
            dt = steps.pop() if len(steps) == 1 else None
        else:
            dt = trajs.dt
        return cls(tuple(trajectories), dt, workers, chunk, progress)


def _trajectories(trajs: Any, who: str) -> Sequence[Trajectory]:
    """Trajectories out of a data set, one trajectory of it, or one ``mdtraj.Trajectory``."""
    if isinstance(trajs, mdtraj.Trajectory):
        trajs = open_trajectories(trajs)
    if isinstance(trajs, Trajectory):
        return [trajs]
    found = list(trajs) if isinstance(trajs, Sequence) and not isinstance(trajs, (str, bytes)) else []
    if found and all(isinstance(t, mdtraj.Trajectory) for t in found):
        found = list(open_trajectories(found))
    if not found or not all(isinstance(t, Trajectory) for t in found):
        raise ParameterError(
            f"{who} needs what mdinsight.open gives, or mdtraj.Trajectory objects; got {_told(trajs)}; give "
            "mdinsight.open(paths, top=...), with all paths in one list"
        )
    return found


def _told(given: Any) -> str:
    if isinstance(given, (list, tuple)) and given:
        return f"a {type(given).__name__} of {' and '.join(dict.fromkeys(type(item).__name__ for item in given))}"
    return repr(given) if isinstance(given, str) else type(given).__name__
