"""What a system holds: forces, atoms, positions, and the conditions that it is run under."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any, Self

import mdtraj
import numpy as np

from mdinsight import units
from mdinsight.engine import _platforms, _topology
from mdinsight.engine._checks import (
    box_of,
    check_box,
    check_positions,
    plain_lengths,
    positive,
    same_atoms,
    without_version,
)
from mdinsight.records import Model


class SystemValue(Model):
    """What a system holds, and what follows from it alone; see :class:`mdinsight.engine.System`."""

    xml: str
    molecule: dict[str, Any]
    positions: np.ndarray
    box: np.ndarray | None = None
    temperature: float = 300.0
    timestep: float = 0.002
    friction: float = 1.0
    platform: str = ""
    description: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        positions = np.asarray(self.positions, np.float64)
        box = None if self.box is None else np.asarray(self.box, np.float64)
        check_positions(positions, self.molecule)
        check_box(box)
        for name, value in (("positions", positions), ("box", box)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "temperature", units.temperature(self.temperature))
        object.__setattr__(self, "timestep", positive("timestep", units.time(self.timestep, "timestep"), "ps"))
        object.__setattr__(self, "friction", positive("friction", self.friction, "1/ps"))
        _platforms.check_name(self.platform)
        super().__post_init__()

    @classmethod
    def from_openmm(
        cls,
        system: Any,
        topology: Any,
        positions: Any,
        temperature: Any = 300.0,
        timestep: Any = 0.002,
        friction: float = 1.0,
        platform: str = "",
        box: Any = None,
        description: dict[str, str] | None = None,
    ) -> Self:
        """A system that was made with OpenMM.

        Parameters
        ----------
        system
            An ``openmm.System``; it is copied.
        topology
            Of OpenMM or mdtraj, its atoms in the order of the system's particles.
        positions
            (n_atoms, 3) in nm, or an OpenMM Quantity.
        temperature, timestep, friction
            K, ps (or a string such as ``"4 fs"``), 1/ps.
        platform
            A platform of OpenMM by name; ``""`` chooses one.
        box
            Three vectors in nm. By default that of the topology, else of the system, if the system is periodic.
        description
            What was done to make it.

        Raises
        ------
        TopologyError
            If topology, positions and system are not of the same atoms.
        NonFiniteError
            If a position is NaN or infinite.
        ParameterError
            If the temperature, time step, platform or box cannot be.
        """
        from openmm import XmlSerializer

        molecule = _topology.pack(topology)
        same_atoms(system, molecule)
        vectors = box_of(system, topology, box)
        return cls(
            without_version(XmlSerializer.serialize(system)),
            molecule,
            plain_lengths(positions, "positions"),
            vectors,
            temperature,
            timestep,
            friction,
            platform,
            dict(description or {}),
        )

    @property
    def n_atoms(self) -> int:
        """Number of atoms, virtual sites included."""
        return len(self.positions)

    @cached_property
    def topology(self) -> mdtraj.Topology:
        """The mdtraj topology."""
        return mdtraj.Topology.from_openmm(self.openmm_topology())

    def openmm_topology(self) -> Any:
        """A fresh ``openmm.app.Topology`` with the box of the system."""
        return _topology.unpack(self.molecule, self.box)

    def openmm_system(self) -> Any:
        """A fresh ``openmm.System`` whose default box is that of the system."""
        from openmm import Vec3, XmlSerializer

        system = XmlSerializer.deserialize(self.xml)
        if self.box is not None:
            system.setDefaultPeriodicBoxVectors(*(Vec3(*map(float, row)) for row in self.box))
        return system

    def integrator(self, seed: int, temperature: float | None = None) -> Any:
        """A fresh Langevin (middle scheme, 10.1021/acs.jpca.9b02771) integrator with the system's step and friction.

        Parameters
        ----------
        seed
            A positive int of 31 bits (``mdinsight.seeds.integer``); 0 would let OpenMM draw one.
        temperature
            K; the system's own by default.
        """
        from openmm import LangevinMiddleIntegrator

        integrator = LangevinMiddleIntegrator(temperature or self.temperature, self.friction, self.timestep)
        integrator.setRandomNumberSeed(max(1, int(seed)))
        return integrator

    @property
    def kT(self) -> float:
        """Thermal energy, kJ/mol."""
        return units.GAS_CONSTANT * self.temperature

    @cached_property
    def solute(self) -> np.ndarray:
        """Indices (int64) of the atoms that are neither water nor ions."""
        return _topology.solute(self.molecule)

    @property
    def n_solute(self) -> int:
        """Number of atoms that are neither water nor ions."""
        return len(self.solute)

    @cached_property
    def degrees_of_freedom(self) -> int:
        """Three for each particle with mass, less constraints, less three where the motion of the centre of mass is removed."""
        system = self.openmm_system()
        massive = [system.getParticleMass(i)._value > 0 for i in range(system.getNumParticles())]
        pairs = (system.getConstraintParameters(i)[:2] for i in range(system.getNumConstraints()))
        constraints = sum(massive[a] or massive[b] for a, b in pairs)
        removed = any(force.getName() == "CMMotionRemover" for force in system.getForces())
        return 3 * sum(massive) - constraints - 3 * removed

    def with_positions(self, positions: Any, box: Any = None) -> Self:
        """The same system with other positions (n_atoms, 3) and, if given, another box (3, 3); both in nm."""
        changes: dict[str, Any] = {"positions": plain_lengths(positions, "positions")}
        if box is not None:
            changes["box"] = plain_lengths(box, "box")
        return self.replace(**changes)

    def __repr__(self) -> str:
        box = "no box" if self.box is None else "box " + " x ".join(f"{x:.2f}" for x in np.diag(self.box)) + " nm"
        made = "".join(f"; {self.description[key]}" for key in ("forcefield", "solvent") if key in self.description)
        return f"<{type(self).__name__}: {self.n_atoms} atoms, {box}, {self.temperature:g} K{made}; {self.hash[:12]}>"
