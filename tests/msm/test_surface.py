"""Free energies: the known ones, weights, and intervals from resampled trajectories."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from mdinsight.errors import ConnectivityError, ParameterError, SelectionError
from mdinsight.msm import BayesianMSM, MarkovModel, MaximumLikelihoodMSM, free_energy_surface
from mdinsight.series import Column, TimeSeries
from mdinsight.units import GAS_CONSTANT


def test_harmonic_well() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(0, 0.5, (20_000, 2)) for _ in range(10)]
    surface = free_energy_surface(arrays, bins=10, range=[(-1, 1), (-1, 1)], temperature=310)
    mass = np.diff(norm.cdf(surface.edges[0], scale=0.5))
    exact = -GAS_CONSTANT * 310 * np.log(np.outer(mass, mass))
    figure = surface.free_energy
    assert figure.unit == "kJ/mol" and figure.value.shape == (10, 10) and np.nanmin(figure.value) == 0.0
    zero = exact[np.unravel_index(np.argmin(figure.value), exact.shape)]
    np.testing.assert_allclose(figure.value, exact - zero, atol=0.4)
    assert figure.contains(exact - zero).mean() > 0.8  # a statistic of 100 bins that share the reference
    assert surface.verdicts()[0].holds


def test_one_column_and_weights() -> None:
    column = np.repeat([0.25, 0.75], [100, 300])
    series = TimeSeries([column, column], columns=[Column("phi")])
    even = free_energy_surface(series, bins=2, range=[(0, 1)])
    kT = GAS_CONSTANT * 300
    np.testing.assert_allclose(even.free_energy.value, [kT * np.log(3), 0.0])
    assert even.names == ("phi",) and len(even.edges) == 1
    weights = [np.where(column < 0.5, 9.0, 1.0)] * 2
    turned = free_energy_surface(series, weights, bins=2, range=(0, 1))  # type: ignore[arg-type]
    np.testing.assert_allclose(turned.free_energy.value, [0.0, kT * np.log(3)])


@pytest.fixture(scope="module")
def weighted(simulate) -> tuple[list[np.ndarray], list[np.ndarray], MarkovModel]:
    """Short trajectories that start half in each of two states, a coordinate, and their model."""
    matrix = np.array([[0.998, 0.002], [0.006, 0.994]])
    states = [simulate(matrix, 100, seed=i, start=i % 2) for i in range(60)]
    rng = np.random.default_rng(0)
    return states, [state[:, None] + rng.normal(0, 0.2, (100, 1)) for state in states], BayesianMSM(5).fit(states).model


def test_model_gives_the_value_of_its_weights(weighted) -> None:
    states, rows, model = weighted
    fixed = free_energy_surface(rows, model.frame_weights(states), bins=7, range=[(-0.5, 1.4)])
    found = free_energy_surface(rows, model=model, dtrajs=states, bins=7, range=[(-0.5, 1.4)])
    np.testing.assert_allclose(found.free_energy.value, fixed.free_energy.value, atol=1e-12)
    assert found.verdicts()[0].holds and "100 samples of the model" in found.verdicts()[0].says
    assert not fixed.verdicts()[0].holds and "taken as exact" in fixed.verdicts()[0].says
    plane = [np.column_stack([row, -row]) for row in rows]
    both = free_energy_surface(plane, model=model, dtrajs=states, bins=[6, 4])
    exact = free_energy_surface(plane, model.frame_weights(states), bins=[6, 4])
    np.testing.assert_allclose(both.free_energy.value, exact.free_energy.value, atol=1e-12)
    bare = MaximumLikelihoodMSM(5).fit(states).model
    assert not free_energy_surface(rows, model=bare, dtrajs=states).verdicts()[0].holds


def test_interval_holds_what_is_not_known_of_the_weights(simulate) -> None:
    """Trajectories too short to say how the states weigh: fixed weights held the truth in a quarter of the repeats."""
    matrix = np.array([[0.9998, 0.0002], [0.0006, 0.9994]])
    exact = GAS_CONSTANT * 300 * np.log(3)
    inside = []
    for repeat in range(40):
        states = [simulate(matrix, 100, seed=1000 * repeat + i, start=i % 2) for i in range(200)]
        try:
            model = BayesianMSM(10, seed=repeat).fit(states).model
        except ConnectivityError:
            continue  # seen one way only
        surface = free_energy_surface([state[:, None] for state in states], bins=2, model=model, dtrajs=states)
        one, other = surface.free_energy[0], surface.free_energy[1]  # one of them is the reference
        inside.append(bool(other.contains(exact) if one.value == 0 else one.contains(-exact)))
    assert len(inside) > 30 and np.mean(inside) >= 0.85


def test_one_long_trajectory_and_frames_outside(simulate) -> None:
    states = simulate(np.array([[0.98, 0.02], [0.04, 0.96]]), 4000, seed=0)
    model = BayesianMSM(2).fit([states]).model
    found = free_energy_surface([states + 0.0], bins=2, model=model, dtrajs=[states]).free_energy
    assert found.low[1] < GAS_CONSTANT * 300 * np.log(2) < found.high[1]
    more = [states, np.full(50, 7)]  # a state that the model does not have
    joined = free_energy_surface([s + 0.0 for s in more], bins=2, range=[(0, 1)], model=model, dtrajs=more)
    np.testing.assert_allclose(joined.free_energy.value, found.value, atol=1e-12)


def test_empty_bins_and_rare_ones() -> None:
    common, rare = np.full(50, 0.1), np.concatenate([np.full(40, 0.1), np.full(10, 0.9)])
    surface = free_energy_surface([common] * 5 + [rare], bins=3, range=[(0, 1)], n_bootstrap=200)
    figure = surface.free_energy
    assert np.isnan([figure.value[1], figure.low[1], figure.high[1]]).all()
    assert figure.high[2] == np.inf and figure.low[2] < figure.value[2]  # one trajectory of six went there
    assert (figure.value[0], figure.low[0], figure.high[0]) == (0.0, 0.0, 0.0)
    single = free_energy_surface([rare], bins=3)
    assert np.isnan(single.free_energy.low).all() and not single.verdicts()[0].holds


def test_seed_decides() -> None:
    arrays = [np.random.default_rng(i).normal(size=(50, 1)) for i in range(5)]
    assert free_energy_surface(arrays, seed=1) == free_energy_surface(arrays, seed=1)
    assert free_energy_surface(arrays, seed=1) != free_energy_surface(arrays, seed=2)


def test_refusals() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 3))
    with pytest.raises(ParameterError, match="these data have 3"):
        free_energy_surface([rows])
    with pytest.raises(ParameterError, match="one weight for each frame"):
        free_energy_surface([rows[:, :2]], [np.ones(29)])
    with pytest.raises(ParameterError, match="negative"):
        free_energy_surface([rows[:, :2]], [-np.ones(30)])
    with pytest.raises(ParameterError, match="no weight lies inside"):
        free_energy_surface([rows[:, 0]], range=[(50, 60)])
    with pytest.raises(ParameterError, match="bins"):
        free_energy_surface([rows[:, :2]], bins=[10])
    with pytest.raises(ParameterError, match="temperature"):
        free_energy_surface([rows[:, :2]], temperature=-3)


def test_refusals_of_a_model(weighted) -> None:
    states, rows, model = weighted
    with pytest.raises(ParameterError, match="together with dtrajs="):
        free_energy_surface(rows, model=model)
    with pytest.raises(ParameterError, match="give weights=, or model="):
        free_energy_surface(rows, model.frame_weights(states), model=model, dtrajs=states)
    with pytest.raises(ParameterError, match="of the same frames"):
        free_energy_surface(rows, model=model, dtrajs=states[:-1])
    with pytest.raises(SelectionError, match="no frame"):
        free_energy_surface(rows, model=model, dtrajs=[np.full(100, 5)] * 60)
