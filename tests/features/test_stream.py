"""A stream gives what the transform gives, row by row, out of the files or out of the cache, and trusts nothing damaged."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import mdtraj
import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.errors import CacheWarning, CorruptFrameError, DataWarning, NonFiniteError, ParameterError
from mdinsight.features import Distances, Function, Positions, Torsions, streams, sweep
from mdinsight.features._cache import Cache, cache_limit, write_rows
from mdinsight.features._stream import FeatureStream, _Sweep
from mdinsight.passes import Collected, grid


@pytest.fixture(scope="module")
def trajs(examples):
    """Three trajectories, one of them of 37 frames."""
    files = sorted((examples / "ala2_fast").glob("*.xtc"))[:2]
    whole = mdi.open(files, top=examples / "ala2_fast/top.pdb", stride=4)
    short = mdi.open(files[1], top=examples / "ala2_fast/top.pdb", stop=37)
    return [*whole, *short]


FEATURES = Torsions("phi psi") + Distances("element C")


def collected(stream):
    rows = Collected(stream.lengths, stream.n_columns, np.float32)
    stream.sweep([rows])
    return list(rows.arrays.values())


def counting(frames):
    counting.seen.append(len(frames.xyz))
    return frames.xyz[:, 0, 0]


def test_a_stream_is_what_the_transform_gives(trajs, tmp_path):
    expected = FEATURES.transform(trajs, cache=False)
    for cache in (False, tmp_path, tmp_path):
        stream = FEATURES.stream(trajs, cache=cache)
        assert (stream.names, stream.columns, stream.dt, stream.lengths, len(stream)) == (
            expected.names, expected.columns, expected.dt, expected.lengths, 3,
        )  # fmt: skip
        assert stream.origins == expected.origins and stream.definition == expected.definition
        assert stream.lag_frames(3) == 3 and stream.n_frames == expected.n_frames
        for found, array in zip(collected(stream), expected, strict=True):
            np.testing.assert_array_equal(found, array)
        np.testing.assert_array_equal(stream.rows(1, 700, 1111), expected[1][700:1111])
        np.testing.assert_array_equal(np.concatenate(list(stream.iter_chunks(999))), expected.concatenated())
        for found, array in zip(stream.load(), expected, strict=True):
            np.testing.assert_array_equal(found, array)
    with pytest.raises(ParameterError, match="rows 0 to 36; rows 30 to 37"):
        stream.rows(2, 30, 38)
    with pytest.raises(ParameterError, match="no trajectory 9; this stream has 3"):
        stream.rows(9, 0, 1)
    with pytest.raises(ParameterError, match="size=0"):
        next(stream.iter_chunks(0))


def test_selected_columns_alone_are_computed(trajs):
    stream = FEATURES.stream(trajs, cache=False).select("cos*", "distance*C*ALA2*")
    expected = FEATURES.transform(trajs, cache=False).select("cos*", "distance*C*ALA2*")
    assert stream.names == expected.names and stream.definition == expected.definition
    assert (
        sum(len(part.columns) for part in stream.bounds[0].parts) == stream.n_columns < FEATURES.stream(trajs).n_columns
    )
    np.testing.assert_array_equal(stream.rows(0, 5, 50), expected[0][5:50])


def test_what_needs_all_rows_in_memory_says_so(trajs):
    stream = FEATURES.stream(trajs, cache=False)
    with pytest.raises(ParameterError, match=r"VAMPNet needs all rows .* stream\.load\(\)"):
        mdi.cvs.VAMPNet(2).fit(stream)
    with pytest.raises(ParameterError, match=r"cvs\.scan needs all rows .* stream\.load\(\)"):
        mdi.cvs.scan(mdi.cvs.TICA(2), stream, lags=[2])
    for ask in (lambda: stream[0], lambda: list(stream), lambda: np.asarray(stream)):
        with pytest.raises(TypeError, match=r"rows\(.*iter_chunks\(.*load\("):
            ask()
    with pytest.raises(AttributeError, match="n_columns"):
        _ = stream.shape
    assert not hasattr(stream, "shape")


@pytest.mark.parametrize("workers", ["all", 2.5, 0, -1, True])
def test_workers_are_looked_at_where_they_are_given(workers, trajs):
    for ask in (FEATURES.stream, FEATURES.transform):
        with pytest.raises(ParameterError, match=f"workers={workers!r} is neither a number of threads nor an executor"):
            ask(trajs, workers=workers)


def test_a_closed_executor_is_told(trajs):
    with ThreadPoolExecutor(1) as pool:
        stream = FEATURES.stream(trajs, workers=pool, cache=False)
    with pytest.raises(ParameterError, match="the executor of this stream is closed"):
        stream.load()


def test_a_relative_cache_folder_stays_where_it_was_named(trajs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stream = FEATURES.stream(trajs, cache="kept")
    monkeypatch.chdir("/")
    stream.load()
    assert len(list((tmp_path / "kept").rglob("*.npy"))) == 3


def test_what_are_no_trajectories(trajs, examples):
    for given, words in (("a.xtc", "stream needs .*got 'a.xtc'; give mdinsight.open"), (3, "got int")):
        with pytest.raises(ParameterError, match=words):
            FEATURES.stream(given)
    opened = mdi.open(examples / "ala2_fast/ala2_fast-00.xtc", top=examples / "ala2_fast/top.pdb")
    with pytest.raises(ParameterError, match=r"transform needs .*got a list of Trajectories; .* in one list"):
        FEATURES.transform([opened, opened])


def test_one_pass_reads_each_frame_once_for_all(trajs):
    counting.seen = []
    shared = Function(counting, "x")
    first, second = streams([shared + Torsions("phi"), Torsions("psi phi") + shared], trajs, cache=False)
    rows = [Collected(s.lengths, s.n_columns, np.float32) for s in (first, second)]
    sweep([(first, rows[0]), (second, rows[1])])
    assert sum(counting.seen) == first.n_frames
    for stream, found in zip((first, second), rows, strict=True):
        for i, array in enumerate(stream.definition.transform(trajs, cache=False)):
            np.testing.assert_array_equal(found.arrays[i], array)
    other = Torsions("phi").stream(trajs, cache=False)
    with pytest.raises(ParameterError, match="fit_together"):
        sweep([(first, rows[0]), (other, rows[1])])


def test_topologies_that_share_some_columns(examples):
    pair = [
        mdi.open(examples / name / f"{name}-00.xtc", top=examples / name / "top.pdb", stop=300)[0]
        for name in ("ala2_fast", "ala3")
    ]
    features = Torsions("phi psi")
    with pytest.warns(DataWarning, match="not in all 2 topologies"):
        expected = features.transform(pair, cache=False)
    with pytest.warns(DataWarning):
        one, two = streams([features, Distances("name CA CB") + Torsions("psi", raw=True)], pair, cache=False)
    rows = [Collected(s.lengths, s.n_columns, np.float32) for s in (one, two)]
    sweep([(one, rows[0]), (two, rows[1])])
    for i in range(2):
        np.testing.assert_array_equal(rows[0].arrays[i], expected[i])
        np.testing.assert_array_equal(rows[1].arrays[i], two.rows(i, 0, 300))


def test_a_pass_writes_the_cache_and_the_next_reads_it(trajs, tmp_path):
    counting.seen = []
    features = Function(counting, "x") + Torsions("phi psi")
    expected = collected(features.stream(trajs, cache=tmp_path))
    assert sum(counting.seen) == sum(len(array) for array in expected)
    found = collected(features.stream(trajs, cache=tmp_path))
    read = features.transform(trajs, cache=tmp_path)  # the same entries
    assert sum(counting.seen) == sum(len(array) for array in expected)
    for a, b, c in zip(found, read, expected, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, c)
    assert not list(tmp_path.rglob("*.part"))


def test_a_damaged_piece_is_computed_anew_and_the_entry_written_anew(trajs, tmp_path):
    features = Positions(trajs[0].read([0]), "all")
    expected = collected(features.stream(trajs[:1], cache=tmp_path))[0]
    (file,) = tmp_path.rglob("*.npy")
    whole = bytearray(file.read_bytes())
    damaged = whole[:]
    damaged[len(whole) // 2] ^= 1
    file.write_bytes(damaged)
    stream = features.stream(trajs[:1], cache=tmp_path)
    start = stream.rows(0, 0, 10)  # the damage is not in the rows that are read, so they are taken
    np.testing.assert_array_equal(start, expected[:10])
    assert file.exists()
    np.testing.assert_array_equal(collected(stream)[0], expected)
    assert not file.exists()
    np.testing.assert_array_equal(collected(stream)[0], expected)
    assert file.read_bytes() == whole


def test_a_file_that_changed_is_not_taken_from_the_cache(trajs, examples, tmp_path):
    copy = tmp_path / "copy.xtc"
    for start in (0, 60):
        frames = mdtraj.load(str(trajs[0].path), top=str(examples / "ala2_fast/top.pdb"))[start : start + 50]
        frames.time = np.arange(50) * 1.0
        frames.save_xtc(str(copy))
        opened = mdi.open(copy, top=examples / "ala2_fast/top.pdb")
        np.testing.assert_array_equal(
            collected(FEATURES.stream(opened, cache=tmp_path))[0], FEATURES.transform(opened, cache=False)[0]
        )


def test_an_entry_that_is_evicted_while_it_is_used_is_computed_anew(trajs, tmp_path):
    expected = collected(FEATURES.stream(trajs, cache=tmp_path))

    class Evicting(Collected):
        def add(self, piece, result):
            super().add(piece, result)
            for file in tmp_path.rglob("*.npy"):
                file.unlink()

    stream = FEATURES.stream(trajs, cache=tmp_path, workers=1)
    rows = Evicting(stream.lengths, stream.n_columns, np.float32)
    stream.sweep([rows])
    for i, array in enumerate(expected):
        np.testing.assert_array_equal(rows.arrays[i], array)


def test_an_interrupted_pass_leaves_nothing_half(trajs, tmp_path):
    class Stops(Collected):
        def add(self, piece, result):
            if piece.trajectory == 1:
                raise KeyboardInterrupt
            super().add(piece, result)

    stream = FEATURES.stream(trajs, cache=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        stream.sweep([Stops(stream.lengths, stream.n_columns, np.float32)])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.suffix for path in files] == [".npy"]  # that of the first trajectory, which was whole
    assert Cache(tmp_path).has(stream.keys[0], (len(trajs[0]), stream.n_columns))


@pytest.mark.parametrize(
    ("given", "size"),
    [("20 GB", 20_000_000_000), ("1.5gb", 1_500_000_000), ("300 MB", 300_000_000), ("0", 0), ("", 10_000_000_000)],
)
def test_the_limit_is_read_from_the_environment(given, size, monkeypatch):
    monkeypatch.setenv("MDINSIGHT_CACHE_LIMIT", given)
    assert cache_limit() == size


@pytest.mark.parametrize("given", ["plenty", "-1 GB", "20 G", "1e9", "10 gigabytes"])
def test_a_limit_that_is_no_size_is_named(given, trajs, monkeypatch):
    monkeypatch.setenv("MDINSIGHT_CACHE_LIMIT", given)
    with pytest.raises(ParameterError, match=r"MDINSIGHT_CACHE_LIMIT=.*such as '20 GB'"):
        FEATURES.stream(trajs)


def test_data_larger_than_the_limit_go_uncached_and_say_so_once(trajs, tmp_path, monkeypatch, recwarn):
    monkeypatch.setenv("MDINSIGHT_CACHE_LIMIT", "0.1 MB")
    stream = FEATURES.stream(trajs, cache=tmp_path)
    expected = collected(stream)
    collected(stream)
    (said,) = [warning for warning in recwarn if warning.category is CacheWarning]
    assert "features of 307 kB are not cached" in str(said.message) and "MDINSIGHT_CACHE_LIMIT" in str(said.message)
    assert said.filename == __file__
    monkeypatch.setenv("MDINSIGHT_CACHE_LIMIT", "0")
    collected(FEATURES.stream(trajs, cache=tmp_path))
    assert [warning for warning in recwarn if warning.category is CacheWarning] == [said]
    assert not list(tmp_path.rglob("*.npy"))
    np.testing.assert_array_equal(expected[0], FEATURES.transform(trajs, cache=False)[0])


def test_a_disk_that_is_nearly_full_is_left_alone(trajs, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 30))
    with pytest.warns(CacheWarning, match=r"1\.07 GB left"):
        collected(FEATURES.stream(trajs, cache=tmp_path))
    assert not list(tmp_path.rglob("*.npy"))


def test_a_write_that_fails_fails_no_pass(trajs, tmp_path):
    cache = Cache(tmp_path)
    writer = cache.writer("a" * 64, (100, 3), step=50)
    full = writer.target._replace(path="/dev/full")
    rows = np.ones((50, 3), np.float32)
    writer.done(0, write_rows(writer.target, 0, rows))
    with pytest.warns(CacheWarning, match="No space left"):
        writer.done(50, write_rows(full, 50, rows))
        writer.close()
    assert cache.get("a" * 64, (100, 3)) is None
    assert write_rows(writer.target, 50, rows) is None  # as on a machine that does not have the file
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def fill(folder, key, seed):
    """What one of several processes does with one cache."""
    cache = Cache(folder, limit=400_000)
    wrong = 0
    for turn in range(30):
        number = (turn + seed) % 8
        array = np.full((1000, 20), number, np.float32)
        name = f"{number:064x}"
        found = cache.get(name, array.shape)
        part = cache.rows(name, array.shape, 300, 700)
        wrong += found is not None and not np.array_equal(found, array)
        wrong += part is not None and not np.array_equal(part, array[300:700])
        if found is None:
            writer = cache.writer(name, array.shape, step=256)
            for start in range(0, 1000, 256):
                writer.done(start, write_rows(writer.target, start, array[start : start + 256]))
            writer.close()
        cache.prune()
    return wrong


def test_several_processes_share_one_cache(tmp_path):
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert sum(pool.map(fill, [tmp_path] * 3, "abc", range(3))) == 0
    entries = list(tmp_path.rglob("*.npy"))
    assert 1 <= len(entries) <= 6  # the limit holds five, and one may come after another's look
    assert not list(tmp_path.rglob("*.part"))


def test_other_processes_compute_and_write_the_cache(trajs, tmp_path):
    expected = FEATURES.transform(trajs, cache=False)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        stream = FEATURES.stream(trajs, workers=pool, cache=tmp_path)
        for found, array in zip(collected(stream), expected, strict=True):
            np.testing.assert_array_equal(found, array)
        assert len(list(tmp_path.rglob("*.npy"))) == 3
        for found, array in zip(collected(stream), expected, strict=True):
            np.testing.assert_array_equal(found, array)
        with pytest.raises(NonFiniteError, match=r"ala2_fast-00\.xtc, frame 160: 'broken' is nan"):
            collected(Function(broken, "broken").stream(trajs, workers=pool, cache=False))


def broken(frames):
    return np.where(frames.time == frames.time.min() + 80.0, np.nan, 0.0)


def test_a_task_that_is_sent_holds_no_coordinates_and_no_topology(ala2_water):
    features = Torsions("phi psi") + Distances("element C")
    stream = features.stream(ala2_water, cache=False)
    rows = Collected(stream.lengths, stream.n_columns, np.float32)
    sweeper = _Sweep([stream], [(stream, rows)], 256, elsewhere=True)
    task = sweeper.task(next(iter(grid(stream.lengths, 256, 0))))
    sent = pickle.dumps(task)
    assert b"mdtraj" not in sent and len(sent) < 60_000


def test_a_corrupt_frame_ends_its_trajectory_in_every_pass(examples, tmp_path):
    data, at = bytearray((examples / "formats/box.xtc").read_bytes()), 0
    for _ in range(12):
        at += 92 + (int.from_bytes(data[at + 88 : at + 92], "big") + 3) // 4 * 4
    data[at + 92 : at + 120] = b"\xff" * 28
    (tmp_path / "bad.xtc").write_bytes(bytes(data))
    pair = mdi.open([tmp_path / "bad.xtc", examples / "formats/box.trr"], top=examples / "formats/top.pdb")
    stream = Torsions("phi psi").stream(pair, cache=tmp_path)
    with pytest.warns(DataWarning, match="the 12 frames before it are used, 8 frames lost") as caught:
        model = mdi.cvs.TICA(2, n_bootstrap=0).fit(stream).model
    assert len(caught) == 1 and stream.lengths == (12, 20) and model.n_frames == 32
    with pytest.warns(DataWarning, match="12 frames"):
        whole = Torsions("phi psi").transform(pair, cache=False)
    np.testing.assert_allclose(
        model.eigenvalues, mdi.cvs.TICA(2, n_bootstrap=0).fit(whole).model.eigenvalues, rtol=1e-10
    )
    assert [len(array) for array in stream.load()] == [12, 20]
    with pytest.raises(CorruptFrameError):
        Torsions("phi psi").stream(pair, cache=False).rows(0, 10, 15)
    for size in (None, 5):
        fresh = Torsions("phi psi").stream(pair, cache=tmp_path / "loop")
        with pytest.warns(DataWarning, match="the 12 frames before it are used"):
            found = list(fresh.iter_chunks(size))
        np.testing.assert_array_equal(np.concatenate(found), whole.concatenated())
        assert fresh.lengths == (12, 20) and not list((tmp_path / "loop").rglob("*.part"))


def test_repr_and_streams_share_their_files(trajs):
    one, two, again = streams([FEATURES, Torsions("phi"), FEATURES], trajs, cache=False)
    assert isinstance(one, FeatureStream) and one is again and one.files is two.files
    assert "FeatureStream: 3 trajectories" in repr(one)


def test_a_loop_over_the_chunks_is_a_pass_on_all_workers_that_writes_the_cache(trajs, tmp_path):
    counting.seen, shown, threads = [], [], set()

    def where(frames):
        threads.add(threading.current_thread())
        return frames.xyz[:, 0, 0]

    def bar(items, total, desc):
        for item in items:
            shown.append((total, desc))
            yield item

    list(Function(where, "where").stream(trajs, cache=False, workers=3).iter_chunks(50))
    assert len(threads) > 1 and threading.current_thread() not in threads
    features = Function(counting, "x") + Torsions("phi psi")
    expected = features.transform(trajs, cache=False)
    for size in (None, 1, 37, 999, 10**6):
        counting.seen = []
        stream = features.stream(trajs, cache=tmp_path / str(size), workers=2, progress=bar)
        for _ in range(2):
            found = list(stream.iter_chunks(size))
            np.testing.assert_array_equal(np.concatenate(found), expected.concatenated())
            assert all(chunk.dtype == np.float32 and chunk.flags.owndata for chunk in found)
        assert sum(counting.seen) == stream.n_frames  # the second pass read the first one's entries
        if size is not None:
            wanted = [min(size, n - at) for n in stream.lengths for at in range(0, n, size)]
            assert [len(chunk) for chunk in found] == wanted
    assert shown and all(total == shown[0][0] and desc == "pass" for total, desc in shown)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(FEATURES.stream(trajs, workers=pool, cache=tmp_path / "elsewhere").iter_chunks(500))
    np.testing.assert_array_equal(np.concatenate(found), FEATURES.transform(trajs, cache=False).concatenated())
    assert len(list((tmp_path / "elsewhere").rglob("*.npy"))) == 3


def test_a_loop_over_the_chunks_that_is_left_early_leaves_nothing_half(trajs, tmp_path):
    stream = FEATURES.stream(trajs, cache=tmp_path, workers=2)
    before = threading.active_count()
    for number, _ in enumerate(stream.iter_chunks(100)):
        if number == 25:  # 2000 rows a trajectory
            break
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.suffix for path in files] == [".npy"] and threading.active_count() == before
    assert Cache(tmp_path).has(stream.keys[0], (len(trajs[0]), stream.n_columns))
    expected = FEATURES.transform(trajs, cache=False).concatenated()
    np.testing.assert_array_equal(np.concatenate(list(stream.iter_chunks())), expected)


def test_a_loop_over_the_chunks_computes_a_bounded_number_ahead(trajs):
    stream = Function(counting, "x").stream(trajs, cache=False, workers=2)
    whole = len(list(grid(stream.lengths, 512, 0)))
    counting.seen = []
    next(chunks := stream.iter_chunks())
    chunks.close()
    assert whole > 5 and sum(counting.seen) <= 5 * 512
