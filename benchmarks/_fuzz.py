"""Damaged files, read one after the other in a process that is watched, and the table of what became of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Counts = Counter[tuple[str, str]]
"""How many files, by how they were changed and what became of them."""
LIMIT = 10.0
"""Seconds that one case may take."""
_BLOCK = 100


@dataclass(frozen=True)
class Files:
    """What is damaged, by number: ``damaged`` tells the whole file, how it is changed and what that makes of it.

    ``prepare`` is called once in a process, before its first case: what it compiles and writes counts for none of them.
    """

    title: str
    name: str
    prepare: Callable[[Path], None]
    damaged: Callable[[int], tuple[Any, str, bytes]]
    outcome: Callable[[int, Path], tuple[str, str]]


@dataclass(frozen=True)
class Study:
    """A script: ``allowed`` and ``wrong`` are what may and may not become of a file changed in one of ``kinds``."""

    script: Path
    files: Files
    seed: int
    kinds: tuple[str, ...]
    allowed: tuple[str, ...]
    wrong: tuple[str, ...]

    def main(self, doc: str) -> None:
        """What the script does: the number of cases is its first word; without one the table is written."""
        if sys.argv[1:2] == ["--child"]:
            self._child(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), json.loads(sys.argv[5]))
            return
        n_cases = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            text = self._table(self._watched(n_cases, Path(folder)), n_cases)
        print(text)
        if len(sys.argv) == 1:
            told = doc.split("\n\n    python")[0].split("\n\n", 1)[1]
            head = f"# {self.files.title}\n\n{told}\n\n`python benchmarks/{self.script.name}`: "
            self.script.with_suffix(".md").write_text(head + text)

    def _child(self, first: int, last: int, folder: Path, skipped: list[int]) -> None:
        """Run cases in this process. The one under way stands in one file, what the ones before became in another."""
        self.files.prepare(folder)
        counts: Counts = Counter()
        with (folder / "now").open("wb", buffering=0) as now:
            for case in range(first, last):
                if (case - first) % _BLOCK == 0:
                    _note(folder, case, counts)
                if case not in skipped:
                    os.pwrite(now.fileno(), b"%12d" % case, 0)
                    counts[self.files.outcome(case, folder)] += 1
        _note(folder, last, counts)

    def _watched(self, n_cases: int, folder: Path) -> Counts:
        """Run all cases in a process that may die or be killed; then the case that was under way counts, and the rest goes on."""
        total: Counts = Counter()
        at, skipped = 0, []
        while at < n_cases:
            for name in ("now", "counts"):
                (folder / name).unlink(missing_ok=True)
            words = [sys.executable, self.script, "--child", str(at), str(n_cases), str(folder), json.dumps(skipped)]
            why = _wait(subprocess.Popen(words), folder)
            if not (folder / "counts").exists():
                raise RuntimeError("the process that runs the cases does not begin")
            reached, counts = json.loads((folder / "counts").read_text())
            for kind, what, n in counts:
                total[kind, what] += n
            at = reached
            if why:
                case = int((folder / "now").read_bytes())
                print(f"case {case}: {why}", file=sys.stderr)
                total[self.files.damaged(case)[1], why] += 1
                skipped.append(case)
        return total

    def _table(self, counts: Counts, n_cases: int) -> str:
        lines = ["| | " + " | ".join(self.kinds) + " | all |", "|---" + "|---:" * (len(self.kinds) + 1) + "|"]
        for what in (*self.allowed, *self.wrong):
            row = [counts[kind, what] for kind in self.kinds]
            lines.append(f"| {what} | " + " | ".join(f"{n:,}" for n in [*row, sum(row)]) + " |")
        bad = sum(n for (_, what), n in counts.items() if what in self.wrong)
        return (
            f"{n_cases:,} {self.files.name}, seed {self.seed}; {bad} of them went wrong.\n\n" + "\n".join(lines) + "\n"
        )


def _note(folder: Path, case: int, counts: Counts) -> None:
    (folder / "new").write_text(json.dumps([case, [[*key, n] for key, n in counts.items()]]))
    os.replace(folder / "new", folder / "counts")


def _wait(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Wait for the end of a process; says whether it crashed or had to be killed as one case took too long."""
    before, since = b"", time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        now = (folder / "now").read_bytes() if (folder / "now").exists() else b""
        if now != before or not now:  # compiling, before the first case, takes as long as it takes
            before, since = now, time.monotonic()
        if time.monotonic() - since > LIMIT:
            process.kill()
            process.wait()
            return "hang"
    return "crash" if process.returncode else ""


def flip_bits(data: bytearray, size: int, rng: np.random.Generator) -> None:
    """One to eight of the first ``size`` bytes' bits."""
    for bit in rng.integers(0, 8 * size, int(rng.integers(1, 9))).tolist():
        data[bit // 8] ^= 1 << bit % 8


def overwrite(data: bytearray, at: int, rng: np.random.Generator) -> None:
    """Up to 64 bytes from ``at`` on: random ones, zeros or ones all of whose bits are set."""
    count = int(rng.integers(1, 65))
    run = rng.bytes(count) if rng.random() < 0.6 else bytes([int(rng.choice([0, 255]))]) * count
    data[at : at + count] = run[: len(data) - at]


def unexpected(case: int, name: str, kind: str, error: Exception) -> str:
    """Tell of an error that is no named one."""
    print(f"case {case}, {name}, {kind}: {type(error).__name__}: {error}", file=sys.stderr)
    return "other exception"
