"""What must hold before a bias is put into a system, and what is said when it does not."""

from __future__ import annotations

import hashlib
import logging
import numbers
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import mdtraj
import numpy as np

from mdinsight.bias._definitions import Fixed, Potential
from mdinsight.errors import BiasError, MdinsightError, ParameterError, TopologyError
from mdinsight.files import write_text

if TYPE_CHECKING:
    from mdinsight.bias._coordinate import Coordinate
    from mdinsight.bias._sampler import Sampler

_log = logging.getLogger(__name__)
_GPU = ("CUDA", "OpenCL", "HIP", "Metal")


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number of steps."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ParameterError(f"{name}={value!r} is no number of steps; give a whole number, at least {least}")
    return int(value)


def topology_of(thing: Any) -> mdtraj.Topology:
    """The mdtraj topology of an OpenMM one, or of anything that has one."""
    found = getattr(thing, "topology", thing)
    if isinstance(found, mdtraj.Topology):
        return found
    if type(found).__module__.startswith("openmm"):
        return mdtraj.Topology.from_openmm(found)
    raise ParameterError(f"topology={type(thing).__name__}: give an OpenMM or mdtraj topology")


def system_fits(system: Any, topology: mdtraj.Topology) -> None:
    """Refuse a topology of another number of atoms than the system's particles."""
    if system.getNumParticles() != topology.n_atoms:
        raise TopologyError(
            f"the system has {system.getNumParticles()} particles, the topology {topology.n_atoms} atoms, so the "
            "coordinate's atoms are not those of the system; give the topology that the system was made from"
        )


def stride(system: Any, every: int) -> None:
    """Refuse a bias that acts in some steps only together with what needs its energy in any step."""
    if every == 1:
        return
    names = [type(force).__name__ for force in system.getForces()]
    barostats = [name for name in names if "Barostat" in name]
    if barostats:
        raise ParameterError(
            f"every={every} with a {barostats[0]}: its trial moves need the energy of the bias in every step; use every=1"
        )


def same_coordinate(potentials: Sequence[Potential], coordinate: Coordinate) -> None:
    """Refuse a frozen bias that was made on another coordinate."""
    for potential in potentials:
        if isinstance(potential, Fixed) and potential.model.coordinate.hash != coordinate.hash:
            theirs = potential.model.coordinate
            raise BiasError(
                f"the frozen bias acts on {', '.join(theirs.names)} ({theirs.hash[:12]}), not on this coordinate, "
                f"{', '.join(coordinate.names)} ({coordinate.hash[:12]}); a bias is bound to the coordinate it was made on"
            )


def system_hash(system: Any) -> str:
    """Identity of a system: particles, constraints, forces and their parameters, without what only seeds the random numbers."""
    from openmm import XmlSerializer

    try:
        text = XmlSerializer.serialize(system)
    except Exception as error:  # a force that cannot be serialised, such as another bias
        _log.info("the system cannot be serialised (%s); only its masses identify it", error)
        text = repr([system.getParticleMass(i)._value for i in range(system.getNumParticles())])
    return hashlib.sha256(re.sub(r' (?:randomSeed|openmmVersion)="[^"]*"', "", text).encode()).hexdigest()


def free_group(system: Any) -> int:
    """A force group that no other force is in, so that the energy of the bias can be asked for alone."""
    taken = {force.getForceGroup() for force in system.getForces()}
    free = [group for group in range(31, 0, -1) if group not in taken]
    return free[0] if free else 0


def common_pace(states: Sequence[Any]) -> int | None:
    """The smallest pace of those that deposit."""
    paces = [state.pace for state in states if state.pace is not None]
    return min(paces) if paces else None


def walkers(simulations: Sequence[Any], sampler: Sampler) -> None:
    """Refuse simulations that cannot share the bias: of another temperature, of one seed, at different steps."""
    if sampler.shared is not None and len(simulations) > 1:
        raise ParameterError("a process that shares its bias runs one walker; start a process for each")
    used: dict[int, int] = {}
    steps = {int(simulation.currentStep) for simulation in simulations}
    if len(steps) > 1:
        raise ParameterError(f"the walkers stand at different steps {sorted(steps)}; bring them to one")
    for number, simulation in enumerate(simulations):
        integrator = simulation.integrator
        _temperature(integrator, sampler.temperature)
        if simulation.system.getNumParticles() != sampler.topology.n_atoms:
            raise TopologyError(f"walker {number} simulates another system than the Sampler was made for")
        if len(simulations) == 1 or not hasattr(integrator, "getRandomNumberSeed"):
            continue
        chosen = integrator.getRandomNumberSeed()
        if chosen and chosen in used:
            raise ParameterError(
                f"walkers {used[chosen]} and {number} have the same random seed {chosen}, so they would make the same moves; "
                "give each integrator.setRandomNumberSeed(sampler.walker_seed(number)) before its Simulation is made"
            )
        used[chosen] = number


def _temperature(integrator: Any, wanted: float) -> None:
    if not hasattr(integrator, "getTemperature"):
        return
    kelvin = integrator.getTemperature()._value
    if abs(kelvin - wanted) > 1e-6 * wanted:
        raise BiasError(f"the integrator runs at {kelvin:g} K, the bias was made for {wanted:g} K; give both the same")


def set_aside(simulation: Any, walker: int, last: Any, text: str) -> str:
    """Save what a broken walker looks like, and the last state that was sound; what to say about it."""
    from openmm import XmlSerializer

    step = int(simulation.currentStep)
    told = f"walker {walker} broke down at step {step}: {text.splitlines()[0] if text else 'NaN'}"
    try:
        state = simulation.context.getState(positions=True, velocities=True)
        xyz = state.getPositions(asNumpy=True)._value
        bad = np.flatnonzero(~np.isfinite(xyz).all(axis=1))
        if len(bad):
            told += f" ({len(bad)} atoms have NaN positions, the first is number {bad[0]})"
        files = [write_text(f"broken-walker{walker}-step{step}.xml", XmlSerializer.serialize(state))]
        if last is not None:
            name = f"broken-walker{walker}-last-sound.xml"
            files.append(write_text(name, XmlSerializer.serialize(last)))
        told += f". Saved as {' and '.join(str(file.resolve()) for file in files)}"
    except (MdinsightError, OSError, ValueError) as error:
        told += f". Its state could not be saved ({error})"
    return f"{told}. Nothing of it entered the bias; take a smaller time step, or minimise first"


def choose_form(sampler: Sampler, system: Any, form: str, platform: Any, positions: Any) -> str:
    """``compiled`` or ``native``; measured on a GPU where both are possible."""
    from mdinsight.bias._native import native_form

    if form not in ("auto", "compiled", "native"):
        raise ParameterError(f"form={form!r}; known are 'auto', 'compiled' and 'native'")
    reason = native_form(sampler.bound, sampler.states) or (
        "the force acts in some steps only" if sampler.every > 1 else None
    )
    if form == "native" and reason:
        raise ParameterError(f"form='native' is not possible: {reason}; use form='compiled'")
    if form != "auto":
        return form
    name = platform if isinstance(platform, str) or platform is None else platform.getName()
    if reason or name not in _GPU or positions is None:
        return "compiled"
    cost = {kind: _cost(sampler, system, kind, name, positions) for kind in ("compiled", "native")}
    best = min(cost, key=lambda kind: cost[kind])
    _log.info(
        "on %s a step with the bias takes %.0f us compiled, %.0f us native: %s is used",
        name,
        1e6 * cost["compiled"],
        1e6 * cost["native"],
        best,
    )
    return best


def _cost(sampler: Sampler, system: Any, form: str, platform: str, positions: Any, steps: int = 200) -> float:
    """Seconds a step on a copy of the system."""
    from copy import deepcopy

    from openmm import Context, LangevinMiddleIntegrator, Platform

    from mdinsight.bias._sampler import Sampler

    trial = deepcopy(system)
    made = Sampler(
        trial,
        sampler.topology,
        sampler.coordinate,
        sampler.potentials,
        sampler.temperature,
        every=sampler.every,
        form=form,
    )
    integrator = LangevinMiddleIntegrator(sampler.temperature, 1.0, 0.0005)
    context = Context(trial, integrator, Platform.getPlatformByName(platform))
    context.setPositions(positions)
    integrator.step(steps // 4)
    begin = time.perf_counter()
    integrator.step(steps)
    context.getState(energy=True)
    del made
    return (time.perf_counter() - begin) / steps
