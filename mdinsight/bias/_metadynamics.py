"""Metadynamics while a run goes on."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mdinsight.bias._definitions import Metadynamics
from mdinsight.bias._grid import EXPLORED, SPACINGS_PER_SIGMA, Grid
from mdinsight.bias._live import GRID, Arrays, State, observation_stride
from mdinsight.bias._widths import Widths
from mdinsight.errors import BiasError, NonFiniteError

_WINDOW = 10  # paces over which the widths are measured
_FRACTION = 0.5  # of the standard deviation that a hill is wide
_COARSEST = 2.0  # widths of a hill in spacings, at the least


class MetadynamicsState(State):
    """Hills, and the grid that they are summed on.

    ``c(t)`` (Tiwary and Parrinello 2015, 10.1021/jp504920s) is kept up with every hill. Its integrals run over what has been
    explored, the nodes where V exceeds exp(-2) of the first hill: where no walker has come near there is no such distribution
    as the formula assumes, and the result would depend on how far the grid happens to reach.
    """

    code: ClassVar[int] = GRID
    definition: Metadynamics

    def __init__(
        self,
        definition: Metadynamics,
        temperature: float,
        periods: Sequence[float | None],
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(definition, temperature, periods, names)
        self.pace = definition.pace
        gamma = definition.biasfactor
        self._tempering = 0.0 if gamma is None or math.isinf(gamma) else 1.0 / (gamma - 1.0)
        self._sigma: np.ndarray | None = None
        self._hills = np.zeros((64, 2 * self.dim + 1))
        self._count = 0
        stride = observation_stride(definition.pace)
        self._widths = Widths(self._periods, _WINDOW * definition.pace // stride)
        if definition.sigma is None:
            self.observe_every = stride
            self._grid = self._new_grid(np.ones(self.dim))
        else:
            self._set_sigma(self._widths_of(definition.sigma))

    @property
    def header(self) -> np.ndarray:  # type: ignore[override]
        """See :class:`State`."""
        return self._grid.header

    @property
    def data(self) -> np.ndarray:  # type: ignore[override]
        """See :class:`State`."""
        return self._grid.data

    @property
    def n_deposits(self) -> int:
        """How many hills there are."""
        return self._count

    @property
    def hills(self) -> np.ndarray:
        """(n_hills, 2 dim + 1): center, widths, height in kJ/mol (tempered, as it was added to V)."""
        return self._hills[: self._count].copy()

    def observe(self, s: np.ndarray, walker: int = 0) -> None:
        """See :meth:`State.observe`."""
        if self._sigma is None and not self._widths.observe(np.ascontiguousarray(s, np.float64), walker):
            raise NonFiniteError(f"the coordinates are {np.asarray(s)}; look at the frame that they come from")

    def relocate(self) -> None:
        """See :meth:`State.relocate`."""
        self._widths.relocate()

    def settle(self, first: Sequence[np.ndarray]) -> None:
        """See :meth:`State.settle`: the narrowest, since wide hills hide a narrow basin and narrow ones only fill slowly."""
        if self._sigma is None and len(first):
            self._set_sigma(np.min([self._checked(deposit)[self.dim : -1] for deposit in first], axis=0))

    def pool(self, base: State, ends: Sequence[State]) -> None:
        """See :meth:`State.pool`."""
        rows = [np.array(state._widths.rows) for state in (base, *ends)]  # type: ignore[attr-defined]
        self._widths.pool(rows[0], rows[1:])

    def _checked(self, deposit: np.ndarray) -> np.ndarray:
        deposit = self._deposit(deposit, 2 * self.dim + 1)
        if not deposit.size:
            return deposit
        sigma, height = deposit[self.dim : -1], float(deposit[-1])
        if sigma.min() <= 0 or height < 0 or (sigma > np.where(self._periods > 0, self._periods, np.inf)).any():
            raise BiasError(
                f"a hill of height {height:g} and widths {sigma} on periods {self.periods} is none; "
                "look at the walker that it comes from"
            )
        return deposit

    def _room(self, deposits: Sequence[np.ndarray]) -> tuple[np.ndarray | None, Grid]:
        """The width and a grid for these hills, and all others on it; nothing is changed."""
        width, grid = self._sigma, copy.copy(self._grid)
        for deposit in deposits:
            center, sigma = deposit[: self.dim], deposit[self.dim : -1]
            if width is None:
                width = sigma.copy()
                grid = self._new_grid(width)
            if (sigma < grid.spacing * _COARSEST).any():
                grid = self._refined(grid, sigma)
            self._refuse_far(center, SPACINGS_PER_SIGMA * grid.spacing)
            grid.cover(center, sigma)
        return width, grid

    def _reserve(self, deposits: Sequence[np.ndarray]) -> None:
        width, grid = self._room(deposits)
        while self._count + len(deposits) > len(self._hills):
            self._hills = np.concatenate([self._hills, np.zeros_like(self._hills)])
        if width is self._sigma:  # else the first hill is still to come, and the grid with it
            self._grid = grid

    def _put(self, deposit: np.ndarray) -> None:
        width, grid = self._room([deposit])
        if self._count == len(self._hills):
            self._hills = np.concatenate([self._hills, np.zeros_like(self._hills)])
        grid.add(deposit[: self.dim], deposit[self.dim : -1], float(deposit[-1]))
        self._hills[self._count] = deposit
        self._sigma, self._grid, self.observe_every = width, grid, None
        self._count += 1

    def _make(self, s: np.ndarray, walker: int) -> np.ndarray:
        point = self._point(s)
        sigma = self._sigma
        if sigma is None:
            if not self._widths.ready(walker):
                return np.zeros(0)
            sigma = _FRACTION * np.sqrt(self._widths.variance(walker, self.names))
        height = float(self.definition.height) * math.exp(-self.energy(point) * self._tempering / self.kT)
        return np.concatenate([point, sigma, [height]])

    def offset(self) -> float:
        """See :meth:`State.offset`."""
        upper, lower, reference, _ = self._grid.sums
        if self.frozen or not self._count or lower <= 0 or upper <= 0:
            return 0.0
        return float(reference + self.kT * (math.log(upper) - math.log(lower)))

    def free_energy(self, s: np.ndarray) -> np.ndarray:
        """See :meth:`State.free_energy`; -V biasfactor / (biasfactor - 1)."""
        return -(1.0 + self._tempering) * self.energies(s)

    def widths(self) -> np.ndarray:
        """See :meth:`State.widths`."""
        return self.hills[:, self.dim : -1].min(0) if self._count else np.ones(self.dim)

    def span(self) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`State.span`."""
        if not self.data.size:
            return np.zeros(self.dim), np.zeros(self.dim)
        return self._grid.span()

    def arrays(self) -> Arrays:
        """See :meth:`State.arrays`."""
        return {
            "hills": self.hills,
            "sigma": np.zeros(0) if self._sigma is None else self._sigma.copy(),
            "header": self._grid.header.copy(),
            "grid": self._grid.data.copy(),
            "sums": self._grid.sums.copy(),
            "widths": self._widths.rows.copy(),
        }

    def load(self, arrays: Arrays) -> None:
        """See :meth:`State.load`."""
        if len(arrays["sigma"]):
            self._set_sigma(np.array(arrays["sigma"], np.float64))
        self._grid.load(arrays["header"], arrays["grid"], arrays["sums"])
        self._widths.rows = np.array(arrays["widths"], np.float64)
        self._count = len(arrays["hills"])
        self._hills = np.zeros((max(64, 2 * self._count), 2 * self.dim + 1))
        self._hills[: self._count] = arrays["hills"]

    def _set_sigma(self, sigma: np.ndarray) -> None:
        self._sigma, self.observe_every = sigma.copy(), None
        self._grid = self._new_grid(sigma)

    def _new_grid(self, sigma: np.ndarray) -> Grid:
        beta = 1.0 / self.kT
        rates = (beta * (1.0 + self._tempering), beta * self._tempering)
        return Grid(self._periods, sigma / SPACINGS_PER_SIGMA, rates, EXPLORED * float(self.definition.height))

    def _refined(self, coarse: Grid, sigma: np.ndarray) -> Grid:
        """A grid for narrower hills than it was made for, which another walker has measured; the hills are put on it anew."""
        grid = self._new_grid(np.minimum(sigma, SPACINGS_PER_SIGMA * coarse.spacing))
        for hill in self.hills:
            self._refuse_far(hill[: self.dim], SPACINGS_PER_SIGMA * grid.spacing)
            grid.cover(hill[: self.dim], hill[self.dim : -1])
            grid.add(hill[: self.dim], hill[self.dim : -1], float(hill[-1]))
        return grid
