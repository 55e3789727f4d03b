"""The frozen partition of a space of coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdinsight.compiled import compiled
from mdinsight.errors import ParameterError
from mdinsight.parallel import Workers, check_workers
from mdinsight.passes import Collected, until_whole
from mdinsight.records import Model
from mdinsight.series import Column, Rows, TimeSeries, as_rows

STATE = Column("state", kind="state")


class Clustering(Model):
    """A partition into the cells nearest to each centre (Euclidean); the number of a state is the row of its centre.

    ``centers`` is (n_states, n_columns) float64 in the units of the coordinates; ``inertia`` the sum over the fitted
    frames of the squared distance to the centre; ``kind`` and ``settings`` what made it; ``columns`` and
    ``coordinate`` what the columns are.
    """

    centers: np.ndarray
    inertia: float
    kind: str
    settings: dict[str, Any]
    columns: tuple[Column, ...] = ()
    coordinate: Model | None = None

    @property
    def n_states(self) -> int:
        """Number of states."""
        return len(self.centers)

    @until_whole
    def transform(self, X: Rows | np.ndarray | Sequence[np.ndarray], workers: Workers = None) -> TimeSeries:
        """The state of each frame: a ``TimeSeries`` of one int32 column named ``"state"``, its ``definition`` this
        clustering.

        The result does not depend on ``workers``, by default one a core for large data; a stream brings its own.

        Raises
        ------
        ParameterError
            If ``X`` has another number of columns than the data that were clustered, or other columns.
        """
        check_workers(workers)
        series = as_rows(X)
        self._check(series)
        states = Collected(series.lengths, 1, np.int32, work=Nearest(self.centers))
        if isinstance(series, TimeSeries):
            series.sweep([states], workers)
        else:
            series.sweep([states])
        return TimeSeries(list(states.arrays.values()), series.dt, (STATE,), series.origins, self)

    def _check(self, series: Rows) -> None:
        if series.n_columns != self.centers.shape[1]:
            raise ParameterError(
                f"the states were made in {self.centers.shape[1]} columns, these data have {series.n_columns}; "
                "transform the coordinates that were clustered"
            )
        if self.coordinate is not None and series.definition is not None and self.coordinate != series.definition:
            raise ParameterError(
                "the states were made on another coordinate than these data: the two models differ; "
                "transform with the coordinate that was clustered, or cluster again"
            )


@dataclass(frozen=True)
class Nearest:
    """Rows to the number of the nearest centre: the work of a pass that transforms."""

    centers: np.ndarray

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return nearest(np.ascontiguousarray(rows, np.float64), self.centers)[0][:, None]


@compiled
def nearest(rows: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the nearest centre (the lower of equals) and its squared distance, for each row by itself."""
    n, d = rows.shape
    states = np.empty(n, dtype=np.int32)
    squares = np.empty(n, dtype=np.float64)
    for t in range(n):
        best, least = 0, np.inf
        for k in range(centers.shape[0]):
            total = 0.0
            for c in range(d):
                difference = rows[t, c] - centers[k, c]
                total += difference * difference
                if total >= least:
                    break
            if total < least:
                best, least = k, total
        states[t], squares[t] = best, least
    return states, squares
