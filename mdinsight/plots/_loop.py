"""Figures of a run of the loop: how it went, where its walkers were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.plots._style import above, axes, beside, colour, marker, note, scaled
from mdinsight.results import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mdinsight.adaptive import Run
    from mdinsight.adaptive._course import Round

_BANDS = {
    "explore": ("first exploration", "0.45", ""),
    "swarm": ("unbiased swarms", "0.8", ""),
    "biased": ("walkers under bias", "white", ""),
    "kinetics": ("two-way swarms", "0.9", "/////"),
}
_MOST_POINTS = 3000
_MOST_STATES = 8


def rounds(run: Run, ax: Axes | None = None) -> Axes:
    """How the states developed over simulated time: the free energy of each with its interval; above it their number.

    The strip between tells the kinds of round, triangles in it the rounds from which on the coordinate was a new one. At each
    time the states are ordered by free energy above the most populated one, so the same colour is the same rank.

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
    ax = axes(ax, 7.0, 4.4)
    end = history[-1].start + history[-1].ps
    factor, unit = scaled(end)
    ax.set(xlabel=f"simulated time in {unit}, everything counted", ylabel="free energy in kJ/mol")
    ax.set_xlim(0, end * factor)
    known = [one for one in history if one.free_energies is not None]
    _courses(ax, known, factor)
    strip = above(ax, 0.07, 0.18)
    _kinds(strip, history, factor)
    counts = above(ax, 0.32, 0.6)
    _number_of_states(counts, history, factor)
    handles, labels = (
        a + b for a, b in zip(ax.get_legend_handles_labels(), strip.get_legend_handles_labels(), strict=True)
    )
    for handle in strip.patches:
        handle.set_linewidth(0.6)
    beside(ax, handles=handles, labels=labels)
    return ax


def _kinds(strip: Axes, history: tuple[Round, ...], factor: float) -> None:
    """The kinds of round in time, and where the coordinate was a new one."""
    shown = set()
    for one in history:
        label, face, hatch = _BANDS.get(one.kind, (one.kind, "0.9", "xx"))
        strip.axvspan(
            one.start * factor,
            (one.start + one.ps) * factor,
            facecolor=face,
            hatch=hatch,
            edgecolor="0.4",
            label=None if one.kind in shown else label,
        )
        shown.add(one.kind)
    new = [one.start * factor for one in history if one.relearned]
    if new:
        label = "new coordinate from here on"
        middle = np.full(len(new), 0.5)
        strip.plot(new, middle, "v", color=colour(1), markeredgecolor="white", markersize=7, label=label, clip_on=False)
    strip.set(ylim=(0, 1), yticks=[])
    strip.tick_params(bottom=False, labelbottom=False)


def _courses(ax: Axes, known: list[Round], factor: float) -> None:
    """The free energy of each rank in time, or in words why there is none."""
    most = min(max((len(one.free_energies) for one in known if one.free_energies is not None), default=0), _MOST_STATES)
    times = np.array([one.start for one in known]) * factor
    gaps = np.append(np.diff(times), ax.get_xlim()[1] - times[-1:])
    figures = np.array([[_of_rank(one.free_energies, rank) for one in known] for rank in range(1, most)])
    if not np.isfinite(figures[..., 0]).any() if figures.size else True:
        says = (
            "one state so far: nothing to compare" if most == 1 else "not yet known: no state but the first is weighed"
        )
        ax.text(
            0.5,
            0.5,
            says if known else "not yet known when the last round was decided",
            ha="center",
            transform=ax.transAxes,
        )
        ax.set_yticks([])
        return
    value = figures[..., 0][np.isfinite(figures[..., 0])]
    room = 8.0 + 0.5 * float(np.ptp(value))
    ends = figures[..., 1:][np.isfinite(figures[..., 1:])]
    ends = ends[(ends > value.min() - room) & (ends < value.max() + room)]
    low, high = float(np.min(ends, initial=value.min())), float(np.max(ends, initial=value.max()))
    more = 0.06 * (high - low) + 0.5
    ax.set_ylim(low - more, high + more)
    for number, part in enumerate(figures):
        shift = 0.0 if most < 4 else 0.8 * (number + 0.5) / len(figures)  # side by side within their round
        _course(ax, times + shift * gaps, part, number, most < 4)
    ax.axhline(0.0, color="0.6", linewidth=0.6, zorder=0)
    says = "State 1, the most populated, is the zero; the others are in order of free energy at each time. "
    note(ax, says + "95 % intervals; what leaves the frame is wider.")


def _of_rank(energies: Estimate | None, rank: int) -> tuple[float, float, float]:
    if energies is None or rank >= len(energies):
        return (np.nan, np.nan, np.nan)
    one = energies[rank]
    return float(one.value), float(one.low), float(one.high)


def _course(ax: Axes, x: np.ndarray, figures: np.ndarray, number: int, as_band: bool) -> None:
    """One rank: its value in time, and its interval as a band or as bars."""
    seen = np.isfinite(figures[:, 0])
    if not seen.any():
        return
    x, (y, low, high) = x[seen], figures[seen].T
    low, high = np.clip(low, -1e3, 1e3), np.clip(high, -1e3, 1e3)  # matplotlib draws nothing to infinity
    look = {"color": colour(number), "marker": marker(number), "markersize": 4, "label": f"state {number + 2}"}
    if as_band and len(x) > 1:
        ax.fill_between(x, low, high, color=colour(number), alpha=0.25, linewidth=0)
        ax.plot(x, y, **look)  # type: ignore[arg-type]
        return
    ax.errorbar(
        x, y, [np.maximum(y - low, 0), np.maximum(high - y, 0)], color=colour(number), ls="", capsize=2, linewidth=0.9
    )
    ax.plot(x, y, linewidth=0.7, **look)  # type: ignore[arg-type]


def _number_of_states(ax: Axes, history: tuple[Round, ...], factor: float) -> None:
    known = [one for one in history if one.states is not None]
    ax.set_ylabel("states\nfound", fontsize=8)
    ax.tick_params(labelbottom=False, labelsize=8)
    if not known:
        ax.text(0.5, 0.5, "none yet", ha="center", va="center", fontsize=8, transform=ax.transAxes)
        ax.set_yticks([])
        return
    times = [one.start * factor for one in known] + [(history[-1].start + history[-1].ps) * factor]
    numbers = [one.states or 0 for one in known]
    numbers += numbers[-1:]
    ax.step(times, numbers, where="post", color="black", linewidth=1.4)
    most = max(numbers)
    ax.set(ylim=(0, most + 1), yticks=range(0, most + 1, max(1, -(-most // 4))))


def walkers(run: Run, column: int = 0, ax: Axes | None = None, most: int = 6) -> Axes:
    """The coordinate in force over all biased rounds, one walker after another; dashed where the coordinate was relearned.

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
    factor, unit = scaled(start * len(shown))
    for place, number in enumerate(shown):
        begin = place * start
        t, s = (np.concatenate(times[number]) + begin) * factor, np.concatenate(values[number])
        step = max(1, -(-len(t) // _MOST_POINTS))
        ax.plot(t[::step], s[::step], ".", markersize=2, color=colour(0), label=f"{number + 1}", rasterized=True)
        ax.annotate(
            f"walker {number + 1}",
            (begin * factor, 1.0),
            (3, 3),
            ("data", "axes fraction"),
            "offset points",
            fontsize=8,
        )
        if place:
            ax.axvline(begin * factor, color="black", linewidth=0.8)
        for time in changes:
            ax.axvline((begin + time) * factor, color=colour(1), linestyle="--", linewidth=0.9)
    name = str(coordinate.get_feature_names_out()[column])
    several = f" ({len(shown)} of {len(numbers)})" if len(shown) < len(numbers) else ""
    ax.set(xlabel=f"time under bias in {unit}, one walker after another{several}")
    ax.set_ylabel(name if coordinate.dim == 1 else f"{name} (one of {coordinate.dim})")
    ax.margins(x=0.01)
    dashed = "Dashed: from here on another coordinate was biased; all is shown on the last one." if changes else ""
    if dashed:
        note(ax, dashed)
    return ax
