"""Markov models out of swarms: joint probabilities of equilibrium at any lag, weighted path by path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mdinsight import seeds, units
from mdinsight.errors import ConnectivityError, DataWarning, ParameterError, warn_user
from mdinsight.msm import _verdicts
from mdinsight.msm._connectivity import connected_sets, describe
from mdinsight.msm._crossings import jump_sequences
from mdinsight.msm._estimators import check_samples
from mdinsight.msm._implied import ImpliedTimescales
from mdinsight.msm._macrostates import ENOUGH
from mdinsight.msm._markov import MarkovModel
from mdinsight.msm._spectral import eigenvalues, timescales, with_samples
from mdinsight.msm._swarm_paths import Swarms, Windows, check_weights, windows
from mdinsight.msm._swarm_weights import LEAST, OUTSIDE, StratumWeights, stratum_weights
from mdinsight.parallel import one_thread
from mdinsight.results import Estimate, Verdict

SAME = 0.1
"""Change of a timescale that is no matter."""


class SwarmModel(MarkovModel):
    """A Markov model from swarms; see :func:`swarm_model`. All that a :class:`MarkovModel` has, and:

    Attributes
    ----------
    count_matrix
        Equilibrium probability to be in state i and one lag later in j, (n, n); symmetric.
    weights, weight_samples
        The weights of the strata that it rests on, (n_strata,) and (n_samples, n_strata).
    given
        Whether they were given, such as those of a bias; else they are the swarms' own.
    own
        What the swarms themselves say the strata weigh; None where they connect none.
    strata
        Numbers of the strata with starts.
    effective
        How many paths, by weight, show the slowest process: (sum c)^2 / sum c^2 of what each gives to the joint
        probability of its two ends.
    """

    weights: np.ndarray = field(default_factory=lambda: np.empty(0))
    weight_samples: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    given: bool = False
    own: StratumWeights | None = None
    strata: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    effective: float = 0.0

    @property
    def uncovered(self) -> float:
        """Equilibrium weight without starts, as far as it is known: given, or seen by swarms that went there."""
        if self.own is not None and not self.given:
            return self.own.escape
        return float(self.weights[np.setdiff1d(np.arange(len(self.weights)), self.strata)].sum())

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether what the model rests on holds: weights of the strata, coverage, connection, lag, paths."""
        found = [self._coverage()]
        if self.own is None:
            says = "the swarms connect no two strata, so nothing checks the weights given"
            found.append(Verdict("weights", False, says, "make the swarms longer or put starts between the strata"))
        else:
            if self.given:
                drawn = self.weight_samples if len(self.weight_samples) else None
                found.append(self.own.agreement(self.weights, drawn))
            found += [verdict for verdict in self.own.verdicts() if verdict.subject != "coverage"]
        return (*found, self.connectivity.verdict(), _verdicts._lag(self), self._paths())

    def _coverage(self) -> Verdict:
        if self.own is not None and not self.given:
            return self.own.coverage()
        says = f"{100 * self.uncovered:.2g} % of the equilibrium lies in strata without starts"
        remedy = "draw starts in every stratum that weighs something; what no start's path meets is not in the model"
        return Verdict("coverage", self.uncovered <= OUTSIDE, says, remedy)

    def _paths(self) -> Verdict:
        says = f"the slowest process is shown by {self.effective:.3g} paths, by weight"
        remedy = "draw more starts in the strata between the two ends of the slowest process"
        return Verdict("paths", self.effective >= ENOUGH, says, remedy)


def swarm_model(
    swarms: Swarms,
    lag: Any,
    weights: Any = None,
    weight_samples: Any = None,
    n_samples: int = 200,
    seed: int = 0,
) -> SwarmModel:
    """The Markov model of swarms, at any lag that their paths hold, with intervals.

    Parameters
    ----------
    swarms
        Paths from :func:`swarms`.
    lag
        Frames (int), or a time such as ``"5 ps"``; up to the length of the paths.
    weights
        Equilibrium weights of the strata, (n_strata,), such as those of a biased run; None takes those of
        :func:`stratum_weights`, from these swarms alone.
    weight_samples
        Samples of given weights, (n, n_strata): their error.
    n_samples, seed
        Samples of the bootstrap over starts within each stratum.

    Raises
    ------
    LagError
        If the lag is longer than the paths.
    ParameterError
        If a stratum with starts has no weight.
    ConnectivityError
        If no two states are connected.

    Notes
    -----
    C_ij(lag) = sum over all windows x_0 .. x_lag that contain the start of their path, x_0 in i and x_lag in j, of
    1 / sum_m n_s(x_m) / W_s(x_m). That is an unbiased estimate of the equilibrium joint probability pi_i P_ij(lag) of
    windows that meet a stratum with starts (the derivation is in ``_swarm_paths``), at any lag and for any dynamics:
    memory does not matter within the lag. A crossing that only starts on the barrier show is counted with the weight of
    the barrier. C is symmetrised, as time reversal allows.
    """
    check_samples(n_samples, LEAST)
    frames = swarms.check_lag(lag)
    strata = resolve_weights(swarms, weights, weight_samples, n_samples, seed)
    with one_thread():
        joint = joint_probabilities(swarms, frames, strata, n_samples, seed)
    jumps, jump_frames, jump_starts = jump_sequences(swarms.paths)
    model = SwarmModel(
        transition_matrix=joint.matrix / joint.matrix.sum(axis=1, keepdims=True),
        stationary_distribution=joint.matrix.sum(axis=1) / joint.matrix.sum(),
        lag=frames,
        dt=swarms.dt,
        reversible=True,
        samples=joint.samples / joint.samples.sum(axis=2, keepdims=True),
        sample_distributions=joint.samples.sum(axis=2) / joint.samples.sum(axis=(1, 2))[:, None],
        active_states=joint.active,
        count_matrix=joint.matrix,
        counting="swarms",
        n_blocks=len(joint.windows.used),
        connectivity=describe(joint.full, joint.active, swarms.paths),
        n_states_full=swarms.paths.n_states,
        jumps=jumps,
        jump_frames=jump_frames,
        jump_starts=jump_starts,
        settings={"lag": lag if isinstance(lag, int | str) else frames, "n_samples": n_samples, "seed": seed},
        clustering=swarms.paths.definition,
        weights=strata.weights,
        weight_samples=strata.samples,
        given=strata.given,
        own=strata.own,
        strata=np.flatnonzero(joint.windows.counts),
    )
    return model.replace(effective=_effective(joint.windows, model))


def swarm_timescales(
    swarms: Swarms,
    lags: Sequence[Any] | None = None,
    k: int = 5,
    weights: Any = None,
    weight_samples: Any = None,
    n_samples: int = 100,
    seed: int = 0,
) -> SwarmTimescales:
    """Implied timescales of :func:`swarm_model` at several lags; they no longer change once memory is shorter.

    Parameters
    ----------
    swarms, weights, weight_samples, n_samples, seed
        As for :func:`swarm_model`.
    lags
        Frames (int) or times; None takes about ten up to the longest way from a start to an end of its path.
    k
        Number of processes.

    Raises
    ------
    LagError, ParameterError, ConnectivityError
        As :func:`swarm_model`.
    """
    check_samples(n_samples, LEAST)
    longest = int(np.median(np.maximum(swarms.forward, swarms.backward)))
    if lags is None:
        frames = sorted({round(lag) for lag in np.geomspace(1, max(1, longest), 10)})
    else:
        frames = sorted({swarms.check_lag(lag, "lags") for lag in lags})
    strata = resolve_weights(swarms, weights, weight_samples, n_samples, seed)
    figures, drawn, fractions = [], [], []
    histogram = swarms.paths.histogram()
    with one_thread():
        for lag in frames:
            joint = joint_probabilities(swarms, lag, strata, n_samples, seed)
            step = lag * (1.0 if swarms.dt is None else swarms.dt)
            padding = (0, max(0, k + 1 - len(joint.active)))
            value, samples = (timescales(_spectrum(array), step, k) for array in (joint.matrix, joint.samples))
            figures.append(np.pad(value, padding, constant_values=np.nan))
            drawn.append(np.pad(samples, ((0, 0), padding), constant_values=np.nan))
            fractions.append(histogram[joint.active].sum() / histogram.sum())
    figure = with_samples(np.array(figures), np.stack(drawn, axis=1), "frames" if swarms.dt is None else "ps")
    return SwarmTimescales(np.array(frames), swarms.dt, figure, np.array(fractions), (), np.stack(drawn, axis=1))


class SwarmTimescales(ImpliedTimescales):
    """Implied timescales of swarms at several lags.

    The errors of the weights of the strata move the timescales at all lags together, so lags are compared sample by
    sample: a lag is long enough where at each longer one the resolved timescales differ by less than a tenth, or their
    ratio's interval holds 1.

    Attributes
    ----------
    samples
        Timescales of the same resampled starts at each lag, (n_samples, n_lags, k).
    """

    samples: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0)))

    def _choice(self) -> tuple[int, bool]:
        resolved = self.resolved()
        usable = np.flatnonzero(resolved[:, 0])
        for row in usable:
            longer = [later for later in usable if later > row]
            if len(longer) >= 2 and all(
                self._same(int(row), int(later), resolved[row] & resolved[later]) for later in longer
            ):
                return int(row), True
        return (int(usable[len(usable) // 2]) if len(usable) else 0), False

    def _same(self, row: int, later: int, both: np.ndarray) -> bool:
        ratio = self.timescales.value[later, both] / self.timescales.value[row, both]
        drawn = Estimate.from_samples(ratio, self.samples[:, later, both] / self.samples[:, row, both])
        return bool(((np.abs(ratio - 1.0) < SAME) | drawn.contains(1.0)).all())


@dataclass(frozen=True)
class StrataInUse:
    """The weights of the strata that an estimate rests on, (n_strata,), a sample of them for each of its own samples
    (n_samples, n_strata), whether they were given, and the swarms' own."""

    weights: np.ndarray
    samples: np.ndarray
    given: bool
    own: StratumWeights | None

    def row(self, number: int) -> np.ndarray:
        """The weights that belong to a sample."""
        return self.samples[number] if len(self.samples) else self.weights


def resolve_weights(
    swarms: Swarms, weights: Any, weight_samples: Any, n_samples: int, seed: int, compare: bool = True
) -> StrataInUse:
    """The weights of the strata to use: given ones, or the swarms' own, whose samples belong to the same resampled
    starts. The swarms' own go with given ones only where the two are to be compared."""
    own = weights if isinstance(weights, StratumWeights) else None
    if own is None and (compare or weights is None):
        try:
            own = stratum_weights(swarms, None, n_samples, seed)
        except ConnectivityError:
            if weights is None:
                raise
    if own is not None and (weights is None or isinstance(weights, StratumWeights)):
        if len(own.weights) != swarms.n_strata:
            raise ParameterError(
                f"these weights are of {len(own.weights)} strata, the swarms have {swarms.n_strata}; "
                "give the weights of the same swarms"
            )
        return StrataInUse(own.weights, own.samples[np.arange(n_samples) % own.n_samples], False, own)
    value, drawn = check_weights(swarms, weights, weight_samples)
    if len(drawn):
        drawn = drawn[seeds.generator(seed, "msm.swarms.weights").integers(len(drawn), size=n_samples)]
    return StrataInUse(value, drawn, True, own)


@dataclass(frozen=True)
class Joint:
    """Joint probabilities at one lag: ``full`` (n_states, n_states), and on the connected set ``active`` ``matrix``
    and ``samples``, all symmetric; ``windows`` is what they are sums over."""

    full: np.ndarray
    active: np.ndarray
    matrix: np.ndarray
    samples: np.ndarray
    windows: Windows


def joint_probabilities(swarms: Swarms, lag: int, strata: StrataInUse, n_samples: int, seed: int) -> Joint:
    """C_ij(lag) with samples; see :func:`swarm_model`."""
    found = windows(swarms, lag)
    if len(found.used) < len(swarms):
        warn_user(
            f"{len(swarms) - len(found.used)} of {len(swarms)} paths are too short for the lag of "
            f"{units.format_lag(lag, swarms.dt)} and are left out",
            DataWarning,
        )
    n = swarms.paths.n_states
    labels = swarms.flat_states[found.first] * n + swarms.flat_states[found.first + lag]
    full = _symmetric(found.sums(labels, n * n, strata.weights), n)
    active = next((members for members in connected_sets(full) if len(members) > 1), None)
    if active is None:
        raise ConnectivityError(
            f"at lag {units.format_lag(lag, swarms.dt)} no two of the {n} states are connected by the swarms; "
            "take a longer lag, or starts between the states"
        )
    samples = np.empty((n_samples, len(active), len(active)))
    for row, factors in enumerate(swarms.random_factors(n_samples, seed)):
        drawn = _symmetric(found.sums(labels, n * n, strata.row(row), factors), n)
        samples[row] = drawn[np.ix_(active, active)]
    return Joint(full, active, full[np.ix_(active, active)], samples, found)


def _symmetric(sums: np.ndarray, n: int) -> np.ndarray:
    matrix = sums.reshape(n, n)
    return 0.5 * (matrix + matrix.T)


def _spectrum(joint: np.ndarray) -> np.ndarray:
    stationary = joint.sum(axis=-1)
    return eigenvalues(joint / stationary[..., None], stationary, True)


def _effective(found: Windows, model: SwarmModel) -> float:
    """How many paths, by weight, join the two ends of the slowest process within one lag."""
    side = np.full(model.n_states_full, -1)
    for number, members in enumerate(model.slowest_ends()):
        side[members] = number
    first = side[found.swarms.flat_states[found.first]]
    last = side[found.swarms.flat_states[found.first + found.lag]]
    given = found.per_path(np.where((first >= 0) & (last >= 0) & (first != last), 0, -1), model.weights)
    return float(given.sum() ** 2 / max((given**2).sum(), 1e-300))
