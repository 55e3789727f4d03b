"""Caps of a chain in force fields that know them as patches of the residues beside them (CHARMM36 of OpenMM)."""

from __future__ import annotations

from typing import Any

_CAPS = ("ACE", "NME")
_DIPEPTIDE = "ALAD"  # alanine dipeptide: CHARMM36 has it, and CGenFF has the same atoms under another name


def wrapped(field: Any) -> Any:
    """The force field as it is, or one that takes caps to the residues beside them if it knows them as patches alone."""
    patches = getattr(field, "_patches", {})
    if "ACE" in field._templates or not any(name.startswith("ACE") for name in patches):
        return field
    return CapsAsPatches(field)


class CapsAsPatches:
    """A force field that sees ACE and NME as parts of the residues beside them; the order of the atoms stays."""

    def __init__(self, field: Any) -> None:
        self._field = field

    def __getattr__(self, name: str) -> Any:
        return getattr(self._field, name)

    def createSystem(self, topology: Any, **options: Any) -> Any:
        """As ``openmm.app.ForceField.createSystem``."""
        joined = _joined(topology)
        options["residueTemplates"] = {} if joined is topology else self._templates_of(joined)
        return self._field.createSystem(joined, **options)

    def getUnmatchedResidues(self, topology: Any) -> list[Any]:
        """As ``openmm.app.ForceField.getUnmatchedResidues``: residues of the topology given."""
        joined = _joined(topology)
        unknown = self._field.getUnmatchedResidues(joined)
        atoms = list(topology.atoms())
        return list(dict.fromkeys(atoms[atom.index].residue for residue in unknown for atom in residue.atoms()))

    def _templates_of(self, topology: Any) -> dict[Any, str]:
        """What to take where an alanine dipeptide matches twice."""
        from openmm.app import element

        template = self._field._templates.get(_DIPEPTIDE)
        if template is None:
            return {}
        heavy = sorted(atom.element.symbol for atom in template.atoms if atom.element not in (None, element.hydrogen))
        found = {}
        for residue in topology.residues():
            atoms = list(residue.atoms())
            ours = sorted(a.element.symbol for a in atoms if a.element not in (None, element.hydrogen))
            if len(atoms) == len(template.atoms) and ours == heavy and {"CB", "CA"} <= {a.name for a in atoms}:
                found[residue] = _DIPEPTIDE
        return found


def _joined(topology: Any) -> Any:
    """A topology with its caps in the residues beside them."""
    from openmm import app

    if not any(residue.name in _CAPS for residue in topology.residues()):
        return topology
    new = app.Topology()
    new.setPeriodicBoxVectors(topology.getPeriodicBoxVectors())
    atoms = {}
    for chain in topology.chains():
        into, residue, before = new.addChain(chain.id), None, ""
        for old in chain.residues():
            if residue is None or not (old.name == "NME" or before == "ACE"):
                residue = new.addResidue(old.name, into, old.id, old.insertionCode)
            before = old.name
            for atom in old.atoms():
                atoms[atom] = new.addAtom(atom.name, atom.element, residue)
    for bond in topology.bonds():
        new.addBond(atoms[bond[0]], atoms[bond[1]], bond.type, bond.order)
    return new
