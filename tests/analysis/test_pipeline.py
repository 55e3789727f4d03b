"""The whole row: on systems whose answer is known, and on real molecular dynamics."""

import json
import os
import shutil

import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.analysis import Config, reserve, run, write
from mdinsight.errors import LagError, OutputError, ParameterError


def configuration(examples, files="ala2_fast/ala2_fast-0[0-3].xtc", **more):
    content = {"trajectories": {"files": [str(examples / files)], "top": str(examples / "ala2/top.pdb"), "stride": 2}}
    return Config.parse({**content, "cv": {"lag": 1, "dim": 2}, "states": {"n": 50}, "msm": {"samples": 20}, **more})


@pytest.fixture(scope="module")
def small(examples):
    return run(configuration(examples))


@pytest.mark.parametrize("workers", [1, 3])
def test_the_result_does_not_depend_on_the_number_of_workers(small, examples, workers):
    again = run(configuration(examples, workers=workers))
    assert again.cv.hash == small.cv.hash
    assert again.model.hash == small.model.hash
    assert again.timescales.hash == small.timescales.hash


def test_another_seed_gives_other_states_and_the_same_molecule(small, examples):
    other = run(configuration(examples, seed=8))
    assert other.model.hash != small.model.hash and other.cv.hash == small.cv.hash
    assert other.model.timescales(1).overlaps(small.model.timescales(1)).all()


@pytest.mark.parametrize("method", ["vamp", "vampnet", "pca"])
def test_every_kind_of_coordinate_goes_through(examples, method):
    found = run(configuration(examples, cv={"method": method, "dim": 1, **({} if method == "pca" else {"lag": 1})}))
    assert found.cv.dim == 1 and found.coordinates.n_columns == 1
    assert (
        json.loads(json.dumps(mdi.analysis.summarise(found), allow_nan=False))["coordinates"]["kind"] == found.cv.kind
    )


def test_a_structure_is_the_frame_that_it_says_it_is(small, tmp_path):
    import csv

    import mdtraj

    write(small, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out/structures/frames.csv").open()))
    assert len(rows) == small.macrostates.n * min(20, small.config.structures)
    names = {t.label: t for t in small.trajectories}
    for row in rows[:5]:
        file = next(
            t.path for label, t in names.items() if label == os.path.basename(row["file"]) or str(t.path) == row["file"]
        )
        frame = mdtraj.load_frame(str(file), int(row["frame"]), top=small.trajectories[0].topology)
        column = small.features.transform(mdtraj.Trajectory(frame.xyz, frame.topology))
        state = small.dtrajs.definition.transform(small.cv.transform(column))[0][0, 0]
        active = small.macrostates.active_states
        assert small.macrostates.memberships[np.flatnonzero(active == state)[0], int(row["macrostate"])] > 0


def test_the_folder_is_whole_or_absent(small, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mdi.records.Model, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        write(small, out)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    write(small, out)
    before = (out / "summary.json").read_bytes()
    monkeypatch.setattr(mdi.records.Model, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        write(small, out, force=True)
    assert (out / "summary.json").read_bytes() == before and list(tmp_path.iterdir()) == [out]
    monkeypatch.undo()
    with pytest.raises(OutputError, match="holds an analysis already"):
        write(small, out)
    write(small, out, force=True)
    assert list(tmp_path.iterdir()) == [out]


def test_where_an_analysis_may_be_written(tmp_path):
    assert reserve(tmp_path / "new/deep") == tmp_path / "new/deep"
    (tmp_path / "empty").mkdir()
    reserve(tmp_path / "empty")
    full = tmp_path / "full"
    full.mkdir()
    (full / "summary.json").write_text("{}")  # somebody else's
    for force in (False, True):
        with pytest.raises(OutputError, match="no analysis"):
            reserve(full, force=force)
    (full / "summary.json").write_text('{"mdinsight": "0.1"}')
    with pytest.raises(OutputError, match="holds an analysis already"):
        reserve(full)
    assert reserve(full, force=True) == full
    (full / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        reserve(full, force=True)
    with pytest.raises(OutputError, match="is a file"):
        reserve(full / "thesis.tex")
    with pytest.raises(OutputError, match="too long"):
        reserve(tmp_path / ("x" * 300))


def test_nothing_that_is_no_analysis_is_replaced(small, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(OutputError, match=r"thesis\.tex"):
            write(small, tmp_path, force=force)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_link_to_a_folder_stays_a_link(small, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(small, tmp_path / "link")
    write(small, tmp_path / "link", force=True)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real/summary.json").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


def test_a_lag_that_cannot_be_is_refused_before_the_work(examples):
    steps = []
    for section in ("cv", "msm"):
        with pytest.raises(LagError, match=rf"{section}\.lag='0.7 ps' is no multiple"):
            run(configuration(examples, **{section: {"lag": "0.7 ps"}}), on_step=steps.append)
    assert steps == []


def test_two_topologies_in_one_analysis(examples, tmp_path):
    shutil.copy(examples / "ala2/ala2-01.xtc", tmp_path / "b.xtc")
    renamed = (examples / "ala2/top.pdb").read_text().replace("ALA", "SER")  # a mutant by name
    (tmp_path / "b.pdb").write_text(renamed)
    files = {
        "files": [str(examples / "ala2/ala2-00.xtc"), str(tmp_path / "b.xtc")],
        "top": [str(examples / "ala2/top.pdb"), str(tmp_path / "b.pdb")],
        "stride": 4,
    }
    found = run(
        Config.parse({"trajectories": files, "features": ["torsions"], "cv": {"lag": 1, "dim": 2}, "states": {"n": 30}})
    )
    assert len(found.trajectories.topologies) == 2 and found.series.n_columns == 4
    write(found, tmp_path / "out")


def test_a_kind_of_feature_that_is_not_known(examples):
    with pytest.raises(ParameterError, match="did you mean 'torsions'"):
        run(configuration(examples, features=["torsion"]))
    with pytest.raises(ParameterError, match="'selektion' is not an argument"):
        run(configuration(examples, features=[{"distances": {"selektion": "name CA"}}]))
