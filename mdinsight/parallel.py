"""Work in parallel through one ``concurrent.futures.Executor``: in order, with a bounded number under way."""

from __future__ import annotations

import hashlib
import importlib
import numbers
import os
import pickle
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from mdinsight.errors import ParameterError

T = TypeVar("T")
R = TypeVar("R")

_WIDE = 1000
_CLOSED = "the executor of this stream is closed (workers=); make the stream with one that is open, or with a number of threads"

Workers = int | Executor | None
"""A number of threads (None: one a core; 1: no thread at all, also where files are read), or an executor."""


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lock() -> threading.Lock:
    """A lock of a module, which a process made by fork finds free whatever other threads of this one do at that time."""
    made = threading.Lock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=made.acquire, after_in_parent=made.release, after_in_child=made.release)
    return made


def check_workers(workers: Any) -> None:
    """Refuse what are no workers, where they are given.

    Raises
    ------
    ParameterError
        Naming the value and what is allowed.
    """
    if workers is None or isinstance(workers, Executor):
        return
    if isinstance(workers, bool) or not isinstance(workers, numbers.Integral) or workers < 1:
        raise ParameterError(
            f"workers={workers!r} is neither a number of threads nor an executor; give an int of at least 1, None for one a "
            "core, or a concurrent.futures.Executor (of a Dask client: client.get_executor())"
        )


_held = threading.local()


@contextmanager
def held_to(workers: Workers) -> Iterator[None]:
    """This thread uses one core while the block runs, if ``workers`` is 1: what asks :func:`is_held` starts no threads."""
    before = is_held()
    _held.alone = before or workers == 1
    try:
        yield
    finally:
        _held.alone = before


def is_held() -> bool:
    """Whether this thread is to use one core."""
    return bool(getattr(_held, "alone", False))


def ordered_map(function: Callable[[T], R], items: Iterable[T], workers: Workers = None, ahead: int = 2) -> Iterator[R]:
    """``map(function, items)`` in parallel; results come in the order of the items, whatever the number of workers.

    At most ``ahead`` items a worker are under way, so neither the items nor the results pile up in memory. An exception in
    the function is raised here and cancels what has not begun.
    """
    check_workers(workers)
    if workers == 1:
        for item in items:
            with held_to(1):
                result = function(item)
            yield result
        return
    if isinstance(workers, Executor):
        yield from _pump(function, items, workers, ahead * _width(workers))
        return
    count = workers or cores()
    with ThreadPoolExecutor(count, thread_name_prefix="mdinsight") as pool:
        yield from _pump(function, items, pool, ahead * count)


def _pump(function: Callable[[T], R], items: Iterable[T], pool: Executor, limit: int) -> Iterator[R]:
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(_submitted(pool, function, item))
            if len(waiting) >= limit:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _submitted(pool: Executor, function: Callable[[T], R], item: T) -> Future[R]:
    try:
        return pool.submit(function, item)
    except RuntimeError as error:
        if "after shutdown" not in str(error):
            raise
        raise ParameterError(_CLOSED) from None


def _width(executor: Executor) -> int:
    """How many tasks an executor works on at once."""
    found = getattr(executor, "_max_workers", None)
    client = getattr(executor, "_client", None)  # that of a Dask client
    if found is None and client is not None:
        if client.status in ("closing", "closed"):
            raise ParameterError(_CLOSED)
        found = sum(client.ncores().values())
    return int(found or cores())


class Parcel(Generic[T]):
    """Something that many tasks carry to other processes: pickled once, and unpickled once in each of them."""

    def __init__(self, content: T) -> None:
        self._data = _pickler().dumps(content)
        self._name = hashlib.sha256(self._data).digest()

    def __len__(self) -> int:
        return len(self._data)

    def open(self, keep: bool = True) -> T:
        """The content; with ``keep`` it stays at hand for the next parcel that holds the same."""
        if not keep:
            return pickle.loads(self._data)  # noqa: S301 (it comes from the process that sent the task)
        with _OPENED_LOCK:
            if self._name not in _OPENED:
                _OPENED[self._name] = pickle.loads(self._data)  # noqa: S301
            _OPENED.move_to_end(self._name)
            while len(_OPENED) > _OPENED_AT_MOST:
                _OPENED.popitem(last=False)
            return _OPENED[self._name]


_OPENED: OrderedDict[bytes, Any] = OrderedDict()
_OPENED_LOCK = lock()
_OPENED_AT_MOST = 16


def _pickler() -> Any:
    """cloudpickle where Dask brought it, since that takes a user's functions too."""
    try:
        return importlib.import_module("cloudpickle")
    except ImportError:
        return pickle


_LIMITED_LOCK = lock()
_limited: list[Any] = []
"""The limit that stands, once for each block that is inside."""


@contextmanager
def one_thread(n_columns: int = 0) -> Iterator[None]:
    """The libraries' own threads held to one while the block runs, for all but wide data; what stood before is restored.

    On matrices of some hundred columns threads gain nothing on an idle machine, cost fiftyfold where the cores are busy (with
    MD), and change the rounding. Blocks may be entered by several threads at once: the last to leave restores.
    """
    if n_columns > _WIDE:
        yield
        return
    from threadpoolctl import threadpool_limits

    with _LIMITED_LOCK:
        _limited.append(_limited[0] if _limited else _in_control(lambda: threadpool_limits(limits=1)))
    try:
        yield
    finally:
        with _LIMITED_LOCK:
            limit = _limited.pop()
            if not _limited:
                _in_control(limit.restore_original_limits)


def _in_control(change: Callable[[], T]) -> T:
    """Since 3.8 threadpoolctl takes limits of OpenBLAS from the first thread alone until that is told to be done."""
    from threadpoolctl import OpenBLASController

    done = getattr(OpenBLASController, "clear_controlling_thread", lambda force: None)
    done(force=True)
    try:
        return change()
    finally:
        done(force=True)
