"""Transition path theory: how the system goes from A to B, how often, and along which states."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from deeptime.markov import ReactiveFlux

from mdinsight.msm._passage import committor, first_passage, time_reversed
from mdinsight.records import Record
from mdinsight.results import Estimate

if TYPE_CHECKING:
    from mdinsight.msm._markov import MarkovModel


class Pathway(Record):
    """A way from A to B: ``states`` (original numbers, from one in A to one in B) and its share of the reactive
    flux."""

    states: tuple[int, ...]
    fraction: float


class Flux(Record):
    """The reactive flux from A to B.

    Attributes
    ----------
    source, target
        The states of A and B, original numbers.
    states
        The states that the arrays run over (the model's active states), original numbers, (n,).
    forward_committor
        Probability to meet B before A, ``Estimate`` (n,).
    backward_committor
        Probability to have come from A rather than B, (n,).
    net_flux
        Net reactive transitions, (n, n), in 1 / (ps or frames).
    total_flux
        A to B transitions in the stationary ensemble, per unit of time.
    rate
        Transitions per unit of time spent having last visited A.
    mfpt
        Mean first passage time from A to B.
    pathways
        The main pathways, strongest first.

    Notes
    -----
    Metzner, Schuette, Vanden-Eijnden, 10.1137/070699500; Noe et al., 10.1073/pnas.0905466106.
    """

    source: tuple[int, ...]
    target: tuple[int, ...]
    states: np.ndarray
    forward_committor: Estimate
    backward_committor: np.ndarray
    net_flux: np.ndarray
    total_flux: Estimate
    rate: Estimate
    mfpt: Estimate
    pathways: tuple[Pathway, ...]

    def summary(self) -> str:
        """The figures in words."""
        lines = [
            f"from {_set(self.source)} to {_set(self.target)}:",
            f"  mean first passage time {self.mfpt}",
            f"  rate {self.rate}, total flux {self.total_flux}",
        ]
        for path in self.pathways[:5]:
            lines.append(f"  {100 * path.fraction:.3g} % along {' > '.join(str(state) for state in path.states)}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


def reactive_flux(model: MarkovModel, A: np.ndarray, B: np.ndarray, fraction: float = 0.95, most: int = 100) -> Flux:
    """The flux between two sets of positions among the active states, with intervals from the model's samples."""
    step, unit = model.step, model.time_unit
    forward = committor(model.transition_matrix, A, B)
    flux = deeptime_flux(model.transition_matrix, model.stationary_distribution, A, B)
    net = np.asarray(flux.net_flux) / step
    samples, weights = model.samples, model.sample_distributions
    totals, rates = _sampled_rates(samples, weights, A, B, step)
    with warnings.catch_warnings():  # deeptime warns when `most` pathways carry less than `fraction`
        warnings.simplefilter("ignore", RuntimeWarning)
        paths, capacities = flux.pathways(fraction=fraction, maxiter=most)
    total = float(flux.total_flux)
    active = model.active_states
    pathways = tuple(
        Pathway(tuple(int(active[i]) for i in path), float(capacity / total))
        for path, capacity in zip(paths, capacities, strict=True)
    )
    mfpt = first_passage(model.transition_matrix, model.stationary_distribution, A, B) * step
    return Flux(
        tuple(int(i) for i in active[A]),
        tuple(int(i) for i in active[B]),
        active,
        Estimate.from_samples(forward, committor(samples, A, B)),
        np.asarray(flux.backward_committor),
        net,
        Estimate.from_samples(total / step, totals, f"1/{unit}"),
        Estimate.from_samples(float(flux.rate) / step, rates, f"1/{unit}"),
        Estimate.from_samples(mfpt, first_passage(samples, weights, A, B) * step, unit),
        pathways,
    )


def deeptime_flux(matrix: np.ndarray, stationary: np.ndarray, A: np.ndarray, B: np.ndarray) -> ReactiveFlux:
    """deeptime's reactive flux in units of one step."""
    from deeptime.markov import reactive_flux as compute

    backward = 1.0 - committor(time_reversed(matrix, stationary), A, B)
    return compute(matrix, A, B, stationary_distribution=stationary, qminus=backward, qplus=committor(matrix, A, B))


def _sampled_rates(
    matrices: np.ndarray, stationary: np.ndarray, A: np.ndarray, B: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Total flux and rate of each sample: all that leaves A and reaches B before coming back."""
    if len(matrices) == 0:
        return np.empty(0), np.empty(0)
    forward = committor(matrices, A, B)
    backward = 1.0 - committor(time_reversed(matrices, stationary), A, B)
    leaving = np.einsum("si,sij,sj->s", stationary[:, A], matrices[:, A], forward)
    return leaving / step, leaving / (stationary * backward).sum(axis=1) / step


def _set(states: tuple[int, ...]) -> str:
    shown = ", ".join(str(state) for state in states[:6])
    return f"{{{shown}{', ...' if len(states) > 6 else ''}}}"
