"""mdinsight: what a molecule does slowly and rarely, each figure with an interval.

>>> import mdinsight as mdi
>>> trajs = mdi.open("example_trajs/ala2/*.xtc", top="example_trajs/ala2/top.pdb")
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from mdinsight._version import __version__

if TYPE_CHECKING:
    from mdinsight import (
        adaptive,
        analysis,
        bias,
        cvs,
        engine,
        errors,
        features,
        msm,
        plots,
        report,
        states,
        store,
        trajectories,
        units,
    )
    from mdinsight.records import load
    from mdinsight.series import TimeSeries
    from mdinsight.trajectories import open

_ROOMS = (
    *("adaptive", "analysis", "bias", "cvs", "engine", "features", "msm", "plots", "report", "states", "store"),
    *("trajectories", "errors", "units"),
)
_NAMES = {"open": "mdinsight.trajectories", "load": "mdinsight.records", "TimeSeries": "mdinsight.series"}

__all__ = [
    "TimeSeries",
    "__version__",
    "adaptive",
    "analysis",
    "bias",
    "cvs",
    "engine",
    "errors",
    "features",
    "load",
    "msm",
    "open",
    "plots",
    "report",
    "states",
    "store",
    "trajectories",
    "units",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Load a room when it is first used, so that ``import mdinsight`` costs next to nothing."""
    if name in _ROOMS:
        return importlib.import_module(f"mdinsight.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'mdinsight' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
