"""The columns of features as PLUMED actions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.features import Angles, Bound, Contacts, Distances, Torsions


class Columns:
    """Adds the actions of bound features to a writer; a column that was added before is not added again."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self.done: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._names: Mapping[str, str] = {}
        self._used: set[str] = set()

    def add(self, bound: Bound, names: Mapping[str, str] | None = None, used: np.ndarray | None = None) -> list[str]:
        """Labels of the columns in their order.

        Parameters
        ----------
        bound
            The features.
        names
            What the columns, by key, are to be called; by default ``t1``, ``d1`` ...
        used
            Which columns are needed; those that are not have no action, and an empty label.

        Raises
        ------
        ParameterError
            If a kind has no form in PLUMED.
        """
        self._names = names or {}
        self._used = {column.key for i, column in enumerate(bound.columns) if used is None or used[i]}
        for part in bound.parts:
            self._part(part)
        return [self.done[column.key] if column.key in self._used else "" for column in bound.columns]

    def _part(self, part: Any) -> None:
        feature = part.feature
        wanted = [
            i for i, column in enumerate(part.columns) if column.key in self._used and column.key not in self.done
        ]
        if not wanted:
            return
        writers = {Torsions: self._torsions, Distances: self._distances, Angles: self._angles, Contacts: self._contacts}
        write = writers.get(type(feature))
        if write is None:
            raise ParameterError(
                f"{feature.title} has no form in PLUMED here; write the coordinate on Torsions, Distances, Angles or "
                "Contacts, or bias it in OpenMM"
            )
        write(part, set(wanted))

    def _label(self, part: Any, i: int, otherwise: str) -> str:
        column = part.columns[i]
        label = str(self.writer.label(self._names.get(column.key, otherwise)))
        self.done[column.key] = label
        return label

    def _next(self, letter: str) -> str:
        """``t1``, ``t2``, ``d1`` ..."""
        self._counts[letter] += 1
        return f"{letter}{self._counts[letter]}"

    def _say(self, part: Any, i: int) -> None:
        self.writer.lines.append(f"# {part.columns[i].name}")

    def _torsions(self, part: Any, wanted: set[int]) -> None:
        for *atoms, cosine, sine, angle in part.index.tolist():
            outputs = [(o, f) for o, f in ((cosine, "cos(x)"), (sine, "sin(x)")) if o in wanted]
            if not outputs and angle not in wanted:
                continue
            if angle in wanted:
                self._say(part, angle)
                label = self._label(part, angle, self._next("t"))
            else:
                label = self.writer.label(self._next("t"))
            self.writer.action(label, "TORSION", _pbc(part), ATOMS=_serials(atoms))
            for output, function in outputs:
                self._say(part, output)
                self.writer.action(
                    self._label(part, output, f"{label}_{function[:3]}"),
                    "CUSTOM",
                    ARG=label,
                    FUNC=function,
                    PERIODIC="NO",
                )

    def _distances(self, part: Any, wanted: set[int]) -> None:
        for i, j, output in part.index.tolist():
            if output in wanted:
                self._say(part, output)
                self.writer.action(
                    self._label(part, output, self._next("d")), "DISTANCE", _pbc(part), ATOMS=_serials((i, j))
                )

    def _angles(self, part: Any, wanted: set[int]) -> None:
        for i, j, k, output in part.index.tolist():
            if output in wanted:
                self._say(part, output)
                self.writer.action(
                    self._label(part, output, self._next("a")), "ANGLE", _pbc(part), ATOMS=_serials((i, j, k))
                )

    def _contacts(self, part: Any, wanted: set[int]) -> None:
        _, _, soft, cutoff, beta = (float(x) for x in part.params[0])
        smooth = part.feature.kind == "smooth"
        for output in sorted(wanted):
            pairs = part.index[part.index[:, 2] == output, :2].tolist()
            self._say(part, output)
            distances = [
                self.writer.action(self.writer.label(self._next("d")), "DISTANCE", _pbc(part), ATOMS=_serials(pair))
                for pair in pairs
            ]
            if len(pairs) == 1:
                of, shortest = distances[0], "x"
            elif soft:
                of, shortest = self._soft(distances, beta), f"({beta:.17g}/log(x))"
            else:
                raise ParameterError(
                    f"{part.feature.title}: the smallest of {len(pairs)} distances has a gradient that jumps; "
                    "give soft_min=True to write it for PLUMED"
                )
            function = f"1/(1+({shortest}/{cutoff:.17g})^6)" if smooth else shortest
            self.writer.action(
                self._label(part, output, self._next("c")), "CUSTOM", ARG=of, FUNC=function, PERIODIC="NO"
            )

    def _soft(self, distances: list[str], beta: float) -> str:
        """Label of sum(exp(beta / r))."""
        terms = [
            self.writer.action(
                self.writer.label(f"e_{label}"), "CUSTOM", ARG=label, FUNC=f"exp({beta:.17g}/x)", PERIODIC="NO"
            )
            for label in distances
        ]
        return str(self.writer.action(self.writer.label("sum"), "COMBINE", ARG=terms, PERIODIC="NO"))


def _serials(atoms: Any) -> list[int]:
    return [int(atom) + 1 for atom in atoms]


def _pbc(part: Any) -> str:
    """The flag that takes vectors as they are, where the feature does."""
    return "" if part.params[0, 0] > 0.0 else "NOPBC"
