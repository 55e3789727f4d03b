"""What every figure comes with: an interval, and a verdict in words."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

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
    def from_samples(cls, value: np.ndarray | float, samples: np.ndarray, unit: str = "", level: float = 0.95) -> Estimate:
        """The quantile interval of samples along axis 0; NaN samples (undefined there) are left out."""
        samples = np.asarray(samples, dtype=np.float64)
        tail = (1.0 - level) / 2.0
        value = np.asarray(value, dtype=np.float64)
        if samples.shape[0] == 0 or np.isnan(samples).all():
            return cls(value, np.full_like(value, np.nan), np.full_like(value, np.nan), unit, level)
        filled = np.where(np.isnan(samples).all(axis=0), value, samples)
        low, high = np.nanquantile(filled, [tail, 1.0 - tail], axis=0)
        return cls(value, low, high, unit, level)

    def __getitem__(self, index: object) -> Estimate:
        return self.replace(value=self.value[index], low=self.low[index], high=self.high[index])  # type: ignore[index]

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
        unit = f" {self.unit}" if self.unit else ""
        figures = np.broadcast(self.value, self.low, self.high)
        texts = [f"{v:.3g}{unit} [{a:.3g}, {b:.3g}]" for v, a, b in figures]
        return texts[0] if self.value.ndim == 0 else ", ".join(texts)


class Verdict(Record):
    """Whether something that a result rests on holds; if not, what to do next."""

    subject: str
    holds: bool
    says: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{'ok' if self.holds else 'NO'}: {self.subject}: {self.says}"
        return f"{text}. {self.remedy}" if self.remedy and not self.holds else text


def all_hold(verdicts: Iterable[Verdict]) -> bool:
    """True if every verdict holds."""
    return all(verdict.holds for verdict in verdicts)
