"""XTC to the last bit: what mdtraj and MDAnalysis read of the same files, whatever the number of atoms and the precision."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import mdtraj
import numpy as np
import pytest
from MDAnalysis.lib.formats.libmdaxdr import XTCFile

import mdinsight as mdi
from mdinsight.trajectories._formats._xtc_bits import reciprocal
from mdinsight.trajectories._formats.xtc import XTC

BOXES = {
    "none": np.zeros((3, 3)),
    "rectangular": np.diag([4.0, 5.0, 6.0]),
    "triclinic": np.array([[5.0, 0.0, 0.0], [1.2, 4.5, 0.0], [-1.1, 0.7, 4.0]]),
}


def write(path, xyz, precision=1000.0, box=BOXES["rectangular"], first=0):
    """Write frames with MDAnalysis, which lets the precision be chosen."""
    with XTCFile(str(path), "w") as out:
        for number, frame in enumerate(xyz, first):
            out.write(frame, box.astype(np.float32), 5 * number, 2.0 * number, precision)
    return path


def reference(path):
    """What mdtraj reads: coordinates, times, steps, boxes."""
    with mdtraj.open(str(path)) as file:
        return file.read()


def whole(path):
    scan = XTC().scan(path)
    assert scan.damage is None
    return scan, XTC().read(path, scan, range(scan.n_frames), None)


def check(path, seed=0):
    """All of a file, and random frames and atoms of it, equal what mdtraj reads, to the last bit."""
    xyz, times, steps, boxes = reference(path)
    scan, frames = whole(path)
    assert (scan.n_frames, scan.n_atoms) == xyz.shape[:2]
    np.testing.assert_array_equal(frames.xyz.view(np.int32), xyz.view(np.int32))
    np.testing.assert_array_equal(scan.times, times)
    np.testing.assert_array_equal(scan.steps, steps)
    assert scan.has_box == (boxes is not None and bool(boxes.any(axis=(1, 2)).all()))
    if scan.has_box:
        np.testing.assert_array_equal(frames.box, boxes)
    assert np.abs(xyz).max() <= frames.reach
    rng = np.random.default_rng(seed)
    n_frames, n_atoms = xyz.shape[:2]
    for _ in range(4):
        start, step = int(rng.integers(n_frames)), int(rng.integers(1, 4))
        some = range(start, n_frames, step)
        most = int(rng.integers(1, n_atoms + 1))
        atoms = np.unique(rng.integers(0, most, int(rng.integers(1, 1 + min(most, 50)))))
        np.testing.assert_array_equal(XTC().read(path, scan, some, atoms).xyz, xyz[start::step][:, atoms])
        prefix = np.arange(most)
        np.testing.assert_array_equal(XTC().read(path, scan, some, prefix).xyz, xyz[start::step][:, :most])


def walk(rng, n_frames, n_atoms, bond=0.15):
    """A chain that wanders, as a protein does, shaken from frame to frame."""
    chain = np.cumsum(rng.normal(0, bond / 3**0.5, (n_atoms, 3)), axis=0)
    return (chain + rng.normal(0, 0.01, (n_frames, n_atoms, 3))).astype(np.float32)


def test_every_example(examples):
    files = sorted(examples.rglob("*.xtc"))
    assert len(files) > 20
    for number, path in enumerate(files):
        check(path, number)


@pytest.mark.parametrize("n_atoms", [1, 2, 8, 9, 10, 11, 12, 33, 1000, 5001])
@pytest.mark.parametrize("box", BOXES)
def test_any_number_of_atoms(n_atoms, box, tmp_path):
    check(write(tmp_path / "a.xtc", walk(np.random.default_rng(n_atoms), 5, n_atoms), box=BOXES[box]), n_atoms)


def test_a_hundred_thousand_atoms(tmp_path):
    rng = np.random.default_rng(5)
    solvent = rng.uniform(0, 10, (1, 30_000, 1, 3)) + rng.normal(0, 0.06, (3, 30_000, 3, 3))
    xyz = np.concatenate([walk(rng, 3, 10_000), solvent.reshape(3, -1, 3).astype(np.float32)], axis=1)
    check(write(tmp_path / "a.xtc", xyz))


@pytest.mark.parametrize("precision", [10.0, 100.0, 500.0, 1000.0, 1e4, 1e5, 1e6])
@pytest.mark.parametrize("spread", [0.0, 1.0, 300.0])
def test_any_precision(precision, spread, tmp_path):
    rng = np.random.default_rng(int(precision) + int(spread))
    xyz = walk(rng, 4, 700) + rng.uniform(-spread, spread, (1, 700, 1)).astype(np.float32)
    check(write(tmp_path / "a.xtc", xyz, precision))


@pytest.mark.parametrize("wrapped", [True, False])
def test_wrapped_and_unwrapped(wrapped, tmp_path):
    rng = np.random.default_rng(2)
    centres = np.cumsum(rng.normal(0, 2.0, (5, 400, 1, 3)), axis=0)
    xyz = (centres + rng.normal(0, 0.06, (1, 400, 3, 3))).reshape(5, 1200, 3)
    check(write(tmp_path / "a.xtc", (xyz % 4.0 if wrapped else xyz).astype(np.float32)))


@pytest.mark.parametrize(
    "bits", [(8, 9, 10), (19, 19, 19), (20, 20, 20), (21, 21, 22), (24, 24, 24), (26, 8, 8), (30, 30, 30)]
)
@pytest.mark.parametrize("near", [0, 3, 11, 18])
def test_any_width_of_the_integers(bits, near, tmp_path):
    """Numbers of 27 to 90 bits, whose neighbours differ by few or many; a number of more than 57 bits takes another way."""
    rng = np.random.default_rng(sum(bits) + near)
    far = np.array([2.0**b for b in bits])
    integers = rng.uniform(-0.5, 0.5, (3, 150, 1, 3)) * far + rng.uniform(-1, 1, (3, 150, 4, 3)) * np.minimum(
        2.0**near, far / 8
    )
    check(write(tmp_path / "a.xtc", (integers.reshape(3, 600, 3) / 1000).astype(np.float32)))


@pytest.mark.parametrize("flat", [[0], [1], [2], [1, 2], [0, 2], [0, 1, 2]])
def test_atoms_in_a_plane_on_a_line_or_at_one_place(flat, tmp_path):
    xyz = walk(np.random.default_rng(1), 3, 50)
    xyz[..., flat] = 1.25
    check(write(tmp_path / "a.xtc", xyz))


def test_frames_of_different_precision_in_one_file(tmp_path):
    rng = np.random.default_rng(4)
    data = b""
    for number, precision in enumerate((1000.0, 10.0, 1e5)):
        write(tmp_path / "one.xtc", walk(rng, 1, 300) * (number + 1), precision, first=number)
        data += (tmp_path / "one.xtc").read_bytes()
    (tmp_path / "a.xtc").write_bytes(data)
    check(tmp_path / "a.xtc")


def wide(data):
    """The same frames with the magic number 2023, whose bit stream has a size of eight bytes."""
    out, at = b"", 0
    while at < len(data):
        size = int.from_bytes(data[at + 88 : at + 92], "big")
        end = at + 92 + (size + 3) // 4 * 4
        out += (2023).to_bytes(4, "big") + data[at + 4 : at + 88] + size.to_bytes(8, "big") + data[at + 92 : end]
        at = end
    return out


def test_magic_2023(tmp_path):
    narrow = write(tmp_path / "narrow.xtc", walk(np.random.default_rng(3), 6, 900))
    (tmp_path / "wide.xtc").write_bytes(wide(narrow.read_bytes()))
    (tmp_path / "mixed.xtc").write_bytes(narrow.read_bytes() + wide(narrow.read_bytes()))
    expected = whole(narrow)[1]
    scan, frames = whole(tmp_path / "wide.xtc")
    np.testing.assert_array_equal(frames.xyz, expected.xyz)
    np.testing.assert_array_equal(frames.box, expected.box)
    atoms = np.array([0, 5, 77])
    np.testing.assert_array_equal(
        XTC().read(tmp_path / "wide.xtc", scan, range(1, 6, 2), atoms).xyz, expected.xyz[1::2][:, atoms]
    )
    np.testing.assert_array_equal(whole(tmp_path / "mixed.xtc")[1].xyz, np.tile(expected.xyz, (2, 1, 1)))


def test_the_same_in_one_thread_and_cut_over_the_cores(tmp_path, monkeypatch):
    path = write(tmp_path / "a.xtc", walk(np.random.default_rng(6), 40, 4000))
    expected = reference(path)[0]
    scan = XTC().scan(path)
    monkeypatch.setattr("mdinsight.trajectories._formats._base._LEAST", 1000)
    np.testing.assert_array_equal(XTC().read(path, scan, range(40), None).xyz, expected)
    for atoms in (np.arange(100), np.arange(0, 4000, 17)):
        np.testing.assert_array_equal(XTC().read(path, scan, range(3, 40, 3), atoms).xyz, expected[3::3][:, atoms])
    with ThreadPoolExecutor(4) as pool:
        for xyz in pool.map(lambda _: XTC().read(path, scan, range(40), None).xyz, range(8)):
            np.testing.assert_array_equal(xyz, expected)


def _child(path):
    scan, frames = whole(path)
    return scan.n_frames, float(frames.xyz.sum(dtype=np.float64))


def test_after_a_fork(tmp_path):
    path = write(tmp_path / "a.xtc", walk(np.random.default_rng(7), 10, 300))
    expected = _child(path)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_child, [path] * 4) == [expected] * 4


@pytest.mark.parametrize("power", [1, 2, 5, 8, 13, 24, 31, 32])
def test_division_by_multiplication_is_exact(power):
    rng = np.random.default_rng(power)
    divisors = {
        2,
        2**power,
        max(2, 2**power - 1),
        min(2**32, 2**power + 1),
        *rng.integers(2, 2**power + 1, 50).tolist(),
    }
    for divisor in divisors:
        factor, shift = (int(x) for x in reciprocal(divisor))
        quotients = [0, 1, *rng.integers(0, (2**63 - 1) // divisor, 50).tolist(), (2**63 - 1) // divisor]
        for number in [0, 2**63 - 1, *(q * divisor + d for q in quotients for d in (-1, 0, 1))]:
            if 0 <= number < 2**63:
                assert factor * number >> 64 >> shift == number // divisor


def test_only_the_bytes_of_the_wanted_atoms_are_read(tmp_path):
    """The rest of each frame is overwritten, and the first atoms are read as before."""
    rng = np.random.default_rng(8)
    path = write(tmp_path / "a.xtc", walk(rng, 6, 20_000))
    scan, frames = whole(path)
    offsets = scan.layout["offsets"]
    data = bytearray(path.read_bytes())
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        data[begin + (end - begin) // 7 : end] = b"\xff" * (end - begin - (end - begin) // 7)
    path.write_bytes(bytes(data))
    np.testing.assert_array_equal(XTC().read(path, scan, range(6), np.arange(1500)).xyz, frames.xyz[:, :1500])
    with pytest.raises(mdi.errors.CorruptFrameError, match=r"frame 2: .* open this file by itself with stop=2"):
        XTC().read(path, scan, range(2, 6), np.arange(10_000))
