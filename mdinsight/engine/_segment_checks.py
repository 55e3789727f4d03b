"""What must hold of a segment, alone and with its system."""

from __future__ import annotations

import numbers
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight import seeds
from mdinsight.bias import BiasModel, Coordinate
from mdinsight.cvs import CVModel
from mdinsight.errors import NonFiniteError, OutputError, ParameterError
from mdinsight.features import Definition

if TYPE_CHECKING:
    from mdinsight.engine._segment import Segment
    from mdinsight.engine._system import System

KINDS = ("explore", "swarm", "biased")
_MOST_STEPS = 2**31 - 1  # an XTC file holds the step as a 32-bit integer


def check_fields(segment: Segment) -> None:
    """Refuse what no segment can be; arrays become float64 of the right shape."""
    if not isinstance(segment.name, str) or not segment.name:
        raise ParameterError(f"name={segment.name!r} of a segment is no text; give one, such as 'round-003/walker-1'")
    who = f"segment {segment.name}"
    if segment.kind not in KINDS:
        raise ParameterError(f"{who}: kind={segment.kind!r}; known are {', '.join(KINDS)}")
    for field in ("steps", "stride"):
        value = getattr(segment, field)
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 0 < int(value) <= _MOST_STEPS:
            raise ParameterError(
                f"{who}: {field}={value!r} is no number of steps; give an int from 1 to {_MOST_STEPS}, or several segments"
            )
        object.__setattr__(segment, field, int(value))
    if segment.steps % segment.stride:
        nearest = max(1, round(segment.steps / segment.stride)) * segment.stride
        raise ParameterError(
            f"{who}: steps={segment.steps} is no multiple of stride={segment.stride}, so its end would not be saved; give e.g. "
            f"steps={nearest}"
        )
    seeds.sequence(segment.seed)
    for field in ("with_start", "two_way"):
        if not isinstance(getattr(segment, field), (bool, np.bool_)):
            raise ParameterError(
                f"{who}: {field}={getattr(segment, field)!r} is neither True nor False; give one of them"
            )
        object.__setattr__(segment, field, bool(getattr(segment, field)))
    positions = _array(segment, "positions", (None, None, 3))
    if not positions.size:
        raise ParameterError(f"{who}: positions are of shape {positions.shape}; give at least one trajectory's")
    n, n_atoms, _ = positions.shape
    if segment.boxes is not None:
        _array(segment, "boxes", (n, 3, 3))
    if segment.velocities is not None:
        _array(segment, "velocities", (n, n_atoms, 3))
    if segment.features is not None:
        parts_of(segment.features, who)
    _check_bias(segment, who)


def _check_bias(segment: Segment, who: str) -> None:
    bias = segment.bias
    if bias is None:
        if segment.kind == "biased":
            raise ParameterError(
                f"{who}: kind='biased' and no bias; give one, for a first segment BiasModel.empty(...)"
            )
        return
    if segment.kind == "swarm":
        raise ParameterError(f"{who}: kind='swarm' and a bias; a swarm is for unbiased estimates, call it 'biased'")
    if not isinstance(bias, BiasModel):
        raise ParameterError(f"{who}: bias={type(bias).__name__} is no BiasModel; give e.g. BiasModel.empty(...)")
    if len(segment.positions) > 1:
        raise ParameterError(
            f"{who} has a bias and {len(segment.positions)} trajectories; give each walker a segment of its own"
        )
    if segment.two_way or segment.with_start:
        field = "two_way" if segment.two_way else "with_start"
        raise ParameterError(
            f"{who} is biased with {field}=True; what it would save was not sampled under the bias, so leave {field} out"
        )
    if segment.temperature != bias.temperature:
        raise ParameterError(
            f"{who} is at {segment.temperature:g} K, its bias was made for {bias.temperature:g} K; give both the same"
        )


def _array(segment: Segment, field: str, shape: tuple[int | None, ...]) -> np.ndarray:
    given = getattr(segment, field)
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise ParameterError(f"segment {segment.name}: {field} of type {type(given).__name__} are no numbers") from None
    if array.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, array.shape, strict=True)):
        names = iter(("n_traj", "n_atoms"))
        wanted = ", ".join(next(names) if size is None else str(size) for size in shape)
        raise ParameterError(f"segment {segment.name}: {field} are of shape {array.shape}; give ({wanted})")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=(1, 2)))
    if len(bad):
        raise NonFiniteError(
            f"segment {segment.name}: {field} of trajectory {bad[0]} are NaN or infinite ({len(bad)} of {len(array)}); "
            "start from other frames"
        )
    object.__setattr__(segment, field, array)
    return array


def parts_of(features: Any, who: str = "features") -> list[tuple[Any, Any]]:
    """Features, and the model of them or None, for each part of what is to be computed."""
    if isinstance(features, Definition):
        return [(features, None)]
    if isinstance(features, Coordinate):
        return [(piece.features, piece.cv) for piece in features.pieces]
    if isinstance(features, CVModel) and features.features is not None:
        return [(features.features, features)]
    what = "was fitted on plain arrays" if isinstance(features, CVModel) else "are no features"
    raise ParameterError(
        f"{who}: features={type(features).__name__} {what}; give features such as Torsions('phi psi'), a coordinate fitted on "
        "them, or None"
    )


def check_fits(system: System, segment: Segment) -> None:
    """Refuse a segment that is not of this system, before anything is run."""
    who = f"segment {segment.name}"
    if segment.positions.shape[1] != system.n_atoms:
        raise ParameterError(
            f"{who} has {segment.positions.shape[1]} atoms, the system {system.n_atoms}; give positions of all its atoms"
        )
    if segment.boxes is not None and system.box is None:
        raise ParameterError(f"{who} has boxes, the system has no periodic boundaries; give boxes=None")
    if segment.features is not None:
        for features, _ in parts_of(segment.features):
            features.bind(system.topology, "the system's topology")


def empty_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder, if it is there and nothing is in it."""
    path = Path(folder)
    try:
        inside = next(path.iterdir(), None)
    except OSError as error:
        raise OutputError(f"cannot write into {path}: {error.strerror}; give a folder that exists") from error
    if inside is not None:
        raise OutputError(f"{path} is not empty (it holds {inside.name}); give an empty folder")
    return path
