"""Where the frames of a large XTC begin is kept, never trusted blindly, and never beside the user's data."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from mdinsight.features import clear_cache
from mdinsight.trajectories._formats import _xtc_index as index
from mdinsight.trajectories._formats.xtc import XTC

N_ATOMS, N_FRAMES = 6000, 1200


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A file of 1200 frames and more than 16 MB: one frame again and again, with times and steps of their own."""
    path = tmp_path_factory.mktemp("large") / "large.xtc"
    rng = np.random.default_rng(0)
    xyz = np.cumsum(rng.normal(0, 0.1, (1, N_ATOMS, 3)), axis=1).astype(np.float32)
    with mdtraj.formats.XTCTrajectoryFile(str(path), "w") as out:
        out.write(xyz, box=np.eye(3, dtype=np.float32)[None] * 5)
    frame = path.read_bytes()
    path.write_bytes(b"".join(numbered(frame, number) for number in range(N_FRAMES)))
    assert path.stat().st_size > index._LARGE
    return path


def numbered(frame, number):
    step, time = (10 * number).to_bytes(4, "big"), np.array(2.0 * number, ">f4").tobytes()
    return frame[:8] + step + time + frame[16:]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MDINSIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def copy(large, tmp_path):
    return Path(shutil.copy(large, tmp_path / "copy.xtc"))


def calls():
    """Read calls to the system that this process made so far."""
    io = Path("/proc/self/io")
    if not io.exists():
        pytest.skip("the system does not count the read calls of a process")
    return int(next(line for line in io.read_text().splitlines() if line.startswith("syscr")).split()[1])


def scanned(path):
    """The scan, and how many read calls it took."""
    before = calls()
    scan = XTC().scan(path)
    return scan, calls() - before


def walked(path):
    """The scan of a file of which nothing is kept."""
    index.index_file(path).unlink(missing_ok=True)
    scan = XTC().scan(path)
    index.index_file(path).unlink(missing_ok=True)
    return scan


def check_same(scan, expected):
    assert (scan.n_frames, scan.n_atoms, scan.has_box, scan.damage) == (
        expected.n_frames,
        expected.n_atoms,
        expected.has_box,
        expected.damage,
    )
    np.testing.assert_array_equal(scan.times, expected.times)
    np.testing.assert_array_equal(scan.steps, expected.steps)
    np.testing.assert_array_equal(scan.layout["offsets"], expected.layout["offsets"])


def test_a_second_scan_hardly_reads_the_file(copy, cache):
    first, many = scanned(copy)
    second, few = scanned(copy)
    assert many > 0.9 * N_FRAMES and few < 40
    assert first.n_frames == N_FRAMES and first.damage is None
    check_same(second, first)
    assert sorted(entry.name for entry in copy.parent.iterdir()) == ["cache", "copy.xtc"]
    np.testing.assert_array_equal(
        XTC().read(copy, second, range(0, N_FRAMES, 400), np.arange(5)).xyz,
        XTC().read(copy, first, range(0, N_FRAMES, 400), np.arange(5)).xyz,
    )


def test_small_files_are_not_kept(examples, cache):
    XTC().scan(examples / "ala2" / "ala2-00.xtc")
    assert not cache.exists()


def test_of_a_file_that_grew_the_rest_is_scanned(copy, cache):
    whole = copy.read_bytes()
    offsets = XTC().scan(copy).layout["offsets"]
    frame = whole[: offsets[1]]
    with copy.open("ab") as out:
        for number in range(N_FRAMES, N_FRAMES + 50):
            out.write(numbered(frame, number))
        out.write(frame[:500])
    scan, few = scanned(copy)
    assert scan.n_frames == N_FRAMES + 50 and scan.damage.kind == "torn" and few < 150
    check_same(scan, walked(copy))
    XTC().scan(copy)
    with copy.open("ab") as out:  # the torn frame is completed
        out.write(frame[500:])
    scan, few = scanned(copy)
    assert scan.n_frames == N_FRAMES + 51 and scan.damage is None and few < 150
    check_same(scan, walked(copy))


def test_an_index_of_many_more_frames_is_kept_anew(copy, cache):
    frame = copy.read_bytes()[: XTC().scan(copy).layout["offsets"][1]]
    with copy.open("ab") as out:
        for number in range(N_FRAMES, 2 * N_FRAMES):
            out.write(numbered(frame, number))
    assert scanned(copy)[1] > N_FRAMES
    scan, few = scanned(copy)
    assert scan.n_frames == 2 * N_FRAMES and few < 40


@pytest.mark.parametrize("how", ["other times", "cut short", "rewritten and longer", "another file", "touched"])
def test_a_file_that_was_changed_is_scanned_anew(how, copy, cache):
    offsets = XTC().scan(copy).layout["offsets"]
    data = copy.read_bytes()
    frame = data[: offsets[1]]
    later = b"".join(numbered(frame, number + 7) for number in range(N_FRAMES))
    if how == "other times":
        copy.write_bytes(later)
    elif how == "cut short":
        os.truncate(copy, int(offsets[900]) + 100)
    elif how == "rewritten and longer":
        copy.write_bytes(later + frame)
    elif how == "another file":
        status = copy.stat()
        copy.with_name("new.xtc").write_bytes(later)
        os.replace(copy.with_name("new.xtc"), copy)
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        os.utime(copy, ns=(0, 0))
    found = XTC().scan(copy)
    check_same(found, walked(copy))
    assert found.times[0] == (0.0 if how in ("cut short", "touched") else 14.0)


def test_a_broken_index_is_made_anew(copy, cache):
    expected = XTC().scan(copy)
    file = index.index_file(copy)
    kept = file.read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(40):
        at = int(rng.integers(len(kept))) if trial > 20 else 2 * trial
        broken = bytearray(kept)
        broken[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(bytes(broken) if trial % 4 else kept[:at])
        check_same(XTC().scan(copy), expected)
        assert file.read_bytes() == kept


def test_where_nothing_can_be_kept_it_is_scanned_every_time(copy, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MDINSIGHT_CACHE", str(tmp_path / "file" / "cache"))
    first, second = XTC().scan(copy), XTC().scan(copy)
    check_same(second, first)


def test_the_folder_is_bounded(copy, cache, monkeypatch):
    XTC().scan(copy)
    size = index.index_file(copy).stat().st_size
    monkeypatch.setattr(index, "LIMIT", 2 * size)
    for number in range(4):
        link = Path(shutil.copy(copy, copy.with_name(f"other-{number}.xtc")))
        XTC().scan(link)
    assert len(list(index.index_file(copy).parent.iterdir())) == 2
    assert index.index_file(link).exists()


def test_clearing_the_cache_removes_the_indices_too(copy, cache):
    expected = XTC().scan(copy)
    file = index.index_file(copy)
    size = file.stat().st_size
    assert clear_cache() == size and not file.exists() and not list(cache.rglob("*.*"))
    assert clear_cache() == 0
    check_same(XTC().scan(copy), expected)
    assert file.stat().st_size == size


def test_many_processes_at_once(copy, cache):
    code = f"""
from mdinsight.trajectories._formats.xtc import XTC
from pathlib import Path
for _ in range(8):
    scan = XTC().scan(Path({str(copy)!r}))
    assert scan.n_frames == {N_FRAMES} and scan.damage is None
    assert scan.times[-1] == {2.0 * (N_FRAMES - 1)} and len(scan.layout["offsets"]) == {N_FRAMES + 1}
    for file in Path({str(cache)!r}).rglob("*.idx"):
        file.unlink(missing_ok=True)
"""
    running = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in running:
        error = process.communicate()[1]
        assert process.returncode == 0, error
    check_same(XTC().scan(copy), walked(copy))
    assert not [path for path in cache.rglob("*") if path.name.startswith(".")]
