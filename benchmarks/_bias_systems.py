"""The systems that the benchmarks of the bias run on. Not a benchmark itself; run, it prints what they are.

    python benchmarks/_bias_systems.py

``vacuum``: alanine dipeptide, amber99sb; ``peptide``: chignolin GYDPETGTWG, amber14 in OBC2; ``water700``: alanine dipeptide in
TIP3P; ``water20k``: chignolin in a large box of TIP3P. What takes long to build is kept in a temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import openmm
from openmm import app, unit

EXAMPLES = Path(__file__).resolve().parent.parent / "example_trajs"
KEPT = Path(os.environ.get("MDINSIGHT_BENCHMARKS", tempfile.gettempdir())) / "mdinsight-benchmarks"
CHIGNOLIN = "GYDPETGTWG"
NM = unit.nanometer


@dataclass(frozen=True)
class Case:
    """One system, ready to run."""

    name: str
    title: str
    topology: app.Topology
    system_xml: str
    positions: Any  # (n, 3) nm
    box: Any  # (3, 3) nm or None
    step: float  # ps
    platform: str

    @property
    def n_atoms(self) -> int:
        return len(self.positions)

    @property
    def mdtraj(self) -> mdtraj.Topology:
        return mdtraj.Topology.from_openmm(self.topology)

    def system(self) -> openmm.System:
        """A new System, without bias."""
        return openmm.XmlSerializer.deserialize(self.system_xml)

    def integrator(self, seed: int = 1) -> openmm.Integrator:
        integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, self.step)
        integrator.setRandomNumberSeed(seed)
        return integrator

    def simulation(self, system: openmm.System, seed: int = 1, platform: str | None = None) -> app.Simulation:
        """A simulation of a system that may hold a bias, at the case's positions, one thread on the CPU platform."""
        name = platform or self.platform
        chosen = openmm.Platform.getPlatformByName(name)
        properties = {"Threads": "1"} if name == "CPU" else {}
        simulation = app.Simulation(self.topology, system, self.integrator(seed), chosen, properties)
        if self.box is not None:
            simulation.context.setPeriodicBoxVectors(*self.box)
        simulation.context.setPositions(self.positions)
        simulation.context.setVelocitiesToTemperature(300.0, seed)
        return simulation


def case(name: str) -> Case:
    """A case by its name, as the module's docstring has it."""
    return {"vacuum": vacuum, "peptide": peptide, "water700": water700, "water20k": water20k}[name]()


@cache
def vacuum() -> Case:
    pdb = app.PDBFile(str(EXAMPLES / "ala2" / "top.pdb"))
    system = app.ForceField("amber99sb.xml").createSystem(
        pdb.topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds
    )
    title = "alanine dipeptide, vacuum, amber99sb"
    return _case("vacuum", title, pdb.topology, system, _nm(pdb.positions), None, 0.002, "Reference")


@cache
def peptide() -> Case:
    topology, positions = _kept("chignolin", _relaxed_chignolin)
    title = f"{CHIGNOLIN}, OBC2 (native), amber14"
    return _case("peptide", title, topology, _obc2(topology), positions, None, 0.004, "CPU")


@cache
def water700() -> Case:
    topology, positions = _kept("ala2-water", _dipeptide_in_water)
    system = app.ForceField("amber99sb.xml", "tip3p.xml").createSystem(
        topology, nonbondedMethod=app.PME, nonbondedCutoff=0.9 * NM, constraints=app.HBonds
    )
    box = _nm(topology.getPeriodicBoxVectors())
    title = "alanine dipeptide in TIP3P, PME, amber99sb"
    return _case("water700", title, topology, system, positions, box, 0.002, "CPU")


@cache
def water20k() -> Case:
    topology, positions = _kept("chignolin-water", _chignolin_in_water)
    system = app.ForceField("amber14-all.xml", "amber14/tip3p.xml").createSystem(
        topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=0.9 * NM,
        constraints=app.HBonds,
        hydrogenMass=3.0 * unit.dalton,
    )
    box = _nm(topology.getPeriodicBoxVectors())
    title = f"{CHIGNOLIN} in TIP3P, PME, amber14"
    return _case("water20k", title, topology, system, positions, box, 0.004, "CPU")


def _case(
    name: str, title: str, topology: Any, system: Any, positions: Any, box: Any, step: float, platform: str
) -> Case:
    text = openmm.XmlSerializer.serialize(system)
    return Case(name, f"{title}, {len(positions)} atoms", topology, text, positions, box, step, platform)


def _nm(quantity: Any) -> np.ndarray:
    return np.array(quantity.value_in_unit(NM), np.float64)


def _kept(name: str, build: Any) -> tuple[app.Topology, np.ndarray]:
    """A structure that is built once and kept as PDBx."""
    file = KEPT / f"{name}.cif"
    if not file.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        topology, positions = build()
        part = file.with_suffix(f".{os.getpid()}")
        with open(part, "w") as handle:
            app.PDBxFile.writeFile(topology, positions, handle)
        part.replace(file)
    pdbx = app.PDBxFile(str(file))
    return pdbx.topology, _nm(pdbx.positions)


def _extended() -> app.Modeller:
    """The chain of the sequence, extended but for a proline, with hydrogens and charged ends."""
    import PeptideBuilder
    from Bio.PDB import PDBIO

    chain = PeptideBuilder.make_structure(CHIGNOLIN, [-120.0] * (len(CHIGNOLIN) - 1), [135.0] * (len(CHIGNOLIN) - 1))
    PeptideBuilder.add_terminal_OXT(chain)
    text, writer = io.StringIO(), PDBIO()
    writer.set_structure(chain)
    writer.save(text)
    pdb = app.PDBFile(io.StringIO(text.getvalue()))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    random.seed(1)  # where OpenMM puts hydrogens
    modeller.addHydrogens(app.ForceField("amber14-all.xml"))
    return modeller


def _obc2(topology: app.Topology) -> openmm.System:
    """OBC2 as OpenMM's native force: the energy of ``implicit/obc2.xml`` at a fifth of its cost on a CPU."""
    from openmm.app.internal.customgbforces import GBSAOBC2Force

    system = app.ForceField("amber14-all.xml").createSystem(
        topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds, hydrogenMass=3.0 * unit.dalton
    )
    nonbonded = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
    nonbonded.setReactionFieldDielectric(1.0)
    force = openmm.GBSAOBCForce()
    force.setSolventDielectric(78.5)
    force.setSoluteDielectric(1.0)
    force.setNonbondedMethod(openmm.GBSAOBCForce.NoCutoff)
    for index, (radius, scale) in enumerate(GBSAOBC2Force.getStandardParameters(topology)):
        force.addParticle(nonbonded.getParticleParameters(index)[0], radius, scale)
    system.addForce(force)
    return system


def _relaxed_chignolin() -> tuple[app.Topology, Any]:
    """Minimised and run for 40 ps from the extended chain, so that it is not straight."""
    modeller = _extended()
    positions = _run(modeller.topology, _obc2(modeller.topology), modeller.positions, 10_000, 0.004)
    return modeller.topology, positions


def _dipeptide_in_water() -> tuple[app.Topology, Any]:
    pdb = app.PDBFile(str(EXAMPLES / "ala2" / "top.pdb"))
    return _in_water(pdb.topology, pdb.positions, 1.97, ("amber99sb.xml", "tip3p.xml"))


def _chignolin_in_water() -> tuple[app.Topology, Any]:
    topology, positions = _kept("chignolin", _relaxed_chignolin)
    return _in_water(topology, positions * NM, 5.92, ("amber14-all.xml", "amber14/tip3p.xml"))


def _in_water(topology: app.Topology, positions: Any, edge: float, files: tuple[str, str]) -> tuple[app.Topology, Any]:
    """In a cube of water of a given edge in nm, without a bad contact."""
    modeller, field = app.Modeller(topology, positions), app.ForceField(*files)
    random.seed(1)
    modeller.addSolvent(field, model="tip3p", boxSize=openmm.Vec3(edge, edge, edge) * NM, neutralize=True)
    system = field.createSystem(
        modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.9 * NM, constraints=app.HBonds
    )
    positions = _run(modeller.topology, system, modeller.positions, 100, 0.001)
    return modeller.topology, positions


def _run(topology: app.Topology, system: openmm.System, positions: Any, steps: int, step: float) -> Any:
    integrator = openmm.LangevinMiddleIntegrator(300.0, 5.0, step)
    integrator.setRandomNumberSeed(1)
    simulation = app.Simulation(topology, system, integrator, openmm.Platform.getPlatformByName("CPU"))
    simulation.context.setPositions(positions)
    simulation.minimizeEnergy(maxIterations=200)
    simulation.context.setVelocitiesToTemperature(300.0, 1)
    simulation.step(steps)
    return simulation.context.getState(positions=True).getPositions()


@contextlib.contextmanager
def busy_cores(count: int | None = None) -> Iterator[int]:
    """Keep all other cores busy, as they are when there are as many walkers as cores.

    Idle cores of virtual machines sleep, and OpenMM's CPU platform then waits for them to wake.
    """
    from mdinsight.parallel import cores

    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=_spin, args=(os.getpid(),), daemon=True)
        for _ in range(cores() - 1 if count is None else count)
    ]
    for process in others:
        process.start()
    try:
        yield len(others)
    finally:
        for process in others:
            process.terminate()
            process.join()


def _spin(parent: int) -> None:
    while os.getppid() == parent:
        for _ in range(1_000_000):
            pass


def parser(text: str | None) -> argparse.ArgumentParser:
    """Options that all benchmarks of the bias have."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="short settings: shows that it runs, not what it shows")
    return made


def say(text: str) -> None:
    """How far it is, apart from the table."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    print("| name | system | atoms | step, fs | platform |\n|---|---|---:|---:|---|")
    for name in ("vacuum", "peptide", "water700", "water20k"):
        it = case(name)
        print(f"| {name} | {it.title} | {it.n_atoms} | {it.step * 1e3:g} | {it.platform} |", flush=True)


if __name__ == "__main__":
    main()
