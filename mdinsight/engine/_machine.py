"""OpenMM made ready for a segment: one context, in which its trajectories run one after another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mdinsight import seeds, units
from mdinsight.bias import Sampler
from mdinsight.engine._broken import quarantine
from mdinsight.engine._output import TrajectoryFile
from mdinsight.errors import InstabilityError, is_interrupt

if TYPE_CHECKING:
    from mdinsight.engine._segment import Segment
    from mdinsight.engine._system import System

_FARTHEST = 1e5  # nm; the readers refuse what is farther out
_BROKEN = ("NaN", "nan", "infinite", "box size has decreased")
_REPEATS = "DeterministicForces"


class End(NamedTuple):
    """Where a trajectory ended: (n_atoms, 3) nm and nm/ps, box (3, 3) nm or None."""

    positions: np.ndarray
    velocities: np.ndarray
    box: np.ndarray | None


class Walker:
    """Steps, and saves a frame each stride; the Sampler of a bias takes it for an ``openmm.app.Simulation``.

    That one's reporters cost more than a step of a small molecule, and it never makes more than ten steps at a time.
    """

    def __init__(self, context: Any, integrator: Any, system: Any, stride: int) -> None:
        self.context, self.integrator, self.system = context, integrator, system
        self.stride = stride
        self.periodic = bool(system.usesPeriodicBoundaryConditions())
        self.file: TrajectoryFile | None = None
        self.sign = 1

    @property
    def currentStep(self) -> int:
        """Steps made since the start of the trajectory."""
        return int(self.context.getStepCount())

    def step(self, steps: int) -> None:
        """Make so many steps."""
        done = self.currentStep
        end = done + steps
        while done < end:
            stop = min(end, done + self.stride - done % self.stride)
            self.integrator.step(stop - done)
            done = stop
            if done % self.stride == 0:
                self.save(done)

    def save(self, step: int) -> None:
        """Save the frame as it is now."""
        state = self.context.getState(positions=True)
        xyz = state.getPositions(asNumpy=True)._value
        if not np.abs(xyz).max() <= _FARTHEST:
            raise InstabilityError(f"positions are NaN, infinite or farther out than {_FARTHEST:g} nm")
        if self.file is not None:
            box = state.getPeriodicBoxVectors(asNumpy=True)._value if self.periodic else None
            self.file.add(self.sign * step, xyz, box)


class Machine:
    """A context for a segment.

    The thermostat's random numbers run on from one trajectory of a swarm to the next: the segment as a whole is what can be
    repeated. To begin them anew for each would need a new context (``reinitialize`` takes as long as 400 steps of a small
    molecule) for nothing, since a segment is run as a whole or not at all.
    """

    def __init__(self, system: System, segment: Segment, folder: Path, properties: dict[str, str]) -> None:
        import openmm

        self.molecule, self.segment, self.folder = system, segment, folder
        self.system = system.openmm_system()
        hot = segment.temperature != system.temperature
        for number, force in enumerate(self.system.getForces()):
            if hasattr(force, "setRandomNumberSeed"):  # 0 would draw one
                force.setRandomNumberSeed(max(1, seeds.integer(segment.seed, "force", number)))
            if hot and "Barostat" in force.getName():
                force.setFrequency(0)
        self.sampler: Sampler | None = None
        if segment.bias is not None:
            self.sampler = Sampler(
                self.system,
                system.topology,
                start=segment.bias,
                form="compiled",  # "auto" on a GPU would measure, and might choose otherwise the next time
                record=segment.stride,
                aside=folder,
            )
        integrator = system.integrator(seeds.integer(segment.seed, "integrator"), segment.temperature)
        self.platform, self.version = system.chosen_platform(), openmm.Platform.getOpenMMVersion()
        platform = openmm.Platform.getPlatformByName(self.platform)
        known = platform.getPropertyNames()
        chosen = {_REPEATS: "true"} | properties
        chosen = {name: str(value) for name, value in chosen.items() if name in known}
        self.context = openmm.Context(self.system, integrator, platform, chosen)
        self.walker = Walker(self.context, integrator, self.system, segment.stride)
        masses = np.array([self.system.getParticleMass(i)._value for i in range(system.n_atoms)])
        self._inverse = np.divide(1.0, masses, out=np.zeros_like(masses), where=masses > 0)[:, None]
        self._kT = units.GAS_CONSTANT * segment.temperature
        self._tolerance = integrator.getConstraintTolerance()

    def trajectory(self, number: int, path: Path) -> End:
        """Run one trajectory into a file; where it ended.

        Raises
        ------
        InstabilityError
            After the start was saved for whoever wants to know why.
        """
        from openmm import OpenMMException

        start = self.segment.positions[number]
        velocities = np.zeros_like(start)
        try:
            with TrajectoryFile(path, self.molecule.timestep) as file:
                self.walker.file = file
                start, velocities, back = self._begin(number)
                if self.segment.two_way:
                    self._place(start, back, self._box(number))
                    self._go(-1)
                    file.turn()
                    self._place(start, velocities, self._box(number))
                if self.segment.two_way or self.segment.with_start:
                    self.walker.save(0)
                self._go(1)
                return self._end()
        except (OpenMMException, InstabilityError) as error:
            if is_interrupt(error):
                raise KeyboardInterrupt from error
            if not any(word in str(error) for word in _BROKEN) and not isinstance(error, InstabilityError):
                raise
            raise quarantine(self, number, start, velocities, str(error)) from error
        finally:
            self.walker.file = None

    def _go(self, sign: int) -> None:
        self.walker.sign = sign
        if self.sampler is not None:
            self.sampler.step(self.walker, self.segment.steps)
        else:
            self.walker.step(self.segment.steps)
        self.walker.sign = 1

    def _place(self, positions: np.ndarray, velocities: np.ndarray, box: np.ndarray | None) -> None:
        if box is not None:
            self.context.setPeriodicBoxVectors(*box)
        self.context.setPositions(positions)
        self.context.setVelocities(velocities)
        self.context.setTime(0.0)
        self.context.setStepCount(0)

    def _box(self, number: int) -> np.ndarray | None:
        return self.molecule.box if self.segment.boxes is None else self.segment.boxes[number]

    def _begin(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions that fulfil the constraints, velocities to go forwards with, and those to go backwards with.

        The integrator's velocities are those of half a step before the positions: it kicks first, by a whole step's force. So
        both directions begin half a kick behind, else the path through the start would have a kink there.
        """
        start = self.segment.positions[number]
        self._place(start, np.zeros_like(start), self._box(number))
        self.context.applyConstraints(self._tolerance)
        self.context.computeVirtualSites()
        given = self.segment.velocities
        if given is None:
            rng = seeds.generator(self.segment.seed, "velocities", number)
            drawn = rng.standard_normal(start.shape) * np.sqrt(self._kT * self._inverse)
            self.context.setVelocities(drawn)
            self.context.applyVelocityConstraints(self._tolerance)
        state = self.context.getState(positions=True, velocities=True, forces=True)
        start = state.getPositions(asNumpy=True)._value
        forces = state.getForces(asNumpy=True)._value
        if not np.isfinite(forces).all():
            raise InstabilityError("the forces at the start are NaN or infinite: atoms lie on each other")
        kick = self.molecule.timestep * self._inverse * forces
        if given is None:
            velocities = state.getVelocities(asNumpy=True)._value - 0.5 * kick
        else:
            velocities = given[number]
        self._place(start, velocities, self._box(number))
        return start, velocities, -velocities - kick

    def _end(self) -> End:
        state = self.context.getState(positions=True, velocities=True, energy=True)
        energies = state.getPotentialEnergy()._value, state.getKineticEnergy()._value
        if not np.isfinite(energies).all():
            raise InstabilityError("the energy is NaN or infinite")
        box = state.getPeriodicBoxVectors(asNumpy=True)._value if self.walker.periodic else None
        return End(state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value, box)
