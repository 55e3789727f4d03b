"""Every tutorial runs from its first cell to its last."""

import json
from pathlib import Path

import pytest
from matplotlib import pyplot

NOTEBOOKS = sorted((Path(__file__).parent.parent.parent / "tutorials").glob("*.ipynb"))
SHORTER = {
    "bias": ("steps = 1_000_000", "steps = 100_000"),
    "loop": ('"200 ps", "20 ps", 40, ("5 ns", "10 ns")', '"20 ps", "4 ps", 16, ("0.6 ns", "1.2 ns")'),
}
"""What a notebook has in place of its long runs in the test that is not slow."""


def run(path, monkeypatch, change=("", "")):
    monkeypatch.chdir(path.parent)
    pyplot.switch_backend("Agg")
    names: dict = {}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace(*change) if change[0] else "".join(cell["source"])
            exec(compile(source, f"{path.name}:{cell['id']}", "exec"), names)
    pyplot.close("all")
    return names


def test_there_are_tutorials():
    assert {path.stem for path in NOTEBOOKS} >= {"first_model", "bias", "loop"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path, monkeypatch):
    change = SHORTER.get(path.stem, ("", ""))
    names = run(path, monkeypatch, change)
    if path.stem == "bias":
        assert names["trace"].step[-1] == 100_000
    if path.stem == "loop":
        assert 1_000 < names["states"].ps <= 1_200.1


@pytest.mark.slow
def test_the_bias_tutorial_finds_what_it_says(monkeypatch):
    names = run(next(path for path in NOTEBOOKS if path.stem == "bias"), monkeypatch)
    for found in (names["dF"], names["given"]):
        assert found.low < 9.7 and found.high > 8.7  # the interval of a run of 10 ns
        assert min(found.events) >= 20
        # in 2 ns the bias may still grow by more than kT in the end, which its verdict then says
        assert all(verdict.holds for verdict in found.verdicts() if verdict.subject != "bias")
    assert max(names["one"].events) < min(names["dF"].events)


@pytest.mark.slow
def test_the_tutorial_of_the_loop_finds_what_it_says(monkeypatch):
    names = run(next(path for path in NOTEBOOKS if path.stem == "loop"), monkeypatch)
    assert len(names["states"]) == 2
    for found in (names["dF"], names["states"].free_energies[1]):
        # the reference is 9.05 (benchmarks/bias_free_energy.md); six seeds gave 9.5 with a deviation of 0.7: three of those, as
        # one run may well miss by more than its interval, and goes another way when a last digit changes
        assert abs(found.value - 9.05) < 2.0 and found.high - found.low < 4.0
    assert min(names["dF"].events) >= 20 and all(verdict.holds for verdict in names["dF"].verdicts())
