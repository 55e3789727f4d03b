"""PLUMED's HILLS: the hills of a metadynamics run, read, evaluated and written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdinsight import units
from mdinsight.bias._coordinate import Coordinate
from mdinsight.bias._definitions import Metadynamics
from mdinsight.bias._model import BiasModel
from mdinsight.bias._plumed_files import PathLike, Table, as_paths, read_table, require
from mdinsight.bias._states import arrays_of, start
from mdinsight.errors import BiasError, FormatError, ParameterError
from mdinsight.features import jit
from mdinsight.files import write_text
from mdinsight.records import Model

_CUTOFF = 6.25
"""Half the squared distance, in widths, beyond which PLUMED's hills are zero."""


class Hills(Model):
    """The Gaussian hills that a metadynamics run deposited, in time order.

    Attributes
    ----------
    names
        The coordinates as PLUMED calls them.
    periods
        The period of each, None where it is not periodic.
    time
        (n,) ps.
    centers, sigmas
        (n, dim) in the coordinates' units.
    heights
        (n,) kJ/mol, as they act: PLUMED's file holds them times biasfactor / (biasfactor - 1).
    biasfactor
        Infinite without well-tempering.
    walker
        (n,) which file each hill came from.
    stretched
        Whether a hill is stretched so that it ends at zero, as PLUMED does since 2.8, rather than cut off.
    """

    names: tuple[str, ...]
    periods: tuple[float | None, ...]
    time: np.ndarray
    centers: np.ndarray
    sigmas: np.ndarray
    heights: np.ndarray
    biasfactor: float
    walker: np.ndarray
    stretched: bool = True

    def __post_init__(self) -> None:
        n, dim = len(np.atleast_1d(self.time)), len(self.names)
        for name, shape in (("time", (n,)), ("centers", (n, dim)), ("sigmas", (n, dim)), ("heights", (n,))):
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != shape or not np.isfinite(array).all():
                raise ParameterError(f"{name} has shape {array.shape}; give finite numbers of shape {shape}")
            object.__setattr__(self, name, array)
        object.__setattr__(self, "walker", np.array(self.walker, dtype=np.int32))
        if len(self.periods) != dim or self.walker.shape != (n,):
            raise ParameterError(
                f"give one period for each of the {dim} coordinates and one walker for each of the {n} hills"
            )
        if (self.sigmas <= 0.0).any() or not self.biasfactor > 1.0:
            raise ParameterError(f"widths must be positive and the bias factor ({self.biasfactor:g}) above 1")
        super().__post_init__()

    def __len__(self) -> int:
        return len(self.time)

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return len(self.names)

    def potential(self, s: Any, until: float | None = None) -> np.ndarray:
        """Energy of the hills at points of the coordinates.

        Parameters
        ----------
        s
            (n_points, dim).
        until
            Only hills deposited up to this time (ps).

        Returns
        -------
        ndarray of shape (n_points,), kJ/mol
        """
        points = np.ascontiguousarray(np.asarray(s, dtype=np.float64).reshape(-1, self.dim))
        n = len(self) if until is None else int(np.searchsorted(self.time, until, side="right"))
        out = np.zeros(len(points))
        for i in range(n):
            _add(points, self.centers[i], 1.0 / self.sigmas[i], self.heights[i], self._periods, self.stretched, out)
        return out

    def free_energy(self, s: Any) -> np.ndarray:
        """(n_points,) kJ/mol: the hills' estimate, -V biasfactor / (biasfactor - 1), its lowest value 0."""
        values = -self.potential(s) / _tempering(self.biasfactor)
        return np.asarray(values - values.min())

    def offsets(self, temperature: Any = 300.0) -> np.ndarray:
        """c(t) after each hill (Tiwary and Parrinello 2015, 10.1021/jp504920s), over what had been explored.

        Parameters
        ----------
        temperature
            K.

        Returns
        -------
        ndarray of shape (n,), kJ/mol

        Raises
        ------
        ParameterError
            If the hills are not tempered, so that there is no c(t).
        """
        if math.isinf(self.biasfactor):
            raise ParameterError(
                "these hills are not well-tempered (biasf), so c(t) is not defined; weigh frames otherwise"
            )
        state = self._state(units.temperature(temperature))
        out = np.zeros(len(self))
        for i, deposit in enumerate(self._deposits()):
            state.apply(deposit)
            out[i] = state.offset()
        return out

    def to_bias(self, coordinate: Any, topology: Any = None, temperature: Any = 300.0) -> BiasModel:
        """The same hills as a frozen bias on a coordinate: to go on from, to hold fixed, or for reweighting with others.

        Our hills reach to 4.5 widths and are not stretched, so energies differ from PLUMED's by up to 0.2 % of the heights
        that overlap.

        Parameters
        ----------
        coordinate, topology
            What :meth:`Coordinate.of` takes: the quantities that PLUMED's names stand for, in their order.
        temperature
            K.

        Raises
        ------
        BiasError
            If the coordinate has another number of quantities, or other periods.
        """
        made, kelvin = Coordinate.of(coordinate, topology), units.temperature(temperature)
        ours = [0.0 if period is None else period for period in made.periods]
        if made.dim != self.dim or not np.allclose(ours, self._periods):
            raise BiasError(
                f"the hills are on {', '.join(self.names)} with periods {self.periods}, the coordinate is "
                f"{', '.join(made.names)} with {made.periods}; give the one that PLUMED biased"
            )
        state = self._state(kelvin)
        for deposit in self._deposits():
            state.apply(deposit)
        return BiasModel(made, (state.definition,), kelvin, arrays_of((state.definition,), (state,)))

    def _state(self, kelvin: float) -> Any:
        if not len(self):
            raise ParameterError("there are no hills; run metadynamics first")
        definition = Metadynamics(float(self.heights[0]), tuple(self.sigmas[0]), self.biasfactor)
        return start(definition, kelvin, self.periods, names=self.names)

    def _deposits(self) -> np.ndarray:
        return np.column_stack([self.centers, self.sigmas, self.heights])

    @property
    def _periods(self) -> np.ndarray:
        return np.array([0.0 if period is None else period for period in self.periods])

    def __repr__(self) -> str:
        return f"<Hills: {len(self)} on {', '.join(self.names)}, biasfactor {self.biasfactor:g}; {self.hash[:12]}>"


def read_hills(paths: PathLike | Sequence[PathLike]) -> Hills:
    """Read HILLS of PLUMED's ``METAD``.

    Parameters
    ----------
    paths
        A file, or one for each walker (``HILLS.0``, ``HILLS.1`` ...); all are put in time order. All hills of a file count,
        also those above the header of a restart, as they do for PLUMED.

    Raises
    ------
    FormatError
        If a file is no HILLS file, holds hills of ``ADAPTIVE`` widths, or two files do not belong together.
    NonFiniteError
        If a number is NaN or infinite.

    Warns
    -----
    DataWarning
        If a line is torn; it is left out.
    """
    tables = [read_table(path) for path in as_paths(paths)]
    first = tables[0]
    names = tuple(name[6:] for name in first.fields if name.startswith("sigma_"))
    for table in tables:
        _check(table, first, names)
    stacked = {
        "time": np.concatenate([t.column("time") for t in tables]),
        "heights": np.concatenate([t.column("height") for t in tables]),
        "centers": np.vstack([np.column_stack([t.column(n) for n in names]) for t in tables]),
        "sigmas": np.vstack([np.column_stack([t.column(f"sigma_{n}") for n in names]) for t in tables]),
        "walker": np.concatenate([np.full(len(t.rows), i, dtype=np.int32) for i, t in enumerate(tables)]),
    }
    factors = np.unique(np.concatenate([t.column("biasf") for t in tables if "biasf" in t.fields] or [np.ones(1)]))
    if len(factors) > 1:
        raise FormatError(f"{first.path}: hills of several bias factors ({factors}); read them apart")
    biasfactor = float(factors[0]) if len(factors) and factors[0] > 1.0 else math.inf
    order = np.argsort(stacked["time"], kind="stable")
    stacked["heights"] = stacked["heights"] * _tempering(biasfactor)
    return Hills(
        names=names,
        periods=tuple(first.period(name) for name in names),
        biasfactor=biasfactor,
        stretched=first.constants.get("kerneltype", "gaussian") == "stretched-gaussian",
        **{name: array[order] for name, array in stacked.items()},
    )


def _check(table: Table, first: Table, names: Sequence[str]) -> None:
    if table.fields != first.fields or table.constants != first.constants:
        raise FormatError(f"{table.path} and {first.path} have different headers; they are not walkers of one run")
    if not names or "height" not in table.fields:
        raise FormatError(f"{table.path} has no columns sigma_... and height; it is no HILLS file")
    if table.constants.get("multivariate", "false") != "false" or any(name not in table.fields for name in names):
        raise FormatError(f"{table.path} holds hills of ADAPTIVE widths, which are not read; use fixed SIGMA")
    if table.constants.get("kerneltype", "gaussian") not in ("gaussian", "stretched-gaussian"):
        raise FormatError(f"{table.path}: hills of kind {table.constants['kerneltype']} are not known")
    require(table, ["time", *names, *(f"sigma_{name}" for name in names)])


def write_hills(hills: Hills, path: PathLike) -> Path:
    """Write hills as PLUMED's METAD reads them on ``RESTART``; with all digits.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    fields = ["time", *hills.names, *(f"sigma_{name}" for name in hills.names), "height", "biasf"]
    lines = [f"#! FIELDS {' '.join(fields)}", "#! SET multivariate false"]
    lines.append(f"#! SET kerneltype {'stretched-gaussian' if hills.stretched else 'gaussian'}")
    for name, period in zip(hills.names, hills.periods, strict=True):
        if period is not None:
            angle = math.isclose(period, 2.0 * math.pi)
            half = "pi" if angle else f"{period / 2.0:.17g}"
            lines += [f"#! SET min_{name} -{half}", f"#! SET max_{name} {half}"]
    factor = 1.0 if math.isinf(hills.biasfactor) else hills.biasfactor
    heights = hills.heights / _tempering(hills.biasfactor)
    rows = np.column_stack([hills.time, hills.centers, hills.sigmas, heights, np.full(len(hills), factor)])
    lines += [" ".join(f"{value:.17g}" for value in row) for row in rows]
    return write_text(path, "\n".join(lines) + "\n")


def _tempering(biasfactor: float) -> float:
    """What PLUMED divides a height by to write it."""
    return 1.0 if math.isinf(biasfactor) else (biasfactor - 1.0) / biasfactor


@jit
def _add(points, center, inverse, height, periods, stretched, out):  # type: ignore[no-untyped-def]
    """Add one hill's energy at points (n, dim) to out (n,)."""
    at_cutoff = math.exp(-_CUTOFF)
    scale = 1.0 / (1.0 - at_cutoff)
    for n in range(points.shape[0]):
        half = 0.0
        for i in range(points.shape[1]):
            d = points[n, i] - center[i]
            if periods[i] > 0.0:
                d -= periods[i] * math.floor(d / periods[i] + 0.5)
            half += 0.5 * (d * inverse[i]) ** 2
        if half < _CUTOFF:
            value = math.exp(-half)
            out[n] += height * ((value - at_cutoff) * scale if stretched else value)
