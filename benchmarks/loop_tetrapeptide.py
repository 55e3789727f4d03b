"""Alanine tetrapeptide in vacuum, blind: when are all 8 combinations of (phi1, phi2, phi3) found, and how populated are they?

    python benchmarks/loop_tetrapeptide.py > benchmarks/loop_tetrapeptide.md         # about 15 minutes on 2 cores

Each residue is in C7ax (0 < phi < 126 degrees) or not. A combination is found when a trajectory at 300 K, of the
exploration never, stays in it for 1 ps or longer; the time is that of all simulation up to the end of that visit,
trajectory after trajectory, hot exploration included. amber99sb, Reference platform. Published, biased along psi1, psi2,
psi3, which the loop is not told: OPES-explore 8 of 8 by 1.08 ns, multithermal and umbrellas 0.90 ns, OPES 7 of 8 and
metadynamics 6 of 8 in 20 ns.
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

import mdinsight as mdi


def plan(seed: int) -> mdi.adaptive.Plan:
    system = mdi.engine.System.from_sequence("AAA", forcefield="amber99sb", solvent="vacuum", caps=True)
    return mdi.adaptive.Plan(
        system,
        mdi.features.Torsions("phi psi"),
        explore=mdi.adaptive.Hot(time="150 ps"),
        swarm="4 ps",
        swarms=70,
        seed=seed,
    )


def combinations(run: mdi.adaptive.Run, features: np.ndarray) -> np.ndarray:
    """(n,) 0 to 7: bit i says that phi of residue i is that of C7ax."""
    names = [column.name for column in run.history.columns]
    cosines = [i for i, name in enumerate(names) if name.startswith("cos phi")]
    sines = [i for i, name in enumerate(names) if name.startswith("sin phi")]
    phi = np.arctan2(features[:, sines], features[:, cosines])
    return ((phi > 0) & (phi < 2.2)) @ (1 << np.arange(len(sines)))


def found_at(run: mdi.adaptive.Run) -> dict[int, float]:
    """ns of all simulation at which each combination had been found."""
    found: dict[int, float] = {}
    ps = 0.0
    for decision in run.history.decisions:
        stride = decision.tasks[0]["stride"] * run.plan.system.timestep
        for piece in run.history.pieces([decision]):
            each = piece.ps / len(piece.lengths)
            for number, part in enumerate([] if decision.kind == "explore" else piece.parts):
                code = combinations(run, np.asarray(part))
                ends = np.append(np.flatnonzero(np.diff(code)), len(code) - 1)
                for end, length in zip(ends, np.diff(ends, prepend=-1), strict=True):
                    if length * stride >= 1.0:
                        found.setdefault(
                            int(code[end]), float(ps + number * each + min(each, (end + 1) * stride)) / 1000
                        )
            ps += piece.ps
    return found


def one(job: tuple[int, float]) -> tuple[int, dict]:
    seed, budget = job
    folder = Path(tempfile.mkdtemp(prefix="loop-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = mdi.adaptive.open(folder / "run", plan(seed))
        run.advance(f"{budget} ns", workers=1, progress=False)
        result: dict = {"found": found_at(run), "ns": run.history.ps / 1000}
        if budget > 10:
            states = run.states()
            weighted = states.weighted
            code = combinations(run, weighted.features)
            each = [
                mdi.bias.free_energy_difference(weighted.model, code == 0, code == k, coordinates=weighted.features)
                for k in range(1, 8)
            ]
            result["F"] = [(float(f.value), float(f.low), float(f.high)) for f in each]
    shutil.rmtree(folder)
    return seed, result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--long", type=int, default=2, help="seeds that are run for 20 ns, for the populations")
    options = parser.parse_args()
    jobs = [(seed, 20.0 if seed <= options.long else 2.2) for seed in range(1, options.seeds + 1)]
    results = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for seed, result in pool.map(one, jobs):
            print(seed, result, file=sys.stderr, flush=True)
            results.append(result)
    print("# Alanine tetrapeptide, blind\n")
    print("| seed | " + " | ".join(f"{k} found" for k in range(5, 9)) + " |")
    print("|---|---|---|---|---|")
    at = [sorted(result["found"].values()) for result in results]
    for (seed, _), times in zip(jobs, at, strict=True):
        shown = [
            f"{times[k - 1]:.2f} ns" if len(times) >= k else f"not in {results[seed - 1]['ns']:.1f} ns"
            for k in range(5, 9)
        ]
        print(f"| {seed} | " + " | ".join(shown) + " |")
    last = np.array([times[7] if len(times) == 8 else np.inf for times in at])
    print(
        f"\nAll 8: median {np.median(last):.2f} ns; within 1 ns in {int((last <= 1.0).sum())} of {len(last)} seeds.\n"
    )
    long = [result["F"] for result in results if "F" in result]
    if long:
        print("Free energies relative to (0, 0, 0), kJ/mol, after 20 ns; 1 is C7ax:\n")
        print("| phi1 phi2 phi3 | " + " | ".join(f"seed {i + 1}" for i in range(len(long))) + " |")
        print("|---|" + "---|" * len(long))
        for k in range(1, 8):
            bits = " ".join(str((k >> i) & 1) for i in range(3))
            print(f"| {bits} | " + " | ".join("{:.1f} [{:.1f}, {:.1f}]".format(*F[k - 1]) for F in long) + " |")


if __name__ == "__main__":
    main()
