"""The data of the ingest benchmark, made in a folder and kept there. Not a benchmark itself; run, it makes and describes them.

    python benchmarks/_ingest_data.py /path/to/folder [--quick]

``solvated``: helices of 20 residues in TIP3P, the protein first. A few frames are MD (OpenMM, reaction field, 300 K); those of
the files are these in random order, moved as a whole, plus Gaussian noise of 2 pm on each coordinate. Mixing real frames would
shrink the water molecules; moving them keeps what XTC compresses, the differences between neighbouring atoms.

``cage``: Trp-cage TC5b (20 residues, 304 atoms) in implicit solvent. Some hundred frames are MD; a trajectory is a random walk
along them, interpolated between neighbours (0.4 ps apart), plus the same noise.
"""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np

CAGE = "NLYIQWLKDGGPSSGRPPPS"
HELIX = "KELVWAQRSTFYIMNDEHGA"
NOISE = 0.002  # nm
BLOCK = 250  # frames made at once


@dataclass(frozen=True)
class Size:
    """How much is made."""

    helices: int
    edge: float  # nm, of the box
    real_solvated: int
    solvated_files: int
    solvated_frames: int  # in a file
    dcd_frames: int  # in all, one file
    real_cage: int
    cage_files: int  # of the data set once; four times as many are made
    cage_frames: int  # in a file


FULL = Size(10, 7.6, 6, 4, 1000, 1500, 300, 8, 25_000)
QUICK = Size(2, 3.8, 3, 2, 300, 300, 40, 4, 2_500)


@dataclass(frozen=True)
class Files:
    """Where the data are, and what they are."""

    folder: str
    top: str
    xtc: list[str]
    dcd: list[str]
    cage_top: str
    cage: list[str]  # four times the data set
    cage_once: int  # so many of them are the data set once
    n_atoms: int
    n_protein: int
    n_residues: int
    bytes_per_atom: dict[str, list[float]]  # of the real frames, of the made ones

    @property
    def once(self) -> list[str]:
        """The files of Trp-cage, once."""
        return self.cage[: self.cage_once]


def make(parent: Path, quick: bool) -> Files:
    """The files in a folder of it; those that a call before has finished are taken as they are."""
    size, folder = (QUICK, parent / "quick") if quick else (FULL, parent / "full")
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "files.json"
    if done.exists():
        kept = json.loads(done.read_text())
        if kept["size"] == asdict(size) and kept["files"]["folder"] == str(folder):
            return Files(**kept["files"])
    solvated, cage = _solvated_md(size), _cage_md(size)
    ratios = {}
    top, cage_top = folder / "solvated.pdb", folder / "cage.pdb"
    solvated[0].save_pdb(str(top))
    cage[0].save_pdb(str(cage_top))
    xtc = [folder / f"solvated-{i}.xtc" for i in range(size.solvated_files)]
    for number, file in enumerate(xtc):
        _write_xtc(file, _moved(solvated, size.solvated_frames, number), solvated)
    dcd = folder / "solvated.dcd"
    _write_dcd(dcd, _moved(solvated, size.dcd_frames, 99), solvated)
    walks = [folder / f"cage-{i:02d}.xtc" for i in range(4 * size.cage_files)]
    for number, file in enumerate(walks):
        _write_xtc(file, _walked(cage, size.cage_frames, number), cage)
    for name, real, made, frames in (
        ("solvated", solvated, xtc[0], size.solvated_frames),
        ("cage", cage, walks[0], size.cage_frames),
    ):
        probe = folder / "probe.xtc"
        _write_xtc(probe, [real.xyz], real)
        ratios[name] = [probe.stat().st_size / real.xyz[..., 0].size, made.stat().st_size / (frames * real.n_atoms)]
        probe.unlink()
    files = Files(
        str(folder),
        str(top),
        [str(f) for f in xtc],
        [str(dcd)],
        str(cage_top),
        [str(f) for f in walks],
        size.cage_files,
        solvated.n_atoms,
        len(solvated.topology.select("protein")),
        20 * size.helices,
        ratios,
    )
    done.write_text(json.dumps({"size": asdict(size), "files": asdict(files)}))
    return files


def warm(files: Files) -> dict[str, list[str]]:
    """Files of a few frames, on which each side does its work once before the time begins."""
    made = {}
    for name, source, top, count in (
        ("xtc", files.xtc[0], files.top, 20),
        ("dcd", files.dcd[0], files.top, 20),
        ("cage", files.cage[0], files.cage_top, 1000),
    ):
        path = Path(files.folder) / f"warm-{name}{Path(source).suffix}"
        if not path.exists():
            next(mdtraj.iterload(source, top=top, chunk=count)).save(str(path))
        made[name] = [str(path)]
    return made


def again(paths: list[str], times: int) -> list[str]:
    """The files so many times, under other names: more work of the same kind, without more room on the disk."""
    made = []
    for number in range(times):
        for path in map(Path, paths):
            link = path.with_name(f"again-{number}-{path.name}")
            if not link.exists():
                link.hardlink_to(path)
            made.append(str(link))
    return made


def describe(files: Files) -> str:
    """The data in words."""
    mega = {name: sum(Path(f).stat().st_size for f in some) / 1e6 for name, some in _sets(files).items()}
    real, made = files.bytes_per_atom["solvated"]
    cage_real, cage_made = files.bytes_per_atom["cage"]
    return (
        f"Solvated: {files.n_residues} residues in water, {files.n_protein} of {files.n_atoms} atoms "
        f"({100 * files.n_protein / files.n_atoms:.1f} %) are protein and come first; XTC {mega['xtc']:.0f} MB, "
        f"{made:.2f} bytes an atom ({real:.2f} in the frames of MD that they are made of); DCD {mega['dcd']:.0f} MB. "
        f"Trp-cage, 304 atoms: XTC {mega['once']:.0f} MB once, {cage_made:.2f} bytes an atom ({cage_real:.2f} in MD)."
    )


def _sets(files: Files) -> dict[str, list[str]]:
    return {"xtc": files.xtc, "dcd": files.dcd, "once": files.once}


def _moved(real: mdtraj.Trajectory, n_frames: int, seed: int) -> Iterator[np.ndarray]:
    """Real frames in random order, each moved as a whole, plus noise."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(4 * real.xyz[0].size, np.float32) * np.float32(NOISE)
    for start in range(0, n_frames, BLOCK):
        count = min(BLOCK, n_frames - start)
        xyz = real.xyz[rng.integers(len(real), size=count)]
        xyz += rng.uniform(-0.1, 0.1, (count, 1, 3)).astype(np.float32)
        for frame, begin in zip(xyz, rng.integers(3 * frame_size(real), size=count), strict=True):
            frame += noise[begin : begin + frame.size].reshape(-1, 3)
        yield xyz


def frame_size(real: mdtraj.Trajectory) -> int:
    return 3 * real.n_atoms


def _walked(real: mdtraj.Trajectory, n_frames: int, seed: int) -> Iterator[np.ndarray]:
    """A random walk along real frames, reflected at the ends, plus noise."""
    rng = np.random.default_rng(1000 + seed)
    last = len(real) - 1
    place = rng.uniform(0, 2 * last) + np.cumsum(rng.normal(0, 1.0, n_frames))
    place = last - np.abs(np.mod(place, 2 * last) - last)
    for start in range(0, n_frames, BLOCK):
        here = place[start : start + BLOCK]
        low = np.minimum(here.astype(int), last - 1)
        share = (here - low).astype(np.float32)[:, None, None]
        xyz = (1 - share) * real.xyz[low] + share * real.xyz[low + 1]
        yield xyz + rng.standard_normal(xyz.shape, np.float32) * np.float32(NOISE)


def _write_xtc(path: Path, blocks: Any, real: mdtraj.Trajectory) -> None:
    with mdtraj.formats.XTCTrajectoryFile(str(path), "w", force_overwrite=True) as file:
        at = 0
        for xyz in blocks:
            steps = np.arange(at, at + len(xyz))
            box = None if real.unitcell_vectors is None else np.repeat(real.unitcell_vectors[:1], len(xyz), axis=0)
            file.write(np.ascontiguousarray(xyz), steps.astype(np.float32), steps.astype(np.int32), box)
            at += len(xyz)


def _write_dcd(path: Path, blocks: Any, real: mdtraj.Trajectory) -> None:
    with mdtraj.formats.DCDTrajectoryFile(str(path), "w", force_overwrite=True) as file:
        for xyz in blocks:
            lengths = np.repeat(10 * real.unitcell_lengths[:1], len(xyz), axis=0)
            file.write(10 * xyz, lengths, np.repeat(real.unitcell_angles[:1], len(xyz), axis=0))


def _solvated_md(size: Size) -> mdtraj.Trajectory:
    """Helices side by side on a grid in a box of water; a few frames 0.1 ps apart."""
    from openmm import Vec3, app, unit

    field = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    modeller: Any = None
    per_row = int(np.ceil(np.sqrt(size.helices)))
    for number in range(size.helices):
        one = _peptide(HELIX[number % 20 :] + HELIX[: number % 20], -57.0, -47.0, field)
        xyz = np.array(one.positions.value_in_unit(unit.nanometer))
        xyz = (xyz - xyz.mean(axis=0)) @ np.linalg.svd(xyz - xyz.mean(axis=0), full_matrices=False)[2][[1, 2, 0]].T
        xyz += np.array([1.5 * (number % per_row), 1.5 * (number // per_row), 0.0])
        if modeller is None:
            modeller = app.Modeller(one.topology, xyz * unit.nanometer)
        else:
            modeller.add(one.topology, xyz * unit.nanometer)
    relaxed = next(_md(modeller.topology, modeller.positions, field, app.CutoffNonPeriodic, 100, 0, 1))
    modeller = app.Modeller(modeller.topology, relaxed * unit.nanometer)
    random.seed(1)
    edge = Vec3(size.edge, size.edge, size.edge) * unit.nanometer
    modeller.addSolvent(field, model="tip3p", boxSize=edge, neutralize=True)
    frames = list(
        _md(modeller.topology, modeller.positions, field, app.CutoffPeriodic, 25, 100, size.real_solvated, every=50)
    )
    made = mdtraj.Trajectory(np.array(frames, np.float32), mdtraj.Topology.from_openmm(modeller.topology))
    made.unitcell_vectors = np.tile(np.eye(3, dtype=np.float32) * size.edge, (len(frames), 1, 1))
    return made


def _cage_md(size: Size) -> mdtraj.Trajectory:
    """Trp-cage from an extended chain, frames 0.4 ps apart."""
    from openmm import app

    field = app.ForceField("amber14-all.xml", "implicit/obc2.xml")
    made = _peptide(CAGE, -120.0, 135.0, field)
    frames = list(_md(made.topology, made.positions, field, app.NoCutoff, 100, 500, size.real_cage, every=100, step=4))
    return mdtraj.Trajectory(np.array(frames, np.float32), mdtraj.Topology.from_openmm(made.topology))


def _peptide(sequence: str, phi: float, psi: float, field: Any) -> Any:
    """A chain with hydrogens and charged ends."""
    import PeptideBuilder
    from Bio.PDB import PDBIO
    from openmm import app

    n = len(sequence) - 1
    chain = PeptideBuilder.make_structure(sequence, [phi] * n, [psi] * n)
    PeptideBuilder.add_terminal_OXT(chain)
    text, writer = io.StringIO(), PDBIO()
    writer.set_structure(chain)
    writer.save(text)
    pdb = app.PDBFile(io.StringIO(text.getvalue()))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    random.seed(1)  # where OpenMM puts hydrogens
    modeller.addHydrogens(field)
    return modeller


def _md(
    topology: Any,
    positions: Any,
    field: Any,
    method: Any,
    minimise: int,
    before: int,
    n_frames: int,
    every: int = 0,
    step: int = 2,
) -> Iterator[np.ndarray]:
    """Frames of MD at 300 K in nm, after minimisation and some steps."""
    import openmm
    from openmm import app, unit

    given: dict[str, Any] = {"nonbondedMethod": method, "constraints": app.HBonds}
    if method is not app.NoCutoff:
        given["nonbondedCutoff"] = 0.9 * unit.nanometer
    if step > 2:
        given["hydrogenMass"] = 3.0 * unit.dalton
    integrator = openmm.LangevinMiddleIntegrator(300.0, 5.0, step * 1e-3)
    integrator.setRandomNumberSeed(1)
    platform = openmm.Platform.getPlatformByName("CPU")
    simulation = app.Simulation(topology, field.createSystem(topology, **given), integrator, platform)
    simulation.context.setPositions(positions)
    simulation.minimizeEnergy(maxIterations=minimise)
    simulation.context.setVelocitiesToTemperature(300.0, 1)
    simulation.step(before)
    for _ in range(n_frames):
        simulation.step(every)
        yield simulation.context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)


if __name__ == "__main__":
    made = make(Path(sys.argv[1]).resolve(), "--quick" in sys.argv)
    warm(made)
    print(describe(made))
