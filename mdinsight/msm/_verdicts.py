"""What a Markov model rests on, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdinsight import units
from mdinsight.msm._macrostates import ENOUGH, events, times
from mdinsight.results import Verdict

if TYPE_CHECKING:
    from mdinsight.msm._markov import MarkovModel

FEW = 5.0
"""Effective transitions out of a state below which its row of the matrix is little more than the prior."""


def of_model(model: MarkovModel) -> tuple[Verdict, ...]:
    """All verdicts of a model."""
    return (model.connectivity.verdict(), _lag(model), _events(model), _counts(model), _intervals(model))


def _lag(model: MarkovModel) -> Verdict:
    slowest = model.timescales(model.n_states - 1)
    bound = np.where(np.isnan(slowest.low), slowest.value, slowest.low)
    resolved = int((bound > model.step).sum())
    lag = units.format_lag(model.lag, model.dt)
    if resolved:
        says = f"{resolved} process{'es are' if resolved > 1 else ' is'} slower than the lag of {lag}"
    else:
        says = f"no process is surely slower than the lag of {lag} (the slowest takes {slowest[0]})"
    return Verdict("lag", resolved > 0, says, "take a shorter lag, or coordinates that separate slower processes")


def _events(model: MarkovModel) -> Verdict:
    """Crossings of the slowest process, between its two ends."""
    there, back = slowest_crossings(model)
    says = f"the slowest process was seen {times(there)} one way and {times(back)} back"
    holds = min(there, back) >= ENOUGH
    if not holds:
        says += f": its timescale and the populations at its ends rest on {events(min(there, back))}"
    remedy = "run more trajectories from both ends of the slowest process and from between"
    return Verdict("transitions", holds, says, remedy)


def slowest_crossings(model: MarkovModel) -> tuple[int, int]:
    """How often the data went from one end of the slowest process to the other, and back."""
    seen = model.crossings(list(model.slowest_ends()))
    return int(seen[0, 1]), int(seen[1, 0])


def _counts(model: MarkovModel) -> Verdict:
    independent = model.count_matrix.sum(axis=1) / (model.lag if model.counting == "sliding" else 1.0)
    poor = independent < FEW
    weight = float(model.stationary_distribution[poor].sum())
    says = f"{independent.sum():.0f} independent transitions, {np.median(independent):.0f} from the median state"
    if poor.any():
        says += f"; {int(poor.sum())} states with fewer than {FEW:g} hold {100 * weight:.1f} % of the population"
    return Verdict("counts", weight <= 0.1, says, "take fewer states or a shorter lag, or run longer")


def _intervals(model: MarkovModel) -> Verdict:
    if model.n_samples == 0:
        return Verdict("intervals", False, "a maximum-likelihood model has none", "use BayesianMSM for intervals")
    says = f"from {model.n_samples} samples over {model.n_blocks} independent blocks of time"
    holds = model.n_blocks >= 20
    if not holds:
        says += ", too few to tell how much they vary"
    return Verdict("intervals", holds, says, "run longer, or take a shorter lag")


def summary(model: MarkovModel) -> str:
    """A model in words."""
    lag = units.format_lag(model.lag, model.dt)
    lines = [
        f"Markov model of {model.n_states} states at lag {lag} "
        f"({'reversible' if model.reversible else 'not reversible'})"
    ]
    slow = model.timescales(10)
    shown = max(1, int((slow.value > model.step).sum()))
    for number in range(min(shown, 5)):
        lines.append(f"  timescale {number + 1}: {slow[number]}")
    populations = model.populations()
    for position in np.argsort(-populations.value, kind="stable")[:3]:
        lines.append(f"  population of state {model.active_states[position]}: {populations[int(position)]}")
    return "\n".join([*lines, *(f"  {verdict}" for verdict in model.verdicts())])
