"""How far the coordinates fluctuate, measured while the run goes on."""
# The compiled functions bear no annotations: numba infers them.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import math
from collections.abc import Sequence

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
        if math.isnan(row[1 + i]):
            row[1 + i] = s[i]
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
    width of a basin, not the distance between them. Rows: count, means, sums of squares. A mean that is NaN begins at the next
    value.
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

    def relocate(self) -> None:
        """Put what all walkers measured in one row, whose walker goes on at another place: the way there is no fluctuation."""
        if len(self.rows):
            self.rows = _total(self.rows)[None]
            self.rows[:, 1 : 1 + len(self.periods)] = np.nan

    def pool(self, base: np.ndarray, ends: Sequence[np.ndarray]) -> None:
        """Take up what several walkers had measured in the end, that which they began with counted once."""
        seen = [rows for rows in ends if len(rows)]
        if len(seen) <= 1:
            self.rows = np.array(seen[0] if seen else base)
            return
        total = sum((_total(rows) for rows in seen[1:]), _total(seen[0]))
        if len(base):
            total = total - (len(seen) - 1) * _total(base)
        dim = len(self.periods)
        total[1 : 1 + dim] = seen[0][0, 1 : 1 + dim]
        total[1 + dim :] = np.maximum(total[1 + dim :], 0.0)
        self.rows = total[None]


def _total(rows: np.ndarray) -> np.ndarray:
    """One row for all; its means are those of the first."""
    total: np.ndarray = rows.sum(axis=0)
    dim = (rows.shape[1] - 1) // 2
    total[1 : 1 + dim] = rows[0, 1 : 1 + dim]
    return total
