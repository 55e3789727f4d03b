"""What a worker process runs; importing it costs next to nothing, since each worker does.

The tasks of a run are here too, and import the engine and the store where they need them: not the room of the loop, with all that
it learns by, which no worker needs.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from mdinsight._version import __version__
from mdinsight.errors import InstabilityError, MdinsightError, WorkerError

TaskFunction = Callable[[Any, dict[str, str]], Any]
"""A function of a payload and of the OpenMM platform properties of the slot that it runs in."""

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""Environment of a process whose numerical libraries keep to one thread; to be set before they are imported."""

_STALE = 60.0  # s: the longest that NFS, with its default options, goes on saying that a new folder is not there


def begin_worker(environment: Mapping[str, str]) -> None:
    """Initializer of a worker process: its environment, Ctrl-C left to the parent, and no life after the parent's.

    Importing this module imports no numerical library, so that these find the environment.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, name="mdinsight-parent", daemon=True).start()
    if "numpy" in sys.modules:  # the worker had to import the user's script, and that numpy
        from threadpoolctl import threadpool_limits

        threadpool_limits(limits=1)


def _end_with_parent() -> None:
    """A worker that outlives its parent, killed by SIGKILL, would go on writing into the folder of the run that is resumed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_pickled(task: bytes) -> Any:
    """Run a task that was pickled by the parent."""
    return run_task(*pickle.loads(task))  # noqa: S301 - from the parent, through a pipe, never from a file


def run_task(function: TaskFunction, payload: Any, properties: dict[str, str], folder: Path | None) -> Any:
    """Run a task in a worker: the folder must be there, and an error must survive the way back."""
    if folder is not None and not sees(folder, _STALE):
        raise WorkerError(unseen(socket.gethostname(), folder))
    try:
        return function(payload, dict(properties))
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        except Exception:
            trace = "".join(traceback.format_exception(error))
            raise WorkerError(f"{type(error).__name__}: {error}\n{trace}") from None
        raise


def prepare(payload: tuple[str, str, Any, int], properties: Mapping[str, str]) -> str:
    """Minimise and equilibrate a system (run, name, system, seed) in whatever process this is; the staged folder of the run."""
    from mdinsight.store import Store

    path, name, system, seed = payload
    store = Store.open(path)
    folder = store.stage(name)
    try:
        system.prepared(seed).save(folder / "system.mdi")
    except BaseException:
        with suppress(MdinsightError):
            store.discard(folder)  # so that what is left of it does not fill a disk any further
        raise
    return str(folder)


def simulate(payload: tuple[str, Any, Any], properties: Mapping[str, str]) -> dict[str, Any]:
    """Run one segment (run, system, segment) in whatever process this is, into a staged folder of the run."""
    from mdinsight import engine
    from mdinsight.store import Store

    path, system, task = payload
    folder = Store.open(path).stage(task.name)
    try:
        return {"folder": str(folder), "broken": "", "info": engine.run(system, task, folder, dict(properties))}
    except InstabilityError as error:
        # where it is kept, not where it was written: the same words, so the same bytes, whenever it is run
        says = str(error).replace(str(folder), f"quarantine/{task.name}")
        kept = json.loads((folder / "segment.json").read_text())
        return {"folder": str(folder), "broken": says, "info": {"ps": kept["ps"]}}


def sees(folder: Path, patience: float) -> bool:
    """Whether this host sees the folder, which may be new; looks again for ``patience`` seconds, since NFS may lag behind."""
    end = time.monotonic() + patience
    while True:
        if folder.exists():
            return True
        if folder.parent.is_dir():
            os.listdir(folder.parent)  # makes an NFS client look anew
        if time.monotonic() > end:
            return False
        time.sleep(min(0.5, patience))


def look(folder: Path | None, patience: float) -> tuple[str, str, bool]:
    """Host and version of mdinsight of a worker, and whether it sees the folder."""
    return socket.gethostname(), __version__, folder is None or sees(folder, patience)


def unseen(host: str, folder: Path) -> str:
    """The message about a host that does not see the folder."""
    return (
        f"the worker on host {host} does not see the folder {folder}; the run directory must lie on a file system that all "
        "workers share, under the same path"
    )
