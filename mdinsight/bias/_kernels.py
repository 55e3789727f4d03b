"""Kernels of OPES: their sum as the compiled step evaluates it, and how one is added, merged and counted.

Kernels are truncated Gaussians, ``height (exp(-r^2/2) - value at the cutoff)``. Quantities stand in rows of ``data``, each
``capacity`` long, for 2 coordinates, or 4 where there are three or four; what is missing has the inverse width zero. So the
sum over kernels runs in vector registers.
"""
# The compiled functions bear no annotations: numba infers them.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import math
from functools import partial

import numpy as np

from mdinsight.features import jit

DIM, COUNT, CAPACITY, PREFACTOR, SCALE, HALF_CUTOFF, AT_CUTOFF, EPSILON, PERIODS, INVERSES = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    12,
)
"""Header: V = prefactor log(scale * sum + epsilon), kernels end where r^2/2 is half_cutoff, 4 periods, 4 inverses (0: none)."""
HEADER = 16
COUNTER, WEIGHTS, WEIGHTS2, OVERLAP = 0, 1, 2, 3
"""Sums: updates + 1, sum of weights, of their squares, and sum over kernels of all kernels at their centers."""

_reordered = partial(jit, reorder=True)


def width_of(dim: int) -> int:
    """Coordinates that the rows are laid out for."""
    return 2 if dim <= 2 else 4


def rows_of(dim: int) -> int:
    """Rows of data: height; for each coordinate center, inverse width, width."""
    return 1 + 3 * width_of(dim)


@_reordered
def _two(s, header, data, slope):
    n, capacity = int(header[COUNT]), int(header[CAPACITY])
    at_cutoff, half = header[AT_CUTOFF], header[HALF_CUTOFF]
    p0, p1, q0, q1 = header[PERIODS], header[PERIODS + 1], header[INVERSES], header[INVERSES + 1]
    s0 = s[0]
    s1 = s[1] if s.shape[0] > 1 else 0.0
    height = data[:n]
    c0, c1 = data[capacity : capacity + n], data[2 * capacity : 2 * capacity + n]
    i0, i1 = data[3 * capacity : 3 * capacity + n], data[4 * capacity : 4 * capacity + n]
    total, g0, g1 = 0.0, 0.0, 0.0
    for k in range(n):
        d0 = s0 - c0[k]
        d1 = s1 - c1[k]
        u0 = (d0 - p0 * math.floor(d0 * q0 + 0.5)) * i0[k]
        u1 = (d1 - p1 * math.floor(d1 * q1 + 0.5)) * i1[k]
        x = 0.5 * (u0 * u0 + u1 * u1)
        h = height[k] if x < half else 0.0
        e = _exp_minus(min(x, half))
        total += h * (e - at_cutoff)
        g0 += h * e * u0 * i0[k]
        g1 += h * e * u1 * i1[k]
    slope[0] = g0
    if slope.shape[0] > 1:
        slope[1] = g1
    return total


@_reordered
def _four(s, header, data, slope):
    n, capacity = int(header[COUNT]), int(header[CAPACITY])
    at_cutoff, half = header[AT_CUTOFF], header[HALF_CUTOFF]
    p0, p1, p2, p3 = header[PERIODS], header[PERIODS + 1], header[PERIODS + 2], header[PERIODS + 3]
    q0, q1, q2, q3 = header[INVERSES], header[INVERSES + 1], header[INVERSES + 2], header[INVERSES + 3]
    s0, s1, s2 = s[0], s[1], s[2]
    s3 = s[3] if s.shape[0] > 3 else 0.0
    height = data[:n]
    c0, c1 = data[capacity : capacity + n], data[2 * capacity : 2 * capacity + n]
    c2, c3 = data[3 * capacity : 3 * capacity + n], data[4 * capacity : 4 * capacity + n]
    i0, i1 = data[5 * capacity : 5 * capacity + n], data[6 * capacity : 6 * capacity + n]
    i2, i3 = data[7 * capacity : 7 * capacity + n], data[8 * capacity : 8 * capacity + n]
    total, g0, g1, g2, g3 = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(n):
        d0 = s0 - c0[k]
        d1 = s1 - c1[k]
        d2 = s2 - c2[k]
        d3 = s3 - c3[k]
        u0 = (d0 - p0 * math.floor(d0 * q0 + 0.5)) * i0[k]
        u1 = (d1 - p1 * math.floor(d1 * q1 + 0.5)) * i1[k]
        u2 = (d2 - p2 * math.floor(d2 * q2 + 0.5)) * i2[k]
        u3 = (d3 - p3 * math.floor(d3 * q3 + 0.5)) * i3[k]
        x = 0.5 * ((u0 * u0 + u1 * u1) + (u2 * u2 + u3 * u3))
        h = height[k] if x < half else 0.0
        e = _exp_minus(min(x, half))
        total += h * (e - at_cutoff)
        g0 += h * e * u0 * i0[k]
        g1 += h * e * u1 * i1[k]
        g2 += h * e * u2 * i2[k]
        g3 += h * e * u3 * i3[k]
    slope[0] = g0
    slope[1] = g1
    slope[2] = g2
    if slope.shape[0] > 3:
        slope[3] = g3
    return total


@_reordered
def _exp_minus(x):
    """exp(-x) for x from 0 to some tens, to 1e-12; no branch and no table, so that a loop over it runs in vector registers."""
    y = x * (-1.0 / 256.0)
    e = 1.0 / 40320.0 + y * (1.0 / 362880.0 + y * (1.0 / 3628800.0))
    e = 1.0 / 120.0 + y * (1.0 / 720.0 + y * (1.0 / 5040.0 + y * e))
    e = 1.0 + y * (1.0 + y * (0.5 + y * (1.0 / 6.0 + y * (1.0 / 24.0 + y * e))))
    for _ in range(8):
        e *= e
    return e


@jit
def kernels_energy(s, header, data, slope):
    """Energy at s (dim,); the derivative is written to slope (dim,). NaN where s is."""
    dim = int(header[DIM])
    for i in range(dim):
        if s[i] != s[i]:
            slope[:] = math.nan
            return math.nan
    total = _two(s, header, data, slope) if dim <= 2 else _four(s, header, data, slope)
    probability = header[SCALE] * total + header[EPSILON]
    factor = -header[PREFACTOR] * header[SCALE] / probability
    for i in range(dim):
        slope[i] *= factor
    return header[PREFACTOR] * math.log(probability)


@jit
def _distance2(header, data, a, b):
    """Square of the distance of the centers of kernels a and b, in widths of b."""
    dim, capacity = int(header[DIM]), int(header[CAPACITY])
    width = 2 if dim <= 2 else 4
    total = 0.0
    for i in range(dim):
        center, inverse = (1 + i) * capacity, (1 + width + i) * capacity
        d = data[center + a] - data[center + b]
        d -= header[PERIODS + i] * math.floor(d * header[INVERSES + i] + 0.5)
        u = d * data[inverse + b]
        total += u * u
    return total


@jit
def _at(header, data, a, b):
    """Kernel b at the center of kernel a."""
    x = 0.5 * _distance2(header, data, a, b)
    return data[b] * (math.exp(-x) - header[AT_CUTOFF]) if x < header[HALF_CUTOFF] else 0.0


@jit
def _share(header, data, k):
    """What the overlap would lose if kernel k were not there."""
    total = data[k] * (1.0 - header[AT_CUTOFF])
    for m in range(int(header[COUNT])):
        if m != k:
            total += _at(header, data, k, m) + _at(header, data, m, k)
    return total


@jit
def overlap(header, data):
    """Sum over kernels of the sum of all kernels at their centers."""
    total = 0.0
    n = int(header[COUNT])
    for a in range(n):
        for b in range(n):
            total += _at(header, data, a, b)
    return total


@jit
def _nearest(header, data, k):
    """The kernel within one of its widths that is nearest to kernel k; -1 if there is none."""
    best, found = 1.0, -1
    for m in range(int(header[COUNT])):
        if m != k:
            d = _distance2(header, data, k, m)
            if d < best:
                best, found = d, m
    return found


@jit
def _copy(header, data, source, target):
    dim, capacity = int(header[DIM]), int(header[CAPACITY])
    for row in range(1 + 3 * (2 if dim <= 2 else 4)):
        data[row * capacity + target] = data[row * capacity + source]


@jit
def merge(header, data, into, other):
    """Put one kernel into another, so that the sum of heights and the first two moments of the two stay what they were."""
    dim, capacity = int(header[DIM]), int(header[CAPACITY])
    width = 2 if dim <= 2 else 4
    h1, h2 = data[into], data[other]
    h = h1 + h2
    for i in range(dim):
        center, inverse, sigma = (1 + i) * capacity, (1 + width + i) * capacity, (1 + 2 * width + i) * capacity
        d = data[center + other] - data[center + into]
        d -= header[PERIODS + i] * math.floor(d * header[INVERSES + i] + 0.5)
        shift = d * h2 / h
        s1, s2 = data[sigma + into], data[sigma + other]
        variance = (h1 * s1 * s1 + h2 * s2 * s2) / h + d * d * h1 * h2 / (h * h)
        c = data[center + into] + shift
        c -= header[PERIODS + i] * math.floor(c * header[INVERSES + i] + 0.5)
        data[center + into] = c
        data[sigma + into] = math.sqrt(variance)
        data[inverse + into] = 1.0 / data[sigma + into]
    data[into] = h


@jit
def add(header, data, total):
    """Take in the kernel that stands behind the last one and merge as long as two are closer than a width; the new overlap.

    ``total`` is the overlap before; it is kept up by what changes, in time proportional to the number of kernels.
    """
    n = int(header[COUNT])
    into = _nearest(header, data, n)
    if into < 0:
        header[COUNT] = n + 1
        return total + _share(header, data, n)
    total -= _share(header, data, into)
    merge(header, data, into, n)
    total += _share(header, data, into)
    other = _nearest(header, data, into)
    while other >= 0:
        n = int(header[COUNT])
        if other < into:
            into, other = other, into
        total -= _share(header, data, other)
        _copy(header, data, other, n)  # there is always a free place behind the last one
        _copy(header, data, n - 1, other)
        header[COUNT] = n - 1
        total -= _share(header, data, into)
        merge(header, data, into, n)
        total += _share(header, data, into)
        other = _nearest(header, data, into)
    return total


@jit
def update(header, data, sums, center, sigma, reference, sigma_min, log_weight, explore):
    """One update of OPES with a sample at ``center`` whose kernel has the width ``sigma`` before it is shrunk.

    Its height is such that its integral is the weight times that of a kernel of height 1 and width ``reference``.
    """
    dim, capacity, n = int(header[DIM]), int(header[CAPACITY]), int(header[COUNT])
    width = 2 if dim <= 2 else 4
    weight = math.exp(log_weight)
    sums[COUNTER] += 1.0
    sums[WEIGHTS] += weight
    sums[WEIGHTS2] += weight * weight
    size = sums[COUNTER] if explore else (1.0 + sums[WEIGHTS]) ** 2 / (1.0 + sums[WEIGHTS2])
    shrink = (size * (dim + 2.0) / 4.0) ** (-1.0 / (4.0 + dim))
    height = 1.0 if explore else weight
    for row in range(1 + 3 * width):
        data[row * capacity + n] = 0.0
    for i in range(dim):
        factor = max(shrink, sigma_min[i] / sigma[i])
        height *= reference[i] / (sigma[i] * factor)
        c = center[i] - header[PERIODS + i] * math.floor(center[i] * header[INVERSES + i] + 0.5)
        data[(1 + i) * capacity + n] = c
        data[(1 + width + i) * capacity + n] = 1.0 / (sigma[i] * factor)
        data[(1 + 2 * width + i) * capacity + n] = sigma[i] * factor
    data[n] = height
    total = add(header, data, sums[OVERLAP])
    if int(sums[COUNTER]) % 1000 == 0:
        total = overlap(header, data)  # what rounding has gathered goes
    sums[OVERLAP] = total
    header[SCALE] = header[COUNT] / total


def filled(header: np.ndarray, data: np.ndarray) -> np.ndarray:
    """The kernels as rows (height, centers, widths)."""
    dim, capacity, n = int(header[DIM]), int(header[CAPACITY]), int(header[COUNT])
    rows = data.reshape(rows_of(dim), capacity)[:, :n]
    sigma = 1 + 2 * width_of(dim)
    return np.concatenate([rows[:1], rows[1 : 1 + dim], rows[sigma : sigma + dim]]).T.copy()


def laid_out(kernels: np.ndarray, dim: int, capacity: int) -> np.ndarray:
    """Data out of rows (height, centers, widths)."""
    rows, n, width = np.zeros((rows_of(dim), capacity)), len(kernels), width_of(dim)
    rows[0, :n] = kernels[:, 0]
    rows[1 : 1 + dim, :n] = kernels[:, 1 : 1 + dim].T
    rows[1 + 2 * width : 1 + 2 * width + dim, :n] = kernels[:, 1 + dim :].T
    rows[1 + width : 1 + width + dim, :n] = 1.0 / kernels[:, 1 + dim :].T
    return rows.ravel()
