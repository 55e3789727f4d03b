"""What rounds cost in simulated time, before they are made, and which budget pays for them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mdinsight import units
from mdinsight.adaptive._kinetics import _LONG, _SHORT, _size
from mdinsight.adaptive._plan import SHARE, Plan

if TYPE_CHECKING:
    from mdinsight.adaptive._history import Decision, History

HALF = 0.5 * SHARE
"""Part of the budget for each of the two rounds of the last swarms."""


def decided(plan: Plan, decision: Decision) -> float:
    """ps of a decision."""
    return float(sum(plan.ps(t["steps"]) * t["n"] * (2 if t.get("two_way") else 1) for t in decision.tasks))


def biased(plan: Plan) -> float:
    """ps of a round of walkers under bias."""
    return plan.walkers * plan.ps(plan.segment_steps)


def first_swarm(plan: Plan) -> float:
    """ps of the first swarm."""
    return plan.swarms * plan.ps(plan.swarm_steps)


def relearners(plan: Plan) -> int:
    """Trajectories of a swarm that the coordinate is learned again from."""
    return max(5, plan.swarms // 2)


def relearning(plan: Plan) -> float:
    """ps of such a swarm."""
    return relearners(plan) * plan.ps(plan.swarm_steps)


def last_swarms(plan: Plan, budget: float, lags: tuple[float, ...] = (_SHORT, _LONG)) -> float:
    """ps that the last swarms take at most: their share of the budget, or what the fewest paths of each kind take."""
    sizes = [_size(plan, each, HALF * budget) for each in lags]
    return float(sum(2 * plan.ps(half) * paths for half, paths in sizes))


def paid(plan: Plan, history: History, budget: float, halves: int) -> float:
    """The budget to size the last swarms by, of which ``halves`` of two rounds are to be made.

    They get their share of it; at the end also what would pay for no other round.
    """
    rest = budget - history.ps
    if rest - last_swarms(plan, budget, (_SHORT, _LONG)[2 - halves :]) >= biased(plan):
        return budget
    return max(0.0, rest) / halves / HALF


def enough(plan: Plan, before: float) -> float:
    """The least budget in ps that pays for so many ps of rounds and the last swarms, a number of three digits."""
    if plan.bias is not None:
        fewest = sorted(last_swarms(plan, 0.0, (each,)) for each in (_SHORT, _LONG))
        before = max(before / (1 - SHARE), (before + fewest[1]) / (1 - HALF), before + sum(fewest))
    digit = 10.0 ** (math.floor(math.log10(before)) - 2)
    return float(f"{math.ceil(before / digit - 1e-6) * digit:.3g}")


def least(plan: Plan) -> float:
    """The least budget of a plan: the first exploration, the first swarm, one round and the last swarms."""
    first = plan.walkers * plan.explore_span + biased(plan)
    return enough(plan, first if plan.bias is None else first + first_swarm(plan))


def least_words(plan: Plan) -> str:
    """What the least budget consists of."""
    time = units.format_time
    explored, walked, rest = plan.walkers * plan.explore_span, biased(plan), least(plan)
    parts = [f"first exploration {time(explored)}"]
    if plan.bias is not None:
        parts.append(f"first swarm {time(first_swarm(plan))}")
        rest -= first_swarm(plan)
    parts.append(f"{plan.walkers} walkers {time(walked)}" if plan.walkers > 1 else f"a walker {time(walked)}")
    rest -= explored + walked
    return ", ".join([*parts, f"two-way swarms {time(rest)}"] if plan.bias is not None else parts)


def told(budget: float, done: float, least: float) -> str:
    """What a budget has come to with so many ps done, and from which on the run goes on."""
    given, simulated = units.format_time(budget), units.format_time(done)
    says = f"the budget of {given} is spent"
    if done > 1.001 * budget:
        says = f"{simulated} are done already, and the budget counts all of it: {given} are not enough"
    elif done < 0.95 * budget:
        says = f"{simulated} of the budget of {given} are done, and what is left does not pay for another round"
    return f"{says}; the run goes on with {units.format_time(least)} or more"
