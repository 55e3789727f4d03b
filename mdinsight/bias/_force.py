"""The OpenMM force that runs the compiled step."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from mdinsight.errors import InstabilityError

if TYPE_CHECKING:
    from mdinsight.bias._program import Program, PythonProgram


NAME = "mdinsight bias"


class Callback:
    """What OpenMM calls for the energy and forces of the bias.

    With ``every`` > 1 the force acts in every so-many-th step, that many times as strong (the impulse form of multiple time
    stepping, reversible with a leapfrog-like integrator; Tuckerman et al. 1992, doi:10.1063/1.463137), while ``impulses`` is
    set; a minimiser or a look at the energy gets the plain force. ``calls`` counts how often OpenMM asked.
    """

    def __init__(self, program: Program | PythonProgram, periodic: bool, every: int = 1) -> None:
        from openmm import State

        self.program = program
        self.periodic = periodic
        self.every = every
        self.impulses = False
        self.calls = 0
        self._lock = threading.Lock()  # the compiled step lets other threads run, and works in buffers of the program
        self._positions = State.Positions
        self._none = np.zeros_like(program.grad)
        self._box = np.zeros((3, 3))

    def __call__(self, state: Any) -> tuple[float, np.ndarray]:
        self.calls += 1
        factor = self.every if self.impulses else 1
        if factor > 1 and state.getStepCount() % factor:
            return 0.0, self._none
        with self._lock:
            program = self.program
            # the public accessor attaches units, which costs more than everything else that is done here
            state._getVectorAsNumpy(self._positions, program.xyz)
            if self.periodic:
                for row, vector in zip(self._box, state.getPeriodicBoxVectors()._value, strict=True):
                    row[0], row[1], row[2] = vector
                program.place(program.xyz, self._box)
            energy = program.step(factor)
            forces = program.grad.copy()
        if not energy - energy == 0.0:
            raise InstabilityError(f"the energy of the bias is {energy}")
        return energy, forces

    def __reduce__(self) -> NoReturn:
        raise TypeError("a bias in a running system cannot be serialised with it; save the Sampler instead")


def python_force(callback: Callback, atoms: np.ndarray) -> Any:
    """A PythonForce on the coordinate's atoms alone."""
    from openmm import PythonForce

    force = PythonForce(callback, {})
    force.setParticles([int(i) for i in atoms])
    force.setUsesPeriodicBoundaryConditions(callback.periodic)
    force.setName(NAME)
    return force
