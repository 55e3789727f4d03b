"""The disk: what is written lasts, what cannot be written says why, and room is made sure of before it is needed."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mdinsight.errors import MdinsightError, OutputError, ParameterError, StoreError

_SAFE = "what is committed is safe"
_REMEDIES = {
    errno.ENOSPC: "free some space and resume",
    errno.EDQUOT: "free some space or have the quota raised, and resume",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f) and resume",
    errno.EACCES: "make it writable for this user, or use a folder that is",
    errno.EPERM: "make it writable for this user, or use a folder that is",
    errno.ENOTDIR: "a part of its path is a file; give another",
    errno.EROFS: "mount it for writing, or use another folder",
    errno.EXDEV: "the folders of a run stand on one file system; move the whole run instead of a part of it",
    errno.ENOENT: "somebody moved or removed the run while it was in use; open it where it is now",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system refuses into an error that names the path, the cause and the remedy.

    Raises
    ------
    OutputError
        For any OSError inside the block that has no name of mdinsight yet.
    """
    try:
        yield
    except MdinsightError:
        raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "see to the disk and resume")
        raise OutputError(f"cannot write {path}: {error.strerror or error}; {remedy} ({_SAFE})") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what keeps something from being read into an error that names it; that it is missing passes as it is.

    Raises
    ------
    StoreError
        For any OSError inside the block but FileNotFoundError.
    """
    try:
        yield
    except (MdinsightError, FileNotFoundError):
        raise
    except OSError as error:
        denied = error.errno in (errno.EACCES, errno.EPERM)
        remedy = "make it readable for this user" if denied else "see to the disk"
        raise StoreError(f"cannot read {path}: {error.strerror or error}; {remedy}") from error


def read_bytes(path: Path, what: str, remedy: str) -> bytes:
    """The content of a small file.

    Raises
    ------
    StoreError
        If it is missing or cannot be read.
    """
    try:
        with reading(path):
            return path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{what} has no {path.name}; {remedy}") from None


def sync(path: Path) -> None:
    """Let a file, or the names in a folder, outlast a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems cannot do this for a folder; a name is then as safe as they make it
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and let it outlast a loss of power."""
    # never for the world to write, whatever the umask says
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o664)) as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def made(folder: Path) -> Path:
    """The folder, made (and made to last) if it is not there yet, and those above it too."""
    with writing(folder):
        for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            with suppress(FileExistsError):
                missing.mkdir(mode=0o775)
                sync(missing.parent)
    return folder


def reserve(folder: Path, n_bytes: int) -> None:
    """Make sure that a folder has room, by taking it for a moment.

    The free space that a file system reports knows nothing of quotas, so the bytes are taken in a file without a name,
    which vanishes when it is closed or when the process is killed.

    Raises
    ------
    OutputError
        If there is no room; the message says what is needed and what is free.
    ParameterError
        If the number of bytes is negative.
    """
    if n_bytes < 0:
        raise ParameterError(f"n_bytes={n_bytes} is no size; give a number of bytes that is not negative")
    with writing(folder):
        free = shutil.disk_usage(folder).free
        if n_bytes > free:
            raise _no_room(folder, n_bytes, free, "the disk is too full")
        if n_bytes and hasattr(os, "posix_fallocate"):
            try:
                with tempfile.TemporaryFile(dir=folder) as handle:
                    os.posix_fallocate(handle.fileno(), 0, n_bytes)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise _no_room(folder, n_bytes, free, str(error.strerror)) from error
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise


def _no_room(folder: Path, n_bytes: int, free: int, cause: str) -> OutputError:
    return OutputError(
        f"no room in {folder}: {size_text(n_bytes)} are needed and {size_text(free)} are free there ({cause}); "
        f"free some space, have the quota or limit (ulimit -f) raised, or ask for less ({_SAFE})"
    )


def size_text(n_bytes: int) -> str:
    """A size as it reads best: ``1.5 GB``."""
    size = float(n_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{n_bytes} bytes"
        size /= 1000
    return f"{size:.4g} TB"


def remove_tree(folder: Path) -> None:
    """Remove a folder; one that somebody still writes into stays for the next time."""
    with writing(folder):
        try:
            if folder.is_symlink() or not folder.is_dir():
                folder.unlink(missing_ok=True)
            else:
                shutil.rmtree(folder)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                raise
