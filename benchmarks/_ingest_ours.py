"""What mdinsight does in the ingest benchmark. Run by ``ingest.py``, as ``_ingest_peers.py`` is; the same rules of timing."""

from __future__ import annotations

import os
import time
from typing import Any

import mdtraj
import numpy as np
from _ingest_peers import Job, Result, load_frames, serve

import mdinsight as mdi
from mdinsight.features import Contacts, Definition, Distances, Torsions


def trajectories(job: Job) -> Any:
    return mdi.open(job["files"], top=job["topology"])


def distances(job: Job) -> Result:
    """Distances of pairs of atoms out of files."""
    return {"arrays": Distances(pairs=job["pairs"]).transform(trajectories(job), cache=False).arrays}


def read(job: Job) -> Result:
    """All atoms of all frames (or those asked for); the coordinates of the last atom are kept."""
    return {"arrays": [_last(trajectory, job.get("atoms")) for trajectory in trajectories(job)]}


def _last(trajectory: Any, atoms: Any) -> np.ndarray:
    return np.concatenate([chunk.xyz[:, -1].copy() for chunk in trajectory.iter_chunks(atoms=atoms)])


def contacts(job: Job) -> Result:
    """Closest heavy atoms of pairs of residues, frames in memory."""
    feats = Contacts(pairs=job["pairs"], kind="distance", scheme="closest-heavy")
    return {"arrays": feats.transform(job["frames"], cache=False).arrays}


def feature_set(job: Job) -> Definition:
    """Cosines and sines of phi, psi and chi, and distances: 300 columns of Trp-cage."""
    return Torsions("phi psi chi") + Distances(pairs=job["pairs"])


def features(job: Job) -> Result:
    """All features of the frames, in memory."""
    X = feature_set(job).transform(trajectories(job), cache=False)
    names = [f"{c.name.split()[0]} {list(c.atoms)}" for c in X.columns]
    return {"arrays": X.arrays, "columns": names}


def tica(job: Job) -> Result:
    """Files to TICA, nothing kept; intervals only where the job asks for them, as the peers give none."""
    X = feature_set(job).stream(trajectories(job), cache=False)
    estimator = mdi.cvs.TICA(job["lag"], job["dim"], epsilon=job["epsilon"], n_bootstrap=job.get("bootstrap", 0))
    model = estimator.fit(X).model
    return {"timescales": (-job["lag"] / np.log(np.abs(model.eigenvalues[:5]))).tolist()}


def cache(job: Job) -> Result:
    """Features with an empty cache and again; then TICA with its intervals on a stream, with an empty cache and again."""
    feats, took = feature_set(job), []
    for _ in range(2):
        start = time.perf_counter()
        X = feats.transform(trajectories(job), cache=job["cache"])
        for array in X.arrays:
            array.reshape(-1)[::1024].sum()  # a mapped array is read when it is used
        took.append(time.perf_counter() - start)
    for _ in range(2):
        start = time.perf_counter()
        X_again = feats.stream(trajectories(job), cache=f"{job['cache']}-stream")
        mdi.cvs.TICA(job["lag"], job["dim"], epsilon=job["epsilon"]).fit(X_again)
        took.append(time.perf_counter() - start)
    return {"arrays": X.arrays, "took": took}


def stages(job: Job) -> Result:
    """The stages of the way from files to features or TICA, each run apart: seconds of each."""
    feats: Definition = feature_set(job) if "lag" in job else Distances(pairs=job["pairs"])
    took, clock = {}, _Clock()
    trajs = trajectories(job)
    took["open"] = clock.lap()
    bound = feats.bind(job["topology"])
    took["bind the features"] = clock.lap()
    for trajectory in trajs:
        for _ in trajectory.iter_chunks(atoms=None if len(bound.atoms) == trajectory.n_atoms else bound.atoms):
            pass
    took["read"] = clock.lap()
    X = feats.transform(trajs, cache=False)
    took["features"] = clock.lap() - took["read"] - took["bind the features"]
    if "lag" not in job:
        return {"stages": took}
    mdi.cvs.TICA(job["lag"], job["dim"], epsilon=job["epsilon"], n_bootstrap=0).fit(X)
    took["moments and TICA"] = clock.lap()
    rows = np.ascontiguousarray(X.arrays[0][:20_000])
    floors = {}
    for kind in (np.float32, np.float64):
        matrix = rows.astype(kind)
        matrix.T @ matrix
        clock.lap()
        for _ in range(3):
            matrix.T @ matrix
        floors[np.dtype(kind).name] = clock.lap() * X.n_frames / (3 * len(rows))
    return {"stages": took, "product": floors}


class _Clock:
    def __init__(self) -> None:
        self.last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        passed, self.last = now - self.last, now
        return passed


WORKS = {
    "mdinsight distances": distances,
    "mdinsight read": read,
    "mdinsight contacts": contacts,
    "mdinsight features": features,
    "mdinsight tica": tica,
    "mdinsight cache": cache,
    "mdinsight stages": stages,
}


def prepare(job: Job) -> None:
    job["topology"] = mdtraj.load_topology(job["top"])
    if job["work"] == "mdinsight contacts":
        job["frames"] = load_frames(job)
    job["cache"] = os.environ["MDINSIGHT_CACHE"]


if __name__ == "__main__":
    serve(WORKS, prepare)
