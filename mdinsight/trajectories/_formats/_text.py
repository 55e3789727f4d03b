"""What the text formats that carry their own topology share."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import mdtraj

from mdinsight.errors import TopologyError


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
