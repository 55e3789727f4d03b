"""c(t) of metadynamics out of the run's own frames, for weights that hold while the bias still grows.

A frame of the time t was sampled from exp(-(F + V_t) / kT), so it weighs exp((V_t - c(t)) / kT) where
c(t) = -kT ln <exp(-V_t / kT)> and the mean is over the ensemble without hills. The formula that metadynamics comes with
(Tiwary and Parrinello 2015, 10.1021/jp504920s) puts -gamma / (gamma - 1) V_t for the free energy, which holds in the end but
not on the way there. Here the mean is that over all frames with these same weights, made self-consistent (Giberti, Cheng,
Tribello and Ceriotti 2020, 10.1021/acs.jctc.9b00907).
"""
# The compiled functions bear no annotations: numba infers them.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from mdinsight.bias._grid import CUTOFF
from mdinsight.bias._hills import Hills
from mdinsight.bias._live import State
from mdinsight.bias._metadynamics import MetadynamicsState
from mdinsight.bias._model import BiasModel
from mdinsight.bias._opes import OPESState
from mdinsight.bias._trace import Trace
from mdinsight.errors import BiasError, SelectionError
from mdinsight.features import jit
from mdinsight.words import counted

MOST = 3000
"""Frames that the mean is over, and moments at which it is taken; in between c(t) is interpolated."""

COARSE = 200
"""Moments for which the equations are solved at once; the iteration over all of them begins there."""

_ALIKE = 0.5  # kT by which the bias rebuilt from the hills may differ from what was recorded
_SQUARINGS = 40
_PASSES = 30


@dataclass(frozen=True)
class _Deposited:
    """Hills of one potential on columns of the trace, and how many there were at each row."""

    axes: list[int]
    periods: np.ndarray
    hills: np.ndarray
    counts: np.ndarray


def offsets(trace: Trace, bias: BiasModel | State | Sequence[State] | Hills) -> np.ndarray:
    """c(t) at each row of a metadynamics run, (n,) kJ/mol, from the frames themselves; 0 for a run without metadynamics.

    ``sampler.trace`` has it in its ``offset``. It does not depend on the ``offset`` that the trace has. Frames and moments are
    thinned to 3000 of each. Hills of several potentials are taken together; walls, restraints and frozen biases are part of
    the ensemble that the mean is over, and so is OPES beside metadynamics, as if it did not change any more.

    Which hills there were at a row follows from the hill whose center the row is: rows and hills of one step have the same
    numbers, and the row comes first. Between such rows hills come at an even rate. That is exact for what one process recorded
    with the hills that it knew itself. Where traces of several processes are joined, hills that one of them knew late count as
    if it had known them from when on the process did whose ``bias`` is given.

    Parameters
    ----------
    trace
        What the run recorded, or some of its rows.
    bias
        The run's bias at its end, or later: ``sampler.model``, live states, or the :class:`Hills` of a PLUMED run.

    Raises
    ------
    BiasError
        If the hills are not those of this run.
    SelectionError
        If hills are of a coordinate that the trace does not have.
    """
    states: Sequence[State] = []
    if isinstance(bias, Hills):
        parts = [_of_hills(trace, bias)]
    else:
        states = bias.states() if isinstance(bias, BiasModel) else [bias] if isinstance(bias, State) else list(bias)
        parts = [
            _of_state(trace, state) for state in states if isinstance(state, MetadynamicsState) and not state.frozen
        ]
    parts = [part for part in parts if len(part.hills) and part.counts.any()]
    if not len(trace) or not parts:
        return np.zeros(len(trace))
    # all hills together are the clock: rows of one moment have the same number of them, of each potential
    clock = np.sum([part.counts for part in parts], axis=0)
    order = np.argsort(clock, kind="stable")
    frames = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), MOST)).round().astype(np.int64))]
    moments = _moments(clock, parts, MOST)
    own, energies = np.zeros(len(frames)), np.zeros((len(moments), len(frames)))
    for part in parts:
        points = np.ascontiguousarray(trace.s[frames][:, part.axes])
        _rebuild(points, part.periods, part.hills, part.counts[frames], part.counts[moments], own, energies)
    if not any(isinstance(state, OPESState) and not state.frozen for state in states):
        apart = float(np.median(np.abs(own - trace.bias[frames]))) / trace.kT
        if apart > _ALIKE:
            n = sum(len(part.hills) for part in parts)
            raise BiasError(
                f"the bias of {counted(n, 'hill')} differs by {apart:.1f} kT from what the trace has recorded; give the "
                "bias of the run that recorded it"
            )
        own = trace.bias[frames]
    coarse = np.searchsorted(clock[moments], clock[_moments(clock, parts, COARSE)])
    c = _self_consistent(own / trace.kT, energies / trace.kT, clock[frames], clock[moments], coarse)
    return np.asarray(np.interp(clock, clock[moments], c) * trace.kT)


def _of_state(trace: Trace, state: MetadynamicsState) -> _Deposited:
    axes = list(state.axes)
    if max(axes) >= trace.dim:
        raise SelectionError(f"hills act on coordinate {max(axes)}, the trace has {trace.dim}; give its own bias")
    hills = state.hills
    counts = _counts(trace, trace.s[:, axes], hills[:, : state.dim], state.definition.pace)
    return _Deposited(axes, np.array([period or 0.0 for period in state.periods]), hills, counts)


def _of_hills(trace: Trace, hills: Hills) -> _Deposited:
    missing = [name for name in hills.names if name not in trace.names]
    if missing:
        raise SelectionError(
            f"the hills are on {', '.join(hills.names)}, the trace has {', '.join(trace.names)}; give the hills of its run"
        )
    # PLUMED prints a step before it deposits in it
    counts = np.searchsorted(hills.time, trace.time, side="left")
    table = np.column_stack([hills.centers, hills.sigmas, hills.heights])
    periods = np.array([period or 0.0 for period in hills.periods])
    return _Deposited([trace.names.index(name) for name in hills.names], periods, table, counts)


def _counts(trace: Trace, s: np.ndarray, centers: np.ndarray, pace: int) -> np.ndarray:
    """How many of the hills there were at each row (n,)."""
    if not len(trace):
        return np.zeros(0, np.int64)
    steps, there = _met(trace.step, s, centers)
    before, known = (
        (trace.step - 1) // pace,
        (steps - 1) // pace,
    )  # deposits at multiples of the pace that lie before a row
    rate = float(len(trace.walkers))
    if not len(known):  # no row is of a step with a deposit: the last hills are those of the last row
        known, there = np.array([before.max()]), np.array([len(centers)])
    elif len(known) > 1:
        rate = (there[-1] - there[0]) / max(int(known[-1] - known[0]), 1)
    counts = np.interp(before, known, there)
    counts = np.where(before < known[0], there[0] - rate * (known[0] - before), counts)
    counts = np.where(before > known[-1], there[-1] + rate * (before - known[-1]), counts)
    return np.clip(np.rint(counts), 0, len(centers)).astype(np.int64)


def _met(step: np.ndarray, s: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps at which a row is the center of a hill, and how many hills there were before that step's, both ascending."""
    where: dict[bytes, list[int]] = {}
    for number, center in enumerate(np.ascontiguousarray(centers)):
        where.setdefault(center.tobytes(), []).append(number)
    steps: list[int] = []
    there: list[int] = []
    for now, rows in groupby(np.argsort(step, kind="stable"), key=lambda row: int(step[row])):
        found = []
        for row in rows:
            numbers = where.get(s[row].tobytes(), [])
            # a place may come again to the last digit
            later = bisect_left(numbers, there[-1] + 1 if there else 0)
            found += numbers[later : later + 1]
        if found:
            steps.append(now)
            there.append(min(found))  # of walkers at one step the first to deposit has seen none of the others' hills
    return np.array(steps, np.int64), np.array(there, np.int64)


def _moments(clock: np.ndarray, parts: Sequence[_Deposited], most: int) -> np.ndarray:
    """Rows at whose moments c(t) is computed, by ascending clock: closer where much was deposited."""
    ticks, rows = np.unique(clock, return_index=True)
    if len(ticks) <= most:
        return np.asarray(rows)
    heights = np.sum([np.append(0.0, np.cumsum(part.hills[:, -1]))[part.counts[rows]] for part in parts], axis=0)
    spread = np.linspace(0, 1, len(ticks)) + (heights - heights[0]) / max(float(np.ptp(heights)), 1e-300)
    wanted = np.searchsorted(spread, np.linspace(0, spread[-1], most))
    return np.asarray(rows[np.unique(np.clip(np.append(wanted, 0), 0, len(ticks) - 1))])


@jit
def _rebuild(points, periods, hills, counts, moments, own, energies):
    """Add the energy of the hills that there were at each frame's moment to own (n,), at all moments to energies (m, n)."""
    dim, last = points.shape[1], moments.shape[0]
    for f in range(points.shape[0]):
        energy, moment = 0.0, 0
        for k in range(hills.shape[0] + 1):
            while moment < last and moments[moment] <= k:
                energies[moment, f] += energy
                moment += 1
            if counts[f] == k:
                own[f] += energy
            if k == hills.shape[0] or (moment == last and counts[f] <= k):
                break
            half = 0.0
            for i in range(dim):
                d = points[f, i] - hills[k, i]
                if periods[i] > 0.0:
                    d -= periods[i] * math.floor(d / periods[i] + 0.5)
                d /= hills[k, dim + i]
                if d > CUTOFF or d < -CUTOFF:
                    half = -1.0
                    break
                half += 0.5 * d * d
            if half >= 0.0:
                energy += hills[k, 2 * dim] * math.exp(-half)


def _self_consistent(
    own: np.ndarray, energies: np.ndarray, clock: np.ndarray, moments: np.ndarray, coarse: np.ndarray
) -> np.ndarray:
    """c at the moments, in kT, such that it follows from the weights that it gives.

    With x = exp(-c), frames between two moments weigh as x shared out linearly. Then x_t is the sum over frames of
    w exp(-V_t), w linear in x and summing to 1: x is proportional to M x with a positive matrix M, so it is M's only positive
    eigenvector. It is found for some of the moments first, since iterating converges slowly where states are visited seldom.
    """
    rough = np.median(energies, axis=1)  # near the answer, so that no exponential is too large
    weights = np.exp(np.clip(own - np.interp(clock, moments, rough), -300, 300))
    boltzmann = np.exp(np.clip(rough[:, None] - energies, -300, 300))
    left, right, part = _between(clock, moments[coarse])
    share = np.zeros((len(own), len(coarse)))
    rows = np.arange(len(own))
    share[rows, left] = weights * (1.0 - part)
    share[rows, right] += weights * part
    power = boltzmann[coarse] @ share
    power /= power.max()
    for _ in range(_SQUARINGS):  # as many multiplications as two to that power
        new = power @ power
        new /= new.max()
        done = np.abs(new - power).max() < 1e-9
        power = new
        if done:
            break
    left, right, part = _between(moments, moments[coarse])
    found = np.log(np.maximum(power.sum(axis=1), 1e-300))
    x = np.exp((1.0 - part) * found[left] + part * found[right])
    left, right, part = _between(clock, moments)
    for _ in range(_PASSES):
        share = weights * ((1.0 - part) * x[left] + part * x[right])
        new = boltzmann @ share / share.sum()
        done = np.ptp(np.log(new / x)) < 1e-3
        x = new
        if done:
            break
    return np.asarray(rough - np.log(x))


def _between(clock: np.ndarray, moments: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The moments before and after, and how far in between."""
    right = np.minimum(np.maximum(np.searchsorted(moments, clock), 1), len(moments) - 1)
    left = np.maximum(right - 1, 0)
    return left, right, (clock - moments[left]) / np.maximum(moments[right] - moments[left], 1)
