"""What the text formats share: reading in blocks of whole lines, and for some a topology of their own."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import mdtraj

from mdinsight.errors import TopologyError
from mdinsight.trajectories._formats._base import read_bytes

BLOCK = 1 << 20
"""Bytes that are read at once: enough to make little of the calls, few enough to stay in the cache of the core."""
LONGEST = 1 << 20
"""Bytes; a line that is longer is none of these formats', and may be cut."""


class Lines:
    """A text file that is read in blocks of whole lines, so that a long one needs no more memory than a short one.

    It is read, not mapped: a mapped file that is cut short meanwhile kills the process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = path.open("rb")
        self.size = os.fstat(self._handle.fileno()).st_size

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def read(self, begin: int, end: int) -> bytes:
        """The bytes from ``begin`` to ``end``, or to the end of the file.

        Raises
        ------
        TrajectoryError
            If the file has become shorter since it was opened.
        """
        return read_bytes(self._handle.fileno(), begin, max(0, min(end, self.size) - begin), self.path)

    def blocks(self, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Whole lines, many at once, each time with the byte of the file at which they begin; the last may have no end."""
        end = self.size if end is None else min(end, self.size)
        at, step = begin, BLOCK
        while at < end:
            block = self.read(at, min(at + step, end))
            cut = len(block) if at + len(block) == end else block.rfind(b"\n") + 1
            if not cut and step < LONGEST:
                step *= 2
                continue
            cut = cut or len(block)
            yield at, block[:cut]
            at, step = at + cut, BLOCK


def load_text_topology(text: bytes, suffix: str, path: Path) -> mdtraj.Topology:
    """The topology of a piece of a PDB or mmCIF file, by mdtraj's own reader.

    Raises
    ------
    TopologyError
        If mdtraj cannot read it.
    """
    with tempfile.TemporaryDirectory(prefix="mdinsight-") as folder:
        piece = Path(folder) / f"first{suffix}"
        piece.write_bytes(text)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return mdtraj.load_topology(str(piece))
        except Exception as error:  # mdtraj's readers raise nearly anything
            raise TopologyError(f"the topology of {path} cannot be read: {type(error).__name__}: {error}") from error


def first_locations(keys: list[tuple[bytes, ...]], locations: list[bytes]) -> list[int]:
    """The lines that stand for an atom: a later one with the same key and another letter is its alternate location.

    One with the same key and the same letter is another atom: writers begin to number anew after residue 9999.
    """
    first: dict[tuple[bytes, ...], bytes] = {}
    return [
        number
        for number, (key, location) in enumerate(zip(keys, locations, strict=True))
        if first.setdefault(key, location) == location
    ]
