"""The look that all figures share: legible in grey, units on every axis."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight import units
from mdinsight.results import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.legend import Legend

COLOURS = ("#1b4965", "#c1440e", "#3a7d44", "#7b2d8b", "#b8860b", "#4a4e69", "#008080", "#8b0000")
"""Dark, of differing lightness, so that they also differ in grey."""
_NOTE = "note"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def axes(ax: Axes | None, width: float = 4.5, height: float = 3.4) -> Axes:
    """The axes given, or new ones on a figure of their own."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def colour(number: int | np.integer) -> str:
    """A colour for the n-th thing, repeating after eight."""
    return COLOURS[int(number) % len(COLOURS)]


def marker(number: int) -> str:
    """A marker for the n-th thing, repeating after eight."""
    return MARKERS[number % len(MARKERS)]


def interval(ax: Axes, x: np.ndarray, estimate: Estimate, number: int, label: str | None = None) -> None:
    """A line with its interval as a band."""
    ax.plot(x, estimate.value, color=colour(number), marker=marker(number), markersize=4, label=label)
    ax.fill_between(x, estimate.low, estimate.high, color=colour(number), alpha=0.2, linewidth=0)


def scaled(longest: float) -> tuple[float, str]:
    """Factor from ps, and the name, of the unit that suits times up to ``longest`` ps."""
    for size, name in ((1e6, "us"), (1e3, "ns")):
        if longest >= 2 * size:
            return 1 / size, name
    return 1.0, "ps"


def with_unit(name: str, period: float | None) -> str:
    """The label of a coordinate: of an angle, which the period tells, its unit too."""
    return f"{name} in rad" if period is not None and math.isclose(period, 2.0 * math.pi) else name


def note(ax: Axes, text: str) -> None:
    """What a reader of the figure alone has to know, small, under the label of the horizontal axis; more is appended."""
    wide = max(30, int(17 * ax.get_position().width * ax.figure.bbox.width / ax.figure.dpi))  # letters in an inch
    for old in ax.texts:
        if old.get_gid() == _NOTE:
            old.set_text(textwrap.fill(f"{old.get_text()} {text}", wide))
            return
    ax.annotate(
        textwrap.fill(text, wide),
        (0.5, 0.0),
        (0, -3),
        xycoords=ax.xaxis.label,
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=7,
        color="0.35",
        annotation_clip=False,
        gid=_NOTE,
    )


def natural_times(axis: Axis) -> None:
    """Ticks of a logarithmic axis in ps in the unit that reads best: 10 ps, 1 ns, 100 us."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(10, numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda ps, _: units.format_time(ps)))
    axis.set_minor_formatter(NullFormatter())


def beside(ax: Axes, **more: Any) -> Legend:
    """The legend to the right of the axes, where it covers nothing."""
    return ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, **more)


def above(ax: Axes, start: float, height: float) -> Axes:
    """A panel with the same horizontal axis over the axes; where it starts, and its height, in inches."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    inches = ax.figure.dpi_scale_trans + ScaledTranslation(0, 1, ax.transAxes)  # type: ignore[arg-type]
    return ax.inset_axes(
        (0.0, start, 1.0, height), transform=blended_transform_factory(ax.transAxes, inches), sharex=ax
    )
