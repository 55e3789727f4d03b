"""Molecules made whole inside a kernel: each atom is taken at the image nearest to an atom that it is bonded to."""

from __future__ import annotations

from itertools import pairwise

import mdtraj
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components

from mdinsight.features._geometry import difference
from mdinsight.features._jit import jit
from mdinsight.features._memory import load, put, scratch


def paths_to(topology: mdtraj.Topology, atoms: np.ndarray, periodic: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The atoms that a kernel must walk along so that the chosen ones come out whole.

    Within a molecule these are the chosen atoms and those on the paths of bonds between them, so a chain may be longer
    than half the box. The first chosen atom of each molecule is taken where it stands in the file. Atoms of one residue
    that no bonds connect are walked in the order of the file; in a topology without bonds, the chosen atoms of a chain.

    Parameters
    ----------
    topology
        Atoms and bonds.
    atoms
        (n,) numbers of the chosen atoms, each once.
    periodic
        If not, the chosen atoms alone are returned, each where it stands.

    Returns
    -------
    rows
        (m,) atom numbers, each behind the one it is reached from.
    parent
        (m,) the row that each is reached from, -1 for one taken where it stands.
    chosen
        (n,) the rows of the chosen atoms.
    """
    count = len(atoms)
    if not periodic:
        return atoms, np.full(count, -1), np.arange(count)
    if not topology.n_bonds:
        chain = np.array([topology.atom(int(i)).residue.chain.index for i in atoms])
        start = np.concatenate([[True], chain[1:] != chain[:-1]])
        return atoms, np.where(start, -1, np.arange(count) - 1), np.arange(count)
    source = topology.n_atoms  # a further node, from which the first chosen atom of each molecule is reached
    ends = _edges(topology)
    molecule = connected_components(_graph(ends, source), directed=False)[1]
    roots = atoms[np.unique(molecule[atoms], return_index=True)[1]]
    ends = np.vstack([ends, ends[:, ::-1], np.column_stack([np.full(len(roots), source), roots])])
    order, before = breadth_first_order(_graph(ends, source + 1), source, directed=True, return_predecessors=True)
    needed = np.zeros(source + 1, bool)
    needed[atoms] = True
    for i in order[:0:-1].tolist():
        if needed[i]:
            needed[before[i]] = True
    needed[source] = False
    rows = order[needed[order]].astype(np.int64)
    place = np.full(source + 1, -1)
    place[rows] = np.arange(len(rows))
    return rows, place[before[rows]], place[atoms]


def _graph(ends: np.ndarray, size: int) -> csr_matrix:
    return csr_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (size, size))


def _edges(topology: mdtraj.Topology) -> np.ndarray:
    """(n, 2) bonds, and what stands for them in residues that the bonds do not hold together, such as ligands."""
    ends = [(bond[0].index, bond[1].index) for bond in topology.bonds]
    bonded = {i for pair in ends for i in pair}
    for residue in topology.residues:
        indices = [atom.index for atom in residue.atoms]
        names = {atom.name for atom in residue.atoms}
        # the atoms of a molecule have names of their own; a heap of argon in one residue does not
        if len(names) == len(indices) and not bonded.issuperset(indices):
            ends += list(pairwise(indices))
    return np.unique(np.sort(np.array(ends), axis=1), axis=0)


@jit
def gather(xyz, index, parent, cell):  # type: ignore[no-untyped-def]
    """Coordinates (n_terms, 3) of the atoms in the first column of the index, molecules whole where there is a box."""
    x = scratch(xyz, index.shape[0], 3)
    for n in range(index.shape[0]):
        i = index[n, 0]
        m = int(parent[n])
        if cell[0] == 0.0 or m < 0:
            for c in range(3):
                put(x, n, c, load(xyz, i, c))
        else:
            d = difference(xyz, index[m, 0], i, cell)
            put(x, n, 0, load(x, m, 0) + d[0])
            put(x, n, 1, load(x, m, 1) + d[1])
            put(x, n, 2, load(x, m, 2) + d[2])
    return x
