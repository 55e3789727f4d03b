"""Features of the example trajectories: mdinsight against mdtraj's own functions, in turn, on the same frames in memory.

    python benchmarks/features.py > benchmarks/features.md

Each line is the best of several runs in turn: frames in memory on one thread, as mdtraj's functions are, and the whole way from
the files on all cores.
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
from mdinsight.features import RMSD, Contacts, Distances, Features, Torsions
from mdinsight.parallel import cores

EXAMPLES = Path(__file__).parent.parent / "example_trajs"
ROUNDS = 5


def best(functions: list[Callable[[], object]]) -> list[float]:
    """Seconds of each function: the best of several rounds, in which they take turns."""
    times = np.array([[_time(function) for function in functions] for _ in range(ROUNDS + 1)])
    return list(times[1:].min(axis=0))  # the first round compiles and warms the file cache


def _time(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


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


def in_memory() -> list[tuple[str, int, list[float]]]:
    """(what, frames, seconds of mdinsight and of mdtraj) for frames in memory, one thread."""
    files = sorted((EXAMPLES / "ala2").glob("*.xtc"))[:6]
    small = mdtraj.load([str(f) for f in files], top=str(EXAMPLES / "ala2/top.pdb"))
    large = chain(100, 200)
    pairs = np.array([c.atoms for c in Distances("all").columns(small)])
    carbons = np.array([c.atoms for c in Distances("name CA").columns(large)])
    cases: list[
        tuple[str, mdtraj.Trajectory, Features | Torsions | Distances | Contacts | RMSD, Callable[[], object]]
    ] = [
        ("phi, psi", small, Torsions("phi psi"), lambda: (mdtraj.compute_phi(small), mdtraj.compute_psi(small))),
        ("231 distances", small, Distances("all"), lambda: mdtraj.compute_distances(small, pairs)),
        ("RMSD, 22 atoms", small, RMSD(small[0], "all"), lambda: mdtraj.rmsd(small, small, 0)),
        ("4950 distances, box", large, Distances("name CA"), lambda: mdtraj.compute_distances(large, carbons)),
        ("4656 closest-heavy contacts, box", large, Contacts(kind="distance"), lambda: mdtraj.compute_contacts(large)),
    ]
    rows = []
    for name, frames, feature, theirs in cases:
        bound = feature.bind(frames.topology)
        boxes = frames.unitcell_vectors
        xyz = np.ascontiguousarray(frames.xyz[:, bound.atoms])
        rows.append((name, len(xyz), best([lambda b=bound, x=xyz, c=boxes: b.compute(x, c), theirs])))
    return rows


def from_files() -> list[tuple[str, int, list[float]]]:
    """The same for the whole way from files, all cores, nothing cached."""
    files = sorted((EXAMPLES / "ala2").glob("*.xtc"))
    top = str(EXAMPLES / "ala2/top.pdb")
    trajs = mdi.open(files, top=top)

    def theirs() -> None:
        for file in files:
            frames = mdtraj.load(str(file), top=top)
            mdtraj.compute_phi(frames)
            mdtraj.compute_psi(frames)

    seconds = best([lambda: Torsions("phi psi").transform(trajs, cache=False), theirs])
    return [("phi, psi from XTC files", trajs.n_frames, seconds)]


def main() -> None:
    print("# Features: mdinsight against mdtraj\n")
    print(
        f"{platform.machine()}, {cores()} cores, Python {platform.python_version()}, mdtraj {mdtraj.__version__}; "
        f"`OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}`. "
        f"Best of {ROUNDS} runs in turn. Ratio above 1: mdinsight is faster.\n"
    )
    print("| what | frames | mdinsight, ms | mdtraj, ms | ratio |\n|---|---:|---:|---:|---:|")
    for name, frames, (ours, other) in in_memory() + from_files():
        print(f"| {name} | {frames} | {ours * 1e3:.1f} | {other * 1e3:.1f} | {other / ours:.2f} |")
    print(
        "\nmdinsight computes in double precision and, in a box, searches the nearest image exactly; mdtraj in single precision."
    )
    print(
        "The first five lines are frames in memory on one thread, the last is the whole way from the files on all cores."
    )


if __name__ == "__main__":
    main()
