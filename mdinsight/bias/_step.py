"""The compiled step: features, coordinate, potentials and one backward pass for one frame, in one call.

Everything that the step reads stands in a plan: an array of whole numbers with sizes and the addresses of other arrays, laid
out by :class:`mdinsight.bias._program.Program`, which also keeps those arrays alive. So the call itself passes one array.
"""
# The compiled functions bear no annotations: numba infers them.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import math

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from mdinsight.bias._grid import grid_energy
from mdinsight.bias._kernels import kernels_energy
from mdinsight.bias._restraints import static_energy
from mdinsight.features import jit, run_kernel

# The plan begins with these (sizes, addresses of arrays, and where its rows begin), then come the rows.
N_PIECES, N_ATOMS, DIM, HAS_BOX, N_POTENTIALS, XYZ, BOX, S, SLOPE, GRAD, ENERGIES = range(11)
PARTS_AT, LAYERS_AT, POTENTIALS_AT = 11, 12, 13
HEAD = 14
PIECE = 12
"""parts, first part, kind, columns, coordinates, first coordinate, their addresses, layers, first layer, mean, matrix."""
PART = 9
"""code, index address, terms, width, params address, rows, width, first column, columns."""
LAYER = 8
"""weights, biases, inputs, outputs, activation, values before, values after, gradient (addresses)."""
POTENTIAL = 8
"""code, header address, its length, data address, its length, coordinates, address of their numbers, scratch address."""

COLUMNS, LINEAR, NETWORK = 0, 1, 2
STATIC, GRID, KERNELS = 0, 1, 2
ACTIVATIONS = (
    "identity",
    "tanh",
    "elu",
    "silu",
    "softmax",
    "relu",
    "leaky_relu",
    "softplus",
    "sigmoid",
    "gelu",
)


def _pointer_to(kind):
    @intrinsic
    def pointer(typingctx, address):
        def build(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), build

    return pointer


_floats = _pointer_to(types.float64)
_ints32 = _pointer_to(types.int32)
_ints64 = _pointer_to(types.int64)


@jit
def _vector(address, n):
    return numba.carray(_floats(address), (n,), np.float64)


@jit
def _matrix(address, rows, columns):
    return numba.carray(_floats(address), (rows, columns), np.float64)


@jit
def _activate(kind, z, a):
    n = z.shape[0]
    if kind == 0:
        for i in range(n):
            a[i] = z[i]
    elif kind == 1:
        for i in range(n):
            a[i] = math.tanh(z[i])
    elif kind == 2:
        for i in range(n):
            a[i] = z[i] if z[i] > 0.0 else math.expm1(z[i])
    elif kind == 3:
        for i in range(n):
            a[i] = z[i] * 0.5 * (1.0 + math.tanh(0.5 * z[i]))
    elif kind == 4:
        top = z[0]
        for i in range(1, n):
            top = max(top, z[i])
        total = 0.0
        for i in range(n):
            a[i] = math.exp(z[i] - top)
            total += a[i]
        for i in range(n):
            a[i] /= total
    elif kind == 5:
        for i in range(n):
            a[i] = max(z[i], 0.0)
    elif kind == 6:
        for i in range(n):
            a[i] = z[i] if z[i] > 0.0 else 0.01 * z[i]
    elif kind == 7:
        for i in range(n):
            a[i] = max(z[i], 0.0) + math.log1p(math.exp(-abs(z[i])))
    elif kind == 8:
        for i in range(n):
            a[i] = 0.5 * (1.0 + math.tanh(0.5 * z[i]))
    else:
        for i in range(n):
            a[i] = z[i] * 0.5 * (1.0 + math.erf(z[i] * 0.7071067811865476))


@jit
def _deactivate(kind, z, a, g):
    """Turn the gradient by the outputs into that by the inputs, in place."""
    n = z.shape[0]
    if kind == 1:
        for i in range(n):
            g[i] *= 1.0 - a[i] * a[i]
    elif kind == 2:
        for i in range(n):
            g[i] *= 1.0 if z[i] > 0.0 else a[i] + 1.0
    elif kind == 3:
        for i in range(n):
            s = 0.5 * (1.0 + math.tanh(0.5 * z[i]))
            g[i] *= s * (1.0 + z[i] - a[i])
    elif kind == 4:
        total = 0.0
        for i in range(n):
            total += a[i] * g[i]
        for i in range(n):
            g[i] = a[i] * (g[i] - total)
    elif kind == 5:
        for i in range(n):
            g[i] = g[i] if z[i] > 0.0 else 0.0
    elif kind == 6:
        for i in range(n):
            g[i] *= 1.0 if z[i] > 0.0 else 0.01
    elif kind == 7:
        for i in range(n):
            g[i] *= 0.5 * (1.0 + math.tanh(0.5 * z[i]))
    elif kind == 8:
        for i in range(n):
            g[i] *= a[i] * (1.0 - a[i])
    elif kind == 9:
        for i in range(n):
            bell = 0.3989422804014327 * math.exp(-0.5 * z[i] * z[i])
            g[i] *= 0.5 * (1.0 + math.erf(z[i] * 0.7071067811865476)) + z[i] * bell


@jit
def _times(x, weights, out):
    """out = x @ weights; row by row, so that the inner loop runs along memory and no sum is reordered."""
    for o in range(out.shape[0]):
        out[o] = 0.0
    for i in range(x.shape[0]):
        for o in range(out.shape[0]):
            out[o] += x[i] * weights[i, o]


@jit
def _forward(plan, at, s):
    """Coordinates of one piece out of its columns."""
    kind, n = plan[at + 2], plan[at + 3]
    x = _vector(plan[at + 6], n)
    out = s[plan[at + 5] : plan[at + 5] + plan[at + 4]]
    if kind == COLUMNS:
        out[:] = x
        return
    mean = _vector(plan[at + 10], n)
    scaled = _vector(plan[at + 7], n)
    if kind == LINEAR:
        for i in range(n):
            scaled[i] = x[i] - mean[i]
        _times(scaled, _matrix(plan[at + 11], n, out.shape[0]), out)
        return
    scale = _vector(plan[at + 11], n)
    for i in range(n):
        scaled[i] = (x[i] - mean[i]) * scale[i]
    for layer in range(plan[at + 8]):
        row = plan[LAYERS_AT] + (plan[at + 9] + layer) * LAYER
        n_in, n_out = plan[row + 2], plan[row + 3]
        z, a, bias = _vector(plan[row + 5], n_out), _vector(plan[row + 6], n_out), _vector(plan[row + 1], n_out)
        _times(scaled, _matrix(plan[row], n_in, n_out), z)
        for i in range(n_out):
            z[i] += bias[i]
        _activate(plan[row + 4], z, a)
        scaled = a
    out[:] = scaled


@jit
def _backward(plan, at, slope):
    """The gradient by the columns of one piece out of that by its coordinates; where it stands."""
    kind, n = plan[at + 2], plan[at + 3]
    cotangent = _vector(plan[at + 7], n)
    given = slope[plan[at + 5] : plan[at + 5] + plan[at + 4]]
    if kind == COLUMNS:
        cotangent[:] = given
        return
    if kind == LINEAR:
        matrix = _matrix(plan[at + 11], n, given.shape[0])
        for i in range(n):
            total = 0.0
            for k in range(given.shape[0]):
                total += matrix[i, k] * given[k]
            cotangent[i] = total
        return
    count = plan[at + 8]
    last = plan[LAYERS_AT] + (plan[at + 9] + count - 1) * LAYER
    g = _vector(plan[last + 7], given.shape[0])
    g[:] = given
    for layer in range(count - 1, -1, -1):
        row = plan[LAYERS_AT] + (plan[at + 9] + layer) * LAYER
        n_in, n_out = plan[row + 2], plan[row + 3]
        z, a = _vector(plan[row + 5], n_out), _vector(plan[row + 6], n_out)
        _deactivate(plan[row + 4], z, a, g)
        weights = _matrix(plan[row], n_in, n_out)
        before = cotangent if layer == 0 else _vector(plan[row - LAYER + 7], n_in)
        for i in range(n_in):
            before[i] = _dot(weights[i], g)
        g = before
    scale = _vector(plan[at + 11], n)
    for i in range(n):
        cotangent[i] *= scale[i]


@jit
def _dot(a, b):
    """Four running sums: a single one would wait for each addition."""
    p, q, r, t = 0.0, 0.0, 0.0, 0.0
    n = a.shape[0]
    whole = n - n % 4
    for i in range(0, whole, 4):
        p += a[i] * b[i]
        q += a[i + 1] * b[i + 1]
        r += a[i + 2] * b[i + 2]
        t += a[i + 3] * b[i + 3]
    for i in range(whole, n):
        p += a[i] * b[i]
    return (p + q) + (r + t)


@jit
def _run_parts(plan, at, gradient):
    """The kernels of one piece: values, and then, once the cotangents are known, gradients."""
    xyz = _matrix(plan[XYZ], plan[N_ATOMS], 3)
    box = _matrix(plan[BOX], 3, 3)
    grad = _matrix(plan[GRAD], plan[N_ATOMS] if gradient else 0, 3)
    x, cotangent = _vector(plan[at + 6], plan[at + 3]), _vector(plan[at + 7], plan[at + 3])
    for number in range(plan[at]):
        row = plan[PARTS_AT] + (plan[at + 1] + number) * PART
        index = numba.carray(_ints32(plan[row + 1]), (plan[row + 2], plan[row + 3]), np.int32)
        params = _matrix(plan[row + 4], plan[row + 5], plan[row + 6])
        a, b = plan[row + 7], plan[row + 7] + plan[row + 8]
        run_kernel(plan[row], xyz, box, plan[HAS_BOX] > 0, index, params, x[a:b], cotangent[a:b], grad)


@jit
def coordinates(plan):
    """Coordinates of the frame at ``plan[XYZ]``, into the array at ``plan[S]``."""
    s = _vector(plan[S], plan[DIM])
    for piece in range(plan[N_PIECES]):
        at = HEAD + piece * PIECE
        _run_parts(plan, at, False)
        _forward(plan, at, s)


@jit
def pull(plan):
    """Of the frame that :func:`coordinates` saw last: the gradient of slope . coordinates, into the array at ``plan[GRAD]``."""
    slope = _vector(plan[SLOPE], plan[DIM])
    grad = _matrix(plan[GRAD], plan[N_ATOMS], 3)
    grad[:] = 0.0
    for piece in range(plan[N_PIECES]):
        at = HEAD + piece * PIECE
        _backward(plan, at, slope)
        _run_parts(plan, at, True)


@jit
def potentials(plan):
    """Sum of all potentials at the coordinates in ``plan[S]``; each goes to ``plan[ENERGIES]``, the slope to ``plan[SLOPE]``."""
    s, slope = _vector(plan[S], plan[DIM]), _vector(plan[SLOPE], plan[DIM])
    energies = _vector(plan[ENERGIES], plan[N_POTENTIALS])
    slope[:] = 0.0
    total = 0.0
    for number in range(plan[N_POTENTIALS]):
        row = plan[POTENTIALS_AT] + number * POTENTIAL
        n = plan[row + 5]
        axes = numba.carray(_ints64(plan[row + 6]), (n,), np.int64)
        scratch = _matrix(plan[row + 7], 2, n)
        at, by = scratch[0], scratch[1]
        for i in range(n):
            at[i] = s[axes[i]]
        header, data = _vector(plan[row + 1], plan[row + 2]), _vector(plan[row + 3], plan[row + 4])
        if plan[row] == STATIC:
            energy = static_energy(at, header, data, by)
        elif plan[row] == GRID:
            energy = grid_energy(at, header, data, by)
        else:
            energy = kernels_energy(at, header, data, by)
        for i in range(n):
            slope[axes[i]] += by[i]
        energies[number] = energy
        total += energy
    return total


@jit
def step(plan, factor):
    """Energy of the bias at one frame; ``factor`` times its force (minus the gradient) into the array at ``plan[GRAD]``."""
    coordinates(plan)
    energy = potentials(plan)
    slope = _vector(plan[SLOPE], plan[DIM])
    for k in range(plan[DIM]):
        slope[k] *= -factor
    pull(plan)
    return energy
