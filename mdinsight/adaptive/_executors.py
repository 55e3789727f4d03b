"""A pool: runs the tasks of a round and hands over each result as it comes, whatever becomes of the workers."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from mdinsight._worker import ONE_THREAD, TaskFunction
from mdinsight.adaptive._workers import Given, Here, Process, Seat
from mdinsight.errors import ParameterError, WorkerError
from mdinsight.parallel import Workers, cores

_log = logging.getLogger(__name__)

_ON_DEVICES = ("CUDA", "OpenCL", "HIP")


class Counts(NamedTuple):
    """How far a round is: tasks in all, running, done and failed; and how often a worker died and its task was begun again."""

    total: int
    running: int
    done: int
    failed: int
    lost: int


class Pool:
    """Workers that run the segments of a run; a context manager, kept from round to round.

    Parameters
    ----------
    workers
        A number of processes on this machine (None: one a slot, or one a core; 1: no other process, the tasks run in this one),
        or a ``concurrent.futures.Executor``, which is used as it is and never shut down.
    slots
        What tells the workers apart: the OpenMM platform properties of each, see `slot_properties`. Each running task has one
        of them to itself. With an executor, as many tasks are under way as there are slots (None: all at once).
    attempts
        How often a task is begun when its worker dies under it.
    folder
        A folder that every worker must see, else it says which host does not: for workers on other machines.

    Raises
    ------
    ParameterError
        A number of workers or attempts below 1, or of workers that is not that of the slots.
    """

    def __init__(
        self,
        workers: Workers = None,
        *,
        slots: Sequence[Mapping[str, str]] | None = None,
        attempts: int = 3,
        folder: str | Path | None = None,
    ) -> None:
        if attempts < 1:
            raise ParameterError(f"attempts={attempts} is not a number of attempts; give at least 1")
        self._attempts = attempts
        self._folder = None if folder is None else Path(folder).absolute()
        self._executor = workers if isinstance(workers, Executor) else None
        if isinstance(workers, Executor):
            self._seats: list[Seat] = [Given(workers, slot, self._folder) for slot in slots or ()]
        else:
            self._seats = _own_seats(workers, slots, self._folder)

    @property
    def size(self) -> int | None:
        """How many tasks run at once; None: that is the executor's business."""
        return len(self._seats) or None

    def run(
        self,
        function: TaskFunction,
        tasks: Iterable[tuple[str, Any]],
        on_done: Callable[[str, Any], None],
        on_failed: Callable[[str, Exception], None] | None = None,
        progress: Callable[[Counts], None] | None = None,
    ) -> None:
        """Run ``function(payload, slot)`` for each task (name, payload).

        A task is begun again when its worker dies, so the function must not depend on what an attempt before it left behind:
        let it write into a folder that it makes itself (``tempfile.mkdtemp(dir=...)``) and return the name. An attempt on
        another machine that was given up may still be writing.

        Parameters
        ----------
        function
            A function of a module; in worker processes it and the payload are pickled.
        tasks
            Name and payload; begun in this order.
        on_done
            Called in this process with name and result of each task, as they finish.
        on_failed
            Called with name and error of each task that raised, or whose worker died ``attempts`` times (WorkerError). None:
            the other tasks are finished, then the first error is raised.
        progress
            Called when the counts change.

        Raises
        ------
        WorkerError
            No ``on_failed``, and the workers of a task died ``attempts`` times; or the executor takes no more work.
        ParameterError
            The function or a payload cannot be sent to another process.

        Notes
        -----
        KeyboardInterrupt, and whatever ``on_done`` or ``on_failed`` raises, ends the run at once: nothing more is begun, worker
        processes are killed, what was submitted to an executor is cancelled. (What a thread, or a Dask worker, has already
        begun cannot be stopped: it runs to its end and is thrown away.) The pool can be used again afterwards.
        """
        jobs = [_Job(number, name, payload) for number, (name, payload) in enumerate(tasks)]
        seats = self._seats
        if self._executor is not None and not seats:
            seats = [Given(self._executor, {}, self._folder) for _ in jobs]
        drive = _Drive(function, jobs, seats, self._attempts, on_done, on_failed, progress)
        try:
            drive.run()
        except BaseException:
            _end(seats)
            raise
        if drive.errors:
            raise drive.errors[min(drive.errors)]

    def close(self) -> None:
        """End the worker processes. An executor that was given is left alone."""
        _end(self._seats)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass
class _Job:
    number: int
    name: str
    payload: Any
    begun: int = 0


class _Drive:
    """One call of ``Pool.run``."""

    def __init__(
        self,
        function: TaskFunction,
        jobs: list[_Job],
        seats: Sequence[Seat],
        attempts: int,
        on_done: Callable[[str, Any], None],
        on_failed: Callable[[str, Exception], None] | None,
        progress: Callable[[Counts], None] | None,
    ) -> None:
        self._function, self._attempts = function, attempts
        self._on_done, self._on_failed, self._progress = on_done, on_failed, progress
        self._waiting = deque(jobs)
        self._free = list(
            reversed(seats)
        )  # a stack: workers that are already there are used before new ones are started
        self._under_way: dict[Future[Any], tuple[_Job, Seat]] = {}
        self._total, self._done, self._failed, self._lost = len(jobs), 0, 0, 0
        self.errors: dict[int, Exception] = {}

    def run(self) -> None:
        while self._waiting or self._under_way:
            while self._waiting and self._free:
                self._begin(self._waiting.popleft(), self._free.pop())
            finished = wait(self._under_way, return_when=FIRST_COMPLETED).done
            for future in sorted(finished, key=lambda f: self._under_way[f][0].number):
                self._settle(future, *self._under_way.pop(future))

    def _begin(self, job: _Job, seat: Seat) -> None:
        job.begun += 1
        self._tell(1)
        self._under_way[seat.submit(self._function, job.payload)] = job, seat

    def _settle(self, future: Future[Any], job: _Job, seat: Seat) -> None:
        how = seat.lost(future)
        self._free.append(seat)
        if how is not None:
            self._again(job, how)
        elif (error := future.exception()) is None:
            self._on_done(job.name, future.result())
            self._done += 1
        elif isinstance(error, Exception):
            self._fail(job, error)
        else:
            self._fail(job, WorkerError(f"{job.name!r} ended its worker with {error!r}"))
        self._tell()

    def _again(self, job: _Job, how: str) -> None:
        self._lost += 1
        _log.warning("the worker of %r died (attempt %d of %d): %s", job.name, job.begun, self._attempts, how)
        if job.begun < self._attempts:
            self._waiting.append(job)  # behind the others: fewer run beside it then, if it was the memory
            return
        times = "once" if job.begun == 1 else f"{job.begun} times"
        message = (
            f"the worker of {job.name!r} died {times}, the last time: {how}. What is committed is safe; resume the run"
        )
        self._fail(job, WorkerError(message))

    def _fail(self, job: _Job, error: Exception) -> None:
        self._failed += 1
        if self._on_failed is None:
            self.errors[job.number] = error
        else:
            self._on_failed(job.name, error)

    def _tell(self, beginning: int = 0) -> None:
        if self._progress is not None:
            self._progress(Counts(self._total, len(self._under_way) + beginning, self._done, self._failed, self._lost))


def _own_seats(workers: int | None, slots: Sequence[Mapping[str, str]] | None, folder: Path | None) -> list[Seat]:
    if workers is not None and (isinstance(workers, bool) or workers < 1):
        raise ParameterError(f"workers={workers!r} is not a number of workers; give at least 1, or None for one a core")
    if slots is None:
        slots = [{}] * (workers or cores())
    if not slots or workers not in (None, len(slots)):
        raise ParameterError(f"{workers} workers cannot share {len(slots)} slots; give one slot a worker")
    if len(slots) == 1:
        return [Here(slots[0])]
    environment = {**ONE_THREAD, "OPENMM_CPU_THREADS": str(max(1, cores() // len(slots)))}
    return [Process(slot, environment, folder) for slot in slots]


def _end(seats: Sequence[Seat]) -> None:
    for seat in seats:  # all at once, then wait
        seat.kill()
    for seat in seats:
        seat.close()


def slot_properties(
    platform: str, workers: int | None = None, devices: str | Sequence[int] = "auto", n_devices: int = 0
) -> list[dict[str, str]]:
    """The OpenMM platform properties of each of several workers on one machine.

    Parameters
    ----------
    platform
        The name of the OpenMM platform.
    workers
        How many. None: one a device, or one a core. More than devices: they take turns, several walkers on a device.
    devices
        The indices of the devices of CUDA, OpenCL or HIP; "auto": all.
    n_devices
        How many devices the platform has here.

    Returns
    -------
    list of dict
        ``{"DeviceIndex": "0"}`` ... on CUDA, OpenCL and HIP; ``{"Threads": "2"}`` ... on CPU, the cores shared evenly; else
        empty.

    Raises
    ------
    ParameterError
        No worker, no device, or a device that is not there.
    """
    if workers is not None and workers < 1:
        raise ParameterError(f"workers={workers} is not a number of workers; give at least 1, or None")
    if platform not in _ON_DEVICES:
        count = workers or cores()
        threads = {"Threads": str(max(1, cores() // count))} if platform == "CPU" else {}
        return [dict(threads) for _ in range(count)]
    if isinstance(devices, str) and devices != "auto":
        raise ParameterError(f"devices={devices!r} is not known; give 'auto' or a list of indices such as [0, 1]")
    indices = list(range(n_devices)) if isinstance(devices, str) else list(devices)
    wrong = [index for index in indices if not 0 <= index < n_devices]
    if wrong or not indices:
        there = f"indices 0 to {n_devices - 1}" if n_devices else "none"
        raise ParameterError(
            f"device {wrong[0] if wrong else 'list'} of platform {platform} is {'not there' if wrong else 'empty'}; there are "
            f"{there}: choose among these, or another platform"
        )
    return [{"DeviceIndex": str(indices[number % len(indices)])} for number in range(workers or len(indices))]
