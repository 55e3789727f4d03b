"""Potentials on coordinates: what a user asks for. Their live state while a run goes on is in :mod:`mdinsight.bias._states`."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight import units
from mdinsight.errors import ParameterError
from mdinsight.records import Record

if TYPE_CHECKING:
    from mdinsight.bias._model import BiasModel

Numbers = float | Sequence[float]
"""One number or several, or OpenMM quantities: radian or a length where the coordinate has such a unit."""


class Potential(Record):
    """A potential on some of the coordinates.

    Parameters
    ----------
    on
        Numbers of the coordinates that it acts on, counted from 0; by default all.
    """

    on: int | tuple[int, ...] | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        on = self.on
        if on is not None:
            given = tuple(on) if _several(on) else (on,)  # type: ignore[arg-type]
            whole = all(isinstance(i, numbers.Integral) and not isinstance(i, bool) and i >= 0 for i in given)
            if not given or not whole or len(set(given)) < len(given):
                raise ParameterError(
                    f"on={on!r} does not name coordinates; give their numbers, counted from 0, each once"
                )
            self._set("on", tuple(int(i) for i in given))  # type: ignore[arg-type]
        super().__post_init__()

    @property
    def is_adaptive(self) -> bool:
        """Whether it is built up during the run."""
        return False

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


class Metadynamics(Potential):
    """Well-tempered metadynamics (Barducci 2008, 10.1103/PhysRevLett.100.020603): Gaussian hills where the run has been.

    A hill's height is ``height * exp(-V(s) / (kT (biasfactor - 1)))``. The hills are summed on a grid of cubic Hermite
    cells that grows with them.

    Parameters
    ----------
    height
        Of the first hill; kJ/mol or a string such as ``"0.3 kcal/mol"``.
    sigma
        Width of a hill in the coordinate's unit, one number or one for each coordinate. By default half of the standard
        deviation over the first ``10 * pace`` steps, which are run without bias.
    biasfactor
        Effective temperature of the coordinates over the temperature; ``float("inf")`` or None is metadynamics without
        tempering, whose bias does not converge.
    pace
        Steps between hills.

    Raises
    ------
    ParameterError
        If a parameter has a value that it cannot have.
    """

    height: float | str = 1.2
    sigma: Numbers | None = None
    biasfactor: float | None = 10.0
    pace: int = 500

    def __post_init__(self) -> None:
        self._set("height", _positive(units.energy(self.height, "height"), "height", "1.2"))
        self._set("sigma", _widths(self.sigma, "sigma"))
        self._set("biasfactor", math.inf if self.biasfactor is None else _biasfactor(self.biasfactor))
        self._set("pace", _pace(self.pace))
        super().__post_init__()

    @property
    def is_adaptive(self) -> bool:
        """Whether it is built up during the run."""
        return True


class OPES(Potential):
    """On-the-fly probability enhanced sampling: a bias out of the probability of the coordinates, estimated with kernels.

    The bias is ``V = (1 - 1/biasfactor) kT log(P/Z + epsilon)`` where P is the reweighted probability (Invernizzi and
    Parrinello 2020, 10.1021/acs.jpclett.0c00497), or with ``explore`` ``V = (biasfactor - 1) kT log(p/Z + epsilon)`` where
    p is the probability under the bias (Invernizzi, Piaggi and Parrinello 2022, 10.1021/acs.jctc.2c00152). Kernels closer
    than one width are merged. Beyond the kernels V is ``-barrier``, so what lies higher than that is not visited.

    Parameters
    ----------
    barrier
        The highest free energy barrier to be crossed; kJ/mol or a string such as ``"10 kcal/mol"``.
    pace
        Steps between kernels.
    sigma
        Standard deviation of the coordinate within a basin, in its unit, one number or one for each coordinate. By
        default it is measured over ``10 * pace`` steps again and again, at first without bias. Kernels are narrower:
        they shrink as data come in.
    explore
        The second of the two forms: visits more, converges later.
    biasfactor
        How far the distribution is flattened; by default ``barrier / kT``. ``float("inf")`` (a flat target) needs ``sigma``.
    sigma_min
        Kernels do not become narrower than this.

    Raises
    ------
    ParameterError
        If a parameter has a value that it cannot have.
    """

    barrier: float | str
    pace: int = 500
    sigma: Numbers | None = None
    explore: bool = False
    biasfactor: float | None = None
    sigma_min: Numbers | None = None

    def __post_init__(self) -> None:
        self._set("barrier", _positive(units.energy(self.barrier, "barrier"), "barrier", "40"))
        self._set("pace", _pace(self.pace))
        self._set("sigma", _widths(self.sigma, "sigma"))
        self._set("sigma_min", _widths(self.sigma_min, "sigma_min"))
        if not isinstance(self.explore, (bool, np.bool_)):
            raise ParameterError(f"explore={self.explore!r} is neither True nor False; give one of them")
        self._set("explore", bool(self.explore))
        if self.biasfactor is not None:
            self._set("biasfactor", _biasfactor(self.biasfactor))
            if math.isinf(self.biasfactor) and self.explore:
                raise ParameterError("biasfactor=inf does not go with explore=True; give a number, or explore=False")
            if math.isinf(self.biasfactor) and self.sigma is None:
                raise ParameterError(
                    "biasfactor=inf does not go with measured widths; give sigma, or a finite biasfactor"
                )
        super().__post_init__()

    @property
    def is_adaptive(self) -> bool:
        """Whether it is built up during the run."""
        return True


class _Harmonic(Potential):
    at: Numbers
    kappa: Numbers | str

    def __post_init__(self) -> None:
        name = type(self).__name__
        at, kappa = _floats(self.at, f"{name}.at"), self.kappa
        kappa = _floats(units.energy(kappa, "kappa") if isinstance(kappa, str) else kappa, f"{name}.kappa", energy=True)
        if min(kappa) <= 0:
            raise ParameterError(
                f"{name}: kappa={self.kappa} is not positive; give kJ/mol over the square of the coordinate's unit"
            )
        if len(kappa) > 1 and len(at) > 1 and len(kappa) != len(at):
            raise ParameterError(
                f"{name}: at has {len(at)} numbers and kappa {len(kappa)}; give one for each coordinate"
            )
        self._set("at", at)
        self._set("kappa", kappa)
        super().__post_init__()


class Umbrella(_Harmonic):
    """A harmonic restraint, ``V = kappa/2 (s - at)^2`` summed over the coordinates; on a periodic one by the nearest image.

    Parameters
    ----------
    at
        Where it is zero; one number, or one for each coordinate.
    kappa
        kJ/mol over the square of the coordinate's unit; one number, or one for each coordinate.
    """


class LowerWall(_Harmonic):
    """``V = kappa/2 (s - at)^2`` below ``at``, zero above, on coordinates that are not periodic; as :class:`Umbrella`."""


class UpperWall(_Harmonic):
    """``V = kappa/2 (s - at)^2`` above ``at``, zero below, on coordinates that are not periodic; as :class:`Umbrella`."""


class Fixed(Potential):
    """A frozen bias, applied as it is: nothing is deposited on it.

    Parameters
    ----------
    model
        What an earlier run built up, on the same coordinate.
    """

    model: BiasModel

    def __post_init__(self) -> None:
        if not (hasattr(self.model, "potentials") and hasattr(self.model, "arrays")):
            raise ParameterError(f"Fixed takes a BiasModel, not {self.model!r}; give what a run's .model is")
        if self.on is not None:
            raise ParameterError("Fixed takes no on=: the model says which coordinates it acts on")
        super().__post_init__()


def umbrella_windows(
    start: Numbers, stop: Numbers, n: int, kappa: Numbers | str, on: int | tuple[int, ...] | None = None
) -> tuple[Umbrella, ...]:
    """Umbrellas evenly spaced on the line from start to stop, both included.

    Parameters
    ----------
    start, stop
        Where the first and the last one stand; one number, or one for each coordinate.
    n
        How many, at least 2.
    kappa, on
        As for :class:`Umbrella`.
    """
    if isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < 2:
        raise ParameterError(f"n={n!r} is no number of windows; give an int of at least 2")
    first, last = _floats(start, "start"), _floats(stop, "stop")
    if len(first) != len(last):
        raise ParameterError(f"start has {len(first)} numbers and stop {len(last)}; give one for each coordinate")
    points = np.linspace(first, last, int(n))
    return tuple(Umbrella(tuple(float(x) for x in point), kappa, on=on) for point in points)


def _floats(value: Any, name: str, energy: bool = False) -> tuple[float, ...]:
    """One number or several as floats; quantities in the coordinate's unit, or in ``energy`` over its square."""
    given = _plain(value, name, energy)
    given = tuple(_plain(x, name, energy) for x in (given if _several(given) else (given,)))
    odd = (bool, np.bool_, complex)
    bad = [x for x in given if isinstance(x, odd) or _several(x) or not hasattr(x, "__float__")]
    if not given or bad or not all(math.isfinite(x) for x in given):
        raise ParameterError(f"{name}={value!r} is no number; give one, or one for each coordinate")
    return tuple(float(x) for x in given)


def _several(value: Any) -> bool:
    return isinstance(value, (list, tuple, range)) or getattr(value, "ndim", 0) > 0


def _plain(value: Any, name: str, energy: bool) -> Any:
    """An OpenMM quantity as what it is in nm, rad, kJ/mol; anything else as it is."""
    if not hasattr(value, "value_in_unit_system"):
        return value
    from openmm import unit

    kJ = unit.kilojoule_per_mole
    fit = [kJ / unit.radian**2, kJ / unit.nanometer**2, kJ] if energy else [unit.radian, unit.nanometer]
    for one in (*fit, unit.dimensionless):
        if value.unit.is_compatible(one):
            return value.value_in_unit(one)
    said = "kJ/mol over rad^2 or nm^2" if energy else "rad or nm"
    raise ParameterError(f"{name}={value} is not in {said}; give it so, or a plain number in the coordinate's unit")


def _widths(value: Any, name: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    widths = _floats(value, name)
    if min(widths) <= 0:
        raise ParameterError(
            f"{name}={value!r} is not positive; give a width in the coordinate's unit, or one for each coordinate"
        )
    return widths


def _positive(value: float, name: str, example: str) -> float:
    if value <= 0:
        raise ParameterError(f"{name}={value:g} kJ/mol is not positive; give e.g. {example}")
    return value


def _biasfactor(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not float(value) > 1:
        raise ParameterError(f"biasfactor={value!r} is not above 1; give e.g. 10")
    return float(value)


def _pace(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ParameterError(f"pace={value!r} is no number of steps; give an int of at least 1, e.g. 500")
    return int(value)
