"""A segment: the unit of MD work that a worker does, described as a value and run into a folder."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from mdinsight import units
from mdinsight.bias import BiasModel
from mdinsight.engine import _output
from mdinsight.engine._machine import Machine
from mdinsight.engine._segment_checks import check_fields, check_fits, empty_folder
from mdinsight.engine._system import System
from mdinsight.errors import MdinsightError, OutputError
from mdinsight.records import Model, Record

_REFERENCE = threading.Lock()
"""The thermostats of all contexts of the Reference platform draw from one generator of the process, so two that run at once in
threads share their noise, and neither can be repeated."""


class Segment(Record):
    """What one worker is to do: one trajectory, or a swarm of short ones. The same segment gives the same result.

    All that is random follows from ``seed``. Where the arithmetic of the platform repeats (Reference; CPU with the same number
    of threads, mostly), so do the files, byte for byte.

    Parameters
    ----------
    name
        How it is called in messages.
    kind
        ``"explore"``, ``"swarm"`` or ``"biased"``: what it is for. A biased one has ``bias``, an exploring one may have it.
    steps
        MD steps of each trajectory, a multiple of ``stride``; of each half where it is two-way.
    stride
        Steps between frames that are saved.
    seed
        Of its velocities, of the thermostat's noise and of a barostat's moves.
    positions
        (n_traj, n_atoms, 3), nm: where each trajectory starts. They are put right to fulfil the constraints.
    temperature
        K of the thermostat and of the first velocities; it may differ from the system's. A barostat of the system rests then:
        its moves are made for the system's temperature.
    boxes
        (n_traj, 3, 3), nm, a vector a row; None takes the system's box, if it has one.
    velocities
        (n_traj, n_atoms, 3), nm/ps, as OpenMM's integrator has them (half a step before the positions), as ``end.npz`` of an
        earlier segment does. None draws them from the Maxwell distribution.
    with_start
        Whether the start is the first frame. Not where biased: a start was chosen, not sampled under the bias, so has no weight.
    two_way
        Each trajectory also backwards from the same positions with the velocities reversed: one path from -steps to +steps,
        whose middle frame, ``n_frames // 2``, is the start. Langevin dynamics are reversible, so it is a path through the start
        as long MD has it.
    bias
        The bias to begin with: what walkers before it had built up, or :meth:`BiasModel.empty`. It takes one trajectory.
    features
        Features, a fitted coordinate or a bias's coordinate to be computed on the saved frames; None for none.

    Raises
    ------
    ParameterError
        If a field has a value that it cannot have, or fields do not go together.
    NonFiniteError
        If a position, velocity or box is NaN or infinite.
    """

    name: str
    kind: str
    steps: int
    stride: int
    seed: int
    positions: np.ndarray
    temperature: float
    boxes: np.ndarray | None = None
    velocities: np.ndarray | None = None
    with_start: bool = False
    two_way: bool = False
    bias: BiasModel | None = None
    features: Model | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", units.temperature(self.temperature))
        check_fields(self)
        super().__post_init__()

    @property
    def n_trajectories(self) -> int:
        """How many trajectories it has."""
        return len(self.positions)

    @property
    def n_frames(self) -> int:
        """Frames that each trajectory has in the end."""
        frames = self.steps // self.stride
        return 2 * frames + 1 if self.two_way else frames + self.with_start

    @property
    def total_steps(self) -> int:
        """MD steps of all trajectories together: what it costs."""
        return self.steps * self.n_trajectories * (2 if self.two_way else 1)


def run(
    system: System,
    segment: Segment,
    folder: str | os.PathLike[str],
    properties: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Run a segment and write what it gave into a folder.

    - ``traj-0000.xtc``, ...: a file for each trajectory, times in ps from its start, molecules not wrapped; they are opened
      again and counted
    - ``lengths.npy``: int64, frames of each trajectory
    - ``features.npy``: (n, n_columns) float64, of all frames as read from the files
    - ``end.npz``: ``positions``, ``velocities`` and, with periodic boundaries, ``boxes`` of the trajectories' ends, float64
    - of a biased one ``trace.mdi``, a row for each frame, ``bias.mdi``, the bias in the end, and ``deposits.npz``; see
      :func:`deposits_of`

    Parameters
    ----------
    system
        The molecule.
    segment
        What to do.
    folder
        Where to write; it must exist and be empty.
    properties
        Of OpenMM's platform, such as ``{"DeviceIndex": "1"}`` or ``{"Threads": "1"}``; those that the platform does not have are
        left out.

    Returns
    -------
    dict
        JSON types, the same for the same segment: ``trajectories``, ``frames``, ``steps`` and ``ps`` in all, ``platform``,
        ``openmm``.

    Raises
    ------
    InstabilityError
        If positions or energies are not finite. ``state.xml`` (the start of that trajectory), ``system.xml`` and
        ``segment.json`` are in the folder then, with what was written before.
    OutputError
        If the folder is not empty or cannot be written, or the disk is full.
    ParameterError, TopologyError, BiasError, GradientError, SelectionError
        If the segment does not fit the system; nothing was run then.
    """
    target = empty_folder(folder)
    check_fits(system, segment)
    with _REFERENCE if system.chosen_platform() == "Reference" else nullcontext():
        return _run(system, segment, target, dict(properties or {}))


def _run(system: System, segment: Segment, target: Path, properties: dict[str, str]) -> dict[str, Any]:
    machine = Machine(system, segment, target, properties)
    try:
        ends = [machine.trajectory(k, target / name) for k, name in enumerate(_names(segment))]
        _output.arrays(target, segment, ends)
        if machine.sampler is not None:
            _output.bias(target, machine.sampler)
        _output.features(target, system, segment, _names(segment))
    except OSError as error:
        if isinstance(error, MdinsightError):
            raise
        raise OutputError(
            f"{segment.name}: cannot write into {target}: {error.strerror or error}; make room, it is then run again"
        ) from error
    return {
        "trajectories": segment.n_trajectories,
        "frames": segment.n_frames * segment.n_trajectories,
        "steps": segment.total_steps,
        "ps": segment.total_steps * system.timestep,
        "platform": machine.platform,
        "openmm": machine.version,
    }


def deposits_of(folder: str | os.PathLike[str]) -> list[np.ndarray]:
    """What a biased one deposited, as ``mdinsight.bias.merged`` takes it: an array (n, length) for each adaptive potential."""
    with np.load(Path(folder) / _output.DEPOSITS, allow_pickle=False) as stored:
        return [stored[str(number)] for number in range(len(stored.files))]


def _names(segment: Segment) -> list[str]:
    return [f"traj-{number:04d}.xtc" for number in range(segment.n_trajectories)]
