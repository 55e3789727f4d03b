"""Several estimators in one pass over the files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdinsight.cvs._linear import LinearEstimator, fit_all
from mdinsight.errors import ParameterError
from mdinsight.estimators import Estimator
from mdinsight.parallel import Workers
from mdinsight.progress import Progress

if TYPE_CHECKING:
    from mdinsight.features import Definition, FeatureStream

_PAIRS = "give pairs of (estimator, features), such as (TICA('10 ps'), Torsions('phi psi'))"


def fit_together(
    jobs: Iterable[tuple[LinearEstimator, Any]],
    trajs: Any,
    workers: Workers = None,
    cache: bool | str | Path = True,
    progress: Progress = False,
) -> tuple[LinearEstimator, ...]:
    """Fit several estimators, each on features of its own, in one pass over the files.

    >>> tica, pca = fit_together([(TICA("10 ps"), torsions), (PCA(), distances)], trajs)  # doctest: +SKIP

    Each chunk of coordinates is read once, and a column that several feature sets have is computed once. Each model equals
    that of ``estimator.fit(features.stream(trajs))``, to rounding.

    Parameters
    ----------
    jobs
        Pairs of an estimator (PCA, TICA or VAMP) and the features that it is fitted on.
    trajs, workers, cache, progress
        As for :meth:`mdinsight.features.Definition.stream`.

    Returns
    -------
    tuple
        The estimators, fitted.

    Raises
    ------
    ParameterError
        If a job is not such a pair, or an estimator needs more than one pass.
    """
    from mdinsight.features import streams, sweep

    if isinstance(jobs, dict) or not isinstance(jobs, Iterable):
        raise ParameterError(f"fit_together needs a list, got {type(jobs).__name__}; {_PAIRS}")
    pairs = [_pair(job) for job in jobs]
    if not pairs:
        raise ParameterError(f"fit_together needs at least one pair, got none; {_PAIRS}")
    rows: Sequence[FeatureStream] = streams([features for _, features in pairs], trajs, workers, cache, progress)
    fit_all([(estimator, stream) for (estimator, _), stream in zip(pairs, rows, strict=True)], sweep=sweep)
    return tuple(estimator for estimator, _ in pairs)


def _pair(job: Any) -> tuple[LinearEstimator, Definition]:
    """An estimator and its features, or the error that says what is wrong with them."""
    from mdinsight.features import Definition, FeatureStream

    estimator, features = job if isinstance(job, (tuple, list)) and len(job) == 2 else (job, None)
    name = type(estimator).__name__
    if not isinstance(estimator, Estimator):
        raise ParameterError(f"fit_together got {name} where an estimator stands; {_PAIRS}")
    if not isinstance(estimator, LinearEstimator):
        data = "stream" if "KMeans" in name else "transform"  # of what takes a stream
        raise ParameterError(
            f"fit_together fits PCA, TICA and VAMP, which need one pass, and got {name}: fit it by itself, "
            f"{name}(...).fit(features.{data}(trajs))"
        )
    if isinstance(features, FeatureStream):
        raise ParameterError(
            f"fit_together makes the stream for {name} itself, over trajs; give its features, or stream.definition"
        )
    if not isinstance(features, Definition):
        raise ParameterError(f"fit_together needs features for {name}, got {type(features).__name__}; {_PAIRS}")
    return estimator, features
