"""Figures on the plane of two coordinates: free energy, and where the long-lived states lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.msm import Flux, FreeEnergySurface, Macrostates, MarkovModel
from mdinsight.plots._style import axes, colour, marker, with_unit
from mdinsight.series import TimeSeries

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def free_energy(surface: FreeEnergySurface, ax: Axes | None = None, ceiling: float | None = None) -> Axes:
    """Free energy in kJ/mol: a map with contours of two coordinates, or a line with its interval of one.

    Parameters
    ----------
    surface
        What :func:`mdinsight.msm.free_energy_surface` or :func:`mdinsight.bias.free_energy_surface` gave.
    ax
        Where to draw.
    ceiling
        Energies above it are drawn alike; by default the highest that was seen.
    """
    ax = axes(ax)
    energy = surface.free_energy
    if len(surface.edges) == 1:
        x = surface.centers[0]
        ax.plot(x, energy.value, color=colour(0))
        least, most = float(np.nanmin(energy.value)), float(np.nanmax(energy.value))
        more = 0.1 * (most - least) + 0.5
        # an interval that is much wider than the profile goes on beyond the frame; no band is drawn to infinity
        low, high = (np.clip(end, least - 20 * more, most + 20 * more) for end in (energy.low, energy.high))
        ax.fill_between(x, low, high, color=colour(0), alpha=0.25, linewidth=0)
        ax.set(ylim=(least - more, most + more), xlabel=_label(surface, 0), ylabel="free energy in kJ/mol")
        return ax
    top = float(np.nanmax(energy.value)) if ceiling is None else ceiling
    value = np.clip(energy.value, None, top)
    _map(ax, surface, value, top, "free energy in kJ/mol")
    levels = np.arange(5.0, top, 5.0)
    if len(levels):
        ax.contour(*surface.centers, value.T, levels=levels, colors="white", linewidths=0.6)
    return ax


def free_energy_error(surface: FreeEnergySurface, ax: Axes | None = None, ceiling: float = 10.0) -> Axes:
    """Half the width of the interval of a free energy map, in kJ/mol; what is beyond ``ceiling`` is drawn alike.

    Raises
    ------
    ParameterError
        If the surface has one coordinate (its interval is part of :func:`free_energy`), or no interval.
    """
    energy = surface.free_energy
    if len(surface.edges) == 1:
        raise ParameterError("a profile of one coordinate shows its interval itself; use plots.free_energy")
    half = (energy.high - energy.low) / 2
    if np.isnan(half).all():
        raise ParameterError("the surface has no interval: it is of one trajectory, or n_bootstrap=0")
    ax = axes(ax)
    return _map(
        ax,
        surface,
        np.clip(half, None, ceiling),
        min(ceiling, float(np.nanmax(half))),
        "half the 95 % interval in kJ/mol",
    )


def _map(ax: Axes, surface: FreeEnergySurface, value: np.ndarray, top: float, label: str) -> Axes:
    mesh = ax.pcolormesh(*surface.edges, value.T, cmap="viridis", rasterized=True, vmin=0, vmax=top)
    ax.figure.colorbar(mesh, ax=ax, label=label)
    for axis, edges in enumerate(surface.edges):  # no empty margins
        seen = np.flatnonzero(np.isfinite(surface.free_energy.value).any(axis=1 - axis))
        (ax.set_xlim, ax.set_ylim)[axis](edges[max(0, seen[0] - 1)], edges[min(len(edges) - 1, seen[-1] + 2)])
    ax.set(xlabel=_label(surface, 0), ylabel=_label(surface, 1))
    return ax


def _label(surface: FreeEnergySurface, axis: int) -> str:
    """Bins from -pi to pi are those of an angle."""
    ends = surface.edges[axis][[0, -1]]
    return with_unit(surface.names[axis], float(np.ptp(ends)) if np.isclose(ends.sum(), 0.0) else None)


def states_on_plane(
    coordinates: TimeSeries, macrostates: Macrostates, dtrajs: TimeSeries, ax: Axes | None = None, most: int = 20_000
) -> Axes:
    """Frames on the first two coordinates, coloured by macrostate; frames outside the model are light grey crosses.

    Raises
    ------
    ParameterError
        If the coordinates and the discrete trajectories do not belong together, or there is only one coordinate.
    """
    ax = axes(ax)
    if coordinates.n_columns < 2:
        raise ParameterError("a plane needs two coordinates, these data have one; fit with dim=2")
    if [len(a) for a in coordinates] != [len(a) for a in dtrajs]:
        raise ParameterError(
            "coordinates and discrete trajectories have different lengths; give those of the same data"
        )
    rows, assigned = coordinates.concatenated(), np.concatenate(macrostates.assign(dtrajs))
    step = max(1, len(rows) // most)
    rare = np.bincount(assigned[assigned >= 0], minlength=macrostates.n) < most // 20
    for number in [-1, *range(macrostates.n)]:
        mine = rows[assigned == number]
        mine = mine if number >= 0 and rare[number] else mine[::step]
        if not len(mine):
            continue
        outside = number < 0
        ax.scatter(
            mine[:, 0],
            mine[:, 1],
            s=3 if not outside else 10,
            marker="x" if outside else marker(number),
            color="0.6" if outside else colour(number),
            linewidths=0.5 if outside else 0,
            label="outside the model" if outside else str(number),
            rasterized=True,
        )
    ax.set(xlabel=coordinates.names[0], ylabel=coordinates.names[1])
    ax.legend(title="macrostate", fontsize="small", title_fontsize="small", markerscale=3)
    return ax


def committor(flux: Flux, model: MarkovModel, ax: Axes | None = None, most: int = 30) -> Axes:
    """The way from A to B on the plane: states coloured by the probability to meet B first, arrows for the reactive flux.

    Raises
    ------
    ParameterError
        If the model does not know the centres of its states in two coordinates.
    """
    centers = getattr(model.clustering, "centers", None)
    if centers is None or centers.shape[1] < 2:
        raise ParameterError(
            "the model does not know its states' centres in two coordinates; cluster two or more coordinates"
        )
    ax = axes(ax)
    places = centers[flux.states][:, :2]
    net = flux.net_flux
    strongest = np.argsort(net, axis=None)[::-1][:most]
    for i, j in zip(*np.unravel_index(strongest, net.shape), strict=True):
        if net[i, j] > 0:
            width = 2.5 * np.sqrt(net[i, j] / net.max())
            ax.annotate(
                "",
                places[j],
                places[i],
                arrowprops={"arrowstyle": "-|>", "linewidth": width, "color": "0.5", "shrinkA": 1, "shrinkB": 1},
            )
    points = ax.scatter(
        places[:, 0], places[:, 1], c=flux.forward_committor.value, cmap="viridis", s=18, zorder=3, vmin=0, vmax=1
    )
    for states, label in ((flux.source, "A"), (flux.target, "B")):
        middle = centers[list(states)][:, :2].mean(axis=0)
        ax.annotate(
            label,
            middle,
            fontsize=13,
            weight="bold",
            ha="center",
            va="center",
            zorder=4,
            bbox={"boxstyle": "circle,pad=0.2", "facecolor": "white", "alpha": 0.8},
        )
    ax.figure.colorbar(points, ax=ax, label="probability to meet B before A")
    names = [column.name for column in getattr(model.clustering, "columns", ())[:2]]
    ax.set(
        xlabel=names[0] if len(names) == 2 else "coordinate 1", ylabel=names[1] if len(names) == 2 else "coordinate 2"
    )
    ax.margins(0.08)
    return ax
