"""The training loop of a VAMPnet; torch is loaded here, used, and left as it was."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight import seeds
from mdinsight.cvs._network import Training
from mdinsight.errors import DegenerateError
from mdinsight.parallel import one_thread

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Pairs = tuple[np.ndarray, np.ndarray]
_REGULARISE = 1e-6
_FULL_PASS = 100_000


@dataclass(frozen=True)
class Recipe:
    """What a training needs besides its data."""

    widths: tuple[int, ...]
    activation: str
    reversible: bool
    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    seed: int
    seeds: int
    margin: float


@dataclass(frozen=True)
class Network:
    """Weights (n_in, n_out), biases (n_out,) and what follows each layer."""

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    activations: tuple[str, ...]


def train_seeds(
    recipe: Recipe, train: Pairs, validation: Pairs, split: str, linear: tuple[float, float]
) -> tuple[Network, Training]:
    """Train one network for each seed; the best by validation score, and how all fared.

    Parameters
    ----------
    recipe
        Shape of the network and of the training.
    train, validation
        Standardised pairs (x at t, y at t + lag), float32, each (n_pairs, n_features).
    split
        How the two sets were split, in words.
    linear
        What TICA scores on the two sets.

    Raises
    ------
    DegenerateError
        If every training diverges.
    """
    import torch

    tensors = [torch.from_numpy(np.ascontiguousarray(a)) for a in (*train, *validation)]
    # The layers are small: threads would spend their time waiting for each other, and rounding would hang on their
    # number.
    with one_thread():
        runs = [_train(recipe, number, tensors) for number in range(recipe.seeds)]
    scores = np.array([run.score for run in runs])
    if not np.isfinite(scores).any():
        raise DegenerateError(
            f"all {recipe.seeds} trainings diverged; take a smaller learning_rate (now {recipe.learning_rate:g}) "
            "or a larger batch_size"
        )
    chosen = int(np.nanargmax(scores))
    training = Training(
        validation=scores,
        train=np.array([run.train for run in runs]),
        epochs=np.array([run.epoch for run in runs]),
        curves=tuple(np.array(run.curve) for run in runs),
        chosen=chosen,
        margin=recipe.margin * max(float(scores[chosen]) - 1.0, 1e-12),
        linear_train=linear[0],
        linear_validation=linear[1],
        n_train=len(train[0]),
        n_validation=len(validation[0]),
        split=split,
    )
    return _frozen(recipe, runs[chosen].state), training


@dataclass
class _Run:
    score: float
    train: float
    epoch: int
    curve: list[float]
    state: dict[str, torch.Tensor]


def _train(recipe: Recipe, number: int, tensors: list[torch.Tensor]) -> _Run:
    import torch

    x, y, held_x, held_y = tensors
    net = _build(recipe, seeds.generator(recipe.seed, "vampnet weights", number))
    order = seeds.generator(recipe.seed, "vampnet batches", number)
    optimiser = torch.optim.Adam(net.parameters(), lr=recipe.learning_rate)
    score = _score_function(recipe.reversible)
    best = _Run(np.nan, np.nan, 0, [], {})
    size = min(recipe.batch_size, len(x))
    for epoch in range(1, recipe.epochs + 1):
        shuffled = torch.from_numpy(order.permutation(len(x)))
        for start in range(0, len(x) - size + 1, size):
            rows = shuffled[start : start + size]
            optimiser.zero_grad()
            loss = -score(net(x[rows]), net(y[rows]))
            if not torch.isfinite(loss):
                logger.warning("seed %d: the score is not finite in epoch %d; this training ends", number, epoch)
                return best
            loss.backward()
            optimiser.step()
        value = _evaluate(net, score, held_x, held_y)
        best.curve.append(value)
        if np.isfinite(value) and not value <= best.score:
            best.score, best.epoch, best.state = value, epoch, copy.deepcopy(net.state_dict())
        elif epoch - best.epoch >= recipe.patience:
            break
    if best.state:
        net.load_state_dict(best.state)
        best.train = _evaluate(net, score, x[:_FULL_PASS], y[:_FULL_PASS])
    return best


def _evaluate(net: Any, score: Callable[..., Any], x: torch.Tensor, y: torch.Tensor) -> float:
    import torch

    with torch.no_grad():
        a, b = (torch.cat([net(piece) for piece in data.split(_FULL_PASS)]) for data in (x, y))
        try:
            return float(score(a, b))
        except torch.linalg.LinAlgError:
            return np.nan


def _score_function(reversible: bool) -> Callable[..., Any]:
    """VAMP-2 of outputs at t and t + lag; reversible: of the pairs forward and backward."""
    import torch
    from deeptime.decomposition.deep import vamp_score

    def score(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a, b = a.double(), b.double()  # a few columns: the inverse square roots of nearly dependent outputs need it
        if reversible:
            a, b = torch.cat([a, b]), torch.cat([b, a])
        return vamp_score(a, b, method="VAMP2", mode="regularize", epsilon=_REGULARISE)

    return score


def _activations(recipe: Recipe) -> tuple[str, ...]:
    hidden = len(recipe.widths) - 2
    return (*[recipe.activation] * hidden, "identity" if recipe.reversible else "softmax")


def _build(recipe: Recipe, generator: np.random.Generator) -> torch.nn.Sequential:
    # The weights come from our own generator: torch's global one is neither read nor moved.
    import torch

    kinds = {"tanh": torch.nn.Tanh, "elu": torch.nn.ELU, "silu": torch.nn.SiLU, "identity": torch.nn.Identity}
    modules: list[Any] = []
    for n_in, n_out, name in zip(recipe.widths[:-1], recipe.widths[1:], _activations(recipe), strict=True):
        layer = torch.nn.utils.skip_init(torch.nn.Linear, n_in, n_out, dtype=torch.float32)
        bound = np.sqrt(6.0 / (n_in + n_out))
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(generator.uniform(-bound, bound, (n_out, n_in))))
            layer.bias.zero_()
        modules += [layer, torch.nn.Softmax(dim=1) if name == "softmax" else kinds[name]()]
    return torch.nn.Sequential(*modules)


def _frozen(recipe: Recipe, state: dict[str, torch.Tensor]) -> Network:
    count = len(recipe.widths) - 1
    weights = tuple(state[f"{2 * i}.weight"].numpy().astype(np.float64).T.copy() for i in range(count))
    biases = tuple(state[f"{2 * i}.bias"].numpy().astype(np.float64) for i in range(count))
    return Network(weights, biases, _activations(recipe))
