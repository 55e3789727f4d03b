"""Every tutorial runs from its first cell to its last."""

import json
from pathlib import Path

import pytest
from matplotlib import pyplot

NOTEBOOKS = sorted((Path(__file__).parent.parent.parent / "tutorials").glob("*.ipynb"))


def test_there_are_tutorials():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    pyplot.switch_backend("Agg")
    names: dict = {}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{path.name}:{cell['id']}", "exec"), names)
    pyplot.close("all")
