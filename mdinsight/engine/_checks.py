"""What must hold of a system, and what is said when it does not."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from mdinsight.errors import NonFiniteError, ParameterError, TopologyError
from mdinsight.words import counted

_HEAVIEST_H = 4.5  # u, after mass was moved to it


def positive(name: str, value: Any, unit: str) -> float:
    """A positive finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ParameterError(f"{name}={value!r} is no number; give it in {unit}") from None
    if isinstance(value, bool) or not math.isfinite(number) or number <= 0:
        raise ParameterError(f"{name}={value!r} is not positive; give it in {unit}")
    return number


def plain_lengths(value: Any, name: str) -> np.ndarray:
    """Lengths (n, 3) as float64 in nm, from numbers, an OpenMM Quantity or a list of either."""
    if not hasattr(value, "value_in_unit") and isinstance(value, Iterable):
        value = list(value) if not isinstance(value, np.ndarray) else value
        if len(value) and hasattr(value[0], "value_in_unit"):
            from openmm import unit

            value = [row.value_in_unit(unit.nanometer) for row in value]
    if hasattr(value, "value_in_unit"):
        from openmm import unit

        value = value.value_in_unit(unit.nanometer)
    try:
        return np.array([tuple(row) for row in value], np.float64).reshape(-1, 3)
    except (TypeError, ValueError):
        raise ParameterError(f"{name} of type {type(value).__name__} are no (n, 3) lengths; give them in nm") from None


def atom_name(molecule: dict[str, Any], index: int) -> str:
    """An atom as a user finds it: ``CA of ALA 2 (chain A, atom 8)``."""
    residue = molecule["atom_residues"][index]
    chain = molecule["chains"][molecule["residue_chains"][residue]]
    where = f"{molecule['residues'][residue]} {molecule['residue_ids'][residue]}"
    return f"{molecule['atoms'][index]} of {where} (chain {chain}, atom {index})"


def check_positions(positions: np.ndarray, molecule: dict[str, Any]) -> None:
    """Refuse positions of another number of atoms, or that are not finite."""
    n_atoms = len(molecule["atoms"])
    if positions.shape != (n_atoms, 3):
        shape = " x ".join(map(str, positions.shape))
        raise TopologyError(f"positions are {shape}, the topology has {counted(n_atoms, 'atom')}; give {n_atoms} x 3")
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if len(bad):
        raise NonFiniteError(
            f"{counted(len(bad), 'atom')} {'has' if len(bad) == 1 else 'have'} a position that is not finite, the first is "
            f"{atom_name(molecule, int(bad[0]))}; give a structure whose atoms are all there"
        )


def check_box(box: np.ndarray | None) -> None:
    """Refuse what is no box in OpenMM's form."""
    if box is None:
        return
    if box.shape != (3, 3) or not np.isfinite(box).all():
        raise ParameterError(f"box={box.tolist()} is no box; give three vectors (3, 3) in nm, or None")
    if box[0, 1] or box[0, 2] or box[1, 2] or (np.diag(box) <= 0).any():
        raise ParameterError(
            f"box={box.tolist()} is not in OpenMM's form; give vectors (a,0,0), (b,c,0), (d,e,f) with a, c and f positive, "
            "in nm (openmm.app.internal.unitcell.reducePeriodicBoxVectors makes it)"
        )


def same_atoms(system: Any, molecule: dict[str, Any]) -> None:
    """Refuse a system whose particles are not the topology's atoms, in their order."""
    if not hasattr(system, "getNumParticles"):
        raise ParameterError(f"system={type(system).__name__} is no openmm.System; give what createSystem returned")
    n_atoms = len(molecule["atoms"])
    if system.getNumParticles() != n_atoms:
        raise TopologyError(
            f"the system has {counted(system.getNumParticles(), 'particle')}, the structure {counted(n_atoms, 'atom')}; give "
            "the structure that the system was made from"
        )
    from openmm import app

    known = {str(s): app.Element.getBySymbol(str(s)).mass._value for s in np.unique(molecule["elements"]) if s}
    for index, symbol in enumerate(map(str, molecule["elements"])):
        mass, expected = system.getParticleMass(index)._value, known.get(symbol, 0.0)
        if mass == 0.0 or expected == 0.0:
            continue  # a virtual site, an atom held in place, a particle of no element
        # mass may have been moved between a hydrogen and the atom that it is bonded to
        wrong = mass > _HEAVIEST_H if symbol in ("H", "D") else mass < 1.5 or mass > expected + 1.5
        if wrong:
            raise TopologyError(
                f"{atom_name(molecule, index)} is {symbol} ({expected:.3g} u), the system has {mass:.3g} u there; give the "
                "structure that the system was made from, with its atoms in the same order"
            )


def box_of(system: Any, topology: Any, box: Any) -> np.ndarray | None:
    """The box (3, 3) in nm of a periodic system: as given, else the topology's, else the system's own.

    Raises
    ------
    ParameterError
        If it is narrower than twice the cutoff.
    """
    if not system.usesPeriodicBoundaryConditions():
        return None
    if box is None and hasattr(topology, "getPeriodicBoxVectors"):
        box = topology.getPeriodicBoxVectors()
    if box is None:
        box = system.getDefaultPeriodicBoxVectors()
    vectors = plain_lengths(box, "box")
    check_box(vectors)
    cutoff = max((_cutoff(force) for force in system.getForces()), default=0.0)
    narrow = float(np.diag(vectors).min())
    if narrow < 2 * cutoff:
        raise ParameterError(
            f"the box is {narrow:.3g} nm narrow, less than twice the cutoff of {cutoff:.3g} nm, so an atom would see its own "
            "image; give a larger box (padding=), or a shorter cutoff"
        )
    return vectors


def _cutoff(force: Any) -> float:
    periodic = hasattr(force, "getCutoffDistance") and force.usesPeriodicBoundaryConditions()
    return float(force.getCutoffDistance()._value) if periodic else 0.0


def without_version(xml: str) -> str:
    """The XML of a system without the version of OpenMM that wrote it, so that its hash does not depend on that."""
    return re.sub(r' openmmVersion="[^"]*"', "", xml, count=1)
