"""What a fitted coordinate's eigenvalues are worth: enough pairs, slow or not, data long enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdinsight import units
from mdinsight.results import Estimate, Verdict
from mdinsight.words import counted, some

if TYPE_CHECKING:
    from mdinsight.cvs._models import CVModel

_PAIRS_A_COLUMN = 10
_TIMESCALES_A_PIECE = 3.0
_AS_SLOW_AS_THE_LAG = float(np.exp(-1.0))


def verdicts_of(model: CVModel) -> tuple[Verdict, ...]:
    """The verdicts on a model that has a lag; see :meth:`mdinsight.cvs.CVModel.verdicts`."""
    few = _few_pairs(model)
    if few:
        return few  # what noise was fitted to looks slow, or not, by chance
    values = model.eigenvalues[: model.dim]
    positive = np.flatnonzero(values > 0.0)
    found = _negative(model, float(values[positive[0]]) if len(positive) else 0.0)
    if not len(positive):
        return found or (_not_slow(model),)
    first = int(positive[0])
    slowest = model.timescales(first + 1)[first:]
    if np.isinf(slowest.value[0]):
        return *found, _does_not_relax(model, first)
    return *found, _lag(model, slowest), _length(model, slowest), *_visits(slowest)


def most_pairs(model: CVModel) -> float:
    """No fewer than the pairs that the model was fitted on, by what it holds; near their number where the lag is long.

    Each trajectory holds its frames less a lag of pairs. There are no fewer trajectories than units were resampled, but
    where trajectories were cut: into pieces of about five lags or more, so that adds a fifth of the pairs at most.
    """
    return 1.25 * max(model.n_frames - model.n_blocks * model.lag, 0)


def _told(model: CVModel, frames: float) -> str:
    return units.format_time(frames * model.dt) if model.dt else f"{frames:.3g} frames"


def _few_pairs(model: CVModel) -> tuple[Verdict, ...]:
    n_columns = int(np.count_nonzero(model.deviations))
    pairs = int(most_pairs(model))
    if pairs >= _PAIRS_A_COLUMN * n_columns:
        return ()
    return (
        Verdict(
            "amount of data",
            False,
            f"at a lag of {_told(model, model.lag)} the data hold at most {counted(pairs, 'pair')} of frames for "
            f"{counted(n_columns, 'column')}, so the coordinates fit noise and their timescales say nothing",
            f"Take a shorter lag, fewer columns or more data: at least {_PAIRS_A_COLUMN} pairs a column",
        ),
    )


def _negative(model: CVModel, slowest: float) -> tuple[Verdict, ...]:
    """Negative eigenvalues before the first that is not, or as large as that of a process as slow as the lag."""
    values = model.eigenvalues[: model.dim]
    which = np.flatnonzero((values < 0.0) & (values <= -min(slowest, _AS_SLOW_AS_THE_LAG)))
    if not len(which):
        return ()
    names = model.get_feature_names_out()
    each = [f"{names[i]} ({values[i]:.3g})" for i in which]
    return (
        Verdict(
            "sign of the eigenvalues",
            False,
            f"the eigenvalue at a lag of {_told(model, model.lag)} is negative for {some(each)}: values alternate from one "
            "lag to the next, a fast oscillation or noise in short data, not a slow process",
            "Take a longer or shorter lag, or more data",
        ),
    )


def _not_slow(model: CVModel) -> Verdict:
    return Verdict(
        "slow coordinate",
        False,
        f"the slowest eigenvalue at a lag of {_told(model, model.lag)} is {model.eigenvalues[0]:.3g}: "
        "nothing in these columns is slow",
        "Take a shorter lag or other features",
    )


def _does_not_relax(model: CVModel, first: int) -> Verdict:
    return Verdict(
        "slow coordinate",
        False,
        f"the eigenvalue of {model.get_feature_names_out()[first]} at a lag of {_told(model, model.lag)} is 1: "
        "it changes within no trajectory, so its timescale is not known",
        "Take longer trajectories, or leave out the columns that only tell trajectories apart",
    )


def _lag(model: CVModel, slowest: Estimate) -> Verdict:
    return Verdict(
        "lag against timescale",
        bool(slowest.value[0] > model.lag * (model.dt or 1.0)),
        f"the slowest timescale is {slowest}, the lag {_told(model, model.lag)}",
        "The lag is longer than the process; take a shorter lag",
    )


def _length(model: CVModel, slowest: Estimate) -> Verdict:
    frames = float(slowest.value[0]) / (model.dt or 1.0)
    interval = bool(np.isfinite(slowest.low[0]))
    source = f"the interval comes from {len(model.samples)} resamplings" if interval else "the data consist"
    narrow = "its interval is too narrow, and " if interval else ""
    return Verdict(
        "length of the data",
        model.block_frames >= _TIMESCALES_A_PIECE * frames,
        f"{source} of pieces of about {_told(model, model.block_frames)}; the slowest timescale is {_told(model, frames)}",
        f"The pieces hardly hold the slowest process, so {narrow}where they do not start in equilibrium its timescale is too "
        "short; longer trajectories are needed",
    )


def _visits(slowest: Estimate) -> tuple[Verdict, ...]:
    if not np.isfinite(slowest.low[0]):
        return ()
    return (
        Verdict(
            "visits to the slow process",
            bool(slowest.low[0] > 0.2 * slowest.value[0]),
            f"resampled data let its timescale lie between {slowest.low[0]:.3g} and {slowest.high[0]:.3g} {slowest.unit}",
            "Some resamplings hardly hold it, so it rests on few trajectories; take more that visit it",
        ),
    )
