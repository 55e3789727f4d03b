"""Features that mdtraj computes, for analysis only: solvent-accessible surface, hydrogen bonds, secondary structure."""

from __future__ import annotations

from typing import Any

import mdtraj
import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.features._base import Feature
from mdinsight.features._checks import check_flags
from mdinsight.features._labels import Labels
from mdinsight.features._parts import TrajectoryPart
from mdinsight.features._selection import as_selection, told
from mdinsight.series import Column

_CODES = {"H": "helix", "E": "strand", "C": "coil"}
_FULL_CODES = {
    "H": "alpha helix",
    "B": "beta bridge",
    "E": "strand",
    "G": "3-10 helix",
    "I": "pi helix",
    "T": "turn",
    "S": "bend",
    " ": "loop",
}


class _Analysis(Feature):
    """What the three have in common: some atoms, a function of their frames, and no gradient."""

    home = "mdinsight.features"

    @property
    def has_gradient(self) -> bool:
        """No."""
        return False

    @property
    def title(self) -> str:
        """``SASA('protein')``."""
        return f"{type(self).__name__}({told(self.selection)!r})"

    selection: Any = "protein"

    def __post_init__(self) -> None:
        object.__setattr__(self, "selection", as_selection(self.selection))
        super().__post_init__()

    def _atoms(self, labels: Labels) -> tuple[np.ndarray, mdtraj.Topology]:
        atoms = np.unique(labels.select(self.selection, self.title))
        if len(atoms) == 0:
            raise labels.none(self.title)
        return atoms, labels.topology.subset(atoms)

    def _part(
        self, columns: list[Column], atoms: np.ndarray, topology: mdtraj.Topology, function: Any
    ) -> TrajectoryPart:
        count = len(columns)
        return TrajectoryPart(self, tuple(columns), atoms, topology, function, tuple(range(count)), count)


class SASA(_Analysis):
    """Solvent-accessible surface area in nm^2; no gradient.

    ``mdtraj.shrake_rupley``; Shrake & Rupley 1973, doi:10.1016/0022-2836(73)90011-9.

    Parameters
    ----------
    selection
        The atoms that make the surface; solvent does not belong to it.
    mode
        ``"residue"``: a column for each residue; ``"atom"``: for each atom; ``"total"``: one.
    probe_radius
        Radius of the solvent in nm.
    n_sphere_points
        Points on the sphere of each atom.

    Notes
    -----
    The values are those of mdtraj called frame by frame. Called on a whole trajectory mdtraj itself differs from them by about
    1e-3 nm^2 a residue, as its areas of a frame depend on the frames before it.
    """

    selection: Any = "protein"
    mode: str = "residue"
    probe_radius: float = 0.14
    n_sphere_points: int = 960

    def __post_init__(self) -> None:
        if self.mode not in ("residue", "atom", "total"):
            raise ParameterError(f"SASA: mode={self.mode!r}; known are residue, atom, total")
        super().__post_init__()

    @property
    def instead(self) -> str:
        """What to bias instead."""
        return "use Contacts(kind='smooth') or RadiusOfGyration, which tell buried from exposed and have one"

    def parts(self, labels: Labels) -> list[Any]:
        """The function bound to its atoms."""
        atoms, topology = self._atoms(labels)
        numbers = atoms.tolist()
        groups: list[tuple[str, str, tuple[int, ...]]]
        if self.mode == "atom":
            groups = [(labels.atom(i), labels.atom_key(i), (i,)) for i in numbers]
        elif self.mode == "total":
            groups = [(f"({told(self.selection)})", "total", tuple(numbers))]
        else:
            members: dict[int, list[int]] = {}
            for i in numbers:
                members.setdefault(labels.residue_of(i), []).append(i)
            groups = [(labels.residue(r), labels.residue_key(r), tuple(found)) for r, found in members.items()]
        tag = self.hash[:10]
        columns = [
            Column(f"sasa {name}", "sasa", used, labels.residues_of(used), f"sasa {key} {tag}", unit="nm^2")
            for name, key, used in groups
        ]
        return [self._part(columns, atoms, topology, self._compute)]

    def _compute(self, frames: mdtraj.Trajectory) -> np.ndarray:
        mode = "atom" if self.mode == "total" else self.mode
        settings = self.probe_radius, self.n_sphere_points, mode
        # In one call on many frames the areas of a frame depend, in the fourth digit, on the frames before it (mdtraj 1.11), so
        # the result would depend on the size of the chunks. Each frame is a call of its own.
        each = (frames.slice(i, copy=False) for i in range(frames.n_frames))
        areas = np.concatenate([mdtraj.shrake_rupley(frame, *settings) for frame in each])
        return areas.sum(axis=1, keepdims=True) if self.mode == "total" else areas


class SecondaryStructure(_Analysis):
    """Secondary structure of each residue: 1 in the column of what it is, 0 in the others; no gradient.

    DSSP by mdtraj; Kabsch & Sander 1983, doi:10.1002/bip.360221211.

    Parameters
    ----------
    selection
        The atoms of the protein.
    simplified
        Helix, strand and coil; else the eight classes of DSSP.
    """

    selection: Any = "protein"
    simplified: bool = True

    def __post_init__(self) -> None:
        check_flags(self, "simplified")
        super().__post_init__()

    @property
    def instead(self) -> str:
        """What to bias instead."""
        return "use Torsions('phi psi') of these residues, which secondary structure is made of and which have one"

    def parts(self, labels: Labels) -> list[Any]:
        """The function bound to its atoms."""
        atoms, topology = self._atoms(labels)
        members: dict[int, list[int]] = {}
        for i in atoms.tolist():
            members.setdefault(labels.residue_of(i), []).append(i)
        whole = [
            r for r, found in members.items() if {"N", "CA", "C", "O"} <= {labels.topology.atom(i).name for i in found}
        ]
        if not whole:
            raise labels.none(self.title, "no residue has the atoms N, CA, C and O")
        places = [list(members).index(r) for r in whole]
        codes = _CODES if self.simplified else _FULL_CODES
        tag = self.hash[:10]
        columns = [
            Column(
                f"{word} {labels.residue(r)}",
                "dssp",
                tuple(members[r]),
                (labels.residue(r),),
                f"dssp {word} {labels.residue_key(r)} {tag}",
            )
            for r in whole
            for word in codes.values()
        ]
        return [self._part(columns, atoms, topology, _Dssp(tuple(places), tuple(codes), self.simplified))]


class _Dssp:
    """DSSP codes of chosen residues as ones and zeros; a class so that it can be sent to another process."""

    def __init__(self, places: tuple[int, ...], codes: tuple[str, ...], simplified: bool) -> None:
        self.places, self.codes, self.simplified = places, codes, simplified

    def __call__(self, frames: mdtraj.Trajectory) -> np.ndarray:
        found = mdtraj.compute_dssp(frames, self.simplified)[:, list(self.places)]
        is_code = found[:, :, None] == np.array(self.codes)[None, None]
        return is_code.reshape(len(found), -1).astype(np.float32)


class HydrogenBonds(_Analysis):
    """Hydrogen bonds: H...A below 0.25 nm and D-H...A above 120 degrees; no gradient.

    The criterion of Baker & Hubbard 1984, doi:10.1016/0079-6107(84)90007-5, with mdtraj's distances and angles.

    Parameters
    ----------
    selection
        Donors (N-H and O-H) and acceptors (N and O) among these atoms.
    kind
        ``"count"``: one column, the number of bonds; ``"bonds"``: a column of ones and zeros for each donor hydrogen
        and acceptor of different residues.
    distance, angle
        The criterion, in nm and degrees.
    """

    selection: Any = "protein"
    kind: str = "count"
    distance: float = 0.25
    angle: float = 120.0

    def __post_init__(self) -> None:
        if self.kind not in ("count", "bonds"):
            raise ParameterError(f"HydrogenBonds: kind={self.kind!r}; known are count, bonds")
        super().__post_init__()

    @property
    def instead(self) -> str:
        """What to bias instead."""
        return "use Distances between the hydrogens and their acceptors, which have one"

    def parts(self, labels: Labels) -> list[Any]:
        """The function bound to its atoms."""
        chosen, _ = self._atoms(labels)
        triplets = _triplets(labels, set(chosen.tolist()))
        if len(triplets) == 0:
            raise labels.none(self.title, "it needs N-H or O-H bonds and an N or O in another residue")
        atoms = np.unique(triplets)
        topology = labels.topology.subset(atoms)
        tag = self.hash[:10]
        if self.kind == "count":
            used = tuple(atoms.tolist())
            columns = [
                Column(f"hbonds ({told(self.selection)})", "hbonds", used, labels.residues_of(used), f"hbonds {tag}")
            ]
        else:
            columns = [
                Column(
                    f"hbond {labels.atom(h)} - {labels.atom(a)}",
                    "hbond",
                    (d, h, a),
                    labels.residues_of((h, a)),
                    f"hbond {labels.atom_key(h)} {labels.atom_key(a)} {tag}",
                )
                for d, h, a in triplets.tolist()
            ]
        function = _Bonds(np.searchsorted(atoms, triplets), self.distance, np.deg2rad(self.angle), self.kind == "count")
        return [self._part(columns, atoms, topology, function)]


class _Bonds:
    """Which hydrogen bonds stand, or how many; a class so that it can be sent to another process."""

    def __init__(self, triplets: np.ndarray, distance: float, angle: float, count: bool) -> None:
        self.triplets, self.distance, self.angle, self.count = triplets, distance, angle, count

    def __call__(self, frames: mdtraj.Trajectory) -> np.ndarray:
        near = mdtraj.compute_distances(frames, self.triplets[:, 1:]) < self.distance
        bonded = near & (mdtraj.compute_angles(frames, self.triplets) > self.angle)
        return (bonded.sum(axis=1, keepdims=True) if self.count else bonded).astype(np.float32)


def _triplets(labels: Labels, chosen: set[int]) -> np.ndarray:
    donors = []
    for bond in labels.topology.bonds:
        for heavy, light in ((bond[0], bond[1]), (bond[1], bond[0])):
            symbols = [atom.element.symbol if atom.element else "" for atom in (heavy, light)]
            if symbols[0] in ("N", "O") and symbols[1] == "H" and {heavy.index, light.index} <= chosen:
                donors.append((heavy.index, light.index, heavy.residue.index))
    acceptors = [
        (atom.index, atom.residue.index)
        for atom in labels.topology.atoms
        if atom.index in chosen and atom.element is not None and atom.element.symbol in ("N", "O")
    ]
    rows = [(d, h, a) for d, h, home in sorted(donors) for a, other in acceptors if other != home]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)
