"""Errors and warnings by name: each message names the thing, the value and the remedy."""

from __future__ import annotations

import sys
import warnings
from types import FrameType


class MdinsightError(Exception):
    """Base of every error that mdinsight raises on purpose; the command line prints its message and no traceback."""


class ParameterError(MdinsightError, ValueError):
    """A parameter has a value that it cannot have."""


class FormatError(MdinsightError, ValueError):
    """A file is of no known format, or is not what its name says."""


class TrajectoryError(MdinsightError, OSError):
    """A trajectory is missing, empty, unreadable or has no whole frame."""


class CorruptFrameError(TrajectoryError):
    """A frame turned out to be corrupt when it was read; ``frame`` is its number in the file, those before it are whole."""

    frame: int = 0

    @classmethod
    def at(cls, frame: int, message: str) -> CorruptFrameError:
        """The error for a frame of a file."""
        error = cls(message)
        error.frame = frame
        return error


class TopologyError(MdinsightError, ValueError):
    """A topology does not fit the trajectory, or two topologies do not fit each other."""


class SelectionError(MdinsightError, ValueError):
    """A selection of atoms, columns or states matches nothing or cannot be parsed."""


class NonFiniteError(MdinsightError, ValueError):
    """Coordinates or features hold NaN or infinity."""


class LagError(ParameterError):
    """A lag time does not fit the data: longer than every trajectory, no multiple of the saving interval."""


class DegenerateError(MdinsightError, ValueError):
    """The data do not determine the answer: a constant feature, a single state."""


class ConnectivityError(MdinsightError, ValueError):
    """The states are not connected by observed transitions."""


class GradientError(MdinsightError, TypeError):
    """A feature without a gradient is asked for one."""


class BiasError(MdinsightError, ValueError):
    """A bias is asked to act on another coordinate, or to go on with other settings, than those it was made with."""


class InstabilityError(MdinsightError, RuntimeError):
    """Molecular dynamics broke down (NaN positions or energies); the message says where its state was saved."""


class StoreError(MdinsightError, OSError):
    """A run directory is not one, is in use by another process, of another version, or what it holds was damaged."""


class PlanError(ParameterError):
    """A plan cannot be carried out, or is not the plan that a run was begun with; the message names what differs."""


class ForceFieldError(MdinsightError, ValueError):
    """A molecule cannot be parametrised; the message names the residue and what to give."""


class WorkerError(MdinsightError, RuntimeError):
    """The workers that run the segments keep dying; what is committed is safe."""


def is_interrupt(error: BaseException) -> bool:
    """Whether an exception of OpenMM is a Ctrl-C that arrived while it asked Python for a force: it loses the reason."""
    return str(error) in ("", "<NULL>")


class NotFittedError(MdinsightError, AttributeError):
    """An estimator is asked for its model before ``fit``."""


class ModelFileError(MdinsightError, ValueError):
    """A saved model is torn, was changed, or is of another version."""


class OutputError(MdinsightError, OSError):
    """An output file or folder cannot be written."""


class MdinsightWarning(UserWarning):
    """Base of every warning of mdinsight."""


class DataWarning(MdinsightWarning):
    """Something in the data was left out or looks wrong; the message counts what."""


class CacheWarning(MdinsightWarning):
    """Results are not kept on disk, and will be computed anew."""


class StatisticsWarning(MdinsightWarning):
    """An estimate was made, but something it rests on does not hold."""


_BETWEEN = {"mdinsight", "openmm", "tqdm", *sys.stdlib_module_names}
"""What may stand between the user's line and the place that warns."""


def warn_user(message: str, category: type[MdinsightWarning]) -> None:
    """A warning that names the user's line, however many calls lie between."""
    level = 2
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level if frame else 2)  # in a thread of a pool there is no such line
