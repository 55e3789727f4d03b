"""What is kept of a segment that broke down."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np

from mdinsight.errors import InstabilityError, MdinsightError, OutputError
from mdinsight.files import write_text

if TYPE_CHECKING:
    from mdinsight.engine._machine import Machine


def quarantine(machine: Machine, number: int, start: np.ndarray, velocities: np.ndarray, text: str) -> InstabilityError:
    """Save where the trajectory started, the system and the segment; the error that says so.

    Raises
    ------
    OutputError
        If the disk is full.
    """
    segment, step = machine.segment, machine.walker.currentStep
    direction = "backwards" if machine.walker.sign < 0 else "forwards"
    text = text.replace(
        f"{machine.folder}{os.sep}", ""
    )  # what is kept does not say where it was written, as that changes
    happened = text.splitlines()[0] if text else "NaN"
    told = f"segment {segment.name}, trajectory {number}, broke down by step {step} {direction}: {happened}"
    record = {
        "name": segment.name,
        "kind": segment.kind,
        "hash": segment.hash,
        "seed": segment.seed,
        "steps": segment.steps,
        "stride": segment.stride,
        "temperature": segment.temperature,
        "trajectory": number,
        "direction": direction,
        "step": step,
        "ps": _simulated(machine, number),
        "platform": machine.platform,
        "openmm": machine.version,
        "what happened": text,
    }
    try:
        write_text(machine.folder / "segment.json", json.dumps(record, indent=1) + "\n")
        write_text(machine.folder / "system.xml", machine.molecule.xml)
        write_text(machine.folder / "state.xml", _state(machine, number, start, velocities))
        told += f". Its start, the system and its seed are in {machine.folder}"
    except OSError as error:  # a full disk: what cannot be kept is no evidence yet, so it is to be run again
        raise OutputError(
            f"{told}, and its start cannot be saved ({error}); make room, it is then run again"
        ) from error
    except (MdinsightError, ValueError) as error:
        told += f". Its start could not be saved ({error})"
    return InstabilityError(f"{told}. Start from another frame, or take a smaller time step or temperature")


def _simulated(machine: Machine, number: int) -> float:
    """ps of the trajectories before, and of this one until now; of a two-way one the way back is run first."""
    segment, step = machine.segment, int(machine.walker.currentStep)
    whole = number * (2 if segment.two_way else 1)
    if segment.two_way and machine.walker.sign > 0 and step:
        whole += 1
    return (whole * segment.steps + step) * float(machine.molecule.timestep)


def _state(machine: Machine, number: int, start: np.ndarray, velocities: np.ndarray) -> str:
    """The start as OpenMM's XML, which any of its programs reads."""
    from openmm import XmlSerializer

    context, box = machine.context, machine._box(number)
    if box is not None:
        context.setPeriodicBoxVectors(*box)
    context.setPositions(start)
    context.setVelocities(velocities if np.isfinite(velocities).all() else np.zeros_like(start))
    context.setTime(0.0)
    context.setStepCount(0)
    return str(XmlSerializer.serialize(context.getState(positions=True, velocities=True)))
