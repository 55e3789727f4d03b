"""The blocks of Python in the documents run as they stand, one after another."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot

from mdinsight import seeds
from mdinsight.bias import Hills, write_hills

ROOT = Path(__file__).parent.parent.parent


def plumed_files(folder):
    """What a metadynamics of two torsions writes."""
    rng = seeds.generator(1, "plumed")
    n, times = 40, np.arange(1, 41) * 1.0
    phi, psi = rng.uniform(-math.pi, math.pi, (2, n))
    circle = 2 * math.pi
    hills = Hills(
        ("phi", "psi"), (circle, circle), times, np.column_stack([phi, psi]), np.full((n, 2), 0.35), np.full(n, 1.2),
        10.0, np.zeros(n),
    )  # fmt: skip
    write_hills(hills, folder / "HILLS")
    head = "#! FIELDS time phi psi metad.bias\n"
    for name in ("phi", "psi"):
        head += f"#! SET min_{name} -pi\n#! SET max_{name} pi\n"
    rows = zip(times, phi, psi, hills.potential(np.column_stack([phi, psi])), strict=True)
    (folder / "COLVAR").write_text(head + "".join(" ".join(f"{x:.6f}" for x in row) + "\n" for row in rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/bias.md"])
def test_the_blocks_of_a_document_run(name, tmp_path, monkeypatch):
    pyplot.switch_backend("Agg")
    (tmp_path / "example_trajs").symlink_to(ROOT / "example_trajs")
    monkeypatch.chdir(tmp_path)
    plumed_files(tmp_path)
    names: dict = {}
    text = (ROOT / name).read_text()
    for block in re.finditer(r"```python\n(.*?)```", text, re.S):
        line = text[: block.start()].count("\n") + 1
        exec(compile("\n" * line + block[1], name, "exec"), names)
    pyplot.close("all")
    assert names["dF"].low < names["dF"].value < names["dF"].high
