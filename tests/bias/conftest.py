"""A toy: Metropolis moves on a potential whose free energies are known, under a live bias."""

import math
from types import SimpleNamespace

import numba
import numpy as np
import pytest

from mdinsight.bias._grid import grid_energy
from mdinsight.bias._kernels import kernels_energy
from mdinsight.bias._live import GRID
from mdinsight.bias._states import start


@numba.njit
def _potential(kind, x):
    """In kT. 0: two wells on a circle, 10 kT high and 3 kT apart. 1: Muller and Brown's times 0.15."""
    if kind == 0:
        return 5.0 * (1.0 - math.cos(2.0 * x[0])) + 1.5 * (1.0 - math.cos(x[0]))
    a, b = x[0], x[1]
    return 0.15 * (
        -200.0 * math.exp(-((a - 1.0) ** 2) - 10.0 * b * b)
        - 100.0 * math.exp(-a * a - 10.0 * (b - 0.5) ** 2)
        - 170.0 * math.exp(-6.5 * (a + 0.5) ** 2 + 11.0 * (a + 0.5) * (b - 1.5) - 6.5 * (b - 1.5) ** 2)
        + 15.0 * math.exp(0.7 * (a + 1.0) ** 2 + 0.6 * (a + 1.0) * (b - 1.0) + 0.7 * (b - 1.0) ** 2)
    )


@numba.njit
def _walk(kind, x, n, step, beta, code, header, data, seed):
    np.random.seed(seed)  # noqa: NPY002  numba's own generator, which lives in compiled code alone
    slope, y = np.zeros(x.shape[0]), np.zeros(x.shape[0])
    bias = grid_energy(x, header, data, slope) if code == GRID else kernels_energy(x, header, data, slope)
    here = _potential(kind, x) + beta * bias
    for _ in range(n):
        for i in range(x.shape[0]):
            y[i] = x[i] + step * np.random.normal()  # noqa: NPY002
        bias = grid_energy(y, header, data, slope) if code == GRID else kernels_energy(y, header, data, slope)
        there = _potential(kind, y) + beta * bias
        if there <= here or np.random.random() < math.exp(here - there):  # noqa: NPY002
            x[:] = y
            here = there


def _run(kind, definition, n_deposits, seed, temperature=300.0):
    """A state after a run, coordinates and log weights of its frames; the first tenth is left out."""
    periods, x, step = (
        ((2 * math.pi,), np.zeros(1), 0.5) if kind == 0 else ((None, None), np.array([-0.55, 1.45]), 0.15)
    )
    state = start(definition, temperature, periods)
    stride = state.observe_every or state.pace
    rows = []
    for block in range(1, n_deposits * state.pace // stride + 1):
        _walk(kind, x, stride, step, 1.0 / state.kT, state.code, state.header, state.data, 1_000_003 * seed + block)
        state.observe(x)
        if block * stride % state.pace == 0:
            rows.append((*x, (state.energy(x) - state.offset()) / state.kT))
            state.deposit(x)
    rows = np.array(rows[len(rows) // 10 :])
    return SimpleNamespace(state=state, s=rows[:, :-1], log_weights=rows[:, -1])


def _mesh(kind):
    if kind == 0:
        return np.linspace(-math.pi, math.pi, 2000, endpoint=False)[:, None]
    axes = np.meshgrid(np.linspace(-2.5, 2.0, 300), np.linspace(-1.5, 3.0, 300), indexing="ij")
    return np.column_stack([axis.ravel() for axis in axes])


def _difference(kind, s, log_weights):
    """Free energy of the second state less that of the first, in kT."""
    first = np.cos(s[:, 0]) > 0 if kind == 0 else s[:, 0] < 0
    weights = np.exp(log_weights - log_weights.max())
    return float(np.log(weights[first].sum() / weights[~first].sum()))


@pytest.fixture(scope="session")
def toy():
    """``run`` one, and the ``difference`` between its states: ``exact``, from frames (``reweighted``), or out of the bias."""

    def exact(kind):
        mesh = _mesh(kind)
        return _difference(kind, mesh, -np.array([_potential(kind, x) for x in mesh]))

    def reweighted(kind, run):
        return _difference(kind, run.s, run.log_weights)

    def from_bias(kind, run):
        mesh = _mesh(kind)
        return _difference(kind, mesh, -run.state.free_energy(mesh) / run.state.kT)

    return SimpleNamespace(run=_run, exact=exact, reweighted=reweighted, from_bias=from_bias)
