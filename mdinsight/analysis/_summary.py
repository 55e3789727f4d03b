"""An analysis in words, as plain data, and as Markdown."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mdinsight import units
from mdinsight._version import __version__
from mdinsight.records import plain
from mdinsight.results import Estimate, Verdict
from mdinsight.words import counted

if TYPE_CHECKING:
    from mdinsight.analysis._pipeline import Analysis

_LIBRARIES = ("numpy", "scipy", "mdtraj", "scikit-learn", "deeptime", "numba", "torch")


def text(found: Analysis) -> str:
    """What the command line prints: the states, the exchange, and what does not hold."""
    lines = ["", _data(found), _coordinates(found), _model(found), ""]
    slow = _slow(found)
    lines += [f"{'slowest process' if i == 0 else f'process {i + 1}':<18}{slow[i]}" for i in range(len(slow))]
    for row in state_rows(found):
        lines.append(f"macrostate {row[0]:<7}{row[1]:<28} {row[2]}; {row[3]}")
    lines += ["", *exchange_lines(found), ""]
    failing = [verdict for verdict in found.verdicts() if not verdict.holds]
    if failing:
        lines += ["What does not hold:", *(f"  {verdict.sentence}." for verdict in failing)]
    else:
        lines.append(f"All {len(found.verdicts())} checks hold.")
    return "\n".join(lines)


def state_rows(found: Analysis) -> list[tuple[str, str, str, str]]:
    """For each macrostate: number, population, free energy above the first, how often it was entered and left."""
    if found.macrostates is None:
        return []
    states, energies = found.macrostates, found.free_energies()
    return [
        (
            str(n),
            percent(states.populations[n]),
            str(energies[n]) if n and energies is not None else "reference",
            f"entered {counted(int(states.entries[n]), 'time')}, left {counted(int(states.exits[n]), 'time')}",
        )
        for n in range(states.n)
    ]


def exchange_lines(found: Analysis) -> list[str]:
    """The mean first passage time between each pair of macrostates; of many, to and from the most populated one."""
    states = found.macrostates
    if states is None:
        return []
    pairs = [(i, j) for i in range(states.n) for j in range(states.n) if i != j and (states.n <= 3 or 0 in (i, j))]
    return [f"{i} to {j}: mean first passage time {states.mfpt[i, j]}" for i, j in pairs]


def percent(share: Estimate) -> str:
    """A population in percent with its interval."""
    return str(share.scaled(100.0, "%"))


def to_dict(found: Analysis) -> dict[str, Any]:
    """Everything but frames as plain JSON data; times in ps (frames where no time step is known), energies in kJ/mol."""
    states, energies = found.macrostates, found.free_energies()
    content = {
        "mdinsight": __version__,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "config": json.loads(found.config.model_dump_json()),
        "data": {
            "trajectories": [t.label for t in found.trajectories],
            "n_trajectories": len(found.trajectories),
            "n_frames": found.series.n_frames,
            "dt_ps": found.trajectories.dt,
            "notes": list(found.trajectories.notes),
        },
        "features": {"names": list(found.series.names), "hash": found.features.hash},
        "coordinates": {
            "kind": found.cv.kind,
            "lag_frames": found.cv.lag,
            "dim": found.cv.dim,
            "hash": found.cv.hash,
            "timescales": found.cv.timescales() if found.cv.lag else None,
            "explanation": found.cv.explain(5).table,
            "scan": None if found.scan is None else found.scan.table,
        },
        "states": {
            "n": found.model.n_states_full,
            "hash": found.dtrajs.definition.hash if found.dtrajs.definition else None,
        },
        "implied_timescales": found.timescales,
        "model": {
            "lag_frames": found.model.lag,
            "n_states": found.model.n_states,
            "hash": found.model.hash,
            "timescales": found.model.timescales(5),
            "connectivity": found.model.connectivity,
        },
        "macrostates": None
        if states is None or energies is None
        else {
            "n": states.n,
            "populations": states.populations,
            "free_energies": energies,
            "mfpt": states.mfpt,
            "entries": [int(x) for x in states.entries],
            "exits": [int(x) for x in states.exits],
        },
        "verdicts": list(found.verdicts()),
    }
    return dict(plain(content))


def markdown(found: Analysis, files: dict[str, str]) -> str:
    """``summary.md``: the result, the verdicts, the figures, and what each file of the folder is."""
    slow = _slow(found)
    lines = [
        "# What is slow",
        "",
        f"{_data(found)}. {_coordinates(found)}. {_model(found)}.",
        "",
        "| process | timescale [95 % interval] |",
        "|---|---|",
        *(f"| {i + 1} | {slow[i]} |" for i in range(len(slow))),
        "",
        "## Long-lived states",
        "",
    ]
    rows = state_rows(found)
    if rows:
        lines += ["| macrostate | population | free energy | events in the data |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines += ["", *(f"- {line}" for line in exchange_lines(found))]
    else:
        lines.append("None: no process is slower than the lag.")
    lines += ["", "## Does it hold?", "", *(f"- {_mark(v)}" for v in sorted(found.verdicts(), key=lambda v: v.holds))]
    lines += ["", "## The coordinates", "", "```", str(found.cv.explain(5)), "```", ""]
    lines += [f"![{about}]({name})" for name, about in files.items() if name.endswith(".png")]
    lines += ["", "## Files", "", "| file | what it is |", "|---|---|"]
    lines += [f"| [{name}]({name}) | {about} |" for name, about in files.items()]
    return "\n".join(lines) + "\n"


def _data(found: Analysis) -> str:
    series = found.series
    total = (
        ""
        if series.dt is None
        else f", {units.format_time(series.n_frames * series.dt)} in all, {units.format_time(series.dt)} apart"
    )
    return f"{counted(len(series), 'trajectory')}, {series.n_frames} frames{total}"


def _coordinates(found: Analysis) -> str:
    lag = f" at lag {units.format_lag(found.cv.lag, found.cv.dt)}" if found.cv.lag else ""
    columns, dim = counted(found.series.n_columns, "feature"), counted(found.cv.dim, "coordinate")
    return f"{found.cv.kind} of {columns}, {dim}{lag}"


def _model(found: Analysis) -> str:
    return f"Markov model of {found.model.n_states} states at lag {units.format_lag(found.model.lag, found.model.dt)}"


def _slow(found: Analysis) -> Estimate:
    """The timescales longer than the lag, at least one and at most five."""
    times = found.model.timescales(5)
    return times[: max(1, int((times.value > found.model.step).sum()))]


def _mark(verdict: Verdict) -> str:
    return f"{'' if verdict.holds else '**NO**, '}{verdict.sentence}."
