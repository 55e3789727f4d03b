"""What stands where in a run directory, and what is found where no run is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from mdinsight.errors import StoreError
from mdinsight.store._content import unsealed
from mdinsight.store._disk import read_bytes, reading
from mdinsight.words import some

RUN = "run.json"
LOCK = ".lock"
STAGING = ".staging"
SEGMENTS = "segments"
QUARANTINE = "quarantine"
NEW_RUN = f".{RUN}.new"


def is_run(folder: Path) -> bool:
    """Whether a run was created there."""
    with reading(folder):
        return (folder / RUN).is_file()


def identity_in(folder: Path) -> dict[str, Any]:
    """The identity in ``run.json``; StoreError if there is no run or it was damaged."""
    if not is_run(folder):
        raise StoreError(f"{folder} is no run directory: {_found(folder)}")
    remedy = f"bring {RUN} back from a copy of the run; the segments beside it are not touched by this"
    content = unsealed(read_bytes(folder / RUN, str(folder), remedy), folder / RUN, remedy)
    if not isinstance(content.get("identity"), dict):
        raise StoreError(f"{folder / RUN} says nothing of what the run is; {remedy}")
    return content["identity"]


def _found(folder: Path) -> str:
    """What stands where a run was looked for, and what to give instead."""
    if not folder.exists():
        return "it does not exist; give the folder of a run"
    if not folder.is_dir():
        return "it is a file; give the folder of a run"
    above = next((parent for parent in folder.parents if os.path.isfile(parent / RUN)), None)
    if above:
        return f"it is a part of the run {above}; give that"
    try:
        names = sorted(item.name for item in folder.iterdir())
    except OSError as error:
        return f"it cannot be read ({error.strerror}); make it readable for this user"
    runs = [name for name in names if os.path.isfile(folder / name / RUN)]
    if runs:
        return f"it has no {RUN}, but holds runs; give one of them: {some(runs)}"
    if not [name for name in names if not _own_leftover(name)]:
        return "it is empty, or creating a run there was interrupted; create it again"
    return f"it has no {RUN}; it holds {some(names)}. Give the folder of a run, or create one in a new folder"


def _own_leftover(name: str) -> bool:
    """Whether a creation that was interrupted may have left this."""
    return name in (LOCK, NEW_RUN)


def refuse_occupied(folder: Path) -> None:
    """Raise StoreError if a run cannot be created there, because something else is there."""
    if is_run(folder):
        raise StoreError(f"{folder} is a run already; open it, or give another folder")
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"cannot create a run at {folder}: it is a file; give a new folder")
    with reading(folder):
        names = sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in names if not _own_leftover(name)]
    if others:
        raise StoreError(f"cannot create a run in {folder}: it holds {some(others)}; give a new or an empty folder")


def inside(folder: Path) -> list[Path]:
    """What stands in a folder of the run, sorted, without what systems hide there; nothing if there is no such folder."""
    with suppress(FileNotFoundError), reading(folder):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return []
