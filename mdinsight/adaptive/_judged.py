"""Whether the table of states holds: what a user of the loop must know, each thing once, in the states' own numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mdinsight.adaptive._exchange import Exchange
from mdinsight.bias import FreeEnergyDifference
from mdinsight.msm import StratumWeights
from mdinsight.results import Estimate, Verdict
from mdinsight.words import counted, percent, some

AGAINST = "swarms against bias"
FEW_EVENTS = 5
FEW_FRAMES = 10.0
LOST = 0.01
"""Most of the population that the swarms may not reach."""
OPEN = 2.0
"""kT either way from which on an interval tells no weight: a factor of ten in the population."""
_LONGER = "go on with a larger budget"


def judge(
    each: Sequence[FreeEnergyDifference | None],
    free: Estimate,
    exchange: Exchange | None,
    words: Sequence[str],
    kT: float,
    touched: Sequence[int] = (),
) -> tuple[Verdict, ...]:
    """All verdicts; the comparison of bias and swarms comes first.

    Parameters
    ----------
    each
        (n,) what the free energy of each state rests on; None for the first.
    free
        (n,) kJ/mol from the bias.
    words
        (n,) what each state looks like.
    kT
        kJ/mol.
    touched
        States whose frames lie at their border alone, from 0: nothing that is said of them is ok.
    """
    states = _weights([None if i in touched else one for i, one in enumerate(each)], free, kT)
    if touched:
        names = some([i + 1 for i in touched], 10)
        where = f"states {names} at their borders" if len(touched) > 1 else f"state {names} at its border"
        says = f"the walkers touched {where} and never came to rest there: {'their' if len(touched) > 1 else 'its'} figures"
        states = (Verdict("visits", False, f"{says} mean nothing", _LONGER), *states)
    if len(free) == 1:
        says = "a single state is known, so there is no free energy and no time to tell"
        states = (Verdict("states", False, says, f"{_LONGER}, explore more, or take other features"),)
    if exchange is None:
        says = "there are no two-way swarms yet, so nothing checks the bias and no passage time is known"
        return (Verdict(AGAINST, False, says, _LONGER), *states)
    swarms = _swarms(exchange, touched) if len(free) > 1 else ()
    return (_against(free, exchange, words, touched), *states, *swarms)


def _weights(each: Sequence[FreeEnergyDifference | None], free: Estimate, kT: float) -> tuple[Verdict, ...]:
    """Each state whose weight does not hold; all that do in one."""
    found = {
        number + 1: (_state(number + 1, one, free[number], kT), one)
        for number, one in enumerate(each)
        if one is not None
    }
    never = [number for number, (_, one) in found.items() if not one.frames[1]]
    failing = tuple(v for number, (v, _) in found.items() if not v.holds and (number not in never or len(never) < 3))
    if len(never) > 2:
        says = f"no walker came to {len(never)} states since the bias settled ({some(never, 10)}); their figures are bounds"
        failing = (*failing, Verdict("weights of states", False, says, _LONGER))
    good = {number: one for number, (verdict, one) in found.items() if verdict.holds}
    if len(good) < 2:
        return (*failing, *(found[number][0] for number in good))
    events = min(min(one.events) for one in good.values())
    frames = counted(round(min(one.effective for one in good.values())), "independent frame")
    says = f"the walkers came to each and left it at least {_times(events)}; each is worth at least {frames}"
    return (*failing, Verdict(f"weights of states {some(list(good), 10)}", True, says))


def _state(number: int, one: FreeEnergyDifference, free: Estimate, kT: float) -> Verdict:
    """What the weight of a state rests on."""
    subject = f"weight of state {number}"
    if not one.frames[1]:
        says = "no walker came there since the bias settled; its free energy is a bound"
        return Verdict(subject, False, says, _LONGER)
    there, back = one.events
    seen = f"the walkers came {_times(there)} and left {_times(back)}"
    frames = f"{counted(round(one.effective), 'independent frame')}"
    is_open = not (np.isfinite(one.low) and np.isfinite(one.high))
    wide = not is_open and bool(max(free.high - free.value, free.value - free.low) > OPEN * kT)
    wrong = [
        text
        for text, bad in (
            (f"{seen}, which is too few to tell how often", min(there, back) < FEW_EVENTS),
            (f"it rests on no more than {frames}", one.effective < FEW_FRAMES),
            ("an end of its interval is open", is_open),
            (f"its free energy, {free}, is open by more than a factor of ten in population", wide),
        )
        if bad
    ]
    return Verdict(subject, not wrong, "; ".join(wrong) or f"{seen}; worth {frames}", _LONGER)


def _times(n: int) -> str:
    return ("never", "once", "twice")[n] if n < 3 else f"{n} times"


def _against(free: Estimate, exchange: Exchange, words: Sequence[str], touched: Sequence[int]) -> Verdict:
    """Free energies of the states, and the weights of the swarms' cells, from both sides."""
    own, kinetics, other = exchange.kinetics.own, exchange.kinetics, exchange.free_energies
    if own is None:
        says = "no two cells of the swarms are joined, so the swarms say nothing of the weights"
        return Verdict(AGAINST, False, says, f"{_LONGER}, or take longer swarms")
    apart = [i for i in range(len(free)) if np.isfinite(other.value[i]) and not bool(free[i].overlaps(other[i]))]
    remedy = f"trust neither until they agree: {_LONGER}"
    if apart:
        listed = "; ".join(
            f"state {i + 1} lies at {free[i]} by the bias, at {other[i]} by the swarms" for i in apart[:4]
        )
        return Verdict(AGAINST, False, f"they DISAGREE: {listed}", remedy)
    agreement = own.agreement(kinetics.weights, kinetics.samples)
    if not agreement.holds:
        return Verdict(AGAINST, False, f"they DISAGREE: {_worst(own, exchange, words)}", remedy)
    if cut := _cut_off(exchange):
        says = f"the swarms do not join {_listed(cut)} to state 1, so nothing checks the free energy of the bias there"
        return Verdict(AGAINST, False, says, _LONGER)
    if touched:
        says = f"the walkers only touched {_listed(touched)}, so there is nothing to compare"
        return Verdict(AGAINST, False, says, _LONGER)
    largest = float(np.max(np.abs(free.value - other.value), initial=0.0, where=np.isfinite(free.value)))
    says = f"they agree: free energies differ by {largest:.2g} kJ/mol at most, within the intervals"
    return Verdict(AGAINST, True, says)


def _cut_off(exchange: Exchange) -> list[int]:
    """States that the swarms do not join to the first one, from 0."""
    return [i for i in range(1, len(exchange.number)) if not np.isfinite(exchange.free_energies.value[i])]


def _listed(states: Sequence[int]) -> str:
    return f"{'states' if len(states) > 1 else 'state'} {some([i + 1 for i in states])}"


def _worst(own: StratumWeights, exchange: Exchange, words: Sequence[str]) -> str:
    """The cell on whose weight bias and swarms differ most surely, in words."""
    compared = own.compare(exchange.kinetics.weights, exchange.kinetics.samples)
    half = np.maximum(0.5 * (compared.high - compared.low), 1e-9)
    row = int(np.argmax(np.abs(compared.value) / half))
    theirs = int(exchange.kinetics.state[own.strata[row]])
    where = np.flatnonzero(exchange.number == theirs)
    name = f"in state {int(where[0]) + 1} ({words[int(where[0])]})" if len(where) else "outside the states of the table"
    factor = float(f"{np.exp(min(abs(compared.value[row]), 20.0)):.2g}")
    return (
        f"the states' free energies agree within their intervals, but a region {name} weighs {factor:,.12g} times "
        f"{'more' if compared.value[row] > 0 else 'less'} by the bias than by the swarms"
    )


def _swarms(exchange: Exchange, touched: Sequence[int]) -> tuple[Verdict, ...]:
    """Whether the swarms cover and join the states, and whether the times follow from them."""
    own, kinetics = exchange.kinetics.own, exchange.kinetics
    found = []
    outside = kinetics.model.uncovered
    says = f"they start where {100 * (1 - outside):.4g} % of the population is"
    found.append(Verdict("reach of the swarms", outside <= LOST, says, _LONGER))
    if own is not None:
        lost = np.setdiff1d(np.flatnonzero(own.counts), own.strata)
        weight = float(kinetics.weights[lost].sum())
        says = "all cells are joined both ways"
        if len(lost):
            cells = f"{len(lost)} of {int((own.counts > 0).sum())} cells"
            says = f"{cells}, {percent(weight)} of the population, are not joined to the others"
        if cut := _cut_off(exchange):
            says += f"; {_listed(cut)} {'are' if len(cut) > 1 else 'is'} not joined to state 1"
        holds = weight <= LOST and not cut
        found.append(Verdict("connection of the swarms", holds, says, f"{_LONGER}, or take longer swarms"))
        lags = next((v for v in own.verdicts() if v.subject == "lags"), None)
        if lags is not None:
            says = f"shorter and longer stretches of the paths {'agree' if lags.holds else 'disagree'} on the weights"
            remedy = f"too few frames fill the cells, or the cells are too coarse: {_LONGER}"
            found.append(Verdict("starts of the swarms", lags.holds, says, remedy))
    return (*found, _passage(exchange, touched))


def _passage(exchange: Exchange, touched: Sequence[int]) -> Verdict:
    """Whether the passage times are known, and rest on enough."""
    n = len(exchange.number)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    unknown = [f"{i + 1} to {j + 1}" for i, j in pairs if not np.isfinite(exchange.passage_times.value[i, j])]
    wrong = [
        f"{i + 1} to {j + 1}: {verdict.says}"
        for i, j in pairs
        if (one := exchange.passages[i][j]) is not None and np.isfinite(one.mfpt.value)
        for verdict in one.verdicts()
        if not verdict.holds
    ]
    if touched:
        wrong.insert(0, f"the walkers only touched {_listed(touched)}")
    if cut := _cut_off(exchange):
        wrong.insert(0, f"the swarms do not join {_listed(cut)} to state 1")
    if unknown:
        wrong.insert(0, f"no path shows the way from {some(unknown, 6)}")
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return Verdict("passage times", False, "; ".join(wrong[:3]) + more, f"{_LONGER}, or take longer swarms")
    fewest = min((p.effective for row in exchange.passages for p in row if p is not None), default=0.0)
    return Verdict(
        "passage times", True, f"each is shown by at least {fewest:.3g} paths, and does not change with their length"
    )
