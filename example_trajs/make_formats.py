#!/usr/bin/env python
"""Write the same 20 frames of alanine dipeptide in every format that is read, into ``formats/``.

    python make_formats.py

``plain.*`` are the first frames of ``ala2/ala2-00.xtc``, which have no box; ``box.*`` are the same coordinates with a
triclinic box (a rhombic dodecahedron of about 3 nm that breathes a little) attached, so that boxes can be tested too.
Needs mdtraj with PyTables (for its HDF5), and MDAnalysis.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import mdtraj
import numpy as np

HERE = Path(__file__).resolve().parent
N_FRAMES = 20
DT = 2.0  # ps, as saved


def frames(box: bool, source: Path = HERE / "ala2") -> mdtraj.Trajectory:
    """The frames that every file holds."""
    trajectory = mdtraj.load(str(source / "ala2-00.xtc"), top=str(source / "top.pdb"))[:N_FRAMES]
    trajectory.unitcell_vectors = None
    if box:
        trajectory.xyz += np.float32(1.5) - trajectory.xyz.mean(axis=(0, 1))
        edge = 3.0 + 0.01 * np.sin(np.arange(N_FRAMES))
        trajectory.unitcell_vectors = edge[:, None, None] * np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, np.sqrt(0.5)]])
    return trajectory


def write_lammps(trajectory: mdtraj.Trajectory, path: Path, scaled: bool = False) -> None:
    """A dump in units real (Å, fs), atoms shuffled; with a box either plain or scaled coordinates."""
    rng = np.random.default_rng(1)
    box = trajectory.unitcell_vectors
    with path.open("w") as out:
        for frame, xyz in enumerate(trajectory.xyz.astype(float) * 10.0):
            vectors = np.diag([100.0] * 3) if box is None else box[frame].astype(float) * 10.0
            xy, xz, yz = vectors[1, 0], vectors[2, 0], vectors[2, 1]
            x = (min(0.0, xy, xz, xy + xz), vectors[0, 0] + max(0.0, xy, xz, xy + xz))
            y = (min(0.0, yz), vectors[1, 1] + max(0.0, yz))
            flags = "ff ff ff" if box is None else "xy xz yz pp pp pp"
            tilts = ("", "", "") if box is None else (f" {xy:.6f}", f" {xz:.6f}", f" {yz:.6f}")
            if frame == 0:
                out.write("ITEM: UNITS\nreal\n")
            out.write(f"ITEM: TIMESTEP\n{(frame + 1) * 1000}\nITEM: TIME\n{trajectory.time[frame] * 1000.0:.1f}\n")
            out.write(f"ITEM: NUMBER OF ATOMS\n{len(xyz)}\nITEM: BOX BOUNDS {flags}\n")
            for (low, high), tilt in zip((x, y, (0.0, vectors[2, 2])), tilts, strict=True):
                out.write(f"{low:.6f} {high:.6f}{tilt}\n")
            names = ("xs", "ys", "zs") if scaled else ("x", "y", "z")
            out.write(f"ITEM: ATOMS id type {' '.join(names)}\n")
            values = xyz @ np.linalg.inv(vectors) if scaled else xyz
            for atom in rng.permutation(len(xyz)):
                out.write(f"{atom + 1} 1 " + " ".join(f"{value:.7f}" for value in values[atom]) + "\n")


def write_by_mdanalysis(trajectory: mdtraj.Trajectory, top: Path, paths: list[Path]) -> None:
    """DCD with a time step, and H5MD with units in its attributes."""
    import MDAnalysis

    universe = MDAnalysis.Universe(str(top))
    options: dict[str, dict[str, object]] = {".dcd": {"dt": DT, "istart": 1, "nsavc": 1}, ".h5md": {"timeunit": "ps"}}
    universe.trajectory.ts.data.clear()  # occupancies and the like would fill nine tenths of the H5MD
    for path in paths:
        with MDAnalysis.Writer(str(path), trajectory.n_atoms, **options[path.suffix]) as writer:
            for frame in range(trajectory.n_frames):
                step = universe.trajectory.ts
                step.positions = trajectory.xyz[frame] * 10.0
                step.time = float(trajectory.time[frame])
                step.frame = frame
                step.dimensions = None
                if trajectory.unitcell_vectors is not None:
                    step.dimensions = [*trajectory.unitcell_lengths[frame] * 10.0, *trajectory.unitcell_angles[frame]]
                writer.write(universe.atoms)


def write_all(folder: Path, source: Path = HERE / "ala2") -> None:
    """Every format, without and with a box."""
    folder.mkdir(parents=True, exist_ok=True)
    top = source / "top.pdb"
    for name, box in (("plain", False), ("box", True)):
        trajectory = frames(box, source)
        for suffix in (".xtc", ".trr", ".nc", ".h5", ".pdb", ".cif"):
            (folder / f"{name}{suffix}").unlink(missing_ok=True)
            trajectory.save(str(folder / f"{name}{suffix}"))
        write_lammps(trajectory, folder / f"{name}.lammpstrj")
        write_by_mdanalysis(trajectory, top, [folder / f"{name}.dcd", folder / f"{name}.h5md"])
    write_lammps(frames(True, source), folder / "box_scaled.lammpstrj", scaled=True)
    (folder / "top.pdb").write_bytes(top.read_bytes())


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_all(HERE / "formats")
    total = sum(path.stat().st_size for path in (HERE / "formats").iterdir())
    sys.stdout.write(f"{len(list((HERE / 'formats').iterdir()))} files, {total / 1000:.0f} kB\n")
