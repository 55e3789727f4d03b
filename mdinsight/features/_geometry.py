"""Geometry for the kernels, compiled: minimum image, torsion, angle; each derivative beside its value.

All work in double precision on coordinates in nm, of one frame or of eight side by side (:mod:`mdinsight.features._lanes`).
A box holds its vectors as rows.
"""
# The compiled functions bear no annotations: numba infers them.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import math

import numpy as np
from numba.extending import overload

from mdinsight.features._jit import inlined, jit
from mdinsight.features._lanes import LANES, absolute, root, select, some, whole
from mdinsight.features._memory import load

TINY = 1e-12
"""Below this (nm, or nm squared) a direction is undefined: its derivative is given as zero."""


@jit
def dot(a, b):
    """Scalar product of two vectors."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@jit
def cross(a, b):
    """Vector product of two vectors, as a tuple."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@jit
def axpy(grad, atom, factor, v):
    """Add ``factor * v`` to the gradient of one atom."""
    grad[atom, 0] += factor * v[0]
    grad[atom, 1] += factor * v[1]
    grad[atom, 2] += factor * v[2]


@jit
def _shorten(cell, i, j):
    """Subtract the multiple of vector j that makes vector i shortest; True if that changed it."""
    overlap = cell[i, 0] * cell[j, 0] + cell[i, 1] * cell[j, 1] + cell[i, 2] * cell[j, 2]
    length = cell[j, 0] ** 2 + cell[j, 1] ** 2 + cell[j, 2] ** 2
    if abs(overlap) <= 0.5 * length * (1.0 + 1e-9):
        return False
    turns = math.floor(overlap / length + 0.5)
    for c in range(3):
        cell[i, c] -= turns * cell[j, c]
    return True


@jit
def _shorten_last(cell):
    """Where a + b, a - b or both with c give a shorter third vector, take it; True if so."""
    best = cell[2, 0] ** 2 + cell[2, 1] ** 2 + cell[2, 2] ** 2
    limit = best * (1.0 - 1e-9)
    found = False
    keep_a, keep_b = 0, 0
    for a in range(-1, 2):
        for b in range(-1, 2):
            length = 0.0
            for c in range(3):
                length += (cell[2, c] + a * cell[0, c] + b * cell[1, c]) ** 2
            if length < limit:
                limit, keep_a, keep_b, found = length, a, b, True
    if found:
        for c in range(3):
            cell[2, c] += keep_a * cell[0, c] + keep_b * cell[1, c]
    return found


@jit
def _sort_rows(cell):
    for i in range(2):
        for j in range(2 - i):
            first = cell[j, 0] ** 2 + cell[j, 1] ** 2 + cell[j, 2] ** 2
            second = cell[j + 1, 0] ** 2 + cell[j + 1, 1] ** 2 + cell[j + 1, 2] ** 2
            if second < first:
                for c in range(3):
                    cell[j, c], cell[j + 1, c] = cell[j + 1, c], cell[j, c]


TABLE = 20
"""Rows of a table of prepared boxes."""


def prepare_box(box, has_box):
    """The box as the minimum image needs it, all in numbers: (mode, safe, nine of the cell, nine of its inverse).

    The cell is the Minkowski-reduced lattice basis, so a strongly tilted box costs no correctness: for a reduced
    basis the nearest image lies within one step of the rounded one (Semaev 2001, doi:10.1007/3-540-44670-2_13).
    ``mode`` is 0 without a box, 1 for a rectangular one along the axes and 2 for any other; below ``safe`` (nm squared) a
    rounded image is known to be the nearest. Of frames side by side ``box`` is the table that :func:`tabulate_box` filled,
    and the mode is that of the most general one.
    """


@overload(prepare_box)
def _prepare_box(box, has_box):
    if box.ndim == 2:
        return lambda box, has_box: _prepare(box, has_box)

    def prepared(box, has_box):
        mode = 0.0
        if has_box:
            for n in range(LANES):
                mode = max(mode, box[0, 0, n])
        safe, a, b, c = load(box, 1, 0), _three(box, 2), _three(box, 5), _three(box, 8)
        p, q, r = _three(box, 11), _three(box, 14), _three(box, 17)
        return mode, safe, (*a, *b, *c), (*p, *q, *r)

    return prepared


@jit
def _three(table, row):
    return load(table, row, 0), load(table, row + 1, 0), load(table, row + 2, 0)


@jit
def tabulate_box(box, table, n):
    """Write a box into lane n of a table (TABLE, 1, LANES)."""
    mode, safe, cell, inverse = _prepare(box, True)
    table[0, 0, n], table[1, 0, n] = mode, safe
    for k in range(9):
        table[2 + k, 0, n] = cell[k]
        table[11 + k, 0, n] = inverse[k]


@jit
def _prepare(box, has_box):
    # a tuple of numbers lives in registers; one that held arrays would count references for every pair of atoms
    if not has_box:
        return _pack(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    x, y, z = box[0, 0], box[1, 1], box[2, 2]
    if box[0, 1] == box[0, 2] == box[1, 0] == box[1, 2] == box[2, 0] == box[2, 1] == 0.0:
        mode = 1.0 if abs(x * y * z) >= TINY else 0.0
        return _pack(mode, x * y * z, 0.25 * min(x * x, y * y, z * z), x, 0.0, 0.0, 0.0, y, 0.0, 0.0, 0.0, z)
    cell = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            cell[i, j] = box[i, j]
    for _ in range(64):  # a handful of rounds do for any box of a simulation
        _sort_rows(cell)
        changed = _shorten(cell, 1, 0)
        changed |= _shorten(cell, 2, 0)
        changed |= _shorten(cell, 2, 1)
        if not changed:
            changed = _shorten_last(cell)
        if not changed:
            break
    a = (cell[0, 0], cell[0, 1], cell[0, 2])
    b = (cell[1, 0], cell[1, 1], cell[1, 2])
    c = (cell[2, 0], cell[2, 1], cell[2, 2])
    volume = dot(a, cross(b, c))
    mode = 2.0 if abs(volume) >= TINY else 0.0
    return _pack(mode, volume, 0.25 * dot(a, a), a[0], a[1], a[2], b[0], b[1], b[2], c[0], c[1], c[2])


@jit
def _pack(mode, volume, safe, ax, ay, az, bx, by, bz, cx, cy, cz):
    if mode == 0.0:  # no image is nearer than the one that is there
        zero = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        return 0.0, 0.0, zero, zero
    p = cross((bx, by, bz), (cx, cy, cz))
    q = cross((cx, cy, cz), (ax, ay, az))
    r = cross((ax, ay, az), (bx, by, bz))
    v = 1.0 / volume
    cell = (ax, ay, az, bx, by, bz, cx, cy, cz)
    return mode, safe, cell, (p[0] * v, p[1] * v, p[2] * v, q[0] * v, q[1] * v, q[2] * v, r[0] * v, r[1] * v, r[2] * v)


@inlined
def difference(xyz, i, j, box):
    """Vector from atom i to the nearest image of atom j; ``box`` as :func:`prepare_box` gives it."""
    x = load(xyz, j, 0) - load(xyz, i, 0)
    y = load(xyz, j, 1) - load(xyz, i, 1)
    z = load(xyz, j, 2) - load(xyz, i, 2)
    return nearest(x, y, z, box)


@inlined
def nearest(x, y, z, box):
    """The nearest image of a vector."""
    mode, safe, cell, inverse = box
    if mode == 1.0:
        x = x - whole(x * inverse[0]) * cell[0]
        y = y - whole(y * inverse[4]) * cell[4]
        z = z - whole(z * inverse[8]) * cell[8]
    elif mode == 2.0:
        x, y, z = _nearest_tilted(x, y, z, safe, cell, inverse)
    return x, y, z


@jit
def _nearest_tilted(x, y, z, safe, cell, inverse):
    p = whole(x * inverse[0] + y * inverse[1] + z * inverse[2])
    q = whole(x * inverse[3] + y * inverse[4] + z * inverse[5])
    r = whole(x * inverse[6] + y * inverse[7] + z * inverse[8])
    x = x - (p * cell[0] + q * cell[3] + r * cell[6])
    y = y - (p * cell[1] + q * cell[4] + r * cell[7])
    z = z - (p * cell[2] + q * cell[5] + r * cell[8])
    if some(x * x + y * y + z * z > safe):
        return _search(x, y, z, cell)
    return x, y, z


@jit
def _search(x, y, z, cell):
    """Of the 27 images around, the nearest; two opposite steps s are tried at once, as the better is that against d . s."""
    a, b, c = (cell[0], cell[1], cell[2]), (cell[3], cell[4], cell[5]), (cell[6], cell[7], cell[8])
    d = (x, y, z)
    gain = 0.0 * x
    u, v, w = gain, gain, gain
    for number in range(14, 27):
        p, q, r = number // 9 - 1.0, number // 3 % 3 - 1.0, number % 3 - 1.0
        sx = p * a[0] + q * b[0] + r * c[0]
        sy = p * a[1] + q * b[1] + r * c[1]
        sz = p * a[2] + q * b[2] + r * c[2]
        along = sx * d[0] + sy * d[1] + sz * d[2]
        change = sx * sx + sy * sy + sz * sz - 2.0 * absolute(along)
        better = change < gain
        turn = select(along > 0.0, -1.0, 1.0) * select(better, 1.0, 0.0)
        gain = select(better, change, gain)
        u = select(better, turn * sx, u)
        v = select(better, turn * sy, v)
        w = select(better, turn * sz, w)
    return x + u, y + v, z + w


@jit
def torsion(u, v, w):
    """(x, y) of the torsion of three consecutive bond vectors: angle = atan2(y, x), in the IUPAC sense.

    Its derivative is :func:`torsion_gradient`. Where three atoms are collinear both are zero.
    """
    m = cross(u, v)
    n = cross(v, w)
    return dot(m, n), root(dot(v, v)) * dot(u, n)


@jit
def torsion_gradient(u, v, w, atoms, factor, grad):
    """Add factor * d(torsion)/d(xyz) of four atoms.

    Blondel & Karplus 1996, doi:10.1002/(SICI)1096-987X(19960715)17:9<1132::AID-JCC5>3.0.CO;2-T.
    """
    m = cross(u, v)
    n = cross(v, w)
    mm, nn, vv = dot(m, m), dot(n, n), dot(v, v)
    if mm < TINY**2 or nn < TINY**2 or vv < TINY**2:
        return
    length = math.sqrt(vv)
    i, j, k, l = atoms  # noqa: E741
    uv, vw = dot(u, v) / vv, dot(v, w) / vv
    first, last = -length / mm * factor, length / nn * factor
    axpy(grad, i, first, m)
    axpy(grad, l, last, n)
    axpy(grad, j, -(1.0 + uv) * first, m)
    axpy(grad, j, vw * last, n)
    axpy(grad, k, -(1.0 + vw) * last, n)
    axpy(grad, k, uv * first, m)


@jit
def angle(u, v):
    """(x, y) of the angle between two vectors from its apex: angle = atan2(y, x), exact also near 0 and pi."""
    n = cross(u, v)
    return dot(u, v), root(dot(n, n))


@jit
def angle_gradient(u, v, atoms, factor, grad):
    """Add factor * d(angle)/d(xyz); at exactly 0 and pi, where the angle has a kink, nothing."""
    n = cross(u, v)
    sine, uu, vv = math.sqrt(dot(n, n)), dot(u, u), dot(v, v)
    if sine < TINY * math.sqrt(uu * vv) or uu < TINY**2 or vv < TINY**2:
        return
    du = cross(u, n)
    dv = cross(n, v)
    i, j, k = atoms
    axpy(grad, i, factor / (uu * sine), du)
    axpy(grad, k, factor / (vv * sine), dv)
    axpy(grad, j, -factor / (uu * sine), du)
    axpy(grad, j, -factor / (vv * sine), dv)
