"""Adaptive sampling without bias: learn, choose by policy or resample weighted walkers, run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from mdinsight import seeds, units
from mdinsight.adaptive._ensemble import WeightedEnsemble
from mdinsight.adaptive._frames import Frames
from mdinsight.adaptive._history import Decision, History
from mdinsight.adaptive._learn import SKIP, Learned, learn, metastable
from mdinsight.adaptive._plan import Plan
from mdinsight.adaptive._policies import Diverse, usable
from mdinsight.cvs import CVModel
from mdinsight.errors import DegenerateError, MdinsightWarning
from mdinsight.msm import BayesianMSM, MarkovModel, implied_timescales
from mdinsight.records import Model
from mdinsight.states import KMeans
from mdinsight.words import counted


def first_ensemble(plan: Plan) -> Decision:
    """The walkers of a weighted ensemble, all from the prepared structure and of equal weight."""
    shares = [len(share) for share in np.array_split(np.arange(plan.swarms), plan.walkers) if len(share)]
    tasks = []
    for walker, n in enumerate(shares):
        weights = [1.0 / plan.swarms] * n
        tasks.append({**_swarm(plan, walker, n, plan.swarm_steps), "initial": True, "copies": n, "weights": weights})
    return Decision(
        0, "swarm", f"{counted(plan.swarms, 'walker')} of equal weight from the first structure", tuple(tasks)
    )


def unbiased_round(plan: Plan, history: History, candidates: Any, explored: Any) -> tuple[Decision, dict[str, Model]]:
    """The next round of walkers without bias, and the models that go with its decision.

    Parameters
    ----------
    plan, history
        The run.
    candidates
        Gives the frames from which walkers may start, and what policies see of them.
    explored
        Gives the frames of the exploration and their features.
    """
    number = len(history.decisions)
    series = history.unbiased(SKIP if number < 3 else 0.0)
    if series is None:
        rows, points = explored()
        frames = Frames.of(points, plan.system.kT, seed=plan.seed)
        chosen = Diverse().choose(frames, plan.walkers, seeds.generator(plan.seed, "first walkers"))
        says = f"{counted(plan.walkers, 'walker')} from explored frames"
        return Decision(number, "swarm", says, _walkers(plan, [rows[int(i)] for i in chosen])), {}
    before = next((d for d in reversed(history.decisions) if d.version >= 0), None)
    version = -1 if before is None else before.version
    learned: Learned | None = None
    models: dict[str, Model] = {}
    if _due(history):
        learned = learn(plan, series, history.coordinate(version), version + 1)
        if learned.is_new:
            version += 1
            models["coordinate"] = learned.model
    coordinate = history.coordinate(version) if learned is None else learned.model
    if coordinate is None:
        raise DegenerateError("there is no coordinate; the decisions of this run were changed")
    states = metastable(plan, [coordinate.values(np.asarray(x)) for x in series], plan.seed)
    models["states"] = states
    if isinstance(plan.policy, WeightedEnsemble):
        tasks, says = _resampled(plan, history, coordinate)
    else:
        rows, frames = candidates(version, coordinate)
        policy = usable(plan.policy, frames)
        chosen = policy.choose(frames, plan.walkers, seeds.generator(plan.seed, "walkers", number))
        tasks = _walkers(plan, [rows[int(i)] for i in chosen])
        says = f"{counted(plan.walkers, 'walker')} from frames chosen by {type(policy).__name__}"
    return Decision(number, "swarm", says, tasks, version, learned_as_told(learned), {"states": states.n}), models


def markov_model(plan: Plan, history: History) -> MarkovModel:
    """A Bayesian Markov model of all unbiased trajectories on the coordinate in force.

    The lag is where the implied timescales have converged; see :func:`mdinsight.msm.implied_timescales`. Trajectories that were
    started by a policy are as good as any: a Markov model rests on where they go, not on where they begin
    (10.1063/1.3565032).

    Raises
    ------
    DegenerateError
        Before there is a coordinate.
    """
    last = next((d for d in reversed(history.decisions) if d.version >= 0), None)
    series = history.unbiased(0.0 if isinstance(plan.policy, WeightedEnsemble) else SKIP)
    coordinate = None if last is None else history.coordinate(last.version)
    if coordinate is None or series is None:
        raise DegenerateError("there is no coordinate yet; go on with a larger budget")
    values = series.with_arrays([np.asarray(coordinate.values(np.asarray(x)), np.float64) for x in series])
    number = int(np.clip(np.sqrt(series.n_frames), 20, 200))
    dtrajs = KMeans(number, seed=plan.seed).fit_transform(values)
    longest = max(1, int(np.median([len(x) for x in series])) // 5)
    lags = sorted({round(lag) for lag in np.geomspace(1, longest, 6)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MdinsightWarning)  # what they warn of stands in the model's verdicts
        lag = implied_timescales(dtrajs, lags, seed=plan.seed).choose_lag()
        found: MarkovModel = BayesianMSM(lag=lag, seed=plan.seed).fit(dtrajs).model
    return found


def learned_as_told(learned: Learned | None) -> dict[str, Any] | None:
    """What a decision says of the coordinate."""
    if learned is None:
        return None
    return {
        "is_new": learned.is_new,
        "score": learned.score,
        "previous": learned.previous,
        "says": learned.says,
        "hash": learned.model.hash,
        "dim": learned.model.dim,
    }


def _due(history: History) -> bool:
    """Learning becomes rarer as the data grow: after the 1st, 2nd, 4th, 8th ... round."""
    rounds = sum(d.kind == "swarm" for d in history.decisions)
    return rounds & (rounds - 1) == 0


def _swarm(plan: Plan, walker: int, n: int, steps: int) -> dict[str, Any]:
    return {"kind": "swarm", "steps": steps, "stride": plan.swarm_stride, "n": n, "walker": walker, "with_start": True}


def _walkers(plan: Plan, starts: Sequence[tuple[str, int, int]]) -> tuple[dict[str, Any], ...]:
    steps = plan.swarm_stride * max(1, round(plan.segment / plan.ps(plan.swarm_stride)))
    return tuple({**_swarm(plan, w, 1, steps), "starts": [list(start)]} for w, start in enumerate(starts))


def _resampled(plan: Plan, history: History, coordinate: CVModel) -> tuple[tuple[dict[str, Any], ...], str]:
    """Split and merge where the walkers ended; each goes on from its parent's end with the parent's velocities."""
    last = history.decisions[-1]
    parents: list[list[Any]] = []
    weights: list[float] = []
    ends = []
    for name, task in zip(last.names, last.tasks, strict=True):
        if not history.store.has(name):
            continue  # it broke down; its weight goes to the others
        for trajectory, part in enumerate(history.piece(name).parts):
            parents.append([name, trajectory])
            weights.append(task["weights"][trajectory])
            ends.append(np.asarray(part[-1]))
    share = np.array(weights) / sum(weights)
    s = np.asarray(coordinate.values(np.array(ends)), np.float64)
    rng = seeds.generator(plan.seed, "resample", len(history.decisions))
    chosen, new = plan.policy.resample(s, share, rng)
    tasks = []
    for walker, rows in enumerate(np.array_split(np.arange(len(chosen)), plan.walkers)):
        if len(rows):
            more = {"parents": [parents[int(chosen[i])] for i in rows], "weights": [float(new[i]) for i in rows]}
            tasks.append({**_swarm(plan, walker, len(rows), plan.swarm_steps), **more})
    says = (
        f"{counted(len(chosen), 'weighted walker')}, the lightest {new.min():.1e}, {units.format_time(plan.swarm)} each"
    )
    return tuple(tasks), says
