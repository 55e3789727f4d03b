"""How often the data were seen to go from one macrostate to another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mdinsight.states import Discrete


def jump_sequences(discrete: Discrete) -> tuple[np.ndarray, np.ndarray]:
    """The states in the order visited, repeats left out, and where each trajectory starts: all that crossings depend
    on."""
    pieces = [array[np.concatenate([[True], array[1:] != array[:-1]])] for array in discrete.arrays]
    starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
    return np.concatenate(pieces).astype(np.int32), starts.astype(np.int64)


def count_crossings(jumps: np.ndarray, starts: np.ndarray, cores: Sequence[np.ndarray]) -> np.ndarray:
    """Events (n, n): the data left core i and met core j next, within one trajectory.

    A trajectory belongs to the core that it was last in, so that going back and forth over a border is no event
    (milestoning, 10.1063/1.3590108).

    Parameters
    ----------
    jumps, starts
        As :func:`jump_sequences` gives them.
    cores
        The states of each core, in the numbers of ``jumps``.
    """
    n = len(cores)
    owner = np.full(1 + max(int(jumps.max()), *(int(core.max()) for core in cores)), -1, dtype=np.int64)
    for number, core in enumerate(cores):
        owner[core] = number
    events = np.zeros((n, n), dtype=np.int64)
    for begin, end in pairwise(starts):
        visits = owner[jumps[begin:end]]
        visits = visits[visits >= 0]
        change = np.flatnonzero(visits[1:] != visits[:-1])
        np.add.at(events, (visits[change], visits[change + 1]), 1)
    return events
