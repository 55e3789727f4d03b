"""The formats that are read, one module each; a new one is added to ``FORMATS``."""

from __future__ import annotations

from pathlib import Path

from mdinsight.errors import FormatError
from mdinsight.trajectories._formats._base import SINGLE, Damage, Format, Frames, Scan
from mdinsight.trajectories._formats.dcd import DCD
from mdinsight.trajectories._formats.h5md import H5MD
from mdinsight.trajectories._formats.hdf5 import MDTrajHDF5
from mdinsight.trajectories._formats.lammps import LAMMPSDump
from mdinsight.trajectories._formats.mmcif import MMCIF
from mdinsight.trajectories._formats.netcdf import AmberNetCDF
from mdinsight.trajectories._formats.pdb import PDB
from mdinsight.trajectories._formats.trr import TRR
from mdinsight.trajectories._formats.xtc import XTC

FORMATS: tuple[Format, ...] = (XTC(), TRR(), DCD(), AmberNetCDF(), MDTrajHDF5(), H5MD(), LAMMPSDump(), PDB(), MMCIF())


def format_of(path: Path) -> Format:
    """The format that a file's suffix names.

    Raises
    ------
    FormatError
        If no format has this suffix; the message lists those that are read.
    """
    for kind in FORMATS:
        if path.suffix.lower() in kind.suffixes:
            return kind
    known = ", ".join(f"{kind.name} ({' '.join(kind.suffixes)})" for kind in FORMATS)
    suffix = f"its suffix {path.suffix!r} is not known" if path.suffix else "it has no suffix"
    raise FormatError(f"the format of {path} is not known: {suffix}; read are {known}")


__all__ = ["FORMATS", "SINGLE", "Damage", "Format", "Frames", "Scan", "format_of"]
