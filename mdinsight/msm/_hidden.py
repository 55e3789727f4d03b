"""Hidden Markov models of discrete trajectories."""

from __future__ import annotations

import logging
import warnings
from typing import Any, Self

import numpy as np
from deeptime.markov.hmm import MaximumLikelihoodHMM, init, viterbi

from mdinsight import units
from mdinsight.errors import DegenerateError, ParameterError, StatisticsWarning, warn_user
from mdinsight.estimators import Estimator
from mdinsight.msm._connectivity import Connectivity
from mdinsight.msm._counts import check_lag, count
from mdinsight.msm._crossings import count_events
from mdinsight.msm._estimators import check_samples
from mdinsight.msm._gibbs import sample_hidden
from mdinsight.msm._kinetic import KineticModel
from mdinsight.msm._macrostates import ENOUGH, events, times
from mdinsight.msm._passage import first_passage
from mdinsight.records import Model
from mdinsight.results import Estimate, Verdict
from mdinsight.series import Column, TimeSeries
from mdinsight.states import Discrete, as_discrete

logger = logging.getLogger(__name__)


class HiddenMarkovModel(KineticModel):
    """A hidden Markov model: a few states that are not seen, each showing the observed states with its own
    probabilities.

    Hidden states are numbered 0, 1, ... with falling population.

    Attributes
    ----------
    transition_matrix, stationary_distribution
        Of the hidden states, (n, n) and (n,).
    initial_distribution
        Of the hidden state in the first frames, (n,).
    output_probabilities
        Probability to show each observed state, (n, n_symbols).
    symbols
        Original numbers of the observed states, (n_symbols,).
    lag, dt, reversible
        Lag in frames; ps between frames or None; estimated under detailed balance.
    samples, sample_distributions
        Posterior samples (n_samples, n, n) and (n_samples, n); empty if none were asked for.
    log_likelihood
        Of the trajectories.
    crossings
        Events along the most likely paths, (n, n): left hidden state i and settled in j, as
        ``MarkovModel.crossings`` counts them.
    connectivity
        How much of the data the connected observed states hold.
    settings, clustering
        The estimator's parameters; the clustering that the observed states come from, where known.

    Notes
    -----
    Noe, Wu, Prinz, Plattner, 10.1063/1.4828816.
    """

    initial_distribution: np.ndarray
    output_probabilities: np.ndarray
    symbols: np.ndarray
    log_likelihood: float
    crossings: np.ndarray
    connectivity: Connectivity
    settings: dict[str, Any]
    clustering: Model | None = None

    @property
    def n_states(self) -> int:
        """Number of hidden states."""
        return len(self.transition_matrix)

    @property
    def memberships(self) -> np.ndarray:
        """Probability of each hidden state given one observed state in equilibrium, (n_symbols, n)."""
        joint = self.stationary_distribution[:, None] * self.output_probabilities
        return (joint / joint.sum(axis=0)).T

    def populations(self) -> Estimate:
        """Stationary populations of the hidden states, (n,)."""
        return Estimate.from_samples(self.stationary_distribution, self.sample_distributions)

    def mfpt(self, A: int, B: int) -> Estimate:
        """Mean first passage time from the hidden state A to the hidden state B, in ps or frames."""
        if A == B or not {A, B} <= set(range(self.n_states)):
            raise ParameterError(f"A={A!r}, B={B!r}: give two different hidden states from 0 to {self.n_states - 1}")
        source, target = np.array([A]), np.array([B])
        value = first_passage(self.transition_matrix, self.stationary_distribution, source, target)
        samples = first_passage(self.samples, self.sample_distributions, source, target)
        return Estimate.from_samples(value * self.step, samples * self.step, self.time_unit)

    def paths(self, dtrajs: Any) -> TimeSeries:
        """The most likely hidden state of every frame (Viterbi): one int32 column named ``"hidden state"``.

        At a lag of several frames, the frames one lag apart are decoded together, once for each offset.

        Raises
        ------
        ParameterError
            If the trajectories visit states that the model was not made from.
        """
        discrete = as_discrete(dtrajs)
        decoded = []
        for array, origin in zip(discrete.arrays, discrete.origins, strict=True):
            unknown = np.setdiff1d(array, self.symbols)
            if len(unknown):
                raise ParameterError(
                    f"{origin.file} visits the states {unknown[:10].tolist()}, which the model does not know; "
                    "give the trajectories that it was made from"
                )
            shown = self.output_probabilities.T[np.searchsorted(self.symbols, array)]
            decoded.append(_decode(shown, self.lag, self.transition_matrix, self.initial_distribution))
        return TimeSeries(decoded, discrete.dt, (Column("hidden state", kind="state"),), discrete.origins, self)

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether the observed states are connected, the hidden ones live longer than the lag, and each was entered
        and left often enough."""
        slowest = self.timescales(None)
        bound = np.where(np.isnan(slowest.low), slowest.value, slowest.low)
        resolved = int((bound > self.step).sum())
        says = f"{resolved} of {self.n_states - 1} processes are slower than the lag of {units.format_lag(self.lag, self.dt)}"
        remedy = "take a shorter lag or fewer hidden states"
        lag = Verdict("lag", resolved == self.n_states - 1, says, remedy)
        return self.connectivity.verdict(), lag, self._transitions()

    def _transitions(self) -> Verdict:
        seen = np.minimum(self.crossings.sum(axis=0), self.crossings.sum(axis=1))
        rare = int(np.argmin(seen))
        entered, left = int(self.crossings[:, rare].sum()), int(self.crossings[rare].sum())
        says = f"hidden state {rare} was entered {times(entered)} and left {times(left)}, the least of all"
        holds = int(seen[rare]) >= ENOUGH
        if not holds:
            says += f": its population and exchange times rest on {events(int(seen[rare]))}"
        return Verdict("transitions", holds, says, f"run more trajectories from hidden state {rare} and its borders")

    def summary(self) -> str:
        """Timescales, populations and verdicts in words."""
        lines = [f"hidden Markov model of {self.n_states} states at lag {units.format_lag(self.lag, self.dt)}"]
        slow, populations = self.timescales(None), self.populations()
        lines += [f"  timescale {i + 1}: {slow[i]}" for i in range(len(slow))]
        lines += [f"  population of hidden state {i}: {populations[i]}" for i in range(self.n_states)]
        return "\n".join([*lines, *(f"  {verdict}" for verdict in self.verdicts())])

    def __str__(self) -> str:
        return self.summary()


class HiddenMSM(Estimator[HiddenMarkovModel]):
    """Hidden Markov model by maximum likelihood (deeptime's Baum-Welch, started from PCCA+ of a Markov model), with
    intervals.

    Parameters
    ----------
    lag
        Frames (int), or a time such as ``"20 ps"``.
    n_states
        Number of hidden states.
    seed
        Decides the posterior samples.
    n_samples
        Number of posterior samples; 0 for no intervals.
    reversible
        Estimate under detailed balance.
    max_iter
        Most rounds of Baum-Welch; a warning says if they did not suffice.
    """

    def __init__(
        self,
        lag: Any,
        n_states: int,
        seed: int = 0,
        n_samples: int = 50,
        reversible: bool = True,
        max_iter: int = 1000,
    ) -> None:
        self.lag = lag
        self.n_states = n_states
        self.seed = seed
        self.n_samples = n_samples
        self.reversible = reversible
        self.max_iter = max_iter

    def fit(self, dtrajs: Any, y: Any = None) -> Self:
        """Estimate from discrete trajectories.

        Raises
        ------
        LagError, DegenerateError, ConnectivityError
            As ``MaximumLikelihoodMSM.fit``; DegenerateError also if there are fewer observed than hidden states.
        """
        discrete = as_discrete(dtrajs)
        check_samples(self.n_samples, 0)
        counts = count(discrete, check_lag(self.lag, discrete), "sliding")
        symbols = np.unique(np.concatenate(counts.used.arrays))
        if isinstance(self.n_states, bool) or int(self.n_states) != self.n_states or self.n_states < 2:
            raise ParameterError(
                f"n_states={self.n_states!r} is not a number of hidden states; give an int of at least 2"
            )
        if self.n_states > len(symbols):
            raise DegenerateError(
                f"n_states={self.n_states} hidden states cannot be told from {len(symbols)} observed ones; "
                "ask for fewer, or discretise finer"
            )
        arrays = [np.searchsorted(symbols, array).astype(np.int32) for array in counts.used.arrays]
        found, likelihood = _baum_welch(arrays, self.n_states, counts.lag, self.reversible, self.max_iter)
        self.model_ = self._model(found, likelihood, arrays, symbols, counts.lag, discrete, counts.connectivity)
        logger.info("hidden Markov model: %d states, log likelihood %.6g", self.n_states, likelihood)
        return self

    def _model(
        self,
        found: tuple[np.ndarray, ...],
        likelihood: float,
        arrays: list[np.ndarray],
        symbols: np.ndarray,
        lag: int,
        discrete: Discrete,
        connectivity: Connectivity,
    ) -> HiddenMarkovModel:
        matrix, stationary, initial, output = found
        order = np.argsort(-stationary, kind="stable")
        matrix, stationary = matrix[np.ix_(order, order)], stationary[order]
        initial, output = initial[order], output[order]
        samples, distributions = sample_hidden(
            arrays, lag, matrix, initial, output, self.reversible, self.n_samples, self.seed
        )
        return HiddenMarkovModel(
            transition_matrix=matrix,
            stationary_distribution=stationary,
            lag=lag,
            dt=discrete.dt,
            reversible=self.reversible,
            samples=samples,
            sample_distributions=distributions,
            initial_distribution=initial,
            output_probabilities=output,
            symbols=symbols,
            log_likelihood=likelihood,
            crossings=count_events((_decode(output.T[a], lag, matrix, initial) for a in arrays), len(matrix), lag),
            connectivity=connectivity,
            settings=self.settings(),
            clustering=discrete.definition,
        )


def _decode(shown: np.ndarray, lag: int, matrix: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """The most likely hidden path (Viterbi) given what each frame's state shows of each hidden one, (n_frames, n)."""
    path = np.empty(len(shown), dtype=np.int32)
    for offset in range(min(lag, len(shown))):
        path[offset::lag] = viterbi(matrix, np.ascontiguousarray(shown[offset::lag]), initial)
    return path


def _baum_welch(
    arrays: list[np.ndarray], n: int, lag: int, reversible: bool, max_iter: int
) -> tuple[tuple[np.ndarray, ...], float]:
    """Transition matrix, stationary and initial distribution and output probabilities; and the log likelihood."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            start = init.discrete.metastable_from_data(arrays, n, lag, reversible=reversible)
        except (ValueError, np.linalg.LinAlgError) as error:
            raise DegenerateError(
                f"no {n} hidden states to start from are found in these trajectories ({error}); ask for fewer"
            ) from error
        fit = MaximumLikelihoodHMM(start, lag, reversible=reversible, accuracy=1e-3, maxit=max_iter).fit(arrays)
    model = fit.fetch_model()
    if len(model.likelihoods) >= max_iter:
        warn_user(
            f"the hidden Markov model has not converged in max_iter={max_iter} rounds; raise it",
            StatisticsWarning,
        )
    transition = model.transition_model
    parts = (transition.transition_matrix, transition.stationary_distribution, model.initial_distribution)
    return (*(np.asarray(part) for part in parts), np.asarray(model.output_probabilities)), float(model.likelihood)
