"""What every figure comes with: an interval, and a verdict in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from mdinsight import units
from mdinsight.records import Record


class Estimate(Record):
    """A figure, or an array of figures, with an interval of a stated level.

    ``value``, ``low`` and ``high`` have one shape. ``unit`` is a unit, ``"frames"``, or empty for a pure number.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    unit: str = ""
    level: float = 0.95

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        super().__post_init__()

    @classmethod
    def from_samples(
        cls, value: np.ndarray | float, samples: np.ndarray, unit: str = "", level: float = 0.95
    ) -> Estimate:
        """The quantile interval of samples along axis 0; NaN samples (undefined there) are left out."""
        samples = np.asarray(samples, dtype=np.float64)
        tail = (1.0 - level) / 2.0
        value = np.asarray(value, dtype=np.float64)
        if samples.shape[0] == 0 or np.isnan(samples).all():
            return cls(value, np.full_like(value, np.nan), np.full_like(value, np.nan), unit, level)
        unknown = np.isnan(samples).all(axis=0)
        filled = np.where(unknown, np.where(np.isnan(value), 0.0, value), samples)
        low, high = (
            np.where(unknown & np.isnan(value), np.nan, _quantile(filled, share, outer))
            for share, outer in ((tail, "lower"), (1.0 - tail, "higher"))
        )
        return cls(value, low, high, unit, level)

    def __getitem__(self, index: Any) -> Estimate:
        return self.replace(value=self.value[index], low=self.low[index], high=self.high[index])

    def __len__(self) -> int:
        return len(self.value)

    def overlaps(self, other: Estimate) -> np.ndarray:
        """Where the two intervals meet."""
        return (self.low <= other.high) & (other.low <= self.high)

    def contains(self, value: np.ndarray | float) -> np.ndarray:
        """Where a value lies inside the interval."""
        return (self.low <= value) & (value <= self.high)

    def scaled(self, factor: float, unit: str) -> Estimate:
        """The same figure in another unit."""
        return self.replace(value=self.value * factor, low=self.low * factor, high=self.high * factor, unit=unit)

    def __str__(self) -> str:
        """Each figure with its interval; times in ps are written in the unit that reads best. A matrix is written row by row."""
        if self.value.ndim == 2 and self.value.size:
            rows = [[str(self[i, j]) for j in range(self.value.shape[1])] for i in range(len(self))]
            widths = [max(len(row[j]) for row in rows) for j in range(self.value.shape[1])]
            return "\n".join(
                "  ".join(f"{text:<{w}}" for text, w in zip(row, widths, strict=True)).rstrip() for row in rows
            )
        texts = [self._text(*(float(x) for x in figures)) for figures in np.broadcast(self.value, self.low, self.high)]
        return texts[0] if self.value.ndim == 0 else ", ".join(texts)

    def _text(self, value: float, low: float, high: float) -> str:
        def number(x: float) -> str:
            return units.format_time(x) if self.unit == "ps" else f"{x:.3g}"

        unit = f" {self.unit}" if self.unit not in ("", "ps") else ""
        if np.isnan(value):
            return "not determined"
        if np.isnan(low) and np.isnan(high):
            return f"{number(value)}{unit} (no interval)"
        return f"{number(value)}{unit} [{number(low)}, {number(high)}]"


def _quantile(samples: np.ndarray, share: float, outer: str) -> np.ndarray:
    """A quantile along axis 0 without NaN; between two infinite samples there is nothing to interpolate."""
    with np.errstate(invalid="ignore"):
        found = np.nanquantile(samples, share, axis=0)
    if np.isfinite(found).all():
        return np.asarray(found)
    ends: np.ndarray = np.nanquantile(samples, share, axis=0, method=outer)  # type: ignore[call-overload]
    return np.asarray(np.where(np.isnan(found), ends, found))


class Verdict(Record):
    """Whether something that a result rests on holds; if not, what to do next."""

    subject: str
    holds: bool
    says: str
    remedy: str = ""

    @property
    def sentence(self) -> str:
        """What is the case and, where it does not hold, what to do."""
        text = f"{self.subject}: {self.says}"
        if self.holds or not self.remedy:
            return text
        return f"{text}. {self.remedy[0].upper()}{self.remedy[1:]}"

    def __str__(self) -> str:
        return f"{'ok' if self.holds else 'NO'}: {self.sentence}"


def all_hold(verdicts: Iterable[Verdict]) -> bool:
    """True if every verdict holds."""
    return all(verdict.holds for verdict in verdicts)
