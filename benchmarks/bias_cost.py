"""What a bias costs in each MD step, as a ratio to the same system without one.

    python benchmarks/bias_cost.py > benchmarks/bias_cost.md

All run in one process and take turns: unbiased, biased in one way, unbiased, biased in the next way, and so on. A ratio is that
of one turn to the mean of the unbiased turns before and after it; the table has the median and the middle half of many. The other
cores are kept busy, as by further walkers (idle cores of virtual machines sleep, and waking them would cost more than the work).
``pip install openmm-opes`` adds the line of that package; without it the table says that it was not there.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from itertools import pairwise
from typing import Any

import mdtraj
import numpy as np
import openmm
from _bias_systems import EXAMPLES, KEPT, Case, busy_cores, case, parser, say
from openmm import app, unit

import mdinsight as mdi
from mdinsight import bias
from mdinsight.cvs import TICA, from_layers
from mdinsight.features import Distances, Torsions

TEMPERATURE, BARRIER = 300.0, 50.0
N_DEPOSITS = 1500
"""Kernels put down before the clock starts, as a run of 750,000 steps would have."""


@dataclass
class Way:
    """One way to run a system, and how long its turns took."""

    name: str
    simulation: app.Simulation
    step: Callable[[int], object]
    kernels: Callable[[], str] = lambda: ""
    ratios: list[float] = field(default_factory=list)

    def turn(self, steps: int) -> float:
        """Microseconds a step."""
        begin = time.perf_counter()
        self.step(steps)
        self.simulation.context.getState(positions=True)  # a GPU has then finished
        return 1e6 * (time.perf_counter() - begin) / steps


class Bench:
    """The ways to run one system."""

    def __init__(self, it: Case, pace: int, platform_name: str | None) -> None:
        self.case, self.pace, self.platform = it, pace, platform_name
        solute = it.mdtraj.select("not water and not name Na and not name Cl")
        self.top = it.mdtraj.subset(solute)
        self.trajs = _unbiased_trajectory("ala2" if it.name in ("vacuum", "water700") else "peptide")
        heavy = [a.index for a in self.top.atoms if a.element.symbol != "H"]
        backbone = [a.index for a in self.top.atoms if a.name == "CA"]
        ten = backbone if len(backbone) == 10 else heavy[:10]
        self.torsions = Torsions(_dihedrals(self.top, 30))
        self.distances = Distances(pairs=[(a, b) for i, a in enumerate(ten) for b in ten[i + 1 :]])
        self.angles = Torsions("phi psi", raw=True).columns(self.top)[:2]

    def ways(self) -> list[Way]:
        """All of them; the first is the unbiased one."""
        X = self.torsions.transform(self.trajs, cache=False)
        tica = TICA(lag=1, dim=2).fit(X).model
        by_distances, by_torsions = self._network(self.distances), self._network(self.torsions)
        two = Torsions([column.atoms for column in self.angles], raw=True)
        bare = self._bare()
        found = [
            Way("unbiased", bare, bare.step),
            self._empty(),
            self._ours("TICA of 30 torsions (60 terms), 2 coordinates, OPES: native", tica, form="native"),
            self._ours("the same: compiled", tica, form="compiled"),
            self._ours("45 distances, 32-32-2 tanh, OPES", by_distances),
            self._ours("30 torsions, 32-32-2 tanh, OPES", by_torsions),
            self._ours("45 distances, 32-32-2 tanh, OPES, every 2 steps", by_distances, every=2),
            self._torch("45 distances, 32-32-2 tanh in eager PyTorch, restraint", by_distances),
            self._ours("phi, psi, OPES: compiled", two, form="compiled"),
            self._ours("phi, psi, OPES: native", two, form="native"),
            self._metadynamics("phi, psi, openmm.app.Metadynamics"),
        ]
        theirs = self._openmm_opes()
        return found if theirs is None else [*found, theirs]

    def _bare(self) -> app.Simulation:
        return self.case.simulation(self.case.system(), platform=self.platform)

    def _network(self, feature: Any) -> Any:
        """Weights by chance, on standardised columns."""
        rng = np.random.default_rng(0)
        rows = feature.transform(self.trajs, cache=False).concatenated()
        sizes = [rows.shape[1], 32, 32, 2]
        weights = [rng.normal(0, 1 / np.sqrt(a), (a, b)) for a, b in pairwise(sizes)]
        biases = [rng.normal(0, 0.3, b) for b in sizes[1:]]
        scale = 1 / np.maximum(rows.std(axis=0), 1e-2)
        names = ["tanh", "tanh", "identity"]
        return from_layers(feature, weights, biases, names, topology=self.trajs, shift=rows.mean(axis=0), scale=scale)

    def _ours(self, name: str, coordinate: Any, form: str = "auto", every: int = 1) -> Way:
        system = self.case.system()
        opes = bias.OPES(BARRIER, pace=self.pace)
        sampler = bias.Sampler(system, self.case.topology, coordinate, opes, TEMPERATURE, form=form, every=every)
        simulation = self.case.simulation(system, platform=self.platform)
        state = sampler.states[0]
        for s in self._places(sampler.coordinate, int(state.observe_every or 1)):
            state.observe(s)
        for s in self._spread(sampler.coordinate):
            state.deposit(s)
        sampler._changed([simulation])
        return Way(name, simulation, lambda n: sampler.step(simulation, n), lambda: str(_kernels(state)))

    def _places(self, coordinate: Any, every: int) -> np.ndarray:
        """Coordinates of the unbiased trajectory, enough to measure the widths."""
        return np.tile(coordinate.transform(self.trajs).concatenated(), (3, 1))[: 12 * self.pace // every + 12]

    def _spread(self, coordinate: Any) -> np.ndarray:
        """Where a run has been that crossed its barriers: twice as wide as the unbiased one."""
        seen = coordinate.transform(self.trajs).concatenated()
        return np.random.default_rng(0).normal(seen.mean(axis=0), 2 * seen.std(axis=0), (N_DEPOSITS, seen.shape[1]))

    def _empty(self) -> Way:
        system = self.case.system()
        none = np.zeros((10, 3))
        force = openmm.PythonForce(lambda state: (0.0, none), {})
        force.setParticles(list(range(10)))
        force.setUsesPeriodicBoundaryConditions(self.case.box is not None)
        system.addForce(force)
        simulation = self.case.simulation(system, platform=self.platform)
        return Way("a PythonForce on 10 atoms that returns zeros", simulation, simulation.step)

    def _torch(self, name: str, network: Any) -> Way:
        """What one would write: distances and network in PyTorch, forces by autograd, here with a harmonic restraint."""
        import torch

        torch.set_num_threads(1)
        columns = network.columns
        atoms = sorted({i for column in columns for i in column.atoms})
        first, second = np.array([[atoms.index(i) for i in column.atoms] for column in columns]).T
        layers: list[Any] = []
        for weight, offset, activation in zip(network.weights, network.biases, network.activations, strict=True):
            linear = torch.nn.Linear(*weight.shape)
            linear.weight.data = torch.tensor(weight.T, dtype=torch.float32)
            linear.bias.data = torch.tensor(offset, dtype=torch.float32)
            layers += [linear, torch.nn.Tanh()] if activation == "tanh" else [linear]
        model = torch.nn.Sequential(*layers).requires_grad_(False)
        shift, scale = (torch.tensor(a, dtype=torch.float32) for a in (network.shift, network.scale))
        at = torch.zeros(2)

        def energy_and_forces(state: Any) -> tuple[float, np.ndarray]:
            xyz = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
            x = torch.tensor(xyz, dtype=torch.float32, requires_grad=True)
            s = model((torch.linalg.norm(x[first] - x[second], dim=1) - shift) * scale)
            energy = 0.5 * ((s - at) ** 2).sum()
            energy.backward()
            return energy.item(), -x.grad.numpy().astype(np.float64)

        system = self.case.system()
        force = openmm.PythonForce(energy_and_forces, {})
        force.setParticles(atoms)
        force.setUsesPeriodicBoundaryConditions(self.case.box is not None)
        system.addForce(force)
        simulation = self.case.simulation(system, platform=self.platform)
        return Way(name, simulation, simulation.step)

    def _variables(self, width: float) -> list[app.BiasVariable]:
        found = []
        for column in self.angles:
            force = openmm.CustomTorsionForce("theta")
            force.addTorsion(*column.atoms, [])
            found.append(app.BiasVariable(force, -np.pi, np.pi, width, True, 101))
        return found

    def _metadynamics(self, name: str) -> Way:
        system = self.case.system()
        method = app.Metadynamics(system, self._variables(0.35), TEMPERATURE, 10.0, 1.2, self.pace)
        simulation = self.case.simulation(system, platform=self.platform)
        return Way(name, simulation, lambda n: method.step(simulation, n))

    def _openmm_opes(self) -> Way | None:
        try:
            import openmm_opes
        except ImportError:
            return None
        system = self.case.system()
        method = openmm_opes.OPES(system, self._variables(0.15), TEMPERATURE, BARRIER, self.pace, None, biasFactor=10.0)
        simulation = self.case.simulation(system, platform=self.platform)
        rng = np.random.default_rng(0)
        for values in rng.uniform(-np.pi, np.pi, (N_DEPOSITS // 10, 2)):
            method.addKernel(tuple(values), 0.0)
        method.updateContext(simulation.context)
        name = f"phi, psi, openmm-opes {metadata.version('openmm-opes')}"
        return Way(name, simulation, lambda n: method.step(simulation, n), lambda: str(method.getNumKernels()))


def _kernels(state: Any) -> int:
    return int(state.n_kernels)


def _dihedrals(topology: mdtraj.Topology, count: int) -> list[tuple[int, int, int, int]]:
    """Torsions about bonds, those of heavy atoms first."""
    near: dict[int, set[int]] = {atom.index: set() for atom in topology.atoms}
    for i, j in topology.bonds:
        near[i.index].add(j.index)
        near[j.index].add(i.index)
    found = [
        (a, b, c, d)
        for b in near
        for c in near[b]
        if b < c
        for a in sorted(near[b] - {c})
        for d in sorted(near[c] - {b, a})
    ]
    light = {atom.index for atom in topology.atoms if atom.element.symbol == "H"}
    return sorted(found, key=lambda four: (len(light & set(four)), four))[:count]


def _unbiased_trajectory(name: str) -> Any:
    """Trajectories to fit the coordinates on."""
    if name == "ala2":
        files = sorted((EXAMPLES / "ala2_fast").glob("*.xtc"))[:4]
        return mdi.open(files, top=str(EXAMPLES / "ala2" / "top.pdb"))
    it = case("peptide")
    file, top = KEPT / "chignolin.dcd", KEPT / "chignolin.pdb"
    if not file.exists():
        say("running chignolin for its trajectory")
        simulation = it.simulation(it.system())
        part = file.with_suffix(f".{os.getpid()}")
        reporter = app.DCDReporter(str(part), 25)
        simulation.reporters.append(reporter)
        simulation.step(25_000)
        simulation.reporters.clear()
        del reporter
        with open(top, "w") as handle:
            app.PDBFile.writeFile(it.topology, it.positions * 10, handle)
        part.replace(file)
    return mdi.open([file], top=str(top))


def measure(ways: list[Way], turns: int, seconds: float, pace: int, least: int) -> tuple[float, dict[str, int]]:
    """Fill the ratios; microseconds of an unbiased step, and the steps of a turn of each way."""
    bare, *others = ways
    steps = {}
    for way in ways:
        way.turn(least)  # compiles, fills neighbour lists
        per_step = way.turn(least)
        steps[way.name] = max(1, round(seconds * 1e6 / per_step / pace)) * pace
    costs = []
    for number in range(turns):
        before = bare.turn(steps[bare.name])
        for way in others:
            cost = way.turn(steps[way.name])
            after = bare.turn(steps[bare.name])
            way.ratios.append(cost / (0.5 * (before + after)))
            costs.append(after)
            before = after
        say(f"  turn {number + 1} of {turns}")
    return float(np.median(costs)), steps


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--systems", nargs="+", default=["vacuum", "peptide", "water700", "water20k"])
    made.add_argument("--platform", help="run all on this OpenMM platform, such as CUDA")
    made.add_argument("--idle", action="store_true", help="do not keep the other cores busy")
    options = made.parse_args()
    version = openmm.Platform.getOpenMMVersion()
    with busy_cores(0 if options.idle else None) as busy:
        print("# What a bias costs\n")
        print(
            f"{platform.machine()}, {os.cpu_count()} cores ({busy} kept busy by others), Python {platform.python_version()}, "
            f"OpenMM {version}, one thread. Time a step as a ratio to the unbiased run, median and middle half.\n"
        )
        for name in options.systems:
            say(name)
            one_system(case(name), options)
    try:
        metadata.version("openmm-opes")
    except metadata.PackageNotFoundError:
        print("openmm-opes is not installed here, so it has no line (`pip install openmm-opes`).\n")
    print(
        "OPES with a barrier of 50 kJ/mol and widths that adapt; a kernel every 500 steps (every 50 with 20,000 atoms, "
        "so that each turn has one),\n"
        f"{N_DEPOSITS} put down before the clock starts. Added: microseconds a step, from the median."
    )


def one_system(it: Case, options: Any) -> None:
    large = it.n_atoms > 5000
    pace = 50 if large else 500
    ways = Bench(it, pace, options.platform).ways()
    turns = (3 if large else 6) if options.quick else (12 if large else 40)
    bare, _ = measure(ways, turns, 0.1 if options.quick else 0.3, pace, 20 if large else 500)
    print(f"## {it.title}\n")
    print(
        f"{options.platform or it.platform} platform, {it.step * 1e3:g} fs; unbiased {bare:.1f} us a step; {turns} turns.\n"
    )
    print("| bias | kernels | ratio | middle half | added, us |\n|---|---:|---:|---:|---:|")
    for way in ways[1:]:
        low, ratio, high = np.percentile(way.ratios, [25, 50, 75])
        added = (ratio - 1) * bare
        print(f"| {way.name} | {way.kernels()} | {ratio:.3f} | {low:.3f} to {high:.3f} | {added:.1f} |")
    print(flush=True)


if __name__ == "__main__":
    main()
