"""PDB, also with many models; it carries its own topology."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np

from mdinsight.errors import CorruptFrameError, TrajectoryError
from mdinsight.trajectories._formats._base import (
    Damage,
    Format,
    Frames,
    Scan,
    box_from_cell,
    leave_out,
    not_this_format,
    read_bytes,
)
from mdinsight.trajectories._formats._text import Lines, first_locations, load_text_topology

_RECORD = re.compile(rb"^(MODEL |ENDMDL|END[ \r\n]|END\Z|CRYST1[^\n]*|TITLE[^\n]*)", re.MULTILINE)
_ATOM = re.compile(rb"^(?:ATOM  |HETATM)[^\n]*\n", re.MULTILINE)
_LINK = re.compile(rb"^CONECT[^\n]*\n", re.MULTILINE)
_MODEL = re.compile(rb"^MODEL ", re.MULTILINE)
_NEXT = re.compile(rb"\s*(?:ATOM|HETATM|TITLE|REMARK|CRYST1|M(?:O(?:D(?:E(?:L)?)?)?)?\Z)")
_CLOCK = re.compile(rb"\bt=\s*([-+.\deE]+)")


class PDB(Format):
    """PDB; each MODEL is a frame. Times are known where GROMACS wrote them into TITLE (``t= 10.0``)."""

    name = "PDB"
    suffixes = (".pdb", ".ent")

    def scan(self, path: Path) -> Scan:
        with Lines(path) as lines:
            walk = _Walk(lines)
            walk.run()
        if not walk.frames and walk.damage is None:
            raise not_this_format(path, self.name, "it has no ATOM record")
        keep = walk.keep
        times = None if None in walk.times or not walk.times else np.array(walk.times, np.float64)
        has_box = bool(walk.boxes) and all(box is not None for box in walk.boxes)
        layout: dict[str, Any] = {
            "frames": np.array(walk.frames, np.int64).reshape(-1, 2),
            "keep": keep,
            "lines": walk.n_lines,
        }
        if has_box:
            cells = np.array(walk.boxes)
            layout["box"] = box_from_cell(cells[:, :3] / 10.0, cells[:, 3:])
        return Scan(len(walk.frames), len(keep), times, 1e-6, has_box, walk.damage, layout)

    def read(self, path: Path, scan: Scan, frames: range, atoms: np.ndarray | None) -> Frames:
        keep = scan.layout["keep"] if atoms is None else scan.layout["keep"][atoms]
        xyz = np.empty((len(frames), len(keep), 3), np.float32)
        with path.open("rb") as handle:
            for row, frame in enumerate(frames):
                begin, end = (int(i) for i in scan.layout["frames"][frame])
                lines = _ATOM.findall(read_bytes(handle.fileno(), begin, end - begin, path))
                if len(lines) != scan.layout["lines"]:
                    raise TrajectoryError(f"{path} was changed since it was opened; open it again")
                try:
                    words = [[lines[i][30:38], lines[i][38:46], lines[i][46:54]] for i in keep]
                    xyz[row] = np.array(words).astype(np.float64) * 0.1
                except ValueError as error:
                    why = f"its coordinates cannot be read ({error}); {leave_out(frame)}"
                    raise CorruptFrameError.at(frame, f"{path}, frame {frame}: {why}") from error
        rows = slice(frames.start, frames.stop, frames.step)
        return Frames(xyz, scan.layout["box"][rows] if scan.has_box else None)

    def topology(self, path: Path) -> mdtraj.Topology | None:
        with Lines(path) as file:
            walk = _Walk(file)
            walk.run(first_only=True)
            if not walk.frames:
                return None
            lines = file.read(*walk.frames[0]).splitlines(keepends=True)
            links = dict.fromkeys(link for _, block in file.blocks() for link in _LINK.findall(block))
        atoms = [number for number, line in enumerate(lines) if line[:6] in (b"ATOM  ", b"HETATM")]
        drop = set(atoms) - {atoms[i] for i in walk.keep}
        body = [
            _plain(line)
            for number, line in enumerate(lines)
            if number not in drop and line[:3] in (b"ATO", b"HET", b"TER")
        ]
        text = b"".join([b"MODEL        1\n", *body, b"ENDMDL\n", *links, b"END\n"])
        return load_text_topology(text, ".pdb", path)


def _plain(line: bytes) -> bytes:
    """The line without its alternate-location letter."""
    return line if line.startswith(b"TER") else line[:16] + b" " + line[17:]


class _Walk:
    """One pass over the records that open and close models."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.frames: list[tuple[int, int]] = []
        self.times: list[float | None] = []
        self.boxes: list[tuple[float, ...] | None] = []
        self.keep = np.empty(0, np.int64)
        self.n_lines = -1
        self.damage: Damage | None = None
        self._time: float | None = None
        self._box: tuple[float, ...] | None = None
        self._begin, self._model, self._closed, self._count = 0, False, False, 0

    def run(self, first_only: bool = False) -> None:
        whole = 0
        for start, block in self.lines.blocks():
            done = 0
            for match in _RECORD.finditer(block):
                self._count += _count(block, done, match.start())
                if not self._record(match, start):
                    return
                done = match.end()
                if first_only and self.frames:
                    return
            self._count += _count(block, done, len(block))
            whole = start + block.rfind(b"\n") + 1
        begin, size = self._begin, self.lines.size
        rest = next((block for _, block in self.lines.blocks(begin) if block.strip()), b"")
        if self._model or (self.frames and _NEXT.match(rest)):
            self.damage = Damage("torn", len(self.frames), begin, size - begin, 1, "its end is missing")
        elif not self._closed:
            self._close(begin, whole)

    def _record(self, match: re.Match[bytes], start: int) -> bool:
        """Take a record of a block that begins at byte ``start``; False where nothing behind it is of use."""
        word, first, last = match[0][:6], start + match.start(), start + match.end()
        if word == b"CRYST1":
            self._box = _cell(match[0])
        elif word[:5] == b"TITLE":
            clock = _CLOCK.search(match[0])
            self._time = float(clock[1]) if clock else self._time
        elif word == b"MODEL ":
            if self._model and not self._close(self._begin, first, "a model begins before it ends"):
                return False
            self._begin, self._model, self._count = first, True, 0
        elif word == b"ENDMDL" or not self._model:
            if not self._close(self._begin, first):
                return False
            self._begin, self._model, self._closed, self._count = last, False, True, 0
        return True

    def _close(self, begin: int, end: int, fault: str = "") -> bool:
        """Take a frame; False where it does not fit the first one."""
        if not self._count:
            return True
        if self.n_lines < 0 and not fault:
            lines = _ATOM.findall(self.lines.read(begin, end))
            self.n_lines = len(lines)
            keys: list[tuple[bytes, ...]] = [(line[12:16], line[17:27]) for line in lines]
            self.keep = np.array(first_locations(keys, [line[16:17] for line in lines]), np.int64)
        if self._count != self.n_lines or fault:
            fault = fault or f"it has {self._count} lines of atoms, the first frame has {self.n_lines}"
            rest = self.lines.size - begin
            mean = max(1, begin // max(1, len(self.frames)))
            last = not any(_MODEL.search(block) for _, block in self.lines.blocks(end))
            lost = 1 if last else max(1, round(rest / mean))
            self.damage = Damage("torn" if last else "corrupt", len(self.frames), begin, rest, lost, fault)
            return False
        self.frames.append((begin, end))
        self.times.append(self._time)
        self.boxes.append(self._box)
        self._time = None
        return True


def _count(block: bytes, begin: int, end: int) -> int:
    """How many lines of atoms lie between two bytes of a block."""
    return len(_ATOM.findall(block, begin, end))


def _cell(line: bytes) -> tuple[float, ...] | None:
    """Lengths in Å and angles; None for the dummy cell of 1 Å that stands for no box."""
    try:
        cell = tuple(float(line[a:b]) for a, b in ((6, 15), (15, 24), (24, 33), (33, 40), (40, 47), (47, 54)))
    except ValueError:
        return None
    return None if min(cell[:3]) <= 1.0 else cell
