"""The results of a run: a folder that holds all of it, written whole, and true to the trajectories."""

import json
import shutil

import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.errors import OutputError
from mdinsight.results import all_hold


@pytest.fixture(scope="module")
def states(sampled):
    return sampled.states()


@pytest.fixture(scope="module")
def written(sampled):
    return mdi.analysis.write_run(sampled)


@pytest.fixture(scope="module")
def summary(written):
    return json.loads((written / "summary.json").read_text())


def test_it_stands_in_the_run_which_stays_whole(sampled, written, summary):
    assert written == sampled.store.path / "results"
    names = {path.name for path in written.iterdir()}
    assert {
        "summary.md",
        "summary.json",
        "report.html",
        "figures",
        "weights.npz",
        "state-1.pdb",
        "state-2.pdb",
    } <= names
    assert {"coordinate.mdi", "bias.mdi", "states.mdi"} <= names
    assert all_hold(sampled.store.verify())
    listed = set(summary["files"]) | {"summary.md", "figures"}
    assert names <= listed and all((written / name).is_file() for name in summary["files"])
    assert mdi.adaptive.look(sampled.store.path).status().rounds == len(sampled.history.decisions)


def test_weighted_frames_read_again_from_their_files_have_the_coordinate_that_is_written(sampled, written, states):
    with np.load(written / "weights.npz") as arrays:
        table = {name: arrays[name] for name in arrays.files}
    assert table["weight"].sum() == pytest.approx(1.0)
    assert np.allclose(np.exp(table["log_weight"] - table["log_weight"].max()) * table["weight"].max(), table["weight"])
    sums = [table["weight"][table["state"] == state + 1].sum() for state in range(len(states))]
    assert np.allclose(sums, states.populations.value)
    coordinate = mdi.load(written / "coordinate.mdi")
    features = mdi.features.Torsions("phi psi")
    for number in np.unique(table["file_index"])[::7]:
        rows = np.flatnonzero(table["file_index"] == number)
        trajs = mdi.open(sampled.store.path / str(table["files"][number]), top=sampled.plan.system.topology)
        values = coordinate.values(features.transform(trajs, cache=False)[0])[table["frame"][rows]]
        assert np.allclose(values, table["coordinate"][rows], atol=1e-5)


def test_the_models_are_those_of_the_run(sampled, written, states):
    assert mdi.load(written / "coordinate.mdi") == states.coordinate
    last = [d for d in sampled.history.decisions if d.kind == "biased"][-1]
    assert mdi.load(written / "bias.mdi") == sampled.history.bias_after(last)


def test_the_summary_says_every_figure_with_its_interval(sampled, summary, states):
    for name in ("populations", "free_energies", "passage_times", "lifetimes"):
        figure, said = getattr(states, name), summary["states"][name]
        for end in ("value", "low", "high"):
            again = np.array(said[end], dtype=float)  # null is NaN
            assert np.allclose(again, getattr(figure, end), equal_nan=True)
    assert [each["words"] for each in summary["states"]["each"]] == list(states.words)
    assert summary["simulated_ps"] == pytest.approx(sum(summary["cost_ps"].values()))
    assert [v["subject"] for v in summary["verdicts"]] == [v.subject for v in states.verdicts()]
    assert summary["plan"] == json.loads(json.dumps(sampled.plan.identity()))
    provenance = summary["provenance"]
    assert provenance["coordinate"] == states.coordinate.hash and provenance["system"] == sampled.plan.system.hash
    assert provenance["openmm"] and provenance["platforms"] == ["Reference"]
    for each in summary["states"]["each"]:
        assert all((sampled.store.path / place["file"]).is_file() for place in each["structures"])


def test_what_fails_stands_at_the_top_of_the_page_and_of_the_summary(written, states):
    text = (written / "summary.md").read_text()
    first = states.verdicts()[0]
    assert first.sentence in text
    if not first.holds:
        assert text.index(first.sentence) < text.index("| state |")
    for line in states.rows():
        assert all(cell in text for cell in line)


def test_the_page_needs_nothing_from_elsewhere_and_says_how_to_repeat_it(written, states):
    page = (written / "report.html").read_text()
    assert "<script" not in page and "http" not in page.replace("data:image", "")
    for heading in (
        "The states",
        "What was asked",
        "How it went",
        "Has it converged?",
        "What it cost",
        "How to repeat it",
    ):
        assert f"<h2>{heading}</h2>" in page
    assert states.coordinate.hash in page and states.words[1] in page
    assert page.count("<img ") >= 6


def test_writing_again_replaces_it_and_leaves_nothing_behind(sampled, written):
    before = {p.name for p in written.iterdir()}
    (written / "state-9.pdb").write_text("of an earlier time")
    assert mdi.analysis.write_run(sampled) == written
    assert {p.name for p in written.iterdir()} == before
    assert [p.name for p in sampled.store.path.iterdir() if p.name.startswith(".results")] == []


def test_what_is_not_ours_is_left_as_it_was(sampled, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        mdi.analysis.write_run(sampled, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_moved_run_gives_the_same(sampled, written, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(sampled.store.path, moved)
    folder = mdi.analysis.write_run(mdi.adaptive.look(moved))
    for name in ("summary.json", "weights.npz", "state-1.pdb"):
        assert (folder / name).read_bytes() == (written / name).read_bytes()


def test_a_run_that_has_not_begun_says_what_is_known_and_why_not_more(sampled, tmp_path):
    begun = mdi.adaptive.open(tmp_path / "run", sampled.plan)
    folder = mdi.analysis.write_run(begun)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["states"] is None and "no biased round has settled" in summary["why_no_states"]
    assert "No table of states yet" in (folder / "summary.md").read_text()
    page = (folder / "report.html").read_text()
    assert "What was asked" in page and "All checks hold" not in page
    assert not list(folder.glob("state-*.pdb"))
