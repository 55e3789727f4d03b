"""The last round: unbiased two-way swarms over the whole visited range, and what they say about populations and rates."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from mdinsight import seeds, units
from mdinsight.adaptive._cover import farthest_points, nearest_point
from mdinsight.adaptive._history import Decision, History
from mdinsight.adaptive._learn import Metastable
from mdinsight.adaptive._plan import Plan
from mdinsight.adaptive._policy import systematic
from mdinsight.adaptive._weigh import Weighted, weigh
from mdinsight.cvs import CVModel
from mdinsight.errors import ConnectivityError, DegenerateError, LagError, MdinsightWarning, ParameterError
from mdinsight.msm import Passage, StratumWeights, SwarmModel, stratum_weights, swarm_model, swarm_passage, swarms
from mdinsight.records import Model
from mdinsight.results import Estimate, Verdict

SHARE = 0.15
"""Part of the budget that the last swarms get."""
_STARTS = 6
"""Paths that start in each cell, as a rule."""
_LAGS = 2
"""Length of a path, each way, in lags of the coordinate: by half of it the memory of the start is lost."""
_FINER = 4
"""How many times as often frames are saved as in other swarms: neighbouring cells must be seen to be neighbours."""
_CELLS = {1: 60}
_MOST_CELLS = 120
_PLACES = 4000
_WIDTH, _HEIGHT = 0.3, 1.5
"""Size of a cell: standard deviations of the coordinate, and kT."""
_CEILING = 20.0
_CORE = 0.9
_SAMPLES = 200
_BLOCKS = 10


class Strata(Model):
    """Cells of the coordinate in which the last swarms start.

    Attributes
    ----------
    points
        (n, dim) places that were visited.
    cell
        (n,) the cell of each; the last cell, in which nothing starts, is all that lies too high.
    scale
        (dim,) by which distances are divided.
    n
        Number of cells, the last included.
    """

    points: np.ndarray
    cell: np.ndarray
    scale: np.ndarray
    n: int

    def cells(self, s: np.ndarray) -> np.ndarray:
        """(n_frames,) the cell of each point (n_frames, dim): that of the nearest place that was visited."""
        nearest = cKDTree(self.points / self.scale).query(np.asarray(s, np.float64) / self.scale)[1]
        return np.asarray(self.cell[nearest], np.int64)

    @classmethod
    def of(cls, s: np.ndarray, log_weights: np.ndarray, n: int, ceiling: float, rng: np.random.Generator) -> Strata:
        """Cells of like place and like free energy, so that neighbours reach each other also where the free energy is steep.

        Parameters
        ----------
        s
            (n_frames, dim) of weighted frames.
        log_weights
            (n_frames,) in the unbiased ensemble.
        n
            Most cells.
        ceiling
            kT above the lowest free energy: what lies higher has no starts.
        """
        scale = np.where(s.std(axis=0) > 0, s.std(axis=0), 1.0)
        free = _free_energy(s, log_weights)
        low = np.flatnonzero(free - free.min() <= ceiling)
        points = np.column_stack([s / scale / _WIDTH, free / _HEIGHT])
        picked = low if len(low) <= _PLACES else rng.choice(low, _PLACES, replace=False)
        centers = picked[farthest_points(points[picked], min(n, len(picked)), int(rng.integers(len(picked))))]
        high = np.setdiff1d(np.arange(len(s)), low)
        high = high if len(high) <= _PLACES else rng.choice(high, _PLACES, replace=False)
        cell = np.concatenate([nearest_point(points[picked], points[centers]), np.full(len(high), len(centers))])
        return cls(s[np.concatenate([picked, high])], cell, scale, len(centers) + 1)


def _free_energy(s: np.ndarray, log_weights: np.ndarray) -> np.ndarray:
    """(n_frames,) in kT, from a histogram of the coordinate."""
    bins = {1: 60, 2: 40}.get(s.shape[1], 20)
    edges = [np.linspace(column.min(), column.max() + 1e-9, bins + 1) for column in s.T]
    places = np.stack(
        [np.clip(np.searchsorted(e, c, side="right") - 1, 0, bins - 1) for e, c in zip(edges, s.T, strict=True)]
    )
    flat = np.ravel_multi_index(tuple(places), (bins,) * s.shape[1])
    _, flat = np.unique(flat, return_inverse=True)
    weights = np.bincount(flat, np.exp(log_weights - log_weights.max()))
    return np.asarray(-np.log(np.maximum(weights, 1e-300))[flat])


def plan_swarms(
    plan: Plan, history: History, state: dict[str, Any], budget: float
) -> tuple[Decision, dict[str, Model]]:
    """Two-way paths from every cell of the visited range, started within it as the unbiased ensemble is.

    Raises
    ------
    DegenerateError
        If no biased round can be weighed.
    """
    last = history.decisions[-1]
    weighted, coordinate = weigh(history), history.coordinate(last.version)
    if weighted is None or coordinate is None:
        raise DegenerateError("no biased round has settled, so nothing can be weighed; make the run longer")
    number = len(history.decisions)
    stride = max(1, plan.swarm_stride // _FINER)
    half = max(4, round(_LAGS * plan.lag / plan.ps(stride))) * stride
    paths = max(2 * _STARTS, int(SHARE * budget / (2 * plan.ps(half))))
    s = np.asarray(coordinate.values(weighted.features), np.float64)
    rng = seeds.generator(plan.seed, "kinetics", number)
    most = int(np.clip(paths // _STARTS, 2, _CELLS.get(coordinate.dim, _MOST_CELLS)))
    strata = Strata.of(s, weighted.model.log_weights, most, _ceiling(plan), rng)
    cells, inner = strata.cells(s), strata.n - 1
    chosen = np.concatenate([_drawn(weighted, cells == cell, max(1, paths // inner), rng) for cell in range(inner)])
    starts = weighted.where(rng.permutation(chosen))
    shares = [share for share in np.array_split(np.arange(len(starts)), plan.walkers) if len(share)]
    base = {"kind": "kinetics", "steps": half, "stride": stride, "two_way": True, "with_start": True}
    tasks = tuple(
        {**base, "n": len(share), "walker": walker, "starts": [list(starts[int(i)]) for i in share]}
        for walker, share in enumerate(shares)
    )
    says = f"{len(starts)} two-way paths of {units.format_time(2 * plan.ps(half))} from {inner} cells"
    return Decision(number, "kinetics", says, tasks, last.version, None, state), {"strata": strata}


def _ceiling(plan: Plan) -> float:
    """kT above the lowest free energy up to which paths start: what the bias can lift, and a little less."""
    barrier = getattr(plan.bias, "barrier", None)
    return _CEILING if barrier is None else min(_CEILING, 0.9 * float(barrier) / plan.system.kT)


def _drawn(weighted: Weighted, mask: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    rows = np.flatnonzero(mask)
    if not len(rows):
        return rows
    logs = weighted.model.log_weights[rows]
    weights = np.exp(logs - logs.max())
    return rows[systematic(weights / weights.sum(), n, rng)]


@dataclass(frozen=True)
class Kinetics:
    """What the last swarms say.

    Attributes
    ----------
    model
        The Markov model of the swarms, with the cells' weights of the biased rounds; cells are its states.
    own
        The cells' weights from the swarms alone.
    strata, state
        The cells, and the metastable state (n_cells,) of each.
    weights, samples
        (n_cells,), (n_samples, n_cells): the cells' weights from the biased rounds.
    cores
        Cells that hold nine tenths of each state.
    passages
        Mean first passage times in ps between cores, (n, n) of ``Passage`` or None where the swarms do not tell.
    """

    model: SwarmModel
    own: StratumWeights | None
    strata: Strata
    state: np.ndarray
    weights: np.ndarray
    samples: np.ndarray
    cores: tuple[np.ndarray, ...]
    passages: tuple[tuple[Passage | None, ...], ...]

    def free_energies(self, kT: float) -> Estimate | None:
        """F of each state from the swarms alone, kJ/mol, relative to the most populated state of the biased rounds.

        None where the swarms do not connect the cells that hold the states.
        """
        if self.own is None:
            return None
        n = len(self.cores)
        held = np.zeros(len(self.state), bool)
        held[self.own.strata] = True
        all_of = np.bincount(self.state, self.weights, minlength=n)
        if (np.bincount(self.state, self.weights * held, minlength=n) < 0.5 * all_of).any():
            return None
        base = int(np.argmax(all_of))

        def energies(weights: np.ndarray) -> np.ndarray:
            sums = np.stack([weights[..., self.state == i].sum(axis=-1) for i in range(n)], axis=-1)
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.asarray(-kT * (np.log(sums) - np.log(sums[..., base : base + 1])))

        value = energies(self.own.weights)
        if not np.isfinite(value).all():
            return None
        return Estimate.from_samples(value, energies(self.own.samples), "kJ/mol")

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether biased free energies and unbiased swarms agree, and what the swarms' model rests on."""
        found = list(self.model.verdicts())
        if self.own is None:
            says = (
                "the swarms alone do not connect the cells, so they give no weights to compare with those of the bias"
            )
            return (Verdict("swarms against bias", False, says, "run longer, or longer swarms"), *found)
        agreement = self.own.agreement(self.weights, self.samples)
        return (agreement.replace(subject="swarms against bias"), *found)


def kinetics_of(plan: Plan, history: History) -> Kinetics | None:
    """The kinetics of the latest two-way swarms; None before there are any."""
    rounds = [d for d in history.decisions if d.kind == "kinetics" and history.pieces([d])]
    if not rounds:
        return None
    last = rounds[-1]
    key = ("kinetics", last.round, len(history.pieces([last])), len(history.pieces()))
    return history.remembered(key, lambda: _kinetics(plan, history, last))  # type: ignore[no-any-return]


def _kinetics(plan: Plan, history: History, last: Decision) -> Kinetics | None:
    coordinate, weighted = history.coordinate(last.version), weigh(history)
    if coordinate is None or weighted is None:
        return None
    strata: Strata = history.model(last, "strata")
    before = next(d for d in reversed(history.decisions) if d.kind == "biased" and d.round < last.round)
    states: Metastable = history.model(before, "states")
    paths = [strata.cells(_values(coordinate, part)) for piece in history.pieces([last]) for part in piece.parts]
    found = swarms(paths, np.array([len(path) // 2 for path in paths]), dt=plan.ps(last.tasks[0]["stride"]))
    n_cells = strata.n
    weights, samples = _cell_weights(plan, weighted, strata.cells(_values(coordinate, weighted.features)), n_cells)
    covered = np.bincount([path[len(path) // 2] for path in paths], minlength=n_cells) > 0
    weights, samples = np.where(covered, weights, 0), np.where(covered, samples, 0)
    lag = (len(paths[0]) - 1) // 2
    state = _state_of(strata, states)
    cores = tuple(_core(weights, state == i) for i in range(states.n))
    given: dict[str, Any] = {"weights": weights, "weight_samples": samples, "n_samples": _SAMPLES, "seed": plan.seed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MdinsightWarning)  # what they warn of stands in the verdicts
        model = swarm_model(found, lag, **given)
        try:
            own: StratumWeights | None = stratum_weights(found, n_samples=_SAMPLES, seed=plan.seed)
        except (ConnectivityError, LagError):
            own = None
        passages = tuple(tuple(_passage(found, a, b, lag, given) for b in cores) for a in cores)
    return Kinetics(model, own, strata, state, weights, samples, cores, passages)


def _state_of(strata: Strata, states: Metastable) -> np.ndarray:
    """(n_cells,) the state that most of a cell's places belong to."""
    votes = np.zeros((strata.n, states.n))
    np.add.at(votes, (strata.cell, states.assign(strata.points)), 1.0)
    return np.asarray(votes.argmax(axis=1))


def _values(coordinate: CVModel, features: np.ndarray) -> np.ndarray:
    return np.asarray(coordinate.values(np.asarray(features)), np.float64)


def _passage(found: Any, a: np.ndarray, b: np.ndarray, lag: int, given: dict[str, Any]) -> Passage | None:
    if a is b or not len(a) or not len(b):
        return None
    try:
        return swarm_passage(found, a, b, lag, **given)
    except (ParameterError, LagError):
        return None


def _core(weights: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The fewest cells that hold nine tenths of a state."""
    members = np.flatnonzero(inside & (weights > 0))
    order = members[np.argsort(-weights[members], kind="stable")]
    share = np.cumsum(weights[order]) / max(float(weights[order].sum()), 1e-300)
    return np.sort(order[: int(np.searchsorted(share, _CORE)) + 1])


def _cell_weights(plan: Plan, weighted: Weighted, cells: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The cells' weights and samples of them: a bootstrap over blocks of each walker's time."""
    weights = weighted.model.weights
    value = np.bincount(cells, weights, minlength=n)
    blocks = np.empty(len(cells), dtype=np.int64)
    count = 0
    for run in np.unique(weighted.model.run):
        rows = np.flatnonzero(weighted.model.run == run)
        blocks[rows] = count + np.arange(len(rows)) * _BLOCKS // len(rows)
        count += _BLOCKS
    sums = np.bincount(blocks * n + cells, weights, minlength=count * n).reshape(count, n)
    rng = seeds.generator(plan.seed, "cell weights")
    drawn = rng.exponential(size=(_SAMPLES, count)) @ sums + 1e-300
    return value / value.sum(), drawn / drawn.sum(axis=1, keepdims=True)
