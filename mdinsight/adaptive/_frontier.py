"""The frontier: where the visited region ends at an affordable free energy."""

from __future__ import annotations

import math

import numpy as np

from mdinsight import units
from mdinsight.adaptive._cover import farthest_points, nearest_point
from mdinsight.adaptive._frames import Frames
from mdinsight.adaptive._policy import Policy, around, place
from mdinsight.errors import ParameterError

_CELLS = (20, 300)
_FRAMES_A_CELL = 10
_EDGE = 0.4
"""Least part of the greatest one-sidedness that makes a cell an edge cell."""


class Frontier(Policy):
    """Start where the visited region ends along the learned coordinate, at a free energy below a ceiling.

    The region is covered by cells of about equal size; a cell's free energy follows from the weights of its frames, and it
    stands at the edge if its neighbours lie to one side of it. Walkers start in edge cells below the ceiling, as far from
    each other as these allow, the most one-sided first. Where the region goes on above the ceiling there is no edge: it is
    known to be too high. Without any edge (a ring visited all round) all cells below the ceiling count alike.

    When to use it: with a bias or without, when the coordinate is trusted and new regions matter more than statistics. It
    needs frames with weights; for unbiased data ``log_weights`` is all zeros. Frames without weight (``-inf``) are not seen.

    Parameters
    ----------
    ceiling
        Highest free energy of a start, over that of the lowest cell; kJ/mol or a string such as ``"10 kcal/mol"``.

    Raises
    ------
    ParameterError
        If the ceiling is not a positive energy.

    Notes
    -----
    Restarts from the boundary of what a slow coordinate has seen: Preto and Clementi 2014, 10.1039/C3CP54520B (extended
    diffusion-map-directed MD); Chiavazzo et al. 2017, 10.1073/pnas.1621481114 (boundary detection on the learned manifold).
    The measure of an edge here is the mean of the unit vectors to the nearest cells: 0 inside, about a half at a straight
    border of a plane, 1 at a tip.
    """

    needs = ("log_weights",)

    ceiling: float | str = 40.0

    def __post_init__(self) -> None:
        energy = units.energy(self.ceiling, "ceiling")
        if energy <= 0:
            raise ParameterError(f"ceiling={self.ceiling!r} is not positive; give it in kJ/mol, e.g. 40")
        self._set("ceiling", energy)
        super().__post_init__()

    def _choose(self, frames: Frames, n: int, rng: np.random.Generator) -> np.ndarray:
        weighed = np.flatnonzero(np.asarray(frames.weights) > 0)
        points = frames.points[weighed]
        number = int(np.clip(len(points) // _FRAMES_A_CELL, *_CELLS))
        centers = points[farthest_points(points, number, int(rng.integers(len(points))))]
        cells = nearest_point(points, centers)
        weights = np.bincount(cells, weights=np.asarray(frames.weights)[weighed], minlength=len(centers))
        with np.errstate(divide="ignore"):  # a center's frame may be nearer to an equal center: an empty cell
            energy = -frames.kT * np.log(weights / weights.max())
        low = np.flatnonzero(energy <= float(self.ceiling))
        edge = one_sidedness(centers, frames.s.shape[1])[low]
        rim = edge >= _EDGE * edge.max()
        order = farthest_points(centers[low[rim]], n, int(np.argmax(edge[rim])))
        return weighed[place(cells, around(low[rim][order], n), rng)]


def one_sidedness(points: np.ndarray, dim: int) -> np.ndarray:
    """(n,) length of the mean unit vector from each point (n, columns) to its nearest neighbours, 0..1.

    There are 4 (dim + 1) neighbours, where ``dim`` is the number of coordinates that the points really have.
    """
    from scipy.spatial import cKDTree

    if len(points) == 1:
        return np.ones(1)
    neighbours = cKDTree(points).query(points, k=min(len(points), 4 * dim + 5))[1][:, 1:]
    offset = points[neighbours] - points[:, None]
    length = np.sqrt(np.einsum("ijk,ijk->ij", offset, offset))
    unit = offset / np.maximum(length, math.ulp(0.0))[:, :, None]
    return np.linalg.norm(unit.mean(axis=1), axis=1)
