"""The look that all figures share: legible in grey, units on every axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def colour(number: int) -> str:
    """A colour for the n-th thing, repeating after eight."""
    return COLOURS[number % len(COLOURS)]


def marker(number: int) -> str:
    """A marker for the n-th thing, repeating after eight."""
    return MARKERS[number % len(MARKERS)]
