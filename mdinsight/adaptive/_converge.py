"""Whether a run has converged: stated tests, each with a figure."""

from __future__ import annotations

from typing import Any

import numpy as np

from mdinsight.adaptive._history import Decision, History
from mdinsight.adaptive._learn import TOUCHED, Metastable
from mdinsight.adaptive._plan import Plan
from mdinsight.adaptive._weigh import Weighted, differences, weigh
from mdinsight.cvs import CVModel
from mdinsight.results import Estimate
from mdinsight.words import counted


def assess(plan: Plan, history: History) -> dict[str, Any]:
    """Free energies of the states that are known, and the tests of convergence, as plain data.

    Returns
    -------
    dict
        ``converged``; ``tests``: name to (holds, says); ``states``; where weights are known ``populations``, ``free_energy``,
        ``low``, ``high`` in kJ/mol relative to the most populated state.
    """
    rounds = [d for d in history.decisions if d.kind == "biased"]
    last = rounds[-1]
    states: Metastable = history.model(last, "states")
    coordinate = history.coordinate(last.version)
    tests = {"states": _same_states(plan, _numbers(rounds)), "coordinate": _same_coordinate(plan, rounds)}
    figures: dict[str, Any] = {"states": states.n}
    weighted = weigh(history)
    if weighted is None or coordinate is None:
        tests["bias"] = (False, "the bias has not settled in any round")
    elif states.n < 2:
        tests["interval"] = (False, "only one state is known")
    else:
        more, checks = _figures(plan, history, weighted, states, coordinate, rounds)
        figures |= more
        tests |= checks
    converged = all(holds for holds, _ in tests.values())
    return {**figures, "converged": converged, "tests": {name: list(test) for name, test in tests.items()}}


def _figures(
    plan: Plan, history: History, weighted: Weighted, states: Metastable, coordinate: CVModel, rounds: list[Decision]
) -> tuple[dict[str, Any], dict[str, tuple[bool, str]]]:
    assigned = states.assign(np.asarray(coordinate.values(weighted.features), np.float64))
    populations, free, each = differences(weighted, assigned, states.n)
    figures = {
        "populations": populations.tolist(),
        "free_energy": _finite(free.value),
        "low": _finite(free.low),
        "high": _finite(free.high),
    }
    with np.errstate(invalid="ignore"):
        width = np.maximum(free.high - free.value, free.value - free.low)
    width = np.where(np.isfinite(width), width, np.inf)
    tests = {
        "interval": (
            bool((width <= plan.stop.interval).all()),
            f"the widest interval is {width.max():.2g} kJ/mol either way, the target {plan.stop.interval:g}",
        ),
        "steady": _steady(plan, history, rounds, free),
    }
    overlap = states.visited(np.asarray(coordinate.values(weighted.features), np.float64), weighted.model.weights)
    order = np.argsort(-populations, kind="stable")  # the states are told in the numbers that their table has
    touched = [str(number + 1) for number, i in enumerate(order) if overlap[i] < TOUCHED]
    says = (
        "the walkers came to every state"
        if not touched
        else f"the walkers never came to rest in state {', '.join(touched)}"
    )
    tests["visits"] = (not touched, says)
    bad = [v for one in each if one is not None for v in one.verdicts() if not v.holds]
    says = (
        "walkers, halves and transitions agree"
        if not bad
        else "; ".join(sorted({v.subject for v in bad})) + " do not hold"
    )
    tests["agreement"] = (not bad, says)
    return figures, tests


def with_states(plan: Plan, done: list[Decision], known: dict[str, Any], n: int) -> dict[str, Any]:
    """What :func:`assess` found, with the number of states that has been learned since."""
    if "tests" not in known or n == known["states"]:
        return {**known, "states": n}
    numbers = [*_numbers([d for d in done if d.kind == "biased"]), n]
    return {**known, "states": n, "tests": {**known["tests"], "states": list(_same_states(plan, numbers))}}


def _numbers(rounds: list[Decision]) -> list[int]:
    return [d.found["states"] for d in rounds if d.found is not None]


def _same_states(plan: Plan, numbers: list[int]) -> tuple[bool, str]:
    found = numbers[-plan.stop.rounds - 1 :]
    steady = len(found) > plan.stop.rounds and max(found) <= found[0]
    before = f"{', '.join(map(str, found[:-1]))} before" if found[1:] else "no round before"
    if steady:
        return True, f"{counted(found[-1], 'state')}, none new in {counted(plan.stop.rounds, 'round')}"
    needed = f"{counted(plan.stop.rounds, 'round')} without a new one are needed"
    return False, f"{counted(found[-1], 'state')} ({before}); {needed}"


def _same_coordinate(plan: Plan, rounds: list[Decision]) -> tuple[bool, str]:
    age = 0
    for decision in reversed(rounds):
        if decision.version != rounds[-1].version:
            break
        age += 1
    return age >= plan.stop.rounds, f"the coordinate is {counted(age, 'round')} old"


def _steady(plan: Plan, history: History, rounds: list[Decision], now: Estimate) -> tuple[bool, str]:
    """Against the free energies of ``stop.rounds`` rounds before, where the number of states was the same."""
    past = [d.found for d in rounds if d.found is not None and "free_energy" in d.found]
    if len(past) < plan.stop.rounds:
        return False, f"{counted(len(past), 'round')} with free energies, {plan.stop.rounds} asked for"
    then = past[-plan.stop.rounds]
    if len(then["free_energy"]) != len(now):
        return False, "the number of states has changed"
    change = np.abs(now.value - np.array([np.nan if f is None else f for f in then["free_energy"]]))
    with np.errstate(invalid="ignore"):
        half = np.maximum(now.high - now.value, now.value - now.low)
    inside = bool((change <= half + 1e-12).all())  # NaN is not inside
    worst = float(np.nanmax(change)) if np.isfinite(change).any() else float("nan")
    return inside, f"free energies changed by at most {worst:.2g} kJ/mol in {counted(plan.stop.rounds, 'round')}"


def _finite(values: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
