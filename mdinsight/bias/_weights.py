"""What each frame of a biased run weighs, from when on, and how many independent frames the weights leave."""

from __future__ import annotations

import numbers
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.spatial import cKDTree

from mdinsight.bias._trace import Trace
from mdinsight.errors import NonFiniteError, ParameterError

CHUNKS = 20
"""Parts of the run that are looked at one by one for the transient; those of the first half may be dropped."""

SETTLED = 1.0
"""kT by which the bias at a place may still differ from what the second half of the run has there."""


def frame_weights(trace: Trace, discard: float | str = "auto") -> np.ndarray:
    """The weights (n,) of a biased run's frames in the unbiased ensemble; they sum to 1, dropped frames have 0.

    Weights are exp((V - c(t)) / kT), V the bias at that moment and c(t) the offset of metadynamics, see :func:`offsets` (OPES
    has none, 10.1021/acs.jpclett.0c00497). While the bias still grows at places already visited, a frame weighs
    what the bias happened to be then: the same conformation ten times as much or as little a moment later. Such frames
    of the beginning are not comparable with later ones and are dropped.

    Parameters
    ----------
    trace
        What the run recorded.
    discard
        Fraction of each walker's rows to drop at its beginning, or ``"auto"``: see :func:`transient`.
    """
    log_weights = np.where(kept(trace, discard), trace.log_weights(), -np.inf)
    weights = np.exp(log_weights - log_weights.max())
    return np.asarray(weights / weights.sum())


def kept(trace: Trace, discard: float | str = "auto") -> np.ndarray:
    """Mask (n,) of the rows that are left when a fraction of each walker's beginning is dropped.

    Raises
    ------
    ParameterError
        If the fraction is not in [0, 1) or leaves nothing, or the trace is empty.
    """
    if not len(trace):
        raise ParameterError("the trace has no rows; run the biased simulation first")
    fraction = transient(trace) if isinstance(discard, str) and discard == "auto" else discard
    if isinstance(fraction, bool) or not isinstance(fraction, numbers.Real) or not 0.0 <= fraction < 1.0:
        raise ParameterError(f'discard={discard!r} is no fraction of the run; give a number from 0 to 1, or "auto"')
    mask = np.asarray(_progress(trace) >= fraction)
    if not mask.any():
        raise ParameterError(f"discard={discard!r} leaves none of {len(trace)} rows; give a smaller fraction")
    return mask


def transient(trace: Trace) -> float:
    """The fraction of each walker's rows, at most a half, before the bias had settled.

    The run is cut in 20 parts. For frames of each part of the first half, the adaptive bias (less the offset) is compared
    with that of the five nearest frames of the same walker's second half. All parts are dropped up to the last where
    the root mean square of the difference exceeds 1 kT (or twice that of neighbours in the last quarter among
    themselves, where it is more: neighbours are not at one point). Only the bias at the same place is compared,
    never where the run was: so the choice does not favour runs by what they found, and of a bias that does not change
    nothing is dropped.

    Raises
    ------
    ParameterError
        If the trace is empty.
    """
    if not len(trace):
        raise ParameterError("the trace has no rows; run the biased simulation first")
    apart = _changes(trace, 0.5, np.linspace(0, 0.5, CHUNKS // 2 + 1))
    if not np.isfinite(apart).any():
        return 0.0
    alike = _changes(trace, 0.75, np.array([0.75, 1.0]))[0]
    bad = np.flatnonzero(apart > np.nanmax([SETTLED, 2.0 * alike]))
    return float((bad[-1] + 1) / CHUNKS) if len(bad) else 0.0


def drift(trace: Trace) -> float:
    """How much the bias (less the offset) still changed at the same place, from the third to the last quarter, in kJ/mol;
    NaN where no place was visited in both."""
    return float(_changes(trace, 0.75, np.array([0.5, 0.75]))[0] * trace.kT)


def kish(log_weights: np.ndarray) -> float:
    """Kish's effective sample size, (sum w)^2 / sum w^2: how many equal weights would scatter as much."""
    weights = np.exp(log_weights - np.max(log_weights))
    return float(weights.sum() ** 2 / (weights**2).sum())


def effective_sample_size(
    log_weights: Any, observable: Any | None = None, runs: Any | None = None, within: bool = False
) -> float:
    """How many independent unbiased frames would determine the mean of an observable as well.

    The variance of a weighted mean is g sum (w (O - <O>))^2 / (sum w)^2, g the statistical inefficiency of that series
    (10.1021/ct0502864). Where weights do not depend on the observable this is Kish's size divided by g.

    Parameters
    ----------
    log_weights
        (n,) in time order within each run.
    observable
        (n,) numbers or a mask; None takes the weights themselves, for want of anything better.
    runs
        (n,) which uninterrupted run each frame belongs to; None if all are one.
    within
        As in :func:`statistical_inefficiency`.

    Raises
    ------
    NonFiniteError
        If a weight or a value is NaN.
    """
    weights = _relative(log_weights)
    labels = np.zeros(len(weights), dtype=np.int64) if runs is None else np.asarray(runs)
    if observable is None:
        return kish(np.log(np.maximum(weights, 1e-300))) / statistical_inefficiency(weights, labels, within)
    values = as_numbers(observable, "the observable", "give one number for each frame").reshape(-1)
    if values.shape != weights.shape or labels.shape != weights.shape:
        raise ParameterError(
            f"{len(weights)} weights, {len(values)} values and {len(labels)} labels of runs; give one of each for a frame"
        )
    if not np.isfinite(values).all():
        raise NonFiniteError(
            f"the observable of frame {int(np.argmin(np.isfinite(values)))} is not finite; leave it out"
        )
    share = weights / weights.sum()
    centred = values - share @ values
    noise = float(((share * centred) ** 2).sum())
    if noise == 0.0:
        return float(len(weights))
    return float(share @ centred**2 / noise / statistical_inefficiency(share * centred, labels, within))


def statistical_inefficiency(series: np.ndarray, runs: np.ndarray | None = None, within: bool = False) -> float:
    """How many consecutive frames are worth one: 1 + 2 sum of the autocorrelation up to where it first reaches 0.

    As ``pymbar.timeseries.statistical_inefficiency``, by Fourier transform, and with several runs whose autocorrelations
    are averaged about one common mean (10.1021/ct0502864). No less than 1; an underestimate where the run is not many
    times longer than the correlation.

    Parameters
    ----------
    series
        (n,) in time order within each run.
    runs
        (n,) labels of the runs; None if all are one.
    within
        Take each run about its own mean: for runs that are held at different places.
    """
    centred = np.asarray(series, dtype=np.float64) - np.mean(series)
    pieces = [centred] if runs is None else [centred[runs == label] for label in np.unique(runs)]
    total = np.zeros(max(len(piece) for piece in pieces))
    for piece in pieces:
        if within:
            piece = piece - piece.mean()
        size = next_fast_len(2 * len(piece), real=True)
        spectrum = rfft(piece, size)
        total[: len(piece)] += irfft(np.abs(spectrum) ** 2, size)[: len(piece)]
    if total[0] <= 1e-24 * float(np.square(series).sum()):  # a constant, to rounding
        return 1.0
    negative = np.flatnonzero(total[1:] <= 1e-12 * total[0])
    stop = 1 + int(negative[0]) if len(negative) else len(total)
    # there are fewer pairs at lag t, by 1 - t / n, which is the factor that the sum gives them anyhow
    return max(1.0, 1.0 + 2.0 * float(total[1:stop].sum()) / float(total[0]))


def as_numbers(values: Any, what: str, remedy: str) -> np.ndarray:
    """A float64 array of whatever shape.

    Raises
    ------
    ParameterError
        If it cannot be made of the values.
    """
    try:
        given = np.asarray(values)
        if given.dtype.kind in "fiub":
            return given.astype(np.float64)
    except ValueError:  # rows of different lengths
        pass
    raise ParameterError(f"{what}={shown(values)} are no numbers; {remedy}")


def shown(value: Any) -> str:
    """A value in a message; what is long by its type."""
    text = repr(value)
    return text if len(text) <= 60 else f"<{type(value).__name__}>"


def _relative(log_weights: Any) -> np.ndarray:
    """Weights (n,), the largest 1."""
    values = as_numbers(log_weights, "the log weights", "give one number for each frame").reshape(-1)
    if np.isnan(values).any() or (values == np.inf).any():
        raise NonFiniteError(
            f"the logarithm of the weight of frame {int(np.argmax(~(values < np.inf)))} is not finite; leave that frame out"
        )
    if not len(values) or not np.isfinite(values.max()):
        raise ParameterError("no frame has any weight; give at least one")
    return np.asarray(np.exp(values - values.max()))


def _progress(trace: Trace) -> np.ndarray:
    """How far, from 0 to 1, each row is within its walker's rows."""
    progress = np.empty(len(trace))
    for number in trace.walkers:
        own = trace.walker == number
        progress[own] = np.arange(own.sum()) / own.sum()
    return progress


def _changes(trace: Trace, since: float, borders: np.ndarray, most: int = 4000) -> np.ndarray:
    """The root mean square difference in kT between the adaptive bias in each part of the run and at the same places after
    ``since``; NaN where the run did not come back."""
    level = (trace.bias - trace.offset) / trace.kT
    if np.ptp(level) < 1e-9:
        return np.zeros(len(borders) - 1)
    places, progress = _places(trace), _progress(trace)
    found: list[list[np.ndarray]] = [[] for _ in borders[1:]]
    for number in trace.walkers:
        own = trace.walker == number
        later = _spread(np.flatnonzero(own & (progress >= since)), most)
        if len(later) < 20:
            continue
        tree = cKDTree(places[later])
        near = 4.0 * float(np.median(tree.query(places[later], k=6)[0][:, 5]))
        for part, (low, high) in enumerate(pairwise(borders)):
            themselves = low >= since
            rows = later if themselves else np.flatnonzero(own & (progress >= low) & (progress < high))
            rows = _spread(rows, most // CHUNKS)
            first = int(themselves)  # a frame is no neighbour of itself
            distance, at = tree.query(places[rows], k=5 + first)
            distance, at = distance[:, first:], at[:, first:]
            met = distance[:, 4] <= near
            found[part].append((level[rows] - level[later][at].mean(axis=1))[met])
    joined = [np.concatenate(part) if part else np.empty(0) for part in found]
    return np.array([np.sqrt(np.mean(part**2)) if len(part) >= 5 else np.nan for part in joined])


def _places(trace: Trace) -> np.ndarray:
    """Coordinates in units of their spread, periodic ones on the circle."""
    columns: list[np.ndarray] = []
    for column, period in zip(trace.s.T, trace.periods, strict=True):
        if period is None:
            columns.append(column / (np.std(column) or 1.0))
        else:
            angle = 2.0 * np.pi * column / period
            columns += [np.cos(angle), np.sin(angle)]
    return np.column_stack(columns)


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly."""
    return rows[:: max(1, -(-len(rows) // most))]
