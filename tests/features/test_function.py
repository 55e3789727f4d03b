"""A user's function: what its identity is made of, what it may read, and how its mistakes are told."""

from __future__ import annotations

import importlib.util
import textwrap

import mdtraj
import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.errors import MdinsightError
from mdinsight.features import Function
from mdinsight.features._code import code_identity


def loaded(folder, source, name="mine"):
    path = folder / f"{name}.py"
    path.write_text(textwrap.dedent(source))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOURCE = """
    import numpy as np
    SCALE = 2.0
    PAIR = (0, (1, "x"))
    TABLE = [1.0]
    def inner(x): return x * SCALE
    def f(frames): return inner(frames.xyz[:, PAIR[0], 0])
    def table(frames): return frames.xyz[:, 0, 0] * TABLE[0]
    def through(frames): return table(frames)
    def sets(frames):
        global SCALE
        SCALE = 3.0
        return frames.xyz[:, 0, 0]
    def looks(frames): return eval("frames.xyz[:, 0, 0]")
    def other(frames):
        import mine_too
        return mine_too.f(frames)
    def again(frames, n=2): return frames.xyz[:, 0, 0] if n == 0 else again(frames, n - 1)
    def shifted(by): return lambda frames: np.sin(frames.xyz[:, 0, 0]) + by
"""


def test_what_a_function_reads_is_part_of_its_identity(tmp_path):
    one = loaded(tmp_path, SOURCE)
    same = loaded(tmp_path, SOURCE)
    assert code_identity(one.f) == code_identity(same.f) is not None
    assert code_identity(loaded(tmp_path, SOURCE.replace("x * SCALE", "x + SCALE")).f) != code_identity(one.f)
    for name, value in (("SCALE", 3.0), ("SCALE", 2), ("PAIR", (0, (1, "y"))), ("inner", abs)):
        changed = loaded(tmp_path, SOURCE)
        setattr(changed, name, value)
        assert code_identity(changed.f) not in (None, code_identity(one.f))
    assert code_identity(one.again) is not None
    assert code_identity(one.shifted(1.0)) == code_identity(same.shifted(1.0)) != code_identity(one.shifted(2.0))
    for unknown in (one.table, one.through, one.sets, one.looks, one.other, one.shifted([1.0]), one.shifted(one)):
        assert code_identity(unknown) is None


def test_what_is_loaded_counts_and_not_the_file(tmp_path, frames):
    """The file is edited after it was imported: the results of the old code must not pass for those of the new."""
    old = loaded(tmp_path, SOURCE)
    (tmp_path / "mine.py").write_text(textwrap.dedent(SOURCE.replace("x * SCALE", "x + SCALE")))
    first = Function(old.f, "x").transform(frames, cache=tmp_path)[0]
    new = loaded(tmp_path, SOURCE.replace("x * SCALE", "x + SCALE"))
    second = Function(new.f, "x").transform(frames, cache=tmp_path)[0]
    np.testing.assert_allclose(first[:, 0], frames.xyz[:, 0, 0] * 2, atol=1e-6)
    np.testing.assert_allclose(second[:, 0], frames.xyz[:, 0, 0] + 2, atol=1e-6)


def test_a_global_that_is_set_after_the_definition_was_made(tmp_path, frames):
    mine = loaded(tmp_path, SOURCE)
    feature = Function(mine.f, "x")
    feature.transform(frames, cache=tmp_path)
    mine.SCALE = 5.0
    assert not feature.cacheable
    np.testing.assert_allclose(feature.transform(frames, cache=tmp_path)[0][:, 0], frames.xyz[:, 0, 0] * 5, atol=1e-6)


def _time(frames):
    return frames.time


def test_the_times_are_part_of_what_a_function_is_of(tmp_path, frames):
    frames[:10].save_dcd(str(tmp_path / "a.dcd"))
    for dt in (2.0, 5.0):
        trajs = mdi.open(tmp_path / "a.dcd", top=frames.topology, dt=dt)
        found = Function(_time, "t").transform(trajs, cache=tmp_path)[0]
        np.testing.assert_allclose(found[:, 0], dt * np.arange(10))
    moved = mdtraj.Trajectory(frames.xyz[:10], frames.topology, time=np.arange(10) * 2.0 + 100)
    for offset in (0.0, 50.0):
        moved.time = np.arange(10) * 2.0 + offset
        found = Function(_time, "t").transform(mdi.open(moved), cache=tmp_path)[0]
        np.testing.assert_allclose(found[:, 0], moved.time)


@pytest.mark.parametrize(
    ("function", "cause", "why"),
    [
        (lambda frames: 1 / 0, ZeroDivisionError, "failed with ZeroDivisionError"),
        (lambda frames: ["a"] * len(frames.xyz), None, "values of type <U1; return real numbers"),
        (lambda frames: [None] * len(frames.xyz), None, "values of type object"),
        (lambda frames: [[0.0]] * (len(frames.xyz) - 1) + [[0.0, 1.0]], ValueError, "failed with ValueError"),
        (lambda frames: frames.xyz[:, 0, 0] * 1j, None, "complex"),
        (lambda frames: frames.xyz[:-1, 0, 0], None, r"shape \(39, 1\) for 40 frames"),
    ],
)
def test_a_mistake_in_a_function_names_feature_file_and_frames(function, cause, why, frames):
    match = rf"object 0, frames 0 to 39: Function\('.*lambda.*{why}"
    with pytest.raises(MdinsightError, match=match) as error:
        Function(function, "x").transform(frames, cache=False)
    assert isinstance(error.value.__cause__, cause) if cause else error.value.__cause__ is None


CHANGES = {
    "chain": lambda top: setattr(top.chain(0), "chain_id", "Q"),
    "serial": lambda top: setattr(top.atom(0), "serial", 777),
    "segment": lambda top: setattr(top.residue(0), "segment_id", "PROA"),
    "number": lambda top: setattr(top.residue(1), "resSeq", 55),
    "bond": lambda top: top.add_bond(top.atom(0), top.atom(6), order=2),
}


def _looks(frames):
    top = frames.topology
    seen = (top.chain(0).chain_id, top.atom(0).serial, top.residue(0).segment_id, top.residue(1).resSeq, top.n_bonds)
    return np.full(len(frames.xyz), float(sum(repr(seen).encode())))


@pytest.mark.parametrize("change", CHANGES)
def test_cached_results_are_of_the_topology_that_the_function_saw(change, frames, tmp_path):
    feature, other = Function(_looks, ["v"]), frames[:]
    other.topology = frames.topology.copy()
    stream = feature.stream(mdi.open(other), cache=tmp_path)
    CHANGES[change](other.topology)
    before, after = stream.load(), feature.transform(other, cache=tmp_path)
    assert np.array_equal(before[0], feature.transform(frames, cache=False)[0])
    assert np.array_equal(after[0], feature.transform(other, cache=False)[0])
    assert not np.array_equal(before[0], after[0])
