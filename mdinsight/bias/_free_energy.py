"""Free energies out of biased runs: differences between states, and surfaces on any coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mdinsight import units
from mdinsight.bias import _pieces
from mdinsight.bias._pieces import LEVEL, SHORT, Sample, normalised
from mdinsight.bias._samples import Biased, State, members, sample_of, wrap
from mdinsight.bias._trace import Trace
from mdinsight.bias._weights import drift, statistical_inefficiency
from mdinsight.errors import ParameterError
from mdinsight.results import Estimate, Verdict
from mdinsight.surfaces import REWEIGHTED, FreeEnergySurface, bin_edges, bin_index
from mdinsight.words import counted

ENOUGH = 5
"""Events each way from which on an interval is taken as found."""

INDEPENDENT = 10.0
"""Least effective sample size."""


class FreeEnergyDifference(Estimate):
    """F(B) - F(A) in kJ/mol with its 95 % interval, and what it rests on.

    Attributes
    ----------
    events
        How often a run went from A to B, and from B to A.
    effective
        Independent unbiased frames that would determine it as well.
    n_pieces, pieces
        What was left out one at a time for the interval: so many ``"blocks"`` of time or ``"walkers"``.
    discarded
        Fraction of the frames that were left out as the transient.
    frames
        How many of the frames used are in A, and in B.
    held
        True if the runs were held at their places (umbrella windows), so that they need not cross.
    drift
        kJ/mol by which the bias at the same place still changed from the third to the last quarter of a trace; NaN if no
        place was seen in both, or the data are no trace.
    temperature
        K, of a trace; None where the bias is not one that changes.
    halves
        kJ/mol, from the first and from the second half of each run that was held at its place; None for others.
    """

    events: tuple[int, int] = (0, 0)
    effective: float = 0.0
    n_pieces: int = 0
    pieces: str = "blocks"
    discarded: float = 0.0
    frames: tuple[int, int] = (0, 0)
    held: bool = False
    drift: float = math.nan
    temperature: float | None = None
    halves: tuple[float, float] | None = None

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether both states were seen, often enough, with frames enough."""
        empty = [name for name, n in zip("AB", self.frames, strict=True) if n == 0]
        if empty:
            both = len(empty) == 2
            says = f"{' and '.join(empty)} {'were' if both else 'was'} never visited"
            if not both:
                says += ": the bound supposes that a visit would have weighed no more than the heaviest frame seen"
            return (Verdict("states", False, says, "bias a coordinate that leads there, and run longer"),)
        found = [Verdict("states", True, f"{self.frames[0]} frames in A, {self.frames[1]} in B")]
        if not self.held:
            says = f"{self.events[0]} times from A to B, {self.events[1]} back"
            holds = min(self.events) >= ENOUGH
            remedy = "run longer, or bias a coordinate along which A and B are not separated by another slow motion"
            found.append(Verdict("transitions", holds, says, remedy))
        says = f"{counted(round(self.effective), 'effective frame')}; interval from {self.n_pieces} {self.pieces}"
        found.append(Verdict("sampling", self.effective >= INDEPENDENT, says, "run longer"))
        if not (np.isfinite(self.low) and np.isfinite(self.high)):
            remedy = "run until each state was visited several times"
            found.append(Verdict("interval", False, "an end is open: single visits decide", remedy))
        if self.halves is not None:
            found.append(self._halves(*self.halves))
        if self.temperature is not None:
            found.append(self._bias(units.GAS_CONSTANT * self.temperature))
        return tuple(found)

    def _halves(self, first: float, second: float) -> Verdict:
        """Windows that are still on the way to equilibrium all drift alike, which their scatter does not show."""
        says = f"{first:.3g} kJ/mol from the first half of each window, {second:.3g} from the second"
        # the difference of two halves scatters twice as much as the whole
        holds = abs(second - first) <= float(self.high - self.low)
        return Verdict(
            "halves", bool(holds), says, "start each window in equilibrium (longer relaxation), and run longer"
        )

    def _bias(self, kT: float) -> Verdict:
        if np.isnan(self.drift):
            says = "the last quarter of the run came to no place where it had been"
            return Verdict("bias", False, says, "run longer")
        says = f"the bias at the same place changed by {self.drift:.2g} kJ/mol from the third to the last quarter"
        return Verdict("bias", self.drift <= kT, says, "run longer, until the bias no longer changes")


def free_energy_difference(
    data: Biased,
    A: State,
    B: State,
    coordinates: Any = None,
    discard: float | str = "auto",
    temperature: Any = None,
) -> FreeEnergyDifference:
    """F(B) - F(A) = -kT ln(population of B / population of A), from biased frames.

    The interval is the jackknife's over pieces of the data, with Student's t. From five independent walkers on, the
    pieces are walkers; else blocks of time, as many as there were round trips between A and B but 4 to 20, none shorter
    than five statistical inefficiencies. Without one whole round trip nothing is known of how often the states
    are left: the interval is then unbounded, unless each run was held at its place by a restraint (MBAR over windows).

    Parameters
    ----------
    data
        A ``Trace``; what :func:`mbar` gave; or (coordinates, log weights) with ``temperature``.
    A, B
        The states: a mask of the frames, a function of the coordinates (n, d) that returns one, or ranges
        ``{"phi": (0, 3.1)}``; on a periodic coordinate (2.5, -2.5) goes round the corner.
    coordinates
        What A and B are defined on, one row a frame; None takes the biased coordinates of the trace.
    discard
        Fraction to drop at the beginning of a trace; see :func:`frame_weights`.
    temperature
        K, where the data do not know it.

    Returns
    -------
    FreeEnergyDifference
        An ``Estimate`` in kJ/mol with verdicts. A state that no frame is in has a bound on one side.

    Raises
    ------
    ParameterError
        If A and B overlap or do not fit the frames, or the trace is of another ``temperature``.
    """
    sample, used = sample_of(data, coordinates, discard, temperature)
    states = labels(A, B, sample, used)
    return difference(sample, states, 1.0 - float(used.mean()), drift(data) if isinstance(data, Trace) else None)


def labels(A: State, B: State, sample: Sample, used: np.ndarray) -> np.ndarray:
    """0 in A, 1 in B, -1 elsewhere, for each frame of the sample."""
    masks = []
    for name, state in (("A", A), ("B", B)):
        given = state
        if isinstance(given, np.ndarray) and given.shape == used.shape:
            given = given[used]
        masks.append(members(given, name, sample.coordinates, sample.names, sample.periods))
    both = int((masks[0] & masks[1]).sum())
    if both:
        raise ParameterError(f"A and B have {counted(both, 'frame')} in common; give states that do not overlap")
    return np.where(masks[0], 0, np.where(masks[1], 1, -1))


def difference(
    sample: Sample, states: np.ndarray, discarded: float = 0.0, changed: float | None = None
) -> FreeEnergyDifference:
    """F(1) - F(0) of a sample whose frames are labelled 0, 1 or -1; the bias changed so much in the end, if it did at all."""
    kT = units.GAS_CONSTANT * sample.temperature
    weights = sample.weights
    mass = np.array([weights[states == 0].sum(), weights[states == 1].sum()])
    frames = (int((states == 0).sum()), int((states == 1).sum()))
    if not mass.all():
        return _bound(sample, weights, mass, frames, discarded, kT)
    # to first order, the sum of this series over a piece is what the piece adds to the logarithm of the ratio
    series = sample.influence(weights * ((states == 1) / mass[1] - (states == 0) / mass[0]))
    inefficiency = statistical_inefficiency(series, sample.run, sample.joined)
    events = _pieces.visits(states, sample.run, SHORT * inefficiency)
    round_trips = None if sample.joined else events.sum() / 2
    piece, kind = _pieces.cut(sample, _pieces.n_pieces(sample, series, round_trips))
    value = -kT * float(np.log(mass[1] / mass[0]))
    low, high = -np.inf, np.inf
    if sample.joined or min(events) > 0:
        bins = np.where(states >= 0, states, 2)
        without = _pieces.left_out(sample, piece, bins, 2)
        ends = _pieces.log_ratio(mass[1], mass[0], without[:, 1], without[:, 0])
        low, high = sorted(-kT * float(end) for end in ends)
    # so many unbiased frames would scatter as much
    variance = inefficiency * _pieces.scatter(series, sample.run, sample.joined)
    effective = (
        min(float(mass.sum() / mass.prod() * mass.sum() / variance), float(sum(frames))) if variance > 0 else 0.0
    )
    return FreeEnergyDifference(
        np.array(value),
        np.array(low),
        np.array(high),
        "kJ/mol",
        LEVEL,
        (int(events[0]), int(events[1])),
        effective,
        int(piece.max()) + 1,
        kind,
        discarded,
        frames,
        sample.joined,
        math.nan if changed is None else changed,
        None if changed is None else sample.temperature,
        _halves(sample, states, kT) if sample.joined else None,
    )


def _halves(sample: Sample, states: np.ndarray, kT: float) -> tuple[float, float]:
    """The difference from the first half of each run alone, and from the second."""
    place = np.empty(len(sample.run))
    for run in np.unique(sample.run):
        rows = np.flatnonzero(sample.run == run)
        place[rows] = np.arange(len(rows)) / len(rows)
    found = []
    for keep in (place < 0.5, place >= 0.5):
        weights = normalised(sample.reweigh(keep))
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(float(-kT * np.log(weights[states == 1].sum() / weights[states == 0].sum())))
    return found[0], found[1]


def _bound(
    sample: Sample, weights: np.ndarray, mass: np.ndarray, frames: tuple[int, int], discarded: float, kT: float
) -> FreeEnergyDifference:
    """One-sided: with no visit in m independent frames, the probability of one is below ln(20) / m at 95 %."""
    slowest = max(
        statistical_inefficiency(series, sample.run, sample.joined) for series in [weights, *_slow(sample, weights)]
    )
    effective = len(weights) / slowest
    unseen = min(1.0, -np.log(1.0 - LEVEL) / effective) * weights.max() * len(weights)
    low, high = -np.inf, np.inf
    value = np.nan
    with np.errstate(divide="ignore"):
        if mass[0] > 0:
            value, low = np.inf, -kT * float(np.log(unseen / mass[0]))
        elif mass[1] > 0:
            value, high = -np.inf, kT * float(np.log(unseen / mass[1]))
    return FreeEnergyDifference(
        np.array(value),
        np.array(low),
        np.array(high),
        "kJ/mol",
        LEVEL,
        (0, 0),
        effective,
        0,
        "blocks",
        discarded,
        frames,
        sample.joined,
    )


def free_energy_surface(
    data: Biased,
    coordinates: Any = None,
    bins: int | Sequence[int] = 60,
    range: Sequence[tuple[float, float]] | None = None,
    discard: float | str = "auto",
    temperature: Any = None,
) -> FreeEnergySurface:
    """The free energy along one or two coordinates, the biased ones or any others, with intervals.

    Parameters
    ----------
    data
        A ``Trace``; what :func:`mbar` gave; or (coordinates, log weights) with ``temperature``.
    coordinates
        One or two columns, one row a frame (a ``TimeSeries``, or arrays); None takes those of the trace.
    bins
        Number of bins, one for each column or one for all.
    range
        (low, high) for each column; None takes the whole period of a periodic one, else the data's.
    discard, temperature
        As in :func:`free_energy_difference`.

    Returns
    -------
    FreeEnergySurface
        kJ/mol; the interval is that of the difference to the minimum, by leaving out one walker or block at a time.

    Raises
    ------
    ParameterError
        If there are no or more than two columns, or no weight lies in the range.
    """
    sample, _ = sample_of(data, coordinates, discard, temperature)
    rows, n_columns = sample.coordinates, sample.coordinates.shape[1]
    if n_columns not in (1, 2):
        raise ParameterError(
            f"a free energy surface is of one or two coordinates, these are {n_columns}; give coordinates= (one row a frame)"
        )
    if range is None:
        range = [
            (float(column.min()), float(column.max())) if period is None else (-0.5 * period, 0.5 * period)
            for column, period in zip(rows.T, sample.periods, strict=True)
        ]
        rows = np.column_stack([c if p is None else wrap(c, p) for c, p in zip(rows.T, sample.periods, strict=True)])
    edges = bin_edges(rows, n_columns, bins, range)
    shape = tuple(len(edge) - 1 for edge in edges)
    index, size = bin_index(rows, edges), int(np.prod(shape))
    weights = sample.weights
    mass = np.bincount(index, weights, minlength=size + 1)[:size]
    if not mass.sum() > 0:
        raise ParameterError(f"no weight lies inside range={range}; widen it, or leave it out")
    piece = _pieces.cut(sample, min(_pieces.n_pieces(sample, s, None) for s in _slow(sample, weights)))[0]
    kT = units.GAS_CONSTANT * sample.temperature
    figure = _profile(mass, _pieces.left_out(sample, piece, index, size), kT)
    figure = figure.replace(**{name: getattr(figure, name).reshape(shape) for name in ("value", "low", "high")})
    return FreeEnergySurface(tuple(edges), figure, sample.names, sample.temperature, REWEIGHTED, int(piece.max()) + 1)


def _profile(mass: np.ndarray, without: np.ndarray, kT: float) -> Estimate:
    """-kT ln of the mass relative to the fullest bin, with the interval from the masses without each piece."""
    at = int(np.argmax(mass))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = -kT * np.log(mass / mass[at]) + 0.0
        low, high = _pieces.log_ratio(mass, mass[at], without, without[:, [at]])
    low, high = -kT * high, -kT * low
    low[at] = high[at] = 0.0
    empty = mass == 0
    value, low, high = (np.where(empty, np.nan, part) for part in (value, low, high))
    return Estimate(value, low, high, "kJ/mol")


def _slow(sample: Sample, weights: np.ndarray) -> list[np.ndarray]:
    """What each column adds to its weighted mean, frame by frame; of periodic ones, to those of cosine and sine."""
    series = []
    for column, period in zip(sample.coordinates.T, sample.periods, strict=True):
        angle = column * 2 * np.pi / (period or 1.0)
        for values in [column] if period is None else [np.cos(angle), np.sin(angle)]:
            series.append(sample.influence(weights * (values - weights @ values)))
    return series
