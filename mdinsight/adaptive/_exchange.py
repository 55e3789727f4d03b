"""What the last swarms say about the states of the table: free energies, passage times, lifetimes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mdinsight.adaptive._history import History
from mdinsight.adaptive._kinetics import Kinetics
from mdinsight.errors import LagError, MdinsightWarning, ParameterError
from mdinsight.msm import Passage, swarm_passage
from mdinsight.results import Estimate

MOST = 0.9
"""Part of a state's weight that must lie in cells which the swarms join, for its free energy by the swarms."""
_SAMPLES = 100


@dataclass(frozen=True)
class Exchange:
    """What two-way swarms say about the states of the table.

    Attributes
    ----------
    kinetics
        The swarms' own model, whose states are numbered in its own way.
    number
        (n,) the number that each state of the table has there, -1 where it is none of them.
    free_energies
        ``Estimate`` (n,) kJ/mol from the swarms alone, relative to the first state; NaN where they do not connect the two.
    passages
        (n, n) of ``Passage`` or None.
    passage_times, lifetimes
        ``Estimate`` (n, n) and (n,) in ps; NaN where not known.
    """

    kinetics: Kinetics
    number: np.ndarray
    free_energies: Estimate
    passages: tuple[tuple[Passage | None, ...], ...]
    passage_times: Estimate
    lifetimes: Estimate


def exchange_of(
    history: History, kinetics: Kinetics, features: np.ndarray, weights: np.ndarray, assigned: np.ndarray, n: int
) -> Exchange:
    """Read the swarms in terms of the table's states.

    The swarms' states may be those of an earlier round. A state of the table is one of them if most of its weight is in that,
    and most of that one's weight in it.

    Parameters
    ----------
    features, weights, assigned
        (n_frames, n_columns), (n_frames,), (n_frames,): the weighted frames, and the state of each in the table.
    n
        Number of states of the table.
    """
    last = next(d for d in reversed(history.decisions) if d.kind == "kinetics" and history.pieces([d]))
    coordinate = history.coordinate(last.version)
    cells = kinetics.strata.cells(np.asarray(coordinate.values(features), np.float64))  # type: ignore[union-attr]
    number = _numbers(kinetics.state[cells], len(kinetics.cores), weights, assigned, n)
    passages = tuple(
        tuple(kinetics.passages[a][b] if min(a, b) >= 0 and a != b else None for b in number) for a in number
    )
    times = _times([one for row in passages for one in row])
    return Exchange(
        kinetics,
        number,
        _energies(kinetics, number, history.plan.system.kT),
        passages,
        times.replace(**{name: getattr(times, name).reshape(n, n) for name in ("value", "low", "high")}),
        _lifetimes(history, kinetics, number, passages),
    )


def _numbers(theirs: np.ndarray, m: int, weights: np.ndarray, ours: np.ndarray, n: int) -> np.ndarray:
    shared = np.bincount(ours * m + theirs, weights, minlength=n * m).reshape(n, m)
    found = np.full(n, -1)
    for state in range(n):
        other = int(np.argmax(shared[state]))
        if shared[state, other] > 0 and int(np.argmax(shared[:, other])) == state:
            found[state] = other
    return found


def _energies(kinetics: Kinetics, number: np.ndarray, kT: float) -> Estimate:
    """F (n,) relative to the first state, from the swarms' own weights of the cells; NaN where these miss much of a state."""
    n, own = len(number), kinetics.own
    if own is None:
        unknown = np.full(n, np.nan)
        return Estimate(unknown, unknown, unknown, "kJ/mol")

    def energies(weights: np.ndarray) -> np.ndarray:
        state = kinetics.state[: weights.shape[-1]]  # cells that no path met may be left out at the end
        sums = np.stack([weights[..., state == k].sum(axis=-1) for k in number], axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = -kT * (np.log(sums) - np.log(sums[..., :1]))
        return np.where(np.isfinite(found) & joined, found + 0.0, np.nan)

    joined = np.array([_joined(kinetics, int(k)) for k in number])
    joined &= joined[0]
    return Estimate.from_samples(energies(own.weights), energies(own.samples), "kJ/mol")


def _joined(kinetics: Kinetics, number: int) -> bool:
    """Whether the cells that the swarms weigh by themselves hold most of a state."""
    inside = kinetics.state == number
    known = np.zeros(len(inside), dtype=bool)
    if kinetics.own is not None:
        known[kinetics.own.strata] = True
    total = float(kinetics.weights[inside].sum())
    return total > 0 and float(kinetics.weights[inside & known].sum()) >= MOST * total


def _times(passages: Sequence[Passage | None]) -> Estimate:
    """The mean times in ps; NaN where the swarms show none."""
    figures = np.full((3, len(passages)), np.nan)
    for column, passage in enumerate(passages):
        if passage is not None and np.isfinite(passage.mfpt.value):
            figures[:, column] = [passage.mfpt.value, passage.mfpt.low, passage.mfpt.high]
    return Estimate(figures[0], figures[1], figures[2], "ps")


def _lifetimes(
    history: History, kinetics: Kinetics, number: np.ndarray, passages: tuple[tuple[Passage | None, ...], ...]
) -> Estimate:
    """Mean time from each state until any other one is met."""
    if len(number) == 2:
        return _times([passages[0][1], passages[1][0]])
    key = ("lifetimes", len(history.pieces()), tuple(int(k) for k in number))  # kinetics follow from what is committed
    return history.remembered(key, lambda: _escapes(history, kinetics, number))  # type: ignore[no-any-return]


def _escapes(history: History, kinetics: Kinetics, number: np.ndarray) -> Estimate:
    found: list[Passage | None] = []
    paths = kinetics.swarms
    for state in number:
        others = [kinetics.cores[k] for k in number if k >= 0 and k != state]
        if state < 0 or not others or not len(kinetics.cores[state]):
            found.append(None)
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", MdinsightWarning)  # what they warn of stands in the verdicts
                found.append(
                    swarm_passage(
                        paths,
                        kinetics.cores[state],
                        np.concatenate(others),
                        int((paths.paths.lengths.max() - 1) // 2),
                        kinetics.weights,
                        kinetics.samples,
                        _SAMPLES,
                        history.plan.seed,
                    )
                )
        except (ParameterError, LagError):
            found.append(None)
    return _times(found)
