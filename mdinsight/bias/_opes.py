"""OPES while a run goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mdinsight.bias import _kernels as k
from mdinsight.bias._definitions import OPES
from mdinsight.bias._live import KERNELS, Arrays, State, observation_stride
from mdinsight.bias._widths import Widths
from mdinsight.errors import BiasError, NonFiniteError, ParameterError

_WINDOW = 10  # paces over which the widths are measured
_CAPACITY = 64
_HIGHEST = 300  # barrier in kT: weights and their squares still are floats


class OPESState(State):
    """Kernels, and the sums that weigh them.

    With P the sum of the kernels over the sum of the weights (``explore``: over the number of updates) and Z its mean over
    the centers of the kernels, P/Z is ``n_kernels / overlap`` times the sum of the kernels, where the overlap is that sum,
    summed over the centers.

    A kernel's integral is the weight of its sample, whatever its width: heights are those of Gaussians of that integral,
    over that of one as wide as the given width, or as the first that was measured. So a factor common to all is left out,
    which Z cancels.
    """

    code: ClassVar[int] = KERNELS
    definition: OPES

    def __init__(
        self,
        definition: OPES,
        temperature: float,
        periods: Sequence[float | None],
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(definition, temperature, periods, names)
        self.pace = definition.pace
        height = float(definition.barrier) / self.kT  # of the barrier in kT
        gamma = height if definition.biasfactor is None else definition.biasfactor
        if gamma <= 1.0:
            raise ParameterError(
                f"barrier={definition.barrier:g} kJ/mol is no more than kT={self.kT:.3g} kJ/mol; "
                "give the highest barrier to be crossed, e.g. 40"
            )
        self.gamma = gamma
        explore = definition.explore
        prefactor = gamma - 1.0 if explore else 1.0 - 1.0 / gamma
        half = height if explore else height / prefactor
        epsilon = math.exp(-height / prefactor)
        if height > _HIGHEST:
            raise ParameterError(
                f"barrier={definition.barrier:g} kJ/mol is {height:.0f} kT, too high to be crossed; give at most {_HIGHEST} kT"
            )
        self.header = np.zeros(k.HEADER)
        self.header[: k.PERIODS] = (self.dim, 0, _CAPACITY, prefactor * self.kT, 1.0, half, math.exp(-half), epsilon)
        free = self._periods == 0
        self.header[k.PERIODS : k.PERIODS + self.dim] = self._periods
        self.header[k.INVERSES : k.INVERSES + self.dim] = np.where(free, 0.0, 1.0 / np.where(free, 1.0, self._periods))
        self.data = np.zeros(k.rows_of(self.dim) * _CAPACITY)
        first = math.exp(-height)  # the weight under the bias before any kernel
        self._sums = np.array([1.0, first, first * first, 0.0])
        self.outside = float(self.header[k.PREFACTOR] * math.log(epsilon))
        least = () if definition.sigma_min is None else definition.sigma_min
        self._least = self._widths_of(least) if least else np.zeros(self.dim)
        self._given: np.ndarray | None = None
        self._reference: np.ndarray | None = None
        stride = observation_stride(definition.pace)
        self._widths = Widths(self._periods, _WINDOW * definition.pace // stride)
        if definition.sigma is None:
            self.observe_every = stride
        else:
            self._given = self._widths_of(definition.sigma) * (math.sqrt(gamma) if explore else 1.0)
            self._reference = self._given

    @property
    def n_deposits(self) -> int:
        """How many kernels were deposited, merged ones included."""
        return int(self._sums[k.COUNTER]) - 1

    @property
    def n_kernels(self) -> int:
        """How many kernels there are after merging."""
        return int(self.header[k.COUNT])

    @property
    def kernels(self) -> np.ndarray:
        """(n_kernels, 1 + 2 dim): height, center, widths."""
        return k.filled(self.header, self.data)

    @property
    def n_effective(self) -> float:
        """Effective number of the deposited samples."""
        return float((1.0 + self._sums[k.WEIGHTS]) ** 2 / (1.0 + self._sums[k.WEIGHTS2]))

    @property
    def normalization(self) -> float:
        """Z: mean over the kernels' centers of the estimated probability; it levels off when nothing new is found."""
        total = self._sums[k.COUNTER] if self.definition.explore else self._sums[k.WEIGHTS]
        return float(self._sums[k.OVERLAP] / (total * self.n_kernels)) if self.n_kernels else 1.0

    def observe(self, s: np.ndarray, walker: int = 0) -> None:
        """See :meth:`State.observe`."""
        if self._given is not None or self.frozen:
            return
        if not self._widths.observe(np.ascontiguousarray(s, np.float64), walker):
            raise NonFiniteError(f"the coordinates are {np.asarray(s)}; look at the frame that they come from")

    def relocate(self) -> None:
        """See :meth:`State.relocate`."""
        self._widths.relocate()

    def pool(self, base: State, ends: Sequence[State]) -> None:
        """See :meth:`State.pool`."""
        self._widths.pool(self._spread(base), [self._spread(end) for end in ends])

    def _spread(self, other: Any) -> np.ndarray:
        """What another one has observed, as under the bias if there is one here and was none there; see ``_put``."""
        rows = np.array(other._widths.rows)
        if self.n_deposits and not other.n_deposits:
            rows[:, 1 + self.dim :] *= self.gamma
        return rows

    def _checked(self, deposit: np.ndarray) -> np.ndarray:
        deposit = self._deposit(deposit, 2 * self.dim + 1)
        if not deposit.size:
            return deposit
        center, sigma, log_weight = deposit[: self.dim], deposit[self.dim : -1], float(deposit[-1])
        if sigma.min() <= 0 or abs(log_weight) > 2 * _HIGHEST:
            raise BiasError(
                f"a kernel of log weight {log_weight:g} and widths {sigma} is none; look at the walker that it comes from"
            )
        self._refuse_far(center, sigma)
        return deposit

    def _reserve(self, deposits: Sequence[np.ndarray]) -> None:
        capacity = int(self.header[k.CAPACITY])
        while self.n_kernels + len(deposits) >= capacity:  # there is always a free place behind the last one
            capacity *= 2
        if capacity == self.header[k.CAPACITY]:
            return
        header = self.header.copy()
        header[k.CAPACITY] = capacity
        self.header, self.data = header, k.laid_out(self.kernels, self.dim, capacity)

    def _put(self, deposit: np.ndarray) -> None:
        self._reserve([deposit])
        center, sigma, log_weight = deposit[: self.dim], deposit[self.dim : -1], float(deposit[-1])
        if self._reference is None:
            self._reference = sigma.copy()
        if self.n_deposits == 0 and self._given is None:
            # measured without bias so far, from now on under it, where the coordinates spread over gamma times the variance
            self._widths.scale(self.gamma)
        explore = self.definition.explore
        k.update(self.header, self.data, self._sums, center, sigma, self._reference, self._least, log_weight, explore)

    def _make(self, s: np.ndarray, walker: int) -> np.ndarray:
        point = self._point(s)
        if self._given is None and not self._widths.ready(walker):
            return np.zeros(0)
        return np.concatenate([point, self._width(walker), [self.energy(point) / self.kT]])

    def _width(self, walker: int) -> np.ndarray:
        """Width of a kernel before it is shrunk."""
        if self._given is not None:
            return self._given
        variance = self._widths.variance(walker, self.names)
        biased, wanted = self.n_deposits > 0, self.definition.explore
        if biased and not wanted:
            variance = variance / self.gamma
        elif wanted and not biased:
            variance = variance * self.gamma
        return np.sqrt(variance)

    def free_energy(self, s: np.ndarray) -> np.ndarray:
        """See :meth:`State.free_energy`."""
        return self.energies(s) * (-1.0 if math.isinf(self.gamma) else -self.gamma / (self.gamma - 1.0))

    def widths(self) -> np.ndarray:
        """See :meth:`State.widths`."""
        return self.kernels[:, 1 + self.dim :].min(0) if self.n_kernels else np.ones(self.dim)

    def span(self) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`State.span`."""
        kernels = self.kernels
        if not len(kernels):
            return np.zeros(self.dim), np.zeros(self.dim)
        center, reach = (
            kernels[:, 1 : 1 + self.dim],
            kernels[:, 1 + self.dim :] * math.sqrt(2 * self.header[k.HALF_CUTOFF]),
        )
        low, high = (center - reach).min(0), (center + reach).max(0)
        wraps = self._periods > 0
        return np.where(wraps, -self._periods / 2, low), np.where(wraps, self._periods / 2, high)

    def arrays(self) -> Arrays:
        """See :meth:`State.arrays`."""
        return {
            "kernels": self.kernels,
            "sums": self._sums.copy(),
            "scale": self.header[k.SCALE : k.SCALE + 1].copy(),
            "reference": np.zeros(0) if self._reference is None else self._reference.copy(),
            "widths": self._widths.rows.copy(),
        }

    def load(self, arrays: Arrays) -> None:
        """See :meth:`State.load`."""
        kernels = np.asarray(arrays["kernels"], np.float64)
        capacity = _CAPACITY
        while capacity <= len(kernels) + 1:
            capacity *= 2
        header = self.header.copy()
        header[k.COUNT], header[k.CAPACITY], header[k.SCALE] = len(kernels), capacity, arrays["scale"][0]
        self.header, self.data = header, k.laid_out(kernels, self.dim, capacity)
        self._sums[:] = arrays["sums"]
        if len(arrays["reference"]):
            self._reference = np.array(np.broadcast_to(np.asarray(arrays["reference"], np.float64), self.dim))
        self._widths.rows = np.array(arrays["widths"], np.float64)
