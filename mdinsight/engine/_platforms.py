"""Which platform of OpenMM a system is run on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdinsight.errors import ParameterError

if TYPE_CHECKING:
    from mdinsight.engine._system import System

_DEVICES = ("CUDA", "HIP", "OpenCL")
_PLAIN, _BORN, _CUSTOM = 100, 50, 25
"""Atoms up to which Reference is as fast as the CPU platform on one core (measured, peptides): in vacuum, with the native
OBC2 force, and with custom nonbonded forces such as those of CHARMM36."""


def available() -> tuple[str, ...]:
    """The platforms of OpenMM on this machine."""
    from openmm import Platform

    return tuple(Platform.getPlatform(i).getName() for i in range(Platform.getNumPlatforms()))


def check_name(platform: Any) -> None:
    """Refuse what can be no platform."""
    if not isinstance(platform, str):
        raise ParameterError(
            f"platform={platform!r} is no name of a platform; give one of {', '.join(available())}, or ''"
        )


def choose(system: System) -> str:
    """See :meth:`System.chosen_platform`."""
    there = available()
    if system.platform:
        if system.platform not in there:
            raise ParameterError(
                f"platform={system.platform!r} is not on this machine, which has {', '.join(there)}; name one of them, or '' to "
                "have one chosen"
            )
        return system.platform
    if system.n_atoms <= _reference_up_to(system.openmm_system()):
        return "Reference"
    return next(
        (name for name in _DEVICES if name in there and _answers(name)), "CPU" if "CPU" in there else "Reference"
    )


def _reference_up_to(system: Any) -> int:
    """The number of atoms up to which Reference is the platform to take."""
    names = {type(force).__name__ for force in system.getForces()}
    if system.usesPeriodicBoundaryConditions() or "CustomGBForce" in names:
        return 0
    if "CustomNonbondedForce" in names:
        return _CUSTOM
    return _BORN if "GBSAOBCForce" in names else _PLAIN


def _answers(name: str) -> bool:
    """Whether a device of the platform makes a step."""
    import openmm

    system = openmm.System()
    system.addParticle(1.0)
    integrator = openmm.VerletIntegrator(0.001)
    try:
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(name))
        context.setPositions([openmm.Vec3(0, 0, 0)])
        integrator.step(1)
    except openmm.OpenMMException:
        return False
    return True


def properties(platform: Any) -> dict[str, str]:
    """What makes a platform's arithmetic repeat, where it can."""
    return {"DeterministicForces": "true"} if "DeterministicForces" in platform.getPropertyNames() else {}
