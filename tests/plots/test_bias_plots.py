"""Each figure of a biased run shows the numbers of the run, with units on the axes."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot

from mdinsight import bias, features, plots, seeds
from mdinsight.bias._states import start_all
from mdinsight.errors import ParameterError
from mdinsight.units import GAS_CONSTANT

kT = GAS_CONSTANT * 300
A, B = {"phi": (-np.pi, 0.0)}, {"phi": (0.0, np.pi)}


@pytest.fixture(autouse=True)
def _close():
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


def make_trace(n: int = 2000, walkers: int = 2, growing: bool = False, seed: int = 1) -> bias.Trace:
    """Walkers that hop between two wells of an angle, half of the time in each, under a bias of 2 kT in the second."""
    rng = seeds.generator(seed, "plots")
    s, walker = [], np.repeat(np.arange(walkers), n)
    for _ in range(walkers):
        state = np.cumsum(rng.random(n) < 0.05) % 2
        s.append(np.where(state == 0, -1.2, 1.0) + 0.2 * rng.normal(size=n))
    phi = np.concatenate(s)
    step = np.tile(500 * np.arange(1, n + 1), walkers)
    grown = np.minimum(1.0, step / (0.3 * n * 500)) if growing else 1.0
    return bias.Trace(
        ("phi",), (2 * np.pi,), 300.0, walker, step, step * 0.002, phi[:, None],
        np.where(phi > 0, 2 * kT, 0.0) + 10 * kT * (grown - 1.0), np.zeros(len(phi)), np.zeros(len(phi)),
    )  # fmt: skip


def points(ax) -> np.ndarray:
    return np.concatenate([np.asarray(line.get_xydata(), float) for line in ax.lines if line.get_marker() == "."])


def test_the_convergence_is_drawn_with_its_band_halves_and_result():
    found = bias.convergence(make_trace(), A, B)
    ax = plots.convergence(found)
    line = next(line for line in ax.lines if line.get_label() == "data up to this time")
    factor = {"ps": 1.0, "ns": 1e-3}[ax.get_xlabel().rsplit(" ", 1)[1]]
    assert np.allclose(line.get_xdata(), found.times * factor)
    assert np.allclose(line.get_ydata(), found.over_time.value)
    assert ax.get_ylabel() == "F(B) - F(A) in kJ/mol"
    band = ax.collections[0].get_paths()[0].vertices
    last = band[np.isclose(band[:, 0], found.times[-1] * factor)][:, 1]
    assert np.isclose(last.max(), found.over_time.high[-1]) and np.isclose(last.min(), found.over_time.low[-1])
    level = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() in ("--", ":")]
    assert np.allclose(level, [found.difference.value, found.difference.low, found.difference.high])
    halves = ax.containers[0]
    assert np.allclose(halves.lines[0].get_ydata(), found.halves.value)
    assert str(found.difference) in " ".join(text.get_text() for text in ax.get_legend().get_texts())


def test_open_intervals_leave_the_frame_but_not_the_figure():
    trace = make_trace(walkers=1)
    trace = trace.replace(s=np.where(np.arange(2000) < 1200, -1.2, 1.0)[:, None])  # one crossing: unbounded
    found = bias.convergence(trace, A, B, discard=0.0)
    assert np.isinf(found.difference.high)
    ax = plots.convergence(found)
    low, high = ax.get_ylim()
    assert np.isfinite([low, high]).all() and low < found.difference.value < high
    vertices = ax.collections[0].get_paths()[0].vertices
    assert np.isfinite(vertices).all() and vertices[:, 1].max() > high


def test_every_row_of_a_run_is_a_point_and_walkers_follow_one_another():
    trace = make_trace()
    ax = plots.biased_run(trace)
    drawn = points(ax)
    assert len(drawn) == len(trace)
    assert np.allclose(drawn[:, 1], np.concatenate([trace.select(w).s[:, 0] for w in trace.walkers]))
    assert np.isclose(drawn[:, 0].max(), trace.time.max() * 2 * {"ps": 1.0, "ns": 1e-3}[ax.get_xlabel().split()[2][:2]])
    assert ax.get_ylabel() == "phi in rad" and "one walker after another" in ax.get_xlabel()
    assert [text.get_text() for text in ax.texts] == ["0", "1"]
    with pytest.raises(ParameterError, match="numbered from 0"):
        plots.biased_run(trace, 1)
    with pytest.raises(ParameterError, match="no rows"):
        plots.biased_run(trace.take(slice(0, 0)))


def test_an_angle_beyond_its_period_is_drawn_at_its_image():
    trace = make_trace(walkers=1)
    shifted = trace.replace(s=trace.s + 4 * np.pi)
    assert np.allclose(points(plots.biased_run(shifted)), points(plots.biased_run(trace)))


def test_the_beginning_that_is_left_out_is_grey():
    trace = make_trace(growing=True)
    fraction = bias.transient(trace)
    assert 0 < fraction < 1
    ax = plots.bias_in_time(trace)
    assert len(ax.patches) == 2  # one for each walker
    begin, end = ax.patches[0].get_x(), ax.patches[0].get_x() + ax.patches[0].get_width()
    of_one = trace.time[trace.walker == 0].max()
    factor = points(ax)[:, 0].max() / (2 * of_one)
    assert begin < 0.01 * of_one * factor and np.isclose(end, fraction * of_one * factor, rtol=0.01)
    assert np.allclose(points(ax)[:, 1], trace.bias) and ax.get_ylabel() == "bias in kJ/mol"
    assert not plots.bias_in_time(make_trace()).patches


def test_the_offset_of_metadynamics_is_a_line():
    trace = make_trace(walkers=1)
    offset = np.linspace(0, 30, len(trace))
    ax = plots.bias_in_time(trace.replace(offset=offset))
    line = next(line for line in ax.lines if line.get_label() == "c(t)")
    assert np.allclose(line.get_ydata(), offset)


def test_reweighted_surfaces_are_drawn_with_their_intervals():
    surface = bias.free_energy_surface(make_trace(), bins=24)
    ax = plots.free_energy(surface)
    assert np.allclose(ax.lines[0].get_ydata(), surface.free_energy.value, equal_nan=True)
    assert ax.get_xlabel() == "phi in rad"
    value, (low, high) = surface.free_energy.value, ax.get_ylim()
    assert low < np.nanmin(value) and np.nanmax(value) < high < 2 * np.nanmax(value)  # wide bands do not set the scale
    assert all(np.isfinite(path.vertices).all() for path in ax.collections[0].get_paths())
    rng = seeds.generator(3, "plane")
    trace = make_trace()
    both = np.column_stack([trace.s, rng.normal(size=len(trace))])
    trace = trace.replace(names=("phi", "r"), periods=(2 * np.pi, None), s=both)
    plane = bias.free_energy_surface(trace, bins=12)
    ax = plots.free_energy(plane)
    shown = np.ma.filled(np.ma.asarray(ax.collections[0].get_array(), float), np.nan).reshape(12, 12)
    assert np.allclose(shown, plane.free_energy.value.T, equal_nan=True)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("phi in rad", "r")


@pytest.fixture(scope="module")
def frozen(ala2):
    """A bias on phi: three hills and a restraint."""
    coordinate = bias.Coordinate.of(features.Torsions("phi", raw=True), ala2[0].topology)
    potentials = (bias.Metadynamics(height=2.0, sigma=0.3, biasfactor=8.0), bias.Umbrella(0.5, 1.0))
    states = start_all(potentials, 300.0, coordinate.periods, names=coordinate.names)
    for place in (-1.0, 0.0, 3.0):
        states[0].deposit(np.array([place]))
    return bias.BiasModel(coordinate, potentials, 300.0, tuple(state.arrays() for state in states))


def test_a_frozen_bias_is_drawn_over_what_its_deposits_reach(frozen):
    ax = plots.bias_potential(frozen)
    x, energy = ax.lines[0].get_xdata(), ax.lines[0].get_ydata()
    assert np.allclose(x[[0, -1]], [-np.pi, np.pi])
    assert np.allclose(energy, frozen.potential(x[:, None])) and np.ptp(energy) > 2.0
    assert ax.get_ylabel() == "bias in kJ/mol" and ax.get_xlabel().endswith(" in rad")
    only = bias.BiasModel(frozen.coordinate, frozen.potentials[1:], 300.0, ({},))
    with pytest.raises(ParameterError, match="give range="):
        plots.bias_potential(only)
    x = plots.bias_potential(only, range=[(0.0, 1.0)]).lines[0].get_xdata()
    assert x[0] == 0.0 and x[-1] == 1.0


def test_the_overlap_of_windows_is_the_matrix():
    rng = seeds.generator(5, "windows")
    x = np.concatenate([rng.normal(centre, 0.5, 300) for centre in (0.0, 0.5, 1.0)])
    energies = np.array([2 * kT * (x - centre) ** 2 for centre in (0.0, 0.5, 1.0)])
    found = bias.mbar(energies, counts=[300, 300, 300], temperature=300)
    ax = plots.overlap(found)
    assert np.allclose(ax.images[0].get_array(), found.overlap())
    assert [text.get_text() for text in ax.texts] == [f"{share:.2f}" for share in found.overlap().ravel()]
    _, (left, right) = pyplot.subplots(1, 2)
    assert plots.overlap(found, ax=right) is right and not left.has_data()
