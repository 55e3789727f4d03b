"""Are the free energies right? Alanine dipeptide in vacuum, phi and psi given: ten seeds of each method against a long reference.

    python benchmarks/bias_free_energy.py                 ten seeds of 10 ns, and the reference
    python benchmarks/bias_free_energy.py --quick

Every run is kept in a temporary folder (MDINSIGHT_BENCHMARKS names another), so a benchmark that was stopped goes on.
F is F(phi > 0) - F(phi < 0), kJ/mol. OpenMM's own Metadynamics runs beside, and its free energy is read off its bias.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import openmm
from _bias_systems import KEPT, parser, say, vacuum
from openmm import app, unit

from mdinsight import bias
from mdinsight.features import Torsions

METHODS = {
    "OPES": bias.OPES(barrier=50.0),
    "OPES-explore": bias.OPES(barrier=50.0, explore=True),
    "metadynamics": bias.Metadynamics(height=1.2, sigma=0.35, biasfactor=10.0),
}
LEFT, RIGHT = {"phi ALA2": (-math.pi, 0.0)}, {"phi ALA2": (0.0, math.pi)}
PUBLISHED = {"OPES": "9.97 +- 0.23", "metadynamics": "9.54 +- 0.50"}
KT = 0.00831446261815324 * 300.0


def folder() -> Path:
    return KEPT / "free-energy"


def biased(method: str, seed: int, ns: float) -> bias.Trace:
    """One run, taken up where it was left."""
    it = vacuum()
    file = folder() / f"{method}-{seed}-{ns:g}ns.run"
    done = file.with_suffix(".trace")
    if done.exists():
        return bias.Trace.load(done)
    system = it.system()
    sampler = bias.Sampler(system, it.topology, Torsions("phi psi", raw=True), METHODS[method], 300.0, seed=seed)
    simulation = it.simulation(system, sampler.walker_seed())
    file.parent.mkdir(parents=True, exist_ok=True)
    steps = round(ns * 1000 / it.step)
    sampler.run(simulation, steps, file, save_every=max(1, steps // 10))
    sampler.trace.save(done)
    return sampler.trace


def openmm_metadynamics(seed: int, ns: float) -> list[float]:
    """The same with OpenMM's own class: the difference after each tenth of the run, from its bias."""
    it = vacuum()
    done = folder() / f"openmm-{seed}-{ns:g}ns.npy"
    if done.exists():
        return np.load(done).tolist()
    system, variables = it.system(), []
    for column in Torsions("phi psi", raw=True).columns(it.mdtraj):
        torsion = openmm.CustomTorsionForce("theta")
        torsion.addTorsion(*column.atoms)
        variables.append(app.BiasVariable(torsion, -math.pi, math.pi, 0.35, True, gridWidth=73))
    np.random.seed(seed)  # noqa: NPY002  it takes its identity from there
    meta = app.Metadynamics(system, variables, 300 * unit.kelvin, 10.0, 1.2, 500)
    simulation = it.simulation(system, seed)
    found = []
    for _ in range(10):
        meta.step(simulation, round(ns * 100 / it.step))
        free = meta.getFreeEnergy()._value
        density = np.exp(-(free - free.min()) / KT)[:-1, :-1].sum(axis=0)  # the last node is the first again
        phi = np.linspace(-math.pi, math.pi, 73)[:-1]
        found.append(float(-KT * np.log(density[phi > 0].sum() / density[phi < 0].sum())))
    done.parent.mkdir(parents=True, exist_ok=True)
    np.save(done, found)
    return found


def task(what: tuple[str, int, float]) -> None:
    method, seed, ns = what
    os.environ["OMP_NUM_THREADS"] = "1"
    if method == "OpenMM":
        openmm_metadynamics(seed, ns)
    else:
        biased(method, seed, ns)
    say(f"  {method}, seed {seed}: done")


def until(trace: bias.Trace, ns: float) -> bias.Trace:
    return trace.take(np.flatnonzero(trace.time <= 1000.0 * ns + 1e-6))


def table(seeds: list[int], ns: float, reference: bias.FreeEnergyDifference) -> None:
    times = [t for t in (0.5, 1.0, 1.9, 4.0, 10.0) if t <= ns]
    exact = float(reference.value)
    print(
        "| method | ns | mean | sd | mean error + sd | 95 % intervals that hold the reference | their median half width |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for method in METHODS:
        traces = [biased(method, seed, ns) for seed in seeds]
        for t in times:
            found = [bias.free_energy_difference(until(trace, t), LEFT, RIGHT) for trace in traces]
            values = np.array([float(f.value) for f in found])
            held = sum(float(f.low) <= exact <= float(f.high) for f in found)
            half = np.median([0.5 * float(f.high - f.low) for f in found])
            worst = abs(values.mean() - exact) + values.std(ddof=1)
            spread = f"{values.mean():.2f} | {values.std(ddof=1):.2f} | {worst:.2f}"
            print(f"| {method} | {t:g} | {spread} | {held} of {len(seeds)} | {half:.2f} |")
    finals = np.array([openmm_metadynamics(seed, ns) for seed in seeds])
    for t in (0.2, 0.4, 1.0):
        values = finals[:, round(10 * t) - 1]
        worst = abs(values.mean() - exact) + values.std(ddof=1)
        spread = f"{values.mean():.2f} | {values.std(ddof=1):.2f} | {worst:.2f}"
        print(f"| OpenMM's Metadynamics, from its bias | {t * ns:g} | {spread} | it gives none | |")


def main() -> None:
    options = parser(__doc__).parse_args()
    ns, seeds, long, n_long = (0.3, [1, 2], 0.6, 2) if options.quick else (10.0, list(range(1, 11)), 60.0, 4)
    tasks = [(method, 100 + k, long) for k in range(n_long) for method in ("OPES",)]
    tasks += [(method, seed, ns) for seed in seeds for method in (*METHODS, "OpenMM")]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(task, tasks))
    runs = [biased("OPES", 100 + k, long) for k in range(n_long)]
    reference = bias.free_energy_difference(bias.Trace.concatenate(runs, independent=True), LEFT, RIGHT)
    print("# Free energies of alanine dipeptide in vacuum\n")
    print(f"Reference: {n_long} independent OPES runs of {long:g} ns together: {reference}.\n")
    table(seeds, ns, reference)
    published = "; ".join(f"{name} {value}" for name, value in PUBLISHED.items())
    print(f"\nPublished for amber99sb in another engine (10 runs of 10 ns): {published}.")


if __name__ == "__main__":
    main()
