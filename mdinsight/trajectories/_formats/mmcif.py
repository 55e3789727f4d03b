"""PDBx/mmCIF, also with many models; it carries its own topology."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np

from mdinsight.errors import CorruptFrameError
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
from mdinsight.trajectories._formats._text import LONGEST, Lines, first_locations, load_text_topology

_NAME = re.compile(rb"^_atom_site\.(\S+)[ \t]*\r?\n", re.MULTILINE)
_STOP = re.compile(rb"^(?:loop_|_|data_)", re.MULTILINE)
_LINE = re.compile(rb"[^\n]*\n")
_KEY = (
    "auth_asym_id",
    "label_asym_id",
    "auth_seq_id",
    "label_seq_id",
    "pdbx_PDB_ins_code",
    "auth_atom_id",
    "label_atom_id",
)
_CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")


@dataclass(frozen=True)
class _Table:
    """The loop of atoms: its columns, where its rows begin and end, and the first and last byte of each model."""

    columns: dict[str, int]
    begin: int
    end: int
    models: list[tuple[int, int, int]]  # begin, end, rows


class MMCIF(Format):
    """PDBx/mmCIF; each model number is a frame. It has no times."""

    name = "PDBx/mmCIF"
    suffixes = (".cif", ".pdbx", ".mmcif")

    def scan(self, path: Path) -> Scan:
        with Lines(path) as lines:
            table = _table(lines)
            if table is None:
                raise not_this_format(path, self.name, "it has no _atom_site loop")
            missing = [axis for axis in ("Cartn_x", "Cartn_y", "Cartn_z") if axis not in table.columns]
            if missing:
                raise not_this_format(path, self.name, f"its _atom_site loop has no {missing[0]}")
            good, damage = _whole(lines, table)
            models = table.models[:good]
            keep = np.array(_atoms(lines, table, models[0]) if models else [], np.int64)
            cell = _cell(lines, table)
        layout = {"models": models, "columns": table.columns, "keep": keep, "cell": cell}
        return Scan(good, len(keep), None, 0.0, cell is not None, damage, layout)

    def read(self, path: Path, scan: Scan, frames: range, atoms: np.ndarray | None) -> Frames:
        keep = scan.layout["keep"] if atoms is None else scan.layout["keep"][atoms]
        columns = scan.layout["columns"]
        xyz = np.empty((len(frames), len(keep), 3), np.float32)
        with path.open("rb") as handle:
            for row, frame in enumerate(frames):
                begin, end, _ = scan.layout["models"][frame]
                lines = _rows(read_bytes(handle.fileno(), begin, end - begin, path))
                try:
                    words = [_words(lines[i], len(columns)) for i in keep]
                    table = [[line[columns[f"Cartn_{axis}"]] for axis in "xyz"] for line in words]
                    xyz[row] = np.array(table).astype(np.float64) * 0.1
                except (ValueError, IndexError) as error:
                    why = f"its coordinates cannot be read ({error}); {leave_out(frame)}"
                    raise CorruptFrameError.at(frame, f"{path}, frame {frame}: {why}") from error
        box = None
        if scan.has_box:
            cell = np.array(scan.layout["cell"])[None]
            box = np.repeat(box_from_cell(cell[:, :3] / 10.0, cell[:, 3:]), len(frames), axis=0)
        return Frames(xyz, box)

    def topology(self, path: Path) -> mdtraj.Topology | None:
        with Lines(path) as lines:
            table = _table(lines)
            if table is None or not table.models:
                return None
            begin, end, _ = table.models[0]
            rows = _rows(lines.read(begin, end))
            kept = [rows[i] for i in _atoms(lines, table, table.models[0])]
            rest = lines.read(table.end, lines.size)
            text = lines.read(0, table.begin) + b"\n".join(kept) + b"\n#\n" + rest
        return load_text_topology(text, ".cif", path)


def _table(lines: Lines) -> _Table | None:
    names, begin = [], 0
    for start, block in lines.blocks():
        for match in _NAME.finditer(block):
            names.append(match[1].decode())
            begin = start + match.end()
    if not names:
        return None
    columns = {name: number for number, name in enumerate(names)}
    model = columns.get("pdbx_PDB_model_num")
    models: list[tuple[int, int, int]] = []
    at, first, rows, current, end = begin, begin, 0, None, lines.size
    for start, block in lines.blocks(begin):
        stop = _STOP.search(block)
        for line in _LINE.finditer(block, 0, stop.start() if stop else len(block)):
            if _is_row(line[0]):
                words = line[0].split() if model is not None else [b""]
                number = (
                    words[model] if model is not None and model < len(words) else current if model is not None else b"1"
                )
                if rows and number != current:
                    models.append((first, at, rows))
                    first, rows = at, 0
                current = number
                rows += 1
            at = start + line.end()
        if stop:
            end = start + stop.start()
            break
    if rows:
        models.append((first, at, rows))
    elif models == [] and end > begin:
        models.append((first, end, 0))
    return _Table(columns, begin, end, models)


def _is_row(line: bytes) -> bool:
    return bool(line.strip()) and not line.startswith(b"#")


def _rows(text: bytes) -> list[bytes]:
    """The lines that are rows: mdtraj puts a comment between the models."""
    return [line for line in text.splitlines() if _is_row(line)]


def _whole(lines: Lines, table: _Table) -> tuple[int, Damage | None]:
    """How many models are whole, and what is wrong with the next one."""
    models, size = table.models, lines.size
    first = models[0][2]
    for number, (begin, end, rows) in enumerate(models):
        last = number == len(models) - 1
        why = "" if rows == first else f"it has {rows} whole lines of atoms, the first one has {first}"
        if last and not why:
            stub = lines.read(end, min(table.end, end + LONGEST)).strip()
            found = _rows(lines.read(begin, end))
            if not found or len(_words(found[-1], len(table.columns))) != len(table.columns):
                why = f"line {rows} of its atoms is not whole"
            elif stub and number == 0 and not found[0].startswith(stub[:20]):
                why = f"line {rows + 1} of its atoms is not whole"
            elif stub:  # the first line of one more model
                return number + 1, Damage("torn", number + 1, end, size - end, 1, "it has no whole line of atoms")
        if why:
            return number, Damage("torn" if last else "corrupt", number, begin, size - begin, len(models) - number, why)
    return len(models), None


def _atoms(lines: Lines, table: _Table, model: tuple[int, int, int]) -> list[int]:
    """The rows of a model without alternate locations."""
    wanted = [table.columns[name] for name in _KEY if name in table.columns]
    letter = table.columns.get("label_alt_id", len(table.columns))
    rows = [_words(line, len(table.columns)) for line in _rows(lines.read(*model[:2]))]
    keys = [tuple(row[i] for i in wanted if i < len(row)) for row in rows]
    return first_locations(keys, [row[letter] if letter < len(row) else b"" for row in rows])


_QUOTED = re.compile(rb"'(?:[^']|'(?=\S))*'(?=\s|\Z)|\"(?:[^\"]|\"(?=\S))*\"(?=\s|\Z)|\S+")


def _words(line: bytes, expected: int) -> list[bytes]:
    words = line.split()
    return words if len(words) == expected else _QUOTED.findall(line)


def _cell(lines: Lines, table: _Table) -> tuple[float, ...] | None:
    """Lengths in Å and angles, None where there is no box or only the dummy of 1 Å."""
    found: dict[str, float] = {}
    for _, block in itertools.chain(lines.blocks(0, table.begin), lines.blocks(table.end)):
        if len(found) == len(_CELL):
            break
        for name in set(_CELL) - set(found):
            match = re.search(rb"^_cell\." + name.encode() + rb"\s+([-+.\deE]+)", block, re.MULTILINE)
            if match:
                found[name] = float(match[1])
    cell = tuple(found[name] for name in _CELL if name in found)
    return None if len(cell) < len(_CELL) or min(cell[:3]) <= 1.0 else cell
