"""Free energy as a function of one or two coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mdinsight import seeds, units
from mdinsight.errors import ParameterError
from mdinsight.records import Record
from mdinsight.results import Estimate, Verdict
from mdinsight.series import as_series


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
    n_trajectories
        How many trajectories the interval was resampled from.
    """

    edges: tuple[np.ndarray, ...]
    free_energy: Estimate
    names: tuple[str, ...]
    temperature: float
    n_trajectories: int

    @property
    def centers(self) -> tuple[np.ndarray, ...]:
        """Centres of the bins along each coordinate."""
        return tuple(0.5 * (edge[1:] + edge[:-1]) for edge in self.edges)

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether there are enough trajectories to resample."""
        says = f"resampled from {self.n_trajectories} trajectories"
        return (Verdict("interval", self.n_trajectories >= 5, says, "run at least 5 independent trajectories"),)


def free_energy_surface(
    Y: Any,
    weights: Sequence[np.ndarray] | None = None,
    temperature: Any = 300.0,
    bins: int | Sequence[int] = 60,
    range: Sequence[tuple[float, float]] | None = None,
    n_bootstrap: int = 100,
    seed: int = 0,
) -> FreeEnergySurface:
    """The free energy surface along one or two columns.

    Parameters
    ----------
    Y
        A ``TimeSeries`` (or list of arrays) of one or two columns, e.g. ``Y.select("TIC 1", "TIC 2")``.
    weights
        The weight of each frame (``model.frame_weights(dtrajs)``); None counts every frame alike.
    temperature
        K.
    bins
        Number of bins, one for each column or one for all.
    range
        (low, high) for each column; None takes the data's.
    n_bootstrap
        Times that the trajectories are drawn anew, with replacement, for the interval; 0 for none. One trajectory
        gives none.
    seed
        Decides the draws.

    Raises
    ------
    ParameterError
        If there are more than two columns, or the weights do not fit the frames.
    """
    series = as_series(Y)
    if series.n_columns > 2:
        some = ", ".join(repr(name) for name in series.names[:4])
        raise ParameterError(
            f"a surface has one or two columns, these data have {series.n_columns} ({some}, ...); select two"
        )
    shares = _weights(weights, [len(array) for array in series.arrays])
    edges = _edges(series.concatenated(), series.n_columns, bins, range)
    masses = np.array(
        [np.histogramdd(array, edges, weights=share)[0] for array, share in zip(series.arrays, shares, strict=True)]
    )
    total = masses.sum(axis=0)
    if not total.sum() > 0:
        raise ParameterError(f"no weight lies inside range={range}; widen it, or leave it out")
    kT = units.GAS_CONSTANT * units.temperature(temperature)
    value = _free_energy(total, total, kT)
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    if n_bootstrap and len(masses) > 1:
        samples = []
        rng = seeds.generator(seed, "msm.surface")
        for _ in np.arange(n_bootstrap):
            picks = np.bincount(rng.integers(len(masses), size=len(masses)), minlength=len(masses))
            samples.append(_free_energy(np.tensordot(picks, masses, axes=1), total, kT))
        # order statistics: bins that a draw leaves empty are infinite and cannot be interpolated
        low, high = np.quantile(np.array(samples), [0.025, 0.975], axis=0, method="inverted_cdf")
        low, high = np.where(np.isnan(value), np.nan, low), np.where(np.isnan(value), np.nan, high)
    figure = Estimate(value, low, high, "kJ/mol")
    return FreeEnergySurface(tuple(edges), figure, series.names, units.temperature(temperature), len(masses))


def _free_energy(mass: np.ndarray, reference: np.ndarray, kT: float) -> np.ndarray:
    """-kT ln of the mass relative to the bin where the reference is most populated; NaN where the reference is
    empty."""
    at = np.unravel_index(np.argmax(reference), reference.shape)
    floor = mass[at] if mass[at] > 0 else mass.max()
    with np.errstate(divide="ignore"):
        energy = -kT * np.log(mass / floor)
    return np.where(reference > 0, energy + 0.0, np.nan)


def _weights(weights: Sequence[np.ndarray] | None, lengths: Sequence[int]) -> list[np.ndarray]:
    if weights is None:
        return [np.ones(length) for length in lengths]
    given = [np.asarray(weight, dtype=np.float64).reshape(-1) for weight in weights]
    if [len(weight) for weight in given] != list(lengths):
        raise ParameterError(
            f"weights are for {[len(weight) for weight in given][:5]} frames, the data have {list(lengths)[:5]}; "
            "give one weight for each frame of each trajectory"
        )
    if any((~np.isfinite(weight) | (weight < 0)).any() for weight in given):
        raise ParameterError("a weight is negative or not finite; weights are populations, 0 or more")
    return given


def _edges(
    rows: np.ndarray, columns: int, bins: int | Sequence[int], limits: Sequence[tuple[float, float]] | None
) -> list[np.ndarray]:
    counts = [bins] * columns if isinstance(bins, (int, np.integer)) else list(bins)
    if len(counts) != columns or any(int(n) < 1 for n in counts):
        raise ParameterError(f"bins={bins!r} does not fit {columns} columns; give one positive number, or one for each")
    if limits is not None and columns == 1 and np.ndim(limits[0]) == 0:
        limits = [tuple(limits)]  # type: ignore[list-item]
    if limits is None:
        limits = list(zip(rows.min(axis=0).astype(float), rows.max(axis=0).astype(float), strict=True))
    if len(limits) != columns:
        raise ParameterError(f"range={limits!r} does not fit {columns} columns; give (low, high) for each")
    edges = []
    for (low, high), number in zip(limits, counts, strict=True):
        if not high > low:
            low, high = low - 0.5, low + 0.5
        edges.append(np.linspace(low, high, int(number) + 1))
    return edges
