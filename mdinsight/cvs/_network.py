"""A frozen network coordinate: arrays only, evaluated and differentiated in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import erf

from mdinsight.cvs._models import CVModel
from mdinsight.records import Record
from mdinsight.results import Verdict
from mdinsight.series import TimeSeries

_SENSITIVITY_FRAMES = 2000


class Training(Record):
    """How the training went, seed by seed.

    Attributes
    ----------
    validation, train
        (n_seeds,) VAMP-2 scores of each seed's best epoch; NaN where the training diverged.
    epochs
        (n_seeds,) the best epoch of each seed.
    curves
        One array of validation scores by epoch for each seed.
    chosen
        The seed's number with the best validation score; its network is the model.
    margin
        A seed counts as a success if its validation score is within this of the best.
    linear_train, linear_validation
        The score of TICA of the same dimension, fitted on the training set, on the two sets.
    n_train, n_validation
        Pairs of frames in the two sets.
    split
        How the two sets were split.
    """

    validation: np.ndarray
    train: np.ndarray
    epochs: np.ndarray
    curves: tuple[np.ndarray, ...]
    chosen: int
    margin: float
    linear_train: float
    linear_validation: float
    n_train: int
    n_validation: int
    split: str

    @property
    def success_rate(self) -> float:
        """Fraction of the seeds that came within ``margin`` of the best validation score."""
        return float(np.mean(np.nan_to_num(self.validation, nan=-np.inf) >= self.validation[self.chosen] - self.margin))

    @property
    def verdict(self) -> Verdict:
        """Whether the seeds agree."""
        count, n = round(self.success_rate * len(self.validation)), len(self.validation)
        scores = ", ".join(f"{score:.3f}" for score in self.validation)
        if self.linear_train - 1.0 > 0.1 and self.linear_validation - 1.0 < 0.5 * (self.linear_train - 1.0):
            return Verdict(
                "training",
                False,
                f"the data held out hardly show the slow process (TICA scores {self.linear_train:.3f} on the training data, "
                f"{self.linear_validation:.3f} on those), so when to stop and which seed to keep rest on faster ones",
                "More trajectories that visit it are needed",
            )
        return Verdict(
            "training",
            n > 1 and self.success_rate >= 0.5,
            f"{count} of {n} seeds came within {self.margin:.2g} of the best validation VAMP-2 (scores {scores})",
            "The result hangs on the seed; train more seeds, a smaller learning rate or a smaller network",
        )


def _softmax(z: np.ndarray) -> np.ndarray:
    shifted = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def _silu(z: np.ndarray) -> np.ndarray:
    return z * _sigmoid(z)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def _elu(z: np.ndarray) -> np.ndarray:
    return np.where(z > 0.0, z, np.expm1(np.minimum(z, 0.0)))


def _softplus(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))


def _normal(z: np.ndarray) -> np.ndarray:
    """Cumulative distribution of the standard normal."""
    return np.asarray(0.5 * (1.0 + erf(z * np.sqrt(0.5))))


_FORWARD: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "elu": _elu,
    "silu": _silu,
    "softmax": _softmax,
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0.0),
    "leaky_relu": lambda z: np.where(z > 0.0, z, LEAK * z),
    "softplus": _softplus,
    "sigmoid": _sigmoid,
    "gelu": lambda z: z * _normal(z),
}

# Each takes (input z, output a, gradient with respect to a) to the gradient with respect to z.
_BACKWARD: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "tanh": lambda z, a, g: g * (1.0 - a * a),
    "elu": lambda z, a, g: g * np.where(z > 0.0, 1.0, a + 1.0),
    "silu": lambda z, a, g: g * (_sigmoid(z) * (1.0 + z - a)),
    "softmax": lambda z, a, g: a * (g - np.sum(a * g, axis=-1, keepdims=True)),
    "identity": lambda z, a, g: g,
    "relu": lambda z, a, g: np.where(z > 0.0, g, 0.0),
    "leaky_relu": lambda z, a, g: g * np.where(z > 0.0, 1.0, LEAK),
    "softplus": lambda z, a, g: g * _sigmoid(z),
    "sigmoid": lambda z, a, g: g * (a * (1.0 - a)),
    "gelu": lambda z, a, g: g * (_normal(z) + z * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)),
}

LEAK = 0.01
"""Slope of leaky_relu below zero, as PyTorch has it by default."""

KNOWN = tuple(_FORWARD)
"""What may follow a layer; each as PyTorch defines it by default (elu with alpha 1, softplus with beta 1, gelu exact)."""

KINKED = ("relu", "leaky_relu")
"""Of those, the ones whose slope jumps."""

ACTIVATIONS = ("tanh", "elu", "silu")
"""Smooth, so the force of a bias on the coordinate is continuous."""


class NetworkCV(CVModel):
    """A network and a linear map of its outputs: ``(net((x - shift) * scale) - head_mean) @ head``.

    ``weights[i]`` has shape (n_in, n_out), ``biases[i]`` (n_out,), ``activations[i]`` names what follows the layer:
    one of ``tanh elu silu softplus sigmoid gelu softmax identity``, or ``relu leaky_relu``, whose force jumps. There is no
    torch in it. ``training`` says how the seeds fared; it is None for a network that was given
    (:func:`mdinsight.cvs.from_layers`).
    """

    shift: np.ndarray
    scale: np.ndarray
    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    activations: tuple[str, ...]
    head_mean: np.ndarray
    head: np.ndarray
    training: Training | None = None

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """The network's outputs (n_frames, n_outputs), before the linear map."""
        a = (np.asarray(x, np.float64) - self.shift) * self.scale
        for weight, bias, name in zip(self.weights, self.biases, self.activations, strict=True):
            a = _FORWARD[name](a @ weight + bias)
        return a

    def values(self, x: np.ndarray) -> np.ndarray:
        """Coordinates (n_frames, dim) of rows (n_frames, n_features)."""
        return np.asarray((self.outputs(x) - self.head_mean) @ self.head)

    def value_and_vjp(self, x: np.ndarray, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value (dim,) at one frame and the gradient (n_features,); see :meth:`CVModel.value_and_vjp`."""
        value, gradient = self._backward(np.asarray(x, np.float64)[None], np.asarray(cotangent, np.float64)[None])
        return value[0], gradient[0]

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """(n_frames, dim, n_features) derivatives of the coordinates at rows (n_frames, n_features)."""
        x = np.asarray(x, np.float64)
        columns = [self._backward(x, np.broadcast_to(unit, (len(x), self.dim)))[1] for unit in np.eye(self.dim)]
        return np.stack(columns, axis=1)

    def _backward(self, x: np.ndarray, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a = (x - self.shift) * self.scale
        trace = []
        for weight, bias, name in zip(self.weights, self.biases, self.activations, strict=True):
            z = a @ weight + bias
            a = _FORWARD[name](z)
            trace.append((z, a))
        value = (a - self.head_mean) @ self.head
        g = cotangent @ self.head.T
        for (z, out), weight, name in zip(
            reversed(trace), reversed(self.weights), reversed(self.activations), strict=True
        ):
            g = _BACKWARD[name](z, out, g) @ weight.T
        return value, g * self.scale

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether the seeds agree, the lag resolves the slowest process and the data are long enough.

        Of a network that was given: whether the force of a bias on it is continuous.
        """
        kinked = [name for name in dict.fromkeys(self.activations) if name in KINKED]
        found = [self.training.verdict] if self.training is not None else []
        if kinked:
            found.append(
                Verdict(
                    "smoothness",
                    False,
                    f"{' and '.join(kinked)} has a kink, so the force of a bias on the coordinate jumps there",
                    "Train with tanh, elu, silu, softplus or gelu, or take a shorter time step",
                )
            )
        return (*found, *super().verdicts())


def sensitivities(model: NetworkCV, rows: np.ndarray) -> np.ndarray:
    """(n_features, dim) mean |gradient| x standard deviation over rows, each coordinate's sum to one."""
    slopes = np.abs(model.jacobian(rows)).mean(axis=0).T * model.deviations[:, None]
    total = slopes.sum(axis=0)
    return np.divide(slopes, total, out=np.zeros_like(slopes), where=total > 0.0)


def correlate(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n_features, dim) correlations of the columns of two arrays of rows; zero where one does not vary."""
    a, b = x - x.mean(axis=0), values - values.mean(axis=0)
    spread = np.outer(np.sqrt((a**2).mean(axis=0)), np.sqrt((b**2).mean(axis=0)))
    return np.divide(a.T @ b / len(a), spread, out=np.zeros_like(spread), where=spread > 0.0)


def thinned(series: TimeSeries) -> np.ndarray:
    """About 2000 rows out of all trajectories, float64; enough for sensitivities."""
    step = max(1, series.n_frames // _SENSITIVITY_FRAMES)
    return np.concatenate([array[::step] for array in series.arrays]).astype(np.float64)
