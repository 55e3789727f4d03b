"""Force fields and solvents by name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdinsight.engine import _caps
from mdinsight.errors import ForceFieldError, ParameterError

_SHORT = {
    "amber14": "amber14-all.xml",
    "amber19": "amber19-all.xml",
    "ff14sb": "amber14/protein.ff14SB.xml",
    "ff19sb": "amber19/protein.ff19SB.xml",
    "ff99sb": "amber99sb.xml",
    "ff99sbildn": "amber99sbildn.xml",
    "charmm": "charmm36.xml",
}

IMPLICIT = ("obc2", "gbn2", "obc1", "gbn", "hct")
"""Implicit solvents: generalised Born models as Amber names them."""

EXPLICIT = {
    "tip3p": "tip3p",
    "tip3pfb": "tip3p",
    "spce": "tip3p",
    "opc3": "tip3p",
    "tip4pew": "tip4pew",
    "tip4pfb": "tip4pew",
    "opc": "tip4pew",
    "tip5p": "tip5p",
}
"""Explicit waters, each with the kind of water box that OpenMM fills the box from."""


def solvent_name(solvent: Any) -> str:
    """``"vacuum"``, or a known implicit or explicit solvent.

    Raises
    ------
    ParameterError
        If it is unknown; the nearest known one is named.
    """
    known = ("vacuum", *IMPLICIT, *EXPLICIT)
    if solvent is None:
        return "vacuum"
    name = str(solvent).lower().replace("-", "").replace("/", "") if isinstance(solvent, str) else ""
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise ParameterError(f"solvent={solvent!r} is not known{hint}; known are {', '.join(known)}")
    return name


def short_name(name: str) -> str:
    """A force field as one would name it: ``"amber14 (amber14-all.xml)"``."""
    short = next((key for key, file in _SHORT.items() if file == name), None)
    return f"{short} ({name})" if short else name


def files_of(forcefield: str | Path | Sequence[str | Path], solvent: str) -> tuple[str, ...]:
    """The files of a force field given by name, and of the water that goes with it."""
    names = [forcefield] if isinstance(forcefield, (str, Path)) else list(forcefield)
    files = [_file(name) for name in names]
    if solvent in EXPLICIT:
        first = files[0]
        for family in ("amber14", "amber19"):
            if first.startswith(family):
                return (*files, f"{family}/{solvent}.xml")
        if first.startswith("charmm36"):
            return (*files, f"{Path(first).stem}/{'water' if solvent == 'tip3p' else solvent}.xml")
        return (*files, f"{solvent}.xml")
    return tuple(files)


def load(forcefield: Any, solvent: str) -> tuple[Any, str]:
    """An ``openmm.app.ForceField`` and its name.

    Raises
    ------
    ForceFieldError
        If a file is not there or cannot be read; the nearest known name is given.
    """
    from openmm import app

    if isinstance(forcefield, app.ForceField):
        return _caps.wrapped(forcefield), "a ForceField object"
    if not forcefield or not isinstance(forcefield, (str, Path, tuple, list)):
        raise ForceFieldError(
            f"forcefield={forcefield!r} is no force field; give a name such as 'amber14', files, or an openmm.app.ForceField"
        )
    files = files_of(forcefield, solvent)
    given = files[: 1 if isinstance(forcefield, (str, Path)) else len(forcefield)]
    if len(given) < len(files) and _has_water(_load(given)):
        files = given
    return _caps.wrapped(_load(files)), ", ".join(Path(file).name if Path(file).exists() else file for file in files)


def check_own_solvent(field_name: str, system: Any) -> None:
    """Refuse a force field that brings implicit solvent of its own: it would be there twice, or where none was asked for."""
    own = [
        force.getName()
        for force in system.getForces()
        if "GB" in type(force).__name__ or "GeneralizedKirkwood" in force.getName()
    ]
    if own:
        raise ForceFieldError(
            f"the force field ({field_name}) adds implicit solvent of its own ({own[0]}); leave that file out and name the "
            f"solvent instead (solvent={IMPLICIT[0]!r})"
        )


def number_types(system: Any) -> None:
    """Number the atom types of Lennard-Jones tables by their first atom.

    OpenMM numbers those of CHARMM by a set of strings, so differently in each process; the same system would have another hash.
    """
    from openmm import CustomNonbondedForce

    for force in system.getForces():
        if not isinstance(force, CustomNonbondedForce) or force.getName() != "LennardJones":
            continue
        types = [int(force.getParticleParameters(i)[0]) for i in range(force.getNumParticles())]
        order = list(dict.fromkeys(types))
        new = {old: number for number, old in enumerate(order)}
        for index, old in enumerate(types):
            force.setParticleParameters(index, [new[old]])
        for number in range(force.getNumTabulatedFunctions()):
            table = force.getTabulatedFunction(number)
            rows, columns, values = table.getFunctionParameters()
            square = np.array(values).reshape(columns, rows)[np.ix_(order, order)]
            table.setFunctionParameters(len(order), len(order), square.ravel().tolist())


def _load(files: Sequence[str]) -> Any:
    from openmm import app

    try:
        return app.ForceField(*files)
    except Exception as error:  # the reader of OpenMM raises nearly anything on a broken file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "ould not locate" in reason:
            raise _unknown(reason.split('"')[1] if '"' in reason else files[0]) from None
        raise ForceFieldError(f"the force field {', '.join(files)} cannot be read: {reason}") from error


def _has_water(field: Any) -> bool:
    return "HOH" in field._templates


def _file(name: Any) -> str:
    text = str(name)
    if Path(text).expanduser().is_file():
        return str(Path(text).expanduser())
    if text.lower() in _SHORT:
        return _SHORT[text.lower()]
    known = _known()
    for candidate in (text, f"{text}.xml", text.lower(), f"{text.lower()}.xml"):
        if candidate in known:
            return candidate
    raise _unknown(text)


def _known() -> list[str]:
    """The force field files that OpenMM finds by name, those of packages such as openmmforcefields included."""
    from openmm.app.forcefield import _getDataDirectories

    folders = [Path(folder) for folder in _getDataDirectories() if Path(folder).is_dir()]
    return sorted({file.relative_to(folder).as_posix() for folder in folders for file in folder.rglob("*.xml")})


def _unknown(name: str) -> ForceFieldError:
    known = [*_SHORT, *_known()]
    near = difflib.get_close_matches(name, known, 3, 0.4) or ["amber14-all.xml", "amber99sb.xml", "charmm36.xml"]
    return ForceFieldError(
        f"the force field {name!r} is neither known nor a file; the nearest known are {', '.join(near)}"
    )
