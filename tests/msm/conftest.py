"""Known systems for the tests of Markov models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from deeptime.data import double_well_discrete, prinz_potential

Simulate = Callable[..., np.ndarray]


def _simulate(matrix: np.ndarray, n_frames: int, seed: int, start: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    edges = [list(row) for row in np.cumsum(matrix, axis=1)]
    last = len(matrix) - 1
    state = int(rng.integers(len(matrix))) if start is None else start
    states = np.empty(n_frames, dtype=np.int32)
    for t, uniform in enumerate(rng.random(n_frames).tolist()):
        states[t] = state
        row = edges[state]
        state = next((j for j, edge in enumerate(row) if uniform < edge), last)
    return states


@pytest.fixture(scope="session")
def simulate() -> Simulate:
    """``simulate(matrix, n_frames, seed, start=None)``: a trajectory of a Markov chain."""
    return _simulate


@pytest.fixture(scope="session")
def chain() -> tuple[np.ndarray, np.ndarray]:
    """A reversible 3-state matrix and its stationary distribution, both exact."""
    flux = np.array([[0.40, 0.02, 0.001], [0.02, 0.30, 0.01], [0.001, 0.01, 0.20]])
    pi = flux.sum(axis=1)
    return flux / pi[:, None], pi / pi.sum()


@pytest.fixture(scope="session")
def double_well() -> np.ndarray:
    """deeptime's trajectory of 100,000 frames in a double well."""
    return double_well_discrete().dtraj.astype(np.int32)


@pytest.fixture(scope="session")
def prinz() -> list[np.ndarray]:
    """10 trajectories of 10,000 frames in the Prinz potential, in 112 bins."""
    system = prinz_potential(h=1e-5, n_steps=500)
    edges = np.linspace(-1.1, 1.1, 111)
    starts = np.linspace(-0.9, 0.9, 10)[:, None]
    found = [np.digitize(system.trajectory(x, 10_000, seed=i)[:, 0], edges) for i, x in enumerate(starts)]
    return [states.astype(np.int32) for states in found]
