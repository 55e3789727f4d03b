"""Python compiled by numba: without the interpreter lock, and kept on disk where a folder for it can be written."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numba

_log = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F, sources: str | None = None, fastmath: Any = False) -> F:
    """The function, compiled when it is first called, or fetched from disk.

    Parameters
    ----------
    function
        What numba can compile.
    sources
        Identity of all the code that is compiled into it, where that stands in several files; numba looks at the
        function's own file alone.
    fastmath
        As for ``numba.njit``.
    """
    try:
        made = numba.njit(function, nogil=True, cache=True, error_model="numpy", fastmath=fastmath)
        if sources is not None:
            with suppress(AttributeError):
                made._cache._cache_file._source_stamp = sources
        return made
    except RuntimeError as error:  # numba finds no such folder, as in a read-only container
        _log.info("compiled code of %s is not kept: %s", function.__name__, error)
        return numba.njit(function, nogil=True, error_model="numpy", fastmath=fastmath)
