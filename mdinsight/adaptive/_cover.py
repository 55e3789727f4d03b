"""Points that cover a cloud evenly: what the choice of diverse frames, equal cells and the frontier all rest on."""

from __future__ import annotations

import numpy as np


def farthest_points(points: np.ndarray, number: int, first: int) -> np.ndarray:
    """Rows of points (n, dim), each the farthest from those before it; fewer than ``number`` if no more are distinct.

    The greedy k-centre choice: at most twice as far from any point as the best choice of as many rows (Gonzalez 1985,
    10.1016/0304-3975(85)90224-5). Equal distances are decided for the lower row.
    """
    chosen = [first]
    gaps = _squares(points, points[first])
    while len(chosen) < number:
        row = int(np.argmax(gaps))
        if gaps[row] <= 0.0:
            break
        chosen.append(row)
        np.minimum(gaps, _squares(points, points[row]), out=gaps)
    return np.array(chosen, dtype=np.int64)


def nearest_point(points: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """The row of the center (m, dim) that is nearest to each of the points (n, dim)."""
    from scipy.spatial import cKDTree

    return cKDTree(centers).query(points)[1].astype(np.int64)


def _squares(points: np.ndarray, center: np.ndarray) -> np.ndarray:
    offset = points - center
    return np.einsum("ij,ij->i", offset, offset)
