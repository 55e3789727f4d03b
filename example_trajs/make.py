#!/usr/bin/env python
"""Make the example trajectories: real molecular dynamics, run with OpenMM.

    python make.py                    everything (about an hour on two cores)
    python make.py ala2 --workers 8

The molecule, the starting basins, the lengths and the seeds are in ``SETS``. Another version or platform of OpenMM rounds
differently, and so makes other, equally valid trajectories.
Needs ``openmm``, ``mdtraj`` and, for the starting structures, ``PeptideBuilder``. ``make_formats.py`` makes ``formats/``.
"""

from __future__ import annotations

import argparse
import random
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np
import openmm
from openmm import app, unit

HERE = Path(__file__).resolve().parent
TEMPERATURE = 300.0  # K
FRICTION = 1.0  # 1/ps

C7EQ, C5, C7AX = (-80.0, 75.0), (-155.0, 160.0), (65.0, -50.0)
HELIX, STRAND, PPII, LEFT = (-62.0, -42.0), (-135.0, 140.0), (-70.0, 145.0), (57.0, 40.0)


@dataclass(frozen=True)
class Set:
    """One folder of trajectories of one molecule."""

    residues: int  # alanines between the caps
    starts: tuple[tuple[float, float], ...]  # (phi, psi) in degrees of every residue, one entry a trajectory
    length: float  # ps a trajectory
    every: float  # ps between saved frames
    solvent: str  # vacuum, obc2 or tip3p
    seed: int
    step: float = 0.002  # ps; bonds to hydrogen are constrained
    hydrogen_mass: float | None = None  # amu; heavier hydrogens (mass taken from their heavy atom) allow 4 fs


SETS = {
    "ala3": Set(3, (HELIX, STRAND, PPII, LEFT, HELIX, STRAND), 5_000.0, 2.5, "obc2", 200, 0.004, 3.0),
    "ala2_water": Set(1, (C5, C5), 40.0, 0.2, "tip3p", 300),
    "ala2": Set(1, (C7EQ, C5, C7AX, C7EQ, C5, C7EQ, C5, C7EQ) * 2, 64_000.0, 16.0, "vacuum", 1000),
    "ala2_fast": Set(1, (C7EQ, C5, C7AX, C7EQ, C5, C7EQ, C5, C7EQ), 4_000.0, 0.5, "vacuum", 100),
}


def capped_alanines(n: int, phi: float, psi: float) -> app.Modeller:
    """ACE-(ALA)n-NME with hydrogens, every residue at (phi, psi) in degrees."""
    import PeptideBuilder
    from Bio.PDB import PDBIO

    chain = PeptideBuilder.make_structure("G" + "A" * n + "G", [phi] * (n + 1), [psi] * (n + 1))
    residues = list(chain.get_residues())
    residues[0].resname, residues[-1].resname = "ACE", "NME"
    for residue, keep in ((residues[0], {"CA": "CH3", "C": "C", "O": "O"}), (residues[-1], {"N": "N", "CA": "CH3"})):
        for atom in list(residue):
            if atom.get_name() not in keep:
                residue.detach_child(atom.get_name())
            else:
                atom.name = keep[atom.get_name()]
                atom.fullname = f" {atom.name:<3s}"
    import io

    text, writer = io.StringIO(), PDBIO()
    writer.set_structure(chain)
    writer.save(text)
    pdb = app.PDBFile(io.StringIO(text.getvalue()))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.addHydrogens(app.ForceField("amber99sb.xml"))
    return modeller


def build(name: str, start: tuple[float, float]) -> tuple[app.Topology, openmm.System, list]:
    """The topology, the system and the unrelaxed positions of one trajectory."""
    spec = SETS[name]
    mass = spec.hydrogen_mass * unit.dalton if spec.hydrogen_mass else None
    modeller = capped_alanines(spec.residues, *start)
    if spec.solvent == "tip3p":
        field = app.ForceField("amber99sb.xml", "tip3p.xml")
        modeller.addSolvent(field, model="tip3p", boxSize=openmm.Vec3(2.2, 2.2, 2.2) * unit.nanometer)
        system = field.createSystem(
            modeller.topology,
            nonbondedMethod=app.PME,
            nonbondedCutoff=0.9 * unit.nanometer,
            constraints=app.HBonds,
            hydrogenMass=mass,
        )
        system.addForce(openmm.MonteCarloBarostat(1.0 * unit.bar, TEMPERATURE, 25))
    else:
        field = app.ForceField("amber99sb.xml")
        system = field.createSystem(
            modeller.topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds, hydrogenMass=mass
        )
        if spec.solvent == "obc2":
            add_obc2(system, modeller.topology)
    return modeller.topology, system, modeller.positions


def add_obc2(system: openmm.System, topology: app.Topology) -> None:
    """Implicit water as OpenMM's native force: the energy of ``implicit/obc2.xml`` at a fifth of its cost on a CPU."""
    from openmm.app.internal.customgbforces import GBSAOBC2Force

    table = GBSAOBC2Force.getStandardParameters(topology)
    nonbonded = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
    obc = openmm.GBSAOBCForce()
    obc.setSolventDielectric(78.5)
    obc.setSoluteDielectric(1.0)
    obc.setNonbondedMethod(openmm.GBSAOBCForce.NoCutoff)
    for index, (radius, scale) in enumerate(table):
        charge = nonbonded.getParticleParameters(index)[0]
        obc.addParticle(charge, radius, scale)
    nonbonded.setReactionFieldDielectric(1.0)
    system.addForce(obc)


def run(name: str, index: int, out: Path) -> str:
    """Run one trajectory and write it as XTC; the first one of a set also writes the topology."""
    spec = SETS[name]
    random.seed(spec.seed)  # where OpenMM puts hydrogens: the same water box for the whole set
    topology, system, positions = build(name, spec.starts[index])
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, spec.step)
    integrator.setRandomNumberSeed(spec.seed + index)
    small = spec.solvent != "tip3p"
    platform = openmm.Platform.getPlatformByName("Reference" if small else "CPU")
    context = openmm.Context(system, integrator, platform, {} if small else {"Threads": "1"})
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, 1.0, 200)
    context.setVelocitiesToTemperature(TEMPERATURE, spec.seed + index)
    out.mkdir(parents=True, exist_ok=True)
    if index == 0:
        state = context.getState(getPositions=True)
        topology.setPeriodicBoxVectors(state.getPeriodicBoxVectors() if spec.solvent == "tip3p" else None)
        with open(out / "top.pdb", "w") as handle:
            app.PDBFile.writeFile(topology, state.getPositions(), handle)
    integrator.step(5_000)  # settle the velocities; not saved
    steps, frames = round(spec.every / spec.step), round(spec.length / spec.every)
    path = out / f"{name}-{index:02d}.xtc"
    with mdtraj.formats.XTCTrajectoryFile(str(path), "w", force_overwrite=True) as xtc:
        for frame in range(frames):
            integrator.step(steps)
            state = context.getState(getPositions=True)
            xyz = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
            box = None
            if spec.solvent == "tip3p":
                box = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer).astype(np.float32)[None]
            time = np.array([(frame + 1) * spec.every], dtype=np.float32)
            xtc.write(xyz.astype(np.float32)[None], time=time, step=np.array([(frame + 1) * steps], np.int32), box=box)
    return path.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(SETS), choices=list(SETS), help="default: all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()
    names = args.sets
    with ProcessPoolExecutor(args.workers) as pool:
        jobs = [pool.submit(run, n, i, args.out / n) for n in names for i in range(len(SETS[n].starts))]
        for job in as_completed(jobs):
            print(job.result(), flush=True)


if __name__ == "__main__":
    main()
