"""Eight frames side by side give what each gives alone: whatever stands beside it, in boxes that change, and with NaN."""

from __future__ import annotations

import mdtraj
import numba
import numpy as np
import pytest

from mdinsight.features import RMSD, Angles, Contacts, Distances, Positions, RadiusOfGyration, Torsions
from mdinsight.features._lanes import LANES, exponential, whole
from mdinsight.features._memory import load, store
from mdinsight.features._quaternion import best_quaternion, eigen4

KINDS = {
    "torsions": lambda frame: Torsions("phi psi") + Torsions([[4, 6, 8, 14]], raw=True),
    "angles": lambda frame: Angles([[4, 6, 8], [0, 4, 21]]),
    "distances": lambda frame: Distances("all"),
    "contacts": lambda frame: Contacts([[0, 1], [1, 2], [0, 2]]),
    "hard contacts": lambda frame: Contacts([[0, 2], [0, 1]], kind="hard"),
    "residue distances": lambda frame: Contacts([[0, 2]], kind="distance"),
    "rmsd": lambda frame: RMSD(frame, "element C"),
    "positions": lambda frame: Positions(frame, "element C", align="element N or element O or name CA"),
    "rg": lambda frame: RadiusOfGyration("element C"),
}
TILTED = np.array([[2.2, 0, 0], [0.7333, 2.0741, 0], [-0.7333, 1.0371, 1.7963]])


def boxes(count: int) -> np.ndarray:
    """Boxes of every kind in turn: rectangular, tilted, turned in space, of no volume."""
    turned = np.diag([1.7, 2.3, 3.1]) @ np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    kinds = [np.diag([2.0, 2.0, 2.0]), TILTED, TILTED, np.diag([1.7, 2.3, 3.1]), turned, np.zeros((3, 3))]
    return np.array([kinds[n * 5 % 6] for n in range(count)], np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 8, 13])
@pytest.mark.parametrize("boxed", [False, True])
def test_frames_side_by_side_are_those_alone(kind, count, boxed, frames):
    bound = KINDS[kind](frames[3]).bind(frames.topology)
    xyz, cells = frames.xyz[:count].copy(), boxes(count) if boxed else None
    if boxed:
        steps = np.random.default_rng(1).integers(-1, 2, size=(*xyz.shape[:2], 3))
        xyz += np.einsum("fac,fcd->fad", steps, cells).astype(np.float32)
    found = bound.compute(np.ascontiguousarray(xyz[:, bound.atoms]), cells)
    alone = np.array([bound.value(xyz[f], None if cells is None else cells[f]) for f in range(count)])
    np.testing.assert_allclose(found, alone, rtol=1.5e-7, atol=1e-9)
    one_by_one = [
        bound.compute(np.ascontiguousarray(xyz[[f]][:, bound.atoms]), None if cells is None else cells[[f]])[0]
        for f in range(count)
    ]
    np.testing.assert_array_equal(found, one_by_one)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_of_nan_spoils_no_other_and_itself(kind, frames):
    bound = KINDS[kind](frames[3]).bind(frames.topology)
    xyz = np.ascontiguousarray(frames.xyz[:9, bound.atoms])
    whole_ones = bound.compute(xyz)
    for atom in range(len(bound.atoms)):
        bad = xyz.copy()
        bad[4, atom, 1] = np.nan
        found = bound.compute(bad)
        assert np.isnan(found[4]).any()
        np.testing.assert_array_equal(np.delete(found, 4, axis=0), np.delete(whole_ones, 4, axis=0))


@numba.njit
def _functions(x, out):
    for n in range(x.shape[0]):
        store(out, 2 * n, exponential(load(x, n, 0)))
        store(out, 2 * n + 1, whole(load(x, n, 0)))


def test_functions_of_eight_numbers():
    x = np.concatenate([np.linspace(-700.0, 0.0, 4001), np.linspace(-1.0, 1.0, 1007), [-1e4, -np.inf, np.nan]])
    x = np.resize(x, (-(-len(x) // LANES), 1, LANES))
    out = np.empty((2 * len(x), LANES))
    _functions(x, out)
    expected = np.exp(x[:, 0])
    np.testing.assert_allclose(out[0::2], expected, rtol=5e-16, atol=0)
    np.testing.assert_array_equal(out[1::2], np.rint(x[:, 0]))


@pytest.mark.parametrize("gap", [1.0, 1e-2, 1e-4, 1e-8, 0.0])
def test_the_best_quaternion_also_where_two_eigenvalues_nearly_coincide(gap):
    rng = np.random.default_rng(0)
    for _ in range(50):
        vectors = np.linalg.qr(rng.normal(size=(4, 4)))[0]
        values = np.array([1.0 + gap, 1.0, -0.4, 0.0]) * rng.uniform(0.1, 1e4)
        values[3] = -values[:3].sum()
        matrix = (vectors * values) @ vectors.T
        both = np.vstack([(matrix + matrix.T) / 2, np.zeros((4, 4))])
        found = np.array(best_quaternion(both))
        np.testing.assert_allclose(found @ found, 1.0, rtol=1e-14)
        np.testing.assert_allclose(matrix @ found, values[0] * found, atol=1e-12 * values[0])
        if gap > 1e-6:
            np.testing.assert_allclose(abs(found @ vectors[:, 0]), 1.0, rtol=1e-12)


def test_eigenvectors_of_eight_matrices():
    rng = np.random.default_rng(4)
    both = np.zeros((8, 4, LANES))
    matrices = rng.normal(size=(LANES, 4, 4))
    matrices += matrices.transpose(0, 2, 1)
    matrices[2] = np.diag([1.0, 2.0, 2.0, -1.0])
    matrices[5] = 0.0
    both[:4] = matrices.transpose(1, 2, 0)
    eigen4(both)
    for n in range(LANES):
        values, vectors = np.diag(both[:4, :, n]), both[4:, :, n]
        np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, matrices[n], atol=1e-13)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(4), atol=1e-14)


def test_a_line_and_a_point_have_a_rotation():
    """Atoms on a line leave the rotation open, atoms in one place altogether: RMSD is what it is all the same."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for i in range(4):
        topology.add_atom("C", mdtraj.element.carbon, topology.add_residue("XXX", chain, resSeq=i + 1))
    line = np.zeros((4, 3), np.float32)
    line[:, 0] = [0.0, 0.1, 0.3, 0.4]
    bound = RMSD(mdtraj.Trajectory(line[None], topology), "all").bind(topology)
    turned = line[:, [1, 0, 2]]
    found = bound.compute(np.array([line, turned, -line, 2 * line, 0 * line], np.float32))[:, 0]
    spread = np.sqrt(((line - line.mean(axis=0)) ** 2).sum(axis=1).mean())
    np.testing.assert_allclose(found, [0, 0, 0, spread, spread], atol=1e-7)
