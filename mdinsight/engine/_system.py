"""A molecule made ready for MD, out of what a user has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mdinsight import units
from mdinsight.engine import _platforms
from mdinsight.engine._checks import positive
from mdinsight.engine._value import SystemValue


class System(SystemValue):
    """A molecule made ready for MD.

    Two systems with the same content have the same ``hash`` in every process, and :meth:`save` and ``mdinsight.load`` keep it.

    Parameters
    ----------
    xml
        The forces, as OpenMM's ``XmlSerializer`` writes an ``openmm.System``.
    molecule
        Chains, residues, atoms and bonds as arrays; see :attr:`topology` and :meth:`openmm_topology`.
    positions
        (n_atoms, 3), nm.
    box
        (3, 3), nm, one vector a row; None without periodic boundaries.
    temperature
        K.
    timestep
        ps.
    friction
        1/ps.
    platform
        A platform of OpenMM by name; ``""`` chooses one where the system is run, see :meth:`chosen_platform`.
    description
        What was done to make the system, in words.
    """

    @classmethod
    def from_pdb(
        cls,
        file: str | os.PathLike[str],
        forcefield: Any = "amber14-all.xml",
        solvent: str | None = "obc2",
        temperature: Any = 300.0,
        *,
        timestep: Any = None,
        friction: float = 1.0,
        hydrogen_mass: float | None = None,
        ph: float = 7.0,
        padding: Any = "1 nm",
        ionic_strength: float = 0.0,
        platform: str = "",
        complete: bool = True,
    ) -> System:
        """A molecule from a PDB or mmCIF file, with what it lacks completed.

        A molecule whose every residue the force field knows stays as it is in the file. Else missing heavy atoms, residues
        that SEQRES names inside a chain, and hydrogens are added, modified residues that the force field does not know are
        replaced by their standard ones (MSE by MET), and an end that the force field does not know is capped; ``description``
        says what. The same file gives the same bytes each time. Bonds to hydrogens are constrained, and the motion of the
        centre of mass is removed, as OpenMM does by default.

        Parameters
        ----------
        file
            The first model of it is taken. Water and ions in it are kept in explicit solvent and dropped else; a box that is full
            of water already is taken as it is.
        forcefield
            A short name (``"amber14"``, ``"amber99sb"``, ``"charmm36"``), an OpenMM force field file, several of them, or an
            ``openmm.app.ForceField``. The file of an explicit water is found by itself.
        solvent
            ``"vacuum"`` or None; implicit ``"obc2"``, ``"gbn2"``, ``"obc1"``, ``"gbn"``, ``"hct"``; explicit ``"tip3p"``,
            ``"tip3pfb"``, ``"spce"``, ``"opc3"``, ``"tip4pew"``, ``"tip4pfb"``, ``"opc"``, ``"tip5p"``.
        temperature
            K.
        timestep
            ps, or e.g. ``"4 fs"``. By default 2 fs, and 4 fs with hydrogens of 2.5 u or more.
        friction
            1/ps.
        hydrogen_mass
            u; mass is moved to hydrogens from what they are bonded to (10.1021/ct5010406). 3 allows steps of 4 fs.
        ph
            Decides the protonation of added hydrogens; those in the file are left.
        padding
            nm of explicit water around the molecule.
        ionic_strength
            mol/L of NaCl in explicit water, besides the ions that neutralise it.
        platform
            A platform of OpenMM by name; ``""`` chooses one.
        complete
            False refuses a molecule that lacks anything.

        Raises
        ------
        TopologyError
            If the file is missing or cannot be read.
        ForceFieldError
            If the force field is unknown, a residue is not in it, or a chain has a gap; the message says what to give.
        ParameterError
            If a value cannot be, or the box is narrower than twice the cutoff.
        """
        from mdinsight.engine import _build, _complete

        recipe = _build.Recipe.of(forcefield, solvent, hydrogen_mass, ph, padding, ionic_strength)
        step = _build.timestep_of(timestep, recipe.hydrogen_mass)
        cls._check(temperature, step, friction, platform)
        made = _build.build(_complete.Structure.read(file), recipe, complete)
        return cls.from_openmm(*made[:3], temperature, step, friction, platform, description=made[3])

    @classmethod
    def from_sequence(
        cls,
        sequence: str,
        forcefield: Any = "amber14-all.xml",
        solvent: str | None = "obc2",
        temperature: Any = 300.0,
        *,
        caps: bool = False,
        timestep: Any = None,
        friction: float = 1.0,
        hydrogen_mass: float | None = None,
        ph: float = 7.0,
        padding: Any = "1 nm",
        ionic_strength: float = 0.0,
        platform: str = "",
    ) -> System:
        """A peptide from its sequence, as an extended chain of L amino acids with trans peptide bonds.

        Parameters
        ----------
        sequence
            One-letter codes in capitals; ``"YYDPETGTWY"`` is chignolin (CLN025). ``"ace-AAA-nme"`` has capped ends.
        caps
            ACE and NME at the ends. By default the ends are charged, as :attr:`ph` has it; a single amino acid is capped always.
        forcefield, solvent, temperature, timestep, friction, hydrogen_mass, ph, padding, ionic_strength, platform
            As in :meth:`from_pdb`.

        Raises
        ------
        ParameterError
            If a letter is no amino acid; the message names it and its place.
        ForceFieldError
            If the force field is unknown or does not know a residue.
        """
        from mdinsight.engine import _build, _sequence

        recipe = _build.Recipe.of(forcefield, solvent, hydrogen_mass, ph, padding, ionic_strength)
        step = _build.timestep_of(timestep, recipe.hydrogen_mass)
        cls._check(temperature, step, friction, platform)
        made = _build.build(_sequence.build(sequence, caps), recipe, complete=True)
        return cls.from_openmm(*made[:3], temperature, step, friction, platform, description=made[3])

    @classmethod
    def from_xml(
        cls,
        system_xml: str | os.PathLike[str],
        structure: str | os.PathLike[str],
        temperature: Any = 300.0,
        *,
        timestep: Any = 0.002,
        friction: float = 1.0,
        platform: str = "",
    ) -> System:
        """A system that OpenMM's ``XmlSerializer`` wrote.

        Parameters
        ----------
        system_xml
            A file, or the XML itself.
        structure
            PDB or mmCIF of the same atoms in the same order.
        temperature, timestep, friction, platform
            As in :meth:`from_openmm`.

        Raises
        ------
        ForceFieldError
            If the XML cannot be read or is no system.
        TopologyError
            If the structure is missing, has no topology, or is of other atoms.
        """
        from mdinsight.engine import _readers

        return cls._of(_readers.xml(system_xml, structure), temperature, timestep, friction, platform)

    @classmethod
    def from_amber(
        cls,
        prmtop: str | os.PathLike[str],
        coordinates: str | os.PathLike[str],
        temperature: Any = 300.0,
        *,
        solvent: str | None = None,
        timestep: Any = None,
        friction: float = 1.0,
        hydrogen_mass: float | None = None,
        platform: str = "",
    ) -> System:
        """A system of Amber: ``prmtop`` and ``inpcrd``, ``rst7`` or PDB.

        Parameters
        ----------
        prmtop, coordinates
            Of the same atoms.
        solvent
            None: as the files are, periodic with PME if they have a box, else vacuum. ``"vacuum"`` or an implicit solvent as in
            :meth:`from_pdb`, with the radii of the topology.
        temperature, timestep, friction, hydrogen_mass, platform
            As in :meth:`from_pdb`.

        Raises
        ------
        TopologyError
            If a file is missing, or the two are of different atoms.
        ForceFieldError
            If a file cannot be read.
        """
        from mdinsight.engine import _build, _readers

        mass = None if hydrogen_mass is None else _build.hydrogen_mass_of(hydrogen_mass)
        made = _readers.amber(prmtop, coordinates, solvent, mass)
        return cls._of(made, temperature, _build.timestep_of(timestep, mass), friction, platform)

    @classmethod
    def from_gromacs(
        cls,
        top: str | os.PathLike[str],
        gro: str | os.PathLike[str],
        temperature: Any = 300.0,
        *,
        include_dir: str | os.PathLike[str] | None = None,
        solvent: str | None = None,
        timestep: Any = None,
        friction: float = 1.0,
        hydrogen_mass: float | None = None,
        platform: str = "",
    ) -> System:
        """A system of Gromacs: ``top`` and ``gro`` (or PDB); parameters and errors as :meth:`from_amber`.

        ``include_dir`` is where included files such as ``amber99sb.ff/forcefield.itp`` are looked for (Gromacs' ``share/top``).
        An implicit solvent has the radii that Amber gives to the elements.
        """
        from mdinsight.engine import _build, _readers

        mass = None if hydrogen_mass is None else _build.hydrogen_mass_of(hydrogen_mass)
        made = _readers.gromacs(top, gro, include_dir, solvent, mass)
        return cls._of(made, temperature, _build.timestep_of(timestep, mass), friction, platform)

    @classmethod
    def from_charmm(
        cls,
        psf: str | os.PathLike[str],
        params: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        structure: str | os.PathLike[str],
        temperature: Any = 300.0,
        *,
        solvent: str | None = None,
        timestep: Any = None,
        friction: float = 1.0,
        hydrogen_mass: float | None = None,
        platform: str = "",
    ) -> System:
        """A system of CHARMM: ``psf``, parameter files (``.prm``, ``.rtf``, ``.str``), and PDB or CRD; as :meth:`from_amber`."""
        from mdinsight.engine import _build, _readers

        mass = None if hydrogen_mass is None else _build.hydrogen_mass_of(hydrogen_mass)
        made = _readers.charmm(psf, params, structure, solvent, mass)
        return cls._of(made, temperature, _build.timestep_of(timestep, mass), friction, platform)

    @classmethod
    def _of(cls, made: Any, temperature: Any, timestep: Any, friction: float, platform: str) -> System:
        conditions = (temperature, timestep, friction, platform)
        return cls.from_openmm(made.system, made.topology, made.positions, *conditions, made.box, made.description)

    @staticmethod
    def _check(temperature: Any, timestep: float, friction: Any, platform: Any) -> None:
        """Refuse conditions that cannot be before the work is done."""
        units.temperature(temperature)
        positive("timestep", timestep, "ps")
        positive("friction", friction, "1/ps")
        _platforms.check_name(platform)

    def prepared(self, seed: int, equilibrate: Any = None) -> System:
        """The system minimised, and run for a short while at its temperature.

        In a periodic box the run is at constant pressure (1 bar), and what comes back is the moment of its second half whose
        volume is nearest to the mean there: the box is fixed from then on. On the Reference platform the same seed gives the
        same bytes; on others mostly.

        Parameters
        ----------
        seed
            Of the velocities, the thermostat and the barostat.
        equilibrate
            How long: by default 10 ps, and 100 ps in a periodic box; 0 minimises only.

        Raises
        ------
        InstabilityError
            If the energy cannot be lowered or becomes NaN; the message says which atoms are nearest to each other.
        """
        from mdinsight.engine._prepare import prepare

        return prepare(self, seed, equilibrate)

    def chosen_platform(self) -> str:
        """The platform of OpenMM that the system is run on, on this machine.

        That of the name given; else Reference for a small system without a cutoff (up to 100 atoms in vacuum, 50 with OBC2):
        it is the fastest on a CPU there, and its arithmetic repeats bit for bit; else CUDA, HIP or OpenCL where a device
        answers; else CPU.

        Raises
        ------
        ParameterError
            If the platform that was named is not on this machine; the message names those that are.
        """
        return _platforms.choose(self)
