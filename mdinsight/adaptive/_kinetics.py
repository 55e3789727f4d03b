"""The last round: unbiased two-way swarms over the whole visited range, and what they say about populations and rates."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from mdinsight import seeds
from mdinsight.adaptive._cover import farthest_points, nearest_point
from mdinsight.adaptive._history import Decision, History
from mdinsight.adaptive._learn import Metastable
from mdinsight.adaptive._plan import SHARE, Plan
from mdinsight.adaptive._policy import systematic
from mdinsight.adaptive._weigh import Weighted, cell_weights, weigh
from mdinsight.cvs import CVModel
from mdinsight.errors import ConnectivityError, DegenerateError, LagError, MdinsightWarning, ParameterError
from mdinsight.msm import (
    Passage,
    StratumWeights,
    SwarmModel,
    Swarms,
    committor,
    stratum_weights,
    swarm_model,
    swarm_passage,
    swarms,
)
from mdinsight.records import Model
from mdinsight.results import Estimate, Verdict

_STARTS = 40
"""Short paths that start in each cell, as a rule."""
_SHORT, _LONG = 0.125, 2.0
"""Length of a path, each way, in lags of the coordinate. Short ones weigh neighbouring cells against each other; long ones follow
the way over a barrier, and by half of their length the memory of the start is lost."""
_EVERYWHERE = 0.2
"""Part of the long paths that start in all cells alike; the others start where it is open which state comes next."""
_LEAST = 2
"""Long paths from each cell that holds a thousandth of the population: the time spent in a basin must be counted whole."""
_FINER = 4
"""How many times as often frames are saved as in other swarms: neighbouring cells must be seen to be neighbours."""
_CELLS = {1: 60}
_MOST_CELLS = 120
_PLACES = 4000
_WIDTH, _HEIGHT = 0.3, 1.5
"""Size of a cell: standard deviations of the coordinate, and kT."""
_CEILING = 20.0
_CORE = 0.9
_SAMPLES = 100


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
        if s.shape[1] == 1:
            cell = _even_steps(points[picked], n)
        else:
            centers = picked[farthest_points(points[picked], min(n, len(picked)), int(rng.integers(len(picked))))]
            cell = nearest_point(points[picked], points[centers])
        cell = np.unique(cell, return_inverse=True)[1]
        count = int(cell.max()) + 1
        high = np.setdiff1d(np.arange(len(s)), low)
        high = high if len(high) <= _PLACES else rng.choice(high, _PLACES, replace=False)
        places = s[np.concatenate([picked, high])]
        return cls(places, np.concatenate([cell, np.full(len(high), count)]), scale, count + 1)


def _even_steps(points: np.ndarray, n: int) -> np.ndarray:
    """(n_places,) cells along one coordinate, each as long a step of place and free energy together as the others."""
    order = np.argsort(points[:, 0], kind="stable")
    place, free = points[order, 0], points[order, 1]
    change = np.flatnonzero(np.diff(free, prepend=np.nan) != 0)  # where another bin of the histogram begins
    middle = np.array([part.mean() for part in np.split(place, change[1:])])
    height = np.convolve(np.pad(free[change], 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    smooth = np.interp(place, middle, height)
    steps = np.hypot(np.diff(place, prepend=place[0]), np.diff(smooth, prepend=smooth[0]))
    length = np.cumsum(steps)
    cell = np.empty(len(points), dtype=np.int64)
    cell[order] = np.minimum((length / max(float(length[-1]), 1e-300) * n).astype(np.int64), n - 1)
    return cell


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
    """The first of two rounds: short two-way paths from every cell, started in it as the unbiased ensemble is.

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
    rng = seeds.generator(plan.seed, "kinetics", number)
    s = np.asarray(coordinate.values(weighted.features), np.float64)
    half, paths = _size(plan, _SHORT, 0.5 * SHARE * budget)
    most = int(np.clip(paths // _STARTS, 10, _CELLS.get(coordinate.dim, _MOST_CELLS)))
    strata = Strata.of(s, weighted.model.log_weights, most, _ceiling(plan), rng)
    each = _shared(np.full(strata.n - 1, 1.0), paths, rng)
    tasks = _paths(plan, weighted, strata.cells(s), each, half, 0, rng)
    return Decision(number, "kinetics", _told(tasks, strata), tasks, last.version, None, state), {"strata": strata}


def plan_long_swarms(plan: Plan, history: History, budget: float) -> tuple[Decision, dict[str, Model]]:
    """The second round: long paths, most of them from cells of which it is open to which state they lead.

    A cell's committors between the most populated state and each other one, in the Markov chain of the short paths, say how open
    it is: the weight of q (1 - q). That only chooses where to look; the figures do not rest on it.
    """
    last = history.decisions[-1]
    weighted, coordinate = weigh(history), history.coordinate(last.version)
    if weighted is None or coordinate is None:
        raise DegenerateError("the rounds before can no longer be weighed; verify the run")
    number = len(history.decisions)
    rng = seeds.generator(plan.seed, "kinetics", number)
    strata: Strata = history.model(last, "strata")
    half, paths = _size(plan, _LONG, 0.5 * SHARE * budget)
    short = _kinetics(plan, history, [last], passages=False)
    cells = strata.cells(np.asarray(coordinate.values(weighted.features), np.float64))
    populated = np.bincount(cells, weighted.model.weights, minlength=strata.n)[:-1] >= 1e-3
    least = np.where(populated, min(_LEAST, paths // max(1, int(populated.sum()))), 0)
    shares = np.full(strata.n - 1, 1.0 / (strata.n - 1))
    if short is not None:
        shares = _EVERYWHERE * shares + (1.0 - _EVERYWHERE) * _open(short, strata.n - 1)
    each = least + _shared(shares, paths - int(least.sum()), rng)
    tasks = _paths(plan, weighted, cells, each, half, 1, rng)
    return Decision(number, "kinetics", _told(tasks, strata), tasks, last.version, None, last.found), {"strata": strata}


def is_half_done(decision: Decision) -> bool:
    """Whether a round is the first of the two."""
    return decision.kind == "kinetics" and decision.tasks[0]["phase"] == 0


def _told(tasks: tuple[dict[str, Any], ...], strata: Strata) -> str:
    kind = "long" if tasks[0]["phase"] else "short"
    return f"{sum(task['n'] for task in tasks)} {kind} two-way paths from {strata.n - 1} cells"


def _size(plan: Plan, lags: float, budget: float) -> tuple[int, int]:
    """Steps of a path each way, and how many paths the budget in ps pays for."""
    stride = _stride(plan)
    half = max(4, round(lags * plan.lag / plan.ps(stride))) * stride
    return half, max(20, int(budget / (2 * plan.ps(half))))


def _stride(plan: Plan) -> int:
    return max(1, plan.swarm_stride // _FINER)


def _shared(shares: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n things shared out as told: whole numbers that are right in the mean, n in all."""
    edges = np.floor(np.append(0.0, np.cumsum(shares) / shares.sum()) * n + rng.random())
    return np.asarray(np.diff(edges), int)


def _paths(
    plan: Plan, weighted: Weighted, cells: np.ndarray, each: np.ndarray, half: int, phase: int, rng: np.random.Generator
) -> tuple[dict[str, Any], ...]:
    """Two-way paths, so many from each cell, shared among the workers evenly."""
    chosen = np.concatenate([_drawn(weighted, cells == cell, int(n), rng) for cell, n in enumerate(each)])
    starts = weighted.where(rng.permutation(chosen))
    base = {
        "kind": "kinetics",
        "phase": phase,
        "steps": half,
        "stride": _stride(plan),
        "two_way": True,
        "with_start": True,
    }
    parts = [part for part in np.array_split(np.arange(len(starts)), plan.walkers) if len(part)]
    return tuple(
        {**base, "n": len(part), "walker": walker, "starts": [list(starts[int(i)]) for i in part]}
        for walker, part in enumerate(parts)
    )


def _open(short: Kinetics, n: int) -> np.ndarray:
    """(n,) shares that sum to 1: how open it is, from each cell, which state comes next."""
    model, found = short.model, np.zeros(n)
    place = {int(number): row for row, number in enumerate(model.active_states)}
    cores = [np.array([place[int(c)] for c in core if int(c) in place], int) for core in short.cores]
    base = int(np.argmax(np.bincount(short.state, short.weights, minlength=len(cores))))
    for number, core in enumerate(cores):
        if number != base and len(core) and len(cores[base]):
            q = committor(model.transition_matrix, cores[base], core)
            open_ = np.zeros(n)
            for cell, row in place.items():
                if cell < n:
                    open_[cell] = q[row] * (1.0 - q[row])
            found += open_ / max(float(open_.sum()), 1e-300)
    return found / found.sum() if found.sum() > 0 else np.full(n, 1.0 / n)


def _ceiling(plan: Plan) -> float:
    """kT above the lowest free energy up to which paths start: what the bias can lift, and a little less."""
    barrier = getattr(plan.bias, "barrier", None)
    return _CEILING if barrier is None else min(_CEILING, 0.9 * float(barrier) / plan.system.kT)


def _drawn(weighted: Weighted, mask: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    rows = np.flatnonzero(mask)
    if not len(rows) or n < 1:
        return rows[:0]
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
    swarms
        The paths through the cells.
    strata, state
        The cells, and the metastable state (n_cells,) of each.
    weights, samples
        (n_cells,), (n_samples, n_cells): the cells' weights from the biased rounds.
    cores
        Cells that hold nine tenths of each state.
    passages
        Mean first passage times in ps between the cores of the states, (n, n) of ``Passage``; None where the swarms do not tell.
    """

    model: SwarmModel
    own: StratumWeights | None
    swarms: Swarms
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
            state = self.state[: weights.shape[-1]]  # cells that no path met have no weight here
            sums = np.stack([weights[..., state == i].sum(axis=-1) for i in range(n)], axis=-1)
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
    both = [d for d in rounds[-2:] if d.round >= last.round - last.tasks[0]["phase"]]
    key = ("kinetics", last.round, len(history.pieces([last])), len(history.pieces()))
    return history.remembered(key, lambda: _kinetics(plan, history, both))  # type: ignore[no-any-return]


def _kinetics(plan: Plan, history: History, rounds: list[Decision], passages: bool = True) -> Kinetics | None:
    last = rounds[-1]
    coordinate, weighted = history.coordinate(last.version), weigh(history)
    if coordinate is None or weighted is None:
        return None
    strata: Strata = history.model(last, "strata")
    before = next(d for d in reversed(history.decisions) if d.kind == "biased" and d.round < last.round)
    states: Metastable = history.model(before, "states")
    paths = [strata.cells(_values(coordinate, part)) for piece in history.pieces(rounds) for part in piece.parts]
    origins = _origins(history, rounds)
    state = _state_of(strata, states)
    cells = strata.cells(_values(coordinate, weighted.features))
    weights, samples = cell_weights(weighted, cells, strata.n, state[cells], _SAMPLES, plan.seed)
    # a cell that one frame was in may have none any more when a longer run is weighed, by every other frame
    known = [number for number, path in enumerate(paths) if weights[path[len(path) // 2]] > 0]
    if not known:
        return None
    paths = [paths[number] for number in known]
    found = swarms(
        paths, np.array([len(path) // 2 for path in paths]), dt=plan.ps(_stride(plan)), origins=origins[known]
    )
    covered = np.bincount([path[len(path) // 2] for path in paths], minlength=strata.n) > 0
    weights, samples = np.where(covered, weights, 0), np.where(covered, samples, 0)
    lag = (max(len(path) for path in paths) - 1) // 2
    cores = tuple(_core(weights, state == i) for i in range(states.n))
    met = found.n_strata
    given: dict[str, Any] = {"weights": weights[:met], "weight_samples": samples[:, :met], "n_samples": _SAMPLES}
    given["seed"] = plan.seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MdinsightWarning)  # what they warn of stands in the verdicts
        try:
            model = swarm_model(found, lag, **given)
        except ConnectivityError:
            return None
        try:
            own: StratumWeights | None = stratum_weights(found, n_samples=_SAMPLES, seed=plan.seed)
        except (ConnectivityError, LagError):
            own = None
        pairs = [[_passage(found, a, b, lag, given) if passages else None for b in cores] for a in cores]
    return Kinetics(model, own, found, strata, state, weights, samples, cores, tuple(map(tuple, pairs)))


def _origins(history: History, rounds: list[Decision]) -> np.ndarray:
    """(n_paths,) the number of the segment that the start of each path was taken from."""
    tasks = {name: task for d in rounds for name, task in zip(d.names, d.tasks, strict=True)}
    names = [start[0] for piece in history.pieces(rounds) for start in tasks[piece.name]["starts"]]
    return np.asarray(np.unique(names, return_inverse=True)[1], np.int64)


def _state_of(strata: Strata, states: Metastable) -> np.ndarray:
    """(n_cells,) the state that most of a cell's places belong to."""
    votes = np.zeros((strata.n, states.n))
    np.add.at(votes, (strata.cell, states.assign(strata.points)), 1.0)
    return np.asarray(votes.argmax(axis=1))


def _values(coordinate: CVModel, features: np.ndarray) -> np.ndarray:
    return np.asarray(coordinate.values(np.asarray(features)), np.float64)


def _passage(found: Swarms, a: np.ndarray, b: np.ndarray, lag: int, given: dict[str, Any]) -> Passage | None:
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
