"""What a run promises whatever becomes of it: moved, changed, taken twice, looked at, damaged, interrupted, prolonged."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import mdinsight as mdi
from mdinsight import adaptive
from mdinsight.bias import OPES
from mdinsight.engine import System
from mdinsight.errors import DegenerateError, ParameterError, PlanError, StoreError
from mdinsight.results import all_hold

Cut = Callable[..., Path]


def test_moved_and_renamed_it_goes_on_to_the_same_bytes(loop: ModuleType, peace: Path, cut: Cut, tmp_path: Path):
    (tmp_path / "somewhere else").mkdir()
    moved = cut(tmp_path / "before", 7, 1).rename(tmp_path / "somewhere else" / "renamed run")
    loop.advance(moved, None)
    assert loop.content(moved) == loop.content(peace)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seed": 4}, "seed: was 3, is now 4"),
        ({"segment": "5 ps"}, "segment: was 4.0, is now 5.0"),
        ({"bias": OPES(barrier=41, pace=50)}, "bias.barrier: was 40.0, is now 41.0"),
        ({"bias": None}, 'bias: was {"barrier": 40.0'),
        ({"features": mdi.features.Torsions("phi")}, "features: was \"Torsions(kinds='phi psi'"),
        ({"policy": adaptive.Frontier()}, 'policy.kind: was "LeastCounts", is now "Frontier"'),
        ({"explore": adaptive.Plain()}, 'explore.kind: was "Hot", is now "Plain"'),
        ({"cv": mdi.cvs.TICA(lag="0.2 ps", dim=1)}, "cv.lag: was 0.1, is now 0.2"),
        ({"stop": adaptive.Stop(interval=2)}, "stop.interval: was 1.0, is now 2.0"),
        ({"temperature": 310}, "system.temperature: was 300.0, is now 310.0"),
        ({"timestep": "1 fs"}, "system.timestep: was 0.002, is now 0.001"),
        ({"forcefield": "amber14-all"}, 'system.forcefield: was "amber99sb.xml", is now "amber14-all.xml"'),
    ],
)
def test_another_plan_is_refused_and_the_difference_named(
    loop: ModuleType, cut: Cut, tmp_path: Path, given: dict, says: str
):
    molecule = {"forcefield": "amber99sb", "temperature": 300, "timestep": "2 fs"}
    system = molecule | {key: given.pop(key) for key in list(given) if key in molecule}
    built = System.from_pdb(loop.TOP, solvent="vacuum", platform="Reference", **system)
    run = cut(tmp_path / "run", 0)
    before = loop.content(run)
    with pytest.raises(PlanError, match="was begun with another plan") as refused:
        adaptive.open(run, loop.tiny(system=built, **given))
    assert says in str(refused.value) and "begin a new run in another folder" in str(refused.value)
    assert loop.content(run) == before


def test_a_run_or_a_segment_of_another_version_is_refused(cut: Cut, tmp_path: Path):
    run = cut(tmp_path / "run", 2)
    for file, what in (
        (run / "segments/r0001-000/MANIFEST.json", "r0001-000/MANIFEST.json"),
        (run / "run.json", "run.json"),
    ):
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, "format": 99}))
        with pytest.raises(StoreError, match=rf"{what} is of format 99.*use the version of mdinsight that wrote it"):
            adaptive.open(run).status()


def test_a_second_process_is_refused_at_once_and_may_look(answer: Callable[..., dict], cut: Cut, tmp_path: Path):
    found = answer("second", cut(tmp_path / "run", 6))
    assert f"in use by process {found['pid']} on " in found["refused"] and found["seconds"] < 2
    assert f"process {found['pid']} on " in found["worker"] and found["whole"]


def test_a_run_that_may_only_be_read_can_be_looked_at(
    answer: Callable[..., dict], loop: ModuleType, peace: Path, readable: Path
):
    run = readable / "run"
    shutil.copytree(peace, run)
    for path in (run, *run.rglob("*"), readable):
        path.chmod(0o555 if path.is_dir() else 0o444)
    found = answer("unprivileged", run)
    assert found["whole"] and found["states"] >= 1 and "nobody works on it now" in found["status"]
    assert found["refused"].startswith("OutputError: cannot write") and "Permission denied" in found["refused"]
    assert loop.content(run) == loop.content(peace)


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that other users may enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_who_looks_while_a_round_runs_changes_nothing(loop: ModuleType, peace: Path, cut: Cut, tmp_path: Path):
    run = adaptive.open(cut(tmp_path / "run", 5, 1))  # of the walkers of a biased round one is done

    with contextlib.suppress(DegenerateError):  # until a round has settled
        run.states()

    def look(status: adaptive.Status) -> None:
        last = run.history.decisions[-1]
        if last.kind == "biased":
            run.history.bias_after(last)

    run.advance(loop.BUDGET, workers=1, progress=look)
    assert loop.content(run.store.path) == loop.content(peace)


def test_a_damaged_segment_is_found_and_made_again_when_it_is_taken_out(
    loop: ModuleType, peace: Path, cut: Cut, tmp_path: Path
):
    run = cut(tmp_path / "run", 9)
    trajectory = run / "segments/r0003-001/traj-0000.xtc"
    data = bytearray(trajectory.read_bytes())
    data[200] ^= 1
    trajectory.write_bytes(data)
    [wrong] = [verdict for verdict in adaptive.look(run).verify() if not verdict.holds]
    assert "r0003-001/traj-0000.xtc" in wrong.subject and "remove the folder and resume" in wrong.remedy
    shutil.rmtree(trajectory.parent)
    loop.advance(run, None)
    assert loop.content(run) == loop.content(peace) and all_hold(adaptive.look(run).verify())


def test_a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_room(
    answer: Callable[..., dict], loop: ModuleType, peace: Path, tmp_path: Path
):
    found = answer("full_disk", tmp_path)
    cause = "No space left on device" if found["mounted"] else "File too large"
    assert len(found["errors"]) >= 10
    assert any(cause in error for error in found["errors"])
    for what in ("start-", "decision.json", "r0001-00", "no room in"):
        assert any(str(tmp_path) in error and what in error for error in found["errors"]), what
    before: list[str] = []
    for state in found["states"]:
        assert state["whole"] and state["free"] and set(before) <= set(state["names"])
        before = state["names"]
    assert found["content"] == loop.content(peace)


@pytest.mark.parametrize(("workers", "latest", "most"), [(1, 0.5, 4), (2, 3, 2)])
def test_ctrl_c_frees_the_run_and_ends_the_workers(
    answer: Callable[..., dict], loop: ModuleType, peace: Path, tmp_path: Path, workers: int, latest: float, most: int
):
    found = answer("interrupted", tmp_path / "run", workers, latest, most)
    assert set(found["codes"]) <= {42, 0} and 42 in found["codes"]
    assert found["content"] == loop.content(peace)


def test_the_same_budget_again_changes_nothing_and_a_larger_one_goes_on(loop: ModuleType, peace: Path, tmp_path: Path):
    run = adaptive.open(shutil.copytree(peace, tmp_path / "run"))
    before, rounds = loop.content(run.store.path), len(run.history.decisions)
    began = time.monotonic()
    end = run.advance(loop.BUDGET, workers=2, progress=False)
    assert not end.converged and end.says == "the budget of 60 ps is spent; the run goes on with 85 ps or more"
    assert end.more == 85.0
    for less, says in (
        ("30 ps", "60 ps are done already"),
        ("84 ps", "60 ps of the budget of 84 ps are done, and what is"),
    ):
        found = run.advance(less, workers=1, progress=False)
        assert found.says.startswith(says) and "the run goes on with 85 ps or more" in found.says
    assert time.monotonic() - began < 5
    assert loop.content(run.store.path) == before

    again = adaptive.open(shutil.copytree(peace, tmp_path / "again"))
    for one in (run, again):
        assert one.advance("120 ps", workers=1, progress=False).says.startswith("the budget of 120 ps is spent; ")
        assert one.budget == 120 and 118 < one.history.ps <= 120.001
    after = loop.content(run.store.path)
    assert len(run.history.decisions) > rounds and before.items() < after.items()
    assert loop.content(again.store.path) == after


def test_the_least_budget_that_is_named_is_enough_and_not_overspent(loop: ModuleType, peace: Path, tmp_path: Path):
    """The last swarms have at least 20 paths each, which may be more than their share of a small budget."""
    small = adaptive.open(tmp_path / "small", loop.tiny())
    with pytest.raises(PlanError, match=r"budget=28 ps does not pay for one round of this plan, which takes 28.9 ps"):
        small.advance("28 ps", workers=1, progress=False)
    small.advance("28.9 ps", workers=1, progress=False)
    kinds = [decision.kind for decision in small.history.decisions]  # no bias has settled, so no swarms can be placed
    assert kinds == ["explore", "swarm", "biased", "biased"] and 25.9 < small.history.ps <= 28.91
    more = adaptive.open(shutil.copytree(peace, tmp_path / "more"))
    more.advance("85 ps", workers=1, progress=False)
    assert len(more.history.decisions) > len(adaptive.look(peace).history.decisions) and 84 < more.history.ps <= 85.001


def test_a_long_run_does_not_hold_files_open(peace: Path):
    run = adaptive.look(peace)
    run.states()
    held = [os.readlink(f"/proc/self/fd/{fd}") for fd in _open_files()]
    assert not [name for name in held if str(peace) in name]


def _open_files() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            os.readlink(f"/proc/self/fd/{number}")
            found.append(number)
    return found


@pytest.mark.parametrize("workers", [0, True, "2", 1.5])
def test_workers_that_are_none_are_named(cut: Cut, tmp_path: Path, workers: object):
    run = adaptive.open(cut(tmp_path / "run", 2))
    with pytest.raises(ParameterError, match=rf"workers={workers!r} is not a number of processes; give at least 1"):
        run.advance("60 ps", workers=workers, progress=False)
    assert run.store.holder() is None
