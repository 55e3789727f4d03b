"""From trajectory files to a Markov model: mdinsight against the script that one would write with mdtraj and deeptime.

    python benchmarks/analyze.py > benchmarks/analyze.md

Both compute phi and psi as sine and cosine, TICA, k-means and a reversible maximum-likelihood model, at the same lag and with the
same number of states, in turn, in one process; the table gives the best of several runs and the ratio.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path

import deeptime
import mdtraj
import numpy as np
from deeptime.decomposition import TICA
from deeptime.markov import TransitionCountEstimator
from deeptime.markov.msm import MaximumLikelihoodMSM
from sklearn.cluster import KMeans

import mdinsight as mdi

EXAMPLES = Path(__file__).resolve().parent.parent / "example_trajs"
LAG, STATES, RUNS = 5, 100, 5


def by_hand(files: list[str], top: str) -> float:
    """The slowest timescale in frames, with mdtraj, deeptime and scikit-learn."""
    X = []
    for file in files:
        frames = mdtraj.load(file, top=top)
        angles = np.hstack([mdtraj.compute_phi(frames)[1], mdtraj.compute_psi(frames)[1]])
        X.append(np.hstack([np.cos(angles), np.sin(angles)]))
    estimator = TICA(lagtime=LAG, dim=2, scaling="kinetic_map")
    model = estimator.fit(X).fetch_model()
    Y = [model.transform(x) for x in X]
    clusters = KMeans(STATES, n_init=1, random_state=7).fit(np.concatenate(Y))
    dtrajs = [clusters.predict(y) for y in Y]
    counts = TransitionCountEstimator(LAG, "sliding").fit_fetch(dtrajs).submodel_largest()
    return float(MaximumLikelihoodMSM(reversible=True).fit_fetch(counts).timescales(k=1)[0])


def with_mdinsight(files: list[str], top: str) -> float:
    """The same with mdinsight, nothing cached."""
    X = mdi.features.Torsions("phi psi").transform(mdi.open(files, top=top), cache=False)
    Y = mdi.cvs.TICA(lag=LAG, dim=2).fit_transform(X)
    dtrajs = mdi.states.KMeans(STATES, seed=7).fit_transform(Y)
    return float(mdi.msm.MaximumLikelihoodMSM(LAG).fit(dtrajs).model.timescales(1).value[0] / X.dt)


def main() -> None:
    print("# From files to a Markov model\n")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, mdtraj {mdtraj.__version__}, "
        f"deeptime {deeptime.__version__}. Best of {RUNS} runs in turn; above 1 mdinsight is faster.\n"
    )
    print("| data | frames | mdinsight, s | mdtraj + deeptime, s | ratio | slowest timescale, frames |")
    print("|---|---:|---:|---:|---:|---|")
    for name in ("ala2", "ala2_fast", "ala3"):
        files = sorted(str(path) for path in (EXAMPLES / name).glob("*.xtc"))
        top = str(EXAMPLES / name / "top.pdb")
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        values = {}
        for _ in range(RUNS):
            for who, work in (("ours", with_mdinsight), ("theirs", by_hand)):
                start = time.perf_counter()
                values[who] = work(files, top)
                times[who].append(time.perf_counter() - start)
        ours, theirs = min(times["ours"]), min(times["theirs"])
        frames = mdi.open(files, top=top).n_frames
        both = f"{values['ours']:.4g} and {values['theirs']:.4g}"
        print(f"| {name} | {frames} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.2f} | {both} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
