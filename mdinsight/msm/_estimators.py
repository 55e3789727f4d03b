"""Estimators of Markov models."""

from __future__ import annotations

import logging
import numbers
from typing import Any, Self

import numpy as np

from mdinsight import units
from mdinsight.errors import ParameterError
from mdinsight.estimators import Estimator
from mdinsight.msm._counts import Counts, check_lag, check_mode, count
from mdinsight.msm._crossings import jump_sequences
from mdinsight.msm._markov import MarkovModel
from mdinsight.msm._posterior import sample_posterior
from mdinsight.msm._spectral import maximum_likelihood
from mdinsight.parallel import one_thread
from mdinsight.states import Discrete, as_discrete

logger = logging.getLogger(__name__)


class MaximumLikelihoodMSM(Estimator[MarkovModel]):
    """The Markov model under which the observed transitions are most likely (deeptime). It has no intervals.

    Parameters
    ----------
    lag
        Frames (int), or a time such as ``"20 ps"``.
    reversible
        Estimate under detailed balance, as equilibrium MD obeys.
    counting
        ``"sliding"``: every window of one lag; ``"sample"``: every lag-th frame; ``"effective"``: sliding counts
        scaled to the number of uncorrelated ones.

    Notes
    -----
    Prinz et al., 10.1063/1.3565032; Trendelkamp-Schroer et al., 10.1063/1.4934536.
    """

    def __init__(self, lag: Any, reversible: bool = True, counting: str = "sliding") -> None:
        self.lag = lag
        self.reversible = reversible
        self.counting = counting

    def fit(self, dtrajs: Any, y: Any = None) -> Self:
        """Count and estimate on the largest connected set.

        Parameters
        ----------
        dtrajs
            Discrete trajectories: a ``TimeSeries`` of one column, or a list of int arrays.

        Raises
        ------
        LagError
            If the lag is longer than every trajectory.
        DegenerateError
            If only one state is visited.
        ConnectivityError
            If no two states are connected in both directions.
        """
        discrete, counts = _count(dtrajs, self.lag, self.counting)
        self.model_ = estimate(discrete, counts, self.reversible, 0, 0, self.settings())
        return self


class BayesianMSM(Estimator[MarkovModel]):
    """A Markov model with intervals: the maximum-likelihood model, and samples of what else the data allow.

    The samples come from the posterior of the counts with independent blocks of time as its units (see Notes), so that
    overlapping windows do not make the intervals too narrow, whatever the number of states.

    Parameters
    ----------
    lag
        Frames (int), or a time such as ``"20 ps"``.
    n_samples
        Number of samples; 100 fix the ends of a 95 % interval to about a fifth of its width.
    seed
        The same seed gives the same samples.
    reversible
        Estimate under detailed balance, as equilibrium MD obeys.

    Notes
    -----
    Each sample weights the transitions of every block of five lags with a gamma variate (the Bayesian bootstrap,
    Rubin, 10.1214/aos/1176345338) and is the maximum-likelihood matrix of the weighted counts. At a lag of one frame,
    with blocks of one frame and without detailed balance this is the Dirichlet posterior of the rows. Rows that rest
    on few blocks are drawn from their own Dirichlet posterior as well, so that a state visited once has no sharp rate.
    """

    def __init__(self, lag: Any, n_samples: int = 100, seed: int = 0, reversible: bool = True) -> None:
        self.lag = lag
        self.n_samples = n_samples
        self.seed = seed
        self.reversible = reversible

    def fit(self, dtrajs: Any, y: Any = None) -> Self:
        """Count, estimate and sample on the largest connected set; raises as ``MaximumLikelihoodMSM.fit``."""
        check_samples(self.n_samples)
        discrete, counts = _count(dtrajs, self.lag, "sliding")
        self.model_ = estimate(discrete, counts, self.reversible, self.n_samples, self.seed, self.settings())
        return self


def estimate(
    discrete: Discrete, counts: Counts, reversible: bool, n_samples: int, seed: int, settings: dict[str, Any]
) -> MarkovModel:
    """A model out of counts."""
    n = len(counts.active)
    samples, distributions, blocks = np.empty((0, n, n)), np.empty((0, n)), 0
    with one_thread():
        matrix, stationary = maximum_likelihood(counts.matrix, reversible)
        if n_samples:
            samples, distributions, blocks = sample_posterior(
                counts.used, counts.active, counts.lag, reversible, n_samples, seed
            )
    jumps, frames, starts = jump_sequences(discrete)
    logger.info("Markov model: %d states, lag %s", n, units.format_lag(counts.lag, discrete.dt))
    return MarkovModel(
        transition_matrix=matrix,
        stationary_distribution=stationary,
        lag=counts.lag,
        dt=discrete.dt,
        reversible=reversible,
        samples=samples,
        sample_distributions=distributions,
        active_states=counts.active,
        count_matrix=counts.matrix,
        counting=counts.mode,
        n_blocks=blocks,
        connectivity=counts.connectivity,
        n_states_full=discrete.n_states,
        jumps=jumps,
        jump_frames=frames,
        jump_starts=starts,
        settings=settings,
        clustering=discrete.definition,
    )


def check_samples(n_samples: Any, least: int = 2) -> None:
    """A number of samples that an interval can be made of."""
    if isinstance(n_samples, bool) or not isinstance(n_samples, numbers.Integral) or n_samples < least:
        raise ParameterError(f"n_samples={n_samples!r} is not a number of samples; give an int of at least {least}")


def _count(dtrajs: Any, lag: Any, counting: str) -> tuple[Discrete, Counts]:
    discrete = as_discrete(dtrajs)
    check_mode(counting)
    return discrete, count(discrete, check_lag(lag, discrete), counting)
