"""Muller and Brown's potential times 0.15 at beta = 1: exact 5.71 kT. Ten seeds of each bias, along x and y, and along x alone.

    python benchmarks/bias_muller_brown.py

Metropolis moves in compiled code feel the same live potentials that act inside OpenMM. Along x alone the way between the wells is
not told: the trap of a bad coordinate.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from _bias_systems import parser, say

from mdinsight import bias
from mdinsight.bias._grid import grid_energy
from mdinsight.bias._kernels import kernels_energy
from mdinsight.bias._live import GRID
from mdinsight.bias._states import start

T = 300.0
KT = 0.00831446261815324 * T
BARRIER = 15.0 * KT
METHODS = {
    "OPES": bias.OPES(barrier=BARRIER),
    "OPES-explore": bias.OPES(barrier=BARRIER, explore=True),
    "metadynamics": bias.Metadynamics(height=1.2, sigma=0.15, biasfactor=10.0),
}


@numba.njit
def potential(x, y):
    return 0.15 * (
        -200.0 * math.exp(-((x - 1.0) ** 2) - 10.0 * y * y)
        - 100.0 * math.exp(-x * x - 10.0 * (y - 0.5) ** 2)
        - 170.0 * math.exp(-6.5 * (x + 0.5) ** 2 + 11.0 * (x + 0.5) * (y - 1.5) - 6.5 * (y - 1.5) ** 2)
        + 15.0 * math.exp(0.7 * (x + 1.0) ** 2 + 0.6 * (x + 1.0) * (y - 1.0) + 0.7 * (y - 1.0) ** 2)
    )


@numba.njit
def walk(at, n, dim, beta, code, header, data, seed):
    np.random.seed(seed)  # noqa: NPY002  numba's own generator, which lives in compiled code alone
    slope, new = np.zeros(dim), np.zeros(2)
    energy = (
        grid_energy(at[:dim], header, data, slope) if code == GRID else kernels_energy(at[:dim], header, data, slope)
    )
    here = potential(at[0], at[1]) + beta * energy
    for _ in range(n):
        new[0], new[1] = at[0] + 0.1 * np.random.normal(), at[1] + 0.1 * np.random.normal()  # noqa: NPY002
        s = new[:dim]
        energy = grid_energy(s, header, data, slope) if code == GRID else kernels_energy(s, header, data, slope)
        there = potential(new[0], new[1]) + beta * energy
        if there <= here or np.random.random() < math.exp(here - there):  # noqa: NPY002
            at[:] = new
            here = there


def run(definition: bias.Potential, dim: int, deposits: int, seed: int) -> bias.Trace:
    state = start(definition, T, (None,) * dim)
    at, rows = np.array([-0.55, 1.45]), []
    stride = state.observe_every or state.pace
    for block in range(1, deposits * state.pace // stride + 1):
        walk(at, stride, dim, 1.0 / KT, state.code, state.header, state.data, 1_000_003 * seed + block)
        s = at[:dim].copy()
        state.observe(s)
        if block * stride % state.pace == 0:
            rows.append((block * stride, *at, state.energy(s), state.offset()))
            state.deposit(s)
    table = np.array(rows)
    step, zero = table[:, 0].astype(np.int64), np.zeros(len(table))
    names = ("x", "y")[:dim]
    trace = bias.Trace(
        names,
        (None,) * dim,
        T,
        zero.astype(np.int32),
        step,
        table[:, 0],
        table[:, 1 : 1 + dim],
        table[:, 3],
        zero,
        table[:, 4],
    )
    return trace.replace(offset=bias.offsets(trace, [state])) if isinstance(definition, bias.Metadynamics) else trace


def main() -> None:
    options = parser(__doc__).parse_args()
    seeds, deposits = (range(3), 800) if options.quick else (range(10), 8000)
    x, y = np.meshgrid(np.linspace(-2.5, 2.0, 1500), np.linspace(-1.5, 3.0, 1500), indexing="ij")
    weight = np.exp(-np.vectorize(potential)(x, y))
    exact = float(np.log(weight[x < 0].sum() / weight[x > 0].sum()))
    print("# Muller-Brown x 0.15 at beta = 1\n")
    print(f"Exact F(x > 0) - F(x < 0): {exact:.3f} kT. {deposits} deposits, one every 500 moves, {len(seeds)} seeds.\n")
    print(
        "| along | method | median, kT | sd | 95 % intervals that hold the exact value | runs whose verdicts all hold |"
    )
    print("|---|---|---:|---:|---:|---:|")
    for dim, along in ((2, "x, y"), (1, "x alone")):
        for name, definition in METHODS.items():
            found = [
                bias.free_energy_difference(run(definition, dim, deposits, seed), {"x": (-9, 0)}, {"x": (0, 9)})
                for seed in seeds
            ]
            values = np.array([float(each.value) for each in found]) / KT
            spread = f"{np.std(values, ddof=1):.2f}" if np.isfinite(values).all() else "not all finite"
            held = sum(float(each.low) <= exact * KT <= float(each.high) for each in found)
            sound = sum(all(verdict.holds for verdict in each.verdicts()) for each in found)
            print(
                f"| {along} | {name} | {np.median(values):.2f} | {spread} | {held} of {len(found)} | {sound} |",
                flush=True,
            )
            say(f"  {along}, {name}: done")


if __name__ == "__main__":
    main()
