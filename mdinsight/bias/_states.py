"""From definitions to live states, and back from the arrays of a saved one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mdinsight import units
from mdinsight.bias._definitions import OPES, Fixed, LowerWall, Metadynamics, Potential, Umbrella, UpperWall, _Harmonic
from mdinsight.bias._live import STATIC, Arrays, State
from mdinsight.bias._metadynamics import MetadynamicsState
from mdinsight.bias._opes import OPESState
from mdinsight.bias._restraints import LOWER, UMBRELLA, UPPER, static_arrays
from mdinsight.errors import BiasError, ParameterError

_SIDES: dict[type[Potential], int] = {Umbrella: UMBRELLA, LowerWall: LOWER, UpperWall: UPPER}


class RestraintState(State):
    """An umbrella or a wall."""

    code: ClassVar[int] = STATIC
    definition: _Harmonic

    def __init__(
        self,
        definition: _Harmonic,
        temperature: float,
        periods: Sequence[float | None],
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(definition, temperature, periods, names)
        called = type(definition).__name__
        values = []
        for name, given in (("at", definition.at), ("kappa", definition.kappa)):
            if len(given) not in (1, self.dim):  # type: ignore[arg-type]
                raise ParameterError(
                    f"{called}: {name} has {len(given)} numbers for {self.dim} coordinates; give one, or one for each"  # type: ignore[arg-type]
                )
            values.append(np.array(np.broadcast_to(np.asarray(given, float), self.dim)))
        for name, period in zip(self.names, self.periods, strict=True):
            if period and not isinstance(definition, Umbrella):
                raise ParameterError(
                    f"{called} on {name}: it is periodic, so nothing lies beyond a wall; use an Umbrella there"
                )
        at, kappa = values
        self.header, self.data = static_arrays(_SIDES[type(definition)], at, kappa, self._periods)


def start(
    definition: Potential,
    temperature: float,
    periods: Sequence[float | None],
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> State:
    """The state of a potential before the first step.

    Parameters
    ----------
    definition
        Any potential but :class:`Fixed`, which may stand for several: see :func:`start_all`.
    temperature
        K.
    periods
        Of the coordinates that it acts on; None where there is none.
    seed
        Not used: no potential draws random numbers.
    names
        Of the coordinates, for messages.

    Raises
    ------
    ParameterError
        If the potential cannot act on such coordinates, or its barrier is not above kT.
    """
    kelvin = units.temperature(temperature)
    if isinstance(definition, Metadynamics):
        return MetadynamicsState(definition, kelvin, periods, names)
    if isinstance(definition, OPES):
        return OPESState(definition, kelvin, periods, names)
    if isinstance(definition, _Harmonic):
        return RestraintState(definition, kelvin, periods, names)
    raise ParameterError(
        f"{definition!r} is no single potential; give Metadynamics, OPES, Umbrella, LowerWall or UpperWall"
    )


def restore(
    definition: Potential,
    temperature: float,
    periods: Sequence[float | None],
    arrays: Arrays,
    names: Sequence[str] | None = None,
) -> State:
    """The state whose :meth:`State.arrays` these are; it goes on as that one would have, bit for bit.

    Raises
    ------
    BiasError
        If the arrays are not of such a potential.
    """
    state = start(definition, temperature, periods, names=names)
    try:
        state.load(arrays)
    except (KeyError, ValueError, IndexError) as error:
        raise BiasError(
            f"the saved state is not of {definition!r} on {len(periods)} coordinates ({error}); "
            "give the potential that it was made with"
        ) from error
    return state


def start_all(
    potentials: Sequence[Potential],
    temperature: float,
    periods: Sequence[float | None],
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> list[State]:
    """States of all potentials of a run, each with its ``axes``; a :class:`Fixed` becomes those of its model, frozen.

    Parameters
    ----------
    periods, names
        Of all coordinates.
    """
    return _all(potentials, temperature, periods, [None] * len(potentials), names)


def restore_all(
    potentials: Sequence[Potential],
    temperature: float,
    periods: Sequence[float | None],
    arrays: Sequence[Arrays],
    names: Sequence[str] | None = None,
) -> list[State]:
    """The same from what :func:`arrays_of` gave."""
    if len(arrays) != len(potentials):
        raise BiasError(
            f"there are {len(arrays)} saved states for {len(potentials)} potentials; give the potentials that they were made with"
        )
    return _all(potentials, temperature, periods, arrays, names)


def arrays_of(potentials: Sequence[Potential], states: Sequence[State]) -> tuple[Arrays, ...]:
    """What was built up, one dict for each potential, as a :class:`BiasModel` holds it; empty for a :class:`Fixed`."""
    own = {state.source: state for state in states if not state.frozen}
    return tuple(own[i].arrays() if i in own else {} for i in range(len(potentials)))


def _all(
    potentials: Sequence[Potential],
    temperature: float,
    periods: Sequence[float | None],
    arrays: Sequence[Any],
    names: Sequence[str] | None,
) -> list[State]:
    names = tuple(names) if names is not None else tuple(f"coordinate {i}" for i in range(len(periods)))
    states: list[State] = []
    for number, (potential, saved) in enumerate(zip(potentials, arrays, strict=True)):
        if isinstance(potential, Fixed):
            model = potential.model
            made = restore_all(model.potentials, model.temperature, periods, model.arrays, names)
            for state in made:
                state.freeze()
        elif isinstance(potential, Potential):
            axes = _axes(potential, names)
            own, called = [periods[i] for i in axes], [names[i] for i in axes]
            if saved is None:
                made = [start(potential, temperature, own, names=called)]
            else:
                made = [restore(potential, temperature, own, saved, names=called)]
            made[0].axes = axes
        else:
            raise ParameterError(
                f"{potential!r} is no potential; give OPES, Metadynamics, Umbrella, LowerWall, UpperWall or Fixed"
            )
        for state in made:
            state.source = number
        states += made
    return states


def _axes(potential: Potential, names: Sequence[str]) -> tuple[int, ...]:
    if potential.on is None:
        return tuple(range(len(names)))
    axes = potential.on if isinstance(potential.on, tuple) else (potential.on,)
    if max(axes) >= len(names):
        raise ParameterError(
            f"{type(potential).__name__}: on={potential.on} but the coordinates are 0 to {len(names) - 1} ({', '.join(names)})"
        )
    return axes
