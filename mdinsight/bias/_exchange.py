"""Coordinates that mlcolvar or deeptime have trained, as frozen coordinates of mdinsight. Neither is needed to import this."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from mdinsight import seeds
from mdinsight.cvs import CVModel, LinearCV, NetworkCV, from_linear, from_torch
from mdinsight.cvs._columns import columns_of
from mdinsight.cvs._modules import Activation, Affine, Reader, Step, from_steps, numbers, steps_of
from mdinsight.errors import FormatError, ParameterError

_NOT_THE_COORDINATE = ("decoder", "log_var_nn", "loss_fn")
_AROUND = ("preprocessing", "postprocessing")


def from_mlcolvar(
    cv: Any,
    features: Any,
    *,
    topology: Any = None,
    names: Sequence[str] | None = None,
    X: Any = None,
) -> NetworkCV:
    """A coordinate trained with mlcolvar (DeepTICA, DeepTDA, DeepLDA, RegressionCV, autoencoders, committors ...).

    Its blocks (normalization, network, TICA or LDA) are read one after another and become layers; the result is checked to
    equal the coordinate on random input. The decoder of an autoencoder is left out, as mlcolvar does.

    Parameters
    ----------
    cv
        The trained coordinate, or the TorchScript file that ``cv.to_torchscript`` wrote.
    features
        What it was trained on, in the order of its inputs: a feature definition (with ``topology``), the TimeSeries that one
        made, or None. mlcolvar itself only knows columns of numbers: torsions are given there as sine and cosine, so mind
        their order.
    topology, names, X
        As for :func:`mdinsight.cvs.from_layers`.

    Raises
    ------
    ParameterError
        If a block is not known (it is named), or the coordinate does something else than its blocks one after another.
    FormatError
        If the file is no TorchScript.
    """
    module, source = _loaded(cv) if isinstance(cv, (str, os.PathLike)) else (cv, f"mlcolvar {type(cv).__name__}")
    if not hasattr(module, "named_children"):
        raise ParameterError(
            f"{type(cv).__name__} is no coordinate of mlcolvar; give the trained model or its TorchScript file"
        )
    children = dict(module.named_children())
    steps: list[Step] = []
    if "preprocessing" in children:
        steps += steps_of(children["preprocessing"], _READERS)
    steps += steps_of(module, _READERS, (*_NOT_THE_COORDINATE, *_AROUND))
    if "postprocessing" in children:
        steps += steps_of(children["postprocessing"], _READERS)
    return from_steps(module, steps, features, topology=topology, names=names, X=X, source=source)


def from_deeptime(
    model: Any,
    features: Any,
    *,
    topology: Any = None,
    names: Sequence[str] | None = None,
    X: Any = None,
) -> CVModel:
    """A coordinate fitted with deeptime: TICA, VAMP (a linear one), or the lobe of a VAMPnet or KVAD (a network).

    Parameters
    ----------
    model
        The model, or the estimator after ``fit``.
    features
        What it was fitted on: a feature definition (with ``topology``), the TimeSeries that one made, or None.
    topology, names, X
        As for :func:`mdinsight.cvs.from_layers`.

    Returns
    -------
    LinearCV or NetworkCV
        Equal to ``model.transform``; of a VAMPnet the instantaneous lobe.

    Raises
    ------
    ParameterError
        If the model is not known, or is not linear in the features although it has no network.
    """
    if hasattr(model, "fetch_model"):
        model = model.fetch_model()
        if model is None:
            raise ParameterError("the estimator has no model yet; call fit first")
    source = f"deeptime {type(model).__name__}"
    if hasattr(model, "lobe"):
        return from_torch(model.lobe, features, topology=topology, names=names, X=X, source=source)
    coefficients = getattr(model, "instantaneous_coefficients", None)
    if coefficients is None or not hasattr(model, "transform"):
        raise ParameterError(
            f"{type(model).__name__} is neither a TICA or VAMP model nor a VAMPnet of deeptime; "
            "give a linear map to cvs.from_linear, or a network to cvs.from_torch"
        )
    n = len(coefficients)
    columns_of(features, topology, n)  # so that a wrong number of columns is said before anything else
    return _affine(model.transform, n, features, source, topology=topology, names=names, X=X)


def _affine(function: Any, n: int, features: Any, source: str, **options: Any) -> LinearCV:
    """A function of rows that is affine, read off at the origin and the unit vectors."""
    at_zero = np.asarray(function(np.zeros((1, n))), dtype=np.float64)[0]
    matrix = np.asarray(function(np.eye(n)), dtype=np.float64) - at_zero
    # (x - mean) @ matrix = x @ matrix + at_zero has such a mean, as the constant stems from one
    mean = -np.linalg.lstsq(matrix.T, at_zero, rcond=None)[0]
    x = seeds.generator(0, "affine").normal(size=(16, n))
    wanted = np.asarray(function(x), dtype=np.float64)
    if not np.allclose((x - mean) @ matrix, wanted, rtol=1e-8, atol=1e-8 * max(1.0, np.abs(wanted).max())):
        raise ParameterError(
            f"{source} is not linear in the features (it was fitted on functions of them); give those functions as features"
        )
    return from_linear(features, matrix, mean, source=source, **options)


def _loaded(path: Any) -> tuple[Any, str]:
    import torch

    try:
        return torch.jit.load(os.fspath(path), map_location="cpu"), f"TorchScript {os.path.basename(path)}"
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise FormatError(f"{path} is no TorchScript file ({reason}); write it with cv.to_torchscript") from error


def _normalization(module: Any) -> list[Step]:
    scale = 1.0 / numbers(module.range)
    return [Affine(scale, -numbers(module.mean) * scale)]


def _projection(module: Any) -> list[Step]:
    matrix = numbers(module.evecs)
    mean = getattr(module, "mean", None)
    return [Affine(matrix, np.zeros(matrix.shape[1]) if mean is None else -numbers(mean) @ matrix)]


def _shifted_softplus(module: Any) -> list[Step]:
    beta = float(getattr(module, "beta", 1.0))
    back = Affine(np.array(1.0 / beta), np.array(-math.log(2.0) / beta))
    return [Affine(np.array(beta), np.zeros(())), Activation("softplus"), back]


def _steep_sigmoid(module: Any) -> list[Step]:
    return [Affine(np.array(float(getattr(module, "p", 3.0))), np.zeros(())), Activation("sigmoid")]


_READERS: dict[str, Reader] = {
    "Normalization": _normalization,
    "TICA": _projection,
    "LDA": _projection,
    "PCA": _projection,
    "Shifted_Softplus": _shifted_softplus,
    "Custom_Sigmoid": _steep_sigmoid,
}
