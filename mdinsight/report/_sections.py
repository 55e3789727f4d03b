"""A section of the page for each kind of result; any that is handed over is shown, in the order given."""

from __future__ import annotations

from contextlib import suppress
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight import plots, units
from mdinsight.bias import BiasModel, Convergence, FreeEnergyDifference, Reweighting, Trace, transient
from mdinsight.cvs import CVModel, Scan
from mdinsight.errors import ParameterError
from mdinsight.features import Definition
from mdinsight.msm import ChapmanKolmogorov, Flux, FreeEnergySurface, ImpliedTimescales, Macrostates, MarkovModel
from mdinsight.report import _page
from mdinsight.series import TimeSeries
from mdinsight.trajectories import Trajectories
from mdinsight.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(drawing: Callable[[], Axes | Figure], caption: str) -> str:
    """Draw, embed, and close the figure."""
    from matplotlib import pyplot

    drawn = drawing()
    figure: Any = drawn if hasattr(drawn, "savefig") else drawn.figure
    try:
        return _page.figure(figure, caption)
    finally:
        pyplot.close(figure)


@singledispatch
def section(part: Any) -> str:
    """The section of one part.

    Raises
    ------
    ParameterError
        If it is of no kind that a report shows.
    """
    raise ParameterError(
        f"a report cannot show a {type(part).__name__}; give trajectories, features, models and their tests"
    )


@section.register
def _(part: Trajectories) -> str:
    return _page.section("Trajectories", _page.preformatted(str(part)))


@section.register
def _(part: Definition) -> str:
    return _page.section("Features", _page.paragraph(" + ".join(item.title for item in part.items)))


@section.register
def _(part: TimeSeries) -> str:
    drawn = [draw(lambda i=i: plots.traces(part, i), f"{part.names[i]} in time") for i in range(min(2, part.n_columns))]  # type: ignore[misc]
    return _page.section("Coordinates in time", *drawn)


@section.register
def _(part: Scan) -> str:
    return _page.section(
        "Choice of the coordinates",
        _page.paragraph(part.why),
        _page.verdicts([part.verdict]),
        _page.figures(
            [
                draw(
                    lambda: plots.scores(part),
                    "Cross-validated score; ringed: the fewest coordinates within one standard error of the best.",
                ),
                draw(
                    lambda: plots.coordinate_timescales(part),
                    "Timescales of the coordinates against the lag of the fit.",
                ),
            ]
        ),
    )


@section.register
def _(part: CVModel) -> str:
    drawn = [
        draw(lambda i=i: plots.explanation(part, i), f"What makes up {part.get_feature_names_out()[i]}.")  # type: ignore[misc]
        for i in range(min(2, part.dim))
    ]
    if getattr(part, "training", None) is not None:
        drawn.append(draw(lambda: plots.training(part), "Training: validation score by epoch for every seed."))
    return _page.section(
        f"Slow coordinates: {part.kind}", _page.preformatted(str(part.explain(5))), _page.figures(drawn)
    )


@section.register
def _(part: FreeEnergySurface) -> str:
    drawn = [draw(lambda: plots.free_energy(part), "Free energy over the coordinates.")]
    if len(part.edges) == 2 and np.isfinite(part.free_energy.low).any():
        drawn.append(
            draw(
                lambda: plots.free_energy_error(part),
                "Half the 95 % interval of the free energy: how well it is known.",
            )
        )
    return _page.section(
        f"Free energy at {part.temperature:g} K", _page.verdicts(part.verdicts()), _page.figures(drawn)
    )


@section.register
def _(part: ImpliedTimescales) -> str:
    caption = "Bands are 95 % intervals; in the grey region a process is faster than the lag."
    return _page.section(
        "Implied timescales", _page.verdicts(part.verdicts()), draw(lambda: plots.implied_timescales(part), caption)
    )


@section.register
def _(part: MarkovModel) -> str:
    times = part.timescales(5)
    shown = max(1, int(np.sum(times.value > part.step)))
    return _page.section(
        f"Markov model at lag {units.format_lag(part.lag, part.dt)}",
        _page.paragraph(f"{part.n_states} of {part.n_states_full} states; {part.connectivity.says}."),
        _page.table(["process", "timescale [95 % interval]"], [(i + 1, times[i]) for i in range(shown)]),
        _page.verdicts(part.verdicts()),
        draw(lambda: plots.spectrum(part), "Slowest timescales of the model; dashed: the lag."),
    )


@section.register
def _(part: Macrostates) -> str:
    head = [
        "macrostate",
        "population [95 % interval]",
        *(f"mean first passage to {j}" for j in range(part.n)),
        "entered",
        "left",
    ]
    rows = [
        (
            str(i),
            str(part.populations[i].scaled(100, "%")),
            *("" if i == j else str(part.mfpt[i, j]) for j in range(part.n)),
            int(part.entries[i]),
            int(part.exits[i]),
        )
        for i in range(part.n)
    ]
    return _page.section(
        "Long-lived states",
        _page.table(head, rows),
        _page.verdicts(part.verdicts()),
        _page.figures(
            [
                draw(lambda: plots.exchange(part), "Populations and mean first passage times."),
                draw(lambda: plots.populations(part), "Populations with 95 % intervals."),
            ]
        ),
    )


@section.register
def _(part: Flux) -> str:
    rows = [(" > ".join(map(str, path.states)), f"{100 * path.fraction:.3g} %") for path in part.pathways[:5]]
    return _page.section(
        "The way of the slowest process",
        _page.paragraph(
            f"From A ({counted(len(part.source), 'state')}) to B ({counted(len(part.target), 'state')}), its two ends: "
            f"mean first passage time {part.mfpt}."
        ),
        _page.table(["pathway through the states", "share of the flux"], rows),
    )


@section.register
def _(part: ChapmanKolmogorov) -> str:
    caption = (
        "Probability to be in one macrostate a time after another: predicted by the model, and estimated at that time."
    )
    return _page.section(
        "Chapman-Kolmogorov test",
        _page.verdicts(part.verdicts()),
        draw(lambda: plots.chapman_kolmogorov(part), caption),
    )


@section.register
def _(part: Trace) -> str:
    columns = range(min(2, part.dim))
    drawn = [draw(lambda i=i: plots.biased_run(part, i), f"{part.names[i]} in time.") for i in columns]  # type: ignore[misc]
    if part.bias.any():
        drawn.append(draw(lambda: plots.bias_in_time(part), "Energy of the bias where the run was at that time."))
    kept = 1.0 - transient(part)
    return _page.section(
        "Biased run",
        _page.preformatted(repr(part).strip("<>")),
        _page.paragraph(
            f"The last {100 * kept:.0f} % of each walker count; in the grey beginning the bias still changed at places already "
            "visited."
            if kept < 1
            else "All of it counts: the bias did not change at places already visited."
        ),
        _page.figures(drawn),
    )


@section.register
def _(part: FreeEnergyDifference) -> str:
    rows = [
        ("F(B) - F(A) [95 % interval]", part),
        ("frames in A, in B", f"{part.frames[0]}, {part.frames[1]}"),
        ("effective frames", f"{part.effective:.0f}"),
        ("left out at the beginning", f"{100 * part.discarded:.0f} %"),
    ]
    if not part.held:
        rows.insert(2, ("from A to B, back", f"{part.events[0]}, {part.events[1]}"))
    return _page.section("Free energy difference", _page.table(["", ""], rows), _page.verdicts(part.verdicts()))


@section.register
def _(part: Convergence) -> str:
    caption = (
        "F(B) - F(A) from the data up to each time, with its 95 % interval; squares: each half of the time alone; dashed and "
        "dotted: the result and its interval."
    )
    rows = [("all data", part.difference), ("first half", part.halves[0]), ("second half", part.halves[1])]
    if len(part.walkers) > 1:
        rows += [(f"walker {i} alone", part.walkers[i]) for i in range(min(20, len(part.walkers)))]
    return _page.section(
        "How the free energy difference settled",
        _page.table(["from", "F(B) - F(A) [95 % interval]"], rows),
        _page.verdicts(part.verdicts()),
        draw(lambda: plots.convergence(part), caption),
    )


@section.register
def _(part: Reweighting) -> str:
    rows = [
        (i, int(n), f"{free:.3g}" if n else "not sampled")
        for i, (n, free) in enumerate(zip(part.counts, part.free_energies, strict=True))
    ]
    return _page.section(
        f"Biased states put together at {part.temperature:g} K",
        _page.paragraph(
            f"{counted(len(part.state), 'frame')} of {counted(len(part.counts), 'biased state')}, weighed together by MBAR."
        ),
        _page.table(["state", "frames", "free energy above the unbiased one in kJ/mol"], rows),
        _page.verdicts(part.verdicts()),
        draw(lambda: plots.overlap(part), "Row: weighs in this state; column: was sampled in that one."),
    )


@section.register
def _(part: BiasModel) -> str:
    rows = [("coordinate", ", ".join(part.coordinate.names)), ("temperature", f"{part.temperature:g} K")]
    rows += [("potential", repr(potential)) for potential in part.potentials]
    drawn = []
    with suppress(ParameterError):  # of three coordinates, or of walls alone, there is nothing to draw
        drawn.append(draw(lambda: plots.bias_potential(part), "Energy of the bias, frozen."))
    return _page.section("Bias", _page.table(["", ""], rows), _page.figures(drawn))
