"""The frozen Markov model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight import units
from mdinsight.errors import ParameterError, SelectionError
from mdinsight.msm import _verdicts
from mdinsight.msm._connectivity import Connectivity
from mdinsight.msm._crossings import count_crossings
from mdinsight.msm._flux import Flux, reactive_flux
from mdinsight.msm._kinetic import KineticModel
from mdinsight.msm._macrostates import Macrostates, coarse_grain
from mdinsight.msm._passage import first_passage
from mdinsight.parallel import one_thread
from mdinsight.records import Model
from mdinsight.results import Estimate, Verdict
from mdinsight.states import as_discrete

if TYPE_CHECKING:
    from mdinsight.msm._chapman import ChapmanKolmogorov


class MarkovModel(KineticModel):
    """A Markov state model on the largest connected set of the states, the *active* states.

    Arrays run over the active states in ascending order; ``active_states`` has their original numbers. Arguments that
    name states (``mfpt``, ``tpt``) are original numbers, as in the discrete trajectories. Times are in ps where the
    time step is known, else in frames.

    Attributes
    ----------
    transition_matrix
        Probability to go from state i to j in one lag, (n, n).
    stationary_distribution
        Equilibrium population of each active state, (n,); sums to 1.
    active_states
        Original numbers, (n,) ascending.
    count_matrix
        The counts that it was estimated from, (n, n).
    lag
        In frames.
    dt
        ps between frames, or None.
    reversible, counting
        How it was estimated.
    samples, sample_distributions
        Posterior samples of the transition matrix (n_samples, n, n) and their stationary distributions (n_samples,
        n); empty for a maximum-likelihood model, whose figures have no interval (NaN).
    connectivity
        How much of the data the active states hold, and where the gap is.
    n_states_full
        Number of states in the discrete trajectories, active or not.
    jumps, jump_frames, jump_starts
        The states in the order visited, repeats left out, the frames spent at each visit, and where each trajectory
        begins in them: what events are counted in.
    settings
        The estimator's parameters.
    clustering
        The frozen clustering that the states come from, where known.
    """

    active_states: np.ndarray
    count_matrix: np.ndarray
    counting: str
    n_blocks: int
    connectivity: Connectivity
    n_states_full: int
    jumps: np.ndarray
    jump_frames: np.ndarray
    jump_starts: np.ndarray
    settings: dict[str, Any]
    clustering: Model | None = None

    @property
    def n_states(self) -> int:
        """Number of active states."""
        return len(self.active_states)

    def crossings(self, sets: Sequence[np.ndarray]) -> np.ndarray:
        """Events seen in the data, (n, n), for ``n`` sets of states (original numbers): left set i and settled in j.

        An event counts if no more than a fifth of the lag that follows it is spent in other sets, so that single
        frames assigned to the wrong state are none.
        """
        return count_crossings(self.jumps, self.jump_frames, self.jump_starts, sets, self.lag)

    def populations(self) -> Estimate:
        """Stationary populations of the active states, (n,)."""
        return Estimate.from_samples(self.stationary_distribution, self.sample_distributions)

    def mfpt(self, A: int | Sequence[int] | np.ndarray, B: int | Sequence[int] | np.ndarray) -> Estimate:
        """Mean first passage time from the states A to the states B.

        The model sees where the system is once a lag: a visit to B that is over within the lag is missed, and the time
        comes out too long where B does not live for several lags (``Macrostates.verdicts``, "lifetimes").

        Parameters
        ----------
        A, B
            One state or several, original numbers (``macrostates.cores[0]`` for a macrostate). A is entered with its
            stationary weights.

        Raises
        ------
        SelectionError
            If a state is not among the active states; the message names it.
        ParameterError
            If A and B share a state.
        """
        source, target = self._two_sets(A, B)
        value = first_passage(self.transition_matrix, self.stationary_distribution, source, target)
        samples = first_passage(self.samples, self.sample_distributions, source, target)
        return Estimate.from_samples(value * self.step, samples * self.step, self.time_unit)

    def tpt(self, A: int | Sequence[int] | np.ndarray, B: int | Sequence[int] | np.ndarray) -> Flux:
        """The reactive flux from the states A to the states B (original numbers): committors, rate, pathways.

        Visits shorter than the lag are missed, as in :meth:`mfpt`.

        Raises
        ------
        SelectionError, ParameterError
            As :meth:`mfpt`.
        """
        return reactive_flux(self, *self._two_sets(A, B))

    def pcca(self, n: int | None = None) -> Macrostates:
        """Long-lived states (PCCA+).

        Parameters
        ----------
        n
            How many; None takes one more than the processes above the widest gap among the timescales longer than the
            lag.

        Raises
        ------
        ParameterError
            If n is less than 2 or more than the active states, or the model is not reversible.
        DegenerateError
            If the model has no n such states.
        """
        with one_thread():
            return coarse_grain(self, n)

    def chapman_kolmogorov(
        self, dtrajs: Any, n_sets: int | None = None, multiples: Sequence[int] | None = None
    ) -> ChapmanKolmogorov:
        """Compare the model's predictions at multiples of the lag with estimates at those lags; see
        ``chapman_kolmogorov``."""
        from mdinsight.msm._chapman import chapman_kolmogorov

        return chapman_kolmogorov(self, dtrajs, n_sets, multiples)

    def frame_weights(self, dtrajs: Any) -> list[np.ndarray]:
        """The stationary weight of every frame: the population of its state shared among the state's frames.

        Returns
        -------
        list of (n_frames,) float64
            They sum to 1 over all trajectories; frames outside the active states have weight 0.

        Raises
        ------
        SelectionError
            If no frame is in an active state.
        ParameterError
            If the states are of another clustering than the model's.
        """
        discrete = as_discrete(dtrajs)
        self.check_clustering(discrete.definition)
        histogram = discrete.histogram()
        share = np.zeros(max(len(histogram), int(self.active_states.max()) + 1))
        share[self.active_states] = self.stationary_distribution
        share = share[: len(histogram)]
        share = np.divide(share, histogram, out=np.zeros_like(share), where=histogram > 0)
        total = float(share @ histogram)
        if total <= 0:
            raise SelectionError(
                "no frame is in an active state of the model; give the trajectories that it was made from"
            )
        return [share[array] / total for array in discrete.arrays]

    def slowest_ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The states (original numbers) at the two ends of the slowest process, negative first.

        At each end they are those whose component of the second right eigenvector is at least half of that side's mean,
        weighted by population: rarely visited states with extreme components do not decide.
        """
        values, vectors = np.linalg.eig(self.transition_matrix)
        second = np.real(vectors[:, np.argsort(-np.abs(values), kind="stable")[1]])
        ends = []
        for side in (-second, second):
            weight = self.stationary_distribution * (side > 0)
            middle = float(weight @ side) / max(float(weight.sum()), 1e-300)
            ends.append(self.active_states[(side > 0) & (side >= 0.5 * middle)])
        return ends[0], ends[1]

    def check_clustering(self, clustering: Model | None) -> None:
        """Refuse states of another clustering than the model's, where both are known: their numbers mean other places.

        Raises
        ------
        ParameterError
            If they differ.
        """
        if clustering is not None and self.clustering is not None and clustering.hash != self.clustering.hash:
            raise ParameterError(
                "these discrete trajectories are of another clustering than the model's, so their numbers mean other states; "
                "give those that the model was made from, or model.clustering.transform(...) of new data"
            )

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether what the model rests on holds: connected set, lag, transitions, counts, intervals; with what to
        do."""
        return _verdicts.of_model(self)

    def summary(self) -> str:
        """Timescales, populations and verdicts in words."""
        return _verdicts.summary(self)

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        lag = units.format_lag(self.lag, self.dt)
        size = f"{self.n_states} of {self.n_states_full} states"
        return f"<{type(self).__name__}: {size}, lag {lag}, {self.n_samples} samples>"

    def _two_sets(self, A: Any, B: Any) -> tuple[np.ndarray, np.ndarray]:
        source, target = self._positions(A, "A"), self._positions(B, "B")
        both = np.intersect1d(source, target)
        if len(both):
            raise ParameterError(
                f"A and B share the states {self.active_states[both].tolist()}; give two sets without overlap"
            )
        return source, target

    def _positions(self, states: Any, name: str) -> np.ndarray:
        """Positions among the active states of original numbers."""
        numbers = np.unique(np.atleast_1d(np.asarray(states)))
        if numbers.size == 0 or numbers.dtype.kind not in "iu":
            raise ParameterError(f"{name}={states!r} is no set of state numbers; give an int or a list of ints")
        outside = np.setdiff1d(numbers, self.active_states)
        if len(outside):
            raise SelectionError(
                f"{name} holds {'the state' if len(outside) == 1 else 'the states'} {', '.join(map(str, outside[:10]))}"
                f"{', ...' if len(outside) > 10 else ''}, outside the {self.n_states} active states of the model "
                "(model.active_states, original numbers); leave them out, or see model.connectivity for the reason"
            )
        return np.searchsorted(self.active_states, numbers)
