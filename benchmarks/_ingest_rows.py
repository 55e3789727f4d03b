"""The rows of the ingest benchmark: the work, who does it, and the goal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from _ingest_data import again
from _ingest_table import Bench, Job, Rival, Row, size

TICA = "files to TICA, 300 features"
WITH_INTERVALS = f"{TICA} with intervals"


def distance_rows(bench: Bench) -> None:
    """CA distances of the protein out of solvated XTC: 300 of them, and all pairs."""
    for count, files, longer in (
        (300, again(bench.files.xtc, 4), again(bench.files.xtc, 16)),
        (None, bench.files.xtc, again(bench.files.xtc, 4)),
    ):
        more = {"pairs": bench.pairs(count), "files": files}
        mdtraj = bench.solvated("mdtraj distances", chunk=1000, **more)
        row = Row(
            f"{len(more['pairs']):,} CA distances, solvated XTC",
            bench.solvated("mdinsight distances", **more),
            (Rival("mdtraj", mdtraj, 10, 10), Rival("mdtraj, 2 processes", mdtraj | {"processes": 2})),
            "frames",
            bench.frames(files, bench.files.top),
            size(files) * bench.files.n_protein / bench.files.n_atoms,
            longer=bench.solvated("mdinsight distances", **more | {"files": longer}),
        )
        bench.measure(row, 1)
        bench.measure(row, 2)


def cold_row(bench: Bench) -> None:
    """The same, the files not in the file cache."""
    pairs = bench.pairs(300)
    row = Row(
        "300 CA distances, files not in the file cache",
        bench.solvated("mdinsight distances", pairs=pairs),
        (Rival("mdtraj", bench.solvated("mdtraj distances", pairs=pairs, chunk=1000)),),
        "frames",
        bench.frames(bench.files.xtc, bench.files.top),
        size(bench.files.xtc) * bench.files.n_protein / bench.files.n_atoms,
        cold=True,
    )
    bench.measure(row, 2)


def read_rows(bench: Bench) -> None:
    """All atoms of the solvated XTC."""
    files = bench.files.xtc[:2]
    mdtraj = bench.solvated("mdtraj read", files=files, chunk=50)
    row = Row(
        "all atoms, solvated XTC",
        bench.solvated("mdinsight read", files=files),
        (
            Rival("mdtraj", mdtraj, 1, 2),
            Rival("MDAnalysis", bench.solvated("MDAnalysis read", files=files), 1, 2),
            Rival("mdtraj, 2 processes", mdtraj | {"processes": 2}),
        ),
        "million atoms",
        bench.frames(files, bench.files.top) * bench.files.n_atoms / 1e6,
        size(files),
        longer=bench.solvated("mdinsight read", files=again(files, 4)),
    )
    bench.measure(row, 1)
    bench.measure(row, 2)


def dcd_rows(bench: Bench) -> None:
    """The first 5 % of the atoms of a DCD."""
    atoms = np.arange(bench.files.n_atoms // 20)
    files = again(bench.files.dcd, 8)
    more = {"files": files, "warm": bench.runner.warm["dcd"], "atoms": atoms}
    n_frames = size(files) // (12 * bench.files.n_atoms)
    row = Row(
        "DCD, 5 % of atoms",
        bench.solvated("mdinsight read", **more),
        (Rival("mdtraj", bench.solvated("mdtraj read", chunk=1500, **more), 5, 5),),
        "frames",
        n_frames,
        n_frames * len(atoms) * 12,
        longer=bench.solvated("mdinsight read", **more | {"files": again(bench.files.dcd, 32)}),
    )
    bench.measure(row, 1)
    bench.measure(row, 2)


def contact_rows(bench: Bench) -> None:
    """Closest heavy atoms of 200 pairs of residues, and of all pairs of 200 residues; frames in memory."""
    residues = list(bench.topology.residues)[: min(200, bench.files.n_residues)]
    rows, columns = np.triu_indices(len(residues), 1)
    every = np.column_stack([rows, columns])
    some = every[np.linspace(0, len(every) - 1, 200).astype(int)]
    heavy = [sum(atom.element.symbol != "H" for atom in residue.atoms) for residue in residues]
    for pairs, count, chunk in ((some, 4000, 1000), (every, 400, 50)):
        more = {"pairs": pairs, "atoms": np.arange(bench.files.n_protein), "frames_in_memory": count}
        row = Row(
            f"contacts of {len(pairs):,} residue pairs",
            bench.solvated("mdinsight contacts", **more),
            (Rival("mdtraj", bench.solvated("mdtraj contacts", chunk=chunk, **more), 5, 5),),
            "million atom pairs",
            count * sum(heavy[i] * heavy[j] for i, j in pairs.tolist()) / 1e6,
            0.0,
            longer=bench.solvated("mdinsight contacts", **more | {"frames_in_memory": 4 * count}),
        )
        bench.measure(row, 1)
        bench.measure(row, 2)


def feature_rows(bench: Bench) -> None:
    """The features that TICA is fitted on, in memory."""
    mdtraj = bench.walks("mdtraj features", chunk=1000)
    row = Row(
        "files to 300 features in memory",
        bench.walks("mdinsight features"),
        (Rival("mdtraj", mdtraj), Rival("mdtraj, 2 processes", mdtraj | {"processes": 2})),
        "frames",
        bench.frames(bench.files.once, bench.files.cage_top),
        size(bench.files.once),
    )
    bench.measure(row, 1)
    bench.measure(row, 2)


def tica_rows(bench: Bench) -> None:
    """Files to TICA."""
    mdtraj = bench.walks("mdtraj tica", chunk=1000)
    rivals = [
        Rival("mdtraj + deeptime", mdtraj, 5, 5),
        Rival("mdtraj in 2 processes + deeptime", mdtraj | {"processes": 2}),
    ]
    if bench.runner.pyemma is not None:
        rivals.insert(1, Rival("PyEMMA's `source`", bench.walks("PyEMMA tica", chunk=1000), 3, 3))
    row = Row(
        TICA,
        bench.walks("mdinsight tica"),
        tuple(rivals),
        "frames",
        bench.frames(bench.files.once, bench.files.cage_top),
        size(bench.files.once),
    )
    bench.measure(row, 1)
    bench.measure(row, 2)
    usual = bench.walks("mdinsight tica", bootstrap=100)
    row = replace(row, title=WITH_INTERVALS, ours=usual, rivals=(Rival("mdtraj + deeptime", mdtraj),))
    bench.measure(row, 1)
    bench.measure(row, 2)


# --- mdinsight against itself ---------------------------------------------------------------------------------------


def memory_rows(bench: Bench) -> None:
    """Peak memory of fresh processes at one, two and four times the frames."""
    for n_cores in (1, 2):
        peaks = [bench.runner.once(bench.walks("mdinsight tica", n), n_cores)[0]["memory"] for n in (1, 2, 4)]
        cores = f"{n_cores} core{'s' * (n_cores > 1)}"
        said = ", ".join(f"{peak:.0f} MB at {n}x" for peak, n in zip(peaks, (1, 2, 4), strict=True))
        growth = 100 * (max(peaks[1:]) / peaks[0] - 1)
        bench.itself(f"peak memory of files to TICA, {cores}", said, f"{growth:+.0f} %", growth, "≤ 10 %", growth <= 10)
        bench.itself(
            f"the same, {cores}", "the largest", f"{max(peaks):.0f} MB", max(peaks), "≤ 600 MB", max(peaks) <= 600
        )


def cache_rows(bench: Bench) -> None:
    """The second run on the cache."""
    for n_cores in (1, 2):
        runs = [
            bench.runner.once(bench.walks("mdinsight cache"), n_cores)[0]["took"] for _ in range(bench.runner.turns)
        ]
        best = np.min(runs, axis=0)
        for name, first, second in (("files to 300 features", best[0], best[1]), (WITH_INTERVALS, best[2], best[3])):
            what = f"second run on the cache, {name}, {n_cores} core{'s' * (n_cores > 1)}"
            ratio = first / second
            bench.itself(what, f"{first:.3g} s, then {second:.3g} s", f"{ratio:.1f}", ratio, "≥ 20", ratio >= 20)


def scaling_rows(bench: Bench) -> None:
    """One core and two, in turn, beside what the machine gives two processes that know nothing of each other."""
    for title, job in bench.jobs.items():
        one, two = bench.runner.one_and_two(job, bench.runner.turns + 2)
        both = bench.runner.side_by_side(job)
        said = (
            f"{one:.3g} s, then {two:.3g} s; two processes at once, each the same work on a core of its own: {both:.2f}"
        )
        bench.itself(f"1 to 2 cores: {title}", said, f"{one / two:.2f}", one / two, "≥ 1.8", one / two >= 1.8)


AGAINST_OTHERS: dict[str, Callable[[Bench], None]] = {
    "distances": distance_rows,
    "cold": cold_row,
    "read": read_rows,
    "dcd": dcd_rows,
    "contacts": contact_rows,
    "features": feature_rows,
    "tica": tica_rows,
}
AGAINST_ITSELF: dict[str, Callable[[Bench], None]] = {
    "memory": memory_rows,
    "cache": cache_rows,
    "scaling": scaling_rows,
}
ROWS = AGAINST_OTHERS | AGAINST_ITSELF


# --- the stages apart -----------------------------------------------------------------------------------------------


def profile(bench: Bench) -> None:
    """Where the time goes, on one core."""
    print("\n## Where the time goes (one core, stages run apart, one after the other)\n")
    print("| work | stage | mdinsight, s | mdtraj (+ deeptime), s |\n|---|---|---:|---:|")
    pairs = bench.pairs(300)
    ours = _best(bench, bench.solvated("mdinsight stages", pairs=pairs))
    atoms = np.unique(pairs)
    theirs = _differences(
        bench,
        [
            bench.solvated("mdtraj read", atoms=atoms, chunk=1000),
            bench.solvated("mdtraj distances", pairs=pairs, chunk=1000),
        ],
    )
    _stages(bench, "300 CA distances, solvated XTC", ours["stages"], theirs)
    ours = _best(bench, bench.walks("mdinsight stages"))
    works = ("mdtraj read", "mdtraj features", "mdtraj tica")
    theirs = _differences(bench, [bench.walks(work, chunk=1000) for work in works])
    _stages(bench, TICA, ours["stages"], theirs)
    single, double = ours["product"]["float32"], ours["product"]["float64"]
    before = ours["stages"]["open"] + ours["stages"]["read"] + ours["stages"]["features"]
    goal = sum(theirs) / 5
    print(
        f"\nOne product X'X of these 300 columns takes the BLAS {double:.2f} s in float64 and {single:.2f} s in float32 on this "
        f"core. TICA's sums take 1.25 of them, {1.25 * double:.2f} s; two without folding, {2 * double:.2f} s. For five times "
        f"mdtraj + deeptime all must end in {goal:.2f} s, of which opening, reading and features leave {goal - before:.2f} s."
    )


def _best(bench: Bench, job: Job) -> Job:
    """The stages of the run that took least in all."""
    return min(
        (bench.runner.once(job, 1)[0] for _ in range(bench.runner.turns)), key=lambda r: sum(r["stages"].values())
    )


def _differences(bench: Bench, jobs: list[Job]) -> list[float]:
    seconds = [run.seconds for run in bench.runner.in_turn(jobs, 1)]
    return [seconds[0], *np.diff(seconds)]


def _stages(bench: Bench, title: str, ours: dict[str, float], theirs: list[float]) -> None:
    names = {"read": 0, "features": 1, "moments and TICA": 2}
    total, other = sum(ours.values()), sum(theirs)
    for stage, seconds in ours.items():
        beside = theirs[names[stage]] if stage in names else None
        cell = "" if beside is None else f"{beside:.3g} ({100 * beside / other:.0f} %)"
        bench.line(title, stage, f"{seconds:.3g} ({100 * seconds / total:.0f} %)", cell)
