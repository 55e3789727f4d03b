"""Figures of slow coordinates: how they were chosen, what they are made of, how they move in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdinsight import units
from mdinsight.cvs import CVModel, Scan
from mdinsight.errors import ParameterError
from mdinsight.plots._style import axes, beside, colour, marker, note, scaled
from mdinsight.series import TimeSeries
from mdinsight.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RULE = "Chosen: the fewest coordinates within one standard error of the best score at this lag."


def scores(scan: Scan, ax: Axes | None = None) -> Axes:
    """Cross-validated VAMP-2 score with its interval against the number of coordinates, for several lags side by side.

    The scan's choice is ringed; its lag is dark, the others are light.
    """
    ax = axes(ax, 6.0)
    lags = np.unique(np.append(scan.lags[:: max(1, -(-len(scan.lags) // 4))], scan.lag))  # more would hide one another
    for number, lag in enumerate(lags):
        row = int(np.flatnonzero(scan.lags == lag)[0])
        line, own = scan.scores[row], lag == scan.lag
        shift = 0.7 * (number - (len(lags) - 1) / 2) / len(lags)
        ax.errorbar(
            scan.dims + shift,
            line.value,
            yerr=[line.value - line.low, line.high - line.value],
            color=colour(number),
            alpha=1.0 if own else 0.6,
            marker=marker(number),
            markersize=5 if own else 4,
            linestyle="",
            capsize=2,
            label=f"lag {units.format_lag(int(lag), scan.dt)}" + (", chosen" if own else ""),
        )
        if own:
            at = int(np.flatnonzero(scan.dims == scan.dim)[0])
            ax.plot(
                scan.dim + shift,
                line.value[at],
                "o",
                markersize=12,
                markerfacecolor="none",
                color="black",
                linestyle="",
                label=f"the choice: {counted(int(scan.dim), 'coordinate')}",
            )
    for edge in scan.dims[:-1] + 0.5 * np.diff(scan.dims):
        ax.axvline(edge, color="0.85", linewidth=0.6, zorder=0)
    ax.set(xlabel="number of coordinates", ylabel="VAMP-2 score on unseen data", xticks=scan.dims)
    note(ax, f"Bars are 95 % intervals. {_RULE}")
    beside(ax, markerscale=0.8)
    return ax


def coordinate_timescales(scan: Scan, ax: Axes | None = None) -> Axes:
    """Timescales of the coordinates against the lag that they were fitted with; the chosen lag is dashed."""
    from mdinsight.plots._kinetics import draw_timescales

    return draw_timescales(scan.lags, scan.dt, scan.timescales[:, :4], axes(ax, 6.0), chosen=scan.lag)


def explanation(model: CVModel, coordinate: int = 0, top: int = 8, ax: Axes | None = None) -> Axes:
    """The features that make up a coordinate: length is the share, the number the correlation with it.

    Raises
    ------
    ParameterError
        If the model has no such coordinate.
    """
    if not 0 <= coordinate < model.dim:
        raise ParameterError(
            f"coordinate={coordinate} is not one of the {model.dim} coordinates, which are numbered from 0"
        )
    ax = axes(ax)
    meaning = model.explain(top).coordinates[coordinate]
    features = meaning.features[::-1]
    places = np.arange(len(features))
    ax.barh(places, [100 * f.share for f in features], color=colour(0), height=0.7)
    for place, feature in zip(places, features, strict=True):
        ax.annotate(
            f"{feature.correlation:+.2f}",
            (100 * feature.share, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    ax.margins(x=0.18)
    ax.set_yticks(places, [f.name for f in features], fontsize=8)
    ax.set(xlabel=f"share of {meaning.name} in %  (number: correlation)")
    return ax


def traces(series: TimeSeries, column: int = 0, most: int = 6, ax: Axes | None = None) -> Axes:
    """A coordinate in time, one trajectory after another (the ``most`` with the largest spread, in their order)."""
    ax = axes(ax, 7.0, 2.6)
    spread = [float(np.ptp(array[:, column])) for array in series]
    chosen = sorted(np.argsort(spread)[::-1][:most])
    factor, unit = (1.0, "frames") if series.dt is None else scaled(series.dt * series.n_frames)
    start = 0.0
    for number, i in enumerate(chosen):
        times = (start + np.arange(len(series[i])) * (series.dt or 1.0)) * factor
        step = max(1, len(times) // 2000)
        ax.plot(times[::step], series[i][::step, column], ".", markersize=1.5, color="0.25")
        start = times[-1] / factor + (series.dt or 1.0)
        ax.annotate(f"{i}", (times[0], 1.0), (2, 2), ("data", "axes fraction"), "offset points", fontsize=8)
        if number:
            ax.axvline(times[0], color="0.6", linewidth=0.6)
    ax.set(xlabel=f"time in {unit}, one trajectory after another", ylabel=series.names[column])
    ax.margins(x=0.01)
    shown = "all trajectories" if len(chosen) == len(series) else f"the {len(chosen)} of {len(series)} that moved most"
    note(ax, f"Numbers at the top: trajectories, counted from 0; shown are {shown}.")
    return ax


def training(model: CVModel, ax: Axes | None = None) -> Axes:
    """The validation score of every seed of a VAMPnet, epoch by epoch; the one kept is dark.

    Raises
    ------
    ParameterError
        If the model was not trained (a linear coordinate).
    """
    found = getattr(model, "training", None)
    if found is None:
        raise ParameterError(f"a {model.kind} model has no training; give a VAMPNet's model")
    ax = axes(ax)
    for seed, curve in enumerate(found.curves):
        kept = seed == found.chosen
        ax.plot(
            np.arange(1, len(curve) + 1),
            curve,
            color=colour(0) if kept else "0.6",
            linewidth=1.6 if kept else 0.9,
            zorder=2 + kept,
        )
    best = int(found.epochs[found.chosen])
    ax.axvline(best, color=colour(1), linestyle="--", linewidth=1, label=f"kept: seed {found.chosen}, epoch {best}")
    ax.set(xlabel="epoch", ylabel="VAMP-2 score on validation data")
    ax.legend(fontsize="small")
    return ax
