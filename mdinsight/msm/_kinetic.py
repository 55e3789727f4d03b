"""What every model with a transition matrix shares."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from mdinsight.msm._spectral import eigenvalues, timescales, with_samples
from mdinsight.parallel import one_thread
from mdinsight.records import Model
from mdinsight.results import Estimate


class KineticModel(Model):
    """A transition matrix at a lag, with samples of what else the data allow; see the models for the attributes."""

    transition_matrix: np.ndarray
    stationary_distribution: np.ndarray
    lag: int
    dt: float | None
    reversible: bool
    samples: np.ndarray
    sample_distributions: np.ndarray

    @property
    def n_samples(self) -> int:
        """Number of samples; 0 for a maximum-likelihood model."""
        return len(self.samples)

    @property
    def step(self) -> float:
        """The lag in :attr:`time_unit`."""
        return float(self.lag) if self.dt is None else self.lag * self.dt

    @property
    def time_unit(self) -> str:
        """``"ps"``, or ``"frames"`` where the time step is not known."""
        return "frames" if self.dt is None else "ps"

    @cached_property
    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues by falling modulus, (n,); the first is 1."""
        return eigenvalues(self.transition_matrix, self.stationary_distribution, self.reversible)

    @cached_property
    def _sample_eigenvalues(self) -> np.ndarray:
        with one_thread():
            return eigenvalues(self.samples, self.sample_distributions, self.reversible)

    def timescales(self, k: int | None = 5) -> Estimate:
        """Implied timescales of the ``k`` slowest processes (None: all), slowest first.

        Processes faster than the lag are listed too: compare with :attr:`step`.
        """
        most = len(self.transition_matrix) - 1
        k = most if k is None else min(k, most)
        samples = timescales(self._sample_eigenvalues, self.step, k)
        return with_samples(timescales(self.eigenvalues, self.step, k), samples, self.time_unit)
