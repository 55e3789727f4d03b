"""How a run went: its rounds, what each cost, and what was known when it was decided."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight import units
from mdinsight._version import __version__
from mdinsight.results import Estimate, Verdict
from mdinsight.words import counted

if TYPE_CHECKING:
    from mdinsight.adaptive._history import History
    from mdinsight.adaptive._plan import Plan

_LIBRARIES = ("numpy", "scipy", "mdtraj", "scikit-learn", "deeptime", "openmm", "numba", "pymbar", "torch")

_HASHED = ("plan", "system", "features", "coordinate", "bias")

KINDS = {
    "explore": "first exploration",
    "swarm": "unbiased swarms",
    "biased": "walkers under bias",
    "kinetics": "two-way swarms",
}
"""Kinds of round, in words."""


@dataclass(frozen=True)
class Round:
    """One round of a run.

    Attributes
    ----------
    number, kind, says
        What it did.
    start, ps
        Simulated time of all rounds before it, and of its own, in ps.
    segments, broken
        Its segments that are committed, and that broke down.
    version
        Number of the coordinate in force, from 0; -1 before there is one.
    relearned
        Whether the coordinate was a new one from this round on.
    states
        Metastable states known when it was decided; None before any is.
    free_energies
        Of these states as they were known when it was decided, ``Estimate`` in kJ/mol relative to the most populated one, which
        comes first, then by what they are; None before anything could be weighed.
    """

    number: int
    kind: str
    says: str
    start: float
    ps: float
    segments: int
    broken: int
    version: int
    relearned: bool
    states: int | None
    free_energies: Estimate | None


def rounds_of(history: History) -> tuple[Round, ...]:
    """All rounds of a run, the first one first."""
    broken = set(history.store.quarantined())
    found, start = [], 0.0
    for decision in history.decisions:
        pieces = history.pieces([decision])
        ps = history.ps_of([decision])
        known = decision.found or {}
        found.append(
            Round(
                decision.round,
                decision.kind,
                decision.says,
                start,
                ps,
                len(pieces),
                len(broken.intersection(decision.names)),
                decision.version,
                bool(decision.learned and decision.learned["is_new"]),
                known.get("states"),
                _energies(known),
            )
        )
        start += ps
    return tuple(found)


def _energies(known: dict[str, object]) -> Estimate | None:
    if "free_energy" not in known:
        return None
    value, low, high = (
        np.array([missing if f is None else f for f in known[name]], dtype=np.float64)  # type: ignore[attr-defined]
        for name, missing in (("free_energy", np.inf), ("low", -np.inf), ("high", np.inf))
    )
    return Estimate(value, low, high, "kJ/mol")[np.argsort(value, kind="stable")]


def cost_of(history: History) -> dict[str, float]:
    """Simulated ps by kind of round, everything counted."""
    found: dict[str, float] = {}
    for one in rounds_of(history):
        found[one.kind] = found.get(one.kind, 0.0) + one.ps
    return found


def cost_rows(history: History) -> list[tuple[str, str, str]]:
    """What each kind of round cost, in words: what, simulated time, share; and what was done before the first round."""
    cost = cost_of(history)
    total = sum(cost.values())
    if not total:
        return [("all together", "nothing yet", "")]
    rows = [
        (KINDS.get(kind, kind), units.format_time(ps), f"{100 * ps / total:.3g} %") for kind, ps in cost.items() if ps
    ]
    rows.append(("all together", units.format_time(total), "100 %"))
    prepared = str(history.start.description.get("prepared", ""))
    return [*rows, ("besides, before the first round", prepared, "")] if prepared else rows


def cost_words(cost: dict[str, float]) -> str:
    """Where the simulated time went, in words."""
    return ", ".join(f"{KINDS.get(kind, kind)} {units.format_time(ps)}" for kind, ps in cost.items() if ps)


def tests_of(history: History) -> tuple[Verdict, ...]:
    """The tests of convergence as they stood when they were last made."""
    last = next((d.found for d in reversed(history.decisions) if d.found and "tests" in d.found), {})
    return tuple(
        Verdict(name, bool(holds), says, "go on with a larger budget")
        for name, (holds, says) in last.get("tests", {}).items()
    )


def provenance_of(history: History) -> dict[str, Any]:
    """What identifies the run and repeats it: seed, hashes of all that went in and came out, versions, platforms."""
    plan, decisions = history.plan, history.decisions
    pieces = history.pieces()
    last = next((d for d in reversed(decisions) if d.kind == "biased" and history.pieces([d])), None)
    coordinate = history.coordinate(decisions[-1].version) if decisions else None
    return {
        "seed": plan.seed,
        "plan": plan.hash,
        "system": plan.system.hash,
        "features": plan.features.hash,
        "coordinate": None if coordinate is None else coordinate.hash,
        "bias": None if last is None else history.bias_after(last).hash,
        "mdinsight": __version__,
        "openmm": sorted({str(piece.info["openmm"]) for piece in pieces if "openmm" in piece.info}),
        "platforms": sorted({str(piece.info["platform"]) for piece in pieces if "platform" in piece.info}),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def provenance_rows(history: History) -> list[tuple[str, str]]:
    """The same in words, line by line."""
    found: dict[str, Any] = provenance_of(history)
    rows = [("seed", str(found["seed"]))]
    rows += [(f"hash of the {name}", found[name] or "none yet") for name in _HASHED]
    return [
        *rows,
        ("mdinsight", found["mdinsight"]),
        ("OpenMM of the segments", ", ".join(found["openmm"]) or "none yet"),
        ("platform of the segments", ", ".join(found["platforms"]) or "none yet"),
        ("Python", found["python"]),
        ("libraries", ", ".join(f"{name} {number}" for name, number in found["libraries"].items())),
    ]


def asked(plan: Plan) -> tuple[tuple[str, str], ...]:
    """What a plan asks for, in words: (what, how) line by line."""
    from mdinsight.adaptive._echo import short

    system = plan.system
    made = ", ".join(f"{value}" for key, value in system.description.items() if value and key != "prepared")
    time = units.format_time
    bias = "none" if plan.bias is None else short(plan.bias)
    return (
        ("molecule", f"{made or 'given'}; {counted(system.n_atoms, 'atom')}"),
        ("conditions", f"{system.temperature:g} K, steps of {time(system.timestep)}, friction {system.friction:g}/ps"),
        ("features", plan.features.title),
        ("coordinate", f"{plan.cv.kind} at a lag of {time(plan.lag)}, learned by the run"),
        ("first exploration", f"{counted(plan.walkers, 'walker')} of {time(plan.explore_span)}, {short(plan.explore)}"),
        ("bias", bias),
        ("rounds", f"{counted(plan.walkers, 'walker')} of {time(plan.segment)}, restarted by {short(plan.policy)}"),
        ("swarms", f"{plan.swarms} unbiased trajectories of {time(plan.swarm)}"),
        (
            "converged when",
            f"{counted(plan.stop.rounds, 'round')} in a row bring no new state, no new coordinate and no change of a free energy "
            f"beyond its interval, and every interval is within {plan.stop.interval:g} kJ/mol",
        ),
        ("seed", f"{plan.seed}"),
    )
