"""Topologies: reading them, telling them apart, choosing atoms of them."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np

from mdinsight.errors import MdinsightError, SelectionError, TopologyError, TrajectoryError
from mdinsight.trajectories._formats import FORMATS, format_of
from mdinsight.trajectories._paths import told

Selection = str | Sequence[int] | np.ndarray | None
"""An mdtraj selection such as ``"name CA"``, atom indices, a mask of all atoms, or None for all atoms."""


_NEEDS = {".mol2": "pandas", ".gsd": "gsd"}
"""Packages that mdtraj asks for only when it reads such a file."""


def load_topology(source: Any) -> mdtraj.Topology:
    """A topology from a path, an ``mdtraj.Topology`` or an ``mdtraj.Trajectory``.

    Raises
    ------
    TopologyError
        If the file is missing or cannot be read as a topology.
    """
    if isinstance(source, mdtraj.Topology):
        return source
    if isinstance(source, mdtraj.Trajectory):
        return source.topology
    if not isinstance(source, (str, os.PathLike)):
        raise TopologyError(
            f"top={told(source)} is no topology; give a path (.pdb, .prmtop, .psf, .gro, .cif, ...) or an mdtraj.Topology"
        )
    path = Path(source).expanduser()
    if not path.exists():
        raise TopologyError(f"the topology {path} does not exist (looked from {Path.cwd()}); check the path")
    if path.is_dir():
        raise TopologyError(f"the topology {path} is a folder; name the file in it")
    if path.stat().st_size == 0:
        raise TopologyError(f"the topology {path} is empty")
    try:
        topology = _own(path) or _by_mdtraj(path)
    except TopologyError:
        raise
    except (MdinsightError, TrajectoryError) as error:
        raise TopologyError(f"the topology {path} cannot be read: {error}") from error
    if topology.n_atoms == 0:
        raise TopologyError(f"the topology {path} has no atoms")
    return topology


def _own(path: Path) -> mdtraj.Topology | None:
    """By one of the formats that carry a topology: only the first of many models, and HDF5 without PyTables."""
    known = {suffix for kind in FORMATS for suffix in kind.suffixes}
    return format_of(path).topology(path) if path.suffix.lower() in known else None


def _by_mdtraj(path: Path) -> mdtraj.Topology:
    needed = _NEEDS.get(path.suffix.lower())
    if needed and importlib.util.find_spec(needed) is None:
        raise TopologyError(
            f"the topology {path} cannot be read: for {path.suffix} the package {needed} is needed; "
            f"install it, or give a PDB, PRMTOP, PSF, GRO or mmCIF file"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return mdtraj.load_topology(str(path))
    except Exception as error:  # mdtraj's readers raise nearly anything
        reason = str(error).strip() or type(error).__name__
        raise TopologyError(f"the topology {path} cannot be read: {reason.splitlines()[0]}") from error


def topology_hash(topology: mdtraj.Topology) -> str:
    """SHA-256 of atoms, residues, chains and bonds: the same for the same molecule read from different files."""
    residues = list(topology.residues)
    by_residue = [residue._atoms for residue in residues]  # the property makes a generator for each of them
    atoms = list(itertools.chain.from_iterable(by_residue))
    symbols = [atom.element.symbol if atom.element else "" for atom in atoms]
    digest = hashlib.sha256()
    for strings in ([a.name for a in atoms], symbols, [r.name for r in residues]):
        digest.update(_unambiguous(strings))
    for numbers in (list(map(len, by_residue)), [r.resSeq for r in residues], [r.chain.index for r in residues]):
        digest.update(repr(numbers).encode())
    digest.update(_bonds(topology).tobytes())
    return digest.hexdigest()


def _unambiguous(strings: list[str]) -> bytes:
    """Strings in one, so that no other list of as many gives the same."""
    text = "\n".join(strings)
    if text.count("\n") != len(strings) - 1:
        text = repr(strings)
    return f"{len(strings)} {len(text)} {text}".encode()


def _bonds(topology: mdtraj.Topology) -> np.ndarray:
    """Pairs of atoms, the lower one first, sorted: (n, 2) int64."""
    ends = itertools.chain.from_iterable(topology.bonds)
    first, second = np.array([atom.index for atom in ends], "<i8").reshape(-1, 2).T
    bonds = np.column_stack([np.minimum(first, second), np.maximum(first, second)])
    return bonds[np.argsort(bonds[:, 0] * (topology.n_atoms + 1) + bonds[:, 1], kind="stable")]


def select_atoms(topology: mdtraj.Topology, selection: Selection) -> np.ndarray:
    """The indices of the atoms that a selection matches, int64.

    Parameters
    ----------
    topology
        The topology to choose from.
    selection
        An mdtraj selection such as ``"name CA and resid 1 to 5"``, atom indices (kept in the order given), a boolean mask of
        all atoms, or None for all atoms.

    Raises
    ------
    SelectionError
        If it cannot be parsed, matches nothing, or names an atom twice or one that does not exist.
    """
    n_atoms = topology.n_atoms
    if selection is None:
        return np.arange(n_atoms)
    if isinstance(selection, str):
        try:
            found = np.asarray(topology.select(selection), dtype=np.int64)
        except Exception as error:  # the parser of mdtraj raises nearly anything
            raise SelectionError(
                f"the selection {selection!r} cannot be read: {_reason(error)}; an example is 'name CA and resid 1 to 5'"
            ) from None
        if not len(found):
            names = ", ".join(sorted({residue.name for residue in topology.residues})[:8])
            raise SelectionError(
                f"the selection {selection!r} matches none of the {n_atoms} atoms (residues {names})"
                f"{_other_case(topology, selection)}"
            )
        return found
    try:
        found = np.asarray(selection)
    except ValueError as error:
        raise SelectionError(f"atoms={selection!r} are no atom indices") from error
    if found.ndim != 1 or (len(found) and found.dtype.kind not in "iub"):
        raise SelectionError(
            f"atoms of shape {found.shape} and type {found.dtype} are no atom indices; give a list of ints or a selection string"
        )
    if found.dtype.kind == "b":
        if len(found) != n_atoms:
            raise SelectionError(f"a mask of {len(found)} atoms does not fit {n_atoms} atoms")
        found = np.flatnonzero(found)
    found = found.astype(np.int64)
    if not len(found):
        raise SelectionError("the selection is empty; name at least one atom")
    if found.min() < 0 or found.max() >= n_atoms:
        bad = int(found.min() if found.min() < 0 else found.max())
        raise SelectionError(f"atom {bad} does not exist; the topology has atoms 0 to {n_atoms - 1}")
    if not is_rising(found) and len(np.unique(found)) != len(found):
        values, counts = np.unique(found, return_counts=True)
        raise SelectionError(f"atom {int(values[counts > 1][0])} is chosen twice; name each atom once")
    return found


def is_rising(numbers: np.ndarray) -> bool:
    """Whether each number is larger than the one before it, so that they are sorted and none comes twice."""
    return bool((numbers[1:] > numbers[:-1]).all())


def _reason(error: Exception) -> str:
    """What the parser says, without the whole of its grammar and the sign below the place."""
    text = " ".join(str(error).replace("^", "").split())
    found = re.search(r"found (.+?) \(at char (\d+)\)", text)
    if found is not None and found[1] == "end of text":
        return "it ends too early"
    if found is not None:
        return f"{found[1]} at character {int(found[2]) + 1} does not fit there"
    if "Expected {" in text:
        return "it is empty" if "(at char 0)" in text else "it is no selection"
    return text or type(error).__name__


def _other_case(topology: mdtraj.Topology, selection: str) -> str:
    """The names that a selection would match if it were written in the other case."""
    known: dict[str, set[str]] = {}
    for residue in topology.residues:
        symbols = (atom.element.symbol for atom in residue.atoms if atom.element)
        for name in (residue.name, *(atom.name for atom in residue.atoms), *symbols):
            known.setdefault(name.upper(), set()).add(name)
    words = dict.fromkeys(re.findall(r"[A-Za-z0-9_'*]+", selection))
    meant = {word: sorted(known.get(word.upper(), ())) for word in words}
    told = [" or ".join(names) for word, names in meant.items() if names and word not in names]
    return f"; did you mean {', '.join(told)}" if told else ""
