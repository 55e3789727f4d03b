"""A topology as plain arrays, so that it can be hashed and saved, and back without a loss."""

from __future__ import annotations

from typing import Any

import mdtraj
import numpy as np

from mdinsight.errors import ParameterError

_NO_CHARGE = -128  # a formal charge that is not known
_WATER = frozenset(("HOH", "WAT", "SOL", "TIP3", "TIP3P", "TIP4", "TIP5", "SPC", "H2O", "HHO", "OHH", "DOD"))
_ION_NAMES = (
    "LI LI+ NA NA+ SOD K K+ POT RB RUB CS CS+ CES F F- CL CL- CLA BR BR- I I- IOD MG MG2 CA CA2 CAL ZN ZN2 BA BAR CD MN CU CO "
    "NI SR FE FE2 AL AG"
)
_IONS = frozenset(_ION_NAMES.split())


def pack(topology: Any) -> dict[str, Any]:
    """An OpenMM or mdtraj topology as a dict of arrays: chains, residues, atoms with elements, bonds with types and orders.

    Raises
    ------
    ParameterError
        If it is neither.
    """
    topology = _openmm(topology)
    chains, residues, atoms, bonds = (
        list(f()) for f in (topology.chains, topology.residues, topology.atoms, topology.bonds)
    )
    charges = [getattr(atom, "formalCharge", None) for atom in atoms]
    return {
        "chains": _text(chain.id for chain in chains),
        "residues": _text(residue.name for residue in residues),
        "residue_ids": _text(residue.id for residue in residues),
        "insertions": _text(residue.insertionCode for residue in residues),
        "residue_chains": np.array([residue.chain.index for residue in residues], np.int32),
        "atoms": _text(atom.name for atom in atoms),
        "atom_ids": _text(atom.id for atom in atoms),
        "elements": _text("" if atom.element is None else atom.element.symbol for atom in atoms),
        "formal_charges": np.array([_NO_CHARGE if charge is None else charge for charge in charges], np.int16),
        "atom_residues": np.array([atom.residue.index for atom in atoms], np.int32),
        "bonds": np.array([(a.index, b.index) for a, b in bonds], np.int32).reshape(-1, 2),
        "bond_types": _text("" if bond.type is None else str(bond.type) for bond in bonds),
        "bond_orders": np.array([0 if bond.order is None else bond.order for bond in bonds], np.int16),
    }


def unpack(packed: dict[str, Any], box: np.ndarray | None) -> Any:
    """The ``openmm.app.Topology`` that was packed, with the box (3, 3) in nm."""
    from openmm import Vec3, app, unit

    topology = app.Topology()
    chains = [topology.addChain(str(name)) for name in packed["chains"]]
    rows = zip(packed["residues"], packed["residue_chains"], packed["residue_ids"], packed["insertions"], strict=True)
    residues = [topology.addResidue(str(name), chains[chain], str(id_), str(code)) for name, chain, id_, code in rows]
    elements = {str(s): app.Element.getBySymbol(str(s)) if s else None for s in np.unique(packed["elements"])}
    columns = ("atoms", "elements", "atom_residues", "atom_ids", "formal_charges")
    atoms = []
    for name, element, residue, id_, charge in zip(*(packed[column] for column in columns), strict=True):
        atom = topology.addAtom(str(name), elements[str(element)], residues[residue], str(id_))
        if charge != _NO_CHARGE:
            atom.formalCharge = int(charge)
        atoms.append(atom)
    kinds = {"": None} | {str(kind): kind for kind in (app.Single, app.Double, app.Triple, app.Aromatic, app.Amide)}
    for (a, b), kind, order in zip(packed["bonds"], packed["bond_types"], packed["bond_orders"], strict=True):
        topology.addBond(atoms[a], atoms[b], kinds[str(kind)], int(order) or None)
    if box is not None:
        topology.setPeriodicBoxVectors([Vec3(*map(float, row)) for row in box] * unit.nanometer)
    return topology


def is_apart(residue: str, n_atoms: int) -> bool:
    """Whether a residue is water or a single ion."""
    name = residue.upper()
    return name in _WATER or (n_atoms == 1 and name in _IONS)


def solute(packed: dict[str, Any]) -> np.ndarray:
    """Indices (int64) of the atoms that are no water and no single ion."""
    sizes = np.bincount(packed["atom_residues"], minlength=len(packed["residues"]))
    apart = [is_apart(str(name), int(size)) for name, size in zip(packed["residues"], sizes, strict=True)]
    return np.flatnonzero(~np.array(apart, bool)[packed["atom_residues"]])


def _openmm(topology: Any) -> Any:
    if isinstance(topology, mdtraj.Trajectory):
        topology = topology.topology
    if isinstance(topology, mdtraj.Topology):
        return topology.to_openmm()
    from openmm import app

    topology = getattr(topology, "topology", topology)
    if not isinstance(topology, app.Topology):
        raise ParameterError(f"topology={type(topology).__name__} is no topology; give one of OpenMM or mdtraj")
    return topology


def _text(values: Any) -> np.ndarray:
    found = ["" if value is None else str(value) for value in values]
    return np.array(found, dtype=np.str_) if found else np.zeros(0, "<U1")
