import pytest
import yaml

from mdinsight.analysis import Config
from mdinsight.errors import ParameterError

MINIMAL = {"trajectories": "a/*.xtc", "top": "a/top.pdb"}


def test_the_short_form_is_the_long_form():
    long = {"trajectories": {"files": ["a/*.xtc"], "top": "a/top.pdb"}}
    assert Config.parse(MINIMAL) == Config.parse(long)


def test_yaml_there_and_back(tmp_path):
    config = Config.parse(
        {
            **MINIMAL,
            "features": ["torsions", {"contacts": {"scheme": "ca"}}],
            "cv": {"lag": "10 ps", "dim": 3},
            "msm": {"lag": 5},
        }
    )
    path = tmp_path / "c.yaml"
    path.write_text(config.to_yaml())
    again = Config.read(path)
    assert again.cv == config.cv and again.msm == config.msm and again.features == config.features


def test_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(MINIMAL))
    config = Config.read(tmp_path / "c.yaml")
    assert config.trajectories.files == (str(tmp_path / "a/*.xtc"),)
    assert config.trajectories.top == str(tmp_path / "a/top.pdb")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sed": 3}, "sed is not a key; did you mean 'seed'"),
        ({"cv": {"lagg": 3}}, "cv.lagg is not a key; did you mean 'lag'"),
        ({"msm": {"banana": 3}}, "msm.banana is not a key; the keys are lag, macrostates, samples"),
        ({"cv": {"method": "isomap"}}, "cv.method='isomap'"),
        ({"seed": -1}, "seed=-1"),
        ({"temperature": -3}, "temperature=-3"),
        ({"trajectories": []}, "trajectories.files is empty"),
        ({"states": {"method": "regular"}}, "needs states.dmin"),
    ],
)
def test_what_is_wrong_is_named_with_the_nearest_key(change, says):
    with pytest.raises(ParameterError) as caught:
        Config.parse({**MINIMAL, **change})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"), [("a: [", "is not YAML"), ("", "holds no settings"), ("- a", "holds no settings")]
)
def test_a_file_that_is_no_configuration(tmp_path, text, says):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ParameterError, match=says):
        Config.read(path)
    with pytest.raises(ParameterError, match="cannot read"):
        Config.read(tmp_path / "missing.yaml")


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Config.parse(MINIMAL).seed = 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cv": {"lag": True}}, "cv.lag=True is not possible (an int (frames), a time such as '10 ps', or 'auto')"),
        ({"msm": {"lag": 10.0}}, "msm.lag=10.0 is not possible (an int (frames)"),
        ({"seed": True}, "seed=True is not possible (a non-negative int)"),
        ({"cv": {"dim": 0}}, "cv.dim=0 is too few"),
        ({"msm": {"macrostates": 1}}, "msm.macrostates=1 is too few"),
        ({"cv": {"method": "pca", "lag": 5}}, "PCA has no lag"),
        ({"temperature": float("nan")}, "not finite"),
        ({"temperature": "inf K"}, "temperature='inf K'"),
        ({"states": {"method": "regular", "dmin": float("inf")}}, "states.dmin=inf"),
        ({"trajectories": {"files": "a.xtc", "dt": True}}, "trajectories.dt=True is not possible (time between frames"),
    ],
)
def test_what_could_mean_two_things_is_refused(change, says):
    with pytest.raises(ParameterError) as caught:
        Config.parse({**MINIMAL, **change})
    assert says in str(caught.value) and "Input should" not in str(caught.value)


def test_short_forms():
    from pathlib import Path

    config = Config.parse({"trajectories": [Path("a.xtc")], "top": Path("a.pdb"), "cv": None, "features": "torsions"})
    assert config.trajectories.files == ("a.xtc",) and config.trajectories.top == "a.pdb"
    assert config.features == ("torsions",) and config.cv == Config.parse(MINIMAL).cv


@pytest.mark.parametrize("wrong", ["c.yaml", ["a"], None, 3])
def test_what_is_no_mapping(wrong):
    with pytest.raises(ParameterError, match="not a mapping"):
        Config.parse(wrong)


def test_a_key_given_twice_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("trajectories: a.xtc\nseed: 3\nseed: 4\n")
    with pytest.raises(ParameterError, match="'seed' is given twice"):
        Config.read(tmp_path / "c.yaml")


def test_references_and_odd_folders_are_placed_too(tmp_path):
    folder = tmp_path / "run [1]"
    folder.mkdir()
    content = {
        **MINIMAL,
        "features": [{"rmsd": "ref.pdb"}, {"positions": {"reference": "ref.pdb", "selection": "name CA"}}],
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(content))
    config = Config.read(folder / "c.yaml")
    assert config.features[0] == {"rmsd": str(folder / "ref.pdb")}
    assert config.features[1]["positions"]["reference"] == str(folder / "ref.pdb")
    assert config.trajectories.files == (str(tmp_path / "run [[]1]" / "a/*.xtc"),)


def test_seen_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config.parse({**MINIMAL, "features": [{"rmsd": "ref.pdb"}]}).relative_to(tmp_path / "out")
    assert config.trajectories.files == ("../a/*.xtc",) and config.trajectories.top == "../a/top.pdb"
    assert config.features == ({"rmsd": "../ref.pdb"},)
