"""The lock of a run: the kernel holds it, so it ends with the process that took it, however that process ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mdinsight.errors import OutputError, StoreError
from mdinsight.store._disk import writing

_held: set[int] = set()
"""Descriptors of the locks that this process holds. A forked child closes them: else an orphan would keep the run locked."""

_TRIES, _PAUSE = 5, 0.02  # a look at who holds the lock takes it for an instant; that is no reason to be refused


def _close_in_child() -> None:
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Hold the lock of the run whose lock file this is; gives the number that :func:`is_held` takes.

    Raises
    ------
    StoreError
        If another process, or this one, holds it; the message says who.
    OutputError
        If the lock file cannot be written, or the file system has no locks.
    """
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    _held.add(descriptor)
    try:
        _take(descriptor, path)
        with suppress(OSError):  # on a full disk the lock holds all the same, only without a name
            _sign(descriptor)
        try:
            yield descriptor
        finally:
            if is_held(descriptor):
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
    finally:
        if is_held(descriptor):
            _held.discard(descriptor)
            os.close(descriptor)


def is_held(descriptor: int | None) -> bool:
    """True in the process that holds the lock; false in a child that it forked."""
    return descriptor in _held


def holder(path: Path) -> str | None:
    """Who holds the lock, in words; None if nobody does, or if that cannot be found out."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _take(descriptor: int, path: Path) -> None:
    for left in reversed(range(_TRIES)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if left:
                time.sleep(_PAUSE)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
                raise OutputError(f"cannot lock {path}: {error.strerror}; see to the disk and try again") from error
            raise OutputError(
                f"cannot lock {path}: its file system has no locks ({error.strerror}), so nothing would keep two processes "
                "from working on the run; mount it with locks (Lustre: -o flock), or put the run on another file system"
            ) from error
    raise StoreError(
        f"the run {path.parent} is in use by {_read(descriptor)}; wait for it or stop it "
        "(looking at the run meanwhile does no harm)"
    )


def _sign(descriptor: int) -> None:
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": started}) + "\n"
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _read(descriptor: int) -> str:
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
        own = (content["pid"], content["host"]) == (os.getpid(), socket.gethostname())
        who = "this very process" if own else f"process {content['pid']} on {content['host']}"
        return f"{who}, since {content['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
