"""Means and time-lagged covariances of a series, one set for each block, in one pass and float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mdinsight.cvs._blocks import Block
from mdinsight.errors import DegenerateError
from mdinsight.series import TimeSeries

_CHUNK_VALUES = 4_000_000
"""Numbers in a chunk by default: 32 MB once they are float64, whatever the number of columns."""


@dataclass(frozen=True)
class Moments:
    """Mean-free second moments of pairs (x at t, y at t + lag).

    Attributes
    ----------
    n
        Number of pairs.
    mean_0, mean_t
        (n_columns,) means of x and of y.
    c00, c0t, ctt
        (n_columns, n_columns) covariances, divided by ``n``.
    """

    n: float
    mean_0: np.ndarray
    mean_t: np.ndarray
    c00: np.ndarray
    c0t: np.ndarray
    ctt: np.ndarray

    def symmetrized(self) -> Moments:
        """The moments of the pairs together with the same pairs backwards in time (reversible dynamics)."""
        mean = (self.mean_0 + self.mean_t) / 2
        a, b = self.mean_0 - mean, self.mean_t - mean
        c00 = (self.c00 + self.ctt + np.outer(a, a) + np.outer(b, b)) / 2
        c0t = (self.c0t + self.c0t.T + np.outer(a, b) + np.outer(b, a)) / 2
        return Moments(self.n, mean, mean, c00, c0t, c00)

    def projected(self, left: np.ndarray, right: np.ndarray) -> Moments:
        """The moments of (x @ left, y @ right)."""
        return Moments(
            self.n,
            self.mean_0 @ left,
            self.mean_t @ right,
            left.T @ self.c00 @ left,
            left.T @ self.c0t @ right,
            right.T @ self.ctt @ right,
        )

    def only(self, keep: np.ndarray) -> Moments:
        """The moments of some of the columns."""
        grid = np.ix_(keep, keep)
        return Moments(self.n, self.mean_0[keep], self.mean_t[keep], self.c00[grid], self.c0t[grid], self.ctt[grid])

    def varying(self) -> np.ndarray:
        """Which columns vary by more than the rounding of float32."""
        tiny = np.finfo(np.float32).eps
        return (_deviation(self.c00) > tiny * np.abs(self.mean_0)) & (_deviation(self.ctt) > tiny * np.abs(self.mean_t))


def _deviation(covariance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(np.diag(covariance), 0.0))


def combine(parts: Sequence[Moments], counts: Sequence[int] | np.ndarray | None = None) -> Moments:
    """The moments of several blocks together; ``counts`` says how often each is taken (as in a bootstrap)."""
    weights = np.array([part.n for part in parts]) * (1.0 if counts is None else np.asarray(counts, dtype=np.float64))
    n = float(weights.sum())
    share = weights / n
    mean_0 = sum(w * p.mean_0 for w, p in zip(share, parts, strict=True))
    mean_t = sum(w * p.mean_t for w, p in zip(share, parts, strict=True))
    c00, c0t, ctt = (np.zeros_like(parts[0].c00) for _ in range(3))
    for w, part in zip(share, parts, strict=True):
        if w == 0.0:
            continue
        a, b = part.mean_0 - mean_0, part.mean_t - mean_t
        c00 += w * (part.c00 + np.outer(a, a))
        c0t += w * (part.c0t + np.outer(a, b))
        ctt += w * (part.ctt + np.outer(b, b))
    return Moments(n, mean_0, mean_t, c00, c0t, ctt)


def block_moments(
    series: TimeSeries, lag: int, groups: Sequence[Sequence[Block]], chunk: int | None = None
) -> list[Moments]:
    """The moments of each group of blocks of pairs.

    Parameters
    ----------
    series
        The data; float32 is accumulated as float64.
    lag
        Frames; 0 gives the plain covariance (``c0t`` and ``ctt`` equal ``c00``).
    groups
        Each group is a list of blocks; a block's rows are the first rows of its pairs.
    chunk
        Rows taken at once; the result depends on it to rounding only.
    """
    rows = chunk or max(256, _CHUNK_VALUES // series.n_columns)
    return [_accumulate(_pairs(series, lag, group, rows), lag) for group in groups]


def _pairs(series: TimeSeries, lag: int, group: Sequence[Block], rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for block in group:
        array = series.arrays[block.trajectory]
        for start in range(block.start, block.stop, rows):
            stop = min(start + rows, block.stop)
            yield array[start:stop], array[start + lag : stop + lag]


def _accumulate(pairs: Iterator[tuple[np.ndarray, np.ndarray]], lag: int) -> Moments:
    # deeptime brings torch with it; loaded here, a saved coordinate is read and evaluated without either.
    from deeptime.covariance import Covariance

    running = Covariance(
        lagtime=lag,
        compute_c0t=lag > 0,
        compute_ctt=lag > 0,
        remove_data_mean=True,
        bessels_correction=False,
        sparse_mode="dense",
    )
    n = 0
    for x, y in pairs:
        x, y = (a if a.dtype.kind == "f" else a.astype(np.float64) for a in (x, y))
        running.partial_fit((x, y) if lag else x)
        n += len(x)
    if n == 0:
        raise DegenerateError(
            "a block of the data holds no pair of frames at this lag; take a shorter lag or more data"
        )
    model = running.fetch_model()
    if lag == 0:
        return Moments(n, model.mean_0, model.mean_0, model.cov_00, model.cov_00, model.cov_00)
    return Moments(n, model.mean_0, model.mean_t, model.cov_00, model.cov_0t, model.cov_tt)
