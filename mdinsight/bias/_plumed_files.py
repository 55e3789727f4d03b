"""PLUMED's tables (``#! FIELDS``): how they are read, and grids written."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mdinsight.errors import DataWarning, FormatError, NonFiniteError, ParameterError, SelectionError, warn_user
from mdinsight.files import write_text
from mdinsight.words import counted, some

PathLike = str | os.PathLike[str]
_PI = re.compile(r"([+-]?)(\d*\.?\d*)\*?pi", re.IGNORECASE)
_GRID_POINTS = {1: 1001, 2: 257, 3: 65}
_COARSE = 0.1
"""kJ/mol by which a grid may miss the bias between its points."""


class Table(NamedTuple):
    """A table: its columns (n_rows, n_fields), constants, and where each row stood."""

    path: Path
    fields: tuple[str, ...]
    constants: dict[str, str]
    rows: np.ndarray
    restarts: np.ndarray
    """(n_rows,) how many headers stand above each row, less one."""

    def column(self, name: str) -> np.ndarray:
        """(n_rows,) values of a column."""
        return np.ascontiguousarray(self.rows[:, self.fields.index(name)])

    def period(self, name: str) -> float | None:
        """Length of a periodic column's range, None for another."""
        if f"min_{name}" not in self.constants:
            return None
        return plumed_number(self.constants[f"max_{name}"]) - plumed_number(self.constants[f"min_{name}"])


def plumed_number(text: str) -> float:
    """A number as PLUMED writes them: ``-pi``, ``2*pi``, ``1.5``."""
    match = _PI.fullmatch(text.strip())
    if match:
        return (-1.0 if match[1] == "-" else 1.0) * float(match[2] or 1.0) * np.pi
    return float(text)


def read_table(path: PathLike) -> Table:
    """Read one table; a torn line at its end, or above the header of a restart, is left out with a warning.

    Raises
    ------
    FormatError
        If it is no such table, or a header differs from the one before.
    NonFiniteError
        If a number is NaN or infinite.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise FormatError(f"no file {path}") from None
    except OSError as error:
        raise FormatError(f"cannot read {path}: {error.strerror}") from error
    reader = _Reader(path)
    lines = text.split("\n")
    complete = text.endswith("\n")
    for number, line in enumerate(lines, start=1):
        last = number == len(lines) and not complete
        head, mark, header = line.partition("#!")
        if head.strip() and not head.lstrip().startswith("#"):
            reader.row(head, number, torn=bool(mark) or last)
        if mark:
            reader.header(header.split(), number)
    return reader.table()


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.fields: tuple[str, ...] = ()
        self.constants: dict[str, str] = {}
        self.texts: list[str] = []
        self.numbers: list[int] = []
        self.blocks: list[int] = []
        self.block = -1
        self.torn: list[int] = []
        self.wrong = 0

    def header(self, words: list[str], number: int) -> None:
        if words[:1] == ["FIELDS"]:
            self._settle()
            if self.fields and tuple(words[1:]) != self.fields:
                raise FormatError(
                    f"{self.path}, line {number}: the columns {' '.join(words[1:])} are not those above "
                    f"({' '.join(self.fields)}); split the file there"
                )
            self.fields = tuple(words[1:])
            self.block += 1
        elif words[:1] == ["SET"] and len(words) == 3:
            before = self.constants.setdefault(words[1], words[2])
            if before != words[2]:
                raise FormatError(
                    f"{self.path}, line {number}: {words[1]} is {words[2]}, above it is {before}; split the file there"
                )

    def row(self, text: str, number: int, torn: bool) -> None:
        if not self.fields:
            raise FormatError(
                f"{self.path}, line {number}: numbers before a line '#! FIELDS'; it is no table of PLUMED"
            )
        if torn:
            self.torn.append(number)
            return
        self._refuse()
        if len(text.split("#")[0].split()) != len(self.fields):
            self.wrong = number  # torn only if nothing but a header follows
            return
        self.texts.append(text)
        self.numbers.append(number)
        self.blocks.append(self.block)

    def _refuse(self) -> None:
        if self.wrong:
            raise FormatError(
                f"{self.path}, line {self.wrong}: not one number for each of the {len(self.fields)} columns "
                f"({' '.join(self.fields)}), and more rows follow; the file is damaged there"
            )

    def _settle(self) -> None:
        if self.wrong:
            self.torn.append(self.wrong)
            self.wrong = 0

    def table(self) -> Table:
        self._settle()
        if not self.fields:
            raise FormatError(f"{self.path} has no line '#! FIELDS'; it is no table of PLUMED")
        if self.torn:
            warn_user(
                f"{self.path}: {counted(len(self.torn), 'torn line')} left out (line {some(self.torn)}); a run was killed there",
                DataWarning,
            )
        try:
            rows = np.loadtxt(self.texts, ndmin=2) if self.texts else np.zeros((0, len(self.fields)))
        except ValueError as error:
            raise FormatError(f"{self.path}: {error}") from None
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            column = self.fields[int(np.argmin(np.isfinite(rows[bad[0]])))]
            raise NonFiniteError(
                f"{self.path}, line {self.numbers[bad[0]]}: {column} is not finite ({counted(len(bad), 'row')} in all); "
                "the run broke down there, cut the file above it"
            )
        return Table(self.path, self.fields, self.constants, rows, np.array(self.blocks, dtype=np.int64))


def as_paths(paths: PathLike | Sequence[PathLike]) -> list[Path]:
    """One path or several as a list."""
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise ParameterError("no file was given")
    return [Path(path) for path in given]


def require(table: Table, names: Sequence[str]) -> None:
    """Refuse a table that lacks a column."""
    missing = [name for name in names if name not in table.fields]
    if missing:
        raise SelectionError(f"{table.path} has no column {some(missing)}; it has {' '.join(table.fields)}")


def write_external(
    states: Sequence[Any], periods: Sequence[float | None], path: PathLike, label: str, arguments: Sequence[str]
) -> Path:
    """Write potentials as the grid that PLUMED's ``EXTERNAL`` reads: energies and slopes on a regular grid.

    Periodic coordinates go over their period, others over twice the width in which the bias varies.

    Raises
    ------
    ParameterError
        If there are more than three coordinates, or a period that is not that of an angle.

    Warns
    -----
    DataWarning
        If the grid is too coarse for the bias.
    """
    dim = len(periods)
    if dim not in _GRID_POINTS:
        raise ParameterError(
            f"a frozen bias on {dim} coordinates would need too large a grid for PLUMED; at most three go"
        )
    if any(period is not None and not np.isclose(period, 2.0 * np.pi) for period in periods):
        raise ParameterError(f"periods {periods}: only angles (2 pi) go into a grid for PLUMED")
    low, high = _span(states, dim)
    axes, header = [], [f"#! FIELDS {' '.join([*arguments, f'{label}.bias', *(f'der_{a}' for a in arguments)])}"]
    for i, (name, period) in enumerate(zip(arguments, periods, strict=True)):
        n = _GRID_POINTS[dim] - (period is not None)
        half = 0.5 * (high[i] - low[i])
        ends = (-np.pi, np.pi) if period is not None else (low[i] - half, high[i] + half)
        axes.append(np.linspace(float(ends[0]), float(ends[1]), n, endpoint=period is None))
        texts = ("-pi", "pi") if period is not None else tuple(f"{end:.17g}" for end in ends)
        header += [f"#! SET min_{name} {texts[0]}", f"#! SET max_{name} {texts[1]}"]
        header += [f"#! SET nbins_{name} {n}", f"#! SET periodic_{name} {'false' if period is None else 'true'}"]
    # PLUMED's first coordinate runs fastest
    points = np.ascontiguousarray(np.stack(np.meshgrid(*axes[::-1], indexing="ij"), axis=-1).reshape(-1, dim)[:, ::-1])
    energies, slopes = _evaluated(states, points)
    _warn_if_coarse(states, axes, points, energies, slopes, path)
    body = []
    for i, row in enumerate(np.column_stack([points, energies, slopes])):
        if i and dim > 1 and i % len(axes[0]) == 0:
            body.append("")
        body.append(" ".join(f"{value:.14g}" for value in row))
    return write_text(path, "\n".join([*header, *body]) + "\n")


def _evaluated(states: Sequence[Any], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    energies, slopes = np.zeros(len(points)), np.zeros(points.shape)
    for state in states:
        rows = np.ascontiguousarray(points[:, list(state.axes)])
        energies += state.energies(rows)
        slopes[:, list(state.axes)] += state.slopes(rows)
    return energies, slopes


def _warn_if_coarse(
    states: Sequence[Any],
    axes: Sequence[np.ndarray],
    points: np.ndarray,
    energies: np.ndarray,
    slopes: np.ndarray,
    path: Any,
) -> None:
    """Half way between neighbours the cubic spline must have the energy of the bias."""
    worst, stride = 0.0, 1
    for i, axis in enumerate(axes):
        step = axis[1] - axis[0]
        left = np.flatnonzero(points[:, i] < axis[-1] - 0.5 * step)
        right = left + stride
        middle = points[left].copy()
        middle[:, i] += 0.5 * step
        spline = 0.5 * (energies[left] + energies[right]) + 0.125 * step * (slopes[left, i] - slopes[right, i])
        worst = max(worst, float(np.abs(_evaluated(states, middle)[0] - spline).max()))
        stride *= len(axis)
    if worst > _COARSE:
        warn_user(
            f"{path}: between its points the grid misses the bias by up to {worst:.2g} kJ/mol, as the bias is narrow for its "
            "range; go on from HILLS instead, or bias fewer coordinates",
            DataWarning,
        )


def _span(states: Sequence[Any], dim: int) -> tuple[np.ndarray, np.ndarray]:
    """The range in which the potentials vary; of a coordinate that none acts on from -1 to 1."""
    low, high = np.full(dim, np.inf), np.full(dim, -np.inf)
    for state in states:
        ends = state.span()
        for j, i in enumerate(state.axes):
            low[i], high[i] = min(low[i], float(ends[0][j])), max(high[i], float(ends[1][j]))
    bare = ~(high > low)
    low[bare], high[bare] = -1.0, 1.0
    return low, high
