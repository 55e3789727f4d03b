"""Alanine dipeptide in vacuum under a bias: what several tests build, and a process that runs it.

    python md_process.py '{"file": "ala2.run", "steps": 1000, ...}'

The process prints a line before the first step, so that a test knows when to kill it. Without an argument it takes
such a line from its input, again and again, and runs each in a process forked off.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import traceback
from pathlib import Path

import mdtraj
import numpy as np
import openmm
from openmm import app, unit

import mdinsight as mdi
from mdinsight.features import Torsions

TOP = Path(__file__).parent.parent.parent / "example_trajs/ala2/top.pdb"
POTENTIALS = {
    "opes": lambda: mdi.bias.OPES(barrier=30.0, pace=50),
    "metadynamics": lambda: mdi.bias.Metadynamics(height=1.0, sigma=0.3, pace=50),
    "measured": lambda: mdi.bias.Metadynamics(height=1.0, pace=50),
    "two": lambda: [
        mdi.bias.OPES(barrier=30.0, sigma=0.2, pace=50, on=0),
        mdi.bias.Umbrella(at=0.5, kappa=3.0, on=1),
        mdi.bias.Metadynamics(height=1.0, sigma=0.3, pace=100, on=1),
    ],
}


def molecule(forcefield="amber99sb.xml"):
    """Topology and a new system."""
    pdb = app.PDBFile(str(TOP))
    system = app.ForceField(forcefield).createSystem(
        pdb.topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds, removeCMMotion=False
    )
    return pdb, system


def start(
    potentials="metadynamics", *, n=1, platform="Reference", temperature=300.0, seeds=None, system=None, **options
):
    """A Sampler and n simulations of it; a single one is returned bare."""
    pdb, made = molecule()
    made = made if system is None else system
    given = POTENTIALS[potentials]() if isinstance(potentials, str) else potentials
    topology = mdtraj.Topology.from_openmm(pdb.topology)
    sampler = mdi.bias.Sampler(made, topology, Torsions("phi psi", raw=True), given, temperature, **options)
    simulations = []
    for number in range(n):
        integrator = openmm.LangevinMiddleIntegrator(temperature, 5.0, 0.002)
        walker = None if n == 1 else number
        integrator.setRandomNumberSeed(sampler.walker_seed(walker) if seeds is None else seeds[number])
        simulation = app.Simulation(pdb.topology, made, integrator, openmm.Platform.getPlatform(platform))
        simulation.context.setPositions(pdb.positions)
        simulation.context.setVelocitiesToTemperature(
            temperature, sampler.walker_seed(walker) if seeds is None else seeds[number]
        )
        simulations.append(simulation)
    return sampler, simulations[0] if n == 1 else simulations


def positions(simulation):
    """nm, exact."""
    return simulation.context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)


def run(asked):
    """Run to the end; the same call again goes on."""
    file, steps, save_every = asked.pop("file"), asked.pop("steps"), asked.pop("save_every", 500)
    global_seed = asked.pop("global_seed", None)
    if global_seed is not None:
        random.seed(global_seed)
        np.random.seed(global_seed)  # noqa: NPY002
    sampler, simulation = start(**asked)
    print("ready", flush=True)
    sampler.run(simulation, steps, file, save_every=save_every)


def serve():
    """For each line of input a process that runs what it says: all is imported and compiled already, so many can be killed."""
    for potentials in ("metadynamics", "opes"):
        for form in ("compiled", "native"):
            sampler, simulation = start(potentials, form=form)
            sampler.step(simulation, 600)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                print(f"process {os.getpid()}", flush=True)
                run(json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(f"ended {os.waitstatus_to_exitcode(status)}", flush=True)


def process(*arguments):
    """This file in a process of its own; beginning with a question, it answers with a line when it is ready."""
    return subprocess.Popen(
        [sys.executable, __file__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(json.loads(sys.argv[1]))
    else:
        serve()
