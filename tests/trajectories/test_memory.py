"""Frames in memory: read as they stand there, and told apart by their content."""

import mdtraj
import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.checksums import identity
from mdinsight.errors import NonFiniteError


@pytest.fixture
def frames(examples):
    return mdtraj.load(str(examples / "formats/box.xtc"), top=str(examples / "formats/top.pdb"))


def test_any_number_that_changes_is_another_identity():
    rng = np.random.default_rng(3)
    for shape, dtype in (((40, 331, 3), np.float32), ((1, 1), np.float64), ((3, 2049), np.float32)):
        array = rng.normal(size=shape).astype(dtype)
        seen, words = {identity(array)}, array.reshape(-1).view(np.uint32)
        for place in rng.integers(len(words), size=200):
            bit = np.uint32(1 << rng.integers(32))
            words[place] ^= bit
            assert identity(array) not in seen
            words[place] ^= bit
        assert identity(array) in seen == {identity(array.copy())}
    assert len({identity(np.zeros(n, np.float32)) for n in (1, 2, 2047, 2048, 2049, 4096)}) == 6
    assert identity(np.zeros((2, 3), np.float32)) != identity(np.zeros((3, 2), np.float32))
    assert identity(array, array) != identity(array)


def test_frames_in_memory_are_read_as_numpy_takes_them(frames):
    rng = np.random.default_rng(4)
    whole = frames.xyz.copy()
    turned = np.ascontiguousarray(whole.transpose(1, 0, 2)).transpose(1, 0, 2)  # not in the order of memory
    for xyz in (whole, turned):
        frames._xyz = xyz
        trajectory = mdi.open(frames, start=3, stride=2)[0]
        for _ in range(10):
            atoms = np.sort(rng.choice(frames.n_atoms, rng.integers(1, frames.n_atoms), replace=False))
            chunk = trajectory.read_chunk(1, len(trajectory), atoms)
            np.testing.assert_array_equal(chunk.xyz, whole[3::2][1:][:, atoms])
            np.testing.assert_allclose(chunk.box, frames.unitcell_vectors[3::2][1:], atol=2e-6)
        chunk = trajectory.read_chunk(0, 2)
        np.testing.assert_array_equal(chunk.xyz, whole[3:7:2])
        chunk.xyz[:] = 7.0  # a copy
        np.testing.assert_array_equal(frames.xyz, whole)


@pytest.mark.parametrize("value", [np.nan, -np.inf, 2e5])
def test_a_coordinate_in_memory_that_is_none_is_named(frames, value):
    frames.xyz[4, 5, 1] = value
    trajectory = mdi.open(frames)[0]
    for atoms in (None, [5], [2, 5, 6]):
        with pytest.raises(NonFiniteError, match=r"frame 4: y of atom 5"):
            trajectory.read_chunk(0, len(trajectory), atoms)
    assert trajectory.read_chunk(0, 4).xyz.shape[0] == 4 and len(trajectory.read_chunk(4, 6, [4, 6])) == 2
