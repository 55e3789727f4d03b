"""MBAR: frames of runs with different biases, on any coordinates, in one unbiased ensemble (10.1063/1.2978177).

Every bias is evaluated on every frame. A frame's weight is then one over the sum of what each bias would have given it,
whichever bias it came from; so runs whose coordinates and biases changed combine without a loss.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from mdinsight import units
from mdinsight.bias._weights import as_numbers, kish, shown
from mdinsight.errors import DegenerateError, NonFiniteError, ParameterError
from mdinsight.records import Model
from mdinsight.results import Verdict
from mdinsight.words import counted

SHARED = 0.03
"""Frames that two groups of states must share, as a part of the mean number of frames a state (the rule of thumb for
neighbouring states, 10.1007/s10822-015-9840-9)."""


class Reweighting(Model):
    """Frames of several biased states with their weights in the unbiased ensemble; made by :func:`mbar`.

    Attributes
    ----------
    energies
        (n_states, n) kJ/mol: each bias on each frame.
    state
        (n,) the state that each frame was sampled in.
    run
        (n,) the uninterrupted run of each frame; frames of a run are in time order.
    temperature
        K.
    free_energies
        (n_states,) kJ/mol: of each biased state relative to the unbiased one; NaN for one without frames.
    """

    energies: np.ndarray
    state: np.ndarray
    run: np.ndarray
    temperature: float
    free_energies: np.ndarray

    @property
    def kT(self) -> float:
        """kJ/mol."""
        return units.GAS_CONSTANT * self.temperature

    @property
    def counts(self) -> np.ndarray:
        """(n_states,) frames sampled in each state."""
        return np.bincount(self.state, minlength=len(self.energies))

    @property
    def restrained(self) -> bool:
        """True if there are several states and each run stayed in one: umbrella windows, which need not cross."""
        pairs = np.unique(np.column_stack([self.state, self.run]), axis=0)
        return len(np.unique(pairs[:, 0])) > 1 and len(np.unique(pairs[:, 1])) == len(pairs)

    @property
    def log_weights(self) -> np.ndarray:
        """(n,) logarithms of the frames' weights in the unbiased ensemble; the weights sum to 1."""
        return -self._log_denominator  # the free energies count from the unbiased ensemble: they sum to 1

    @property
    def weights(self) -> np.ndarray:
        """(n,) summing to 1."""
        return np.asarray(np.exp(self.log_weights))

    def state_log_weights(self) -> np.ndarray:
        """(n_states, n) logarithms of what each frame weighs in each biased ensemble; NaN for states without frames."""
        return np.asarray((self.free_energies[:, None] - self.energies) / self.kT - self._log_denominator)

    def overlap(self) -> np.ndarray:
        """(n_states, n_states): the probability that a frame which weighs in state i was sampled in state j
        (10.1007/s10822-015-9840-9)."""
        found = np.zeros((len(self.energies),) * 2)
        found[np.ix_(self.counts > 0, self.counts > 0)] = self._relative @ self._relative.T
        return np.asarray(found * self.counts)

    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The states that are connected by shared frames, largest group first; one group if all are."""
        used = np.flatnonzero(self.counts)
        shared = (self.counts[:, None] * self.overlap())[np.ix_(used, used)]
        least = SHARED * self.counts.sum() / len(used)
        parts = [tuple(sorted(int(used[i]) for i in part)) for part in _split(shared, np.arange(len(used)), least)]
        return tuple(sorted(parts, key=lambda part: (-len(part), part)))

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether the biased states overlap, and whether the weights leave frames enough."""
        groups = self.groups()
        if len(groups) == 1:
            overlap = Verdict("overlap", True, f"{counted(int((self.counts > 0).sum()), 'state')} share their frames")
        else:
            says = f"the states fall into {len(groups)} groups that share next to no frames: " + "; ".join(
                _numbers(group) for group in groups[:5]
            )
            remedy = (
                "sample states in between, with weaker restraints or more windows; figures across a gap mean nothing"
            )
            overlap = Verdict("overlap", False, says, remedy)
        size = kish(self.log_weights)
        says = f"{len(self.state)} frames weigh as {size:.0f} unbiased ones"
        enough = Verdict("weights", size >= 50, says, "add runs whose bias leaves more of the unbiased ensemble")
        return (overlap, enough)

    def reweigh(self, keep: np.ndarray) -> np.ndarray:
        """(n,) log weights that follow from some of the frames alone, -inf for the others.

        Parameters
        ----------
        keep
            Mask (n,).
        """
        relative = self._relative[:, keep]
        counts = np.bincount(self.state[keep], minlength=len(self.energies))[self.counts > 0].astype(np.float64)
        shift = solve(relative, counts)
        found = np.full(len(keep), -np.inf)
        with np.errstate(divide="ignore"):
            denominator = np.log((counts * np.exp(shift)) @ relative)
        found[keep] = -self._log_denominator[keep] - denominator
        return found

    def influence(self, series: np.ndarray) -> np.ndarray:
        """What each frame adds to a figure, to first order, when the states' free energies follow it.

        Parameters
        ----------
        series
            (n,) what each frame adds through its own weight: the derivative by the logarithm of its weight. Sums to 0.
        """
        used = self.counts > 0
        part = self.counts[used, None] * self._relative
        curvature = np.diag(part.sum(axis=1)) - part @ part.T
        answer = np.linalg.lstsq(curvature, part @ series, rcond=1e-12)[0]
        own = (np.cumsum(used) - 1)[self.state]
        return np.asarray(series + answer @ part - answer[own])

    @cached_property
    def _relative(self) -> np.ndarray:
        """(states with frames, n) what each frame weighs in each of them."""
        return np.asarray(np.exp(self.state_log_weights()[self.counts > 0]))

    @cached_property
    def _log_denominator(self) -> np.ndarray:
        """ln sum_k N_k exp((f_k - u_k(n)) / kT)."""
        used = self.counts > 0
        terms = (self.free_energies[used, None] - self.energies[used]) / self.kT + np.log(self.counts[used])[:, None]
        return np.asarray(_logsumexp(terms, 0))


def mbar(
    energies: Any,
    coordinates: Sequence[Any] | None = None,
    *,
    state: Any = None,
    counts: Any = None,
    runs: Any = None,
    temperature: Any = None,
) -> Reweighting:
    """The unbiased ensemble out of runs with different biases.

    Parameters
    ----------
    energies
        (n_states, n) kJ/mol: each bias on each frame. Or a list of bias models, with ``coordinates``.
    coordinates
        With models: for each, the values (n, dim) of its own coordinate in all frames.
    state, counts
        The state (n,) that each frame was sampled in; or, where frames are sorted by state, how many came from each.
        A state may have none. Of one bias that changed in time take snapshots; see :func:`snapshot_of`.
    runs
        (n,) which uninterrupted run each frame belongs to, frames of a run in time order; a walker that goes on under
        the next bias is one run. None: each state is a run (umbrella windows).
    temperature
        K; None takes that of the models.

    Returns
    -------
    Reweighting
        For :func:`free_energy_difference` and :func:`free_energy_surface`; ``verdicts()`` says whether the states overlap.

    Raises
    ------
    ParameterError
        If the arrays do not fit each other, or the models have different temperatures.
    NonFiniteError
        If an energy is NaN or infinite.
    DegenerateError
        If the equations have no solution that can be found.
    """
    if coordinates is not None:
        energies, temperature = _of_models(energies, coordinates, temperature)
    if temperature is None:
        raise ParameterError("energies alone have no temperature; give temperature=")
    table = _energies(energies)
    kelvin = units.temperature(temperature)
    states = _states(state, counts, *table.shape)
    labels = states if runs is None else np.unique(_label(runs, table.shape[1], "runs"), return_inverse=True)[1]
    sampled = np.bincount(states, minlength=len(table))
    reduced = table[sampled > 0] / (units.GAS_CONSTANT * kelvin)
    found = _free_energies(reduced, sampled[sampled > 0])
    # count from the unbiased state: its free energy is -ln sum of exp(-ln denominator)
    terms = found[:, None] - reduced + np.log(sampled[sampled > 0])[:, None]
    unbiased = -float(_logsumexp(-_logsumexp(terms, 0), 0))
    free = np.full(len(table), np.nan)
    free[sampled > 0] = (found - unbiased) * units.GAS_CONSTANT * kelvin
    return Reweighting(table, states.astype(np.int32), labels.astype(np.int32), kelvin, free)


def snapshot_of(steps: Any, snapshots: Any) -> np.ndarray:
    """Which snapshot of a changing bias each frame was sampled under: the latest that was taken before its step.

    A frame of the very step of a snapshot came before that step's deposit, and belongs to the snapshot before. Step 0 is the
    beginning: a frame of it belongs to a snapshot of it.

    Parameters
    ----------
    steps
        (n,) step of each frame.
    snapshots
        Ascending steps at which the bias was saved, after the deposits of that step.

    Raises
    ------
    ParameterError
        If these are no steps, a frame is no younger than the first snapshot, or the snapshots do not ascend.
    """
    at = as_numbers(steps, "steps", "give the step of each frame")
    taken = as_numbers(snapshots, "snapshots", "give the steps at which the bias was saved")
    if taken.ndim != 1 or not len(taken) or not (np.diff(taken) > 0).all():
        raise ParameterError(f"snapshots={shown(snapshots)} do not ascend; give the steps at which the bias was saved")
    if len(at) and not (at.min() > taken[0] or at.min() == taken[0] == 0):
        raise ParameterError(
            f"a frame is of step {at.min():g}, the first snapshot of step {taken[0]:g}; leave out what was sampled before it"
        )
    return np.asarray(np.maximum(np.searchsorted(taken, at, side="left") - 1, 0))


def solve(relative: np.ndarray, counts: np.ndarray, tolerance: float = 1e-8) -> np.ndarray:
    """Shifts (n_states,) of the free energies in kT that solve the MBAR equations for some of the frames.

    The equations are the stationary point of a convex function; Newton's method from the solution for all frames takes a
    few steps (pymbar solves for all frames).

    Parameters
    ----------
    relative
        (n_states, n) weights of the frames kept, in the ensemble of each state, as all frames gave them.
    counts
        (n_states,) frames kept of each state; states without any keep their shift of 0.
    """
    shift = np.zeros(len(counts))
    used = np.flatnonzero(counts > 0)
    for _ in range(50):
        part = relative[used] if len(used) < len(counts) else relative
        scale = counts[used] * np.exp(shift[used])
        total = scale @ part
        part = part * (1.0 / np.where(total > 0, total, 1.0)) * scale[:, None]
        gradient = part.sum(axis=1) - counts[used]
        if np.abs(gradient).max() <= tolerance * counts.sum() or len(used) < 2:
            break
        curvature = np.diag(part.sum(axis=1)) - part @ part.T
        curvature[np.diag_indices_from(curvature)] += 1e-12 * counts.sum()
        step = np.concatenate([[0.0], -np.linalg.solve(curvature[1:, 1:], gradient[1:])])  # the first stays
        shift[used] += step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
    return shift


def _free_energies(reduced: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n_states,) in kT, by pymbar."""
    if len(counts) == 1:
        return np.zeros(1)
    # pymbar tells everyone who imports it that JAX is missing
    logger = logging.getLogger("pymbar")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import pymbar

        # energies that differ by a constant from state to state have the same weights: start where all are alike
        start = reduced.min(axis=1)
        # the "robust" protocol takes ten seconds for six states without overlap
        found = pymbar.MBAR(reduced - start[:, None], counts)
    finally:
        logger.setLevel(level)
    free = np.asarray(found.f_k) + start
    part = np.exp(free[:, None] - reduced + np.log(counts)[:, None] - _denominator(free, reduced, counts))
    # the shift that solves what is left, should pymbar have stopped early
    free = free + solve(part / counts[:, None], counts.astype(np.float64))
    terms = np.exp(free[:, None] - reduced + np.log(counts)[:, None] - _denominator(free, reduced, counts))
    missing = float(np.abs(terms.sum(axis=1) / counts - 1.0).max())
    if not missing < 1e-4:
        raise DegenerateError(
            f"the free energies of {len(counts)} states do not converge (one of the equations is off by {missing:.1e}); "
            "states without any overlap do that: add states in between"
        )
    return free


def _denominator(free: np.ndarray, reduced: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return _logsumexp(free[:, None] - reduced + np.log(counts)[:, None], 0)


def _split(shared: np.ndarray, states: np.ndarray, least: float) -> list[np.ndarray]:
    """Cut a graph of states where the two sides share fewer frames than ``least``, over and over.

    The order along the second eigenvector of the overlap finds the cut (Cheeger); of its cuts the weakest is taken.
    """
    if len(states) == 1:
        return [states]
    links = shared[np.ix_(states, states)]
    degree = np.maximum(links.sum(axis=1), 1e-300)
    scaled = links / np.sqrt(degree[:, None] * degree)
    order = np.argsort(np.linalg.eigh(0.5 * (scaled + scaled.T))[1][:, -2] / np.sqrt(degree), kind="stable")
    sorted_links = links[np.ix_(order, order)]
    across = [float(sorted_links[:size, size:].sum()) for size in range(1, len(states))]
    at = int(np.argmin(across))
    if across[at] >= least:
        return [states]
    return [*_split(shared, states[order[: at + 1]], least), *_split(shared, states[order[at + 1 :]], least)]


def _of_models(models: Any, coordinates: Sequence[Any], temperature: Any) -> tuple[np.ndarray, Any]:
    if any(not hasattr(model, "potential") for model in models):
        raise ParameterError(f"energies={shown(models)} are no bias models; give models, or leave coordinates= out")
    if len(models) != len(coordinates):
        raise ParameterError(
            f"{len(models)} bias models and {len(coordinates)} arrays of coordinates; give all frames' values of each model's "
            "own coordinate"
        )
    rows = []
    for model, values in zip(models, coordinates, strict=True):
        found = model.potential(values)
        rows.append(np.concatenate([np.ravel(part) for part in found]) if isinstance(found, list) else np.ravel(found))
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise ParameterError(f"the coordinates have {lengths} frames; every bias is needed on all frames")
    known = sorted({float(model.temperature) for model in models if hasattr(model, "temperature")})
    if temperature is None and len(known) > 1:
        raise ParameterError(f"the biases are of temperatures {known}; only runs of one temperature combine")
    return np.array(rows), temperature if temperature is not None or not known else known[0]


def _energies(energies: Any) -> np.ndarray:
    table = as_numbers(energies, "energies", "give (n_states, n_frames) kJ/mol, or bias models with coordinates=")
    if table.ndim != 2 or not table.size:
        raise ParameterError(f"energies have shape {table.shape}; give (n_states, n_frames) kJ/mol")
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        raise NonFiniteError(
            f"the bias of state {bad[0][0]} is {table[tuple(bad[0])]} for frame {bad[0][1]} ({len(bad)} such); leave out those "
            "frames"
        )
    return table


def _states(state: Any, counts: Any, n_states: int, n: int) -> np.ndarray:
    if (state is None) == (counts is None):
        raise ParameterError("give state= (one for each frame) or counts= (frames sorted by state), one of the two")
    if counts is not None:
        sizes = np.asarray(counts)
        if sizes.shape != (n_states,) or sizes.dtype.kind not in "iu" or (sizes < 0).any() or sizes.sum() != n:
            raise ParameterError(f"counts={shown(counts)} do not sum to {n} frames over {n_states} states")
        return np.repeat(np.arange(n_states), sizes)
    labels = _label(state, n, "state")
    if labels.min() < 0 or labels.max() >= n_states:
        raise ParameterError(f"state goes from {labels.min()} to {labels.max()}, there are {n_states} states from 0 on")
    return labels


def _label(values: Any, n: int, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise ParameterError(
            f"{name} has shape {array.shape} and type {array.dtype}; give one integer for each of {n} frames"
        )
    return array.astype(np.int64)


def _logsumexp(values: np.ndarray, axis: int) -> Any:
    top = values.max(axis=axis)
    return top + np.log(np.exp(values - np.expand_dims(top, axis)).sum(axis=axis))


def _numbers(group: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, group[:8]))
    return f"({shown}{', ...' if len(group) > 8 else ''})"
