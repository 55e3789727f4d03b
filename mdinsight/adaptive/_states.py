"""What comes out: the states with their populations, free energies, exchange times and structures."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mdinsight import seeds, units
from mdinsight.adaptive._course import cost_words
from mdinsight.adaptive._exchange import Exchange, exchange_of
from mdinsight.adaptive._history import History
from mdinsight.adaptive._judged import judge
from mdinsight.adaptive._kinetics import Kinetics, kinetics_of
from mdinsight.adaptive._learn import SKIP, TOUCHED, Metastable
from mdinsight.adaptive._meaning import Mean, Members, describe, in_words
from mdinsight.adaptive._plan import Plan
from mdinsight.adaptive._policy import systematic
from mdinsight.adaptive._weigh import Weighted, differences, weigh
from mdinsight.bias import free_energy_surface
from mdinsight.cvs import CVModel
from mdinsight.errors import DegenerateError
from mdinsight.results import Estimate, Verdict
from mdinsight.series import Column, TimeSeries
from mdinsight.surfaces import FreeEnergySurface
from mdinsight.words import counted, some

_BINS = {1: 60, 2: 40}


@dataclass(frozen=True)
class States:
    """The states of a run, the most populated first.

    Attributes
    ----------
    populations
        ``Estimate`` (n,) from all biased rounds.
    free_energies
        ``Estimate`` (n,) kJ/mol relative to the first state. A state that no weighted frame is in has a lower bound only.
    swarm_free_energies
        The same from the unbiased swarms alone, NaN where they do not join a state to the first one; None before there are any.
    passage_times
        ``Estimate`` (n, n) ps, mean first passage times from row to column; NaN where not known.
    lifetimes
        ``Estimate`` (n,) ps, mean time from a state until any other is reached; NaN where not known.
    meaning
        For each state the means of the torsions (or other figures) that tell the states apart.
    frames
        For each state (segment, trajectory, frame) of representative structures drawn with their weights, the one nearest to
        the state's mean first.
    coordinate
        The coordinate in force.
    definition, number
        What assigns values of the coordinate to states, and the (n,) numbers that the states of this table have there.
    ps, cost
        Simulated time, everything counted, and by kind of round.
    weighted, assigned
        All weighted frames, and the state of each, (n_frames,).
    exchange
        What the last two-way swarms say; None before there are any.
    history
        What it was read from.
    """

    populations: Estimate
    free_energies: Estimate
    swarm_free_energies: Estimate | None
    passage_times: Estimate
    lifetimes: Estimate
    meaning: tuple[tuple[Mean, ...], ...]
    frames: tuple[tuple[tuple[str, int, int], ...], ...]
    coordinate: CVModel
    definition: Metastable
    number: np.ndarray
    ps: float
    cost: dict[str, float]
    checks: tuple[Verdict, ...]
    weighted: Weighted
    assigned: np.ndarray
    exchange: Exchange | None
    history: History

    def __len__(self) -> int:
        return len(self.populations)

    @property
    def kinetics(self) -> Kinetics | None:
        """The model of the last two-way swarms, with its own numbers of the states."""
        return None if self.exchange is None else self.exchange.kinetics

    @property
    def words(self) -> tuple[str, ...]:
        """Each state in words: ``"phi ALA2 -80, psi ALA2 70"``."""
        return tuple(in_words(means) or "not seen by the weighted frames" for means in self.meaning)

    @property
    def agrees(self) -> bool:
        """Whether the unbiased swarms confirm the bias."""
        return self.checks[0].holds

    @property
    def convergence(self) -> str:
        """Whether the run has converged, in a line; the tests are as they stood when its last round was decided."""
        tests = self.history.tests()
        wrong = [test.subject for test in tests if not test.holds]
        if wrong or not tests:
            says = f"NO for {some(wrong, 9)}" if wrong else "nothing was tested yet"
            return f"not converged: {says}. run.status() says why; go on with a larger budget"
        if all(verdict.holds for verdict in self.checks):
            return "converged: every test and every verdict holds"
        return "the tests of convergence hold; what says NO above does not. Go on with a larger budget"

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether what the table rests on holds; whether swarms and bias agree comes first."""
        return self.checks

    def assign(self, s: np.ndarray) -> np.ndarray:
        """The state (n_frames,) of values (n_frames, dim) of the coordinate, counted from 0 as in this table."""
        rank = np.full(self.definition.n, -1)
        rank[self.number] = np.arange(len(self.number))
        return np.asarray(rank[self.definition.assign(s)])

    def values(self) -> np.ndarray:
        """(n_frames, dim): the coordinate of the weighted frames."""
        return np.asarray(self.coordinate.values(self.weighted.features), np.float64)

    def surface(self, bins: int | None = None) -> FreeEnergySurface:
        """Free energy in kJ/mol along the coordinate, or over its first two columns."""
        key = ("surface", self.coordinate.hash, len(self.history.pieces()), bins)
        return self.history.remembered(key, lambda: self._surface(bins))  # type: ignore[no-any-return]

    def _surface(self, bins: int | None) -> FreeEnergySurface:
        axes = min(self.coordinate.dim, 2)
        names = self.coordinate.get_feature_names_out()[:axes]
        columns = [Column(str(name), "cv") for name in names]
        series = TimeSeries([self.values()[:, :axes]], columns=columns)
        return free_energy_surface(self.weighted.model, series, bins=bins or _BINS[axes])

    def centers(self) -> np.ndarray:
        """(n, dim): the coordinate at the frame that is most typical of each state; NaN where no weighted frame is."""
        s, weights = self.values(), self.weighted.model.weights
        scale = np.where(s.std(axis=0) > 0, s.std(axis=0), 1.0)
        found = np.full((len(self), s.shape[1]), np.nan)
        for state in range(len(self)):
            rows = np.flatnonzero(self.assigned == state)
            if len(rows):
                mean = weights[rows] @ s[rows] / weights[rows].sum()
                found[state] = s[rows[np.argmin((((s[rows] - mean) / scale) ** 2).sum(axis=1))]]
        return found

    def __str__(self) -> str:
        head = f"{counted(len(self), 'state')} from {units.format_time(self.ps)} of simulation"
        failing = [verdict for verdict in self.checks if not verdict.holds]
        lines = [f"{head} ({cost_words(self.cost)})"]
        if failing and failing[0] is self.checks[0]:
            lines += [str(failing.pop(0))]
        for i in range(len(self)):
            lines.append(f"  state {i + 1}: {self.words[i]}")
            lines += [f"    {line}" for line in self._figures(i)]
        lines += [str(verdict) for verdict in failing]
        lines += [str(verdict) for verdict in self.checks if verdict.holds]
        lines.append(self.convergence)
        return "\n".join(lines)

    def _figures(self, i: int) -> list[str]:
        free = f", F {energy(self.free_energies[i])}" if i else ""
        lines = [f"population {share(self.populations[i])}{free}"]
        if i and self.swarm_free_energies is not None:
            lines[0] += f" (unbiased swarms: {energy(self.swarm_free_energies[i])})"
        if np.isfinite(self.lifetimes.value[i]):
            lines.append(f"left after {self.lifetimes[i]} in the mean")
        if i and np.isfinite(self.passage_times.value[0, i]):
            known = np.isfinite(self.passage_times.value[i, 0])
            back = f"back in {self.passage_times[i, 0]}" if known else "how long it takes back is not known"
            lines.append(f"reached from state 1 in {self.passage_times[0, i]}, {back}")
        return lines

    def rows(self) -> list[tuple[str, ...]]:
        """The table in words: number, population, free energy, the same from swarms, lifetime, what the state looks like."""
        swarms = ["no swarms yet"] * len(self)
        if self.swarm_free_energies is not None:
            swarms = [energy(self.swarm_free_energies[i]) for i in range(len(self))]
        return [
            (
                str(i + 1),
                share(self.populations[i]),
                energy(self.free_energies[i]) if i else "reference",
                swarms[i] if i else "reference",
                str(self.lifetimes[i]),
                self.words[i],
            )
            for i in range(len(self))
        ]

    def write_structures(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the structures of each state as one multi-model PDB, the most typical first; gives the files.

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        import mdtraj

        from mdinsight.files import atomic

        written = []
        for number, frames in enumerate(self.frames):
            if not frames:
                continue
            xyz, boxes = self.history.frames(frames)
            path = Path(folder) / f"state-{number + 1}.pdb"
            trajectory = mdtraj.Trajectory(xyz, self.history.plan.system.topology)
            if boxes is not None:
                trajectory.unitcell_vectors = boxes.astype(np.float32)
            trajectory.superpose(trajectory, 0, atom_indices=self.history.plan.system.solute)
            with atomic(path) as handle, tempfile.TemporaryDirectory() as scratch:
                trajectory.save_pdb(str(Path(scratch) / path.name))
                handle.write((Path(scratch) / path.name).read_bytes())
            written.append(path)
        return written


def share(population: Estimate) -> str:
    """A population in percent, with its interval."""
    value, low, high = (100 * float(x) for x in (population.value, population.low, population.high))
    if low > 99.99:
        return "above 99.99 %"
    if high < 0.001:
        return "below 0.001 %"
    digits, low = (4 if value > 99 else 3), low if low > 1e-5 else 0.0
    texts = [np.format_float_positional(float(f"{x:.{digits}g}"), trim="-") for x in (value, low, high)]
    return f"below {texts[2]} %" if value == 0 else f"{texts[0]} % [{texts[1]}, {texts[2]}]"


def energy(figure: Estimate) -> str:
    """A free energy with its interval, or the bound that is known."""
    value, low, high = float(figure.value), float(figure.low), float(figure.high)
    if np.isposinf(value):
        return f"above {low:.3g} kJ/mol"
    if np.isfinite(value) and np.isinf(low) and np.isinf(high):
        return f"{value:.3g} kJ/mol (no interval)"
    return str(figure)


def states_of(plan: Plan, history: History, structures: int = 10) -> States:
    """The states from everything committed.

    Raises
    ------
    DegenerateError
        If no biased round can be weighed yet, or the plan has no bias.
    """
    if plan.bias is None:
        raise DegenerateError(
            "this plan has no bias, so nothing weighs its frames; its trajectories are unbiased: run.markov_model() is the "
            "Markov model of them, and `mdinsight analyze` takes their files"
        )
    last = next((d for d in reversed(history.decisions) if d.kind == "biased"), None)
    weighted = weigh(history)
    coordinate = None if last is None else history.coordinate(last.version)
    if last is None or weighted is None or coordinate is None:
        raise DegenerateError(
            f"after {units.format_time(history.ps)} no biased round has settled, so no state can be weighed yet; "
            "go on with a larger budget"
        )
    found: Metastable = history.model(last, "states")
    s = np.asarray(coordinate.values(weighted.features), np.float64)
    raw = found.assign(s)
    order = np.argsort(-np.bincount(raw, weighted.model.weights, minlength=found.n), kind="stable")
    rank = np.empty(found.n, dtype=np.int64)
    rank[order] = np.arange(found.n)
    assigned = rank[raw]
    _, free, each = differences(weighted, assigned, found.n)
    kinetics = kinetics_of(plan, history)
    exchange = None
    if kinetics is not None:
        exchange = exchange_of(history, kinetics, weighted.features, weighted.model.weights, assigned, found.n)
    members = _members(history, coordinate, found, order, weighted, assigned, s)
    meaning = describe(history, members, list(coordinate.get_feature_names_out()))
    nothing = np.full((found.n, found.n), np.nan)
    unknown = Estimate(nothing, nothing, nothing, "ps")
    return States(
        _population_intervals(plan, free),
        free,
        None if exchange is None else exchange.free_energies,
        unknown if exchange is None else exchange.passage_times,
        unknown[0] if exchange is None else exchange.lifetimes,
        tuple(meaning),
        tuple(_drawn(plan, one, structures, i) for i, one in enumerate(members)),
        coordinate,
        found,
        order,
        history.ps,
        history.cost(),
        judge(
            each,
            free,
            exchange,
            [in_words(means) for means in meaning],
            plan.system.kT,
            _touched(found.visited(s, weighted.model.weights)[order], np.bincount(assigned, minlength=found.n)),
        ),
        weighted,
        assigned,
        exchange,
        history,
    )


def _touched(overlap: np.ndarray, frames: np.ndarray) -> list[int]:
    """States whose frames lie at their border alone."""
    return [i for i in range(len(overlap)) if frames[i] and overlap[i] < TOUCHED]


def _population_intervals(plan: Plan, free: Estimate) -> Estimate:
    """Populations from the free energies: each state's interval with the others at their values."""
    kT = plan.system.kT
    value = np.exp(-free.value / kT)
    others = value.sum() - value

    def part(energies: np.ndarray) -> np.ndarray:
        weight = np.exp(-np.where(np.isfinite(energies), energies, np.sign(energies) * 1e3) / kT)
        return np.asarray(weight / (weight + others))

    low, high = part(free.high), part(free.low)
    if len(value) > 1:  # the first state is what the others leave
        rest_low, rest_high = np.exp(-free.high[1:] / kT).sum(), np.exp(-free.low[1:] / kT).sum()
        low[0], high[0] = 1.0 / (1.0 + rest_high), 1.0 / (1.0 + rest_low)
    return Estimate(value / value.sum(), low, high)


def _members(
    history: History,
    coordinate: CVModel,
    found: Metastable,
    order: np.ndarray,
    weighted: Weighted,
    assigned: np.ndarray,
    s: np.ndarray,
) -> list[Members]:
    """The weighted frames of each state; of a state without any, frames of the swarms that found it, all alike."""
    members = []
    for state, raw in enumerate(order):
        rows = np.flatnonzero(assigned == state)
        if len(rows):
            logs = weighted.model.log_weights[rows]
            weights = np.exp(logs - logs.max())
            members.append(Members(weighted.features[rows], s[rows], weights, tuple(weighted.where(rows))))
        else:
            members.append(_of_swarms(history, coordinate, found, int(raw)))
    return members


def _of_swarms(history: History, coordinate: CVModel, found: Metastable, raw: int) -> Members:
    features: list[np.ndarray] = []
    places: list[tuple[str, int, int]] = []
    for piece in history.pieces(kind="swarm"):
        for trajectory, part in enumerate(piece.parts):
            first = int(SKIP * len(part))
            rows = first + np.flatnonzero(found.assign(coordinate.values(np.asarray(part[first:]))) == raw)
            features.append(np.asarray(part[rows]))
            places += [(piece.name, trajectory, int(row)) for row in rows]
    seen = np.concatenate(features) if features else np.empty((0, len(history.columns)))
    return Members(seen, np.asarray(coordinate.values(seen), np.float64), np.ones(len(seen)), tuple(places))


def _drawn(plan: Plan, members: Members, n: int, state: int) -> tuple[tuple[str, int, int], ...]:
    """Frames drawn with their weights, the one nearest to the mean of the features first."""
    if not len(members):
        return ()
    share_ = members.weights / members.weights.sum()
    rows = np.unique(systematic(share_, n, seeds.generator(plan.seed, "structures", state)))
    features = np.asarray(members.features, np.float64)
    mean = share_ @ features
    scale = np.sqrt(share_ @ (features - mean) ** 2)
    distance = (((features[rows] - mean) / np.where(scale > 0, scale, 1.0)) ** 2).sum(axis=1)
    return members.take(rows[np.argsort(distance, kind="stable")]).places
