"""H5MD as MDAnalysis and others write it: /particles/<group>/position, with units in attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mdinsight.trajectories._formats._base import (
    Format,
    Frames,
    Scan,
    direction_note,
    not_this_format,
    unwrapped,
)
from mdinsight.trajectories._formats._h5 import (
    attribute,
    clock,
    length_scale,
    open_h5,
    read_atoms,
    together,
    whole_frames,
)


class H5MD(Format):
    """H5MD with one group of particles."""

    name = "H5MD"
    suffixes = (".h5md",)

    def scan(self, path: Path) -> Scan:
        with open_h5(path) as file:
            groups = [f"particles/{name}" for name in file["particles"]] if "particles" in file else []
            groups = [name for name in groups if "position/value" in file[name]]
            if len(groups) != 1:
                raise not_this_format(
                    path, self.name, f"it has {len(groups)} groups of particles with positions, one is needed"
                )
            group = file[groups[0]]
            position = group["position/value"]
            edges = _edges(group)
            per_frame = edges is not None and isinstance(edges, h5py.Group)
            datasets = [position, *([edges["value"]] if edges is not None and per_frame else [])]
            time = group["position"].get("time")
            stepped = time is not None and time.shape == (len(position),)
            n_frames, damage = whole_frames(path, datasets + ([time] if stepped else []))
            times, error = None, 1e-12
            if time is not None and n_frames:
                begin = float(attribute(time, "offset") or 0.0)
                values = time[:n_frames] if stepped else begin + float(time[()]) * np.arange(n_frames)
                times, error = clock(time, values, "unit", path)
            layout: dict[str, Any] = {
                "group": groups[0],
                "length": length_scale(position, "unit", 0.1, path),
            }
            has_box = False
            if edges is not None:
                data = edges["value"] if per_frame else edges
                layout["edges"], layout["per_frame"] = data.name, per_frame
                layout["box"] = length_scale(data, "unit", layout["length"], path)
                has_box = bool(np.any(data[0] if per_frame and n_frames else data[()]))
            layout["periodic"] = periodic = _periodic(group)
            note = direction_note(periodic) if has_box and not periodic.all() else ""
            block = together(position)
            return Scan(n_frames, position.shape[1], times, error, has_box, damage, layout, box_note=note, block=block)

    def read(self, path: Path, scan: Scan, frames: range, atoms: np.ndarray | None) -> Frames:
        rows = slice(frames.start, frames.stop, frames.step)
        layout = scan.layout
        with open_h5(path) as file:
            xyz = read_atoms(file[layout["group"]]["position/value"], frames, atoms, np.float32(layout["length"]))
            if not scan.has_box:
                return Frames(xyz)
            data = file[layout["edges"]]
            edges = data[rows] if layout["per_frame"] else np.broadcast_to(data[()], (len(frames), *data.shape))
            edges = np.asarray(edges, np.float64) * layout["box"]
            if edges.ndim == 2:
                edges = edges[:, :, None] * np.eye(3)
            return Frames(xyz, unwrapped(edges, layout["periodic"]).astype(np.float32))


def _edges(group: h5py.Group) -> h5py.Group | h5py.Dataset | None:
    """What holds the box, None where there is none or it is not periodic in any direction."""
    box = group.get("box")
    if box is None or "edges" not in box:
        return None
    return box["edges"] if _periodic(group).any() else None


def _periodic(group: h5py.Group) -> np.ndarray:
    """Whether each of the three directions is periodic."""
    box = group.get("box")
    boundary = "periodic" if box is None else box.attrs.get("boundary", "periodic")
    texts = [item.decode() if isinstance(item, bytes) else str(item) for item in np.atleast_1d(boundary)]
    return np.array([text != "none" for text in (texts if len(texts) == 3 else texts[:1] * 3)])
