"""How the ingest benchmark measures a row and prints it."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from _ingest_data import describe
from _ingest_runs import Runner, Timed, difference, limits

from mdinsight.features import Distances, Torsions

Job = dict[str, Any]

HOW = """\
Each time is the best of {turns} fresh processes, in turn with the rivals' (ABAB), held to the same cores, with as many threads as
cores; in brackets the slowest. It begins after the imports, with the topology loaded, and after the same work on a few frames.
Files are in the file cache; mdinsight's own cache and index are empty. Rivals read only the atoms needed, float32, in chunks of
the size that was best for them; "2 processes" is file beside file; on two cores a rival's time is the better of its times on one
and on two. Rows of 300 distances and of DCD take the same files 4 and 8 times by hard links. The others give no intervals
of TICA, so it is fitted without; with "with intervals", as in the rows of the cache, it is the default fit, 100 resamplings.
The script stops where numbers differ by more than 1e-6 (features) or a part in 10,000 (timescales)."""
LIMITS = """\
Limits of this machine, one core: files from the disk {disk:.2g} GB/s, from the file cache {cached:.2g} GB/s, memory copied at
{memory:.2g} GB/s, new memory filled at {again:.2g} GB/s, and at {first:.2g} GB/s where no process had it for a while.
"Speed" is mdinsight's, per second; its MB are those bytes of the files that hold the atoms needed, in brackets their share of
the file cache's speed (or of the disk's)."""


@dataclass(frozen=True)
class Rival:
    """Who else does the work, and what ratio to it is the goal on one core and on two."""

    name: str
    job: Job
    one: float | None = None
    two: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of work."""

    title: str
    ours: Job
    rivals: tuple[Rival, ...]
    unit: str
    amount: float  # of units in the work
    bytes: float  # of the files that have to be looked at; 0 where none are
    cold: bool = False
    longer: Job | None = None  # four times as much of the same, for the scaling of what is short


def size(files: list[str]) -> int:
    """Bytes in files."""
    return sum(Path(file).stat().st_size for file in files)


class Bench:
    """What was measured so far; prints as it goes."""

    def __init__(self, runner: Runner) -> None:
        self.runner, self.files = runner, runner.files
        self.limits = limits(self.files)
        self.jobs: dict[str, Job] = {}  # by title, for the scaling
        self.missed: list[str] = []
        self.theirs: dict[tuple[str, str], float] = {}  # seconds on one core
        self.memory: dict[str, float] = {}
        self.topology = mdtraj.load_topology(self.files.top)
        self.cage = mdtraj.load_topology(self.files.cage_top)

    def solvated(self, work: str, **more: Any) -> Job:
        """A job on the solvated XTC."""
        files = {"files": self.files.xtc, "warm": self.runner.warm["xtc"], "top": self.files.top}
        return {"work": work} | files | more

    def walks(self, work: str, times: int = 1, **more: Any) -> Job:
        """A job on Trp-cage: 300 features, lag 10 frames. All directions are kept, or the packages keep different ones."""
        files = self.files.cage[: times * self.files.cage_once]
        n_torsions = len(Torsions("phi psi chi").bind(self.cage).columns)
        pairs = [c.atoms for c in Distances("name CA", exclude=2).bind(self.cage).columns]
        base = {"files": files, "warm": self.runner.warm["cage"], "top": self.files.cage_top}
        return base | {"work": work, "pairs": pairs[: 300 - n_torsions], "lag": 10, "dim": 2, "epsilon": 1e-12} | more

    def pairs(self, count: int | None) -> np.ndarray:
        """So many pairs of CA atoms, spread over all of them."""
        carbons = self.topology.select("protein and name CA")
        rows, columns = np.triu_indices(len(carbons), 1)
        chosen = np.arange(len(rows)) if count is None else np.linspace(0, len(rows) - 1, count).astype(int)
        return np.column_stack([carbons[rows[chosen]], carbons[columns[chosen]]])

    def frames(self, files: list[str], top: str) -> int:
        """Frames in XTC files."""
        total = 0
        for file in files:
            with mdtraj.open(file) as handle:
                total += len(handle)
        return total

    def measure(self, row: Row, n_cores: int) -> None:
        """Measure a row on so many cores and print a line for each rival."""
        rivals = [r for r in row.rivals if n_cores > 1 or r.job.get("processes", 1) == 1]
        found = self.runner.in_turn([row.ours, *(r.job for r in rivals)], n_cores, row.cold)
        ours = found[0]
        if not row.cold:
            self.jobs[row.title] = row.ours
            if row.longer is not None:
                self.jobs[f"{row.title}, four times as much"] = row.longer
        speed = f"{row.amount / ours.seconds:,.0f} {row.unit}/s"
        if row.bytes:
            limit = self.limits["disk" if row.cold else "cached"]
            speed += f"; {row.bytes / ours.seconds / 1e6:,.0f} MB/s ({100 * row.bytes / ours.seconds / limit:.2g} %)"
        for rival, theirs in zip(rivals, found[1:], strict=True):
            least = self.theirs.setdefault((row.title, rival.name), theirs.seconds)
            seconds = min(least, theirs.seconds)  # the threads of a BLAS may cost more than they bring
            ratio, goal = seconds / ours.seconds, rival.one if n_cores == 1 else rival.two
            self.memory[f"{row.title}, {rival.name}, {n_cores}"] = theirs.said["memory"]
            where = f"{row.title}, {n_cores} core{'s' * (n_cores > 1)}, against {rival.name}"
            self.line(
                row.title,
                rival.name,
                str(n_cores),
                _seconds(ours, ours.seconds),
                _seconds(theirs, seconds),
                f"{ratio:.2f}",
                "" if goal is None else f"≥ {goal:g}",
                self.judge(where, f"{ratio:.2f}", f"≥ {goal}", None if goal is None else ratio >= goal),
                speed,
                difference(ours, theirs),
            )

    def itself(self, what: str, said: str, value: str, _: float, goal: str, reached: bool) -> None:
        """A line of mdinsight against itself."""
        self.line(what, said, value, goal, self.judge(what, value, goal, reached) if goal else "")

    def judge(self, what: str, value: str, goal: str, reached: bool | None) -> str:
        """Whether a goal is reached, as it stands in the table; what misses is kept for the end."""
        if reached is None:
            return ""
        if not reached:
            self.missed.append(f"{what}: {value}, goal {goal}")
        return "passes" if reached else "**misses**"

    def line(self, *cells: str) -> None:
        """A line of a table."""
        print("| " + " | ".join(cells) + " |", flush=True)

    def head(self, quick: bool, no_pyemma: str) -> None:
        """What was measured, with what, on what."""
        limits = {name: value / 1e9 for name, value in self.limits.items()}
        print("# Ingest: from trajectory files to a model\n")
        machine = f"{cpu()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
        ours = f"mdinsight {version('mdinsight')}, numba {version('numba')}"
        them = ", ".join(f"{name} {release}" for name, release in self.versions().items())
        load = f"load when it began {os.getloadavg()[0]:.1f}"
        print(f"{machine}, {ours}; against {them}, in environments of their own; {load}.\n")
        if quick:
            print("**`--quick`: small data, where the work before the first frame counts as much as the frames.**\n")
        print(describe(self.files) + "\n")
        print(HOW.format(turns=self.runner.turns) + "\n")
        print(LIMITS.format(**limits) + "\n")
        if no_pyemma:
            print(f"PyEMMA could not be installed ({no_pyemma}); its rows are missing.\n")

    def versions(self) -> dict[str, str]:
        """Releases of the rivals."""
        script = "import importlib.metadata as m, sys\nprint(*(m.version(name) for name in sys.argv[1:]))"
        found = {}
        for python, names in (
            (self.runner.peers, ("mdtraj", "MDAnalysis", "deeptime")),
            (self.runner.pyemma, ("PyEMMA",)),
        ):
            if python is not None:
                said = subprocess.run([str(python), "-c", script, *names], capture_output=True, text=True, check=True)
                found.update(zip(names, said.stdout.split(), strict=True))
        return found


def _seconds(run: Timed, best: float) -> str:
    return f"{best:.3g} ({max(run.all):.3g})"


def cpu() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()
