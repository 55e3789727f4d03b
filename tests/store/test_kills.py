"""SIGKILL at any moment: what was committed is there, whole, and the resumed run has the bytes of one never killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mdinsight.errors import StoreError
from mdinsight.results import all_hold
from mdinsight.store._store import Store

ROOT = Path(__file__).parents[2]
TASKS = Path(__file__).with_name("run_tasks.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def started(*arguments: object) -> subprocess.Popen:
    command = [sys.executable, str(TASKS), *map(str, arguments)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out)


def tree(run: Path) -> dict[str, bytes]:
    """Every file of a run but the work in progress."""
    files = (path for path in sorted(run.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(run)): path.read_bytes() for path in files if ".staging" not in path.parts}


@pytest.fixture
def fast_folder(tmp_path: Path):
    """A folder in memory, where fsync costs nothing, and 1; or one on the disk, and how many lines to go at once there."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path, 12
        return
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder, 1
    shutil.rmtree(folder)


@pytest.mark.parametrize(("where", "kills", "latest"), [("disk", 30, 0.06), ("memory", 35, 0.008)])
def test_a_run_killed_again_and_again_has_the_bytes_of_one_never_killed(
    tmp_path: Path, fast_folder: tuple[Path, int], where: str, kills: int, latest: float
):
    folder = tmp_path if where == "disk" else fast_folder[0]
    found = answer(started("random_kills", folder / "killed", kills, 0, latest))
    assert all(kill["signal"] == signal.SIGKILL and kill["whole"] for kill in found)
    assert len(found) == kills
    before: list[str] = []
    for kill in found:
        assert kill["names"][: len(before)] == before  # nothing that was there is lost
        assert len(kill["names"]) >= len(before) + kill["told"]  # what was reported as committed is there
        assert kill["names"] == [f"r{i // 4:04d}-w{i % 4:02d}" for i in range(len(kill["names"]))]
        before = kill["names"]
    assert sum(kill["unfinished"] > 0 for kill in found) >= 3, "the kills have to hit work in progress"

    assert len(before) >= 1
    answer(started("random_kills", folder / "peace", 0, len(before), 0))
    assert tree(folder / "killed") == tree(folder / "peace")
    store = Store.open(folder / "killed")
    assert store.names() == before and all_hold(store.verify()) and not list((store.path / ".staging").iterdir())


def test_killed_before_each_line_of_the_store(tmp_path: Path, fast_folder: tuple[Path, int]):
    folder, step = fast_folder
    found = answer(started("kills_at_each_line", folder, step))
    kills, end = found[:-1], found[-1]
    assert end["exit"] == 0
    assert len(kills) * step > 400
    assert all(kill["whole"] for kill in kills)
    assert {len(kill["names"]) for kill in kills} == {0, 1}
    assert any(not kill["run"] for kill in kills) and any(kill["unfinished"] for kill in kills)
    peace = tree(folder / f"run-{end['line']:05d}")
    assert {name.split("/")[0] for name in peace} == {"run.json", "segments", "quarantine"}
    for kill in kills:
        assert tree(folder / f"run-{kill['line']:05d}") == peace


def test_a_second_process_is_refused_and_a_killed_one_frees_the_run(tmp_path: Path):
    store = Store.create(tmp_path / "run", {})
    process = started("hold", store.path)
    assert process.stdout is not None
    orphan = json.loads(process.stdout.readline())
    try:
        with pytest.raises(StoreError, match=f"in use by process {process.pid} on ") as refused, store.lock():
            pass
        assert str(store.path) in str(refused.value) and "wait for it or stop it" in str(refused.value)
        assert f"process {process.pid}" in str(store.holder())
        assert store.names() == [] and all_hold(store.verify())  # looking needs no lock

        process.kill()
        process.wait()
        os.kill(orphan, 0)  # a child of the killed process lives on, and does not keep the lock
        with store.lock():
            assert "this very process" in str(store.holder())
        assert store.holder() is None
    finally:
        os.kill(orphan, signal.SIGKILL)
        process.kill()
        process.communicate()


def test_the_lock_lets_one_in_at_a_time(tmp_path: Path):
    store = Store.create(tmp_path / "run", {})
    (store.path / ".number").write_text("0")
    processes = [started("count", store.path, 60) for _ in range(3)]
    for process in processes:
        answer(process)
    assert (store.path / ".number").read_text() == "180"


def test_processes_that_commit_the_same_segments_agree(tmp_path: Path):
    store = Store.create(tmp_path / "run", {})
    start = time.time() + 1.0
    hashes = [answer(process) for process in [started("commit_many", store.path, 12, start) for _ in range(3)]]
    assert hashes[0] == hashes[1] == hashes[2]
    assert [store.entry(name).hash for name in store.names()] == hashes[0] and len(hashes[0]) == 12
    assert all_hold(store.verify()) and not list((store.path / ".staging").iterdir())


def test_a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_room(tmp_path: Path):
    found = answer(started("full_disk", tmp_path))
    cause = "No space left on device" if found["mounted"] else "File too large"
    assert found["worker"] == cause
    commit, reserve = found["errors"]
    assert commit.startswith("OutputError: cannot write ") and cause in commit and "resume" in commit
    assert "what is committed is safe" in commit
    assert reserve.startswith("OutputError: no room in ") and "500 kB are needed" in reserve and "free there" in reserve
    assert found["full"]["whole"] and found["after"]["whole"]
    assert "r0000-w00" in found["full"]["names"] and "r0009-w00" not in found["full"]["names"]
    assert found["after"]["names"] == [*found["full"]["names"], "r0009-w00"]


def test_a_limit_on_the_size_of_files_is_named(tmp_path: Path):
    store = Store.create(tmp_path / "run", {})
    commit, reserve, *verdicts = answer(started("limited", store.path, 50_000))
    assert commit.startswith("OutputError: cannot write ") and "File too large" in commit and "ulimit -f" in commit
    assert reserve.startswith("OutputError: no room") and "1 MB are needed" in reserve and "ulimit -f" in reserve
    assert store.names() == ["r0000-w01"]
    assert all(verdict.startswith("ok") for verdict in verdicts)


def test_a_run_that_may_only_be_read(tmp_path: Path):
    folder = Path(tempfile.mkdtemp())  # not under tmp_path, which no other user may enter
    try:
        store = Store.create(folder / "run", {})
        staged = store.stage("r0000-w00")
        (staged / "a.npy").write_bytes(b"abc")
        store.commit("r0000-w00", staged, {})
        for path in (store.path / ".lock", store.path / ".staging", store.path, folder):
            path.chmod(0o444 if path.is_file() else 0o555)
        lock, stage, create, name, *verdicts = answer(started("unprivileged", store.path))
        for error in (lock, stage, create):
            assert error.startswith("OutputError: cannot write ") or error.startswith("StoreError: cannot create")
        assert "Permission denied" in lock and "Permission denied" in stage and "writable for this user" in stage
        assert name == "r0000-w00" and all(verdict.startswith("ok") for verdict in verdicts)
    finally:
        for path in (folder, folder / "run", folder / "run" / ".staging"):
            path.chmod(0o755)
        shutil.rmtree(folder)
