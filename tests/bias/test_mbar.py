"""MBAR over biased runs: exact profiles, pymbar's numbers, and what is said of states that do not overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pymbar
import pytest

from mdinsight import plots
from mdinsight.bias._free_energy import free_energy_difference, free_energy_surface
from mdinsight.bias._mbar import Reweighting, mbar, snapshot_of, solve
from mdinsight.errors import NonFiniteError, ParameterError
from mdinsight.series import Column, TimeSeries
from mdinsight.units import GAS_CONSTANT

kT = GAS_CONSTANT * 300
GRID = np.linspace(-2.5, 2.5, 5001)
U = 8.0 * (GRID**2 - 1) ** 2 + GRID  # kT
CENTRES = np.linspace(-1.5, 1.5, 13)
KAPPA = 40.0


def draw(energy: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    p = np.exp(-(energy - energy.min()))
    return rng.choice(GRID, n, p=p / p.sum())


def harmonic(x: np.ndarray, centre: float) -> np.ndarray:
    """Of the windows, kJ/mol."""
    return np.asarray(0.5 * KAPPA * kT * (x - centre) ** 2)


def windows(n: int, seed: int, centres: np.ndarray = CENTRES) -> tuple[np.ndarray, np.ndarray]:
    """Independent frames of umbrella windows, and every bias on every frame (kJ/mol)."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([draw(U + harmonic(GRID, c) / kT, n, rng) for c in centres])
    return x, np.array([harmonic(x, c) for c in centres])


def series(x: np.ndarray) -> TimeSeries:
    return TimeSeries([x], columns=[Column("x")])


def exact_difference() -> float:
    p = np.exp(-U)
    return -kT * float(np.log(p[GRID > 0].sum() / p[GRID < 0].sum()))


LEFT, RIGHT = {"x": (-9.0, 0.0)}, {"x": (0.0, 9.0)}


def test_umbrella_windows_give_the_exact_profile() -> None:
    inside = []
    for seed in range(12):
        x, energies = windows(300, seed)
        found = mbar(energies, counts=[300] * 13, temperature=300)
        surface = free_energy_surface(found, series(x), bins=20, range=[(-1.3, 1.3)])
        mass = np.histogram(GRID, surface.edges[0], weights=np.exp(-U))[0]
        at = int(np.argmin(surface.free_energy.value))
        exact = -kT * np.log(mass / mass[at])
        np.testing.assert_allclose(surface.free_energy.value, exact, atol=2.5)
        inside.append(surface.free_energy.contains(exact)[np.arange(20) != at].mean())
    assert np.mean(inside) >= 0.88
    assert found.weights.sum() == pytest.approx(1.0, abs=1e-9)
    assert found.restrained and all(verdict.holds for verdict in found.verdicts())
    plots.free_energy(surface)


def test_free_energies_of_states_are_exact_integrals() -> None:
    _, energies = windows(2000, 1)
    found = mbar(energies, counts=[2000] * 13, temperature=300)
    whole = np.exp(-U).sum()
    exact = [-kT * np.log(np.exp(-U - harmonic(GRID, c) / kT).sum() / whole) for c in CENTRES]
    np.testing.assert_allclose(found.free_energies, exact, atol=0.12 * kT)


def test_same_as_pymbar() -> None:
    x, energies = windows(200, 2)
    counts = np.array([200] * 13)
    found = mbar(energies, counts=counts, temperature=300)
    theirs = pymbar.MBAR(np.vstack([energies / kT, np.zeros(len(x))]), np.append(counts, 0), relative_tolerance=1e-12)
    np.testing.assert_allclose(found.log_weights, np.log(theirs.W_nk[:, -1]), atol=1e-5)
    np.testing.assert_allclose(np.exp(found.state_log_weights()), theirs.W_nk[:, :-1].T, atol=1e-8)
    np.testing.assert_allclose(found.overlap(), theirs.compute_overlap()["matrix"][:13, :13], atol=1e-6)
    np.testing.assert_allclose(found.free_energies / kT, theirs.f_k[:-1] - theirs.f_k[-1], atol=1e-5)


def test_leaving_frames_out_is_mbar_of_the_rest() -> None:
    _, energies = windows(120, 3)
    states = np.repeat(np.arange(13), 120)
    found = mbar(energies, state=states, temperature=300)
    keep = np.random.default_rng(0).random(len(states)) < 0.7
    keep[states == 4] = False  # a whole window
    again = mbar(energies[:, keep], state=states[keep], temperature=300)
    mine = found.reweigh(keep)
    assert np.isneginf(mine[~keep]).all()
    weights = np.exp(mine[keep] - mine[keep].max())
    np.testing.assert_allclose(weights / weights.sum(), again.weights, rtol=1e-4, atol=1e-9)


def test_influence_is_the_derivative() -> None:
    """What a frame adds to ln of a ratio, against the equations solved with that frame weighing a little more."""
    x, energies = windows(30, 4)
    states = np.repeat(np.arange(13), 30)
    found = mbar(energies, state=states, temperature=300)
    right, weights = x > 0, found.weights
    own = weights * (right / weights[right].sum() - ~right / weights[~right].sum())
    influence = found.influence(own)
    relative = np.exp(found.state_log_weights())
    for frame in (0, 100, 200, 389):
        ends = []
        for more in (1e-4, -1e-4):
            many = np.ones(len(x))
            many[frame] += more
            # a frame that weighs 1 + e is one in the sums over frames and in the counts of its state
            counts = np.bincount(states, many, minlength=13)
            shift = solve_weighted(relative, counts, many)
            w = many / ((counts * np.exp(shift)) @ relative) * weights
            ends.append(np.log(w[right].sum() / w[~right].sum()))
        assert influence[frame] == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3, abs=1e-6)


def solve_weighted(relative: np.ndarray, counts: np.ndarray, many: np.ndarray) -> np.ndarray:
    """MBAR by plain self-consistent iteration, frames counted ``many`` times."""
    shift = np.zeros(len(counts))
    for _ in range(4000):
        shift = shift - np.log(
            (many * np.exp(shift)[:, None] * relative / ((counts * np.exp(shift)) @ relative)).sum(1)
        )
        shift = shift - shift[0]
    return shift


def test_solver_for_a_part() -> None:
    _, energies = windows(50, 5)
    found = mbar(energies, counts=[50] * 13, temperature=300)
    relative = np.exp(found.state_log_weights())
    np.testing.assert_allclose(solve(relative, np.full(13, 50.0)), 0.0, atol=1e-6)
    half, counts = relative[:, ::2], np.full(13, 25.0)
    plain = solve_weighted(relative[:, ::2], counts, np.ones(half.shape[1]))
    np.testing.assert_allclose(solve(half, counts) - solve(half, counts)[0], plain, atol=1e-5)


def test_intervals_cover() -> None:
    exact = exact_difference()
    inside, off = [], []
    for seed in range(60):
        x, energies = windows(100, 100 + seed)
        found = free_energy_difference(mbar(energies, counts=[100] * 13, temperature=300), LEFT, RIGHT, series(x))
        inside.append(bool(found.contains(exact)))
        off.append(float(found.value) - exact)
    assert np.mean(inside) >= 0.88 and abs(np.mean(off)) < 0.3 and found.held


def test_windows_on_the_way_to_equilibrium_are_refused() -> None:
    """Each window begins where it was dragged from, to the left of where it ends; sound windows pass."""
    held = {"sound": [], "dragged": []}
    for seed in range(30):
        x, _ = windows(100, 300 + seed)
        late = x.copy().reshape(13, 100)
        late[:, :50] -= 0.12 * np.exp(-np.arange(50) / 25)
        dragged = late.ravel()
        for name, frames in (("sound", x), ("dragged", dragged)):
            u = np.array([harmonic(frames, c) for c in CENTRES])
            found = free_energy_difference(mbar(u, counts=[100] * 13, temperature=300), LEFT, RIGHT, series(frames))
            (verdict,) = [each for each in found.verdicts() if each.subject == "halves"]
            held[name].append(verdict.holds)
    assert np.mean(held["sound"]) >= 0.85
    assert np.mean(held["dragged"]) <= 0.3


def test_snapshots_of_a_growing_bias() -> None:
    """One run under a bias that grows: frames between two snapshots belong to the earlier; exact again."""
    rng = np.random.default_rng(6)
    heights, n = np.linspace(0, 1, 9), 1500
    snapshots = np.arange(9) * 1000
    steps = np.sort(rng.integers(0, 9000, 9 * n))
    state = snapshot_of(steps, snapshots)
    assert snapshot_of([0, 999, 1000, 1001, 8999, 99999], snapshots).tolist() == [0, 0, 0, 1, 8, 8]
    bias = -U + U.min() + 0.5 * GRID
    x = np.concatenate([draw(U + h * bias, (state == k).sum(), rng) for k, h in enumerate(heights)])
    energies = kT * np.array([h * np.interp(x, GRID, bias) for h in heights])
    found = mbar(energies, state=state, runs=np.zeros(len(x), dtype=int), temperature=300)
    assert not found.restrained
    difference = free_energy_difference(found, LEFT, RIGHT, series(x))
    assert difference.contains(exact_difference()) and float(difference.high - difference.low) < 2.0
    with pytest.raises(ParameterError, match="first snapshot of step 1000"):
        snapshot_of([500], snapshots[1:])
    with pytest.raises(ParameterError, match="do not ascend"):
        snapshot_of([500], [3, 3])
    with pytest.raises(ParameterError, match="first snapshot of step 1000"):
        snapshot_of([1000, 1001], snapshots[1:])  # sampled before the deposit of that step
    with pytest.raises(ParameterError, match="steps='x' are no numbers"):
        snapshot_of("x", snapshots)


def test_one_static_bias_is_plain_reweighting() -> None:
    rng = np.random.default_rng(7)
    bias = 2.0 * np.cos(3 * GRID)
    x = draw(U / 4 + bias, 500, rng)
    energy = kT * np.interp(x, GRID, bias)
    found = mbar(energy[None], counts=[500], temperature=300)
    expected = np.exp(energy / kT) / np.exp(energy / kT).sum()
    np.testing.assert_allclose(found.weights, expected, rtol=1e-9)


def test_states_apart_are_named() -> None:
    centres = np.array([-1.2, -1.1, -1.0, 0.9, 1.0, 1.1])
    rng = np.random.default_rng(8)
    x = np.concatenate([rng.normal(c, 0.05, 200) for c in centres])
    energies = kT * np.array([200.0 * (x - c) ** 2 for c in centres])
    found = mbar(energies, counts=[200] * 6, temperature=300)
    assert found.groups() == ((0, 1, 2), (3, 4, 5))
    overlap = found.verdicts()[0]
    assert not overlap.holds and "(0, 1, 2); (3, 4, 5)" in overlap.says and overlap.remedy


def test_many_alike_states_are_connected() -> None:
    """Fifty snapshots that hardly differ share a fiftieth with each other, and all together everything."""
    x = np.random.default_rng(9).normal(size=5000)
    energies = kT * np.array([0.01 * k * x for k in range(50)])
    found = mbar(energies, counts=[100] * 50, temperature=300)
    assert found.overlap().max() < 0.03 and len(found.groups()) == 1


def test_states_without_frames_and_shifted_energies() -> None:
    _, energies = windows(100, 10)
    plain = mbar(energies, counts=[100] * 13, temperature=300)
    more = mbar(np.vstack([energies, energies[3] + 7.0]), counts=[100] * 13 + [0], temperature=300)
    np.testing.assert_allclose(more.log_weights, plain.log_weights, atol=1e-6)
    assert np.isnan(more.free_energies[13])
    shifted = mbar(energies + 1e5 * np.arange(13)[:, None], counts=[100] * 13, temperature=300)
    np.testing.assert_allclose(shifted.log_weights, plain.log_weights, atol=1e-5)


def test_order_of_frames_does_not_matter_to_the_weights() -> None:
    _, energies = windows(60, 11)
    states = np.repeat(np.arange(13), 60)
    order = np.random.default_rng(0).permutation(len(states))
    plain = mbar(energies, state=states, temperature=300)
    mixed = mbar(energies[:, order], state=states[order], temperature=300)
    np.testing.assert_allclose(mixed.log_weights, plain.log_weights[order], atol=1e-6)


class Window:
    """All that is needed of a bias model."""

    def __init__(self, centre: float, temperature: float = 300.0) -> None:
        self.centre, self.temperature = centre, temperature

    def potential(self, values: np.ndarray) -> np.ndarray:
        return harmonic(np.asarray(values)[:, 0], self.centre)


def test_models_with_their_own_coordinates() -> None:
    x, energies = windows(80, 12)
    counts = [80] * 13
    plain = mbar(energies, counts=counts, temperature=300)
    models = [Window(c if k % 2 else -c) for k, c in enumerate(CENTRES)]
    own = [x[:, None] if k % 2 else -x[:, None] for k in range(13)]  # every other one has the coordinate the other way
    assert mbar(models, own, counts=counts) == plain
    with pytest.raises(ParameterError, match="one temperature"):
        mbar([*models[:-1], Window(0.0, 310.0)], own, counts=counts)
    with pytest.raises(ParameterError, match="12 arrays"):
        mbar(models, own[:-1], counts=counts)
    with pytest.raises(ParameterError, match="on all frames"):
        mbar(models, [*own[:-1], own[-1][:-1]], counts=counts)


def test_saved_and_loaded(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("mdinsight.bias.Reweighting", Reweighting, raising=False)
    _, energies = windows(20, 13)
    found = mbar(energies, counts=[20] * 13, temperature=300)
    again = Reweighting.load(found.save(tmp_path / "weights.zip"))
    assert again == found
    np.testing.assert_array_equal(again.log_weights, found.log_weights)


def test_refusals() -> None:
    energies = np.zeros((2, 6))
    for bad in (np.nan, np.inf):
        broken = energies.copy()
        broken[1, 4] = bad
        with pytest.raises(NonFiniteError, match=r"state 1 is .* for frame 4"):
            mbar(broken, counts=[3, 3], temperature=300)
    with pytest.raises(ParameterError, match="one of the two"):
        mbar(energies, temperature=300)
    with pytest.raises(ParameterError, match="do not sum to 6"):
        mbar(energies, counts=[3, 4], temperature=300)
    with pytest.raises(ParameterError, match="from 0 to 2"):
        mbar(energies, state=[0, 0, 1, 1, 2, 2], temperature=300)
    with pytest.raises(ParameterError, match="one integer for each of 6"):
        mbar(energies, state=[0, 1], temperature=300)
    with pytest.raises(ParameterError, match="give temperature="):
        mbar(energies, counts=[3, 3])
    with pytest.raises(ParameterError, match="n_states, n_frames"):
        mbar(np.zeros(5), counts=[5], temperature=300)
