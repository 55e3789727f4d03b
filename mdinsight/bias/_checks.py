"""What must hold before a bias is put into a system, and what is said when it does not."""

from __future__ import annotations

import hashlib
import logging
import numbers
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mdtraj
import numpy as np

from mdinsight.bias._definitions import Fixed, Potential
from mdinsight.bias._force import NAME
from mdinsight.errors import BiasError, DataWarning, MdinsightError, ParameterError, TopologyError, warn_user
from mdinsight.files import write_text
from mdinsight.units import GAS_CONSTANT

if TYPE_CHECKING:
    from mdinsight.bias._coordinate import Coordinate
    from mdinsight.bias._sampler import Sampler

_log = logging.getLogger(__name__)
_HEAVIEST_H = 4.5  # u, after mass was moved to it
_GPU = ("CUDA", "OpenCL", "HIP", "Metal")


def whole(name: str, value: Any, least: int = 1, what: str = "number of steps") -> int:
    """A whole number of steps, or of something else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ParameterError(f"{name}={value!r} is no {what}; give a whole number, at least {least}")
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
    """Refuse a topology whose atoms are not the system's particles, in their order."""
    if not hasattr(system, "getNumParticles") or not hasattr(system, "addForce"):
        raise ParameterError(
            f"system={type(system).__name__} is no openmm.System; give what ForceField.createSystem returned"
        )
    if system.getNumParticles() != topology.n_atoms:
        raise TopologyError(
            f"the system has {system.getNumParticles()} particles, the topology {topology.n_atoms} atoms, so the "
            "coordinate's atoms are not those of the system; give the topology that the system was made from"
        )
    for atom in topology.atoms:
        mass = system.getParticleMass(atom.index)._value
        if mass == 0.0 or atom.element is None or atom.element.mass == 0.0:
            continue  # a virtual site, or an atom held in place
        hydrogen = atom.element.symbol == "H"
        # a hydrogen may have taken over mass from the atom that it is bonded to
        if (mass > _HEAVIEST_H) if hydrogen else (mass < 1.5 or mass > atom.element.mass + 1.5):
            raise TopologyError(
                f"atom {atom.index} of the topology is {atom} ({atom.element.mass:.3g} u), particle {atom.index} of the system "
                f"has {mass:.3g} u; give the topology that the system was made from, with its atoms in the same order"
            )
    others = [force.getName() for force in system.getForces() if force.getName() in (NAME, "bias")]
    if others:
        raise ParameterError(
            "the system already holds the bias of another Sampler, and neither would know of the other; give all potentials to "
            "one Sampler, on a list of coordinates, or make the System anew"
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


def steps_from(simulations: Sequence[Any], done: int) -> int:
    """The step at which the walkers stand.

    Raises
    ------
    ParameterError
        If they stand at different ones, or before what the sampler has seen.
    """
    steps = {int(simulation.currentStep) for simulation in simulations}
    if len(steps) > 1:
        raise ParameterError(f"the walkers stand at different steps {sorted(steps)}; bring them to one")
    step = steps.pop()
    if step < done:
        raise ParameterError(
            f"the simulation stands at step {step}, this Sampler has deposited and recorded up to step {done}; go on with the "
            "simulation that it was used with, or make a new Sampler and System"
        )
    return step


def walkers(simulations: Sequence[Any], sampler: Sampler) -> None:
    """Refuse simulations that do not feel the bias or cannot share it."""
    if not simulations:
        raise ParameterError("there is no simulation to step; give one, or a list of walkers")
    if sampler.shared is not None and len(simulations) > 1:
        raise ParameterError("a process that shares its bias runs one walker; start a process for each")
    for simulation in simulations:
        if not all(hasattr(simulation, name) for name in ("context", "integrator", "system", "currentStep")):
            raise ParameterError(f"{type(simulation).__name__} is no openmm.app.Simulation; make one of the System")
    if len({id(simulation) for simulation in simulations}) < len(simulations):
        raise ParameterError("the same simulation stands twice among the walkers; make one for each")
    used: dict[int, int] = {}
    for number, simulation in enumerate(simulations):
        integrator = simulation.integrator
        if simulation.system is not sampler.system:
            raise BiasError(
                f"walker {number} simulates another System than the one that the Sampler added its force to, so it does not feel "
                "the bias; make the Simulation of that very System (a copy does not do)"
            )
        _thermostat(simulation, sampler.temperature)
        stride(simulation.system, sampler.every)
        _feels(simulation, sampler, number)
        if len(simulations) == 1 or not hasattr(integrator, "getRandomNumberSeed"):
            continue
        chosen = integrator.getRandomNumberSeed()
        if chosen and chosen in used:
            raise ParameterError(
                f"walkers {used[chosen]} and {number} have the same random seed {chosen}, so they would make the same moves; "
                "give each integrator.setRandomNumberSeed(sampler.walker_seed(number)) before its Simulation is made"
            )
        used[chosen] = number


def _feels(simulation: Any, sampler: Sampler, number: int) -> None:
    """Refuse a context that was made before the force was there, or an integrator that leaves the force out."""
    from openmm import CompoundIntegrator, CustomIntegrator, OpenMMException

    group = sampler.force.getForceGroup()
    try:
        if not sampler.is_in(simulation.context):
            raise BiasError(
                f"walker {number} does not feel the bias: its Simulation was made before the Sampler. Make the Sampler first"
            )
    except OpenMMException as error:
        if "positions have not been set" not in str(error):
            raise
        raise ParameterError(f"walker {number} has no positions; call simulation.context.setPositions first") from error
    integrator = simulation.integrator
    members = [integrator]
    if isinstance(integrator, CompoundIntegrator):
        members = [integrator.getIntegrator(i) for i in range(integrator.getNumIntegrators())]
    for member in members:
        seen = bool(member.getIntegrationForceGroups() >> group & 1)
        if isinstance(member, CustomIntegrator):
            lines = " ".join(str(member.getComputationStep(i)[2]) for i in range(member.getNumComputations()))
            seen = bool(re.search(rf"\bf{group}\b", lines)) or (seen and bool(re.search(r"\bf\b", lines)))
        if not seen:
            raise BiasError(
                f"the integrator of walker {number} leaves out force group {group}, which the bias is in; add the group to it "
                "(sampler.force.getForceGroup())"
            )


def _thermostat(simulation: Any, wanted: float) -> None:
    """Refuse a thermostat of another temperature than the bias was made for."""
    from openmm import AndersenThermostat, CompoundIntegrator, CustomIntegrator

    integrator = simulation.integrator
    members = [integrator]
    if isinstance(integrator, CompoundIntegrator):
        members = [integrator.getIntegrator(i) for i in range(integrator.getNumIntegrators())]
    found = [member.getTemperature()._value for member in members if hasattr(member, "getTemperature")]
    for member in members:
        if isinstance(member, CustomIntegrator):
            names = [member.getGlobalVariableName(i) for i in range(member.getNumGlobalVariables())]
            found += [member.getGlobalVariableByName("kT") / GAS_CONSTANT] if "kT" in names else []
    for force in simulation.system.getForces():
        if isinstance(force, AndersenThermostat):
            found.append(force.getDefaultTemperature()._value)
    for kelvin in found:
        if abs(kelvin - wanted) > 1e-6 * wanted:
            raise BiasError(
                f"the integrator runs at {kelvin:g} K, the bias was made for {wanted:g} K; give both the same"
            )
    if not found:
        warn_user(
            f"no thermostat was found, so nothing holds the temperature at the {wanted:g} K that the bias was made for; "
            "use an integrator such as LangevinMiddleIntegrator",
            DataWarning,
        )


def set_aside(simulation: Any, walker: int, last: Any, text: str, folder: Path) -> str:
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
        files = [write_text(folder / f"broken-walker{walker}-step{step}.xml", XmlSerializer.serialize(state))]
        if last is not None:
            name = folder / f"broken-walker{walker}-last-sound.xml"
            files.append(write_text(name, XmlSerializer.serialize(last)))
        told += f". Saved as {' and '.join(str(file.resolve()) for file in files)}"
    except (MdinsightError, OSError, ValueError) as error:
        told += f". Its state could not be saved ({error})"
    return f"{told}. Nothing of it entered the bias; take a smaller time step, or minimise first"


def potentials_of(given: Any) -> tuple[Potential, ...]:
    """One potential or several, checked."""
    found = (given,) if isinstance(given, Potential) else given
    if not isinstance(found, (list, tuple)) or not found or not all(isinstance(one, Potential) for one in found):
        raise ParameterError(
            f"potentials={given!r}; give one or more of OPES(...), Metadynamics(...), Umbrella(...), LowerWall(...), "
            "UpperWall(...), Fixed(...)"
        )
    return tuple(found)


def file_name(value: Any) -> Path:
    """A path to write a run to."""
    if not isinstance(value, (str, os.PathLike)):
        raise ParameterError(f"file={value!r} is no path; name the file that the run is saved in")
    return Path(value)


def choose_form(sampler: Sampler, system: Any, form: str, platform: Any, positions: Any) -> str:
    """``compiled`` or ``native``; measured on a GPU where both are possible."""
    from openmm import Platform

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
    if platform is not None and not isinstance(platform, str) and not hasattr(platform, "getName"):
        raise ParameterError(f"platform={platform!r}; give an openmm.Platform or its name")
    name = platform if isinstance(platform, str) or platform is None else platform.getName()
    there = [Platform.getPlatform(i).getName() for i in range(Platform.getNumPlatforms())]
    if name is not None and name not in there:
        raise ParameterError(f"platform={name!r} is not here; OpenMM has {', '.join(there)}")
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
