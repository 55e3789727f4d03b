"""A whole run on executors that the user gives, which are shut down or killed while it runs: the bytes of one in this process."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from mdinsight import adaptive
from mdinsight._worker import simulate
from mdinsight.errors import ParameterError, WorkerError
from mdinsight.results import all_hold

Cut = Callable[..., Path]


def at_segment(number: int, act: Callable[[], None]) -> Callable[[adaptive.Status], None]:
    """Do something once, while the segments after so many committed ones run."""
    done = threading.Event()

    def tell(status: adaptive.Status) -> None:
        if status.segments >= number and status.left and not done.is_set():
            done.set()
            act()

    return tell


@pytest.mark.parametrize("cancel", [False, True])
def test_a_thread_pool_that_is_shut_down(loop: ModuleType, peace: Path, cut: Cut, tmp_path: Path, cancel: bool):
    run = adaptive.open(cut(tmp_path / "run", 4))
    executor: Executor = ThreadPoolExecutor(2)
    stop = at_segment(9, lambda: executor.shutdown(wait=False, cancel_futures=cancel))
    with pytest.raises(WorkerError, match=r"the executor takes no more work .* what is committed is safe"):
        run.advance(loop.BUDGET, workers=executor, progress=stop)
    assert run.store.holder() is None and all_hold(run.verify())
    with ThreadPoolExecutor(2) as executor:
        run.advance(loop.BUDGET, workers=executor, progress=False)
        assert executor.submit(int, "5").result() == 5, "it is the user's, and stays open"
    assert loop.content(run.store.path) == loop.content(peace)


def test_a_process_pool_that_is_shut_down_and_one_that_breaks(loop: ModuleType, peace: Path, cut: Cut, tmp_path: Path):
    run, spawn = adaptive.open(cut(tmp_path / "run", 6)), multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(2, spawn)
    stop = at_segment(11, lambda: executor.shutdown(wait=False, cancel_futures=True))
    with pytest.raises(WorkerError, match="what is committed is safe"):
        run.advance(loop.BUDGET, workers=executor, progress=stop)
    before = run.store.names()
    with ProcessPoolExecutor(2, spawn) as executor:
        process = executor.submit(os.getpid)
        kill = at_segment(13, lambda: os.kill(process.result(), signal.SIGKILL))
        with pytest.raises(WorkerError, match="what is committed is safe"):
            run.advance(loop.BUDGET, workers=executor, progress=kill)
    assert set(before) < set(run.store.names()) and all_hold(run.verify())
    with ProcessPoolExecutor(1, spawn) as executor:
        run.advance(loop.BUDGET, workers=executor, progress=False)
    assert loop.content(run.store.path) == loop.content(peace)


def test_a_dask_worker_that_is_killed_while_it_runs(loop: ModuleType, peace: Path, cut: Cut, tmp_path: Path):
    from distributed import Client, LocalCluster

    run, killed = adaptive.open(cut(tmp_path / "run", 4)), []
    options = {"n_workers": 2, "processes": True, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(silence_logs=50, **options) as cluster:
        with Client(cluster, set_as_default=False) as client:
            pids = sorted(client.run(os.getpid).values())

        def kill() -> None:
            time.sleep(0.05)  # both have begun
            os.kill(pids[0], signal.SIGKILL)
            killed.append(pids[0])

        with adaptive.dask_executor(cluster, folder=run.store.path) as executor:
            run.advance(loop.BUDGET, workers=executor, progress=at_segment(8, kill))
    assert killed and loop.content(run.store.path) == loop.content(peace)
    assert all_hold(run.verify())


def test_the_platform_is_that_of_the_workers(loop: ModuleType, tmp_path: Path):
    """A login node may lack what the machines have: with an executor no platform is looked for here."""
    executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    system = loop.molecule().replace(platform="Abacus")
    run = adaptive.open(tmp_path / "run", loop.tiny(system=system))
    with pytest.raises(ParameterError, match="'Abacus' is not on this machine") as here:
        run.advance(loop.BUDGET, workers=1, progress=False)
    with executor, pytest.raises(ParameterError, match="'Abacus' is not on this machine") as there:
        run.advance(loop.BUDGET, workers=executor, progress=False)
    assert _raised_in(here.value) == "_pool" and _raised_in(there.value) == "run"
    assert run.store.holder() is None and not list((run.store.path / ".staging").iterdir())


def _raised_in(error: BaseException) -> str:
    """Which part of a run it came through."""
    names, trace = [], error.__traceback__
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    return next(name for name in reversed(names) if name in ("_pool", "_begin", "run"))


def test_a_worker_imports_no_more_than_it_needs():
    """What learns and decides stays with the run: each worker process would pay seconds for it."""
    code = (
        "import sys, mdinsight._worker, mdinsight.engine, mdinsight.store\n"
        "assert mdinsight._worker.simulate and mdinsight._worker.prepare\n"
        "print([m for m in ('mdinsight.adaptive', 'mdinsight.msm', 'deeptime', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]", done.stderr
    assert pickle.dumps(simulate).count(b"mdinsight._worker") == 1
