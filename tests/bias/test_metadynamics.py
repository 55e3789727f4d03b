"""Metadynamics: the grid against sums of Gaussians, c(t) against its integrals, and free energies of toys against exact ones."""

import math

import numpy as np
import pytest

from mdinsight.bias import Metadynamics
from mdinsight.bias._grid import EXPLORED, MAX_BYTES
from mdinsight.bias._states import restore, start
from mdinsight.errors import BiasError, ParameterError

P = 2 * math.pi
KT = 8.31446261815324e-3 * 300.0


def gaussians(state, points):
    """The sum of the hills with all their images, by numpy."""
    total, dim = np.zeros(len(points)), state.dim
    for hill in state.hills:
        product = np.full(len(points), hill[-1])
        for i, period in enumerate(state.periods):
            d = points[:, i] - hill[i]
            images = [0.0] if not period else [n * period for n in range(-4, 5)]
            product *= sum(np.exp(-((d + shift) ** 2) / (2 * hill[dim + i] ** 2)) for shift in images)
        total += product
    return total


@pytest.mark.parametrize("periods", [(None,), (P,), (P, P), (None, P), (P, None, P)])
@pytest.mark.parametrize("sigma", [0.35, 1.4])
def test_one_hill_is_a_gaussian_to_a_thousandth(periods, sigma):
    state = start(Metadynamics(height=1.0, sigma=sigma), 300.0, periods)
    rng = np.random.default_rng(0)
    center = rng.uniform(-3, 3, len(periods))
    state.deposit(center)
    points = np.concatenate(
        [rng.uniform(-4, 4, (4000, len(periods))), center + rng.normal(0, sigma, (4000, len(periods)))]
    )
    assert np.abs(state.energies(points) - gaussians(state, points)).max() < 1e-3


def test_many_hills_are_their_sum():
    state = start(Metadynamics(height=1.0, sigma=(0.3, 0.2)), 300.0, (P, None))
    rng = np.random.default_rng(0)
    for s in rng.normal(0, 1, (300, 2)):
        state.deposit(s)
    points = rng.normal(0, 1.5, (1000, 2))
    expected = gaussians(state, points)
    assert expected.max() > 5
    assert np.abs(state.energies(points) - expected).max() < 1e-3 * np.sqrt(300)


def test_heights_are_tempered():
    state = start(Metadynamics(height="1.5 kJ/mol", sigma=0.3, biasfactor=6.0), 300.0, (None,))
    for s in np.random.default_rng(0).normal(0, 0.2, (50, 1)):
        v = state.energy(s)
        state.deposit(s)
        assert state.hills[-1, -1] == pytest.approx(1.5 * math.exp(-v / (KT * 5.0)), rel=1e-12)
    plain = start(Metadynamics(height=1.5, sigma=0.3, biasfactor=None), 300.0, (None,))
    for _ in range(20):
        plain.deposit(np.zeros(1))
    assert plain.energy(np.zeros(1)) == pytest.approx(30.0, rel=1e-3)
    assert plain.free_energy(np.zeros((1, 1)))[0] == pytest.approx(-30.0, rel=1e-3)


def test_energy_and_slope_are_continuous_between_cells():
    state = start(Metadynamics(height=1.0, sigma=0.3), 300.0, (None, P))
    rng = np.random.default_rng(0)
    for s in rng.normal(0, 1, (30, 2)):
        state.deposit(s)
    h = state._grid.spacing
    low, high = state.span()
    nodes = np.array([low[0] + h[0] * n for n in range(round((high[0] - low[0]) / h[0]) + 1)])
    across = np.column_stack([nodes, np.full(len(nodes), 0.123)])
    seam = np.column_stack([np.full(60, 0.456), h[1] * np.arange(60)])
    for points, step in ((across, [1e-9, 0.0]), (seam, [0.0, 1e-9])):
        np.testing.assert_allclose(state.energies(points - step), state.energies(points + step), atol=1e-7)
        np.testing.assert_allclose(state.slopes(points - step), state.slopes(points + step), atol=1e-6)


@pytest.mark.parametrize("periods", [(None,), (None, P), (None, None, P)])
def test_growing_keeps_the_nodes_bit_for_bit(periods):
    state = start(Metadynamics(height=1.0, sigma=0.5), 300.0, periods)
    for s in np.random.default_rng(0).normal(0, 0.5, (20, len(periods))):
        state.deposit(s)
    points = np.random.default_rng(1).normal(0, 1, (200, len(periods)))
    nodes = state._grid.shape
    before, offset = state.energies(points), state.offset()
    for where in (30.0, -30.0):
        far = np.zeros(len(periods))
        far[0] = where
        state._grid.cover(far, np.full(len(periods), 0.5))
    assert state._grid.shape[0] > 2 * nodes[0]
    assert state.energies(points).tobytes() == before.tobytes()
    assert state.offset() == offset


def test_a_grid_too_large_is_refused_before_anything_changes():
    state = start(Metadynamics(height=1.0, sigma=0.01), 300.0, (None, None))
    state.deposit(np.zeros(2))
    before = state.arrays()
    with pytest.raises(ParameterError, match=f"more than {MAX_BYTES >> 20} MB; .* use OPES"):
        state.deposit(np.full(2, 1000.0))
    for name, array in state.arrays().items():
        assert array.tobytes() == before[name].tobytes()


@pytest.mark.parametrize("periods", [(P,), (None,)])
def test_a_hill_far_too_wide_is_refused(periods):
    state = start(Metadynamics(height=1.0, sigma=0.3), 300.0, periods)
    state.deposit(np.zeros(1))
    before = state.arrays()
    for sigma in (1e9, 1e300, 1.7e308):
        with pytest.raises((BiasError, ParameterError), match=r"is none; look at the walker|would need"):
            state.apply(np.array([0.0, sigma, 1.0]))
    for name, array in state.arrays().items():
        assert array.tobytes() == before[name].tobytes()
    assert state.n_deposits == 1


def test_hills_at_all_images_of_a_place_are_the_same():
    points = np.linspace(-3, 3, 100)[:, None]
    states = [start(Metadynamics(height=1.0, sigma=0.3), 300.0, (P,)) for _ in range(3)]
    for turns, state in zip((0, 1, -1000), states, strict=True):
        state.deposit(np.array([0.7 + turns * P]))
        np.testing.assert_allclose(state.energies(points), states[0].energies(points), atol=1e-11)


def test_a_torn_grid_is_refused():
    state = start(Metadynamics(height=1.0, sigma=0.3), 300.0, (None, P))
    state.deposit(np.zeros(2))
    arrays = state.arrays()
    for name, wrong in (("grid", arrays["grid"][:-4]), ("header", arrays["header"][:-1]), ("sums", np.zeros(2))):
        with pytest.raises(BiasError, match="give the potential that it was made with"):
            restore(state.definition, 300.0, (None, P), {**arrays, name: wrong})


@pytest.mark.parametrize("biasfactor", [5.0, 15.0, None])
def test_offset_is_the_ratio_of_two_integrals(biasfactor):
    """On a circle that is explored all around, against the integrals of Tiwary and Parrinello on a fine mesh."""
    state = start(Metadynamics(height=1.0, sigma=0.4, biasfactor=biasfactor), 300.0, (P,))
    for s in np.random.default_rng(0).vonmises(0, 0.5, (400, 1)):
        state.deposit(s)
    v = state.energies(np.linspace(-np.pi, np.pi, 20000, endpoint=False)[:, None])
    assert v.min() > EXPLORED
    b = 0.0 if biasfactor is None else 1 / (biasfactor - 1)
    expected = KT * np.log(np.exp((1 + b) * v / KT).sum() / np.exp(b * v / KT).sum())
    assert state.offset() == pytest.approx(expected, abs=1e-3)


def test_offset_is_kept_up_over_many_hills():
    """Against the sums over the nodes, with energies far beyond what exp holds at once."""
    state = start(Metadynamics(height=20.0, sigma=(0.3, 0.5), biasfactor=500.0), 300.0, (P, None))
    rng = np.random.default_rng(0)
    for s in rng.normal(0, 1, (3000, 2)):
        state.deposit(s)
    v = state._grid.data[::4] / KT
    assert v.max() > 500
    explored = v[v > EXPLORED * 20.0 / KT]
    top = explored.max()
    b = 1 / 499
    expected = KT * (top + np.log(np.exp((1 + b) * (explored - top)).sum() / np.exp(b * (explored - top)).sum()))
    assert state.offset() == pytest.approx(expected, abs=1e-6)


def test_width_is_half_the_deviation_of_the_first_steps():
    state = start(Metadynamics(pace=10), 300.0, (None, P))
    window = 100 // state.observe_every  # ten paces
    rng = np.random.default_rng(0)
    seen = rng.normal([1.0, np.pi], [0.1, 0.3], (window, 2))
    for number, s in enumerate(seen, 1):
        state.observe(s)
        assert state.deposit(s).size == (5 if number == window else 0)
    mean, total = np.zeros(2), np.zeros(2)
    for number, s in enumerate(seen, 1):
        before = s - mean
        mean += before / number
        total += before * (s - mean)
    np.testing.assert_allclose(state.hills[0, 2:4], 0.5 * np.sqrt(total / window), rtol=1e-12)
    assert state.n_deposits == 1
    # from now on there is nothing to observe
    assert state.observe_every is None
    assert restore(state.definition, 300.0, (None, P), state.arrays()).observe_every is None


def test_a_narrower_hill_of_another_walker_makes_the_grid_finer():
    wide, narrow = (start(Metadynamics(height=1.0, sigma=s), 300.0, (P,)) for s in (1.0, 0.2))
    wide.deposit(np.zeros(1))
    wide.apply(narrow.deposit(np.ones(1)))
    points = np.linspace(-3, 3, 500)[:, None]
    assert np.abs(wide.energies(points) - gaussians(wide, points)).max() < 2e-3
    again = restore(wide.definition, 300.0, (P,), wide.arrays())
    np.testing.assert_array_equal(again.energies(points), wide.energies(points))


def test_two_wells_on_a_circle(toy):
    exact = toy.exact(0)
    runs = [toy.run(0, Metadynamics(height=1.0, sigma=0.25, pace=100), 3000, seed) for seed in range(4)]
    reweighted = [toy.reweighted(0, run) for run in runs]
    assert np.mean(reweighted) == pytest.approx(exact, abs=0.15) and np.std(reweighted) < 0.25
    assert np.mean([toy.from_bias(0, run) for run in runs]) == pytest.approx(exact, abs=0.3)


@pytest.mark.parametrize("sigma", [0.15, None])
def test_muller_brown(toy, sigma):
    definition = Metadynamics(height=0.5, sigma=sigma, pace=200)
    runs = [toy.run(1, definition, 2500, seed, temperature=300.0 / KT) for seed in range(3)]
    assert np.mean([toy.reweighted(1, run) for run in runs]) == pytest.approx(5.71, abs=0.25)
    assert np.mean([toy.from_bias(1, run) for run in runs]) == pytest.approx(5.71, abs=0.5)
