"""Discrete trajectories to transition counts on the largest connected set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from deeptime.markov import TransitionCountEstimator

from mdinsight import units
from mdinsight.errors import ConnectivityError, DataWarning, DegenerateError, LagError, ParameterError, warn_user
from mdinsight.msm._connectivity import Connectivity, connected_sets, describe
from mdinsight.states import Discrete

MODES = ("sliding", "effective", "sample")


@dataclass(frozen=True)
class Counts:
    """Transitions counted at one lag, in full and on the connected set.

    ``full`` is (n_states, n_states) in the original numbering; ``matrix`` its part on ``active`` (original numbers,
    ascending); ``used`` the trajectories that are longer than the lag.
    """

    full: np.ndarray
    matrix: np.ndarray
    active: np.ndarray
    connectivity: Connectivity
    lag: int
    mode: str
    used: Discrete


def check_lag(lag: Any, discrete: Discrete, name: str = "lag") -> int:
    """A lag in frames that at least one trajectory is longer than.

    Raises
    ------
    LagError
        If it is longer than every trajectory, is no multiple of the time step, or is not positive.
    """
    frames = units.lag_frames(lag, discrete.dt, name)
    longest = int(discrete.lengths.max())
    if frames >= longest:
        raise LagError(
            f"{name}={units.told_lag(lag, frames, discrete.dt)} is not shorter than the longest of the {len(discrete)} "
            f"trajectories ({units.told_lag(lag, longest, discrete.dt)}); take a shorter lag or longer trajectories"
        )
    return frames


def check_mode(counting: str) -> str:
    """A way of counting by name."""
    if counting not in MODES:
        raise ParameterError(f"counting={counting!r} is not known; take one of {', '.join(map(repr, MODES))}")
    return counting


def count_matrix(discrete: Discrete, lag: int, mode: str) -> np.ndarray:
    """Counts between all states, (n_states, n_states); no pair crosses the end of a trajectory."""
    arrays = [array for array in discrete.arrays if len(array) > lag]
    counts = np.asarray(TransitionCountEstimator.count(mode, arrays, lag, n_jobs=1), dtype=np.float64)
    missing = discrete.n_states - len(counts)
    return np.pad(counts, (0, missing)) if missing > 0 else counts


def count(discrete: Discrete, lag: int, mode: str, warn: bool = True) -> Counts:
    """Count at a lag and find the connected set that holds most counts.

    Raises
    ------
    DegenerateError
        If only one state is visited.
    ConnectivityError
        If no two states are connected in both directions.
    """
    visited = np.flatnonzero(discrete.histogram())
    if len(visited) == 1:
        raise DegenerateError(
            f"all {discrete.n_frames} frames are in the single state {visited[0]}; a Markov model needs at least two: "
            "take more states, or another coordinate"
        )
    used = discrete.take([i for i, array in enumerate(discrete.arrays) if len(array) > lag])
    if warn and len(used) < len(discrete):
        warn_user(
            f"{len(discrete) - len(used)} of {len(discrete)} trajectories are not longer than the lag of "
            f"{units.format_lag(lag, discrete.dt)} and are left out of the counts "
            f"({discrete.n_frames - used.n_frames} of {discrete.n_frames} frames)",
            DataWarning,
        )
    full = count_matrix(discrete, lag, mode)
    active = next((members for members in connected_sets(full) if len(members) > 1), None)
    if active is None:
        record = describe(full, connected_sets(full)[0], discrete)
        raise ConnectivityError(
            f"at lag {units.format_lag(lag, discrete.dt)} no two of the {len(visited)} states are connected by "
            f"transitions in both directions, so nothing can be estimated: {'; '.join(map(str, record.gaps[:3]))}. "
            "Run more or longer trajectories, or take a shorter lag or fewer states"
        )
    matrix = full[np.ix_(active, active)]
    return Counts(full, matrix, active, describe(full, active, discrete), lag, mode, used)
