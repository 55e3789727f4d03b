"""Free energy on a grid of one or two coordinates: what msm and bias both make, and plots draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.records import Record
from mdinsight.results import Estimate, Verdict

EQUAL, FIXED, MODEL, REWEIGHTED = "frames alike", "fixed weights", "model", "reweighted"


class FreeEnergySurface(Record):
    """Free energy -kT ln p on a grid of one or two coordinates, zero at its minimum.

    Attributes
    ----------
    edges
        Edges of the bins along each coordinate.
    free_energy
        ``Estimate`` (n_bins,) or (n_bins_x, n_bins_y) in kJ/mol; NaN in bins without weight. The interval is of the
        difference to the minimum; its upper end is infinite where too few of the trajectories go.
    names
        The coordinates.
    temperature
        K.
    weighting
        ``"frames alike"``, ``"fixed weights"`` (taken as exact), ``"model"``, or ``"reweighted"`` (frames of biased runs).
    n_pieces
        How many trajectories the interval was resampled from; with a model or a bias, how many blocks of time or walkers.
    n_samples
        Posterior samples of the model whose weights the interval includes.
    """

    home: ClassVar[str] = "mdinsight.msm"

    edges: tuple[np.ndarray, ...]
    free_energy: Estimate
    names: tuple[str, ...]
    temperature: float
    weighting: str
    n_pieces: int
    n_samples: int = 0

    @property
    def centers(self) -> tuple[np.ndarray, ...]:
        """Centres of the bins along each coordinate."""
        return tuple(0.5 * (edge[1:] + edge[:-1]) for edge in self.edges)

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether the interval holds all that is uncertain: the weights, and what was resampled."""
        if self.weighting == MODEL:
            says = (
                f"from {self.n_samples} samples of the model, and frames resampled from {self.n_pieces} blocks of time"
            )
            holds, remedy = self.n_samples > 0 and self.n_pieces >= 20, "use BayesianMSM, and run longer"
        elif self.weighting == REWEIGHTED:
            says = f"from {self.n_pieces} blocks of time or walkers, left out one at a time"
            holds, remedy = self.n_pieces >= 5 and bool(np.isfinite(self.free_energy.low).any()), "run longer"
        else:
            says = f"resampled from {self.n_pieces} trajectories"
            holds, remedy = self.n_pieces >= 5, "run at least 5 independent trajectories"
        if self.weighting == FIXED:
            says += "; the weights are taken as exact, so it is too narrow"
            holds, remedy = False, "give model= and dtrajs= instead of weights="
        return (Verdict("interval", holds, says, remedy),)


def bin_edges(
    rows: np.ndarray, columns: int, bins: int | Sequence[int], limits: Sequence[tuple[float, float]] | None
) -> list[np.ndarray]:
    """The edges of the bins along each column, as wide as the data where no limits are given.

    Raises
    ------
    ParameterError
        If ``bins`` or ``limits`` do not fit the columns.
    """
    counts: list[Any] = [bins] * columns if np.ndim(bins) == 0 else list(bins)  # type: ignore[arg-type]
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= 1 for n in counts)
    if len(counts) != columns or not whole:
        raise ParameterError(f"bins={bins!r} does not fit {columns} columns; give one positive number, or one for each")
    if limits is None:
        limits = list(zip(rows.min(axis=0).astype(float), rows.max(axis=0).astype(float), strict=True))
    else:
        limits = _limits(limits, columns)
    edges = []
    for (low, high), number in zip(limits, counts, strict=True):
        if not high > low:
            low, high = low - 0.5, low + 0.5
        edges.append(np.linspace(low, high, number + 1))
    return edges


def _limits(limits: Any, columns: int) -> list[tuple[float, float]]:
    """(low, high) for each column; one column's may stand without a list round it."""
    try:
        given = np.array(limits, dtype=float).reshape(-1, 2) if columns == 1 else np.array(limits, dtype=float)
        fits = given.shape == (columns, 2) and bool(np.isfinite(given).all())
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ParameterError(f"range={limits!r} does not fit {columns} columns; give (low, high) for each")
    if not (given[:, 0] <= given[:, 1]).all():
        raise ParameterError(f"range={limits!r} does not ascend; give (low, high) with low < high")
    return [(float(low), float(high)) for low, high in given]


def bin_index(rows: np.ndarray, edges: Sequence[np.ndarray]) -> np.ndarray:
    """The bin of each row (n, n_axes) as one number, the number of bins where it lies outside; as ``np.histogramdd``."""
    shape = tuple(len(edge) - 1 for edge in edges)
    index = np.zeros(len(rows), dtype=np.int64)
    outside = np.zeros(len(rows), dtype=bool)
    for column, edge in zip(rows.T, edges, strict=True):
        at = np.searchsorted(edge, column, side="right") - 1
        at[column == edge[-1]] -= 1  # the last edge belongs to the last bin
        outside |= (at < 0) | (at >= len(edge) - 1)
        index = index * (len(edge) - 1) + at
    return np.where(outside, int(np.prod(shape)), index)
