"""RMSD to a reference, and Cartesian positions after superposition on one."""

from __future__ import annotations

import os
from typing import Any

import mdtraj
import numpy as np

from mdinsight.errors import ParameterError, TopologyError
from mdinsight.features._base import Feature, reference_tag
from mdinsight.features._checks import check_flags
from mdinsight.features._geometry import axpy, dot, prepare_box
from mdinsight.features._jit import jit
from mdinsight.features._labels import Labels
from mdinsight.features._lanes import root
from mdinsight.features._memory import load, put, store, zeros
from mdinsight.features._parts import part
from mdinsight.features._quaternion import best_quaternion, eigen4, largest_of, quaternion_matrix, rotation
from mdinsight.features._selection import as_selection, told
from mdinsight.features._whole import gather, paths_to
from mdinsight.records import Record
from mdinsight.series import Column
from mdinsight.trajectories import Trajectories, Trajectory
from mdinsight.trajectories import open as open_trajectories


class Reference(Record):
    """The atoms of a reference structure that frames are superposed on: keys, atom names, positions (n, 3) in nm."""

    keys: tuple[str, ...]
    atoms: tuple[str, ...]
    xyz: np.ndarray

    @classmethod
    def of(cls, reference: Any, selection: str | np.ndarray, who: str) -> Reference:
        """The selected atoms of one frame, in memory or a file that holds its topology."""
        if isinstance(reference, Reference):
            return reference
        reference = _one_frame(reference, who)
        labels = Labels(reference.topology, "the reference")
        atoms = labels.select(selection, who)
        if len(atoms) < 3:
            raise ParameterError(
                f"{who}: {told(selection)!r} is {len(atoms)} atoms of the reference; a superposition needs at least 3"
            )
        xyz = reference.xyz[0, atoms].astype(np.float64)
        if not np.isfinite(xyz).all():
            raise ParameterError(f"{who}: the reference holds positions that are not finite")
        names = tuple(labels.topology.atom(int(i)).name for i in atoms)
        return cls(tuple(labels.atom_key(int(i)) for i in atoms), names, xyz)

    def matched(self, labels: Labels, atoms: np.ndarray, who: str) -> np.ndarray:
        """Reference positions in the order of the atoms: by key, or one by one where only the numbering differs.

        Raises
        ------
        TopologyError
            If the atoms are not those of the reference.
        """
        place = {key: i for i, key in enumerate(self.keys)}
        keys = [labels.atom_key(int(i)) for i in atoms]
        if len(keys) == len(place) and all(key in place for key in keys):
            return self.xyz[[place[key] for key in keys]]
        names = tuple(labels.topology.atom(int(i)).name for i in atoms)
        if names == self.atoms:
            return self.xyz
        strange = next(
            (labels.atom(int(i)) for i, key in zip(atoms, keys, strict=True) if key not in place),
            labels.atom(int(atoms[0])),
        )
        raise TopologyError(
            f"{who}: the selection is {len(atoms)} atoms of {labels} and {len(self.keys)} of the reference, and not "
            f"the same (e.g. {strange}); choose atoms that both have, in the same order"
        )


def _one_frame(reference: Any, who: str) -> mdtraj.Trajectory:
    """The frame that is given as such, as a trajectory of one frame, or as a file."""
    first = "reference"
    if isinstance(reference, (str, os.PathLike)):
        first = f"mdinsight.open({os.fspath(reference)!r})[0]"
        reference = open_trajectories(reference)
    elif isinstance(reference, Trajectories):
        first = "reference[0]"
    frames, read = 0, ".read([0])"
    if isinstance(reference, (Trajectories, Trajectory)):
        whole = [reference] if isinstance(reference, Trajectory) else [t for t in reference if t.n_frames]
        frames = sum(trajectory.n_frames for trajectory in whole)
        reference = whole[0].read() if len(whole) == frames == 1 else reference
    elif isinstance(reference, mdtraj.Trajectory):
        frames, read = reference.n_frames, "[0]"
    else:
        raise ParameterError(
            f"{who}: the reference is one frame, an mdtraj.Trajectory or a PDB file; got {type(reference).__name__}"
        )
    if frames != 1:
        raise ParameterError(f"{who}: the reference has {frames} frames; give one, such as {first}{read}")
    return reference


class RMSD(Feature):
    """Root mean square deviation in nm from a reference structure, after the best superposition.

    Parameters
    ----------
    reference
        One frame: an ``mdtraj.Trajectory``, what ``mdinsight.open`` gives, or a PDB file. Only the selected atoms
        are kept.
    selection
        The atoms that are superposed and compared.
    periodic
        Make molecules whole first where there is a box, along their bonds (the reference must be whole). Each molecule
        is taken where its first atom stands, so the parts of a complex may jump by a box vector against each other.

    Notes
    -----
    The rotation is the largest eigenvector of a quaternion matrix (Coutsias et al. 2004, doi:10.1002/jcc.20110), so
    it is never a reflection. By the envelope theorem the gradient needs no derivative of the rotation. At the
    reference itself (below 1e-10 nm) RMSD has a kink; its gradient is given as zero there.
    """

    reference: Any
    selection: Any = "name CA"
    periodic: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "selection", as_selection(self.selection))
        check_flags(self, "periodic")
        object.__setattr__(self, "reference", Reference.of(self.reference, self.selection, "RMSD"))
        super().__post_init__()

    @property
    def title(self) -> str:
        """``RMSD('name CA')``."""
        return f"RMSD({told(self.selection)!r})"

    def parts(self, labels: Labels) -> list[Any]:
        """The bound kernel."""
        atoms = labels.select(self.selection, self.title)
        target = self.reference.matched(labels, atoms, self.title)
        used = tuple(int(i) for i in atoms)
        key = f"rmsd {reference_tag(self.hash)}"
        column = Column(f"rmsd ({told(self.selection)})", "rmsd", used, labels.residues_of(used), key, unit="nm")
        rows, _, params = _params(labels, atoms, target, np.ones(len(atoms)), self.periodic)
        return [part(self, [column], rmsd_kernel, rows[:, None], np.zeros(len(rows)), params, collective=True)]


class Positions(Feature):
    """Cartesian positions in nm, in the frame of a reference that each frame is superposed on.

    Parameters
    ----------
    reference
        One frame, as for :class:`RMSD`.
    selection
        The atoms whose x, y and z are columns.
    align
        The atoms that are superposed; by default the selection.
    periodic
        Make molecules whole first where there is a box, along their bonds (the reference must be whole). Each molecule
        is taken where its first atom stands, so the parts of a complex may jump by a box vector against each other.

    Notes
    -----
    The gradient is exact: it goes through the rotation by the perturbation of its quaternion, an eigenvector
    (Coutsias et al. 2004, doi:10.1002/jcc.20110). Where the rotation is not determined (collinear atoms) that part is
    left out.
    """

    reference: Any
    selection: Any = "name CA"
    align: Any = None
    periodic: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "selection", as_selection(self.selection))
        object.__setattr__(self, "align", self.selection if self.align is None else as_selection(self.align))
        check_flags(self, "periodic")
        object.__setattr__(self, "reference", Reference.of(self.reference, self.align, "Positions"))
        super().__post_init__()

    @property
    def title(self) -> str:
        """``Positions('name CA')``."""
        return f"Positions({told(self.selection)!r})"

    def parts(self, labels: Labels) -> list[Any]:
        """The bound kernel."""
        chosen = labels.select(self.selection, self.title)
        aligned = labels.select(self.align, self.title)
        target = self.reference.matched(labels, aligned, self.title)
        atoms = np.union1d(chosen, aligned)
        weights = np.isin(atoms, aligned).astype(np.float64)
        reference = np.zeros((len(atoms), 3))
        reference[np.searchsorted(atoms, aligned)] = target
        rows, places, params = _params(labels, atoms, reference, weights, self.periodic)
        outputs = np.full((len(rows), 3), -1)
        tag = reference_tag(self.reference.hash, self.selection, self.align, self.periodic)
        columns: list[Column] = []
        for i in chosen.tolist():
            outputs[places[np.searchsorted(atoms, i)]] = len(columns) + np.arange(3)
            for axis in "xyz":
                name, key = f"{axis} {labels.atom(i)}", f"{axis} {labels.atom_key(i)} {tag}"
                columns.append(Column(name, "position", (i,), labels.residues_of((i,)), key, unit="nm"))
        return [part(self, columns, positions_kernel, rows[:, None], outputs, params, collective=True)]


def _params(
    labels: Labels, atoms: np.ndarray, target: np.ndarray, weights: np.ndarray, periodic: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The atoms that the kernel walks along, the rows of the given ones among them, and the kernel's numbers."""
    rows, parent, places = paths_to(labels.topology, atoms, periodic)
    centre = (weights[:, None] * target).sum(axis=0) / weights.sum()
    numbers = np.zeros((len(rows), 4))  # atoms on the way have no weight
    numbers[places] = np.column_stack([target - centre, weights])
    constant = np.tile([float(periodic), *centre], (len(rows), 1))
    return rows, places, np.column_stack([numbers, parent, constant])


@jit
def _superpose(x, params):  # type: ignore[no-untyped-def]
    """Centre x on its weighted atoms, in place; the matrix of the quaternion, the best rotation, the weight of all."""
    total = 0.0
    a, b, c = zeros(x), zeros(x), zeros(x)
    for n in range(x.shape[0]):
        weight = params[n, 3]
        total += weight
        a, b, c = a + weight * load(x, n, 0), b + weight * load(x, n, 1), c + weight * load(x, n, 2)
    a, b, c = a / total, b / total, c / total
    xx, xy, xz = zeros(x), zeros(x), zeros(x)
    yx, yy, yz = zeros(x), zeros(x), zeros(x)
    zx, zy, zz = zeros(x), zeros(x), zeros(x)
    for n in range(x.shape[0]):
        p, q, r = load(x, n, 0) - a, load(x, n, 1) - b, load(x, n, 2) - c
        put(x, n, 0, p)
        put(x, n, 1, q)
        put(x, n, 2, r)
        weight = params[n, 3]
        u, v, w = weight * params[n, 0], weight * params[n, 1], weight * params[n, 2]
        xx, xy, xz = xx + p * u, xy + p * v, xz + p * w
        yx, yy, yz = yx + q * u, yy + q * v, yz + q * w
        zx, zy, zz = zx + r * u, zy + r * v, zz + r * w
    m = quaternion_matrix(x, (xx, xy, xz), (yx, yy, yz), (zx, zy, zz))
    w, x, y, z = best_quaternion(m)
    return m, rotation(w, x, y, z), total


@jit
def rmsd_kernel(xyz, box, has_box, index, params, out, cot, grad):  # type: ignore[no-untyped-def]
    """Index: an atom, then the output. Params: (reference - centre, weight, row it is reached from, periodic, centre)."""
    cell = prepare_box(box, has_box and params[0, 5] > 0.0)
    x = gather(xyz, index, params[:, 4], cell)
    _, turn, total = _superpose(x, params)
    square = zeros(x)
    for n in range(x.shape[0]):
        d = load(x, n, 0), load(x, n, 1), load(x, n, 2)
        p, q, r = dot(turn[0], d) - params[n, 0], dot(turn[1], d) - params[n, 1], dot(turn[2], d) - params[n, 2]
        square += params[n, 3] * (p * p + q * q + r * r)
    rmsd = root(square / total)
    store(out, 0, rmsd)
    if grad is not None and grad.shape[0] > 0 and rmsd > 1e-10:
        factor = cot[0] / (total * rmsd)
        for n in range(x.shape[0]):
            u, v, w = params[n, 0], params[n, 1], params[n, 2]
            p = x[n, 0] - (turn[0][0] * u + turn[1][0] * v + turn[2][0] * w)
            q = x[n, 1] - (turn[0][1] * u + turn[1][1] * v + turn[2][1] * w)
            r = x[n, 2] - (turn[0][2] * u + turn[1][2] * v + turn[2][2] * w)
            axpy(grad, index[n, 0], params[n, 3] * factor, (p, q, r))


@jit
def positions_kernel(xyz, box, has_box, index, params, out, cot, grad):  # type: ignore[no-untyped-def]
    """Index: an atom, then the outputs of x, y, z. Params as for the RMSD."""
    cell = prepare_box(box, has_box and params[0, 5] > 0.0)
    x = gather(xyz, index, params[:, 4], cell)
    matrix, turn, total = _superpose(x, params)
    for n in range(x.shape[0]):
        d = load(x, n, 0), load(x, n, 1), load(x, n, 2)
        if index[n, 1] >= 0:
            store(out, index[n, 1], dot(turn[0], d) + params[0, 6])
        if index[n, 2] >= 0:
            store(out, index[n, 2], dot(turn[1], d) + params[0, 7])
        if index[n, 3] >= 0:
            store(out, index[n, 3], dot(turn[2], d) + params[0, 8])
    if grad is not None and grad.shape[0] > 0:
        _positions_gradient(x, matrix, turn, total, index, params, cot, grad)


@jit
def _positions_gradient(x, matrix, turn, total, index, params, cot, grad):  # type: ignore[no-untyped-def]
    r = np.array(turn)
    by_rotation = np.zeros((3, 3))
    by_centre = np.zeros(3)
    for n in range(x.shape[0]):
        for a in range(3):
            if index[n, 1 + a] >= 0:
                g = cot[index[n, 1 + a]]
                for c in range(3):
                    by_rotation[a, c] += g * x[n, c]
                    grad[index[n, 0], c] += g * r[a, c]
                    by_centre[c] -= g * r[a, c]
    eigen4(matrix)
    by_s = _through_rotation(matrix, by_rotation)
    for n in range(x.shape[0]):
        weight = params[n, 3]
        for a in range(3):
            through = by_s[a, 0] * params[n, 0] + by_s[a, 1] * params[n, 1] + by_s[a, 2] * params[n, 2]
            grad[index[n, 0], a] += weight * (through + by_centre[a] / total)


@jit
def _through_rotation(eigen, g):  # type: ignore[no-untyped-def]
    """Derivative by the rotation to that by the correlation matrix: dq = sum_k v_k (v_k . dM q) / (l_0 - l_k)."""
    quaternion = w, x, y, z = largest_of(eigen)
    largest = max(eigen[0, 0], eigen[1, 1], eigen[2, 2], eigen[3, 3])
    d = np.empty(4)
    d[0] = (
        w * (g[0, 0] + g[1, 1] + g[2, 2]) + z * (g[1, 0] - g[0, 1]) + y * (g[0, 2] - g[2, 0]) + x * (g[2, 1] - g[1, 2])
    )
    d[1] = (
        x * (g[0, 0] - g[1, 1] - g[2, 2]) + y * (g[0, 1] + g[1, 0]) + z * (g[0, 2] + g[2, 0]) + w * (g[2, 1] - g[1, 2])
    )
    d[2] = (
        y * (-g[0, 0] + g[1, 1] - g[2, 2]) + x * (g[0, 1] + g[1, 0]) + z * (g[1, 2] + g[2, 1]) + w * (g[0, 2] - g[2, 0])
    )
    d[3] = (
        z * (-g[0, 0] - g[1, 1] + g[2, 2]) + x * (g[0, 2] + g[2, 0]) + y * (g[1, 2] + g[2, 1]) + w * (g[1, 0] - g[0, 1])
    )
    u = np.zeros(4)
    for k in range(4):
        gap = largest - eigen[k, k]  # 0 for the quaternion itself
        if gap > 1e-10 * abs(largest):
            along = 0.0
            for i in range(4):
                along += eigen[4 + i, k] * 2.0 * d[i]
            for i in range(4):
                u[i] += along / gap * eigen[4 + i, k]
    t = np.empty((4, 4))  # derivative by the quaternion matrix, both halves together
    for i in range(4):
        for j in range(4):
            t[i, j] = u[i] * quaternion[j] + u[j] * quaternion[i]
    for i in range(4):
        t[i, i] *= 0.5
    s = np.empty((3, 3))
    s[0, 0] = t[0, 0] + t[1, 1] - t[2, 2] - t[3, 3]
    s[1, 1] = t[0, 0] - t[1, 1] + t[2, 2] - t[3, 3]
    s[2, 2] = t[0, 0] - t[1, 1] - t[2, 2] + t[3, 3]
    s[1, 2], s[2, 1] = t[0, 1] + t[2, 3], -t[0, 1] + t[2, 3]
    s[2, 0], s[0, 2] = t[0, 2] + t[1, 3], -t[0, 2] + t[1, 3]
    s[0, 1], s[1, 0] = t[0, 3] + t[1, 2], -t[0, 3] + t[1, 2]
    return s
