"""Frames and boxes that the tests of the features share."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

BOXES = {
    "no box": None,
    "cube": np.diag([2.0, 2.0, 2.0]),
    "rectangular": np.diag([1.7, 2.3, 3.1]),
    "octahedron": np.array([[2.2, 0, 0], [0.7333, 2.0741, 0], [-0.7333, 1.0371, 1.7963]]),
    "strongly tilted": np.array([[1.5, 0, 0], [4.3, 1.4, 0], [-2.7, 3.9, 1.3]]),
}


@pytest.fixture(scope="session")
def frames(examples) -> mdtraj.Trajectory:
    """Forty frames of alanine dipeptide, spread over a trajectory."""
    return mdtraj.load(str(examples / "ala2_fast/ala2_fast-00.xtc"), top=str(examples / "ala2_fast/top.pdb"))[::200]


@pytest.fixture(params=list(BOXES))
def box(request) -> np.ndarray | None:
    """No box, and boxes of several shapes, the last with edges far from its shortest lattice vectors."""
    return BOXES[request.param]


def peptide(sequence: str, seed: int = 0, n_frames: int = 4) -> mdtraj.Trajectory:
    """A chain with backbone, side-chain carbons and hydrogens enough for every torsion; its coordinates are random."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    carbon, nitrogen, oxygen = (mdtraj.element.Element.getBySymbol(s) for s in "CNO")
    hydrogen = mdtraj.element.hydrogen
    side = {"ALA": "CB", "GLY": "", "ARG": "CB CG CD NE CZ NH1", "SER": "CB OG", "LYS": "CB CG CD CE NZ"}
    for number, name in enumerate(sequence.split(), 1):
        residue = topology.add_residue(name, chain, resSeq=number)
        for atom in ["N", "H", "CA", *side[name].split(), "C", "O"]:
            element = {"N": nitrogen, "C": carbon, "O": oxygen, "H": hydrogen}[atom[0]]
            topology.add_atom(atom, element, residue)
    topology.create_standard_bonds()
    xyz = np.random.default_rng(seed).normal(size=(n_frames, topology.n_atoms, 3)).astype(np.float32)
    return mdtraj.Trajectory(xyz, topology)


@pytest.fixture(scope="session")
def make_peptide():
    """The function that makes a chain of given residues."""
    return peptide
