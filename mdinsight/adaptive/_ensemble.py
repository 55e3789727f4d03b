"""Weighted ensemble: walkers with weights, split and merged in bins so that every average stays what it was."""

from __future__ import annotations

import heapq
import math
import numbers
from typing import Any

import numpy as np

from mdinsight.errors import DegenerateError, NonFiniteError, ParameterError
from mdinsight.records import Record

_LIGHTEST = 1e-290
"""Lighter walkers are dropped: their halves would soon be no normal floats, and no sum of weights notices them."""


def resample(
    weights: np.ndarray, bins: np.ndarray, per_bin: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Split and merge weighted walkers until every occupied bin holds ``per_bin`` (Huber and Kim 1996,
    10.1016/S0006-3495(96)79552-8).

    In each bin a walker heavier than twice the bin's mean is split into equal parts, the two lightest are merged while
    together they are no heavier than the mean, and then the heaviest is halved or the two lightest are merged until the number
    is right. Of two that merge one survives, with the probability of its share, and gets the weight of both. So the weight of
    each bin is kept, and the expectation of any average over the walkers is unchanged, whatever the bins.

    Parameters
    ----------
    weights
        (n,) weights, at least 0. Walkers without weight are dropped (those lighter than 1e-290 too).
    bins
        (n,) number of the bin of each walker.
    per_bin
        Walkers in each occupied bin afterwards.
    rng
        Decides who survives a merge.

    Returns
    -------
    tuple
        ``parents`` (m,) rows of the walkers that go on, and ``weights`` (m,); bins ascending.

    Raises
    ------
    DegenerateError
        If no walker has a weight.
    NonFiniteError
        If a weight is NaN or infinite.
    ParameterError
        If a weight is negative, the shapes differ, or ``per_bin`` is not a positive int.
    """
    weights, bins = _walkers(weights, bins)
    _positive_int(per_bin, "per_bin", "walkers")
    heavy = np.flatnonzero(weights > _LIGHTEST)
    order = heavy[np.argsort(bins[heavy], kind="stable")]
    borders = np.flatnonzero(np.diff(bins[order])) + 1
    parents: list[int] = []
    result: list[float] = []
    for rows in np.split(order, borders):
        for weight, parent in sorted(_in_bin(weights[rows], rows, int(per_bin), rng), key=lambda walker: walker[1]):
            parents.append(parent)
            result.append(weight)
    return np.array(parents, dtype=np.int64), np.array(result)


Walker = tuple[float, int]
"""Weight and row of the parent."""


def _in_bin(weights: np.ndarray, rows: np.ndarray, target: int, rng: np.random.Generator) -> list[Walker]:
    """The walkers of one bin, resampled to the target number."""
    mean = float(weights.sum()) / target
    heap: list[Walker] = []
    for weight, row in zip(weights.tolist(), rows.tolist(), strict=True):
        parts = math.ceil(weight / mean) if weight > 2.0 * mean else 1
        heap.extend([(weight / parts, row)] * parts)
    heapq.heapify(heap)
    while len(heap) > 1 and (len(heap) > target or _two_lightest(heap) <= mean):
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        total = first[0] + second[0]
        heapq.heappush(heap, (total, first[1] if rng.random() * total < first[0] else second[1]))
    halves = [(-weight, row) for weight, row in heap]
    heapq.heapify(halves)
    while len(halves) < target:
        weight, row = heapq.heappop(halves)
        heapq.heappush(halves, (weight / 2.0, row))
        heapq.heappush(halves, (weight / 2.0, row))
    return [(-weight, row) for weight, row in halves]


def _two_lightest(heap: list[Walker]) -> float:
    """Weight of the two lightest: the top of the heap, and the lighter of the two below it."""
    return heap[0][0] + min(heap[1 : min(3, len(heap))])[0]


class WeightedEnsemble(Record):
    """Resamples weighted walkers between rounds of short unbiased segments, so that rare places hold as many as common ones.

    When to use it: when a coordinate is known along which the rare event goes, and unbiased kinetics of it are wanted: rates
    from the weight that arrives (:func:`mfpt`), populations from the weights, without a bias and without a model.

    Parameters
    ----------
    bins
        How many bins between the foremost and the hindmost walker along each coordinate, which follow the walkers: the two
        extremes have bins of their own (the minimal adaptive binning of Torrillo, Bogetti and Chong 2021,
        10.1021/acs.jpca.0c10724, without its bottleneck bins). Or the edges of fixed bins along the first coordinate, or a
        tuple of edges for each. Adaptive bins do not fit a periodic coordinate: give edges there.
    per_bin
        Walkers in each occupied bin.

    Raises
    ------
    ParameterError
        If a parameter has a value that it cannot have.

    Notes
    -----
    Any binning, also one that changes, leaves all averages unbiased: Zhang, Jasnow and Zuckerman 2010, 10.1063/1.3306345.
    """

    bins: int | tuple[float, ...] | tuple[tuple[float, ...], ...] = 10
    per_bin: int = 4

    def __post_init__(self) -> None:
        _positive_int(self.per_bin, "per_bin", "walkers")
        if np.ndim(self.bins) == 0 if not isinstance(self.bins, (list, tuple)) else False:
            _positive_int(self.bins, "bins", "bins")
        else:
            object.__setattr__(self, "bins", _edges(self.bins))
        super().__post_init__()

    def bins_of(self, s: np.ndarray) -> np.ndarray:
        """(n,) number of the bin of each walker, whose coordinates are s (n,) or (n, dim)."""
        return bins_of(s, self.bins)

    def resample(
        self, s: np.ndarray, weights: np.ndarray, rng: np.random.Generator, labels: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which walkers go on, and their weights: see :func:`resample`.

        Parameters
        ----------
        s
            (n,) or (n, dim) coordinate at the end of each walker's segment.
        weights
            (n,) their weights.
        rng
            Decides who survives a merge.
        labels
            (n,) of each walker, for instance the state that it was in last; walkers of different labels never merge, and each
            label has ``per_bin`` walkers in a bin.
        """
        bins = self.bins_of(s)
        if labels is not None:
            kinds, number = np.unique(labels, return_inverse=True)
            bins = bins * len(kinds) + number.reshape(-1)
        return resample(weights, bins, self.per_bin, rng)


def bins_of(s: np.ndarray, bins: int | tuple[float, ...] | tuple[tuple[float, ...], ...]) -> np.ndarray:
    """The bin of each point s (n,) or (n, dim); ``bins`` as in :class:`WeightedEnsemble`.

    With edges e_0 < e_1 < ... bin 0 lies below e_0 and bin k from e_(k-1) up to, and without, e_k. Adaptive bins are numbered
    along the coordinate, first the bin of the hindmost walker alone.

    Raises
    ------
    NonFiniteError
        If a coordinate is NaN or infinite; names the walker.
    ParameterError
        If there are edges for more coordinates than the points have.
    """
    points = np.asarray(s, dtype=np.float64)
    points = points[:, None] if points.ndim == 1 else points
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise NonFiniteError(f"s is {points[bad[0]].tolist()} for walker {bad[0]}; a walker that broke down has no bin")
    if isinstance(bins, numbers.Integral):
        return _adaptive(points, int(bins))
    edges = _edges(bins)
    several = edges if isinstance(edges[0], tuple) else (edges,)
    if len(several) > points.shape[1]:
        raise ParameterError(f"bins holds edges for {len(several)} coordinates, but the walkers have {points.shape[1]}")
    index = np.zeros(len(points), dtype=np.int64)
    for column, edge in zip(points.T, several, strict=False):
        index = index * (len(edge) + 1) + np.searchsorted(np.asarray(edge), column, side="right")  # type: ignore[arg-type]
    return index


def _adaptive(points: np.ndarray, number: int) -> np.ndarray:
    """Equal bins from extreme to extreme along each column; the foremost and the hindmost walker have their own."""
    index = np.zeros(len(points), dtype=np.int64)
    extremes: list[tuple[int, int]] = []
    for column in points.T:
        low, spread = column.min(), np.ptp(column)
        part = np.zeros(len(column), dtype=np.int64)
        if spread > 0:
            part = np.minimum((number * ((column - low) / spread)).astype(np.int64), number - 1)
            extremes.append((int(np.argmin(column)), int(np.argmax(column))))
        index = index * number + part
    index += len(extremes)
    after = int(number ** points.shape[1]) + len(extremes)
    for axis, (behind, ahead) in enumerate(extremes):
        index[behind] = axis
        index[ahead] = after + axis
    return index


def _edges(bins: Any) -> tuple[Any, ...]:
    """Edges as a tuple of floats, or a tuple of such tuples, each ascending."""
    try:
        several = any(isinstance(item, (list, tuple, np.ndarray)) for item in bins)
        parts = [np.asarray(part, dtype=np.float64) for part in (bins if several else [bins])]
    except (TypeError, ValueError):
        parts = []
    fits = bool(parts) and all(
        p.ndim == 1 and p.size and np.isfinite(p).all() and (np.diff(p) > 0).all() for p in parts
    )
    if not fits:
        raise ParameterError(
            f"bins={bins!r} are no bins; give a number of adaptive bins, or ascending edges such as (0.1, 0.2, 0.4)"
        )
    tuples = tuple(tuple(part.tolist()) for part in parts)
    return tuples if several else tuples[0]


def _walkers(weights: Any, bins: Any) -> tuple[np.ndarray, np.ndarray]:
    weights, bins = np.asarray(weights, dtype=np.float64), np.asarray(bins)
    if weights.ndim != 1 or weights.shape != bins.shape or bins.dtype.kind not in "iu":
        raise ParameterError(
            f"weights {weights.shape} and bins {bins.shape} of {bins.dtype} do not fit; give a number and an int a walker"
        )
    bad = np.flatnonzero(~np.isfinite(weights))
    if len(bad):
        raise NonFiniteError(f"the weight of walker {bad[0]} is {weights[bad[0]]}; weights are finite numbers")
    if (weights < 0).any():
        low = int(np.argmin(weights))
        raise ParameterError(f"the weight of walker {low} is {weights[low]:g}; weights are at least 0")
    if not (weights > _LIGHTEST).any():
        raise DegenerateError(f"none of the {len(weights)} walkers has a weight, so there is nothing to resample")
    return weights, bins


def _positive_int(value: Any, name: str, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ParameterError(f"{name}={value!r} is not a number of {what}; give an int of at least 1")
