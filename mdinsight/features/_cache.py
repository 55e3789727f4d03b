"""Results kept on disk under the identity of what they are of; a file that is not whole counts as absent."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from mdinsight.errors import OutputError
from mdinsight.files import atomic, cache_folder

_log = logging.getLogger(__name__)

FEATURES_VERSION = 2
"""Raised whenever a kernel's values change, so that older results are not used again."""

LIMIT = 10_000_000_000
"""Bytes that the cache may hold; what was not used for longest goes first."""

_MAPPED_FROM = (
    16_000_000  # a mapped file keeps a descriptor open, so small ones are read: at most LIMIT / 16 MB are open
)
_TRAILER = struct.Struct("<8sQI")
_MAGIC = b"mdinsght"


def clear_cache(path: str | os.PathLike[str] | None = None) -> int:
    """Remove all cached results; returns the number of bytes freed."""
    folder = _versioned(Path(path) if path is not None else cache_folder()).parent
    size = sum(entry[1] for entry in _entries(folder))
    for version in folder.glob("v*"):
        shutil.rmtree(version, ignore_errors=True)
    return size


def _versioned(folder: Path) -> Path:
    return folder / "features-cache" / f"v{FEATURES_VERSION}"


class Cache:
    """A folder of arrays by key. What goes wrong in it fails no analysis: it is said once and the work is done anew."""

    def __init__(self, path: str | os.PathLike[str] | None = None, limit: int = LIMIT) -> None:
        self.folder = _versioned(Path(path) if path is not None else cache_folder())
        self.limit = limit
        self._broken = False
        self._written = False

    def file(self, key: str) -> Path:
        """Where the array of a key stands."""
        return self.folder / key[:2] / f"{key}.npy"

    def get(self, key: str, shape: tuple[int, int]) -> np.ndarray | None:
        """The float32 array of a key if it is there, of this shape, and whole."""
        path = self.file(key)
        try:
            array = _read(path, shape)
            os.utime(path, (time.time(), path.stat().st_mtime))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, struct.error) as error:
            _log.info("cached result %s is not used: %s", path, error)
            return None
        return array

    def put(self, key: str, array: np.ndarray) -> None:
        """Keep an array, whole or not at all."""
        if self._broken or array.nbytes > self.limit:
            return
        try:
            with atomic(self.file(key)) as handle:
                np.lib.format.write_array(handle, array, allow_pickle=False)
                handle.write(_TRAILER.pack(_MAGIC, array.nbytes, zlib.crc32(np.ascontiguousarray(array).data)))
            self._written = True
        except (OutputError, OSError) as error:
            self._broken = True
            _log.warning("results are not cached: %s; set MDINSIGHT_CACHE to a folder that can be written", error)

    def prune(self) -> None:
        """Remove what was not used for longest until the cache is within its limit."""
        if not self._written:
            return
        entries = sorted(_entries(self.folder))
        size = sum(entry[1] for entry in entries)
        for _, bytes_, path in entries:
            if size <= self.limit:
                return
            with suppress(OSError):
                path.unlink()
                size -= bytes_


def result_key(*parts: object) -> str:
    """The key of a result: SHA-256 of everything that it depends on."""
    return hashlib.sha256(json.dumps([FEATURES_VERSION, *parts]).encode()).hexdigest()


def _entries(folder: Path) -> list[tuple[float, int, Path]]:
    found = []
    for path in folder.rglob("*"):  # what a killed process left under a temporary name ages out as well
        with suppress(OSError):
            stat = path.stat()
            if not path.is_file():
                continue
            found.append((stat.st_atime, stat.st_size, path))
    return found


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray:
    size = shape[0] * shape[1] * 4
    with path.open("rb") as handle:
        handle.seek(-_TRAILER.size, os.SEEK_END)
        magic, length, checksum = _TRAILER.unpack(handle.read())
        handle.seek(0)
        if magic != _MAGIC or length != size:
            raise ValueError("it is not whole")
        array = np.load(path, mmap_mode="c") if size >= _MAPPED_FROM else np.lib.format.read_array(handle)
    if array.shape != shape or array.dtype != np.float32:
        raise ValueError(f"it holds {array.dtype} of shape {array.shape}, expected float32 of {shape}")
    if zlib.crc32(np.ascontiguousarray(array).data) != checksum:
        raise ValueError("its checksum does not match")
    return array.view(np.ndarray)
