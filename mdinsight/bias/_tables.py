"""A bias potential as a table for OpenMM: nodes on every axis, energies less the constant outside."""
# The compiled functions bear no annotations: numba infers them.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight.bias import _kernels
from mdinsight.bias._live import GRID, KERNELS
from mdinsight.errors import NonFiniteError, ParameterError
from mdinsight.features import jit

if TYPE_CHECKING:
    import openmm

NODES_PER_WIDTH = {1: 12.0, 2: 3.0, 3: 2.0}
"""Nodes to the width of the narrowest kernel, by the number of axes. Hills of metadynamics keep the nodes of their own grid."""

PADDING = 6
"""Nodes repeated beyond a period: what a spline lacks at its end has died down by a factor of 3000 there."""

MOST_NODES = {1: 1_000_000, 2: 1_000_000, 3: 400_000}
"""By the number of axes. OpenMM keeps 16 or 64 coefficients a node: up to 200 MB."""


@dataclass(frozen=True)
class Axis:
    """Nodes of one axis: ``n`` at whole multiples of ``spacing``, from number ``first`` on; one period, if there is one."""

    first: int
    n: int
    spacing: float
    period: float | None

    @property
    def nodes(self) -> np.ndarray:
        """(n,) where the energy has to be computed."""
        return self.spacing * (self.first + np.arange(self.n))


@dataclass(frozen=True)
class Table:
    """Energies of a potential less ``outside``; on periodic axes first nodes are repeated behind the last, and so on."""

    axes: tuple[Axis, ...]
    values: np.ndarray
    outside: float

    @property
    def wraps(self) -> bool:
        """Whether OpenMM itself repeats the table, which it does along all axes or along none."""
        return all(axis.period is not None for axis in self.axes)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What OpenMM's tabulated function takes, but for whether it is periodic."""
        sizes = self.values.shape if len(self.axes) > 1 else ()
        before = 0 if self.wraps else PADDING
        ends = []
        for axis, n in zip(self.axes, self.values.shape, strict=True):
            first = axis.first - (before if axis.period is not None else 0)
            ends += [axis.spacing * first, axis.spacing * (first + n - 1)]
        return (*sizes, self.values.ravel(order="F"), *ends)

    def function(self) -> openmm.TabulatedFunction:
        """A new OpenMM function of the table."""
        import openmm

        return getattr(openmm, f"Continuous{len(self.axes)}DFunction")(*self.arguments, self.wraps)

    def contains(self, low: np.ndarray, high: np.ndarray) -> bool:
        """Whether a box lies within the table; a periodic axis holds everything."""
        return all(
            axis.period is not None
            or (axis.spacing * axis.first <= a and b <= axis.spacing * (axis.first + axis.n - 1))
            for axis, a, b in zip(self.axes, low, high, strict=True)
        )


def tabulate(state: Any, title: str) -> Table:
    """The table of a potential as it is now.

    Parameters
    ----------
    state
        The live state of a potential of one to three axes.
    title
        How errors call it.

    Raises
    ------
    ParameterError
        If the table would be too large, or if there are no bounds outside of which the energy is constant.
    NonFiniteError
        If an energy is not finite.
    """
    axes = _axes(state, title)
    outside = float(state.outside)
    if state.code == KERNELS:
        values = _kernels_on_nodes(state, axes) - outside
    else:
        mesh = np.meshgrid(*(axis.nodes for axis in axes), indexing="ij")
        values = state.energies(np.column_stack([line.ravel() for line in mesh])).reshape(mesh[0].shape) - outside
    if not np.isfinite(values).all():
        raise NonFiniteError(f"{title} has energies that are not finite; its table stays as it was")
    beyond = (0, 1) if all(axis.period is not None for axis in axes) else (PADDING, PADDING + 1)
    padding = [beyond if axis.period is not None else (0, 0) for axis in axes]
    return Table(axes, np.pad(values, padding, mode="wrap") if any(map(any, padding)) else values, outside)


def _axes(state: Any, title: str) -> tuple[Axis, ...]:
    empty = state.n_deposits == 0
    low, high = (np.zeros(state.dim), np.zeros(state.dim)) if empty else state.span()
    if not np.isfinite([low, high]).all():
        raise ParameterError(f"{title} is constant nowhere, so no table holds it; take form='compiled'")
    spacing = np.array([period or 1.0 for period in state.periods]) / 8 if empty else _spacing(state)
    axes = []
    for a, b, h, period in zip(low.tolist(), high.tolist(), spacing.tolist(), state.periods, strict=True):
        if period is not None:
            n = max(2 * PADDING, math.ceil(period / h * (1.0 - 1e-9)))
            axes.append(Axis(0, n, period / n, period))
        else:
            first, last = math.floor(a / h + 1e-9), math.ceil(b / h - 1e-9)
            axes.append(Axis(first, max(4, last - first + 1), h, None))
    most = MOST_NODES[len(axes)]
    if math.prod(float(axis.n) for axis in axes) > most:
        raise ParameterError(
            f"{title} would need a table of {' x '.join(str(axis.n) for axis in axes)} nodes, and {most} is the most; give "
            "larger widths (sigma, or for OPES sigma_min), or take form='compiled', which needs no table"
        )
    return tuple(axes)


def _spacing(state: Any) -> np.ndarray:
    if state.code == GRID:
        return np.asarray(state.header[1:].reshape(state.dim, -1)[:, -1])  # its own nodes, where its energy is exact
    return np.asarray(state.kernels[:, 1 + state.dim :].min(axis=0)) / NODES_PER_WIDTH[state.dim]


def _kernels_on_nodes(state: Any, axes: tuple[Axis, ...]) -> np.ndarray:
    """Energies of OPES on all nodes, kernel by kernel and each only where it is not zero; state.energies does it node by node."""
    header = state.header
    all_axes = (*axes, *[Axis(0, 1, 1.0, None)] * (3 - len(axes)))
    kernels = np.zeros((len(state.kernels), 7))
    kernels[:, 4:] = 1.0
    kernels[:, : 1 + state.dim] = state.kernels[:, : 1 + state.dim]
    kernels[:, 4 : 4 + state.dim] = state.kernels[:, 1 + state.dim :]
    total = np.zeros(tuple(axis.n for axis in all_axes))
    rows = np.array([(axis.first, axis.spacing, axis.period or 0.0) for axis in all_axes])
    _sum_kernels(kernels, rows, header[_kernels.HALF_CUTOFF], header[_kernels.AT_CUTOFF], total)
    shape = tuple(axis.n for axis in axes)
    probability = header[_kernels.SCALE] * total.reshape(shape) + header[_kernels.EPSILON]
    return np.asarray(header[_kernels.PREFACTOR] * np.log(probability))


@jit
def _sum_kernels(kernels, axes, half, at_cutoff, total):
    """Add kernels (height, 3 centers, 3 widths) to the nodes (first, spacing, period of 3 axes) within their reach."""
    shape = total.shape
    longest = max(shape[0], shape[1], shape[2])
    node, x, e = np.zeros((3, longest), np.int64), np.zeros((3, longest)), np.zeros((3, longest))
    count = np.zeros(3, np.int64)
    for k in range(kernels.shape[0]):
        for i in range(3):
            center, width, n, h, period = kernels[k, 1 + i], kernels[k, 4 + i], shape[i], axes[i, 1], axes[i, 2]
            reach = math.sqrt(2.0 * half) * width
            low = math.ceil((center - reach) / h - axes[i, 0])
            high = math.floor((center + reach) / h - axes[i, 0])
            if period > 0.0:
                if high - low >= n:
                    low, high = 0, n - 1
            else:
                low, high = max(low, 0), min(high, n - 1)
            count[i] = max(0, high - low + 1)
            for m in range(count[i]):
                d = (axes[i, 0] + low + m) * h - center
                if period > 0.0:
                    d -= period * math.floor(d / period + 0.5)
                node[i, m] = (low + m) % n
                x[i, m] = 0.5 * (d / width) ** 2
                e[i, m] = math.exp(-x[i, m])
        for a in range(count[0]):
            for b in range(count[1]):
                x2, e2 = x[0, a] + x[1, b], kernels[k, 0] * e[0, a] * e[1, b]
                if x2 < half:
                    for c in range(count[2]):
                        if x2 + x[2, c] < half:
                            total[node[0, a], node[1, b], node[2, c]] += e2 * e[2, c] - kernels[k, 0] * at_cutoff
