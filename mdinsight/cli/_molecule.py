"""From the command line to a plan: the same settings as a YAML file, under shorter names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mdinsight.cli._common import named_features
from mdinsight.errors import ParameterError

_KINDS = {
    **dict.fromkeys((".pdb", ".ent"), "pdb"),
    **dict.fromkeys((".cif", ".mmcif", ".pdbx"), "cif"),
    **dict.fromkeys((".prmtop", ".parm7"), "prmtop"),
    ".top": "top",
    ".psf": "psf",
    ".xml": "xml",
    ".mdi": "saved",
}
_COORDINATES = {"prmtop": "coordinates", "top": "gro", "psf": "coordinates", "xml": "structure"}

SYSTEM = ("forcefield", "solvent", "temperature", "timestep", "hydrogen_mass", "platform")
PLACES = {
    "cv": ("cv", "method"),
    "cv_lag": ("cv", "lag"),
    "dim": ("cv", "dim"),
    "bias": ("bias", "method"),
    "barrier": ("bias", "barrier"),
    **{name: ("system", name) for name in SYSTEM},
}
"""Where an option stands in a plan; others stand at its top, under their own names."""

_BARE = ("temperature", "barrier")
"""Options that say their unit: a number alone is in it."""


def content_of(
    file: str | None, sequence: str | None, coords: str | None, parameters: tuple[str, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """The plan of a command line as plain data.

    Raises
    ------
    ParameterError
        If no molecule is given, two are, or its file is of no known kind.
    """
    content: dict[str, Any] = {"system": _molecule(file, sequence, coords, parameters)}
    for name, value in options.items():
        section, key = PLACES.get(name, ("", name))
        if name == "features":
            value = named_features(value)
        elif name in _BARE:
            value = _number(value)
        if section:
            content.setdefault(section, {})[key] = value
        else:
            content[key] = value
    if "cv" in content:
        content["cv"].setdefault("method", "tica")
    if "bias" in content:
        content["bias"].setdefault("method", "opes")
    return content


def _number(text: str) -> float | str:
    """A number alone as one; what has a unit, or is none, as it stands."""
    try:
        return float(text)
    except ValueError:
        return text


def _molecule(
    file: str | None, sequence: str | None, coords: str | None, parameters: tuple[str, ...]
) -> dict[str, Any]:
    if file is not None and sequence is not None:
        raise ParameterError(f"{file} and --sequence {sequence} are two molecules; give one of them")
    if sequence is not None:
        found: dict[str, Any] = {"sequence": sequence}
    elif file is not None:
        found = {_kind(file): file}
    else:
        raise ParameterError("no molecule is given; give a structure, a plan, the folder of a run, or --sequence AAA")
    kind = next(iter(found))
    place = _COORDINATES.get(kind)
    if coords is not None:
        if place is None:
            raise ParameterError(
                f"--coords {coords} does not go with {found[kind]}, which has coordinates; leave it out"
            )
        found[place] = coords
    elif place is not None:
        raise ParameterError(f"{file} has no coordinates; give the file that has, with --coords")
    if parameters:
        found["parameters"] = parameters
    elif kind == "psf":
        raise ParameterError(f"{file} has no parameters; give the CHARMM parameter files, each with --parameters")
    return found


def _kind(file: str) -> str:
    path = Path(file)
    kind = _KINDS.get(path.suffix.lower())
    if kind is None and path.suffix.lower() == ".gro":
        raise ParameterError(f"{file} has no force field; give the topology (.top), and this one with --coords")
    if kind is None:
        raise ParameterError(
            f"{file} is of no known kind; give .pdb, .cif, .prmtop, .top, .psf, .xml (a System of OpenMM), .yaml (a plan), "
            "or the folder of a run"
        )
    if not path.exists():
        raise ParameterError(f"{file} does not exist; give the file of a molecule, a plan, or the folder of a run")
    if kind == "top":
        with path.open("rb") as handle:  # Amber's may have this ending, too
            return "prmtop" if handle.read(8) == b"%VERSION" else "top"
    return kind
