"""What the compiled step reads, laid out once for a coordinate: numbers, sizes and addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight.bias import _step
from mdinsight.cvs import LinearCV, NetworkCV
from mdinsight.errors import ParameterError
from mdinsight.features import kernel_code

if TYPE_CHECKING:
    from mdinsight.bias._coordinate import BoundCoordinate
    from mdinsight.features import Bound


class _Buffers:
    """What both kinds of program read and write; see :class:`Program`."""

    def __init__(self, bound: BoundCoordinate) -> None:
        n = len(bound.atoms)
        self.xyz, self.grad, self.box = np.zeros((n, 3)), np.zeros((n, 3)), np.zeros((3, 3))
        self.s, self.slope = np.zeros(bound.coordinate.dim), np.zeros(bound.coordinate.dim)


class Program(_Buffers):
    """The step for a coordinate and, once :meth:`bind` was called, potentials.

    ``xyz`` (n, 3) and ``box`` (3, 3) are read and ``grad`` (n, 3) is written, where n is the number of atoms that the
    coordinate reads; ``s`` (dim,) are its numbers, ``slope`` (dim,) the derivative of the energy by them, ``energies`` those of
    the potentials. All arrays are float64 and stay in place.
    """

    def __init__(self, bound: BoundCoordinate) -> None:
        super().__init__(bound)
        self._held: list[np.ndarray] = []
        self._pieces: list[list[int]] = []
        self._parts: list[list[int]] = []
        self._layers: list[list[int]] = []
        first = 0
        for features, cv in bound.pieces:
            self._piece(features, cv, bound.atoms, first)
            first += len(features.columns) if cv is None else cv.dim  # type: ignore[attr-defined]
        self.bind(())

    def place(self, xyz: np.ndarray, box: np.ndarray | None) -> None:
        """Put a frame where the step reads it."""
        self.xyz[:] = xyz
        self.plan[_step.HAS_BOX] = int(box is not None)
        if box is not None:
            self.box[:] = box

    def coordinates(self) -> None:
        """Compute ``s`` from the frame."""
        _step.coordinates(self.plan)

    def pull(self) -> None:
        """Compute ``grad`` from ``slope``."""
        _step.pull(self.plan)

    def step(self, factor: float = 1.0) -> float:
        """Energy of the bias; ``grad`` is then ``factor`` times its force."""
        return float(_step.step(self.plan, factor))

    def bind(self, states: Sequence[Any]) -> None:
        """Take the live arrays of the potentials; to be called again whenever a deposit may have replaced them."""
        self.energies = np.zeros(max(1, len(states)))
        self._live: list[np.ndarray] = []
        potentials = [self._potential(state) for state in states]
        rows = [*self._pieces, *self._parts, *self._layers, *potentials]
        parts = _step.HEAD + len(self._pieces) * _step.PIECE
        layers = parts + len(self._parts) * _step.PART
        head = np.zeros(_step.HEAD, np.int64)
        for place, number in (
            (_step.N_PIECES, len(self._pieces)),
            (_step.N_ATOMS, len(self.xyz)),
            (_step.DIM, len(self.s)),
            (_step.HAS_BOX, int(self._has_box)),
            (_step.N_POTENTIALS, len(states)),
            (_step.PARTS_AT, parts),
            (_step.LAYERS_AT, layers),
            (_step.POTENTIALS_AT, layers + len(self._layers) * _step.LAYER),
        ):
            head[place] = number
        for place, array in (
            (_step.XYZ, self.xyz),
            (_step.BOX, self.box),
            (_step.S, self.s),
            (_step.SLOPE, self.slope),
            (_step.GRAD, self.grad),
            (_step.ENERGIES, self.energies),
        ):
            head[place] = array.ctypes.data
        self.plan = np.concatenate([head, *(np.array(row, np.int64) for row in rows)])

    @property
    def _has_box(self) -> bool:
        return hasattr(self, "plan") and bool(self.plan[_step.HAS_BOX])

    def _address(self, array: Any, dtype: Any = np.float64) -> int:
        kept = np.require(array, dtype, ["C", "A", "W"])
        self._held.append(kept)
        return int(kept.ctypes.data)

    def _piece(self, features: Bound, cv: Any, atoms: np.ndarray, first: int) -> None:
        n = features.n_columns
        dim = n if cv is None else cv.dim
        kind = _step.COLUMNS if cv is None else _step.LINEAR if isinstance(cv, LinearCV) else _step.NETWORK
        row = [len(features.parts), len(self._parts), kind, n, dim, first]
        row += [self._address(np.zeros(n)), self._address(np.zeros(n)), 0, len(self._layers), 0, 0]
        order = np.arange(n) if features.order is None else features.order  # column j is the parts' output order[j]
        start = 0
        for part in features.parts:
            local: Any = part.local(atoms)
            index = self._address(local.index, np.int32)
            params = self._address(local.params)
            self._parts.append(
                [kernel_code(local), index, *local.index.shape, params, *local.params.shape, start, len(part.columns)]
            )
            start += len(part.columns)
        if cv is None:
            if not np.array_equal(order, np.arange(n)):
                raise ParameterError("columns as coordinates must stand in the order of their features")
        elif isinstance(cv, LinearCV):
            row[10], row[11] = self._address(_by_output(cv.mean, order)), self._address(_by_output(cv.matrix, order))
        else:
            row[10], row[11] = self._address(_by_output(cv.shift, order)), self._address(_by_output(cv.scale, order))
            row[8] = self._network(cv, order)
        self._pieces.append(row)

    def _network(self, cv: NetworkCV, order: np.ndarray) -> int:
        layers = [
            (weight, bias, name) for weight, bias, name in zip(cv.weights, cv.biases, cv.activations, strict=True)
        ]
        layers[0] = (_by_output(layers[0][0], order), *layers[0][1:])
        layers.append((cv.head, -cv.head_mean @ cv.head, "identity"))  # (a - mean) @ head
        for weight, bias, name in layers:
            n_in, n_out = weight.shape
            buffers = [self._address(np.zeros(n_out)) for _ in range(3)]
            self._layers.append(
                [self._address(weight), self._address(bias), n_in, n_out, _step.ACTIVATIONS.index(name), *buffers]
            )
        return len(layers)

    def _potential(self, state: Any) -> list[int]:
        axes = np.ascontiguousarray(state.axes, np.int64)
        scratch = np.zeros((2, len(axes)))
        header, data = state.header, state.data
        for array in (header, data):
            if array.dtype != np.float64 or not array.flags.c_contiguous:
                raise ParameterError(
                    f"{type(state).__name__} holds an array that the step cannot read; use C order float64"
                )
        self._live += [axes, scratch, header, data]
        sizes = [header.ctypes.data, header.size, data.ctypes.data, data.size]
        return [state.code, *sizes, len(axes), axes.ctypes.data, scratch.ctypes.data]


class PythonProgram(_Buffers):
    """The same as :class:`Program` for coordinates that hold a user's function of frames, which is not compiled."""

    def __init__(self, bound: BoundCoordinate) -> None:
        super().__init__(bound)
        self._bound = bound
        self._frame: np.ndarray = np.zeros((bound.n_atoms, 3))
        self._cell: np.ndarray | None = None
        self.bind(())

    def place(self, xyz: np.ndarray, box: np.ndarray | None) -> None:
        """Put a frame where the step reads it."""
        self.xyz[:] = xyz
        self._cell = None if box is None else np.array(box)

    def bind(self, states: Sequence[Any]) -> None:
        """Take the potentials."""
        self.states = tuple(states)
        self.energies = np.zeros(max(1, len(states)))

    def coordinates(self) -> None:
        """Compute ``s`` from the frame."""
        self._frame[self._bound.atoms] = self.xyz
        values = []
        self._columns = [features.value(self._frame, self._cell) for features, _ in self._bound.pieces]
        for (_, cv), x in zip(self._bound.pieces, self._columns, strict=True):
            values.append(x if cv is None else cv.value_and_vjp(x, np.zeros(cv.dim))[0])  # type: ignore[attr-defined]
        self.s[:] = np.concatenate(values)

    def pull(self) -> None:
        """Compute ``grad`` from ``slope``."""
        total = np.zeros_like(self._frame)
        first = 0
        for (features, cv), x in zip(self._bound.pieces, self._columns, strict=True):
            dim = len(x) if cv is None else cv.dim  # type: ignore[attr-defined]
            given = self.slope[first : first + dim]
            by_columns = given if cv is None else cv.value_and_vjp(x, given)[1]  # type: ignore[attr-defined]
            total += features.vjp(self._frame, by_columns, self._cell)
            first += dim
        self.grad[:] = total[self._bound.atoms]

    def step(self, factor: float = 1.0) -> float:
        """Energy of the bias; ``grad`` is then ``factor`` times its force."""
        self.coordinates()
        self.slope[:] = 0.0
        for number, state in enumerate(self.states):
            axes = list(state.axes)
            self.energies[number] = state.energy(self.s[axes])
            self.slope[axes] += state.slopes(self.s[None, axes])[0]
        self.slope *= -factor
        self.pull()
        return float(self.energies[: len(self.states)].sum())


def program_for(bound: BoundCoordinate) -> Program | PythonProgram:
    """The compiled program where all of the coordinate can be compiled."""
    plain = all(features.is_compiled for features in bound.bounds)
    known = all(cv is None or isinstance(cv, (LinearCV, NetworkCV)) for _, cv in bound.pieces)
    return Program(bound) if plain and known else PythonProgram(bound)


def _by_output(rows: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Rows that belong to columns, put in the order in which the kernels write them."""
    out = np.empty_like(rows)
    out[order] = rows
    return out
