"""Processes whose slow modes are known exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mdinsight.series import Column, TimeSeries


def _autoregressive(n_frames: int, timescales: list[float], seed: int) -> np.ndarray:
    """Independent AR(1) columns of unit variance: column i has the relaxation time timescales[i], in frames."""
    generator = np.random.default_rng(seed)
    decay = np.exp(-1.0 / np.asarray(timescales))
    noise = generator.standard_normal((n_frames, len(timescales))) * np.sqrt(1 - decay**2)
    x = np.empty_like(noise)
    x[0] = generator.standard_normal(len(timescales))
    for i in range(1, n_frames):
        x[i] = decay * x[i - 1] + noise[i]
    return x


@pytest.fixture(scope="session")
def autoregressive() -> Callable[[int, list[float], int], np.ndarray]:
    """Makes independent AR(1) columns of known relaxation times: ``autoregressive(n_frames, timescales, seed)``."""
    return _autoregressive


@pytest.fixture(scope="session")
def mixed() -> list[np.ndarray]:
    """Six trajectories of five mixed AR(1) processes with t = 40, 15, 5, 1, 0.5 frames, and the mean shifted."""
    mix = np.random.default_rng(0).standard_normal((5, 5))
    return [_autoregressive(2000 + 100 * i, [40.0, 15.0, 5.0, 1.0, 0.5], i) @ mix + np.arange(5) for i in range(6)]


@pytest.fixture(scope="session")
def named(mixed: list[np.ndarray]) -> TimeSeries:
    """The same as float32 with named columns, 2 ps apart."""
    columns = [
        Column("sin phi ALA2", "phi", residues=("ALA2",)),
        Column("cos phi ALA2", "phi", residues=("ALA2",)),
        Column("sin psi ALA3", "psi", residues=("ALA3",)),
        Column("d(ALA2, GLY4)", "distance", residues=("ALA2", "GLY4")),
        Column("d(ALA3, GLY4)", "distance", residues=("ALA3", "GLY4")),
    ]
    return TimeSeries([x.astype(np.float32) for x in mixed], dt=2.0, columns=columns)
