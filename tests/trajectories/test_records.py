"""DCD, Amber NetCDF and TRR bit for bit as mdtraj reads them, and files that are cut short while they are read."""

import struct
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import h5py
import mdtraj
import numpy as np
import pytest
from mdtraj.utils import lengths_and_angles_to_box_vectors
from scipy.io import netcdf_file

import mdinsight as mdi
from mdinsight.errors import FormatError, NonFiniteError
from mdinsight.trajectories._formats import _base, format_of
from mdinsight.trajectories._formats._base import box_from_cell, in_threads

NM = np.float32(0.1)


def write_dcd(path, xyz, order="<", cells=None, fourth=False, title=b"made for a test"):
    """A DCD file of CHARMM's kind; ``xyz`` in Å, ``cells`` the six numbers of each frame."""

    def record(data):
        return struct.pack(f"{order}i", len(data)) + data + struct.pack(f"{order}i", len(data))

    control = np.zeros(20, f"{order}i4")
    control[[0, 1, 2, 19]] = len(xyz), 1, 1, 24
    control[10], control[11] = cells is not None, fourth
    control[9:10].view(f"{order}f4")[0] = 1.0 / 0.04888821
    out = record(b"CORD" + control.tobytes()) + record(struct.pack(f"{order}i", 1) + title.ljust(80))
    out += record(struct.pack(f"{order}i", xyz.shape[1]))
    for i, frame in enumerate(xyz):
        out += b"" if cells is None else record(cells[i].astype(f"{order}f8").tobytes())
        for axis in range(3):
            out += record(frame[:, axis].astype(f"{order}f4").tobytes())
        out += record(np.zeros(len(frame), f"{order}f4").tobytes()) if fourth else b""
    path.write_bytes(out)


def write_netcdf(path, xyz, version=2, kind="f4", cells=None):
    with netcdf_file(str(path), "w", version=version) as file:
        file.Conventions = "AMBER"
        for name, size in (("frame", None), ("atom", xyz.shape[1]), ("spatial", 3), ("cell", 3)):
            file.createDimension(name, size)
        file.createVariable("time", "f4", ("frame",))[:] = np.arange(len(xyz))
        file.createVariable("coordinates", kind, ("frame", "atom", "spatial"))[:] = xyz
        file.variables["coordinates"].units = "angstrom"
        if cells is not None:
            file.createVariable("cell_lengths", "f8", ("frame", "cell"))[:] = cells[:, :3]
            file.createVariable("cell_angles", "f8", ("frame", "cell"))[:] = cells[:, 3:]


def read(path, frames, atoms=None):
    kind = format_of(path)
    return kind.read(path, kind.scan(path), frames, atoms)


def samples(n_frames, n_atoms, seed=0):
    """Frames and atoms to read: all, one, some in the front, some anywhere, both ends."""
    rng = np.random.default_rng(seed)
    some = np.sort(rng.choice(n_atoms, min(n_atoms, 1 + n_atoms // 20), replace=False))
    ranges = [range(n_frames), range(n_frames - 1, n_frames), range(1, n_frames, 3), range(0, n_frames, 2)]
    return [(frames, atoms) for frames in ranges for atoms in (None, some, np.unique([0, n_atoms - 1]), some[:1])] + [
        (range(n_frames), np.arange(n_atoms // 3, n_atoms // 3 + 1 + n_atoms // 4))
    ]


def check(path, expected):
    for frames, atoms in samples(*expected.shape[:2]):
        rows = expected[frames.start : frames.stop : frames.step]
        found = read(path, frames, atoms).xyz
        np.testing.assert_array_equal(found.view(np.int32), (rows if atoms is None else rows[:, atoms]).view(np.int32))


def of_mdtraj(path):
    """Coordinates in nm. With scipy in place of netCDF4, mdtraj multiplies in single precision: another last bit."""
    if path.suffix == ".dcd":
        with mdtraj.formats.DCDTrajectoryFile(str(path)) as file:
            return mdtraj.utils.in_units_of(file.read()[0], "angstroms", "nanometers", inplace=True)
    with mdtraj.formats.NetCDFTrajectoryFile(str(path)) as file:
        angstroms = np.array(file.read()[0])
    return (angstroms.astype(np.float64) * 0.1).astype(np.float32)


@pytest.mark.parametrize("fourth", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("n_atoms", [1, 2, 9, 1000, 5000, 100_000])
def test_dcd_equals_mdtraj(n_atoms, order, fourth, tmp_path):
    rng = np.random.default_rng(n_atoms)
    n_frames = 3 if n_atoms > 10_000 else 40
    xyz = rng.normal(0, 30, (n_frames, n_atoms, 3)).astype(np.float32)
    cells = np.array([40.0, 80.0, 50.0, 95.0, 70.0, 60.0]) + rng.uniform(0, 5, (n_frames, 6))
    cells = cells if order == "<" or fourth else None
    write_dcd(tmp_path / "a.dcd", xyz, order, cells, fourth)
    expected = xyz * NM
    if order == "<" or not fourth:  # mdtraj does not read four coordinates in the other byte order
        np.testing.assert_array_equal(of_mdtraj(tmp_path / "a.dcd"), expected)
    check(tmp_path / "a.dcd", expected)
    box = read(tmp_path / "a.dcd", range(1, n_frames), np.array([0])).box
    assert (box is None) == (cells is None)
    if cells is not None:
        lengths, angles = cells[1:, [0, 2, 5]] / 10, cells[1:, [4, 3, 1]]
        expected_box = np.stack(lengths_and_angles_to_box_vectors(*lengths.T, *angles.T), axis=1)
        np.testing.assert_allclose(box, expected_box, atol=1e-6)


def test_dcd_whose_frames_do_not_begin_at_a_multiple_of_four(tmp_path):
    xyz = np.random.default_rng(0).normal(0, 30, (9, 7, 3)).astype(np.float32)
    write_dcd(tmp_path / "odd.dcd", xyz, title=b"t" * 83)
    assert (tmp_path / "odd.dcd").stat().st_size % 4 == 3
    check(tmp_path / "odd.dcd", xyz * NM)


@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("n_atoms", [1, 2, 9, 1000, 5000, 100_000])
def test_netcdf_equals_mdtraj(n_atoms, version, kind, boxed, tmp_path):
    rng = np.random.default_rng(n_atoms)
    n_frames = 3 if n_atoms > 10_000 else 40
    xyz = rng.normal(0, 30, (n_frames, n_atoms, 3)).astype(kind)
    cells = np.array([40.0, 80.0, 50.0, 95.0, 70.0, 60.0]) + rng.uniform(0, 5, (n_frames, 6))
    write_netcdf(tmp_path / "a.nc", xyz, version, kind, cells if boxed else None)
    check(tmp_path / "a.nc", of_mdtraj(tmp_path / "a.nc"))
    box = read(tmp_path / "a.nc", range(1, n_frames), np.array([0])).box
    assert (box is not None) == boxed
    if box is not None:
        expected = np.stack(lengths_and_angles_to_box_vectors(*(cells[1:, :3] / 10).T, *cells[1:, 3:].T), axis=1)
        np.testing.assert_allclose(box, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["plain.dcd", "box.dcd", "plain.nc", "box.nc"])
def test_the_examples_equal_mdtraj(name, formats):
    check(formats / name, of_mdtraj(formats / name))


def test_netcdf_equals_mdtraj_with_netcdf4_itself(formats, top):
    import netCDF4  # noqa: F401 (without it mdtraj reads by other means, whose last bit differs)

    found = read(formats / "box.nc", range(20)).xyz
    np.testing.assert_array_equal(found, mdtraj.load(str(formats / "box.nc"), top=str(top)).xyz)


@pytest.mark.parametrize("n_atoms", [1, 22, 5000, 60_000])
def test_trr_equals_mdtraj(n_atoms, tmp_path):
    xyz = np.random.default_rng(1).normal(0, 3, (4 if n_atoms > 10_000 else 30, n_atoms, 3)).astype(np.float32)
    steps = np.arange(len(xyz))
    with mdtraj.formats.TRRTrajectoryFile(str(tmp_path / "a.trr"), "w") as out:
        out.write(xyz, steps.astype(np.float32), steps, np.tile(np.eye(3, dtype=np.float32), (len(xyz), 1, 1)))
    check(tmp_path / "a.trr", xyz)
    np.testing.assert_array_equal(read(tmp_path / "a.trr", range(1, len(xyz))).box[0], np.eye(3))


def test_boxes_equal_mdtraj():
    rng = np.random.default_rng(0)
    lengths, angles = rng.uniform(0.5, 20, (500, 3)), rng.uniform(60, 110, (500, 3))
    for some in (angles, np.full((500, 3), 90.0), np.tile([109.4712206, 70.5287794, 109.4712206], (500, 1))):
        expected = np.stack(lengths_and_angles_to_box_vectors(*lengths.T, *some.T), axis=1)
        np.testing.assert_allclose(box_from_cell(lengths, some), expected, rtol=1e-6, atol=1e-7)
    assert not box_from_cell(np.zeros((2, 3)), np.full((2, 3), 90.0)).any()
    for bad in ([[1, np.nan, 1], [90, 90, 90]], [[1, -1, 1], [90, 90, 90]], [[1, 1, 1], [10, 10, 100]]):
        assert np.isnan(box_from_cell(*np.array(bad, float)[:, None])).any()


def test_a_box_of_nonsense_is_named(tmp_path):
    cells = np.tile([30.0, 90.0, 30.0, 90.0, 90.0, 30.0], (6, 1))
    cells[4, 2] = np.nan
    write_dcd(tmp_path / "a.dcd", np.zeros((6, 22, 3), np.float32), cells=cells)
    topology = mdtraj.Topology()
    residue = topology.add_residue("X", topology.add_chain())
    for _ in range(22):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    traj = mdi.open(tmp_path / "a.dcd", top=topology)[0]
    assert len(traj.read_chunk(0, 4)) == 4
    with pytest.raises(NonFiniteError, match="frame 4: its box is not finite"):
        traj.read_chunk(0, 6)


def test_one_thread_and_many_read_the_same(tmp_path, monkeypatch):
    xyz = np.random.default_rng(0).normal(0, 30, (60, 20_000, 3)).astype(np.float32)
    write_dcd(tmp_path / "a.dcd", xyz)
    atoms = np.arange(0, 20_000, 3)
    monkeypatch.setattr(_base, "cores", lambda: 3)
    pieces = []
    in_threads(lambda first, last: pieces.append((first, last)), 60, 1 << 30)
    assert sorted(pieces) == [(0, 20), (20, 40), (40, 60)]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(in_threads, lambda first, last: pieces.append((first, last)), 60, 1 << 30).result()
        alone = pool.submit(read, tmp_path / "a.dcd", range(60), atoms).result().xyz
    assert pieces[-1] == (0, 60)
    np.testing.assert_array_equal(read(tmp_path / "a.dcd", range(60), atoms).xyz, alone)
    np.testing.assert_array_equal(alone, xyz[:, atoms] * NM)


AT_EXIT = """
import atexit, sys
import mdinsight as mdi
from mdinsight.trajectories._formats import _base
_base.cores, _base._LEAST = lambda: 3, 1
trajectory = mdi.open(sys.argv[1], top=sys.argv[2])[0]
before = trajectory.read_chunk(0, 9).xyz.tobytes()
atexit.register(lambda: print(trajectory.read_chunk(0, 9).xyz.tobytes() == before))
"""


def test_files_are_read_while_the_interpreter_ends(formats, top):
    """No thread can be started then; a file is not corrupt for that."""
    command = [sys.executable, "-c", AT_EXIT, str(formats / "plain.dcd"), str(top)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"


def test_one_worker_is_one_core(formats, top, monkeypatch):
    """Whoever asks for it reads in the thread that asks; everybody else on all cores."""
    trajs = mdi.open(formats / "plain.dcd", top=top)
    features = mdi.features.Distances([[0, 1], [2, 20]])
    handed_on = []

    class Pool(ThreadPoolExecutor):
        def submit(self, *args):
            handed_on.append(args)
            return super().submit(*args)

    pool = Pool(2)
    monkeypatch.setattr(_base, "cores", lambda: 3)
    monkeypatch.setattr(_base, "_LEAST", 1)
    monkeypatch.setattr(_base, "_pool", lambda: pool)
    alone = features.transform(trajs, workers=1, cache=False)
    stream = features.stream(trajs, workers=1, cache=False)
    np.testing.assert_array_equal(np.concatenate(list(stream.iter_chunks(7))), alone.concatenated())
    mdi.cvs.PCA(dim=1).fit(stream)
    assert handed_on == []
    assert len(list(trajs.iter_chunks(10))) == 2 and len(handed_on) == 4  # of three parts each
    trajs[0].read()
    assert len(handed_on) == 6
    np.testing.assert_array_equal(features.stream(trajs, cache=False).rows(0, 0, 20), alone[0])
    assert len(handed_on) == 8
    pool.shutdown()


CUT = """
import os, sys, threading
from pathlib import Path
from mdinsight.errors import TrajectoryError
from mdinsight.trajectories._formats import format_of

path = Path(sys.argv[1])
kind = format_of(path)
scan = kind.scan(path)
size, told, whole = path.stat().st_size, 0, 0
for trial in range(20):
    os.truncate(path, size)
    cut = threading.Timer(0.0005 * trial, os.truncate, (path, size // 2))
    cut.start()
    for again in range(100):
        try:
            kind.read(path, scan, range(scan.n_frames), None)
            whole += 1
        except TrajectoryError as error:
            assert f"{path} ends at byte" in str(error) and "changed since it was opened" in str(error), error
            told += 1
            break
    cut.join()
print(told)
"""


@pytest.mark.parametrize("suffix", [".dcd", ".nc", ".trr"])
def test_a_file_that_shrinks_while_it_is_read_gives_an_error(suffix, tmp_path):
    """Mapped into memory, it would kill the process."""
    xyz = np.zeros((60, 20_000, 3), np.float32)
    path = tmp_path / f"a{suffix}"
    if suffix == ".dcd":
        write_dcd(path, xyz)
    elif suffix == ".nc":
        write_netcdf(path, xyz)
    else:
        with mdtraj.formats.TRRTrajectoryFile(str(path), "w") as out:
            out.write(xyz, np.arange(60, dtype=np.float32), np.arange(60))
    done = subprocess.run([sys.executable, "-c", CUT, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["20"]


def test_a_dcd_whose_header_records_do_not_close_is_refused(formats, tmp_path):
    for at in (88, 96):
        data = bytearray((formats / "plain.dcd").read_bytes())
        at += 0 if at == 88 else int.from_bytes(data[92:96], "little")
        data[at] ^= 1
        (tmp_path / "a.dcd").write_bytes(bytes(data))
        with pytest.raises(FormatError, match="do not end with their length"):
            mdi.open(tmp_path / "a.dcd", top=formats / "top.pdb")


def test_a_netcdf_header_that_contradicts_itself_is_refused(formats, tmp_path):
    data = (formats / "box.nc").read_bytes()
    at = data.index(b"coordinates") + 12
    begin = data.index(struct.pack(">ii", 5, 264), at) + 8  # its type, its size, then where it begins
    for place, value in ((begin - 4, 268), (begin + 4, 1000)):
        broken = data[:place] + struct.pack(">i", value) + data[place + 4 :]
        (tmp_path / "a.nc").write_bytes(broken)
        with pytest.raises(FormatError, match="its header is corrupt"):
            mdi.open(tmp_path / "a.nc", top=formats / "top.pdb")


def test_chunks_are_whole_blocks_of_an_hdf5_file(tmp_path, top, plain):
    xyz = np.tile(plain.xyz, (600, 1, 1))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("coordinates", data=xyz, chunks=(700, 22, 3), compression="gzip")
    traj = mdi.open(tmp_path / "a.h5", top=top, dt=1.0)[0]
    assert traj.chunk_size() == 9800
    atoms = [3, 4, 5, 19]
    found = np.concatenate([chunk.xyz for chunk in traj.iter_chunks(atoms=atoms)])
    np.testing.assert_array_equal(found, xyz[:, atoms])


def test_the_first_two_thousand_damaged_files(benchmark_script, tmp_path):
    """All 100,000 of them are in benchmarks/fuzz_formats.md."""
    fuzz = benchmark_script("fuzz_formats")
    counts = Counter(fuzz.outcome(case, tmp_path) for case in range(2000))
    assert not {key: n for key, n in counts.items() if key[1] in fuzz.WRONG}
    assert sum(n for (_, what), n in counts.items() if what == "damage told") > 500
