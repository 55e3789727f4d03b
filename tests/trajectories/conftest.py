"""The example files, and what they hold."""

import importlib
import sys
import warnings
from pathlib import Path

import mdtraj
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "example_trajs"


@pytest.fixture(scope="session")
def formats() -> Path:
    return EXAMPLES / "formats"


@pytest.fixture(scope="session")
def top(formats: Path) -> Path:
    return formats / "top.pdb"


@pytest.fixture(scope="session")
def plain(formats: Path, top: Path) -> mdtraj.Trajectory:
    """The 20 frames without a box, as mdtraj reads them."""
    return mdtraj.load(str(formats / "plain.trr"), top=str(top))


@pytest.fixture(scope="session")
def boxed(formats: Path, top: Path) -> mdtraj.Trajectory:
    """The 20 frames with a triclinic box."""
    return mdtraj.load(str(formats / "box.trr"), top=str(top))


@pytest.fixture(scope="session")
def water(top: Path) -> mdtraj.Trajectory:
    """A box of 300 three-atom molecules, compressed by XTC in runs as water is; four frames."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 3, (4, 300, 1, 3))
    xyz = (centres + rng.normal(0, 0.06, (4, 300, 3, 3))).reshape(4, 900, 3).astype(np.float32)
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(300):
        residue = topology.add_residue("HOH", chain)
        for name, symbol in (("O", "O"), ("H1", "H"), ("H2", "H")):
            topology.add_atom(name, mdtraj.element.get_by_symbol(symbol), residue)
    time = np.arange(4) * 0.5
    return mdtraj.Trajectory(xyz, topology, time, np.full((4, 3), 3.0), np.full((4, 3), 90.0))


@pytest.fixture(autouse=True)
def quiet_libraries():
    """Warnings of the libraries that write the files; those of mdinsight must be expected by name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="MDAnalysis")
        warnings.filterwarnings("ignore", module="mdtraj")
        warnings.filterwarnings("error", category=__import__("mdinsight.errors", fromlist=["DataWarning"]).DataWarning)
        yield


@pytest.fixture(scope="session")
def benchmark_script():
    """A script of ``benchmarks`` by its name."""
    folder = EXAMPLES.parent / "benchmarks"
    if not folder.is_dir():
        pytest.skip("the benchmarks are not part of a source distribution")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        yield importlib.import_module
