"""Pieces of biased data that are left out one at a time, and the intervals that follow.

The variance of a figure is the jackknife's over pieces, its interval that of Student's t with one degree of freedom
less than there are pieces (10.1214/aos/1176344552; the logarithm of a ratio is what is jackknifed, since it is closer to
normal than the ratio). What matters is the length of a piece. Pieces shorter than the run's memory make the interval too
narrow, and the autocorrelation of a run that crossed a few times underestimates its memory (an interval from it alone
held the exact value in 55 to 90 % of repeats of a double well). So a piece of time holds on average at least one round
trip between the states and at least five statistical inefficiencies, and there are 4 to 20 of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from mdinsight.bias._weights import statistical_inefficiency

LEVEL = 0.95
FEWEST, MOST = 4, 20
"""Pieces that time is cut in."""

MEMORY = 5.0
"""Least length of a piece in statistical inefficiencies."""

SHORT = 0.3
"""Visits shorter than this part of the statistical inefficiency are recrossings of the border, not events."""

WALKERS = 5
"""From so many independent runs on, the runs are the pieces."""


@dataclass(frozen=True)
class Sample:
    """Frames with weights, in time order within each run; what a trace and a reweighting both become.

    Attributes
    ----------
    log_weights
        (n,).
    run
        (n,) label of the uninterrupted run of each frame.
    coordinates
        (n, d).
    names, periods
        Of the columns.
    temperature
        K.
    reweigh
        A mask (n,) of frames to (n,) log weights that those frames alone would give.
    influence
        What each frame adds to a figure through its own weight (n,) to what it adds altogether (n,).
    joined
        True if slices of the same number are joined over all runs: each run was held at another place.
    """

    log_weights: np.ndarray
    run: np.ndarray
    coordinates: np.ndarray
    names: tuple[str, ...]
    periods: tuple[float | None, ...]
    temperature: float
    reweigh: Callable[[np.ndarray], np.ndarray]
    influence: Callable[[np.ndarray], np.ndarray] = np.asarray
    joined: bool = False

    @property
    def weights(self) -> np.ndarray:
        """(n,) summing to 1."""
        return normalised(self.log_weights)

    def take(self, rows: np.ndarray) -> Sample:
        """The frames of a mask, with the weights they have."""
        return Sample(
            self.log_weights[rows],
            self.run[rows],
            self.coordinates[rows],
            self.names,
            self.periods,
            self.temperature,
            lambda keep: np.where(keep, self.log_weights[rows], -np.inf),
            joined=self.joined,
        )


def normalised(log_weights: np.ndarray) -> np.ndarray:
    """Weights that sum to 1."""
    weights = np.exp(log_weights - log_weights.max())
    return np.asarray(weights / weights.sum())


def n_pieces(sample: Sample, series: np.ndarray, round_trips: float | None) -> int:
    """How many pieces of time: one a round trip, each at least five inefficiencies of the series long, 4 to 20."""
    inefficiency = statistical_inefficiency(series, sample.run, sample.joined)
    length = len(series) / len(np.unique(sample.run)) if sample.joined else len(series)
    number = length / (MEMORY * inefficiency)
    if round_trips is not None:
        number = min(number, round_trips)
    return int(np.clip(number, FEWEST, MOST))


def scatter(series: np.ndarray, run: np.ndarray, within: bool) -> float:
    """The sum of squares of a series about its mean, or about that of each run."""
    if not within:
        return float(((series - series.mean()) ** 2).sum())
    labels = np.unique(run, return_inverse=True)[1]
    means = np.bincount(labels, series) / np.bincount(labels)
    return float(((series - means[labels]) ** 2).sum())


def cut(sample: Sample, number: int) -> tuple[np.ndarray, str]:
    """The piece (n,) of each frame, and what the pieces are: ``"walkers"`` or ``"blocks"``."""
    labels, run, sizes = np.unique(sample.run, return_inverse=True, return_counts=True)
    within = np.empty(len(run), dtype=np.int64)
    for label in range(len(labels)):
        within[run == label] = np.arange(sizes[label])
    if sample.joined or len(labels) == 1:
        return within * number // sizes[run], "blocks"
    if len(labels) >= WALKERS:
        number = min(len(labels), max(WALKERS, number))
        return run * number // len(labels), "walkers"
    per_run = np.ceil(number * sizes / len(run)).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(per_run)[:-1]])
    return first[run] + within * per_run[run] // sizes[run], "blocks"


def left_out(sample: Sample, piece: np.ndarray, bins: np.ndarray, n_bins: int) -> np.ndarray:
    """Mass (n_pieces, n_bins) of each bin without each of the pieces; frames of bin ``n_bins`` are outside."""
    masses = []
    for number in range(int(piece.max()) + 1):
        keep = piece != number
        weights = normalised(sample.reweigh(keep))
        masses.append(np.bincount(bins[keep], weights[keep], minlength=n_bins + 1)[:n_bins])
    return np.array(masses)


def log_ratio(mass: np.ndarray, reference: Any, without: np.ndarray, without_reference: np.ndarray) -> tuple[Any, Any]:
    """Ends of the interval of ln(mass / reference), both (n_bins,), from the same without each piece (n_pieces, n_bins).

    Where all that is known of a mass comes from one piece, it might as well have been next to nothing: that end is
    infinite, the other is that of the mass itself.
    """
    pieces = len(without)
    quantile = student.ppf(0.5 + LEVEL / 2, pieces - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.log(mass / reference)
        draws = np.log(without / without_reference)
        half = quantile * _error(draws)
        upper_mass = np.log1p(quantile * _error(without / mass))
        upper_reference = np.log1p(quantile * _error(without_reference / reference))
    gone, lost = (without <= 0).any(axis=0), (without_reference <= 0).any(axis=0)
    low = np.where(gone, -np.inf, np.where(lost, value - upper_reference, value - half))
    high = np.where(lost, np.inf, np.where(gone, value + upper_mass, value + half))
    return low, high


def _error(draws: np.ndarray) -> Any:
    """Jackknife standard error along axis 0."""
    pieces = len(draws)
    return np.sqrt((pieces - 1) / pieces * ((draws - draws.mean(axis=0)) ** 2).sum(axis=0))


def visits(states: np.ndarray, run: np.ndarray, shortest: float) -> np.ndarray:
    """Events (2,): changes from 0 to 1 and from 1 to 0.

    Parameters
    ----------
    states
        (n,) 0, 1, or -1 between the states, where a run still belongs to the state that it left last
        (milestoning, 10.1063/1.3590108).
    run
        (n,) labels; no event lies between two runs.
    shortest
        Frames that a visit must last at least; shorter ones are recrossings.
    """
    events = np.zeros(2, dtype=np.int64)
    for label in np.unique(run):
        path = states[run == label]
        seen = np.flatnonzero(path >= 0)
        if not len(seen):
            continue
        changes = np.flatnonzero(np.diff(path[seen])) + 1
        begins = np.concatenate([[0], changes])
        ends = np.append(seen[changes], len(path))
        lasting = path[seen[begins]][ends - seen[begins] >= shortest]
        moved = lasting[:-1][np.diff(lasting) != 0]
        events += np.bincount(moved, minlength=2)[:2]
    return events
