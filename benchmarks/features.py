"""Features: mdinsight against mdtraj's own functions, in turn, on the same frames in memory and out of the same files.

    OMP_NUM_THREADS=1 python benchmarks/features.py > benchmarks/features.md

Each line is the best of several runs in turn. Frames in memory are worked on by one thread on one core, as mdtraj's functions do,
and what is measured is the processor's time; the lines of all cores are wall time.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import mdtraj
import numpy as np

import mdinsight as mdi
from mdinsight.features import RMSD, Contacts, Definition, Distances, RadiusOfGyration, Torsions
from mdinsight.parallel import cores

EXAMPLES = Path(__file__).parent.parent / "example_trajs"
ROUNDS = 5

Case = tuple[str, mdtraj.Trajectory, Definition, Callable[[], object]]
"""What, frames, our feature, their function."""
Row = tuple[str, int, list[float]]
"""What, how many frames, seconds of mdinsight and of mdtraj."""


def best(functions: list[Callable[[], object]], clock: Callable[[], float], rounds: int = ROUNDS) -> list[float]:
    """Seconds of each function: the best of several rounds, in which they take turns."""
    times = np.array([[_time(function, clock) for function in functions] for _ in range(rounds + 1)])
    return list(times[1:].min(axis=0))  # the first round compiles and warms the file cache


def _time(function: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    function()
    return clock() - start


def chain(n_residues: int, n_frames: int) -> mdtraj.Trajectory:
    """A protein-sized case: a box of residues of ten atoms, placed by chance."""
    topology = mdtraj.Topology()
    one = topology.add_chain()
    for number in range(n_residues):
        residue = topology.add_residue("LEU", one, resSeq=number + 1)
        for name in ("N", "CA", "C", "O", "CB", "CG", "CD1", "CD2", "H", "HA"):
            topology.add_atom(name, mdtraj.element.Element.getBySymbol(name[0]), residue)
    rng = np.random.default_rng(0)
    xyz = rng.uniform(0, 5, (1, n_residues, 1, 3)) + rng.normal(0, 0.2, (n_frames, n_residues, 10, 3))
    frames = mdtraj.Trajectory(xyz.reshape(n_frames, -1, 3).astype(np.float32), topology)
    frames.unitcell_vectors = np.tile(np.diag([5.0, 5.0, 5.0]), (n_frames, 1, 1)).astype(np.float32)
    return frames


def boxed(frames: mdtraj.Trajectory, vectors: object) -> mdtraj.Trajectory:
    """The same frames in another box, or in none."""
    other = mdtraj.Trajectory(frames.xyz, frames.topology)
    if vectors is not None:
        other.unitcell_vectors = np.tile(np.array(vectors), (frames.n_frames, 1, 1)).astype(np.float32)
    return other


def small_cases() -> list[Case]:
    """Small molecules, many frames."""
    files = sorted((EXAMPLES / "ala2").glob("*.xtc"))[:6]
    small = mdtraj.load([str(f) for f in files], top=str(EXAMPLES / "ala2/top.pdb"))
    pairs = np.array([c.atoms for c in Distances("all").columns(small)])
    peptide = boxed(chain(22, 5000), None)
    features = Torsions("phi psi chi1 chi2") + Distances("name CA")
    carbons = np.array([c.atoms for c in Distances("name CA").columns(peptide)])
    kinds = ("phi", "psi", "chi1", "chi2")

    def script() -> object:
        angles = np.hstack([getattr(mdtraj, f"compute_{kind}")(peptide)[1] for kind in kinds])
        return np.hstack([np.cos(angles), np.sin(angles), mdtraj.compute_distances(peptide, carbons)])

    return [
        ("phi, psi", small, Torsions("phi psi"), lambda: (mdtraj.compute_phi(small), mdtraj.compute_psi(small))),
        ("231 distances", small, Distances("all"), lambda: mdtraj.compute_distances(small, pairs)),
        (f"cos, sin of phi, psi, chi; CA distances: {len(features.columns(peptide))}", peptide, features, script),
        ("RMSD, 22 atoms", small, RMSD(small[0], "all"), lambda: mdtraj.rmsd(small, small, 0, parallel=False)),
        ("radius of gyration, 22 atoms", small, RadiusOfGyration("all"), lambda: mdtraj.compute_rg(small)),
    ]


def large_cases() -> list[Case]:
    """Pairs of a protein's residues, with and without a box."""
    cube = chain(200, 40)
    carbons = np.array([c.atoms for c in Distances("name CA").columns(cube)])
    rng = np.random.default_rng(1)
    everything = np.column_stack(np.triu_indices(200, 3))
    some = everything[np.sort(rng.choice(len(everything), 200, replace=False))]
    tilted = [[5.0, 0, 0], [1.6, 4.7, 0], [-1.6, 2.3, 4.1]]
    cases: list[Case] = []
    for where, frames in (("no box", boxed(cube, None)), ("box", cube), ("tilted box", boxed(cube, tilted))):
        for pairs, name in ((some, "200 residue pairs"), (everything, f"{len(everything)} residue pairs")):
            if where == "tilted box" and pairs is everything:
                continue
            cases.append(
                (
                    f"closest heavy atom of {name}, {where}",
                    frames,
                    Contacts(pairs, kind="distance"),
                    lambda f=frames, p=pairs: mdtraj.compute_contacts(f, p, periodic=f.unitcell_vectors is not None),
                )
            )
        cases.append(
            (
                f"{len(carbons)} CA distances, {where}",
                frames,
                Distances("name CA"),
                lambda f=frames: mdtraj.compute_distances(f, carbons),
            )
        )
    soft = Contacts(some, kind="distance", soft_min=True)
    theirs = lambda: mdtraj.compute_contacts(cube, some, soft_min=True)  # noqa: E731
    return [*cases, ("soft minimum of 200 residue pairs, box", cube, soft, theirs)]


def in_memory() -> list[Row]:
    """Frames in memory, one thread."""
    rows = []
    for name, frames, feature, theirs in [*small_cases(), *large_cases()]:
        bound = feature.bind(frames.topology)
        boxes = frames.unitcell_vectors
        xyz = np.ascontiguousarray(frames.xyz[:, bound.atoms])
        seconds = best([lambda b=bound, x=xyz, c=boxes: b.compute(x, c), theirs], time.process_time, 3)
        rows.append((name, len(xyz), seconds))
    return rows


def on_all_cores() -> list[Row]:
    """Contacts of frames in memory, and the whole way from files; nothing cached."""
    files = sorted((EXAMPLES / "ala2").glob("*.xtc"))
    top = str(EXAMPLES / "ala2/top.pdb")
    trajs = mdi.open(files, top=top)
    frames = chain(200, 120)
    everything = np.column_stack(np.triu_indices(200, 3))
    contacts = Contacts(everything, kind="distance")

    def theirs() -> None:
        for file in files:
            loaded = mdtraj.load(str(file), top=top)
            mdtraj.compute_phi(loaded)
            mdtraj.compute_psi(loaded)

    ours = lambda: contacts.transform(frames, cache=False, chunk=16)  # noqa: E731
    wall = time.perf_counter
    return [
        (
            "closest heavy atom of 19503 residue pairs, box, all cores",
            frames.n_frames,
            best([ours, lambda: mdtraj.compute_contacts(frames, everything)], wall, 2),
        ),
        (
            "phi, psi from XTC files, all cores",
            trajs.n_frames,
            best([lambda: Torsions("phi psi").transform(trajs, cache=False), theirs], wall),
        ),
    ]


def main() -> None:
    print("# Features: mdinsight against mdtraj\n")
    print(
        f"{platform.machine()}, {cores()} cores, Python {platform.python_version()}, mdtraj {mdtraj.__version__}; "
        f"`OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}`. "
        f"Best of {ROUNDS} runs in turn. Ratio above 1: mdinsight is faster.\n"
    )
    print("| what | frames | mdinsight, ms | mdtraj, ms | ratio |\n|---|---:|---:|---:|---:|")
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(everywhere)})
    rows = in_memory()
    os.sched_setaffinity(0, everywhere)
    for name, frames, (ours, other) in rows + on_all_cores():
        print(f"| {name} | {frames} | {ours * 1e3:.1f} | {other * 1e3:.1f} | {other / ours:.2f} |")
    print(
        "\nmdinsight computes in double precision and, in a box, finds the nearest image exactly; mdtraj in single precision."
    )
    print(
        "All but the last two lines are frames in memory on one core, in processor time; the last two are wall time, with all"
    )
    print("that goes before the first frame, such as naming 19503 columns.")


if __name__ == "__main__":
    main()
