"""Structures of every macrostate, drawn with the model's weights, and which frames they are."""

from __future__ import annotations

import csv
import io
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np

from mdinsight import seeds
from mdinsight.errors import OutputError, ParameterError
from mdinsight.files import write_text
from mdinsight.msm._macrostates import Macrostates
from mdinsight.msm._markov import MarkovModel
from mdinsight.records import Record
from mdinsight.states import Discrete, as_discrete
from mdinsight.trajectories import Selection, Trajectories, topology_hash

logger = logging.getLogger(__name__)

PDB_MODELS = 5
"""Models in a PDB file; the XTC beside it holds all frames."""


class Frame(Record):
    """One drawn frame: where it is, and its weight among all frames of its macrostate."""

    trajectory: int
    row: int
    state: int
    membership: float
    weight: float


def write_structures(
    folder: str | os.PathLike[str],
    trajs: Trajectories,
    dtrajs: Any,
    model: MarkovModel,
    macrostates: Macrostates,
    n: int = 20,
    seed: int = 0,
    atoms: Selection = None,
) -> tuple[Path, ...]:
    """Write structures of each macrostate as PDB and XTC, and ``frames.csv``, which says where each came from.

    For each macrostate ``n`` frames are drawn without replacement, with the stationary weight of the frame times the
    membership of its state. The first is the most representative: of those drawn, the one with the least mean RMSD to
    the others, so the centre of the weighted sample. The others follow by their RMSD to it, superposed on it. The XTC
    holds all of them, the PDB the first five.

    Parameters
    ----------
    folder
        Made if it is not there. Files are named by macrostate and population, e.g. ``macrostate_0_0.87.pdb``.
    trajs, dtrajs
        The trajectories, and the discrete trajectories made from them: as many, as long, in the same order. One may
        end sooner where a frame of its file is corrupt.
    model, macrostates
        The Markov model of the discrete trajectories and its long-lived states.
    n
        Frames of each macrostate, fewer where it has fewer.
    seed
        Decides the draw.
    atoms
        Which atoms to write; None leaves out water and ions if anything else is there. With several topologies each
        has its own files.

    Returns
    -------
    tuple of Path
        The files, ``frames.csv`` last.

    Raises
    ------
    ParameterError
        If the discrete trajectories do not fit the trajectories.
    OutputError
        If the folder cannot be written.
    """
    discrete = as_discrete(dtrajs)
    _check(trajs, discrete)
    if isinstance(n, bool) or int(n) != n or n < 1:
        raise ParameterError(f"n={n!r} is not a number of frames; give an int of at least 1")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {folder}: {error.strerror}; choose one that you can write to"
        ) from error
    hashes = [topology_hash(trajectory.topology) for trajectory in trajs]
    kinds = list(dict.fromkeys(hashes))
    weights = model.frame_weights(discrete)
    written: list[Path] = []
    rows: list[dict[str, Any]] = []
    for number in range(macrostates.n):
        drawn = draw_frames(discrete, weights, macrostates, number, int(n), seed)
        for kind in kinds:
            part = [frame for frame in drawn if hashes[frame.trajectory] == kind]
            if not part:
                continue
            name = f"macrostate_{number}_{_population(float(macrostates.populations.value[number]))}"
            if len(kinds) > 1:
                name += f"_topology_{kinds.index(kind)}"
            written += _write(folder, name, trajs, part, number, atoms, rows)
    written.append(write_text(folder / "frames.csv", _table(rows)))
    logger.info("%d structures of %d macrostates in %s", len(rows), macrostates.n, folder)
    return tuple(written)


def draw_frames(
    discrete: Discrete, weights: Sequence[np.ndarray], macrostates: Macrostates, number: int, n: int, seed: int
) -> list[Frame]:
    """Frames of a macrostate drawn without replacement, each with probability weight x membership, in the order
    drawn."""
    table = np.zeros(max(discrete.n_states, int(macrostates.active_states.max()) + 1))
    table[macrostates.active_states] = macrostates.memberships[:, number]
    states = np.concatenate(discrete.arrays)
    mass = np.concatenate(list(weights)) * table[states]
    mass /= mass.sum()
    rng = seeds.generator(seed, "msm.structures", number)
    with np.errstate(divide="ignore"):  # the largest of log weight + Gumbel noise is a draw without replacement
        keys = np.log(mass) + rng.gumbel(size=len(mass))
    picked = np.argsort(-keys, kind="stable")[: min(n, int((mass > 0).sum()))]
    ends = np.cumsum(discrete.lengths)
    frames = []
    for index in picked:
        trajectory = int(np.searchsorted(ends, index, side="right"))
        row = int(index - (ends[trajectory] - len(discrete.arrays[trajectory])))
        state = int(states[index])
        frames.append(Frame(trajectory, row, state, float(table[state]), float(mass[index])))
    return frames


def _check(trajs: Trajectories, discrete: Discrete) -> None:
    if len(trajs) != len(discrete):
        raise ParameterError(
            f"{len(discrete)} discrete trajectories do not fit {len(trajs)} trajectories; give those that they were made from"
        )
    for trajectory, array, origin in zip(trajs, discrete.arrays, discrete.origins, strict=True):
        where, here = trajectory.origin, (origin.start, origin.step, origin.fingerprint)
        shorter = len(array) < trajectory.n_frames and here == (where.start, where.step, where.fingerprint)
        if trajectory.n_frames != len(array) and not shorter:  # it may end before a frame that is corrupt
            raise ParameterError(
                f"{trajectory.label} has {trajectory.n_frames} frames, its discrete trajectory {len(array)}; "
                "give the trajectories that the states were made from, in the same order"
            )
        if origin.fingerprint and where.fingerprint and origin.fingerprint != where.fingerprint:
            raise ParameterError(
                f"{trajectory.label} is not the file {origin.file} that the states were made from (or was changed since); "
                "give the same trajectories in the same order"
            )


def _write(
    folder: Path,
    name: str,
    trajs: Trajectories,
    frames: Sequence[Frame],
    number: int,
    atoms: Selection,
    rows: list[dict[str, Any]],
) -> list[Path]:
    structures = _read(trajs, frames, atoms)
    order = _superpose(structures)
    ordered = mdtraj.Trajectory(structures.xyz[order], structures.topology)
    for model_number, place in enumerate(order, start=1):
        frame = frames[place]
        origin = trajs[frame.trajectory].origin
        rows.append(
            {
                "structures": f"{name}.xtc",
                "frame_in_structures": model_number - 1,
                "macrostate": number,
                "file": origin.file,
                "frame": origin.frame(frame.row),
                "state": frame.state,
                "membership": f"{frame.membership:.6g}",
                "weight": f"{frame.weight:.6g}",
            }
        )
    pdb, xtc = folder / f"{name}.pdb", folder / f"{name}.xtc"
    _save(ordered[:PDB_MODELS], pdb)
    _save(ordered, xtc)
    return [pdb, xtc]


def _read(trajs: Trajectories, frames: Sequence[Frame], atoms: Selection) -> mdtraj.Trajectory:
    """The frames in their order, cut to the atoms, molecules made whole."""
    topology = trajs[frames[0].trajectory].topology
    chosen = _solute(topology) if atoms is None else atoms
    parts, places = [], []
    for trajectory in sorted({frame.trajectory for frame in frames}):
        here = [place for place, frame in enumerate(frames) if frame.trajectory == trajectory]
        parts.append(trajs[trajectory].read([frames[place].row for place in here], chosen))
        places += here
    back = np.argsort(places)
    structures = mdtraj.join(parts, check_topology=False) if len(parts) > 1 else parts[0]
    structures = structures.slice(back)
    if structures.unitcell_vectors is not None and structures.topology.n_bonds:
        structures.make_molecules_whole(inplace=True)
    return structures


def _solute(topology: mdtraj.Topology) -> np.ndarray | None:
    """All atoms but those of water and of residues of a single atom (ions); None (all) if nothing else is there."""
    keep = [atom.index for atom in topology.atoms if not atom.residue.is_water and atom.residue.n_atoms > 1]
    return np.array(keep) if keep else None


def _superpose(structures: mdtraj.Trajectory) -> np.ndarray:
    """Superpose on the most representative frame; return the order: that one, then by RMSD to it."""
    topology = structures.topology
    heavy = [atom.index for atom in topology.atoms if atom.element is None or atom.element.symbol != "H"]
    backbone = [
        i for i in heavy if topology.atom(i).name in ("N", "CA", "C", "O") and topology.atom(i).residue.is_protein
    ]
    used = np.array(next((group for group in (backbone, heavy) if len(group) >= 3), range(topology.n_atoms)))
    if structures.n_frames == 1 or len(used) < 3:
        return np.arange(structures.n_frames)
    structures.center_coordinates()
    apart = np.array([mdtraj.rmsd(structures, structures, i, atom_indices=used) for i in range(structures.n_frames)])
    first = int(np.argmin(apart.mean(axis=1)))
    structures.superpose(structures, first, atom_indices=used)
    order = np.argsort(apart[first], kind="stable")
    return np.concatenate([[first], order[order != first]])


def _save(structures: mdtraj.Trajectory, path: Path) -> None:
    """Written beside its place and renamed, so that it is whole or absent."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
            part = Path(scratch) / path.name
            structures.save(str(part))
            os.replace(part, path)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; choose a folder that you can write to"
        ) from error


def _population(value: float) -> str:
    return f"{value:.2f}" if value >= 0.01 else f"{value:.1e}"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
