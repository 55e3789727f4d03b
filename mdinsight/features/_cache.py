"""Results kept on disk under the identity of what they are of; a file that is not whole counts as absent.

An entry is an array as NumPy saves it, and behind it a checksum for every few rows, so that rows can be read and verified
without the rest. It is written piece by piece under a temporary name, by whoever computed the rows, and renamed when it is whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import mmap
import os
import re
import shutil
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdinsight.checksums import checksums
from mdinsight.errors import CacheWarning, ParameterError, warn_user
from mdinsight.files import cache_folder, discard, index_folder
from mdinsight.parallel import Workers, ordered_map

_log = logging.getLogger(__name__)

FEATURES_VERSION = 3
"""Raised whenever the values of a kernel, or of what fits keep, change, so that older results are not used again."""

LIMIT = 10_000_000_000
"""Bytes that the cache may hold where MDINSIGHT_CACHE_LIMIT does not say; what was not used for longest goes first."""

_MAPPED_FROM = 16_000_000
"""A mapped file keeps a descriptor open, so small ones are read: at most LIMIT / 16 MB are open."""
_CHECKED_BYTES = 1 << 18
_TOGETHER = 1 << 24
"""Bytes that a thread verifies at a time."""
_SPARE = 1 << 30
"""Bytes that are left free on the disk."""
_ABANDONED = 86_400.0
"""Seconds after which what stands under a temporary name, untouched, was left by a process that was killed."""
_TRAILER = struct.Struct("<8sQQI")
_TABLE = np.dtype("<u8")
_MAGIC = b"mdinsgt4"
_UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


def cache_limit() -> int:
    """Bytes that the cache may hold: ``MDINSIGHT_CACHE_LIMIT``, such as ``"20 GB"``, or 10 GB.

    Raises
    ------
    ParameterError
        If the variable holds something else.
    """
    given = os.environ.get("MDINSIGHT_CACHE_LIMIT", "").strip()
    if not given:
        return LIMIT
    found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([kMGT]?B?)", given, re.IGNORECASE)
    if found is None or (found[2] and not found[2].upper().endswith("B")):
        raise ParameterError(
            f"MDINSIGHT_CACHE_LIMIT={given!r} is no size; give one such as '20 GB', or 0 for no cache at all"
        )
    return int(float(found[1]) * _UNITS[found[2].upper()])


def clear_cache(path: str | os.PathLike[str] | None = None) -> int:
    """Remove all cached results, and the indices of large XTC files; returns the number of bytes freed."""
    root = Path(path) if path is not None else cache_folder()
    folder = _versioned(root).parent
    size = sum(entry[1] for entry in _entries(folder))
    for version in folder.glob("v*"):
        shutil.rmtree(version, ignore_errors=True)
    return size + discard(index_folder(root))


def _versioned(folder: Path) -> Path:
    return folder / "features-cache" / f"v{FEATURES_VERSION}"


class Cache:
    """A folder of arrays by key. What goes wrong in it fails no analysis: it is said once and the work is done anew."""

    def __init__(self, path: str | os.PathLike[str] | None = None, limit: int | None = None) -> None:
        self.folder = _versioned(Path(path) if path is not None else cache_folder())
        self.limit = cache_limit() if limit is None else limit
        self._remedy = "give cache=" if path is not None else "set MDINSIGHT_CACHE to"
        self._broken = self._full = self._written = False

    def file(self, key: str) -> Path:
        """Where the array of a key stands."""
        return self.folder / key[:2] / f"{key}.npy"

    def has(self, key: str, shape: tuple[int, int]) -> bool:
        """Whether the float32 array of a key is there; its rows are verified when they are read."""
        return _attempt(self.file(key), lambda path: _open(path, shape, np.float32, lambda *_: True)) is not None

    def rows(self, key: str, shape: tuple[int, int], start: int, stop: int) -> np.ndarray | None:
        """Rows of the float32 array of a key, verified, in memory of their own; None where they are not there."""
        found = read_rows(self.file(key), shape, start, stop)
        return None if found is None else found.copy()

    def get(
        self, key: str, shape: tuple[int, int], dtype: type = np.float32, workers: Workers = 1
    ) -> np.ndarray | None:
        """The array of a key if it is there, of this shape, and whole, which threads look at; a large one is mapped."""

        def read(descriptor: int, begin: int, checked: int, known: np.ndarray) -> np.ndarray:
            array = _mapped(descriptor, begin, shape, dtype)
            array = array if array.nbytes >= _MAPPED_FROM else array.copy()
            step = max(1, _TOGETHER // max(1, array[:checked].nbytes))
            many = workers if len(known) > step else 1
            parts = range(0, len(known), step)
            for _ in ordered_map(lambda i: _verify(array[i * checked :], checked, known[i : i + step]), parts, many):
                pass
            return array

        return _attempt(self.file(key), lambda path: _open(path, shape, dtype, read))

    def put(self, key: str, array: np.ndarray) -> None:
        """Keep an array, whole or not at all."""
        if not self.room(array.nbytes, quiet=True):
            return
        writer = self.writer(key, array.shape, array.dtype.type)
        if writer is not None:
            writer.done(0, write_rows(writer.target, 0, array))
            writer.close()

    def writer(self, key: str, shape: tuple[int, ...], dtype: type = np.float32, step: int = 0) -> Writer | None:
        """A new entry, to be written in pieces that begin at multiples of ``step`` rows; None where that cannot be."""
        if self._broken:
            return None
        width = shape[1] * np.dtype(dtype).itemsize
        checked = max(1, _CHECKED_BYTES // max(1, width))
        if step:
            checked = next(rows for rows in range(min(checked, step), 0, -1) if step % rows == 0)
        path = self.file(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{key[:16]}.", suffix=".part", dir=path.parent)
            try:
                os.fchmod(descriptor, 0o644)
                header = _header(shape, np.dtype(dtype))
                os.write(descriptor, header)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.give_up(error)
            return None
        return Writer(self, path, Target(name, len(header), width, checked), shape[0])

    def give_up(self, error: OSError) -> None:
        """Say once that nothing more is kept, and why."""
        if not self._broken:
            text = f"results are not cached: {error}; {self._remedy} a folder that can be written"
            warn_user(text, CacheWarning)
        self._broken = True

    def room(self, size: int, quiet: bool = False) -> bool:
        """Whether so many bytes more may be kept; if not, it is said once."""
        if self._broken:
            return False
        reason = ""
        if size > self.limit:
            reason = (
                f"the cache may hold {_told(self.limit)}; set MDINSIGHT_CACHE_LIMIT to a larger size such as '50 GB'"
            )
        else:
            with suppress(OSError):
                free = shutil.disk_usage(_existing(self.folder)).free
                if size + _SPARE > free:
                    reason = f"the disk of {self.folder} has {_told(free)} left; {self._remedy} a folder on another"
        if reason and not quiet and not self._full and self.limit > 0:  # of 0, who set it knows
            self._full = True
            text = f"features of {_told(size)} are not cached, and are computed anew in each pass: {reason}"
            warn_user(text, CacheWarning)
        return not reason

    def prune(self) -> None:
        """Remove what was not used for longest until the cache is within its limit."""
        if not self._written:
            return
        entries = sorted(_entries(self.folder))
        size = sum(entry[1] for entry in entries)
        for used, bytes_, path in entries:
            if path.suffix == ".part" and time.time() - used < _ABANDONED:
                continue  # somebody is writing it
            if size <= self.limit:
                return
            with suppress(OSError):  # who has it open reads on
                path.unlink()
                size -= bytes_


class Target(NamedTuple):
    """Where rows of an entry under way are written; it can be sent to another process."""

    path: str
    begin: int
    row_bytes: int
    checked_rows: int


class Writer:
    """An entry that is being written; it appears under its name when all rows are there."""

    def __init__(self, cache: Cache, path: Path, target: Target, rows: int) -> None:
        self._cache, self._path, self.target, self._rows = cache, path, target, rows
        self._checksums: dict[int, np.ndarray] = {}
        self._done = 0

    def done(self, start: int, checksums: np.ndarray | OSError | None) -> None:
        """Take what :func:`write_rows` gave for the rows from ``start`` on."""
        if isinstance(checksums, OSError):
            self._cache.give_up(checksums)
        elif checksums is not None:
            self._checksums[start] = checksums
            self._done += len(checksums)

    def close(self) -> None:
        """Make the entry visible if it is whole, else remove it."""
        name, begin, row_bytes, checked = self.target
        try:
            if self._done == -(-self._rows // checked):
                found = np.concatenate([self._checksums[start] for start in sorted(self._checksums)])
                table = found.astype(_TABLE).tobytes()
                size = self._rows * row_bytes
                with open(name, "r+b") as handle:
                    handle.seek(begin + size)
                    handle.write(table)
                    handle.write(_TRAILER.pack(_MAGIC, size, checked, zlib.crc32(table)))
                os.replace(name, self._path)
                self._cache._written = True
        except OSError as error:
            self._cache.give_up(error)
        finally:
            with suppress(OSError):
                os.unlink(name)


def write_rows(target: Target, start: int, rows: np.ndarray) -> np.ndarray | OSError | None:
    """Write rows of an entry from ``start`` on, by whoever has them.

    Returns
    -------
    ndarray of uint64, OSError or None
        The checksums; what failed; None where the file is not there, as on another machine.
    """
    rows = np.ascontiguousarray(rows)
    try:
        descriptor = os.open(target.path, os.O_WRONLY)
    except OSError:
        return None
    try:
        data, place = rows.data.cast("B"), target.begin + start * target.row_bytes
        while data:
            written = os.pwrite(descriptor, data, place)
            data, place = data[written:], place + written
    except OSError as error:
        return error
    finally:
        os.close(descriptor)
    return checksums(rows, target.checked_rows)


def read_rows(path: Path, shape: tuple[int, int], start: int, stop: int) -> np.ndarray | None:
    """Rows of a float32 entry, verified; None where they are not there. What does not match is removed.

    They are those of the mapped file, which stays open as long as they are held.
    """

    def read(descriptor: int, begin: int, checked: int, known: np.ndarray) -> np.ndarray:
        first, last = start // checked, -(-stop // checked)
        low, high = first * checked, min(last * checked, shape[0])
        found = _mapped(descriptor, begin + low * shape[1] * 4, (high - low, shape[1]), np.float32)
        _verify(found, checked, known[first:last])
        return found[start - low : stop - low]

    return _attempt(path, lambda path: _open(path, shape, np.float32, read))


def result_key(*parts: object) -> str:
    """The key of a result: SHA-256 of everything that it depends on."""
    return hashlib.sha256(json.dumps([FEATURES_VERSION, *parts]).encode()).hexdigest()


def _attempt(path: Path, read: Callable[[Path], np.ndarray | bool]) -> np.ndarray | None:
    try:
        found = read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.info("cached result %s cannot be read: %s", path, error)
        return None
    except (ValueError, struct.error) as error:
        _log.info("cached result %s is not used, and removed: %s", path, error)
        with suppress(OSError):
            path.unlink()
        return None
    with suppress(OSError):  # of somebody else's file it cannot be set, and another process may have removed it
        os.utime(path, (time.time(), path.stat().st_mtime))
    return found  # type: ignore[return-value]


def _open(path: Path, shape: tuple[int, ...], dtype: type, use: Callable[..., np.ndarray | bool]) -> np.ndarray | bool:
    """Call ``use(descriptor, first byte, rows a checksum, checksums)`` on an entry that has a whole end."""
    header = _header(shape, np.dtype(dtype))
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    with path.open("rb", buffering=0) as handle:
        descriptor = handle.fileno()
        end = os.fstat(descriptor).st_size
        if end < len(header) + size + _TRAILER.size:
            raise ValueError("it is not whole")
        magic, length, checked, checksum = _TRAILER.unpack(os.pread(descriptor, _TRAILER.size, end - _TRAILER.size))
        table = os.pread(descriptor, end - len(header) - size - _TRAILER.size, len(header) + size)
        if magic != _MAGIC or length != size or zlib.crc32(table) != checksum:
            raise ValueError("it is not whole")
        if os.pread(descriptor, len(header), 0) != header or len(table) != _TABLE.itemsize * -(-shape[0] // checked):
            raise ValueError(f"it does not hold {np.dtype(dtype)} of shape {shape}")
        return use(descriptor, len(header), checked, np.frombuffer(table, _TABLE))


def _mapped(descriptor: int, begin: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An array out of an open file; what is written to it stays in memory."""
    page = begin // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    count = int(np.prod(shape))
    held = mmap.mmap(descriptor, begin - page + count * np.dtype(dtype).itemsize, access=mmap.ACCESS_COPY, offset=page)
    return np.frombuffer(held, dtype, count, begin - page).reshape(shape)


def _verify(rows: np.ndarray, checked: int, known: np.ndarray) -> None:
    if not np.array_equal(checksums(rows[: checked * len(known)], checked), known):
        raise ValueError("its checksum does not match")


@lru_cache(64)
def _header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def _entries(folder: Path) -> list[tuple[float, int, Path]]:
    found = []
    for parent, _, names in os.walk(folder):  # what another process removes meanwhile is not there
        for path in (Path(parent, name) for name in names):
            with suppress(OSError):
                stat = path.stat()
                # what a killed process left under a temporary name ages out as well
                used = max(stat.st_atime, stat.st_mtime) if path.suffix == ".part" else stat.st_atime
                found.append((used, stat.st_size, path))
    return found


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _told(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.3g} {unit}"
        size /= 1000
    return ""
