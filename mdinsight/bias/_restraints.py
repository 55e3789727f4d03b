"""Umbrellas and walls as the compiled step evaluates them."""
# The compiled functions bear no annotations: numba infers them.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import math

import numpy as np

from mdinsight.features import jit

UMBRELLA, LOWER, UPPER = 0, 1, 2
_ROW = 5  # of data, for each coordinate: kind, at, kappa, period (0: none), 1/period (0)


def static_arrays(kind: int, at: np.ndarray, kappa: np.ndarray, periods: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Header and data for :func:`static_energy`."""
    rows = np.zeros((len(at), _ROW))
    rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3] = kind, at, kappa, periods
    rows[periods > 0, 4] = 1.0 / periods[periods > 0]
    return np.array([float(len(at))]), rows.ravel()


@jit
def static_energy(s, header, data, slope):
    """Energy at s (dim,); the derivative is written to slope (dim,)."""
    total = 0.0
    for i in range(int(header[0])):
        row = i * _ROW
        d = s[i] - data[row + 1]
        d -= data[row + 3] * math.floor(d * data[row + 4] + 0.5)
        kind = data[row]
        if (kind == LOWER and d > 0.0) or (kind == UPPER and d < 0.0):
            d = 0.0
        slope[i] = data[row + 2] * d
        total += 0.5 * data[row + 2] * d * d
    return total
