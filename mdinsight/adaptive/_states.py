"""What comes out: the states with their populations, free energies, exchange times and structures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mdinsight import seeds, units
from mdinsight.adaptive._history import History
from mdinsight.adaptive._kinetics import Kinetics, kinetics_of
from mdinsight.adaptive._learn import Metastable
from mdinsight.adaptive._plan import Plan
from mdinsight.adaptive._policy import systematic
from mdinsight.adaptive._weigh import Weighted, differences, weigh
from mdinsight.cvs import CVModel
from mdinsight.errors import DegenerateError
from mdinsight.results import Estimate, Verdict


@dataclass(frozen=True)
class States:
    """The states of a run, the most populated first.

    Attributes
    ----------
    populations
        ``Estimate`` (n,) from all biased rounds.
    free_energies
        ``Estimate`` (n,) kJ/mol relative to the first state.
    swarm_free_energies
        The same from the unbiased swarms alone; None before there are any, or where they do not connect the states.
    passage_times
        ``Estimate`` (n, n) ps, mean first passage times from row to column; NaN where not known.
    frames
        For each state (segment, trajectory, frame) of representative structures, drawn with their weights.
    coordinate
        The coordinate in force.
    n_features_columns
        Names of the feature columns.
    ps
        Simulated time, everything counted.
    """

    populations: Estimate
    free_energies: Estimate
    swarm_free_energies: Estimate | None
    passage_times: Estimate
    frames: tuple[tuple[tuple[str, int, int], ...], ...]
    coordinate: CVModel
    ps: float
    checks: tuple[Verdict, ...]
    weighted: Weighted
    assigned: np.ndarray
    kinetics: Kinetics | None
    history: History

    def __len__(self) -> int:
        return len(self.populations)

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether what the table rests on holds."""
        return self.checks

    def __str__(self) -> str:
        lines = [f"{len(self)} states, {units.format_time(self.ps)} of simulation in all"]
        for i in range(len(self)):
            parts = [f"population {self.populations[i]}"]
            if i:
                parts.append(f"F = {self.free_energies[i]}")
                if self.swarm_free_energies is not None:
                    parts.append(f"(swarms: {self.swarm_free_energies[i]})")
                if np.isfinite(self.passage_times.value[0, i]):
                    parts.append(
                        f"reached from state 1 in {self.passage_times[0, i]}, left in {self.passage_times[i, 0]}"
                    )
            lines.append(f"  state {i + 1}: " + ", ".join(parts))
        lines += [str(verdict) for verdict in self.checks]
        return "\n".join(lines)

    def write_structures(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the structures of each state as one multi-model PDB; gives the files."""
        import mdtraj

        from mdinsight.files import atomic

        written = []
        for number, frames in enumerate(self.frames):
            if not frames:
                continue
            xyz, _ = self.history.frames(frames)
            path = Path(folder) / f"state-{number + 1}.pdb"
            trajectory = mdtraj.Trajectory(xyz, self.history.plan.system.topology)
            trajectory.superpose(trajectory, 0, atom_indices=self.history.plan.system.solute)
            with atomic(path) as handle:
                scratch = Path(handle.name).with_suffix(".pdb")
                try:
                    trajectory.save_pdb(str(scratch))
                    handle.write(scratch.read_bytes())
                finally:
                    scratch.unlink(missing_ok=True)
            written.append(path)
        return written


def states_of(plan: Plan, history: History, structures: int = 10) -> States:
    """The states from everything committed.

    Raises
    ------
    DegenerateError
        If no biased round can be weighed yet.
    """
    last = next((d for d in reversed(history.decisions) if d.kind == "biased"), None)
    weighted = weigh(history)
    coordinate = None if last is None else history.coordinate(last.version)
    if last is None or weighted is None or coordinate is None:
        raise DegenerateError(
            f"after {units.format_time(history.ps)} no biased round has settled, so no state can be weighed yet; "
            "go on with a larger budget"
        )
    found: Metastable = history.model(last, "states")
    raw = found.assign(np.asarray(coordinate.values(weighted.features), np.float64))
    populations, _, _ = differences_only(weighted, raw, found.n)
    order = np.argsort(-populations, kind="stable")
    order = order[populations[order] > 0]
    rank = np.full(found.n, -1)
    rank[order] = np.arange(len(order))
    assigned = rank[raw]
    populations, free, each = differences(weighted, assigned, len(order))
    kinetics = kinetics_of(plan, history)
    return States(
        _population_intervals(plan, free),
        free,
        _of_swarms(kinetics, plan, order),
        _times(kinetics, order),
        tuple(_drawn(plan, weighted, assigned == i, structures, i) for i in range(len(order))),
        coordinate,
        history.ps,
        _checks(weighted, each, kinetics),
        weighted,
        assigned,
        kinetics,
        history,
    )


def differences_only(weighted: Weighted, states: np.ndarray, n: int) -> tuple[np.ndarray, None, None]:
    """The populations (n,) alone."""
    return np.bincount(states, weighted.model.weights, minlength=n)[:n], None, None


def _population_intervals(plan: Plan, free: Estimate) -> Estimate:
    """Populations from the free energies: each state's interval with the others at their values."""
    kT = plan.system.kT
    value = np.exp(-free.value / kT)
    others = value.sum() - value

    def share(energies: np.ndarray) -> np.ndarray:
        weight = np.exp(-np.where(np.isfinite(energies), energies, np.sign(energies) * 1e3) / kT)
        return np.asarray(weight / (weight + others))

    low, high = share(free.high), share(free.low)
    if len(value) > 1:  # the first state is what the others leave
        rest_low, rest_high = np.exp(-free.high[1:] / kT).sum(), np.exp(-free.low[1:] / kT).sum()
        low[0], high[0] = 1.0 / (1.0 + rest_high), 1.0 / (1.0 + rest_low)
    return Estimate(value / value.sum(), low, high)


def _of_swarms(kinetics: Kinetics | None, plan: Plan, order: np.ndarray) -> Estimate | None:
    if kinetics is None:
        return None
    found = kinetics.free_energies(plan.system.kT)
    if found is None or len(found) <= int(order.max()):
        return None
    picked = found[order]
    return picked if np.isfinite(picked.value).all() else None


def _times(kinetics: Kinetics | None, order: np.ndarray) -> Estimate:
    n = len(order)
    value, low, high = (np.full((n, n), np.nan) for _ in range(3))
    if kinetics is not None:
        for i, a in enumerate(order):
            for j, b in enumerate(order):
                known = a < len(kinetics.passages) and b < len(kinetics.passages)
                passage = kinetics.passages[a][b] if known else None
                if passage is not None:
                    time = passage.mfpt
                    value[i, j], low[i, j], high[i, j] = float(time.value), float(time.low), float(time.high)
    return Estimate(value, low, high, "ps")


def _drawn(plan: Plan, weighted: Weighted, mask: np.ndarray, n: int, state: int) -> tuple[tuple[str, int, int], ...]:
    rows = np.flatnonzero(mask)
    if not len(rows):
        return ()
    logs = weighted.model.log_weights[rows]
    weights = np.exp(logs - logs.max())
    rng = seeds.generator(plan.seed, "structures", state)
    return tuple(weighted.where(np.unique(rows[systematic(weights / weights.sum(), n, rng)])))


def _checks(weighted: Weighted, each: Sequence[Any], kinetics: Kinetics | None) -> tuple[Verdict, ...]:
    found: list[Verdict] = []
    for number, one in enumerate(each):
        if one is not None:
            found += [v.replace(subject=f"state {number + 1}, {v.subject}") for v in one.verdicts()]
    if kinetics is not None:
        found += kinetics.verdicts()
    return tuple(found)
