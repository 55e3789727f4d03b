"""A system brought to where MD can begin: minimised, and run for a short while."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight import seeds, units
from mdinsight.engine._checks import atom_name
from mdinsight.engine._platforms import properties
from mdinsight.errors import InstabilityError, ParameterError
from mdinsight.words import counted

if TYPE_CHECKING:
    from mdinsight.engine._system import System

_log = logging.getLogger(__name__)
_DEFAULT = {False: 10.0, True: 100.0}  # ps without and with a box
_PRESSURE = 1.0  # bar
_BLOCKS = 40  # looks at the box in the second half of a run at constant pressure
_FARTHEST = 1e5  # nm


def prepare(system: System, seed: int, equilibrate: Any) -> System:
    """See :meth:`System.prepared`."""
    periodic = system.box is not None
    time = _DEFAULT[periodic] if equilibrate is None else units.time(equilibrate, "equilibrate")
    if time < 0:
        raise ParameterError(
            f"equilibrate={equilibrate!r} is negative; give a time such as '10 ps', or 0 to minimise only"
        )
    steps = math.ceil(time / system.timestep - 1e-6)
    context, integrator = _context(system, seed, barostat=periodic and steps > 0)
    before, after = _minimise(context, integrator, system)
    said = f"minimised from {before:.6g} to {after:.6g} kJ/mol"
    if not steps:
        return _result(system, _positions(context), system.box, said)
    context.setVelocitiesToTemperature(system.temperature, seeds.integer(seed, "prepare", "velocities") or 1)
    if not periodic:
        _step(integrator, context, steps, system)
        return _result(
            system, _positions(context), None, f"{said}; {units.format_time(time)} at {system.temperature:g} K"
        )
    positions, box = _at_pressure(integrator, context, steps, system)
    said = (
        f"{said}; {units.format_time(time)} at {system.temperature:g} K and {_PRESSURE:g} bar, box near its mean volume"
    )
    return _result(system, positions, box, said)


def _context(system: System, seed: int, barostat: bool) -> tuple[Any, Any]:
    import openmm

    ready = system.openmm_system()
    if barostat and not any("Barostat" in force.getName() for force in ready.getForces()):
        force = openmm.MonteCarloBarostat(_PRESSURE, system.temperature, 25)
        force.setRandomNumberSeed(seeds.integer(seed, "prepare", "barostat") or 1)
        ready.addForce(force)
    integrator = system.integrator(seeds.integer(seed, "prepare", "noise"))
    platform = openmm.Platform.getPlatformByName(system.chosen_platform())
    context = openmm.Context(ready, integrator, platform, properties(platform))
    context.setPositions(system.positions)
    return context, integrator


def _minimise(context: Any, integrator: Any, system: System) -> tuple[float, float]:
    """The energies before and after, kJ/mol."""
    import openmm

    try:
        context.applyConstraints(integrator.getConstraintTolerance())
        context.computeVirtualSites()
        before = _energy(context)
        if math.isnan(before):  # the minimiser would go on for ever
            raise InstabilityError(f"the energy of the structure is NaN{_closest(system)}")
        openmm.LocalEnergyMinimizer.minimize(context)
        after = _energy(context)
    except openmm.OpenMMException as error:
        raise InstabilityError(f"the structure cannot be minimised ({error}){_closest(system)}") from error
    if not math.isfinite(after):
        raise InstabilityError(f"the energy is {after} after minimisation{_closest(system)}")
    if after > before + 1e-3 * abs(before) + 1.0:
        raise InstabilityError(
            f"minimisation did not lower the energy: {before:.6g} kJ/mol before, {after:.6g} after; the forces do not fit the "
            f"energies or the structure{_closest(system)}"
        )
    return before, after


def _closest(system: System) -> str:
    """Which two atoms are nearest, and what to do."""
    from scipy.spatial import KDTree

    if system.n_atoms < 2:
        return "; give another structure"
    distances, partners = KDTree(system.positions).query(system.positions, k=2)
    first = int(np.argmin(distances[:, 1]))
    names = f"{atom_name(system.molecule, first)} and {atom_name(system.molecule, int(partners[first, 1]))}"
    return f"; the nearest atoms are {names}, {distances[first, 1]:.3g} nm apart; give a structure without overlaps"


def _step(integrator: Any, context: Any, steps: int, system: System) -> None:
    """Run; a run that breaks down is an error."""
    import openmm

    done = int(context.getStepCount())
    try:
        integrator.step(steps)
        xyz = _positions(context)
        reason = "" if np.abs(xyz).max() < _FARTHEST else "NaN or far away positions"
    except openmm.OpenMMException as error:
        reason = str(error)
    if reason:
        at = units.format_time(done * system.timestep)
        raise InstabilityError(
            f"equilibration broke down in the {units.format_time(steps * system.timestep)} after {at} ({reason}); take a smaller "
            f"step than {units.format_time(system.timestep)} (timestep=), or look at the structure"
        )


def _at_pressure(integrator: Any, context: Any, steps: int, system: System) -> tuple[np.ndarray, np.ndarray]:
    """Run at constant pressure.

    Positions and box of the moment of the second half whose volume is nearest to the mean there.
    """
    half = steps // 2
    _step(integrator, context, half, system)
    edges = np.unique(np.linspace(half, steps, _BLOCKS + 1).astype(int))
    seen = []
    for length in np.diff(edges):
        _step(integrator, context, int(length), system)
        state = context.getState(positions=True)
        seen.append((state.getPositions(asNumpy=True)._value, state.getPeriodicBoxVectors(asNumpy=True)._value))
    if not seen:
        raise ParameterError(
            f"equilibrate is {counted(steps, 'step')}; give more, e.g. '100 ps', or 0 to minimise only"
        )
    volumes = np.array([np.linalg.det(box) for _, box in seen])
    return seen[int(np.argmin(np.abs(volumes - volumes.mean())))]


def _result(system: System, positions: np.ndarray, box: np.ndarray | None, said: str) -> System:
    _log.info("%s", said)
    ready = system.with_positions(positions, box)
    return ready.replace(description={**system.description, "prepared": said})


def _positions(context: Any) -> np.ndarray:
    return np.array(context.getState(positions=True).getPositions(asNumpy=True)._value)


def _energy(context: Any) -> float:
    return float(context.getState(energy=True).getPotentialEnergy()._value)
