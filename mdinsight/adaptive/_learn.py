"""Learns the coordinate from unbiased swarms, keeps the old one unless the new one is better, and finds metastable states."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.exceptions import ComplexWarning
from scipy.sparse.csgraph import connected_components

from mdinsight import cvs, seeds
from mdinsight.adaptive._cover import farthest_points, nearest_point
from mdinsight.adaptive._frames import count_transitions, scaled
from mdinsight.adaptive._plan import Plan
from mdinsight.cvs import CVModel
from mdinsight.errors import DegenerateError, LagError, MdinsightWarning
from mdinsight.parallel import one_thread
from mdinsight.records import Model
from mdinsight.series import TimeSeries

SKIP = 0.15
"""Part of a swarm trajectory that is left out at its beginning: it may come from a hot or a biased frame."""
MOST_DIM = 3
BETTER = 0.03
"""By how much of a slow process the cross-validated score of a new coordinate must exceed that of the old one."""
_FOLDS = 5
_CELLS = 100
TOUCHED = 0.1
"""Least overlap of a state's weighted frames with where unbiased trajectories come to rest in it."""


@dataclass(frozen=True)
class Learned:
    """A coordinate, and how it compares with the one before.

    ``score`` and ``previous`` are cross-validated VAMP-2 scores on the same data; a score of 1 is that of no slow process.
    """

    model: CVModel
    is_new: bool
    score: float
    previous: float | None
    says: str


def learn(plan: Plan, series: TimeSeries, old: CVModel | None, version: int) -> Learned:
    """A coordinate from all unbiased data; the old one is kept unless the new one scores better on the same data.

    The old coordinate is scored as the new one is: refitted inside its own span on every training fold and scored on the fold
    left out, so that neither has seen its test data in this comparison. (The old one was fitted on part of these data before;
    that makes the comparison a little hard on the new one.)
    """
    seed = seeds.integer(plan.seed, "coordinate", version)
    with warnings.catch_warnings(), one_thread(series.n_columns):
        warnings.simplefilter("ignore", MdinsightWarning)  # swarms are short by design; what fails shows in the scores
        estimator = plan.cv.estimator(plan.lag_frames, _dimension(plan, series, seed), seed)
        new = estimator.fit(series).model
        score = _score(estimator, series, seed)
        if old is None:
            return Learned(new, True, score, None, f"{_called(new)}, cross-validated score {score:.2f}")
        values = series.with_arrays([old.values(np.asarray(x)) for x in series], columns=None)
        before = _score(cvs.TICA(lag=plan.lag_frames, dim=old.dim), values, seed)
    if score > before + BETTER:
        return Learned(
            new, True, score, before, f"{_called(new)}, score {score:.2f} against {before:.2f} of the one before"
        )
    return Learned(old, False, score, before, f"kept: a new one scores {score:.2f}, this one {before:.2f}")


def _score(estimator: cvs.TICA | cvs.VAMP | cvs.VAMPNet, series: TimeSeries, seed: int) -> float:
    try:
        return float(cvs.score_cv(estimator, series, folds=_FOLDS, seed=seed).test.value)
    except (DegenerateError, LagError):
        return 1.0


def _dimension(plan: Plan, series: TimeSeries, seed: int) -> int:
    """The processes slower than half a swarm trajectory; at least one, at most three."""
    given = plan.cv.parameters.get("dim", "auto")
    if given != "auto" and given is not None:
        return int(given)
    most = min(MOST_DIM, series.n_columns)
    slow = (
        cvs.TICA(lag=plan.lag_frames, dim=most).fit(series).model.timescales().value
    )  # in ps: the series has a time step
    return int(np.clip(np.sum(np.nan_to_num(slow, nan=0.0) > 0.5 * plan.swarm), 1, most))


def _called(model: CVModel) -> str:
    return f"{model.kind} with {model.dim} coordinate{'s' if model.dim > 1 else ''}"


class Metastable(Model):
    """Cells of the coordinate, and which metastable state each belongs to.

    Attributes
    ----------
    centers
        (n_cells, dim) of the coordinate.
    scale
        (dim,) standard deviation of the coordinate, by which distances are measured.
    state
        (n_cells,) number of the metastable state.
    stays
        (n_cells,) frames of the second halves of unbiased trajectories in each cell: where they come to rest.
    n
        Number of states: sets of cells that unbiased trajectories of a swarm's length do not leave, or leave more slowly than
        that length.
    """

    centers: np.ndarray
    scale: np.ndarray
    state: np.ndarray
    stays: np.ndarray
    n: int

    def visited(self, s: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(n,) overlap of weighted frames with where unbiased trajectories come to rest in each state, from 0 to 1.

        Near 0, the frames that are counted to a state lie at its border: it was touched, never visited, and its weight means
        nothing.

        Parameters
        ----------
        s, weights
            (n_frames, dim) and (n_frames,) of all weighted frames.
        """
        held = np.bincount(self.cells(s), weights, minlength=len(self.state))
        found = np.zeros(self.n)
        for state in range(self.n):
            inside = self.state == state
            ours, theirs = held[inside], self.stays[inside].astype(np.float64)
            if ours.sum() > 0 and theirs.sum() > 0:
                found[state] = np.minimum(ours / ours.sum(), theirs / theirs.sum()).sum()
        return found

    def cells(self, s: np.ndarray) -> np.ndarray:
        """(n,) the cell of each point (n, dim)."""
        return nearest_point(np.asarray(s, np.float64) / self.scale, self.centers / self.scale)

    def assign(self, s: np.ndarray) -> np.ndarray:
        """(n,) the metastable state of each point (n, dim)."""
        return np.asarray(self.state[self.cells(s)])


def metastable(plan: Plan, values: list[np.ndarray], seed: int) -> Metastable:
    """The metastable states in unbiased trajectories of the coordinate.

    Cells cover the visited range evenly. Transitions over half a trajectory, made symmetric, fall into connected sets, and
    within a set PCCA+ (10.1007/s11634-013-0134-6) parts what exchanges more slowly than a trajectory is long. How often
    swarms were started where does not matter for that: only who is reached from where does.

    Parameters
    ----------
    values
        One array (n_frames, dim) for each trajectory.
    """
    s = np.concatenate(values)
    points = scaled(s, None)
    scale = s.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    first = int(seeds.generator(seed, "cells").integers(len(points)))
    rows = farthest_points(points, int(min(_CELLS, max(2, len(points) // 20))), first)
    cells = nearest_point(points, points[rows])
    labels = np.repeat(np.arange(len(values)), [len(v) for v in values])
    half = max(1, round(0.5 * plan.swarm_steps / plan.swarm_stride * (1 - SKIP)))
    counts = count_transitions(cells, labels, len(rows), half)
    states = _parts(counts + counts.T, np.exp(-0.5))
    ends = np.concatenate([np.arange(len(v)) >= len(v) // 2 for v in values])
    stays = np.bincount(cells[ends], minlength=len(rows))
    return Metastable(s[rows], scale, states, stays, int(states.max()) + 1)


def _parts(symmetric: np.ndarray, least: float) -> np.ndarray:
    """(n,) numbers of the sets, the largest first."""
    _, labels = connected_components(symmetric, directed=False)
    found = np.zeros(len(symmetric), dtype=np.int64)
    n = 0
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        block = symmetric[np.ix_(members, members)]
        if block.sum() == 0:
            found[members] = -1  # cells that are only passed through
            continue
        inner = _split(block / block.sum(axis=1, keepdims=True), block.sum(axis=1), least)
        found[members] = n + inner
        n += int(inner.max()) + 1
    return _renumbered(found, symmetric)


def _split(matrix: np.ndarray, weights: np.ndarray, least: float) -> np.ndarray:
    from deeptime.markov import pcca

    scaled_ = np.sqrt(weights)[:, None] * matrix / np.sqrt(weights)[None]
    n = int((np.linalg.eigvalsh(0.5 * (scaled_ + scaled_.T)) > least).sum())
    for number in range(n, 1, -1):  # fewer, where a slow process is one cell's alone and makes no set
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", ComplexWarning
                )  # eigenvectors of a reversible matrix, complex by rounding
                found = np.asarray(pcca(matrix, number).memberships).argmax(axis=1)
        except (ValueError, ArithmeticError, AssertionError, np.linalg.LinAlgError):  # deeptime asserts what it finds
            continue
        return np.asarray(np.unique(found, return_inverse=True)[1])
    return np.zeros(len(matrix), dtype=np.int64)


def _renumbered(states: np.ndarray, symmetric: np.ndarray) -> np.ndarray:
    """Largest first; cells without a set of their own go with the largest."""
    totals = np.bincount(states[states >= 0], symmetric.sum(axis=1)[states >= 0])
    order = np.argsort(-totals, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return np.where(states >= 0, rank[np.maximum(states, 0)], 0)
