"""Whether a free energy difference of a biased run has converged: how it went over time, and what speaks against it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mdinsight.bias._checks import whole
from mdinsight.bias._free_energy import FreeEnergyDifference, difference, labels
from mdinsight.bias._samples import State, sample_of
from mdinsight.bias._trace import Trace
from mdinsight.bias._weights import drift, kish
from mdinsight.errors import ParameterError
from mdinsight.records import Record
from mdinsight.results import Estimate, Verdict
from mdinsight.words import counted

CONCENTRATED = 0.5
"""Part of all weight that a hundredth of the frames may hold."""


class Convergence(Record):
    """F(B) - F(A) over the time of a biased run, and what speaks for it.

    Attributes
    ----------
    times
        (n_times,) ps since the run began.
    over_time
        (n_times,) kJ/mol: the difference from the data up to each time.
    difference
        From all data.
    halves
        (2,) kJ/mol: from each half of the time alone.
    walkers
        (n_walkers,) kJ/mol: from each walker alone; NaN where one did not see both states.
    kish
        Kish's effective sample size of the weights.
    heaviest
        Part of the weight that is held by the heaviest hundredth of the frames.
    drift
        kJ/mol by which the bias at the same place still changed from the third to the last quarter; NaN if no place
        was seen in both.
    """

    times: np.ndarray
    over_time: Estimate
    difference: FreeEnergyDifference
    halves: Estimate
    walkers: Estimate
    kish: float
    heaviest: float
    drift: float
    temperature: float

    def verdicts(self) -> tuple[Verdict, ...]:
        """What the difference rests on, each with what to do where it does not hold."""
        return (*self.difference.verdicts(), self._halves(), *self._walkers(), self._weights())

    def _halves(self) -> Verdict:
        first, second = self.halves[0], self.halves[1]
        known = np.isfinite([self.halves.low, self.halves.high]).all()
        says = f"{first} from the first half, {second} from the second"
        return Verdict(
            "halves",
            bool(known and _agree(first, second)),
            says,
            "run longer: one half does not show what the other does",
        )

    def _walkers(self) -> tuple[Verdict, ...]:
        if len(self.walkers) < 2:
            return ()
        both = np.isfinite(self.walkers.value)
        whole = float(self.difference.value)
        off = both & ~self.walkers.contains(whole)
        says = f"{int(both.sum())} of {counted(len(both), 'walker')} saw both states"
        if off.any():
            says += f"; by walker {', '.join(map(str, np.flatnonzero(off)[:8]))} alone the interval leaves out the figure of all"
        remedy = "run longer, or start the walkers in different states"
        return (
            Verdict(
                "walkers", bool(2 * both.sum() >= len(both) and off.sum() <= max(1, 0.1 * len(both))), says, remedy
            ),
        )

    def _weights(self) -> Verdict:
        says = f"the heaviest 1 % of the frames hold {100 * self.heaviest:.0f} % of the weight"
        remedy = (
            "the bias keeps the run away from where the weight is: lower the barrier or the bias factor, or run longer"
        )
        return Verdict("weights", self.heaviest <= CONCENTRATED, says, remedy)


def convergence(
    trace: Trace,
    A: State,
    B: State,
    coordinates: Any = None,
    discard: float | str = "auto",
    n_times: int = 20,
) -> Convergence:
    """How F(B) - F(A) of a biased run settled.

    Parameters
    ----------
    trace
        What the run recorded.
    A, B, coordinates, discard
        As in :func:`free_energy_difference`.
    n_times
        At how many times the difference is computed.

    Raises
    ------
    ParameterError
        If the data are no trace, or ``n_times`` is no positive number.
    """
    if not isinstance(trace, Trace):
        raise ParameterError(f"convergence is that of a run over time; give its Trace, not a {type(trace).__name__}")
    whole("n_times", n_times, what="number of times")
    sample, used = sample_of(trace, coordinates, discard)
    states, time = labels(A, B, sample, used), trace.time[used]
    found = difference(sample, states, 1.0 - float(used.mean()), drift(trace))
    begin, end = float(time.min()), float(time.max())
    times = begin + (end - begin) * np.arange(1, n_times + 1) / n_times
    over_time = [_part(sample, states, time <= at + 1e-9 * (end - begin)) for at in times]
    middle = 0.5 * (begin + end)
    halves = [_part(sample, states, time < middle), _part(sample, states, time >= middle)]
    alone = [_part(sample, states, sample.run == number) for number in np.unique(sample.run)]
    weights = np.sort(sample.weights)[::-1]
    return Convergence(
        times,
        _joined(over_time),
        found,
        _joined(halves),
        _joined(alone),
        kish(sample.log_weights),
        float(weights[: max(1, round(0.01 * len(weights)))].sum()),
        found.drift,
        sample.temperature,
    )


def _part(sample: Any, states: np.ndarray, rows: np.ndarray) -> tuple[float, float, float]:
    """Value and interval from some of the frames; NaN where no frame is in either state."""
    if not rows.any():
        return (np.nan, -np.inf, np.inf)
    found = difference(sample.take(rows), states[rows])
    return (float(found.value), float(found.low), float(found.high))


def _joined(parts: list[tuple[float, float, float]]) -> Estimate:
    value, low, high = np.array(parts).T
    return Estimate(value, low, high, "kJ/mol")


def _agree(first: Estimate, second: Estimate) -> bool:
    """Whether two figures differ by less than their half intervals in quadrature: stricter than that the intervals meet."""
    lower, upper = (first, second) if first.value <= second.value else (second, first)
    reach = np.hypot(lower.high - lower.value, upper.value - upper.low)
    return bool(upper.value - lower.value <= reach)
