"""What a data set holds, in a few lines, however many files it has."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import mdtraj

from mdinsight.trajectories._trajectory import Trajectory
from mdinsight.units import format_time
from mdinsight.words import counted

_MOST_NOTES = 12


def summarize(items: Sequence[Trajectory], topologies: Sequence[mdtraj.Topology], notes: Sequence[str]) -> str:
    """The text that printing a data set gives."""
    n_frames = sum(item.n_frames for item in items)
    dt = items[0].dt
    lengths = ", time step not known"
    if n_frames == len(items):
        lengths = ""  # one frame is apart from nothing
    elif dt is not None:
        lengths = f", {format_time(dt)} apart, {format_time((n_frames - len(items)) * dt)} in all"
    lines = [f"{counted(len(items), 'trajectory')}, {counted(n_frames, 'frame')}{lengths}"]
    for number, topology in enumerate(topologies):
        mine = [item for item in items if item.topology is topology]
        name = f"topology {number}: " if len(topologies) > 1 else ""
        lines.append(
            f"  {name}{topology.n_atoms} atoms, {counted(topology.n_residues, 'residue')} ({_residues(topology)})"
        )
        for _, group in groupby(
            mine, key=lambda item: (item.kind, item.has_box, item.path.parent if item.path else None)
        ):
            lines.append(f"    {_group(list(group))}")
    lines += [f"  note: {note}" for note in notes[:_MOST_NOTES]]
    if len(notes) > _MOST_NOTES:
        lines.append(f"  and {len(notes) - _MOST_NOTES} more notes (.notes)")
    return "\n".join(lines)


def _group(items: list[Trajectory]) -> str:
    files = list(dict.fromkeys(item.label.partition("[")[0] for item in items))
    names = (
        files[0] if len(files) == 1 else f"{files[0]} ... {files[-1]}" if len(files) > 2 else f"{files[0]}, {files[1]}"
    )
    counts = sorted({item.n_frames for item in items})
    frames = counted(counts[0], "frame") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} frames"
    each = " each" if len(items) > 1 else ""
    what = counted(len(files), "file") if items[0].path else counted(len(files), "object")
    pieces = f" in {len(items)} pieces" if len(items) > len(files) else ""
    return f"{names}: {what}{pieces}, {items[0].kind}, {frames}{each}, {'box' if items[0].has_box else 'no box'}"


def _residues(topology: mdtraj.Topology) -> str:
    names = [residue.name for residue in topology.residues]
    runs = [(name, len(list(group))) for name, group in groupby(names)]
    texts = [name if count == 1 else f"{name} x {count}" for name, count in runs[:8]]
    return " ".join(texts) + (" ..." if len(runs) > 8 else "")
