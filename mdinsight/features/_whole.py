"""Molecules made whole inside a kernel: each atom is taken at the image nearest to the atom before it."""

from __future__ import annotations

import mdtraj
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from mdinsight.features._geometry import difference
from mdinsight.features._jit import jit


def first_of_molecule(topology: mdtraj.Topology, atoms: np.ndarray) -> np.ndarray:
    """Which of the atoms is the first of its molecule: these are taken where they stand in the file.

    Molecules are what bonds connect; in a topology without bonds, chains.
    """
    if topology.n_bonds:
        ends = np.array([(bond[0].index, bond[1].index) for bond in topology.bonds])
        graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (topology.n_atoms, topology.n_atoms))
        molecule = connected_components(graph, directed=False)[1][atoms]
    else:
        molecule = np.array([topology.atom(int(i)).residue.chain.index for i in atoms])
    return np.concatenate([[True], molecule[1:] != molecule[:-1]])


@jit
def gather(xyz, index, first, cell):  # type: ignore[no-untyped-def]
    """Coordinates (n_terms, 3) of the atoms in the first column of the index, molecules whole where there is a box."""
    x = np.empty((index.shape[0], 3))
    for n in range(index.shape[0]):
        i = index[n, 0]
        if cell[0] == 0.0 or first[n] > 0.0:
            x[n, 0], x[n, 1], x[n, 2] = xyz[i, 0], xyz[i, 1], xyz[i, 2]
        else:
            d = difference(xyz, index[n - 1, 0], i, cell)
            x[n, 0], x[n, 1], x[n, 2] = x[n - 1, 0] + d[0], x[n - 1, 1] + d[1], x[n - 1, 2] + d[2]
    return x
