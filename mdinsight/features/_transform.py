"""Features of every frame in memory: in parallel, and the same for any number of workers and any chunk."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from mdinsight.features._base import Definition
from mdinsight.features._cache import Cache
from mdinsight.features._files import Files
from mdinsight.features._stream import FeatureStream, leaves_the_process, open_cache
from mdinsight.parallel import Workers, cores, ordered_map
from mdinsight.passes import Collected, Shortened
from mdinsight.progress import Progress, check_progress
from mdinsight.series import TimeSeries

_WORTH_THREADS = 1 << 24
"""Bytes in the cache that are looked at by more than one thread."""


def transform(
    definition: Definition,
    trajs: Any,
    workers: Workers = None,
    chunk: int | None = None,
    cache: bool | str | Path = True,
    progress: Progress = False,
) -> TimeSeries:
    """See :meth:`mdinsight.features.Definition.transform`."""
    check_progress(progress)
    files = Files.of(trajs, workers, chunk, progress, "transform")
    return load(FeatureStream(definition, files, open_cache(definition, cache)))


def load(stream: FeatureStream) -> TimeSeries:
    """The rows of a stream in memory; what is in the cache whole is taken from there, a large array as a mapped file."""
    store = stream.store
    arrays: list[np.ndarray | None] = [None] * len(stream)
    if store is not None:
        arrays = _kept(stream, store)
    missing = [i for i, array in enumerate(arrays) if array is None]
    if missing:
        shared = not leaves_the_process(stream.files.workers)
        rows = Collected(stream.lengths, stream.n_columns, np.float32, missing, shared=shared)
        try:
            stream.sweep([rows])
        except Shortened:  # what lies before a corrupt frame is computed but for the rest of its piece
            for i in missing:
                rows.arrays[i] = rows.arrays[i][: stream.lengths[i]].copy()
                first = rows.filled[i]
                if first < stream.lengths[i]:
                    rows.arrays[i][first:] = stream.rows(i, first, stream.lengths[i])
        for i in missing:
            arrays[i] = rows.arrays[i]
    found = [array for array in arrays if array is not None]
    return TimeSeries(
        found, stream.dt, stream.bounds[0].later_columns, stream.origins, stream.fixed, check_finite=False
    )


def _kept(stream: FeatureStream, store: Cache) -> list[np.ndarray | None]:
    """What is in the cache: file beside file where there are many, else parts of a file beside each other."""
    keys = stream.keys
    shapes = [(trajectory.n_frames, stream.n_columns) for trajectory in stream.files.trajectories]
    workers = None if isinstance(stream.files.workers, Executor) else stream.files.workers
    if cores() == 1 or 4 * stream.n_columns * sum(stream.lengths) < _WORTH_THREADS:
        workers = 1
    many = len(stream) > 1

    def get(i: int) -> np.ndarray | None:
        return store.get(keys[i], shapes[i], workers=1 if many else workers)

    return list(ordered_map(get, range(len(keys)), workers if many else 1))
