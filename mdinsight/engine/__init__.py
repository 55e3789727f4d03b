"""Engine: a system made ready for MD, and ONE segment of MD at a time.

>>> system = System.from_pdb("molecule.pdb", solvent="obc2", temperature=300)  # doctest: +SKIP
"""

from __future__ import annotations

from mdinsight.engine._devices import cores_or_devices, device_count
from mdinsight.engine._segment import Segment, deposits_of, run
from mdinsight.engine._system import System

__all__ = ["Segment", "System", "cores_or_devices", "deposits_of", "device_count", "run"]
