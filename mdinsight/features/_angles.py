"""Angles between three atoms."""

from __future__ import annotations

from typing import Any

import numpy as np

from mdinsight.features._base import Feature
from mdinsight.features._checks import atom_table, check_flags
from mdinsight.features._geometry import angle, angle_gradient, difference, prepare_box
from mdinsight.features._jit import jit
from mdinsight.features._labels import Labels
from mdinsight.features._lanes import arctan2
from mdinsight.features._memory import store
from mdinsight.features._parts import part
from mdinsight.series import Column


class Angles(Feature):
    """Angles i-j-k in radians, 0 to pi.

    Parameters
    ----------
    triplets
        (n, 3) atom numbers; the middle one is the apex.
    periodic
        Take vectors between nearest images where there is a box.

    Notes
    -----
    The angle is atan2(|u x v|, u.v), exact to rounding near 0 and pi too. At exactly 0 and pi it has a kink; its
    gradient is given as zero there.
    """

    triplets: Any
    periodic: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "triplets", atom_table(self.triplets, 3, "Angles", "triplets"))
        check_flags(self, "periodic")
        super().__post_init__()

    @property
    def title(self) -> str:
        """``Angles(2 triplets)``."""
        return f"Angles({len(self.triplets)} triplets)"

    def parts(self, labels: Labels) -> list[Any]:
        """The bound kernel."""
        columns = []
        for row in labels.atoms(self.triplets, self.title):
            atoms = tuple(int(i) for i in row)
            name = " - ".join(labels.atom(i) for i in atoms)
            key = " ".join(labels.atom_key(i) for i in atoms)
            columns.append(
                Column(f"angle {name}", "angle", atoms, labels.residues_of(atoms), f"angle {key}", unit="rad")
            )
        params = np.full((1, 1), float(self.periodic))
        return [part(self, columns, kernel, self.triplets, np.arange(len(columns)), params)]


@jit
def kernel(xyz, box, has_box, index, params, out, cot, grad):  # type: ignore[no-untyped-def]
    """Index: three atoms, then the output. Params: (periodic,)."""
    cell = prepare_box(box, has_box and params[0, 0] > 0.0)
    for n in range(index.shape[0]):
        i, j, k, o = index[n, 0], index[n, 1], index[n, 2], index[n, 3]
        u = difference(xyz, j, i, cell)
        v = difference(xyz, j, k, cell)
        x, y = angle(u, v)
        store(out, o, arctan2(y, x))
        if grad is not None and grad.shape[0] > 0:
            angle_gradient(u, v, (i, j, k), cot[o], grad)
