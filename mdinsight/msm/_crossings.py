"""How often the data were seen to go from one macrostate to another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from mdinsight.states import Discrete

STRAY = 0.2
"""Part of the lag after an event that may be spent in other cores: frames assigned wrongly, and recrossings."""


def jump_sequences(discrete: Discrete) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The states in the order visited, the frames spent at each visit, and where each trajectory starts: all that
    crossings depend on."""
    jumps, frames = [], []
    for array in discrete.arrays:
        begins = np.flatnonzero(np.concatenate([[True], array[1:] != array[:-1]]))
        jumps.append(array[begins])
        frames.append(np.diff(begins, append=len(array)))
    starts = np.concatenate([[0], np.cumsum([len(piece) for piece in jumps])])
    return np.concatenate(jumps).astype(np.int32), np.concatenate(frames).astype(np.int32), starts.astype(np.int64)


def count_crossings(
    jumps: np.ndarray, frames: np.ndarray, starts: np.ndarray, cores: Sequence[np.ndarray], lag: int
) -> np.ndarray:
    """Events (n, n): the data left core i and settled in core j next, within one trajectory; see
    :func:`count_events`.

    Parameters
    ----------
    jumps, frames, starts
        As :func:`jump_sequences` gives them.
    cores
        The states of each core, in the numbers of ``jumps``.
    lag
        In frames.
    """
    owner = np.full(1 + max(int(jumps.max()), *(int(core.max()) for core in cores)), -1, dtype=np.int32)
    for number, core in enumerate(cores):
        owner[core] = number
    paths = (np.repeat(owner[jumps[begin:end]], frames[begin:end]) for begin, end in pairwise(starts))
    return count_events(paths, len(cores), lag)


def count_events(paths: Iterable[np.ndarray], n: int, lag: int) -> np.ndarray:
    """Events (n, n): trajectories left core i and settled in core j next.

    A trajectory belongs to the core that it last settled in, so that going back and forth over a border is no event
    (milestoning, 10.1063/1.3590108). It settles in a core where it spends no more than a fifth of the next lag in
    others: a visit of a few frames, which may be a frame assigned to the wrong state, is not seen by a model at this
    lag and is no event.

    Parameters
    ----------
    paths
        The core that each frame of a trajectory is in, -1 between cores.
    n
        Number of cores.
    lag
        In frames.
    """
    events = np.zeros((n, n), dtype=np.int64)
    for path in paths:
        windows = len(path) - lag + 1
        if windows < 2:
            continue
        settled = np.full(windows, -1, dtype=np.int64)
        anywhere = _in_next(path >= 0, lag)
        for number in range(n):
            inside = path == number
            strays = anywhere - _in_next(inside, lag)
            settled[inside[:windows] & (strays <= STRAY * lag)] = number
        settled = settled[settled >= 0]
        change = np.flatnonzero(settled[1:] != settled[:-1])
        np.add.at(events, (settled[change], settled[change + 1]), 1)
    return events


def _in_next(inside: np.ndarray, lag: int) -> np.ndarray:
    """How many of the ``lag`` frames from each frame on are inside."""
    total = np.concatenate([[0], np.cumsum(inside)])
    return total[lag:] - total[:-lag]
