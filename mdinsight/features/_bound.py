"""Features bound to topologies: what computes, for frames on end or for one frame with its gradient."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import mdtraj
import numpy as np

from mdinsight.errors import DataWarning, ParameterError, TopologyError, warn_user
from mdinsight.features._base import Definition
from mdinsight.features._columns import Columns, joined
from mdinsight.features._labels import Labels
from mdinsight.features._parts import AnyPart, Part, restricted
from mdinsight.series import Column
from mdinsight.trajectories import topology_hash


class Bound:
    """Features bound to one topology.

    ``value`` and ``vjp`` take one frame of the whole topology in double precision; ``compute`` takes a chunk of
    frames that holds ``atoms`` only. ``parts`` are the kernels with their arrays, for whoever runs them elsewhere.
    """

    def __init__(self, definition: Definition, parts: Sequence[AnyPart], labels: Labels) -> None:
        self.definition = definition
        self.parts = tuple(parts)
        self.labels = labels
        self.n_atoms = int(labels.topology.n_atoms)
        self.order: np.ndarray | None = None

    @cached_property
    def later_columns(self) -> Columns:
        """The columns, made when one of them is asked for."""
        return joined([part.columns for part in self.parts], self.order)

    @property
    def columns(self) -> tuple[Column, ...]:
        """What each column is; no two have the same name."""
        return self.later_columns.made

    @cached_property
    def n_columns(self) -> int:
        """Number of columns."""
        return sum(len(part.columns) for part in self.parts)

    @property
    def has_gradient(self) -> bool:
        """Whether every column has a gradient."""
        return all(part.has_gradient for part in self.parts)

    @property
    def is_compiled(self) -> bool:
        """Whether every column comes from a compiled kernel; a user's function of frames does not."""
        return all(isinstance(part, Part) for part in self.parts)

    @cached_property
    def atoms(self) -> np.ndarray:
        """The atoms that are read, sorted."""
        return np.unique(np.concatenate([part.atoms for part in self.parts]))

    @cached_property
    def content(self) -> str:
        """Identity of what is computed: the kernels with their arrays, other functions with the topology that they see."""
        digest = hashlib.sha256()
        for part in self.parts:
            digest.update(part.identity.encode())
        if self.order is not None:
            digest.update(self.order.astype("<i8").tobytes())
        return digest.hexdigest()

    @cached_property
    def _local(self) -> tuple[AnyPart, ...]:
        return tuple(part.local(self.atoms) for part in self.parts)

    def compute(
        self,
        xyz: np.ndarray,
        box: np.ndarray | None = None,
        time: np.ndarray | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Values of frames.

        Parameters
        ----------
        xyz
            (n_frames, len(atoms), 3) float32, nm: ``atoms`` alone, in their order.
        box
            (n_frames, 3, 3), nm, or None.
        time
            (n_frames,) ps; only a user's function sees it.
        out
            Where the values are put, of the shape and type that is returned; by default an array of their own.

        Returns
        -------
        ndarray of float32, shape (n_frames, n_columns)
        """
        values = np.empty((len(xyz), self.n_columns), np.float32) if out is None or self.order is not None else out
        first = 0
        for part in self._local:
            part.compute(xyz, box, time, values, first)
            first += len(part.columns)
        return values if self.order is None else np.take(values, self.order, axis=1, out=out, mode="clip")

    def value(self, xyz: np.ndarray, box: np.ndarray | None = None) -> np.ndarray:
        """Values of one frame.

        Parameters
        ----------
        xyz
            (n_atoms, 3), nm, all atoms of the topology.
        box
            (3, 3), nm, the box vectors as rows; None without a box.

        Returns
        -------
        ndarray of float64, shape (n_columns,)
        """
        frame, cell = self._frame(xyz, box)
        out = np.concatenate([part.evaluate(frame, cell)[0] for part in self.parts])
        return out if self.order is None else out[self.order]

    def vjp(self, xyz: np.ndarray, cotangent: np.ndarray, box: np.ndarray | None = None) -> np.ndarray:
        """Vector-Jacobian product of one frame: sum over columns of cotangent * d column / d xyz.

        Parameters
        ----------
        xyz, box
            As for :meth:`value`.
        cotangent
            (n_columns,): the derivative of something by each column.

        Returns
        -------
        ndarray of float64, shape (n_atoms, 3): the derivative of it by the positions, per nm.

        Raises
        ------
        GradientError
            If a column has no gradient.
        """
        frame, cell = self._frame(xyz, box)
        weights = np.asarray(cotangent, dtype=np.float64).reshape(-1)
        if len(weights) != self.n_columns:
            raise ParameterError(f"{len(weights)} cotangents for {self.n_columns} columns; give one for each")
        if self.order is not None:
            weights = weights[np.argsort(self.order)]
        grad = np.zeros_like(frame)
        start = 0
        for part in self.parts:
            if not part.has_gradient:
                raise part.feature.gradient_error()
            stop = start + len(part.columns)
            grad += part.evaluate(frame, cell, weights[start:stop])[1]
            start = stop
        return grad

    def aligned(self, keys: Sequence[str]) -> Bound:
        """The same with the columns of these keys, in this order."""
        bound = Bound(self.definition, restricted(self.parts, set(keys), once=True), self.labels)
        place = {column.key: i for i, column in enumerate(bound.columns)}
        order = np.array([place[key] for key in keys])
        if not np.array_equal(order, np.arange(len(keys))):
            bound.order = order
            del bound.later_columns
        return bound

    def _frame(self, xyz: np.ndarray, box: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        frame = np.require(xyz, np.float64, ["C", "W"])
        if frame.shape != (self.n_atoms, 3):
            raise ParameterError(f"xyz has shape {frame.shape}; {self.labels} needs ({self.n_atoms}, 3)")
        if box is None:
            return frame, None
        cell = np.require(box, np.float64, ["C", "W"])
        if cell.shape != (3, 3):
            raise ParameterError(f"box has shape {cell.shape}; give the three box vectors as rows, (3, 3)")
        return frame, cell


def bind_all(definition: Definition, thing: Any) -> list[Bound]:
    """The features bound to every topology of a data set, with the columns that all have in common.

    Raises
    ------
    TopologyError
        If they have none in common.
    """
    bounds = [definition.bind(topology, name) for topology, name in topologies_of(thing)]
    if len(bounds) == 1:
        return bounds
    each = [dict.fromkeys(column.key for column in bound.columns) for bound in bounds]  # a pair given twice counts once
    counts = Counter(key for keys in each for key in keys)
    common = [key for key in each[0] if counts[key] == len(bounds)]
    if not common:
        raise TopologyError(
            f"{definition.title} has no column that is common to the {len(bounds)} topologies "
            f"({'; '.join(str(bound.labels) for bound in bounds[:4])}); analyse them apart, or take others"
        )
    if len(common) < len(counts):
        warn_user(
            f"{definition.title}: {len(counts) - len(common)} of {len(counts)} columns are not in all {len(bounds)} topologies "
            f"and are left out, {len(common)} remain",
            DataWarning,
        )
    return [bound.aligned(common) for bound in bounds]


def topologies_of(thing: Any) -> list[tuple[mdtraj.Topology, str]]:
    """The distinct topologies of whatever has them, each with what errors call it."""
    if isinstance(thing, mdtraj.Topology):
        return [(thing, "")]
    if isinstance(thing, Iterable) and not isinstance(thing, mdtraj.Trajectory):
        seen: dict[int, tuple[mdtraj.Topology, str]] = {}
        for trajectory in thing:
            topology = trajectory.topology
            seen.setdefault(id(topology), (topology, f"the topology of {trajectory.label}"))
        if len(seen) == 1:
            return list(seen.values())
        found: dict[str, tuple[mdtraj.Topology, str]] = {}
        for topology, label in seen.values():
            found.setdefault(topology_hash(topology), (topology, label))
        if found:
            return list(found.values())
    topology = getattr(thing, "topology", None)
    if not isinstance(topology, mdtraj.Topology):
        raise ParameterError(f"expected trajectories or an mdtraj.Topology, got {type(thing).__name__}")
    label = getattr(thing, "label", "")
    return [(topology, f"the topology of {label}" if label else "")]
