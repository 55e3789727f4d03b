"""Data that the tests of several rooms share: real molecular dynamics, opened once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import mdinsight as mdi

EXAMPLES = Path(__file__).parent.parent / "example_trajs"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """The tests leave the user's feature cache alone."""
    before = os.environ.get("MDINSIGHT_CACHE")
    os.environ["MDINSIGHT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["MDINSIGHT_CACHE"]
    else:
        os.environ["MDINSIGHT_CACHE"] = before


@pytest.fixture(scope="session", autouse=True)
def _heed_ctrl_c():
    """A shell that runs the tests in the background has them ignore Ctrl-C; what they start would inherit that."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder of example trajectories."""
    return EXAMPLES


@pytest.fixture(scope="session")
def ala2() -> mdi.trajectories.Trajectories:
    """Alanine dipeptide in vacuum."""
    return mdi.open(EXAMPLES / "ala2/*.xtc", top=EXAMPLES / "ala2/top.pdb")


@pytest.fixture(scope="session")
def ala3() -> mdi.trajectories.Trajectories:
    """Ace-Ala3-NMe in implicit solvent."""
    return mdi.open(EXAMPLES / "ala3/*.xtc", top=EXAMPLES / "ala3/top.pdb")


@pytest.fixture(scope="session")
def ala2_water() -> mdi.trajectories.Trajectories:
    """Alanine dipeptide in a box of water."""
    return mdi.open(EXAMPLES / "ala2_water/*.xtc", top=EXAMPLES / "ala2_water/top.pdb")


@pytest.fixture(scope="session")
def analysis() -> mdi.analysis.Analysis:
    """The whole row on alanine dipeptide, with the defaults."""
    files = {"files": [str(EXAMPLES / "ala2/*.xtc")], "top": str(EXAMPLES / "ala2/top.pdb")}
    return mdi.analysis.run(mdi.analysis.Config.parse({"trajectories": files}))


@pytest.fixture(scope="session")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> mdi.adaptive.Run:
    """A small run of the loop on alanine dipeptide in vacuum, to its end. Tests look at it and change nothing."""
    system = mdi.engine.System.from_pdb(
        EXAMPLES / "ala2/top.pdb", forcefield="amber99sb", solvent="vacuum", temperature=300, platform="Reference"
    )
    plan = mdi.adaptive.Plan(
        system=system,
        features=mdi.features.Torsions("phi psi"),
        walkers=2,
        segment="40 ps",
        swarm="8 ps",
        swarms=16,
        seed=1,
    )
    run = mdi.adaptive.open(tmp_path_factory.mktemp("sampled") / "run", plan)
    run.advance("3 ns", workers=1, progress=False)
    return run
