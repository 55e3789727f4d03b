"""Which platform of OpenMM a system is run on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdinsight.errors import ParameterError

if TYPE_CHECKING:
    from mdinsight.engine._system import System

_DEVICES = ("CUDA", "HIP", "OpenCL")
_SMALL = 60  # atoms up to which Reference beats the CPU platform where there is no cutoff and no implicit solvent


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
    if system.n_atoms <= _SMALL and _plain(system.openmm_system()):
        return "Reference"
    return next(
        (name for name in _DEVICES if name in there and _answers(name)), "CPU" if "CPU" in there else "Reference"
    )


def _plain(system: Any) -> bool:
    """Without a cutoff, a box and implicit solvent."""
    if system.usesPeriodicBoundaryConditions():
        return False
    return not any("GB" in force.getName() for force in system.getForces())


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
