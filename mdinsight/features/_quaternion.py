"""The best rotation as a quaternion: the eigenvector of the largest eigenvalue of a symmetric 4 x 4 matrix without trace."""
# The compiled functions bear no annotations: numba infers them.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from mdinsight.features._jit import jit
from mdinsight.features._lanes import absolute, root, select, some
from mdinsight.features._memory import load, put, scratch


@jit
def quaternion_matrix(like, x, y, z):
    """Of the rows of a correlation matrix the symmetric matrix whose best eigenvector is the rotation.

    Coutsias et al. 2004, doi:10.1002/jcc.20110. It stands in the upper half of eight rows, as :func:`eigen4` wants it.
    """
    m = scratch(like, 8, 4)
    put(m, 0, 0, x[0] + y[1] + z[2])
    put(m, 1, 1, x[0] - y[1] - z[2])
    put(m, 2, 2, y[1] - x[0] - z[2])
    put(m, 3, 3, z[2] - x[0] - y[1])
    _put_both(m, 0, 1, y[2] - z[1])
    _put_both(m, 0, 2, z[0] - x[2])
    _put_both(m, 0, 3, x[1] - y[0])
    _put_both(m, 1, 2, x[1] + y[0])
    _put_both(m, 1, 3, z[0] + x[2])
    _put_both(m, 2, 3, y[2] + z[1])
    return m


@jit
def _put_both(m, i, j, value):
    put(m, i, j, value)
    put(m, j, i, value)


@jit
def rotation(w, x, y, z):
    """Rows of the rotation matrix of a unit quaternion."""
    return (
        (w * w + x * x - y * y - z * z, 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)),
        (2.0 * (x * y + w * z), w * w - x * x + y * y - z * z, 2.0 * (y * z - w * x)),
        (2.0 * (x * z - w * y), 2.0 * (y * z + w * x), w * w - x * x - y * y + z * z),
    )


@jit
def best_quaternion(m):
    """The unit eigenvector of the largest eigenvalue.

    The eigenvalue by Newton's method on the characteristic polynomial, from above (Theobald 2005,
    doi:10.1107/S0108767305015266), the vector out of the adjugate of what is left. Where two eigenvalues lie so close that
    this would lose digits, by Jacobi rotations.
    """
    a, b, c, d = load(m, 0, 0), load(m, 0, 1), load(m, 0, 2), load(m, 0, 3)
    e, f, g = load(m, 1, 1), load(m, 1, 2), load(m, 1, 3)
    h, i, j = load(m, 2, 2), load(m, 2, 3), load(m, 3, 3)
    square = a * a + e * e + h * h + j * j + 2.0 * (b * b + c * c + d * d + f * f + g * g + i * i)
    top = root(0.75 * square)  # no eigenvalue is larger, as the trace is zero
    n = _adjugate(a, b, c, d, e, f, g, h, i, j)
    linear, constant = -(n[0] + n[4] + n[7] + n[9]), a * n[0] + b * n[1] + c * n[2] + d * n[3]
    value = _largest_root(top, -0.5 * square, linear, constant)
    n = _adjugate(a - value, b, c, d, e - value, f, g, h - value, i, j - value)
    # the adjugate is, but for a factor, the vector times itself: its longest column is the vector at its best
    best, w, x, y, z = absolute(n[0]), n[0], n[1], n[2], n[3]
    for entries in ((n[4], n[1], n[4], n[5], n[6]), (n[7], n[2], n[5], n[7], n[8]), (n[9], n[3], n[6], n[8], n[9])):
        better = absolute(entries[0]) > best
        best = select(better, absolute(entries[0]), best)
        w, x = select(better, entries[1], w), select(better, entries[2], x)
        y, z = select(better, entries[3], y), select(better, entries[4], z)
    size = root(w * w + x * x + y * y + z * z)
    close = absolute(n[0] + n[4] + n[7] + n[9]) <= 1e-2 * top * top * top
    if some(close):
        spare = scratch(m, 8, 4)
        for row in range(4):
            for column in range(4):
                put(spare, row, column, load(m, row, column))
        eigen4(spare)
        p, q, r, s = largest_of(spare)
        size = select(close, 1.0, size)
        w, x, y, z = select(close, p, w), select(close, q, x), select(close, r, y), select(close, s, z)
    return w / size, x / size, y / size, z / size


@jit
def _largest_root(start, square, linear, constant):
    """Of x^4 + square x^2 + linear x + constant, whose roots are all real; ``start`` is above them."""
    x = start
    for _ in range(60):
        slope = (4.0 * x * x + 2.0 * square) * x + linear
        change = (((x * x + square) * x + linear) * x + constant) / slope
        going = change > 1e-15 * x  # never below the root, but for rounding
        if not some(going):
            break
        x = select(going, x - change, x)
    return x


@jit
def _adjugate(a, b, c, d, e, f, g, h, i, j):
    """Of the symmetric matrix (abcd, befg, cfhi, dgij): its rows from the diagonal on."""
    ch, ci, cj = f * i - g * h, f * j - g * i, h * j - i * i  # of the rows below the second, by pairs of columns
    bc, bd, cd = c * g - d * f, c * i - d * h, c * j - d * i
    return (
        e * cj - f * ci + g * ch,
        -(b * cj - f * cd + g * bd),
        b * ci - e * cd + g * bc,
        -(b * ch - e * bd + f * bc),
        a * cj - c * cd + d * bd,
        -(a * ci - b * cd + d * bc),
        a * ch - b * bd + c * bc,
        a * (e * j - g * g) - b * (b * j - g * d) + d * (b * g - e * d),
        -(a * (e * i - f * g) - b * (b * i - f * d) + c * (b * g - e * d)),
        a * (e * h - f * f) - b * (b * h - f * c) + c * (b * f - e * c),
    )


@jit
def largest_of(m):
    """The eigenvector of the largest eigenvalue, as :func:`eigen4` leaves them."""
    value = load(m, 0, 0)
    w, x, y, z = load(m, 4, 0), load(m, 5, 0), load(m, 6, 0), load(m, 7, 0)
    for k in range(1, 4):
        better = load(m, k, k) > value
        value = select(better, load(m, k, k), value)
        w, x = select(better, load(m, 4, k), w), select(better, load(m, 5, k), x)
        y, z = select(better, load(m, 6, k), y), select(better, load(m, 7, k), z)
    return w, x, y, z


@jit
def eigen4(a):
    """Eigenvalues and eigenvectors of a symmetric 4 x 4 matrix by Jacobi rotations, to rounding, in place.

    ``a`` has eight rows and four columns (and as many frames as there are): the matrix in the upper four rows, in whose diagonal
    are then the eigenvalues, and below them the eigenvectors as columns. So one loop turns the columns of both.
    """
    for i in range(4):
        for j in range(4):
            put(a, 4 + i, j, 1.0 if i == j else 0.0)
    for _ in range(60):
        off, size = 0.0 * load(a, 0, 0), 0.0 * load(a, 0, 0)
        for i in range(4):
            size += load(a, i, i) * load(a, i, i)
            for j in range(i + 1, 4):
                off += load(a, i, j) * load(a, i, j)
        turning = off > 1e-34 * size
        if not some(turning):
            break
        for i in range(3):
            for j in range(i + 1, 4):
                _turn(a, i, j, turning)


@jit
def _turn(a, i, j, turning):
    """One rotation, of frames that are not done."""
    between = load(a, i, j)
    apart = load(a, j, j) - load(a, i, i)
    # of theta = apart / (2 between): t = sign(theta) / (|theta| + sqrt(theta^2 + 1)), without a division by zero
    twice = 2.0 * between
    bottom = absolute(apart) + root(apart * apart + twice * twice)
    t = select(apart < 0.0, -twice, twice) / select(bottom > 0.0, bottom, 1.0)
    t = select(turning, t, 0.0)
    c = 1.0 / root(t * t + 1.0)
    s = t * c
    for k in range(8):
        p, q = load(a, k, i), load(a, k, j)
        put(a, k, i, c * p - s * q)
        put(a, k, j, s * p + c * q)
    for k in range(4):
        p, q = load(a, i, k), load(a, j, k)
        put(a, i, k, c * p - s * q)
        put(a, j, k, s * p + c * q)
