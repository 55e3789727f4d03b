"""A system out of a structure, a force field and a solvent."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mdinsight import units
from mdinsight.engine import _implicit
from mdinsight.engine._checks import positive
from mdinsight.engine._complete import Structure, explain, repeatable
from mdinsight.engine._forcefields import EXPLICIT, IMPLICIT, check_own_solvent, load, number_types, solvent_name
from mdinsight.engine._topology import is_apart
from mdinsight.errors import ForceFieldError, ParameterError

_FULL = 15.0  # waters a nm^3 (the liquid has 33); a box with more is solvated already
_HEAVY_ENOUGH = 2.5  # u; hydrogens from this mass on bear a step of 4 fs


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a system is to be made; the values of the user, checked."""

    forcefield: Any
    solvent: str
    hydrogen_mass: float | None
    ph: float
    padding: float
    ionic_strength: float

    @classmethod
    def of(
        cls, forcefield: Any, solvent: Any, hydrogen_mass: Any, ph: Any, padding: Any, ionic_strength: Any
    ) -> Recipe:
        """Check the values.

        Raises
        ------
        ParameterError
            Naming what cannot be.
        """
        solvent = solvent_name(solvent)
        if isinstance(ph, bool) or not isinstance(ph, (int, float)) or not -2 <= ph <= 16:
            raise ParameterError(f"ph={ph!r} is no pH; give a number, e.g. 7.0")
        padding = positive("padding", units.length(padding, "padding"), "nm")
        if (
            isinstance(ionic_strength, bool)
            or not isinstance(ionic_strength, (int, float))
            or not 0 <= ionic_strength <= 10
        ):
            raise ParameterError(f"ionic_strength={ionic_strength!r} is no concentration; give mol/L, e.g. 0.15")
        if ionic_strength and solvent not in EXPLICIT:
            raise ParameterError(
                f"ionic_strength={ionic_strength:g} mol/L needs explicit solvent; give solvent='tip3p', or 0"
            )
        mass = None if hydrogen_mass is None else hydrogen_mass_of(hydrogen_mass)
        return cls(forcefield, solvent, mass, float(ph), padding, float(ionic_strength))


def hydrogen_mass_of(value: Any) -> float:
    """A mass that a hydrogen can take over from the atom that it is bonded to."""
    mass = positive("hydrogen_mass", value, "u")
    if not 1.0 <= mass <= 4.0:
        raise ParameterError(
            f"hydrogen_mass={mass:g} u cannot be; give 1 to 4 (a methyl carbon gives up mass to three), e.g. 3"
        )
    return mass


def timestep_of(timestep: Any, hydrogen_mass: float | None) -> float:
    """The step in ps: as given, else 4 fs with heavy hydrogens and 2 fs without."""
    if timestep is not None:
        return units.time(timestep, "timestep")
    return 0.004 if hydrogen_mass is not None and hydrogen_mass >= _HEAVY_ENOUGH else 0.002


def build(structure: Structure, recipe: Recipe, complete: bool) -> tuple[Any, Any, Any, dict[str, str]]:
    """OpenMM's system, topology and positions, and what was done.

    Raises
    ------
    ForceFieldError
        If a residue cannot be parametrised, or a chain has a gap.
    """
    field, name = load(recipe.forcefield, recipe.solvent)
    if recipe.solvent not in EXPLICIT:
        structure.drop_solvent()
    if complete:
        structure.complete(field, recipe.ph)
    structure.check_gaps()
    description = {"source": structure.source, "forcefield": name, "solvent": recipe.solvent, **structure.notes}
    topology, positions = structure.topology, structure.positions
    if recipe.solvent in EXPLICIT:
        topology, positions = _solvated(topology, positions, field, name, recipe, description)
    else:
        topology.setPeriodicBoxVectors(None)
    system = _system(field, name, topology, recipe)
    if recipe.hydrogen_mass is not None:
        description["hydrogen_mass"] = f"{recipe.hydrogen_mass:g} u"
    return system, topology, positions, description


def _system(field: Any, name: str, topology: Any, recipe: Recipe) -> Any:
    from openmm import app, unit

    mass = None if recipe.hydrogen_mass is None else recipe.hydrogen_mass * unit.dalton
    options: dict[str, Any] = {"constraints": app.HBonds, "hydrogenMass": mass, "nonbondedMethod": app.NoCutoff}
    if recipe.solvent in EXPLICIT:
        options |= periodic_options(name.startswith("charmm"))
    try:
        system = field.createSystem(topology, **options)
    except ForceFieldError:
        raise
    except Exception as error:  # generators of force fields raise nearly anything
        raise explain(field, name, topology, error) from error
    number_types(system)
    check_own_solvent(name, system)
    if recipe.solvent in IMPLICIT:
        _implicit.add(system, topology, recipe.solvent)
    return system


def periodic_options(charmm: bool) -> dict[str, Any]:
    """PME, with the cutoff that the family of force fields was made with."""
    from openmm import app, unit

    options: dict[str, Any] = {"nonbondedMethod": app.PME, "nonbondedCutoff": (1.2 if charmm else 0.9) * unit.nanometer}
    if charmm:
        options["switchDistance"] = 1.0 * unit.nanometer
    return options


def _solvated(
    topology: Any, positions: Any, field: Any, name: str, recipe: Recipe, description: dict[str, str]
) -> tuple[Any, Any]:
    """With water and ions around."""
    from openmm import app, unit

    modeller = app.Modeller(topology, positions)
    full = _is_full(topology)
    with repeatable():
        try:
            if any(is_apart(residue.name, 0) for residue in topology.residues()):
                modeller.addExtraParticles(field)  # of water that was in the file
            if not full:
                modeller.addSolvent(
                    field,
                    model=EXPLICIT[recipe.solvent],
                    padding=recipe.padding * unit.nanometer,
                    ionicStrength=recipe.ionic_strength * unit.molar,
                )
        except Exception as error:
            raise explain(field, name, topology, error) from error
    if full:
        description["box"] = "the box and the water of the file; nothing added"
        return modeller.topology, modeller.positions
    names = [residue.name for residue in modeller.topology.residues()]
    before = [residue.name for residue in topology.residues()]
    counts = {n: names.count(n) - before.count(n) for n in ("HOH", "NA", "CL")}
    ions = " and ".join(f"{count} {n}" for n, count in counts.items() if n != "HOH" and count) or "no ions"
    description["box"] = f"{counts['HOH']} waters and {ions} added, {recipe.padding:g} nm around the molecule"
    return modeller.topology, modeller.positions


def _is_full(topology: Any) -> bool:
    """Whether the box of the file is full of water already."""
    vectors = topology.getPeriodicBoxVectors()
    if vectors is None:
        return False
    waters = sum(is_apart(residue.name, 0) for residue in topology.residues())
    return waters > _FULL * float(np.prod(np.diag(vectors._value)))
