"""From trajectory files to a model: mdinsight against mdtraj, MDAnalysis, deeptime and PyEMMA.

    python benchmarks/ingest.py --profile > benchmarks/ingest.md
    python benchmarks/ingest.py --quick                 # small data, fewer turns, under two minutes once the peers are installed

The peers are installed in environments of their own, in the folder of the data (``--data``; else a temporary one that is
removed), or given: ``--peers /path/to/python`` (mdtraj, MDAnalysis, deeptime), ``--pyemma /path/to/python``. Each measurement is
a fresh process; both sides take turns on the same cores. Numbers are compared as well as times. Data take 2.5 GB.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import _ingest_data as data
import _ingest_peers as peers
import _ingest_rows as rows
from _ingest_runs import Runner
from _ingest_table import Bench

HERE = Path(__file__).resolve().parent
QUICK_WITHOUT = ("cold", "features")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small data and fewer turns")
    parser.add_argument("--profile", action="store_true", help="the stages apart, below the table")
    parser.add_argument("--data", type=Path, help="folder for data and environments, kept; else a temporary one")
    parser.add_argument("--peers", type=Path, help="a Python with mdtraj, MDAnalysis and deeptime")
    parser.add_argument("--pyemma", type=Path, help="a Python with PyEMMA")
    parser.add_argument("--turns", type=int, help="turns of each measurement (3; quick: 1)")
    parser.add_argument("--cores", default="0,1", help="the two cores; the second is that of runs on one core")
    parser.add_argument("--rows", default="", help="only these, apart by commas: " + ", ".join(rows.ROWS))
    return parser.parse_args()


def main() -> None:
    given = options()
    chosen = [row for row in given.rows.split(",") if row] or [
        row for row in rows.ROWS if row not in QUICK_WITHOUT or not given.quick
    ]
    if unknown := set(chosen) - set(rows.ROWS):
        sys.exit(f"--rows: {', '.join(sorted(unknown))} not known; known are {', '.join(rows.ROWS)}")
    with tempfile.TemporaryDirectory(prefix="ingest-") as temporary:
        folder = (given.data or Path(temporary)).resolve()
        print("making the data", file=sys.stderr)
        make = [sys.executable, "-W", "ignore", data.__file__, str(folder), *["--quick"] * given.quick]
        subprocess.run(
            make, check=True, stdout=subprocess.DEVNULL
        )  # apart: OpenMM's memory, and what readers of DCD print
        files = data.make(folder, given.quick)
        print("installing the peers", file=sys.stderr)
        python = given.peers or peers.install(folder, HERE.parent / "constraints.txt")
        try:
            pyemma, why = given.pyemma or peers.install_pyemma(folder), ""
        except RuntimeError as error:
            pyemma, why = None, str(error)
        cores = [int(core) for core in given.cores.split(",")]
        runner = Runner(files, python, pyemma, cores, given.turns or (1 if given.quick else 3), folder)
        bench = Bench(runner)
        bench.head(given.quick, why)
        write(bench, chosen)
        if given.profile:
            rows.profile(bench)


def write(bench: Bench, chosen: list[str]) -> None:
    """The tables."""
    if not set(chosen).isdisjoint(rows.AGAINST_OTHERS):
        print("| work | against | cores | mdinsight, s | theirs, s | ratio | goal | | speed | numbers differ by |")
        print("|---|---|---:|---:|---:|---:|---:|---|---|---:|")
    for name, row in rows.AGAINST_OTHERS.items():
        if name in chosen:
            row(bench)
    peaks = [f"{what}: {peak:.0f} MB" for what, peak in bench.memory.items() if what.startswith(f"{rows.TICA}, ")]
    if peaks:
        print(f"\nPeak memory of the rivals ({'; '.join(peaks)}).")
    if not set(chosen).isdisjoint(rows.AGAINST_ITSELF):
        print("\n| mdinsight against itself | | measured | goal | |\n|---|---|---:|---:|---|")
    for name, row in rows.AGAINST_ITSELF.items():
        if name in chosen:
            row(bench)
    print("\n## Goals that are missed\n")
    print("\n".join(f"- {line}" for line in bench.missed) or "None.")


if __name__ == "__main__":
    main()
