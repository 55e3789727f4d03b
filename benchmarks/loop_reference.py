"""How long alanine dipeptide stays in C7ax: long plain MD, event by event. The reference for the loop's passage times.

    nice python benchmarks/loop_reference.py 400 > benchmarks/loop_reference.md    # ns of MD; one core

Walkers start in C7ax, relax there for 20 ps, and run until phi is in the well of C7eq and C5 (-2.8 < phi < -0.5) for ten
saved frames of 0.5 ps in a row; then the next begins with other velocities. Waiting times are exponential, so the mean is
the whole time over the number of events, and its interval follows from the chi-squared distribution (the number of events
is Poisson's). The way back follows from the free energy difference: MFPT(C7eq to C7ax) = MFPT(C7ax to C7eq) x p(rest) /
p(C7ax).
"""

from __future__ import annotations

import sys

import numpy as np
import openmm
from openmm import app
from scipy.stats import chi2

STRIDE = 250  # steps of 2 fs
AT_ONCE = 10  # frames in the other well that make an exit
F, F_LOW, F_HIGH = 9.05, 8.95, 9.15  # kJ/mol, benchmarks/bias_free_energy.md: 4 x 60 ns of OPES
KT = 2.494


def main() -> None:
    limit = float(sys.argv[1]) if len(sys.argv) > 1 else 400.0
    pdb = app.PDBFile("example_trajs/ala2/top.pdb")
    system = app.ForceField("amber99sb.xml").createSystem(pdb.topology, constraints=app.HBonds)
    names = {(a.residue.index, a.name): a.index for a in pdb.topology.atoms()}
    four = [names[0, "C"], names[1, "N"], names[1, "CA"], names[1, "C"]]
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
    integrator.setRandomNumberSeed(7)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    start = in_c7ax(pdb, system, context, four)
    total, events, seed = 0.0, [], 1
    while total < limit * 1000:
        context.setPositions(start)
        context.setVelocitiesToTemperature(300, seed)
        seed += 1
        integrator.step(10_000)
        if not 0.3 < phi_of(context, four) < 2.0:
            continue
        waited, outside = 0.0, 0
        while outside < AT_ONCE and total < limit * 1000:
            integrator.step(STRIDE)
            waited += 0.5
            total += 0.5
            outside = outside + 1 if -2.8 < phi_of(context, four) < -0.5 else 0
        if outside >= AT_ONCE:
            events.append(waited)
            print(
                f"exit {len(events)} after {waited / 1000:.2f} ns, {total / 1000:.1f} ns in all",
                file=sys.stderr,
                flush=True,
            )
    n = len(events)
    mean = total / max(n, 1) / 1000
    low, high = 2 * total / 1000 / chi2.ppf([0.975, 0.025], [2 * n + 2, max(2 * n, 1)])
    back = np.exp(np.array([F, F_LOW, F_HIGH]) / KT)
    print("# Waiting times of plain MD, alanine dipeptide in vacuum, amber99sb, 300 K\n")
    print(f"{total / 1000:.0f} ns of MD in C7ax, {n} exits.\n")
    print("| passage | mean first passage time | 95 % interval |\n|---|---|---|")
    print(f"| C7ax to C7eq/C5 | {mean:.0f} ns | [{low:.0f}, {high:.0f}] ns |")
    print(
        f"| C7eq/C5 to C7ax (by detailed balance) | {mean * back[0] / 1000:.2f} us | "
        f"[{low * back[1] / 1000:.2f}, {high * back[2] / 1000:.2f}] us |"
    )


def phi_of(context, four) -> float:
    xyz = context.getState(positions=True).getPositions(asNumpy=True)._value[four]
    a, b, c = xyz[1] - xyz[0], xyz[2] - xyz[1], xyz[3] - xyz[2]
    n, m = np.cross(a, b), np.cross(b, c)
    return float(np.arctan2(np.dot(np.cross(n, m), b / np.linalg.norm(b)), n @ m))


def in_c7ax(pdb, system, context, four) -> np.ndarray:
    """A structure in C7ax: pulled there, then released."""
    held = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    pull = openmm.CustomTorsionForce("200*(1-cos(theta-1.15))")
    pull.addTorsion(*four)
    held.addForce(pull)
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
    integrator.setRandomNumberSeed(3)
    helper = openmm.Context(held, integrator, openmm.Platform.getPlatform("Reference"))
    helper.setPositions(pdb.positions)
    openmm.LocalEnergyMinimizer.minimize(helper)
    integrator.step(20_000)
    return helper.getState(positions=True).getPositions(asNumpy=True)


main()
