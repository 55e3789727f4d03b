"""Figures of a run show the numbers of the run, with units and intervals."""

import dataclasses

import numpy as np
import pytest
from matplotlib import pyplot

import mdinsight as mdi
from mdinsight import plots
from mdinsight.errors import ParameterError
from mdinsight.results import Estimate


@pytest.fixture(autouse=True)
def _close():
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def states(sampled):
    return sampled.states()


def in_ps(label):
    """ps of one unit of an axis."""
    return next(size for unit, size in (("in us", 1e6), ("in ns", 1e3), ("in ps", 1.0)) if unit in label)


def line(ax, label):
    return next(np.asarray(one.get_xydata(), float) for one in ax.lines if one.get_label() == label)


def bars(ax):
    """Low and high ends of the error bars, of each drawn set."""
    return [np.array([segment[:, 1] for segment in one.lines[2][0].get_segments()]) for one in ax.containers]


class Early:
    """A run as it was before anything could be weighed."""

    def __init__(self, run):
        self.history, self.run = self, run

    def rounds(self):
        known = self.run.history.rounds()
        return known[: next(i for i, one in enumerate(known) if one.free_energies is not None)]


def test_the_rounds_show_the_free_energy_of_each_state_as_it_was_known(sampled):
    ax = plots.rounds(sampled)
    known = [one for one in sampled.history.rounds() if one.free_energies is not None]
    finite = [one for one in known if np.isfinite(one.free_energies.value[1])]
    drawn = line(ax, "state 2")
    unit = in_ps(ax.get_xlabel())
    assert np.allclose(drawn[:, 0] * unit, [one.start for one in finite])
    assert np.allclose(drawn[:, 1], [float(one.free_energies.value[1]) for one in finite])
    assert "kJ/mol" in ax.get_ylabel()
    low, high = ax.get_ylim()
    assert low < drawn[:, 1].min() and drawn[:, 1].max() < high


def test_the_rounds_show_new_coordinates_and_the_number_of_states_in_panels_of_their_own(sampled):
    ax = plots.rounds(sampled)
    rounds = sampled.history.rounds()
    unit = in_ps(ax.get_xlabel())
    new = [one.start for one in rounds if one.relearned]
    strip, counts = ax.child_axes
    assert new and np.allclose(line(strip, "new coordinate from here on")[:, 0] * unit, new)
    found = [one.states for one in rounds if one.states is not None]
    assert np.asarray(counts.lines[0].get_ydata()).tolist() == [*found, found[-1]]
    kinds = {text.get_text() for text in ax.get_legend().get_texts()}
    assert {"first exploration", "unbiased swarms", "walkers under bias", "two-way swarms", "state 2"} <= kinds


def test_panels_of_the_rounds_stay_on_the_figure(sampled):
    figure = plots.rounds(sampled).figure
    figure.canvas.draw()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_free_energies_that_are_not_known_yet_have_no_axis(sampled):
    early = Early(sampled)
    ax = plots.rounds(early)
    assert any(text.get_text().startswith("not yet known") for text in ax.texts)
    assert not ax.get_yticks().size and not ax.lines


def test_bias_and_swarms_stand_side_by_side_with_their_intervals(states):
    free = states.free_energies
    other = Estimate(free.value + 0.5, free.low, free.high + 1.0, "kJ/mol")
    ax = plots.state_populations(dataclasses.replace(states, swarm_free_energies=other))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"biased walkers", "unbiased swarms alone"} <= set(labels) and "they disagree" not in labels
    assert np.allclose(bars(ax)[0], np.column_stack([free.low, free.high]))
    assert np.allclose(bars(ax)[1], np.column_stack([other.low, other.high]))
    percent = f"{100 * float(states.populations.value[0]):.3g} %"
    assert percent in ax.get_xticklabels()[0].get_text() and "kJ/mol" in ax.get_ylabel()


def test_a_disagreement_is_ringed(states):
    free = states.free_energies
    shift = np.array([0.0, 20.0])
    far = free.replace(value=free.value + shift, low=free.low + shift, high=free.high + shift)
    ax = plots.state_populations(dataclasses.replace(states, swarm_free_energies=far))
    assert line(ax, "they disagree")[:, 0].tolist() == [1.0]
    assert not any(np.isnan(line(ax, "they disagree")).ravel())


def test_a_state_that_the_swarms_do_not_join_is_marked_and_one_that_was_not_seen_is_a_bound(states):
    unknown = Estimate([0.0, np.nan], [0.0, np.nan], [0.0, np.nan], "kJ/mol")
    bound = Estimate([0.0, np.inf], [0.0, 14.0], [0.0, np.inf], "kJ/mol")
    ax = plots.state_populations(dataclasses.replace(states, free_energies=bound, swarm_free_energies=unknown))
    words = [text for text in ax.texts if text.get_text() == "swarms: not known"]
    assert [text.xy[0] for text in words] == [1.12]
    assert "unbiased swarms alone" not in {text.get_text() for text in ax.get_legend().get_texts()}
    assert ax.get_ylim()[1] > 14.0
    ax.figure.canvas.draw()


def test_passage_times_have_their_intervals(states):
    ax = plots.passage_times(states)
    times = states.passage_times
    ends = [one.lines[2][0].get_segments()[0][:, 0] for one in ax.containers]
    assert np.allclose(ends, [[times.low[p], times.high[p]] for p in ((0, 1), (1, 0))])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["1 to 2", "2 to 1"]
    assert ax.get_xscale() == "log"
    ticks = [ax.xaxis.get_major_formatter()(ps, 0) for ps in (1.0, 1e4, 1e8)]
    assert ticks == ["1 ps", "10 ns", "100 us"]
    nothing = np.full((2, 2), np.nan)
    with pytest.raises(ParameterError, match="no passage time is known"):
        plots.passage_times(dataclasses.replace(states, passage_times=Estimate(nothing, nothing, nothing, "ps")))


def test_many_passage_times_are_a_table(states):
    n = 6
    value = np.exp(np.random.default_rng(3).normal(6, 1, (n, n)))
    times = Estimate(value, value / 2, value * 2, "ps")
    many = dataclasses.replace(
        states, passage_times=times, populations=Estimate(np.full(n, 1 / n), np.full(n, 0.1), np.full(n, 0.2))
    )
    ax = plots.passage_times(many)
    assert len(ax.texts) == n * (n - 1)
    assert mdi.units.format_time(value[0, 1]) in ax.texts[0].get_text()


def test_the_surface_is_that_of_the_states_and_they_are_marked_on_it(states):
    ax = plots.run_surface(states)
    surface = states.surface()
    drawn = np.asarray(ax.lines[0].get_xydata(), float)
    assert np.allclose(drawn[:, 1], surface.free_energy.value, equal_nan=True)
    marks = {text.get_text(): text.xy[0] for text in ax.texts if text.get_text().isdigit()}
    assert set(marks) == {"1", "2"}
    inside = states.assign(np.array([[marks["1"]], [marks["2"]]]))
    assert inside.tolist() == [0, 1]
    assert ax.get_xlabel() == "TIC 1"


def test_a_state_without_weighted_frames_is_marked_where_the_swarms_saw_it(states):
    rare = dataclasses.replace(states, assigned=np.zeros_like(states.assigned))
    ax = plots.run_surface(rare)
    cross = next(one for one in ax.lines if one.get_marker() == "x")
    segment, trajectory, frame = states.frames[1][0]
    piece = next(piece for piece in states.history.pieces() if piece.name == segment)
    place = states.coordinate.values(np.asarray(piece.parts[trajectory][[frame]]))[0, 0]
    assert cross.get_xdata()[0] == pytest.approx(place)
    low, high = ax.get_xlim()
    assert low < place < high
    told = [" ".join(text.get_text().split()) for text in ax.texts]  # lines may break anywhere
    assert any("saw state 2, of which no frame is weighed" in text for text in told), told


def test_walkers_show_every_walker_on_the_last_coordinate(sampled, states):
    ax = plots.walkers(sampled)
    pieces = [p for p in sampled.history.pieces(kind="biased") if p.name.endswith("-000")]
    own = np.concatenate([states.coordinate.values(np.asarray(p.features))[:, 0] for p in pieces])
    drawn = line(ax, "1")
    assert np.allclose(drawn[:, 1], own)
    span = sum(piece.ps for piece in pieces)
    assert drawn[-1, 0] * in_ps(ax.get_xlabel()) == pytest.approx(span) and (np.diff(drawn[:, 0]) > 0).all()
    assert [text.get_text() for text in ax.texts if text.get_text().startswith("walker")] == ["walker 1", "walker 2"]
    second = line(ax, "2")
    assert second[0, 0] > drawn[-1, 0]  # one after the other
    with pytest.raises(ParameterError, match="column=3"):
        plots.walkers(sampled, column=3)


def test_they_draw_where_they_are_told(sampled, states):
    panels = pyplot.subplots(5, 1)[1]
    drawings = (
        lambda ax: plots.rounds(sampled, ax=ax),
        lambda ax: plots.walkers(sampled, ax=ax),
        lambda ax: plots.state_populations(states, ax=ax),
        lambda ax: plots.passage_times(states, ax=ax),
        lambda ax: plots.run_surface(states, ax=ax),
    )
    for ax, drawing in zip(panels, drawings, strict=True):
        assert drawing(ax) is ax and ax.has_data()


def test_a_run_that_has_not_begun_has_nothing_to_draw(sampled, tmp_path):
    begun = mdi.adaptive.open(tmp_path / "run", sampled.plan)
    with pytest.raises(ParameterError, match="no round yet"):
        plots.rounds(begun)
    with pytest.raises(ParameterError, match="no biased round yet"):
        plots.walkers(begun)
