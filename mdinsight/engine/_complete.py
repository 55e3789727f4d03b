"""What a structure lacks is added: heavy atoms, hydrogens, caps; and said."""

from __future__ import annotations

import io
import logging
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mdinsight.engine._forcefields import short_name
from mdinsight.engine._topology import is_apart
from mdinsight.errors import ForceFieldError, NonFiniteError, TopologyError
from mdinsight.words import counted, some

_log = logging.getLogger(__name__)
_CIF = (".cif", ".mmcif", ".pdbx")
_BREAK = 0.25  # nm; a longer bond between residues is a gap in the chain


class Structure:
    """A molecule on its way to a system: topology, positions (list of Vec3, nm, with unit), and what was done to it."""

    def __init__(self, topology: Any, positions: Any, source: str, fixer: Any = None) -> None:
        self.topology, self.positions, self.source = topology, positions, source
        self.notes: dict[str, str] = {}
        self._fixer = fixer

    @classmethod
    def read(cls, path: Any) -> Structure:
        """The first model of a PDB or mmCIF file.

        Raises
        ------
        TopologyError
            If it is missing or cannot be read.
        NonFiniteError
            If a position is NaN or infinite.
        """
        from openmm import app

        path = existing(path, "the structure")
        try:
            parsed = (app.PDBxFile if path.suffix.lower() in _CIF else app.PDBFile)(str(path))
        except Exception as error:  # the parsers of OpenMM raise nearly anything
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise TopologyError(f"{path} cannot be read as PDB or mmCIF: {reason}") from error
        if parsed.topology.getNumAtoms() == 0:
            raise TopologyError(f"{path} has no atoms; give a PDB or mmCIF file of the molecule")
        bad = np.flatnonzero(~np.isfinite(np.array(parsed.getPositions(asNumpy=True)._value)).all(axis=1))
        if len(bad):
            atom = list(parsed.topology.atoms())[int(bad[0])]
            raise NonFiniteError(
                f"{path}: atom {atom.name} of {_where(atom.residue)} has a position that is not finite; leave it out, so that "
                "it is added"
            )
        structure = cls(parsed.topology, parsed.positions, path.name)
        structure._fixer = lambda: _fixer(path)
        if parsed.getNumFrames() > 1:
            structure.notes["models"] = f"the first of {parsed.getNumFrames()} models"
        return structure

    @property
    def fixer(self) -> Any:
        """A PDBFixer with the topology and positions as they are now."""
        fixer = self._fixer()
        fixer.topology, fixer.positions = self.topology, self.positions
        return fixer

    def drop_solvent(self) -> None:
        """Without water and single ions."""
        gone = [residue for residue in self.topology.residues() if is_apart(residue.name, len(list(residue.atoms())))]
        if not gone:
            return
        if len(gone) == self.topology.getNumResidues():
            raise TopologyError(
                f"{self.source} holds nothing but water and ions; give explicit solvent (solvent='tip3p')"
            )
        self.delete([atom for residue in gone for atom in residue.atoms()])
        names = sorted({residue.name for residue in gone})
        self.notes["dropped"] = f"{counted(len(gone), 'residue')} of water and ions ({', '.join(names)})"

    def delete(self, atoms: list[Any]) -> None:
        """Without some atoms."""
        from openmm import app

        modeller = app.Modeller(self.topology, self.positions)
        modeller.delete(atoms)
        self.topology, self.positions = modeller.topology, modeller.positions

    def complete(self, field: Any, ph: float) -> None:
        """Add what is missing; a molecule that the force field knows as it is stays as it is.

        Terminal residues that the force field does not know as such are capped (ACE, NME).
        """
        if not unmatched(field, self.topology):
            return
        before = (self.topology, self.positions)
        said: list[str] = []
        with repeatable():
            self._build(field, ph, {}, said)
            caps = self._bare_ends(field)
            if caps:
                self.topology, self.positions = before
                said = []
                self._build(field, ph, caps, said)
        if said:
            self.notes["completed"] = "; ".join(said)

    def _build(self, field: Any, ph: float, caps: dict[tuple[int, bool], str], said: list[str]) -> None:
        from openmm import Platform, app

        self._uncover(caps)
        fixer = self.fixer
        fixer.findNonstandardResidues()
        known = set(field._templates)
        fixer.nonstandardResidues = [(r, to) for r, to in fixer.nonstandardResidues if r.name not in known]
        said += [f"{_where(r)} replaced by {to}" for r, to in fixer.nonstandardResidues]
        fixer.replaceNonstandardResidues()
        fixer.findMissingResidues()
        lengths = [len(list(chain.residues())) for chain in fixer.topology.chains()]
        inner = {key: names for key, names in fixer.missingResidues.items() if 0 < key[1] < lengths[key[0]]}
        fixer.missingResidues = dict(inner)
        for (chain, last), name in caps.items():
            fixer.missingResidues[(chain, lengths[chain] if last else 0)] = [name]
        chains = list(fixer.topology.chains())
        said += [f"{'-'.join(names)} built into the gap of chain {chains[c].id}" for (c, _), names in inner.items()]
        said += [
            f"{name} put on the {'end' if last else 'start'} of chain {chains[c].id}"
            for (c, last), name in caps.items()
        ]
        fixer.findMissingAtoms()
        for table in (fixer.missingAtoms, fixer.missingTerminals):
            for residue, atoms in table.items():
                names = [getattr(atom, "name", atom) for atom in atoms]
                said.append(f"{', '.join(names)} added to {_where(residue)}")
        if fixer.missingAtoms or fixer.missingTerminals or fixer.missingResidues:
            try:
                fixer.addMissingAtoms(seed=1)
            except Exception as error:  # PDBFixer raises nearly anything
                raise ForceFieldError(
                    f"{self.source}: what is missing cannot be added ({error}); give a structure in which it is there"
                ) from error
        modeller = app.Modeller(fixer.topology, fixer.positions)
        heavy = modeller.topology.getNumAtoms()
        modeller.addHydrogens(pH=ph, platform=Platform.getPlatformByName("Reference"))
        added = modeller.topology.getNumAtoms() - heavy
        if added:
            said.append(f"{counted(added, 'hydrogen')} added at pH {ph:g}")
        self.topology, self.positions = modeller.topology, modeller.positions

    def _bare_ends(self, field: Any) -> dict[tuple[int, bool], str]:
        """Ends of chains that the force field does not know, and the cap that each is to get."""
        unknown = set(unmatched(field, self.topology))
        if not {"ACE", "NME"} <= set(field._templates):
            return {}
        caps = {}
        for chain in self.topology.chains():
            residues = list(chain.residues())
            for last, residue, cap in ((False, residues[0], "ACE"), (True, residues[-1], "NME")):
                names = {atom.name for atom in residue.atoms()}
                if residue in unknown and {"N", "CA", "C", "O"} <= names:
                    caps[(chain.index, last)] = cap
        return caps

    def _uncover(self, caps: dict[tuple[int, bool], str]) -> None:
        """Take off what stands where a cap comes."""
        gone = []
        chains = list(self.topology.chains())
        for chain, last in caps:
            residue = list(chains[chain].residues())[-1 if last else 0]
            extra = {"OXT", "OT1", "OT2"} if last else set()
            gone += [
                a for a in residue.atoms() if a.name in extra or (a.element is not None and a.element.symbol == "H")
            ]
        if gone:
            self.delete(list(dict.fromkeys(gone)))

    def check_gaps(self) -> None:
        """Refuse a chain with a gap.

        Raises
        ------
        ForceFieldError
            Naming the residues on both sides.
        """
        from openmm import unit

        xyz = np.array(self.positions.value_in_unit(unit.nanometer))
        for first, second in self.topology.bonds():
            length = float(np.linalg.norm(xyz[first.index] - xyz[second.index]))
            if {first.name, second.name} == {"C", "N"} and first.residue != second.residue and length > _BREAK:
                raise ForceFieldError(
                    f"{self.source}: the chain has a gap between {_where(first.residue)} and {_where(second.residue)} "
                    f"(C and N are {length:.2f} nm apart); build the missing residues first, name them in SEQRES, or give the "
                    "parts their own chains (TER)"
                )


def explain(field: Any, name: str, topology: Any, error: Exception | None = None) -> ForceFieldError:
    """What to say of a molecule that a force field does not know.

    The residue, and what can be done about it.
    """
    residues = list(topology.residues())
    reason = re.search(
        r"No template found for residue (\d+) \(.*?\)\.\s*(.*?)\s*(?:For more information.*)?$", str(error), re.S
    )
    unknown = [residues[int(reason[1])]] if reason else []
    unknown += [residue for residue in unmatched(field, topology) if residue not in unknown]
    if not unknown:
        text = (str(error).strip() or type(error).__name__).splitlines()[0] if error else "no reason was given"
        return ForceFieldError(f"the molecule cannot be parametrised with {name}: {text}")
    first = unknown[0]
    more = f" (nor {some([_where(residue) for residue in unknown[1:]], 3)})" if len(unknown) > 1 else ""
    why = f" {reason[2].strip()}" if reason and reason[2] else ""
    why = re.sub(r"\s*If the topology was read from a PDB,.*?CONECT records\.", "", why, flags=re.S)
    if "Modeller.addHydrogens" in why:
        why = re.sub(r"\s*You may be able to add (?:it|them) with Modeller.addHydrogens\(\)\.", "", why)
        what = "Let the structure be completed (complete=True), or give one with all atoms"
    else:
        own = f"{first.name}.xml"
        what = (
            f"Give a file of its parameters beside the force field, --forcefield amber14 --forcefield {own}, in Python "
            f"forcefield=('amber14', '{own}') (openmmforcefields makes them for small molecules), take the residue out of the "
            "structure, or choose another force field"
        )
    return ForceFieldError(f"{_where(first)} is not known to the force field {short_name(name)}{more}.{why} {what}")


def unmatched(field: Any, topology: Any) -> list[Any]:
    """The residues that a force field does not know; empty where only ``createSystem`` can tell, which then says why."""
    try:
        return list(field.getUnmatchedResidues(topology))
    except Exception as error:  # OpenMM raises a bare Exception where two templates match
        _log.info("the residues cannot be matched one by one: %s", error)
        return []


@contextmanager
def repeatable() -> Iterator[None]:
    """OpenMM places hydrogens, ions and extra particles by Python's own random numbers; the same each time within the block."""
    state = random.getstate()
    random.seed(1)
    try:
        yield
    finally:
        random.setstate(state)


def existing(path: Any, what: str) -> Path:
    """A file that is there.

    Raises
    ------
    TopologyError
        If it is not.
    """
    try:
        found = Path(path).expanduser()
    except TypeError:
        raise TopologyError(f"{what} {path!r} is no path; give the name of a file") from None
    if not found.is_file():
        raise TopologyError(
            f"{what} {found} {'is a folder' if found.is_dir() else 'does not exist'}; give the path of a file"
        )
    return found


def fixer_of_text(text: str) -> Any:
    """A PDBFixer for a structure in PDB format."""
    return _pdbfixer(pdbfile=io.StringIO(text))


def _fixer(path: Path) -> Any:
    if path.suffix.lower() in _CIF:
        with open(path) as handle:
            return _pdbfixer(pdbxfile=handle)
    with open(path) as handle:
        return _pdbfixer(pdbfile=handle)


def _pdbfixer(**source: Any) -> Any:
    from openmm import Platform
    from pdbfixer import PDBFixer  # type: ignore[import-untyped]

    return PDBFixer(**source, platform=Platform.getPlatformByName("Reference"))


def _where(residue: Any) -> str:
    return f"residue {residue.name} {residue.id}{residue.insertionCode.strip()} of chain {residue.chain.id}"
