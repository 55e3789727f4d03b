"""Small words that messages and summaries share."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, word: str) -> str:
    """``counted(1, "frame") == "1 frame"``, ``counted(2, "trajectory") == "2 trajectories"``."""
    if number == 1:
        return f"1 {word}"
    return f"{number} {word[:-1]}ies" if word.endswith("y") else f"{number} {word}s"


def percent(share: float) -> str:
    """A share of 1 in percent: ``percent(0.0123) == "1.23 %"``; without powers of ten."""
    return "less than 0.001 %" if 0 < share < 1e-5 else f"{100 * share:.3g} %"


def some(items: Sequence[object], most: int = 4) -> str:
    """The first few of a list, and how many more there are: ``some("abcdef", 2) == "a, b and 4 more"``."""
    shown = ", ".join(str(item) for item in items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
