"""Identities: they come back as they were given, and every difference is named."""

from __future__ import annotations

import json
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdinsight.errors import ParameterError, PlanError, StoreError
from mdinsight.store._content import differences, frozen, plain_json, sealed, unsealed
from mdinsight.store._store import Store

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
identities = st.dictionaries(st.text(), values, max_size=4)


@settings(max_examples=60, deadline=None)
@given(identity=identities)
def test_an_identity_comes_back_as_it_was_given(identity: dict):
    with tempfile.TemporaryDirectory() as folder:
        Store.create(Path(folder) / "run", identity)
        store = Store.open(Path(folder) / "run")
        assert store.identity == frozen(identity)
        assert json.loads(json.dumps(store.identity)) == identity
        store.check(identity)


@given(was=identities, now=identities)
def test_differences_are_named_if_and_only_if_there_are_some(was: dict, now: dict):
    assert differences(was, was) == []
    if json.dumps(was, sort_keys=True) == json.dumps(now, sort_keys=True):
        assert differences(was, now) == []
    elif was != now:
        assert differences(was, now)
        assert len(differences(was, now)) == len(differences(now, was))


@given(identity=identities, data=st.data())
def test_any_byte_that_changes_is_found(identity: dict, data):
    content = sealed({"format": 1, "identity": identity})
    assert unsealed(content, "run.json", "") == {"format": 1, "identity": identity}
    at = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != content[at]))
    with pytest.raises(StoreError, match=r"run\.json"):
        unsealed(content[:at] + bytes([byte]) + content[at + 1 :], "run.json", "")
    with pytest.raises(StoreError, match=r"run\.json"):
        unsealed(content[:at], "run.json", "")


WAS = {
    "seed": 7,
    "plan": {"walkers": 4, "segment": 200.0, "cv": {"kind": "tica", "lag": 20.0}, "notes": None},
    "features": [{"kind": "torsions", "which": "phi psi"}, {"kind": "distances"}],
    "masses": [1.0, 12.0],
    "system": "0" * 200,
    "reuse": True,
}


def test_each_difference_is_named_with_both_values(tmp_path: Path):
    store = Store.create(tmp_path / "run", WAS)
    store.check({**WAS, "seed": 7.0})  # the same number
    now = {
        "plan": {"walkers": 8, "segment": 200, "cv": {"kind": "tica", "lag": 20.5}, "notes": "x", "budget": {"ns": 5}},
        "features": [{"kind": "torsions", "which": "phi"}],
        "masses": [1.0, 12.5],
        "system": "0" * 190 + "1" * 10,
        "reuse": 1,
    }
    with pytest.raises(PlanError) as error:
        store.check(now)
    lines = str(error.value).splitlines()
    assert str(store.path) in lines[0] and "10 differences" in lines[0]
    assert lines[1:-1] == [
        '  features.0.which: was "phi psi", is now "phi"',
        '  features.1.kind: was "distances", is gone',
        "  masses: was [1.0, 12.0], is now [1.0, 12.5]",
        "  plan.budget.ns: was not there, is now 5",
        "  plan.cv.lag: was 20.0, is now 20.5",
        '  plan.notes: was null, is now "x"',
        "  plan.walkers: was 4, is now 8",
        "  reuse: was true, is now 1",
        "  seed: was 7, is gone",
        lines[10],
    ]
    was, _, is_now = lines[10].partition(", is now ")
    assert was.startswith("  system: was ...0") and "1" not in was and is_now.count("1") == 10  # cut, but not alike
    assert len(lines[10]) < 200
    assert "new run in another folder" in lines[-1]


@pytest.mark.parametrize(
    ("identity", "where"),
    [
        ({"a": {"b": [1, float("nan")]}}, "identity.a.b.1"),
        ({"a": {3: 1}}, "identity.a"),
        ({"a": Path("x")}, "identity.a is a PosixPath"),
        ({"a": np.array([1.0, np.inf])}, "identity.a.1"),
        ({"a": {1, 2}}, "identity.a is a set"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_name(tmp_path: Path, identity: dict, where: str):
    with pytest.raises(ParameterError, match=where):
        Store.create(tmp_path / "run", identity)
    assert not (tmp_path / "run").exists()


def test_numpy_numbers_become_plain_ones():
    given_values = {"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True), "d": np.arange(4).reshape(2, 2)}
    assert plain_json(given_values, "") == {"a": 0.5, "b": 3, "c": True, "d": [[0, 1], [2, 3]]}
    assert plain_json(np.longdouble(2), "") == 2.0


def test_a_frozen_identity_cannot_be_changed_and_travels_between_processes():
    identity = frozen({"a": {"b": [1, 2]}})
    for change in (
        lambda: identity.update(a=1),
        lambda: identity.__setitem__("a", 1),
        lambda: identity["a"].pop("b"),
        lambda: identity["a"].setdefault("c", 1),
    ):
        with pytest.raises(TypeError, match="does not change"):
            change()
    assert identity == {"a": {"b": (1, 2)}}
    again = pickle.loads(pickle.dumps(identity))  # noqa: S301
    assert again == identity and type(again) is type(identity) and type(again["a"]) is type(identity)
