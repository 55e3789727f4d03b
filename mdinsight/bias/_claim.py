"""A walker's number belongs to one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
import weakref
from pathlib import Path

from mdinsight.errors import BiasError, OutputError


class Claim:
    """Holds a lock file for as long as this object, or the process, lives.

    The kernel drops the lock when the process ends in whatever way, so nothing of a killed process has to be cleared away on
    the same host. The file's text says who holds it; a text that names another host is believed, because locks do not reach
    across every network file system.

    Raises
    ------
    BiasError
        If another process holds it, or may; the message says which, and how to take it over.
    OutputError
        If the file cannot be written.
    """

    def __init__(self, path: Path, what: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(
                f"cannot write {path}: {error.strerror}; choose a folder that you can write to"
            ) from error
        try:
            locked = _lock(descriptor)
            host, pid, since = _holder(descriptor)
            here = host == socket.gethostname()
            if locked is False or (host and not here) or (locked is None and here and _alive(pid)):
                who = f"process {pid} on {host}, since {since}" if host else "a process that is just starting"
                raise BiasError(
                    f"{what} is already run by {who}. Give this process another number; or, if that one has ended, "
                    f"remove {path}"
                )
            _say(descriptor, f"{socket.gethostname()} {os.getpid()} {time.strftime('%Y-%m-%dT%H:%M:%S')}\n")
        except OSError as error:
            os.close(descriptor)
            raise OutputError(f"cannot write {path}: {error.strerror}") from error
        except BiasError:
            os.close(descriptor)
            raise
        # emptied, not removed: a process that has just opened it would lock a file that no longer has a name
        self.release = weakref.finalize(self, _release, descriptor, os.getpid())


def _lock(descriptor: int) -> bool | None:
    """Whether the lock is ours now; None where the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            return None
        raise
    return True


def _holder(descriptor: int) -> tuple[str, int, str]:
    words = os.pread(descriptor, 1000, 0).decode(errors="replace").split()
    if len(words) != 3 or not words[1].isdigit():
        return "", 0, ""
    return words[0], int(words[1]), words[2]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _say(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
    os.fsync(descriptor)


def _release(descriptor: int, pid: int) -> None:
    if os.getpid() == pid:  # not in a process that was forked off
        os.ftruncate(descriptor, 0)
    os.close(descriptor)
