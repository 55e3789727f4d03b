"""Bias: a potential on a frozen coordinate inside OpenMM, and the free energies that follow from it.

>>> sampler = Sampler(system, topology, tica.model, OPES(barrier="40 kJ/mol"), temperature=300)  # doctest: +SKIP
>>> simulation = app.Simulation(topology, system, integrator)  # doctest: +SKIP
>>> sampler.run(simulation, 5_000_000, "run.mdi")  # doctest: +SKIP
"""

from __future__ import annotations

from mdinsight.bias._colvar import read_colvar, read_trace
from mdinsight.bias._convergence import Convergence, convergence
from mdinsight.bias._coordinate import BoundCoordinate, Coordinate, Piece
from mdinsight.bias._definitions import (
    OPES,
    Fixed,
    LowerWall,
    Metadynamics,
    Potential,
    Umbrella,
    UpperWall,
    umbrella_windows,
)
from mdinsight.bias._exchange import from_deeptime, from_mlcolvar
from mdinsight.bias._free_energy import FreeEnergyDifference, free_energy_difference, free_energy_surface
from mdinsight.bias._hills import Hills, read_hills, write_hills
from mdinsight.bias._mbar import Reweighting, mbar, snapshot_of
from mdinsight.bias._merge import merged
from mdinsight.bias._model import BiasModel
from mdinsight.bias._offsets import offsets
from mdinsight.bias._plumed import to_plumed
from mdinsight.bias._sampler import Sampler
from mdinsight.bias._save import MDState, SavedRun
from mdinsight.bias._torchscript import to_torchscript
from mdinsight.bias._trace import Trace
from mdinsight.bias._weights import effective_sample_size, frame_weights, transient

__all__ = [
    "OPES",
    "BiasModel",
    "BoundCoordinate",
    "Convergence",
    "Coordinate",
    "Fixed",
    "FreeEnergyDifference",
    "Hills",
    "LowerWall",
    "MDState",
    "Metadynamics",
    "Piece",
    "Potential",
    "Reweighting",
    "Sampler",
    "SavedRun",
    "Trace",
    "Umbrella",
    "UpperWall",
    "convergence",
    "effective_sample_size",
    "frame_weights",
    "free_energy_difference",
    "free_energy_surface",
    "from_deeptime",
    "from_mlcolvar",
    "mbar",
    "merged",
    "offsets",
    "read_colvar",
    "read_hills",
    "read_trace",
    "snapshot_of",
    "to_plumed",
    "to_torchscript",
    "transient",
    "umbrella_windows",
    "write_hills",
]
