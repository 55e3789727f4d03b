"""What a state looks like, in words: the mean of its torsions, or of what else it is described by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mdtraj
import numpy as np

from mdinsight import seeds
from mdinsight.adaptive._policy import systematic
from mdinsight.errors import MdinsightError
from mdinsight.features import Torsions
from mdinsight.records import Record
from mdinsight.series import Column

if TYPE_CHECKING:
    from mdinsight.adaptive._history import History

MOST = 6
"""Torsions named of a state."""
WIDE = 45.0
"""Degrees of spread from which a mean torsion is called wide."""
_DRAWN = 60
"""Frames of each state that are read where the features hold no torsions."""


class Mean(Record):
    """The mean of one torsion, or of another figure, in a state.

    Attributes
    ----------
    name
        Such as ``"phi ALA2"``.
    value
        Of a torsion the circular mean in degrees, -180 to 180.
    spread
        Standard deviation; of a torsion the circular one, in degrees.
    is_angle
        Whether it is a torsion.
    """

    name: str
    value: float
    spread: float
    is_angle: bool

    def __str__(self) -> str:
        if not self.is_angle:
            return f"{self.name} {self.value:.3g}"
        return f"{self.name} {round(self.value) + 0}" + (" (wide)" if self.spread > WIDE else "")


def in_words(means: Sequence[Mean]) -> str:
    """``"phi ALA2 -80, psi ALA2 70"``."""
    return ", ".join(str(mean) for mean in means)


@dataclass(frozen=True)
class Members:
    """Frames of one state: their features (n, n_columns), coordinate (n, dim), weights (n,), and where they are."""

    features: np.ndarray
    s: np.ndarray
    weights: np.ndarray
    places: tuple[tuple[str, int, int], ...]

    def __len__(self) -> int:
        return len(self.places)

    def take(self, rows: np.ndarray) -> Members:
        """Some of them."""
        return Members(
            self.features[rows], self.s[rows], self.weights[rows], tuple(self.places[int(row)] for row in rows)
        )


def describe(history: History, sets: Sequence[Members], names: Sequence[str]) -> list[tuple[Mean, ...]]:
    """The means of each set, by the same figures for all: the torsions in which they differ most.

    Torsions are those among the features, else they are read from some of the frames; a molecule without torsions is described
    by its features if they are few, else by the coordinate, whose ``names`` are given.
    """
    angles = _angle_columns(history.columns)
    if angles:
        values = [_of_columns(angles, np.asarray(one.features, np.float64)) for one in sets]
        return _circular([name for name, _ in angles], values, [one.weights for one in sets])
    read = _read(history, sets)
    if read is not None:
        return read
    columns = history.columns
    few = len(columns) <= MOST
    return [
        _plain([column.name for column in columns] if few else names, one.features if few else one.s, one.weights)
        for one in sets
    ]


def _of_columns(angles: list[tuple[str, tuple[int, int | None]]], features: np.ndarray) -> np.ndarray:
    """(n, n_angles) unit complex numbers."""
    parts = []
    for _, (first, second) in angles:
        parts.append(
            np.exp(1j * features[:, first]) if second is None else features[:, first] + 1j * features[:, second]
        )
    return np.stack(parts, axis=1)


def _read(history: History, sets: Sequence[Members]) -> list[tuple[Mean, ...]] | None:
    """From torsions of some frames of each set, drawn with their weights; None if the molecule has no torsions."""
    topology: mdtraj.Topology = history.plan.system.topology
    try:
        bound = Torsions("phi psi chi1", raw=True).bind(topology)
    except MdinsightError:
        return None
    values = []
    for number, one in enumerate(sets):
        if len(one):
            rng = seeds.generator(history.plan.seed, "meaning", number)
            one = one.take(systematic(one.weights / one.weights.sum(), min(_DRAWN, len(one)), rng))
        xyz, boxes = history.frames(one.places)
        angles = [bound.value(frame, None if boxes is None else boxes[i]) for i, frame in enumerate(xyz)]
        values.append(np.exp(1j * np.array(angles).reshape(len(one), bound.n_columns)))
    return _circular([column.name for column in bound.columns], values, [np.ones(len(z)) for z in values])


def _angle_columns(columns: Sequence[Column]) -> list[tuple[str, tuple[int, int | None]]]:
    """Torsions among the columns: name, and the columns of the angle, or of cosine and sine."""
    place = {column.name: number for number, column in enumerate(columns)}
    found: list[tuple[str, tuple[int, int | None]]] = []
    for name, number in place.items():
        if name.startswith("cos ") and f"sin {name[4:]}" in place:
            found.append((name[4:], (number, place[f"sin {name[4:]}"])))
        elif columns[number].period is not None and np.isclose(columns[number].period, 2 * np.pi):  # type: ignore[arg-type]
            found.append((name, (number, None)))
    return found


def _circular(names: list[str], values: list[np.ndarray], weights: Sequence[np.ndarray]) -> list[tuple[Mean, ...]]:
    """Circular means; of many torsions those in which the sets differ most."""
    means = [w @ z / w.sum() for z, w in zip(values, weights, strict=True) if len(z)]
    known = np.array(means).reshape(len(means), len(names))
    differ = np.abs(known[:, None] - known[None]).max(axis=(0, 1), initial=0.0)
    shown = np.sort(np.argsort(-differ, kind="stable")[:MOST])
    rows = iter(known)
    return [
        tuple(_mean(names[i], row[i]) for i in shown) if len(z) and (row := next(rows)) is not None else ()
        for z in values
    ]


def _mean(name: str, mean: complex) -> Mean:
    spread = np.sqrt(-2.0 * np.log(np.clip(np.abs(mean), 1e-6, 1.0)))
    return Mean(name, float(np.degrees(np.angle(mean))), float(np.degrees(spread)), True)


def _plain(names: Sequence[str], rows: np.ndarray, weights: np.ndarray) -> tuple[Mean, ...]:
    if not len(rows):
        return ()
    rows, share = np.asarray(rows, np.float64), weights / weights.sum()
    mean = share @ rows
    spread = np.sqrt(share @ (rows - mean) ** 2)
    return tuple(Mean(str(n), float(m), float(d), False) for n, m, d in zip(names, mean, spread, strict=True))
