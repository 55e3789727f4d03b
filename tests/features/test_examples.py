"""The features of the example trajectories, in water with a box too, equal mdtraj's."""

import mdtraj
import numpy as np
import pytest

from mdinsight import features


def loaded(examples, name):
    return mdtraj.load(str(examples / name / f"{name}-00.xtc"), top=str(examples / name / "top.pdb"))


COMPUTE = {"phi": mdtraj.compute_phi, "psi": mdtraj.compute_psi, "omega": mdtraj.compute_omega}


@pytest.mark.parametrize(("name", "kinds"), [("ala3", ("phi", "psi", "omega")), ("ala2_water", ("phi", "psi"))])
def test_torsions(examples, name, kinds, request):
    found = features.Torsions(" ".join(kinds), raw=True).transform(request.getfixturevalue(name), cache=False)
    frames = loaded(examples, name)
    for kind in kinds:
        ours = found.select(f"{kind} *")[0]
        gap = np.angle(np.exp(1j * (ours - COMPUTE[kind](frames)[1])))
        assert np.abs(gap).max() < 2e-5


def test_distances_to_water_are_to_the_nearest_image(examples, ala2_water):
    frames = loaded(examples, "ala2_water")
    water = frames.topology.select("water and name O")[:40]
    pairs = np.array([(i, j) for i in frames.topology.select("protein and mass > 2") for j in water])
    ours = features.Distances(pairs=pairs).transform(ala2_water, cache=False)[0]
    assert np.abs(ours - mdtraj.compute_distances(frames, pairs)).max() < 1e-5
    assert ours.max() <= np.linalg.norm(frames.unitcell_lengths.max(axis=0) / 2) + 1e-5
    apart = features.Distances(pairs=pairs, periodic=False).transform(ala2_water, cache=False)[0]
    assert (apart - ours).max() > 0.5  # without images some pairs look far apart


def test_the_peptide_has_three_residues_of_torsions(ala3):
    assert features.Torsions("phi psi").describe(ala3)[0] == "cos phi ALA2: phi; atoms ACE1-C ALA2-N ALA2-CA ALA2-C"
    assert features.Torsions("phi psi").transform(ala3, cache=False).n_columns == 12
