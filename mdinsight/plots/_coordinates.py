"""Figures of slow coordinates: how they were chosen, what they are made of, how they move in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdinsight import units
from mdinsight.cvs import CVModel, Scan
from mdinsight.errors import ParameterError
from mdinsight.plots._style import axes, colour, marker, scaled
from mdinsight.series import TimeSeries

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scores(scan: Scan, ax: Axes | None = None) -> Axes:
    """Cross-validated VAMP-2 score against the number of coordinates, a line for each lag; the scan's choice is ringed."""
    ax = axes(ax)
    lags = np.unique(np.append(scan.lags[:: max(1, -(-len(scan.lags) // 4))], scan.lag))  # more would hide one another
    for number, lag in enumerate(lags):
        row = int(np.flatnonzero(scan.lags == lag)[0])
        line = scan.scores[row]
        shift = 0.04 * (number - (len(lags) - 1) / 2)
        ax.errorbar(
            scan.dims + shift,
            line.value,
            yerr=[line.value - line.low, line.high - line.value],
            color=colour(number),
            marker=marker(number),
            markersize=4,
            capsize=2,
            label=units.format_lag(int(lag), scan.dt),
        )
        if lag == scan.lag:
            at = int(np.flatnonzero(scan.dims == scan.dim)[0])
            ax.plot(scan.dim + shift, line.value[at], "o", markersize=12, markerfacecolor="none", color="black")
    ax.set(xlabel="number of coordinates", ylabel="VAMP-2 score on unseen data", xticks=scan.dims)
    ax.legend(title="lag", fontsize="small", title_fontsize="small")
    return ax


def coordinate_timescales(scan: Scan, ax: Axes | None = None) -> Axes:
    """Timescales of the coordinates against the lag that they were fitted with; the chosen lag is dashed."""
    from mdinsight.plots._kinetics import draw_timescales

    return draw_timescales(scan.lags, scan.dt, scan.timescales[:, :4], axes(ax), chosen=scan.lag)


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
        ax.plot(times[::step], series[i][::step, column], ".", markersize=1.5, color=colour(number % 2))
        start = times[-1] / factor + (series.dt or 1.0)
        if number:
            ax.axvline(times[0], color="0.6", linewidth=0.6)
    ax.set(xlabel=f"time in {unit}, {len(chosen)} of {len(series)} trajectories", ylabel=series.names[column])
    ax.margins(x=0.01)
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
