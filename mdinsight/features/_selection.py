"""Selections as they stand in a definition: a string, or atom numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.features._checks import as_array


def as_selection(value: Any) -> str | np.ndarray:
    """A selection string, or atom numbers as an int64 array.

    Raises
    ------
    ParameterError
        If it is neither.
    """
    if isinstance(value, str):
        return value
    atoms = as_array(value)
    if atoms.ndim != 1 or atoms.dtype.kind not in "iu" or len(atoms) == 0:
        raise ParameterError(f"a selection is a string such as 'name CA' or a list of atom numbers, not {value!r}")
    return np.ascontiguousarray(atoms, dtype=np.int64)


def told(selection: str | np.ndarray) -> str:
    """A selection as names and errors tell it."""
    return selection if isinstance(selection, str) else f"{len(selection)} atoms"
