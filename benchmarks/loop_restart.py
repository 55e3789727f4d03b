"""Runs of the loop that are killed with SIGKILL over and over: ``python benchmarks/loop_restart.py [runs]``.

Each run has all kinds of round, in a few seconds, on the Reference platform. It is killed at a random moment, or at a random
instant of something short (a commit, the start of workers); resumed; killed again, until it is done. In the end every file of
it, but the lock, has to have the bytes that it has in a run that was never killed.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
os.environ["PYTHONWARNINGS"] = "ignore"
ROOT = Path(__file__).parents[1]
os.environ["PYTHONPATH"] = str(ROOT)
sys.path[:0] = [str(ROOT), str(ROOT / "tests/adaptive")]

import loop_tasks as loop  # noqa: E402

# part of the runs, worker processes, who is killed, latest moment in s, most kills of a run
KINDS = (
    (0.5, 1, "group", 0.5, 40),
    (0.2, 2, "group", 4.0, 5),
    (0.2, 2, "parent", 4.0, 5),
    (0.1, 2, "worker", 4.0, 1),
)
WHO = {"group": "all processes", "parent": "the parent alone", "worker": "workers alone"}


def main() -> None:
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    columns = [*loop.MOMENTS, "the same bytes"]
    print("| processes | killed | runs | kills |", " | ".join(columns), "|")
    print("|---:|---|---:|---:|" + "---:|" * len(columns))
    began, plan, sums, seed = time.monotonic(), loop.tiny(), Counter[str](), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.waitpid(loop.forked(lambda: loop.advance(folder / "peace", plan)), 0)[1] != 0:
            sys.exit("the run that is not killed failed")
        peace = loop.content(folder / "peace")
        for part, workers, who, latest, most in KINDS:
            counts: Counter[str] = Counter(runs=max(1, round(part * total)))
            for _ in range(counts["runs"]):
                seed += 1
                run = folder / f"run-{seed}"
                for kill in loop.kill_until_done(run, plan, workers, who, random.Random(seed), latest, most):
                    counts.update(kill["moments"])
                    counts["kills"] += len(kill["moments"])
                    if not kill["whole"]:
                        sys.exit(f"{run} is damaged: {kill}")
                counts["the same bytes"] += loop.content(run) == peace
            _row(1 if workers == 1 else f"1 + {workers}", WHO[who], counts, columns)
            sums += counts
    _row("", "all", sums, columns)
    files = f"{len(peace)} files in {sum(name.endswith('MANIFEST.json') for name in peace)} folders"
    print(f"\nA run never killed has {files}; {time.monotonic() - began:.0f} s in all.")


def _row(workers: object, who: str, counts: Counter[str], columns: list[str]) -> None:
    same = f"{counts['the same bytes']} of {counts['runs']}"
    cells = [*(counts[column] for column in columns[:-1]), same]
    print(f"| {workers} | {who} | {counts['runs']} | {counts['kills']} |", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
