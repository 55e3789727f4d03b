"""SIGKILL at any moment, again and again: a run of all kinds of round has in the end the bytes of one that was never killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TASKS = Path(__file__).with_name("loop_tasks.py")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


def answer(*arguments: object):
    command = [sys.executable, "-W", "ignore", str(TASKS), *map(str, arguments)]
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(found: dict, kills: int) -> Counter[str]:
    """All runs have the same bytes, and nothing that was committed was ever lost; at what they were killed."""
    assert set(found["kinds"]) == {"explore", "swarm", "biased", "kinetics"}
    assert {"run.json", "segments/plan/plan.mdi", "segments/start/system.mdi"} < set(found["peace"])
    moments: Counter[str] = Counter()
    for run in found["runs"]:
        before: set[str] = set()
        for kill in run["kills"]:
            assert kill["whole"] and before <= set(kill["names"])
            assert kill["signal"] == signal.SIGKILL or kill["status"] == 0
            before = set(kill["names"])
            moments.update(kill["moments"])
        assert run["content"] == found["peace"]
    assert moments.total() >= kills
    return moments


def test_killed_in_one_process(tmp_path: Path):
    moments = check(answer("random_kills", tmp_path, 1, "group", 0.5, 20, 1, 2), kills=25)
    assert {"deciding", "running", "committing"} <= set(moments)


@pytest.mark.parametrize("who", ["group", "parent"])
def test_killed_with_workers(tmp_path: Path, who: str):
    found = answer("random_kills", tmp_path, 2, who, 4, 3, 1)
    check(found, kills=3)
    begun, alive = found["orphans"]
    assert alive == 0 and (begun > 0) == (who == "parent")


def test_a_run_goes_on_when_its_workers_are_killed(tmp_path: Path):
    found = answer("random_kills", tmp_path, 2, "worker", 4, 1, 1)
    check(found, kills=1)
    [kill] = found["runs"][0]["kills"]
    assert kill["status"] == 0
