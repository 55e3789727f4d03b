"""Figures of the states that a run of the loop found: their free energies, passage times, and where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.plots._kinetics import draw_times
from mdinsight.plots._landscape import free_energy
from mdinsight.plots._style import axes, colour, marker, natural_times, note
from mdinsight.results import Estimate
from mdinsight.words import counted, percent, some

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mdinsight.adaptive import States

_MOST_PAIRS = 20
_FAR = 300.0
"""What of an interval of a time is drawn: this many times smaller and larger."""
_BOX = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": "black", "linewidth": 0.8}


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
    values = values[np.isfinite(values)]
    bounds = ends[np.isfinite(ends)]
    far = 10.0 + 0.5 * float(np.ptp(values))  # what is wider would press all others flat
    bounds = bounds[(bounds > values.min() - far) & (bounds < values.max() + far)]
    least = [
        part.low[np.isposinf(part.value) & np.isfinite(part.low)] for _, part, _ in found
    ]  # all that is known of them
    bounds = np.concatenate([bounds, *least])
    low, high = min(float(np.min(values)), 0.0), max(float(np.max(values)), 1.0)
    low, high = float(np.min(bounds, initial=low)), float(np.max(bounds, initial=high))
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
        for place in np.flatnonzero(~np.isfinite(other.value[1:])) + 1:
            ax.annotate(
                "swarms: not known" if n <= 8 else "not known",
                (place + 0.12, 0.03),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                rotation=90,
                fontsize=7,
                color=colour(1),
            )
    shares = [percent(float(p)).replace("than ", "than\n") for p in states.populations.value]
    names = [f"{i + 1}\n{words}" for i, words in enumerate(shares)]
    ax.set_xticks(np.arange(n), names, fontsize=10 if n <= 6 else 7)
    ax.set(xlabel="state and its population", ylabel="free energy in kJ/mol", xlim=(-0.5, n - 0.5))
    says = "Bars are 95 % intervals."
    if any(line.get_marker() in ("v", "^") for line in ax.lines):
        says += " Arrows: the interval goes on."
    if any("not known" in words.get_text() for words in ax.texts):
        says += " Not known: no swarm joins the state to state 1."
    note(ax, says)
    ax.legend(fontsize="small")
    return ax


def _with_intervals(ax: Axes, places: np.ndarray, figures: Estimate, number: int, label: str) -> None:
    """Points with error bars; an end that lies beyond the frame is drawn as an arrow."""
    bottom, top = ax.get_ylim()
    known = np.isfinite(figures.value)
    value = figures.value[known]
    if number and not known[1:].any():  # that of the first state is 0 by definition
        label = ""
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
    for row, pair in enumerate(pairs):
        value, low, high = (float(end[pair]) for end in (found.value, found.low, found.high))
        if not np.isfinite(value):
            ax.annotate(
                "not determined", (0.5, row), xycoords=("axes fraction", "data"), ha="center", va="center", fontsize=8
            )
            continue
        first, last = (low if low > 0 else value / _FAR), (high if high < np.inf else value * _FAR)
        first, last = max(min(first, value), value / _FAR), min(max(last, value), value * _FAR)
        look = {"color": colour(pair[0]), "marker": marker(pair[0]), "markersize": 6, "capsize": 4, "linestyle": ""}
        ax.errorbar(value, row, xerr=[[value - first], [last - value]], **look)  # type: ignore[arg-type]
        for beyond, end, way in ((low < first, first, "<"), (high > last, last, ">")):
            if beyond:
                ax.plot(end, row, way, color=colour(pair[0]), markersize=7)
    ax.set_yticks(range(len(pairs)), [f"{i + 1} to {j + 1}" for i, j in pairs])
    ax.set(xscale="log", xlabel="mean first passage time", ylabel="states", ylim=(len(pairs) - 0.5, -0.5))
    natural_times(ax.xaxis)
    ax.margins(x=0.15)
    ax.grid(axis="x", color="0.85", linewidth=0.6)
    arrows = any(line.get_marker() in ("<", ">") for line in ax.lines)
    note(ax, "Bars are 95 % intervals." + (" Arrows: the interval goes on." if arrows else ""))
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
    plane = states.coordinate.dim > 1
    bins = (
        int(np.clip(np.sqrt(len(states.assigned) / 12), 12, 40)) if plane else None
    )  # a map of single frames is noise
    ax = free_energy(states.surface(bins), axes(ax, 5.4 if plane else 5.0, 4.0))
    places = states.centers()[:, :2]
    unweighted = np.flatnonzero(~np.isfinite(places).all(axis=1))
    for number in unweighted:
        places[number] = _of_structures(states, int(number))[: places.shape[1]]
    _widen(ax, places[np.isfinite(places).all(axis=1)])
    (_mark_plane if plane else _mark_line)(ax, places, unweighted)
    if len(unweighted):
        names = (
            counted(len(unweighted), "state")
            if len(unweighted) > 3
            else f"state {some([int(n) + 1 for n in unweighted])}"
        )
        note(ax, f"Cross: where the unbiased swarms saw {names}, of which no frame is weighed yet.")
    return ax


def _widen(ax: Axes, places: np.ndarray) -> None:
    """Until all places (n, 1 or 2) lie within the axes."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for place in places:
        more = 0.05 * (right - left)
        left, right = min(left, place[0] - more), max(right, place[0] + more)
        if len(place) > 1:
            more = 0.05 * (top - bottom)
            bottom, top = min(bottom, place[1] - more), max(top, place[1] + more)
    ax.set(xlim=(left, right), ylim=(bottom, top))


def _of_structures(states: States, number: int) -> np.ndarray:
    """The coordinate (dim,) of the most typical structure of a state; NaN if it has none."""
    if not states.frames[number]:
        return np.full(states.coordinate.dim, np.nan)
    segment, trajectory, frame = states.frames[number][0]
    piece = next(piece for piece in states.history.pieces() if piece.name == segment)
    return np.asarray(states.coordinate.values(np.asarray(piece.parts[trajectory][[frame]])), np.float64)[0]


def _mark_line(ax: Axes, places: np.ndarray, unweighted: np.ndarray) -> None:
    """Numbers above the curve, pushed apart, each over a line at its state."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.2 * (high - low))
    left, right = ax.get_xlim()
    order = [int(i) for i in np.argsort(places[:, 0]) if np.isfinite(places[i, 0])]
    apart, at = 0.055, (places[order, 0] - left) / (right - left)
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + apart)
    at -= max(0.0, at[-1] - 0.97) if len(at) else 0.0
    for fraction, number in zip(at, order, strict=True):
        x = float(places[number, 0])
        ax.axvline(x, 0.0, 0.86, color="0.35", linestyle=":", linewidth=0.9, zorder=1)
        if number in unweighted:
            ax.plot(x, 0.86, "x", color=colour(1), transform=ax.get_xaxis_transform())
        ax.annotate(
            f"{number + 1}",
            (x, 0.86),
            (float(fraction), 0.94),
            xycoords=ax.get_xaxis_transform(),
            textcoords="axes fraction",
            ha="center",
            va="center",
            fontsize=8,
            bbox=_BOX,
            arrowprops={"arrowstyle": "-", "color": "0.35", "linewidth": 0.6},
            zorder=5,
        )


def _mark_plane(ax: Axes, places: np.ndarray, unweighted: np.ndarray) -> None:
    """A dot at each state and its number beside it, where it is farthest from other dots and numbers."""
    ways = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    offsets = 20.0 * np.column_stack([np.cos(ways), np.sin(ways)])
    scale = ax.figure.get_dpi() / 72
    dots = {number: ax.transData.transform(place) for number, place in enumerate(places) if np.isfinite(place).all()}
    taken: list[np.ndarray] = []
    (x0, y0), (x1, y1) = ax.transAxes.transform([(0, 0), (1, 1)])
    for number, dot in dots.items():
        others = np.array([other for key, other in dots.items() if key != number] + taken).reshape(-1, 2)
        spots = dot + scale * offsets
        clear = np.linalg.norm(spots[:, None] - others, axis=2).min(axis=1) if len(others) else np.ones(len(spots))
        outside = (spots < (x0 + 8, y0 + 8)).any(axis=1) | (spots > (x1 - 8, y1 - 8)).any(axis=1)
        best = int(np.argmax(clear - 1e4 * outside))
        taken.append(spots[best])
        rare = number in unweighted
        ax.plot(*places[number], "x" if rare else "o", color=colour(1), markeredgecolor=colour(1) if rare else "white")
        ax.annotate(
            f"{number + 1}",
            (float(places[number, 0]), float(places[number, 1])),
            (float(offsets[best, 0]), float(offsets[best, 1])),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            bbox=_BOX,
            arrowprops={"arrowstyle": "-", "color": "black", "linewidth": 0.8},
            zorder=5,
        )
