"""The columns that a coordinate takes: where they come from, and whether data have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mdinsight.errors import ParameterError, SelectionError
from mdinsight.records import Model
from mdinsight.series import Column, TimeSeries
from mdinsight.words import some

if TYPE_CHECKING:
    from mdinsight.features import Definition


def columns_of(features: Any, topology: Any, n: int) -> tuple[tuple[Column, ...], Model | None]:
    """The ``n`` columns that a given coordinate takes, and the definition that computes exactly those.

    Parameters
    ----------
    features
        A feature definition, the TimeSeries that one made, a coordinate on the same columns, or None for plain arrays.
    topology
        What a definition is bound to: an ``mdtraj.Topology`` or trajectories; not needed for fixed features.
    n
        How many columns the coordinate takes.

    Raises
    ------
    ParameterError
        If ``features`` is none of these, needs a topology, or has another number of columns.
    """
    from mdinsight.features import Definition  # imported late: it takes long to load, and a fit does not need it

    if features is None:
        return tuple(Column(str(i)) for i in range(n)), None
    columns: tuple[Column, ...]
    definition: Model | None
    if isinstance(features, Definition):
        columns, definition = _bound(features, topology)
    elif isinstance(features, TimeSeries):
        columns, definition = features.columns, features.definition
    elif hasattr(features, "columns") and hasattr(features, "features"):
        columns, definition = features.columns, features.features
    else:
        raise ParameterError(
            f"features is a {type(features).__name__}; give a feature definition such as Torsions('phi psi') with "
            "topology=, the TimeSeries that it made, or None"
        )
    if len(columns) != n:
        raise ParameterError(
            f"the coordinate takes {n} columns, the features have {len(columns)} "
            f"({some([repr(column.name) for column in columns])}); give those that it was trained on, in their order"
        )
    return columns, definition


def _bound(features: Definition, topology: Any) -> tuple[tuple[Column, ...], Definition]:
    if topology is not None:
        columns = features.columns(topology)
        return columns, features.fixed(columns)
    keys, names = getattr(features, "keys", ()), getattr(features, "names", ())
    if keys:
        return tuple(Column(name, key=key) for name, key in zip(names, keys, strict=True)), features
    raise ParameterError(
        f"{features.title} names its columns only on a topology; give topology=, or the TimeSeries that it made"
    )


def check_columns(theirs: Sequence[Column], ours: Sequence[Column], kind: str) -> None:
    """Refuse columns that are not those of a model; see :meth:`mdinsight.cvs.CVModel.check_columns`."""
    if not (_numbered(theirs) or _numbered(ours)):
        got, wanted = [c.key or c.name for c in theirs], [c.key or c.name for c in ours]
        if got != wanted:
            raise SelectionError(_mismatch(theirs, ours, got, wanted, kind))
    if len(theirs) != len(ours):
        raise SelectionError(
            f"the data have {len(theirs)} columns, this {kind} model was fitted on {len(ours)}; "
            "compute the same features (model.features)"
        )


def _numbered(columns: Sequence[Column]) -> bool:
    return all(column.name == str(i) and not column.kind for i, column in enumerate(columns))


def _mismatch(theirs: Sequence[Column], ours: Sequence[Column], got: list[str], wanted: list[str], kind: str) -> str:
    missing = [repr(c.name) for c, key in zip(ours, wanted, strict=True) if key not in set(got)]
    unknown = [repr(c.name) for c, key in zip(theirs, got, strict=True) if key not in set(wanted)]
    parts = []
    if missing:
        parts.append(f"missing are {some(missing)}")
    if unknown:
        parts.append(f"not known to the model are {some(unknown)}")
    if not parts:
        first = next(
            (i for i, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), len(wanted))
        )
        names = [cs[first].name if first < len(cs) else "absent" for cs in (theirs, ours)]
        parts.append(f"the order differs: column {first} is {names[0]!r}, the model has {names[1]!r}")
    return (
        f"the columns of the data are not those that this {kind} model was fitted on: {'; '.join(parts)}. "
        "Compute them with model.features.transform(trajectories)"
    )
