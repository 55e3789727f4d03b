"""Files to frames: open, scan, stream in chunks, salvage what is torn. One reader a format stands in ``_formats``."""

from __future__ import annotations

from mdinsight.trajectories._open import open
from mdinsight.trajectories._topology import Selection, load_topology, select_atoms, topology_hash
from mdinsight.trajectories._trajectories import Trajectories
from mdinsight.trajectories._trajectory import Chunk, Trajectory

__all__ = [
    "Chunk",
    "Selection",
    "Trajectories",
    "Trajectory",
    "load_topology",
    "open",
    "select_atoms",
    "topology_hash",
]
