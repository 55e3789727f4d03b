"""A run of the loop in words, as plain data, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdinsight import units
from mdinsight._version import __version__
from mdinsight.adaptive import Run, States
from mdinsight.records import plain
from mdinsight.results import Verdict, all_hold


@dataclass(frozen=True)
class Found:
    """A run, its states, and where there are none, why."""

    run: Run
    states: States | None
    why_not: str

    @property
    def title(self) -> str:
        """What it is about."""
        source = str(self.run.plan.system.description.get("source", "the molecule"))
        return f"The states of {source}"


def text(found: Found) -> str:
    """What stands at the top of the report in place of what does not hold: why there are no states yet."""
    return "" if found.states is not None else f"No table of states yet: {found.why_not}.\n\n{found.run.status()}"


def to_dict(found: Found, files: dict[str, str]) -> dict[str, Any]:
    """Everything but frames as plain JSON data; times in ps, energies in kJ/mol, what is not known or not finite null."""
    run, states = found.run, found.states
    history, status = run.history, run.status()
    tests = history.tests()
    coordinate = None if states is None else states.coordinate
    content = {
        "mdinsight": __version__,
        "simulated_ps": history.ps,
        "cost_ps": history.cost(),
        "rounds": [_round(one) for one in history.rounds()],
        "segments": status.segments,
        "broken_segments": status.broken,
        "converged": bool(tests) and all_hold(tests),
        "convergence": list(tests),
        "states": None if states is None else _states(states),
        "why_no_states": found.why_not,
        "verdicts": [] if states is None else list(states.verdicts()),
        "coordinate": None
        if coordinate is None
        else {
            "kind": coordinate.kind,
            "dim": coordinate.dim,
            "lag_frames": coordinate.lag,
            "hash": coordinate.hash,
            "explanation": coordinate.explain(5).table,
        },
        "plan": run.plan.identity(),
        "provenance": history.provenance(),
        "files": files,
    }
    return dict(plain(content))


def _round(one: Any) -> dict[str, Any]:
    names = (
        "number",
        "kind",
        "says",
        "start",
        "ps",
        "segments",
        "broken",
        "version",
        "relearned",
        "states",
        "free_energies",
    )
    return {name: getattr(one, name) for name in names}


def _states(states: States) -> dict[str, Any]:
    return {
        "n": len(states),
        "populations": states.populations,
        "free_energies": states.free_energies,
        "swarm_free_energies": states.swarm_free_energies,
        "swarms_agree_with_bias": states.agrees,
        "passage_times": states.passage_times,
        "lifetimes": states.lifetimes,
        "weighted_frames": len(states.assigned),
        "weighted_rounds": list(states.weighted.rounds),
        "rounds_left_out": list(states.weighted.left_out),
        "each": [
            {
                "state": i + 1,
                "words": states.words[i],
                "means": list(states.meaning[i]),
                "structures": [{"file": _file(states, place), "frame": place[2]} for place in states.frames[i]],
            }
            for i in range(len(states))
        ],
    }


def _file(states: States, place: tuple[str, int, int]) -> str:
    """Relative to the run."""
    history = states.history
    return str(history.piece(place[0]).file(place[1]).relative_to(history.store.path))


def markdown(found: Found, files: dict[str, str]) -> str:
    """``summary.md``: what came out, whether it holds, what was asked, what it cost, and what each file is."""
    run, states = found.run, found.states
    lines = [f"# {found.title}", ""]
    if states is None:
        lines += [f"**No table of states yet**: {found.why_not}.", "", "```", str(run.status()), "```", ""]
    else:
        lines += _came_out(states)
    tests = run.history.tests()
    lines += ["## Has it converged?", "", *(_marks(tests) or ["Not tested yet."]), ""]
    lines += ["## What was asked", "", *_table(("", ""), run.history.asked()), ""]
    lines += ["## What it cost", "", "Everything counted, training data included.", ""]
    lines += [*_table(("round", "simulated", "share"), run.history.cost_rows()), ""]
    if states is not None:
        lines += ["## The coordinate", "", "```", str(states.coordinate.explain(5)), "```", ""]
    lines += [f"![{about}]({name})" for name, about in files.items() if name.endswith(".png")]
    lines += ["", "## How to repeat it", "", *_table(("", ""), run.history.provenance_rows()), ""]
    lines += ["## Files", "", *_table(("file", "what it is"), [(f"[{n}]({n})", about) for n, about in files.items()])]
    return "\n".join(lines) + "\n"


def _came_out(states: States) -> list[str]:
    verdicts = states.verdicts()
    lines = []
    if not states.agrees:
        lines += [_marks(verdicts[:1])[0].removeprefix("- "), ""]
    head = ("state", "population", "free energy", "by unbiased swarms alone", "left after", "what it looks like")
    lines += [f"{units.format_time(states.ps)} of simulation in all; each figure with its 95 % interval.", ""]
    lines += [*_table(head, states.rows()), ""]
    times, n = states.passage_times, len(states)
    known = [(i, j) for i in range(n) for j in range(n) if i != j and np.isfinite(times.value[i, j])]
    lines += [f"- from state {i + 1} to {j + 1} in {times[i, j]} (mean first passage)" for i, j in known]
    if known:
        lines.append("")
    return [*lines, "## Does it hold?", "", *_marks(sorted(verdicts, key=lambda v: v.holds)), ""]


def _marks(verdicts: Sequence[Verdict]) -> list[str]:
    return [f"- {'' if v.holds else '**NO**, '}{v.sentence}." for v in verdicts]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return lines + [f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in rows]
