"""The molecule of a plan, as it stands in a file: where it comes from, its force field and its conditions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from mdinsight import configs, units
from mdinsight.engine import System
from mdinsight.records import load

_Number = str | float


class _Source(NamedTuple):
    """How a system is made of one kind of source."""

    maker: str
    needs: dict[str, str]
    """Other files that it must have: key here, parameter there."""
    takes: tuple[str, ...]


_BUILT = ("forcefield", "solvent", "ph", "padding", "ionic_strength", "hydrogen_mass")
_CONDITIONS = ("temperature", "timestep", "friction", "platform")

SOURCES = {
    "pdb": _Source("from_pdb", {}, (*_BUILT, "complete", *_CONDITIONS)),
    "cif": _Source("from_pdb", {}, (*_BUILT, "complete", *_CONDITIONS)),
    "sequence": _Source("from_sequence", {}, (*_BUILT, "caps", *_CONDITIONS)),
    "prmtop": _Source("from_amber", {"coordinates": "coordinates"}, ("solvent", "hydrogen_mass", *_CONDITIONS)),
    "top": _Source("from_gromacs", {"gro": "gro"}, ("include_dir", "solvent", "hydrogen_mass", *_CONDITIONS)),
    "psf": _Source(
        "from_charmm",
        {"parameters": "params", "coordinates": "structure"},
        ("solvent", "hydrogen_mass", *_CONDITIONS),
    ),
    "xml": _Source("from_xml", {"structure": "structure"}, _CONDITIONS),
    "saved": _Source("", {}, ()),
}
"""What a molecule can be made of, by the key that names it."""

_FILES = (*(name for name in SOURCES if name != "sequence"), "coordinates", "gro", "parameters", "structure")
_LISTS = ("parameters", "forcefield")


class Molecule(configs.Section):
    """Which molecule, in which force field and solvent, under which conditions.

    One of the first eight keys says what it is made of; what the others mean is said at ``System.from_pdb``,
    ``from_sequence``, ``from_amber``, ``from_gromacs``, ``from_charmm`` and ``from_xml``.
    """

    pdb: str | None = Field(None, description="a PDB file")
    cif: str | None = Field(None, description="an mmCIF file")
    sequence: str | None = Field(None, description="one-letter codes, in quotes")
    prmtop: str | None = Field(None, description="an Amber topology")
    top: str | None = Field(None, description="a Gromacs topology")
    psf: str | None = Field(None, description="a CHARMM topology")
    xml: str | None = Field(None, description="a System written by OpenMM's XmlSerializer")
    saved: str | None = Field(None, description="a System or a Plan that was saved as .mdi")
    coordinates: str | None = Field(None, description="inpcrd, rst7, CRD or PDB")
    gro: str | None = Field(None, description="a GRO or PDB file")
    parameters: tuple[str, ...] | None = Field(None, description="CHARMM parameter files")
    structure: str | None = Field(None, description="a PDB or mmCIF file of the same atoms")
    include_dir: str | None = Field(None, description="the folder of Gromacs' force fields")
    forcefield: tuple[str, ...] | None = Field(None, description="a name such as amber14, or files")
    solvent: str | None = Field(None, description="vacuum, obc2, gbn2, tip3p, ...")
    temperature: _Number | None = Field(None, description="in K")
    timestep: _Number | None = Field(None, description="e.g. '2 fs'")
    friction: float | None = Field(None, description="1/ps")
    hydrogen_mass: float | None = Field(None, description="u, e.g. 3 for steps of 4 fs")
    ph: float | None = Field(None, description="a number, e.g. 7")
    padding: _Number | None = Field(None, description="e.g. '1 nm'")
    ionic_strength: float | None = Field(None, description="mol/L, e.g. 0.15")
    caps: bool | None = Field(None, description="true or false")
    complete: bool | None = Field(None, description="true or false")
    platform: str | None = Field(None, description="a platform of OpenMM such as CUDA")

    @field_validator("temperature", "timestep", "padding")
    @classmethod
    def _quantities(cls, value: Any, info: Any) -> Any:
        if value is not None:
            dimension = {"temperature": "temperature", "timestep": "time", "padding": "length"}[info.field_name]
            where = f"system.{info.field_name}"
            if units.convert(value, dimension, where) <= 0:
                raise ValueError(f"{where}={value!r} is not positive")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        named = [name for name in SOURCES if name in self._given]
        if len(named) != 1:
            what = f"names {' and '.join(named)}" if named else "names no molecule"
            raise ValueError(f"it {what}; give one of {', '.join(SOURCES)}")
        source = SOURCES[named[0]]
        missing = [name for name in source.needs if name not in self._given]
        if missing:
            raise ValueError(f"{named[0]} needs {' and '.join(missing)} beside it")
        allowed = (named[0], *source.needs, *source.takes)
        wrong = [name for name in self._given if name not in allowed]
        if wrong:
            raise ValueError(
                f"{' and '.join(wrong)} cannot go with {named[0]}; it takes {', '.join(allowed[1:]) or 'none'}"
            )
        return self

    @property
    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in self if value is not None}

    @property
    def source(self) -> tuple[str, str]:
        """The kind of what it is made of, and its name."""
        return next((name, str(self._given[name])) for name in SOURCES if name in self._given)

    @classmethod
    def normal(cls, content: Mapping[str, Any], place: Callable[[str], str]) -> dict[str, Any]:
        """Plain data with one file written out as a list of it where a list is taken, and paths placed."""
        done = {str(key): value for key, value in content.items()}
        for name in _LISTS:
            if isinstance(done.get(name), (str, os.PathLike)):
                done[name] = (done[name],)
            elif isinstance(done.get(name), list):
                done[name] = tuple(done[name])
        for name in (*_FILES, "include_dir"):
            done[name] = _placed(done.get(name), place)
        if isinstance(done.get("forcefield"), tuple):
            names = [(name, _placed(name, place)) for name in done["forcefield"]]
            done["forcefield"] = tuple(path if os.path.isfile(str(path)) else name for name, path in names)
        return {name: value for name, value in done.items() if value is not None}

    def build(self) -> System:
        """The system.

        Raises
        ------
        TopologyError, ForceFieldError, ParameterError
            If it cannot be built; see :class:`mdinsight.engine.System`.
        """
        kind, name = self.source
        if kind == "saved":
            found: Any = load(name)
            return getattr(found, "system", found)  # type: ignore[no-any-return]
        source = SOURCES[kind]
        options = {key: value for key, value in self._given.items() if key in source.takes}
        others = {parameter: self._given[key] for key, parameter in source.needs.items()}
        if kind in ("pdb", "cif", "sequence"):
            fields = options.get("forcefield", ("amber14",))
            options["forcefield"] = fields[0] if len(fields) == 1 else fields
        made: System = getattr(System, source.maker)(name, **others, **options)
        return made


def _placed(value: Any, place: Callable[[str], str]) -> Any:
    if isinstance(value, (str, os.PathLike)):
        return place(os.fspath(value))
    if isinstance(value, tuple):
        return tuple(_placed(item, place) for item in value)
    return value
