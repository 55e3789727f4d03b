"""The pool on a Dask cluster of separate processes, on this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from distributed import LocalCluster

import mdinsight.adaptive._dask as room
from mdinsight.adaptive._dask import dask_executor
from mdinsight.adaptive._executors import Counts, Pool
from mdinsight.errors import InstabilityError, MdinsightWarning, ParameterError, WorkerError


@pytest.fixture(scope="module")
def tasks():
    """The module of tasks, importable by its name here and in every worker."""
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    import executor_tasks

    yield executor_tasks
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def cluster(tasks):
    with LocalCluster(
        n_workers=2, processes=True, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as cluster:
        yield cluster


def test_all_results_arrive_though_a_worker_process_is_killed(cluster, tasks):
    results: dict = {}
    killed: list[int] = []

    def on_done(name, result):
        results[name] = result
        if not killed:  # the worker that has just finished a task has begun another one
            killed.append(result[1])
            time.sleep(0.2)
            os.kill(result[1], signal.SIGKILL)

    with dask_executor(cluster) as executor:
        Pool(executor).run(tasks.slow_square, [(f"s{n}", n) for n in range(8)], on_done)
    assert {name: square for name, (square, _) in results.items()} == {f"s{n}": n**2 for n in range(8)}
    pids = [pid for _, pid in results.values()]
    assert os.getpid() not in pids and not psutil.pid_exists(killed[0])
    assert len(set(pids)) >= 2


def test_a_task_that_always_kills_its_worker_is_named_and_the_others_arrive(tasks, tmp_path):
    log, results = tmp_path / "attempts", {}
    payloads = {f"s{n}": (n, signal.SIGKILL if n == 1 else None, str(log)) for n in range(5)}
    options = {"scheduler_kwargs": {"allowed_failures": 0}, "dashboard_address": ":0", "silence_logs": 50}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, **options) as own,
        dask_executor(own) as executor,
        pytest.raises(WorkerError, match=r"'s1' died 2 times, the last time: KilledWorker"),
    ):
        Pool(executor, slots=[{}, {}], attempts=2).run(tasks.poison, payloads.items(), results.__setitem__)
    assert log.read_text() == "xx"
    assert results == {f"s{n}": n for n in range(5) if n != 1}


def test_a_walker_that_breaks_down_there_is_reported_here(cluster, tasks):
    failed: dict = {}
    results: dict = {}
    with dask_executor(cluster.scheduler_address) as executor:
        Pool(executor).run(tasks.breaks_down, [(str(n), n) for n in range(4)], results.__setitem__, failed.__setitem__)
    assert results == {"0": 0, "2": 2}
    assert {name: type(error) for name, error in failed.items()} == {"1": InstabilityError, "3": InstabilityError}


def test_the_same_task_twice_is_run_twice(cluster, tasks):
    states: list[Counts] = []
    results: dict = {}
    with dask_executor(cluster) as executor:
        for _ in range(2):
            Pool(executor).run(tasks.square, [("a", 3), ("b", 3)], results.__setitem__, progress=states.append)
    assert results == {"a": 9, "b": 9} and states[-1] == Counts(2, 0, 2, 0, 0)


def test_an_error_here_cancels_what_waits_there(cluster, tasks):
    def full(name, result):
        raise OSError("disk full")

    with dask_executor(cluster) as executor:
        with pytest.raises(OSError, match="disk full"):
            Pool(executor).run(tasks.slow_square, [(str(n), n) for n in range(40)], full)
        began = time.monotonic()
        results: dict = {}
        Pool(executor).run(tasks.square, [("a", 3)], results.__setitem__)
    assert results == {"a": 9} and time.monotonic() - began < 4, "40 tasks of 0.4 s on 2 workers would be 8 s"


def test_a_folder_that_the_workers_do_not_see_is_named_with_the_host(cluster, tmp_path, monkeypatch):
    with dask_executor(cluster, folder=tmp_path) as executor:
        assert executor.submit(int, "5").result() == 5
    folder = tmp_path / "elsewhere"
    monkeypatch.setattr(room, "_PATIENCE", 0.1)
    with pytest.raises(WorkerError, match=rf"on host {socket.gethostname()} does not see the folder {folder};"):
        enter(cluster, folder=folder)


def test_a_worker_of_another_version_is_warned_of(cluster, monkeypatch):
    monkeypatch.setattr(room, "__version__", "99")
    with pytest.warns(MdinsightWarning, match=r"has mdinsight \S+, this process 99"):
        enter(cluster)


def test_the_scheduler_file_is_read_when_it_is_there(cluster, tmp_path):
    file = tmp_path / "scheduler.json"
    with pytest.raises(WorkerError, match=r"scheduler\.json does not hold the address .* --scheduler-file"):
        enter(file, timeout=0.2)
    threading.Timer(0.3, file.write_text, [json.dumps({"address": cluster.scheduler_address})]).start()
    enter(str(file))


def test_no_scheduler_and_no_address():
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 "):
        enter("tcp://127.0.0.1:9", timeout=1)
    assert time.monotonic() - began < 5
    with pytest.raises(ParameterError, match=r"'nowhere' is no address of a Dask scheduler .* tcp://host:8786"):
        enter("nowhere", timeout=1)


def test_without_dask_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ParameterError, match=r"pip install 'mdinsight\[dask\]'"):
        enter("tcp://127.0.0.1:8786")


def test_a_scheduler_that_dies_ends_the_run_with_a_message(tasks, tmp_path):
    file = tmp_path / "scheduler.json"
    scheduler = start("scheduler", file, "--port", "0")
    worker = start("worker", file, "--nthreads", "1", "--no-nanny")
    try:
        with dask_executor(file, timeout=30):
            pass  # it is up
        with dask_executor(file, timeout=2) as executor, pytest.raises(WorkerError, match="the Dask scheduler is gone"):
            Pool(executor).run(tasks.slow_square, [(str(n), n) for n in range(9)], lambda *_: scheduler.kill())
    finally:
        scheduler.kill()
        worker.kill()


def start(role: str, file: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", f"distributed.cli.dask_{role}", "--host", "127.0.0.1", "--no-dashboard"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [*command, "--scheduler-file", str(file), *arguments], env=environment, stderr=subprocess.DEVNULL
    )


def enter(*arguments, **options) -> None:
    with dask_executor(*arguments, **options) as executor:
        assert executor.submit(int, "5").result() == 5
