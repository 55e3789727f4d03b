"""Weights of cells out of biased walkers on a chain that is known exactly: their intervals hold the exact weights."""

from __future__ import annotations

import numpy as np
import pytest

from mdinsight import units
from mdinsight.adaptive._weigh import Weighted, cell_weights
from mdinsight.bias import free_energy_difference, mbar

PLACE = np.linspace(-1.35, 1.35, 20)
ENERGY = 5.0 * (PLACE**2 - 1.0) ** 2 + 0.3 * PLACE
WEIGHTS = np.exp(-ENERGY) / np.exp(-ENERGY).sum()
BIAS = -0.5 * ENERGY  # in kT: half of the barrier is left
STATE = (PLACE > 0).astype(int)


def weighted(walkers: int, frames: int, seed: int) -> tuple[Weighted, np.ndarray]:
    """Frames of walkers under a bias that stays, and the place of each."""
    flat = np.exp(-ENERGY - BIAS)
    step = np.zeros((20, 20))
    for i in range(19):
        step[i, i + 1], step[i + 1, i] = 0.4 * min(1.0, flat[i + 1] / flat[i]), 0.4 * min(1.0, flat[i] / flat[i + 1])
    edges = np.cumsum(step + np.diag(1.0 - step.sum(axis=1)), axis=1)
    rng = np.random.default_rng(seed)
    at = rng.choice(20, walkers, p=flat / flat.sum())
    path = np.empty((walkers, frames), dtype=int)
    for frame in range(frames):
        for _ in range(4):
            at = (edges[at] < rng.random(walkers)[:, None]).sum(axis=1).clip(max=19)
        path[:, frame] = at
    places, runs = path.ravel(), np.repeat(np.arange(walkers), frames)
    model = mbar(BIAS[places][None], state=np.zeros(len(places), int), runs=runs, temperature=1.0 / units.GAS_CONSTANT)
    rows = np.arange(len(places))
    return Weighted(model, (), runs, rows, PLACE[places][:, None], runs, (0,), ()), places


@pytest.mark.parametrize(("walkers", "frames"), [(4, 500), (1, 4000), (8, 500)])
def test_intervals_hold_the_exact_weights(walkers: int, frames: int) -> None:
    """Blocks of a tenth of each walker, shorter than its memory, held 68 to 84 % of the shares of a well, these 92 to 97 %."""
    cells, sides = [], []
    for repeat in range(25):
        found, places = weighted(walkers, frames, repeat)
        value, samples = cell_weights(found, places, 20, STATE[places], 100, repeat)
        assert value.sum() == pytest.approx(1.0) and (samples.sum(axis=1) == pytest.approx(1.0))
        low, high = np.quantile(samples, [0.025, 0.975], axis=0)
        cells.append(((low <= WEIGHTS) & (high >= WEIGHTS)).mean())
        low, high = np.quantile(samples @ STATE, [0.025, 0.975])
        sides.append(low <= WEIGHTS @ STATE <= high)
    assert np.mean(cells) > 0.85 and np.mean(sides) > 0.82


def test_the_interval_of_two_halves_is_that_of_their_free_energy_difference() -> None:
    found, places = weighted(4, 4000, 1)
    one = free_energy_difference(found.model, places < 10, places >= 10, coordinates=found.features)
    _, samples = cell_weights(found, STATE[places], 2, STATE[places], 4000, 1)
    low, high = np.quantile(-np.log(samples[:, 1] / samples[:, 0]), [0.025, 0.975])
    assert low == pytest.approx(float(one.low), abs=0.1) and high == pytest.approx(float(one.high), abs=0.1)


def test_a_cell_that_was_met_once_has_a_wide_interval() -> None:
    found, places = weighted(4, 2000, 2)
    cells = STATE[places].copy()
    cells[100] = 2
    value, samples = cell_weights(found, cells, 4, STATE[places], 200, 1)
    assert value[2] > 0 and (samples[:, 2] > 0).all()
    assert np.log(samples[:, 2]).std() > 0.7
    assert value[3] == 0 and (samples[:, 3] == 0).all()
