"""The file in which a walker tells others what it deposited: immutable, and whole or refused."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdinsight.errors import FormatError
from mdinsight.files import atomic

_MAGIC = b"mdinsight deposits 1"


class Entry(NamedTuple):
    """One deposit: the MD step, the number of the potential among those of the run, and what its state's ``apply`` takes."""

    step: int
    potential: int
    deposit: np.ndarray


class DepositFile(NamedTuple):
    """What one walker did at one exchange.

    ``sequence`` counts its files from 0, ``step`` is its MD step, ``read`` names the files of others, (walker, sequence) in the
    order in which they were applied, that it took in at that moment: the file is also the log that a resumed walker goes by.
    """

    run: str
    walker: int
    sequence: int
    step: int
    read: tuple[tuple[int, int], ...]
    entries: tuple[Entry, ...]

    @property
    def content(self) -> bytes:
        """The deposits alone; two walkers that have the same one make the same moves."""
        return content_of(self.entries)


def content_of(entries: Sequence[Entry]) -> bytes:
    """The numbers of the deposits, one after another."""
    return b"".join(np.ascontiguousarray(entry.deposit, "<f8").tobytes() for entry in entries)


def path_of(folder: Path, walker: int, sequence: int) -> Path:
    """Where a file stands: a folder for each walker, so that new walkers are found by a short listing."""
    return folder / f"walker-{walker:03d}" / f"walker-{walker:03d}-{sequence:06d}.dep"


def write(folder: Path, file: DepositFile) -> Path:
    """Write one, whole or not at all.

    Raises
    ------
    OutputError
        If the disk is full or the folder cannot be written.
    """
    header = {
        "run": file.run,
        "walker": file.walker,
        "sequence": file.sequence,
        "step": file.step,
        "read": file.read,
        "deposits": [(entry.step, entry.potential, len(entry.deposit)) for entry in file.entries],
    }
    body = json.dumps(header, separators=(",", ":")).encode() + b"\n" + file.content
    path = path_of(folder, file.walker, file.sequence)
    with atomic(path) as handle:
        handle.write(_MAGIC + b" " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    return path


def read(folder: Path, run: str, walker: int, sequence: int) -> DepositFile:
    """Read one and refuse whatever is not whole, finite and of this run.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    FormatError
        Saying what is wrong with it.
    """
    path = path_of(folder, walker, sequence)
    try:
        first, _, body = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FormatError(f"it cannot be read ({error.strerror})") from error
    magic, _, digest = first.rpartition(b" ")
    if magic != _MAGIC:
        raise FormatError("it is empty" if not first + body else "it is no file of deposits of this version")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise FormatError("it is torn or was changed: its content does not match its checksum")
    return _parsed(body, run, walker, sequence)


def _parsed(body: bytes, run: str, walker: int, sequence: int) -> DepositFile:
    head, _, content = body.partition(b"\n")
    try:
        header = json.loads(head)
        rows = [(int(step), int(potential), int(length)) for step, potential, length in header["deposits"]]
        done = tuple((int(other), int(number)) for other, number in header["read"])
        found = (str(header["run"]), int(header["walker"]), int(header["sequence"]))
        step = int(header["step"])
        numbers = np.frombuffer(content, "<f8").astype(np.float64)
        if any(length < 0 for *_, length in rows) or sum(length for *_, length in rows) != len(numbers):
            raise ValueError("the lengths of the deposits do not add up")
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"its header makes no sense ({error})") from error
    if found != (run, walker, sequence):
        raise FormatError(
            f"it is of another run: file {found[2]} of walker {found[1]} of run {found[0][:12]}, "
            f"not file {sequence} of walker {walker} of run {run[:12]}"
        )
    if not np.isfinite(numbers).all():
        raise FormatError("it holds NaN or infinity")
    ends = np.cumsum([length for *_, length in rows], dtype=np.int64)
    parts = np.split(numbers, ends[:-1]) if rows else []
    entries = tuple(Entry(at, potential, part) for (at, potential, _), part in zip(rows, parts, strict=True))
    return DepositFile(*found, step, done, entries)


def signature(path: Path) -> tuple[int, int] | None:
    """Size and time of change, None if the file is not there: whether it is worth to look again."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
