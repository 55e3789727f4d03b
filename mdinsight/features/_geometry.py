"""Geometry for the kernels, compiled: minimum image, torsion, angle, eigenvectors; each derivative beside its value.

All work in double precision on coordinates in nm. A box holds its vectors as rows.
"""
# The compiled functions bear no annotations: numba infers them.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import math

import numpy as np

from mdinsight.features._jit import inlined, jit

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


@jit
def prepare_box(box, has_box):
    """The box as the minimum image needs it, all in numbers: (mode, safe, nine of the cell, nine of its inverse).

    The cell is the Minkowski-reduced lattice basis, so a strongly tilted box costs no correctness: for a reduced
    basis the nearest image lies within one step of the rounded one (Semaev 2001, doi:10.1007/3-540-44670-2_13).
    ``mode`` is 0 without a box, 1 for a rectangular one and 2 for any other; below ``safe`` (nm squared) a rounded
    image is known to be the nearest.
    """
    # a tuple of numbers lives in registers; one that held arrays would count references for every pair of atoms
    if not has_box:
        return _pack(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
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
    skew = max(abs(dot(a, b)), abs(dot(a, c)), abs(dot(b, c)))
    mode = 0.0 if abs(volume) < TINY else 1.0 if skew <= 1e-12 * dot(c, c) else 2.0
    return _pack(mode, volume, 0.25 * dot(a, a), a[0], a[1], a[2], b[0], b[1], b[2], c[0], c[1], c[2])


@jit
def _pack(mode, volume, safe, ax, ay, az, bx, by, bz, cx, cy, cz):
    p = cross((bx, by, bz), (cx, cy, cz))
    q = cross((cx, cy, cz), (ax, ay, az))
    r = cross((ax, ay, az), (bx, by, bz))
    v = 1.0 / volume if mode > 0.0 else 0.0
    cell = (ax, ay, az, bx, by, bz, cx, cy, cz)
    return mode, safe, cell, (p[0] * v, p[1] * v, p[2] * v, q[0] * v, q[1] * v, q[2] * v, r[0] * v, r[1] * v, r[2] * v)


@inlined
def difference(xyz, i, j, box):
    """Vector from atom i to the nearest image of atom j; ``box`` as :func:`prepare_box` gives it."""
    x = xyz[j, 0] - xyz[i, 0]
    y = xyz[j, 1] - xyz[i, 1]
    z = xyz[j, 2] - xyz[i, 2]
    mode, safe, cell, inverse = box
    if mode == 0.0:
        return x, y, z
    p = math.floor(x * inverse[0] + y * inverse[1] + z * inverse[2] + 0.5)
    q = math.floor(x * inverse[3] + y * inverse[4] + z * inverse[5] + 0.5)
    r = math.floor(x * inverse[6] + y * inverse[7] + z * inverse[8] + 0.5)
    x -= p * cell[0] + q * cell[3] + r * cell[6]
    y -= p * cell[1] + q * cell[4] + r * cell[7]
    z -= p * cell[2] + q * cell[5] + r * cell[8]
    if mode == 1.0 or x * x + y * y + z * z <= safe:
        return x, y, z
    return _nearest(x, y, z, cell)


@jit
def _nearest(x, y, z, cell):
    best = x * x + y * y + z * z
    bx, by, bz = x, y, z
    for p in range(-1, 2):
        for q in range(-1, 2):
            for r in range(-1, 2):
                u = x + p * cell[0] + q * cell[3] + r * cell[6]
                v = y + p * cell[1] + q * cell[4] + r * cell[7]
                w = z + p * cell[2] + q * cell[5] + r * cell[8]
                length = u * u + v * v + w * w
                if length < best:
                    best, bx, by, bz = length, u, v, w
    return bx, by, bz


@jit
def torsion(u, v, w):
    """(x, y) of the torsion of three consecutive bond vectors: angle = atan2(y, x), in the IUPAC sense.

    Its derivative is :func:`torsion_gradient`. Where three atoms are collinear both are zero.
    """
    m = cross(u, v)
    n = cross(v, w)
    return dot(m, n), math.sqrt(dot(v, v)) * dot(u, n)


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
    return dot(u, v), math.sqrt(dot(n, n))


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


@jit
def eigen4(matrix):
    """Eigenvalues and eigenvectors (columns) of a symmetric 4 x 4 matrix by Jacobi rotations, to rounding."""
    a = np.empty((8, 4))  # the matrix above, the eigenvectors below, so that one loop turns the columns of both
    for i in range(4):
        for j in range(4):
            a[i, j] = matrix[i, j]
            a[4 + i, j] = 1.0 if i == j else 0.0
    for _ in range(60):
        off = a[0, 1] ** 2 + a[0, 2] ** 2 + a[0, 3] ** 2 + a[1, 2] ** 2 + a[1, 3] ** 2 + a[2, 3] ** 2
        if off <= 1e-34 * (a[0, 0] ** 2 + a[1, 1] ** 2 + a[2, 2] ** 2 + a[3, 3] ** 2):
            break
        for i in range(3):
            for j in range(i + 1, 4):
                if a[i, j] == 0.0:
                    continue
                theta = (a[j, j] - a[i, i]) / (2.0 * a[i, j])
                t = 1.0 / (abs(theta) + math.sqrt(theta * theta + 1.0))
                t = -t if theta < 0.0 else t
                c = 1.0 / math.sqrt(t * t + 1.0)
                s = t * c
                for k in range(8):
                    p, q = a[k, i], a[k, j]
                    a[k, i], a[k, j] = c * p - s * q, s * p + c * q
                for k in range(4):
                    p, q = a[i, k], a[j, k]
                    a[i, k], a[j, k] = c * p - s * q, s * p + c * q
    return np.array([a[0, 0], a[1, 1], a[2, 2], a[3, 3]]), a[4:]
