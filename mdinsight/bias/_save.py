"""A run on disk: bias and MD state in one file, so that they cannot part."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight.bias._model import BiasModel
from mdinsight.bias._shared import who
from mdinsight.bias._trace import Trace
from mdinsight.errors import BiasError, DataWarning, warn_user
from mdinsight.records import Model, Record

if TYPE_CHECKING:
    from mdinsight.bias._sampler import Sampler


class MDState(Record):
    """Where one walker stands.

    ``checkpoint`` is OpenMM's own (bytes), exact on the same platform; positions (nm), velocities (nm/ps) and box
    (nm) are for any other. ``time`` in ps.
    """

    step: int
    time: float
    platform: str
    version: str
    positions: np.ndarray
    velocities: np.ndarray
    box: np.ndarray
    checkpoint: np.ndarray


class SavedRun(Model):
    """Everything that a :class:`Sampler` needs to go on."""

    model: BiasModel
    seed: int
    every: int
    record: int
    form: str
    system: str
    trace: Trace
    md: tuple[MDState, ...]
    shared: dict[str, Any] = dataclasses.field(default_factory=dict)

    def check(self, sampler: Sampler, walkers: int, file: str | os.PathLike[str]) -> None:
        """Refuse to go on with anything but what the run was made with.

        Raises
        ------
        BiasError
            Naming what differs.
        """
        ours = self.model
        pairs = [
            ("the coordinate", _named(ours.coordinate), _named(sampler.coordinate)),
            ("the potentials", repr(ours.potentials), repr(sampler.potentials)),
            ("the temperature", ours.temperature, sampler.temperature),
            ("the seed", self.seed, sampler.seed),
            ("every", self.every, sampler.every),
            ("record", self.record, sampler.record),
            ("the form of the force", self.form, sampler.form),
            ("the number of walkers", len(self.md), walkers),
            ("the process", who(self.shared), who({} if sampler.shared is None else sampler.shared.saved())),
            ("the system (its forces or parameters)", self.system[:12], sampler.system_hash[:12]),
        ]
        unlike = [f"{what} was {then}, now it is {now}" for what, then, now in pairs if then != now]
        if unlike:
            raise BiasError(
                f"{file} cannot be taken up: {'; '.join(unlike)}. Give the same again, or begin a new run under another name"
            )


def _named(coordinate: Any) -> str:
    return f"{', '.join(coordinate.names)} ({coordinate.hash[:12]})"


def md_state(walkers: Sequence[Any]) -> tuple[MDState, ...]:
    """Where the walkers stand."""
    from openmm import Platform, unit

    found = []
    for walker in walkers:
        state = walker.context.getState(positions=True, velocities=True)
        found.append(
            MDState(
                int(walker.currentStep),
                float(state.getTime().value_in_unit(unit.picosecond)),
                walker.context.getPlatform().getName(),
                Platform.getOpenMMVersion(),
                state.getPositions(asNumpy=True)._value,
                state.getVelocities(asNumpy=True)._value,
                state.getPeriodicBoxVectors(asNumpy=True)._value,
                np.frombuffer(walker.context.createCheckpoint(), np.uint8),
            )
        )
    return tuple(found)


def restore_md(walkers: Sequence[Any], states: Sequence[MDState]) -> None:
    """Put the walkers where they stood: bit for bit on the same platform and version, else at the same positions."""
    from openmm import OpenMMException, Platform

    for number, (walker, state) in enumerate(zip(walkers, states, strict=True)):
        name = walker.context.getPlatform().getName()
        why = ""
        if (name, Platform.getOpenMMVersion()) == (state.platform, state.version):
            try:
                walker.context.loadCheckpoint(state.checkpoint.tobytes())
            except OpenMMException as error:
                why = str(error)
        else:
            why = f"it was made by OpenMM {state.version} on {state.platform}"
        if why:
            warn_user(
                f"walker {number}: OpenMM's checkpoint cannot be used here ({why}); it goes on from the same positions and "
                "velocities with other random numbers",
                DataWarning,
            )
            walker.context.setPeriodicBoxVectors(*state.box)
            walker.context.setPositions(state.positions)
            walker.context.setVelocities(state.velocities)
            walker.context.setTime(state.time)
            walker.context.setStepCount(state.step)
        walker.currentStep = state.step
