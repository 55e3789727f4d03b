"""Free energies: the known ones, weights, and intervals from resampled trajectories."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from mdinsight.errors import ParameterError
from mdinsight.msm import free_energy_surface
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
