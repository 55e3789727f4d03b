"""Several estimators in one pass over the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mdinsight.cvs._linear import LinearEstimator, fit_all
from mdinsight.errors import ParameterError
from mdinsight.parallel import Workers
from mdinsight.progress import Progress


def fit_together(
    jobs: Sequence[tuple[LinearEstimator, Any]],
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
    from mdinsight.features import Definition, FeatureStream, streams, sweep

    pairs = [job if isinstance(job, (tuple, list)) and len(job) == 2 else (job, None) for job in jobs]
    if not pairs:
        raise ParameterError("fit_together needs at least one pair (estimator, features); got none")
    for estimator, features in pairs:
        if not isinstance(estimator, LinearEstimator):
            raise ParameterError(
                f"fit_together fits PCA, TICA and VAMP, which need one pass; got {type(estimator).__name__}: "
                "fit it on features.transform(trajs)"
            )
        if not isinstance(features, Definition):
            raise ParameterError(
                f"fit_together needs features for {type(estimator).__name__}, got {type(features).__name__}; "
                "give pairs such as (TICA('10 ps'), Torsions('phi psi'))"
            )
    rows: Sequence[FeatureStream] = streams([features for _, features in pairs], trajs, workers, cache, progress)
    fit_all([(estimator, stream) for (estimator, _), stream in zip(pairs, rows, strict=True)], sweep=sweep)
    return tuple(estimator for estimator, _ in pairs)
