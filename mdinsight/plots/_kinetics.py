"""Figures of Markov models: timescales against the lag, the Chapman-Kolmogorov test, spectra, exchange between states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdinsight import units
from mdinsight.msm import ChapmanKolmogorov, ImpliedTimescales, Macrostates, MarkovModel
from mdinsight.plots._style import axes, beside, colour, interval, marker, natural_times, scaled
from mdinsight.results import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def implied_timescales(found: ImpliedTimescales, lag: int | None = None, ax: Axes | None = None) -> Axes:
    """Implied timescales against the lag, with intervals; in the grey region a process is faster than the lag.

    Parameters
    ----------
    found
        What :func:`mdinsight.msm.implied_timescales` gave.
    lag
        The lag to mark, in frames; by default the one that ``found`` chooses.
    ax
        Where to draw.
    """
    return draw_timescales(
        found.lags, found.dt, found.timescales, axes(ax, 6.0), found.choose_lag() if lag is None else lag
    )


def draw_timescales(lags: np.ndarray, dt: float | None, timescales: Estimate, ax: Axes, chosen: int) -> Axes:
    """Timescales (n_lags, k) in ps or frames against lags in frames, both axes logarithmic."""
    steps = lags * (dt or 1.0)
    # One factor for both axes, so that the diagonal is where a timescale equals its lag.
    factor, unit = (1.0, "frames") if dt is None else scaled(float(np.nanmedian(timescales.value[:, 0])))
    for number in range(timescales.value.shape[1]):
        shown = np.isfinite(timescales.value[:, number])
        if shown.any():
            label = f"process {number + 1}"
            interval(ax, steps[shown] * factor, timescales[shown, number].scaled(factor, unit), number, label)
    ax.set(xscale="log", yscale="log")
    low, high = steps[0] * factor / 1.2, steps[-1] * factor * 1.2
    bottom = ax.get_ylim()[0]
    if np.isfinite(timescales.low).any():
        ax.fill_between([], [], [], color=colour(0), alpha=0.3, linewidth=0, label="95 % interval")
    ax.fill_between(
        [low, high], [low, high], min(bottom, low), color="0.85", zorder=0, linewidth=0, label="faster than the lag"
    )
    ax.axvline(chosen * (dt or 1.0) * factor, color="black", linestyle="--", linewidth=0.9, label="chosen lag")
    ax.set(
        xlim=(low, high),
        ylim=(min(bottom, low), None),
        xlabel=f"lag time in {unit}",
        ylabel=f"implied timescale in {unit}",
    )
    beside(ax)
    return ax


def chapman_kolmogorov(test: ChapmanKolmogorov, most: int = 5) -> Figure:
    """Predicted and estimated probabilities between sets over time, a panel for each pair of the first ``most`` sets.

    Returns the figure, since it has many axes.
    """
    from matplotlib import pyplot

    n = min(test.n_sets, most)
    figure, panels = pyplot.subplots(
        n, n, figsize=(1.4 + 1.5 * n, 1.2 + 1.4 * n), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    times = test.lags * (test.dt or 1.0)
    factor, unit = (1.0, "frames") if test.dt is None else scaled(float(times[-1]))
    for i in range(n):
        for j in range(n):
            ax, seen = panels[i, j], test.estimated[:, i, j]
            interval(ax, times * factor, test.predicted[:, i, j], 0, "predicted")
            below, above = (np.maximum(d, 0) for d in (seen.value - seen.low, seen.high - seen.value))
            ax.errorbar(
                times * factor,
                seen.value,
                [below, above],
                color=colour(1),
                marker=marker(1),
                markersize=4,
                linestyle="",
                capsize=2,
                label="estimated",
            )
            ax.set_title(f"{i} to {j}", fontsize=8, pad=3)
    panels[0, 0].set(ylim=(-0.05, 1.05), xlim=(0, None))
    figure.supxlabel(f"time in {unit}", fontsize=10)
    figure.supylabel("probability", fontsize=10)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8)
    return figure


def spectrum(model: MarkovModel, k: int = 8, ax: Axes | None = None) -> Axes:
    """The slowest timescales of a model with intervals; in the grey region a process is faster than the lag."""
    ax = axes(ax)
    times = model.timescales(k)
    times = times[np.isfinite(times.value) & (times.value > 0)]
    factor, unit = (1.0, "frames") if model.dt is None else scaled(float(times.value[0]))
    times, lag = times.scaled(factor, unit), model.step * factor
    places = np.arange(1, len(times) + 1)
    error = np.nan_to_num([times.value - times.low, times.high - times.value]).clip(0) * (times.value > lag)
    ax.errorbar(places, times.value, error, color=colour(0), marker=marker(0), linestyle="", capsize=3)
    ax.set(yscale="log", xlabel="process", ylabel=f"timescale in {unit}", xticks=places, xlim=(0.5, len(places) + 0.5))
    bottom = ax.get_ylim()[0]
    ax.axhspan(min(bottom, lag / 2), lag, color="0.85", zorder=0, linewidth=0, label="faster than the lag")
    ax.axhline(lag, color="black", linestyle="--", linewidth=0.9, label=f"lag {units.format_lag(model.lag, model.dt)}")
    ax.set_ylim(min(bottom, lag / 2), None)
    ax.legend(fontsize="small")
    return ax


def populations(macrostates: Macrostates, ax: Axes | None = None) -> Axes:
    """Population of each macrostate with its interval, on a logarithmic scale."""
    ax = axes(ax)
    found = macrostates.populations
    places = np.arange(macrostates.n)
    error = (
        None
        if np.isnan(found.low).all()
        else np.nan_to_num([found.value - found.low, found.high - found.value]).clip(0)
    )
    ax.bar(
        places,
        found.value,
        color=[colour(n) for n in places],
        width=0.6,
        yerr=error,
        capsize=4,
        error_kw={"ecolor": "black"},
    )
    lowest = np.nanmin(np.where(found.low > 0, found.low, found.value))
    ax.set(
        yscale="log",
        ylim=(10 ** np.floor(np.log10(lowest)), 1.5),
        xlabel="macrostate",
        ylabel="population",
        xticks=places,
    )
    return ax


def exchange(macrostates: Macrostates, ax: Axes | None = None) -> Axes:
    """The mean first passage times between macrostates, with intervals.

    Up to four macrostates are discs (larger: more populated) with arrows; more are a table, row from and column to.
    """
    from matplotlib.patches import FancyArrowPatch

    n = macrostates.n
    if n > 4:
        return _exchange_table(macrostates, axes(ax, 1.5 + 1.05 * n, 1.0 + 0.6 * n))
    ax = axes(ax, 5.2, 4.6 if n > 2 else 2.9)
    angles = np.pi / 2 - 2 * np.pi * np.arange(n) / n + (np.pi / 2 if n == 2 else 0.0)
    places = np.column_stack([np.cos(angles), np.sin(angles)])
    radii = 0.1 + 0.2 * np.sqrt(macrostates.populations.value)
    for i in range(n):
        for j in range(n):
            if i == j or not np.isfinite(macrostates.mfpt.value[i, j]):
                continue
            way = (places[j] - places[i]) / np.linalg.norm(places[j] - places[i])
            start, end = places[i] + way * (radii[i] + 0.03), places[j] - way * (radii[j] + 0.03)
            ax.add_patch(
                FancyArrowPatch(
                    start, end, connectionstyle="arc3,rad=0.22", arrowstyle="-|>", mutation_scale=11, color="0.35"
                )
            )
            side = np.array([way[1], -way[0]])
            ax.annotate(
                _times(macrostates.mfpt[i, j], macrostates.dt),
                0.5 * (start + end) + 0.16 * np.linalg.norm(end - start) * side,
                ha="center",
                va="center",
                fontsize=7,
                bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
            )
    from matplotlib.patches import Circle

    for i in range(n):
        ax.add_patch(Circle((places[i, 0], places[i, 1]), radii[i], color=colour(i), zorder=3))
        ax.annotate(str(i), places[i], ha="center", va="center", color="white", fontsize=10, zorder=4)
        below = places[i] - (0, radii[i] + 0.11)
        ax.annotate(
            f"{100 * macrostates.populations.value[i]:.3g} %", below, ha="center", va="center", fontsize=8, zorder=4
        )
    ax.set(xlim=(-1.55, 1.55), ylim=(-1.55, 1.45) if n > 2 else (-0.9, 0.8), aspect="equal")
    ax.set_axis_off()
    return ax


def _exchange_table(macrostates: Macrostates, ax: Axes) -> Axes:
    labels = [f"{k}\n{100 * share:.2g} %" for k, share in enumerate(macrostates.populations.value)]
    return draw_times(macrostates.mfpt, labels, macrostates.dt is not None, ax, "macrostate")


def draw_times(mfpt: Estimate, labels: list[str], in_ps: bool, ax: Axes, what: str) -> Axes:
    """Passage times (n, n) as a table, row from and column to; in ps, else in frames."""
    from matplotlib.colors import LogNorm

    n, dt = len(labels), 1.0 if in_ps else None
    values = np.where(np.eye(n, dtype=bool), np.nan, mfpt.value)
    mesh = ax.imshow(values, cmap="viridis_r", norm=LogNorm())
    for i in range(n):
        for j in range(n):
            if i != j:
                dark = values[i, j] > np.nanmedian(values)
                words = _times(mfpt[i, j], dt) if np.isfinite(values[i, j]) else "not\ndetermined"
                ax.text(j, i, words, ha="center", va="center", fontsize=6, color="white" if dark else "black")
    ax.set_xticks(range(n), labels, fontsize=7)
    ax.set_yticks(range(n), labels, fontsize=7)
    ax.set(xlabel=f"to {what}", ylabel=f"from {what}")
    bar = ax.figure.colorbar(mesh, ax=ax, label="mean first passage time" + ("" if in_ps else " in frames"))
    if in_ps:
        natural_times(bar.ax.yaxis)
    return ax


def _times(figure: Estimate, dt: float | None) -> str:
    def words(value: float) -> str:
        return f"{value:.3g}" if dt is None else units.format_time(value)

    value, low, high = (float(x) for x in (figure.value, figure.low, figure.high))
    return words(value) + (f"\n[{words(low)}, {words(high)}]" if np.isfinite(low) and np.isfinite(high) else "")
