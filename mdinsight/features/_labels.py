"""What atoms and residues are called in column names, and by which key they are found in another topology."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from itertools import pairwise

import mdtraj
import numpy as np

from mdinsight.errors import SelectionError, TopologyError
from mdinsight.trajectories import select_atoms, topology_hash


class Labels:
    """A topology with the names of its parts.

    ``ALA2`` names a residue (``B:ALA2`` where several chains are more than water and ions); its key ``0:2`` is the
    chain's number and the residue's number without the residue's name, so a mutant's residue has the same key. What
    would be named or keyed twice is numbered (``#2``).
    """

    def __init__(self, topology: mdtraj.Topology, name: str = "") -> None:
        self.topology = topology
        self.name = name
        self._atoms: dict[int, tuple[str, str]] = {}
        self._residues: dict[int, tuple[str, str]] = {}

    @cached_property
    def hash(self) -> str:
        """Content identity of the topology."""
        return topology_hash(self.topology)

    @cached_property
    def _prefixes(self) -> list[str]:
        """What stands before a residue's name, by chain: nothing where only one chain is more than water and ions."""
        chains = list(self.topology.chains)
        if sum(_is_told(chain) for chain in chains) < 2:
            return [""] * len(chains)
        letters = [str(getattr(c, "chain_id", None) or c.index) for c in chains]
        distinct = len(set(letters)) == len(letters)
        return [f"{letter if distinct else c.index}:" for c, letter in zip(chains, letters, strict=True)]

    def _residue(self, index: int) -> tuple[str, str]:
        """Name and key of a residue; a chain's are made when one of them is asked for, as water is many and seldom asked."""
        if index not in self._residues:
            chain = self.topology.residue(index).chain
            prefix, seen = self._prefixes[chain.index], Counter[str]()
            for residue in chain.residues:
                key = f"{chain.index}:{residue.resSeq}"
                seen[key] += 1
                twin = f"#{seen[key]}" if seen[key] > 1 else ""
                self._residues[residue.index] = f"{prefix}{residue.name}{residue.resSeq}{twin}", key + twin
        return self._residues[index]

    def residue(self, index: int) -> str:
        """Name of a residue, e.g. ``ALA2``."""
        return self._residue(index)[0]

    def residue_key(self, index: int) -> str:
        """Key of a residue, e.g. ``0:2``."""
        return self._residue(index)[1]

    def atom(self, index: int) -> str:
        """Name of an atom, e.g. ``ALA2-CA``."""
        return self._atom(index)[0]

    def atom_key(self, index: int) -> str:
        """Key of an atom, e.g. ``0:2:CA``."""
        return self._atom(index)[1]

    def residue_of(self, atom: int) -> int:
        """Number of the residue that an atom is in."""
        return int(self.topology.atom(atom).residue.index)

    def residues_of(self, atoms: tuple[int, ...]) -> tuple[str, ...]:
        """Names of the residues that atoms are in, each once, in order."""
        return tuple(dict.fromkeys(self.residue(self.residue_of(a)) for a in atoms))

    def numbers_jump(self, atoms: tuple[int, ...]) -> bool:
        """Whether the numbers of neighbouring residues jump somewhere between the first and the last of the atoms."""
        numbers = [self.topology.residue(i).resSeq for i in sorted({self.residue_of(a) for a in atoms})]
        wrapped = (9999, 99999)  # the columns of a PDB file hold no more; the next is 0 or 1
        return any(b - a not in (0, 1) and a not in wrapped for a, b in pairwise(numbers))

    def _atom(self, index: int) -> tuple[str, str]:
        if index not in self._atoms:
            residue = self.topology.atom(index).residue
            label, key = self._residue(residue.index)
            seen: dict[str, int] = {}
            for atom in residue.atoms:
                name = atom.name
                seen[name] = count = seen.get(name, 0) + 1
                name = name if count == 1 else f"{name}#{count}"
                self._atoms[atom.index] = f"{label}-{name}", f"{key}:{name}"
        return self._atoms[index]

    def select(self, selection: str | np.ndarray, who: str) -> np.ndarray:
        """Numbers of the atoms selected.

        Raises
        ------
        SelectionError
            If the selection matches nothing, cannot be parsed, or names an atom that is not there.
        """
        try:
            return np.asarray(select_atoms(self.topology, selection), dtype=np.int64)
        except SelectionError as error:
            raise SelectionError(f"{who}: {error} (in {self})") from None

    def atoms(self, table: np.ndarray, who: str) -> np.ndarray:
        """A table of atom numbers, checked against the topology."""
        if len(table) == 0 or table.min() < 0 or table.max() >= self.topology.n_atoms:
            raise SelectionError(f"{who} names atoms {table.min()}..{table.max()}; {self} numbers its atoms from 0")
        return table

    def none(self, who: str, hint: str = "") -> TopologyError:
        """The error for a feature that finds nothing here."""
        return TopologyError(
            f"{who} finds none in {self}: its residues are {self.some_residues()}{'; ' if hint else ''}{hint}"
        )

    def some_residues(self, most: int = 12) -> str:
        """The first residues, for an error."""
        names = [self.residue(i) for i in range(min(most, self.topology.n_residues))]
        more = self.topology.n_residues - len(names)
        return " ".join(names) + (f" and {more} more" if more > 0 else "")

    def __str__(self) -> str:
        return f"{self.name or 'the topology'} ({self.topology.n_atoms} atoms)"


def _is_told(chain: mdtraj.core.topology.Chain) -> bool:
    """Whether a chain has a residue of several atoms that is no water."""
    first: dict[str, mdtraj.core.topology.Residue] = {}
    for residue in chain.residues:
        if residue.name not in first:
            first[residue.name] = residue
            if not residue.is_water and residue.n_atoms > 1:
                return True
    others = {name for name, residue in first.items() if not residue.is_water}
    return bool(others) and any(residue.name in others and residue.n_atoms > 1 for residue in chain.residues)
