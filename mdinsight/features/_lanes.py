"""Eight frames side by side: a number in compiled code that stands for eight, so that one kernel serves one frame or many.

Inside MD a kernel sees one frame, and its numbers are float64. In analysis it sees eight frames at once: coordinates
(n_atoms, 3, 8), and each number is a vector register (or two, or four, as the processor has them) with the value of one
frame in each lane. The source is the same; numba compiles it once for each. No lane looks at another and no sum is
reordered, so a frame's values do not depend on its neighbours, and are those of the frame alone (to the last bit but for
:func:`exponential`, which the C library has for one number and not for eight).

A kernel that is to run both ways chooses with :func:`select` instead of ``if``, calls :func:`root`, :func:`whole` and the like
from here instead of ``math``, and reads and writes by :mod:`mdinsight.features._memory`.
"""
# The compiled functions bear no annotations: numba infers them.
# mypy: disable-error-code="no-untyped-def,misc,no-untyped-call"

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, overload, register_model, type_callable

LANES = 8
"""Frames side by side: one vector register of AVX-512, two of AVX2, four of SSE2 or NEON."""

VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)


class _Many(types.Type):
    """Eight float64."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


class _Mask(types.Type):
    """Eight answers, yes or no."""

    def __init__(self) -> None:
        super().__init__(name="LanesMask")


many, mask = _Many(), _Mask()


@register_model(_Many)
class _ManyModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, VECTOR)


@register_model(_Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _BITS)


def splat(builder: Any, value: Any) -> Any:
    """The code that puts one number into all lanes."""
    one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), zeros)


def _binary(function: Any, build: Callable[[Any, Any, Any], Any], result: types.Type) -> None:
    """Teach numba an operator between eight numbers, or eight and one float64."""

    @type_callable(function)
    def typer(context):
        def accept(a, b):
            if many in (a, b) and a in (many, types.float64) and b in (many, types.float64):
                return result
            return None

        return accept

    for first, second in ((_Many, _Many), (_Many, types.Float), (types.Float, _Many)):

        @lower_builtin(function, first, second)
        def lower(context, builder, sig, args):
            a, b = (x if t is many else splat(builder, x) for x, t in zip(args, sig.args, strict=True))
            return build(builder, a, b)


def _compared(sign: str) -> Callable[[Any, Any, Any], Any]:
    compare = "fcmp_unordered" if sign == "!=" else "fcmp_ordered"
    return lambda builder, a, b: getattr(builder, compare)(sign, a, b)


_binary(operator.add, lambda builder, a, b: builder.fadd(a, b), many)
_binary(operator.sub, lambda builder, a, b: builder.fsub(a, b), many)
_binary(operator.mul, lambda builder, a, b: builder.fmul(a, b), many)
_binary(operator.truediv, lambda builder, a, b: builder.fdiv(a, b), many)
for _name, _sign in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("ne", "!=")):
    _binary(getattr(operator, _name), _compared(_sign), mask)
for _in_place, _plain in ((operator.iadd, "fadd"), (operator.isub, "fsub"), (operator.imul, "fmul")):
    _binary(_in_place, lambda builder, a, b, plain=_plain: getattr(builder, plain)(a, b), many)


@type_callable(operator.neg)
def _type_neg(context):
    return lambda a: many if a is many else None


@lower_builtin(operator.neg, _Many)
def _lower_neg(context, builder, sig, args):
    return builder.fneg(args[0])


def _unary(name: str) -> Any:
    @intrinsic
    def call(typingctx, x):
        def build(context, builder, sig, args):
            kind = args[0].type
            suffix = f"v{LANES}f64" if x is many else "f64"
            function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), f"{name}.{suffix}")
            return builder.call(function, args)

        return x(x), build

    return call


_root, _rint = _unary("llvm.sqrt"), _unary("llvm.nearbyint")
_absolute = _unary("llvm.fabs")


def root(x: Any) -> Any:
    """Square root."""


def whole(x: Any) -> Any:
    """The nearest whole number, as a float."""


def absolute(x: Any) -> Any:
    """Absolute value."""


@overload(root)
def _root_of(x):
    return lambda x: _root(x)


@overload(whole)
def _whole_of(x):
    return lambda x: _rint(x)


@overload(absolute)
def _absolute_of(x):
    return lambda x: _absolute(x)


@intrinsic
def _choose(typingctx, condition, a, b):
    wide = condition is mask
    result = many if wide else types.float64
    a, b = (many if t is many else types.float64 for t in (a, b))

    def build(context, builder, sig, args):
        values = [
            splat(builder, v) if wide and t is not many else v for v, t in zip(args[1:], sig.args[1:], strict=True)
        ]
        return builder.select(args[0], *values)

    return result(condition, a, b), build


def select(condition: Any, a: Any, b: Any) -> Any:
    """``a`` where the condition holds, else ``b``, lane by lane; both are computed."""


@overload(select)
def _select_of(condition, a, b):
    return lambda condition, a, b: _choose(condition, a, b)


@intrinsic
def _some(typingctx, condition):
    def build(context, builder, sig, args):
        number = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", number, ir.Constant(number.type, 0))

    return types.boolean(condition), build


def some(condition: Any) -> Any:
    """Whether a condition holds in any lane."""


@overload(some)
def _some_of(condition):
    if condition is mask:
        return lambda condition: _some(condition)
    return lambda condition: condition


@intrinsic
def lane(typingctx, x, number):
    """The value of one lane."""

    def build(context, builder, sig, args):
        return builder.extract_element(args[0], args[1])

    return types.float64(many, number), build


@intrinsic
def with_lane(typingctx, x, number, value):
    """The same with another value in one lane."""

    def build(context, builder, sig, args):
        return builder.insert_element(args[0], args[2], args[1])

    return many(many, number, types.float64), build


def _one_by_one(stub: Any, function: Any) -> None:
    """Let a stub of one or two arguments stand for a scalar function, which is called for each lane by itself."""
    if stub.__code__.co_argcount == 1:

        @overload(stub)
        def of_one(x):
            if x is not many:
                return lambda x: function(x)

            def each(x):
                for n in range(LANES):
                    x = with_lane(x, n, function(lane(x, n)))
                return x

            return each

        return

    @overload(stub)
    def of_two(y, x):
        if x is not many:
            return lambda y, x: function(y, x)

        def each(y, x):
            for n in range(LANES):
                y = with_lane(y, n, function(lane(y, n), lane(x, n)))
            return y

        return each


def arctan2(y: Any, x: Any) -> Any:
    """Angle of (x, y)."""


def logarithm(x: Any) -> Any:
    """Natural logarithm."""


_one_by_one(arctan2, math.atan2)
_one_by_one(logarithm, math.log)


@intrinsic
def _power_of_two(typingctx, shifted):
    """2^n of n + 1.5 * 2^52: the lowest bits of that sum are n, and are moved to where the exponent stands."""

    def build(context, builder, sig, args):
        word = ir.VectorType(ir.IntType(64), LANES)
        moved = builder.shl(builder.bitcast(args[0], word), ir.Constant(word, [52] * LANES))
        return builder.bitcast(builder.add(moved, ir.Constant(word, [1023 << 52] * LANES)), VECTOR)

    return many(many), build


def exponential(x: Any) -> Any:
    """e^x of x at most 700, to two units in the last place; of eight numbers 0 below -700."""


@overload(exponential)
def _exponential_of(x):
    if x is not many:
        return lambda x: math.exp(x)  # faster for one number

    def compute(x):
        shifted = x * 1.4426950408889634 + 6755399441055744.0
        n = shifted - 6755399441055744.0
        r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10  # ln 2 in two parts, the first times n is exact
        # Taylor's series in two halves; |r| < 0.35, so the first term that is left out is below 1e-17
        s = r * r
        even = 1.0 + s * (
            0.5 + s * (1 / 24 + s * (1 / 720 + s * (1 / 40320 + s * (1 / 3628800 + s * (1 / 479001600)))))
        )
        odd = 1.0 + s * (
            1 / 6 + s * (1 / 120 + s * (1 / 5040 + s * (1 / 362880 + s * (1 / 39916800 + s * (1 / 6227020800)))))
        )
        return select(x < -700.0, 0.0, (even + r * odd) * _power_of_two(shifted))

    return compute
