"""Coordinates that were not fitted here but given as numbers: a network as layers, a linear map as a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mdinsight.cvs._base import meaning, varying_columns
from mdinsight.cvs._blocks import bootstrap_groups
from mdinsight.cvs._columns import check_columns, columns_of
from mdinsight.cvs._models import LinearCV
from mdinsight.cvs._moments import Moments, block_moments, combine
from mdinsight.cvs._network import KNOWN, NetworkCV, correlate, sensitivities, thinned
from mdinsight.errors import NonFiniteError, ParameterError
from mdinsight.series import TimeSeries, as_series
from mdinsight.words import some


def from_layers(
    features: Any,
    weights: Sequence[Any],
    biases: Sequence[Any],
    activations: Sequence[str],
    *,
    topology: Any = None,
    shift: Any = None,
    scale: Any = None,
    head: Any = None,
    head_mean: Any = None,
    names: Sequence[str] | None = None,
    X: Any = None,
    source: str = "layers",
) -> NetworkCV:
    """A network trained elsewhere as a coordinate: ``(net((x - shift) * scale) - head_mean) @ head``.

    Parameters
    ----------
    features
        What the network takes, in its order: a feature definition (with ``topology``), the TimeSeries that one made, a
        coordinate on the same columns, or None for plain arrays (which cannot be biased).
    weights
        One array (n_in, n_out) a layer: PyTorch's ``Linear.weight`` transposed.
    biases
        One array (n_out,) a layer.
    activations
        What follows each layer, as PyTorch defines it by default: ``"tanh"``, ``"elu"``, ``"silu"``, ``"softplus"``,
        ``"sigmoid"``, ``"gelu"``, ``"softmax"``, ``"identity"``; ``"relu"`` and ``"leaky_relu"`` work, but their force
        jumps, and :meth:`NetworkCV.verdicts` says so.
    topology
        An ``mdtraj.Topology``, or the trajectories.
    shift, scale
        (n_in,) taken from, then multiplied with, the columns; by default 0 and 1. For a mean and a standard deviation
        give ``shift=mean, scale=1 / std``.
    head, head_mean
        (n_outputs, dim) and (n_outputs,) of a linear map of the network's outputs; by default the outputs themselves.
    names
        Names of the coordinates; by default ``CV 1``, ``CV 2`` ...
    X
        Features of some trajectories, for :meth:`NetworkCV.explain`; by default ``features`` if that is a TimeSeries.
    source
        Where it came from, as ``summary()`` says it.

    Raises
    ------
    ParameterError
        If the shapes do not fit each other or the columns, or an activation is not known.
    NonFiniteError
        If a number is NaN or infinite.
    """
    if not weights or not len(weights) == len(biases) == len(activations):
        raise ParameterError(
            f"{len(weights)} weights, {len(biases)} biases and {len(activations)} activations; give one of each for every "
            "layer (the activation 'identity' where none follows)"
        )
    unknown = [repr(name) for name in activations if name not in KNOWN]
    if unknown:
        raise ParameterError(f"{some(unknown)} is no activation known here; known are {', '.join(KNOWN)}")
    layers = [_array(w, 2, f"weights[{i}]") for i, w in enumerate(weights)]
    offsets = [_array(b, 1, f"biases[{i}]") for i, b in enumerate(biases)]
    _check_chain(layers, offsets)
    n_in, n_out = layers[0].shape[0], layers[-1].shape[1]
    head = np.eye(n_out) if head is None else _array(head, 2, "head")
    zero, one = np.zeros(n_in), np.ones(n_in)
    arrays: dict[str, Any] = {
        "shift": _vector(shift, zero, "shift"),
        "scale": _vector(scale, one, "scale"),
        "head_mean": _vector(head_mean, np.zeros(n_out), "head_mean"),
    }
    if head.shape[0] != n_out:
        raise ParameterError(f"head has shape {head.shape}, the network {n_out} outputs; give ({n_out}, dim)")
    model = NetworkCV(
        kind="network",
        weights=tuple(layers),
        biases=tuple(offsets),
        activations=tuple(activations),
        head=head,
        **arrays,
        **_fields(features, topology, n_in, head.shape[1], names, source),
    )
    series = _data(features, X, model)
    if series is None:
        return model
    rows = thinned(series)
    model = model.replace(n_frames=series.n_frames, deviations=rows.std(axis=0))
    return model.replace(shares=sensitivities(model, rows), correlations=correlate(rows, model.values(rows)))


def from_linear(
    features: Any,
    matrix: Any,
    mean: Any = None,
    *,
    topology: Any = None,
    names: Sequence[str] | None = None,
    X: Any = None,
    source: str = "matrix",
) -> LinearCV:
    """A linear coordinate found elsewhere: ``(x - mean) @ matrix``.

    Parameters
    ----------
    features, topology, names, X, source
        As for :func:`from_layers`.
    matrix
        (n_features, dim).
    mean
        (n_features,); by default 0.

    Raises
    ------
    ParameterError
        If the shapes do not fit each other or the columns.
    NonFiniteError
        If a number is NaN or infinite.
    """
    matrix = _array(np.asarray(matrix)[:, None] if np.ndim(matrix) == 1 else matrix, 2, "matrix")
    n, dim = matrix.shape
    model = LinearCV(
        kind="linear",
        mean=_vector(mean, np.zeros(n), "mean"),
        matrix=matrix,
        **_fields(features, topology, n, dim, names, source),
    )
    series = _data(features, X, model)
    if series is None:
        return model
    total: Moments = combine(block_moments(series, 0, bootstrap_groups(series, 0)))
    keep = varying_columns(total, series.names)
    described = meaning(total.only(keep), matrix[keep], keep, n)
    return model.replace(n_frames=series.n_frames, **described)


def _fields(features: Any, topology: Any, n: int, dim: int, names: Sequence[str] | None, source: str) -> dict[str, Any]:
    """What a given coordinate has in place of the figures of a fit."""
    columns, definition = columns_of(features, topology, n)
    named = tuple(f"CV {i + 1}" for i in range(dim)) if names is None else tuple(str(name) for name in names)
    if len(named) != dim or len(set(named)) != dim:
        raise ParameterError(f"names={named!r}; the coordinate has {dim} values, give each a name of its own")
    return {
        "columns": columns,
        "features": definition,
        "lag": 0,
        "dt": None,
        "settings": {"names": named, "source": source},
        "eigenvalues": np.zeros(0),
        "samples": np.zeros((0, 0)),
        "block_frames": 0.0,
        "n_blocks": 0,
        "n_frames": 0,
        "deviations": np.zeros(n),
        "correlations": np.zeros((n, dim)),
        "shares": np.zeros((n, dim)),
    }


def _data(features: Any, X: Any, model: LinearCV | NetworkCV) -> TimeSeries | None:
    if X is None and not isinstance(features, TimeSeries):
        return None
    series = as_series(features if X is None else X)
    check_columns(series.columns, model.columns, model.kind)
    return series


def _array(value: Any, ndim: int, name: str) -> np.ndarray:
    array = np.array(value, dtype=np.float64)
    if array.ndim != ndim or array.size == 0:
        shape = "(n_in, n_out)" if ndim == 2 else "(n,)"
        raise ParameterError(f"{name} has shape {array.shape}; give one of shape {shape}")
    if not np.isfinite(array).all():
        raise NonFiniteError(
            f"{name} holds {int((~np.isfinite(array)).sum())} numbers that are not finite; the training diverged"
        )
    return array


def _vector(value: Any, default: np.ndarray, name: str) -> np.ndarray:
    if value is None:
        return default
    array = _array(np.broadcast_to(value, default.shape) if np.ndim(value) == 0 else value, 1, name)
    if array.shape != default.shape:
        raise ParameterError(f"{name} has shape {array.shape}; give {default.shape}")
    return array


def _check_chain(weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> None:
    width = weights[0].shape[0]
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if weight.shape[0] != width or bias.shape != weight.shape[1:]:
            raise ParameterError(
                f"layer {i} has weights of shape {weight.shape} and biases of shape {bias.shape} after {width} values; "
                f"give ({width}, n_out) and (n_out,): PyTorch's Linear.weight must be transposed"
            )
        width = weight.shape[1]
