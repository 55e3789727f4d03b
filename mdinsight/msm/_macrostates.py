"""Long-lived states: PCCA+ on a Markov model, with populations, exchange times and how many events they rest on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from deeptime.markov import pcca as deeptime_pcca

from mdinsight.errors import DegenerateError, ParameterError
from mdinsight.msm._passage import hitting_times, weighted
from mdinsight.records import Record
from mdinsight.results import Estimate, Verdict
from mdinsight.states import as_discrete
from mdinsight.words import counted

if TYPE_CHECKING:
    from mdinsight.msm._markov import MarkovModel

CORE = 0.8
ENOUGH = 10
LIFETIME = 5.0
"""Least lifetime in lags: passage times to a state that lives five lags come out about a tenth too long."""


class Macrostates(Record):
    """Long-lived states, the most populated first.

    Attributes
    ----------
    memberships
        Probability of each active state to belong to each macrostate (PCCA+), (n_active, n).
    assignments
        The macrostate of each active state, (n_active,).
    active_states
        The original numbers of the active states.
    populations
        Stationary population of each macrostate, weighted by memberships, ``Estimate`` (n,).
    metastability
        Probability to be in the same macrostate one lag later, ``Estimate`` (n,).
    mfpt
        Mean first passage times from core to core, ``Estimate`` (n, n); row from, column to.
    cores
        The states (original numbers) that belong to each macrostate with a membership of at least 0.8.
    crossings
        Events seen in the data, (n, n): left core i and settled in core j next, within one trajectory. A visit that
        is over within the lag is none (``MarkovModel.crossings``).
    dt
        ps between frames, None where not known.
    lag
        Of the model, in frames.

    Notes
    -----
    Roeblitz and Weber, 10.1007/s11634-013-0134-6.
    """

    memberships: np.ndarray
    assignments: np.ndarray
    active_states: np.ndarray
    populations: Estimate
    metastability: Estimate
    mfpt: Estimate
    cores: tuple[np.ndarray, ...]
    crossings: np.ndarray
    dt: float | None = None
    lag: int = 1

    def __len__(self) -> int:
        return self.n

    @property
    def n(self) -> int:
        """Number of macrostates."""
        return int(self.memberships.shape[1])

    @property
    def sets(self) -> tuple[np.ndarray, ...]:
        """The states (original numbers) assigned to each macrostate."""
        return tuple(self.active_states[self.assignments == number] for number in range(self.n))

    @property
    def entries(self) -> np.ndarray:
        """How often each macrostate was entered from another one in the data, (n,)."""
        return self.crossings.sum(axis=0)

    @property
    def exits(self) -> np.ndarray:
        """How often each macrostate was left for another one in the data, (n,)."""
        return self.crossings.sum(axis=1)

    @property
    def lifetimes(self) -> np.ndarray:
        """How long each macrostate lives, (n,) in frames: -lag / ln(metastability)."""
        return -self.lag / np.log(np.clip(self.metastability.value, 1e-300, 1.0 - 1e-13))

    def assign(self, dtrajs: Any) -> list[np.ndarray]:
        """The macrostate of each frame; -1 outside the active states."""
        discrete = as_discrete(dtrajs)
        table = np.full(max(discrete.n_states, int(self.active_states.max()) + 1), -1, dtype=np.int32)
        table[self.active_states] = self.assignments
        return [table[array] for array in discrete.arrays]

    def verdicts(self) -> tuple[Verdict, ...]:
        """One verdict a macrostate: was it entered and left often enough for its interval to mean something; and
        whether all live long enough for steps of one lag to see their visits."""
        found = []
        for number in range(self.n):
            entries, exits = int(self.entries[number]), int(self.exits[number])
            says = f"entered {times(entries)} and left {times(exits)} in the data"
            holds = min(entries, exits) >= ENOUGH
            if not holds:
                says += f": its population and exchange times rest on {events(min(entries, exits))}"
            remedy = (
                f"run more trajectories that start in macrostate {number} and at its borders, "
                f"until at least {ENOUGH} of each are seen"
            )
            found.append(Verdict(f"macrostate {number}", holds, says, remedy))
        return (*found, self._lifetime())

    def _lifetime(self) -> Verdict:
        number = int(np.argmin(self.lifetimes))
        lags = float(self.lifetimes[number]) / self.lag
        holds = lags > LIFETIME
        says = f"macrostate {number} lives {counted(round(lags), 'lag')}, the shortest of all"
        if not holds:
            says += ": steps of one lag miss shorter visits, so that passage times to it come out too long"
        return Verdict("lifetimes", holds, says, "take a shorter lag or fewer macrostates")

    def summary(self) -> str:
        """Populations, exchange times and events in words."""
        lines = []
        for number in range(self.n):
            lines.append(
                f"macrostate {number}: population {self.populations[number]}, {len(self.sets[number])} states, "
                f"entered {times(int(self.entries[number]))}, left {times(int(self.exits[number]))}"
            )
            for other in range(self.n):
                if other != number:
                    lines.append(f"  to {other}: {self.mfpt[number, other]}")
        return "\n".join([*lines, *(str(verdict) for verdict in self.verdicts() if not verdict.holds)])

    def __str__(self) -> str:
        return self.summary()


def coarse_grain(model: MarkovModel, n: int | None) -> Macrostates:
    """PCCA+ of a model; see ``MarkovModel.pcca``."""
    if not model.reversible:
        raise ParameterError("macrostates (PCCA+) need a reversible model; fit with reversible=True")
    if n is None:
        memberships = _first_that_works(model, spectral_gap(model.timescales(10).value, model.step))
    else:
        if isinstance(n, bool) or int(n) != n or not 2 <= n <= model.n_states:
            raise ParameterError(f"n={n!r} macrostates: give an int from 2 to the {model.n_states} states of the model")
        memberships = _memberships(model, int(n))
    order = np.argsort(-(model.stationary_distribution @ memberships), kind="stable")
    memberships = memberships[:, order]
    cores = [_core(memberships, number) for number in range(memberships.shape[1])]
    active = model.active_states
    return Macrostates(
        memberships,
        memberships.argmax(axis=1),
        active,
        Estimate.from_samples(model.stationary_distribution @ memberships, model.sample_distributions @ memberships),
        _metastability(model, memberships.argmax(axis=1)),
        _exchange(model, cores),
        tuple(active[core] for core in cores),
        model.crossings([active[core] for core in cores]),
        model.dt,
        model.lag,
    )


def spectral_gap(timescales: np.ndarray, lag: float) -> int:
    """Number of macrostates: one more than the processes above the widest gap among the timescales longer than the lag.

    The gap below process i is t_i / max(t_i+1, lag); at least 2.
    """
    resolved = timescales[timescales > lag]
    if len(resolved) == 0:
        return 2
    below = np.append(timescales[1 : len(resolved) + 1], lag)[: len(resolved)]
    return 2 + int(np.argmax(resolved / np.maximum(below, lag)))


def _first_that_works(model: MarkovModel, n: int) -> np.ndarray:
    for number in range(min(n, model.n_states), 2, -1):
        try:
            return _memberships(model, number)
        except DegenerateError:
            continue
    return _memberships(model, 2)


def _memberships(model: MarkovModel, n: int) -> np.ndarray:
    if n == model.n_states:
        return np.eye(n)
    failure = "one of them would hold no state"
    memberships = np.empty((0, n))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            memberships = deeptime_pcca(model.transition_matrix, n, model.stationary_distribution).memberships
    except (ValueError, np.linalg.LinAlgError) as error:
        failure = str(error)
    if len(np.unique(memberships.argmax(axis=1))) < n:
        raise DegenerateError(f"PCCA+ finds no {n} macrostates in this model ({failure}); ask for fewer")
    return np.clip(memberships, 0.0, 1.0)


def _core(memberships: np.ndarray, number: int) -> np.ndarray:
    """Positions of the core's states; where none belongs clearly, the one that belongs most."""
    core = np.flatnonzero(memberships[:, number] >= CORE)
    if len(core):
        return core
    own = np.flatnonzero(memberships.argmax(axis=1) == number)
    return own[[np.argmax(memberships[own, number])]]


def _metastability(model: MarkovModel, assignments: np.ndarray) -> Estimate:
    crisp = np.eye(assignments.max() + 1)[assignments]

    def stays(matrix: np.ndarray, stationary: np.ndarray) -> np.ndarray:
        return (crisp * (stationary[:, None] * (matrix @ crisp))).sum(axis=0) / (stationary @ crisp)

    samples = [stays(matrix, pi) for matrix, pi in zip(model.samples, model.sample_distributions, strict=True)]
    value = stays(model.transition_matrix, model.stationary_distribution)
    return Estimate.from_samples(value, np.array(samples).reshape(-1, len(value)))


def _exchange(model: MarkovModel, cores: Sequence[np.ndarray]) -> Estimate:
    n = len(cores)
    value, samples = np.zeros((n, n)), np.zeros((len(model.samples), n, n))
    for target in range(n):
        best = hitting_times(model.transition_matrix, cores[target])
        drawn = hitting_times(model.samples, cores[target])
        for source in range(n):
            if source != target:
                value[source, target] = weighted(best, model.stationary_distribution, cores[source])
                samples[:, source, target] = weighted(drawn, model.sample_distributions, cores[source])
    return Estimate.from_samples(value * model.step, samples * model.step, model.time_unit)


def times(count: int) -> str:
    """How often, in words."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def events(count: int) -> str:
    """How many events, in words."""
    return {0: "no event at all", 1: "one event"}.get(count, f"{count} events")
