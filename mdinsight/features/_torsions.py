"""Torsions: backbone and side-chain dihedral angles, or any four atoms, as cosine and sine."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from mdtraj.geometry import dihedral

from mdinsight.errors import DataWarning, ParameterError, warn_user
from mdinsight.features._base import Feature
from mdinsight.features._checks import as_array, atom_table, check_flags
from mdinsight.features._columns import quick_column
from mdinsight.features._geometry import difference, prepare_box, torsion, torsion_gradient
from mdinsight.features._jit import jit
from mdinsight.features._labels import Labels
from mdinsight.features._lanes import arctan2, root, select
from mdinsight.features._memory import store
from mdinsight.features._parts import Part, part
from mdinsight.series import Column
from mdinsight.words import some

# Which of the four atoms stands in the residue that the torsion is named after (IUPAC 1970, doi:10.1021/bi00820a001).
_OWNER = {"phi": 2, "psi": 1, "omega": 1, "chi1": 1, "chi2": 1, "chi3": 1, "chi4": 1, "chi5": 1}
_CHI = tuple(f"chi{i}" for i in range(1, 6))
_KNOWN = {*_OWNER, "chi"}


class Torsions(Feature):
    """Torsions, each as a cosine and a sine column, or with ``raw=True`` as the angle itself (radians, period 2 pi).

    Parameters
    ----------
    kinds
        Names apart by spaces out of ``phi psi omega chi1 chi2 chi3 chi4 chi5``; ``chi`` is all five; by default ``phi
        psi``, unless quadruplets are given. An array (n, 4) of atom numbers stands for ``quadruplets``.
    raw
        The angle in (-pi, pi] instead of its cosine and sine.
    quadruplets
        (n, 4) atom numbers of further torsions.
    periodic
        Take bond vectors between nearest images where there is a box.

    Notes
    -----
    The angle has IUPAC's sign (doi:10.1021/bi00820a001). omega is that of the bond from the residue to the next. At
    exactly collinear atoms a torsion is not defined; cosine is 1, sine 0 and the gradient zero there.

    phi, psi and omega are left out where the residue numbers of neighbours in a chain jump (from 2 to 4, say), and a
    ``DataWarning`` names them: as a rule residues are missing there, and readers of PDB files bond what stands next to
    each other in the file, so bonds do not tell. Equal numbers (insertion codes) are no jump. Where a jump is in the
    numbering alone (some antibodies), give the four atoms as ``quadruplets``.
    """

    kinds: Any = None
    raw: bool = False
    quadruplets: Any = None
    periodic: bool = True

    def __post_init__(self) -> None:
        self._check_names()
        check_flags(self, "raw", "periodic")
        if self.kinds is None:
            object.__setattr__(self, "kinds", "phi psi" if self.quadruplets is None else "")
        elif not isinstance(self.kinds, str):
            if self.quadruplets is not None:
                raise ParameterError("Torsions: give the atoms once, as quadruplets=")
            object.__setattr__(self, "quadruplets", self.kinds)
            object.__setattr__(self, "kinds", "")
        if self.quadruplets is not None:
            table = atom_table(self.quadruplets, 4, "Torsions", "quadruplets", "names, such as Torsions('phi psi')")
            object.__setattr__(self, "quadruplets", table)
        names: list[str] = []
        for name in self.kinds.split():
            names.extend(_CHI if name == "chi" else (name,))
        unknown = [name for name in names if name not in _OWNER]
        if unknown or (not names and self.quadruplets is None):
            raise ParameterError(
                f"Torsions({self.kinds!r}): {' '.join(unknown) or 'nothing'} is no torsion; "
                f"known are {' '.join(_OWNER)} and chi"
            )
        object.__setattr__(self, "kinds", " ".join(dict.fromkeys(names)))
        super().__post_init__()

    def _check_names(self) -> None:
        """Names in a list, in several arguments or apart by commas are likely mistakes; the error says how to write them."""
        if self.kinds is None:
            return
        if not isinstance(self.kinds, str):
            names = as_array(self.kinds).ravel().tolist()
            if any(isinstance(name, str) and name in _KNOWN for name in names):
                one = " ".join(map(str, names))
                raise ParameterError(f"Torsions: {names} is a list of names; give one string, Torsions({one!r})")
            return
        for name, value in (("raw", self.raw), ("quadruplets", self.quadruplets)):
            if isinstance(value, str) and value in _KNOWN:
                one = f"{self.kinds} {value}"
                raise ParameterError(
                    f"Torsions: {name}={value!r} is the name of a torsion; give all names in one string, Torsions({one!r})"
                )
        plain = " ".join(re.findall(r"[a-z]+\d?", self.kinds.lower()))
        if plain and _KNOWN.issuperset(plain.split()) and not _KNOWN.issuperset(self.kinds.split()):
            raise ParameterError(
                f"Torsions: in {self.kinds!r} the names must be apart by blanks, in lower case: Torsions({plain!r})"
            )

    @property
    def title(self) -> str:
        """``Torsions('phi psi')``."""
        return f"Torsions({self.kinds!r})" if self.kinds else f"Torsions({len(self.quadruplets)} quadruplets)"

    def parts(self, labels: Labels) -> list[Any]:
        """The bound kernel."""
        found = list(self._named(labels))
        if self.quadruplets is not None:
            for row in labels.atoms(self.quadruplets, self.title):
                atoms = tuple(int(i) for i in row)
                found.append(
                    (
                        "torsion",
                        atoms,
                        " - ".join(labels.atom(i) for i in atoms),
                        " ".join(labels.atom_key(i) for i in atoms),
                    )
                )
        if not found:
            raise labels.none(self.title)
        columns: list[Column] = []
        unit, period = ("rad", 2 * math.pi) if self.raw else ("", None)
        outputs = np.full((len(found), 3), -1)
        for row, (kind, atoms, name, key) in enumerate(found):
            residues = labels.residues_of(atoms)
            for which, prefix in ((2, ""),) if self.raw else ((0, "cos "), (1, "sin ")):
                outputs[row, which] = len(columns)
                named, keyed = f"{prefix}{kind} {name}", f"{prefix}{kind} {key}"
                columns.append(quick_column(named, kind, atoms, residues, keyed, unit, period))
        params = np.full((1, 1), float(self.periodic))
        return [_part(self, columns, found, outputs, params)]

    def _named(self, labels: Labels) -> Iterator[tuple[str, tuple[int, ...], str, str]]:
        """(kind, atoms, residue's name, residue's key), in the order of the residues, phi before psi."""
        rows, apart = [], []
        for place, kind in enumerate(self.kinds.split()):
            for quadruplet in getattr(dihedral, f"indices_{kind}")(labels.topology):
                atoms = tuple(int(i) for i in quadruplet)
                residue = labels.residue_of(atoms[_OWNER[kind]])
                if labels.numbers_jump(atoms):
                    apart.append((residue, place, f"{kind} {labels.residue(residue)}"))
                else:
                    rows.append((residue, place, kind, atoms))
        if apart:
            names = [name for _, _, name in sorted(apart)]
            warn_user(
                f"{self.title}: {some(names)} left out: the residue numbers jump there, so residues seem to be missing; "
                "if they are bonded, give the four atoms of each as quadruplets=",
                DataWarning,
            )
        for residue, _, kind, atoms in sorted(rows):
            yield kind, atoms, labels.residue(residue), labels.residue_key(residue)


def _part(feature: Torsions, columns: list[Column], found: list[Any], outputs: np.ndarray, params: np.ndarray) -> Part:
    return part(feature, columns, kernel, [atoms for _, atoms, _, _ in found], outputs, params)


@jit
def kernel(xyz, box, has_box, index, params, out, cot, grad):  # type: ignore[no-untyped-def]
    """Index: four atoms, then the outputs of cosine, sine and angle. Params: (periodic,)."""
    cell = prepare_box(box, has_box and params[0, 0] > 0.0)
    for n in range(index.shape[0]):
        i, j, k, l = index[n, 0], index[n, 1], index[n, 2], index[n, 3]  # noqa: E741
        u = difference(xyz, i, j, cell)
        v = difference(xyz, j, k, cell)
        w = difference(xyz, k, l, cell)
        x, y = torsion(u, v, w)
        length = root(x * x + y * y)
        defined = length != 0.0  # NaN is let through
        cosine = select(defined, x / length, 1.0)
        sine = select(defined, y / length, 0.0)
        c, s, a = index[n, 4], index[n, 5], index[n, 6]
        if c >= 0:
            store(out, c, cosine)
        if s >= 0:
            store(out, s, sine)
        if a >= 0:
            store(out, a, arctan2(y, x))
        if grad is not None and grad.shape[0] > 0:
            factor = 0.0
            if c >= 0:
                factor -= sine * cot[c]
            if s >= 0:
                factor += cosine * cot[s]
            if a >= 0:
                factor += cot[a]
            torsion_gradient(u, v, w, (i, j, k, l), factor, grad)
