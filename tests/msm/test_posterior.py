"""Intervals: as wide as they should be, the same for a seed, and what they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from deeptime.data import double_well_discrete
from deeptime.markov.tools.estimation import transition_matrix

from mdinsight.msm import BayesianMSM, MaximumLikelihoodMSM
from mdinsight.msm._posterior import reversible_estimate, sample_posterior
from mdinsight.states import as_discrete


def coverage(found: list[tuple[np.ndarray, np.ndarray]], exact: np.ndarray) -> np.ndarray:
    """Fraction of the intervals that hold the exact value."""
    return np.mean([(low <= exact) & (exact <= high) for low, high in found], axis=0)


@pytest.mark.parametrize("lag", [1, 6])
def test_coverage_on_a_known_chain(chain, simulate, lag: int) -> None:
    matrix, pi = chain
    exact = -1.0 / np.log(np.sort(np.linalg.eigvals(matrix).real)[::-1][1:])
    times, populations, passages = [], [], []
    hit = np.linalg.solve(np.eye(2) - matrix[:2, :2], np.ones(2))[0]
    for repeat in range(120):
        arrays = [simulate(matrix, 1000, seed=1000 * repeat + i) for i in range(4)]
        model = BayesianMSM(lag, n_samples=60, seed=repeat).fit(arrays).model
        slow, shares = model.timescales(2), model.populations()
        times.append((slow.low, slow.high))
        populations.append((shares.low, shares.high))
        if lag == 1:
            passage = model.mfpt(0, 2)
            passages.append((passage.low, passage.high))
    assert (coverage(times, exact) >= 0.85).all()
    assert (coverage(populations, pi) >= 0.85).all()
    if lag == 1:
        assert coverage(passages, hit) >= 0.85


def test_coverage_with_many_states_and_overlapping_windows(simulate) -> None:
    """66 states and a lag of 50: counting windows as independent state by state covers 3 in 10."""
    exact = double_well_discrete().analytic_msm
    slow, found = exact.timescales(1), []
    widths = []
    for repeat in range(30):
        array = exact.simulate(20_000, seed=repeat)
        figure = BayesianMSM(50, n_samples=50, seed=repeat).fit([array]).model.timescales(1)
        found.append((figure.low, figure.high))
        widths.append(figure.high[0] / figure.low[0])
    assert coverage(found, slow)[0] >= 0.8
    assert np.median(widths) < 20


def test_one_frame_blocks_are_the_dirichlet_posterior(chain, simulate) -> None:
    discrete = as_discrete([simulate(chain[0], 51, seed=5)])
    counts = MaximumLikelihoodMSM(1).fit(discrete).model.count_matrix
    samples, _, blocks = sample_posterior(discrete, np.unique(discrete.arrays[0]), 1, False, 4_000, 0, length=1)
    rows = counts.sum(axis=1, keepdims=True)
    mean = counts / rows
    assert blocks == 50
    np.testing.assert_allclose(samples.mean(axis=0), mean, atol=0.01)
    np.testing.assert_allclose(samples.std(axis=0), np.sqrt(mean * (1 - mean) / (rows + 1)), rtol=0.08, atol=1e-3)


def test_interval_of_k_crossings_is_one_over_root_k() -> None:
    """Two states crossed 40 times at even distances: the time in each is known to about 1 / sqrt(20), at any lag."""
    array = np.repeat(np.arange(41) % 2, 500)
    for lag in (1, 20):
        model = BayesianMSM(lag, n_samples=400, seed=1).fit([array]).model
        spread = np.std(np.log(model.samples[:, 0, 1]))
        assert 0.6 / np.sqrt(20) < spread < 1.5 / np.sqrt(20)


@pytest.mark.parametrize("begin", [1010, 1045])
def test_a_state_visited_once_is_left_at_an_unknown_rate(begin: int) -> None:
    """One visit of 20 frames, within a block or across a border, is one exit: a factor of 0.27 to 40."""
    array = np.zeros(4000, dtype=int)
    array[begin : begin + 20] = 1
    model = BayesianMSM(10, n_samples=400).fit([array]).model
    passage = model.mfpt(1, 0)
    assert passage.value == pytest.approx(20.0)
    assert passage.low < 13 and passage.high > 100
    shares = model.populations()
    assert shares.high[1] / shares.low[1] > 20


def test_a_few_blocks_are_confessed(simulate) -> None:
    matrix = np.array([[0.99, 0.01], [0.01, 0.99]])
    exact, found = -1.0 / np.log(0.98), []
    for repeat in range(80):
        model = BayesianMSM(40, n_samples=100, seed=repeat).fit([simulate(matrix, 3000, seed=repeat)]).model
        figure = model.timescales(1)
        found.append((figure.low, figure.high))
        verdict = model.verdicts()[-1]
        assert not verdict.holds and "15 independent blocks of time, too few" in verdict.says
    assert coverage(found, np.array([exact]))[0] >= 0.8
    assert BayesianMSM(10).fit([simulate(matrix, 3000, seed=0)]).model.verdicts()[-1].holds


@pytest.mark.parametrize("seed", range(5))
def test_newton_equals_the_fixed_point_iteration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.exponential(size=(30, 30)) * 10.0 ** rng.uniform(-3, 3, (30, 30)) * (rng.random((30, 30)) < 0.3)
    counts += np.diag(rng.exponential(size=30)) + np.eye(30, k=1) + np.eye(30, k=-1)
    counts[:15, 15:] *= 1e-4
    ours, pi = reversible_estimate(counts)
    theirs, theirs_pi = transition_matrix(counts, reversible=True, return_statdist=True, maxerr=1e-13)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(pi, theirs_pi, rtol=1e-4)
    np.testing.assert_allclose(pi[:, None] * ours, (pi[:, None] * ours).T, atol=1e-15)


def test_seed_decides(double_well: np.ndarray) -> None:
    one = BayesianMSM(10, n_samples=5, seed=4).fit([double_well[:20000]]).model
    same = BayesianMSM(10, n_samples=5, seed=4).fit([double_well[:20000]]).model
    other = BayesianMSM(10, n_samples=5, seed=5).fit([double_well[:20000]]).model
    assert one.hash == same.hash and other.hash != one.hash
    assert one.samples.shape == (5, one.n_states, one.n_states)
    np.testing.assert_allclose(one.samples.sum(axis=2), 1.0)
    flux = one.sample_distributions[:, :, None] * one.samples
    np.testing.assert_allclose(flux, flux.transpose(0, 2, 1), atol=1e-12)


def test_not_reversible(double_well: np.ndarray) -> None:
    model = BayesianMSM(10, n_samples=30, reversible=False).fit([double_well]).model
    slow = model.timescales(1)
    assert slow.low[0] < 310.494 < slow.high[0]
    for matrix, pi in zip(model.samples[:3], model.sample_distributions[:3], strict=True):
        np.testing.assert_allclose(pi @ matrix, pi, atol=1e-10)
