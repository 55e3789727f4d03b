"""The first exploration, before there is a coordinate: how the first frames are made that a coordinate can be learned from."""

from __future__ import annotations

from typing import Any, ClassVar

from mdinsight import units
from mdinsight.errors import ParameterError
from mdinsight.records import Record
from mdinsight.units import Time


class Exploration(Record):
    """How the walkers of the first round run. ``time`` is that of each walker; ``"auto"`` is half a segment."""

    kind: ClassVar[str] = ""

    @property
    def span(self) -> float | None:
        """ps of each walker, None for ``"auto"``."""
        time: Any = getattr(self, "time", "auto")
        return None if time == "auto" else units.time(time, f"{type(self).__name__}(time)")


class Hot(Exploration):
    """Walkers at a high temperature, then cooled: the frames are only places to start from, never statistics.

    In vacuum at 1500 K alanine tetrapeptide visits all eight combinations of its three phi in about 100 ps, at 600 K one or two
    (``benchmarks/loop_exploration.md``). Frames whose peptide bonds have turned to cis, or whose stereocentres have inverted,
    are left out (:class:`mdinsight.adaptive.Isomers`).

    Parameters
    ----------
    temperature
        K; ``"auto"`` is five times that of the system.
    time
        Of each walker.
    """

    kind: ClassVar[str] = "hot"
    temperature: Any = "auto"
    time: Time = "auto"

    def __post_init__(self) -> None:
        if self.temperature != "auto":
            object.__setattr__(self, "temperature", units.temperature(self.temperature, "Hot(temperature)"))
        _check(self)
        super().__post_init__()

    def kelvin(self, system: float) -> float:
        """The temperature for a system at ``system`` K."""
        return 5.0 * system if self.temperature == "auto" else float(self.temperature)


class Pushed(Exploration):
    """Walkers at the system's temperature, each under an OPES bias on two torsions of its own, drawn by the plan's seed.

    Slower than :class:`Hot` for small molecules in vacuum, and kinder: nothing is torn out of shape, so it suits proteins and
    explicit solvent.

    Parameters
    ----------
    barrier
        kJ/mol.
    time
        Of each walker.
    """

    kind: ClassVar[str] = "pushed"
    barrier: Any = 60.0
    time: Time = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "barrier", units.energy(self.barrier, "Pushed(barrier)"))
        _check(self)
        super().__post_init__()


class Plain(Exploration):
    """Walkers without bias at the system's own temperature: where the structure may not be forced at all.

    Parameters
    ----------
    time
        Of each walker.
    """

    kind: ClassVar[str] = "plain"
    time: Time = "auto"

    def __post_init__(self) -> None:
        _check(self)
        super().__post_init__()


def _check(exploration: Any) -> None:
    if exploration.time != "auto":
        span = units.time(exploration.time, f"{type(exploration).__name__}(time)")
        if span <= 0:
            raise ParameterError(
                f"{type(exploration).__name__}: time={exploration.time!r} is not positive; give e.g. '50 ps'"
            )
        object.__setattr__(exploration, "time", span)
