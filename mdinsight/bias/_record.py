"""What a run records, while it goes on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mdinsight.bias._coordinate import Coordinate
from mdinsight.bias._live import State
from mdinsight.bias._metadynamics import MetadynamicsState
from mdinsight.bias._offsets import offsets
from mdinsight.bias._trace import Trace
from mdinsight.errors import BiasError, StatisticsWarning, warn_user


class Recorder:
    """Rows of a trace: those of a saved run that was taken up, and new ones."""

    def __init__(self, coordinate: Coordinate, temperature: float) -> None:
        self.coordinate = coordinate
        self.temperature = temperature
        self.last = 0
        """The step of the last row."""
        self._rows: list[tuple[float, ...]] = []
        self._trace = self._new()
        self._seen: tuple[int, int] = (0, 0)
        self._reweighted: Trace | None = None

    def take_up(self, trace: Trace, step: int) -> None:
        """Begin with the rows of a saved run."""
        self._rows, self._trace, self.last, self._reweighted = [], trace, step, None

    def add(self, walker: int, step: int, time: float, s: np.ndarray, states: Sequence[State]) -> None:
        """One row: where a walker is, and the energies of the bias there."""
        bias = fixed = offset = 0.0
        for state in states:
            energy = state.energy(s[list(state.axes)])
            if state.pace is None:
                fixed += energy
            else:
                bias += energy
                offset += state.offset()
        self._rows.append((walker, step, time, *s, bias, fixed, offset))

    def recorded(self) -> Trace:
        """The rows as they were recorded; ``offset`` is the c(t) that metadynamics had at that moment."""
        if self._rows:
            new = self._new()
            self._trace = Trace.concatenate([self._trace, new]) if len(self._trace) else new
            self._rows = []
        return self._trace

    def reweighted(self, states: Sequence[State]) -> Trace:
        """The rows with the c(t) of metadynamics that follows from all frames together; see :func:`offsets`."""
        trace = self.recorded()
        hills = sum(state.n_deposits for state in states if isinstance(state, MetadynamicsState))
        if not hills or not len(trace):
            return trace
        if self._reweighted is None or self._seen != (len(trace), hills):
            try:
                self._reweighted = trace.replace(offset=offsets(trace, states))
            except BiasError as error:  # hills that other processes made long before they were known here
                warn_user(f"{error}; c(t) is as it was recorded", StatisticsWarning)
                self._reweighted = trace
            self._seen = (len(trace), hills)
        return self._reweighted

    def _new(self) -> Trace:
        dim = self.coordinate.dim
        table = np.array(self._rows, np.float64).reshape(-1, 6 + dim)
        walker, step, time = table[:, 0].astype(np.int32), table[:, 1].astype(np.int64), table[:, 2]
        energies = (table[:, 3 + dim + i] for i in range(3))
        names, periods = self.coordinate.names, self.coordinate.periods
        return Trace(names, periods, self.temperature, walker, step, time, table[:, 3 : 3 + dim], *energies)
