"""A data set: several trajectories, of one or several topologies, with one time step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import mdtraj
import numpy as np

from mdinsight.errors import ParameterError, TopologyError
from mdinsight.trajectories._summary import summarize
from mdinsight.trajectories._topology import Selection
from mdinsight.trajectories._trajectory import Chunk, Trajectory
from mdinsight.words import counted


class Trajectories(Sequence[Trajectory]):
    """What :func:`mdinsight.open` gives; printing it tells what was found.

    Parameters
    ----------
    trajectories
        The pieces, numbered anew in this order.
    notes
        What was found while opening: torn tails, gaps, repeated frames.

    Raises
    ------
    ParameterError
        If there is none.
    """

    def __init__(self, trajectories: Sequence[Trajectory], notes: Sequence[str] = ()) -> None:
        if not trajectories:
            raise ParameterError("a data set needs at least one trajectory; got none")
        self._items = tuple(item.numbered(number) for number, item in enumerate(trajectories))
        self.notes = tuple(notes)
        seen: dict[int, mdtraj.Topology] = {id(item.topology): item.topology for item in self._items}
        self.topologies: tuple[mdtraj.Topology, ...] = tuple(seen.values())
        """The distinct topologies, in the order in which they come."""

    @overload
    def __getitem__(self, index: int) -> Trajectory: ...
    @overload
    def __getitem__(self, index: slice) -> Trajectories: ...
    def __getitem__(self, index: int | slice) -> Trajectory | Trajectories:
        if isinstance(index, slice):
            return Trajectories(self._items[index], self.notes)
        try:
            return self._items[index]
        except IndexError:
            raise IndexError(
                f"there is no trajectory {index}; this data set has {counted(len(self), 'trajectory')}, counted from 0"
            ) from None

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return self.summary()

    @property
    def n_frames(self) -> int:
        """Frames in all trajectories together."""
        return sum(item.n_frames for item in self._items)

    @property
    def n_atoms(self) -> int:
        """Atoms in a frame.

        Raises
        ------
        TopologyError
            If the trajectories have different numbers of atoms.
        """
        counts = sorted({item.n_atoms for item in self._items})
        if len(counts) > 1:
            raise TopologyError(
                f"the trajectories have different numbers of atoms ({', '.join(map(str, counts))}); ask each of them"
            )
        return counts[0]

    @property
    def dt(self) -> float | None:
        """Time between frames in ps, one for all; None where it is not known."""
        return self._items[0].dt

    @property
    def has_box(self) -> bool:
        """Whether every frame of every trajectory has a periodic box."""
        return all(item.has_box for item in self._items)

    def summary(self) -> str:
        """What was found: files, frames, time step, atoms, box, and what is torn, missing or repeated."""
        return summarize(self._items, self.topologies, self.notes)

    def iter_chunks(self, size: int | None = None, atoms: Selection = None) -> Iterator[Chunk]:
        """All rows of all trajectories in chunks; a chunk never holds rows of two trajectories.

        ``atoms`` given as a selection string is resolved in each topology.
        """
        for item in self._items:
            yield from item.iter_chunks(size, atoms)

    def load(
        self, index: int, frames: Sequence[int] | np.ndarray | slice | None = None, atoms: Selection = None
    ) -> mdtraj.Trajectory:
        """Rows of one trajectory; see :meth:`Trajectory.read`."""
        return self[index].read(frames, atoms)
