"""The look that all figures share: legible in grey, units on every axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mdinsight.results import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#1b4965", "#c1440e", "#3a7d44", "#7b2d8b", "#b8860b", "#4a4e69", "#008080", "#8b0000")
"""Dark, of differing lightness, so that they also differ in grey."""
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
