"""Free energy as a function of one or two coordinates, of trajectories and of a Markov model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from mdinsight import seeds, units
from mdinsight.errors import ParameterError, SelectionError
from mdinsight.msm._posterior import LENGTH
from mdinsight.results import Estimate
from mdinsight.series import as_series
from mdinsight.states import as_discrete
from mdinsight.surfaces import EQUAL, FIXED, MODEL, FreeEnergySurface, bin_edges, bin_index

if TYPE_CHECKING:
    from mdinsight.msm._markov import MarkovModel


def free_energy_surface(
    Y: Any,
    weights: Sequence[np.ndarray] | None = None,
    temperature: Any = 300.0,
    bins: int | Sequence[int] = 60,
    range: Sequence[tuple[float, float]] | None = None,
    n_bootstrap: int = 100,
    seed: int = 0,
    model: MarkovModel | None = None,
    dtrajs: Any = None,
) -> FreeEnergySurface:
    """The free energy surface along one or two columns.

    Parameters
    ----------
    Y
        A ``TimeSeries`` (or list of arrays) of one or two columns, e.g. ``Y.select("TIC 1", "TIC 2")``.
    weights
        The weight of each frame, taken as exact; None counts every frame alike. For the weights of a Markov model
        give ``model`` and ``dtrajs``, else the interval leaves their uncertainty out.
    temperature
        K.
    bins
        Number of bins, one for each column or one for all.
    range
        (low, high) for each column; None takes the data's.
    n_bootstrap
        Times that the trajectories are drawn anew, with replacement, for the interval; 0 for none. One trajectory
        gives none without a model.
    seed
        Decides the draws.
    model, dtrajs
        Weight the frames as the Markov model does, given its discrete trajectories. Each draw of the interval then
        takes the populations of the states from one posterior sample of the model, and where the frames of a state
        lie from blocks of five lags drawn anew.

    Raises
    ------
    ParameterError
        If there are more than two columns, the weights or ``dtrajs`` do not fit the frames, or both ways of weighting
        are given.
    SelectionError
        If no frame is in an active state of the model.
    """
    series = as_series(Y)
    if series.n_columns > 2:
        some = ", ".join(repr(name) for name in series.names[:4])
        raise ParameterError(
            f"a surface has one or two columns, these data have {series.n_columns} ({some}, ...); select two"
        )
    if (model is None) != (dtrajs is None) or (model is not None and weights is not None):
        raise ParameterError("give weights=, or model= together with dtrajs=, or neither")
    lengths = [len(array) for array in series.arrays]
    edges = bin_edges(series.concatenated(), series.n_columns, bins, range)
    rng = seeds.generator(seed, "msm.surface")
    draws: Iterator[np.ndarray]
    if model is None:
        shares = _weights(weights, lengths)
        masses = np.array([np.histogramdd(a, edges, weights=w)[0] for a, w in zip(series.arrays, shares, strict=True)])
        total, pieces, samples = masses.sum(axis=0), len(masses), 0
        draws = (np.tensordot(_picks(rng, pieces), masses, axes=1) for _ in np.arange(n_bootstrap if pieces > 1 else 0))
    else:
        states = _states(model, dtrajs, lengths)
        by_state = _ByState(model, states, series.arrays, edges)
        total, pieces, samples = by_state.total(), by_state.n_pieces, model.n_samples
        draws = (by_state.draw(rng, int(number)) for number in np.arange(n_bootstrap))
    if not total.sum() > 0:
        raise ParameterError(f"no weight lies inside range={range}; widen it, or leave it out")
    kT = units.GAS_CONSTANT * units.temperature(temperature)
    figure = _with_interval(total, draws, kT)
    kind = MODEL if model is not None else EQUAL if weights is None else FIXED
    return FreeEnergySurface(tuple(edges), figure, series.names, units.temperature(temperature), kind, pieces, samples)


class _ByState:
    """Where the frames of each state lie, block of time by block of time, and the populations of the states."""

    def __init__(
        self, model: MarkovModel, states: Sequence[np.ndarray], rows: Sequence[np.ndarray], edges: Sequence[np.ndarray]
    ) -> None:
        self.model = model
        self.shape = tuple(len(edge) - 1 for edge in edges)
        self.n_bins = int(np.prod(self.shape))
        pairs, pieces, self.n_pieces = [], [], 0
        for state, row in zip(states, rows, strict=True):
            number = max(1, round(len(state) / (LENGTH * model.lag)))
            piece = self.n_pieces + np.arange(len(state)) * number // max(len(state), 1)
            inside = state >= 0
            pairs.append((state * (self.n_bins + 1) + bin_index(row, edges))[inside])
            pieces.append(piece[inside])
            self.n_pieces += number
        found, column = np.unique(np.concatenate(pairs), return_inverse=True)
        if not len(found):
            raise SelectionError("no frame is in an active state of the model; give the trajectories it was made from")
        self.state, self.bin = np.divmod(found, self.n_bins + 1)
        row_of = np.concatenate(pieces)
        self.frames = csr_matrix((np.ones(len(column)), (row_of, column)), shape=(self.n_pieces, len(found)))
        self.all = np.asarray(self.frames.sum(axis=0)).ravel()

    def total(self) -> np.ndarray:
        """Mass of each bin under the model."""
        return self._mass(self.all, self.model.stationary_distribution)

    def draw(self, rng: np.random.Generator, number: int) -> np.ndarray:
        """Mass of each bin under one sample of the model, with the blocks drawn anew."""
        drawn = self.frames.T @ _picks(rng, self.n_pieces)
        # a state whose blocks were not drawn keeps its frames: how much it weighs is the sample's to say
        missed = np.bincount(self.state, drawn) == 0
        drawn = np.where(missed[self.state], self.all, drawn)
        samples = self.model.sample_distributions
        return self._mass(drawn, samples[number % len(samples)] if len(samples) else self.model.stationary_distribution)

    def _mass(self, frames: np.ndarray, populations: np.ndarray) -> np.ndarray:
        share = frames / np.bincount(self.state, frames)[self.state]
        mass = np.bincount(self.bin, populations[self.state] * share, minlength=self.n_bins + 1)
        return mass[:-1].reshape(self.shape)  # the last is outside the range


def _states(model: MarkovModel, dtrajs: Any, lengths: Sequence[int]) -> list[np.ndarray]:
    """The position among the active states of every frame, -1 outside."""
    discrete = as_discrete(dtrajs)
    model.check_clustering(discrete.definition)
    if discrete.lengths.tolist() != list(lengths):
        raise ParameterError(
            f"dtrajs have {discrete.lengths.tolist()[:5]} frames, the data {list(lengths)[:5]}; give the discrete "
            "trajectories of the same frames"
        )
    position = np.full(max(discrete.n_states, int(model.active_states.max()) + 1), -1, dtype=np.int64)
    position[model.active_states] = np.arange(model.n_states)
    return [position[array] for array in discrete.arrays]


def _picks(rng: np.random.Generator, n: int) -> np.ndarray:
    """How often each of n pieces is drawn, with replacement."""
    return np.bincount(rng.integers(n, size=n), minlength=n)


def _with_interval(total: np.ndarray, draws: Iterator[np.ndarray], kT: float) -> Estimate:
    value = _free_energy(total, total, kT)
    samples = [_free_energy(mass, total, kT) for mass in draws]
    if not samples:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan), "kJ/mol")
    # order statistics: bins that a draw leaves empty are infinite and cannot be interpolated
    low, high = np.quantile(np.array(samples), [0.025, 0.975], axis=0, method="inverted_cdf")
    empty = np.isnan(value)
    return Estimate(value, np.where(empty, np.nan, low), np.where(empty, np.nan, high), "kJ/mol")


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
