"""A PyTorch module as layers: its parts are read one after another, and the result must equal the module on random input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mdinsight import seeds
from mdinsight.cvs._layers import from_layers
from mdinsight.cvs._network import NetworkCV
from mdinsight.errors import ParameterError

_SAME = {
    "Tanh": "tanh",
    "SiLU": "silu",
    "Sigmoid": "sigmoid",
    "ReLU": "relu",
}
_NOTHING = ("Identity", "Dropout", "Dropout1d", "AlphaDropout", "FeatureAlphaDropout")
_CHECKED_ROWS = 64


def from_torch(
    module: Any,
    features: Any,
    *,
    topology: Any = None,
    names: Sequence[str] | None = None,
    X: Any = None,
    source: str = "PyTorch",
) -> NetworkCV:
    """A trained PyTorch module as a coordinate; there is no torch in the result.

    ``torch.nn.Sequential`` of ``Linear``, ``BatchNorm1d``, ``Dropout``, ``Identity`` and activations (``Tanh ELU SiLU
    Softplus Sigmoid GELU Softmax ReLU LeakyReLU``), nested or wrapped in modules that do no more than run their parts one
    after another; scripted modules too. They are read as they are in evaluation mode: dropout is left out, batch
    normalization is folded into the next layer.

    Parameters
    ----------
    module
        The module; its mode is left as it was.
    features, topology, names, X, source
        As for :func:`mdinsight.cvs.from_layers`; the module's input is the features themselves.

    Returns
    -------
    NetworkCV
        Equal to the module on random input to the module's precision, or an error.

    Raises
    ------
    ParameterError
        If a part is not known (it is named), or the module does something else than its parts one after another.
    """
    return from_steps(module, steps_of(module), features, topology=topology, names=names, X=X, source=source)


@dataclass
class Affine:
    """``x @ weight + bias``; with a weight of fewer than two dimensions ``x * weight + bias``."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass
class Activation:
    """An activation by its name."""

    name: str


Step = Affine | Activation
Reader = Callable[[Any], list[Step]]


@dataclass
class Chain:
    """Layers out of steps: affine maps on end become one."""

    shift: np.ndarray
    scale: np.ndarray
    weights: list[np.ndarray] = field(default_factory=list)
    biases: list[np.ndarray] = field(default_factory=list)
    activations: list[str] = field(default_factory=list)


def from_steps(module: Any, steps: Sequence[Step], features: Any, **options: Any) -> NetworkCV:
    """The coordinate of steps, once it is seen to equal the module."""
    chain = chained(steps)
    model = from_layers(
        features,
        chain.weights,
        chain.biases,
        chain.activations,
        shift=chain.shift,
        scale=chain.scale,
        **options,
    )
    check_equal(module, model)
    return model


def steps_of(module: Any, readers: dict[str, Reader] | None = None, skip: Sequence[str] = ()) -> list[Step]:
    """The steps of a module; parts with children are read child by child, those named in ``skip`` left out.

    Raises
    ------
    ParameterError
        If a part is not known.
    """
    return list(_walk(module, "", {**_READERS, **(readers or {})}, skip))


def _walk(module: Any, path: str, readers: dict[str, Reader], skip: Sequence[str]) -> Iterator[Step]:
    kind = kind_of(module)
    where = f"{path} ({kind})" if path else kind
    if kind in readers:
        try:
            yield from readers[kind](module)
        except ParameterError as error:
            raise ParameterError(f"{where}: {error}") from None
        return
    children = [(name, child) for name, child in module.named_children() if name not in skip]
    own = list(module.parameters(recurse=False))
    if not children or own:
        raise ParameterError(
            f"{where} is no part that can be read; known are {', '.join(sorted(readers))}. Give the network as layers to "
            "cvs.from_layers"
        )
    for name, child in children:
        yield from _walk(child, f"{path}.{name}" if path else name, readers, skip)


def kind_of(module: Any) -> str:
    """Name of a module's class, also where it was scripted."""
    return str(getattr(module, "original_name", type(module).__name__))


def numbers(tensor: Any) -> np.ndarray:
    """A tensor as a float64 array."""
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float64)


def chained(steps: Sequence[Step]) -> Chain:
    """Layers: each the affine maps before an activation multiplied out; scaling at the beginning is kept apart."""
    rest = list(steps)
    width = next((len(step.weight) for step in rest if isinstance(step, Affine) and step.weight.ndim), 0)
    if not width:
        raise ParameterError("the module has no Linear part, so it is no network of layers")
    chain = Chain(np.zeros(width), np.ones(width))
    first = rest[0]
    if isinstance(first, Affine) and first.weight.ndim == 1 and (first.weight != 0.0).all():
        chain.shift, chain.scale = -first.bias / first.weight, first.weight
        rest = rest[1:]
    weight, bias = np.eye(width), np.zeros(width)
    fresh = True
    for step in rest:
        if isinstance(step, Affine):
            if step.weight.ndim < 2:
                weight, bias = weight * step.weight, bias * step.weight + step.bias
            else:
                weight, bias = weight @ step.weight, bias @ step.weight + step.bias
            fresh = False
            continue
        _layer(chain, weight, bias, step.name)
        weight, bias = np.eye(len(bias)), np.zeros(len(bias))
        fresh = True
    if not fresh or not chain.weights:
        _layer(chain, weight, bias, "identity")
    return chain


def _layer(chain: Chain, weight: np.ndarray, bias: np.ndarray, activation: str) -> None:
    chain.weights.append(weight)
    chain.biases.append(bias)
    chain.activations.append(activation)


def check_equal(module: Any, model: NetworkCV) -> None:
    """Refuse a model whose values on random input are not those of the module.

    Raises
    ------
    ParameterError
        Saying by how much they differ.
    """
    import torch

    generator = seeds.generator(0, "equal to the module")
    x = generator.normal(size=(_CHECKED_ROWS, model.n_features)) / np.where(model.scale == 0.0, 1.0, model.scale)
    x += model.shift
    tensors = [*module.parameters(), *module.buffers()]
    like = next((t for t in tensors if t.is_floating_point()), torch.zeros(0))
    x = x.astype(str(like.dtype).rsplit(".", maxsplit=1)[-1]) if like.dtype in (torch.float32, torch.float64) else x
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            wanted = numbers(module(torch.as_tensor(x, dtype=like.dtype, device=like.device)))
    except RuntimeError as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        raise ParameterError(
            f"{kind_of(module)} cannot be run on ({len(x)}, {model.n_features}) numbers ({reason.strip()}); give the network "
            "as layers to cvs.from_layers"
        ) from error
    finally:
        for part, mode in modes:
            part.train(mode)
    got = model.values(x)
    wanted = wanted.reshape(len(x), -1) if wanted.size % len(x) == 0 else wanted
    if wanted.shape != got.shape:
        raise ParameterError(
            f"the module gives {wanted.shape[1:]} values a frame, its parts one after another {got.shape[1]}; "
            "give nn.Sequential of the parts that make the coordinate, or the layers to cvs.from_layers"
        )
    off = float(np.abs(got - wanted).max() / max(1e-30, np.abs(wanted).max()))
    if not off <= (1e-9 if like.dtype == torch.float64 else 1e-3 if like.dtype.itemsize < 4 else 1e-4):
        raise ParameterError(
            f"{kind_of(module)} does something else than its parts one after another (values differ by {off:.1%}); "
            "give nn.Sequential of the parts that make the coordinate, or the layers to cvs.from_layers"
        )


def _linear(module: Any) -> list[Step]:
    weight = numbers(module.weight).T
    return [Affine(weight, numbers(module.bias) if module.bias is not None else np.zeros(weight.shape[1]))]


def _batch_norm(module: Any) -> list[Step]:
    if module.running_mean is None:
        raise ParameterError("it keeps no running mean, so its output depends on the other frames of a batch")
    scale = 1.0 / np.sqrt(numbers(module.running_var) + float(getattr(module, "eps", 1e-5)))
    bias = -numbers(module.running_mean) * scale
    if module.weight is not None:
        gain = numbers(module.weight)
        scale, bias = scale * gain, bias * gain + numbers(module.bias)
    return [Affine(scale, bias)]


def _elu(module: Any) -> list[Step]:
    _default(module, "alpha", 1.0)
    return [Activation("elu")]


def _leaky(module: Any) -> list[Step]:
    _default(module, "negative_slope", 0.01)
    return [Activation("leaky_relu")]


def _gelu(module: Any) -> list[Step]:
    _default(module, "approximate", "none")
    return [Activation("gelu")]


def _softmax(module: Any) -> list[Step]:
    if getattr(module, "dim", None) not in (None, 1, -1):
        raise ParameterError(f"dim={module.dim} is not over the values of one frame; use dim=1")
    return [Activation("softmax")]


def _softplus(module: Any) -> list[Step]:
    beta = float(getattr(module, "beta", 1.0))
    steps: list[Step] = [Activation("softplus")]
    return steps if beta == 1.0 else [_times(beta), *steps, _times(1.0 / beta)]


def _times(factor: float) -> Affine:
    return Affine(np.array(factor), np.zeros(()))


def _default(module: Any, name: str, value: Any) -> None:
    found = getattr(module, name, value)
    same = math.isclose(found, value) if isinstance(value, float) else found == value
    if not same:
        raise ParameterError(f"{name}={found!r} is not supported, only {value!r}")


def _named(name: str) -> Reader:
    return lambda module: [Activation(name)]


_READERS: dict[str, Reader] = {
    **{kind: _named(name) for kind, name in _SAME.items()},
    **{kind: (lambda module: []) for kind in _NOTHING},
    "Linear": _linear,
    "BatchNorm1d": _batch_norm,
    "ELU": _elu,
    "LeakyReLU": _leaky,
    "GELU": _gelu,
    "Softmax": _softmax,
    "Softplus": _softplus,
}
