"""Conformers of one molecule: frames in which a peptide bond or a stereocentre has turned over are another molecule."""

from __future__ import annotations

import mdtraj
import numpy as np

from mdinsight.features import Torsions
from mdinsight.records import Record


class Isomers(Record):
    """The amide bonds and stereocentres of a molecule.

    Attributes
    ----------
    amides
        (n, 4) atoms X - C - N - Y of secondary amides; proline's, which turn in nature too, are left out.
    centres
        (n, 4) carbons with three heavy neighbours and one hydrogen: the carbon and its neighbours.
    """

    amides: np.ndarray
    centres: np.ndarray

    @classmethod
    def of(cls, topology: mdtraj.Topology) -> Isomers:
        """Found by bonds; a topology without bonds has none."""
        neighbours: dict[int, list[mdtraj.core.topology.Atom]] = {atom.index: [] for atom in topology.atoms}
        for a, b in topology.bonds:
            neighbours[a.index].append(b)
            neighbours[b.index].append(a)
        amides, centres = [], []
        for atom in topology.atoms:
            near = sorted(neighbours[atom.index], key=lambda other: other.index)
            heavy = [other for other in near if _symbol(other) != "H"]
            if _symbol(atom) == "C" and len(near) == 4 and len(heavy) == 3:
                centres.append([atom.index, *(other.index for other in heavy)])
            if _symbol(atom) == "C" and len(near) == 3:
                amides += _amides(atom, heavy, neighbours)
        return cls(np.array(amides, int).reshape(-1, 4), np.array(centres, int).reshape(-1, 4))

    def signature(self, xyz: np.ndarray) -> np.ndarray:
        """Which isomer each frame is: signs (n_frames, n_amides + n_centres) of cis/trans and of the handedness.

        Parameters
        ----------
        xyz
            (n_frames, n_atoms, 3) nm, molecules whole.
        """
        xyz = np.asarray(xyz, np.float64)
        columns = []
        for x, c, n, y in self.amides:
            columns.append(_cosine(xyz[:, x], xyz[:, c], xyz[:, n], xyz[:, y]) > 0)
        for centre, a, b, c in self.centres:
            one, two, three = (xyz[:, other] - xyz[:, centre] for other in (a, b, c))
            columns.append(np.einsum("fi,fi->f", np.cross(one, two), three) > 0)
        return np.array(columns, bool).reshape(len(columns), len(xyz)).T

    def same(self, xyz: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """Mask (n_frames,) of the frames that are the same isomer as the reference (n_atoms, 3)."""
        return np.asarray((self.signature(xyz) == self.signature(reference[None])).all(axis=1))

    def features(self) -> Torsions | None:
        """The torsions of the amide bonds, or None without any."""
        return Torsions(quadruplets=self.amides) if len(self.amides) else None


def _symbol(atom: mdtraj.core.topology.Atom) -> str:
    return "" if atom.element is None else atom.element.symbol


def _amides(
    carbon: mdtraj.core.topology.Atom,
    heavy: list[mdtraj.core.topology.Atom],
    neighbours: dict[int, list[mdtraj.core.topology.Atom]],
) -> list[list[int]]:
    """X - C - N - Y where C has a terminal oxygen and N one other heavy neighbour."""
    oxygen = any(_symbol(other) == "O" and len(neighbours[other.index]) == 1 for other in heavy)
    others = [other for other in heavy if _symbol(other) == "C"]
    found = []
    for nitrogen in (other for other in heavy if _symbol(other) == "N"):
        far = [a for a in neighbours[nitrogen.index] if a.index != carbon.index and _symbol(a) != "H"]
        if oxygen and len(others) == 1 and len(far) == 1:
            found.append([others[0].index, carbon.index, nitrogen.index, far[0].index])
    return found


def _cosine(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Sign of the cosine of the torsion: positive is cis."""
    one, two = np.cross(b - a, c - b), np.cross(c - b, d - c)
    return np.asarray(np.einsum("fi,fi->f", one, two))
