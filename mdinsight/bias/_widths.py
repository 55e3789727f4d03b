"""How far the coordinates fluctuate, measured while the run goes on."""
# The compiled functions bear no annotations: numba infers them.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import math

import numpy as np

from mdinsight.errors import DegenerateError
from mdinsight.features import jit

_STILL = 1e-6  # relative: what single precision and constraint solvers leave of a coordinate that does not move


@jit
def _observe(s, periods, row, window):
    dim = s.shape[0]
    for i in range(dim):
        if not math.isfinite(s[i]):
            return False
    row[0] += 1.0
    tau = min(row[0], window)
    for i in range(dim):
        before = s[i] - row[1 + i]
        if periods[i] > 0.0:
            before -= periods[i] * math.floor(before / periods[i] + 0.5)
        row[1 + i] += before / tau
        after = s[i] - row[1 + i]
        if periods[i] > 0.0:
            after -= periods[i] * math.floor(after / periods[i] + 0.5)
        row[1 + dim + i] += before * after
    return True


class Widths:
    """Mean square deviation of the coordinates from their running mean, of each walker apart.

    The mean forgets what lies more than ``window`` observations back, so that a walker which changes basins measures the
    width of a basin, not the distance between them. Rows: count, means, sums of squares.
    """

    def __init__(self, periods: np.ndarray, window: int) -> None:
        self.periods, self.window = periods, window
        self.rows = np.zeros((0, 1 + 2 * len(periods)))

    def observe(self, s: np.ndarray, walker: int) -> bool:
        """Take in one value; False, and nothing changed, if it is not finite."""
        while len(self.rows) <= walker:
            self.rows = np.concatenate([self.rows, np.zeros((1, self.rows.shape[1]))])
        return bool(_observe(s, self.periods, self.rows[walker], float(self.window)))

    def ready(self, walker: int) -> bool:
        """Whether a whole window was seen."""
        return walker < len(self.rows) and self.rows[walker, 0] >= self.window

    def variance(self, walker: int, names: tuple[str, ...]) -> np.ndarray:
        """Mean square deviation, (dim,).

        Raises
        ------
        DegenerateError
            If a coordinate has not moved.
        """
        dim = len(self.periods)
        row = self.rows[walker]
        variance = row[1 + dim :] / row[0]
        scale = np.where(self.periods > 0, self.periods, np.abs(row[1 : 1 + dim]))
        for i in np.flatnonzero(np.sqrt(variance) <= _STILL * scale):
            raise DegenerateError(
                f"{names[i]} is constant: it stayed at {row[1 + i]:.6g} over the {int(row[0])} observations of its width; "
                "leave it out of the bias, or give sigma if it moves only rarely"
            )
        return np.asarray(variance)

    def scale(self, factor: float) -> None:
        """Multiply what was measured so far."""
        self.rows[:, 1 + len(self.periods) :] *= factor
