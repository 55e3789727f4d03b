"""Opening HDF5 files that may be cut short.

HDF5 refuses a file that is shorter than its header says. Such a file is opened as if the missing bytes were zero, and
every chunk that is not wholly inside the real file is counted as lost.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mdinsight.errors import FormatError, MdinsightError, TrajectoryError
from mdinsight.trajectories._formats._base import SINGLE, Damage

_TRUNCATED = re.compile(r"truncated file: eof = (\d+).*stored_eof = (\d+)")


class _Padded(io.RawIOBase):
    """A file with zeros behind its end."""

    def __init__(self, path: Path, size: int) -> None:
        self.raw = path.open("rb", buffering=0)
        self.size, self.at = size, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0 if whence == 0 else self.at if whence == 1 else self.size)
        return self.at

    def tell(self) -> int:
        return self.at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        want = min(len(view), max(0, self.size - self.at))
        self.raw.seek(self.at)
        got = 0
        while got < want:
            part = self.raw.read(want - got)
            if not part:
                break
            view[got : got + len(part)] = part
            got += len(part)
        view[got:want] = bytes(want - got)
        self.at += want
        return want

    def close(self) -> None:
        self.raw.close()
        super().close()


@contextmanager
def open_h5(path: Path) -> Iterator[h5py.File]:
    """Open for reading; a handle of its own for each call.

    Raises
    ------
    TrajectoryError
        If the file is no whole HDF5 file and what is left of it tells nothing.
    """
    padded = None
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        match = _TRUNCATED.search(str(error))
        if not match:
            with path.open("rb") as handle:
                magic = handle.read(8)
            if magic != b"\x89HDF\r\n\x1a\n"[: len(magic)]:
                raise FormatError(f"{path} is no HDF5 file: it begins with {magic!r}; is its suffix right?") from None
            raise TrajectoryError(f"{path} is torn or was not closed, HDF5 cannot open it ({error})") from error
        padded = _Padded(path, int(match[2]))
        try:
            file = h5py.File(padded, "r")
        except (OSError, RuntimeError) as again:
            padded.close()
            raise TrajectoryError(
                f"{path} is torn: {match[1]} of {match[2]} bytes are there, HDF5 cannot open it"
            ) from again
    try:
        yield file
    except MdinsightError:
        raise
    except (OSError, RuntimeError, KeyError) as error:
        what = "is torn so that its frames cannot be found" if padded else "cannot be read"
        raise TrajectoryError(f"{path} {what}: {error}") from error
    finally:
        file.close()
        if padded is not None:
            padded.close()


def read_atoms(data: h5py.Dataset, frames: range, atoms: np.ndarray | None, scale: float | np.float32) -> np.ndarray:
    """Coordinates of chosen frames and atoms times ``scale``, float32; only chunks that hold some of them are unpacked."""
    rows = slice(frames.start, frames.stop, frames.step)
    if atoms is None:
        found = data[rows]
    else:
        first, last = int(atoms[0]), int(atoms[-1]) + 1
        found = data[rows, first:last]
        found = found if last - first == len(atoms) else found[:, atoms - first]
    return (found if scale == 1.0 else found * scale).astype(np.float32, copy=False)


def together(data: h5py.Dataset) -> int:
    """Frames that are packed together, so that none of them is read without the others."""
    return int(data.chunks[0]) if data.chunks and data.chunks[0] > 0 else 1


def whole_frames(path: Path, datasets: list[h5py.Dataset]) -> tuple[int, Damage | None]:
    """Frames that lie wholly inside the file in every data set, and what is lost of the others.

    Raises
    ------
    TrajectoryError
        If the file is so short that the index of its frames is lost.
    """
    stated = max(len(data) for data in datasets)
    size = path.stat().st_size
    try:
        whole = min(_whole(data, size) for data in datasets)
    except (OSError, RuntimeError, ValueError) as error:
        raise TrajectoryError(
            f"{path} is torn so that the index of its frames is lost; no frame can be read ({error})"
        ) from error
    if whole == stated:
        return whole, None
    lost = max(0, datasets[0].file.id.get_filesize() - size)
    return whole, Damage("torn", whole, size, lost, stated - whole)


def _whole(data: h5py.Dataset, size: int) -> int:
    if not len(data):
        return 0
    if data.chunks is None:
        offset = data.id.get_offset()
        per_frame = data.dtype.itemsize * int(np.prod(data.shape[1:], dtype=np.int64))
        return len(data) if offset is None else min(len(data), max(0, size - offset) // max(per_frame, 1))
    if data.file.driver != "fileobj":
        return len(data)  # HDF5 found the file whole
    seen = np.zeros(len(data), np.int64)
    needed = int(np.prod([-(-n // c) for n, c in zip(data.shape[1:], data.chunks[1:], strict=True)], dtype=np.int64))
    for number in range(data.id.get_num_chunks()):
        chunk = data.id.get_chunk_info(number)
        if chunk.byte_offset + chunk.size <= size:
            seen[chunk.chunk_offset[0] : chunk.chunk_offset[0] + data.chunks[0]] += 1
    missing = np.flatnonzero(seen < needed)
    return int(missing[0]) if len(missing) else len(data)


def attribute(node: Any, name: str) -> str:
    """An attribute as text, empty where there is none."""
    value = node.attrs.get(name, "")
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return value.decode() if isinstance(value, bytes) else str(value)


_LENGTHS = {
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometers": 1.0,
    "angstrom": 0.1,
    "angstroms": 0.1,
    "å": 0.1,
    "pm": 1e-3,
}
_TIMES = {
    "": 1.0,
    "ps": 1.0,
    "picosecond": 1.0,
    "picoseconds": 1.0,
    "fs": 1e-3,
    "femtosecond": 1e-3,
    "ns": 1e3,
    "nanosecond": 1e3,
}


def length_scale(node: h5py.Dataset, name: str, missing: float, path: Path) -> float:
    """nm in one unit of length, which an attribute names; ``missing`` where there is none.

    Raises
    ------
    FormatError
        If the unit is not known.
    """
    return _scale({**_LENGTHS, "": missing}, node, name, f"{path}: its lengths", "nm, angstrom and pm")


def clock(data: h5py.Dataset, values: np.ndarray, name: str, path: Path) -> tuple[np.ndarray, float]:
    """Times in ps, out of ``values`` of a data set whose unit an attribute names, and their relative error as they are stored.

    Raises
    ------
    FormatError
        If the unit is not known.
    """
    scale = _scale(_TIMES, data, name, f"{path}: its times", "fs, ps and ns")
    return np.asarray(values, np.float64) * scale, SINGLE if data.dtype.itemsize == 4 else 1e-12


def _scale(known: dict[str, float], node: h5py.Dataset, name: str, what: str, told: str) -> float:
    units = attribute(node, name)
    if units.strip().lower() not in known:
        raise FormatError(f"{what} are in {units!r}; known are {told}")
    return known[units.strip().lower()]
