"""A frozen coordinate as TorchScript, for PLUMED's ``PYTORCH_MODEL`` and whatever else loads it."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from mdinsight.cvs import LinearCV, NetworkCV
from mdinsight.errors import ParameterError
from mdinsight.files import atomic


def to_torchscript(model: Any, path: str | os.PathLike[str]) -> Path:
    """Write a network (or linear) coordinate as a TorchScript file.

    It takes the model's columns, (n, n_features), and gives the coordinates, (n, dim), in the precision of its input:
    single for PLUMED, double where double is given. Inside it computes in double precision.

    Parameters
    ----------
    model
        :class:`mdinsight.cvs.NetworkCV` or :class:`mdinsight.cvs.LinearCV`.
    path
        The file, ``.ptc`` by PLUMED's custom.

    Raises
    ------
    ParameterError
        If the model is neither.
    OutputError
        If the file cannot be written.
    """
    import torch

    if not isinstance(model, (LinearCV, NetworkCV)):
        raise ParameterError(
            f"{type(model).__name__} cannot be written as TorchScript; give a network or linear coordinate"
        )

    class InDouble(torch.nn.Module):
        def __init__(self, layers: Any) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: Any) -> Any:
            return self.layers(x.to(torch.float64)).type_as(x)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # PLUMED reads this format only
        warnings.filterwarnings("ignore", message=".*deprecated")
        traced = torch.jit.trace(InDouble(_layers(model)).eval(), torch.zeros(1, model.n_features))
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
    with atomic(path) as handle:
        handle.write(buffer.getvalue())
    return Path(path)


def _layers(model: LinearCV | NetworkCV) -> Any:
    from torch import nn

    if isinstance(model, LinearCV):
        return nn.Sequential(_affine(model.matrix, -model.mean @ model.matrix))
    activations = {
        "tanh": nn.Tanh(),
        "elu": nn.ELU(),
        "silu": nn.SiLU(),
        "softplus": nn.Softplus(),
        "sigmoid": nn.Sigmoid(),
        "gelu": nn.GELU(),
        "softmax": nn.Softmax(dim=-1),
        "relu": nn.ReLU(),
        "leaky_relu": nn.LeakyReLU(),
        "identity": nn.Identity(),
    }
    parts: list[Any] = []
    for i, (weight, bias, name) in enumerate(zip(model.weights, model.biases, model.activations, strict=True)):
        if i == 0:
            weight, bias = weight * model.scale[:, None], bias - (model.shift * model.scale) @ weight
        parts += [_affine(weight, bias), activations[name]]
    return nn.Sequential(*parts, _affine(model.head, -model.head_mean @ model.head))


def _affine(weight: np.ndarray, bias: np.ndarray) -> Any:
    import torch

    layer = torch.nn.Linear(*weight.shape, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.array(weight.T)))
        layer.bias.copy_(torch.from_numpy(np.array(bias)))
    return layer.requires_grad_(False)
