"""Reading: chunks, threads, chosen rows, coordinates that are not finite, and that opening reads none."""

from concurrent.futures import ThreadPoolExecutor

import mdtraj
import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.errors import CorruptFrameError, NonFiniteError, ParameterError

ALL = (".xtc", ".trr", ".dcd", ".nc", ".h5", ".h5md", ".lammpstrj", ".pdb", ".cif")


@pytest.fixture(scope="module")
def real(request):
    """A whole real file, and what mdtraj reads of it."""
    folder = request.path.parents[2] / "example_trajs" / "ala2_fast"
    return (
        folder / "ala2_fast-01.xtc",
        folder / "top.pdb",
        mdtraj.load(str(folder / "ala2_fast-01.xtc"), top=str(folder / "top.pdb")),
    )


def test_a_whole_real_file_equals_mdtraj(real):
    path, top, expected = real
    trajs = mdi.open(path, top=top)
    xyz = np.concatenate([chunk.xyz for chunk in trajs.iter_chunks()])
    np.testing.assert_array_equal(xyz, expected.xyz)
    np.testing.assert_array_equal(trajs[0].times, expected.time)
    assert trajs.dt == 0.5 and not trajs.notes


@pytest.mark.parametrize("size", [1, 7, 1000, 8000, 10**9])
def test_the_size_of_the_chunks_changes_nothing(size, real):
    path, top, expected = real
    traj = mdi.open(path, top=top, stride=7, start=5, stop=2000 if size < 100 else None)[0]
    atoms = [14, 4, 6, 8]
    chunks = list(traj.iter_chunks(size, atoms))
    rows = np.arange(5, 2000 if size < 100 else 8000, 7)
    np.testing.assert_array_equal(np.concatenate([chunk.xyz for chunk in chunks]), expected.xyz[rows][:, atoms])
    np.testing.assert_array_equal(np.concatenate([chunk.time for chunk in chunks]), expected.time[rows])
    assert [chunk.start for chunk in chunks] == list(range(0, len(rows), size))
    assert all(len(chunk) <= size for chunk in chunks)


def test_threads_read_one_trajectory_at_once(real):
    path, top, expected = real
    traj = mdi.open(path, top=top)[0]
    starts = [(i * 997) % 7800 for i in range(60)]
    with ThreadPoolExecutor(8) as pool:
        chunks = list(pool.map(lambda start: traj.read_chunk(start, start + 150, "mass > 2"), starts))
    heavy = expected.topology.select("mass > 2")
    for start, chunk in zip(starts, chunks, strict=True):
        np.testing.assert_array_equal(chunk.xyz, expected.xyz[start : start + 150][:, heavy])


@pytest.mark.parametrize("suffix", ALL)
def test_threads_and_chunks_in_every_format(suffix, formats, top):
    traj = mdi.open(formats / f"box{suffix}", top=top)[0]
    expected = traj.read_chunk(0, 20)
    with ThreadPoolExecutor(4) as pool:
        chunks = list(pool.map(lambda start: traj.read_chunk(start, min(start + 3, 20)), range(0, 20, 3)))
    np.testing.assert_array_equal(np.concatenate([chunk.xyz for chunk in chunks]), expected.xyz)
    np.testing.assert_array_equal(np.concatenate([chunk.box for chunk in chunks]), expected.box)


def test_rows_in_any_order(formats, top, boxed):
    trajs = mdi.open(formats / "box.trr", top=top, start=1, stride=2)
    rows = [7, 0, 7, 3]
    got = trajs.load(0, rows, "resname ALA")
    atoms = boxed.topology.select("resname ALA")
    np.testing.assert_array_equal(got.xyz, boxed.xyz[[15, 1, 15, 7]][:, atoms])
    np.testing.assert_allclose(got.unitcell_vectors, boxed.unitcell_vectors[[15, 1, 15, 7]], atol=1e-6)
    np.testing.assert_array_equal(got.time, boxed.time[[15, 1, 15, 7]])
    assert [residue.name for residue in got.topology.residues] == ["ALA"]
    assert trajs[0].read().n_frames == 10 and trajs[0].read(slice(2, 4)).n_frames == 2
    assert trajs[0].read([]).n_frames == 0
    for bad in ([10], [-1], [0.5]):
        with pytest.raises(ParameterError, match="row"):
            trajs[0].read(bad)
    with pytest.raises(ParameterError, match="rows 8 to 10 were asked for"):
        trajs[0].read_chunk(8, 11)
    with pytest.raises(ParameterError, match="size=0"):
        next(trajs[0].iter_chunks(0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", [".trr", ".dcd", ".nc"])
def test_coordinates_that_are_not_finite(suffix, value, plain, top, tmp_path):
    xyz = plain.xyz.copy()
    xyz[13, 8, 2] = value
    path = tmp_path / f"blown{suffix}"
    mdtraj.Trajectory(xyz, plain.topology, time=plain.time).save(str(path))
    traj = mdi.open(path, top=top, start=1, stride=2, dt=2.0)[0]
    assert np.isfinite(traj.read_chunk(0, 6).xyz).all()
    with pytest.raises(NonFiniteError, match=rf"blown\{suffix}, frame 13: z of atom 8 \(ALA2-CA\) is .*stop=13"):
        list(traj.iter_chunks(4))
    with pytest.raises(NonFiniteError, match="frame 13: z of atom 8"):
        traj.read_chunk(0, 8, [10, 8])
    assert np.isfinite(traj.read_chunk(0, 8, [3, 4]).xyz).all()


def test_not_finite_in_memory(plain):
    broken = plain.slice(range(20), copy=True)
    broken.xyz[3] = np.nan
    with pytest.raises(NonFiniteError, match="object 0, frame 3"):
        list(mdi.open(broken).iter_chunks())


@pytest.mark.parametrize("suffix", [".xtc", ".trr", ".dcd", ".nc"])
def test_opening_reads_no_coordinates(suffix, formats, top, tmp_path):
    """The coordinates are overwritten, yet the file opens as before, and only reading them tells."""
    data = bytearray((formats / f"box{suffix}").read_bytes())
    path = tmp_path / f"blank{suffix}"
    before = mdi.open(formats / f"box{suffix}", top=top)
    coordinates = before[0].read_chunk(0, 20).xyz
    n_frames = 20
    if suffix == ".xtc":
        at = 0
        while at < len(data):
            size = int.from_bytes(data[at + 88 : at + 92], "big")
            data[at + 92 : at + 92 + size] = bytes(size)
            at += 92 + (size + 3) // 4 * 4
    else:
        frame = {".trr": len(data) // 20, ".dcd": 56 + 3 * 96, ".nc": 4 + 264 + 48}[suffix]
        for i in range(n_frames):
            end = len(data) - (n_frames - 1 - i) * frame
            spans = {
                ".trr": [(end - 264, end)],
                ".dcd": [(end - 96 * k - 92, end - 96 * k - 4) for k in range(3)],
                ".nc": [(end - 264, end)],
            }[suffix]
            for a, b in spans:
                data[a:b] = bytes(b - a)
    path.write_bytes(bytes(data))
    after = mdi.open(path, top=top)
    assert (after.n_frames, after.dt, after.has_box, after.notes) == (20, 2.0, True, ())
    np.testing.assert_array_equal(after[0].times, before[0].times)
    if suffix == ".xtc":  # bits of zero do not end where the frame says
        with pytest.raises(CorruptFrameError, match="frame 0"):
            after[0].read_chunk(0, 20)
    else:
        assert not np.array_equal(after[0].read_chunk(0, 20).xyz, coordinates)


def test_a_sparse_file_of_many_gigabytes_opens(formats, top, tmp_path):
    """Only if nothing but record markers is looked at: two thirds of 8 GB stand behind holes of the file system."""
    import struct

    n_atoms, n_frames = 500_000, 1000
    path = tmp_path / "large.dcd"
    head = (formats / "plain.dcd").read_bytes()
    head = bytearray(head[: len(head) - 20 * (56 + 3 * 96)])
    head[-8:-4] = n_atoms.to_bytes(4, "little")
    frame = 56 + 3 * (4 * n_atoms + 8)
    with path.open("wb") as out:
        out.write(head)
        for number in range(n_frames):
            begin = len(head) + number * frame
            for at, size in ((0, 48), *((56 + k * (4 * n_atoms + 8), 4 * n_atoms) for k in range(3))):
                out.seek(begin + at)
                out.write(struct.pack("<i", size))
                out.seek(begin + at + 4 + size)
                out.write(struct.pack("<i", size))
    topology = mdtraj.Topology()
    residue = topology.add_residue("X", topology.add_chain())
    for _ in range(n_atoms):
        topology.add_atom("X", mdtraj.element.carbon, residue)
    trajs = mdi.open(path, top=topology)
    assert trajs.n_frames == n_frames and not trajs.notes
    assert trajs[0].read_chunk(998, 1000, [0, 3]).xyz.shape == (2, 2, 3)
    assert trajs[0].chunk_size() < 10


def test_the_default_chunk_is_bounded(real):
    path, top, _ = real
    traj = mdi.open(path, top=top)[0]
    assert traj.chunk_size() == 10_000 and traj.chunk_size(100_000) * 100_000 * 12 <= 1 << 25
