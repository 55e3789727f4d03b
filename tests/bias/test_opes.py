"""OPES: the kernels against their formulae, and free energies of toys against exact ones."""

import math

import numpy as np
import pytest

from mdinsight.bias import OPES
from mdinsight.bias import _kernels as k
from mdinsight.bias._states import start

P = 2 * math.pi
BARRIER, KT = 40.0, 8.31446261815324e-3 * 300.0


def kernel_sum(state, points):
    """The sum of truncated Gaussians, by numpy."""
    kernels, dim = state.kernels, state.dim
    d = points[:, None] - kernels[None, :, 1 : 1 + dim]
    for i, period in enumerate(state.periods):
        if period:
            d[:, :, i] -= period * np.round(d[:, :, i] / period)
    r2 = ((d / kernels[:, 1 + dim :]) ** 2).sum(axis=2)
    cutoff2 = 2 * state.header[k.HALF_CUTOFF]
    return (kernels[:, 0] * np.where(r2 < cutoff2, np.exp(-r2 / 2) - np.exp(-cutoff2 / 2), 0.0)).sum(axis=1)


@pytest.mark.parametrize("periods", [(None,), (P, P), (P, None, P), (None, P, None, P)])
@pytest.mark.parametrize("explore", [False, True])
def test_bias_is_that_of_the_papers(periods, explore):
    state = start(OPES(BARRIER, sigma=0.5, pace=1, explore=explore), 300.0, periods)
    rng = np.random.default_rng(0)
    height = BARRIER / KT
    weights, points = [math.exp(-height)], rng.uniform(-4, 4, (300, len(periods)))
    assert state.energies(points) == pytest.approx(-BARRIER)  # flat before the first kernel
    for _ in range(120):
        s = rng.uniform(-3, 3, len(periods))
        weights.append(math.exp(state.energy(s) / KT))
        state.deposit(s)
    gamma = height
    prefactor = gamma - 1 if explore else 1 - 1 / gamma
    epsilon = math.exp(-height / prefactor)
    norm = len(weights) if explore else sum(weights)
    z = kernel_sum(state, state.kernels[:, 1 : 1 + state.dim]).mean() / norm
    assert state.normalization == pytest.approx(z, rel=1e-10)
    expected = prefactor * KT * np.log(kernel_sum(state, points) / norm / z + epsilon)
    np.testing.assert_allclose(state.energies(points), expected, rtol=1e-9, atol=1e-9)
    n_effective = (1 + sum(weights)) ** 2 / (1 + sum(w * w for w in weights))
    assert state.n_effective == pytest.approx(n_effective, rel=1e-12)
    np.testing.assert_allclose(state.free_energy(points), -expected * gamma / (gamma - 1), rtol=1e-9, atol=1e-9)
    assert state.offset() == 0.0


def test_parameters_follow_from_the_barrier():
    state, explore = (start(OPES(BARRIER, explore=e), 300.0, (None,)) for e in (False, True))
    height = BARRIER / KT
    assert state.gamma == explore.gamma == pytest.approx(height)
    assert state.header[k.EPSILON] == pytest.approx(math.exp(-height / (1 - 1 / height)))
    assert explore.header[k.EPSILON] == pytest.approx(math.exp(-height / (height - 1)))
    assert 2 * state.header[k.HALF_CUTOFF] == pytest.approx(2 * height / (1 - 1 / height))
    assert 2 * explore.header[k.HALF_CUTOFF] == pytest.approx(2 * height)
    assert [state.outside, explore.outside] == pytest.approx([-BARRIER] * 2)
    flat = start(OPES(BARRIER, biasfactor=math.inf, sigma=0.1), 300.0, (None,))
    assert flat.header[k.PREFACTOR] == pytest.approx(KT)


@pytest.mark.parametrize("explore", [False, True])
def test_widths_shrink_with_the_effective_sample_size(explore):
    state = start(OPES(BARRIER, sigma=0.4, pace=1, explore=explore, sigma_min=(0.05, 0.25)), 300.0, (None, None))
    places = [np.array([10.0 * n, 0.0]) for n in range(50)]  # far apart, so none are merged
    for number, s in enumerate(places, 1):
        state.deposit(s)
        size = number + 1 if explore else state.n_effective
        sigma0 = 0.4 * (math.sqrt(BARRIER / KT) if explore else 1.0)
        shrunk = sigma0 * size ** (-1 / 6)  # (size (d + 2) / 4)^(-1/(d + 4)) with d = 2
        np.testing.assert_allclose(state.kernels[-1, 3:], [max(shrunk, 0.05), max(shrunk, 0.25)], rtol=1e-12)


def test_merging_keeps_sum_and_moments():
    header = np.zeros(k.HEADER)
    header[:3] = 2, 1, 4
    header[k.PERIODS + 1], header[k.INVERSES + 1] = P, 1 / P
    pair = np.array([[2.0, 0.3, 3.1, 0.5, 0.4], [0.5, 0.6, -3.1, 0.2, 0.3]])
    data = k.laid_out(pair, 2, 4)
    k.merge(header, data, 0, 1)
    h, c, s = k.filled(header, data)[0, 0], k.filled(header, data)[0, 1:3], k.filled(header, data)[0, 3:]
    centers = pair[:, 1:3].copy()
    centers[1, 1] += P  # the image next to the first
    weights = pair[:, 0] / pair[:, 0].sum()
    assert h == 2.5
    mean = weights @ centers
    np.testing.assert_allclose(c, [mean[0], mean[1] - P if mean[1] > math.pi else mean[1]], rtol=1e-14)
    np.testing.assert_allclose(s**2 + mean**2, weights @ (pair[:, 3:] ** 2 + centers**2), rtol=1e-13)


@pytest.mark.parametrize("periods", [(None,), (P, P), (P, None, P)])
def test_compression_keeps_heights_and_the_overlap(periods):
    state = start(OPES(BARRIER, sigma=0.5, pace=1, explore=True), 300.0, periods)
    rng = np.random.default_rng(0)
    heights = 0.0
    for n in range(1, 1501):
        before = state.kernels[:, 0].sum()
        state.deposit(rng.normal(0, 1.2, len(periods)))
        factor = ((n + 1) * (state.dim + 2) / 4) ** (-1 / (4 + state.dim))
        heights += factor**-state.dim
        assert state.kernels[:, 0].sum() > before
    assert state.kernels[:, 0].sum() == pytest.approx(heights, rel=1e-12)
    assert state.n_kernels < 0.5 * state.n_deposits
    assert state.arrays()["sums"][k.OVERLAP] == pytest.approx(k.overlap(state.header, state.data), rel=1e-12)
    kernels, dim = state.kernels, state.dim
    d = kernels[:, None, 1 : 1 + dim] - kernels[None, :, 1 : 1 + dim]
    for i, period in enumerate(periods):
        if period:
            d[:, :, i] -= period * np.round(d[:, :, i] / period)
    r2 = ((d / kernels[:, 1 + dim :]) ** 2).sum(axis=2)
    np.fill_diagonal(r2, np.inf)
    # only one chain of mergers is followed for each new kernel, so a rare pair may be left
    assert (r2 < 1).sum() <= 0.1 * len(kernels)


@pytest.mark.parametrize(("explore", "ratio"), [(False, 1.0), (True, BARRIER / KT)])
def test_first_width_is_the_deviation_before_any_bias(explore, ratio):
    state = start(OPES(BARRIER, pace=10, explore=explore), 300.0, (P,))
    window = 100 // state.observe_every  # ten paces
    rng = np.random.default_rng(0)
    seen = np.pi + rng.normal(0, 0.2, window)  # around the seam
    for number, s in enumerate(seen, 1):
        state.observe(np.array([s]))
        made = state.deposit(np.array([s]))
        assert len(made) == (3 if number == window else 0)
    mean, total = 0.0, 0.0
    for number, s in enumerate(seen, 1):  # Welford's
        before = s - mean
        mean += before / number
        total += before * (s - mean)
    assert made[1] == pytest.approx(math.sqrt(total / window * ratio), rel=1e-12)
    # from now on the coordinate spreads over gamma times the variance, which is divided out again
    state.observe(np.array([mean]))
    sigma = state.deposit(np.array([mean]))[1]
    assert sigma == pytest.approx(math.sqrt(total / window * ratio), rel=0.1)


@pytest.mark.parametrize("explore", [False, True])
def test_a_kernel_weighs_what_its_sample_does_however_wide_it_is(explore):
    state = start(OPES(BARRIER, explore=explore), 300.0, (None, None))
    widths = np.array([[0.2, 1.0], [0.4, 0.5], [0.1, 3.0], [0.2, 1.0]])
    log_weights = np.array([0.0, 0.5, -1.0, 2.0])
    for number, (width, log_weight) in enumerate(zip(widths, log_weights, strict=True)):
        state.apply(np.array([100.0 * number, 0.0, *width, log_weight]))
    kernels = state.kernels
    integrals = kernels[:, 0] * kernels[:, 3] * kernels[:, 4] / (0.2 * 1.0)
    np.testing.assert_allclose(integrals, np.ones(4) if explore else np.exp(log_weights), rtol=1e-12)


@pytest.mark.parametrize("explore", [False, True])
def test_basins_of_unequal_widths_that_were_seen_as_often_weigh_the_same(explore):
    state = start(OPES(BARRIER, pace=20, explore=explore), 300.0, (None,))
    rng = np.random.default_rng(0)
    for place, width in ((-5.0, 0.05), (5.0, 0.5)):
        n = 0
        while n < 200:
            for s in rng.normal(place, width, (10, 1)):
                state.observe(s)
            for deposit in state.prepare_many([s]):
                if deposit.size:
                    deposit[-1] = 0.0
                    state.apply(deposit)
                    n += 1
    integrals = state.kernels[:, 0] * state.kernels[:, 2]
    narrow = state.kernels[:, 1] < 0
    assert state.kernels[narrow, 2].mean() < 0.7 * state.kernels[~narrow, 2].mean()  # the width did follow the basin
    assert abs(math.log(integrals[narrow].sum() / integrals[~narrow].sum())) < 0.35  # merging alone makes that of it


def test_the_sum_of_300_kernels_is_exact_to_1e_12():
    rng = np.random.default_rng(0)
    state = start(OPES(BARRIER, sigma=0.2), 300.0, (P, None))
    kernels = np.column_stack([rng.random(300), rng.uniform(-3, 3, (300, 2)), rng.uniform(0.1, 0.4, (300, 2))])
    state.load({**state.arrays(), "kernels": kernels, "scale": np.ones(1)})
    points = rng.uniform(-3, 3, (500, 2))
    expected = state.header[k.PREFACTOR] * np.log(kernel_sum(state, points) + state.header[k.EPSILON])
    np.testing.assert_allclose(state.energies(points), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("explore", [False, True])
def test_two_wells_on_a_circle(toy, explore):
    exact = toy.exact(0)
    runs = [toy.run(0, OPES(30.0, pace=100, explore=explore), 3000, seed) for seed in range(4)]
    reweighted = [toy.reweighted(0, run) for run in runs]
    assert np.mean(reweighted) == pytest.approx(exact, abs=0.15) and np.std(reweighted) < 0.25
    assert np.mean([toy.from_bias(0, run) for run in runs]) == pytest.approx(exact, abs=0.3)


@pytest.mark.parametrize(("explore", "tolerance"), [(False, 0.25), (True, 0.5)])
def test_muller_brown(toy, explore, tolerance):
    assert toy.exact(1) == pytest.approx(5.71, abs=0.01)
    one_kt = 300.0 * 1.0 / KT
    runs = [toy.run(1, OPES(15.0, pace=200, explore=explore), 2500, seed, temperature=one_kt) for seed in range(3)]
    assert np.mean([toy.reweighted(1, run) for run in runs]) == pytest.approx(5.71, abs=0.25)
    assert np.mean([toy.from_bias(1, run) for run in runs]) == pytest.approx(5.71, abs=tolerance)
    assert all(run.state.n_kernels < 600 for run in runs)
