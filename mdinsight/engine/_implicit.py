"""Implicit solvent: generalised Born models as Amber has them."""

from __future__ import annotations

from typing import Any

from mdinsight.errors import ForceFieldError

_CLASSES = {
    "hct": "GBSAHCTForce",
    "obc1": "GBSAOBC1Force",
    "obc2": "GBSAOBC2Force",
    "gbn": "GBSAGBnForce",
    "gbn2": "GBSAGBn2Force",
}
_OFFSET = 0.009  # nm, between the radius and the one that the Born sum is made with
_SURFACE = 2.25936  # kJ/mol/nm^2, of the ACE approximation (0.0054 kcal/mol/A^2)


def add(system: Any, topology: Any, model: str) -> None:
    """Add a generalised Born model with the radii that Amber gives to the elements of a topology.

    OBC2 (10.1002/prot.20033) is OpenMM's native ``GBSAOBCForce``: the energy of the ``CustomGBForce`` that
    ``implicit/obc2.xml`` makes, at about a fifth of its cost on a CPU. The others (GBn2: 10.1021/ct3010485) are custom forces.

    Raises
    ------
    ForceFieldError
        If the force field has no single ``NonbondedForce`` that holds the charges, or an atom has no radius.
    """
    from openmm import NonbondedForce
    from openmm.app.internal import customgbforces

    found = [force for force in system.getForces() if isinstance(force, NonbondedForce)]
    if len(found) != 1:
        raise ForceFieldError(
            f"the implicit solvent {model} needs a force field with one NonbondedForce, this one has {len(found)}; choose "
            "another force field, or explicit solvent (solvent='tip3p')"
        )
    nonbonded = found[0]
    nonbonded.setReactionFieldDielectric(1.0)
    kind = getattr(customgbforces, _CLASSES[model])
    force = kind(SA="ACE")
    try:
        parameters = kind.getStandardParameters(topology)
    except (KeyError, ValueError, AttributeError) as error:
        raise ForceFieldError(
            f"the implicit solvent {model} has no radius for an atom of this molecule ({error}); choose explicit solvent"
        ) from error
    for index, own in enumerate(parameters):
        force.addParticle([nonbonded.getParticleParameters(index)[0]._value, *own])
    force.finalize()
    system.addForce(native(force) if model == "obc2" else force)


def native(custom: Any) -> Any:
    """OpenMM's ``GBSAOBCForce`` for the custom force of the OBC2 model, whose particles are (charge, or, sr)."""
    from openmm import GBSAOBCForce

    force = GBSAOBCForce()
    force.setSolventDielectric(78.5)
    force.setSoluteDielectric(1.0)
    force.setSurfaceAreaEnergy(_SURFACE)
    force.setNonbondedMethod(GBSAOBCForce.NoCutoff)
    for index in range(custom.getNumParticles()):
        charge, radius, screen = custom.getParticleParameters(index)
        force.addParticle(charge, radius + _OFFSET, screen / radius)
    return force
