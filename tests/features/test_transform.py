"""The transform: the same for any workers and chunks, cached by content, and clear about what it cannot do."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import mdtraj
import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.checksums import checksums
from mdinsight.errors import CacheWarning, NonFiniteError, ParameterError
from mdinsight.features import (
    RMSD,
    SASA,
    Contacts,
    Distances,
    Function,
    HydrogenBonds,
    Positions,
    RadiusOfGyration,
    Torsions,
    clear_cache,
)
from mdinsight.features._cache import Cache


@pytest.fixture(scope="module")
def trajs(examples):
    """Three trajectories of unequal length."""
    files = sorted((examples / "ala2_fast").glob("*.xtc"))[:3]
    whole = mdi.open(files, top=examples / "ala2_fast/top.pdb", stride=16)
    short = mdi.open(files[2], top=examples / "ala2_fast/top.pdb", stop=37)
    return [*list(whole)[:2], *short]


@pytest.fixture
def everything(frames):
    """Kinds of every sort in one set, on few atoms and on all."""
    return (
        Torsions("phi psi")
        + Distances("element C")
        + Contacts([[0, 1], [0, 2]])
        + RMSD(frames[0], "element C")
        + Positions(frames[0], "element C or element N")
        + RadiusOfGyration("all")
        + HydrogenBonds("all")
        + Function(_spread, "spread", atoms="element O")
    )


def _spread(frames):
    return np.ptp(frames.xyz.reshape(len(frames.xyz), -1), axis=1)


def test_what_comes_out(trajs):
    series = Torsions("phi psi").transform(trajs, cache=False)
    assert [a.shape for a in series] == [(500, 4), (500, 4), (37, 4)]
    assert all(a.dtype == np.float32 for a in series)
    assert series.names == ("cos phi ALA2", "sin phi ALA2", "cos psi ALA2", "sin psi ALA2")
    assert series.origins[0].frame(3) == 48 and series.origins[2].frame(3) == 3
    assert series.definition.get_feature_names_out(trajs[0].topology).tolist() == list(series.names)


def test_rows_are_the_frames_of_the_file(ala2):
    series = Torsions("phi", raw=True).transform(ala2[:1], cache=False)
    frame = mdtraj.load_frame(str(ala2[0].path), 3210, top=ala2[0].topology)
    np.testing.assert_allclose(series[0][3210], mdtraj.compute_phi(frame)[1][0], atol=1e-5)
    assert series.dt == ala2.dt == 16.0


@pytest.mark.parametrize("chunk", [1, 7, 100, 100_000])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_same_bits_for_any_workers_and_chunk(workers, chunk, trajs, everything):
    few = trajs if chunk > 1 else trajs[2:]
    expected = everything.transform(few, workers=1, chunk=64, cache=False)
    found = everything.transform(few, workers=workers, chunk=chunk, cache=False)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32))


def test_an_executor_of_threads_or_processes(trajs):
    features = Torsions("phi psi") + SASA("all", n_sphere_points=50)
    expected = features.transform(trajs[2:], workers=1, cache=False)
    with ThreadPoolExecutor(2) as pool:
        threads = features.transform(trajs[2:], workers=pool, chunk=10, cache=False)
    np.testing.assert_array_equal(threads[0], expected[0])
    import multiprocessing

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        processes = features.transform(trajs[2:], workers=pool, chunk=20, cache=False)
    np.testing.assert_array_equal(processes[0], expected[0])


def test_an_mdtraj_trajectory_and_what_is_no_trajectory(frames, trajs):
    alone = Torsions("phi").transform(frames, cache=False)
    assert alone[0].shape == (40, 2)
    two = Torsions("phi").transform([frames[:3], frames], cache=False)
    np.testing.assert_array_equal(two[1], alone[0])
    one = Torsions("phi").transform(trajs[0], cache=False)
    assert len(one) == 1
    for wrong in (frames.xyz, "ala2_fast-00.xtc", [], None):
        with pytest.raises(ParameterError, match=r"mdinsight\.open"):
            Torsions("phi").transform(wrong)
    with pytest.raises(ParameterError, match="chunk=0"):
        Torsions("phi").transform(frames, chunk=0)
    with pytest.raises(ParameterError, match="workers=0"):
        Torsions("phi").transform(frames, workers=0, cache=False)


def test_only_the_atoms_needed_are_asked_for(trajs):
    features = Torsions("phi") + Distances([[0, 8]])
    bound = features.bind(trajs[0].topology)
    assert bound.atoms.tolist() == [0, 4, 6, 8, 10]
    xyz = trajs[0].read_chunk(0, 5, bound.atoms).xyz
    np.testing.assert_array_equal(bound.compute(xyz), features.transform(trajs[:1], cache=False)[0][:5])


def test_progress_counts_the_tasks(trajs):
    seen = []

    def bar(items, total, desc):
        for item in items:
            seen.append(total)
            yield item

    Torsions("phi").transform(trajs, chunk=250, cache=False, progress=bar)
    assert seen == [3] * 3


def test_non_finite_results_name_file_and_frame(trajs):
    with pytest.raises(NonFiniteError, match=r"ala2_fast-00\.xtc, frame 160: 'broken' is nan \(1 frames"):
        Function(_broken, "broken").transform(trajs, cache=False)


def _broken(frames):
    return np.where(frames.time == frames.time.min() + 80.0, np.nan, 0.0)


def test_non_finite_coordinates_are_found_before_a_contact_hides_them(frames):
    broken = frames[:]
    broken.xyz[7, 8, 1] = np.nan
    with pytest.raises(NonFiniteError, match=r"frame 7"):
        Contacts([[0, 1]], kind="hard").transform(broken, cache=False)


def test_a_function_of_the_wrong_shape(frames):
    with pytest.raises(ParameterError, match=r"_spread.*shape \(40, 1\) for 40 frames and 2 names"):
        Function(_spread, ["a", "b"]).transform(frames, cache=False)


def test_cache_is_used_and_is_the_same(trajs, tmp_path):
    _calls = _counted.calls = []
    features = Torsions("phi psi") + Function(_counted, "x")
    first = features.transform(trajs, cache=tmp_path)
    assert sum(_calls) == 1037
    second = features.transform(trajs, cache=tmp_path)
    assert sum(_calls) == 1037
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first.columns == second.columns and first.origins == second.origins
    features.transform(trajs[:1], cache=tmp_path)
    assert sum(_calls) == 1037
    Torsions("phi").transform(trajs, cache=tmp_path)
    (Torsions("psi phi") + Function(_counted, "x")).transform(trajs[2:], cache=tmp_path)
    assert sum(_calls) == 1037 + 37
    assert len(list(tmp_path.rglob("*.npy"))) == 3 + 3 + 1
    assert clear_cache(tmp_path) > 0
    assert not list(tmp_path.rglob("*.npy"))
    features.transform(trajs, cache=False)
    assert not list(tmp_path.rglob("*.npy"))


def _counted(frames):
    _counted.calls.append(len(frames.xyz))
    return frames.xyz[:, 0, 0]


def test_cache_knows_which_frames_and_which_file(examples, tmp_path):
    file, top = examples / "ala2_fast/ala2_fast-00.xtc", examples / "ala2_fast/top.pdb"
    features = Torsions("phi psi")
    for view in ({"stop": 100}, {"start": 100, "stop": 200}, {"stride": 80}, {"stop": 100, "stride": 2}):
        trajs = mdi.open(file, top=top, **view)
        cached = [features.transform(trajs, cache=tmp_path)[0] for _ in range(2)]
        np.testing.assert_array_equal(cached[1], features.transform(trajs, cache=False)[0])
    assert len(list(tmp_path.rglob("*.npy"))) == 4
    moved = mdtraj.load(str(file), top=str(top))[:100]
    other = moved.slice(slice(None, None, -1))
    copy = tmp_path / "copy.xtc"
    for trajectory in (moved, other):
        trajectory.time = np.arange(100) * 2.0
        trajectory.save_xtc(str(copy))
        trajs = mdi.open(copy, top=top)
        np.testing.assert_array_equal(
            features.transform(trajs, cache=tmp_path)[0], features.transform(trajs, cache=False)[0]
        )


def test_frames_in_memory_that_were_moved_meanwhile_are_computed_anew(frames, tmp_path):
    moved = frames[:]
    trajs, feature = mdi.open(moved), Distances(pairs=[[0, 5]])
    before = np.array(feature.transform(trajs, cache=tmp_path)[0])
    moved.xyz[:] *= 2.0
    assert np.allclose(feature.transform(trajs, cache=tmp_path)[0], 2.0 * before, atol=1e-6)
    assert np.array_equal(feature.transform(frames, cache=tmp_path)[0], before)


@pytest.mark.parametrize("damage", ["torn", "empty", "flipped", "other shape", "no numpy"])
def test_a_damaged_cache_file_is_written_anew(damage, frames, tmp_path):
    features = Distances("all")
    expected = features.transform(frames, cache=tmp_path)[0]
    (file,) = tmp_path.rglob("*.npy")
    whole = file.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "torn": whole[:middle],
        "empty": b"",
        "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "other shape": whole.replace(b"(40, 231)", b"(231, 40)"),
        "no numpy": b"x" * len(whole),
    }[damage]
    assert damaged != whole
    file.write_bytes(damaged)
    np.testing.assert_array_equal(features.transform(frames, cache=tmp_path)[0], expected)
    assert file.read_bytes() == whole


def test_large_results_are_mapped(tmp_path):
    cache = Cache(tmp_path)
    array = np.arange(5_000_000, dtype=np.float32).reshape(-1, 5)
    cache.put("a" * 64, array)
    found = cache.get("a" * 64, array.shape)
    holder = found
    while isinstance(holder, np.ndarray):
        holder = holder.base
    assert isinstance(memoryview(holder).obj, mmap.mmap) and type(found) is np.ndarray
    np.testing.assert_array_equal(found, array)
    found[0, 0] = 7  # a copy on write: the file stays as it is
    assert cache.get("a" * 64, array.shape)[0, 0] == 0


def test_no_byte_of_an_entry_can_change_unseen(tmp_path):
    cache, rng = Cache(tmp_path), np.random.default_rng(11)
    array = rng.normal(size=(1500, 131)).astype(np.float32)
    cache.put("a" * 64, array)
    file = cache.file("a" * 64)
    whole = file.read_bytes()
    for place in rng.integers(len(whole), size=300).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        assert cache.get("a" * 64, array.shape) is None and not file.exists()
    for start, stop in ((0, 1500), (700, 701), (1499, 1500), (40, 1200)):
        file.write_bytes(whole)
        np.testing.assert_array_equal(cache.rows("a" * 64, array.shape, start, stop), array[start:stop])
        file.write_bytes(whole[:128] + bytes(len(whole) - 128 - 20_000) + whole[-20_000:])  # zeros, as of a lost page
        assert cache.rows("a" * 64, array.shape, start, stop) is None


@pytest.mark.parametrize(("rows", "columns", "dtype"), [(1, 1, np.float32), (7, 2047, np.float32), (7, 5, np.float64)])
def test_a_bit_that_changes_changes_the_checksum_of_its_rows_alone(rows, columns, dtype):
    rng = np.random.default_rng(rows)
    array = rng.normal(size=(rows, columns)).astype(dtype)
    whole = checksums(array, 2)
    assert len(whole) == -(-rows // 2) and checksums(array[2:4], 2).tolist() == whole[1:2].tolist()
    words = array.view(np.uint32)
    for row, column in zip(rng.integers(rows, size=50), rng.integers(words.shape[1], size=50), strict=True):
        bit = np.uint32(1 << rng.integers(32))
        words[row, column] ^= bit
        assert np.flatnonzero(checksums(array, 2) != whole).tolist() == [row // 2]
        words[row, column] ^= bit


def test_cache_keeps_to_its_limit_and_drops_what_was_not_used(tmp_path):
    cache = Cache(tmp_path, limit=20_000)
    array = np.zeros((1000, 1), np.float32)
    keys = [f"{i:064x}" for i in range(4)]
    for age, key in enumerate(keys):
        cache.put(key, array)
        os.utime(cache.file(key), (1000 + age, 1000))
    assert cache.get(keys[0], array.shape) is not None  # used just now
    cache.put("f" * 64, array)
    cache.prune()
    assert [key for key in [*keys, "f" * 64] if cache.file(key).exists()] == [keys[0], keys[2], keys[3], "f" * 64]


@pytest.mark.filterwarnings("ignore:.*not cached")
def test_a_cache_that_another_process_empties_fails_nothing(tmp_path):
    array, stop = np.ones((8, 3), np.float32), threading.Event()

    def empty():
        while not stop.is_set():
            clear_cache(tmp_path)

    thread = threading.Thread(target=empty)
    thread.start()
    try:
        for number in range(300):
            cache = Cache(tmp_path, limit=1000)
            cache.put(f"{number:064x}"[::-1], array)
            cache.prune()
            found = cache.get(f"{number:064x}"[::-1], array.shape)
            assert found is None or np.array_equal(found, array)
    finally:
        stop.set()
        thread.join()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_what_another_user_keeps_is_read():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        Cache(folder).put("a" * 64, np.ones((8, 3), np.float32))
        os.seteuid(65534)
        try:
            found = Cache(folder).get("a" * 64, (8, 3))
        finally:
            os.seteuid(0)
    assert np.array_equal(found, np.ones((8, 3)))


def test_an_unwritable_cache_fails_nothing(frames, tmp_path, recwarn):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    series = Torsions("phi").transform([frames[:5], frames[5:]], cache=blocked)
    np.testing.assert_array_equal(np.concatenate(series.arrays), Torsions("phi").transform(frames, cache=False)[0])
    (said,) = [warning for warning in recwarn if warning.category is CacheWarning]
    assert "not cached" in str(said.message) and "give cache= a folder that can be written" in str(said.message)


def test_what_cannot_be_identified_is_not_cached(frames, tmp_path):
    shift = [3.0]

    def closure(frames):
        return frames.xyz[:, 0, 0] + shift[0]

    for function in (closure, lambda frames: frames.xyz[:, 0, 0] + _WEIGHTS[0], _reads_no_number, _Callable()):
        feature = Function(function, "x")
        with pytest.warns(CacheWarning, match="cannot be identified"):
            feature.transform(frames, cache=tmp_path)
        assert not feature.cacheable
    assert not list(tmp_path.rglob("*.npy"))
    assert Function(_spread, "x").cacheable and Function(mdtraj.compute_rg, "x").cacheable
    assert Function(_spread, "x").hash == Function(_spread, "x").hash != Function(_counted, "x").hash


_WEIGHTS = [1.0]


def _reads_no_number(frames):
    return _scaled(frames)


def _scaled(frames):
    return frames.xyz[:, 0, 0] * _WEIGHTS[0]


class _Callable:
    def __call__(self, frames):
        return frames.xyz[:, 0, 0]


def test_environment_names_the_cache(frames, tmp_path, monkeypatch):
    monkeypatch.setenv("MDINSIGHT_CACHE", str(tmp_path / "here"))
    Torsions("phi").transform(frames)
    assert len(list((tmp_path / "here").rglob("*.npy"))) == 1


def test_a_new_process_finds_the_cache_and_the_same_numbers(frames, examples, tmp_path):
    features = Torsions("phi psi") + RMSD(frames[0], "element C")
    path = features.save(tmp_path / "features")
    file, top = examples / "ala2_fast/ala2_fast-00.xtc", examples / "ala2_fast/top.pdb"
    trajs = mdi.open(file, top=top, stride=100)
    expected = features.transform(trajs, cache=tmp_path)[0]
    code = (
        "import sys, numpy as np, mdinsight as mdi\n"
        f"trajs = mdi.open({str(file)!r}, top={str(top)!r}, stride=100)\n"
        f"features = mdi.load({str(path)!r})\n"
        f"np.save({str(tmp_path / 'new.npy')!r}, features.transform(trajs, cache=sys.argv[1] or False)[0])\n"
    )
    root = Path(mdi.__file__).parent.parent
    for folder in ("", str(tmp_path)):
        subprocess.run([sys.executable, "-c", code, folder], check=True, cwd=root)
        np.testing.assert_array_equal(np.load(tmp_path / "new.npy"), expected)
    assert len(list((tmp_path / "features-cache").rglob("*.npy"))) == 1
