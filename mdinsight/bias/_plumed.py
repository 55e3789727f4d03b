"""A coordinate and its bias as a PLUMED input file.

PLUMED's own units are those of mdinsight (nm, kJ/mol, ps, rad), its torsions have the same sign, and its atoms count from 1.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdinsight import units
from mdinsight.bias._coordinate import BoundCoordinate, Coordinate
from mdinsight.bias._definitions import OPES, Fixed, LowerWall, Metadynamics, Potential, Umbrella, UpperWall
from mdinsight.bias._model import BiasModel
from mdinsight.bias._plumed_columns import Columns
from mdinsight.bias._plumed_files import write_external
from mdinsight.bias._torchscript import to_torchscript
from mdinsight.cvs import LinearCV, NetworkCV
from mdinsight.errors import BiasError, ParameterError
from mdinsight.files import write_text

_LINE = 100
"""Longer actions go over several lines."""


def to_plumed(
    coordinate: Any,
    topology: Any,
    bias: Any = None,
    *,
    temperature: Any = 300.0,
    folder: str | os.PathLike[str] = ".",
    stride: int = 500,
    grid: Sequence[tuple[float, float]] | None = None,
) -> Path:
    """Write ``plumed.dat`` (and what it reads) for any MD program with PLUMED 2.8 or later.

    A linear coordinate becomes a ``COMBINE`` of ``TORSION``, ``DISTANCE``, ``ANGLE`` and ``CUSTOM``; a network becomes a
    TorchScript file for ``PYTORCH_MODEL``, which computes in single precision and needs PLUMED with LibTorch.

    Parameters
    ----------
    coordinate
        What :meth:`Coordinate.of` takes.
    topology
        The whole system as the MD program numbers its atoms: an ``mdtraj.Topology`` or what has one.
    bias
        A potential (:class:`Metadynamics`, :class:`OPES`, :class:`Umbrella`, :class:`LowerWall`, :class:`UpperWall`,
        :class:`Fixed`), a list of them, or a :class:`BiasModel`, which is written as it stands (``EXTERNAL``, on a grid of
        up to three coordinates). None: the coordinate is only computed.
    temperature
        K; of a BiasModel its own.
    folder
        Where the files go: ``plumed.dat``, ``network*.ptc``, ``external*.grid``.
    stride
        Steps between the rows of ``COLVAR``, which hold the coordinates and all biases.
    grid
        For metadynamics: (low, high) of each coordinate; periodic ones need none. With it PLUMED keeps the hills on a grid
        and computes c(t); without it each hill costs time in every step.

    Returns
    -------
    Path
        Of ``plumed.dat``.

    Raises
    ------
    ParameterError
        If PLUMED has no form for a feature kind (it is named), or a width is to be measured that PLUMED does not measure.
    BiasError
        If a frozen bias is of another coordinate.
    OutputError
        If a file cannot be written.
    """
    made = Coordinate.of(coordinate, topology)
    kelvin = bias.temperature if isinstance(bias, BiasModel) else units.temperature(temperature)
    if isinstance(stride, bool) or not isinstance(stride, (int, np.integer)) or stride < 1:
        raise ParameterError(f"stride={stride!r} is no number of steps; give an int of at least 1")
    if grid is not None and len(grid) != made.dim:
        raise ParameterError(f"grid has {len(grid)} ranges for {made.dim} coordinates; give (low, high) for each")
    writer = _Writer(made, Path(folder), kelvin, grid)
    writer.coordinate(made.bind(topology))
    for potential in _potentials(bias):
        writer.potential(potential)
    writer.action("", "PRINT", STRIDE=int(stride), FILE="COLVAR", FMT="%.10g", ARG=[*writer.arguments, *writer.biases])
    return write_text(writer.folder / "plumed.dat", "\n".join(writer.lines) + "\n")


def _potentials(bias: Any) -> list[Potential]:
    if bias is None:
        return []
    if isinstance(bias, BiasModel):
        return [Fixed(bias)]
    given = list(bias) if isinstance(bias, (list, tuple)) else [bias]
    for item in given:
        if not isinstance(item, Potential):
            raise ParameterError(
                f"{type(item).__name__} is no potential; give OPES(...), Metadynamics(...), Umbrella(...) ..."
            )
    return given


def number(value: float) -> str:
    """A float with all its digits, or ``inf``."""
    return "inf" if math.isinf(value) else format(float(value), ".17g")


class _Writer:
    """Lines of the input, and the labels in use."""

    def __init__(
        self, coordinate: Coordinate, folder: Path, temperature: float, grid: Sequence[tuple[float, float]] | None
    ) -> None:
        self.made, self.folder, self.temperature, self.grid = coordinate, folder, temperature, grid
        self.lines = [
            f"# {', '.join(coordinate.names)}",
            f"# written by mdinsight; coordinate {coordinate.hash[:12]}; nm, kJ/mol, ps, rad",
        ]
        self.labels: set[str] = set()
        self.arguments: list[str] = []
        self.biases: list[str] = []

    def label(self, name: str) -> str:
        """A label that PLUMED accepts and that is not taken yet."""
        plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "x"
        plain = plain if plain[0].isalpha() else f"x{plain}"
        found, count = plain, 1
        while found in self.labels:
            count += 1
            found = f"{plain}_{count}"
        self.labels.add(found)
        return found

    def action(self, label: str, name: str, *flags: str, **keywords: Any) -> str:
        """Add an action; over several lines where one would be long."""
        words = [f"{key}={_text(value)}" for key, value in keywords.items() if value is not None]
        words += [flag for flag in flags if flag]
        head = f"{label}: {name}" if label else name
        line = " ".join([head, *words])
        self.lines += [line] if len(line) <= _LINE else [f"{head} ...", *(f"  {word}" for word in words), "..."]
        return label

    def coordinate(self, bound: BoundCoordinate) -> None:
        """The actions that compute the coordinates; their labels become ``arguments``."""
        columns = Columns(self)
        names = iter(self.made.names)
        for features, cv in bound.pieces:
            taken = [next(names) for _ in range(features.n_columns if cv is None else cv.dim)]  # type: ignore[attr-defined]
            if cv is None:
                self.arguments += columns.add(
                    features, dict(zip((c.key for c in features.columns), taken, strict=True))
                )
            elif isinstance(cv, LinearCV):
                self._linear(cv, columns.add(features, used=(cv.matrix != 0.0).any(axis=1)), taken)
            elif isinstance(cv, NetworkCV):
                self._network(cv, columns.add(features), taken)
            else:
                raise ParameterError(f"{type(cv).__name__} has no form in PLUMED; give a linear one or a network")

    def _linear(self, cv: LinearCV, columns: list[str], names: Sequence[str]) -> None:
        for name, weights in zip(names, cv.matrix.T, strict=True):
            used = np.flatnonzero(weights)
            label = self.action(
                self.label(name),
                "COMBINE",
                ARG=[columns[i] for i in used],
                COEFFICIENTS=weights[used],
                PARAMETERS=cv.mean[used],
                PERIODIC="NO",
            )
            self.arguments.append(label)

    def _network(self, cv: NetworkCV, columns: list[str], names: Sequence[str]) -> None:
        label = self.label("network")
        to_torchscript(cv, self.folder / f"{label}.ptc")
        self.action(label, "PYTORCH_MODEL", FILE=f"{label}.ptc", ARG=columns)
        for i, name in enumerate(names):
            self.arguments.append(self.action(self.label(name), "COMBINE", ARG=f"{label}.node-{i}", PERIODIC="NO"))

    def potential(self, potential: Potential) -> None:
        """The action of one potential; what it can print is added to ``biases``."""
        if isinstance(potential, Fixed):
            self._fixed(potential)
            return
        on = range(self.made.dim) if potential.on is None else potential.on
        axes = [on] if isinstance(on, int) else list(on)
        if max(axes) >= self.made.dim:
            raise ParameterError(
                f"on={potential.on!r} names coordinate {max(axes)}; there are {self.made.dim}, counted from 0"
            )
        arguments = [self.arguments[i] for i in axes]
        if isinstance(potential, Metadynamics):
            self._metadynamics(potential, axes, arguments)
        elif isinstance(potential, OPES):
            self._opes(potential, arguments)
        elif isinstance(potential, (Umbrella, LowerWall, UpperWall)):
            self._harmonic(potential, axes, arguments)
        else:
            raise ParameterError(f"{type(potential).__name__} has no form in PLUMED")

    def _metadynamics(self, potential: Metadynamics, axes: Sequence[int], arguments: list[str]) -> None:
        if potential.sigma is None:
            raise ParameterError(
                "Metadynamics(sigma=None) measures its widths at the start, which PLUMED's METAD does not; give sigma, "
                "such as half of the coordinate's standard deviation within a state"
            )
        ranges = self._ranges(axes)
        keywords: dict[str, Any] = {}
        if ranges is not None:
            keywords = {"GRID_MIN": [low for low, _ in ranges], "GRID_MAX": [high for _, high in ranges]}
        else:
            self.lines.append("# without GRID_MIN and GRID_MAX every hill costs time in every step")
        tempered = math.isfinite(_finite(potential.biasfactor))
        label = self.action(
            self.label("metad"),
            "METAD",
            "CALC_RCT" if ranges is not None and tempered else "",
            ARG=arguments,
            SIGMA=_each(potential.sigma, len(axes), "sigma"),
            HEIGHT=float(potential.height),
            BIASFACTOR=potential.biasfactor if tempered else None,
            PACE=potential.pace,
            TEMP=self.temperature,
            FILE=self._file("HILLS"),
            FMT="%.14g",
            **keywords,
        )
        self.biases += [f"{label}.bias", *([f"{label}.rct"] if ranges is not None and tempered else [])]

    def _ranges(self, axes: Sequence[int]) -> list[tuple[Any, Any]] | None:
        ranges: list[tuple[Any, Any]] = []
        for i in axes:
            if self.made.periods[i] is not None:
                ranges.append(("-pi", "pi"))
            elif self.grid is None:
                return None
            else:
                low, high = (float(x) for x in self.grid[i])
                if not low < high:
                    raise ParameterError(f"grid[{i}]=({low:g}, {high:g}) is no range; give (low, high)")
                ranges.append((low, high))
        return ranges

    def _opes(self, potential: OPES, arguments: list[str]) -> None:
        label = self.action(
            self.label("opes"),
            "OPES_METAD_EXPLORE" if potential.explore else "OPES_METAD",
            ARG=arguments,
            PACE=potential.pace,
            BARRIER=float(potential.barrier),
            BIASFACTOR=potential.biasfactor,
            SIGMA=None if potential.sigma is None else _each(potential.sigma, len(arguments), "sigma"),
            SIGMA_MIN=None if potential.sigma_min is None else _each(potential.sigma_min, len(arguments), "sigma_min"),
            TEMP=self.temperature,
            FILE=self._file("KERNELS"),
            STATE_WFILE=self._file("STATE"),
            STATE_WSTRIDE=100 * potential.pace,
        )
        self.biases += [f"{label}.{name}" for name in ("bias", "rct", "zed", "neff", "nker")]

    def _harmonic(self, potential: Any, axes: Sequence[int], arguments: list[str]) -> None:
        name = {Umbrella: "RESTRAINT", LowerWall: "LOWER_WALLS", UpperWall: "UPPER_WALLS"}[type(potential)]
        n = len(axes)
        at, kappa = _each(potential.at, n, "at"), np.array(_each(potential.kappa, n, "kappa"))
        keywords: dict[str, Any] = {}
        if name != "RESTRAINT":
            wrong = [self.made.names[i] for i in axes if self.made.periods[i] is not None]
            if wrong:
                raise ParameterError(
                    f"{type(potential).__name__}: {', '.join(wrong)} is periodic, so a wall has no inside"
                )
            keywords = {"EXP": [2] * n}
            kappa = 0.5 * kappa  # PLUMED's walls are kappa d^2, its restraint kappa/2 d^2
        label = self.action(self.label(name.lower()), name, ARG=arguments, AT=at, KAPPA=kappa, **keywords)
        self.biases.append(f"{label}.bias")

    def _fixed(self, potential: Fixed) -> None:
        model = potential.model
        if model.coordinate.hash != self.made.hash:
            raise BiasError(
                f"the frozen bias is of the coordinate {model.coordinate!r}, not of {self.made!r}; give that coordinate"
            )
        for part in model.potentials:
            if not part.is_adaptive:
                self.potential(part)
        built = [state for state in model.states() if model.potentials[state.source].is_adaptive]
        if not built:
            return
        label = self.label("external")
        write_external(built, self.made.periods, self.folder / f"{label}.grid", label, self.arguments)
        if None in self.made.periods:
            self.lines.append(f"# PLUMED stops where the coordinate leaves the range of {label}.grid")
        self.action(label, "EXTERNAL", ARG=self.arguments, FILE=f"{label}.grid")
        self.biases.append(f"{label}.bias")

    def _file(self, name: str) -> str:
        taken = sum(f"={name}" in line for line in self.lines)
        return name if not taken else f"{name}_{taken + 1}"


def _each(values: Any, n: int, name: str) -> list[float]:
    """One number for each coordinate."""
    given = [float(x) for x in np.atleast_1d(values)]
    if len(given) not in (1, n):
        raise ParameterError(f"{name} has {len(given)} numbers for {n} coordinates; give one, or one for each")
    return given * n if len(given) == 1 else given


def _finite(value: float | None) -> float:
    return math.inf if value is None else float(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple, np.ndarray)):
        return ",".join(_text(item) for item in value)
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    return number(value)
