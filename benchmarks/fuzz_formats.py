"""Damaged DCD and Amber NetCDF files, 100,000 of them: no crash, no hang, no silent wrong frame where the format can tell.

Small whole files are changed at random (bits, runs of bytes, cuts, bytes put in or taken out, fields of headers, garbage behind
the end) and opened and read as a user does, in a process of their own, which is watched. What is right is found by readers that
share nothing with the package: for DCD a walk from record to record, for NetCDF scipy. What is not allowed: a crash; a case that
takes longer than ten seconds; an exception that is no named one; a frame whose coordinates are not those that stand in the file;
a file with more or fewer frames than its records make, if nothing is said of it. Neither format has a checksum, so a changed
coordinate cannot be told.

    python benchmarks/fuzz_formats.py [number of cases]
"""

from __future__ import annotations

import resource
import tempfile
import warnings
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import mdtraj
import numpy as np
from _fuzz import Files, Study, flip_bits, overwrite, unexpected
from scipy.io import netcdf_file

import mdinsight as mdi
from mdinsight.errors import DataWarning, MdinsightError

SEED = 7
N_ATOMS, N_FRAMES = 22, 8
KINDS = ("bit flips", "run of bytes", "cut", "put in or taken out", "header field", "garbage appended")
ALLOWED = ("not changed", "refused", "damage told", "read as it stands in the file")
WRONG = ("crash", "hang", "other exception", "wrong coordinates", "frames missing, nothing said", "too many frames")


@dataclass(frozen=True)
class Whole:
    """A file, and how many bytes of it are header."""

    name: str
    data: bytes
    head: int


@cache
def wholes() -> tuple[Whole, ...]:
    """DCD in either byte order, with and without box, with a fourth coordinate; NetCDF of both versions, with and without."""
    xyz = np.random.default_rng(SEED).normal(0, 9, (N_FRAMES, N_ATOMS, 3)).astype(np.float32)
    found = [
        _dcd(f"DCD {order} {'box' if boxed else 'plain'}{' 4D' if fourth else ''}", xyz, order, boxed, fourth)
        for order, boxed, fourth in (("<", False, False), ("<", True, False), (">", True, False), ("<", True, True))
    ]
    for version, boxed, timed in ((1, False, True), (2, True, True), (2, False, True), (1, False, False)):
        found.append(_netcdf(f"NetCDF {version} {'box' if boxed else 'plain'}", xyz, version, boxed, timed))
    return tuple(found)


def _dcd(name: str, xyz: np.ndarray, order: str, boxed: bool, fourth: bool) -> Whole:
    integer, single, double = (np.dtype(order + kind) for kind in ("i4", "f4", "f8"))

    def record(data: bytes) -> bytes:
        mark = np.array(len(data), integer).tobytes()
        return mark + data + mark

    control = np.zeros(20, integer)
    control[[0, 1, 2, 10, 11, 19]] = len(xyz), 1, 1, boxed, fourth, 24
    control[9:10].view(single)[0] = 20.0
    head = record(b"CORD" + control.tobytes()) + record(np.array(2, integer).tobytes() + b"damage".ljust(160))
    head += record(np.array(N_ATOMS, integer).tobytes())
    cell = record(np.array([30, 90, 31, 90, 90, 32], double).tobytes()) if boxed else b""
    frames = [
        cell + b"".join(record(frame[:, axis].astype(single).tobytes()) for axis in (0, 1, 2, *([0] if fourth else [])))
        for frame in xyz
    ]
    return Whole(name, head + b"".join(frames), len(head))


def _netcdf(name: str, xyz: np.ndarray, version: int, boxed: bool, timed: bool) -> Whole:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.nc"
        with netcdf_file(str(path), "w", version=version) as file:
            file.Conventions, file.ConventionVersion = "AMBER", "1.0"
            for dim, size in (("frame", None), ("atom", N_ATOMS), ("spatial", 3), ("cell", 3)):
                file.createDimension(dim, size)
            file.createVariable("spatial", "c", ("spatial",))[:] = list("xyz")
            variables = {"time": ("f4", ("frame",), np.arange(N_FRAMES))} if timed else {}
            variables["coordinates"] = ("f4", ("frame", "atom", "spatial"), xyz)
            if boxed:
                variables["cell_lengths"] = ("f8", ("frame", "cell"), np.full((N_FRAMES, 3), 30.0))
                variables["cell_angles"] = ("f8", ("frame", "cell"), np.full((N_FRAMES, 3), 90.0))
            for key, (kind, dims, values) in variables.items():
                file.createVariable(key, kind, dims)[: len(xyz)] = values
                file.variables[key].units = {"time": "picosecond", "cell_angles": "degree"}.get(key, "angstrom")
        data = path.read_bytes()
    width = 4 * timed + 12 * N_ATOMS + 48 * boxed
    return Whole(name, data, len(data) - N_FRAMES * width)


def damaged(case: int) -> tuple[Whole, str, bytes]:
    """The file of a case, how it is changed, and what that makes of it."""
    rng = np.random.default_rng([SEED, case])
    whole = wholes()[int(rng.integers(len(wholes())))]
    kind = KINDS[int(rng.integers(len(KINDS)))]
    data = bytearray(whole.data)
    size = whole.head if rng.random() < 0.5 else len(data)  # half of the damage is to the header
    at = int(rng.integers(size))
    if kind == "bit flips":
        flip_bits(data, size, rng)
    elif kind == "run of bytes":
        overwrite(data, at, rng)
    elif kind == "cut":
        del data[at:]
    elif kind == "put in or taken out":
        count = int(rng.choice([1, 2, 3, 4, 8, 12, 88, 96, 264, 268, 288, int(rng.integers(1, 400))]))
        if rng.random() < 0.5:
            del data[at : at + count]
        else:
            begin = int(rng.integers(len(data)))
            data[at:at] = data[begin : begin + count] if rng.random() < 0.5 else rng.bytes(count)
    elif kind == "header field":
        for _ in range(int(rng.integers(1, 3))):
            at = 4 * int(rng.integers(whole.head // 4))
            numbers = [
                0,
                1,
                -1,
                3,
                4,
                84,
                N_ATOMS - 1,
                N_ATOMS + 1,
                N_FRAMES + 1,
                2**31 - 1,
                -(2**31),
                int(rng.integers(-(2**31), 2**31)),
            ]
            order = "little" if whole.name.startswith("DCD <") else "big"
            data[at : at + 4] = int(rng.choice(numbers)).to_bytes(4, order, signed=True)
    else:
        data += rng.bytes(int(rng.integers(1, 700))) if rng.random() < 0.7 else bytes(int(rng.integers(1, 700)))
    return whole, kind, bytes(data)


def expected(data: bytes, head: int) -> tuple[np.ndarray, bool] | None:
    """Coordinates in Å as they stand in the file, and whether its bytes are these frames and nothing else; None: it has none."""
    return _walked(data) if data[4:8] == b"CORD" else _of_scipy(data, head)


def _walked(data: bytes) -> tuple[np.ndarray, bool] | None:
    order = next((order for order in ("little", "big") if data[:4] == (84).to_bytes(4, order)), None)
    if order is None:
        return None
    at = 0

    def record() -> bytes | None:
        nonlocal at
        size = int.from_bytes(data[at : at + 4], order, signed=True)
        end = at + 8 + size
        if size < 0 or end > len(data) or data[end - 4 : end] != data[at : at + 4]:
            return None
        at = end
        return data[end - 4 - size : end - 4]

    control, title, count = record(), record(), record()
    if control is None or title is None or count is None or len(count) != 4:
        return None
    n_atoms = int.from_bytes(count, order, signed=True)
    numbers = np.frombuffer(control[4:], "<i4" if order == "little" else ">i4")
    boxed, fourth = (bool(numbers[19] != 0 and numbers[i] != 0) for i in (10, 11))
    frames = []
    while True:
        begin = at
        parts = [record() for _ in range(boxed + 3 + fourth)]
        if any(part is None or len(part) != (48 if boxed and i == 0 else 4 * n_atoms) for i, part in enumerate(parts)):
            return (np.array(frames).reshape(-1, max(n_atoms, 0), 3), begin == len(data))
        axes = [np.frombuffer(part, "<f4" if order == "little" else ">f4") for part in parts[boxed : boxed + 3]]
        frames.append(np.stack(axes, axis=1))


def _of_scipy(data: bytes, head: int) -> tuple[np.ndarray, bool] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = netcdf_file(BytesIO(data[:4] + bytes(4) + data[8:]), "r", mmap=False)._recsize
            there, stated = (len(data) - head) // record, int.from_bytes(data[4:8], "big", signed=True)
            count = there if stated in (0, -1) else min(there, stated)  # 0 or -1: it was never written
            file = netcdf_file(BytesIO(data[:4] + count.to_bytes(4, "big") + data[8:]), "r", mmap=False)
            whole = stated in (0, -1, count) and len(data) == head + count * record
            return np.array(file.variables["coordinates"][:]), whole
    except Exception:  # scipy says in many ways that a file makes no sense
        return None


@cache
def topology() -> mdtraj.Topology:
    """Of the atoms of every file."""
    made = mdtraj.Topology()
    residue = made.add_residue("X", made.add_chain())
    for _ in range(N_ATOMS):
        made.add_atom("C", mdtraj.element.carbon, residue)
    return made


def outcome(case: int, folder: Path) -> tuple[str, str]:
    """How a case was changed, and what became of it."""
    whole, kind, data = damaged(case)
    path = _written(whole, data, folder)
    try:
        return kind, _read(whole, data, path, np.random.default_rng([SEED, case, 1]))
    except MdinsightError:
        return kind, "refused"
    except Exception as error:
        return kind, unexpected(case, whole.name, kind, error)


def _written(whole: Whole, data: bytes, folder: Path) -> Path:
    path = folder / ("case.dcd" if whole.name.startswith("DCD") else "case.nc")
    path.write_bytes(data)
    return path


def _read(whole: Whole, data: bytes, path: Path, rng: np.random.Generator) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trajs = mdi.open(path, top=topology(), dt=1.0)
        news = [*trajs.notes, *(str(item.message) for item in caught if issubclass(item.category, DataWarning))]
        told = any("dt= overrides" not in text for text in news)  # that tells nothing of the damage
        atoms = np.sort(rng.choice(N_ATOMS, 3, replace=False))
        xyz = np.concatenate([chunk.xyz for traj in trajs for chunk in traj.iter_chunks(5)])
        part = np.concatenate([chunk.xyz for traj in trajs for chunk in traj.iter_chunks(3, atoms)])
    rows = [traj.origin.frame(row) for traj in trajs for row in range(len(traj))]
    if data == whole.data:
        return "not changed" if rows == list(range(N_FRAMES)) and not told else "frames missing, nothing said"
    right = expected(data, whole.head)
    if right is None or rows[-1] >= len(right[0]):
        return "too many frames"
    known, complete = right
    with np.errstate(all="ignore"):
        single, double = (
            known[rows].astype(np.float32) * np.float32(0.1),
            (known[rows] * np.float64(0.1)).astype(np.float32),
        )
    if not np.array_equal(xyz, single if whole.name.startswith("DCD") else double) or not np.array_equal(
        part, xyz[:, atoms]
    ):
        return "wrong coordinates"
    if told:
        return "damage told"
    return "read as it stands in the file" if complete and len(rows) == len(known) else "frames missing, nothing said"


def prepare(folder: Path) -> None:
    """Bound the memory, and read the whole files, which compiles the readers."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))
    for whole in wholes():
        path = _written(whole, whole.data, folder)
        if _read(whole, whole.data, path, np.random.default_rng(SEED)) != "not changed":
            raise RuntimeError(f"{whole.name} is not read whole")


if __name__ == "__main__":
    files = Files("Damaged DCD and NetCDF files", "damaged files", prepare, damaged, outcome)
    Study(Path(__file__), files, SEED, KINDS, ALLOWED, WRONG).main(__doc__ or "")
