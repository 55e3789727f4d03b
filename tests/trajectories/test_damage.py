"""Torn, corrupt and half-written files: every whole frame is given, and one warning counts what was lost."""

import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor

import h5py
import mdtraj
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mdinsight as mdi
from mdinsight.errors import DataWarning, FormatError, TrajectoryError
from mdinsight.trajectories._formats.netcdf import AmberNetCDF

HYPOTHESIS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def opened(path, top):
    """The data set, and the one warning about it (None: there was none)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trajs = mdi.open(path, top=top)
    caught = [str(item.message) for item in caught if issubclass(item.category, DataWarning)]
    assert len(caught) <= 1
    assert tuple(caught) == trajs.notes
    return trajs, caught[0] if caught else None


def frame_begins(path, n_frames=20):
    """Byte at which each frame of an example file begins, found apart from the package's own scan."""
    data = path.read_bytes()
    if path.suffix == ".xtc":
        begins, at = [], 0
        while at < len(data):
            begins.append(at)
            at += 92 + (int.from_bytes(data[at + 88 : at + 92], "big") + 3) // 4 * 4
        return begins
    if path.suffix == ".trr":
        return list(range(0, len(data), len(data) // n_frames))
    if path.suffix == ".dcd":
        frame = 56 + 3 * (22 * 4 + 8)
        return [len(data) - (n_frames - i) * frame for i in range(n_frames)]
    if path.suffix == ".nc":
        record = 4 + 22 * 12 + (48 if path.stem == "box" else 0)
        return [len(data) - (n_frames - i) * record for i in range(n_frames)]
    mark = {".lammpstrj": b"ITEM: TIMESTEP", ".pdb": b"MODEL "}[path.suffix]
    begins, at = [], data.find(mark)
    while at >= 0:
        begins.append(at)
        at = data.find(mark, at + 1)
    return begins


@pytest.mark.parametrize("suffix", [".xtc", ".trr", ".dcd", ".nc", ".lammpstrj", ".pdb"])
@pytest.mark.parametrize("name", ["plain", "box"])
def test_torn_at_every_byte_of_the_last_frame(suffix, name, formats, top, tmp_path):
    source = formats / f"{name}{suffix}"
    data = source.read_bytes()
    begins = frame_begins(source)
    assert len(begins) == 20
    expected = mdi.open(source, top=top)[0].read_chunk(0, 19).xyz
    end = data.index(b"ENDMDL", begins[-1]) + 6 if suffix == ".pdb" else len(data)
    cuts = range(begins[-1] + 1, end, 1 if suffix in (".xtc", ".dcd") else 13)
    torn = tmp_path / f"torn{suffix}"
    for cut in [*cuts, end - 1]:
        torn.write_bytes(data[:cut])
        trajs, warning = opened(torn, top)
        if trajs.n_frames == 20:
            assert suffix == ".lammpstrj" and cut == end - 1  # only the last newline is missing
        assert trajs.n_frames == 19, cut
        np.testing.assert_array_equal(trajs[0].read_chunk(0, 19).xyz, expected)
        assert str(torn) in warning and "torn" in warning and "19 whole frames" in warning and "1 frame" in warning
        lost = cut - begins[-1]
        assert f"{lost} byte" in warning or suffix == ".pdb"
        np.testing.assert_array_equal(trajs[0].read([18, 3, 3]).xyz, expected[[18, 3, 3]])


@pytest.mark.parametrize("suffix", [".xtc", ".trr", ".dcd", ".lammpstrj", ".pdb"])
def test_cut_between_two_frames_is_whole(suffix, formats, top, tmp_path):
    source = formats / f"box{suffix}"
    cut = frame_begins(source)[12]
    (tmp_path / f"short{suffix}").write_bytes(source.read_bytes()[:cut])
    trajs, warning = opened(tmp_path / f"short{suffix}", top)
    assert trajs.n_frames == 12 and warning is None


def test_mmcif_torn_at_every_line_of_the_last_frame(formats, top, tmp_path):
    data = (formats / "box.cif").read_bytes()
    begin = data.rindex(b"HETATM      1 ")
    end = data.rindex(b"\n", 0, data.rindex(b"#"))
    torn = tmp_path / "torn.cif"
    for cut in [*range(begin + 1, end, 41), end - 1]:
        torn.write_bytes(data[:cut])
        trajs, warning = opened(torn, top)
        assert trajs.n_frames == 19, cut
        if cut > begin + 120:
            assert "torn" in warning and "19 whole frames" in warning


def test_torn_in_the_first_frame_has_no_frame(formats, top, tmp_path):
    for suffix in (".xtc", ".trr", ".dcd", ".nc", ".lammpstrj", ".pdb", ".cif"):
        source = formats / f"box{suffix}"
        cut = frame_begins(source)[1] - 60 if suffix != ".cif" else source.read_bytes().index(b"HETATM     20") + 30
        (tmp_path / f"first{suffix}").write_bytes(source.read_bytes()[:cut])
        with pytest.raises(TrajectoryError, match=rf"first\{suffix} has no whole frame(?!.* used)"):
            opened(tmp_path / f"first{suffix}", top)


@HYPOTHESIS
@given(cut=st.integers(1, 3475))
def test_an_xtc_cut_anywhere_gives_its_whole_frames(cut, formats, top, tmp_path):
    check_cut(formats / "box.xtc", cut, top, tmp_path)


@HYPOTHESIS
@given(cut=st.integers(8, 7235))
def test_a_dcd_cut_anywhere_gives_its_whole_frames(cut, formats, top, tmp_path):
    check_cut(formats / "box.dcd", cut, top, tmp_path)


def check_cut(source, cut, top, folder):
    data, begins = source.read_bytes(), frame_begins(source)
    begins.append(len(data))
    whole = sum(end <= cut for end in begins[1:])
    path = folder / f"cut{source.suffix}"
    path.write_bytes(data[:cut])
    if whole == 0:
        with pytest.raises((TrajectoryError, FormatError)):
            opened(path, top)
        return
    trajs, warning = opened(path, top)
    assert trajs.n_frames == whole
    assert (warning is None) == (cut in begins)
    expected = mdi.open(source, top=top)[0].read_chunk(0, whole).xyz
    np.testing.assert_array_equal(trajs[0].read_chunk(0, whole).xyz, expected)


@HYPOTHESIS
@given(at=st.integers(0, 3475), junk=st.binary(min_size=1, max_size=64))
def test_an_xtc_with_junk_anywhere_never_crashes(at, junk, formats, top, tmp_path):
    """Whatever bytes stand in a file, opening and reading gives frames or a named error, never a crash or a hang."""
    data = bytearray((formats / "box.xtc").read_bytes())
    data[at : at + len(junk)] = junk
    (tmp_path / "junk.xtc").write_bytes(bytes(data[:3476]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            for chunk in mdi.open(tmp_path / "junk.xtc", top=top).iter_chunks(7):
                assert np.isfinite(chunk.xyz).all()
        except mdi.errors.MdinsightError:
            pass


@pytest.mark.parametrize("suffix", [".trr", ".dcd", ".nc", ".h5", ".h5md", ".lammpstrj", ".pdb", ".cif"])
def test_junk_anywhere_gives_frames_or_a_named_error(suffix, formats, top, tmp_path):
    rng = np.random.default_rng(len(suffix))
    whole = (formats / f"box{suffix}").read_bytes()
    path = tmp_path / f"junk{suffix}"
    for trial in range(40):
        data = bytearray(whole)
        at = int(rng.integers(0, min(len(data), 3000 if trial % 2 else len(data))))
        junk = rng.integers(0, 256, int(rng.integers(1, 40)), np.uint8).tobytes()
        data[at : at + len(junk)] = junk
        path.write_bytes(bytes(data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                for chunk in mdi.open(path, top=top).iter_chunks(7):
                    assert np.isfinite(chunk.xyz).all()
            except mdi.errors.MdinsightError:
                pass


@pytest.mark.parametrize("suffix", [".xtc", ".trr", ".dcd"])
def test_corrupt_middle_gives_the_frames_before_it(suffix, formats, top, tmp_path):
    source = formats / f"box{suffix}"
    data, begins = bytearray(source.read_bytes()), frame_begins(source)
    data[begins[7] : begins[7] + 8] = b"\xff" * 8
    (tmp_path / f"bad{suffix}").write_bytes(bytes(data))
    trajs, warning = opened(tmp_path / f"bad{suffix}", top)
    assert trajs.n_frames == 7
    assert f"corrupt at byte {begins[7]}, where frame 7 would begin" in warning and "7 whole frames" in warning
    assert f"13 frames ({len(data) - begins[7]} bytes) lost" in warning
    expected = mdi.open(source, top=top)[0].read_chunk(0, 7).xyz
    np.testing.assert_array_equal(trajs[0].read_chunk(0, 7).xyz, expected)


@pytest.mark.parametrize("suffix", [".lammpstrj", ".pdb"])
def test_a_frame_of_fewer_atoms_in_the_middle(suffix, formats, top, tmp_path):
    source = formats / f"plain{suffix}"
    lines, begins = source.read_bytes(), frame_begins(source)
    at = lines.index(b"\n", begins[8] + 300) + 1
    (tmp_path / f"bad{suffix}").write_bytes(lines[:at] + lines[lines.index(b"\n", at) + 1 :])
    trajs, warning = opened(tmp_path / f"bad{suffix}", top)
    assert trajs.n_frames == 8 and f"corrupt at byte {begins[8]}" in warning and "frame 8" in warning


@pytest.mark.parametrize("suffix", [".xtc", ".trr", ".dcd"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.97])
def test_appended_to_after_it_was_torn(suffix, kept, formats, top, tmp_path):
    """A run that was killed in frame 9 and then appended: the torn frame must not be filled with the next one's bytes."""
    source = formats / f"box{suffix}"
    data, begins = source.read_bytes(), frame_begins(source)
    cut = begins[9] + 4 * int(kept * (begins[10] - begins[9]) / 4)
    (tmp_path / f"app{suffix}").write_bytes(data[:cut] + data[begins[10] :])
    trajs, warning = opened(tmp_path / f"app{suffix}", top)
    assert trajs.n_frames == 9 and "corrupt at byte" in warning
    expected = mdi.open(source, top=top)[0].read_chunk(0, 9).xyz
    np.testing.assert_array_equal(trajs[0].read_chunk(0, 9).xyz, expected)


def test_zeros_at_the_end_as_a_crashed_file_system_leaves_them(formats, top, tmp_path):
    for suffix in (".xtc", ".trr", ".dcd"):
        source = formats / f"box{suffix}"
        cut = frame_begins(source)[15]
        (tmp_path / f"zero{suffix}").write_bytes(source.read_bytes()[:cut] + bytes(5000))
        trajs, warning = opened(tmp_path / f"zero{suffix}", top)
        assert trajs.n_frames == 15 and f"corrupt at byte {cut}" in warning


def test_corrupt_payload_is_found_when_it_is_read(formats, top, tmp_path):
    data = bytearray((formats / "box.xtc").read_bytes())
    begin = frame_begins(formats / "box.xtc")[5]
    data[begin + 92 : begin + 120] = b"\xff" * 28
    (tmp_path / "bits.xtc").write_bytes(bytes(data))
    traj = opened(tmp_path / "bits.xtc", top)[0][0]
    assert len(traj.read_chunk(0, 5)) == 5 and len(traj.read_chunk(6, 20)) == 14
    with pytest.raises(
        TrajectoryError,
        match=r"bits.xtc, frame 5: .*begins at byte \d+\) are corrupt; open this file by itself with stop=5",
    ):
        traj.read_chunk(0, 20)


def test_netcdf_whose_header_counts_too_few(formats, top, tmp_path):
    data = bytearray((formats / "plain.nc").read_bytes())
    data[4:8] = (18).to_bytes(4, "big")
    (tmp_path / "stale.nc").write_bytes(bytes(data))
    trajs, warning = opened(tmp_path / "stale.nc", top)
    assert trajs.n_frames == 18 and "2 frames" in warning and "header does not count" in warning
    data[4:8] = (0).to_bytes(4, "big")
    (tmp_path / "never_synced.nc").write_bytes(bytes(data))
    trajs, warning = opened(tmp_path / "never_synced.nc", top)
    assert trajs.n_frames == 20 and warning is None


def test_hdf5_cut_short_gives_the_frames_that_are_there(formats, top, tmp_path):
    """HDF5 itself refuses such a file, and mdtraj and MDAnalysis with it."""
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(30, 22, 3)).astype(np.float32)
    path = tmp_path / "whole.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("coordinates", xyz.shape, "f4", maxshape=(None, 22, 3), chunks=(1, 22, 3))
        file["time"] = np.arange(30.0)
        file.flush()
        for frame in range(30):
            data[frame] = xyz[frame]
    whole = path.read_bytes()
    with h5py.File(path) as file:
        where = sorted(file["coordinates"].id.get_chunk_info(i).byte_offset for i in range(30))
    torn = tmp_path / "torn.h5"
    torn.write_bytes(whole[: where[-1] + 10])
    with pytest.raises(OSError, match="truncated"):
        h5py.File(torn)
    trajs, warning = opened(torn, top)
    assert trajs.n_frames == 29 and "torn" in warning and "29 whole frames" in warning
    np.testing.assert_array_equal(trajs[0].read_chunk(0, 29).xyz, xyz[:29])
    torn.write_bytes(whole[:50])
    with pytest.raises(TrajectoryError, match=r"torn.h5 is torn"):
        opened(torn, top)


def test_every_cut_of_an_hdf5_file_gives_frames_or_a_named_error(formats, top, tmp_path):
    for name in ("box.h5", "box.h5md"):
        data = (formats / name).read_bytes()
        expected = mdi.open(formats / name, top=top)[0].read_chunk(0, 20).xyz
        torn = tmp_path / name
        for cut in range(1, len(data), len(data) // 25):
            torn.write_bytes(data[:cut])
            try:
                trajs, warning = opened(torn, top)
            except (TrajectoryError, FormatError):
                continue
            assert warning is not None or trajs.n_frames == 20
            np.testing.assert_array_equal(trajs[0].read_chunk(0, trajs.n_frames).xyz, expected[: trajs.n_frames])


def test_mdtraj_still_gives_nothing_of_a_torn_xtc(formats, top, tmp_path):
    """Why this room has a reader of its own; if this fails, mdtraj has learnt it."""
    (tmp_path / "torn.xtc").write_bytes((formats / "plain.xtc").read_bytes()[:-10])
    with pytest.raises(RuntimeError):
        mdtraj.load(str(tmp_path / "torn.xtc"), top=str(top))
    assert opened(tmp_path / "torn.xtc", top)[0].n_frames == 19


def test_a_file_that_changes_after_it_was_opened_is_told(formats, top, tmp_path):
    path = tmp_path / "gone.xtc"
    path.write_bytes((formats / "plain.xtc").read_bytes())
    traj = mdi.open(path, top=top)[0]
    path.write_bytes((formats / "plain.xtc").read_bytes()[:1000])
    with pytest.raises(TrajectoryError, match="was changed since it was opened"):
        traj.read_chunk(0, 20)
    path.unlink()
    with pytest.raises(TrajectoryError, match="is gone now"):
        traj.read_chunk(0, 20)
    message = r"not found by the worker on .*; files must have the same path there"
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with pool, pytest.raises(TrajectoryError, match=message):
        pool.submit(traj.read_chunk, 0, 20).result()


def test_a_path_holds_in_whatever_folder_frames_are_read(formats, top, tmp_path, monkeypatch):
    (tmp_path / "gone.xtc").write_bytes((formats / "plain.xtc").read_bytes())
    monkeypatch.chdir(tmp_path)
    traj = mdi.open("gone.xtc", top=top)[0]
    monkeypatch.chdir(formats)
    assert len(traj.read_chunk(0, 20)) == 20
    assert str(traj.path) == traj.origin.file == "gone.xtc"


def test_bits_of_an_xtc_that_do_not_fit_their_frame_are_found(formats, top, tmp_path):
    """Random bytes within a frame: the bits must end where the frame says, in the ranges that it says."""
    data, begins = (formats / "box.xtc").read_bytes(), frame_begins(formats / "box.xtc")
    expected = mdi.open(formats / "box.xtc", top=top)[0].read_chunk(0, 20).xyz
    rng = np.random.default_rng(0)
    accepted = 0
    for frame in np.tile(np.arange(19), 5).tolist():
        at = int(rng.integers(begins[frame] + 92, begins[frame + 1] - 16))
        (tmp_path / "bits.xtc").write_bytes(data[:at] + rng.bytes(16) + data[at + 16 :])
        traj = mdi.open(tmp_path / "bits.xtc", top=top)[0]
        try:
            accepted += not np.array_equal(traj.read_chunk(0, 20, [3, 4]).xyz, expected[:, [3, 4]])
        except TrajectoryError as error:
            assert f"frame {frame}" in str(error)
    assert accepted <= 3


def long_netcdf(plain, folder, n_frames=400):
    """Made of the example's frames, 2 ps apart."""
    xyz = np.concatenate([plain.xyz] * (n_frames // 20))
    mdtraj.Trajectory(xyz, plain.topology, time=2.0 * np.arange(n_frames)).save_netcdf(str(folder / "long.nc"))
    return folder / "long.nc", xyz


@pytest.mark.parametrize("deleted", [4, 37, 400, 1000])
@pytest.mark.parametrize("frame", [5, 200, 380])
def test_netcdf_with_bytes_missing_in_the_middle(deleted, frame, plain, top, tmp_path):
    path, xyz = long_netcdf(plain, tmp_path)
    data = path.read_bytes()
    record = 4 + 22 * 12
    begin = len(data) - (400 - frame) * record
    path.write_bytes(data[: begin + 40] + data[begin + 40 + deleted :])
    trajs, warning = opened(path, top)
    assert len(trajs) == 1 and frame - 2 <= trajs.n_frames <= frame
    n_frames = trajs.n_frames
    assert "corrupt at byte" in warning and f"{n_frames} whole frames before it are used" in warning
    np.testing.assert_allclose(trajs[0].read_chunk(0, n_frames).xyz, xyz[:n_frames], atol=1e-6)


def test_odd_times_of_a_netcdf_are_no_damage(plain, tmp_path):
    path, _ = long_netcdf(plain, tmp_path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    spaced = {
        "restarts": 2.0 * (np.arange(400) % 10),
        "pairs": 2.0 * (np.arange(400) % 2),
        "logarithmic": 2.0 ** (np.arange(400) / 20),
        "two spacings": np.where(np.arange(400) < 50, 2.0 * np.arange(400), 1e4 + 5.0 * np.arange(400)),
        "gaps": np.cumsum(rng.choice([2.0, 2.0, 2.0, 8.0], 400)),
        "one step back": np.concatenate([2.0 * np.arange(399), [0.0]]),
    }
    for name, times in spaced.items():
        data = bytearray(whole)
        for frame in range(400):
            at = len(data) - (400 - frame) * (4 + 22 * 12)
            data[at : at + 4] = np.array(times[frame], ">f4").tobytes()
        path.write_bytes(bytes(data))
        scan = AmberNetCDF().scan(path)
        assert scan.n_frames == 400 and scan.damage is None, name
