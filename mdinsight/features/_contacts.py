"""Contacts between residues: their distance, whether they touch, or a smooth count of touching."""

from __future__ import annotations

import math
from typing import Any

import mdtraj
import numpy as np

from mdinsight import units
from mdinsight.compiled import compiled
from mdinsight.errors import ParameterError
from mdinsight.features._base import Feature, reference_tag
from mdinsight.features._checks import atom_table, check_exclude, check_flags
from mdinsight.features._columns import Member, pair_columns
from mdinsight.features._geometry import axpy, difference, dot, prepare_box
from mdinsight.features._jit import jit
from mdinsight.features._labels import Labels
from mdinsight.features._lanes import exponential, logarithm, root, select
from mdinsight.features._memory import store, zeros
from mdinsight.features._parts import Part

_KINDS = {"distance": 0, "hard": 1, "smooth": 2}
_SCHEMES = ("closest-heavy", "closest", "ca", "sidechain-heavy")


class Contacts(Feature):
    """Contacts between pairs of residues.

    Parameters
    ----------
    selection
        Which residues: all that have an atom in the selection; None: those with a CA atom. An array (n, 2) of residue
        numbers (from 0, as mdtraj counts them) stands for ``pairs``.
    other
        A second selection: pairs between the two.
    pairs
        (n, 2) residue numbers.
    kind
        ``"smooth"``: 1 / (1 + (r / cutoff)^6), which is the rational switching function (1 - x^6) / (1 - x^12), of
        the soft minimum distance; ``"hard"``: 1 if the smallest distance is at most the cutoff, else 0, no gradient;
        ``"distance"``: the smallest distance itself in nm, as ``mdtraj.compute_contacts`` gives it.
    scheme
        Atoms that count: ``"closest-heavy"``, ``"closest"`` (hydrogens too), ``"ca"`` or ``"sidechain-heavy"``
        (for glycine its side-chain hydrogens, as in mdtraj).
    cutoff
        Contact distance, nm or a string such as ``"4.5 angstrom"``.
    exclude
        Pairs of one chain at most so many residues apart in sequence are left out (2, as in mdtraj). Pairs given
        explicitly are all kept.
    soft_min
        Use the differentiable minimum beta / log(sum(exp(beta / r))) (Bonomi et al. 2009,
        doi:10.1016/j.cpc.2009.05.011) rather than the smallest distance; by default so for ``"smooth"`` alone.
    beta
        Sharpness of the soft minimum in nm; 20 as in mdtraj.
    periodic
        To nearest images where there is a box.

    Notes
    -----
    Of the smallest distance the gradient is that of the closest pair; it jumps where another pair becomes the closest.
    """

    selection: Any = None
    other: Any = None
    pairs: Any = None
    kind: str = "smooth"
    scheme: str = "closest-heavy"
    cutoff: Any = 0.45
    exclude: int = 2
    soft_min: bool | None = None
    beta: float = 20.0
    periodic: bool = True

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ParameterError(f"Contacts: kind={self.kind!r}; known are {', '.join(_KINDS)}")
        if self.scheme not in _SCHEMES:
            raise ParameterError(f"Contacts: scheme={self.scheme!r}; known are {', '.join(_SCHEMES)}")
        for given in (self.selection, self.other):
            if isinstance(given, str) and given in _SCHEMES:
                raise ParameterError(f"Contacts: the selection {given!r} is a scheme; did you mean scheme={given!r}")
        if self.selection is not None and not isinstance(self.selection, str):
            if self.pairs is not None:
                raise ParameterError("Contacts: give the residue pairs once, as pairs=")
            object.__setattr__(self, "pairs", self.selection)
            object.__setattr__(self, "selection", None)
        if self.pairs is not None:
            instead = "a selection of residues, such as Contacts('resid 1 2 3', exclude=0)"
            object.__setattr__(self, "pairs", atom_table(self.pairs, 2, "Contacts", "pairs", instead))
        object.__setattr__(self, "cutoff", units.length(self.cutoff, "cutoff"))
        object.__setattr__(self, "beta", float(self.beta))
        if self.cutoff <= 0 or self.beta <= 0:
            raise ParameterError(f"Contacts: cutoff={self.cutoff} and beta={self.beta} must be positive")
        if self.soft_min is None:
            object.__setattr__(self, "soft_min", self.kind == "smooth")
        check_exclude(self)
        check_flags(self, "soft_min", "periodic")
        if self.kind == "hard" and self.soft_min:
            raise ParameterError(
                "Contacts: a hard contact is of the smallest distance; leave out soft_min or take kind='smooth'"
            )
        super().__post_init__()

    @property
    def title(self) -> str:
        """``Contacts('protein', kind='smooth')``."""
        told = [repr(s) for s in (self.selection, self.other) if s is not None]
        if self.pairs is not None:
            told.append(f"{len(self.pairs)} pairs")
        return f"Contacts({', '.join([*told, f'kind={self.kind!r}', f'scheme={self.scheme!r}'])})"

    @property
    def has_gradient(self) -> bool:
        """True but for hard contacts."""
        return self.kind != "hard"

    @property
    def instead(self) -> str:
        """What to bias instead of hard contacts."""
        return "use kind='smooth', which counts the same contacts and has one"

    def parts(self, labels: Labels) -> list[Any]:
        """The bound kernel."""
        pairs = self._pairs(labels)
        if len(pairs) == 0:
            raise labels.none(
                self.title, f"with exclude={self.exclude} no pair of residues is left; {self._remedy(labels)}"
            )
        residues = np.unique(pairs).tolist()
        atoms = {r: tuple(_atoms_of(labels.topology.residue(r), self.scheme)) for r in residues}
        empty = [labels.residue(r) for r, found in atoms.items() if not found]
        if empty:
            raise labels.none(
                self.title,
                f"{' '.join(empty[:8])} have no atom for scheme={self.scheme!r}; leave them out of the selection",
            )
        tag = reference_tag(self.kind, self.scheme, self.cutoff, self.soft_min, self.beta)
        what = "distance" if self.kind == "distance" else "contact"
        members = {r: Member(labels.residue(r), labels.residue_key(r), labels.residue(r), atoms[r]) for r in residues}
        columns = pair_columns(what, "nm" if what == "distance" else "", tag, pairs, members)
        table = _all_pairs(pairs, atoms)
        params = np.array(
            [[float(self.periodic), _KINDS[self.kind], float(bool(self.soft_min)), self.cutoff, self.beta]]
        )
        return [Part(self, columns, kernel, table, 2, params)]

    def _pairs(self, labels: Labels) -> np.ndarray:
        topology = labels.topology
        if self.pairs is not None:
            if self.pairs.min() < 0 or self.pairs.max() >= topology.n_residues:
                raise labels.none(
                    self.title,
                    f"residues {self.pairs.min()}..{self.pairs.max()} were asked for, it has {topology.n_residues}",
                )
            return self.pairs
        first = self._residues(labels, self.selection)
        second = first if self.other is None else self._residues(labels, self.other)
        chain = np.array([residue.chain.index for residue in topology.residues])
        rows, columns = np.repeat(first, len(second)), np.tile(second, len(first))
        pairs = np.unique(np.sort(np.column_stack([rows, columns]), axis=1), axis=0)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        close = (chain[pairs[:, 0]] == chain[pairs[:, 1]]) & (pairs[:, 1] - pairs[:, 0] <= self.exclude)
        return pairs[~close]

    def _remedy(self, labels: Labels) -> str:
        """What to write where no pair is left."""
        if self.exclude and len(self.replace(exclude=0)._pairs(labels)):
            return "write exclude=0, which leaves out no neighbours, or choose residues further apart"
        bare = self.selection is None and self.pairs is None
        why = "without a selection only residues with an atom CA are taken" if bare else "a pair needs two residues"
        return f"{why}; choose more residues, such as Contacts('all', exclude=0)"

    def _residues(self, labels: Labels, selection: str | None) -> np.ndarray:
        if selection is None:
            return np.array(
                [r.index for r in labels.topology.residues if any(a.name == "CA" for a in r.atoms)], dtype=np.int64
            )
        return np.unique([labels.residue_of(a) for a in labels.select(selection, self.title).tolist()])


def _atoms_of(residue: mdtraj.core.topology.Residue, scheme: str) -> list[int]:
    if scheme == "ca":
        return [a.index for a in residue.atoms if a.name == "CA"]
    chosen = [a for a in residue.atoms if scheme != "sidechain-heavy" or a.is_sidechain]
    if scheme != "closest" and not (scheme == "sidechain-heavy" and residue.name == "GLY"):
        chosen = [a for a in chosen if a.element is None or a.element.symbol != "H"]
    return [a.index for a in chosen]


def _all_pairs(pairs: np.ndarray, atoms: dict[int, tuple[int, ...]]) -> np.ndarray:
    """(n_terms, 3): each atom of the first residue with each of the second, and the number of the residue pair."""
    sizes = np.zeros(max(atoms) + 1, np.int64)
    sizes[list(atoms)] = [len(found) for found in atoms.values()]
    begins = np.cumsum(sizes) - sizes
    flat = np.concatenate([np.array(atoms[r]) for r in sorted(atoms)])
    table = np.empty((int((sizes[pairs[:, 0]] * sizes[pairs[:, 1]]).sum()), 3), np.int32)
    _fill(pairs, begins, sizes, flat, table)
    return table


@compiled
def _fill(pairs: np.ndarray, begins: np.ndarray, sizes: np.ndarray, flat: np.ndarray, table: np.ndarray) -> None:
    row = 0
    for number in range(pairs.shape[0]):
        first, second = pairs[number]
        for i in range(begins[first], begins[first] + sizes[first]):
            for j in range(begins[second], begins[second] + sizes[second]):
                table[row, 0], table[row, 1], table[row, 2] = flat[i], flat[j], number
                row += 1


@jit
def kernel(xyz, box, has_box, index, params, out, cot, grad):  # type: ignore[no-untyped-def]
    """Index: two atoms, then the output (its terms together). Params: (periodic, kind, soft, cutoff, beta)."""
    cell = prepare_box(box, has_box and params[0, 0] > 0.0)
    kind, soft, cutoff, beta = params[0, 1], params[0, 2] > 0.0, params[0, 3], params[0, 4]
    start = 0
    while start < index.shape[0]:
        o = index[start, 2]
        shortest, closest, stop = _closest(xyz, index, start, cell)
        least = root(shortest)
        r, total = least, zeros(xyz) + 1.0
        if soft:
            apart = least > 0.0
            total = _soft_sum(xyz, index, start, stop, cell, beta, least)
            r = select(apart, beta / (beta / least + logarithm(total)), least)
        value = r
        if kind == 1.0:
            value = select(r <= cutoff, 1.0, select(r > cutoff, 0.0, r))
        elif kind == 2.0:
            x2 = r / cutoff * (r / cutoff)
            value = 1.0 / (1.0 + x2 * x2 * x2)
        store(out, o, value)
        if grad is not None and grad.shape[0] > 0 and kind != 1.0 and least > 0.0:
            factor = cot[o]
            if kind == 2.0:
                factor *= -6.0 * value * (1.0 - value) / r
            if soft:
                _soft_gradient(xyz, index, start, stop, cell, beta, least, r, factor / total, grad)
            else:
                i, j = index[int(closest), 0], index[int(closest), 1]
                d = difference(xyz, i, j, cell)
                axpy(grad, j, factor / r, d)
                axpy(grad, i, -factor / r, d)
        start = stop


@jit
def _closest(xyz, index, start, cell):  # type: ignore[no-untyped-def]
    """(squared distance, row) of the closest pair of an output, and where the next output begins."""
    shortest, closest, total = zeros(xyz) + math.inf, zeros(xyz) + float(start), zeros(xyz)
    n, o = start, index[start, 2]
    while n < index.shape[0] and index[n, 2] == o:
        d = difference(xyz, index[n, 0], index[n, 1], cell)
        square = dot(d, d)
        total += square
        closest = select(square < shortest, float(n), closest)
        shortest = select(square < shortest, square, shortest)
        n += 1
    return select(total == total, shortest, total), closest, n  # NaN is taken


@jit
def _soft_sum(xyz, index, start, stop, cell, beta, least):  # type: ignore[no-untyped-def]
    """sum(exp(beta / r_n - beta / r)), which cannot overflow as r is the smallest."""
    total, top = zeros(xyz), beta / least
    for n in range(start, stop):
        d = difference(xyz, index[n, 0], index[n, 1], cell)
        total += exponential(beta / root(dot(d, d)) - top)
    return total


@jit
def _soft_gradient(xyz, index, start, stop, cell, beta, least, r, factor, grad):  # type: ignore[no-untyped-def]
    for n in range(start, stop):
        i, j = index[n, 0], index[n, 1]
        d = difference(xyz, i, j, cell)
        length = math.sqrt(dot(d, d))
        weight = exponential(beta / length - beta / least) * (r / length) ** 2
        axpy(grad, j, factor * weight / length, d)
        axpy(grad, i, -factor * weight / length, d)
