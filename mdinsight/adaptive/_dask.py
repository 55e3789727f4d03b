"""Workers on other machines, through a Dask scheduler."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mdinsight._version import __version__
from mdinsight._worker import look, unseen
from mdinsight.errors import MdinsightWarning, ParameterError, WorkerError, warn_user

_PATIENCE = 5.0  # s


@contextmanager
def dask_executor(scheduler: Any, *, folder: str | Path | None = None, timeout: float = 10) -> Iterator[Executor]:
    """An executor that runs its tasks on the workers of a Dask cluster, which stays up when the block ends.

    Parameters
    ----------
    scheduler
        The address of the scheduler (``"tcp://host:8786"``), the path of the file that ``dask scheduler --scheduler-file``
        writes, or a cluster object, such as ``dask_jobqueue.SLURMCluster``.
    folder
        The run directory: each worker that is there is asked whether it sees it.
    timeout
        Seconds to wait for the scheduler.

    Raises
    ------
    ParameterError
        Dask is not installed, or the address is none.
    WorkerError
        No scheduler answers, or a worker does not see the folder or has no mdinsight; the message names the host.

    Notes
    -----
    A worker with another version of mdinsight gives an MdinsightWarning; Dask warns of other differences itself.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ParameterError("a Dask cluster needs the package distributed: pip install 'mdinsight[dask]'") from error
    address = _address(scheduler, timeout)
    try:
        client = Client(address, timeout=timeout, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise WorkerError(
            f"no Dask scheduler answers at {address} ({error}); start one with 'dask scheduler' and give the address that it "
            "prints"
        ) from error
    except ValueError as error:
        raise ParameterError(
            f"{address!r} is no address of a Dask scheduler ({error}); it reads tcp://host:8786"
        ) from error
    try:
        _ask_workers(client, None if folder is None else Path(folder).absolute())
        yield client.get_executor(pure=False)
    finally:
        client.close(timeout=timeout)


def _address(scheduler: Any, timeout: float) -> str:
    if hasattr(scheduler, "scheduler_address"):
        return str(scheduler.scheduler_address)
    text = os.fspath(scheduler)
    if "://" in text or not text.endswith(".json"):
        return text
    end = time.monotonic() + timeout
    while True:  # the file of a scheduler that is just being started
        try:
            return str(json.loads(Path(text).read_text())["address"])
        except (OSError, ValueError, KeyError) as error:
            if time.monotonic() > end:
                raise WorkerError(
                    f"{text} does not hold the address of a Dask scheduler ({type(error).__name__}: {error}); start one with "
                    f"'dask scheduler --scheduler-file {text}'"
                ) from error
        time.sleep(0.1)


def _ask_workers(client: Any, folder: Path | None) -> None:
    """Ask the workers that are there; one that joins later is asked with its first task."""
    for worker, answer in sorted(client.run(look, folder, _PATIENCE, on_error="return").items()):
        if isinstance(answer, Exception):
            missing = isinstance(answer, ModuleNotFoundError)
            remedy = "install mdinsight in the environment of the workers" if missing else "see the log of that worker"
            raise WorkerError(
                f"the Dask worker {worker} cannot run tasks ({type(answer).__name__}: {answer}); {remedy}"
            )
        host, version, seen = answer
        if not seen and folder is not None:
            raise WorkerError(unseen(host, folder))
        if version != __version__:
            warn_user(
                f"the Dask worker {worker} on {host} has mdinsight {version}, this process {__version__}; a run can only be "
                "repeated with one version",
                MdinsightWarning,
            )
