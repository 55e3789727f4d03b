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
