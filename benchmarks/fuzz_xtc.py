"""Damaged XTC files, 100,000 of them: no crash, no hang, no silent wrong frame where the format can tell.

Small whole files are changed at random (bits, runs of bytes, cuts, pieces of other files, fields of headers), scanned and
read in a process of their own, which is watched. What is not allowed: a crash; a case that takes longer than ten seconds; an
exception that is no named one; a frame that is not changed and is missing before the first damage or differs by a bit anywhere;
a coordinate outside the ranges that its frame states. XTC has no checksum, so a changed frame whose bits still make sense
cannot be told; how many files have one is in the table, whatever else of the file was refused. Where only the first atoms are
read, the end of a frame's bits is not looked at, so a little less can be told.

    python benchmarks/fuzz_xtc.py [number of cases]
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from _fuzz import Files, Study, flip_bits, overwrite, unexpected

from mdinsight.errors import CorruptFrameError, FormatError, TrajectoryError
from mdinsight.trajectories._formats._base import Scan
from mdinsight.trajectories._formats.xtc import XTC

SEED = 5
KINDS = ("bit flips", "run of bytes", "cut", "splice", "header field")
ALLOWED = (
    "not changed",
    "other bytes, same coordinates",
    "refused whole",
    "damage told",
    "frame refused",
    "frame refused, its first atoms make sense",
    "makes sense, cannot be told",
)
"""What may become of a file; where several things do, the last of these counts."""
WRONG = ("crash", "hang", "other exception", "frame before the damage lost", "whole frame differs", "out of its range")


@dataclass(frozen=True)
class Whole:
    """A file, the byte at which each frame begins (and the end), and its coordinates."""

    name: str
    data: bytes
    offsets: list[int]
    xyz: np.ndarray

    def frames(self) -> dict[bytes, np.ndarray]:
        """Coordinates by the bytes of a frame."""
        spans = zip(self.offsets[:-1], self.offsets[1:], strict=True)
        return {self.data[a:b]: xyz for (a, b), xyz in zip(spans, self.xyz, strict=True)}


@cache
def wholes() -> tuple[Whole, ...]:
    """Files of five frames: few and many atoms, chains and water, the magic number 2023, wide integers."""
    rng = np.random.default_rng(SEED)
    chain = np.cumsum(rng.normal(0, 0.09, (5, 60, 3)), axis=1)
    water = rng.uniform(0, 3, (5, 200, 1, 3)) + rng.normal(0, 0.06, (5, 200, 3, 3))
    shapes = {
        "5 atoms": chain[:, :5],
        "60 atoms, chain": chain,
        "600 atoms, water": water.reshape(5, 600, 3),
        "60 atoms, 2023": chain,
        "60 atoms, wide": chain * 1e5,
    }
    return tuple(_write(name, xyz.astype(np.float32)) for name, xyz in shapes.items())


def _write(name: str, xyz: np.ndarray) -> Whole:
    import mdtraj

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.xtc"
        with mdtraj.formats.XTCTrajectoryFile(str(path), "w") as out:
            time_, step = np.arange(len(xyz), dtype=np.float32), np.arange(len(xyz))
            out.write(xyz, time=time_, step=step, box=np.tile(np.eye(3, dtype=np.float32) * 3, (len(xyz), 1, 1)))
        if name.endswith("2023"):
            path.write_bytes(_wide(path.read_bytes()))
        scan = XTC().scan(path)
        if scan.damage or scan.n_frames != len(xyz):
            raise RuntimeError(f"{name} is not read whole")
        frames = XTC().read(path, scan, range(scan.n_frames), None)
        return Whole(name, path.read_bytes(), scan.layout["offsets"].tolist(), frames.xyz)


def _wide(data: bytes) -> bytes:
    out, at = b"", 0
    while at < len(data):
        size = int.from_bytes(data[at + 88 : at + 92], "big")
        end = at + 92 + (size + 3) // 4 * 4
        out += (2023).to_bytes(4, "big") + data[at + 4 : at + 88] + size.to_bytes(8, "big") + data[at + 92 : end]
        at = end
    return out


def damaged(case: int) -> tuple[Whole, str, bytes]:
    """The file of a case, how it is changed, and what that makes of it."""
    rng = np.random.default_rng([SEED, case])
    whole = wholes()[int(rng.integers(len(wholes())))]
    kind = KINDS[int(rng.integers(len(KINDS)))]
    data, size = bytearray(whole.data), len(whole.data)
    if kind == "bit flips":
        flip_bits(data, size, rng)
    elif kind == "run of bytes":
        overwrite(data, int(rng.integers(size)), rng)
    elif kind == "cut":
        data = data[: int(rng.integers(size))]
    elif kind == "splice":
        other = wholes()[int(rng.integers(len(wholes())))].data if rng.random() < 0.5 else whole.data
        begin = int(rng.integers(len(other)))
        piece = other[begin : begin + int(rng.integers(1, 2000))]
        at = int(rng.integers(size))
        data[at : at + (len(piece) if rng.random() < 0.5 else int(rng.integers(0, 300)))] = piece
    else:
        for _ in range(int(rng.integers(1, 3))):
            at = whole.offsets[int(rng.integers(len(whole.offsets) - 1))] + 4 * int(rng.integers(0, 24))
            choices = [
                0,
                1,
                -1,
                2**31 - 1,
                -(2**31),
                8,
                9,
                10,
                72,
                73,
                int(rng.integers(-(2**31), 2**31)),
                int(rng.integers(0, 1000)),
            ]
            data[at : at + 4] = int(rng.choice(choices)).to_bytes(4, "big", signed=True)
    return whole, kind, bytes(data)


def outcome(case: int, folder: Path) -> tuple[str, str]:
    """How a case was changed, and what became of it."""
    whole, kind, data = damaged(case)
    path = folder / "case.xtc"
    path.write_bytes(data)
    try:
        return kind, _read(whole, data, path)
    except (CorruptFrameError, TrajectoryError, FormatError):
        return kind, "refused whole"
    except Exception as error:
        return kind, unexpected(case, whole.name, kind, error)


def _read(whole: Whole, data: bytes, path: Path) -> str:
    first = next(
        (i for i, (a, b) in enumerate(zip(whole.data, data, strict=False)) if a != b), min(len(data), len(whole.data))
    )
    before = sum(end <= first for end in whole.offsets[1:])
    try:
        scan = XTC().scan(path)
    except (TrajectoryError, FormatError):
        return "frame before the damage lost" if before else "refused whole"
    if scan.n_frames < before:
        return "frame before the damage lost"
    if not scan.n_frames:
        return "damage told"
    known, offsets = whole.frames(), scan.layout["offsets"].tolist()
    found = {"not changed" if data == whole.data else "damage told" if scan.damage else "other bytes, same coordinates"}
    for frame in range(scan.n_frames):
        content = data[offsets[frame] : offsets[frame + 1]]
        expected = known.get(content) if scan.n_atoms == whole.xyz.shape[1] else None
        found.add(
            _judge(path, scan, frame, content, expected, [] if scan.n_atoms != whole.xyz.shape[1] else list(whole.xyz))
        )
    return next(what for what in (*WRONG, *reversed(ALLOWED)) if what in found)


def _judge(
    path: Path, scan: Scan, frame: int, content: bytes, expected: np.ndarray | None, originals: list[np.ndarray]
) -> str:
    """One frame, all of it and two of its first atoms alone, whose bytes are those of ``expected`` or (None) were changed."""
    atoms = np.unique([0, scan.n_atoms // 3])
    whole, part = (_one(path, scan, frame, wanted) for wanted in (None, atoms))
    if expected is not None:
        right = whole is not None and part is not None and _equal(whole, expected) and _equal(part, expected[atoms])
        return "not changed" if right else "whole frame differs"
    if whole is None:
        silent = part is not None and not any(_equal(part, one[atoms]) for one in originals)
        return "frame refused, its first atoms make sense" if silent else "frame refused"
    if part is None or not _equal(part, whole[atoms]):
        return "whole frame differs"
    if not _in_range(content, whole):
        return "out of its range"
    same = any(_equal(whole, one) for one in originals)
    return "other bytes, same coordinates" if same else "makes sense, cannot be told"


def _one(path: Path, scan: Scan, frame: int, atoms: np.ndarray | None) -> np.ndarray | None:
    """The coordinates of a frame, None where it is refused."""
    try:
        return XTC().read(path, scan, range(frame, frame + 1), atoms).xyz[0]
    except CorruptFrameError:
        return None


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.array_equal(a.view(np.int32), b.view(np.int32))


def _in_range(content: bytes, xyz: np.ndarray) -> bool:
    """Whether the coordinates lie in the ranges that the frame states; up to nine atoms have none."""
    if len(xyz) <= 9:
        return True
    precision = np.frombuffer(content, ">f4", 1, 56)[0].astype(np.float64)
    low, high = np.frombuffer(content, ">i4", 6, 60).astype(np.float64).reshape(2, 3)
    slack = 1e-6 * np.maximum(abs(low), abs(high)) / precision
    return bool((xyz >= low / precision - slack).all() and (xyz <= high / precision + slack).all())


def prepare(folder: Path) -> None:
    """Make the whole files, which compiles the reader."""
    wholes()


if __name__ == "__main__":
    files = Files("Damaged XTC files", "damaged XTC files", prepare, damaged, outcome)
    Study(Path(__file__), files, SEED, KINDS, ALLOWED, WRONG).main(__doc__ or "")
