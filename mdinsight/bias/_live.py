"""The live state of one potential: what every kind has in common."""
# The compiled functions bear no annotations: numba infers them.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mdinsight import units
from mdinsight.bias._definitions import Potential
from mdinsight.bias._grid import grid_energy
from mdinsight.bias._kernels import kernels_energy
from mdinsight.bias._restraints import static_energy
from mdinsight.errors import BiasError, NonFiniteError, ParameterError
from mdinsight.features import jit

STATIC, GRID, KERNELS = 0, 1, 2
FARTHEST = 2.0**38
"""Widths from zero that a coordinate may be: at 2^40 grid nodes floats still tell a thousand places between two of them."""
Arrays = dict[str, np.ndarray]


@jit
def _over_frames(code, s, header, data, out, slopes):
    for f in range(s.shape[0]):
        if code == STATIC:
            out[f] = static_energy(s[f], header, data, slopes[f])
        elif code == GRID:
            out[f] = grid_energy(s[f], header, data, slopes[f])
        else:
            out[f] = kernels_energy(s[f], header, data, slopes[f])


class State:
    """One potential while a run goes on.

    The compiled step reads ``header`` and ``data`` by address. A deposit changes them in place, or replaces both by new
    arrays and leaves the old ones as they are: together they go on describing the potential as it was. So whoever holds
    addresses reads them again after a deposit, and no step may run while a deposit does.

    Attributes
    ----------
    definition
        What the user asked for.
    temperature
        K.
    periods
        Of its own coordinates; None where there is none.
    axes
        Numbers of the coordinates that it acts on.
    names
        Their names, for messages.
    source
        Number of the potential, in the list that the user gave, that it comes from.
    frozen
        Whether it is part of a frozen bias.
    pace
        Steps between deposits; None if there are none.
    observe_every
        Steps between calls of :meth:`observe`; None if it needs none.
    outside
        Energy outside of :meth:`span`, kJ/mol.
    header, data
        float64 arrays that :func:`grid_energy`, :func:`kernels_energy` or :func:`static_energy`, by ``code``, reads.
    """

    code: ClassVar[int]
    outside: float = 0.0
    header: np.ndarray
    data: np.ndarray

    def __init__(
        self,
        definition: Potential,
        temperature: float,
        periods: Sequence[float | None],
        names: Sequence[str] | None = None,
    ) -> None:
        self.definition = definition
        self.temperature = temperature
        self.kT = units.GAS_CONSTANT * temperature
        self.periods = tuple(periods)
        self.dim = len(self.periods)
        if not 1 <= self.dim <= 4:
            raise ParameterError(
                f"{type(definition).__name__} acts on {self.dim} coordinates; give 1 to 4, or choose some with on="
            )
        self.names = tuple(names) if names is not None else tuple(f"coordinate {i}" for i in range(self.dim))
        self.axes = tuple(range(self.dim))
        self.source = 0
        self.frozen = False
        self.pace: int | None = None
        self.observe_every: int | None = None
        self._periods = np.array([period or 0.0 for period in self.periods])

    def energy(self, s: np.ndarray) -> float:
        """Energy at one point (dim,), kJ/mol."""
        return float(self._evaluate(np.asarray(s, np.float64)[None])[0][0])

    def energies(self, s: np.ndarray) -> np.ndarray:
        """Energy at points (n, dim): (n,), kJ/mol."""
        return self._evaluate(s)[0]

    def slopes(self, s: np.ndarray) -> np.ndarray:
        """Derivative of the energy at points (n, dim): (n, dim)."""
        return self._evaluate(s)[1]

    def _evaluate(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = np.ascontiguousarray(s, np.float64)
        if points.ndim != 2 or points.shape[1] != self.dim:
            raise ParameterError(f"points have the shape {points.shape}; give (n, {self.dim}) for this potential")
        out, slopes = np.empty(len(points)), np.zeros(points.shape)
        _over_frames(self.code, points, self.header, self.data, out, slopes)
        return out, slopes

    @property
    def n_deposits(self) -> int:
        """How many deposits it holds."""
        return 0

    def observe(self, s: np.ndarray, walker: int = 0) -> None:
        """See the coordinates (dim,) of a walker, to measure how far they fluctuate.

        Raises
        ------
        NonFiniteError
            If they are NaN or infinite; nothing is changed.
        """

    def relocate(self) -> None:
        """Be told that the walker goes on at another place than where it was observed last."""

    def settle(self, first: Sequence[np.ndarray]) -> None:
        """Take a common width from the first deposits of several walkers, if the widths are measured once and are not known."""

    def pool(self, base: State, ends: Sequence[State]) -> None:
        """Take up what walkers that began with ``base`` had observed in the end."""

    def deposit(self, s: np.ndarray, walker: int = 0) -> np.ndarray:
        """Deposit at s (dim,).

        Returns
        -------
        what :meth:`apply` of another walker's state takes; empty as long as the widths are not measured

        Raises
        ------
        NonFiniteError
            If s is NaN or infinite; nothing is changed.
        DegenerateError
            If a coordinate has not moved while its width was measured.
        """
        return self._deposited([(s, walker)])[0]

    def deposit_many(self, points: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Deposits of several walkers at one moment, in their order: each is made from the bias as it was before all of them."""
        return self._deposited([(s, walker) for walker, s in enumerate(points)])

    def prepare_many(self, points: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The first half of :meth:`deposit_many`, in which all is done that can fail; the potential is not changed by it.

        The second half is to :meth:`apply` each, in their order and with nothing else in between. So the deposits of a
        moment on several potentials are made all or none.

        Raises
        ------
        NonFiniteError, DegenerateError
            As :meth:`deposit`.
        BiasError
            If a coordinate is too far out for floats to resolve a width there.
        ParameterError
            If the grid of the hills would need too much memory.
        """
        return self._prepared([(s, walker) for walker, s in enumerate(points)])

    def _prepared(self, points: Sequence[tuple[np.ndarray, int]]) -> list[np.ndarray]:
        self._refuse_if_not_adaptive()
        made = [self._checked(self._make(s, walker)) for s, walker in points]
        self._reserve([each for each in made if each.size])
        return made

    def _deposited(self, points: Sequence[tuple[np.ndarray, int]]) -> list[np.ndarray]:
        made = self._prepared(points)
        for each in made:
            self.apply(each)
        return made

    def apply(self, deposit: np.ndarray) -> None:
        """Take in a deposit that was made here or by another walker; an empty one changes nothing.

        Raises
        ------
        NonFiniteError
            If it holds NaN or infinity; nothing is changed.
        BiasError
            If it is no deposit on such a potential; nothing is changed.
        ParameterError
            If the grid of the hills would need too much memory; nothing is changed.
        """
        self._refuse_if_not_adaptive()
        deposit = self._checked(deposit)
        if deposit.size:
            self._put(deposit)

    def _make(self, s: np.ndarray, walker: int) -> np.ndarray:
        """A deposit from the potential as it stands."""
        raise NotImplementedError

    def _checked(self, deposit: np.ndarray) -> np.ndarray:
        """A deposit, if it is one."""
        raise NotImplementedError

    def _reserve(self, deposits: Sequence[np.ndarray]) -> None:
        """Make room, so that putting them cannot fail; the potential stays the same."""
        raise NotImplementedError

    def _put(self, deposit: np.ndarray) -> None:
        """Take in a checked deposit; changes nothing if it fails."""
        raise NotImplementedError

    def _refuse_if_not_adaptive(self) -> None:
        if self.frozen or not self.definition.is_adaptive:
            raise BiasError(f"nothing can be deposited on {self._called}; deposit on Metadynamics or OPES")

    def offset(self) -> float:
        """c(t) in kJ/mol: a frame of this moment has the weight exp((V - c(t)) / kT)."""
        return 0.0

    def free_energy(self, s: np.ndarray) -> np.ndarray:
        """Free energy at points (n, dim) as the potential itself has it: (n,) kJ/mol, up to a constant.

        Raises
        ------
        BiasError
            If it is no adaptive potential.
        """
        raise BiasError(f"{self._called} holds no free energy; reweight the frames")

    def widths(self) -> np.ndarray:
        """Widths (dim,) of the narrowest thing that it is made of; 1 before anything was deposited, infinite for restraints."""
        return np.full(self.dim, np.inf)

    def span(self) -> tuple[np.ndarray, np.ndarray]:
        """The box, two arrays (dim,), outside of which the energy is ``outside``; infinite where there is no such box."""
        return np.full(self.dim, -np.inf), np.full(self.dim, np.inf)

    def arrays(self) -> Arrays:
        """All that was built up, as arrays: :func:`restore` makes of them a state that goes on in the same way, bit for bit."""
        return {}

    def load(self, arrays: Arrays) -> None:
        """Take up what :meth:`arrays` gave."""

    def freeze(self) -> None:
        """From now on nothing is deposited."""
        self.frozen, self.pace, self.observe_every = True, None, None

    @property
    def _called(self) -> str:
        return f"a {'frozen ' if self.frozen else ''}{type(self.definition).__name__}"

    def _point(self, s: np.ndarray) -> np.ndarray:
        point = np.ascontiguousarray(s, np.float64)
        if point.shape != (self.dim,):
            raise ParameterError(f"a point has the shape {point.shape}; give ({self.dim},) for this potential")
        for name, value in zip(self.names, point, strict=True):
            if not np.isfinite(value):
                raise NonFiniteError(
                    f"{name} is {value} at a deposit; nothing was deposited, look at the frame that it comes from"
                )
        return point

    def _deposit(self, deposit: np.ndarray, length: int) -> np.ndarray:
        """A deposit, if it has the right length and is finite."""
        deposit = np.ascontiguousarray(deposit, np.float64)
        if deposit.shape not in ((length,), (0,)):
            raise BiasError(
                f"a deposit of shape {deposit.shape} is none of {self._called} of {self.dim} coordinates; it has {length} numbers"
            )
        if not np.isfinite(deposit).all():
            raise NonFiniteError(
                "a deposit holds NaN or infinity; it was not applied, look at the walker that it comes from"
            )
        return deposit

    def _refuse_far(self, center: np.ndarray, width: np.ndarray) -> None:
        """Refuse a center at which floats do not resolve the width."""
        for name, value, one in zip(self.names, center, width, strict=True):
            if not abs(value) <= FARTHEST * one:
                raise BiasError(
                    f"{name} is {value:g} at a deposit of width {one:.3g}, too far out for its digits to tell places within a "
                    "width apart; keep it in with a wall, bias another coordinate, or give a larger sigma"
                )

    def _widths_of(self, given: Any) -> np.ndarray:
        """Widths given by the user, one for each coordinate."""
        if len(given) not in (1, self.dim):
            raise ParameterError(
                f"{type(self.definition).__name__} has {len(given)} widths for {self.dim} coordinates; give one, or one for each"
            )
        widths = np.array(np.broadcast_to(np.asarray(given, float), self.dim))
        for name, width, period in zip(self.names, widths, self.periods, strict=True):
            if period and width > period:
                raise ParameterError(
                    f"{type(self.definition).__name__}: a width of {width:g} is flat on {name}, whose period is {period:.4g}; "
                    "give a smaller one"
                )
        return widths


def observation_stride(pace: int) -> int:
    """Steps between observations: a look at the coordinates costs as much as some steps of a small molecule."""
    return max(1, pace // 20)
