"""The workers behind a pool: this process, processes of its own, or an executor that the user gives."""

from __future__ import annotations

import pickle
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from mdinsight._worker import TaskFunction, begin_worker, run_pickled, run_task
from mdinsight.errors import ParameterError, WorkerError
from mdinsight.parallel import one_thread

_LAUNCH = threading.Lock()


class Seat(Protocol):
    """A place where one task at a time is run."""

    def submit(self, function: TaskFunction, payload: Any) -> Future[Any]:
        """Begin a task; WorkerError if nothing can be begun any more."""

    def lost(self, future: Future[Any]) -> str | None:
        """How the worker died under a task that is done; None: it did not, the task returned or raised."""

    def kill(self) -> None:
        """End what runs here, at once."""

    def close(self) -> None:
        """Wait for the end of what was killed."""


class Here:
    """A seat in this process: the task runs while it is submitted."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        self._properties = dict(properties)

    def submit(self, function: TaskFunction, payload: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            with one_thread():
                future.set_result(function(payload, dict(self._properties)))
        except Exception as error:
            future.set_exception(error)
        return future

    def lost(self, future: Future[Any]) -> None:
        return None

    def kill(self) -> None:
        pass

    def close(self) -> None:
        pass


class Given:
    """A seat in an executor that belongs to the user: used as it is, never shut down."""

    def __init__(self, executor: Executor, properties: Mapping[str, str], folder: Path | None) -> None:
        self._executor, self._properties, self._folder = executor, dict(properties), folder
        self._futures: set[Future[Any]] = set()

    def submit(self, function: TaskFunction, payload: Any) -> Future[Any]:
        try:
            # a Dask client whose scheduler is gone for good takes tasks all the same, and nothing ever comes of them
            if getattr(getattr(self._executor, "_client", None), "status", "") in ("closing", "closed"):
                raise RuntimeError("the Dask scheduler is gone")
            future = self._executor.submit(run_task, function, payload, self._properties, self._folder)
        except (RuntimeError, OSError) as error:  # broken, shut down, connection lost
            raise WorkerError(
                f"the executor takes no more work ({type(error).__name__}: {error}); what is committed is safe: start its "
                "workers anew and resume the run"
            ) from error
        self._futures = {future}
        return future

    def lost(self, future: Future[Any]) -> str | None:
        if future.cancelled():
            return "the executor gave the task up (its scheduler was lost, or somebody cancelled it)"
        error = future.exception()
        if isinstance(error, BrokenExecutor | CancelledError) or _is_dask_loss(error):
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no more is known'}"
        return None

    def kill(self) -> None:
        for future in self._futures:
            future.cancel()

    def close(self) -> None:
        pass


class Process:
    """A seat in a process of its own: an executor of one worker, so that its death concerns the task that it ran and no other.

    Spawned, not forked: OpenMM, numba and torch do not survive a fork.
    """

    def __init__(self, properties: Mapping[str, str], environment: Mapping[str, str], folder: Path | None) -> None:
        self._properties, self._environment, self._folder = dict(properties), dict(environment), folder
        self._context = _Context()
        self._executor: ProcessPoolExecutor | None = None
        self._with_main = False

    def submit(self, function: TaskFunction, payload: Any) -> Future[Any]:
        try:
            task = pickle.dumps((function, payload, self._properties, self._folder))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            name = getattr(function, "__qualname__", repr(function))
            raise ParameterError(
                f"{name} or what it is given cannot be sent to another process ({error}); define functions at the top level of "
                "a module, or run with one worker"
            ) from error
        with_main = b"__main__" in task
        if with_main and not self._with_main:
            self._end()
        self._with_main |= with_main
        try:
            return self._hand_over(task)
        except BrokenExecutor:  # the worker died while it had nothing to do
            self._end()
            return self._hand_over(task)

    def _hand_over(self, task: bytes) -> Future[Any]:
        if self._executor is None:
            self._context = _Context()
            with _interrupt_later():  # it may start a process too, in which Python tracks semaphores
                self._executor = ProcessPoolExecutor(1, self._context, begin_worker, (self._environment,))
        with _launching(self._with_main):
            return self._executor.submit(run_pickled, task)

    def lost(self, future: Future[Any]) -> str | None:
        if not future.cancelled() and not isinstance(future.exception(), BrokenExecutor):
            return None
        processes = self._context.processes
        self._end()
        return _how_it_died(processes[-1].exitcode if processes else None, self._with_main)

    def kill(self) -> None:
        for process in self._context.processes:
            if process.pid is not None:
                process.kill()

    def close(self) -> None:
        self._end()

    def _end(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            self.kill()
            executor.shutdown(wait=True, cancel_futures=True)


class _Context(SpawnContext):
    """Spawn, and remember what was spawned, so that it can be killed at once."""

    def __init__(self) -> None:
        self.processes: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]
        process = SpawnProcess(*args, **kwargs)
        self.processes.append(process)
        return process


@contextmanager
def _launching(with_main: bool) -> Iterator[None]:
    """While a worker is started: Ctrl-C is not for the child, and the user's script is not run again in it.

    The child inherits the blocked signal until it ignores it for good (``begin_worker``), so it prints no traceback. A spawned
    process imports the main script of its parent; a script without ``if __name__ == "__main__"`` would begin the run anew
    in each worker. So it is hidden unless something of it is needed.
    """
    with _LAUNCH, _interrupt_later():
        main = sys.modules["__main__"]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        if not with_main:
            sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _interrupt_later() -> Iterator[None]:
    """Ctrl-C waits for the end of the block: a process that is half started says so on the screen."""
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def _is_dask_loss(error: BaseException | None) -> bool:
    names = {"KilledWorker", "CommClosedError", "FutureCancelledError", "FuturesCancelledError", "NoValidWorkerError"}
    return any(c.__name__ in names and c.__module__.startswith("distributed") for c in type(error).__mro__)


def _how_it_died(code: int | None, with_main: bool) -> str:
    if code == -signal.SIGKILL:
        return "killed from outside (SIGKILL), most often because the memory ran out: use fewer workers"
    if code == -signal.SIGTERM:
        return "ended from outside (SIGTERM)"
    if code is not None and code < 0:
        return f"crashed ({signal.Signals(-code).name}): try another platform, or one worker to see where"
    if with_main:
        return (
            f"ended with exit code {code}; the tasks are defined in the script that was started, so each worker imports it: "
            "put what it runs under if __name__ == '__main__':"
        )
    return f"ended with exit code {code}: one worker runs in this process and shows where"
