"""Radius of gyration."""

from __future__ import annotations

from typing import Any

import numpy as np

from mdinsight.errors import TopologyError
from mdinsight.features._base import Feature, reference_tag
from mdinsight.features._checks import check_flags
from mdinsight.features._geometry import axpy, prepare_box
from mdinsight.features._jit import jit
from mdinsight.features._labels import Labels
from mdinsight.features._lanes import root
from mdinsight.features._memory import load, store, zeros
from mdinsight.features._parts import part
from mdinsight.features._selection import as_selection, told
from mdinsight.features._whole import gather, paths_to
from mdinsight.series import Column
from mdinsight.words import counted


class RadiusOfGyration(Feature):
    """Radius of gyration in nm.

    Parameters
    ----------
    selection
        Which atoms.
    mass_weighted
        Weigh atoms by mass, else all alike.
    periodic
        Make molecules whole first where there is a box, along their bonds. Each molecule is taken where its first atom
        stands, so the parts of a complex may jump by a box vector against each other.

    Notes
    -----
    About the centre of mass. (``mdtraj.compute_rg`` with masses takes the squares about the centre of geometry.)
    """

    selection: Any = "protein"
    mass_weighted: bool = True
    periodic: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "selection", as_selection(self.selection))
        check_flags(self, "mass_weighted", "periodic")
        super().__post_init__()

    @property
    def title(self) -> str:
        """``RadiusOfGyration('protein')``."""
        return f"RadiusOfGyration({told(self.selection)})"

    def parts(self, labels: Labels) -> list[Any]:
        """The bound kernel."""
        atoms = labels.select(self.selection, self.title)
        if len(atoms) == 0:
            raise labels.none(self.title, "choose other atoms")
        mass = np.ones(len(atoms))
        if self.mass_weighted:
            elements = [labels.topology.atom(int(i)).element for i in atoms]
            unknown = [int(i) for i in atoms if not _has_mass(labels.topology.atom(int(i)))]
            if unknown:
                raise TopologyError(
                    f"{self.title}: the masses of {counted(len(unknown), 'atom')} of {labels} are not known, the first is "
                    f"{labels.atom(unknown[0])}; use mass_weighted=False, or a topology that names the elements"
                )
            mass = np.array([element.mass for element in elements])
        used = tuple(int(i) for i in atoms)
        key = f"rg {reference_tag(self.hash)}"
        column = Column(f"rg ({told(self.selection)})", "rg", used, labels.residues_of(used), key, unit="nm")
        rows, parent, places = paths_to(labels.topology, atoms, self.periodic)
        weights = np.zeros(len(rows))  # atoms on the way have no weight
        weights[places] = mass
        params = np.column_stack([weights, parent, np.full(len(rows), float(self.periodic))])
        return [part(self, [column], kernel, rows[:, None], np.zeros(len(rows)), params, collective=True)]


def _has_mass(atom: Any) -> bool:
    """Whether the mass is known. That of a virtual site is zero, but a residue of nothing else is one of beads."""
    if atom.element is None:
        return False
    return atom.element.mass > 0 or any(a.element is not None and a.element.mass > 0 for a in atom.residue.atoms)


@jit
def kernel(xyz, box, has_box, index, params, out, cot, grad):  # type: ignore[no-untyped-def]
    """Index: an atom, then the output. Params: (mass, row it is reached from, periodic)."""
    cell = prepare_box(box, has_box and params[0, 2] > 0.0)
    x = gather(xyz, index, params[:, 1], cell)
    total = 0.0
    a, b, c = zeros(xyz), zeros(xyz), zeros(xyz)
    for n in range(index.shape[0]):
        mass = params[n, 0]
        total += mass
        a, b, c = a + mass * load(x, n, 0), b + mass * load(x, n, 1), c + mass * load(x, n, 2)
    a, b, c = a / total, b / total, c / total
    square = zeros(xyz)
    for n in range(index.shape[0]):
        p, q, r = load(x, n, 0) - a, load(x, n, 1) - b, load(x, n, 2) - c
        square += params[n, 0] * (p * p + q * q + r * r)
    rg = root(square / total)
    store(out, 0, rg)
    if grad is not None and grad.shape[0] > 0 and rg > 0.0:
        factor = cot[0] / (total * rg)
        for n in range(index.shape[0]):
            d = x[n, 0] - a, x[n, 1] - b, x[n, 2] - c
            axpy(grad, index[n, 0], factor * params[n, 0], d)
