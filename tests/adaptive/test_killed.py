"""SIGKILL at any moment, again and again: a run of all kinds of round has in the end the bytes of one that was never killed."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable

import pytest


def check(found: dict, runs: list[dict], kills: int) -> Counter[str]:
    """All runs have the same bytes, and nothing that was committed was ever lost; at what they were killed."""
    assert set(found["kinds"]) == {"explore", "swarm", "biased", "kinetics"}
    assert {"run.json", "segments/plan/plan.mdi", "segments/start/system.mdi"} < set(found["peace"])
    moments: Counter[str] = Counter()
    for run in runs:
        before: set[str] = set()
        for kill in run["kills"]:
            assert kill["whole"] and before <= set(kill["names"])
            assert kill["signal"] == signal.SIGKILL or kill["status"] == 0
            before = set(kill["names"])
            moments.update(kill["moments"])
        assert run["content"] == found["peace"]
    assert moments.total() >= kills
    return moments


@pytest.fixture(scope="module")
def found(answer: Callable[..., dict], tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Five runs that were killed over and over, and one that was not: workers, who is killed, latest moment, most kills, seed."""
    kinds = ["1:group:0.25:10:1", "1:group:0.25:10:2", "2:group:3:2:3", "2:parent:3:2:4", "2:worker:3:1:5"]
    return answer("random_kills", tmp_path_factory.mktemp("killed"), *kinds)


def test_killed_in_one_process(found: dict):
    moments = check(found, found["runs"][:2], kills=8)
    assert "running" in moments and len(moments) >= 3


def test_killed_with_workers(found: dict):
    check(found, found["runs"][2:4], kills=2)


def test_workers_end_with_the_process_that_started_them(found: dict):
    begun, alive = found["orphans"]
    assert begun > 0 and alive == 0


def test_a_run_goes_on_when_its_workers_are_killed(found: dict):
    check(found, found["runs"][4:], kills=1)
    [kill] = found["runs"][4]["kills"]
    assert kill["status"] == 0
