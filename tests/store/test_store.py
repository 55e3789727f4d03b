"""The run directory: what goes in comes out, what is damaged is found, what is odd is refused by name."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import stat
import threading
from pathlib import Path

import pytest

from mdinsight.errors import OutputError, ParameterError, StoreError
from mdinsight.results import all_hold
from mdinsight.store._store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "run", {"seed": 7})


def staged(store: Store, name: str = "r0000-w00", **files: bytes) -> Path:
    folder = store.stage(name)
    for file, data in (files or {"traj": b"0123456789", "trace": b"abc"}).items():
        (folder / f"{file}.bin").write_bytes(data)
    return folder


def committed(store: Store, *names: str) -> None:
    for name in names:
        store.commit(name, staged(store, name), {"steps": 500, "of": name})


def wrong(store: Store) -> list[str]:
    return [str(verdict) for verdict in store.verify() if not verdict.holds]


# commit and read


def test_a_segment_comes_back_with_its_files_and_what_was_noted(store: Store):
    folder = staged(store)
    assert folder.parent.parent == store.path and folder.name.startswith("r0000-w00-")
    entry = store.commit("r0000-w00", folder, {"steps": 500, "ends": [1, 2], "of": {"kind": "swarm"}})
    assert not folder.exists()
    assert entry == store.entry("r0000-w00") == Store.open(store.path).entry("r0000-w00")
    assert entry.info == {"steps": 500, "ends": (1, 2), "of": {"kind": "swarm"}}
    assert entry.files == {
        "trace.bin": (3, hashlib.sha256(b"abc").hexdigest()),
        "traj.bin": (10, hashlib.sha256(b"0123456789").hexdigest()),
    }
    assert entry.size == 13
    assert entry.file("traj.bin").read_bytes() == b"0123456789"
    assert entry.file("traj.bin").parent == store.path / "segments" / "r0000-w00"
    with pytest.raises(StoreError, match=r"no file 'other'; it has trace\.bin, traj\.bin"):
        entry.file("other")
    with pytest.raises(TypeError):
        entry.info["steps"] = 1  # type: ignore[index]
    assert pickle.loads(pickle.dumps(entry)) == entry  # noqa: S301
    assert len({entry, store.entry("r0000-w00")}) == 1


def test_names_are_sorted_and_quarantine_is_apart(store: Store):
    committed(store, "r0001-w00", "r0000-w01", "r0000-w00")
    entry = store.quarantine("r0000-w02", staged(store, "r0000-w02"), {"error": "NaN"})
    assert store.names() == ["r0000-w00", "r0000-w01", "r0001-w00"]
    assert store.quarantined() == ["r0000-w02"]
    assert store.has("r0000-w00") and not store.has("r0000-w02")
    assert store.entry_of_quarantine("r0000-w02") == entry and entry.info == {"error": "NaN"}
    with pytest.raises(StoreError, match="no segments/r0000-w02; it has 3: r0000-w00, r0000-w01, r0001-w00"):
        store.entry("r0000-w02")


def test_the_same_work_gives_the_same_bytes(tmp_path: Path):
    manifests = []
    for number in range(2):
        store = Store.create(tmp_path / str(number), {"seed": 7})
        info = {"a": 1, "b": {"x": 0.1, "y": 2}} if number else {"b": {"y": 2, "x": 0.1}, "a": 1}
        store.commit("r0000-w00", staged(store), info)
        manifests.append((store.path / "segments/r0000-w00/MANIFEST.json").read_bytes())
    assert manifests[0] == manifests[1]
    content = json.loads(manifests[0])  # plain tools read it: sha256sum says the same
    assert content["files"]["trace.bin"] == {"sha256": hashlib.sha256(b"abc").hexdigest(), "size": 3}
    assert set(content) == {"files", "format", "hash", "info", "name"}


def test_a_segment_is_committed_once(store: Store):
    first = store.commit("r0000-w00", staged(store), {"steps": 500})
    again = staged(store)
    assert store.commit("r0000-w00", again, {"steps": 500}) == first
    assert not again.exists()
    other = staged(store, traj=b"other", trace=b"abc")
    with pytest.raises(StoreError, match=r"info\.steps: was 500, is now 501") as error:
        store.commit("r0000-w00", other, {"steps": 501})
    assert str(other) in str(error.value) and other.exists() and "files.traj.bin" in str(error.value)
    assert store.entry("r0000-w00") == first and wrong(store) == []
    store.commit("r0000-w01", other, {"steps": 501})  # still whole, and can be committed under another name


def test_threads_that_commit_one_segment_agree(store: Store):
    for number in range(10):
        folders = [staged(store) for _ in range(4)]
        entries, barrier = [], threading.Barrier(4)

        def commit(folder: Path, name: str = f"r{number:04d}-w00", found=entries, start=barrier) -> None:
            start.wait()
            found.append(store.commit(name, folder, {"steps": 500}))

        threads = [threading.Thread(target=commit, args=(folder,)) for folder in folders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(entries) == 4 and len(set(entries)) == 1
    assert len(store.names()) == 10 and wrong(store) == [] and not list((store.path / ".staging").iterdir())


def test_everything_lasts_before_it_is_named(store: Store, monkeypatch: pytest.MonkeyPatch):
    """The order in which a loss of power cannot leave half a segment: files, folder, rename, folder above."""
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        calls.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}") if os.path.isdir("/proc/self/fd") else "?"))
        fsync(descriptor)

    def watched_replace(source, target) -> None:
        calls.append(("replace", str(target)))
        replace(source, target)

    folder = staged(store)
    (store.path / "segments").mkdir()
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    store.commit("r0000-w00", folder, {})
    assert [call for call, _ in calls] == ["fsync"] * 4 + ["replace", "fsync"]
    if calls[0][1] != "?":
        names = [str(folder / name) for name in ("trace.bin", "traj.bin", "MANIFEST.json")]
        segments = store.path / "segments"
        assert [path for _, path in calls] == [*names, str(folder), str(segments / "r0000-w00"), str(segments)]


# what is refused


@pytest.mark.parametrize("name", ["", "R0", "../r0", "r0/w0", ".r0", "r0 ", "r0\n", "-r", "r" * 101, "r0.tmp", 3])
def test_names_that_a_segment_cannot_have(store: Store, name):
    for call in (lambda: store.stage(name), lambda: store.entry(name), lambda: store.has(name)):
        with pytest.raises(ParameterError, match="no name of a segment"):
            call()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: None, "it is empty"),
        (lambda folder: (folder / "deeper").mkdir(), "'deeper' is a folder"),
        (lambda folder: (folder / "link.xtc").symlink_to("/etc/passwd"), "'link.xtc' is a symbolic link"),
        (lambda folder: os.mkfifo(folder / "pipe"), "'pipe' is no regular file"),
        (lambda folder: (folder / ".traj.xtc.x1").write_bytes(b"1"), "looks temporary"),
        (lambda folder: (folder / "traj.xtc.tmp").write_bytes(b"1"), "looks temporary"),
        (lambda folder: (folder / "traj.xtc").write_bytes(b""), "has no bytes"),
        (lambda folder: (folder / "a\nb").write_bytes(b"1"), "not every system can hold"),
        (lambda folder: (folder / "MANIFEST.json").write_bytes(b"1"), "the store keeps for itself"),
    ],
)
def test_folders_that_cannot_be_committed(store: Store, make, says: str):
    folder = store.stage("r0000-w00")
    make(folder)
    with pytest.raises(StoreError, match="cannot commit") as error:
        store.commit("r0000-w00", folder, {})
    assert says in str(error.value) and store.names() == [] and folder.exists()


def test_folders_that_are_not_staged(store: Store, tmp_path: Path):
    committed(store, "r0000-w00")
    (tmp_path / "mine").mkdir()
    for folder in (tmp_path / "mine", store.path / "segments/r0000-w00", store.path / ".staging/none"):
        with pytest.raises(StoreError, match="no staged folder of the run"):
            store.commit("r0000-w01", folder, {})
        with pytest.raises(StoreError, match="no staged folder of the run"):
            store.discard(folder)
    assert wrong(store) == []


def test_info_that_json_cannot_hold(store: Store):
    with pytest.raises(ParameterError, match=r"info\.energy is nan"):
        store.commit("r0000-w00", staged(store), {"energy": float("nan")})
    assert store.names() == []


def test_a_store_that_is_only_looked_at_refuses_to_write(store: Store):
    committed(store, "r0000-w00")
    folder = staged(store)
    reader = Store.open(store.path, read_only=True)
    for call in (
        lambda: reader.stage("r0000-w01"),
        lambda: reader.commit("r0000-w01", folder, {}),
        lambda: reader.quarantine("r0000-w01", folder, {}),
        lambda: reader.discard(folder),
        lambda: reader.reserve(1),
        lambda: reader.clean(),
        lambda: reader.lock().__enter__(),
    ):
        with pytest.raises(StoreError, match="opened to be looked at only"):
            call()
    assert reader.names() == ["r0000-w00"] and all_hold(reader.verify())


def test_room_is_made_sure_of(store: Store):
    store.reserve(0)
    store.reserve(1_000_000)
    assert list((store.path / ".staging").iterdir()) == []
    with pytest.raises(OutputError, match=r"1000 TB are needed and .* are free there"):
        store.reserve(10**15)
    with pytest.raises(ParameterError, match="n_bytes=-1"):
        store.reserve(-1)


# create and open


def test_create_refuses_a_folder_that_is_taken(store: Store, tmp_path: Path):
    with pytest.raises(StoreError, match="is a run already; open it"):
        Store.create(store.path, {})
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("x")
    with pytest.raises(StoreError, match=r"it holds chapter1\.tex"):
        Store.create(tmp_path / "thesis", {})
    with pytest.raises(StoreError, match="it is a file"):
        Store.create(tmp_path / "thesis" / "chapter1.tex", {})
    with pytest.raises(OutputError, match="a part of its path is a file"):
        Store.create(tmp_path / "thesis" / "chapter1.tex" / "run", {})
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter1.tex"]


def test_open_says_what_was_found(store: Store, tmp_path: Path):
    committed(store, "r0000-w00")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("x")
    for path, says in (
        (tmp_path / "none", "it does not exist"),
        (tmp_path / "other/notes.txt", "it is a file"),
        (tmp_path / "empty", "it is empty, or creating a run there was interrupted; create it again"),
        (tmp_path / "other", "it holds notes.txt"),
        (tmp_path, "but holds runs; give one of them: run"),
        (store.path / "segments", f"it is a part of the run {store.path}; give that"),
    ):
        assert not Store.exists(path)
        with pytest.raises(StoreError, match="is no run directory") as error:
            Store.open(path)
        assert says in str(error.value)
    assert Store.exists(store.path)


def test_a_run_of_another_format_or_damaged_is_refused(store: Store):
    run = store.path / "run.json"
    whole = run.read_text()
    run.write_text(whole.replace('"format": 1', '"format": 2'))
    with pytest.raises(StoreError, match=r"of format 2, written by mdinsight .*; this version reads format 1: use the"):
        Store.open(store.path)
    for damaged in (whole[:-20], whole.replace('"seed": 7', '"seed": 8'), "", "[]", "{}"):
        run.write_text(damaged)
        with pytest.raises(StoreError, match=r"run\.json .*bring run\.json back from a copy"):
            Store.open(store.path)
        assert any("run.json" in says for says in wrong(store))
    run.write_text(whole)
    assert Store.open(store.path).identity == {"seed": 7} and wrong(store) == []


def test_an_interrupted_creation_is_no_run_and_is_created_again(tmp_path: Path):
    folder = tmp_path / "deep" / "run"
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / ".run.json.new").write_text('{"form')
    with pytest.raises(StoreError, match="interrupted; create it again"):
        Store.open(folder)
    assert Store.create(folder, {"seed": 1}).identity == {"seed": 1}
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "run.json"]


def test_a_moved_run_is_the_same_run(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    committed(store, "r0000-w00", "r0000-w01")
    before = store.entry("r0000-w01")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(store.path, tmp_path / "elsewhere" / "renamed")
    monkeypatch.chdir(tmp_path / "elsewhere")
    moved = Store.open("renamed")
    monkeypatch.chdir(tmp_path)
    assert moved.entry("r0000-w01") == before and moved.entry("r0000-w01").file("traj.bin").exists()
    assert all_hold(moved.verify())
    committed(moved, "r0000-w02")
    text = b"".join(path.read_bytes() for path in moved.path.rglob("*.json"))
    assert str(tmp_path).encode() not in text
    with pytest.raises(OutputError, match="somebody moved or removed the run"), store.lock():
        pass


# staging and permissions


def test_clean_removes_what_the_dead_left_and_nothing_else(store: Store):
    dead = Store.open(store.path)
    folder = staged(dead)
    (folder / "deeper").mkdir()
    own = staged(store)
    with pytest.raises(StoreError, match="without its lock"):
        store.clean()
    with store.lock():
        assert store.clean() == [folder.name]
    assert own.exists() and not folder.exists()
    store.discard(own)
    assert list((store.path / ".staging").iterdir()) == []


def test_permissions_are_the_umasks_and_never_the_worlds(tmp_path: Path):
    for mask, folder_mode, file_mode in ((0o022, 0o755, 0o644), (0o027, 0o750, 0o640), (0o000, 0o775, 0o664)):
        before = os.umask(mask)
        try:
            store = Store.create(tmp_path / f"{mask:o}" / "run", {})
            with store.lock():
                committed(store, "r0000-w00")
        finally:
            os.umask(before)
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (store.path, *store.path.rglob("*"))}
        assert {mode for path, mode in modes.items() if path.is_dir()} == {folder_mode}
        assert {mode for path, mode in modes.items() if path.is_file()} == {file_mode}


def test_reading_goes_on_while_another_commits(store: Store):
    reader, done, seen = Store.open(store.path, read_only=True), threading.Event(), [0]

    def read() -> None:
        while not done.is_set():
            names = reader.names()
            assert len(names) >= seen[-1] and all(reader.entry(name).info["of"] == name for name in names)
            assert all_hold(reader.verify())
            seen.append(len(names))

    thread = threading.Thread(target=read)
    failures: list = []
    hook, threading.excepthook = threading.excepthook, failures.append
    try:
        thread.start()
        committed(store, *(f"r{number:04d}-w00" for number in range(40)))
    finally:
        done.set()
        thread.join()
        threading.excepthook = hook
    assert failures == [] and len(seen) > 3
