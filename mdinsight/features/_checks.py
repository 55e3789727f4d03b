"""What the kinds of features ask of their arguments: flags, numbers of neighbours, tables of atom numbers."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

from mdinsight.errors import ParameterError

_NUMBERS = {2: "two numbers", 3: "three numbers", 4: "four numbers"}
_EXAMPLES = {2: "[[0, 5], [3, 8]]", 3: "[[4, 6, 8]]", 4: "[[4, 6, 8, 14]]"}


def check_flags(feature: Any, *names: str) -> None:
    """Whether the arguments of these names are True or False: a text such as ``"no"`` would count as True.

    Raises
    ------
    ParameterError
        If one is neither.
    """
    for name in names:
        value = getattr(feature, name)
        if not isinstance(value, (bool, np.bool_)):
            raise ParameterError(
                f"{type(feature).__name__}: {name}={reprlib.repr(value)} is neither True nor False; "
                f"write {name}=True or {name}=False"
            )


def check_exclude(feature: Any) -> None:
    """Whether ``exclude`` is a number of neighbours.

    Raises
    ------
    ParameterError
        If it is no whole number, or negative.
    """
    value = feature.exclude
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ParameterError(
            f"{type(feature).__name__}: exclude={reprlib.repr(value)} is no number of neighbours; give a whole number, 0 or more"
        )


def as_array(value: Any) -> np.ndarray:
    """The value as an array; one of objects where its rows differ in length."""
    try:
        return np.asarray(value)
    except ValueError:
        return np.asarray(value, dtype=object)


def atom_table(value: Any, width: int, who: str, field: str, instead: str = "") -> np.ndarray:
    """Atom (or residue) numbers given by a user as an (n, width) int64 array.

    Parameters
    ----------
    value
        What was given.
    width
        Numbers in a row.
    who, field
        The kind and its argument, for the error.
    instead
        What else could be given, for the error.

    Raises
    ------
    ParameterError
        If they are no such table.
    """
    table = as_array(value)
    if table.ndim == 1 and len(table) == width:
        table = table[None]
    if table.ndim != 2 or table.shape[1] != width or table.dtype.kind not in "iu" or len(table) == 0:
        told = reprlib.repr(value)
        if isinstance(value, np.ndarray):
            told = f"an array of shape {value.shape} and type {value.dtype}"
        raise ParameterError(
            f"{who}: {told} is no table of whole numbers of shape (n, {width}); give {_NUMBERS[width]} in each row, such as "
            f"{who}({field}={_EXAMPLES[width]}){f', or {instead}' if instead else ''}"
        )
    return np.ascontiguousarray(table, dtype=np.int64)
