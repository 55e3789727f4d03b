"""Equilibrium weights of the strata out of swarms alone, whatever the strata were thought to weigh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from mdinsight import units
from mdinsight.errors import ConnectivityError, ParameterError
from mdinsight.msm._connectivity import connected_sets
from mdinsight.msm._estimators import check_samples
from mdinsight.msm._posterior import reversible_estimate
from mdinsight.msm._swarm_paths import FEWEST, Swarms
from mdinsight.parallel import one_thread
from mdinsight.records import Model
from mdinsight.results import Estimate, Verdict
from mdinsight.words import some

SURE = 0.01
"""Probability to reject weights that agree, over all strata together."""

LEAST = 20
"""Samples that tell the bias of ln W well enough to take it out."""

OUTSIDE = 0.01
"""Most of the equilibrium that may lie in strata without starts."""

SETTLED = 0.1
"""Most of the paths of a stratum that may leave for strata without starts and stay there."""


class StratumWeights(Model):
    """Equilibrium weights of the strata, from swarms.

    Arrays run over all strata; strata that the swarms do not determine have weight 0.

    Attributes
    ----------
    weights
        (n_strata,), sum 1.
    samples
        What else the starts allow, (n_samples, n_strata).
    strata
        Numbers of the strata that are determined: with starts, and connected to each other in both directions.
    short, long
        The weights from the shorter half of the lags and from the longer, over ``strata``; NaN where not connected.
        Equal but for chance if the starts are equilibrium samples of their strata.
    short_samples, long_samples
        Their samples.
    counts
        Starts in each stratum, (n_strata,).
    escape
        Part of the frames at these lags from the starts, by equilibrium weight, in strata that are not determined.
    settled
        Of the starts of each stratum, the part whose paths leave for strata that are not determined and spend the
        last half of their way there, (n_strata,): what those weigh is not known.
    lags
        In frames, (n_lags,).
    dt
        ps between frames, or None.

    Notes
    -----
    See :func:`stratum_weights`.
    """

    weights: np.ndarray
    samples: np.ndarray
    strata: np.ndarray
    short: np.ndarray
    long: np.ndarray
    short_samples: np.ndarray
    long_samples: np.ndarray
    counts: np.ndarray
    escape: float
    settled: np.ndarray
    lags: np.ndarray
    dt: float | None

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.samples)

    def estimate(self) -> Estimate:
        """The weights with their intervals, (n_strata,)."""
        return Estimate.from_samples(self.weights, self.samples)

    def free_energies(self, kT: float = 1.0) -> Estimate:
        """-kT ln W relative to the heaviest stratum, (n_strata,), in the unit of ``kT``; inf where not
        determined."""
        own, top = self.strata, int(np.argmax(self.weights))
        drawn = -kT * np.log(self.samples[:, own] / self.samples[:, [top]])
        found = Estimate.from_samples(-kT * np.log(self.weights[own] / self.weights[top]), drawn)
        full = np.full((3, len(self.weights)), np.inf)
        full[1:] = np.nan
        full[:, own] = found.value, found.low, found.high
        return Estimate(full[0], full[1], full[2], "" if kT == 1.0 else "kJ/mol")

    def compare(self, weights: np.ndarray, weight_samples: np.ndarray | None = None) -> Estimate:
        """ln(given weight / this weight) of each determined stratum, (len(strata),), in kT.

        Both sets of weights are normalised over the determined strata; the mean of the logarithms is taken out, so
        that one wrong stratum does not move all others. The interval holds the errors of both.
        """
        given = np.asarray(weights, dtype=np.float64)[self.strata]
        spread = given[None] if weight_samples is None else np.asarray(weight_samples, dtype=np.float64)[:, self.strata]
        other = spread[np.arange(self.n_samples) % len(spread)]
        return Estimate.from_samples(
            _contrast(given, self.weights[self.strata]), _contrast(other, self.samples[:, self.strata])
        )

    def agreement(self, weights: np.ndarray, weight_samples: np.ndarray | None = None) -> Verdict:
        """Whether given weights of the strata, such as those of a bias, agree with the swarms."""
        given = np.asarray(weights, dtype=np.float64)[self.strata]
        spread = given[None] if weight_samples is None else np.asarray(weight_samples, dtype=np.float64)[:, self.strata]
        holds, says = _differ(given, spread, self.weights[self.strata], self.samples[:, self.strata], self.strata)
        if holds:
            says = f"the weights given agree with the swarms ({says})"
        else:
            says = f"the weights given disagree with the swarms: {says}"
        remedy = "converge the bias further; for populations and rates take the weights of the swarms (weights=None)"
        return Verdict("weights", holds, says, remedy)

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether all strata with starts are connected, none matters that is not, the lags agree, starts suffice."""
        lost = np.setdiff1d(np.flatnonzero(self.counts), self.strata)
        says = f"{len(self.strata)} strata are connected in both directions"
        if len(lost):
            says += f"; not connected: {some(list(map(int, lost)), 8)}"
        remedy = "put more starts in these strata and in those between, longer swarms, or strata that lie closer"
        connected = Verdict("connected strata", len(lost) == 0, says, remedy)
        return connected, self.coverage(), self._lags(), self._starts()

    def coverage(self) -> Verdict:
        """Whether what lies outside the determined strata can weigh something."""
        worst = int(np.argmax(self.settled))
        says = (
            f"{100 * self.escape:.2g} % of where the swarms go, by weight, lies outside the {len(self.strata)} strata"
        )
        holds = self.escape <= OUTSIDE
        if self.settled[worst] > SETTLED:
            holds = False
            says += f"; {100 * self.settled[worst]:.0f} % of the paths of stratum {worst} leave and stay outside"
        remedy = "draw starts in all strata that the swarms visit; what the strata without starts weigh is not known"
        return Verdict("coverage", holds, says, remedy)

    def _lags(self) -> Verdict:
        both = np.isfinite(self.short) & np.isfinite(self.long)
        remedy = (
            "the starts are no equilibrium samples of their strata: draw them with the frames' weights within each "
            "stratum from more frames, or take finer strata"
        )
        if both.sum() < 2 or len(self.lags) < 2:
            return Verdict("lags", False, "too few lags connect the strata to compare", "save frames more often")
        holds, says = _differ(
            self.short[both],
            self.short_samples[:, both],
            self.long[both],
            self.long_samples[:, both],
            self.strata[both],
        )
        middle = units.format_lag(int(self.lags[len(self.lags) // 2]), self.dt)
        return Verdict(
            "lags", holds, f"lags below and from {middle} {'agree' if holds else 'disagree'}: {says}", remedy
        )

    def _starts(self) -> Verdict:
        own = self.counts[self.strata]
        poor = self.strata[own < FEWEST]
        says = f"{int(own.sum())} starts, {int(own.min())} in the poorest of {len(own)} strata"
        if len(poor):
            says += f"; fewer than {FEWEST} in {some(list(map(int, poor)), 8)}"
        return Verdict("starts", len(poor) == 0, says, f"draw at least {FEWEST} starts in each stratum")

    def summary(self) -> str:
        """The verdicts in words."""
        lags = ", ".join(units.format_lag(int(lag), self.dt) for lag in self.lags)
        return "\n".join([f"weights of {len(self.strata)} strata at lags {lags}", *(f"  {v}" for v in self.verdicts())])

    def __str__(self) -> str:
        return self.summary()


def stratum_weights(
    swarms: Swarms, lags: Sequence[Any] | None = None, n_samples: int = 200, seed: int = 0
) -> StratumWeights:
    """Equilibrium weights of the strata from the swarms alone.

    Parameters
    ----------
    swarms
        Paths from :func:`swarms`.
    lags
        Frames (int) or times; None takes 1, 2, 4, ... up to the longest that ten paths of every stratum reach (all of
        its paths, if there are fewer).
    n_samples, seed
        Samples of the bootstrap over starts within each stratum.

    Raises
    ------
    ConnectivityError
        If no two strata are connected in both directions.
    LagError
        If a lag is longer than the paths.

    Notes
    -----
    T_st(lag) is the part of the starts of s whose path is in t a lag later, or a lag earlier. Since each start is an
    equilibrium sample of its stratum, W T(lag) = W with the exact W at every lag, and W_s T_st = W_t T_ts: no Markov
    assumption is made, only the starts' distribution *within* strata is used (stratification: arXiv:1603.04505;
    exact milestoning: 10.1137/15M102157X). Short lags connect neighbours, long ones the basins; the mean of T over the
    lags has the same W, which is found by the reversible maximum-likelihood estimate, its bias in ln W taken out.
    What a path does in strata without starts counts as if it had stayed, which keeps detailed balance among the rest.
    """
    check_samples(n_samples, LEAST)
    frames = _lags(swarms, lags)
    pairs = [_pairs(swarms, lag) for lag in frames]
    covered = np.flatnonzero(swarms.counts)
    everything = _matrices(swarms, pairs, None)
    total = _rows(everything, covered, swarms.counts)
    active = np.sort(max(connected_sets(total), key=len))
    if len(active) < 2:
        raise ConnectivityError(
            f"no two of the {len(covered)} strata with starts are connected by paths in both directions up to a lag of "
            f"{units.format_lag(frames[-1], swarms.dt)}; make the swarms longer or put starts between them"
        )
    strata = covered[active]
    half = len(frames) // 2
    parts = (slice(None), slice(None, half), slice(half, None))
    best = [_stationary(everything[part], strata, swarms.counts) for part in parts]
    drawn = [np.empty((n_samples, len(strata))) for _ in parts]
    with one_thread():
        for row, factors in enumerate(swarms.random_factors(n_samples, seed)):
            matrices = _matrices(swarms, pairs, factors)
            for out, part, first in zip(drawn, parts, best, strict=True):
                out[row] = np.nan
                if np.isfinite(first).any():
                    out[row] = _stationary(matrices[part], strata, swarms.counts)
    weights, samples = np.zeros(swarms.n_strata), np.zeros((n_samples, swarms.n_strata))
    weights[strata], samples[:, strata] = _corrected(best[0], drawn[0])
    outside = np.setdiff1d(np.arange(swarms.n_strata), strata)
    escape = float(weights @ everything.mean(axis=0)[:, outside].sum(axis=1))
    return StratumWeights(
        weights,
        samples,
        strata,
        best[1],
        best[2],
        drawn[1],
        drawn[2],
        swarms.counts,
        escape,
        _settled(swarms, outside),
        np.array(frames),
        swarms.dt,
    )


def stratum_matrix(swarms: Swarms, lag: Any) -> np.ndarray:
    """T_st: part of the starts of stratum s whose path is in t one lag later or earlier, (n_strata, n_strata).

    Rows of strata without starts are 0.
    """
    return _matrices(swarms, [_pairs(swarms, swarms.check_lag(lag))], None)[0]


def _corrected(weights: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights and samples without the bias of ln W.

    A rare step against the slope of the free energy makes ln W come out low (by 1 / 2k for k such steps). Resampling
    adds the same bias once more, which tells how large it is: the samples lose it twice (10.1201/9780429246593, 10.6).
    """
    bias = np.log(samples).mean(axis=0) - np.log(weights)
    corrected, drawn = weights * np.exp(-bias), samples * np.exp(-2.0 * bias)
    return corrected / corrected.sum(), drawn / drawn.sum(axis=1, keepdims=True)


def _settled(swarms: Swarms, outside: np.ndarray) -> np.ndarray:
    """Part of the ways from the starts of each stratum that spend their last half outside, (n_strata,)."""
    away = np.zeros(swarms.n_strata, dtype=bool)
    away[outside] = True
    total, gone = np.zeros(swarms.n_strata), np.zeros(swarms.n_strata)
    for array, start, stratum in zip(swarms.strata.arrays, swarms.starts, swarms.start_strata, strict=True):
        for way in (away[array[start + 1 :]], away[array[:start]][::-1]):
            if len(way):
                total[stratum] += 1
                gone[stratum] += way[len(way) // 2 :].all()
    return np.divide(gone, total, out=np.zeros_like(gone), where=total > 0)


_Pairs = tuple[np.ndarray, np.ndarray]


def _lags(swarms: Swarms, lags: Sequence[Any] | None) -> list[int]:
    """The lags that paths of every stratum with starts reach; ten of each, where none are asked for.

    The matrices of all lags weigh alike, so a lag at which one long path stands for a stratum would spoil the others.
    """
    reach = np.maximum(swarms.backward, swarms.forward)
    ranked = [np.sort(reach[swarms.start_strata == stratum])[::-1] for stratum in np.flatnonzero(swarms.counts)]
    most = min(int(own[0]) for own in ranked)
    if lags is None:
        if most < 1:
            empty = next(int(s) for s, own in zip(np.flatnonzero(swarms.counts), ranked, strict=True) if own[0] < 1)
            raise ParameterError(
                f"the paths of stratum {empty} end where they start; make them longer, or leave them out"
            )
        common = max(1, min(int(own[min(FEWEST, len(own)) - 1]) for own in ranked))
        return [2**power for power in range(common.bit_length())]
    frames = sorted({swarms.check_lag(lag, "lags") for lag in lags})
    if not frames or frames[-1] > most:
        raise ParameterError(
            f"lags={list(lags)!r}: give at least one lag, none longer than the {units.format_lag(most, swarms.dt)} that "
            "paths of every stratum reach from their starts"
        )
    return frames


def _pairs(swarms: Swarms, lag: int) -> _Pairs:
    """Where the paths are one lag after or before their starts: the pair (as one number) and the path of each."""
    flat, paths = [], []
    for reach, step in ((swarms.forward, lag), (swarms.backward, -lag)):
        own = np.flatnonzero(reach >= lag)
        target = swarms.flat_strata[swarms.flat_starts[own] + step]
        flat.append(swarms.start_strata[own] * swarms.n_strata + target)
        paths.append(own)
    return np.concatenate(flat), np.concatenate(paths)


def _matrices(swarms: Swarms, pairs: list[_Pairs], factors: np.ndarray | None) -> np.ndarray:
    """T at each lag, (n_lags, n_strata, n_strata)."""
    n = swarms.n_strata
    shares = swarms.path_weights(np.arange(len(swarms)), factors)
    out = np.empty((len(pairs), n, n))
    for matrix, (flat, paths) in zip(out, pairs, strict=True):
        matrix[:] = np.bincount(flat, weights=shares[paths], minlength=n * n).reshape(n, n)
        rows = matrix.sum(axis=1, keepdims=True)
        np.divide(matrix, rows, out=matrix, where=rows > 0)
    return out


def _rows(matrices: np.ndarray, strata: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Counts among some strata: n_s times the mean matrix, what leaves these strata counted as staying."""
    mean = matrices.mean(axis=0)[np.ix_(strata, strata)]
    mean[np.diag_indices_from(mean)] += 1.0 - mean.sum(axis=1)
    return np.maximum(mean, 0.0) * counts[strata, None]


def _stationary(matrices: np.ndarray, strata: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The weights of some strata, (n,); NaN where they are not all connected at these lags."""
    if len(matrices) == 0:
        return np.full(len(strata), np.nan)
    rows = _rows(matrices, strata, counts)
    found = np.full(len(strata), np.nan)
    inside = max(connected_sets(rows), key=len)
    if len(inside) > 1:
        own = rows[np.ix_(inside, inside)]
        own[np.diag_indices_from(own)] += rows[inside].sum(axis=1) - own.sum(axis=1)
        found[inside] = reversible_estimate(own)[1]
    return found


def _contrast(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """ln(one / other) over the last axis, its mean taken out."""
    difference = np.log(one) - np.log(other)
    return difference - difference.mean(axis=-1, keepdims=True)


def _differ(
    one: np.ndarray, one_samples: np.ndarray, other: np.ndarray, other_samples: np.ndarray, strata: np.ndarray
) -> tuple[bool, str]:
    """Whether two sets of weights of the strata agree, and the surest difference in words.

    Differences are taken from the mean over the strata, in standard errors; the largest is held against what the
    largest of so many may be by chance.
    """
    difference = _contrast(one, other)
    rows = np.arange(len(other_samples))
    error = _contrast(one_samples[rows % len(one_samples)], other_samples).std(axis=0)
    score = np.abs(difference) / np.maximum(error, 1e-9)
    worst = int(np.argmax(score))
    says = (
        f"the surest difference is {difference[worst]:+.2g} kT in ln W of stratum {strata[worst]}, "
        f"{score[worst]:.2g} standard errors"
    )
    return bool(score[worst] < norm.isf(SURE / 2 / len(strata))), says
