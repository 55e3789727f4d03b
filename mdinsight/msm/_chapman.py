"""The Chapman-Kolmogorov test: does the model predict what is seen at longer times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight import units
from mdinsight.errors import ParameterError
from mdinsight.msm._counts import Counts, check_lag, count
from mdinsight.msm._posterior import sample_posterior
from mdinsight.msm._spectral import maximum_likelihood
from mdinsight.parallel import one_thread
from mdinsight.records import Record
from mdinsight.results import Estimate, Verdict
from mdinsight.states import Discrete, as_discrete

if TYPE_CHECKING:
    from mdinsight.msm._markov import MarkovModel


class ChapmanKolmogorov(Record):
    """Probability to be in set j a time after having been in set i: predicted by the model, and estimated at that lag.

    Attributes
    ----------
    lags
        In frames, (n_multiples,); the first is the model's lag.
    dt
        ps between frames, or None.
    predicted, estimated
        ``Estimate`` (n_multiples, n_sets, n_sets).
    """

    lags: np.ndarray
    dt: float | None
    predicted: Estimate
    estimated: Estimate

    @property
    def n_sets(self) -> int:
        """Number of sets."""
        return int(self.predicted.value.shape[1])

    @property
    def outside(self) -> np.ndarray:
        """Where prediction and estimate disagree: their intervals do not meet, (n_multiples, n_sets, n_sets)."""
        low, high = (np.where(np.isnan(x), self.predicted.value, x) for x in (self.predicted.low, self.predicted.high))
        return (low > self.estimated.high + 1e-9) | (high < self.estimated.low - 1e-9)

    def verdicts(self) -> tuple[Verdict, ...]:
        """Holds if no more points disagree than the intervals' level allows."""
        beyond = self.outside[1:]  # at the model's own lag the two are the same
        count, points = int(beyond.sum()), beyond.size
        worst = np.unravel_index(
            np.argmax(np.abs(self.predicted.value - self.estimated.value)), self.predicted.value.shape
        )
        gap = float(np.abs(self.predicted.value - self.estimated.value)[worst])
        says = (
            f"{count} of {points} predictions lie outside their intervals; the largest difference is {gap:.2g} "
            f"(set {worst[1]} to {worst[2]} after {units.format_lag(int(self.lags[worst[0]]), self.dt)})"
        )
        remedy = "take a longer lag, better coordinates or more states"
        return (Verdict("Chapman-Kolmogorov", count <= (1 - self.predicted.level) * points, says, remedy),)

    def summary(self) -> str:
        """The verdict in words."""
        return str(self.verdicts()[0])

    def __str__(self) -> str:
        return self.summary()


def chapman_kolmogorov(
    model: MarkovModel,
    dtrajs: Any,
    n_sets: int | None = None,
    multiples: Sequence[int] | None = None,
    n_samples: int = 50,
    seed: int = 0,
) -> ChapmanKolmogorov:
    """Compare a model's prediction at multiples of its lag with models estimated at those lags.

    Parameters
    ----------
    model
        The model that predicts.
    dtrajs
        The discrete trajectories that it was made from.
    n_sets
        Number of macrostates (PCCA+) followed; None lets the model choose.
    multiples
        Of the lag; None takes 1 to 5 as far as the trajectories reach.
    n_samples
        Posterior samples of each estimate.
    seed
        Decides them.

    Raises
    ------
    LagError
        If a multiple of the lag is longer than every trajectory.

    Notes
    -----
    Prinz et al., 10.1063/1.3565032, with memberships instead of crisp sets as in 10.1063/1.4828816.
    """
    discrete = as_discrete(dtrajs)
    model.check_clustering(discrete.definition)
    if multiples is None:
        reach = (int(discrete.lengths.max()) - 1) // model.lag
        multiples = range(1, min(5, reach) + 1)
    numbers = [1, *(int(m) for m in multiples if m != 1)]
    if any(m < 1 or m != given for m, given in zip(numbers[1:], (m for m in multiples if m != 1), strict=True)):
        raise ParameterError(f"multiples={list(multiples)} are not whole numbers of lags; give ints of at least 1")
    memberships = model.pcca(n_sets).memberships
    predicted, estimated = [], []
    with one_thread():
        for multiple in numbers:
            check_lag(multiple * model.lag, discrete, "multiples x lag")
            predicted.append(_predicted(model, memberships, multiple))
            estimated.append(_estimated(model, memberships, discrete, multiple, n_samples, seed))
    lags = model.lag * np.array(numbers)
    return ChapmanKolmogorov(lags, discrete.dt, _stack(predicted), _stack(estimated))


def _predicted(model: MarkovModel, memberships: np.ndarray, multiple: int) -> Estimate:
    value = _between(model.transition_matrix, model.stationary_distribution, memberships, multiple)
    pairs = zip(model.samples, model.sample_distributions, strict=True)
    samples = [_between(matrix, weights, memberships, multiple) for matrix, weights in pairs]
    return Estimate.from_samples(value, np.array(samples).reshape(-1, *value.shape))


def _estimated(
    model: MarkovModel, memberships: np.ndarray, discrete: Discrete, multiple: int, n_samples: int, seed: int
) -> Estimate:
    counts: Counts = count(discrete, multiple * model.lag, "sliding", warn=False)
    full = np.zeros((max(discrete.n_states, model.n_states_full), memberships.shape[1]))
    full[model.active_states] = memberships
    known = full[counts.active]  # states that only this lag connects belong to no set
    matrix, stationary = maximum_likelihood(counts.matrix, model.reversible)
    drawn, weights, _ = sample_posterior(
        counts.used, counts.active, counts.lag, model.reversible, n_samples, seed, "chapman-kolmogorov"
    )
    value = _between(matrix, stationary, known, 1)
    samples = [_between(m, w, known, 1) for m, w in zip(drawn, weights, strict=True)]
    return Estimate.from_samples(value, np.array(samples))


def _between(matrix: np.ndarray, stationary: np.ndarray, memberships: np.ndarray, steps: int) -> np.ndarray:
    """Probability of set j ``steps`` after set i, starting in its stationary weights, (n_sets, n_sets)."""
    later = memberships
    for _ in range(steps):
        later = matrix @ later
    weights = stationary[:, None] * memberships
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights.T @ later) / weights.sum(axis=0)[:, None]


def _stack(figures: Sequence[Estimate]) -> Estimate:
    value, low, high = (np.array([getattr(figure, name) for figure in figures]) for name in ("value", "low", "high"))
    return Estimate(value, low, high)
