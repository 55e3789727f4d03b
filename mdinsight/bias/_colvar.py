"""PLUMED's COLVAR, read as time series or as the trace of a biased run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mdinsight.bias._hills import Hills
from mdinsight.bias._plumed_files import PathLike, Table, as_paths, read_table, require
from mdinsight.bias._trace import Trace
from mdinsight.errors import DataWarning, FormatError, SelectionError, warn_user
from mdinsight.series import Column, Origin, TimeSeries
from mdinsight.words import counted, some

_OPES = ("zed", "neff", "nker")
_METADYNAMICS = ("rct", "rbias", "work", "acc")


def read_colvar(paths: PathLike | Sequence[PathLike], columns: Sequence[str] | None = None) -> TimeSeries:
    """What PLUMED's ``PRINT`` wrote, as a time series: one array for each file, float64.

    Where a run was restarted from before its last row, the rows that were computed again replace the earlier ones.

    Parameters
    ----------
    paths
        A file, or one for each walker.
    columns
        Names of the columns; by default all but the time. Periodic ones keep their period.

    Raises
    ------
    FormatError
        If a file is no such table.
    SelectionError
        If a column is not there.
    NonFiniteError
        If a number is NaN or infinite.

    Warns
    -----
    DataWarning
        Counting torn lines and rows that a restart replaced.
    """
    tables = [whole_run(read_table(path)) for path in as_paths(paths)]
    names = [name for name in tables[0].fields if name != "time"] if columns is None else list(columns)
    for table in tables:
        require(table, names)
        if not len(table.rows):
            raise FormatError(f"{table.path} has a header but no rows")
    steps = {round(float(step), 9) for table in tables for step in np.diff(table.column("time"))}
    dt = steps.pop() if len(steps) == 1 else None
    return TimeSeries(
        [np.column_stack([table.column(name) for name in names]) for table in tables],
        dt,
        [Column(name, kind="cv", key=name, period=tables[0].period(name)) for name in names],
        [Origin(str(table.path)) for table in tables],
    )


def read_trace(
    paths: PathLike | Sequence[PathLike],
    coordinates: Sequence[str],
    *,
    temperature: Any,
    timestep: float | None = None,
    adaptive: Sequence[str] | None = None,
    hills: Hills | None = None,
) -> Trace:
    """What PLUMED's ``PRINT`` wrote of a biased run, for its free energies.

    Parameters
    ----------
    paths
        A file, or one for each walker.
    coordinates
        The columns to keep, such as those that the bias acts on.
    temperature
        K.
    timestep
        ps, to number the steps; by default the rows are numbered.
    adaptive
        Labels whose ``.bias`` changes during the run; by default those called ``metad...`` or ``opes...`` and those that
        print what only such have (``rct``, ``zed``, ``neff``). Every other ``.bias`` is a fixed one.
    hills
        Of a metadynamics whose ``rct`` was not printed: c(t) is computed from them.

    Returns
    -------
    Trace
        Its ``offset`` is the ``rct`` of metadynamics; that of OPES is no offset and left out.

    Raises
    ------
    FormatError
        If a file is no such table, or has no column of a bias.
    SelectionError
        If a coordinate or a label is not there.
    NonFiniteError
        If a number is NaN or infinite.

    Warns
    -----
    DataWarning
        If c(t) of a metadynamics is not known; or lines are torn, or rows were replaced after a restart.
    """
    tables = [whole_run(read_table(path)) for path in as_paths(paths)]
    fields = tables[0].fields
    labels = [name[: -len(".bias")] for name in fields if name.endswith(".bias")]
    if not labels:
        raise FormatError(
            f"{tables[0].path} has no column such as opes.bias ({some(fields, 8)}); print it, or take read_colvar"
        )
    chosen = [label for label in labels if _adaptive(label, fields)] if adaptive is None else list(adaptive)
    missing = [label for label in chosen if label not in labels]
    if missing:
        raise SelectionError(
            f"{tables[0].path} has no {some([f'{label}.bias' for label in missing])}; it has {some(fields, 8)}"
        )
    for table in tables:
        require(table, [*coordinates, *(f"{label}.bias" for label in labels)])
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("step", "time", "s", "bias", "fixed", "offset")}
    for table in tables:
        time = table.column("time")
        columns["step"].append(np.arange(len(time)) if timestep is None else np.rint(time / timestep).astype(np.int64))
        columns["time"].append(time)
        columns["s"].append(np.column_stack([table.column(name) for name in coordinates]))
        columns["bias"].append(_sum(table, [f"{label}.bias" for label in chosen]))
        columns["fixed"].append(_sum(table, [f"{label}.bias" for label in labels if label not in chosen]))
        columns["offset"].append(_offset(table, chosen, temperature, hills))
    return Trace(
        names=tuple(coordinates),
        periods=tuple(tables[0].period(name) for name in coordinates),
        temperature=temperature,
        walker=np.concatenate([np.full(len(t.rows), i, dtype=np.int32) for i, t in enumerate(tables)]),
        **{name: np.concatenate(parts) for name, parts in columns.items()},
    )


def _adaptive(label: str, fields: Sequence[str]) -> bool:
    known = label.lower().startswith(("metad", "opes"))
    return known or any(f"{label}.{name}" in fields for name in (*_OPES, *_METADYNAMICS))


def _sum(table: Table, names: Sequence[str]) -> np.ndarray:
    return np.sum([table.column(name) for name in names], axis=0) if names else np.zeros(len(table.rows))


def _offset(table: Table, labels: Sequence[str], temperature: Any, hills: Hills | None) -> np.ndarray:
    total = np.zeros(len(table.rows))
    for label in labels:
        if label.lower().startswith("opes") or any(f"{label}.{name}" in table.fields for name in _OPES):
            continue
        if f"{label}.rct" in table.fields:
            total += table.column(f"{label}.rct")
        elif hills is not None:
            # PLUMED prints a step before it deposits in it
            before = np.searchsorted(hills.time, table.column("time"), side="left")
            total += np.append(0.0, hills.offsets(temperature))[before]
        else:
            warn_user(
                f"{table.path}: {label}.rct is not there, so c(t) is taken as zero and frames of different times cannot be "
                "weighed together; print it (CALC_RCT), or give hills=read_hills(...)",
                DataWarning,
            )
    return total


def whole_run(table: Table) -> Table:
    """The rows with time ascending: after a restart from an earlier time the earlier rows are left out."""
    require(table, ["time"])
    time = table.column("time")
    if not len(time):
        return table
    # a row stays if every later one is later in time; so the last of several at one time is kept
    after = np.minimum.accumulate(time[::-1])[::-1]
    keep = np.append(time[:-1] < after[1:], True)
    if not keep.all():
        warn_user(
            f"{table.path}: {counted(int((~keep).sum()), 'row')} left out, as they were computed again after a restart",
            DataWarning,
        )
    return table._replace(rows=table.rows[keep], restarts=table.restarts[keep])
