"""HDF5 as mdtraj writes it, read with h5py alone (PyTables is not needed)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from mdtraj.core.element import virtual

from mdinsight.trajectories._formats._base import SINGLE, Format, Frames, Scan, box_from_cell, not_this_format
from mdinsight.trajectories._formats._h5 import clock, length_scale, open_h5, read_atoms, together, whole_frames

_CELL = ("cell_lengths", "cell_angles")


class MDTrajHDF5(Format):
    """mdtraj's HDF5; it carries its own topology."""

    name = "mdtraj HDF5"
    suffixes = (".h5", ".hdf5")

    def scan(self, path: Path) -> Scan:
        with open_h5(path) as file:
            if "coordinates" not in file:
                why = "it is H5MD; name it .h5md" if "h5md" in file else "it has no data set 'coordinates'"
                raise not_this_format(path, self.name, why)
            coordinates = file["coordinates"]
            names = [
                name for name in ("coordinates", "time", *_CELL) if name in file and len(file[name]) == len(coordinates)
            ]
            n_frames, damage = whole_frames(path, [file[name] for name in names])
            has_box = (
                n_frames > 0 and all(name in names for name in _CELL) and bool((file["cell_lengths"][0] > 0).all())
            )
            layout = {"length": length_scale(coordinates, "units", 1.0, path)}
            layout["cell"] = length_scale(file["cell_lengths"], "units", 1.0, path) if has_box else 1.0
            times, error = None, SINGLE
            if "time" in names:
                times, error = clock(file["time"], file["time"][:n_frames], "units", path)
            block = together(coordinates)
            return Scan(n_frames, coordinates.shape[1], times, error, has_box, damage, layout, block=block)

    def read(self, path: Path, scan: Scan, frames: range, atoms: np.ndarray | None) -> Frames:
        rows = slice(frames.start, frames.stop, frames.step)
        with open_h5(path) as file:
            xyz = read_atoms(file["coordinates"], frames, atoms, np.float32(scan.layout["length"]))
            box = (
                box_from_cell(file["cell_lengths"][rows] * scan.layout["cell"], file["cell_angles"][rows])
                if scan.has_box
                else None
            )
            return Frames(xyz, box)

    def topology(self, path: Path) -> mdtraj.Topology | None:
        with open_h5(path) as file:
            if "topology" not in file:
                return None
            raw = file["topology"][()]
        while isinstance(raw, np.ndarray):
            raw = raw.ravel()[0]
        return _build(json.loads(raw))


def _build(content: dict[str, Any]) -> mdtraj.Topology:
    topology = mdtraj.Topology()
    for chain_content in sorted(content["chains"], key=lambda item: item["index"]):
        chain = topology.add_chain()
        for entry in sorted(chain_content["residues"], key=lambda item: item["index"]):
            sequence = entry.get("resSeq", entry["index"])
            residue = topology.add_residue(entry["name"], chain, resSeq=sequence, segment_id=entry.get("segmentID", ""))
            for atom in sorted(entry["atoms"], key=lambda item: item["index"]):
                symbol = atom.get("element") or ""
                element = mdtraj.element.get_by_symbol(symbol) if symbol and symbol != "VS" else virtual
                topology.add_atom(atom["name"], element, residue)
    atoms = list(topology.atoms)
    for first, second in content.get("bonds", ()):
        topology.add_bond(atoms[first], atoms[second])
    return topology
