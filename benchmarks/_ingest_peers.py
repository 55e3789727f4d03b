"""What the peers do in the ingest benchmark, each as a user who knows the package would write it. Imports no mdinsight.

Run by ``ingest.py`` as ``python _ingest_peers.py JOB.json`` in an environment of the peers, a fresh process each time; it prints
one line of JSON. A job names the work, who does it, and its files. Time begins after the imports, with the topology loaded, and
after the same work on a file of a few frames, so that no compilation and no first import counts for either side.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Job = dict[str, Any]
Result = dict[str, Any]

# PyEMMA's last release (2023) is built from source with what was current then; it works on Python 3.11.
PYEMMA_BUILD = ("setuptools<60", "wheel", "cython<3", "numpy==1.23.5", "scipy<1.11", "pybind11<2.11")
PYEMMA_NEEDS = (
    "mdtraj==1.10.0",
    "deeptime==0.4.4",
    "numpy==1.23.5",
    "scipy<1.11",
    "matplotlib<3.9",
    "h5py",
    "pathos",
    "six",
)
PYEMMA = "pyemma==2.5.12"


def install(folder: Path, constraints: Path) -> Path:
    """The Python of an environment with mdtraj, MDAnalysis and deeptime, made if it is not there."""
    python = folder / "peers" / "bin" / "python"
    if not (folder / "peers" / "ready").exists():
        venv.create(folder / "peers", with_pip=True, clear=True)
        _pip(python, "-c", str(constraints), "mdtraj", "MDAnalysis", "deeptime")
        (folder / "peers" / "ready").touch()
    return python


def install_pyemma(folder: Path) -> Path:
    """The Python of an environment with PyEMMA, built from source if it is not there."""
    python = folder / "pyemma" / "bin" / "python"
    if not (folder / "pyemma" / "ready").exists():
        venv.create(folder / "pyemma", with_pip=True, clear=True)
        _pip(python, *PYEMMA_BUILD)
        _pip(python, "--only-binary", ":all:", *PYEMMA_NEEDS, "psutil", "pyyaml", "tqdm", "decorator")
        _pip(python, "--no-deps", "--no-build-isolation", PYEMMA)
        (folder / "pyemma" / "ready").touch()
    return python


def _pip(python: Path, *what: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"pip install {' '.join(what)} failed: {done.stderr.strip()[-300:]}")


# --- mdtraj ---------------------------------------------------------------------------------------------------------


def mdtraj_distances(job: Job) -> Result:
    """Distances of pairs of atoms out of files, only the atoms of the pairs kept."""
    arrays = _over_files(job, mdtraj_distances_of)
    return {"arrays": arrays}


def mdtraj_distances_of(job: Job, file: str) -> np.ndarray:
    import mdtraj

    atoms, flat = np.unique(job["pairs"], return_inverse=True)
    pairs = flat.reshape(-1, 2)
    chunks = mdtraj.iterload(file, top=job["topology"], atom_indices=atoms, chunk=job["chunk"])
    return np.concatenate([mdtraj.compute_distances(chunk, pairs) for chunk in chunks])


def mdtraj_read(job: Job) -> Result:
    """All atoms of all frames; the coordinates of the last atom are kept."""
    return {"arrays": _over_files(job, mdtraj_read_of)}


def mdtraj_read_of(job: Job, file: str) -> np.ndarray:
    import mdtraj

    chunks = mdtraj.iterload(file, top=job["topology"], atom_indices=job.get("atoms"), chunk=job["chunk"])
    return np.concatenate([chunk.xyz[:, -1].copy() for chunk in chunks])


def mdtraj_contacts(job: Job) -> Result:
    """Closest heavy atoms of pairs of residues, frames in memory, so many at once that all distances of atoms fit there."""
    import mdtraj

    frames, size = job["frames"], job["chunk"]
    chunks = [frames[start : start + size] for start in range(0, len(frames), size)]
    found = [mdtraj.compute_contacts(chunk, job["pairs"], scheme="closest-heavy")[0] for chunk in chunks]
    return {"arrays": [np.concatenate(found)]}


def torsions(topology: Any) -> np.ndarray:
    """Atoms of phi, psi and chi1 to chi5."""
    from mdtraj.geometry import dihedral

    kinds = ("phi", "psi", "chi1", "chi2", "chi3", "chi4", "chi5")
    found = [getattr(dihedral, f"indices_{kind}")(topology) for kind in kinds]
    return np.vstack([f for f in found if len(f)])


def mdtraj_features(job: Job) -> Result:
    """Cosines and sines of all torsions, and distances."""
    return {"arrays": _over_files(job, mdtraj_features_of), "columns": _columns(job)}


def mdtraj_features_of(job: Job, file: str) -> np.ndarray:
    import mdtraj

    quadruplets, parts = torsions(job["topology"]), []
    for chunk in mdtraj.iterload(file, top=job["topology"], chunk=job["chunk"]):
        angles = mdtraj.compute_dihedrals(chunk, quadruplets)
        parts.append(np.hstack([np.cos(angles), np.sin(angles), mdtraj.compute_distances(chunk, job["pairs"])]))
    return np.concatenate(parts)


def _columns(job: Job) -> list[str]:
    quadruplets = torsions(job["topology"]).tolist()
    names = [f"{kind} {q}" for kind in ("cos", "sin") for q in quadruplets]
    return names + [f"distance {pair}" for pair in np.asarray(job["pairs"]).tolist()]


def deeptime_tica(job: Job) -> Result:
    """The same features, one file after the other into deeptime's TICA."""
    from deeptime.decomposition import TICA

    estimator, lag = TICA(lagtime=job["lag"], dim=job["dim"], epsilon=job["epsilon"]), job["lag"]
    for X in _each_file(job, mdtraj_features_of):
        estimator.partial_fit((X[:-lag], X[lag:]))
    return {"timescales": estimator.fetch_model().timescales()[:5].tolist()}


def _over_files(job: Job, work: Callable[[Job, str], np.ndarray]) -> list[np.ndarray]:
    return list(_each_file(job, work))


def _each_file(job: Job, work: Callable[[Job, str], np.ndarray]) -> Iterator[np.ndarray]:
    """File after file, or with processes > 1 file beside file."""
    if job.get("processes", 1) == 1:
        yield from (work(job, file) for file in job["files"])
        return
    yield from _POOL.imap(_call, [(work, file) for file in job["files"]])


_JOB: Job = {}
_POOL: Any = None


def _call(what: tuple[Callable[[Job, str], np.ndarray], str]) -> np.ndarray:
    return what[0](_JOB, what[1])


# --- MDAnalysis -----------------------------------------------------------------------------------------------------


def mdanalysis_read(job: Job) -> Result:
    """All atoms of all frames; the coordinates of the last atom are kept."""
    universe, arrays = job["universe"], []
    for file in job["files"]:
        universe.load_new(file, refresh_offsets=True)
        last = np.empty((len(universe.trajectory), 3), np.float32)
        for row, frame in enumerate(universe.trajectory):
            last[row] = frame.positions[-1]
        arrays.append(last / 10)
    return {"arrays": arrays}


# --- PyEMMA ---------------------------------------------------------------------------------------------------------


def pyemma_tica(job: Job) -> Result:
    """The same features through PyEMMA's streaming ``source``."""
    import pyemma
    from pyemma.coordinates.transform.tica import TICA

    feat = pyemma.coordinates.featurizer(job["top"])
    feat.add_backbone_torsions(cossin=True, periodic=False)
    feat.add_sidechain_torsions(which="all", cossin=True, periodic=False)
    feat.add_distances(np.asarray(job["pairs"]), periodic=False)
    source = pyemma.coordinates.source(job["files"], features=feat, chunksize=job["chunk"])
    tica = TICA(job["lag"], dim=job["dim"], epsilon=job["epsilon"])  # as pyemma.coordinates.tica, which fixes epsilon
    tica.estimate(source, chunksize=job["chunk"])
    return {"timescales": tica.timescales[:5].tolist(), "n_columns": feat.dimension()}


# --- one job --------------------------------------------------------------------------------------------------------

WORKS: dict[str, Callable[[Job], Result]] = {
    "mdtraj distances": mdtraj_distances,
    "mdtraj read": mdtraj_read,
    "mdtraj contacts": mdtraj_contacts,
    "mdtraj features": mdtraj_features,
    "mdtraj tica": deeptime_tica,
    "MDAnalysis read": mdanalysis_read,
    "PyEMMA tica": pyemma_tica,
}


def prepare(job: Job) -> None:
    """What is loaded before the time begins: topology, frames in memory, worker processes."""
    global _JOB, _POOL
    who = job["work"].split()[0]
    if who == "PyEMMA":
        import pyemma

        pyemma.config.show_progress_bars = False
        pyemma.config.use_trajectory_lengths_cache = False
        return
    if who == "MDAnalysis":
        import MDAnalysis

        job["universe"] = MDAnalysis.Universe(job["top"])
        return
    import mdtraj

    job["topology"] = mdtraj.load_topology(job["top"])
    if job["work"] == "mdtraj contacts":
        job["frames"] = load_frames(job)
    _JOB = job
    if job.get("processes", 1) > 1:
        _POOL = multiprocessing.get_context("fork").Pool(job["processes"])


def load_frames(job: Job) -> Any:
    """Frames of the protein in memory: those of one file, and again where more are wanted."""
    import mdtraj

    wanted = job["frames_in_memory"]
    loaded = mdtraj.load(job["files"][0], top=job["topology"], atom_indices=job["atoms"])
    frames = mdtraj.Trajectory(np.resize(loaded.xyz, (wanted, *loaded.xyz.shape[1:])), loaded.topology)
    frames.unitcell_vectors = np.resize(loaded.unitcell_vectors, (wanted, 3, 3))
    return frames


def serve(works: dict[str, Callable[[Job], Result]], ready: Callable[[Job], None]) -> None:
    """Do the job whose file is the program's argument and print what it took."""
    began = time.perf_counter()
    job: Job = json.loads(Path(sys.argv[1]).read_text())
    for name in ("pairs", "atoms"):
        if job.get(name) is not None:
            job[name] = np.array(job[name])
    ready(job)
    work = works[job["work"]]
    work(job | {"files": job["warm"]})
    before = memory()
    start = time.perf_counter()
    result = work(job)
    seconds = time.perf_counter() - start
    said = {"seconds": seconds, "with_imports": time.perf_counter() - began, "memory": memory(), "idle": before}
    said |= {key: value for key, value in result.items() if key != "arrays"}
    if "arrays" in result:
        said["rows"] = [len(array) for array in result["arrays"]]
        np.save(job["probe"], probe(result["arrays"]))
    print(json.dumps(said))


def probe(arrays: list[np.ndarray]) -> np.ndarray:
    """Some rows of each array, the same whoever made them."""
    rng = np.random.default_rng(5)
    return np.concatenate([np.asarray(a)[np.sort(rng.integers(len(a), size=100))] for a in arrays])


def memory() -> float:
    """Most memory that this process held until now, MB."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage gives includes the parent's, from before the program was loaded
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1e3 * 1.024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    serve(WORKS, prepare)
