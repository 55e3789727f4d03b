"""Each figure shows the numbers of its model, with units on the axes."""

import numpy as np
import pytest
from matplotlib import pyplot

from mdinsight import cvs, msm, plots
from mdinsight.errors import ParameterError


@pytest.fixture(autouse=True)
def _close():
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


def lines_of(ax):
    return [np.asarray(line.get_xydata(), float) for line in ax.lines]


def note_of(ax):
    """What stands under the figure."""
    return " ".join(ax.texts[-1].get_text().split())


def test_implied_timescales_are_those_of_the_model(analysis):
    found = analysis.timescales
    ax = plots.implied_timescales(found)
    factor = {"ps": 1.0, "ns": 1e-3, "us": 1e-6}[ax.get_xlabel().rsplit(" ", 1)[1]]
    drawn = lines_of(ax)[0]
    assert np.allclose(drawn[:, 0], found.steps * factor)
    assert np.allclose(drawn[:, 1], found.timescales.value[:, 0] * factor)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert ax.get_ylabel().startswith("implied timescale in ")
    marked = [d[0, 0] for d in lines_of(ax) if len(d) == 2 and d[0, 0] == d[1, 0]]
    assert np.isclose(marked[0], found.choose_lag() * found.dt * factor)
    legend = {text.get_text() for text in ax.get_legend().get_texts()}
    assert {"process 1", "95 % interval", "faster than the lag", "chosen lag"} <= legend


def test_a_plot_draws_where_it_is_told(analysis):
    _, (left, right) = pyplot.subplots(1, 2)
    assert plots.spectrum(analysis.model, ax=right) is right
    assert not left.has_data() and right.has_data()


def test_the_free_energy_map_holds_the_surface(analysis):
    ax = plots.free_energy(analysis.surface)
    mesh = ax.collections[0].get_array()
    value = analysis.surface.free_energy.value.T
    shown = np.ma.filled(np.ma.asarray(mesh, dtype=float), np.nan).reshape(value.shape)
    assert np.allclose(shown, value, equal_nan=True)
    assert ax.get_xlabel() == analysis.coordinates.names[0]
    assert "kJ/mol" in ax.figure.axes[1].get_ylabel()


def test_the_error_map_is_half_the_interval(analysis):
    energy = analysis.surface.free_energy
    ax = plots.free_energy_error(analysis.surface, ceiling=3.0)
    shown = np.ma.filled(np.ma.asarray(ax.collections[0].get_array(), dtype=float), np.nan).reshape(
        energy.value.T.shape
    )
    assert np.allclose(shown, np.minimum((energy.high - energy.low) / 2, 3.0).T, equal_nan=True)
    with pytest.raises(ParameterError, match="no interval"):
        plots.free_energy_error(msm.free_energy_surface(analysis.coordinates, n_bootstrap=0))


def test_a_profile_has_its_interval(analysis):
    surface = msm.free_energy_surface(analysis.coordinates.select(analysis.coordinates.names[0]), bins=30)
    ax = plots.free_energy(surface)
    assert np.allclose(lines_of(ax)[0][:, 1], surface.free_energy.value, equal_nan=True)
    assert len(ax.collections) == 1 and ax.get_ylabel() == "free energy in kJ/mol"


def test_populations_are_bars_with_intervals(analysis):
    ax = plots.populations(analysis.macrostates)
    heights = [bar.get_height() for bar in ax.patches]
    assert np.allclose(heights, analysis.macrostates.populations.value)
    assert len(ax.collections) == 1  # the error bars


def test_exchange_names_every_passage(analysis):
    ax = plots.exchange(analysis.macrostates)
    texts = " ".join(text.get_text() for text in ax.texts)
    for share in analysis.macrostates.populations.value:
        assert f"{100 * share:.3g} %" in texts
    n = analysis.macrostates.n
    assert texts.count("[") == n * (n - 1)


def test_chapman_kolmogorov_has_a_panel_for_each_pair(analysis):
    test = analysis.chapman_kolmogorov
    figure = plots.chapman_kolmogorov(test)
    assert len(figure.axes) == test.n_sets**2
    assert np.allclose(lines_of(figure.axes[1])[0][:, 1], test.predicted.value[:, 0, 1])


def test_an_explanation_shows_shares_and_correlations(analysis):
    ax = plots.explanation(analysis.cv, 0, top=3)
    meaning = analysis.cv.explain(3).coordinates[0]
    assert [bar.get_width() for bar in ax.patches] == [100 * f.share for f in meaning.features[::-1]]
    with pytest.raises(ParameterError, match="numbered from 0"):
        plots.explanation(analysis.cv, 99)


def test_the_choice_of_a_scan_is_marked(analysis):
    ax = plots.scores(analysis.scan)
    ring = next(line for line in ax.lines if line.get_markersize() == 12)
    i, j = (
        int(np.flatnonzero(a == b)[0])
        for a, b in ((analysis.scan.lags, analysis.scan.lag), (analysis.scan.dims, analysis.scan.dim))
    )
    assert ring.get_ydata()[0] == analysis.scan.scores.value[i, j]
    assert ring.get_label().startswith("the choice") and "one standard error" in note_of(ax)
    assert plots.coordinate_timescales(analysis.scan).get_xscale() == "log"


def test_traces_keep_the_values(analysis):
    ax = plots.traces(analysis.coordinates, 0, most=2)
    drawn = np.concatenate([line.get_ydata() for line in ax.lines if line.get_marker() == "."])
    everything = analysis.coordinates.concatenated()[:, 0]
    assert np.isin(drawn, everything).all() and len(drawn) > 1000


def test_every_frame_is_on_the_plane_once_at_most(analysis):
    ax = plots.states_on_plane(analysis.coordinates, analysis.macrostates, analysis.dtrajs)
    drawn = sum(len(c.get_offsets()) for c in ax.collections)
    assert 1000 < drawn <= analysis.coordinates.n_frames
    with pytest.raises(ParameterError, match="different lengths"):
        plots.states_on_plane(analysis.coordinates[:1], analysis.macrostates, analysis.dtrajs)


def test_the_committor_colours_the_states(analysis):
    ax = plots.committor(analysis.flux, analysis.model)
    points = next(c for c in ax.collections if len(c.get_offsets()) == len(analysis.flux.states))
    assert np.allclose(points.get_array(), analysis.flux.forward_committor.value)
    assert {text.get_text() for text in ax.texts} >= {"A", "B"}
    share = 100 * analysis.model.stationary_distribution[np.isin(analysis.flux.states, analysis.flux.source)].sum()
    assert f"{share:.3g} %" in note_of(ax)
    ax = plots.committor(analysis.flux, analysis.model, macrostates=analysis.macrostates)
    assert "A: macrostate" in note_of(ax)


def test_contours_are_where_frames_lie_on_all_sides_and_their_levels_are_told(analysis):
    ax = plots.free_energy(analysis.surface)
    value = analysis.surface.free_energy.value
    lines = next(one for one in ax.collections if hasattr(one, "levels"))
    assert (np.diff(lines.levels) == 5.0).all() and "every 5 kJ/mol" in note_of(ax)
    x, y = (
        np.searchsorted(edge, np.concatenate([path.vertices[:, i] for path in lines.get_paths()])) - 1
        for i, edge in enumerate(analysis.surface.edges)
    )
    assert np.isfinite(value[x, y]).all()


def test_training_curves_of_a_network(analysis):
    network = cvs.VAMPNet(lag=1, dim=1, layers=(8,), seeds=2, epochs=3, seed=1).fit(analysis.series[:3]).model
    ax = plots.training(network)
    assert len([d for d in lines_of(ax) if len(d) != 2 or d[0, 0] != d[1, 0]]) == 2
    with pytest.raises(ParameterError, match="no training"):
        plots.training(analysis.cv)
