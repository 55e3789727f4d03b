"""The command line, run as a user runs it."""

import json
import subprocess
import sys

import numpy as np
import pytest

import mdinsight as mdi


def mdinsight(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-c", "from mdinsight.cli import main; main(prog_name='mdinsight')", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory, examples):
    """One analysis of three trajectories through a configuration file."""
    folder = tmp_path_factory.mktemp("cli")
    config = {
        "trajectories": [str(examples / f"ala2/ala2-0{i}.xtc") for i in (0, 1, 2)],
        "top": str(examples / "ala2/top.pdb"),
        "cv": {"lag": 1, "dim": 2},
        "states": {"n": 40},
        "msm": {"lag": 1, "macrostates": 2, "samples": 20},
        "structures": 3,
    }
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    return folder, mdinsight("analyze", "config.yaml", "--out", "out", cwd=folder)


def test_one_command_fills_one_folder(finished):
    folder, result = finished
    assert result.returncode == 0, result.stderr
    assert "macrostate 0" in result.stdout and "Everything is in out" in result.stdout
    names = {str(p.relative_to(folder / "out")) for p in (folder / "out").rglob("*") if p.is_file()}
    assert {"summary.md", "summary.json", "report.html", "config.yaml"} <= names
    assert {"figures/free_energy.png", "figures/implied_timescales.png", "figures/chapman_kolmogorov.png"} <= names
    assert {"models/coordinate.mdi", "models/states.mdi", "models/markov.mdi"} <= names
    assert sum(name.startswith("structures/") and name.endswith(".pdb") for name in names) == 2
    assert sum(name.startswith("structures/") and name.endswith(".xtc") for name in names) == 2
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]  # no half-written folder is left


def test_every_file_that_the_summary_names_is_there(finished):
    folder, _ = finished
    text = (folder / "out/summary.md").read_text()
    named = [line.split("](")[1].split(")")[0] for line in text.splitlines() if line.startswith(("| [", "!["))]
    assert len(named) > 15
    assert all((folder / "out" / name).is_file() for name in named)


def test_the_summary_holds_the_numbers_of_the_saved_models(finished):
    folder, _ = finished
    summary = json.loads((folder / "out/summary.json").read_text())
    model = mdi.load(folder / "out/models/markov.mdi")
    assert summary["model"]["hash"] == model.hash
    assert np.allclose(summary["model"]["timescales"]["value"], model.timescales(5).value)
    states = model.pcca(2)
    assert np.allclose(summary["macrostates"]["populations"]["value"], states.populations.value)
    cv = mdi.load(folder / "out/models/coordinate.mdi")
    assert summary["coordinates"]["hash"] == cv.hash and cv.features is not None


def test_the_written_configuration_repeats_the_analysis(finished):
    folder, _ = finished
    again = mdinsight("analyze", "out/config.yaml", "--out", "again", "--quiet", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "opened" not in again.stderr  # quiet
    first, second = (json.loads((folder / name / "summary.json").read_text()) for name in ("out", "again"))
    assert first["model"]["hash"] == second["model"]["hash"]
    assert first["macrostates"] == second["macrostates"]


def test_an_analysis_is_not_overwritten_unless_told(finished):
    folder, _ = finished
    before = (folder / "out/summary.json").read_bytes()
    refused = mdinsight("analyze", "config.yaml", "--out", "out", cwd=folder)
    assert refused.returncode == 2 and "holds an analysis already" in refused.stderr and "--force" in refused.stderr
    assert (folder / "out/summary.json").read_bytes() == before
    (folder / "mine").mkdir(exist_ok=True)
    (folder / "mine/notes.txt").write_text("x")
    refused = mdinsight("analyze", "config.yaml", "--out", "mine", "--force", cwd=folder)
    assert refused.returncode == 2 and "no analysis of mdinsight" in refused.stderr
    assert (folder / "mine/notes.txt").read_text() == "x"


def test_info_tells_what_the_files_hold(examples, tmp_path):
    result = mdinsight("info", examples / "ala2/*.xtc", "--top", examples / "ala2/top.pdb", cwd=tmp_path)
    assert result.returncode == 0
    trajs = mdi.open(examples / "ala2/*.xtc", top=examples / "ala2/top.pdb")
    assert f"{trajs.n_frames} frames" in result.stdout and "ACE ALA NME" in result.stdout
    mixed = [
        "info",
        examples / "formats/box.xtc",
        examples / "formats/plain.pdb",
        "--top",
        examples / "formats/top.pdb",
    ]
    result = mdinsight(*mixed, cwd=tmp_path)
    assert (
        result.returncode == 2 and "box.xtc has a time step of 2 ps and plain.pdb has none; give dt=" in result.stderr
    )
    result = mdinsight(*mixed, "--dt", "2 ps", cwd=tmp_path)
    assert result.returncode == 0 and "40 frames, 2 ps apart" in result.stdout


BAD = [
    (["analyze", "missing.xtc", "--top", "TOP"], "missing.xtc"),
    (["analyze", "empty.xtc", "--top", "TOP"], "empty.xtc"),
    (["analyze", "XTC", "--top", "missing.pdb"], "missing.pdb"),
    (["analyze", "XTC"], "top"),
    (["analyze", "notes.txt", "--top", "TOP"], "notes.txt"),
    (["analyze", "XTC", "--top", "OTHER"], "22"),
    (["analyze", "XTC", "--top", "TOP", "--features", "distances=name ZZ"], "name ZZ"),
    (["analyze", "XTC", "--top", "TOP", "--features", "torsion=phi"], "did you mean 'torsions'"),
    (["analyze", "XTC", "--top", "TOP", "--cv-lag", "900 us"], "900 us"),
    (["analyze", "XTC", "--top", "TOP", "--lag", "banana"], "banana"),
    (["analyze", "XTC", "--top", "TOP", "--states", "1", "--cv-lag", "1", "--dim", "1"], "state"),
    (["analyze", "XTC", "--top", "TOP", "--workers", "0"], "workers"),
    (["analyze", "XTC", "--top", "TOP", "--features", "angles"], "angles needs triplets"),
    (["analyze", "XTC", "--top", "TOP", "--temperature", "nan"], "temperature"),
    (["analyze", "XTC", "--top", "TOP", "--lag", "1e400 ps"], "1e400"),
    (["analyze", "XTC", "--top", "TOP", "--stride", "100000"], "single frame"),
    (["analyze", "XTC", "--top", "TOP", "--out", "file/out"], "file/out"),
    (["analyze", "bad.yaml"], "did you mean 'seed'"),
    (["analyze", "bad.yaml", "--seed", "3"], "--seed"),
    (["analyze", "missing.yaml"], "missing.yaml"),
]


@pytest.mark.parametrize(("arguments", "names"), BAD, ids=[" ".join(a)[:60] for a, _ in BAD])
def test_bad_input_is_named_in_a_line_or_two_without_a_traceback(arguments, names, examples, tmp_path):
    (tmp_path / "empty.xtc").touch()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.yaml").write_text("trajectories: a.xtc\nsead: 3\n")
    other = (examples / "ala2/top.pdb").read_text().replace("HETATM   22", "REMARK   22")
    (tmp_path / "other.pdb").write_text(other)
    places = {"XTC": examples / "ala2/ala2-00.xtc", "TOP": examples / "ala2/top.pdb", "OTHER": "other.pdb"}
    result = mdinsight(*(places.get(a, a) for a in arguments), cwd=tmp_path)
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and names in errors[0]
    assert "Traceback" not in result.stderr and "fault of mdinsight" not in result.stderr
    assert not (tmp_path / "mdinsight-out").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(examples, tmp_path):
    (tmp_path / "file").write_text("")
    result = mdinsight(
        "analyze", examples / "ala2/ala2-00.xtc", "--top", examples / "ala2/top.pdb", "--out", "file/out", cwd=tmp_path
    )
    assert result.returncode == 2 and "opened" not in result.stderr
