"""Which first exploration finds most? Alanine tetrapeptide in vacuum, 0.4 ns of exploration, then 60 cooled trajectories of 8 ps.

    python benchmarks/loop_exploration.py > benchmarks/loop_exploration.md       # about 6 minutes on 2 cores

Counted are the combinations, of 8, of (phi1, phi2, phi3) in C7ax or not in which a trajectory at 300 K stays for 1 ps or
longer: what the first coordinate can be learned from. Explored frames with a cis peptide bond or an inverted stereocentre
are never started from; their share is in the last column.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from loop_tetrapeptide import found_at

import mdinsight as mdi
from mdinsight.adaptive import Hot, Isomers, Plain, Pushed

WAYS = {
    "plain, 300 K": Plain("100 ps"),
    "hot, 600 K": Hot(600, "100 ps"),
    "hot, 1000 K": Hot(1000, "100 ps"),
    "hot, 1500 K (default)": Hot(1500, "100 ps"),
    "hot, 2000 K": Hot(2000, "100 ps"),
    "pushed: OPES on two torsions of each walker": Pushed(60, "100 ps"),
}
SEEDS = 5


def one(job: tuple[str, int]) -> tuple[str, int, float]:
    way, seed = job
    folder = Path(tempfile.mkdtemp(prefix="loop-"))
    system = mdi.engine.System.from_sequence("AAA", forcefield="amber99sb", solvent="vacuum", caps=True)
    plan = mdi.adaptive.Plan(
        system, mdi.features.Torsions("phi psi"), swarm="8 ps", swarms=60, segment="1 ps", explore=WAYS[way], seed=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = mdi.adaptive.open(folder / "run", plan)
        run.advance(plan.least_budget, workers=1, progress=False)
    found = found_at(run)
    isomers = Isomers.of(plan.system.topology)
    xyz = np.concatenate([run.history.read(piece, 0) for piece in run.history.pieces(kind="explore")])
    wrong = 1.0 - isomers.same(xyz, run.history.start.positions).mean()
    shutil.rmtree(folder)
    return way, len(found), float(wrong)


def main() -> None:
    jobs = [(way, seed) for way in WAYS for seed in range(1, SEEDS + 1)]
    rows: dict[str, list[tuple[int, float]]] = {way: [] for way in WAYS}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for way, found, wrong in pool.map(one, jobs):
            print(way, found, wrong, file=sys.stderr, flush=True)
            rows[way].append((found, wrong))
    print(f"# First explorations, {SEEDS} seeds each\n")
    print("| exploration | combinations found, of 8 | frames of another isomer |")
    print("|---|---|---|")
    for way, each in rows.items():
        found = [n for n, _ in each]
        wrong = 100 * np.mean([share for _, share in each])
        print(f"| {way} | {np.mean(found):.1f} ({', '.join(map(str, sorted(found)))}) | {wrong:.1f} % |")


if __name__ == "__main__":
    main()
