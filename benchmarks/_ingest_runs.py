"""Fresh processes in turn, and whether their numbers agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _ingest_data as data
import numpy as np

HERE = Path(__file__).resolve().parent
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Timed:
    """One contender's runs of one job: the best time, all times, what it said in its last run."""

    work: str
    seconds: float
    all: tuple[float, ...]
    said: dict[str, Any]
    probe: np.ndarray | None


@dataclass
class Runner:
    """Runs jobs; knows the data, the environments and the cores."""

    files: data.Files
    peers: Path
    pyemma: Path | None
    cores: list[int]
    turns: int
    folder: Path
    warm: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.warm = data.warm(self.files)

    def in_turn(self, jobs: list[dict[str, Any]], n_cores: int, cold: bool = False, turns: int = 0) -> list[Timed]:
        """All jobs in turn, ABAB; the best of each."""
        runs: list[list[tuple[dict[str, Any], np.ndarray | None]]] = [[] for _ in jobs]
        for _ in range(turns or self.turns):
            for job, row in zip(jobs, runs, strict=True):
                if cold:
                    forget(job["files"])
                row.append(self.once(job, n_cores))
        found = []
        for job, row in zip(jobs, runs, strict=True):
            seconds = tuple(said["seconds"] for said, _ in row)
            found.append(Timed(job["work"], min(seconds), seconds, *row[-1]))
        return found

    def one_and_two(self, job: dict[str, Any], turns: int) -> tuple[float, float]:
        """The best times of a job on one core and on all, in turn."""
        runs = [[self.once(job, n_cores)[0]["seconds"] for n_cores in (1, len(self.cores))] for _ in range(turns)]
        one, two = np.min(runs, axis=0).tolist()
        return one, two

    def once(self, job: dict[str, Any], n_cores: int) -> tuple[dict[str, Any], np.ndarray | None]:
        """One job in a fresh process."""
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            process = self.start(job, self.cores[-n_cores:], Path(scratch))
            said = finish(process, job)
            file = Path(scratch) / "probe.npy"
            return said, np.load(file) if file.exists() else None

    def start(self, job: dict[str, Any], cores: list[int], scratch: Path) -> subprocess.Popen[str]:
        """The process of a job."""
        who = job["work"].split()[0]
        python = {"mdinsight": Path(sys.executable), "PyEMMA": self.pyemma}.get(who, self.peers)
        script = HERE / ("_ingest_ours.py" if who == "mdinsight" else "_ingest_peers.py")
        (scratch / "job.json").write_text(json.dumps(job | {"probe": str(scratch / "probe.npy")}, default=_plain))
        threads = 1 if job.get("processes", 1) > 1 else len(cores)
        env = os.environ | dict.fromkeys(THREADS, str(threads))
        env |= {"MDINSIGHT_CACHE": str(scratch / "cache"), "PYTHONWARNINGS": "ignore"}
        if who == "PyEMMA":
            env["HOME"] = str(scratch)  # where it keeps a data base of the lengths of files that it has seen
        if who == "mdinsight":
            env["PYTHONPATH"] = str(HERE.parent)
        else:
            env.pop("PYTHONPATH", None)
        command = ["taskset", "-c", ",".join(map(str, cores)), str(python), str(script), str(scratch / "job.json")]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def side_by_side(self, job: dict[str, Any]) -> float:
        """How much more work two processes do at once, each on a core of its own, than one: what the machine allows."""
        alone = min(self.once(job, 1)[0]["seconds"] for _ in range(2))
        together = []
        for _ in range(2):
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                folders = [Path(scratch) / str(core) for core in self.cores]
                for folder in folders:
                    folder.mkdir()
                both = [self.start(job, [c], f) for c, f in zip(self.cores, folders, strict=True)]
                together.append(max(finish(process, job)["seconds"] for process in both))
        return len(self.cores) * alone / min(together)


def finish(process: subprocess.Popen[str], job: dict[str, Any]) -> dict[str, Any]:
    """What a process said."""
    out, errors = process.communicate()
    if process.returncode:
        sys.exit(f"{job['work']} failed:\n{errors[-3000:]}")
    said: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return said


def _plain(value: Any) -> Any:
    return value.tolist()


def forget(files: list[str]) -> None:
    """Have the system drop what it holds of the files, so that they come from the disk."""
    os.sync()
    for file in files:
        with open(file, "rb") as handle:
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def touch(files: list[str]) -> float:
    """Read the files as they are; bytes per second."""
    buffer, size = bytearray(1 << 22), 0
    start = time.perf_counter()
    for file in files:
        with open(file, "rb", buffering=0) as handle:
            while got := handle.readinto(buffer):
                size += got
    return size / (time.perf_counter() - start)


def limits(files: data.Files) -> dict[str, float]:
    """Bytes per second of the disk, of the file cache and of memory, on one core; of memory also when it is first used."""
    first, again = _filled(), max(_filled() for _ in range(3))
    forget(files.xtc)
    disk = touch(files.xtc)
    cached = max(touch(files.xtc) for _ in range(3))
    block = np.ones(1 << 26, np.float32)
    other = np.empty_like(block)
    np.copyto(other, block)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(other, block)
        seconds.append(time.perf_counter() - start)
    return {"disk": disk, "cached": cached, "memory": block.nbytes / min(seconds), "first": first, "again": again}


def _filled() -> float:
    """Bytes per second of filling 1 GB of new memory."""
    start = time.perf_counter()
    block = np.ones(1 << 28, np.float32)
    return block.nbytes / (time.perf_counter() - start)


def difference(ours: Timed, theirs: Timed) -> str:
    """The largest difference of the numbers of two contenders; stops the benchmark where it is too large.

    Raises
    ------
    SystemExit
        If features differ by more than 1e-6 (of them, where they are above 1) or timescales by more than 1e-4 of them.
    """
    if "timescales" in ours.said:
        a, b = (np.array(side.said["timescales"][:2]) for side in (ours, theirs))
        worst = float(np.abs(a / b - 1).max())
        if not worst <= 1e-4:
            sys.exit(f"{theirs.work}: timescales {b.tolist()}, mdinsight has {a.tolist()}")
        return f"{worst:.0e} of the timescales"
    if ours.probe is None or theirs.probe is None or ours.said["rows"] != theirs.said["rows"]:
        sys.exit(f"{theirs.work}: rows {theirs.said.get('rows')}, mdinsight has {ours.said.get('rows')}")
    ordered = theirs.probe
    if "columns" in ours.said:
        place = {name: i for i, name in enumerate(theirs.said["columns"])}
        ordered = ordered[:, [place[name] for name in ours.said["columns"]]]
    worst = float((np.abs(ours.probe - ordered) / np.maximum(1.0, np.abs(ordered))).max())  # float32, up to 7 nm
    if not worst <= 1e-6:
        sys.exit(f"{theirs.work}: differs from mdinsight by up to {worst:.3g}")
    return f"{worst:.0e}"
