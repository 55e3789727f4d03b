"""A frozen bias: what a run had built up, to be evaluated on any frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mdinsight import units
from mdinsight.bias import _checks
from mdinsight.bias._coordinate import Coordinate
from mdinsight.bias._definitions import Potential
from mdinsight.bias._live import State
from mdinsight.bias._states import arrays_of, restore_all, start_all
from mdinsight.errors import BiasError, ParameterError
from mdinsight.records import Model
from mdinsight.series import TimeSeries, as_series


class BiasModel(Model):
    """The potentials of a run at one moment, frozen, on the coordinate whose hash they carry.

    Attributes
    ----------
    coordinate
        The coordinate that they act on.
    potentials
        Their definitions.
    temperature
        K.
    arrays
        The state of each potential: its kernels, hills, grid.
    """

    coordinate: Coordinate
    potentials: tuple[Potential, ...]
    temperature: float
    arrays: tuple[dict[str, Any], ...]

    @classmethod
    def empty(
        cls,
        coordinate: Any,
        potentials: Potential | Sequence[Potential],
        temperature: Any = 300.0,
        topology: Any = None,
    ) -> BiasModel:
        """The bias before the first deposit: what a run begins with.

        Parameters
        ----------
        coordinate, potentials, temperature
            As for :class:`Sampler`.
        topology
            Needed where the coordinate is features alone; see :meth:`Coordinate.of`.

        Raises
        ------
        ParameterError, GradientError, BiasError
            As by :class:`Sampler`, of which nothing else is needed.
        """
        found, given = Coordinate.of(coordinate, topology), _checks.potentials_of(potentials)
        _checks.same_coordinate(given, found)
        kelvin = units.temperature(temperature)
        states = start_all(given, kelvin, found.periods, names=found.names)
        return cls(found, given, kelvin, arrays_of(given, states))

    @property
    def kT(self) -> float:
        """kJ/mol."""
        return units.GAS_CONSTANT * self.temperature

    def states(self) -> list[State]:
        """The potentials as they were, ready to be evaluated."""
        coordinate = self.coordinate
        return restore_all(self.potentials, self.temperature, coordinate.periods, self.arrays, coordinate.names)

    def potential(self, Y: TimeSeries | np.ndarray | Sequence[np.ndarray]) -> Any:
        """Energy of the whole bias at values of the coordinate.

        Parameters
        ----------
        Y
            What :meth:`Coordinate.transform` gave, or arrays (n_frames, dim) of the same numbers in the same order.

        Returns
        -------
        list of ndarray of shape (n_frames,), kJ/mol; one array where one array was given

        Raises
        ------
        BiasError
            If Y is a series of another coordinate.
        """
        series = as_series(Y)
        self.check(series)
        states = self.states()
        arrays = []
        for rows in series.arrays:
            rows = np.asarray(rows, np.float64)
            arrays.append(sum((state.energies(rows[:, list(state.axes)]) for state in states), np.zeros(len(rows))))
        return arrays[0] if isinstance(Y, np.ndarray) else arrays

    def potential_of(self, trajs: Any) -> list[np.ndarray]:
        """Energy of the whole bias in every frame of trajectories; a list of (n_frames,) arrays, kJ/mol."""
        return list(self.potential(self.coordinate.transform(trajs)))

    def check(self, series: TimeSeries) -> None:
        """Refuse a series that is not of this coordinate."""
        if series.n_columns != self.coordinate.dim:
            raise ParameterError(
                f"the data have {series.n_columns} columns, the bias acts on {self.coordinate.dim} "
                f"({', '.join(self.coordinate.names)})"
            )
        definition = series.definition
        if definition is None:
            return
        same = definition.hash == self.coordinate.hash
        if not same and len(self.coordinate.pieces) == 1:
            piece = self.coordinate.pieces[0]
            same = definition.hash == (piece.features if piece.cv is None else piece.cv).hash
        if not same:
            raise BiasError(
                f"the data are of another coordinate ({definition.hash[:12]}) than the bias was made on "
                f"({self.coordinate.hash[:12]}: {', '.join(self.coordinate.names)}); compute them with model.coordinate.transform"
            )

    def __repr__(self) -> str:
        kinds = ", ".join(type(potential).__name__ for potential in self.potentials)
        return f"<BiasModel: {kinds} on {', '.join(self.coordinate.names)}, {self.temperature:g} K; {self.hash[:12]}>"
