"""Every kernel's gradient is the derivative of its value, with and without a box, also in tricky places."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdinsight.errors import GradientError
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
from mdinsight.features._quaternion import eigen4

KINDS = {
    "torsions": lambda frame: Torsions("phi psi"),
    "raw torsions": lambda frame: Torsions([[4, 6, 8, 14], [0, 4, 6, 8], [8, 6, 4, 14]], raw=True),
    "angles": lambda frame: Angles([[4, 6, 8], [0, 4, 21], [3, 2, 1]]),
    "distances": lambda frame: Distances("all"),
    "smooth contacts": lambda frame: Contacts([[0, 1], [1, 2], [0, 2]]),
    "smooth contacts of the closest": lambda frame: Contacts([[0, 1], [0, 2]], soft_min=False, scheme="closest"),
    "residue distances": lambda frame: Contacts([[0, 1], [0, 2]], kind="distance"),
    "soft residue distances": lambda frame: Contacts([[0, 1], [0, 2]], kind="distance", soft_min=True),
    "rmsd": lambda frame: RMSD(frame, "element C"),
    "positions": lambda frame: Positions(frame, "element C"),
    "positions, others aligned": lambda frame: Positions(frame, "all", align="element C or element N"),
    "rmsd of a few atoms far apart": lambda frame: RMSD(frame, "index 1 or index 10 or index 18"),
    "positions of a few atoms far apart": lambda frame: Positions(frame, "index 1 10", align="index 4 10 18 20"),
    "rg of a few atoms far apart": lambda frame: RadiusOfGyration("index 1 or index 10 or index 18"),
    "rg": lambda frame: RadiusOfGyration("all"),
    "rg, not weighted": lambda frame: RadiusOfGyration("element C", mass_weighted=False),
    "union": lambda frame: Torsions("psi") + Distances("element O") + RMSD(frame, "element N or element O or name CA"),
    "selected": lambda frame: (Torsions("phi psi") + Positions(frame, "element C")).select("sin*", "y*"),
}


def numerical(bound, xyz, cotangent, box, step=1e-5):
    """Central differences of cotangent . values."""
    grad = np.zeros_like(xyz)
    for place in np.ndindex(*xyz.shape):
        up, down = xyz.copy(), xyz.copy()
        up[place] += step
        down[place] -= step
        grad[place] = cotangent @ (bound.value(up, box) - bound.value(down, box)) / (2 * step)
    return grad


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_the_derivative(kind, frames, box):
    bound = KINDS[kind](frames[3]).bind(frames.topology)
    rng = np.random.default_rng(5)
    xyz = frames.xyz[11].astype(np.float64)
    if box is not None:  # wrapped into other images, atom by atom
        xyz = xyz + rng.integers(-2, 3, size=(len(xyz), 3)) @ box
    cotangent = rng.normal(size=bound.n_columns)
    analytic, expected = bound.vjp(xyz, cotangent, box), numerical(bound, xyz, cotangent, box)
    np.testing.assert_allclose(analytic, expected, atol=2e-7 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "selected"])
def test_rigid_motion_changes_nothing(kind, frames):
    bound = KINDS[kind](frames[3]).bind(frames.topology)
    rng = np.random.default_rng(2)
    xyz = frames.xyz[20].astype(np.float64)
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation = q * np.sign(np.diag(r))
    rotation *= np.linalg.det(rotation)  # a proper rotation
    moved = xyz @ rotation.T + rng.normal(size=3)
    np.testing.assert_allclose(bound.value(moved), bound.value(xyz), atol=1e-10)
    cotangent = rng.normal(size=bound.n_columns)
    force = bound.vjp(xyz, cotangent)
    scale = np.abs(force).max()
    np.testing.assert_allclose(force.sum(axis=0), 0, atol=1e-12 * scale * len(xyz))
    np.testing.assert_allclose(np.cross(xyz, force).sum(axis=0), 0, atol=1e-12 * scale * len(xyz))
    np.testing.assert_allclose(bound.vjp(moved, cotangent), force @ rotation.T, atol=1e-9 * scale)


def test_images_do_not_matter(frames, box):
    """In a box, the values are the same wherever each atom is wrapped to, and those of the whole molecule."""
    if box is None:
        box = np.diag([50.0, 50.0, 50.0])
    rng = np.random.default_rng(1)
    features = Torsions("phi psi") + Angles([[4, 6, 8]]) + RadiusOfGyration("all") + RMSD(frames[0], "element C")
    bound = features.bind(frames.topology)
    xyz = frames.xyz[7].astype(np.float64)
    wrapped = xyz + rng.integers(-3, 4, size=(len(xyz), 3)) @ box
    np.testing.assert_allclose(bound.value(wrapped, box), bound.value(xyz), atol=1e-10)


ENDS = "resSeq 1 to 3 or resSeq 18 to 20"


def long_chain(bonds=True, ligand=0):
    """Twenty beads 5.7 nm long in a box of 7 nm, and a ligand without bonds; whole."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    beads = [
        topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("ALA", chain, resSeq=i + 1))
        for i in range(20)
    ]
    for i in range(19 if bonds else 0):
        topology.add_bond(beads[i], beads[i + 1])
    residue = topology.add_residue("LIG", topology.add_chain(), resSeq=1)
    for i in range(ligand):
        topology.add_atom(f"C{i}", mdtraj.element.carbon, residue)
    steps = np.arange(20.0)
    xyz = np.column_stack([0.3 * steps, 0.1 * np.sin(2 * steps), 0.1 * np.cos(3 * steps)])
    xyz = np.vstack([xyz, [3.4, 3.0, 3.0] + 0.15 * np.arange(ligand)[:, None] * [1.0, 0.3, 0.1]])
    return mdtraj.Trajectory(xyz[None].astype(np.float32), topology), 7.0 * np.eye(3)


@pytest.mark.parametrize("selection", ["all", ENDS, "resSeq 1 or resSeq 11 or resSeq 20"])
def test_a_sparse_selection_of_a_long_molecule_stays_whole(selection):
    """Neighbours in the selection are further apart than half the box; those along the bonds are not."""
    frame, box = long_chain()
    features = RMSD(frame, selection) + RadiusOfGyration(selection) + Positions(frame, selection)
    bound = features.bind(frame.topology)
    xyz = frame.xyz[0].astype(np.float64)
    expected = bound.value(xyz)
    chosen = xyz[frame.topology.select(selection)]
    np.testing.assert_allclose(expected[0], 0.0, atol=1e-9)
    np.testing.assert_allclose(
        expected[1], np.sqrt(((chosen - chosen.mean(axis=0)) ** 2).sum(axis=1).mean()), rtol=1e-9
    )
    np.testing.assert_allclose(expected[2:], chosen.ravel(), atol=1e-9)
    wrapped = xyz + np.random.default_rng(0).integers(-2, 3, size=xyz.shape) @ box
    np.testing.assert_allclose(bound.value(xyz, box), expected, atol=1e-9)
    np.testing.assert_allclose(bound.value(wrapped, box), expected, atol=1e-9)
    assert set(bound.parts[0].columns[0].atoms) == set(frame.topology.select(selection))
    wrapped += np.random.default_rng(1).normal(0, 0.02, xyz.shape)
    cotangent = np.random.default_rng(2).normal(size=bound.n_columns)
    analytic, difference = bound.vjp(wrapped, cotangent, box), numerical(bound, wrapped, cotangent, box)
    np.testing.assert_allclose(analytic, difference, atol=2e-7 * np.abs(difference).max(), rtol=0)
    assert not analytic[np.setdiff1d(np.arange(20), frame.topology.select(selection))].any()


def test_only_the_atoms_on_the_way_are_read():
    frame, _ = long_chain(ligand=3)
    np.testing.assert_array_equal(RMSD(frame, "resSeq 3 5 7 and name CA").bind(frame.topology).atoms, range(2, 7))
    apart = RMSD(frame, "resSeq 3 5 7 and name CA", periodic=False).bind(frame.topology)
    np.testing.assert_array_equal(apart.atoms, [2, 4, 6])


def test_a_molecule_without_bonds_stays_whole_too():
    frame, box = long_chain(ligand=6)
    xyz = frame.xyz[0].astype(np.float64)
    for selection in ("resname LIG", "all"):
        bound = RadiusOfGyration(selection).bind(frame.topology)
        wrapped = xyz.copy()
        wrapped[22:] += [7.0, 0.0, -7.0]
        np.testing.assert_allclose(bound.value(wrapped, box), bound.value(xyz), rtol=1e-9)
    frame, box = long_chain(bonds=False)
    xyz = frame.xyz[0].astype(np.float64)
    bound = RadiusOfGyration("all").bind(frame.topology)
    wrapped = xyz + np.random.default_rng(0).integers(-2, 3, size=xyz.shape) @ box
    np.testing.assert_allclose(bound.value(wrapped, box), bound.value(xyz), rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 6.0))
def test_minimum_image_is_the_shortest_of_all(seed, tilt):
    """In whatever box, however tilted: compared with a search over so many images that none is missed."""
    rng = np.random.default_rng(seed)
    box = np.diag(rng.uniform(1.0, 2.5, size=3))
    box[1, 0], box[2, 0], box[2, 1] = rng.uniform(-tilt, tilt, size=3)
    topology = _atoms(8)
    bound = Distances("all").bind(topology)
    xyz = rng.uniform(-6, 6, size=(8, 3))
    rows, columns = np.triu_indices(8, 1)
    # the coefficients of a lattice vector within reach are bounded by its length over the heights of the cell
    reach = np.ceil(np.linalg.norm(np.linalg.inv(box), axis=0) * np.linalg.norm(box, axis=1).sum()).astype(int)
    fraction = (xyz[columns] - xyz[rows]) @ np.linalg.inv(box)
    inside = (fraction - np.floor(fraction)) @ box
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), -1).reshape(-1, 3) @ box
    expected = [np.linalg.norm(d + steps, axis=1).min() for d in inside]
    np.testing.assert_allclose(bound.value(xyz, box), expected, atol=1e-12)


def _atoms(count: int) -> mdtraj.Topology:
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for i in range(count):
        topology.add_atom("C", mdtraj.element.carbon, topology.add_residue("XXX", chain, resSeq=i + 1))
    return topology


@pytest.mark.parametrize("phi", [np.pi - 1e-7, -np.pi + 1e-7, 0.0, 1e-9, np.pi / 2, 3.0])
def test_torsion_at_any_angle(phi):
    """Known angles, also where the angle itself jumps: cosine and sine do not, and the gradient stays exact."""
    xyz = np.array([[1.0, 0, 0], [0, 0, 0], [0, 0, 1.2], [0.9 * np.cos(phi), 0.9 * np.sin(phi), 1.4]])
    bound = Torsions([[0, 1, 2, 3]]).bind(_atoms(4))
    np.testing.assert_allclose(bound.value(xyz), [np.cos(phi), np.sin(phi)], atol=1e-15)
    raw = Torsions([[0, 1, 2, 3]], raw=True).bind(_atoms(4))
    np.testing.assert_allclose(raw.value(xyz), [phi], atol=1e-12)
    cotangent = np.array([0.3, -1.7])
    expected = numerical(bound, xyz, cotangent, None)
    np.testing.assert_allclose(bound.vjp(xyz, cotangent), expected, atol=1e-8)
    along = np.cos(phi) * bound.vjp(xyz, np.array([0.0, 1.0])) - np.sin(phi) * bound.vjp(xyz, np.array([1.0, 0.0]))
    np.testing.assert_allclose(raw.vjp(xyz, np.ones(1)), along, atol=1e-12)


@pytest.mark.parametrize("theta", [1e-6, 1e-3, np.pi / 2, np.pi - 1e-3, np.pi - 1e-6])
def test_angle_near_its_ends(theta):
    """The arccosine of a scalar product would lose half its digits here; the gradient's size is 1/|arm| at any angle."""
    xyz = np.array([[0.7, 0, 0], [0, 0, 0], [1.3 * np.cos(theta), 1.3 * np.sin(theta), 0]])
    bound = Angles([[0, 1, 2]]).bind(_atoms(3))
    np.testing.assert_allclose(bound.value(xyz), [theta], rtol=1e-9)
    force = bound.vjp(xyz, np.ones(1))
    np.testing.assert_allclose(np.linalg.norm(force, axis=1)[[0, 2]], [1 / 0.7, 1 / 1.3], rtol=1e-9)
    np.testing.assert_allclose(force[:, 2], 0, atol=1e-12)


def test_where_there_is_no_derivative_it_is_zero():
    """Exactly collinear atoms, atoms on top of each other, the reference itself: finite, and zero, as documented."""
    line = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]])
    assert (Angles([[0, 1, 2]]).bind(_atoms(4)).vjp(line, np.ones(1)) == 0).all()
    torsion = Torsions([[0, 1, 2, 3]]).bind(_atoms(4))
    assert (torsion.vjp(line, np.ones(2)) == 0).all()
    np.testing.assert_array_equal(torsion.value(line), [1, 0])
    same = np.zeros((4, 3))
    assert (Distances("all").bind(_atoms(4)).vjp(same, np.ones(6)) == 0).all()
    assert (RadiusOfGyration("all").bind(_atoms(4)).vjp(same, np.ones(1)) == 0).all()


def test_rmsd_near_the_reference(frames):
    """At the reference RMSD is zero to rounding; a little away the gradient is a unit vector over sqrt(n)."""
    reference = frames[4]
    bound = RMSD(reference, "all").bind(frames.topology)
    xyz = reference.xyz[0].astype(np.float64)
    assert bound.value(xyz)[0] < 1e-14
    assert (bound.vjp(xyz, np.ones(1)) == 0).all()
    near = xyz + 1e-6 * np.random.default_rng(0).normal(size=xyz.shape)
    norm = np.linalg.norm(bound.vjp(near, np.ones(1)))
    np.testing.assert_allclose(norm, 1 / np.sqrt(len(xyz)), rtol=1e-9)


def test_positions_at_the_identity(frames):
    """At the reference the aligned positions are its own, and their gradient goes through a rotation of zero."""
    reference = frames[4]
    bound = Positions(reference, "element C").bind(frames.topology)
    xyz = reference.xyz[0].astype(np.float64)
    np.testing.assert_allclose(bound.value(xyz), xyz[reference.topology.select("element C")].ravel(), atol=1e-14)
    cotangent = np.random.default_rng(3).normal(size=bound.n_columns)
    expected = numerical(bound, xyz, cotangent, None)
    np.testing.assert_allclose(bound.vjp(xyz, cotangent), expected, atol=1e-7 * np.abs(expected).max())


def test_alignment_never_reflects(frames):
    """A mirror image is not superposed by a reflection."""
    xyz = frames.xyz[0].astype(np.float64)
    mirrored = xyz * [1, 1, -1]
    bound = RMSD(frames[0], "element C").bind(frames.topology)
    assert bound.value(mirrored)[0] > 0.02


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_eigenvectors(seed):
    matrix = np.random.default_rng(seed).normal(size=(4, 4))
    matrix += matrix.T
    both = np.vstack([matrix, np.zeros((4, 4))])
    eigen4(both)
    values, vectors = np.diag(both[:4]), both[4:]
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, matrix, atol=1e-13)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(4), atol=1e-14)


def test_no_gradient_is_refused_by_name(frames):
    xyz = frames.xyz[0].astype(np.float64)
    hard = Torsions("phi") + Contacts([[0, 2]], kind="hard")
    assert not hard.has_gradient
    with pytest.raises(GradientError, match=r"Contacts.*hard.*no gradient.*kind='smooth'"):
        hard.bind(frames.topology).vjp(xyz, np.ones(3))
    for feature in (SASA("all"), HydrogenBonds("all"), SecondaryStructure("all"), Function(np.mean, "mean")):
        assert not feature.has_gradient
        with pytest.raises(GradientError, match=type(feature).__name__):
            raise feature.gradient_error()
    assert (Torsions("phi psi") + Contacts([[0, 2]])).has_gradient


def test_function_with_a_gradient(frames):
    """A gradient that is given is what vjp returns, put where the function's atoms are."""
    feature = Function(_height, ["height"], atoms="element O", gradient=_height_gradient)
    bound = feature.bind(frames.topology)
    xyz = frames.xyz[3].astype(np.float64)
    oxygens = frames.topology.select("element O")
    np.testing.assert_allclose(bound.value(xyz), [xyz[oxygens, 2].mean()], atol=1e-6)
    expected = np.zeros_like(xyz)
    expected[oxygens, 2] = 2.0 / len(oxygens)
    np.testing.assert_allclose(bound.vjp(xyz, np.array([2.0])), expected)


def _height(frames):
    return frames.xyz[:, :, 2].mean(axis=1)


def _height_gradient(frame, cotangent):
    grad = np.zeros((frame.n_atoms, 3))
    grad[:, 2] = cotangent[0] / frame.n_atoms
    return grad
