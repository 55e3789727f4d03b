"""The same numbers: a coordinate by analysis of a saved frame and by the force inside OpenMM; forces against finite differences.

    python benchmarks/bias_numbers.py > benchmarks/bias_numbers.md

Frames of the alanine tripeptide without a box, in an orthorhombic and in a triclinic one, where the molecule lies across the
box's corner, are put into an OpenMM context, written as DCD by OpenMM's own reporter (which wraps the molecule), and read again.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import openmm
from _bias_systems import EXAMPLES, parser, say
from openmm import app

import mdinsight as mdi
from mdinsight import bias
from mdinsight.bias._native import native_form
from mdinsight.cvs import PCA, from_layers
from mdinsight.features import RMSD, Angles, Contacts, Distances, Positions, RadiusOfGyration, Torsions

TOP = EXAMPLES / "ala3" / "top.pdb"
BOXES = {
    "no box": None,
    "orthorhombic": np.diag([2.3, 2.6, 2.9]),
    "triclinic": np.array([[2.6, 0.0, 0.0], [0.8, 2.5, 0.0], [-1.1, 1.0, 2.4]]),
}
GPU = ("CUDA", "OpenCL", "HIP", "Metal")


@dataclass
class Worst:
    """The largest relative differences of one line of the table."""

    value: dict[str, float] = field(default_factory=dict)  # at the positions as saved, by box
    file: float = 0.0  # at the positions as they were before they were saved
    force: float = 0.0


def features() -> list[tuple[str, Any, str]]:
    """(title, feature, which coordinates are made of it)."""
    reference = mdtraj.load(str(TOP))
    heavy, backbone = "not element H", "backbone"
    return [
        ("Torsions, sin and cos", Torsions("phi psi omega"), "linear network"),
        ("Torsions, raw", Torsions("phi psi", raw=True).select("* ALA2", "* ALA4"), "columns"),
        ("Distances", Distances(heavy, exclude=1), "linear network"),
        ("Distances, two", Distances(pairs=[[4, 34], [8, 24]]), "columns"),
        ("Angles", Angles([[4, 8, 14], [8, 24, 34], [14, 24, 36], [0, 4, 8]]), "columns linear network"),
        ("Contacts, smooth", Contacts("all", exclude=1), "linear network"),
        ("Contacts, distance", Contacts("all", exclude=1, kind="distance"), "linear network"),
        ("RMSD", RMSD(reference, heavy), "columns network"),
        ("Positions", Positions(reference, backbone), "linear network"),
        ("RadiusOfGyration", RadiusOfGyration("all"), "columns network"),
        (
            "Torsions + Distances + Contacts",
            Torsions() + Distances(heavy, exclude=2) + Contacts("all", exclude=1),
            "linear network",
        ),
    ]


def coordinates() -> Iterator[tuple[str, str, Any]]:
    """(feature, kind, coordinate), fitted on the example trajectories."""
    trajs = mdi.open(sorted((EXAMPLES / "ala3").glob("*.xtc"))[:2], top=str(TOP))
    rng = np.random.default_rng(0)
    for title, feature, kinds in features():
        X = feature.transform(trajs, cache=False)
        for kind in kinds.split():
            if kind == "columns":
                yield title, kind, bias.Coordinate.of(feature, trajs)
            elif kind == "linear":
                yield title, kind, PCA(dim=min(2, X.n_columns)).fit(X).model
            else:
                yield title, "32-32-2 tanh", network(feature, X, rng, trajs)


def network(feature: Any, X: Any, rng: np.random.Generator, topology: Any) -> Any:
    """Two hidden layers with weights by chance, on standardised columns."""
    rows = X.concatenated()
    sizes = [X.n_columns, 32, 32, 2]
    weights = [rng.normal(0, 1 / np.sqrt(a), (a, b)) for a, b in pairwise(sizes)]
    biases = [rng.normal(0, 0.3, b) for b in sizes[1:]]
    scale = 1 / np.maximum(rows.std(axis=0), 1e-3)
    return from_layers(
        feature, weights, biases, ["tanh", "tanh", "identity"], topology=topology, shift=rows.mean(axis=0), scale=scale
    )


def frames(count: int) -> np.ndarray:
    """(count, n_atoms, 3) nm of the tripeptide, at numbers that no file format has rounded."""
    rng = np.random.default_rng(1)
    loaded = mdtraj.load(str(EXAMPLES / "ala3" / "ala3-01.xtc"), top=str(TOP))
    chosen = loaded.xyz[rng.choice(len(loaded), count, replace=False)].astype(np.float64)
    chosen -= chosen.mean(axis=1, keepdims=True)
    return chosen + rng.normal(0, 1e-4, chosen.shape) + rng.normal(0, 0.1, (count, 1, 3))  # about the box's corner


def bare_system(n_atoms: int, box: np.ndarray | None) -> openmm.System:
    """Particles without forces but for one that says whether there is a box."""
    system, nonbonded = openmm.System(), openmm.NonbondedForce()
    for _ in range(n_atoms):
        system.addParticle(12.0)
        nonbonded.addParticle(0.0, 0.1, 0.0)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
        nonbonded.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
        nonbonded.setCutoffDistance(0.5)
    system.addForce(nonbonded)
    return system


def saved(topology: app.Topology, true: np.ndarray, box: np.ndarray | None, folder: Path) -> Path:
    """The frames as DCD, by OpenMM's reporter."""
    system = bare_system(true.shape[1], box)
    bonds = openmm.HarmonicBondForce()  # so that OpenMM knows the molecule and wraps it as one
    for i, j in topology.bonds():
        bonds.addBond(i.index, j.index, 0.1, 0.0)
    system.addForce(bonds)
    reference = openmm.Platform.getPlatformByName("Reference")
    topology = deepcopy(topology)
    topology.setPeriodicBoxVectors(box)  # the reporter writes a box where the topology has one
    simulation = app.Simulation(topology, system, openmm.VerletIntegrator(1e-9), reference)
    file = folder / f"{'none' if box is None else len(np.unique(box))}.dcd"
    reporter = app.DCDReporter(str(file), 1)
    for xyz in true:
        if box is not None:
            simulation.context.setPeriodicBoxVectors(*box)
        simulation.context.setPositions(xyz)
        state = simulation.context.getState(positions=True, enforcePeriodicBox=box is not None)
        reporter.report(simulation, state)
    del reporter
    return file


def platforms() -> list[str]:
    return [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]


class Inside:
    """A bias on a coordinate in an OpenMM context, and what it sees there."""

    def __init__(self, topology: Any, coordinate: Any, box: Any, form: str, name: str, at: np.ndarray) -> None:
        system = bare_system(topology.getNumAtoms(), box)
        umbrella = bias.Umbrella(tuple(at), tuple(100.0 / (0.1 + np.abs(at))))
        self.sampler = bias.Sampler(system, topology, coordinate, umbrella, form=form)
        self.groups = {self.sampler.force.getForceGroup()}
        properties = {"Precision": "mixed"} if name in ("CUDA", "OpenCL", "HIP") else {}
        self.integrator = openmm.VerletIntegrator(0.001)
        self.context = openmm.Context(system, self.integrator, openmm.Platform.getPlatformByName(name), properties)

    def place(self, xyz: np.ndarray, box: np.ndarray | None) -> None:
        if box is not None:
            self.context.setPeriodicBoxVectors(*box)
        self.context.setPositions(xyz)

    def energy(self) -> float:
        return self.context.getState(energy=True, groups=self.groups).getPotentialEnergy()._value

    def force(self) -> np.ndarray:
        return self.context.getState(forces=True, groups=self.groups).getForces(asNumpy=True)._value

    def values(self) -> np.ndarray:
        """The coordinates as the force computed them."""
        self.energy()
        if self.sampler.form == "native":
            return self.sampler._native.values(self.context)
        return np.array(self.sampler._driven.s)

    def differences(self, xyz: np.ndarray, atoms: np.ndarray, h: float = 1e-4) -> np.ndarray:
        """Minus the central differences of the energy by the atoms' positions, from four points each: the error goes with h^4."""
        out = np.zeros_like(xyz)
        for i in atoms:
            for axis in range(3):
                moved = xyz.copy()
                energies = {}
                for side in (-2, -1, 1, 2):
                    moved[i, axis] = xyz[i, axis] + side * h
                    self.context.setPositions(moved)
                    energies[side] = self.energy()
                slope = 8 * (energies[1] - energies[-1]) - (energies[2] - energies[-2])
                out[i, axis] = -slope / (12 * h)
        self.context.setPositions(xyz)
        return out


def relative(a: np.ndarray, b: np.ndarray, periods: Any, typical: np.ndarray) -> float:
    """The largest difference of coordinates, each over the largest value that it has in these frames."""
    apart = a - b
    for k, period in enumerate(periods):
        if period:
            apart[..., k] -= period * np.round(apart[..., k] / period)
    return float((np.abs(apart) / typical).max())


def compare(coordinate: Any, form: str, name: str, box_name: str, case: Any, worst: Worst, n_forces: int) -> None:
    """One coordinate in one form, on one platform, in one box."""
    topology, true, file = case
    box = BOXES[box_name]
    whole = bias.Coordinate.of(coordinate)
    trajs = mdi.open([file], top=str(TOP))
    by_analysis = whole.transform(trajs)[0]
    read = trajs[0].read_chunk(0, len(true))
    boxes = [None] * len(true) if read.box is None else read.box.astype(np.float64)
    if (box is None) != (read.box is None):
        raise RuntimeError(f"{file} has lost its box")
    inside = Inside(topology, coordinate, box, form, name, by_analysis[0] * 0.7 + 0.05)
    at_saved, at_true, typical = [], [], np.abs(by_analysis).max(axis=0)
    for xyz, own, unrounded in zip(read.xyz.astype(np.float64), boxes, true, strict=True):
        inside.place(xyz, own)
        at_saved.append(inside.values())
        inside.place(unrounded, box)
        at_true.append(inside.values())
    periods = whole.periods
    apart = relative(by_analysis, np.array(at_saved), periods, typical)
    worst.value[box_name] = max(worst.value.get(box_name, 0.0), apart)
    worst.file = max(worst.file, relative(by_analysis, np.array(at_true), periods, typical))
    other = Inside(topology, coordinate, box, form, "Reference", by_analysis[0] * 0.7 + 0.05) if name in GPU else inside
    for unrounded in true[:n_forces]:
        inside.place(unrounded, box)
        force = inside.force()
        other.place(unrounded, box)
        expected = other.differences(unrounded, inside.sampler.bound.atoms)
        worst.force = max(worst.force, float(np.abs(force - expected).max() / np.abs(expected).max()))


def main() -> None:
    options = parser(__doc__).parse_args()
    count, n_forces = (3, 1) if options.quick else (20, 3)
    begun = time.perf_counter()
    topology, true = app.PDBFile(str(TOP)).topology, frames(count)
    with tempfile.TemporaryDirectory() as folder:
        cases = {name: (topology, true, saved(topology, true, box, Path(folder))) for name, box in BOXES.items()}
        lines: dict[tuple[str, str, str], Worst] = {}
        by_platform: dict[str, Worst] = {name: Worst() for name in platforms()}
        for title, kind, coordinate in coordinates():
            whole = bias.Coordinate.of(coordinate)
            forms = ["compiled"] if native_form(whole.bind(mdtraj.load(str(TOP)).topology)) else ["compiled", "native"]
            for form in forms:
                line = lines.setdefault((title, kind, form), Worst())
                for name in platforms():
                    for box_name in BOXES:
                        one = Worst()
                        compare(coordinate, form, name, box_name, cases[box_name], one, n_forces)
                        for total in (line, by_platform[name]):
                            total.value[box_name] = max(total.value.get(box_name, 0.0), one.value[box_name])
                            total.file, total.force = max(total.file, one.file), max(total.force, one.force)
                say(f"{title}, {kind}, {form}: {_row(line)}")
    table(lines, by_platform, count, n_forces, time.perf_counter() - begun)


def table(lines: Any, by_platform: Any, count: int, n_forces: int, seconds: float) -> None:
    heads = " | ".join(BOXES)
    rules = "---:|" * (len(BOXES) + 2)
    print("# The same numbers in analysis and inside OpenMM\n")
    print(
        f"{platform.machine()}, Python {platform.python_version()}, OpenMM {openmm.Platform.getOpenMMVersion()}; platforms "
        f"{', '.join(by_platform)}. Largest relative differences over all platforms: {count} frames of the alanine tripeptide "
        f"(coordinates), {n_forces} of them with each atom along x, y and z (forces); {seconds:.0f} s.\n"
    )
    print(f"| features | coordinate | force | {heads} | with the file's rounding | forces |\n|---|---|---|{rules}")
    for (title, kind, form), worst in lines.items():
        print(f"| {title} | {kind} | {form} | {_row(worst)} |")
    print(f"\n| platform | {heads} | with the file's rounding | forces |\n|---|{rules}")
    for name, worst in by_platform.items():
        print(f"| {name} | {_row(worst)} |")
    top = max(max(worst.value.values()) for worst in lines.values())
    forces = max(worst.force for worst in lines.values())
    print(
        f"\nThe goal is 1e-5. Largest difference of a coordinate at the same positions: {top:.1e}; of a force: {forces:.1e}."
    )
    print(
        "\nThe columns under the boxes compare at the positions that the DCD file holds (single precision, the molecule\n"
        "wrapped), so only the two ways of computing differ; what is left is that analysis keeps features in single precision.\n"
        "`With the file's rounding` takes the force at the positions that were written, so it holds what saving a frame loses.\n"
        "A difference of coordinates is relative to the largest value in the frames. Forces are those of a harmonic restraint\n"
        "on the coordinates, against central differences of its energy (four points, 1e-4 nm apart), relative to the largest."
    )
    sys.exit(0 if max(top, forces) < 1e-5 else 1)


def _row(worst: Worst) -> str:
    return " | ".join(f"{x:.1e}" for x in (*(worst.value[name] for name in BOXES), worst.file, worst.force))


if __name__ == "__main__":
    main()
