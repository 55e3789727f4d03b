"""All biased frames of a run in one unbiased ensemble, whatever coordinates and biases they came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdinsight import seeds
from mdinsight.adaptive._history import Decision, History, Piece
from mdinsight.bias import Reweighting, free_energy_difference, mbar
from mdinsight.errors import DegenerateError
from mdinsight.results import Estimate

MOST_FRAMES = 20_000
SETTLED = 1.0
"""kT by which the bias that a round's frames felt may differ, root mean square, from the bias at the round's beginning."""
_WALKERS = 5
"""From so many independent runs on, whole runs are left out one at a time; as in ``bias.free_energy_difference``."""
_PIECES = 10
RELAX = 0.05
"""Part of a segment left out at its beginning where the walker did not go on from its own end."""


@dataclass(frozen=True)
class Weighted:
    """Biased frames with their weights in the unbiased ensemble.

    Attributes
    ----------
    model
        The MBAR solution over all rounds that are counted.
    pieces, piece, frame
        The segments, and for each row (n,) its segment and frame.
    features
        (n, n_columns).
    walker
        (n,) number of the walker.
    rounds, left_out
        Biased rounds that are counted, and those in which the bias still grew too fast.
    """

    model: Reweighting
    pieces: tuple[Piece, ...]
    piece: np.ndarray
    frame: np.ndarray
    features: np.ndarray
    walker: np.ndarray
    rounds: tuple[int, ...]
    left_out: tuple[int, ...]

    def where(self, rows: np.ndarray) -> list[tuple[str, int, int]]:
        """The rows as (segment, trajectory, frame)."""
        return [(self.pieces[int(self.piece[row])].name, 0, int(self.frame[row])) for row in rows]


def weigh(history: History, walker: int | None = None) -> Weighted | None:
    """MBAR over the biased rounds (10.1063/1.2978177); None as long as no round has a settled bias.

    Each round is a state: the bias that its walkers began with, evaluated on every frame of every round, on that round's own
    coordinate; in its own frames the bias that was felt stands for it. Both are made of earlier frames alone. (The bias of the
    round's *end* has answered to the very frames that it would weigh: where chance brought too many it has grown, and weighs them
    up. On alanine dipeptide that made every free energy difference too large, by 0.5 kJ/mol in 10 ns.) A round whose frames felt
    a bias that differs from that of its beginning by more than 1 kT (root mean square, up to a constant) is left out: its bias
    was still filling basins.

    Parameters
    ----------
    walker
        Only the frames of this walker.
    """
    rounds = [d for d in history.decisions if d.kind == "biased" and history.pieces([d])]
    used = [d for d in rounds if _settled(history, d)]
    if not used:
        return None
    rows = list(_rows(history, used, walker))
    if not rows:
        return None
    total = sum(len(frames) for _, _, frames in rows)
    step = max(1, -(-total // MOST_FRAMES))
    rows = [(decision, piece, frames[::step]) for decision, piece, frames in rows]
    pieces = tuple(piece for _, piece, _ in rows)
    energies = np.array(
        [np.concatenate([_energy(history, d, piece)[frames] for _, piece, frames in rows]) for d in used]
    )
    number = {decision.round: i for i, decision in enumerate(used)}
    state = np.concatenate([np.full(len(frames), number[d.round]) for d, _, frames in rows])
    felt = np.concatenate([(piece.trace.bias + piece.trace.fixed)[frames] for _, piece, frames in rows])
    energies[state, np.arange(len(state))] = felt
    labels = np.concatenate([np.full(len(frames), _walker(d, piece)) for d, piece, frames in rows])
    lineage = np.concatenate([np.full(len(frames), d.version) for d, _, frames in rows])
    order = np.lexsort((np.arange(len(state)), labels, lineage))
    try:
        model = mbar(
            energies[:, order],
            state=state[order],
            runs=lineage[order] * 10_000 + labels[order],
            temperature=history.plan.system.temperature,
        )
    except DegenerateError:
        return None
    return Weighted(
        model,
        pieces,
        np.repeat(np.arange(len(rows)), [len(frames) for _, _, frames in rows])[order],
        np.concatenate([frames for _, _, frames in rows])[order],
        np.concatenate([np.asarray(piece.features[frames]) for _, piece, frames in rows])[order],
        labels[order],
        tuple(d.round for d in used),
        tuple(d.round for d in rounds if d not in used),
    )


def _rows(history: History, used: list[Decision], walker: int | None) -> Iterator[tuple[Decision, Piece, np.ndarray]]:
    for decision in used:
        tasks = dict(zip(decision.names, decision.tasks, strict=True))
        for piece in history.pieces([decision]):
            task = tasks[piece.name]
            if walker is None or task["walker"] == walker:
                first = 0 if "continue" in task else int(np.ceil(RELAX * piece.n_frames))
                yield decision, piece, np.arange(first, piece.n_frames)


def _walker(decision: Decision, piece: Piece) -> int:
    return int(decision.tasks[decision.names.index(piece.name)]["walker"])


def _energy(history: History, decision: Decision, piece: Piece) -> np.ndarray:
    """(n_frames,) kJ/mol: the bias that a round began with on all frames of a segment."""
    return history.remembered(("energy", decision.round, piece.name), lambda: _evaluated(history, decision, piece))


def _evaluated(history: History, decision: Decision, piece: Piece) -> np.ndarray:
    model = history.model(decision, "bias")
    coordinate = history.coordinate(decision.version)
    if coordinate is None:
        raise DegenerateError(f"round {decision.round} has no coordinate; its decision was changed")
    return np.asarray(model.potential(np.asarray(coordinate.values(np.asarray(piece.features)), np.float64)))


def _settled(history: History, decision: Decision) -> bool:
    def compare() -> bool:
        model, gaps = history.model(decision, "bias"), []
        for piece in history.pieces([decision]):
            trace = piece.trace
            gaps.append(trace.bias + trace.fixed - model.potential(np.asarray(trace.s)))
        gap = np.concatenate(gaps)
        return bool(gap.std() <= SETTLED * history.plan.system.kT)

    return bool(history.remembered(("settled", decision.round, len(history.pieces([decision]))), compare))


def differences(weighted: Weighted, states: np.ndarray, n: int) -> tuple[np.ndarray, Estimate, tuple[Any, ...]]:
    """Populations (n,) of the states of the frames, and F of each relative to the most populated, with intervals.

    Returns
    -------
    populations, free energies, the ``FreeEnergyDifference`` of each (None for the most populated)
    """
    populations = np.bincount(states, weighted.model.weights, minlength=n)[:n]
    base = int(np.argmax(populations))
    found: list[Any] = []
    value, low, high = np.zeros(n), np.zeros(n), np.zeros(n)
    for state in range(n):
        if state == base:
            found.append(None)
            continue
        one = free_energy_difference(weighted.model, states == base, states == state, coordinates=weighted.features)
        found.append(one)
        value[state], low[state], high[state] = float(one.value), float(one.low), float(one.high)
    return populations, Estimate(value, low, high, "kJ/mol"), tuple(found)


def cell_weights(
    weighted: Weighted, cells: np.ndarray, n: int, states: np.ndarray, n_samples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Equilibrium weights (n,) of cells, and samples (n_samples, n) of them.

    The pieces of the data that the free energies of the states rest on (walkers, or blocks of time as long as a round trip)
    are left out one at a time, and MBAR solved without each. The logarithms are drawn from the normal distribution with the
    jackknife's covariance, widened as Student's t for so few pieces: so each difference of two cells has the interval that
    ``free_energy_difference`` would give it.

    Parameters
    ----------
    cells, states
        (n_frames,) of the weighted frames: the cell of each, and the metastable state of that.
    """
    value = np.bincount(cells, weighted.model.weights, minlength=n)
    value = value / value.sum()
    pieces = _pieces(weighted, states)
    count = int(pieces.max()) + 1
    change = np.zeros((count, n))
    for number in range(count):
        keep = pieces != number
        logs = weighted.model.reweigh(keep)[keep]
        left = np.bincount(cells[keep], np.exp(logs - logs.max()), minlength=n)
        change[number] = np.divide(left / left.sum(), value, out=np.ones(n), where=value > 0) - 1.0
    rng = seeds.generator(seed, "cell weights")
    normal = rng.standard_normal((n_samples, count)) * np.sqrt((count - 1) / count)
    student = normal * np.sqrt((count - 1) / rng.chisquare(count - 1, n_samples))[:, None]
    drawn = value * np.exp(np.clip(student @ (change - change.mean(axis=0)), -50.0, 50.0))
    return value, drawn / drawn.sum(axis=1, keepdims=True)


def _pieces(weighted: Weighted, states: np.ndarray) -> np.ndarray:
    """(n_frames,) the piece of each frame: as few as any state's free energy has."""
    used = np.unique(states, return_inverse=True)[1]
    found = differences(weighted, used, int(used.max()) + 1)[2]
    number = min((one.n_pieces for one in found if one is not None), default=_PIECES)
    labels, run, sizes = np.unique(weighted.model.run, return_inverse=True, return_counts=True)
    if len(labels) >= _WALKERS:
        number = min(len(labels), max(_WALKERS, number))
        return np.asarray(run * number // len(labels))
    within = np.empty(len(run), dtype=np.int64)
    for label in range(len(labels)):
        within[run == label] = np.arange(sizes[label])
    each = np.ceil(number * sizes / len(run)).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(each)[:-1]])
    return np.asarray(first[run] + within * each[run] // sizes[run])
