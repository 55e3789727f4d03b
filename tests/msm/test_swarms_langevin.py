"""Swarms of underdamped Langevin dynamics over barriers of 8 and 15 kT, against the Klein-Kramers equation."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve

from mdinsight.msm import MaximumLikelihoodMSM
from mdinsight.msm._swarm_model import swarm_model, swarm_timescales
from mdinsight.msm._swarm_passage import swarm_passage
from mdinsight.msm._swarm_paths import Swarms, swarms
from mdinsight.msm._swarm_weights import stratum_weights

EDGES = np.linspace(-1.3, 1.3, 27)
A, B = np.arange(5), np.arange(23, 28)
STEP = 0.02  # of the period of a well
CASES = [(8.0, 0.5), (8.0, 5.0), (15.0, 0.5), (15.0, 5.0)]


class Well:
    """U = barrier (x^2 - 1)^2 in kT, mass 1, time in periods of a well; friction in its angular frequencies."""

    def __init__(self, barrier: float, friction: float) -> None:
        self.barrier = barrier
        self.stride = 0.1 if friction < 1 else 0.3
        self.frequency = np.sqrt(8.0 * barrier)
        self.friction = friction * self.frequency

    def energy(self, x: np.ndarray) -> np.ndarray:
        return self.barrier * (x * x - 1.0) ** 2

    def force(self, x: np.ndarray) -> np.ndarray:
        return -4.0 * self.barrier * x * (x * x - 1.0)

    def walk(self, x: np.ndarray, v: np.ndarray, frames: int, rng: np.random.Generator) -> np.ndarray:
        """BAOAB, (frames + 1, n)."""
        dt = STEP * 2.0 * np.pi / self.frequency
        keep = np.exp(-self.friction * dt)
        kick, path, force = np.sqrt(1.0 - keep * keep), [x], self.force(x)
        for _ in range(frames):
            for _ in range(round(self.stride / STEP)):
                v = v + 0.5 * dt * force
                x = x + 0.5 * dt * v
                v = keep * v + kick * rng.standard_normal(len(x))
                x = x + 0.5 * dt * v
                force = self.force(x)
                v = v + 0.5 * dt * force
            path.append(x)
        return np.array(path)

    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """A fine grid, its probabilities and strata, and the exact weights of the strata."""
        x = np.linspace(-1.8, 1.8, 20001)
        p = np.exp(-self.energy(x)) / np.exp(-self.energy(x)).sum()
        strata = np.digitize(x, EDGES)
        return x, p, strata, np.bincount(strata, weights=p)

    def swarms(self, number: int, frames: int, seed: int) -> Swarms:
        rng = np.random.default_rng(seed)
        x, p, strata, _ = self.weights()
        inside = [strata == s for s in range(len(EDGES) + 1)]
        start = np.concatenate([rng.choice(x[m], number, p=p[m] / p[m].sum()) for m in inside])
        v = rng.standard_normal(len(start))
        ahead, back = self.walk(start, v, frames, rng), self.walk(start, -v, frames, rng)
        paths = np.digitize(np.concatenate([back[::-1], ahead[1:]]).T, EDGES).astype(np.int32)
        return swarms(list(paths), np.full(len(paths), frames), dt=self.stride)

    def mfpt(self, n: int = 400, order: int = 16) -> float:
        """From A to B in periods: the backward Klein-Kramers equation, Hermite functions in velocity, staggered
        differences in position that keep its antisymmetric part antisymmetric; B absorbs at five per radian."""
        x = np.linspace(-1.7, 1.7, n)
        middle, dx = 0.5 * (x[1:] + x[:-1]), x[1] - x[0]
        left, right = self.energy(x[:-1]) - self.energy(middle), self.energy(x[1:]) - self.energy(middle)
        even = sp.diags([-np.exp(0.5 * left), np.exp(0.5 * right)], [0, 1], shape=(n - 1, n)) / dx
        odd = sp.diags([-np.exp(-0.5 * left), np.exp(-0.5 * right)], [0, 1], shape=(n - 1, n)) / dx
        blocks: list[list[sp.spmatrix | None]] = [[None] * order for _ in range(order)]
        for m in range(order):
            sink = 5.0 * self.frequency * ((x if m % 2 == 0 else middle) >= EDGES[22])
            blocks[m][m] = sp.diags(-self.friction * m - sink)
            if m + 1 < order:
                root = np.sqrt(m + 1)
                blocks[m + 1][m] = root * even if m % 2 == 0 else -root * odd.T
                blocks[m][m + 1] = -root * even.T if m % 2 == 0 else root * odd
        amplitude = np.exp(-0.5 * self.energy(x))
        source = np.zeros(sum(n - m % 2 for m in range(order)))
        source[:n] = -amplitude
        times = spsolve(sp.bmat(blocks).tocsc(), source)[:n]
        inside = x < EDGES[4]
        return float((amplitude * times)[inside].sum() / (amplitude**2)[inside].sum() * self.frequency / (2.0 * np.pi))


@cache
def run(barrier: float, friction: float) -> tuple[Well, Swarms]:
    well = Well(barrier, friction)
    return well, well.swarms(120, 60 if friction < 1 else 110, 4)


@pytest.mark.parametrize(("barrier", "friction"), CASES)
def test_passage_time_over_a_barrier(barrier: float, friction: float) -> None:
    well, data = run(barrier, friction)
    exact, reach = well.mfpt(), (data.paths.lengths[0] - 1) // 2
    own = stratum_weights(data, n_samples=40)
    found = swarm_passage(data, A, B, reach, own, n_samples=40)
    model = swarm_model(data, reach, own, n_samples=40)
    assert found.mfpt.contains(exact) and model.mfpt(A, B).contains(exact)
    assert found.mfpt.high < 12 * found.mfpt.low
    # with the exact weights of the strata, as a converged bias gives them
    weights = well.weights()[3]
    sharp = swarm_passage(data, A, B, reach, weights, n_samples=40)
    assert sharp.mfpt.value == pytest.approx(exact, rel=0.25) and sharp.mfpt.high < 1.6 * sharp.mfpt.low
    assert swarm_model(data, reach, weights, n_samples=40).mfpt(A, B).value == pytest.approx(exact, rel=0.25)
    assert all(verdict.holds for verdict in sharp.verdicts()), sharp.summary()


@pytest.mark.parametrize(("barrier", "friction"), CASES)
def test_sliding_counts_of_the_same_swarms_are_wrong(barrier: float, friction: float) -> None:
    well, data = run(barrier, friction)
    naive = MaximumLikelihoodMSM((data.paths.lengths[0] - 1) // 2).fit(data.paths).model.mfpt(A, B)
    assert float(naive.value) < well.mfpt() / 20


def test_inertia_is_seen_in_the_timescales() -> None:
    well, data = run(8.0, 0.5)
    found = swarm_timescales(data, [1, 2, 4, 8, 20, 30, 40, 60], k=1, weights=well.weights()[3], n_samples=30)
    slow = found.timescales.value[:, 0]
    assert slow[0] > 1.8 * slow[-1]  # at a lag of a tenth of a period the velocity is memory
    assert found.choose_lag() >= 8 and found.verdicts()[0].holds
    assert slow[-1] == pytest.approx(0.5 * well.mfpt(), rel=0.2)


def test_reference_agrees_with_long_simulation() -> None:
    well = Well(5.0, 0.5)
    rng = np.random.default_rng(0)
    x, p, strata, _ = well.weights()
    n, frames, arrivals, onway = 1500, 1000, 0, 0
    inside = strata < 5
    for _ in range(2):
        start = rng.choice(x[inside], n, p=p[inside] / p[inside].sum())
        path = well.walk(start, rng.standard_normal(n), frames, rng)
        hit = np.digitize(path, EDGES) >= 23
        first = np.where(hit.any(axis=0), hit.argmax(axis=0), frames)
        arrivals, onway = arrivals + int((first < frames).sum()), onway + int(first.sum())
    assert onway * well.stride / arrivals == pytest.approx(well.mfpt(), rel=4.0 / np.sqrt(arrivals) + 0.02)
