"""Bound parts: one kernel, or one function of frames, with its arrays for one topology."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import mdtraj
import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.features._columns import Columns
from mdinsight.features._frames import over_frames
from mdinsight.features._jit import Kernel, jit, ready
from mdinsight.series import Column
from mdinsight.trajectories import topology_hash

if TYPE_CHECKING:
    from mdinsight.features._base import Feature


@dataclass(frozen=True)
class Part:
    """One kernel with its arrays for one topology.

    ``index`` is (n_terms, k) int32: the first ``atom_columns`` hold atom numbers, the others the number of the output
    that the term goes to, -1 for none. ``params`` is (n_terms, p) or (1, p) float64. A ``collective`` kernel needs
    all its terms whichever outputs are kept.
    """

    feature: Feature
    columns: Sequence[Column]
    kernel: Kernel
    index: np.ndarray
    atom_columns: int
    params: np.ndarray
    collective: bool = False

    @cached_property
    def atoms(self) -> np.ndarray:
        """Numbers of the atoms that the kernel reads."""
        return np.flatnonzero(_mentioned(self.index, self.atom_columns))

    @cached_property
    def identity(self) -> str:
        """Of all that its values depend on besides the coordinates."""
        index, params = self.index.astype("<i4"), self.params.astype("<f8")
        what = f"{self.kernel.__module__}.{self.kernel.__qualname__} {self.atom_columns} {index.shape} {params.shape}"
        return sha256(f"{what} {len(self.columns)}\n".encode() + index.tobytes() + params.tobytes()).hexdigest()

    @property
    def has_gradient(self) -> bool:
        """Whether the kernel gives a gradient."""
        return self.feature.has_gradient

    def take(self, keep: Sequence[int]) -> Part:
        """The same kernel computing some of its outputs only."""
        new = np.full(len(self.columns) + 1, -1, dtype=np.int32)  # the last entry is what -1 refers to
        new[list(keep)] = np.arange(len(keep), dtype=np.int32)
        index = self.index.copy()
        index[:, self.atom_columns :] = new[index[:, self.atom_columns :]]
        params = self.params
        if not self.collective:
            rows = (index[:, self.atom_columns :] >= 0).any(axis=1)
            params = params[rows] if len(params) == len(index) and len(params) > 1 else params
            index = index[rows]
        return replace(self, columns=tuple(self.columns[i] for i in keep), index=_int32(index), params=_float64(params))

    def local(self, atoms: np.ndarray) -> Part:
        """The same kernel for coordinates that hold only ``atoms`` (sorted)."""
        place = np.zeros(int(atoms.max(initial=-1)) + 1, np.int32)
        place[atoms] = np.arange(len(atoms))
        part = replace(self, index=_renumbered(self.index, self.atom_columns, place))
        part.__dict__["atoms"] = place[self.atoms].astype(
            np.int64
        )  # known, and a look at a million terms takes its time
        return part

    @cached_property
    def _own(self) -> tuple[np.ndarray, np.ndarray]:
        """The atoms that are read, and the index as it counts within them: no frame is widened beyond what is needed."""
        atoms = self.atoms.astype(np.int64)
        if np.array_equal(atoms, np.arange(len(atoms))):
            return atoms, self.index
        return atoms, self.local(atoms).index

    def compute(
        self, xyz: np.ndarray, box: np.ndarray | None, time: np.ndarray | None, out: np.ndarray, first: int
    ) -> None:
        """Values of a chunk of frames, into the columns of ``out`` (n_frames, n) float32 from ``first`` on."""
        atoms, index = self._own
        over_frames(self.kernel, xyz, box, atoms, index, self.params, out, first, len(self.columns))

    def evaluate(
        self, xyz: np.ndarray, box: np.ndarray | None, cotangent: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values of one frame and the gradient (n_atoms, 3) of cotangent . values (no rows without a cotangent)."""
        out = np.empty(len(self.columns))
        grad = np.zeros_like(xyz) if cotangent is not None else np.empty((0, 3))
        cot = _float64(cotangent) if cotangent is not None else np.empty(0)
        cell = np.zeros((3, 3)) if box is None else box
        ready(self.kernel)(xyz, cell, box is not None, self.index, self.params, out, cot, grad)
        return out, grad


@jit
def _mentioned(index: np.ndarray, columns: int) -> np.ndarray:
    """Whether each atom is in the first columns of an index."""
    most = -1
    for row in range(index.shape[0]):
        for column in range(columns):
            most = max(most, index[row, column])
    there = np.zeros(most + 1, np.bool_)
    for row in range(index.shape[0]):
        for column in range(columns):
            there[index[row, column]] = True
    return there


@jit
def _renumbered(index: np.ndarray, columns: int, place: np.ndarray) -> np.ndarray:
    """The index with other numbers for the atoms in its first columns."""
    out = np.empty(index.shape, np.int32)
    for row in range(index.shape[0]):
        for column in range(index.shape[1]):
            number = index[row, column]
            out[row, column] = place[number] if column < columns else number
    return out


@dataclass(frozen=True)
class TrajectoryPart:
    """A function of an ``mdtraj.Trajectory`` of ``atoms``; for kinds that have no kernel."""

    feature: Feature
    columns: tuple[Column, ...]
    atoms: np.ndarray
    topology: mdtraj.Topology
    function: Callable[[mdtraj.Trajectory], np.ndarray]
    outputs: tuple[int, ...]
    width: int
    gradient: Callable[[mdtraj.Trajectory, np.ndarray], np.ndarray] | None = None
    within: np.ndarray | None = None
    """Where ``atoms`` stand in the coordinates that are read; None if the coordinates are those of ``atoms``."""

    @cached_property
    def identity(self) -> str:
        """Of all that its values depend on besides the coordinates: mdtraj, and the atoms' topology, all of which it sees."""
        what = f"{self.feature.hash} {self.outputs} {self.width} {mdtraj.__version__} {_seen(self.topology)}\n".encode()
        return sha256(what + self.atoms.astype("<i8").tobytes()).hexdigest()

    @property
    def has_gradient(self) -> bool:
        """Whether a gradient was given."""
        return self.gradient is not None

    def take(self, keep: Sequence[int]) -> TrajectoryPart:
        """The same function with some of its outputs only."""
        return replace(self, columns=tuple(self.columns[i] for i in keep), outputs=tuple(self.outputs[i] for i in keep))

    def local(self, atoms: np.ndarray) -> TrajectoryPart:
        """The same function for coordinates that hold only ``atoms`` (sorted)."""
        return replace(self, within=np.searchsorted(atoms, self.atoms))

    def compute(
        self, xyz: np.ndarray, box: np.ndarray | None, time: np.ndarray | None, out: np.ndarray, first: int
    ) -> None:
        """Values of a chunk of frames, into the columns of ``out`` (n_frames, n) float32 from ``first`` on."""
        out[:, first : first + len(self.columns)] = self._values(xyz, box, time)

    def _values(self, xyz: np.ndarray, box: np.ndarray | None, time: np.ndarray | None) -> np.ndarray:
        frames = self._frames(xyz, box, time)
        try:
            values = np.asarray(self.function(frames))
        except Exception as error:  # whatever a user's function may raise
            raise ParameterError(f"{self.feature.title} failed with {type(error).__name__}: {error}") from error
        if values.dtype.kind not in "buif":
            raise ParameterError(f"{self.feature.title} gave values of type {values.dtype}; return real numbers")
        values = values[:, None] if values.ndim == 1 else values
        if values.shape != (len(frames.xyz), self.width):
            raise ParameterError(
                f"{self.feature.title} gave an array of shape {values.shape} for {len(frames.xyz)} frames and "
                f"{self.width} names; return one of shape (n_frames, {self.width})"
            )
        return values[:, list(self.outputs)].astype(np.float32)

    def evaluate(
        self, xyz: np.ndarray, box: np.ndarray | None, cotangent: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values of one frame and, where the function has one, the gradient of cotangent . values."""
        cell = None if box is None else box[None]
        values = self._values(xyz[None], cell, None)[0].astype(np.float64)
        grad = np.zeros_like(xyz) if cotangent is not None else np.empty((0, 3))
        if cotangent is not None and self.gradient is not None:
            weights = np.zeros(self.width)
            weights[list(self.outputs)] = cotangent
            frame = self._frames(xyz[None], cell, None)
            grad[self.atoms] += np.asarray(self.gradient(frame, weights), dtype=np.float64).reshape(-1, 3)
        return values, grad

    def _frames(self, xyz: np.ndarray, box: np.ndarray | None, time: np.ndarray | None) -> mdtraj.Trajectory:
        chosen = np.ascontiguousarray(xyz[:, self.atoms if self.within is None else self.within], dtype=np.float32)
        frames = mdtraj.Trajectory(chosen, self.topology, time)
        if box is not None:
            frames.unitcell_vectors = np.asarray(box, dtype=np.float32)
        return frames


def _seen(topology: mdtraj.Topology) -> str:
    """The topology's hash and what it leaves out, as writers differ in it: a user's function may look at that too."""
    chains = [str(getattr(chain, "chain_id", None)) for chain in topology.chains]
    segments = [str(residue.segment_id) for residue in topology.residues]
    atoms = [(atom.serial, getattr(atom, "formal_charge", None)) for atom in topology.atoms]
    bonds = [(bond[0].index, bond[1].index, str(bond.type), bond.order) for bond in topology.bonds]
    return f"{topology_hash(topology)} {chains} {segments} {atoms} {bonds}"


AnyPart = Part | TrajectoryPart


def restricted(parts: Sequence[AnyPart], keys: set[str], once: bool = False) -> list[AnyPart]:
    """The parts with only the columns of these keys; with ``once`` the first column of each key."""
    kept: list[AnyPart] = []
    left = set(keys)
    for part in parts:
        keep = []
        for i, column in enumerate(part.columns):
            if column.key in left:
                keep.append(i)
                if once:
                    left.discard(column.key)
        if len(keep) == len(part.columns):
            kept.append(part)
        elif keep:
            kept.append(part.take(keep))
    return [part for part in kept if part.columns]


def part(
    feature: Feature, columns: Sequence[Column], kernel: Kernel, atoms: Any, outputs: Any, params: Any, **kw: Any
) -> Part:
    """A :class:`Part` out of its atoms (n_terms, k), outputs (n_terms, m) and params, cast as the kernels take them."""
    atoms, outputs = np.atleast_2d(np.asarray(atoms)), np.asarray(outputs)
    outputs = outputs[:, None] if outputs.ndim == 1 else outputs
    params = np.asarray(params, dtype=np.float64)
    params = params[:, None] if params.ndim == 1 else params
    index = _int32(np.hstack([atoms, outputs]))
    columns = columns if isinstance(columns, Columns) else tuple(columns)
    return Part(feature, columns, kernel, index, atoms.shape[1], _float64(params), **kw)


def _int32(array: Any) -> np.ndarray:
    return np.require(array, np.int32, ["C", "W"])


def _float64(array: Any) -> np.ndarray:
    return np.require(array, np.float64, ["C", "W"])
