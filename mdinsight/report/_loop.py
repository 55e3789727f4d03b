"""Sections of a run of the loop: what was asked, what came out, how it went, what it cost, how to repeat it."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from mdinsight import plots, units
from mdinsight.adaptive import Run, States
from mdinsight.cvs import CVModel
from mdinsight.errors import ParameterError
from mdinsight.report import _page
from mdinsight.report._sections import draw, section
from mdinsight.words import counted


@section.register
def _(part: States) -> str:
    n = len(part)
    head = ["state", "population [95 % interval]", "free energy", "by unbiased swarms alone", "left after"]
    looks = [(f"{i + 1}", part.words[i], f"{len(part.frames[i])}") for i in range(n)]
    content = [
        _page.paragraph(f"{counted(n, 'state')} from {units.format_time(part.ps)} of simulation, everything counted."),
        _page.table(head, [row[:5] for row in part.rows()]),
        _page.table(
            ["state", "what it looks like (weighted means, torsions in degrees)", "structures"], looks, words=True
        ),
    ]
    known = np.isfinite(part.passage_times.value)
    if known.any():
        times = [(f"{i + 1} to {j + 1}", part.passage_times[i, j]) for i, j in np.argwhere(known)]
        content.append(_page.table(["from state to state", "mean first passage time [95 % interval]"], times))
    content.append(_page.verdicts(part.verdicts()))
    figures = [
        draw(
            lambda: plots.state_populations(part),
            "Free energy of each state from the biased walkers and from the unbiased swarms alone, with 95 % intervals.",
        )
    ]
    if known.any():
        figures.append(
            draw(lambda: plots.passage_times(part), "Mean first passage times between the states, with 95 % intervals.")
        )
    with suppress(ParameterError):
        caption = (
            "Free energy along the learned coordinate (the first two, if there are more); the numbers are the states."
        )
        figures.append(draw(lambda: plots.run_surface(part), caption))
    found = _page.section("The states", *content, _page.figures(figures))
    return found + _coordinate(part.coordinate)


def _coordinate(model: CVModel) -> str:
    drawn = [
        draw(lambda i=i: plots.explanation(model, i), f"What makes up {model.get_feature_names_out()[i]}.")  # type: ignore[misc]
        for i in range(min(2, model.dim))
    ]
    return _page.section(
        f"The coordinate that the run learned: {model.kind}",
        _page.preformatted(str(model.explain(5))),
        _page.figures(drawn),
    )


@section.register
def _(part: Run) -> str:
    history = part.history
    drawn = []
    with suppress(ParameterError):  # a run that has only begun
        caption = "Number of states, kinds of round, and free energies as they developed."
        drawn.append(draw(lambda: plots.rounds(part), caption))
    with suppress(ParameterError):
        drawn.append(draw(lambda: plots.walkers(part), "The coordinate in time, for each walker under bias."))
    tests = history.tests()
    status = part.status()
    now = f"{counted(status.rounds, 'round')}, {counted(status.segments, 'segment')}"
    if status.broken:
        now += f"; {counted(status.broken, 'segment')} broke down and went to the folder quarantine"
    return "".join(
        [
            _page.section("What was asked", _page.table(["", ""], history.asked(), words=True)),
            _page.section("How it went", _page.paragraph(f"{now}. The last: {status.says}."), *drawn),
            _page.section(
                "Has it converged?",
                _page.paragraph(
                    "As tested before the last round was decided; all must hold." if tests else "Not tested yet."
                ),
                _page.verdicts(tests),
            ),
            _page.section("What it cost", _page.table(["", "simulated", "share"], history.cost_rows())),
            _page.section(
                "How to repeat it",
                _page.paragraph(_REPEAT),
                _page.table(["", ""], history.provenance_rows(), words=True),
            ),
        ]
    )


_REPEAT = (
    "The same plan with the same seed gives the same run: the same bytes on a platform whose arithmetic is deterministic "
    "(Reference), else the same up to rounding that grows. The plan stands in the run's folder."
)
