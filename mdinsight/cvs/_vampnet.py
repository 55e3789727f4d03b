"""VAMPnets: nonlinear slow coordinates and soft states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from mdinsight import seeds as generators
from mdinsight.cvs._base import (
    CVEstimator,
    bootstrap,
    check_choice,
    check_count,
    check_dim,
    check_lag,
    check_positive,
    varying_columns,
)
from mdinsight.cvs._blocks import Block, Folds, bootstrap_groups, make_folds, pairs_in, typical_length
from mdinsight.cvs._decompose import Modes, reversible_modes, singular_modes, vamp2
from mdinsight.cvs._moments import Moments, block_moments, combine
from mdinsight.cvs._network import ACTIVATIONS, NetworkCV, Training, correlate, sensitivities, thinned
from mdinsight.cvs._training import Network, Recipe, train_seeds
from mdinsight.errors import DegenerateError, ParameterError
from mdinsight.parallel import one_thread
from mdinsight.series import TimeSeries, as_series

_HEAD_EPSILON = 1e-8
_SPLITS = 5


class VAMPNet(CVEstimator):
    r"""A network trained on the VAMP-2 score, frozen as arrays.

    Several networks are trained from different seeds, each stopped early by the score on data held out; the best of
    them by that score becomes the model, and ``model.training`` says how each fared and how many came near the best.

    Parameters
    ----------
    lag
        Lag time: an int (frames) or a time such as ``"10 ps"``.
    dim
        Number of coordinates, or of soft states.
    kind
        ``"coordinates"``: reversible, the outputs are followed by TICA on them, so the coordinates come slowest first,
        uncorrelated and of unit variance (state-free reversible VAMPnets; Chen, Sidky and Ferguson 2019,
        doi 10.1063/1.5092521). ``"states"``: the outputs are softmax memberships that sum to one (Mardt et al. 2018,
        doi 10.1038/s41467-017-02388-1).
    layers
        Widths of the hidden layers.
    activation
        ``"tanh"``, ``"elu"`` or ``"silu"``: smooth, so that a bias on the coordinate has a continuous force.
    seeds
        How many networks are trained.
    seed
        Of the split and of all networks.
    epochs, patience
        Most passes over the training data; a training ends after ``patience`` passes without a better validation score.
    batch_size
        Pairs in a step. The score of a small batch is biased upwards, so keep it at several hundred or more.
    learning_rate
        Of Adam.
    validation
        Part of the data held out: trajectories, or blocks longer than the lag where there are few. Of the possible parts
        the one is taken that shows the slow processes best by TICA, so that stopping does not rest on fast ones.
    margin
        A seed is a success if it comes within this part of the best's score above 1.
    n_bootstrap
        Resamplings for the intervals of the timescales, with the network held fixed; 0 for none.

    Notes
    -----
    Columns are standardised first. Training uses PyTorch on one core of the CPU, with generators of its own: the global
    generators and defaults are left as they are, and a seed gives the same model again on the same machine.
    """

    def __init__(
        self,
        lag: Any,
        dim: int = 2,
        kind: str = "coordinates",
        layers: Sequence[int] = (32, 32),
        activation: str = "tanh",
        seeds: int = 3,
        seed: int = 0,
        epochs: int = 100,
        patience: int = 10,
        batch_size: int = 1000,
        learning_rate: float = 5e-3,
        validation: float = 0.2,
        margin: float = 0.05,
        n_bootstrap: int = 100,
    ) -> None:
        self.lag = lag
        self.dim = dim
        self.kind = kind
        self.layers = layers
        self.activation = activation
        self.seeds = seeds
        self.seed = seed
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation = validation
        self.margin = margin
        self.n_bootstrap = n_bootstrap

    def check(self) -> None:
        """Refuse parameters that cannot be."""
        check_lag("VAMPNet", self.lag)
        check_choice("kind", self.kind, ("coordinates", "states"))
        check_choice("activation", self.activation, ACTIVATIONS)
        check_dim(self.dim)
        check_count("dim", self.dim, 2 if self.kind == "states" else 1)
        for name, least in (("seeds", 1), ("epochs", 1), ("patience", 1), ("batch_size", 10), ("n_bootstrap", 0)):
            check_count(name, getattr(self, name), least)
        for width in self.layers:
            check_count("layers", width, 1)
        check_positive("learning_rate", self.learning_rate)
        check_positive("margin", self.margin)
        if not 0.0 < check_positive("validation", self.validation) <= 0.5:
            raise ParameterError(
                f"validation={self.validation!r} is not a part of the data; give a number from 0 to 0.5"
            )

    def fit(self, X: TimeSeries | np.ndarray | Sequence[np.ndarray], y: None = None) -> Self:
        """Train the networks and freeze the best.

        Raises
        ------
        ParameterError
            If a parameter has a value that it cannot have.
        LagError
            If the data are too short for the lag and a validation set.
        DegenerateError
            If no column varies, or every training diverges.
        """
        self.check()
        series = as_series(X, "VAMPNet")
        lag = series.lag_frames(self.lag, "VAMPNet: lag")
        groups = bootstrap_groups(series, lag)
        with one_thread(series.n_columns):
            total = combine(block_moments(series, lag, groups)).symmetrized()
            keep = varying_columns(total, series.names)
            split, fold, linear = self._held_out(series, lag, keep)
        shift, scale = total.mean_0.copy(), np.zeros(series.n_columns)
        scale[keep] = 1.0 / np.sqrt(np.diag(total.c00)[keep])
        recipe = Recipe(
            widths=(series.n_columns, *self.layers, self.dim),
            activation=self.activation,
            reversible=self.kind == "coordinates",
            epochs=self.epochs,
            patience=self.patience,
            batch_size=self.batch_size,
            learning_rate=float(self.learning_rate),
            seed=self.seed,
            seeds=self.seeds,
            margin=self.margin,
        )
        train, held_out = (
            _standardised(series, pairs_in(b, lag), lag, shift, scale) for b in (split.train(fold), split.test(fold))
        )
        network, training = train_seeds(
            recipe, train, held_out, f"{split.how}, one part in {len(split)} held out", linear
        )
        self.model_ = self._freeze(series, lag, groups, (shift, scale), network, training)
        return self

    def _held_out(self, series: TimeSeries, lag: int, keep: np.ndarray) -> tuple[Folds, int, tuple[float, float]]:
        """A split, the fold to hold out, and TICA's scores on the rest and on that fold.

        Where a process is seldom visited, most folds do not hold it, and a training stopped by such a fold learns fast
        processes only. So of a few splits the fold is taken for which the lower of the two linear scores is highest.
        """
        best: list[tuple[Folds, int, tuple[float, float]]] = []
        for attempt in range(_SPLITS):
            seed = generators.integer(self.seed, "held out", attempt)
            split = make_folds(series, lag, max(2, round(1.0 / self.validation)), seed, warn=False)
            moments = block_moments(series, lag, [pairs_in(blocks, lag) for blocks in split.blocks])
            fold, scores = _most_telling([part.only(keep) for part in moments], int(self.dim))
            best.append((split, fold, scores))
            if min(scores) - 1.0 > 0.8 * (max(scores) - 1.0):
                break
        return max(best, key=lambda found: min(found[2]))

    def _freeze(
        self,
        series: TimeSeries,
        lag: int,
        groups: Sequence[Sequence[Block]],
        standardise: tuple[np.ndarray, np.ndarray],
        network: Network,
        training: Training,
    ) -> NetworkCV:
        reversible = self.kind == "coordinates"
        shift, scale = standardise
        outputs = self.dim
        model = NetworkCV(
            kind=f"VAMPNet {self.kind}",
            columns=series.columns,
            features=series.definition,
            lag=lag,
            dt=series.dt,
            settings=self.settings(),
            eigenvalues=np.zeros(outputs),
            samples=np.zeros((0, 0)),
            block_frames=typical_length((block for group in groups for block in group), lag),
            n_blocks=len(groups),
            n_frames=series.n_frames,
            deviations=np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0),
            correlations=np.zeros((series.n_columns, outputs)),
            shares=np.zeros((series.n_columns, outputs)),
            shift=shift,
            scale=scale,
            weights=network.weights,
            biases=network.biases,
            activations=network.activations,
            head_mean=np.zeros(outputs),
            head=np.eye(outputs),
            training=training,
        )
        evaluated = TimeSeries([_outputs(model, a) for a in series.arrays], series.dt)
        parts = block_moments(evaluated, lag, groups)
        solve = _reversible if reversible else _singular
        modes = solve(combine(parts))
        if reversible:
            n = modes.left.shape[1]
            blank = np.zeros((series.n_columns, n))
            mean = combine(parts).symmetrized().mean_0
            model = model.replace(head_mean=mean, head=modes.left, correlations=blank, shares=blank)
        samples = bootstrap(parts, modes, solve, self.n_bootstrap, self.seed)
        model = model.replace(eigenvalues=modes.values, samples=samples)
        return self._explained(model, series)

    def _explained(self, model: NetworkCV, series: TimeSeries) -> NetworkCV:
        rows = thinned(series)
        if model.kind == "VAMPNet coordinates":
            # A sign that the data fix: each coordinate rises with the column that it is most correlated with.
            signs = np.sign(_dominant(correlate(rows, model.values(rows))))
            model = model.replace(head=model.head * np.where(signs == 0.0, 1.0, signs))
        return model.replace(shares=sensitivities(model, rows), correlations=correlate(rows, model.values(rows)))


def _most_telling(parts: Sequence[Moments], dim: int) -> tuple[int, tuple[float, float]]:
    """The fold for which the lower of TICA's scores on the rest and on the fold is highest; the two scores."""
    best = (-np.inf, 0, (1.0, 1.0))
    for fold, part in enumerate(parts):
        train = combine([other for number, other in enumerate(parts) if number != fold])
        basis = _reversible(train).left[:, :dim]
        scores = tuple(_linear_score(moments, basis) for moments in (train, part))
        if min(scores) > best[0]:
            best = (min(scores), fold, (scores[0], scores[1]))
    return best[1], best[2]


def _linear_score(moments: Moments, basis: np.ndarray) -> float:
    try:
        return vamp2(moments.symmetrized().projected(basis, basis))
    except DegenerateError:
        return 1.0  # the coordinates stand still here


def _standardised(
    series: TimeSeries, blocks: Sequence[Block], lag: int, shift: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    pieces = [
        (series.arrays[b.trajectory][b.start : b.stop], series.arrays[b.trajectory][b.start + lag : b.stop + lag])
        for b in blocks
    ]
    x, y = (np.concatenate([(np.asarray(p[i], np.float64) - shift) * scale for p in pieces]) for i in (0, 1))
    return x.astype(np.float32), y.astype(np.float32)


def _outputs(model: NetworkCV, array: np.ndarray) -> np.ndarray:
    rows = 50_000
    return np.concatenate([model.outputs(array[a : a + rows]) for a in range(0, len(array), rows)])


def _reversible(moments: Moments) -> Modes:
    return reversible_modes(moments, _HEAD_EPSILON)


def _singular(moments: Moments) -> Modes:
    return singular_modes(moments, _HEAD_EPSILON)


def _dominant(correlations: np.ndarray) -> np.ndarray:
    return correlations[np.argmax(np.abs(correlations), axis=0), np.arange(correlations.shape[1])]
