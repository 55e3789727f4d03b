"""Cutting a series into blocks: for the bootstrap, and for train and test sets that share nothing within the lag."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mdinsight import seeds, units
from mdinsight.errors import DataWarning, LagError, ParameterError, warn_user
from mdinsight.series import Origin, Rows, TimeSeries


@dataclass(frozen=True)
class Block:
    """Rows ``start`` to ``stop`` of one trajectory."""

    trajectory: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def usable(series: Rows, lag: int, warn: bool = True) -> list[int]:
    """Numbers of the trajectories that hold a pair at this lag; the others are counted in one warning."""
    keep = [i for i, length in enumerate(series.lengths) if length > lag]
    short = len(series) - len(keep)
    if short and warn:
        frames = series.n_frames - sum(series.lengths[i] for i in keep)
        warn_user(
            f"{short} of {len(series)} trajectories ({frames} frames) are not longer than the lag of "
            f"{units.format_lag(lag, series.dt)} and are left out",
            DataWarning,
        )
    return keep


def bootstrap_groups(series: Rows, lag: int, most: int = 32, fewest: int = 16) -> list[list[Block]]:
    """Pairs grouped into at most ``most`` units to resample; together they are all the pairs.

    Trajectories stay whole where there are enough of them (``fewest``); else they are cut into contiguous blocks of at
    least five lags.
    """
    kept = usable(series, lag)
    pairs = {i: series.lengths[i] - lag for i in kept}
    if len(kept) >= fewest:
        groups: list[list[Block]] = [[] for _ in range(min(most, len(kept)))]
        for number, i in enumerate(kept):
            groups[number % len(groups)].append(Block(i, 0, pairs[i]))
        return groups
    length = max(5 * lag, 2, -(-sum(pairs.values()) // fewest))
    blocks = []
    for i in kept:
        count = max(1, round(pairs[i] / length))
        edges = np.linspace(0, pairs[i], count + 1).astype(int)
        blocks += [Block(i, int(a), int(b)) for a, b in pairwise(edges) if b > a]
    return [[block] for block in blocks]


def typical_length(blocks: Iterable[Block], lag: int = 0) -> float:
    """Frames of one uninterrupted piece: half of the data lie in pieces at least as long.

    With a lag the blocks are of pairs, which reach over ``lag`` frames more.
    """
    lengths = np.sort([len(block) + lag for block in blocks])
    return float(lengths[np.searchsorted(np.cumsum(lengths), 0.5 * lengths.sum())])


@dataclass(frozen=True)
class Folds:
    """Blocks of FRAMES in each fold: no frame of one fold is within the lag of a frame of another.

    ``whole`` tells whether a block is a whole trajectory, else trajectories were cut.
    """

    blocks: tuple[tuple[Block, ...], ...]
    how: str
    whole: bool = True

    def __len__(self) -> int:
        return len(self.blocks)

    def train(self, fold: int) -> list[Block]:
        """The blocks of all other folds."""
        return [block for number, blocks in enumerate(self.blocks) if number != fold for block in blocks]

    def test(self, fold: int) -> list[Block]:
        """The blocks of one fold."""
        return list(self.blocks[fold])


def make_folds(series: Rows, lag: int, folds: int, seed: int, warn: bool = True) -> Folds:
    """Split by trajectory; where there are fewer trajectories than folds, by contiguous blocks longer than the lag.

    Between two blocks of one trajectory ``lag`` frames are left out.

    Raises
    ------
    ParameterError
        If ``folds`` is less than 2.
    LagError
        If the data are too short for that many folds at this lag.
    """
    if isinstance(folds, bool) or not isinstance(folds, (int, np.integer)) or folds < 2:
        raise ParameterError(f"folds={folds!r} is not a number of folds; give at least 2")
    kept = usable(series, lag, warn)
    whole = len(kept) >= folds
    blocks = [Block(i, 0, series.lengths[i]) for i in kept] if whole else _cut(series, lag, folds, kept)
    if len(blocks) < folds:
        total = sum(series.lengths[i] for i in kept)
        raise LagError(
            f"{units.format_lag(total, series.dt)} of data cannot be split into folds={folds} at a lag of "
            f"{units.format_lag(lag, series.dt)}; take a shorter lag, fewer folds or more data"
        )
    if whole:
        how = f"by trajectory ({len(kept)} trajectories)"
    else:
        size, gap = (units.format_lag(frames, series.dt) for frames in (np.median([len(b) for b in blocks]), lag))
        how = f"by {len(blocks)} blocks of about {size}, {gap} apart"
    return Folds(_balanced(blocks, int(folds), seeds.generator(seed, "folds", int(folds))), how, whole)


def _cut(series: Rows, lag: int, folds: int, kept: Sequence[int]) -> list[Block]:
    # Two blocks a fold, so that a fold does not see one stretch of time only; one a fold where the data are short.
    total = sum(series.lengths[i] for i in kept)
    most: list[Block] = []
    for per_fold in (2, 1):
        length = total / (per_fold * folds)
        blocks = []
        for i in kept:
            frames = series.lengths[i]
            count = max(1, round(frames / length))
            # Each block is followed by a gap of one lag, the last by none.
            edges = np.linspace(0, frames + lag, count + 1).astype(int)
            blocks += [Block(i, int(a), int(b) - lag) for a, b in pairwise(edges) if b - a > 2 * lag]
        if length >= 4 * lag and len(blocks) >= folds:
            return blocks
        most = max(most, blocks, key=len)
    return most


def _balanced(blocks: Sequence[Block], folds: int, generator: np.random.Generator) -> tuple[tuple[Block, ...], ...]:
    order = sorted(generator.permutation(len(blocks)), key=lambda i: -len(blocks[i]))
    sizes = np.zeros(folds)
    chosen: list[list[Block]] = [[] for _ in range(folds)]
    for i in order:
        smallest = int(np.argmin(sizes))
        chosen[smallest].append(blocks[i])
        sizes[smallest] += len(blocks[i])
    return tuple(tuple(sorted(group, key=lambda b: (b.trajectory, b.start))) for group in chosen)


def pairs_in(blocks: Sequence[Block], lag: int) -> list[Block]:
    """The pairs inside blocks of frames, as blocks of first rows."""
    return [Block(b.trajectory, b.start, b.stop - lag) for b in blocks if len(b) > lag]


def take_blocks(series: TimeSeries, blocks: Sequence[Block]) -> TimeSeries:
    """The frames of some blocks as a series of their own (views, not copies)."""
    origins = []
    for block in blocks:
        origin = series.origins[block.trajectory]
        origins.append(Origin(origin.file, origin.frame(block.start), origin.step, origin.fingerprint))
    arrays = [series.arrays[b.trajectory][b.start : b.stop] for b in blocks]
    return TimeSeries(arrays, series.dt, series.columns, origins, series.definition, check_finite=False)
