"""Figures on the plane of two coordinates: free energy, and where the long-lived states lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.msm import Flux, FreeEnergySurface, Macrostates, MarkovModel
from mdinsight.plots._style import axes, beside, colour, marker, note, with_unit
from mdinsight.series import TimeSeries
from mdinsight.surfaces import REWEIGHTED
from mdinsight.words import counted, some

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar

_LEVEL = 5.0
_COARSE = 20
"""Bins along a coordinate below which contours would be scribbles."""
_ARROWS = (
    "Dots: microstates; arrows: net flux from A to B, straight from microstate to microstate (a jump within one lag)."
)
_FAR = ", wider than the frame where it leaves it"


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
        says = [] if np.isnan(low).all() else ["Band: 95 % interval" + (_FAR if (high > most + more).any() else "")]
        seen = np.flatnonzero(np.isfinite(energy.value))
        says += [f"gaps: {_nothing(surface)}"] if np.isnan(energy.value[seen[0] : seen[-1]]).any() else []
        if says:
            note(ax, "; ".join(says) + ".")
        return ax
    top = float(np.nanmax(energy.value)) if ceiling is None else ceiling
    value = np.clip(energy.value, None, top)
    bar = _map(ax, surface, value, top, "free energy in kJ/mol")
    smooth = _smooth(value)
    every = _LEVEL if top <= 8 * _LEVEL else 2 * _LEVEL
    levels = np.arange(every, top, every) if min(value.shape) >= _COARSE else np.empty(0)
    levels = levels[(levels > np.nanmin(smooth)) & (levels < np.nanmax(smooth))] if np.isfinite(smooth).any() else []
    words = f"White: {_nothing(surface)}."
    if len(levels):
        lines = ax.contour(*surface.centers, smooth.T, levels=levels, colors="white", linewidths=0.6)
        bar.add_lines(lines)
        words = f"Contours every {every:g} kJ/mol, where frames lie on all sides. {words}"
    note(ax, words)
    return ax


def _nothing(surface: FreeEnergySurface) -> str:
    """What an empty cell lacks; frames of a biased run may have no weight."""
    return "no weighted frame" if surface.weighting == REWEIGHTED else "no frame"


def _smooth(value: np.ndarray) -> np.ndarray:
    """Means over 3 by 3 cells, for contours; NaN where one of them is not known: at a border there is only noise."""
    padded = np.pad(value, 1, constant_values=np.nan)
    parts = [padded[i : i + value.shape[0], j : j + value.shape[1]] for i in range(3) for j in range(3)]
    return np.asarray(np.mean(parts, axis=0))


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
    most = float(np.nanmax(half))
    _map(ax, surface, np.clip(half, None, ceiling), min(ceiling, most), "half the 95 % interval in kJ/mol")
    note(ax, (f"Above {ceiling:g} kJ/mol all alike. " if most > ceiling else "") + f"White: {_nothing(surface)}.")
    return ax


def _map(ax: Axes, surface: FreeEnergySurface, value: np.ndarray, top: float, label: str) -> Colorbar:
    mesh = ax.pcolormesh(*surface.edges, value.T, cmap="viridis", rasterized=True, vmin=0, vmax=top)
    bar = ax.figure.colorbar(mesh, ax=ax, label=label)
    for axis, edges in enumerate(surface.edges):  # no empty margins
        seen = np.flatnonzero(np.isfinite(surface.free_energy.value).any(axis=1 - axis))
        (ax.set_xlim, ax.set_ylim)[axis](edges[max(0, seen[0] - 1)], edges[min(len(edges) - 1, seen[-1] + 2)])
    ax.set(xlabel=_label(surface, 0), ylabel=_label(surface, 1))
    return bar


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
    beside(ax, title="macrostate", title_fontsize=7, markerscale=3)
    return ax


def committor(
    flux: Flux,
    model: MarkovModel,
    ax: Axes | None = None,
    most: int = 30,
    macrostates: Macrostates | None = None,
) -> Axes:
    """The way from A to B on the plane: states coloured by the probability to meet B first, arrows for the reactive flux.

    Parameters
    ----------
    flux
        What ``model.tpt`` or :func:`mdinsight.msm.tpt` gave.
    model
        The model that it is of.
    ax
        Where to draw.
    most
        Arrows to draw, the strongest.
    macrostates
        If given, A and B are told by the macrostates that they are part of, as other figures number them.

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
    ax = axes(ax, 5.0, 3.8)
    places = centers[flux.states][:, :2]
    net = flux.net_flux
    strongest = np.argsort(net, axis=None)[::-1][:most]
    for i, j in zip(*np.unravel_index(strongest, net.shape), strict=True):
        if net[i, j] > 0:
            ax.annotate(
                "",
                places[j],
                places[i],
                arrowprops={
                    "arrowstyle": "-|>",
                    "linewidth": 2.5 * np.sqrt(net[i, j] / net.max()),
                    "color": "0.5",
                    "alpha": 0.6,
                    "shrinkA": 1,
                    "shrinkB": 1,
                },
            )
    points = ax.scatter(
        places[:, 0], places[:, 1], c=flux.forward_committor.value, cmap="viridis", s=18, zorder=3, vmin=0, vmax=1
    )
    ends = []
    for states, label in ((flux.source, "A"), (flux.target, "B")):
        own = centers[list(states)][:, :2]
        middle = own[np.argmin(((own - own.mean(axis=0)) ** 2).sum(axis=1))]  # one of them: the mean may lie beside all
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
        ends.append(f"{label}: {_end(states, model, macrostates)}")
    ax.figure.colorbar(points, ax=ax, label="probability to meet B before A")
    names = [column.name for column in getattr(model.clustering, "columns", ())[:2]]
    ax.set(
        xlabel=names[0] if len(names) == 2 else "coordinate 1", ylabel=names[1] if len(names) == 2 else "coordinate 2"
    )
    ax.margins(0.08)
    note(ax, f"{'; '.join(ends)}. {_ARROWS}")
    return ax


def _end(states: tuple[int, ...], model: MarkovModel, macrostates: Macrostates | None) -> str:
    """An end of a path in words: the macrostates that it is part of, or else what it weighs."""
    active = np.asarray(model.active_states)
    rows = np.flatnonzero(np.isin(active, states))
    share = f"{100 * float(np.sum(model.stationary_distribution[rows])):.3g} %"
    if macrostates is None:
        return f"{counted(len(states), 'microstate')}, {share} of the population"
    within = np.unique(macrostates.assignments[rows])
    return f"{'macrostate' if len(within) == 1 else 'macrostates'} {some(list(within))} ({share})"
