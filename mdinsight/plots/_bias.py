"""Figures of biased runs: where they went, how the bias grew, whether a free energy settled, whether windows overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mdinsight.bias import BiasModel, Convergence, Reweighting, Trace, transient
from mdinsight.errors import ParameterError
from mdinsight.plots._style import axes, colour, marker, scaled, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 3000
"""Points drawn of one walker."""


def convergence(found: Convergence, ax: Axes | None = None) -> Axes:
    """F(B) - F(A) from the data up to each time, with its 95 % interval; beside it each half of the time alone, and the result.

    An interval that goes on beyond the frame is wider than what is shown.

    Parameters
    ----------
    found
        What :func:`mdinsight.bias.convergence` gave.
    ax
        Where to draw.
    """
    ax = axes(ax)
    factor, unit = scaled(float(found.times[-1]))
    times, line, whole = found.times * factor, found.over_time, found.difference
    low, high = _frame(found)
    far = 10 * (high - low) + 1.0  # matplotlib draws no band to infinity

    def inside(values: np.ndarray) -> np.ndarray:
        return np.clip(values, low - far, high + far)

    ax.fill_between(times, inside(line.low), inside(line.high), color=colour(0), alpha=0.2, linewidth=0)
    ax.plot(times, line.value, color=colour(0), marker=marker(0), markersize=3.5, label="data up to this time")
    first = times[0] - (times[1] - times[0]) if len(times) > 1 else 0.0
    quarter = 0.25 * (times[-1] - first)
    known = np.isfinite(found.halves.value)
    error = np.abs([inside(end) - found.halves.value for end in (found.halves.low, found.halves.high)])
    ax.errorbar(
        np.array([first + quarter, times[-1] - quarter])[known],
        found.halves.value[known],
        error[:, known],
        color=colour(1),
        marker=marker(1),
        markersize=6,
        linestyle="",
        capsize=4,
        label="each half alone",
    )
    if np.isfinite(whole.value):
        ax.axhline(float(whole.value), color="black", linewidth=0.9, linestyle="--", label=f"all data: {whole}")
        for end in (float(whole.low), float(whole.high)):
            if np.isfinite(end):
                ax.axhline(end, color="black", linewidth=0.7, linestyle=":")
    ax.set(ylim=(low, high), xlabel=f"time of each walker in {unit}", ylabel="F(B) - F(A) in kJ/mol")
    ax.legend(fontsize="small")
    return ax


def biased_run(trace: Trace, column: int = 0, ax: Axes | None = None, most: int = 6) -> Axes:
    """A coordinate in time, one walker after another; the beginning that free energies leave out is grey.

    Parameters
    ----------
    trace
        What a run recorded.
    column
        Which of its coordinates.
    ax
        Where to draw.
    most
        Walkers to draw, the first ones.

    Raises
    ------
    ParameterError
        If the trace is empty or has no such coordinate.
    """
    if not 0 <= column < trace.dim:
        raise ParameterError(f"column={column} is not one of the {trace.dim} coordinates, which are numbered from 0")
    period, values = trace.periods[column], trace.s[:, column]
    if period is not None:
        values = values - period * np.round(values / period)
    ax = axes(ax, 7.0, 2.8)
    for rows, times in _in_time(trace, ax, most):
        ax.plot(times, values[rows], ".", markersize=3, markeredgewidth=0, color=colour(0))
    ax.set_ylabel(with_unit(trace.names[column], period))
    if period is not None:
        ax.set_ylim(-0.52 * period, 0.52 * period)
    return ax


def bias_in_time(trace: Trace, ax: Axes | None = None, most: int = 6) -> Axes:
    """The energy of the adaptive bias where each walker was at that time, and c(t) of metadynamics as a line.

    The bias has settled when the same places come back with the same energy above c(t). The beginning that free energies
    leave out is grey.

    Parameters
    ----------
    trace, ax, most
        As for :func:`biased_run`.

    Raises
    ------
    ParameterError
        If the trace is empty.
    """
    ax = axes(ax, 7.0, 2.8)
    for number, (rows, times) in enumerate(_in_time(trace, ax, most)):
        ax.plot(times, trace.bias[rows], ".", markersize=3, markeredgewidth=0, color=colour(0))
        if trace.offset.any():
            ax.plot(times, trace.offset[rows], color=colour(1), linewidth=1.6, label="c(t)" if number == 0 else None)
            ax.legend(fontsize="small", loc="lower right")
    ax.set_ylabel("bias in kJ/mol")
    return ax


def bias_potential(
    model: BiasModel, ax: Axes | None = None, range: Sequence[tuple[float, float]] | None = None
) -> Axes:
    """The energy of a frozen bias along one coordinate, or over two.

    Parameters
    ----------
    model
        What a run's ``sampler.model`` is.
    ax
        Where to draw.
    range
        (low, high) of each coordinate; by default all that the deposits reach.

    Raises
    ------
    ParameterError
        If it acts on more than two coordinates, or nothing was deposited and no range is given.
    """
    coordinate = model.coordinate
    if coordinate.dim > 2:
        raise ParameterError(f"the bias acts on {coordinate.dim} coordinates; at most two can be drawn")
    limits = _deposited(model) if range is None else tuple(range)
    if limits is None:
        raise ParameterError(
            "the bias has no deposits that say what to draw; give range=, (low, high) of each coordinate"
        )
    labels = [with_unit(name, period) for name, period in zip(coordinate.names, coordinate.periods, strict=True)]
    ax = axes(ax)
    lines = [np.linspace(low, high, 400 if coordinate.dim == 1 else 120) for low, high in limits]
    mesh = np.meshgrid(*lines, indexing="ij")
    energy = model.potential(np.column_stack([part.ravel() for part in mesh])).reshape(mesh[0].shape)
    if coordinate.dim == 1:
        ax.plot(lines[0], energy, color=colour(0))
        ax.set(xlabel=labels[0], ylabel="bias in kJ/mol")
        return ax
    drawn = ax.pcolormesh(*lines, energy.T, cmap="viridis", rasterized=True, shading="nearest")
    ax.figure.colorbar(drawn, ax=ax, label="bias in kJ/mol")
    ax.set(xlabel=labels[0], ylabel=labels[1])
    return ax


def _deposited(model: BiasModel) -> tuple[tuple[float, float], ...] | None:
    """(low, high) of each coordinate that deposits reach; None if there is a coordinate that none reaches."""
    low, high = np.full(model.coordinate.dim, np.inf), np.full(model.coordinate.dim, -np.inf)
    for state in model.states():
        axis = list(state.axes)
        begin, end = state.span()
        if np.isfinite(begin).all() and np.isfinite(end).all():
            low[axis], high[axis] = np.minimum(low[axis], begin), np.maximum(high[axis], end)
    return tuple((float(a), float(b)) for a, b in zip(low, high, strict=True)) if (low < high).all() else None


def overlap(found: Reweighting, ax: Axes | None = None) -> Axes:
    """How much the biased states share: the probability that a frame which weighs in one state (row) was sampled in another.

    Dark fields beside the diagonal join neighbouring windows; a white step across it is a gap.

    Parameters
    ----------
    found
        What :func:`mdinsight.bias.mbar` gave.
    ax
        Where to draw.
    """
    table = found.overlap()
    n = len(table)
    ax = axes(ax, 1.8 + 0.32 * min(n, 12), 1.4 + 0.32 * min(n, 12))
    mesh = ax.imshow(table, cmap="Greys", vmin=0.0, vmax=1.0)
    if n <= 12:
        for (i, j), share in np.ndenumerate(table):
            if share >= 0.005:
                ax.text(
                    j,
                    i,
                    f"{share:.2f}",
                    ha="center",
                    va="center",
                    fontsize=6,
                    color="white" if share > 0.5 else "black",
                )
        ax.set(xticks=np.arange(n), yticks=np.arange(n))
    ax.figure.colorbar(mesh, ax=ax, label="probability")
    ax.set(xlabel="sampled in state", ylabel="weighs in state")
    return ax


def _in_time(trace: Trace, ax: Axes, most: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows and times of each walker, one behind the other; what is common to all is drawn."""
    if not len(trace):
        raise ParameterError("the trace has no rows; run the biased simulation first")
    walkers = trace.walkers[:most]
    rows = [np.flatnonzero(trace.walker == walker) for walker in walkers]
    last = [float(trace.time[own[-1]]) for own in rows]
    factor, unit = scaled(sum(last))
    fraction, start, found = transient(trace), 0.0, []
    for walker, own, end in zip(walkers, rows, last, strict=True):
        times = (trace.time[own] + start) * factor
        if fraction > 0:
            ax.axvspan(times[0], times[math.ceil(fraction * len(own))], color="0.85", zorder=0, linewidth=0)
        if len(walkers) > 1:
            ax.annotate(f"{walker}", (times[0], 1.0), (2, 2), ("data", "axes fraction"), "offset points", fontsize=8)
            ax.axvline(start * factor, color="0.6", linewidth=0.6)
        step = max(1, -(-len(own) // MOST_POINTS))
        found.append((own[::step], times[::step]))
        start += end
    number = len(trace.walkers)
    several = "" if number == 1 else ", one walker after another"
    several += f" ({len(walkers)} of {number})" if len(walkers) < number else ""
    ax.set_xlabel(f"time in {unit}{several}")
    ax.margins(x=0.01)
    return found


def _frame(found: Convergence) -> tuple[float, float]:
    """What to show of the energies: every value, the interval of the result, and as much again, at least 2 kJ/mol."""
    whole = found.difference
    ends = np.concatenate([found.over_time.value, found.halves.value, np.ravel([whole.value, whole.low, whole.high])])
    ends = ends[np.isfinite(ends)]
    if not len(ends):
        return (-1.0, 1.0)
    low, high = float(ends.min()), float(ends.max())
    more = max(0.35 * (high - low), 2.0)
    return (low - more, high + more)
