"""c(t) out of the frames themselves: exact on a known potential, and free energies of metadynamics while its bias grows."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from mdinsight.bias._definitions import OPES, Metadynamics, UpperWall
from mdinsight.bias._free_energy import free_energy_difference
from mdinsight.bias._hills import Hills
from mdinsight.bias._offsets import _of_state, offsets
from mdinsight.bias._states import start
from mdinsight.bias._trace import Trace
from mdinsight.errors import BiasError, SelectionError
from mdinsight.units import GAS_CONSTANT

kT = GAS_CONSTANT * 300
SIGMA = 0.15
REPEATS = 24
GRID = np.linspace(-2.4, 2.4, 961)
LEFT, RIGHT = {"x": (-9.0, 0.0)}, {"x": (0.0, 9.0)}


@njit
def double_well(x):
    """Two wells, 7 kT high, 3 kT apart."""
    return 7.0 * (x * x - 1.0) ** 2 + 1.5 * x


@njit
def at(values, x):
    u = (x + 2.4) / 0.005
    i = int(u)
    return values[i] + (u - i) * (values[i + 1] - values[i]) if 0 <= i < 959 else 0.0


@njit
def metadynamics(seed, n, pace, height, biasfactor):
    """Monte Carlo under metadynamics in kT: position and bias before each hill, the hill's height, and all biases (n, 961)."""
    np.random.seed(seed)  # noqa: NPY002 (what numba knows)
    bias, x = np.zeros(961), -1.0
    rows, history = np.zeros((n, 3)), np.zeros((n, 961))
    for row in range(n):
        energy = double_well(x) + at(bias, x)
        for _ in range(pace):
            new = x + 0.07 * np.random.normal()  # noqa: NPY002
            there = double_well(new) + at(bias, new)
            if there <= energy or np.random.random() < np.exp(energy - there):  # noqa: NPY002
                x, energy = new, there
        history[row] = bias
        hill = height * np.exp(-at(bias, x) / (biasfactor - 1.0))
        rows[row, 0], rows[row, 1], rows[row, 2] = x, at(bias, x), hill
        for node in range(961):
            d = (-2.4 + 0.005 * node - x) / SIGMA
            if abs(d) < 4.5:
                bias[node] += hill * np.exp(-0.5 * d * d)
    return rows, history


def as_trace(s: np.ndarray, bias: np.ndarray, steps: np.ndarray, **changes) -> Trace:
    """Energies in kT."""
    s, zero = np.reshape(s, (len(bias), -1)), np.zeros(len(bias))
    names, periods = tuple("xyz"[: s.shape[1]]), (None,) * s.shape[1]
    fields = {"walker": zero.astype(int), "step": steps, "time": steps * 1.0, "s": s, "bias": bias * kT, "fixed": zero}
    return Trace(**{"names": names, "periods": periods, "temperature": 300.0, **fields, "offset": zero, **changes})


def a_run(seed: int, n: int, pace: int, height: float, biasfactor: float) -> tuple[Trace, Hills, np.ndarray]:
    """A trace whose rows are at the deposits, the hills, and the exact c(t) in kT."""
    rows, history = metadynamics(seed, n, pace, height, biasfactor)
    steps = np.arange(1, n + 1) * pace
    weights = np.exp(-double_well(GRID))
    exact = -np.log(np.exp(-history) @ (weights / weights.sum()))
    widths = np.full((n, 1), SIGMA)
    hills = Hills(("x",), (None,), steps * 1.0, rows[:, :1], widths, rows[:, 2] * kT, biasfactor, np.zeros(n, int))
    return as_trace(rows[:, 0], rows[:, 1], steps), hills, exact


def exact_difference() -> float:
    x = np.linspace(-3, 3, 6001)
    p = np.exp(-double_well(x))
    return -kT * float(np.log(p[x > 0].sum() / p[x < 0].sum()))


@pytest.mark.parametrize(
    ("n", "pace", "height", "biasfactor"),
    [(2000, 50, 1.2, 8.0), (3000, 50, 5.0, 30.0), (1500, 500, 5.0, 30.0)],
    ids=["gentle", "fast", "fast, far apart"],
)
def test_differences_of_metadynamics_are_unbiased_and_covered(n, pace, height, biasfactor) -> None:
    found, off = [], []
    for seed in range(REPEATS):
        trace, hills, exact = a_run(seed, n, pace, height / kT, biasfactor)
        c = offsets(trace, hills)
        found.append(free_energy_difference(trace.replace(offset=c), LEFT, RIGHT))
        late = slice(n // 10, None)
        off.append(np.std((c / kT - exact)[late]))
    values = np.array([float(each.value) for each in found])
    assert abs(values.mean() - exact_difference()) < 2.5 * values.std() / np.sqrt(len(values))
    assert np.mean([bool(each.contains(exact_difference())) for each in found]) >= 0.85
    assert np.median(off) < 0.3  # kT
    assert np.mean([all(verdict.holds for verdict in each.verdicts()) for each in found]) > 0.8


def test_run_of_a_bias_that_still_grows_is_refused() -> None:
    """400 hills of 2 kT: the bias at a place changes by more than kT until the end."""
    for seed in range(20):
        trace, hills, _ = a_run(seed, 400, 50, 5.0 / kT, 30.0)
        found = free_energy_difference(trace.replace(offset=offsets(trace, hills)), LEFT, RIGHT)
        said = {verdict.subject: verdict for verdict in found.verdicts()}
        assert not said["bias"].holds and "longer" in said["bias"].remedy


def test_exact_for_frames_drawn_from_the_biased_ensemble() -> None:
    """No dynamics, so no error but the statistical one; more frames than are used, on a periodic coordinate beside another."""
    rng, n = np.random.default_rng(0), 6000
    angles = np.linspace(-np.pi, np.pi, 400, endpoint=False)
    unbiased = 2.0 * np.cos(angles) + np.cos(3 * angles)
    state = start(Metadynamics(height=0.02 * kT, sigma=0.5, biasfactor=40.0, pace=10), 300.0, (2 * np.pi,))
    state.axes = (1,)
    s, bias, exact = np.empty(n), np.empty(n), np.empty(n)
    p0 = np.exp(-unbiased) / np.exp(-unbiased).sum()
    for row in range(n):
        if row % 50 == 0:
            added = state.energies(angles[:, None]) / kT
            wide, number = np.cumsum(p0 * np.exp(-added)), row
        s[row] = angles[np.searchsorted(wide, rng.random() * wide[-1])]
        bias[row], exact[row] = state.energy(s[row : row + 1]) / kT, -np.log(wide[-1])
        state.deposit(s[row : row + 1])
        assert row - number < 50
    both = np.column_stack([rng.normal(size=n), s])
    trace = as_trace(both, bias, np.arange(1, n + 1) * 10, periods=(None, 2 * np.pi))
    c = offsets(trace, [state]) / kT
    assert exact[-1] > 2.0 and np.abs(c[::50] - exact[::50]).max() < 0.15
    moved = trace.replace(offset=np.random.default_rng(1).normal(size=n))
    np.testing.assert_array_equal(offsets(moved, state) / kT, c)  # whatever the trace had


def test_hills_are_found_at_their_rows() -> None:
    """Two walkers, widths measured first, rows finer and coarser than the pace: the bias is rebuilt as it was recorded."""
    rng, pace = np.random.default_rng(2), 20
    for record in (5, 20, 60, 28):
        state = start(Metadynamics(height=3.0, biasfactor=10.0, pace=pace), 300.0, (None,))
        rows = []
        for step in range(1, 3001):
            s = rng.normal(size=2)
            if state.observe_every and step % state.observe_every == 0:
                for walker in range(2):
                    state.observe(s[walker : walker + 1], walker)
            if step % record == 0:
                rows += [(w, step, s[w], state.energy(s[w : w + 1]) / kT, state.n_deposits) for w in range(2)]
            if step % pace == 0:
                state.deposit_many([s[:1], s[1:]])
        walker, steps, x, bias, there = np.array(rows).T
        assert there[0] == 0 and state.n_deposits > 250
        trace = as_trace(x, bias, steps.astype(int), walker=walker.astype(int))
        np.testing.assert_array_equal(_of_state(trace, state).counts, there)
        c = offsets(trace, state)
        assert abs(c[0]) < 1e-9 and c[-1] > 3 * kT
        some = np.sort(rng.permutation(len(trace))[: len(trace) // 2])
        # of a step of which only the second walker is left, the first one's hill counts
        assert np.abs(_of_state(trace.take(some), state).counts - there[some]).max() <= 1


def test_hills_that_come_late_from_another_process() -> None:
    """Every tenth step another process's hills arrive at once; at the rows of one's own hills nothing is uncertain."""
    rng = np.random.default_rng(3)
    state, other = (start(Metadynamics(height=3.0, sigma=0.3, pace=10), 300.0, (None,)) for _ in range(2))
    waiting, rows = [], []
    for number in range(1, 401):
        s = rng.normal(size=1)
        rows.append((s[0], state.energy(s) / kT, state.n_deposits))
        state.deposit(s)
        waiting.append(other.deposit(rng.normal(size=1)))
        if number % 10 == 0:
            for deposit in waiting:
                state.apply(deposit)
            waiting = []
    x, bias, there = np.array(rows).T
    trace = as_trace(x, bias, np.arange(1, 401) * 10)
    np.testing.assert_array_equal(_of_state(trace, state).counts, there)
    # x is Gaussian whatever the bias, so this is the ensemble that no frame of a growing bias would come from
    assert np.isfinite(offsets(trace, state)).all()


def test_beside_other_potentials_and_without_metadynamics() -> None:
    trace, hills, _ = a_run(0, 300, 50, 0.5, 10.0)
    state = start(Metadynamics(0.5 * kT, SIGMA, 10.0, 50), 300.0, (None,))
    for row in np.column_stack([hills.centers, hills.sigmas, hills.heights]):
        state.apply(row)
    alone = offsets(trace, hills)
    np.testing.assert_allclose(offsets(trace, [state]), alone, atol=1e-6)
    opes, wall = (start(each, 300.0, (None,)) for each in (OPES(20, sigma=0.1), UpperWall(3.0, 10.0)))
    opes.deposit(np.array([0.3]))
    beside = trace.replace(bias=trace.bias + opes.energies(trace.s), fixed=wall.energies(trace.s))
    np.testing.assert_allclose(offsets(beside, [opes, state, wall]), alone, atol=0.01 * kT)
    assert not offsets(beside, [opes, wall]).any() and not offsets(beside, opes).any()
    assert offsets(trace.take(slice(0, 0)), state).shape == (0,)


def test_hills_of_another_run_are_refused() -> None:
    trace, _, _ = a_run(0, 400, 50, 0.5, 10.0)
    _, others, _ = a_run(1, 400, 50, 2.0, 10.0)
    with pytest.raises(BiasError, match=r"400 hills differs by .* give the bias of the run"):
        offsets(trace, others)
    with pytest.raises(SelectionError, match="the hills are on phi, the trace has x"):
        offsets(trace, others.replace(names=("phi",)))
    state = start(Metadynamics(1.0, SIGMA), 300.0, (None,))
    state.deposit(np.array([0.0]))
    state.axes = (1,)
    with pytest.raises(SelectionError, match="coordinate 1, the trace has 1"):
        offsets(trace, state)
