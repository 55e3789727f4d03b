"""What comes next: a pure function of what is committed, of the plan and of the budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mdinsight import seeds, units
from mdinsight.adaptive import _cost as cost
from mdinsight.adaptive._converge import assess, with_states
from mdinsight.adaptive._ensemble import WeightedEnsemble
from mdinsight.adaptive._explore import Hot, Pushed
from mdinsight.adaptive._frames import Frames
from mdinsight.adaptive._history import Decision, History, Piece
from mdinsight.adaptive._isomers import Isomers
from mdinsight.adaptive._kinetics import is_half_done, plan_long_swarms, plan_swarms
from mdinsight.adaptive._learn import SKIP, Learned, Metastable, learn, metastable
from mdinsight.adaptive._plan import Plan
from mdinsight.adaptive._policies import Diverse, usable
from mdinsight.adaptive._states import states_of
from mdinsight.adaptive._unbiased import first_ensemble, learned_as_told, unbiased_round
from mdinsight.adaptive._weigh import Weighted, weigh
from mdinsight.bias import BiasModel, Coordinate
from mdinsight.cvs import CVModel
from mdinsight.errors import DegenerateError, PlanError
from mdinsight.records import Model
from mdinsight.words import counted, some

AGAIN = 2.0
"""How many times the simulated time must grow until last swarms of which a verdict does not hold are made anew."""
KEPT = 2
"""Times in a row that a relearned coordinate must be no better than the old before it is learned no more."""


@dataclass(frozen=True)
class Next:
    """A decision with the models that are committed with it."""

    decision: Decision
    models: dict[str, Model] = field(default_factory=dict)


@dataclass(frozen=True)
class End:
    """Nothing comes next, and why.

    Attributes
    ----------
    converged, says
        Whether the run has converged, and why it stopped.
    more
        The least budget in ps with which it goes on; None where a larger one adds nothing.
    """

    converged: bool
    says: str
    more: float | None = field(default=None, repr=False)


def decide(plan: Plan, history: History, budget: float) -> Next | End:
    """The next round, or the end.

    Parameters
    ----------
    budget
        ps of simulation in all, everything counted.
    """
    done = history.decisions
    if not done:
        plan.check_budget(budget)
        return Next(first_ensemble(plan) if isinstance(plan.policy, WeightedEnsemble) else explore(plan))
    last = done[-1]
    if not history.pieces([last]):
        raise PlanError(_all_broken(plan, history, last))
    if plan.bias is None:
        return _unbiased(plan, history, budget)
    if last.kind == "explore":
        needed = cost.first_swarm(plan) + cost.biased(plan)
        enough = cost.enough(plan, history.ps + needed)
        return Next(first_swarm(plan, history)) if budget >= enough * 0.9999 else _spent(history, budget, enough)
    if is_half_done(last):
        return Next(*plan_long_swarms(plan, history, cost.paid(plan, history, budget, 1)))
    state = None if last.kind == "swarm" else assess(plan, history)
    converged = state is not None and state["converged"]
    wrong = _denied(plan, history) if converged and last.kind == "kinetics" else ()
    if converged and last.kind == "kinetics" and not wrong:
        return End(True, "converged, and every verdict holds; a larger budget adds nothing")
    rest = budget * 1.0001 - history.ps
    left = rest - cost.last_swarms(plan, budget)  # the last swarms must always be paid for
    if converged and left >= 0 and _sweeps(history):
        return Next(*plan_swarms(plan, history, state, cost.paid(plan, history, budget, 2)))  # type: ignore[arg-type]
    due = last.kind != "swarm" and _learns(history)
    if due and cost.relearning(plan) + cost.biased(plan) <= left:
        return Next(later_swarm(plan, history, state))
    if cost.biased(plan) <= left:
        return biased(plan, history, state)
    fresh = last.kind == "biased" or (last.kind == "swarm" and not any(d.kind == "kinetics" for d in done))
    weighed = weigh(history) is not None
    if (
        not weighed and cost.biased(plan) <= rest
    ):  # without weights there is no place for swarms, so nothing to save for
        return biased(plan, history, state)
    if fresh and left >= -1e-3 * budget and weighed:
        return Next(*plan_swarms(plan, history, assess(plan, history), cost.paid(plan, history, budget, 2)))
    return _spent(history, budget, cost.enough(plan, history.ps + cost.biased(plan)), wrong)


def _spent(history: History, budget: float, enough: float, wrong: Sequence[str] = ()) -> End:
    """The end by the budget."""
    says = cost.told(budget, history.ps, enough)
    return End(False, f"converged, but NO for {', '.join(wrong)}; {says}" if wrong else says, enough)


def _learns(history: History) -> bool:
    """Whether a swarm is due: until a new coordinate was no better twice in a row."""
    verdicts = [d.learned["is_new"] for d in history.decisions if d.learned is not None]
    return len(verdicts) < KEPT + 1 or any(verdicts[-KEPT:])


def _denied(plan: Plan, history: History) -> tuple[str, ...]:
    """The verdicts on what is reported that do not hold: the rounds may agree, and the last swarms still deny them."""
    return tuple(verdict.subject for verdict in states_of(plan, history).verdicts() if not verdict.holds)


def _sweeps(history: History) -> bool:
    """Whether a run that has converged makes last swarms: the first, or new ones where a verdict denies those before."""
    done = history.decisions
    last = max((d.round for d in done if d.kind == "kinetics"), default=-1)
    return last < 0 or history.ps >= AGAIN * history.ps_of(done[: last + 1])


def _all_broken(plan: Plan, history: History, last: Decision) -> str:
    """What to do where no segment of a round is left."""
    ways = [f"a time step of {units.format_time(plan.system.timestep / 2)}"]
    if last.kind == "explore" and isinstance(plan.explore, Hot):
        ways.append(
            f"Hot(temperature={plan.explore.kelvin(plan.system.temperature) / 2:.0f}) or Plain() as exploration"
        )
    ways.append("a structure that was minimised and equilibrated longer (System.prepared)")
    names = some([f"quarantine/{name}" for name in last.names])
    return (
        f"all segments of round {last.round} ({last.kind}) broke down; see {names} in {history.store.path} for their starts, the "
        "system and what happened. This run cannot go on as it is: nothing can follow from that round. Begin a new run in "
        f"another folder, with {', or '.join(ways)}. (If it was the fault of a device, move these folders out of quarantine and "
        "resume: they are run once more)"
    )


# -- the rounds ----------------------------------------------------------------------------------------------------------


def explore(plan: Plan) -> Decision:
    """The first exploration: every walker from the prepared structure."""
    steps = max(1, round(plan.explore_span / plan.system.timestep))
    stride = max(1, min(steps // 20, round(0.5 / plan.system.timestep)))
    steps = stride * max(1, steps // stride)
    tasks = []
    for walker in range(plan.walkers):
        task: dict[str, Any] = {
            "kind": "explore",
            "steps": steps,
            "stride": stride,
            "n": 1,
            "walker": walker,
            "initial": True,
        }
        if isinstance(plan.explore, Hot):
            task["temperature"] = plan.explore.kelvin(plan.system.temperature)
        if isinstance(plan.explore, Pushed):
            task["pushed"] = walker
        tasks.append(task)
    says = f"{counted(plan.walkers, 'walker')}, {plan.explore.kind}, {units.format_time(plan.ps(steps))} each"
    return Decision(0, "explore", says, tuple(tasks))


def first_swarm(plan: Plan, history: History) -> Decision:
    """Unbiased trajectories from frames of the exploration that lie far apart, and from the first structure."""
    rows, features = _explored(plan, history)
    n = plan.swarms - 1
    rng = seeds.generator(plan.seed, "first swarm")
    frames = Frames.of(_spread(features), plan.system.kT, seed=plan.seed)
    chosen = Diverse().choose(frames, min(n, len(rows)), rng)
    starts = [rows[int(i)] for i in chosen]
    says = f"{len(starts) + 1} trajectories from explored frames"
    return _swarm(plan, len(history.decisions), starts, says, initial=True)


def later_swarm(plan: Plan, history: History, state: dict[str, Any] | None = None) -> Decision:
    """Unbiased trajectories from where the policy says, among all frames seen at the system's temperature."""
    last = history.decisions[-1]
    rows, frames = candidates(plan, history, last.version)
    n = cost.relearners(plan)
    chosen = usable(plan.policy, frames).choose(frames, n, seeds.generator(plan.seed, "swarm", len(history.decisions)))
    starts = [rows[int(i)] for i in chosen]
    made = _swarm(plan, len(history.decisions), starts, f"{n} trajectories to learn from", initial=False)
    return dataclasses.replace(made, version=last.version, found=state)


def biased(plan: Plan, history: History, state: dict[str, Any] | None = None) -> Next:
    """Walkers under the bias. After a swarm the coordinate is learned anew; if it stays, so do bias and walkers."""
    done = history.decisions
    before = next((d for d in reversed(done) if d.version >= 0), None)
    version = -1 if before is None else before.version
    learned: Learned | None = None
    models: dict[str, Model] = {}
    series = history.unbiased(SKIP)
    if series is None:
        raise DegenerateError(
            "there is no unbiased trajectory longer than the lag; make the swarm's trajectories longer"
        )
    if done[-1].kind == "swarm":
        learned = learn(plan, series, history.coordinate(version), version + 1)
        if learned.is_new:
            version += 1
            models["coordinate"] = learned.model
    coordinate = learned.model if learned is not None else history.coordinate(version)
    if coordinate is None:
        raise DegenerateError("there is no coordinate; the decisions of this run were changed")
    same = learned is None or not learned.is_new
    past = [d for d in done if d.kind == "biased" and d.version == version] if same else []
    models["bias"] = history.bias_after(past[-1]) if past else _empty(plan, coordinate)
    states = metastable(plan, [coordinate.values(np.asarray(x)) for x in series], plan.seed)
    models["states"] = states
    tasks, how = _walkers(plan, history, past, coordinate, version)
    says = f"{counted(plan.walkers, 'walker')} under {type(plan.bias).__name__}, {how}"
    if state is None and done[-1].kind == "swarm":
        state = done[-1].found
    told = learned_as_told(learned)
    known = with_states(plan, done, state or {}, states.n)
    return Next(Decision(len(done), "biased", says, tasks, version, told, known), models)


def _empty(plan: Plan, coordinate: CVModel) -> BiasModel:
    return BiasModel.empty(Coordinate.of(coordinate), plan.bias, plan.system.temperature)


def _walkers(
    plan: Plan, history: History, past: Sequence[Decision], coordinate: CVModel, version: int
) -> tuple[tuple[dict[str, Any], ...], str]:
    """Walkers go on from their own ends as long as the coordinate is the same; else they start where the policy says."""
    base = {"kind": "biased", "steps": plan.segment_steps, "stride": plan.stride, "n": 1, "bias": True}
    ends: dict[int, str] = {}
    for decision in past:
        for name, task in zip(decision.names, decision.tasks, strict=True):
            if history.store.has(name):
                ends[task["walker"]] = name
            else:
                ends.pop(task["walker"], None)  # it broke down: from where it came it would break down again
    fresh = [walker for walker in range(plan.walkers) if walker not in ends]
    starts: dict[int, Any] = {}
    policy = plan.policy
    if fresh:
        rows, frames = candidates(plan, history, version, coordinate)
        policy = usable(policy, frames)
        chosen = policy.choose(frames, len(fresh), seeds.generator(plan.seed, "walkers", len(history.decisions)))
        starts = {walker: rows[int(row)] for walker, row in zip(fresh, chosen, strict=True)}
    tasks = []
    for walker in range(plan.walkers):
        where = {"starts": [list(starts[walker])]} if walker in starts else {"continue": ends[walker]}
        tasks.append({**base, "walker": walker, **where})
    how = "going on" if not fresh else f"from frames chosen by {type(policy).__name__}"
    return tuple(tasks), how


def _unbiased(plan: Plan, history: History, budget: float) -> Next | End:
    """Adaptive sampling without bias: relearn, then start where the policy says."""

    def frames(version: int, coordinate: CVModel) -> tuple[list[tuple[str, int, int]], Frames]:
        return candidates(plan, history, version, coordinate)

    def explored() -> tuple[list[tuple[str, int, int]], np.ndarray]:
        rows, features = _explored(plan, history)
        return rows, _spread(features)

    planned = Next(*unbiased_round(plan, history, frames, explored))
    needed = history.ps + cost.decided(plan, planned.decision)
    return planned if needed <= budget * 1.0001 else _spent(history, budget, cost.enough(plan, needed))


def _swarm(plan: Plan, number: int, starts: Sequence[tuple[str, int, int]], says: str, initial: bool) -> Decision:
    """Trajectories shared out among the walkers, each share one segment."""
    shares = np.array_split(np.arange(len(starts)), plan.walkers)
    tasks = []
    for walker, share in enumerate(shares):
        first = initial and walker == 0
        if not len(share) and not first:
            continue
        tasks.append(
            {
                "kind": "swarm",
                "steps": plan.swarm_steps,
                "stride": plan.swarm_stride,
                "n": len(share) + int(first),
                "walker": walker,
                "starts": [list(starts[int(i)]) for i in share],
                "initial": first,
                "with_start": True,
            }
        )
    return Decision(number, "swarm", says, tuple(tasks))


# -- candidates ----------------------------------------------------------------------------------------------------------


def candidates(
    plan: Plan, history: History, version: int, coordinate: CVModel | None = None, weighted: Weighted | None = None
) -> tuple[list[tuple[str, int, int]], Frames]:
    """All frames at the system's temperature from which a walker may start, with what policies ask of them."""
    model = history.coordinate(version) if coordinate is None else coordinate
    if model is None:
        raise DegenerateError("there is no coordinate yet; the decisions of this run were changed")
    rows: list[tuple[str, int, int]] = []
    values, segments, labels, observable = [], [], [], []
    towards = getattr(plan.policy, "towards", None)
    count = 0
    pieces = [piece for piece in history.pieces() if piece.kind in ("swarm", "biased")]
    for number, piece in enumerate(pieces):
        for trajectory, part in enumerate(piece.parts):
            first = int(SKIP * len(part)) if piece.kind == "swarm" else 0
            values.append(np.asarray(model.values(np.asarray(part[first:])), np.float64))
            if towards is not None:
                observable.append(history.observed(piece, towards)[trajectory][first:])
            rows += [(piece.name, trajectory, frame) for frame in range(first, len(part))]
            segments.append(np.full(len(part) - first, number))
            labels.append(np.full(len(part) - first, count if piece.kind == "swarm" else -1))
            count += 1
    s = np.concatenate(values)
    frames = Frames.of(
        s,
        plan.system.kT,
        seed=plan.seed,
        segments=np.concatenate(segments),
        log_weights=_log_weights(history, rows, weighted),
        observable=np.concatenate(observable) if observable else None,
        trajectories=np.concatenate(labels),
        lag=plan.lag_frames,
    )
    return rows, frames


def _log_weights(history: History, rows: list[tuple[str, int, int]], weighted: Weighted | None) -> np.ndarray | None:
    found = weigh(history) if weighted is None else weighted
    if found is None:
        return None
    known = dict(zip(found.where(np.arange(len(found.piece))), found.model.log_weights, strict=True))
    return np.array([known.get(row, -np.inf) for row in rows])


def _explored(plan: Plan, history: History) -> tuple[list[tuple[str, int, int]], np.ndarray]:
    """Frames of the exploration that are conformers of the same molecule, and their features."""
    reference = history.start.positions
    isomers = Isomers.of(plan.system.topology)
    rows: list[tuple[str, int, int]] = []
    found = []
    for piece in history.pieces(kind="explore"):
        xyz = history.read(piece, 0)
        same = isomers.same(xyz, reference)
        rows += [(piece.name, 0, int(frame)) for frame in np.flatnonzero(same)]
        found.append(np.asarray(piece.features)[same])
    if not rows:
        raise DegenerateError(
            "every explored frame has a peptide bond or a stereocentre turned over; explore at a lower temperature "
            "(Hot(temperature=...)) or without heat (Pushed(), Plain())"
        )
    return rows, np.concatenate(found)


def _spread(features: np.ndarray) -> np.ndarray:
    """The few directions in which the frames differ most; stiff bonds and angles do not count."""
    centred = features - features.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    share = np.cumsum(sizes**2) / max(float((sizes**2).sum()), 1e-300)
    keep = int(np.clip(np.searchsorted(share, 0.9) + 1, 1, 6))
    return np.asarray(centred @ axes[:keep].T)


def metastable_of(history: History) -> tuple[Metastable, CVModel] | None:
    """The states and the coordinate in force."""
    for decision in reversed(history.decisions):
        if decision.kind == "biased":
            coordinate = history.coordinate(decision.version)
            if coordinate is not None:
                return history.model(decision, "states"), coordinate
    return None


def pieces_of(history: History, decision: Decision) -> list[Piece]:
    """The committed segments of a decision."""
    return history.pieces([decision])
