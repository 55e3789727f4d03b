"""Files that are whole or absent, and the folder of those that can be made anew."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import platformdirs

from mdinsight.errors import OutputError


def cache_folder() -> Path:
    """Where results are kept: ``MDINSIGHT_CACHE``, or the user's cache folder."""
    given = os.environ.get("MDINSIGHT_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("mdinsight")) / "features"


def index_folder(cache: Path | None = None) -> Path:
    """Where the indices of trajectory files are kept, in the cache folder or in another one."""
    return (cache or cache_folder()) / "xtc-index"


def discard(folder: Path) -> int:
    """Remove a folder with all that is in it; gives the bytes that its files took. It need not exist."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # somebody else removes it as well
                size += Path(parent, name).stat().st_size
    shutil.rmtree(folder, ignore_errors=True)
    return size


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Write a file under a temporary name beside it; fsync and rename when the block ends, remove when it raises.

    Raises
    ------
    OutputError
        If the folder cannot be written or the disk is full. A file that stood there before is left as it was.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OutputError(
            f"cannot write {path}: it is {'a folder' if path.is_dir() else 'no regular file'}; give another name"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; choose a folder that you can write to") from error
    try:
        with os.fdopen(descriptor, "wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _sync_folder(folder: Path) -> None:
    """Let the new name of a file outlast a loss of power; a file system that cannot is left as it is."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write text atomically, as UTF-8."""
    with atomic(path) as handle:
        handle.write(text.encode())
    return Path(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
