"""A potential on a grid of cubic Hermite cells: continuous with its first derivatives, changed by a hill only where the hill is.

A node holds the value and all mixed first derivatives, each times the spacing: 2^dim numbers, the derivative along axis i in
those whose bit i is set. Nodes stand at whole multiples of the spacing, so growing moves none.
"""
# The compiled functions bear no annotations: numba infers them.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import math

import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.features import jit

SPACINGS_PER_SIGMA = 3
CUTOFF = 4.5  # in widths of a hill: it has fallen to 4e-5 there
MAX_BYTES = 2**29
EXPLORED = math.exp(-2.0)  # of the first hill: two widths from its center

_AXIS = 5  # in the header, after the number of axes, for each: first node, 1/spacing, nodes, periodic, spacing
_MARGIN = 0.25  # of its extent that an axis grows by at least, so that growing is rare


@jit
def _cell(s, header, axis):
    """Left node, right node (counted from the first) and position between them; left is -1 outside of the grid."""
    row = 1 + _AXIS * axis
    n = int(header[row + 2])
    u = s * header[row + 1]
    whole = math.floor(u)
    t = u - whole  # before anything is subtracted, so that it is the same wherever the grid begins
    if header[row + 3] > 0.0:
        whole -= n * math.floor(whole / n)
        if not (whole >= 0.0 and whole < n):  # so far out that there is no telling where it is, or infinite
            return -1, -1, 0.0
        left = int(whole)
        return left, left + 1 if left + 1 < n else 0, t
    whole -= header[row]
    if not (whole >= 0.0 and whole < n - 1):
        return -1, -1, 0.0
    return int(whole), int(whole) + 1, t


@jit
def _hermite(t):
    """Weights of value and derivative at the left and the right node, then those of the derivative."""
    r = 1.0 - t
    d = 6.0 * t * (t - 1.0)
    return (
        (1.0 + 2.0 * t) * r * r,
        t * r * r,
        t * t * (3.0 - 2.0 * t),
        -t * t * r,
        d,
        r * (1.0 - 3.0 * t),
        -d,
        t * (3.0 * t - 2.0),
    )


@jit
def _one(data, a, b, w):
    """Along axis 0, between the numbers at a and b: value and derivative."""
    p, q, r, s = data[a], data[a + 1], data[b], data[b + 1]
    return w[0] * p + w[1] * q + w[2] * r + w[3] * s, w[4] * p + w[5] * q + w[6] * r + w[7] * s


@jit
def _two(data, low, high, a, b, w, x):
    """Along axes 0 (a, b, w) and 1 (low, high, x): value and two derivatives."""
    v0, d0 = _one(data, low + a, low + b, w)
    v1, d1 = _one(data, low + a + 2, low + b + 2, w)
    v2, d2 = _one(data, high + a, high + b, w)
    v3, d3 = _one(data, high + a + 2, high + b + 2, w)
    value = x[0] * v0 + x[1] * v1 + x[2] * v2 + x[3] * v3
    first = x[0] * d0 + x[1] * d1 + x[2] * d2 + x[3] * d3
    return value, first, x[4] * v0 + x[5] * v1 + x[6] * v2 + x[7] * v3


@jit
def _three(data, at, low, high, l1, h1, a, b, w, x, y):
    """Along axes 0, 1 and 2 (low, high, y), all shifted by ``at``: value and three derivatives."""
    v0, p0, q0 = _two(data, at + low + l1, at + low + h1, a, b, w, x)
    v1, p1, q1 = _two(data, at + low + l1 + 4, at + low + h1 + 4, a, b, w, x)
    v2, p2, q2 = _two(data, at + high + l1, at + high + h1, a, b, w, x)
    v3, p3, q3 = _two(data, at + high + l1 + 4, at + high + h1 + 4, a, b, w, x)
    value = y[0] * v0 + y[1] * v1 + y[2] * v2 + y[3] * v3
    first = y[0] * p0 + y[1] * p1 + y[2] * p2 + y[3] * p3
    second = y[0] * q0 + y[1] * q1 + y[2] * q2 + y[3] * q3
    return value, first, second, y[4] * v0 + y[5] * v1 + y[6] * v2 + y[7] * v3


@jit
def _four(data, low, high, l2, h2, l1, h1, a, b, w, x, y, z):
    v0, p0, q0, r0 = _three(data, low, l2, h2, l1, h1, a, b, w, x, y)
    v1, p1, q1, r1 = _three(data, low + 8, l2, h2, l1, h1, a, b, w, x, y)
    v2, p2, q2, r2 = _three(data, high, l2, h2, l1, h1, a, b, w, x, y)
    v3, p3, q3, r3 = _three(data, high + 8, l2, h2, l1, h1, a, b, w, x, y)
    value = z[0] * v0 + z[1] * v1 + z[2] * v2 + z[3] * v3
    first = z[0] * p0 + z[1] * p1 + z[2] * p2 + z[3] * p3
    second = z[0] * q0 + z[1] * q1 + z[2] * q2 + z[3] * q3
    third = z[0] * r0 + z[1] * r1 + z[2] * r2 + z[3] * r3
    return value, first, second, third, z[4] * v0 + z[5] * v1 + z[6] * v2 + z[7] * v3


@jit
def grid_energy(s, header, data, slope):
    """Energy at s (dim,), zero outside of the grid; the derivative is written to slope (dim,). NaN where s is."""
    dim = int(header[0])
    bad = False
    for i in range(dim):
        slope[i] = 0.0
        bad = bad or s[i] != s[i]
    if bad:
        slope[:] = math.nan
        return math.nan
    if data.shape[0] == 0:
        return 0.0
    l0, r0, t0 = _cell(s[0], header, 0)
    if l0 < 0:
        return 0.0
    w = _hermite(t0)
    size = 1 << dim
    if dim == 1:
        value, g0 = _one(data, l0 * size, r0 * size, w)
        slope[0] = g0 * header[2]
        return value
    l1, r1, t1 = _cell(s[1], header, 1)
    if l1 < 0:
        return 0.0
    x = _hermite(t1)
    n0 = int(header[3]) * size
    if dim == 2:
        value, g0, g1 = _two(data, l1 * n0, r1 * n0, l0 * size, r0 * size, w, x)
        slope[0], slope[1] = g0 * header[2], g1 * header[2 + _AXIS]
        return value
    l2, r2, t2 = _cell(s[2], header, 2)
    if l2 < 0:
        return 0.0
    y = _hermite(t2)
    n1 = n0 * int(header[3 + _AXIS])
    if dim == 3:
        value, g0, g1, g2 = _three(data, 0, l2 * n1, r2 * n1, l1 * n0, r1 * n0, l0 * size, r0 * size, w, x, y)
        slope[0], slope[1], slope[2] = g0 * header[2], g1 * header[2 + _AXIS], g2 * header[2 + 2 * _AXIS]
        return value
    l3, r3, t3 = _cell(s[3], header, 3)
    if l3 < 0:
        return 0.0
    n2 = n1 * int(header[3 + 2 * _AXIS])
    value, g0, g1, g2, g3 = _four(
        data, l3 * n2, r3 * n2, l2 * n1, r2 * n1, l1 * n0, r1 * n0, l0 * size, r0 * size, w, x, y, _hermite(t3)
    )
    slope[0], slope[1] = g0 * header[2], g1 * header[2 + _AXIS]
    slope[2], slope[3] = g2 * header[2 + 2 * _AXIS], g3 * header[2 + 3 * _AXIS]
    return value


@jit
def _add(header, data, nodes, values, slopes, counts, height, sums, a, b):
    """Add a product of profiles along the axes; ``sums`` keep the integrals of exp(a V) and exp(b V) over what is explored.

    nodes, values, slopes are (4, m): for each axis, where its profile is not zero, the value there, the slope times the spacing.
    """
    dim = int(header[0])
    size = 1 << dim
    n0, n1, n2 = int(header[3]), int(header[3 + _AXIS]) if dim > 1 else 1, int(header[3 + 2 * _AXIS]) if dim > 2 else 1
    reference, least = sums[2], sums[3]
    highest = reference
    for i3 in range(counts[3]):
        for i2 in range(counts[2]):
            for i1 in range(counts[1]):
                row = (nodes[3, i3] * n2 + nodes[2, i2]) * n1 + nodes[1, i1]
                for i0 in range(counts[0]):
                    at = (row * n0 + nodes[0, i0]) * size
                    old = data[at]
                    for c in range(size):
                        f = slopes[0, i0] if c & 1 else values[0, i0]
                        f *= slopes[1, i1] if c & 2 else values[1, i1]
                        f *= slopes[2, i2] if c & 4 else values[2, i2]
                        f *= slopes[3, i3] if c & 8 else values[3, i3]
                        data[at + c] += height * f
                    new = data[at]
                    highest = max(highest, new)
                    if old > least:
                        sums[0] -= math.exp(a * (old - reference))
                        sums[1] -= math.exp(b * (old - reference))
                    if new > least:
                        sums[0] += math.exp(a * (new - reference))
                        sums[1] += math.exp(b * (new - reference))
    if highest > reference:  # so that no exponential grows beyond what a float holds
        sums[0] *= math.exp(a * (reference - highest))
        sums[1] *= math.exp(b * (reference - highest))
        sums[2] = highest


class Grid:
    """The arrays, and how they grow. A grown grid has new ones; the old, header and data, stay as they were.

    Parameters
    ----------
    periods
        Of the axes; 0 where there is none.
    spacing
        Of the nodes, (dim,); on a periodic axis the nearest smaller one that divides the period.
    rates
        ``a`` and ``b`` of the two integrals of exp(rate * V), per kJ/mol.
    least
        Energy above which a node counts as explored, kJ/mol.
    """

    def __init__(self, periods: np.ndarray, spacing: np.ndarray, rates: tuple[float, float], least: float) -> None:
        dim = len(periods)
        self.periods, self.rates = periods, rates
        self.header = np.zeros(1 + _AXIS * dim)
        self.header[0] = dim
        axes = self._axes
        axes[:, 4] = spacing
        for i, period in enumerate(periods):
            if period > 0:
                axes[i, 2], axes[i, 3] = max(4, math.ceil(period / spacing[i])), 1
                axes[i, 4] = period / axes[i, 2]
        axes[:, 1] = 1.0 / axes[:, 4]
        self.data = np.zeros(0)
        self.sums = np.array([0.0, 0.0, 0.0, least])

    @property
    def _axes(self) -> np.ndarray:
        return self.header[1:].reshape(-1, _AXIS)

    @property
    def shape(self) -> tuple[int, ...]:
        """Nodes on each axis."""
        return tuple(int(n) for n in self._axes[:, 2])

    @property
    def spacing(self) -> np.ndarray:
        """Distance of the nodes on each axis."""
        return self._axes[:, 4].copy()

    def span(self) -> tuple[np.ndarray, np.ndarray]:
        """The box that the nodes cover; a periodic axis from minus to plus half its period."""
        axes = self._axes
        low, high = axes[:, 0] * axes[:, 4], (axes[:, 0] + axes[:, 2] - 1) * axes[:, 4]
        return np.where(self.periods > 0, -self.periods / 2, low), np.where(self.periods > 0, self.periods / 2, high)

    def cover(self, center: np.ndarray, sigma: np.ndarray) -> None:
        """Grow until a hill fits; what stands on the nodes is kept bit for bit.

        Raises
        ------
        ParameterError
            If the grid would need more memory than MAX_BYTES. It is left as it was.
        """
        axes = self._axes
        free = self.periods == 0
        first, n = axes[:, 0], axes[:, 2]
        # whole numbers, but as floats until they are known to be small
        with np.errstate(over="ignore"):
            reach = CUTOFF * sigma
            low, high = np.floor((center - reach) / axes[:, 4]) - 1, np.ceil((center + reach) / axes[:, 4]) + 1
        empty = self.data.size == 0
        if empty:
            begin, end = low, high + 1
        else:
            more = np.ceil(_MARGIN * n)
            begin = np.where(low < first, np.minimum(low, first - more), first)
            end = np.where(high + 1 > first + n, np.maximum(high + 1, first + n + more), first + n)
        begin, size = np.where(free, begin, 0), np.where(free, end - begin, n)
        if not empty and np.array_equal(size, n):
            return
        dim = len(n)
        if not np.prod(size) * 2**dim * 8 <= MAX_BYTES:
            raise ParameterError(
                f"the grid of the hills would need {' x '.join(f'{m:.8g}' for m in size)} nodes, more than {MAX_BYTES >> 20} MB; "
                "give a larger sigma, walls that keep the coordinates in, or use OPES, which has no grid"
            )
        # axis 0 runs fastest
        new = np.zeros((*(int(m) for m in size[::-1]), 2**dim))
        if not empty:
            place = tuple(slice(int(a), int(a + m)) for a, m in zip((first - begin)[::-1], n[::-1], strict=True))
            new[place] = self.data.reshape(*self.shape[::-1], 2**dim)
        header = self.header.copy()
        rows = header[1:].reshape(-1, _AXIS)
        rows[:, 0], rows[:, 2] = begin, size
        self.header, self.data = header, new.ravel()

    def load(self, header: np.ndarray, data: np.ndarray, sums: np.ndarray) -> None:
        """Take up arrays that another grid had.

        Raises
        ------
        ValueError
            If they do not belong together, or are of another number of axes.
        """
        header, data, sums = (np.array(array, np.float64) for array in (header, data, sums))
        if header.shape != self.header.shape or header[0] != self.header[0] or sums.shape != self.sums.shape:
            raise ValueError(f"{header.size} and {sums.size} numbers")
        rows = header[1:].reshape(-1, _AXIS)
        if data.ndim != 1 or (data.size and data.size != np.prod(rows[:, 2]) * 2 ** len(rows)):
            raise ValueError(f"{data.size} numbers on {rows[:, 2]} nodes")
        self.header, self.data, self.sums = header, data, sums

    def add(self, center: np.ndarray, sigma: np.ndarray, height: float) -> None:
        """Add a Gaussian hill; :meth:`cover` comes first."""
        axes = self._axes
        profiles = [
            _profile(c, w, axes[i, 4], int(axes[i, 0]), int(axes[i, 2]), axes[i, 3] > 0)
            for i, (c, w) in enumerate(zip(center, sigma, strict=True))
        ]
        longest = max(len(profile[0]) for profile in profiles)
        nodes, values, slopes = np.zeros((4, longest), np.int64), np.ones((4, longest)), np.zeros((4, longest))
        counts = np.ones(4, np.int64)
        for i, (where, value, slope) in enumerate(profiles):
            counts[i] = len(where)
            nodes[i, : len(where)], values[i, : len(where)], slopes[i, : len(where)] = where, value, slope
        _add(self.header, self.data, nodes, values, slopes, counts, height, self.sums, *self.rates)


def _profile(
    center: float, sigma: float, spacing: float, first: int, n: int, periodic: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Gaussian on one axis: nodes within the cutoff, value and slope times the spacing; images of a wide one add up."""
    reach = CUTOFF * sigma
    if periodic:
        center -= n * spacing * math.floor(center / (n * spacing) + 0.5)
    lattice = np.arange(math.ceil((center - reach) / spacing), math.floor((center + reach) / spacing) + 1)
    u = (lattice * spacing - center) / sigma
    value = np.exp(-0.5 * u * u)
    slope = -u * value * (spacing / sigma)
    if not periodic:
        return lattice - first, value, slope
    nodes = lattice % n
    if len(nodes) <= n:
        return nodes, value, slope
    return np.arange(n), np.bincount(nodes, value, n), np.bincount(nodes, slope, n)
