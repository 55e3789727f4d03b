"""A bias on linear coordinates made of OpenMM's own forces, so that it runs wherever OpenMM runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight.bias._live import STATIC
from mdinsight.bias._native_terms import NativeCoordinate, native_forces, native_reason
from mdinsight.bias._restraints import LOWER, UPPER
from mdinsight.bias._tables import Table, tabulate
from mdinsight.cvs import LinearCV
from mdinsight.errors import NonFiniteError, ParameterError

if TYPE_CHECKING:
    import openmm

    from mdinsight.bias._coordinate import BoundCoordinate
    from mdinsight.features import Bound

MOST_VARIABLES = 32
"""OpenMM gives each variable of a CustomCVForce a force group of its own."""


def native_form(bound: BoundCoordinate, states: Sequence[Any] = ()) -> str | None:
    """Why a bias has no form in OpenMM's own forces; None where it has one.

    Parameters
    ----------
    bound
        The coordinate bound to the topology of the system.
    states
        The potentials that act on it.

    Returns
    -------
    str or None
        A phrase that names what has no native form: a network, a feature kind, a potential on four coordinates.
    """
    for features, cv in bound.pieces:
        if cv is not None and not isinstance(cv, LinearCV):
            return f"a {getattr(cv, 'kind', type(cv).__name__)} coordinate is not linear in its features"
        reason = native_reason(features, *_linear(features, cv))
        if reason is not None:
            return reason
    if (
        bound.dim > MOST_VARIABLES // 10
    ):  # a coordinate has ten forces at most: five kinds, each with images and without
        count = sum(len(one.forces) for one in native_coordinates(bound, True))
        if count > MOST_VARIABLES:
            return f"it needs {count} forces, and OpenMM takes {MOST_VARIABLES}"
    for number, state in enumerate(states):
        if restraint(state, "") is None and state.dim > 3:
            return f"{_title(state, number)} acts on {state.dim} coordinates, and OpenMM's tables have at most 3"
    return None


def native_coordinates(bound: BoundCoordinate, periodic: bool) -> list[NativeCoordinate]:
    """The forces of each number of a coordinate; see :func:`mdinsight.bias._native_terms.native_forces`."""
    return [one for features, cv in bound.pieces for one in native_forces(features, *_linear(features, cv), periodic)]


class NativeForce:
    """A bias as one ``CustomCVForce``: linear coordinates as sums of native forces, potentials as tables and formulas.

    Parameters
    ----------
    bound
        The coordinate bound to the topology of the system; see :func:`native_form` for which have this form.
    states
        The live potentials. Restraints become formulas whose numbers are parameters of the context; all others become
        tables, which follow the potential when :meth:`update` is called.
    periodic
        Whether the system has a box.
    name
        Begins the names of the context's parameters; give each such force of one system its own.

    Attributes
    ----------
    force
        The ``openmm.CustomCVForce``, to be added to the system.

    Raises
    ------
    ParameterError
        If the coordinate or a potential has no native form, or its table would be too large.

    Notes
    -----
    A table reaches to where its potential is constant, so beyond it a coordinate feels the right energy and no force; it
    grows with the potential. Between nodes it is a cubic spline: energy and force belong together to rounding, and the energy
    differs from the potential's own by less than 1e-3 kJ/mol. For OPES that holds where kernels overlap; where a lone one ends
    its potential bends within a fraction of a width, and there they differ by some tenths of a kJ/mol. Periodic axes beside
    others are padded and wrapped, since OpenMM repeats either all axes of a table or none.

    OpenMM fits the whole spline anew at every update: 1 ms for 61 x 61 nodes, 3 ms for 102 x 102, 11 ms for 202 x 202, but
    0.2 s for 67 x 67 x 62, and the kernels of OPES become narrower, so three axes suit fixed biases and wide hills only.
    """

    def __init__(self, bound: BoundCoordinate, states: Sequence[Any], periodic: bool, name: str = "bias") -> None:
        import openmm

        reason = native_form(bound, states)
        if reason is not None:
            raise ParameterError(f"{reason}; take form='compiled'")
        self.states = tuple(states)
        self.name = name
        self._coordinates = native_coordinates(bound, periodic)
        self._tables: dict[int, Table] = {}
        terms, lines, parameters = [], list(self._sums()), {}
        for number, state in enumerate(self.states):
            formula = restraint(state, f"{name}{number}")
            if formula is None:
                self._tables[number] = tabulate(state, _title(state, number))
                formula = self._looked_up(number)
            terms.append(formula[0])
            lines += formula[1]
            parameters.update(formula[2])
        self.force = openmm.CustomCVForce("; ".join(["+".join(terms) or "0", *reversed(lines)]))
        self.force.setName(name)
        for number, one in enumerate(self._coordinates):
            for place, inner in enumerate(one.forces):
                self.force.addCollectiveVariable(f"v{number}_{place}", inner)
        for key, value in parameters.items():
            self.force.addGlobalParameter(key, value)
        for number, table in self._tables.items():
            self.force.addTabulatedFunction(f"table{number}", table.function())

    def update(self, *contexts: openmm.Context) -> None:
        """Bring tables and restraints up to the potentials as they are now; call it after every deposit.

        Parameters
        ----------
        contexts
            All contexts of the system that the force is in.

        Raises
        ------
        ParameterError
            If a table has grown too large. The tables of other potentials may have been brought up by then.
        NonFiniteError
            If an energy is not finite; the table stays as it was.
        """
        parameters: dict[str, float] = {}
        for number, state in enumerate(self.states):
            if number in self._tables:
                self._tables[number] = table = tabulate(state, _title(state, number))
                place = list(self._tables).index(number)
                self.force.getTabulatedFunction(place).setFunctionParameters(*table.arguments)
                parameters[self._outside(number)] = table.outside
            else:
                parameters.update(restraint(state, f"{self.name}{number}")[2])  # type: ignore[index]
        for place in range(self.force.getNumGlobalParameters()):
            key = self.force.getGlobalParameterName(place)
            self.force.setGlobalParameterDefaultValue(place, parameters[key])  # for contexts that are made later
        for context in contexts:
            if self._tables:
                self.force.updateParametersInContext(context)
            for key, value in parameters.items():
                context.setParameter(key, value)

    def values(self, context: openmm.Context) -> np.ndarray:
        """Coordinates (dim,) at the positions of a context, as the force computes them.

        Raises
        ------
        NonFiniteError
            If one of them is not finite.
        """
        found = iter(self.force.getCollectiveVariableValues(context))
        out = np.array([one.constant + sum(next(found) for _ in one.forces) for one in self._coordinates])
        if not np.isfinite(out).all():
            raise NonFiniteError(f"the coordinates are {out.tolist()}; positions must be finite")
        return out

    def covers(self, s: np.ndarray) -> bool:
        """Whether the tables hold the potentials at ``s`` (dim,): within them, or where nothing new lies outside them."""
        s = np.asarray(s, np.float64).reshape(-1)
        if not np.isfinite(s).all():
            return False
        for number, table in self._tables.items():
            state = self.states[number]
            here = s[list(state.axes)]
            if not table.contains(here, here) and not table.contains(*state.span()):
                return False
        return True

    def _sums(self) -> Iterator[str]:
        for number, one in enumerate(self._coordinates):
            variables = [f"v{number}_{place}" for place in range(len(one.forces))]
            yield f"s{number}={'+'.join(variables)}{one.constant:+.17g}"

    def _looked_up(self, number: int) -> tuple[str, list[str], dict[str, float]]:
        """Term, definitions and parameters of a table."""
        table, names, lines = self._tables[number], [], []
        for axis, place in zip(table.axes, self.states[number].axes, strict=True):
            names.append(f"s{place}")
            if axis.period is not None and not table.wraps:
                names[-1] = f"w{number}_{place}"
                p = f"{axis.period:.17g}"
                lines.append(f"{names[-1]}=s{place}-{p}*floor(s{place}/{p})")
        outside = self._outside(number)
        return f"table{number}({','.join(names)})+{outside}", lines, {outside: table.outside}

    def _outside(self, number: int) -> str:
        return f"{self.name}{number}_outside"


def restraint(state: Any, name: str) -> tuple[str, list[str], dict[str, float]] | None:
    """An umbrella or wall as a term, definitions for it, and its parameters; None for any other potential."""
    if state.code != STATIC:
        return None
    terms, lines, parameters = [], [], {}
    for place, (kind, at, kappa, period, _) in zip(
        state.axes, state.data.reshape(len(state.axes), -1).tolist(), strict=True
    ):
        d, at_name, kappa_name = f"d{name}_{place}", f"{name}_at{place}", f"{name}_kappa{place}"
        parameters.update({at_name: at, kappa_name: kappa})
        off = f"(s{place}-{at_name})"
        if period > 0.0:
            off += f"-{period:.17g}*floor({off}/{period:.17g}+0.5)"
        lines.append(f"{d}={'min(0,' if kind == LOWER else 'max(0,' if kind == UPPER else '('}{off})")
        terms.append(f"0.5*{kappa_name}*{d}^2")
    return "+".join(terms), lines, parameters


def _title(state: Any, number: int) -> str:
    return f"potential {number} ({type(state.definition).__name__})"


def _linear(features: Bound, cv: Any) -> tuple[np.ndarray, np.ndarray]:
    """Weights and means of the columns; those of the columns themselves where there is no model."""
    n = features.n_columns
    return (np.eye(n), np.zeros(n)) if cv is None else (cv.matrix, cv.mean)
