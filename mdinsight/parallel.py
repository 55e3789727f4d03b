"""Work in parallel through one ``concurrent.futures.Executor``: in order, with a bounded number under way."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from mdinsight.errors import ParameterError

T = TypeVar("T")
R = TypeVar("R")

_WIDE = 1000

Workers = int | Executor | None
"""A number of threads (None: one a core; 1: no thread at all), or an executor."""


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(function: Callable[[T], R], items: Iterable[T], workers: Workers = None, ahead: int = 2) -> Iterator[R]:
    """``map(function, items)`` in parallel; results come in the order of the items, whatever the number of workers.

    At most ``ahead`` items a worker are under way, so neither the items nor the results pile up in memory. An exception in
    the function is raised here and cancels what has not begun.
    """
    if isinstance(workers, int) and (isinstance(workers, bool) or workers < 1):
        raise ParameterError(f"workers={workers!r} is not a number of workers; give at least 1, or None for one a core")
    if workers == 1:
        yield from map(function, items)
        return
    if isinstance(workers, Executor):
        yield from _pump(function, items, workers, ahead * (getattr(workers, "_max_workers", None) or cores()))
        return
    count = workers or cores()
    with ThreadPoolExecutor(count, thread_name_prefix="mdinsight") as pool:
        yield from _pump(function, items, pool, ahead * count)


def _pump(function: Callable[[T], R], items: Iterable[T], pool: Executor, limit: int) -> Iterator[R]:
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= limit:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@contextmanager
def one_thread(n_columns: int = 0) -> Iterator[None]:
    """The libraries' own threads held to one while the block runs, for all but wide data; what stood before is restored.

    On matrices of some hundred columns threads gain nothing on an idle machine, cost fiftyfold where the cores are busy (with
    MD), and change the rounding.
    """
    if n_columns > _WIDE:
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
