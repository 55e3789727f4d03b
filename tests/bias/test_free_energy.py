"""Free energy differences and surfaces of biased runs: exact values, honest intervals, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from mdinsight import plots, seeds
from mdinsight.bias._convergence import convergence
from mdinsight.bias._definitions import OPES, Metadynamics, Potential
from mdinsight.bias._free_energy import free_energy_difference, free_energy_surface
from mdinsight.bias._grid import grid_energy
from mdinsight.bias._kernels import kernels_energy
from mdinsight.bias._pieces import visits
from mdinsight.bias._states import start
from mdinsight.bias._trace import Trace
from mdinsight.errors import NonFiniteError, ParameterError, SelectionError
from mdinsight.series import Column, TimeSeries
from mdinsight.units import GAS_CONSTANT

kT = GAS_CONSTANT * 300
LEFT, RIGHT = {"x": (-9.0, 0.0)}, {"x": (0.0, 9.0)}


@njit
def langevin(n: int, stride: int, height: float, tilt: float, start: float, seed: int) -> np.ndarray:
    """Overdamped motion on height (x^2 - 1)^2 + tilt x, all in kT: what the bias has left of the barrier."""
    np.random.seed(seed)  # noqa: NPY002 (what numba knows)
    x, out, dt = start, np.empty(n), 0.002
    for i in range(n):
        for _ in range(stride):
            x += -(4 * height * x * (x * x - 1) + tilt) * dt + np.sqrt(2 * dt) * np.random.randn()  # noqa: NPY002
        out[i] = x
    return out


def static_bias(x: np.ndarray) -> np.ndarray:
    """In kT; it leaves weights that vary a hundredfold within each well."""
    return 2.5 * np.cos(3 * x) + x


GRID = np.linspace(-3, 3, 6001)


def density(height: float, tilt: float) -> np.ndarray:
    """Unbiased density on the grid: the biased energy less the bias."""
    p = np.exp(-(height * (GRID**2 - 1) ** 2 + tilt * GRID) + static_bias(GRID))
    return p / p.sum()


def exact_difference(height: float, tilt: float, core: float = 0.0) -> float:
    p = density(height, tilt)
    return -kT * float(np.log(p[core < GRID].sum() / p[-core > GRID].sum()))


def as_trace(runs: list[np.ndarray], bias=static_bias) -> Trace:
    sizes = [len(run) for run in runs]
    x, steps = np.concatenate(runs), np.concatenate([np.arange(size) for size in sizes])
    zero = np.zeros(len(x))
    return Trace(
        ("x",), (None,), 300.0, np.repeat(np.arange(len(runs)), sizes), steps, steps * 1.0, x[:, None], zero,
        bias(x) * kT, zero,
    )  # fmt: skip


def simulate(height: float, tilt: float, n: int, walkers: int, seed: int, stride: int = 50) -> Trace:
    starts = [(-1.0) ** (seed + walker) for walker in range(walkers)]
    return as_trace([langevin(n // walkers, stride, height, tilt, s, 100 * seed + i) for i, s in enumerate(starts)])


@pytest.mark.parametrize(
    ("height", "tilt", "n", "walkers", "stride"),
    [
        (5.0, 0.0, 1500, 1, 50),  # two round trips in the median run
        (5.0, 0.0, 4000, 1, 50),  # six
        (5.0, 0.5, 16000, 1, 50),  # twenty
        (5.0, 0.0, 4000, 3, 50),
        (5.0, 0.0, 6000, 8, 50),
        (2.0, 0.0, 16000, 1, 5),  # no barrier to speak of: correlated frames decide
    ],
)
def test_intervals_cover_the_exact_difference(height, tilt, n, walkers, stride) -> None:
    exact = exact_difference(height, tilt)
    inside, relied = [], []
    for seed in range(150):
        found = free_energy_difference(simulate(height, tilt, n, walkers, seed, stride), LEFT, RIGHT)
        inside.append(bool(found.contains(exact)))
        if all(verdict.holds for verdict in found.verdicts()):
            relied.append(inside[-1])
    assert np.mean(inside) >= 0.9
    assert len(relied) < 10 or np.mean(relied) >= 0.88


@njit
def follow(x, noise, height, tilt, energy_of, header, data):
    """Overdamped motion under an adaptive bias as it stands."""
    dt, s, slope = 0.002, np.empty(1), np.zeros(1)
    for kick in noise:
        s[0] = x
        energy_of(s, header, data, slope)
        x += -(4 * height * x * (x * x - 1) + tilt + slope[0] / kT) * dt + np.sqrt(2 * dt) * kick
    return x


def adaptive(definition: Potential, energy_of, seed: int, deposits: int = 1000, pace: int = 100) -> Trace:
    state, rng, x = start(definition, 300.0, (None,), seed), seeds.generator(seed, "test"), (-1.0) ** seed
    rows = []
    for _ in range(deposits):
        for _ in range(4):
            x = follow(x, rng.normal(size=pace // 4), 8.0, 1.0, energy_of, state.header, state.data)
            rows.append((x, state.energy(np.array([x])), state.offset()))
        state.deposit(np.array([x]))
    x_, bias, offset = np.array(rows).T
    return as_trace([x_], np.zeros_like).replace(bias=bias, offset=offset)


@pytest.mark.parametrize(
    ("definition", "energy_of"),
    [
        (OPES(barrier=25, pace=100, sigma=0.1), kernels_energy),
        (Metadynamics(height=1.0, sigma=0.1, biasfactor=10.0, pace=100), grid_energy),
    ],
    ids=["OPES", "metadynamics"],
)
def test_intervals_cover_under_biases_that_grow(definition, energy_of) -> None:
    """A barrier of 8 kT that the bias itself has to overcome; weights of each frame are those of its moment."""
    p = np.exp(-(8 * (GRID**2 - 1) ** 2 + GRID))
    exact = -kT * float(np.log(p[GRID > 0].sum() / p[GRID < 0].sum()))
    found = [free_energy_difference(adaptive(definition, energy_of, seed), LEFT, RIGHT) for seed in range(60)]
    assert np.mean([bool(f.contains(exact)) for f in found]) >= 0.87
    assert np.mean([float(f.value) for f in found]) == pytest.approx(exact, abs=0.4)
    assert np.median([float(f.high - f.low) / 2 for f in found]) < 2.0


def test_interval_is_no_wider_than_it_must_be() -> None:
    """With many events: about two standard deviations of what repeats give, and shrinking with the run."""
    found = [free_energy_difference(simulate(2.0, 0.0, 20_000, 1, seed, 20), LEFT, RIGHT) for seed in range(60)]
    spread = np.std([float(f.value) for f in found])
    half = np.median([float(f.high - f.low) / 2 for f in found])
    assert 1.6 < half / spread < 3.0
    assert np.mean([float(f.value) for f in found]) == pytest.approx(exact_difference(2.0, 0.0), abs=0.3)


def test_automatic_discard_does_not_move_the_answer() -> None:
    """Of an adaptive part that settles, the beginning goes; the mean over repeats stays exact, kept whole it is not."""
    exact = exact_difference(2.0, 0.0)
    mean: dict = {"auto": 0.0, 0.1: 0.0, 0: 0.0}
    for seed in range(40):
        trace = simulate(2.0, 0.0, 16_000, 1, seed, 20)
        wrong = np.where(np.arange(16_000) < 1600, 6.0 * (trace.s[:, 0] > 0), 0.0)  # early weights favour one side
        late = trace.replace(bias=wrong * kT)
        for discard in mean:
            mean[discard] += float(free_energy_difference(late, LEFT, RIGHT, discard=discard).value) / 40
    assert mean["auto"] == pytest.approx(mean[0.1], abs=0.05)  # it finds where they end
    assert mean["auto"] == pytest.approx(exact, abs=0.4)
    assert abs(mean[0] - exact) > 1.0


def test_states_given_in_every_way() -> None:
    trace = simulate(2.0, 0.0, 6000, 1, 0)
    x = trace.s[:, 0]
    by_range = free_energy_difference(trace, LEFT, RIGHT)
    assert free_energy_difference(trace, x < 0, x >= 0) == by_range
    assert free_energy_difference(trace, lambda s: s[:, 0] < 0, lambda s: s[:, 0] >= 0) == by_range
    other = TimeSeries([2 * x], columns=[Column("twice")])
    assert free_energy_difference(trace, {"twice": (-18, 0)}, {"twice": (0, 18)}, other) == by_range
    back = free_energy_difference(trace, RIGHT, LEFT)
    assert (float(back.value), float(back.low)) == pytest.approx((-float(by_range.value), -float(by_range.high)))
    bare = free_energy_difference((x[:, None], static_bias(x)), x < 0, x >= 0, temperature=300)
    assert float(bare.value) == pytest.approx(float(by_range.value)) and float(bare.low) == pytest.approx(by_range.low)


def test_periodic_ranges() -> None:
    angle = np.linspace(-np.pi, np.pi, 4000, endpoint=False)
    trace = as_trace([np.random.default_rng(0).permutation(angle)], np.zeros_like).replace(periods=(2 * np.pi,))
    corner = free_energy_difference(trace, {"x": (-1.0, 1.0)}, {"x": (np.pi - 0.5, -np.pi + 0.5)})
    assert corner.frames[1] / corner.frames[0] == pytest.approx(0.5, abs=0.01)
    assert float(corner.value) == pytest.approx(kT * np.log(2), abs=0.02)
    turned = trace.replace(s=(trace.s + 20 * np.pi))
    assert free_energy_difference(turned, {"x": (-np.inf, 0)}, {"x": (0, np.inf)}).frames == (2000, 2000)


def test_few_events_are_refused_and_open_ended() -> None:
    once = as_trace([np.concatenate([np.full(500, -1.0), np.full(500, 1.0)])])
    found = free_energy_difference(once, LEFT, RIGHT)
    assert found.events == (1, 0) and np.isinf([found.low, found.high]).all()
    said = {verdict.subject: verdict for verdict in found.verdicts()}
    assert not said["transitions"].holds and "1 times from A to B, 0 back" in said["transitions"].says
    assert not said["interval"].holds
    # walkers that stay where they started say nothing, however many they are
    stuck = as_trace([np.full(200, (-1.0) ** i) for i in range(10)])
    found = free_energy_difference(stuck, LEFT, RIGHT)
    assert found.events == (0, 0) and np.isinf([found.low, found.high]).all()


def test_state_never_visited_has_a_bound() -> None:
    rng = np.random.default_rng(0)
    trace = as_trace([rng.normal(-1, 0.1, 3000)], np.zeros_like)
    found = free_energy_difference(trace, LEFT, RIGHT)
    assert found.value == np.inf and found.high == np.inf
    assert float(found.low) == pytest.approx(kT * np.log(3000 / np.log(20)), abs=0.5)  # the rule of three
    assert "B was never visited" in found.verdicts()[0].says and not found.verdicts()[0].holds
    back = free_energy_difference(trace, RIGHT, LEFT)
    assert back.value == -np.inf and float(back.high) == pytest.approx(-float(found.low))
    neither = free_energy_difference(trace, {"x": (5, 6)}, {"x": (7, 8)})
    assert np.isnan(neither.value) and "A and B were never" in neither.verdicts()[0].says


def test_recrossings_are_no_events() -> None:
    path = np.array([0] * 50 + [1, 0, 1] + [1] * 50 + [-1] * 5 + [1] * 10 + [-1, 0] + [0] * 50)
    assert visits(path, np.zeros(len(path)), 5).tolist() == [1, 1]
    assert visits(path, np.zeros(len(path)), 1).tolist() == [2, 2]
    two_runs = np.repeat([0, 1], [60, len(path) - 60])
    assert visits(path, two_runs, 5).tolist() == [0, 1] or visits(path, two_runs, 5).tolist() == [1, 1]


@pytest.mark.parametrize("walkers", [1, 8])
def test_surface_of_known_density(walkers: int) -> None:
    edges = np.linspace(-1.6, 1.6, 17)
    mass = np.histogram(GRID, edges, weights=density(2.0, 0.0))[0]
    inside = []
    for seed in range(20):
        surface = free_energy_surface(simulate(2.0, 0.0, 16_000, walkers, seed, 10), bins=16, range=[(-1.6, 1.6)])
        value = surface.free_energy.value
        at = int(np.argmin(value))
        inside.append(surface.free_energy.contains(-kT * np.log(mass / mass[at]))[np.arange(16) != at].mean())
    assert surface.names == ("x",) and value[at] == 0.0 and surface.verdicts()[0].holds
    assert np.mean(inside) >= 0.88
    plots.free_energy(surface)


def test_surface_on_another_coordinate_and_over_the_period() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-np.pi, np.pi, 40_000)
    other = np.column_stack([np.cos(x), rng.normal(size=len(x))])
    trace = as_trace([x], lambda x: 2.0 * np.cos(x)).replace(periods=(2 * np.pi,), s=(x + 6 * np.pi)[:, None])
    surface = free_energy_surface(trace, bins=24)
    assert surface.edges[0][0] == -np.pi and surface.edges[0][-1] == np.pi
    exact = -2 * kT * (np.cos(surface.centers[0]) - 1)  # uniform times exp(2 cos x)
    np.testing.assert_allclose(surface.free_energy.value, exact, atol=0.6)
    plane = free_energy_surface(trace, TimeSeries([other], columns=[Column("cos"), Column("noise")]), bins=[8, 6])
    assert plane.free_energy.value.shape == (8, 6) and plane.names == ("cos", "noise")
    plots.free_energy(plane)
    with pytest.raises(ParameterError, match="one or two coordinates, these are 3"):
        free_energy_surface(trace, np.zeros((len(x), 3)))
    with pytest.raises(ParameterError, match="no weight lies inside"):
        free_energy_surface(trace, range=[(50, 60)])


def test_bin_seen_once_has_an_open_end() -> None:
    x = np.random.default_rng(0).uniform(0, 1, 4000)
    x[1234] = 1.5
    surface = free_energy_surface(as_trace([x], np.zeros_like), bins=3, range=[(0, 2.4)])
    figure = surface.free_energy
    assert figure.high[1] > 0 and figure.high[1] != np.inf
    assert np.isnan(figure.value[2]) and np.isnan(figure.low[2])
    rare = free_energy_surface(as_trace([x], np.zeros_like), bins=2, range=[(0, 2.0)]).free_energy
    assert rare.high[1] == np.inf and rare.low[1] < rare.value[1]


def test_convergence_over_time() -> None:
    good = convergence(simulate(2.0, 0.0, 20_000, 4, 0, 20), LEFT, RIGHT)
    exact = exact_difference(2.0, 0.0)
    assert good.times.shape == (20,) and len(good.over_time) == 20 and len(good.walkers) == 4
    assert all(verdict.holds for verdict in good.verdicts()), [str(v) for v in good.verdicts()]
    assert good.over_time.value[-1] == pytest.approx(float(good.difference.value))
    width = good.over_time.high - good.over_time.low
    assert width[-1] < width[3] and good.difference.contains(exact) and good.drift == 0.0
    short = convergence(simulate(5.0, 0.0, 1000, 1, 1, 20), LEFT, RIGHT)
    assert not all(verdict.holds for verdict in short.verdicts())
    assert all(verdict.remedy for verdict in short.verdicts() if not verdict.holds)


def test_convergence_says_that_the_bias_still_changes() -> None:
    trace = simulate(2.0, 0.0, 10_000, 1, 0, 20)
    moving = convergence(trace.replace(bias=np.linspace(0, 50 * kT, len(trace))), LEFT, RIGHT)
    said = {verdict.subject: verdict for verdict in moving.verdicts()}
    assert not said["bias"].holds and moving.drift > 2 * kT
    assert not said["weights"].holds  # the last frames hold it all


def test_refusals() -> None:
    trace = simulate(2.0, 0.0, 500, 1, 0)
    with pytest.raises(ParameterError, match="in common"):
        free_energy_difference(trace, {"x": (-9, 0.5)}, RIGHT)
    with pytest.raises(SelectionError, match="'phi'; there are 'x'"):
        free_energy_difference(trace, {"phi": (0, 1)}, RIGHT)
    with pytest.raises(ParameterError, match="low < high"):
        free_energy_difference(trace, {"x": (1, 0)}, RIGHT)
    with pytest.raises(ParameterError, match="no range"):
        free_energy_difference(trace, {"x": 1}, RIGHT)
    with pytest.raises(ParameterError, match="mask of 500 frames"):
        free_energy_difference(trace, np.zeros(9, dtype=bool), RIGHT)
    with pytest.raises(NonFiniteError, match="A is nan"):
        free_energy_difference(trace, np.full(500, np.nan), RIGHT)
    with pytest.raises(ParameterError, match="one row for each frame"):
        free_energy_difference(trace, LEFT, RIGHT, np.zeros(499))
    with pytest.raises(NonFiniteError, match="frame 3"):
        free_energy_difference(trace, LEFT, RIGHT, np.where(np.arange(500) == 3, np.nan, 0.0))
    with pytest.raises(NonFiniteError, match="log weight of frame 2"):
        free_energy_difference((np.zeros(3), [0.0, 1.0, np.nan]), LEFT, RIGHT, temperature=300)
    with pytest.raises(ParameterError, match="temperature=400, but the trace is of 300 K"):
        free_energy_difference(trace, LEFT, RIGHT, temperature=400)
    assert free_energy_difference(trace, LEFT, RIGHT, temperature="300 K") == free_energy_difference(trace, LEFT, RIGHT)
    with pytest.raises(ParameterError, match="discard=None is no fraction"):
        free_energy_difference(trace, LEFT, RIGHT, discard=None)
    with pytest.raises(ParameterError, match=r"discard=0.99999 leaves none of 500 rows"):
        free_energy_difference(trace, LEFT, RIGHT, discard=0.99999)
    for wrong in (5, "x"):
        with pytest.raises(ParameterError, match=f"coordinates={wrong!r} are none"):
            free_energy_difference(trace, LEFT, RIGHT, coordinates=wrong)
    for wrong in (None, "x", trace.s):
        with pytest.raises(ParameterError, match="no biased frames; give a Trace"):
            free_energy_difference(wrong, LEFT, RIGHT)
    with pytest.raises(ParameterError, match=r"log weights=.* are no numbers"):
        free_energy_difference((trace.s, ["a"] * 500), LEFT, RIGHT, temperature=300)
    for wrong in (0, None, -1, 2.5):
        with pytest.raises(ParameterError, match="n_times"):
            convergence(trace, LEFT, RIGHT, n_times=wrong)
    with pytest.raises(ParameterError, match="give its Trace, not a tuple"):
        convergence((trace.s, trace.bias), LEFT, RIGHT)
    for wrong in ("x", None, 2.5, 0, [5, 5]):
        with pytest.raises(ParameterError, match="bins="):
            free_energy_surface(trace, bins=wrong)
    for wrong in ("x", 5, [(0, 1), (0, 1)], [(1, 0)], [(0, np.nan)]):
        with pytest.raises(ParameterError, match="range="):
            free_energy_surface(trace, range=wrong)
    with pytest.raises(ParameterError, match="give temperature="):
        free_energy_difference((np.zeros(3), np.zeros(3)), LEFT, RIGHT)
