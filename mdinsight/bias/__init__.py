"""Bias: a potential on a frozen coordinate inside OpenMM, and the free energies that follow from it.

>>> sampler = Sampler(system, topology, tica.model, OPES(barrier="40 kJ/mol"), temperature=300)  # doctest: +SKIP
>>> simulation = app.Simulation(topology, system, integrator)  # doctest: +SKIP
>>> sampler.run(simulation, 5_000_000, "run.mdi")  # doctest: +SKIP
"""

from __future__ import annotations

from mdinsight.bias._colvar import read_colvar, read_trace
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
from mdinsight.bias._hills import Hills, read_hills, write_hills
from mdinsight.bias._model import BiasModel
from mdinsight.bias._plumed import to_plumed
from mdinsight.bias._sampler import Sampler
from mdinsight.bias._save import MDState, SavedRun
from mdinsight.bias._torchscript import to_torchscript
from mdinsight.bias._trace import Trace

__all__ = [
    "OPES",
    "BiasModel",
    "BoundCoordinate",
    "Coordinate",
    "Fixed",
    "Hills",
    "LowerWall",
    "MDState",
    "Metadynamics",
    "Piece",
    "Potential",
    "Sampler",
    "SavedRun",
    "Trace",
    "Umbrella",
    "UpperWall",
    "from_deeptime",
    "from_mlcolvar",
    "read_colvar",
    "read_hills",
    "read_trace",
    "to_plumed",
    "to_torchscript",
    "umbrella_windows",
    "write_hills",
]
