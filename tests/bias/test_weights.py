"""Weights of biased frames, from when on, and how many independent frames they are worth."""

from __future__ import annotations

import numpy as np
import pytest
from pymbar import timeseries

from mdinsight.bias._trace import Trace
from mdinsight.bias._weights import (
    drift,
    effective_sample_size,
    frame_weights,
    kept,
    kish,
    statistical_inefficiency,
    transient,
)
from mdinsight.errors import NonFiniteError, ParameterError
from mdinsight.units import GAS_CONSTANT

kT = GAS_CONSTANT * 300


def a_trace(x: np.ndarray, bias: np.ndarray, walker: np.ndarray | None = None, **changes) -> Trace:
    """A run along one coordinate; energies in kT."""
    n = len(x)
    walker = np.zeros(n, dtype=int) if walker is None else walker
    step = np.empty(n, dtype=int)
    for number in np.unique(walker):
        step[walker == number] = np.arange((walker == number).sum())
    zero = np.zeros(n)
    fields = {"walker": walker, "step": step, "time": step * 1.0, "s": x[:, None], "bias": bias * kT, "fixed": zero}
    return Trace(("x",), (None,), 300.0, **{**fields, "offset": zero, **changes})


def correlated(n: int, tau: float, seed: int) -> np.ndarray:
    """A Gaussian process of unit variance whose correlation falls as exp(-t / tau)."""
    rng = np.random.default_rng(seed)
    keep, x = np.exp(-1 / tau), np.empty(n)
    x[0] = rng.normal()
    for i, kick in enumerate(rng.normal(size=n - 1)):
        x[i + 1] = keep * x[i] + np.sqrt(1 - keep**2) * kick
    return x


def test_weights_undo_the_bias() -> None:
    """Frames of exp(-(u + v)): their weighted moments are those of exp(-u), a Gaussian."""
    rng = np.random.default_rng(1)
    v = 0.4  # bias of -v x^2 / 2: the biased variance is 1 / (1 - v)
    x = rng.normal(0, (1 - v) ** -0.5, 200_000)
    weights = frame_weights(a_trace(x, np.zeros(len(x)), fixed=-0.5 * v * x**2 * kT))
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert weights @ x**2 == pytest.approx(1.0, abs=0.02)
    assert weights @ x**4 == pytest.approx(3.0, abs=0.1)
    # the effective fraction of Gaussian weights is known: (sum w)^2 / (n sum w^2)
    exact = np.sqrt((1 - v) * (1 + v)) / 1.0
    assert kish(np.log(weights)) / len(x) == pytest.approx(exact, rel=0.02)


def test_huge_energies_do_not_overflow() -> None:
    weights = frame_weights(a_trace(np.arange(4.0), np.array([3e4, 3e4, 0.0, 3e4]) + np.log([1, 2, 1, 1])), discard=0)
    np.testing.assert_allclose(weights, [0.25, 0.5, 0.0, 0.25], rtol=1e-7)


def test_shuffled_rows_weigh_the_same() -> None:
    rng = np.random.default_rng(2)
    x, order = rng.normal(size=500), rng.permutation(500)
    plain = frame_weights(a_trace(x, x**2), discard=0)
    np.testing.assert_allclose(frame_weights(a_trace(x[order], x[order] ** 2), discard=0), plain[order], rtol=1e-12)


def test_static_bias_drops_nothing_whatever_the_order() -> None:
    """All of one state first, of the other then: the weights differ a hundredfold, the bias at a place does not."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(-1, 0.1, 3000), rng.normal(1, 0.1, 3000)] * 2)
    for bias in (5.0 * x, np.where(x > 0, 5.0, 0.0)):
        assert transient(a_trace(x, bias)) == 0.0
    assert transient(a_trace(x, np.zeros(len(x)))) == 0.0


def test_growing_bias_is_dropped() -> None:
    """A bias that fills to its final form in the first fifth of the run; offset too is part of the level."""
    rng = np.random.default_rng(4)
    x, t = rng.uniform(-1, 1, 8000), np.linspace(0, 1, 8000)
    growing = 10.0 * np.cos(2 * x) * np.minimum(1.0, t / 0.2)
    assert 0.1 <= transient(a_trace(x, growing)) <= 0.2
    # metadynamics' level goes on rising for ever, its offset with it: what is left is what counts
    level = 30.0 * t
    assert transient(a_trace(x, growing + level)) == 0.5
    assert 0.1 <= transient(a_trace(x, growing + level, offset=level * kT)) <= 0.2
    assert drift(a_trace(x, growing)) < 0.2
    assert drift(a_trace(x, growing + level)) == pytest.approx(7.5 * kT, rel=0.15)  # a quarter of the run of 30 kT


def test_transient_of_walkers_and_periodic_coordinates() -> None:
    rng = np.random.default_rng(5)
    t = np.tile(np.linspace(0, 1, 3000), 2)
    x = rng.uniform(-np.pi, np.pi, 6000)
    bias = 8.0 * np.cos(x) * np.minimum(1.0, t / 0.2)
    trace = a_trace(x, bias, np.repeat([0, 1], 3000)).replace(periods=(2 * np.pi,))
    mask = kept(trace)
    assert 0.1 <= transient(trace) <= 0.2 and mask[:3000].sum() == mask[3000:].sum()
    assert not mask[0] and not mask[3000] and mask[2999] and mask[5999]


def test_fraction_given() -> None:
    trace = a_trace(np.arange(10.0), np.zeros(10))
    np.testing.assert_array_equal(frame_weights(trace, discard=0.3), [0, 0, 0] + [1 / 7] * 7)
    for wrong in (1.0, -0.1, "all", True, np.nan):
        with pytest.raises(ParameterError, match="discard"):
            frame_weights(trace, discard=wrong)
    for use in (frame_weights, transient):
        with pytest.raises(ParameterError, match="no rows"):
            use(trace.take(slice(0, 0)))


def test_statistical_inefficiency_is_pymbars() -> None:
    for seed, tau in enumerate((2.0, 10.0, 50.0)):
        series = correlated(4000, tau, seed)
        assert statistical_inefficiency(series) == pytest.approx(timeseries.statistical_inefficiency(series), rel=1e-9)
    long = correlated(100_000, 10.0, 0)
    exact = (1 + np.exp(-0.1)) / (1 - np.exp(-0.1))
    assert statistical_inefficiency(long) == pytest.approx(exact, rel=0.15)
    runs = np.repeat(np.arange(20), 5000)
    assert statistical_inefficiency(long, runs) == pytest.approx(exact, rel=0.15)
    shifted = long + 100.0 * runs  # windows at different places: their means are no correlation
    assert statistical_inefficiency(shifted, runs, within=True) == pytest.approx(exact, rel=0.15)
    assert statistical_inefficiency(np.ones(10)) == 1.0


def test_effective_size_predicts_the_scatter() -> None:
    """The variance of a weighted mean over repeats is the variance of the observable over the effective size."""
    means, sizes = [], []
    for seed in range(200):
        x = correlated(2000, 5.0, seed)
        log_weights = 0.5 * x
        weights = np.exp(log_weights) / np.exp(log_weights).sum()
        means.append(weights @ x)
        sizes.append(effective_sample_size(log_weights, x))
    assert np.mean(means) == pytest.approx(0.5, abs=0.05)
    assert 1.0 / np.var(means) == pytest.approx(np.median(sizes), rel=0.4)
    assert effective_sample_size(np.zeros(5000), correlated(5000, 1e-3, 0)) == pytest.approx(5000, rel=0.1)


def test_refuses_what_is_not_finite() -> None:
    with pytest.raises(NonFiniteError, match="frame 2"):
        effective_sample_size([0.0, 1.0, np.nan])
    with pytest.raises(NonFiniteError, match="frame 1"):
        effective_sample_size([0.0, 1.0, 2.0], [1.0, np.nan, 2.0])
    with pytest.raises(ParameterError, match="one of each"):
        effective_sample_size([0.0, 1.0], [1.0])
    with pytest.raises(ParameterError, match="no frame has any weight"):
        effective_sample_size([-np.inf, -np.inf])
