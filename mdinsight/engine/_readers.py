"""Systems of other packages: an OpenMM XML, and the topologies of Amber, Gromacs and CHARMM."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mdinsight.engine import _implicit
from mdinsight.engine._build import periodic_options
from mdinsight.engine._complete import existing
from mdinsight.engine._forcefields import IMPLICIT, solvent_name
from mdinsight.errors import ForceFieldError, MdinsightError, ParameterError, TopologyError

_AMBER_CONSTANTS = {"hct": "HCT", "obc1": "OBC1", "obc2": "OBC2", "gbn": "GBn", "gbn2": "GBn2"}


class Made(NamedTuple):
    """What :meth:`System.from_openmm` takes."""

    system: Any
    topology: Any
    positions: Any
    box: Any
    description: dict[str, str]


def xml(source: Any, structure: Any) -> Made:
    """See :meth:`System.from_xml`."""
    from openmm import System, XmlSerializer

    if isinstance(source, str) and source.lstrip().startswith("<"):
        text, name = source, "XML"
    else:
        path = existing(source, "the system")
        text, name = path.read_text(errors="replace"), path.name
    try:
        system = XmlSerializer.deserialize(text)
    except Exception as error:
        raise ForceFieldError(f"{name} cannot be read as OpenMM's XML: {_reason(error)}") from error
    if not isinstance(system, System):
        raise ForceFieldError(
            f"{name} holds {type(system).__name__}, not a System; write it with openmm.XmlSerializer.serialize(system)"
        )
    found = _structure(structure)
    return Made(system, found.topology, found.positions, found.box, {"source": name, "structure": found.name})


def amber(prmtop: Any, coordinates: Any, solvent: Any, mass: float | None) -> Made:
    """See :meth:`System.from_amber`."""
    from openmm import app

    path, found = existing(prmtop, "the Amber topology"), _structure(coordinates)
    box = _wanted_box(found, solvent)
    parsed = _read(path, "an Amber topology", lambda: app.AmberPrmtopFile(str(path), periodicBoxVectors=_vectors(box)))
    if box is not None and parsed.topology.getPeriodicBoxVectors() is None:
        box = None
    own = _own_solvent(solvent, box, "Amber")
    options = _options(box, mass, charmm=False)
    if own in IMPLICIT:
        options["implicitSolvent"] = getattr(app, _AMBER_CONSTANTS[own])
    system = _read(path, "an Amber topology", lambda: parsed.createSystem(**options))
    return _finished(system, parsed.topology, found, box, own, path.name)


def gromacs(top: Any, gro: Any, include_dir: Any, solvent: Any, mass: float | None) -> Made:
    """See :meth:`System.from_gromacs`."""
    from openmm import app

    path, found = existing(top, "the Gromacs topology"), _structure(gro)
    box = _wanted_box(found, solvent)
    include = {} if include_dir is None else {"includeDir": os.fspath(include_dir)}
    parsed = _read(
        path,
        "a Gromacs topology (files that it includes are looked for beside it and in include_dir)",
        lambda: app.GromacsTopFile(str(path), periodicBoxVectors=_vectors(box), **include),
    )
    own = _own_solvent(solvent, box, "Gromacs")
    options = _options(box, mass, charmm=False)
    system = _read(path, "a Gromacs topology", lambda: parsed.createSystem(**options))
    if own in IMPLICIT:
        _implicit.add(system, parsed.topology, own)
    return _finished(system, parsed.topology, found, box, own, path.name)


def charmm(psf: Any, params: Any, structure: Any, solvent: Any, mass: float | None) -> Made:
    """See :meth:`System.from_charmm`."""
    from openmm import app

    path, found = existing(psf, "the CHARMM topology"), _structure(structure)
    names = [params] if isinstance(params, (str, os.PathLike)) else list(params)
    files = [existing(name, "the CHARMM parameters") for name in names]
    box = _wanted_box(found, solvent)
    parsed = _read(path, "a CHARMM PSF", lambda: app.CharmmPsfFile(str(path), periodicBoxVectors=_vectors(box)))
    parameters = _read(files[0], "CHARMM parameters", lambda: app.CharmmParameterSet(*map(str, files)))
    own = _own_solvent(solvent, box, "CHARMM")
    options = _options(box, mass, charmm=True)
    if own in IMPLICIT:
        options["implicitSolvent"] = getattr(app, _AMBER_CONSTANTS[own])
    system = _read(path, "a CHARMM PSF with these parameters", lambda: parsed.createSystem(parameters, **options))
    return _finished(system, parsed.topology, found, box, own, path.name)


class _Found(NamedTuple):
    topology: Any
    positions: Any
    box: np.ndarray | None
    name: str


def _structure(path: Any) -> _Found:
    """Positions, the box if there is one, and the topology if the format has it."""
    from openmm import app, unit

    path = existing(path, "the structure")
    suffix = path.suffix.lower()
    kind: Callable[[str], Any]
    if suffix in (".pdb", ".ent"):
        kind = app.PDBFile
    elif suffix in (".cif", ".mmcif", ".pdbx"):
        kind = app.PDBxFile
    elif suffix == ".gro":
        kind = app.GromacsGroFile
    elif suffix in (".inpcrd", ".rst7", ".rst", ".ncrst", ".restrt", ".crd", ".cor"):
        kind = _coordinates
    else:
        raise TopologyError(f"{path} is of no known kind; give .pdb, .cif, .gro, .inpcrd, .rst7 or .crd")
    parsed = _read(path, "coordinates", lambda: kind(str(path)))
    topology = getattr(parsed, "topology", None)
    vectors = topology.getPeriodicBoxVectors() if topology is not None else None
    if vectors is None and hasattr(parsed, "getPeriodicBoxVectors"):
        vectors = parsed.getPeriodicBoxVectors()
    elif vectors is None:
        vectors = getattr(parsed, "boxVectors", None)
    box = None if vectors is None else np.array(vectors.value_in_unit(unit.nanometer), np.float64)
    return _Found(topology, parsed.positions, box if box is not None and box.any() else None, path.name)


def _coordinates(name: str) -> Any:
    """Amber's coordinates, or else CHARMM's, which use the same endings."""
    from openmm import app

    try:
        return app.AmberInpcrdFile(name)
    except Exception as error:
        if not name.endswith((".crd", ".cor")):
            raise
        try:
            return app.CharmmCrdFile(name)
        except Exception:
            raise error from None


def _read(path: Path, what: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except MdinsightError:
        raise
    except Exception as error:  # the readers of OpenMM raise nearly anything
        raise ForceFieldError(f"{path} cannot be used as {what}: {_reason(error)}") from error


def _wanted_box(found: _Found, solvent: Any) -> np.ndarray | None:
    """The box of the files, unless a solvent without one was asked for."""
    return found.box if solvent is None else None


def _own_solvent(solvent: Any, box: np.ndarray | None, package: str) -> str:
    name = "as in the files" if solvent is None else solvent_name(solvent)
    if solvent is not None and name != "vacuum" and name not in IMPLICIT:
        raise ParameterError(
            f"solvent={solvent!r}: water is not added to a topology of {package}; put it there with that package and leave "
            "solvent away, or name an implicit one"
        )
    return name if box is not None or solvent is not None else "vacuum"


def _options(box: np.ndarray | None, mass: float | None, charmm: bool) -> dict[str, Any]:
    from openmm import app, unit

    options = {"nonbondedMethod": app.NoCutoff} if box is None else periodic_options(charmm)
    return {**options, "constraints": app.HBonds, "hydrogenMass": None if mass is None else mass * unit.dalton}


def _vectors(box: np.ndarray | None) -> Any:
    from openmm import Vec3, unit

    return None if box is None else [Vec3(*map(float, row)) for row in box] * unit.nanometer


def _finished(system: Any, topology: Any, found: _Found, box: Any, solvent: str, name: str) -> Made:
    if solvent == "obc2":
        for index, force in enumerate(system.getForces()):
            if "GB" in type(force).__name__ and "Custom" in type(force).__name__:
                system.addForce(_implicit.native(force))
                system.removeForce(index)
                break
    return Made(system, topology, found.positions, box, {"source": name, "structure": found.name, "solvent": solvent})


def _reason(error: Exception) -> str:
    lines: Sequence[str] = (str(error).strip() or type(error).__name__).splitlines()
    return lines[0]
