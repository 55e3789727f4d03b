import json
import subprocess
import sys
import warnings
import zipfile
from dataclasses import field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mdinsight as mdi
from mdinsight.errors import ModelFileError, OutputError
from mdinsight.records import Model, load
from mdinsight.results import Estimate, Verdict
from mdinsight.series import Column


class Sample(Model):
    home = "mdinsight.records"  # where load() looks; the fixture below puts it there

    numbers: np.ndarray
    columns: tuple[Column, ...] = ()
    settings: dict = field(default_factory=dict)
    best: Estimate | None = None
    scale: float = 1.0


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setattr(mdi.records, "Sample", Sample, raising=False)


def sample(**changes):
    content = {
        "numbers": np.linspace(0, 1, 7),
        "columns": [Column("cos phi", atoms=(1, 2, 3, 4), period=6.28)],
        "settings": {"lag": "10 ps", "dim": 2, "none": None, "nested": (1, (2.5, "x"))},
        "best": Estimate(1.0, 0.5, float("inf"), "ps"),
        "scale": float("nan"),
    }
    return Sample(**{**content, **changes})


def test_a_saved_model_loads_to_the_same_hash_and_numbers(tmp_path):
    model = sample()
    again = load(model.save(tmp_path / "model.mdi"))
    assert again.hash == model.hash and again == model
    assert again.numbers.tobytes() == model.numbers.tobytes()
    assert again.columns == model.columns and again.settings == model.settings
    assert np.isinf(again.best.high) and np.isnan(again.scale)


def test_the_same_model_is_the_same_file(tmp_path):
    assert sample().save(tmp_path / "a").read_bytes() == sample().save(tmp_path / "b").read_bytes()


def test_the_hash_is_the_same_in_another_process():
    code = "from mdinsight.results import Verdict; print(Verdict('connected', True, 'all of it').hash)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert out == Verdict("connected", True, "all of it").hash


@given(st.integers(0, 6), st.floats(-1e6, 1e6).filter(lambda x: abs(x) > 1e-9))
def test_any_change_changes_the_hash(position, delta):
    changed = np.linspace(0, 1, 7)
    changed[position] += delta
    assert sample(numbers=changed).hash != sample().hash


def test_the_shape_and_the_type_of_an_array_are_part_of_the_content():
    a = np.arange(6.0)
    assert len({sample(numbers=x).hash for x in (a, a.reshape(2, 3), a.reshape(3, 2), a.astype("f4"))}) == 4


def test_a_model_cannot_be_changed():
    mine = np.ones(3)
    model = sample(numbers=mine)
    mine[0] = 5.0
    assert model.numbers[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        model.numbers[0] = 2.0
    with pytest.raises(AttributeError):
        model.scale = 2.0


@pytest.mark.parametrize("damage", ["torn", "changed", "format", "foreign", "missing", "text"])
def test_a_damaged_file_is_refused_by_name(tmp_path, damage):
    path = sample().save(tmp_path / "model.mdi")
    data = path.read_bytes()
    if damage == "torn":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "missing":
        path.unlink()
    elif damage == "text":
        path.write_text("hello")
    else:
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        header = json.loads(content["model.json"])
        if damage == "changed":
            header["model"]["fields"]["settings"]["dict"]["dim"] = 3
        elif damage == "format":
            header["format"] = 99
        else:
            header["model"]["record"] = "os.system"
        content["model.json"] = json.dumps(header).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, value in content.items():
                archive.writestr(name, value)
    with pytest.raises(ModelFileError, match=r"model\.mdi|may only hold"):
        load(path)


def test_loading_as_another_kind_is_refused(tmp_path):
    class Other(Model):
        pass

    path = sample().save(tmp_path / "model.mdi")
    assert Sample.load(path) == sample()
    with pytest.raises(ModelFileError, match="holds a Sample, not a Other"):
        Other.load(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        sample().save(tmp_path / "file" / "model.mdi")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    from mdinsight.files import atomic

    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as handle:
        handle.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_estimate_reads_well_and_compares():
    a = Estimate.from_samples(2.0, np.linspace(1, 3, 1001), "ps")
    assert str(a) == "2 ps [1.05 ps, 2.95 ps]"
    assert a.contains(2.5) and not a.contains(3.0)
    assert a.overlaps(Estimate(4.0, 2.9, 5.0)) and not a.overlaps(Estimate(4.0, 3.0, 5.0))
    assert str(a.scaled(1000, "ps")) == "2 ns [1.05 ns, 2.95 ns]"
    assert str(a.scaled(0.01, "")) == "0.02 [0.0105, 0.0295]"
    assert str(Estimate(3.0, np.nan, np.nan, "frames")) == "3 frames (no interval)"
    assert str(Estimate([1.0, np.nan], [0.5, 0.0], [2.0, 1.0], "kJ/mol")) == "1 kJ/mol [0.5, 2], not determined"


def test_intervals_of_samples_that_are_not_finite_warn_of_nothing():
    samples = np.array([[1.0, np.inf, np.nan, -np.inf], [2.0, np.inf, np.nan, 0.0], [3.0, 1.0, np.nan, np.inf]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Estimate.from_samples(np.array([2.0, np.inf, np.nan, 0.0]), samples)
    assert found.low[0] == pytest.approx(1.05) and found.high[0] == pytest.approx(2.95)
    assert found.low[1] >= 1.0 and found.high[1] == np.inf
    assert np.isnan([found.low[2], found.high[2]]).all()
    assert found.low[3] == -np.inf and found.high[3] == np.inf
