"""What a biased run recorded: checked, cut, joined, saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mdinsight.bias._trace import Trace
from mdinsight.errors import BiasError, NonFiniteError, ParameterError, SelectionError


def a_trace(n: int = 12, walkers: int = 2, dim: int = 2, start: int = 0, **changes) -> Trace:
    rng = np.random.default_rng(start)
    step = start + np.repeat(np.arange(n // walkers), walkers) * 500
    fields = {
        "names": tuple(f"c{i}" for i in range(dim)),
        "periods": (2 * np.pi,) + (None,) * (dim - 1),
        "temperature": 300.0,
        "walker": np.tile(np.arange(walkers), n // walkers),
        "step": step,
        "time": step * 0.002,
        "s": rng.normal(size=(n, dim)),
        "bias": rng.normal(size=n),
        "fixed": rng.normal(size=n),
        "offset": rng.normal(size=n),
    }
    return Trace(**{**fields, **changes})


def test_saved_and_loaded(tmp_path: Path, monkeypatch) -> None:
    trace = a_trace()
    monkeypatch.setattr("mdinsight.bias.Trace", Trace, raising=False)  # where a saved trace is loaded from
    again = Trace.load(trace.save(tmp_path / "trace.zip"))
    assert again == trace and again.periods == (2 * np.pi, None)
    np.testing.assert_array_equal(again.s, trace.s)
    assert again.walker.dtype == np.int32 and again.step.dtype == np.int64


def test_weights_are_of_that_moment() -> None:
    trace = a_trace()
    kT = 8.31446261815324e-3 * 300
    np.testing.assert_allclose(trace.log_weights(), (trace.bias + trace.fixed - trace.offset) / kT, rtol=1e-15)


def test_rows_of_saved_frames() -> None:
    trace = a_trace(n=40, walkers=2)
    rows = trace.rows_at(np.array([1500, 0, 9500]), walker=1)
    assert (trace.walker[rows] == 1).all() and trace.step[rows].tolist() == [1500, 0, 9500]
    np.testing.assert_array_equal(trace.rows_at(np.array([3.0, 0.0, 19.0], dtype=np.float32), walker=1), rows)
    np.testing.assert_array_equal(trace.rows_at(trace.time[trace.walker == 0]), np.flatnonzero(trace.walker == 0))
    assert trace.rows_at(500).tolist() == [2]
    for when in (250, 10_000, -500, 1.25, np.nan):
        with pytest.raises(SelectionError, match="has no row at"):
            trace.rows_at(when)
    with pytest.raises(SelectionError, match="walker 7; the walkers are 0, 1"):
        trace.rows_at(0, walker=7)


def test_selecting_and_joining() -> None:
    trace = a_trace(n=40)
    one = trace.select(1)
    assert one.walkers == (1,) and len(one) == 20
    np.testing.assert_array_equal(one.s, trace.s[trace.walker == 1])
    halves = [trace.take(slice(0, 20)), trace.take(np.arange(40) >= 20)]
    assert Trace.concatenate(halves) == trace
    apart = Trace.concatenate([trace, one], independent=True)
    assert apart.walkers == (0, 1, 2)
    np.testing.assert_array_equal(apart.select(2).s, one.s)
    with pytest.raises(ParameterError, match="walker 1: step 9500 is followed by 0"):
        Trace.concatenate([trace, one])
    with pytest.raises(BiasError, match="has temperature 310"):
        Trace.concatenate([trace, a_trace(temperature=310)])
    with pytest.raises(BiasError, match="has names"):
        Trace.concatenate([trace, a_trace(dim=1)])
    with pytest.raises(ParameterError, match="at least one"):
        Trace.concatenate([])
    with pytest.raises(SelectionError, match="walker 5"):
        trace.select(5)


@pytest.mark.parametrize("field", ["time", "s", "bias", "fixed", "offset"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_what_is_not_finite(field: str, value: float) -> None:
    broken = np.array(getattr(a_trace(), field))
    broken[7] = value
    with pytest.raises(NonFiniteError, match=f"{field} of row 7"):
        a_trace(**{field: broken})


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ParameterError, match="different lengths"):
        a_trace(bias=np.zeros(11))
    with pytest.raises(ParameterError, match="one name and one period"):
        a_trace(names=("a",))
    with pytest.raises(ParameterError, match="one name and one period"):
        a_trace(periods=(None,))
    with pytest.raises(ParameterError, match="walker 0: step 0 is followed by 0"):
        a_trace(step=np.zeros(12, dtype=int))
    with pytest.raises(ParameterError, match="expected integers"):
        a_trace(walker=np.zeros(12))
    with pytest.raises(ParameterError, match="expected numbers"):
        a_trace(s=np.zeros(12))
    with pytest.raises(ParameterError, match="not positive"):
        a_trace(temperature=0)
