"""A bias that a run begins with, and one bias out of those that several walkers built up apart from each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from mdinsight import units
from mdinsight.bias import _checks
from mdinsight.bias._coordinate import Coordinate
from mdinsight.bias._model import BiasModel
from mdinsight.bias._states import arrays_of
from mdinsight.errors import BiasError, ParameterError
from mdinsight.words import counted


def merged(base: BiasModel, deposits: Sequence[Sequence[np.ndarray]], ends: Sequence[BiasModel]) -> BiasModel:
    """One bias out of what several walkers deposited, each on its own copy of the same bias.

    Deposits are applied in the order of time: the first of each walker in the order of the walkers, then the second of each,
    and so on. The result is the same in every process, holds each deposit once, and for one walker it is that walker's own
    bias bit for bit.

    A deposit is taken as it was made: the height of a hill, or the weight of a kernel, follows from the bias that its walker
    felt at that moment, which is what the walker's frame was sampled under. Walkers learn of each other only when they are
    merged, as they do at the exchanges of a shared bias (Raiteri 2006, 10.1021/jp054359r); merge them before any of them has
    deposited as much as would fill a basin.

    Where widths are measured (``sigma=None``), what the walkers have observed is pooled, that of ``base`` counted once. Begun
    without widths, each walker measures its own and its deposits keep them; from then on OPES uses what was pooled, and
    metadynamics, which measures once, the narrowest in each coordinate. Walkers that ended before they had measured any
    deposited nothing: their observations are pooled as well, so that a next round needs the fewer.

    Parameters
    ----------
    base
        The bias that all of them began with (``Sampler(start=base)``); :meth:`BiasModel.empty` for a first round.
    deposits
        For each walker what its ``sampler.deposits()`` gave.
    ends
        For each walker its bias in the end, ``sampler.model``.

    Returns
    -------
    BiasModel
        On the same coordinate, with the same potentials and temperature.

    Raises
    ------
    BiasError
        If a walker's bias is on another coordinate, of other potentials or another temperature, or does not consist of
        ``base`` and its deposits.
    ParameterError
        If there is no walker, or not one end for each.
    """
    if not len(deposits) or len(deposits) != len(ends):
        raise ParameterError(
            f"there are deposits of {counted(len(deposits), 'walker')} and {len(ends)} biases in the end; "
            "give both for each walker, in the same order"
        )
    for walker, end in enumerate(ends):
        _same(f"walker {walker}", end.coordinate, end.potentials, end.temperature, base)
    before, after = base.states(), [end.states() for end in ends]
    states = base.states()
    adaptive = [i for i, state in enumerate(states) if state.pace is not None]
    for walker, made in enumerate(deposits):
        if len(made) != len(adaptive):
            raise BiasError(
                f"walker {walker} has deposits on {counted(len(made), 'potential')}, the bias has {len(adaptive)} adaptive ones; "
                "give what its sampler.deposits() was"
            )
    for number, i in enumerate(adaptive):
        own = [made[number] for made in deposits]
        for walker, rows in enumerate(own):
            there = after[walker][i].n_deposits
            if before[i].n_deposits + len(rows) != there:
                raise BiasError(
                    f"the bias of walker {walker} holds {counted(there, 'deposit')}, that which it is said to have begun with "
                    f"{before[i].n_deposits}, and {len(rows)} are given; give its own deposits and the bias that it began with"
                )
        states[i].settle([rows[0] for rows in own if len(rows)])
        for deposit in _by_time(own):
            states[i].apply(deposit)
        states[i].pool(before[i], [found[i] for found in after])
    return base.replace(arrays=arrays_of(base.potentials, states))


def _by_time(walkers: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    for moment in zip_longest(*walkers):
        yield from (deposit for deposit in moment if deposit is not None)


def begin(start: BiasModel | None, coordinate: Any, potentials: Any, temperature: Any, topology: Any) -> BiasModel:
    """The bias that a run begins with: an empty one, or ``start`` if what is given besides is the same."""
    if start is None:
        return BiasModel.empty(coordinate, potentials, 300.0 if temperature is ... else temperature, topology)
    if not isinstance(start, BiasModel):
        raise ParameterError(
            f"start={type(start).__name__} is no BiasModel; give a run's .model, or what merged() returned"
        )
    found = start.coordinate if coordinate is None else Coordinate.of(coordinate, topology)
    given = start.potentials if potentials is None else _checks.potentials_of(potentials)
    _same("this run", found, given, start.temperature if temperature is ... else units.temperature(temperature), start)
    return start


def _same(who: str, coordinate: Coordinate, potentials: Any, temperature: float, start: BiasModel) -> None:
    pairs = [
        ("the coordinate", _named(coordinate), _named(start.coordinate)),
        ("the temperature", f"{temperature} K", f"{start.temperature} K"),
    ]
    if [p.hash for p in potentials] != [p.hash for p in start.potentials]:
        pairs.append(("the list of potentials", repr(tuple(potentials)), repr(tuple(start.potentials))))
    unlike = [f"{what} is {here}, there it is {there}" for what, here, there in pairs if here != there]
    if unlike:
        raise BiasError(
            f"{who} cannot go on with the bias: {'; '.join(unlike)}. Give the same, or leave them out; a bias on anything else "
            "begins anew"
        )


def _named(coordinate: Coordinate) -> str:
    return f"{', '.join(coordinate.names)} ({coordinate.hash[:12]})"
