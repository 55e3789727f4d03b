"""A linear coordinate as OpenMM forces of its own kinds: one force for each kind of feature, one term for each column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight.errors import DegenerateError, GradientError, ParameterError
from mdinsight.features import Bound, kernel_code

if TYPE_CHECKING:
    import openmm


@dataclass(frozen=True)
class NativeCoordinate:
    """One coordinate: the sum of the energies of ``forces`` (their terms bear the weights) and ``constant``."""

    forces: tuple[openmm.Force, ...]
    constant: float


@dataclass(frozen=True)
class _Kind:
    """How one kind of term is written in OpenMM: which force, its expression, what each term has of its own."""

    force: str
    add: str
    n_atoms: int
    expression: str
    parameters: tuple[str, ...]


_KINDS = {
    "torsion": _Kind("CustomTorsionForce", "addTorsion", 4, "a*cos(theta)+b*sin(theta)", ("a", "b")),
    "raw torsion": _Kind("CustomTorsionForce", "addTorsion", 4, "theta", ()),
    "distance": _Kind("CustomBondForce", "addBond", 2, "a*r", ("a",)),
    "angle": _Kind("CustomAngleForce", "addAngle", 3, "a*theta", ("a",)),
    "contact": _Kind("CustomBondForce", "addBond", 2, "a/(1+(r/c)^6)", ("a", "c")),
}

# (kind, atoms (n, k), parameters (n, p)) of the terms of one feature in one coordinate
_Terms = tuple[str, np.ndarray, np.ndarray]


def native_reason(bound: Bound, matrix: np.ndarray, mean: np.ndarray) -> str | None:
    """Why a linear combination of features has no native form in OpenMM; None where it has one.

    Parameters
    ----------
    bound
        The features bound to the topology of the system.
    matrix
        (n_columns, dim) weights of the columns.
    mean
        (n_columns,) what is subtracted from the columns.
    """
    matrix, mean = _checked(bound, matrix, mean)
    for part, weights in _weighted(bound, matrix):
        reader = _reader(part)
        if reader is None:
            return f"{part.feature.title} has no native form in OpenMM"
        answer = reader(part, weights)
        if isinstance(answer, str):
            return f"{part.feature.title} {answer}"
    turned = np.array([column.period is not None for column in bound.columns])
    for column in matrix.T[matrix[turned].any(axis=0)]:
        place = int(np.flatnonzero(turned & (column != 0.0))[0])
        if np.count_nonzero(column) > 1 or column[place] != 1.0 or mean[place] != 0.0:
            return (
                f"{bound.columns[place].name} is an angle that a coordinate adds to others, scales or shifts, and such a "
                "coordinate is not continuous; take cosines and sines (raw=False)"
            )
    return None


def native_forces(bound: Bound, matrix: np.ndarray, mean: np.ndarray, periodic: bool) -> list[NativeCoordinate]:
    """Forces whose energies add up to the coordinates ``(columns - mean) @ matrix``.

    Parameters
    ----------
    bound
        The features bound to the topology of the system.
    matrix
        (n_columns, dim) weights of the columns; terms of weight zero are left out.
    mean
        (n_columns,) what is subtracted from the columns.
    periodic
        Whether the system has a box; a feature with ``periodic=False`` takes no images in any case.

    Returns
    -------
    list of NativeCoordinate
        One for each column of ``matrix``, with one force for each kind of feature that has weight in it.

    Raises
    ------
    ParameterError
        If there is no such form (see :func:`native_reason`).
    DegenerateError
        If a coordinate has weight on no column.

    Notes
    -----
    The values are those of the features' own kernels to rounding, but for this. In a box that is not rectangular OpenMM
    takes the image that rounding in the reduced box gives; it is the nearest one for all vectors shorter than half the
    smallest height of the box, which bonded atoms' are, while the kernels find the nearest one at any distance. In a
    rectangular box the two agree at any distance. Near collinear atoms OpenMM takes angles from a cosine and loses digits that
    the kernels keep, and at zero distance it has no finite force.
    """
    reason = native_reason(bound, matrix, mean)
    if reason is not None:
        raise ParameterError(f"{reason}; take form='compiled'")
    matrix, mean = _checked(bound, matrix, mean)
    out = []
    for number in range(matrix.shape[1]):
        column = matrix[:, [number]]
        if not column.any():
            raise DegenerateError(
                f"coordinate {number} has weight on none of its {len(column)} columns; it is constant"
            )
        groups: dict[tuple[str, bool], list[_Terms]] = {}
        for part, weights in _weighted(bound, column):
            read: Any = _reader(part)
            use_box = bool(periodic and part.feature.periodic)
            for terms in read(part, weights):
                groups.setdefault((terms[0], use_box), []).append(terms)
        forces = tuple(_force(kind, use_box, terms) for (kind, use_box), terms in groups.items())
        out.append(NativeCoordinate(forces, -float(mean @ column[:, 0])))
    return out


def _weighted(bound: Bound, matrix: np.ndarray) -> list[tuple[Any, np.ndarray]]:
    """(part, its rows of the matrix) of the parts that bear weight, in the parts' own order of columns."""
    if bound.order is not None:
        matrix = matrix[np.argsort(bound.order)]
    found, start = [], 0
    for part in bound.parts:
        rows = slice(start, start + len(part.columns))
        if matrix[rows].any():
            found.append((part, matrix[rows]))
        start = rows.stop
    return found


def _checked(bound: Bound, matrix: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    matrix, mean = np.asarray(matrix, np.float64), np.asarray(mean, np.float64)
    if matrix.ndim != 2 or len(matrix) != bound.n_columns or mean.shape != (bound.n_columns,):
        raise ParameterError(
            f"weights of shape {matrix.shape} and means of shape {mean.shape} do not fit {bound.n_columns} columns"
        )
    return matrix, mean


def _reader(part: Any) -> Callable[[Any, np.ndarray], Any] | None:
    """What writes the terms of a part; None if there is no native form."""
    if not hasattr(part, "kernel"):
        return None
    try:
        return _READERS.get(kernel_code(part))
    except GradientError:  # a kernel of the user's own
        return None


def _torsions(part: Any, weights: np.ndarray) -> list[_Terms]:
    outputs = part.index[:, 4:]
    padded = np.vstack([weights, np.zeros_like(weights[:1])])[:, 0]  # the last is what -1 refers to
    a, b = padded[outputs[:, 0]], padded[outputs[:, 1]]
    keep = (a != 0.0) | (b != 0.0)
    raw = padded[outputs[:, 2]] != 0.0
    out: list[_Terms] = []
    if keep.any():
        out.append(("torsion", part.index[keep, :4], np.column_stack([a[keep], b[keep]])))
    if raw.any():
        out.append(("raw torsion", part.index[raw, :4], np.empty((np.count_nonzero(raw), 0))))
    return out


def _distances(part: Any, weights: np.ndarray) -> list[_Terms]:
    return _plain("distance", part, weights)


def _angles(part: Any, weights: np.ndarray) -> list[_Terms]:
    return _plain("angle", part, weights)


def _plain(kind: str, part: Any, weights: np.ndarray) -> list[_Terms]:
    a = weights[part.index[:, part.atom_columns], 0]
    keep = a != 0.0
    return [(kind, part.index[keep, : part.atom_columns], a[keep, None])] if keep.any() else []


def _contacts(part: Any, weights: np.ndarray) -> list[_Terms] | str:
    outputs, (_, kind, _, cutoff, _) = part.index[:, 2], part.params[0]
    if kind == 1.0:
        return "has no gradient; take kind='smooth'"
    used = np.asarray(weights.any(axis=1))[outputs]
    if len(np.unique(outputs[used])) < np.count_nonzero(used):
        return "takes the smallest of several distances, which has no native form in OpenMM; scheme='ca' has one"
    terms = _plain("distance" if kind == 0.0 else "contact", part, weights)
    if kind == 0.0:
        return terms
    return [(name, atoms, np.column_stack([a, np.full(len(a), cutoff)])) for name, atoms, a in terms]


_READERS: dict[int, Callable[[Any, np.ndarray], Any]] = {
    0: _torsions,
    1: _distances,
    2: _angles,
    3: _contacts,
}
"""By the number that ``features.kernel_code`` gives a kernel."""


def _force(kind: str, periodic: bool, terms: Sequence[_Terms]) -> openmm.Force:
    """One OpenMM force with all the terms of a kind."""
    import openmm

    form = _KINDS[kind]
    force = getattr(openmm, form.force)(form.expression)
    for name in form.parameters:
        getattr(force, f"addPer{form.add[3:]}Parameter")(name)
    add = getattr(force, form.add)
    for _, atoms, values in terms:
        for row, value in zip(atoms.tolist(), values.tolist(), strict=True):
            add(*row, value)
    force.setUsesPeriodicBoundaryConditions(periodic)
    force.setName(kind)
    return force
