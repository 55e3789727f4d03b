"""Figures in words."""

from __future__ import annotations

import numpy as np

from mdinsight import units
from mdinsight.results import Estimate


def times(figure: Estimate) -> str:
    """One time with its interval, in the unit that reads best; says so where there is no interval."""

    def text(value: float) -> str:
        return units.format_time(value) if figure.unit == "ps" else f"{value:.3g}"

    unit = "" if figure.unit == "ps" else f" {figure.unit}"
    if np.isnan(figure.low):
        return f"{text(float(figure.value))}{unit} (no interval)"
    return f"{text(float(figure.value))}{unit} [{text(float(figure.low))}, {text(float(figure.high))}]"


def share(figure: Estimate) -> str:
    """One population with its interval."""
    if np.isnan(figure.low):
        return f"{float(figure.value):.3g} (no interval)"
    return f"{float(figure.value):.3g} [{float(figure.low):.3g}, {float(figure.high):.3g}]"
