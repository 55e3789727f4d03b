"""A peptide out of its sequence: L residues, trans peptide bonds, no clash."""

from __future__ import annotations

import itertools

import mdtraj
import numpy as np
import pytest

from mdinsight.engine import System
from mdinsight.errors import ForceFieldError, MdinsightError, ParameterError


@pytest.fixture(scope="module")
def all_letters():
    system = System.from_sequence("ACDEFGHIKLMNPQRSTVWY", caps=True)
    return system.prepared(3, equilibrate=0)


def test_all_amino_acids_are_l(all_letters):
    xyz, checked = all_letters.positions, 0
    for residue in all_letters.topology.residues:
        atoms = {atom.name: xyz[atom.index] for atom in residue.atoms}
        if not {"N", "CA", "C", "CB"} <= set(atoms):
            continue
        n, c, cb = (atoms[name] - atoms["CA"] for name in ("N", "C", "CB"))
        assert np.dot(np.cross(n, c), cb) > 0.001, residue  # nm^3; negative for D
        checked += 1
    assert checked == 19
    for name, branches in (("ILE", ("CA", "CG1", "CG2")), ("THR", ("CA", "OG1", "CG2"))):
        atoms = {a.name: xyz[a.index] for r in all_letters.topology.residues if r.name == name for a in r.atoms}
        first, second, third = (atoms[branch] - atoms["CB"] for branch in branches)
        assert np.dot(np.cross(first, second), third) > 0.001, name


def test_peptide_bonds_are_trans(all_letters):
    residues = [{atom.name: atom.index for atom in r.atoms} for r in all_letters.topology.residues]
    quads = [
        (a.get("CA", a.get("CH3")), a["C"], b["N"], b["CA"] if "CA" in b else b["C"])
        for a, b in itertools.pairwise(residues)
    ]
    trajectory = mdtraj.Trajectory(all_letters.positions[None].astype(np.float32), all_letters.topology)
    omega = np.degrees(mdtraj.compute_dihedrals(trajectory, quads)[0])
    assert len(omega) == 21
    assert np.abs(omega).min() > 150


def test_no_clash_and_extended(all_letters):
    xyz, topology = all_letters.positions, all_letters.topology
    heavy = topology.select("element != H")
    bonded = {frozenset((a.index, b.index)) for a, b in topology.bonds}
    distances = np.linalg.norm(xyz[heavy, None] - xyz[None, heavy], axis=2)
    close = [frozenset((heavy[i], heavy[j])) for i, j in zip(*np.where(distances < 0.2), strict=True) if i < j]
    assert all(pair in bonded for pair in close)
    alpha = topology.select("name CA")
    assert np.linalg.norm(xyz[alpha[0]] - xyz[alpha[-1]]) > 0.25 * (len(alpha) - 1)


def test_chignolin_has_charged_ends():
    system = System.from_sequence("YYDPETGTWY", solvent="vacuum")
    assert system.n_atoms == 166 and system.n_solute == 166
    names = [{a.name for a in r.atoms} for r in system.topology.residues]
    assert {"H", "H2", "H3"} <= names[0] or {"H1", "H2", "H3"} <= names[0]
    assert "OXT" in names[-1]


@pytest.mark.parametrize("text", ["ace-AAA-nme", "ACE-AAA-NME", " A A A "])
def test_caps(text):
    system = System.from_sequence(text, "amber99sb", "vacuum", caps=not text.lower().startswith("ace"))
    assert [residue.name for residue in system.topology.residues] == ["ACE", "ALA", "ALA", "ALA", "NME"]
    assert system.n_atoms == 42


def test_a_single_amino_acid_is_capped():
    system = System.from_sequence("P", "amber99sb", "vacuum")
    assert [residue.name for residue in system.topology.residues] == ["ACE", "PRO", "NME"]
    assert "single amino acid" in system.description["caps"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("YYDPBTGTWY", r"letter 5 of the sequence 'YYDPBTGTWY', 'B', is no amino acid; allowed are A, C, D"),
        ("ace-AXA-nme", r"letter 6 .*'X'"),
        ("yydpetgtwy", r"letter 1 .*write 'Y' \(small letters"),
        ("", "no sequence"),
        ("ace--nme", "no amino acid between"),
        (7, "no sequence"),
    ],
)
def test_letters_that_are_none(text, says):
    with pytest.raises(ParameterError, match=says):
        System.from_sequence(text)


def test_errors_are_of_the_package():
    assert issubclass(ForceFieldError, MdinsightError)
    with pytest.raises(ForceFieldError, match="neither known nor a file"):
        System.from_sequence("AA", "amber")
