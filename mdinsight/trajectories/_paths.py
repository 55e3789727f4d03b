"""Which files and objects a user means, and which topology goes with each."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np

from mdinsight.errors import ParameterError, TrajectoryError

_LONGEST = 120


@dataclass(frozen=True)
class Entry:
    """One file or one object in memory, with the topology that was given for it (None: none)."""

    item: Any
    top: Any


def resolve(paths: Any, top: Any) -> list[Entry]:
    """Every file and object, in order; files that match a glob are sorted naturally (2 before 10).

    Raises
    ------
    TrajectoryError
        If a glob matches nothing, a file is missing, empty or a folder.
    ParameterError
        If ``top`` is a list whose length does not fit.
    """
    given = list(paths) if isinstance(paths, (list, tuple)) else [paths]
    if not given:
        raise ParameterError("no trajectory was given; give at least one path")
    tops = list(top) if isinstance(top, (list, tuple)) else [top] * len(given)
    if len(tops) == 1:
        tops *= len(given)
    if len(tops) != len(given):
        raise ParameterError(
            f"{len(tops)} topologies for {len(given)} entries of paths; give one for each entry, or one for all"
        )
    entries = [Entry(item, one) for group, one in zip(given, tops, strict=True) for item in _flatten(group)]
    for entry in entries:
        if isinstance(entry.item, Path):
            _check_file(entry.item)
    return entries


def is_universe(item: Any) -> bool:
    """Whether an object is an MDAnalysis Universe; MDAnalysis is not imported to tell."""
    return type(item).__module__.startswith("MDAnalysis") and type(item).__name__ == "Universe"


def told(given: Any) -> str:
    """How an error calls what was given: by its kind where its content would fill the screen."""
    if isinstance(given, np.ndarray):
        return f"an array of shape {given.shape}"
    text = repr(given)
    return text if len(text) <= _LONGEST and "\n" not in text else f"an object of type {type(given).__name__}"


def natural(path: str) -> list[tuple[int, int, str]]:
    """A key that sorts numbers in names by their value."""
    return [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in re.split(r"(\d+)", path) if word]


def labels(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    for depth in range(1, max((len(path.parts) for path in paths), default=1) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            return names
    return [str(path) for path in paths]


def _flatten(group: Any) -> list[Any]:
    if isinstance(group, (list, tuple)):
        if not group:
            raise ParameterError("an empty list was given among the paths; give at least one path")
        return [item for part in group for item in _flatten(part)]
    if isinstance(group, (str, os.PathLike)):
        return _expand(str(Path(group).expanduser()))
    if isinstance(group, mdtraj.Trajectory) or is_universe(group):
        return [group]
    raise ParameterError(
        f"{told(group)} is no trajectory; give a path, a glob, an mdtraj.Trajectory or an MDAnalysis Universe"
    )


def _expand(text: str) -> list[Path]:
    if not glob.has_magic(text) or Path(text).exists():
        return [Path(text)]
    found = [name for name in glob.glob(_literal_folder(text), recursive=True) if not Path(name).is_dir()]
    if not found:
        raise TrajectoryError(f"no file matches {text!r} (looked from {Path.cwd()}); check the pattern")
    return [Path(name) for name in sorted(found, key=natural)]


def _literal_folder(text: str) -> str:
    """The pattern with the signs of a pattern escaped in the longest folder that is there under just this name."""
    for folder in Path(text).parents:
        if glob.has_magic(str(folder)) and folder.is_dir():
            return glob.escape(str(folder)) + text[len(str(folder)) :]
    return text


def _check_file(path: Path) -> None:
    if not path.exists():
        raise TrajectoryError(f"{path} does not exist (looked from {Path.cwd()}); check the path")
    if path.is_dir():
        raise TrajectoryError(f"{path} is a folder; name the files in it, e.g. '{path}/*.xtc'")
    if path.stat().st_size == 0:
        raise TrajectoryError(f"{path} is empty; leave it out")
