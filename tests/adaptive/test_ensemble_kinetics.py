"""Weighted ensemble on chains whose passage times and populations are known exactly, at a small part of brute force."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from mdinsight.adaptive._ensemble import WeightedEnsemble
from mdinsight.adaptive._walkers import inefficiency, mfpt, weighted_ensemble
from mdinsight.errors import DegenerateError, NonFiniteError, ParameterError

N, UP, DOWN, STEPS = 12, 0.1, 0.4, 4
EDGES = tuple(np.arange(N - 1) + 0.5)


def chain() -> np.ndarray:
    """A walk up a hill: each step up is four times as rare as one down, so the top is 4^11 times as rare as the bottom."""
    matrix = np.diag(np.full(N - 1, UP), 1) + np.diag(np.full(N - 1, DOWN), -1)
    return matrix + np.diag(1 - matrix.sum(axis=1))


def passage(matrix: np.ndarray, start: int, target: int) -> float:
    """Exact mean number of steps."""
    rest = np.delete(np.arange(len(matrix)), target)
    times = np.linalg.solve(np.eye(len(rest)) - matrix[np.ix_(rest, rest)], np.ones(len(rest)))
    return float(times[np.flatnonzero(rest == start)[0]])


def mover(absorbing: bool):
    """STEPS steps of the chain; walkers at the top stay there if it is absorbing."""

    def propagate(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for _ in range(STEPS):
            u = rng.random(len(x))
            step = np.where((u < UP) & (x < N - 1), 1, 0) - np.where((u > 1 - DOWN) & (x > 0), 1, 0)
            x = np.where(absorbing & (x == N - 1), x, x + step)
        return x

    return propagate


def recycle(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    arrived = x == N - 1
    return np.where(arrived, 0, x), arrived


def position(x: np.ndarray) -> np.ndarray:
    return x.astype(float)


def test_the_mover_is_the_chain() -> None:
    rng = np.random.default_rng(0)
    four = np.linalg.matrix_power(chain(), STEPS)[5]
    seen = np.bincount(mover(False)(np.full(40_000, 5), rng), minlength=N) / 40_000
    np.testing.assert_allclose(seen, four, atol=4.5 * np.sqrt(0.25 / 40_000))


@pytest.mark.parametrize("bins", [EDGES, 10], ids=["fixed", "adaptive"])
def test_passage_time_at_a_hundredth_of_brute_force(bins) -> None:
    exact = passage(chain(), 0, N - 1)
    assert exact > 1e7
    flux, within, cost = [], 0, 0
    for seed in range(4):
        walkers = weighted_ensemble(
            mover(True),
            np.zeros(20, dtype=int),
            position,
            WeightedEnsemble(bins, 20),
            np.random.default_rng(seed),
            recycle=recycle,
        )
        run = list(islice(walkers, 1000))
        assert max(abs(step.ensemble.weights.sum() - 1.0) for step in run) < 1e-12
        cost = STEPS * sum(len(step.states) for step in run)
        found = mfpt(np.array([step.recycled for step in run]), STEPS)
        assert all(verdict.holds for verdict in found.verdicts())
        assert found.mfpt.unit == "ps" and found.mfpt.value * found.flux.value == pytest.approx(1.0)
        flux.append(float(found.flux.value) * exact)
        within += bool(found.mfpt.contains(exact))
        assert 0.4 < found.mfpt.value / exact < 2.5
    assert within >= 3  # each holds it nine times of ten
    assert np.mean(flux) == pytest.approx(1.0, abs=0.35)
    # as certain an answer of brute force: as many passages as the variance of one needs
    relative = float((found.mfpt.high - found.mfpt.low) / (2 * 1.96 * found.mfpt.value))
    assert cost < 0.01 * exact / relative**2


def test_equilibrium_populations_over_six_orders() -> None:
    matrix = chain()
    exact = 0.25 ** np.arange(N)
    exact /= exact.sum()
    np.testing.assert_allclose(exact @ matrix, exact, atol=1e-15)
    walkers = weighted_ensemble(
        mover(False), np.zeros(20, dtype=int), position, WeightedEnsemble(EDGES, 10), np.random.default_rng(1)
    )
    run = list(islice(walkers, 1000))
    assert max(abs(step.ensemble.weights.sum() - 1.0) for step in run) < 1e-12
    found = np.array([np.bincount(step.states, weights=step.ensemble.weights, minlength=N) for step in run[250:]])
    blocks = found.reshape(15, 50, N).mean(axis=1)
    error = blocks.std(axis=0) / np.sqrt(15)
    assert exact[0] / exact[10] > 1e6
    assert (np.abs(found.mean(axis=0) - exact) < 4 * error + 1e-12).all()
    assert (error[:11] < 0.35 * exact[:11]).all()


def test_rates_both_ways_from_the_history_in_equilibrium() -> None:
    """Walkers that remember where they were last give both passage times without sending anything back."""
    looked_at = np.linalg.matrix_power(chain(), STEPS)  # the labels see the chain at the ends of iterations only
    up, down = (STEPS * passage(looked_at, *ends) for ends in ((0, N - 1), (N - 1, 0)))
    rates, held = [], []
    for seed in range(4):
        walkers = weighted_ensemble(
            mover(False),
            np.zeros(20, dtype=int),
            position,
            WeightedEnsemble(EDGES, 20),
            np.random.default_rng(seed),
            visited=lambda x: np.where(x == 0, 0, np.where(x == N - 1, 1, -1)),
        )
        run = list(islice(walkers, 600))
        labels = np.array([[step.ensemble.weights[step.ensemble.labels == k].sum() for k in (0, 1)] for step in run])
        crossed = np.array([step.crossings for step in run])
        both = [mfpt(crossed[:, k, 1 - k], STEPS, carried=labels[:, k]) for k in (0, 1)]
        rates.append([float(found.flux.value) for found in both])
        held += [bool(found.mfpt.contains(exact)) for found, exact in zip(both, (up, down), strict=True)]
    there, back = np.mean(rates, axis=0)
    assert there * up == pytest.approx(1, abs=0.3) and back * down == pytest.approx(1, abs=0.05)
    assert sum(held) >= 6 and up / down > 1e5


def test_the_same_generator_gives_the_same_run() -> None:
    def run() -> list[bytes]:
        walkers = weighted_ensemble(
            mover(True),
            np.zeros(5, dtype=int),
            position,
            WeightedEnsemble(6, 3),
            np.random.default_rng(3),
            recycle=recycle,
        )
        return [step.states.tobytes() + step.ensemble.weights.tobytes() for step in islice(walkers, 50)]

    assert run() == run()


def test_interval_of_a_flux_of_known_mean() -> None:
    """Weights that arrive at random: the interval holds the truth as often as it says, roughly."""
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(200):
        series = rng.lognormal(0, 1, 400) * (rng.random(400) < 0.5)
        held += bool(mfpt(series).mfpt.contains(2 / np.exp(0.5)))
    assert 0.87 < held / 200 < 0.99


def test_verdicts_speak_up() -> None:
    rng = np.random.default_rng(5)
    rising = np.linspace(0, 1, 1000) ** 2 * rng.random(1000)
    assert next(v.subject for v in mfpt(rising).verdicts() if not v.holds) == "steady flux"
    few = np.zeros(1000)
    few[[300, 500, 990]] = 1e-9
    assert "arrivals" in [v.subject for v in mfpt(few).verdicts() if not v.holds]
    noise = rng.normal(size=1100)
    slow = 10 + np.array([noise[max(0, i - 100) : i + 1].sum() for i in range(1100)])
    assert "independent blocks" in [v.subject for v in mfpt(np.abs(slow)).verdicts() if not v.holds]
    assert all(v.holds for v in mfpt(rng.random(1000)).verdicts())
    assert inefficiency(np.repeat(rng.random(3000), 5)) == pytest.approx(5.0, rel=0.15)


@pytest.mark.parametrize(
    ("series", "options", "error", "words"),
    [
        (np.zeros(100), {}, DegenerateError, "no weight arrived in the 75 iterations"),
        (np.ones(20), {}, DegenerateError, "15 iterations after the transient are too few"),
        (np.full(100, np.nan), {}, NonFiniteError, "not finite"),
        (np.ones((2, 50)), {}, ParameterError, "do not fit"),
        (np.ones(100), {"carried": np.ones(50)}, ParameterError, "do not fit"),
        (np.ones(100), {"discard": 1.0}, ParameterError, "discard=1.0"),
    ],
)
def test_what_gives_no_flux_is_named(series, options, error, words) -> None:
    with pytest.raises(error, match=words):
        mfpt(series, **options)
