"""Alanine dipeptide in vacuum, blind: is C7ax found, weighed and timed within 10 ns in all? Ten seeds of each way.

    python benchmarks/loop_alanine.py > benchmarks/loop_alanine.md         # about 40 minutes on 2 cores
    python benchmarks/loop_alanine.py --seeds 2 --ways "loop, torsions"

Every ns counts: exploration, swarms, biased walkers and the last swarms. The loop is told neither phi nor psi: it gets the
cosines and sines of all backbone torsions, or the 45 distances of the heavy atoms. Beside it what one would do instead: plain MD;
OpenMM's own metadynamics with phi and psi given, which the others are not; least counts without bias. All are amber99sb at 300 K
on the Reference platform.

F is F(phi > 0) - F(phi < 0), against 9.05 [8.95, 9.15] kJ/mol (benchmarks/bias_free_energy.md, 4 x 60 ns); passage times are to
be compared with benchmarks/loop_reference.md.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import mdtraj
import numpy as np

import mdinsight as mdi

REFERENCE = 9.05
KT = 2.494
BUDGET = 10.0  # ns
TOPOLOGY = mdtraj.load_topology("example_trajs/ala2/top.pdb")
FOUR = tuple(
    int(TOPOLOGY.select(f"resid {i} and name {name}")[0]) for i, name in ((0, "C"), (1, "N"), (1, "CA"), (1, "C"))
)
WAYS = (
    "loop, torsions",
    "loop, distances",
    "plain MD",
    "OpenMM metadynamics, phi and psi given",
    "least counts, no bias",
)


def system() -> mdi.engine.System:
    return mdi.engine.System.from_pdb("example_trajs/ala2/top.pdb", forcefield="amber99sb", solvent="vacuum")


def plan(way: str, seed: int) -> mdi.adaptive.Plan:
    features = mdi.features.Distances("not element H") if "distances" in way else mdi.features.Torsions("phi psi omega")
    stop = mdi.adaptive.Stop(interval=0.2)  # out of reach: all runs spend the budget
    if way.startswith("least"):
        return mdi.adaptive.Plan(
            system(),
            features,
            bias=None,
            explore=mdi.adaptive.Plain("50 ps"),
            segment="100 ps",
            swarm="10 ps",
            seed=seed,
        )
    return mdi.adaptive.Plan(system(), features, seed=seed, stop=stop)


def phi(xyz: np.ndarray) -> np.ndarray:
    a, b, c = (xyz[:, j] - xyz[:, i] for i, j in pairwise(FOUR))
    n, m = np.cross(a, b), np.cross(b, c)
    return np.arctan2(
        np.einsum("fi,fi->f", np.cross(n, m), b / np.linalg.norm(b, axis=1)[:, None]), np.einsum("fi,fi->f", n, m)
    )


def loop(way: str, seed: int, folder: Path) -> dict:
    run = mdi.adaptive.open(folder, plan(way, seed))
    run.advance(f"{BUDGET} ns", workers=1, progress=False)
    found = {"ns": run.history.ps / 1000}
    states = run.states()
    weighted = states.weighted
    angle = np.concatenate([phi(run.history.read(piece, 0))[:, None] for piece in weighted.pieces])[:, 0]
    offsets = np.concatenate([[0], np.cumsum([piece.n_frames for piece in weighted.pieces])])
    angle = angle[offsets[weighted.piece] + weighted.frame]
    dF = mdi.bias.free_energy_difference(weighted.model, angle < 0, angle > 0, coordinates=weighted.features)
    found |= {"F": float(dF.value), "low": float(dF.low), "high": float(dF.high), "found": bool((angle > 0).any())}
    populations = states.populations.value
    if len(populations) == 2:
        times = states.passage_times
        for name, i, j in (("out", 1, 0), ("in", 0, 1)):
            found[name] = [float(x[i, j]) / 1000 for x in (times.value, times.low, times.high)]
    checks = [v for v in states.verdicts() if v.subject == "swarms against bias"]
    found["agree"] = bool(checks and checks[0].holds)
    return found


def counts(way: str, seed: int, folder: Path) -> dict:
    run = mdi.adaptive.open(folder, plan(way, seed))
    run.advance(f"{BUDGET} ns", workers=1, progress=False)
    angle = np.concatenate([phi(run.history.read(p, k)) for p in run.history.pieces() for k in range(len(p.lengths))])
    return {"ns": run.history.ps / 1000, "found": bool(((angle > 0.3) & (angle < 2.0)).any())}


def plain(way: str, seed: int, folder: Path) -> dict:
    import openmm

    it = system()
    context = openmm.Context(it.openmm_system(), it.integrator(seed), openmm.Platform.getPlatform("Reference"))
    context.setPositions(it.prepared(seed).positions)
    context.setVelocitiesToTemperature(300, seed)
    frames = []
    for _ in range(int(BUDGET * 1000)):
        context.getIntegrator().step(500)
        frames.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    angle = phi(np.array(frames))
    p = (angle > 0).mean()
    found = {"ns": BUDGET, "found": bool(((angle > 0.3) & (angle < 2.0)).any())}
    return found | {"F": -KT * math.log(p / (1 - p)) if p > 0 else math.inf}


def metadynamics(way: str, seed: int, folder: Path) -> dict:
    import openmm
    from openmm import app, unit

    it = system()
    top, made = it.openmm_topology(), it.openmm_system()
    names = {(a.residue.index, a.name): a.index for a in top.atoms()}
    biased = []
    for four in ([(0, "C"), (1, "N"), (1, "CA"), (1, "C")], [(1, "N"), (1, "CA"), (1, "C"), (2, "N")]):
        force = openmm.CustomTorsionForce("theta")
        force.addTorsion(*(names[key] for key in four))
        biased.append(app.BiasVariable(force, -math.pi, math.pi, 0.35, True))
    meta = app.Metadynamics(made, biased, 300 * unit.kelvin, 10, 1.2, 500)
    simulation = app.Simulation(top, made, it.integrator(seed), openmm.Platform.getPlatform("Reference"))
    simulation.context.setPositions(it.prepared(seed).positions)
    simulation.context.setVelocitiesToTemperature(300, seed)
    meta.step(simulation, int(BUDGET * 500_000))
    free = meta.getFreeEnergy()._value  # (psi, phi) on a grid that holds both ends
    weight = np.exp(-(free - free.min()) / KT)[:-1, :-1].sum(axis=0)
    half = len(weight) // 2
    return {"ns": BUDGET, "found": True, "F": -KT * math.log(weight[half:].sum() / weight[:half].sum())}


def one(job: tuple[str, int]) -> tuple[str, int, dict]:
    way, seed = job
    folder = Path(tempfile.mkdtemp(prefix="loop-"))
    began = time.process_time()
    made = {"loop": loop, "leas": counts, "plai": plain, "Open": metadynamics}[way[:4]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = made(way, seed, folder / "run")
    except mdi.errors.MdinsightError as error:
        found = {"ns": BUDGET, "found": False, "failed": str(error)}
    shutil.rmtree(folder)
    return way, seed, found | {"cpu": time.process_time() - began}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--ways", nargs="*", default=list(WAYS))
    options = parser.parse_args()
    jobs = [(way, seed) for way in options.ways for seed in range(1, options.seeds + 1)]
    rows: dict[str, list[dict]] = {way: [] for way in options.ways}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for way, seed, found in pool.map(one, jobs):
            rows[way].append(found)
            print(way, seed, found, file=sys.stderr, flush=True)
    print(f"# Alanine dipeptide, blind, {BUDGET:g} ns in all, {options.seeds} seeds\n")
    print(f"Reference {REFERENCE} kJ/mol.\n")
    print("| way | C7ax found | F, mean | sd | error of the mean + sd | interval holds the reference | CPU s a run |")
    print("|---|---|---|---|---|---|---|")
    for way, each in rows.items():
        figures = np.array([one["F"] for one in each if np.isfinite(one.get("F", np.nan))])
        held = [one["low"] <= REFERENCE <= one["high"] for one in each if "low" in one]
        mean, sd = (figures.mean(), figures.std(ddof=1)) if len(figures) > 1 else (math.nan, math.nan)
        if len(figures) < len(each):
            text = f"{len(figures)} of {len(each)} give one | - | -"
        else:
            text = f"{mean:.2f} | {sd:.2f} | {abs(mean - REFERENCE) + sd:.2f}"
        print(
            f"| {way} | {sum(o['found'] for o in each)} of {len(each)} | {text} | "
            f"{f'{sum(held)} of {len(held)}' if held else '-'} | {np.median([o['cpu'] for o in each]):.0f} |"
        )
    print(
        "\n| way | passage | geometric mean | middle 80 % of the runs | runs with a figure | swarms agree with the bias |"
    )
    print("|---|---|---|---|---|---|")
    for way, each in rows.items():
        for name, title in (("out", "C7ax to C7eq/C5"), ("in", "C7eq/C5 to C7ax")):
            values = np.array([o[name] for o in each if name in o and np.isfinite(o[name][0])])
            if len(values):
                low, high = np.quantile(values[:, 0], [0.1, 0.9])
                print(
                    f"| {way} | {title} | {np.exp(np.log(values[:, 0]).mean()):.0f} ns | [{low:.0f}, {high:.0f}] ns | "
                    f"{len(values)} of {len(each)} | {sum(o['agree'] for o in each)} of {len(each)} |"
                )


if __name__ == "__main__":
    main()
