"""Values equal those of mdtraj on the same frames."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

from mdinsight.features import (
    RMSD,
    SASA,
    Angles,
    Contacts,
    Distances,
    Function,
    HydrogenBonds,
    Positions,
    RadiusOfGyration,
    SecondaryStructure,
    Torsions,
)

SMALL_BOX = np.array([[1.1, 0, 0], [0.3, 1.0, 0], [-0.2, 0.4, 0.9]])


def values(feature, trajectory):
    """All frames as the transform computes them."""
    return feature.transform(trajectory, cache=False, workers=1)[0]


@pytest.fixture(params=["no box", "box"])
def trajectory(frames, request) -> mdtraj.Trajectory:
    """Real frames, without and with a small triclinic box into which each atom is wrapped by itself."""
    if request.param == "no box":
        return frames
    rng = np.random.default_rng(0)
    xyz = frames.xyz + rng.integers(-1, 2, size=(*frames.xyz.shape[:2], 3)) @ SMALL_BOX
    boxed = mdtraj.Trajectory(xyz, frames.topology, frames.time)
    boxed.unitcell_vectors = np.tile(SMALL_BOX, (frames.n_frames, 1, 1)).astype(np.float32)
    return boxed


def test_backbone_torsions(trajectory):
    found = values(Torsions("phi psi"), trajectory)
    phi, psi = mdtraj.compute_phi(trajectory)[1], mdtraj.compute_psi(trajectory)[1]
    expected = np.hstack([np.cos(phi), np.sin(phi), np.cos(psi), np.sin(psi)])
    np.testing.assert_allclose(found, expected, atol=5e-6)
    raw = values(Torsions("psi phi", raw=True), trajectory)
    np.testing.assert_allclose(raw, np.hstack([psi, phi]), atol=5e-6)


@pytest.mark.parametrize("kind", ["phi", "psi", "omega", "chi1", "chi2", "chi3", "chi4", "chi5"])
def test_every_torsion_kind(kind, make_peptide):
    peptide = make_peptide("ALA ARG GLY LYS SER ALA", n_frames=30)
    atoms, expected = getattr(mdtraj, f"compute_{kind}")(peptide)
    found = Torsions(kind, raw=True).transform(peptide, cache=False)
    assert [column.atoms for column in found.columns] == [tuple(row) for row in atoms.tolist()]
    np.testing.assert_allclose(np.exp(1j * found[0]), np.exp(1j * expected), atol=3e-5)
    pairs = values(Torsions(kind), peptide)
    np.testing.assert_allclose(pairs[:, 0::2] ** 2 + pairs[:, 1::2] ** 2, 1.0, atol=1e-6)


def test_torsions_of_any_atoms(trajectory):
    atoms = [[0, 4, 6, 8], [1, 4, 6, 7]]
    np.testing.assert_allclose(
        values(Torsions(atoms, raw=True), trajectory), mdtraj.compute_dihedrals(trajectory, atoms), atol=1e-5
    )


def test_angles(trajectory):
    atoms = [[4, 6, 8], [6, 8, 10], [0, 4, 5]]
    np.testing.assert_allclose(values(Angles(atoms), trajectory), mdtraj.compute_angles(trajectory, atoms), atol=1e-5)


def test_distances(trajectory):
    found = Distances("all").transform(trajectory, cache=False)
    pairs = np.array([column.atoms for column in found.columns])
    assert len(pairs) == 22 * 21 // 2
    np.testing.assert_allclose(found[0], mdtraj.compute_distances(trajectory, pairs), atol=1e-6)
    plain = values(Distances(pairs, periodic=False), trajectory)
    np.testing.assert_allclose(plain, mdtraj.compute_distances(trajectory, pairs, periodic=False), atol=1e-6)


@pytest.mark.parametrize("scheme", ["closest-heavy", "closest", "ca", "sidechain-heavy"])
@pytest.mark.parametrize("with_box", [False, True])
def test_residue_distances(scheme, with_box, make_peptide):
    peptide = make_peptide("ALA ARG LYS SER ALA ARG SER", n_frames=20)
    if with_box:
        peptide.unitcell_vectors = np.tile(3 * SMALL_BOX, (20, 1, 1))
    expected, pairs = mdtraj.compute_contacts(peptide, scheme=scheme, periodic=with_box)
    found = Contacts(kind="distance", scheme=scheme).transform(peptide, cache=False)
    assert found.names == tuple(
        f"distance {peptide.topology.residue(a)} - {peptide.topology.residue(b)}" for a, b in pairs
    )
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    cutoff = float(np.median(expected)) + 1e-4
    hard = values(Contacts(kind="hard", scheme=scheme, cutoff=cutoff), peptide)
    np.testing.assert_array_equal(hard, expected <= cutoff)
    assert 0.4 < hard.mean() < 0.6
    if scheme != "ca":
        with np.errstate(over="ignore"):
            soft, _ = mdtraj.compute_contacts(peptide, scheme=scheme, periodic=with_box, soft_min=True)
        kept = np.isfinite(soft) & (soft > 0)  # mdtraj's exponential overflows below 0.2 nm
        assert kept.mean() > 0.8
        ours = values(Contacts(kind="distance", scheme=scheme, soft_min=True), peptide)
        np.testing.assert_allclose(ours[kept], soft[kept], atol=5e-6)


def test_smooth_contacts_are_the_rational_switch(frames):
    r = values(Contacts([[0, 1], [0, 2]], kind="distance"), frames).astype(float)
    x = r / 0.45
    expected = (1 - x**6) / (1 - x**12)
    np.testing.assert_allclose(values(Contacts([[0, 1], [0, 2]], soft_min=False), frames), expected, atol=1e-5)
    angstrom = Contacts([[0, 1], [0, 2]], soft_min=False, cutoff="4.5 angstrom")
    np.testing.assert_allclose(values(angstrom, frames), expected, atol=1e-5)


def test_glycine_has_a_side_chain_of_hydrogens_or_is_refused(make_peptide):
    from mdinsight.errors import TopologyError

    peptide = make_peptide("ALA ARG LYS GLY SER")
    with pytest.raises(TopologyError, match=r"GLY4 .*sidechain-heavy"):
        Contacts(scheme="sidechain-heavy").bind(peptide.topology)


def test_rmsd(frames):
    atoms = frames.topology.select("element C")
    expected = mdtraj.rmsd(frames, frames, frame=5, atom_indices=atoms)
    np.testing.assert_allclose(
        values(RMSD(frames[5], "element C"), frames)[:, 0], expected, atol=2e-4
    )  # mdtraj: float32
    far = np.arange(len(frames)) != 5
    np.testing.assert_allclose(values(RMSD(frames[5], atoms), frames)[far, 0], expected[far], rtol=1e-4)


def test_positions_after_superposition(frames):
    atoms = frames.topology.select("element C")
    moved = frames[:]
    moved.superpose(frames, 5, atom_indices=atoms)
    found = values(Positions(frames[5], "all", align="element C"), frames)
    np.testing.assert_allclose(found.reshape(len(frames), -1, 3), moved.xyz, atol=1e-5)


def test_radius_of_gyration(frames):
    """mdtraj weighs the squares by mass, but about the centre of geometry: larger by the parallel axis theorem."""
    masses = np.array([atom.element.mass for atom in frames.topology.atoms])
    apart = mdtraj.compute_center_of_mass(frames) - mdtraj.compute_center_of_geometry(frames)
    expected = np.sqrt(mdtraj.compute_rg(frames, masses) ** 2 - (apart**2).sum(axis=1))
    np.testing.assert_allclose(values(RadiusOfGyration("all"), frames)[:, 0], expected, atol=1e-6)
    plain = values(RadiusOfGyration("all", mass_weighted=False), frames)[:, 0]
    np.testing.assert_allclose(plain, mdtraj.compute_rg(frames), atol=1e-6)


def test_surface_area(frames):
    some = frames[:6]
    np.testing.assert_allclose(values(SASA("all"), some), _areas(some, "residue"), rtol=1e-6)
    atoms = values(SASA("all", mode="atom"), some)
    np.testing.assert_allclose(atoms, _areas(some, "atom"), rtol=1e-6)
    np.testing.assert_allclose(values(SASA("all", mode="total"), some)[:, 0], atoms.sum(axis=1), rtol=1e-5)


def _areas(frames, mode):
    """Frame by frame: of many at once mdtraj's areas depend on the frames before."""
    return np.concatenate([mdtraj.shrake_rupley(frame, mode=mode) for frame in frames])


def test_secondary_structure(make_peptide):
    peptide = make_peptide("ALA ALA ALA ALA ALA ALA", n_frames=3)
    peptide.xyz = peptide.xyz * 0 + _helix(peptide.topology)
    codes = mdtraj.compute_dssp(peptide)
    found = SecondaryStructure().transform(peptide, cache=False)
    assert found.names[:3] == ("helix ALA1", "strand ALA1", "coil ALA1")
    expected = (codes[:, :, None] == np.array(list("HEC"))).reshape(3, -1)
    np.testing.assert_array_equal(found[0], expected)
    assert found.select("helix ALA3")[0].all()


def _helix(topology):
    """Backbone of an ideal alpha helix: radius, angle and height of each atom (nm, degrees); CB where it does not matter."""
    where = {"N": (0.155, -28.0, -0.092), "CA": (0.228, 0.0, 0.0), "C": (0.166, 26.0, 0.107), "O": (0.199, 24.0, 0.229)}
    xyz = np.zeros((topology.n_atoms, 3))
    for atom in topology.atoms:
        r, angle, height = where.get(atom.name, (0.33, -20.0, -0.1))
        turn = np.deg2rad(angle + 100.0 * atom.residue.index)
        xyz[atom.index] = r * np.cos(turn), r * np.sin(turn), height + 0.15 * atom.residue.index
    return xyz


def test_hydrogen_bonds(frames):
    """Those that mdtraj's Baker-Hubbard analysis finds in a frame, between residues, are the ones that are set."""
    features = HydrogenBonds("all", kind="bonds")
    found = features.transform(frames, cache=False)
    atoms = [column.atoms for column in found.columns]
    for row, frame in zip(found[0], frames, strict=True):
        expected = {tuple(t) for t in mdtraj.baker_hubbard(frame, freq=0.0, periodic=False).tolist()}
        apart = {t for t in expected if len({frames.topology.atom(i).residue.index for i in (t[1], t[2])}) == 2}
        assert {t for t, there in zip(atoms, row, strict=True) if there} == apart
    np.testing.assert_array_equal(values(HydrogenBonds("all"), frames)[:, 0], found[0].sum(axis=1))
    assert found[0].sum() > 3


def test_a_function_of_your_own(frames):
    feature = Function(_widths, ["width x", "width y"], atoms="element C")
    carbons = frames.atom_slice(frames.topology.select("element C"))
    np.testing.assert_array_equal(values(feature, frames), _widths(carbons))


def _widths(frames):
    return np.ptp(frames.xyz[:, :, :2], axis=1)
