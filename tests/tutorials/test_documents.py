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


def run_blocks(name, folder, monkeypatch):
    """Everything that the Python of a document defines; a block of YAML that begins with a file's name is that file."""
    pyplot.switch_backend("Agg")
    (folder / "example_trajs").symlink_to(ROOT / "example_trajs")
    monkeypatch.chdir(folder)
    names: dict = {}
    text = (ROOT / name).read_text()
    for file, content in re.findall(r"```yaml\n# (\S+\.yaml)\n(.*?)```", text, re.S):
        (folder / file).write_text(content)
    for block in re.finditer(r"```python\n(.*?)```", text, re.S):
        line = text[: block.start()].count("\n") + 1
        exec(compile("\n" * line + block[1], name, "exec"), names)
    pyplot.close("all")
    return names


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/bias.md"])
def test_the_blocks_of_a_document_run(name, tmp_path, monkeypatch):
    plumed_files(tmp_path)
    names = run_blocks(name, tmp_path, monkeypatch)
    assert names["dF"].low < names["dF"].value < names["dF"].high


@pytest.mark.slow
def test_the_blocks_on_the_loop_run(tmp_path, monkeypatch, capsys):
    names = run_blocks("docs/loop.md", tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    assert "the run" in printed and "walkers: was 4, is now 8" in printed  # the changed plan
    rare = names["states"].free_energies[1]
    assert len(names["states"]) == 2 and rare.low < 9.15 and rare.high > 8.95  # benchmarks/bias_free_energy.md
    assert names["same"].identity()["cv"].items() >= {"kind": "TICA", "lag": 2.0, "dim": 2}.items()
    assert names["same"].system.description["hydrogen_mass"] == "1.5 u"
    assert len(names["X"]) > 10 and names["msm"].timescales().value[0] > 0


def test_the_policy_of_the_document_chooses(tmp_path, monkeypatch):
    names = run_blocks("docs/adding_a_policy.md", tmp_path, monkeypatch)
    s, rows = names["s"][:, 0], names["rows"]
    assert len(set(rows.tolist())) == 4 and (s[rows] >= np.sort(s)[-20]).all()


def test_the_blocks_on_large_data_run(tmp_path, monkeypatch):
    names = run_blocks("docs/ingest.md", tmp_path, monkeypatch)
    assert names["rows"].shape == (1000, 19) and names["X"].names == ("cos psi ALA2", "sin psi ALA2")
    assert names["widest"] < 1.5 and names["dtrajs"].n_frames == names["stream"].n_frames
    np.testing.assert_array_equal(names["again"].model.eigenvalues, names["tica"].model.eigenvalues)
