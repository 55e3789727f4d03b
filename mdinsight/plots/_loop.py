"""Figures of a run of the loop: how it went, the states it found, where its walkers were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.plots._kinetics import draw_times
from mdinsight.plots._landscape import free_energy
from mdinsight.plots._style import axes, colour, marker, scaled
from mdinsight.results import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mdinsight.adaptive import Run, States

_BANDS = {
    "explore": ("first exploration", "0.75", "///"),
    "swarm": ("unbiased swarms", "0.82", ""),
    "biased": ("walkers under bias", "white", ""),
    "kinetics": ("two-way swarms", "0.75", "..."),
}
_MOST_POINTS = 3000
_MOST_STATES = 8
_MOST_PAIRS = 20


def rounds(run: Run, ax: Axes | None = None) -> Axes:
    """How the states developed over simulated time: their number, and the free energy of each with its interval.

    Bands are the kinds of round, triangles at the top the rounds from which on the coordinate was a new one. At each time the
    states are ordered by free energy above the most populated one, so the same colour is the same rank.

    Parameters
    ----------
    run
        What :func:`mdinsight.adaptive.open` gave.
    ax
        Where to draw.

    Raises
    ------
    ParameterError
        If the run has no round yet.
    """
    history = run.history.rounds()
    if not history:
        raise ParameterError("the run has no round yet; advance it first")
    ax = axes(ax, 7.0, 3.8)
    factor, unit = scaled(history[-1].start + history[-1].ps)
    shown = set()
    for one in history:
        label, face, hatch = _BANDS.get(one.kind, (one.kind, "0.9", "xx"))
        ax.axvspan(
            one.start * factor,
            (one.start + one.ps) * factor,
            facecolor=face,
            hatch=hatch,
            edgecolor="0.55",
            linewidth=0,
            zorder=0,
            label=None if one.kind in shown else label,
        )
        shown.add(one.kind)
    known = [one for one in history if one.free_energies is not None]
    times = np.array([one.start for one in known]) * factor
    most = max((len(one.free_energies) for one in known if one.free_energies is not None), default=0)
    reach = [0.0, 1.0]
    for rank in range(1, min(most, _MOST_STATES)):
        figures = [_of_rank(one.free_energies, rank) for one in known]
        value, low, high = np.array(figures).T
        reach += value[np.isfinite(value)].tolist()
        _course(ax, times, value, low, high, rank, min(most, _MOST_STATES) - 1)
    _limits(ax, reach)
    new = [one.start * factor for one in history if one.relearned]
    top = ax.get_xaxis_transform()
    ax.plot(
        new,
        np.full(len(new), 0.97),
        "v",
        color="black",
        markersize=6,
        transform=top,
        label="new coordinate from here on",
    )
    _number_of_states(ax, history, factor)
    ax.set(
        xlabel=f"simulated time in {unit}, everything counted",
        ylabel="free energy in kJ/mol",
        xlim=(0, (history[-1].start + history[-1].ps) * factor),
    )
    legend = ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.12, 1.0), frameon=False)
    for patch in legend.get_patches():
        patch.set_linewidth(0.6)  # that of a white band is seen, too
    return ax


def _of_rank(energies: Estimate | None, rank: int) -> tuple[float, float, float]:
    if energies is None or rank >= len(energies):
        return (np.nan, np.nan, np.nan)
    one = energies[rank]
    return float(one.value), float(one.low), float(one.high)


def _course(
    ax: Axes, times: np.ndarray, value: np.ndarray, low: np.ndarray, high: np.ndarray, rank: int, curves: int
) -> None:
    seen = np.isfinite(value)
    if not seen.any():
        return
    far = 1e3  # matplotlib draws nothing to infinity
    low, high = np.clip(low[seen], -far, far), np.clip(high[seen], -far, far)
    x, y = times[seen], value[seen]
    if curves <= 2:
        ax.fill_between(x, low, high, color=colour(rank - 1), alpha=0.25, linewidth=0)
    else:  # more bands would hide one another
        x = x + (rank - 0.5 * (curves + 1)) * 0.06 * float(np.min(np.diff(times), initial=np.ptp(times) or 0.1))
        arms = [np.maximum(y - low, 0), np.maximum(high - y, 0)]
        ax.errorbar(x, y, arms, color=colour(rank - 1), alpha=0.6, linestyle="", capsize=2, linewidth=0.9)
    ax.plot(
        x,
        y,
        color=colour(rank - 1),
        marker=marker(rank - 1),
        markersize=4,
        label=f"state {rank + 1}",
    )


def _limits(ax: Axes, values: list[float]) -> None:
    """Every value, and some room for the intervals; those that go on beyond it are wider."""
    low, high = min(values), max(values)
    more = max(0.12 * (high - low), 2.0)
    ax.set_ylim(low - more, high + 2 * more)


def _number_of_states(ax: Axes, history: tuple, factor: float) -> None:  # type: ignore[type-arg]
    known = [one for one in history if one.states is not None]
    if not known:
        return
    right = ax.twinx()
    times = [one.start * factor for one in known] + [(history[-1].start + history[-1].ps) * factor]
    numbers = [one.states for one in known] + [known[-1].states]
    right.step(times, numbers, where="post", color="black", linestyle=":", linewidth=1.4)
    most = max(numbers)
    right.set(ylabel="states found (dotted)", ylim=(0, most + 1), yticks=range(0, most + 1, -(-most // 8)))
    ax.plot([], [], color="black", linestyle=":", linewidth=1.4, label="states found")


def state_populations(states: States, ax: Axes | None = None) -> Axes:
    """Free energy of each state with its interval, from the biased rounds and from the unbiased swarms alone, side by side.

    Where the two intervals of a state do not meet, it is ringed. An interval with an arrow goes on beyond the frame.

    Parameters
    ----------
    states
        What ``run.states()`` gave.
    ax
        Where to draw.
    """
    n = len(states)
    ax = axes(ax, min(max(3.6, 1.6 + 0.9 * n), 7.0), 3.4)
    found = [("biased walkers", states.free_energies, -0.12)]
    if states.swarm_free_energies is not None:
        found.append(("unbiased swarms alone", states.swarm_free_energies, 0.12))
    values = np.concatenate([part.value for _, part, _ in found])
    ends = np.concatenate([end for _, part, _ in found for end in (part.low, part.high)])
    values = np.concatenate(
        [
            values[np.isfinite(values)],
            ends[np.isfinite(ends) & (np.abs(ends) < 60 + 1.5 * np.abs(values[np.isfinite(values)]).max())],
        ]
    )
    low, high = float(values.min(initial=0.0)), float(values.max(initial=1.0))
    more = 0.12 * (high - low) + 0.5
    ax.set_ylim(low - more, high + more)
    for number, (label, figures, shift) in enumerate(found):
        _with_intervals(ax, np.arange(n) + shift, figures, number, label)
    if states.swarm_free_energies is not None:
        other = states.swarm_free_energies
        apart = np.isfinite(other.value) & ~states.free_energies.overlaps(other)
        middle = 0.5 * (states.free_energies.value + other.value)
        ax.plot(
            np.flatnonzero(apart),
            np.clip(middle[apart], low, high),
            "o",
            markersize=26,
            markerfacecolor="none",
            color="black",
            label="they disagree" if apart.any() else None,
        )
        lost = np.flatnonzero(~np.isfinite(other.value[1:])) + 1
        ends = np.full(len(lost), ax.get_ylim()[0] + 0.5 * more)
        ax.plot(lost + 0.12, ends, "x", color="0.45", label="not joined by the swarms" if len(lost) else None)
    names = [f"{i + 1}\n{100 * float(p):.3g} %" for i, p in enumerate(states.populations.value)]
    ax.set_xticks(np.arange(n), names, fontsize=10 if n <= 6 else 7)
    ax.set(xlabel="state and its population", ylabel="free energy in kJ/mol", xlim=(-0.5, n - 0.5))
    ax.legend(fontsize="small")
    return ax


def _with_intervals(ax: Axes, places: np.ndarray, figures: Estimate, number: int, label: str) -> None:
    """Points with error bars; an end that lies beyond the frame is drawn as an arrow."""
    bottom, top = ax.get_ylim()
    known = np.isfinite(figures.value)
    value = figures.value[known]
    low, high = (np.where(np.isnan(end), value, end) for end in (figures.low[known], figures.high[known]))
    ax.errorbar(
        places[known],
        value,
        [value - np.clip(low, bottom, value), np.clip(high, value, top) - value],
        color=colour(number),
        marker=marker(number),
        markersize=6,
        linestyle="",
        capsize=4,
        label=label,
    )
    for x, down, up in zip(places[known], low, high, strict=True):
        for beyond, end, way in ((down < bottom, bottom, "v"), (up > top, top, "^")):
            if beyond:
                ax.plot(x, end, way, color=colour(number), markersize=8, clip_on=False)
    for x, down in zip(places[~known], figures.low[~known], strict=True):
        if np.isfinite(down):  # a bound from below
            ax.errorbar(x, min(down, top), 0.06 * (top - bottom), lolims=True, color=colour(number), capsize=4)


def passage_times(states: States, ax: Axes | None = None) -> Axes:
    """Mean first passage times between the states with their intervals, on a logarithmic axis; of many states as a table.

    Parameters
    ----------
    states
        What ``run.states()`` gave.
    ax
        Where to draw.

    Raises
    ------
    ParameterError
        If no passage time is known.
    """
    n, found = len(states), states.passage_times
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    known = [pair for pair in pairs if np.isfinite(found.value[pair])]
    pairs = pairs if len(pairs) <= _MOST_PAIRS else known
    if not known:
        raise ParameterError("no passage time is known: the swarms show no way between two states; run longer")
    if len(pairs) > _MOST_PAIRS:
        labels = [f"{k + 1}\n{100 * part:.2g} %" for k, part in enumerate(states.populations.value)]
        return draw_times(found, labels, True, axes(ax, 1.5 + 1.05 * n, 1.0 + 0.6 * n), "state")
    ax = axes(ax, 5.0, 0.9 + 0.38 * len(pairs))
    ends = np.array([[e[pair] for e in (found.low, found.value, found.high)] for pair in known])
    factor, unit = scaled(float(np.nanmax(ends[:, 1])))
    for row, pair in enumerate(pairs):
        one = found[pair].scaled(factor, unit)
        value, low, high = float(one.value), float(one.low), float(one.high)
        if not np.isfinite(value):
            ax.annotate(
                "not determined", (0.5, row), xycoords=("axes fraction", "data"), ha="center", va="center", fontsize=8
            )
            continue
        low = low if np.isfinite(low) and low > 0 else value
        ax.errorbar(
            value,
            row,
            xerr=[[value - low], [min(high, 1e3 * value) - value if high > value else 0.0]],
            color=colour(pair[0]),
            marker=marker(pair[0]),
            markersize=6,
            capsize=4,
            linestyle="",
        )
    ax.set_yticks(range(len(pairs)), [f"{i + 1} to {j + 1}" for i, j in pairs])
    ax.set(xscale="log", xlabel=f"mean first passage time in {unit}", ylabel="states", ylim=(len(pairs) - 0.5, -0.5))
    ax.margins(x=0.15)
    ax.grid(axis="x", color="0.85", linewidth=0.6)
    return ax


def run_surface(states: States, ax: Axes | None = None) -> Axes:
    """Free energy along the learned coordinate with its interval, or over its first two columns; the states are numbered.

    Parameters
    ----------
    states
        What ``run.states()`` gave.
    ax
        Where to draw.
    """
    surface = states.surface()
    ax = free_energy(surface, axes(ax, 5.0, 3.6))
    centers = states.centers()
    box = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": "black", "linewidth": 0.8}
    energy = surface.free_energy.value
    for number, place in enumerate(centers):
        if not np.isfinite(place).all():
            continue
        if len(surface.edges) == 1:
            row = int(np.nanargmin(np.abs(surface.centers[0] - place[0]) + np.where(np.isnan(energy), np.inf, 0.0)))
            at, offset = (float(place[0]), float(energy[row])), (0, 16)
        else:
            at, offset = (float(place[0]), float(place[1])), (0, 0)
        ax.annotate(
            f"{number + 1}",
            at,
            offset,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            bbox=box,
            zorder=5,
        )
    return ax


def walkers(run: Run, column: int = 0, ax: Axes | None = None, most: int = 6) -> Axes:
    """The coordinate in force, of each walker in time over all biased rounds; dashed where the coordinate was relearned.

    All frames are shown on the last coordinate, also those of rounds in which another one was biased.

    Parameters
    ----------
    run
        What :func:`mdinsight.adaptive.open` gave.
    column
        Which column of the coordinate.
    ax
        Where to draw.
    most
        Walkers to draw, the first ones.

    Raises
    ------
    ParameterError
        If there is no biased round yet, or no such column.
    """
    history = run.history
    rounds_ = [d for d in history.decisions if d.kind == "biased" and history.pieces([d])]
    coordinate = history.coordinate(rounds_[-1].version) if rounds_ else None
    if coordinate is None:
        raise ParameterError("the run has no biased round yet; advance it further")
    if not 0 <= column < coordinate.dim:
        raise ParameterError(
            f"column={column} is not one of the {coordinate.dim} coordinates, which are numbered from 0"
        )
    numbers = sorted({int(task["walker"]) for d in rounds_ for task in d.tasks})
    values: dict[int, list[np.ndarray]] = {number: [] for number in numbers}
    times: dict[int, list[np.ndarray]] = {number: [] for number in numbers}
    start, changes, version = 0.0, [], rounds_[0].version
    for decision in rounds_:
        span = 0.0
        if decision.version != version:
            changes.append(start)
            version = decision.version
        tasks = dict(zip(decision.names, decision.tasks, strict=True))
        for piece in history.pieces([decision]):
            number = int(tasks[piece.name]["walker"])
            values[number].append(np.asarray(coordinate.values(np.asarray(piece.features)), np.float64)[:, column])
            times[number].append(start + piece.ps * np.arange(1, piece.n_frames + 1) / piece.n_frames)
            span = max(span, piece.ps)
        start += span
    shown = numbers[:most]
    ax = axes(ax, 7.0, 3.0)
    factor, unit = scaled(start)
    for place, number in enumerate(shown):
        t, s = np.concatenate(times[number]) * factor, np.concatenate(values[number])
        step = max(1, -(-len(t) // _MOST_POINTS))
        ax.plot(
            t[::step],
            s[::step],
            marker(place),
            markersize=2.5,
            markeredgewidth=0,
            color=colour(place),
            alpha=0.7,
            label=f"{number + 1}",
            rasterized=True,
        )
    for time in changes:
        ax.axvline(time * factor, color="black", linestyle="--", linewidth=0.9)
    several = f" ({len(shown)} of {len(numbers)} walkers)" if len(shown) < len(numbers) else ""
    ax.set(xlabel=f"time of each walker in {unit}{several}", ylabel=str(coordinate.get_feature_names_out()[column]))
    ax.margins(x=0.01)
    ax.legend(
        title="walker", fontsize="small", title_fontsize="small", markerscale=3, loc="upper left", bbox_to_anchor=(1, 1)
    )
    return ax
