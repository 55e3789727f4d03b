"""How kernels read and write, the same for one frame and for eight side by side (:mod:`mdinsight.features._lanes`)."""
# The compiled functions bear no annotations: numba infers them.
# mypy: disable-error-code="no-untyped-def,misc,no-untyped-call"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic, overload

from mdinsight.features._lanes import LANES, VECTOR, many, splat


@intrinsic
def _zeros(typingctx):
    return many(), lambda context, builder, sig, args: ir.Constant(VECTOR, [0.0] * LANES)


def zeros(like: Any) -> Any:
    """0.0 for as many frames as there are in the coordinates ``like``."""


@overload(zeros)
def _zeros_of(like):
    return (lambda like: 0.0) if like.ndim == 2 else (lambda like: _zeros())


def _address(context: Any, builder: Any, kind: Any, value: Any, places: Any) -> Any:
    """Pointer to ``value[places]``, whose last axis (the lanes, if the array has one more) runs along memory."""
    array = context.make_array(kind)(context, builder, value)
    shape = [builder.extract_value(array.shape, n) for n in range(kind.ndim)]
    at = places[0]
    for n, place in enumerate(places[1:], 1):
        at = builder.add(builder.mul(at, shape[n]), place)
    if kind.ndim > len(places):
        at = builder.mul(at, ir.Constant(at.type, LANES))
    return builder.gep(array.data, [at])


def _pieces(typing: Any, array: Any, places: Any) -> Any:
    """The type of what stands there: one float64, or eight where the array has one axis more than places are given."""
    if not isinstance(array, types.Array) or array.dtype is not types.float64 or array.layout != "C":
        return None
    return {0: types.float64, 1: many}.get(array.ndim - len(places))


def _reader(count: int) -> Any:
    def build(context, builder, sig, args):
        places = [context.cast(builder, a, t, types.intp) for a, t in zip(args[1:], sig.args[1:], strict=True)]
        pointer = _address(context, builder, sig.args[0], args[0], places)
        if sig.return_type is many:
            pointer = builder.bitcast(pointer, VECTOR.as_pointer())
        return builder.load(pointer, align=8)

    if count == 1:

        @intrinsic
        def read_one(typingctx, array, i):
            found = _pieces(typingctx, array, (i,))
            return None if found is None else (found(array, i), build)

        return read_one

    @intrinsic
    def read_two(typingctx, array, i, c):
        found = _pieces(typingctx, array, (i, c))
        return None if found is None else (found(array, i, c), build)

    return read_two


def _writer(count: int) -> Any:
    def build(context, builder, sig, args):
        places = [context.cast(builder, a, t, types.intp) for a, t in zip(args[1:-1], sig.args[1:-1], strict=True)]
        pointer = _address(context, builder, sig.args[0], args[0], places)
        value = args[-1]
        if sig.args[0].ndim > count:
            value = value if sig.args[-1] is many else splat(builder, value)
            pointer = builder.bitcast(pointer, VECTOR.as_pointer())
        builder.store(value, pointer, align=8)
        return context.get_dummy_value()

    if count == 1:

        @intrinsic
        def write_one(typingctx, array, i, value):
            found = _pieces(typingctx, array, (i,))
            return None if found is None else (types.void(array, i, value), build)

        return write_one

    @intrinsic
    def write_two(typingctx, array, i, c, value):
        found = _pieces(typingctx, array, (i, c))
        return None if found is None else (types.void(array, i, c, value), build)

    return write_two


load = _reader(2)
"""``load(xyz, i, c)``: a coordinate of atom i, of every frame that is there."""
store = _writer(1)
"""``store(out, o, value)``: set output o."""
put = _writer(2)
"""``put(x, i, c, value)``: set an entry of a :func:`scratch`."""


def scratch(like: Any, rows: Any, columns: Any) -> Any:
    """Working memory (rows, columns) for as many frames as there are in the coordinates ``like``; not set."""


@overload(scratch)
def _scratch_of(like, rows, columns):
    if like.ndim == 2:
        return lambda like, rows, columns: np.empty((rows, columns))
    return lambda like, rows, columns: aligned(rows * columns * LANES).reshape((rows, columns, LANES))


def aligned(size: Any) -> Any:
    """(size,) float64 that begins where a line of the cache begins, so that no vector lies across two."""


@overload(aligned)
def _aligned_of(size):
    def make(size):
        room = np.empty(size + 8)
        skip = (-room.ctypes.data // 8) % 8
        return room[skip : skip + size]

    return make


@intrinsic
def write_block(typingctx, values, o, out, row, column):
    """Eight outputs of eight frames, from ``values`` (n_out, 8) from o on to ``out`` (frames, outputs) float32."""

    def build(context, builder, sig, args):
        o, row, column = (context.cast(builder, args[n], sig.args[n], types.intp) for n in (1, 3, 4))
        single = ir.VectorType(ir.FloatType(), LANES)
        zero = ir.Constant(o.type, 0)
        rows = []
        for n in range(LANES):
            place = builder.add(o, ir.Constant(o.type, n))
            pointer = _address(context, builder, sig.args[0], args[0], [place, zero])
            wide = builder.load(builder.bitcast(pointer, VECTOR.as_pointer()), align=8)
            rows.append(builder.fptrunc(wide, single))
        for n, wanted in enumerate(_transposed(builder, rows)):
            place = builder.add(row, ir.Constant(o.type, n))
            pointer = _address(context, builder, sig.args[2], args[2], [place, column])
            builder.store(wanted, builder.bitcast(pointer, single.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(values, o, out, row, column), build


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Eight vectors of eight: in each of three rounds the halves, quarters and single entries off the diagonal change places."""
    for step in (4, 2, 1):
        low = [n if not n & step else n - step + LANES for n in range(LANES)]
        high = [n + step if not n & step else n + LANES for n in range(LANES)]
        mixed = list(rows)
        for n in range(LANES):
            if not n & step:
                for place, order in ((n, low), (n + step, high)):
                    take = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
                    mixed[place] = builder.shuffle_vector(rows[n], rows[n + step], take)
        rows = mixed
    return rows
