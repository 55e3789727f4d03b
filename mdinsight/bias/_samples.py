"""Which frames, coordinates and states a free energy is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mdinsight import units
from mdinsight.bias._mbar import Reweighting
from mdinsight.bias._pieces import Sample
from mdinsight.bias._trace import Trace
from mdinsight.bias._weights import as_numbers, kept, shown
from mdinsight.errors import NonFiniteError, ParameterError, SelectionError
from mdinsight.series import TimeSeries

State = np.ndarray | Callable[[np.ndarray], np.ndarray] | Mapping[str, tuple[float, float]]
"""A mask (n,), a function of the coordinates (n, d) that returns one, or ranges ``{name: (low, high)}``."""

Biased = Trace | Reweighting | tuple[Any, Any]
"""Where weights come from: a trace, what :func:`mbar` gave, or (coordinates, log weights)."""


def sample_of(
    data: Biased, coordinates: Any = None, discard: float | str = "auto", temperature: Any = None
) -> tuple[Sample, np.ndarray]:
    """The frames that count, and the mask (n,) of them among all frames of the data."""
    if isinstance(data, Trace):
        _same_temperature(temperature, data.temperature, "the trace")
        mask = kept(data, discard)
        used = data.take(mask)
        values, names, periods = used.s, used.names, used.periods
        if coordinates is not None:
            values, names, periods = columns_of(coordinates, len(data))
            values = values[mask]
        return _plain(used.log_weights(), used.walker, values, names, periods, used.temperature), mask
    if isinstance(data, Reweighting):
        _same_temperature(temperature, data.temperature, "the reweighted data")
        log_weights = data.log_weights
    elif isinstance(data, (tuple, list)) and len(data) == 2:
        log_weights = _log_weights(data[1])
    else:
        raise ParameterError(
            f"data={shown(data)} are no biased frames; give a Trace, what mbar gave, or (coordinates, log weights)"
        )
    mask = np.ones(len(log_weights), dtype=bool)
    if coordinates is None and not isinstance(data, Reweighting):
        coordinates = data[0]
    values, names, periods = np.empty((len(mask), 0)), (), ()
    if coordinates is not None:
        values, names, periods = columns_of(coordinates, len(mask))
    if not isinstance(data, Reweighting):
        kelvin = units.temperature(_required(temperature))
        return _plain(log_weights, _runs(data[0], len(mask)), values, names, periods, kelvin), mask
    return Sample(
        log_weights, data.run, values, names, periods, data.temperature, data.reweigh, data.influence, data.restrained
    ), mask


def _plain(
    log_weights: np.ndarray,
    run: np.ndarray,
    values: np.ndarray,
    names: tuple[str, ...],
    periods: tuple[float | None, ...],
    kelvin: float,
) -> Sample:
    """Frames whose weights do not depend on one another."""

    def reweigh(keep: np.ndarray) -> np.ndarray:
        return np.where(keep, log_weights, -np.inf)

    return Sample(log_weights, run, values, names, periods, kelvin, reweigh)


def columns_of(coordinates: Any, n: int) -> tuple[np.ndarray, tuple[str, ...], tuple[float | None, ...]]:
    """Rows (n, d), names and periods of coordinates given as a series, an array or a list of arrays.

    Raises
    ------
    ParameterError
        If they are no numbers, or there is not one row for each frame.
    NonFiniteError
        If a value is NaN or infinite.
    """
    series = coordinates
    if not isinstance(series, TimeSeries):
        if isinstance(coordinates, (str, bytes, Mapping)) or not np.iterable(coordinates):
            raise ParameterError(
                f"coordinates={shown(coordinates)} are none; give a TimeSeries, an array (n, d) or a list of arrays"
            )
        series = TimeSeries([coordinates] if isinstance(coordinates, np.ndarray) else list(coordinates))
    rows = series.concatenated().astype(np.float64)
    if len(rows) != n:
        raise ParameterError(
            f"the coordinates have {len(rows)} rows, the weights are of {n} frames; give one row for each frame "
            "(trace.take(trace.rows_at(times, walker)) are the weights of saved frames)"
        )
    return rows, series.names, tuple(column.period for column in series.columns)


def members(state: State, name: str, values: np.ndarray, names: Sequence[str], periods: Sequence[Any]) -> np.ndarray:
    """Mask (n,) of the frames in a state.

    Raises
    ------
    ParameterError
        If the state is none of a mask, a function or ranges, or does not fit the frames.
    SelectionError
        If a coordinate that it names is not there.
    NonFiniteError
        If a mask holds NaN.
    """
    if isinstance(state, Mapping):
        inside = np.ones(len(values), dtype=bool)
        for column, limits in state.items():
            if column not in names:
                raise SelectionError(
                    f"{name} names the coordinate {column!r}; there are {', '.join(map(repr, names)) or 'none'}"
                )
            at = list(names).index(column)
            inside &= _within(values[:, at], limits, periods[at], f"{name}[{column!r}]")
        return inside
    found = np.asarray(state(values) if callable(state) else state)
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise NonFiniteError(f"{name} is {found[~np.isfinite(found)][0]} for a frame; give True or False for each")
    if found.shape != (len(values),) or not (found.dtype.kind == "b" or np.isin(found, (0, 1)).all()):
        raise ParameterError(
            f"{name} has shape {found.shape} and type {found.dtype}; give a mask of {len(values)} frames, a function of the "
            "coordinates that returns one, or ranges {name: (low, high)}"
        )
    return found.astype(bool)


def _within(column: np.ndarray, limits: Any, period: float | None, what: str) -> np.ndarray:
    """low <= x < high; round the corner of a periodic coordinate where low > high."""
    try:
        low, high = (float(limit) for limit in limits)
    except (TypeError, ValueError):
        raise ParameterError(f"{what}={limits!r} is no range; give (low, high)") from None
    if np.isnan([low, high]).any() or low == high or (low > high and period is None):
        raise ParameterError(f"{what}=({low:g}, {high:g}) is no range; give (low, high) with low < high")
    if period is None:
        return (low <= column) & (column < high)
    if np.isinf([low, high]).any():
        wrapped = wrap(column, period)
        return (low <= wrapped) & (wrapped < high)
    width = high - low if high > low and high - low >= period * (1 - 1e-12) else (high - low) % period
    return np.asarray((column - low) % period < width)


def wrap(column: np.ndarray, period: float) -> np.ndarray:
    """The same places from minus half a period to half a period."""
    return np.asarray((column + 0.5 * period) % period - 0.5 * period)


def _log_weights(values: Any) -> np.ndarray:
    given = as_numbers(values, "the log weights", "give one number for each frame")
    if given.ndim != 1 or not len(given):
        raise ParameterError(f"the log weights have shape {given.shape}; give one number for each frame")
    if not np.isfinite(given).all():
        raise NonFiniteError(
            f"the log weight of frame {int(np.argmin(np.isfinite(given)))} is not finite; leave that frame out"
        )
    return given


def _runs(coordinates: Any, n: int) -> np.ndarray:
    """Each array of a series or a list is one run."""
    if isinstance(coordinates, np.ndarray):
        return np.zeros(n, dtype=np.int64)
    return np.repeat(np.arange(len(coordinates)), [len(array) for array in coordinates])


def _same_temperature(given: Any, known: float, what: str) -> None:
    if given is not None and not np.isclose(units.temperature(given), known, rtol=1e-6, atol=0):
        raise ParameterError(
            f"temperature={given!r}, but {what} is of {known:g} K, and weights hold at that temperature alone; leave it out"
        )


def _required(temperature: Any) -> Any:
    if temperature is None:
        raise ParameterError("weights alone have no temperature; give temperature=")
    return temperature
