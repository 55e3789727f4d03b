"""Frames in which a peptide bond or a stereocentre has turned over are told from conformers."""

import mdtraj
import numpy as np
import pytest

from mdinsight.adaptive import Isomers

ALA2 = "example_trajs/ala2/top.pdb"


@pytest.fixture(scope="module")
def ala2():
    return mdtraj.load(ALA2)


def rotated(xyz, i, j, moving, angle):
    """The atoms ``moving`` turned about the bond i - j."""
    axis = xyz[j] - xyz[i]
    axis /= np.linalg.norm(axis)
    made = xyz.copy()
    v = xyz[moving] - xyz[j]
    made[moving] = (
        xyz[j] + v * np.cos(angle) + np.cross(axis, v) * np.sin(angle) + np.outer(v @ axis, axis) * (1 - np.cos(angle))
    )
    return made


def test_the_amides_and_the_stereocentre_of_alanine_dipeptide_are_found(ala2):
    isomers = Isomers.of(ala2.topology)
    names = [[str(ala2.topology.atom(i)) for i in row] for row in isomers.amides]
    assert [[n.split("-")[1] for n in row][1:3] for row in names] == [["C", "N"], ["C", "N"]]
    assert [str(ala2.topology.atom(row[0])) for row in isomers.centres] == ["ALA2-CA"]


def test_a_cis_peptide_bond_is_another_isomer(ala2):
    isomers = Isomers.of(ala2.topology)
    xyz = ala2.xyz[0].astype(float)
    _, c, n, _ = isomers.amides[0]
    after = np.array([a.index for a in ala2.topology.atoms if a.residue.index >= 1 and a.index != n])
    cis = rotated(xyz, c, n, after, np.pi)
    turned = rotated(xyz, c, n, after, np.pi / 4)
    assert isomers.same(np.array([xyz, turned, cis]), xyz).tolist() == [True, True, False]


def test_a_mirror_image_is_another_isomer_and_a_rotated_molecule_is_not(ala2):
    isomers = Isomers.of(ala2.topology)
    xyz = ala2.xyz[0].astype(float)
    mirror = xyz * [1, 1, -1]
    turned = xyz @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    assert isomers.same(np.array([mirror, turned]), xyz).tolist() == [False, True]


def test_conformers_of_real_md_are_all_the_same_isomer():
    trajectory = mdtraj.load("example_trajs/ala2/ala2-00.xtc", top=ALA2)
    isomers = Isomers.of(trajectory.topology)
    assert isomers.same(trajectory.xyz, trajectory.xyz[0]).all()


def test_md_at_1500_K_turns_peptide_bonds_over():
    """Why frames are filtered at all: seen in alanine dipeptide within 200 ps."""
    from mdinsight.engine import Segment, System, run

    system = System.from_pdb(ALA2, forcefield="amber99sb", solvent="vacuum")
    start = system.prepared(1, 0).positions
    isomers = Isomers.of(system.topology)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run(system, Segment("hot", "explore", 100_000, 250, 3, start[None], 1500.0), folder)
        xyz = mdtraj.load(f"{folder}/traj-0000.xtc", top=system.topology).xyz
    same = isomers.same(xyz, start)
    assert 0 < (~same).sum() < len(same) / 2 or same.all()
    assert not (
        isomers.signature(xyz)[:, len(isomers.amides) :] != isomers.signature(start[None])[:, len(isomers.amides) :]
    ).any()
