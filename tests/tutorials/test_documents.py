"""The blocks of Python in the documents run as they stand, one after another."""

import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot

from mdinsight import features, plots, seeds
from mdinsight.bias import Hills, write_hills
from mdinsight.features._named import KINDS

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


NUMBER = re.compile(r"\b\d+(?:\.\d+)?\b")


def shown(name):
    """What a document says that its blocks print."""
    return "".join(re.findall(r"(?<=```\n\n)```\n(.*?)```", (ROOT / name).read_text(), re.S))


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


def test_the_blocks_on_large_data_run(tmp_path, monkeypatch, capsys):
    names = run_blocks("docs/ingest.md", tmp_path, monkeypatch)
    printed, told = capsys.readouterr().out, shown("docs/ingest.md")
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", told)
    np.testing.assert_allclose([*map(float, NUMBER.findall(printed))], [*map(float, NUMBER.findall(told))], rtol=0.02)
    assert names["rows"].shape == (1000, 19) and names["X"].names == ("cos psi ALA2", "sin psi ALA2")
    assert names["widest"] < 1.5 and names["dtrajs"].n_frames == names["stream"].n_frames
    np.testing.assert_array_equal(names["again"].model.eigenvalues, names["tica"].model.eigenvalues)


def test_what_the_page_on_features_says_is_so(tmp_path, monkeypatch, capsys):
    names = run_blocks("docs/features.md", tmp_path, monkeypatch)
    text = (ROOT / "docs/features.md").read_text()
    assert capsys.readouterr().out == shown("docs/features.md")
    assert np.isfinite(np.loadtxt(tmp_path / "map.txt")[~np.eye(5, dtype=bool)]).all()
    assert np.load(tmp_path / "features.npz").files[5] == "arr_5" and names["again"].names == names["X"].names
    rows = re.findall(r"^\| `((\w+)\(.*?\))` \|.*\| ([\w ]+) \|$", text, re.M)
    assert {kind for _, kind, _ in rows} == {kind.__name__ for kind in KINDS.values()} | {"Function"}
    for told, kind, gradient in rows:
        made, parameters = (
            eval(told, {**vars(features), **names}),
            inspect.signature(getattr(features, kind)).parameters,
        )
        given = {name for name in parameters if parameters[name].default is inspect.Parameter.empty}
        given |= {"selection"} if kind == "Distances" else {"kind"} if kind == "Contacts" else set()
        assert made == getattr(features, kind)(**{name: getattr(made, name) for name in given}), told
        assert made.has_gradient == (gradient == "yes"), told
        if kind != "Contacts" or made.kind == "smooth":
            assert all(f"{name}=" in told for name in list(parameters)[1:] if name not in ("pairs", "names")), told


def test_every_picture_is_listed():
    text = (ROOT / "docs/analyze.md").read_text().split("## The pictures in Python")[1]
    assert set(re.findall(r"`(\w+)[(`]", text)) >= set(plots.__all__)
