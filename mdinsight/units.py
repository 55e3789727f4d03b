"""Floats inside (nm, ps, kJ/mol, K); an OpenMM ``Quantity`` or a string such as ``"10 ns"`` at the edge."""

from __future__ import annotations

import math
import re
from typing import Any

from mdinsight.errors import LagError, ParameterError
from mdinsight.words import counted

_UNITS: dict[str, dict[str, float]] = {
    "time": {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "us": 1e6, "µs": 1e6, "μs": 1e6, "ms": 1e9, "s": 1e12},
    "length": {"pm": 1e-3, "angstrom": 0.1, "Å": 0.1, "A": 0.1, "nm": 1.0},
    "energy": {"kJ/mol": 1.0, "kcal/mol": 4.184},
    "temperature": {"K": 1.0},
}
_INSIDE = {"time": "ps", "length": "nm", "energy": "kJ/mol", "temperature": "K"}
_EXAMPLE = {"time": "10 ps", "length": "1 nm", "energy": "50 kJ/mol", "temperature": "300 K"}
_OPENMM = {"time": "picosecond", "length": "nanometer", "energy": "kilojoule_per_mole", "temperature": "kelvin"}
_TEXT = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\s\d].*?)\s*")

GAS_CONSTANT = 8.31446261815324e-3
"""kJ/mol/K (CODATA 2018)."""

Time = float | int | str | Any
"""What a time may be given as: a number of ps, a string with a unit, or an OpenMM Quantity."""


def convert(value: Any, dimension: str, name: str | None = None) -> float:
    """A quantity given by a user as a float in mdinsight's units.

    Parameters
    ----------
    value
        A number (already in nm, ps, kJ/mol or K), a string such as ``"10 ns"``, or an OpenMM ``Quantity``.
    dimension
        ``"time"``, ``"length"``, ``"energy"`` or ``"temperature"``.
    name
        What the value is for, as it stands in the error.

    Raises
    ------
    ParameterError
        If the value cannot be read as such a quantity.
    """
    name = name or dimension
    what = f"an {dimension}" if dimension == "energy" else f"a {dimension}"
    units = _UNITS[dimension]
    if hasattr(value, "value_in_unit"):
        from openmm import unit

        try:
            return _finite(float(value.value_in_unit(getattr(unit, _OPENMM[dimension]))), value, name)
        except TypeError:
            raise ParameterError(f"{name}={value} is not {what}; give it in {_INSIDE[dimension]}") from None
    if isinstance(value, str):
        match = _TEXT.fullmatch(value)
        if match and match[2] in units:
            return _finite(float(match[1]) * units[match[2]], value, name)
        raise ParameterError(
            f"{name}={value!r} is not {what}; write e.g. {_EXAMPLE[dimension]!r} (units: {', '.join(units)})"
        )
    if isinstance(value, bool) or not hasattr(value, "__float__") or getattr(value, "ndim", False):
        raise ParameterError(
            f"{name}={value!r} is not {what}; give a number of {_INSIDE[dimension]} or a string with a unit"
        )
    return _finite(float(value), value, name)


def _finite(number: float, value: Any, name: str) -> float:
    if not math.isfinite(number):
        raise ParameterError(f"{name}={value} is not finite; give a number")
    return number


def time(value: Any, name: str = "time") -> float:
    """A time in ps."""
    return convert(value, "time", name)


def length(value: Any, name: str = "length") -> float:
    """A length in nm."""
    return convert(value, "length", name)


def energy(value: Any, name: str = "energy") -> float:
    """An energy in kJ/mol."""
    return convert(value, "energy", name)


def temperature(value: Any, name: str = "temperature") -> float:
    """A temperature in K.

    Raises
    ------
    ParameterError
        If it is not positive.
    """
    kelvin = convert(value, "temperature", name)
    if kelvin <= 0:
        raise ParameterError(f"{name}={value!r} is not positive; give it in K, e.g. 300")
    return kelvin


def lag_frames(lag: Any, dt: float | None, name: str = "lag") -> int:
    """A lag time as a whole number of frames.

    Parameters
    ----------
    lag
        An ``int`` is a number of frames; a string such as ``"10 ps"`` or a Quantity is a time. A bare ``float`` is refused,
        since it could mean either.
    dt
        Time between frames in ps, None where it is not known.

    Raises
    ------
    LagError
        If the lag is not positive, is no multiple of ``dt``, or is a time while ``dt`` is not known.
    """
    import numbers

    if isinstance(lag, numbers.Integral) and not isinstance(lag, bool):
        frames = int(lag)
        if frames < 1:
            raise LagError(f"{name}={lag} frames is not positive; give at least 1")
        return frames
    if isinstance(lag, numbers.Real):
        raise LagError(f"{name}={lag!r} could be frames or ps; give an int (frames) or a string such as '{lag} ps'")
    ps = time(lag, name)
    if dt is None:
        raise LagError(
            f"{name}={lag!r} is a time, but the data have no time step; give frames (an int), or the time step (dt=, --dt)"
        )
    ratio = ps / dt
    frames = round(ratio)
    if frames < 1 or abs(ratio - frames) > 1e-3 * max(1.0, ratio):
        raise LagError(
            f"{name}={lag!r} is no multiple of the {format_time(dt)} between frames; "
            f"the nearest is {format_time(max(1, frames) * dt)}"
        )
    return frames


def format_time(ps: float, digits: int = 3) -> str:
    """A time in the unit that reads best: ``format_time(1500.0) == '1.5 ns'``."""
    if ps != ps or ps in (float("inf"), float("-inf")):
        return f"{ps} ps"
    size = abs(ps)
    for factor, unit in ((1e9, "ms"), (1e6, "us"), (1e3, "ns"), (1.0, "ps")):
        if size >= factor * 0.9995:
            return f"{ps / factor:.{digits}g} {unit}"
    return f"{ps * 1e3:.{digits}g} fs" if size else "0 ps"


def told_lag(lag: Any, frames: float, dt: float | None) -> str:
    """As :func:`format_lag`, with the frames too where ``lag`` was given in frames."""
    if dt is None or not hasattr(lag, "__index__"):
        return format_lag(frames, dt)
    return f"{format_lag(frames, None)} ({format_lag(frames, dt)})"


def format_lag(frames: float, dt: float | None, digits: int = 3) -> str:
    """A number of frames as a time where the time step is known, else as frames."""
    if dt is not None:
        return format_time(frames * dt, digits)
    return counted(int(frames), "frame") if float(frames).is_integer() else f"{frames:.{digits}g} frames"
