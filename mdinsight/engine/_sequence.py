"""A chain of amino acids out of its sequence, extended, with L residues and trans peptide bonds."""

from __future__ import annotations

import io
import re
from typing import Any

from mdinsight.engine._complete import Structure, fixer_of_text
from mdinsight.errors import ParameterError

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
_STRAND = (-120.0, 140.0)  # phi and psi of an extended chain, degrees
_PROLINE = -70.0  # phi that the ring allows
_KEPT = ({"CA": "CH3", "C": "C", "O": "O"}, {"N": "N", "CA": "CH3"})  # what ACE and NME keep of a glycine


def parse(sequence: Any, caps: bool) -> tuple[str, bool]:
    """The letters of a sequence, and whether it is capped.

    Raises
    ------
    ParameterError
        Naming the first letter that is no amino acid, and its place.
    """
    if not isinstance(sequence, str) or not sequence.strip():
        raise ParameterError(f"sequence={sequence!r} is no sequence; give one-letter codes, e.g. 'YYDPETGTWY'")
    text = "".join(sequence.split())
    match = re.fullmatch(r"ace-(.*)-(?:nme|nma)", text, re.IGNORECASE)
    letters, before = (match[1], len("ace-")) if match else (text, 0)
    for place, letter in enumerate(letters):
        if letter in LETTERS:
            continue
        where = f"letter {before + place + 1} of the sequence {text!r}, {letter!r}, is no amino acid"
        if letter.upper() in LETTERS:
            raise ParameterError(
                f"{where} in capitals; write {letter.upper()!r} (small letters often mean D amino acids, which are not built)"
            )
        raise ParameterError(
            f"{where}; allowed are {', '.join(LETTERS)}, and 'ace-...-nme' around them for capped ends"
        )
    if not letters:
        raise ParameterError(f"sequence={sequence!r} has no amino acid between its caps; give at least one")
    return letters, caps or match is not None


def build(sequence: Any, caps: bool) -> Structure:
    """The heavy atoms of an extended chain.

    A single amino acid is capped always, since force fields do not know a free one.
    """
    letters, capped = parse(sequence, caps)
    alone = len(letters) == 1 and not capped
    text = _pdb(letters, capped or alone)
    from openmm import app

    pdb = app.PDBFile(io.StringIO(text))
    name = f"ace-{letters}-nme" if capped or alone else letters
    structure = Structure(pdb.topology, pdb.positions, name, lambda: fixer_of_text(text))
    if alone:
        structure.notes["caps"] = "ACE and NME, since a single amino acid cannot be parametrised without"
    return structure


def _pdb(letters: str, capped: bool) -> str:
    """The chain as a PDB file."""
    import PeptideBuilder  # type: ignore[import-untyped]
    from Bio.PDB import PDBIO

    built = f"G{letters}G" if capped else letters
    phi = [_PROLINE if letter == "P" else _STRAND[0] for letter in built[1:]]
    chain = PeptideBuilder.make_structure(built, phi, [_STRAND[1]] * len(phi), [180.0] * len(phi))
    if capped:
        residues = list(chain.get_residues())
        for residue, name, kept in zip((residues[0], residues[-1]), ("ACE", "NME"), _KEPT, strict=True):
            residue.resname = name
            for atom in list(residue):
                if atom.get_name() not in kept:
                    residue.detach_child(atom.get_name())
                    continue
                atom.name = kept[atom.get_name()]
                atom.fullname = f" {atom.name:<3s}"
    text, writer = io.StringIO(), PDBIO()
    writer.set_structure(chain)
    writer.save(text)
    return text.getvalue()
