"""Small words."""

from __future__ import annotations


def counted(number: int, word: str) -> str:
    """``counted(2, "trajectory") == "2 trajectories"``."""
    if number == 1:
        return f"1 {word}"
    return f"{number} {word[:-1]}ies" if word.endswith("y") else f"{number} {word}s"
