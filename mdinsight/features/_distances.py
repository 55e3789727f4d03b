"""Distances between pairs of atoms, to the nearest image."""

from __future__ import annotations

from typing import Any

import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.features._base import Feature
from mdinsight.features._checks import as_array, atom_table, check_exclude, check_flags
from mdinsight.features._columns import Member, pair_columns
from mdinsight.features._geometry import axpy, difference, dot, prepare_box
from mdinsight.features._jit import jit
from mdinsight.features._labels import Labels
from mdinsight.features._lanes import root
from mdinsight.features._memory import store
from mdinsight.features._parts import part
from mdinsight.features._selection import as_selection, told


class Distances(Feature):
    """Distances in nm between pairs of atoms.

    Parameters
    ----------
    selection
        A selection (``"name CA"``, or atom numbers): all pairs within it. An array (n, 2) of atom numbers stands for
        ``pairs``.
    other
        A second selection: all pairs between the two.
    pairs
        (n, 2) atom numbers.
    exclude
        Pairs of residues of one chain that are at most so many steps apart in sequence are left out: 1 leaves out
        pairs within a residue and between next neighbours, 2 the second neighbours as well; 0 leaves out none.
    periodic
        To the nearest image where there is a box, in a box of any shape.

    Notes
    -----
    At distance zero the gradient is given as zero.
    """

    selection: Any = None
    other: Any = None
    pairs: Any = None
    exclude: int = 0
    periodic: bool = True

    def __post_init__(self) -> None:
        for name in ("selection", "other"):
            value = getattr(self, name)
            if name == "selection" and value is not None and as_array(value).ndim == 2:
                if self.pairs is not None:
                    raise ParameterError("Distances: give the pairs once, as pairs=")
                object.__setattr__(self, "pairs", value)
                object.__setattr__(self, name, None)
            elif value is not None:
                object.__setattr__(self, name, as_selection(value))
        if (self.pairs is None) == (self.selection is None) or (self.other is not None and self.selection is None):
            raise ParameterError("Distances needs either a selection (and, if wanted, another) or pairs=")
        if self.pairs is not None:
            table = atom_table(self.pairs, 2, "Distances", "pairs", "a selection, such as Distances('name CA')")
            alone = np.flatnonzero(table[:, 0] == table[:, 1])
            if len(alone):
                raise ParameterError(
                    f"Distances: pair {alone[0]} is atom {table[alone[0], 0]} with itself, which is always 0 apart; leave it out"
                )
            object.__setattr__(self, "pairs", table)
        check_exclude(self)
        check_flags(self, "periodic")
        super().__post_init__()

    @property
    def title(self) -> str:
        """``Distances('name CA')``."""
        if self.pairs is not None:
            return f"Distances({len(self.pairs)} pairs)"
        return f"Distances({', '.join(repr(told(s)) for s in (self.selection, self.other) if s is not None)})"

    def parts(self, labels: Labels) -> list[Any]:
        """The bound kernel."""
        pairs = self._pairs(labels)
        if self.exclude:
            pairs = pairs[~near(labels, pairs, self.exclude)]
        if len(pairs) == 0:
            left = f"exclude={self.exclude} leaves no pair; write exclude=0, or choose more residues"
            raise labels.none(self.title, left if self.exclude else "it needs two atoms")
        members = {
            i: Member(labels.atom(i), labels.atom_key(i), labels.residue(labels.residue_of(i)), (i,))
            for i in np.unique(pairs).tolist()
        }
        columns = pair_columns("distance", "nm", "", pairs, members)
        params = np.full((1, 1), float(self.periodic))
        return [part(self, columns, kernel, pairs, np.arange(len(pairs)), params)]

    def _pairs(self, labels: Labels) -> np.ndarray:
        if self.pairs is not None:
            return labels.atoms(self.pairs, self.title)
        first = labels.select(self.selection, self.title)
        if self.other is None:
            rows, columns = np.triu_indices(len(first), 1)
            return np.column_stack([first[rows], first[columns]])
        second = labels.select(self.other, self.title)
        pairs = np.column_stack([np.repeat(first, len(second)), np.tile(second, len(first))])
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        _, kept = np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)  # a pair in both selections counts once
        return pairs[np.sort(kept)]


def near(labels: Labels, pairs: np.ndarray, exclude: int) -> np.ndarray:
    """Which pairs of atoms lie in residues of one chain at most ``exclude`` steps apart."""
    used = np.unique(pairs)
    place = np.array(
        [[labels.topology.atom(i).residue.chain.index, labels.residue_of(i)] for i in used.tolist()]
    ).reshape(-1, 2)
    first, second = place[np.searchsorted(used, pairs[:, 0])], place[np.searchsorted(used, pairs[:, 1])]
    return (first[:, 0] == second[:, 0]) & (np.abs(first[:, 1] - second[:, 1]) <= exclude)


@jit
def kernel(xyz, box, has_box, index, params, out, cot, grad):  # type: ignore[no-untyped-def]
    """Index: two atoms, then the output. Params: (periodic,)."""
    cell = prepare_box(box, has_box and params[0, 0] > 0.0)
    for n in range(index.shape[0]):
        i, j, o = index[n, 0], index[n, 1], index[n, 2]
        d = difference(xyz, i, j, cell)
        r = root(dot(d, d))
        store(out, o, r)
        if grad is not None and grad.shape[0] > 0 and r > 0.0:
            axpy(grad, j, cot[o] / r, d)
            axpy(grad, i, -cot[o] / r, d)
