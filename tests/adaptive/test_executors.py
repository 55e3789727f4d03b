"""The pool: every task is run, whatever becomes of the workers; real processes, really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest

from mdinsight.adaptive._executors import Counts, Pool, slot_properties
from mdinsight.errors import InstabilityError, ParameterError, WorkerError
from mdinsight.parallel import cores


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch):
    """The module of tasks, importable by its name here and in every worker."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import executor_tasks

    return executor_tasks


def children() -> set[int]:
    """This process's workers, but for the process in which Python tracks semaphores."""
    found = psutil.Process().children(recursive=True)
    return {child.pid for child in found if "resource_tracker" not in " ".join(child.cmdline())}


def collect(pool: Pool, function, payloads: dict, **options) -> dict:
    results: dict = {}

    def on_done(name, result):
        assert name not in results
        results[name] = result

    pool.run(function, payloads.items(), on_done, **options)
    return results


def test_processes_give_each_result_once_and_are_kept_for_the_next_round(tasks):
    before = children()
    with Pool(2) as pool:
        first = collect(pool, tasks.where, {str(n): n for n in range(6)})
        second = collect(pool, tasks.where, {str(n): n for n in range(6)})
        squares = collect(pool, tasks.square, {str(n): n for n in range(6)})
        workers = {pid for pid, _ in (first | second).values()}
        assert children() - before == workers and len(workers) == 2
    assert squares == {str(n): n**2 for n in range(6)}
    assert first.keys() == second.keys() == squares.keys()
    assert children() == before


def test_workers_keep_their_libraries_to_one_thread_and_the_parent_is_left_alone(tasks, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    with Pool(2) as pool:
        [(_, threads)] = collect(pool, tasks.where, {"a": 0}).values()
    assert threads["OMP_NUM_THREADS"] == threads["NUMBA_NUM_THREADS"] == threads["OPENBLAS_NUM_THREADS"] == "1"
    assert threads["OPENMM_CPU_THREADS"] == str(max(1, cores() // 2))
    assert tasks.where(None, {})[1]["OMP_NUM_THREADS"] == "7"
    assert "NUMBA_NUM_THREADS" not in tasks.where(None, {})[1]


def test_one_worker_is_this_process(tasks):
    with Pool(1) as pool:
        results = collect(pool, tasks.slow_square, {"a": 3})
        assert children() == set()
    assert results == {"a": (9, psutil.Process().pid)}


def test_a_task_whose_worker_is_killed_is_run_again(tasks, tmp_path):
    payloads = {f"s{n}": (n, str(tmp_path / f"marker-{n}") if n in (1, 4) else None) for n in range(6)}
    states: list[Counts] = []
    with Pool(2) as pool:
        results = collect(pool, tasks.killed_once, payloads, progress=states.append)
    assert results == {f"s{n}": n for n in range(6)}
    assert states[-1] == Counts(total=6, running=0, done=6, failed=0, lost=2)
    assert max(state.running for state in states) == 2


def test_a_task_that_always_kills_its_worker_is_named_and_takes_no_other_with_it(tasks, tmp_path):
    log = tmp_path / "attempts"
    payloads = {f"s{n}": (n, signal.SIGKILL if n == 1 else None, str(log)) for n in range(8)}
    results: dict = {}
    with Pool(2) as pool:
        with pytest.raises(WorkerError, match=r"'s1' died 3 times.*SIGKILL.*memory"):
            pool.run(tasks.poison, payloads.items(), results.__setitem__)
        assert log.read_text() == "xxx"
        assert results == {f"s{n}": n for n in range(8) if n != 1}
        assert collect(pool, tasks.square, {"a": 2}) == {"a": 4}, "the pool serves the next round"


def test_a_crash_is_told_from_a_kill(tasks, tmp_path):
    with Pool(2, attempts=1) as pool, pytest.raises(WorkerError, match=r"'s' died once.*crashed \(SIGSEGV\)"):
        collect(pool, tasks.poison, {"s": (0, signal.SIGSEGV, str(tmp_path / "log"))})


@pytest.mark.parametrize("workers", [1, 2])
def test_a_walker_that_breaks_down_is_reported_and_the_round_goes_on(tasks, workers):
    failed: dict = {}
    with Pool(workers) as pool:
        results = collect(pool, tasks.breaks_down, {str(n): n for n in range(6)}, on_failed=failed.__setitem__)
    assert results == {"0": 0, "2": 2, "4": 4}
    assert {name: (type(error), str(error)) for name, error in failed.items()} == {
        str(n): (InstabilityError, f"walker {n} broke down") for n in (1, 3, 5)
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_without_a_handler_the_first_error_is_raised_when_the_others_are_done(tasks, workers):
    results: dict = {}
    with Pool(workers) as pool, pytest.raises(InstabilityError, match="walker 1 broke down"):
        pool.run(tasks.breaks_down, [(str(n), n) for n in range(6)], results.__setitem__)
    assert results == {"0": 0, "2": 2, "4": 4}


def test_an_error_that_cannot_be_pickled_back_is_no_dead_worker(tasks):
    failed: dict = {}
    with Pool(2) as pool:
        collect(pool, tasks.raises_unportable, {"a": 0}, on_failed=failed.__setitem__)
    assert "Unportable: this and that" in str(failed["a"]) and "raises_unportable" in str(failed["a"])


def test_an_error_of_the_commit_ends_the_run_at_once_and_leaves_no_process(tasks, tmp_path):
    before = children()

    def full(name, result):
        raise OSError("disk full")

    with Pool(2) as pool:
        began = time.monotonic()
        with pytest.raises(OSError, match="disk full"):
            pool.run(tasks.killed_once, [("a", (0, None))], full)
        assert children() == before
        assert collect(pool, tasks.square, {"a": 3}) == {"a": 9}
    assert time.monotonic() - began < 5


def test_slots_are_never_shared_by_two_running_tasks(tasks, tmp_path):
    slots = slot_properties("CUDA", n_devices=3)
    payloads = {str(n): str(tmp_path) for n in range(40)}
    with ThreadPoolExecutor(8) as threads:
        used = collect(Pool(threads, slots=slots), tasks.holds_slot, payloads)
    with Pool(slots=slots[:2]) as pool:
        two = collect(pool, tasks.holds_slot, payloads)
    assert set(used.values()) == {"0", "1", "2"} and len(used) == 40
    assert set(two.values()) == {"0", "1"} and len(two) == 40


def test_a_given_executor_is_used_as_it_is_and_stays_open(tasks):
    with ThreadPoolExecutor(2) as threads:
        with Pool(threads) as pool:
            assert pool.size is None
            results = collect(pool, tasks.breaks_down, {str(n): n for n in (0, 2, 4)})
        assert threads.submit(int, "5").result() == 5
    assert results == {"0": 0, "2": 2, "4": 4}


def test_a_given_process_pool_that_breaks_says_so(tasks, tmp_path):
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as processes,
        pytest.raises(WorkerError, match="takes no more work"),
    ):
        collect(Pool(processes), tasks.poison, {"a": (0, signal.SIGKILL, str(tmp_path / "log"))})


def test_a_worker_that_does_not_see_the_folder_says_where_and_which(tasks, tmp_path, monkeypatch):
    monkeypatch.setattr("mdinsight._worker._STALE", 0.2)
    with (
        ThreadPoolExecutor(1) as threads,
        pytest.raises(WorkerError, match=r"on host \S+ does not see the folder .*/absent"),
    ):
        collect(Pool(threads, folder=tmp_path / "absent"), tasks.square, {"a": 1})
    threading.Timer(0.1, (tmp_path / "late").mkdir).start()
    with ThreadPoolExecutor(1) as threads:
        assert collect(Pool(threads, folder=tmp_path / "late"), tasks.square, {"a": 3}) == {"a": 9}


def test_what_cannot_be_sent_is_said(tasks):
    with Pool(2) as pool, pytest.raises(ParameterError, match=r"lambda.* cannot be sent to another process"):
        collect(pool, lambda payload, slot: payload, {"a": 1})


def test_ctrl_c_in_the_one_worker_that_is_this_process(tasks):
    results: dict = {}
    with Pool(1) as pool, pytest.raises(KeyboardInterrupt):
        pool.run(tasks.interrupted, [("a", False), ("b", True), ("c", False)], results.__setitem__)
    assert results == {"a": False}


SCRIPT = """
import sys
from pathlib import Path
import executor_tasks
from mdinsight.adaptive._executors import Pool

folder = Path(sys.argv[1])
with (folder / "started").open("a") as file:
    file.write("x")                                  # once for each process that runs this script
results = {}
with Pool(2) as pool:
    pool.run(executor_tasks.main_of, [("a", 0)], results.__setitem__)
    (folder / "main").write_text(str(results["a"]))
    try:
        pool.run(executor_tasks.sleep, [(str(n), str(folder)) for n in range(6)], results.__setitem__)
    except KeyboardInterrupt:
        print("interrupted")
        sys.exit(130)
"""


@pytest.fixture
def text():
    return SCRIPT


@pytest.fixture
def run_script(text, tasks, tmp_path):
    """A script without a main guard that runs sleeping tasks, in a process group of its own as under a terminal."""
    script = tmp_path / "script.py"
    script.write_text(text)
    root = Path(__file__).parents[2]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{root}:{Path(__file__).parent}"}
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    yield process
    process.kill()


def all_gone(processes: list[psutil.Process]) -> bool:
    """Within a second, which is for the system to take them off its list."""
    end = time.monotonic() + 1
    while time.monotonic() < end:
        if not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
            return True
        time.sleep(0.01)
    return False


def two_sleepers(folder: Path) -> list[psutil.Process]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        sleepers = [psutil.Process(int(file.name)) for file in folder.iterdir() if file.name.isdigit()]
        if len(sleepers) == 2:
            return sleepers
        time.sleep(0.02)
    raise AssertionError("the tasks did not begin")


def test_ctrl_c_ends_everything_at_once_and_quietly(run_script, tmp_path):
    sleepers = two_sleepers(tmp_path)
    began = time.monotonic()
    os.killpg(run_script.pid, signal.SIGINT)  # as a terminal does: to the workers too
    out, err = run_script.communicate(timeout=10)
    assert time.monotonic() - began < 3
    assert run_script.returncode == 130
    assert (out, err) == ("interrupted\n", "")
    assert all_gone(sleepers)
    assert Counter(file.name.isdigit() for file in tmp_path.iterdir())[True] == 2, "no new task was begun"
    assert (tmp_path / "started").read_text() == "x" and (tmp_path / "main").read_text() == "None"


STARTS = """
import multiprocessing, os, signal, threading
import executor_tasks
from mdinsight.adaptive._executors import Pool

results = {}
for k in range(25):                                  # 2 ms apart: before, while and after each of the workers is started
    timer = threading.Timer(0.002 * k, os.killpg, [0, signal.SIGINT])
    try:
        with Pool(3) as pool:
            timer.start()
            pool.run(executor_tasks.slow_square, [(str(n), n) for n in range(4)], results.__setitem__)
    except KeyboardInterrupt:
        print("interrupted")
    timer.join()
    if multiprocessing.active_children():
        print("left", multiprocessing.active_children())
"""


@pytest.mark.parametrize("text", [STARTS])
def test_ctrl_c_while_workers_are_started_is_as_quiet(run_script):
    out, err = run_script.communicate(timeout=60)
    assert (out, err) == ("interrupted\n" * 25, "")


def test_workers_do_not_outlive_a_parent_that_is_killed(run_script, tmp_path):
    sleepers = two_sleepers(tmp_path)
    run_script.send_signal(signal.SIGKILL)
    run_script.wait(5)
    run_script.communicate(timeout=3)  # the end of what the workers can write
    assert all_gone(sleepers)


def test_slot_properties_of_the_platforms():
    assert slot_properties("CUDA", n_devices=2) == [{"DeviceIndex": "0"}, {"DeviceIndex": "1"}]
    assert slot_properties("OpenCL", 3, [1, 0], 2) == [{"DeviceIndex": index} for index in "101"]
    assert slot_properties("CPU", 1) == [{"Threads": str(cores())}]
    assert slot_properties("Reference", 2) == [{}, {}]
    assert len(slot_properties("Reference")) == cores()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: slot_properties("CUDA", devices=[0, 3], n_devices=2), r"device 3 .* not there; .* indices 0 to 1"),
        (lambda: slot_properties("CUDA"), "there are none"),
        (lambda: slot_properties("CUDA", devices="all", n_devices=1), r"devices='all' is not known; give 'auto'"),
        (lambda: slot_properties("CPU", 0), "workers=0 is not a number of workers"),
        (lambda: Pool(0), "workers=0 is not a number of workers"),
        (lambda: Pool(2, attempts=0), "attempts=0"),
        (lambda: Pool(3, slots=[{}, {}]), "3 workers cannot share 2 slots"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
