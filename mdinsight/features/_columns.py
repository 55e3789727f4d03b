"""Columns of pairs, which are many: made fast, and only when somebody looks at one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import overload

import numpy as np

from mdinsight.series import Column


class Columns(Sequence[Column]):
    """So many columns, made all at once by ``make`` when one of them is asked for."""

    def __init__(self, count: int, make: Callable[[], Sequence[Column]]) -> None:
        self._count, self._make = count, make

    @cached_property
    def made(self) -> tuple[Column, ...]:
        """The columns."""
        return tuple(self._make())

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Column]:
        return iter(self.made)

    @overload
    def __getitem__(self, index: int) -> Column: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Column, ...]: ...
    def __getitem__(self, index: int | slice) -> Column | tuple[Column, ...]:
        return self.made[index]


def quick_column(
    name: str,
    kind: str,
    atoms: tuple[int, ...],
    residues: tuple[str, ...],
    key: str,
    unit: str = "",
    period: float | None = None,
) -> Column:
    """A :class:`Column` of fields that are frozen already, made six times as fast as where they must be looked at."""
    column = object.__new__(Column)
    fields = column.__dict__
    fields["name"], fields["kind"], fields["atoms"], fields["residues"] = name, kind, atoms, residues
    fields["key"], fields["unit"], fields["period"] = key, unit, period
    return column


@dataclass(frozen=True)
class Member:
    """An atom or a residue of pairs: what it is called in a column's name and key, its residue, its atoms."""

    name: str
    key: str
    residue: str
    atoms: tuple[int, ...]


def pair_columns(kind: str, unit: str, tag: str, pairs: np.ndarray, members: dict[int, Member]) -> Columns:
    """Columns ``"distance ALA2-CA - ALA5-CA"``, one for each pair of numbers that ``members`` tells.

    The members are told by now, so that the columns are those of the topology as it is, whatever becomes of it.
    """
    used = np.array(sorted(members))
    places = np.searchsorted(used, pairs)
    return Columns(len(pairs), partial(_pairs, kind, unit, tag, places, [members[i] for i in used.tolist()]))


def _pairs(kind: str, unit: str, tag: str, places: np.ndarray, members: list[Member]) -> list[Column]:
    out = []
    told = [(m.name, m.key, m.residue, m.atoms) for m in members]
    tail = f" {tag}" if tag else ""
    for i, j in places.tolist():
        name, key, residue, atoms = told[i]
        other, its_key, its_residue, its_atoms = told[j]
        residues = (residue,) if residue == its_residue else (residue, its_residue)
        same = f"{key} {its_key}" if key <= its_key else f"{its_key} {key}"  # the same pair in another order of atoms
        out.append(
            quick_column(f"{kind} {name} - {other}", kind, atoms + its_atoms, residues, f"{kind} {same}{tail}", unit)
        )
    return out


def joined(parts: Sequence[Sequence[Column]], order: np.ndarray | None = None) -> Columns:
    """The columns of several parts, made when they are asked for, with names that are told apart; in this order."""
    return Columns(sum(len(columns) for columns in parts), partial(_joined, tuple(parts), order))


def _joined(parts: Sequence[Sequence[Column]], order: np.ndarray | None) -> Sequence[Column]:
    columns = _told_apart([column for columns in parts for column in columns])
    return columns if order is None else [columns[i] for i in order.tolist()]


def _told_apart(columns: list[Column]) -> list[Column]:
    """Names made unique: the second of a name is told by a number."""
    if len({column.name for column in columns}) == len(columns):
        return columns
    seen: Counter[str] = Counter()
    out = []
    for column in columns:
        seen[column.name] += 1
        out.append(column if seen[column.name] == 1 else column.replace(name=f"{column.name} #{seen[column.name]}"))
    return out
