"""Muller and Brown's potential times 0.15 at beta = 1, from one basin, no direction named: exact F(x > 0) - F(x < 0) = 5.71 kT.

    python benchmarks/loop_muller_brown.py > benchmarks/loop_muller_brown.md         # about 10 minutes on 2 cores

The loop gets x and y as features and all of its steps count: exploration, swarms, walkers, last swarms. Beside it OPES
along x alone, the bad coordinate, with ten times the steps, in the same engine. Published for OPES along x: 5.09 +- 1.61
after 2e8 steps (25 runs).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _loop_systems import muller_brown, muller_brown_reference

import mdinsight as mdi

STEPS = 4_000_000
DT = 0.005


def plan(seed: int) -> mdi.adaptive.Plan:
    system, features = muller_brown()
    return mdi.adaptive.Plan(
        system,
        features,
        bias=mdi.bias.OPES(barrier=20, pace=100),
        swarm="4 ps",
        stop=mdi.adaptive.Stop(interval=0.05),  # out of reach: all runs spend the budget
        seed=seed,
    )


def loop(seed: int, folder: Path) -> dict:
    run = mdi.adaptive.open(folder, plan(seed))
    run.advance(STEPS * DT, workers=1, progress=False)
    states = run.states()
    x = states.weighted.features[:, 0]
    dF = mdi.bias.free_energy_difference(states.weighted.model, x < 0, x > 0, coordinates=states.weighted.features)
    agree = [v.holds for v in states.verdicts() if v.subject == "swarms against bias"]
    return {
        "F": float(dF.value),
        "low": float(dF.low),
        "high": float(dF.high),
        "steps": run.history.ps / DT,
        "agree": all(agree),
    }


def along_x(seed: int, folder: Path) -> dict:
    """OPES along x with ten times the steps, one walker."""
    import openmm

    system, features = muller_brown()
    made = system.openmm_system()
    sampler = mdi.bias.Sampler(
        made,
        system.topology,
        features.select("x *"),
        mdi.bias.OPES(barrier=20, pace=500),
        temperature=system.temperature,
        seed=seed,
    )
    from openmm import app

    simulation = app.Simulation(
        system.openmm_topology(), made, system.integrator(seed), openmm.Platform.getPlatform("Reference")
    )
    simulation.context.setPositions(system.positions)
    sampler.step(simulation, 10 * STEPS)
    dF = mdi.bias.free_energy_difference(
        sampler.trace, {sampler.trace.names[0]: (-9, 0)}, {sampler.trace.names[0]: (0, 9)}
    )
    return {"F": float(dF.value), "low": float(dF.low), "high": float(dF.high), "steps": 10 * STEPS, "agree": False}


def one(job: tuple[str, int]) -> tuple[str, dict]:
    way, seed = job
    folder = Path(tempfile.mkdtemp(prefix="loop-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = (loop if way == "loop" else along_x)(seed, folder / "run")
    shutil.rmtree(folder)
    return way, found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--bad", type=int, default=4, help="seeds of OPES along x")
    options = parser.parse_args()
    exact = muller_brown_reference()
    jobs = [("loop", seed) for seed in range(1, options.seeds + 1)] + [
        ("x", seed) for seed in range(1, options.bad + 1)
    ]
    rows: dict[str, list[dict]] = {"loop": [], "x": []}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for way, found in pool.map(one, jobs):
            print(way, found, file=sys.stderr, flush=True)
            rows[way].append(found)
    print(f"# Muller-Brown, exact {exact:.3f} kT\n")
    print("| way | seeds | steps, all counted | mean | sd | largest error | interval holds it | swarms agree |")
    print("|---|---|---|---|---|---|---|---|")
    for way, title in (("loop", "the loop, (x, y) as features"), ("x", "OPES along x")):
        each = rows[way]
        if len(each) > 1:
            F = np.array([o["F"] for o in each])
            held = sum(o["low"] <= exact <= o["high"] for o in each)
            agree = f"{sum(o['agree'] for o in each)} of {len(each)}" if way == "loop" else "-"
            print(
                f"| {title} | {len(each)} | {np.mean([o['steps'] for o in each]):.2g} | {F.mean():.2f} | {F.std(ddof=1):.2f} | "
                f"{np.abs(F - exact).max():.2f} | {held} of {len(each)} | {agree} |"
            )


if __name__ == "__main__":
    main()
