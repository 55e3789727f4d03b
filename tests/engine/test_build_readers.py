"""Systems of other packages: two argon atoms, whose energy is known, in the files of each; and what is said of bad ones."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import app

from mdinsight.engine import System
from mdinsight.errors import ForceFieldError, ParameterError, TopologyError

SIGMA, EPSILON, DISTANCE, CHARGE = 0.34, 0.996, 0.4, 0.25  # nm, kJ/mol, nm, e (+ and -)
COULOMB = 138.935456

PDB = """\
ATOM      1  AR  AR  A   1       0.000   0.000   0.000  1.00  0.00          AR
ATOM      2  AR  AR  A   2       4.000   0.000   0.000  1.00  0.00          AR
END
"""
GRO = "argon\n    2\n    1AR     AR    1   0.000   0.000   0.000\n    2AR     AR    2   0.400   0.000   0.000\n   {}\n"
TOP = f"""\
[ defaults ]
1 2 no 1.0 1.0
[ atomtypes ]
Ar 18 39.948 0.0 A {SIGMA} {EPSILON}
[ moleculetype ]
plus 1
[ atoms ]
1 Ar 1 AR AR 1 {CHARGE} 39.948
[ moleculetype ]
minus 1
[ atoms ]
1 Ar 1 AR AR 1 -{CHARGE} 39.948
[ system ]
argon
[ molecules ]
plus 1
minus 1
"""
PSF = f"""\
PSF

       1 !NTITLE
 REMARKS argon

       2 !NATOM
       1 A    1    AR   AR   AR     {CHARGE:.6f}       39.9480           0
       2 A    2    AR   AR   AR    {-CHARGE:.6f}       39.9480           0

       0 !NBOND: bonds

       0 !NTHETA: angles

       0 !NPHI: dihedrals

       0 !NIMPHI: impropers

       0 !NDON: donors

       0 !NACC: acceptors

       0 !NNB

       0       0

       1       0 !NGRP NST2
       0       0       0

"""
PRM = f"""\
* argon
*
ATOMS
MASS  1 AR  39.94800 ! argon

NONBONDED nbxmod  5 atom cdiel fshift vatom vdistance vfswitch -
cutnb 14.0 ctofnb 12.0 ctonnb 10.0 eps 1.0 e14fac 1.0 wmin 1.5
AR 0.0 {-EPSILON / 4.184:.8f} {SIGMA * 10 * 2 ** (1 / 6) / 2:.8f}

END
"""


def prmtop(box=False):
    """A topology of Amber for the two atoms, written by the format's description."""
    epsilon, sigma = EPSILON / 4.184, SIGMA * 10
    pointers = [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, int(box), 1, 0, 0]
    charge = CHARGE * 18.2223
    sections = [
        ("TITLE", "20a4", ["argon"]),
        ("POINTERS", "10I8", pointers),
        ("ATOM_NAME", "20a4", ["AR", "AR"]),
        ("CHARGE", "5E16.8", [charge, -charge]),
        ("ATOMIC_NUMBER", "10I8", [18, 18]),
        ("MASS", "5E16.8", [39.948, 39.948]),
        ("ATOM_TYPE_INDEX", "10I8", [1, 1]),
        ("NUMBER_EXCLUDED_ATOMS", "10I8", [1, 1]),
        ("NONBONDED_PARM_INDEX", "10I8", [1]),
        ("RESIDUE_LABEL", "20a4", ["AR", "AR"]),
        ("RESIDUE_POINTER", "10I8", [1, 2]),
        ("SOLTY", "5E16.8", [0.0]),
        ("LENNARD_JONES_ACOEF", "5E16.8", [4 * epsilon * sigma**12]),
        ("LENNARD_JONES_BCOEF", "5E16.8", [4 * epsilon * sigma**6]),
        ("EXCLUDED_ATOMS_LIST", "10I8", [0, 0]),
        ("HBOND_ACOEF", "5E16.8", []),
        ("HBOND_BCOEF", "5E16.8", []),
        ("AMBER_ATOM_TYPE", "20a4", ["AR", "AR"]),
        ("RADII", "5E16.8", [1.8, 1.6]),
        ("SCREEN", "5E16.8", [0.8, 0.7]),
        ("RADIUS_SET", "1a80", ["H(N)-modified Bondi radii (mbondi2)"]),
    ]
    text = "%VERSION  VERSION_STAMP = V0001.000  DATE = 01/01/20  00:00:00\n"
    for flag, form, values in sections:
        per, width = {"20a4": (20, 4), "10I8": (10, 8), "5E16.8": (5, 16), "1a80": (1, 80)}[form]
        cells = [
            f"{v:16.8E}" if isinstance(v, float) else f"{v:{width}d}" if isinstance(v, int) else f"{v:<{width}s}"
            for v in values
        ]
        lines = ["".join(cells[i : i + per]) for i in range(0, len(cells), per)]
        text += f"%FLAG {flag}\n%FORMAT({form})\n" + "\n".join(lines) + "\n"
    for flag in ("BOND", "ANGLE", "DIHEDRAL"):
        for rest in ("FORCE_CONSTANT", "EQUIL_VALUE", "PERIODICITY", "PHASE"):
            text += f"%FLAG {flag}_{rest}\n%FORMAT(5E16.8)\n\n"
        for rest in ("S_INC_HYDROGEN", "S_WITHOUT_HYDROGEN"):
            text += f"%FLAG {flag}{rest}\n%FORMAT(10I8)\n\n"
    return text


INPCRD = "argon\n    2\n   0.0000000   0.0000000   0.0000000   4.0000000   0.0000000   0.0000000\n"


@pytest.fixture
def files(tmp_path):
    texts = {
        "a.pdb": PDB,
        "a.gro": GRO.format("0 0 0"),
        "box.gro": GRO.format("3 3 3"),
        "a.top": TOP,
        "a.psf": PSF,
        "a.prm": PRM,
    }
    for name, text in {**texts, "a.prmtop": prmtop(), "a.inpcrd": INPCRD}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def energy(system):
    made = system.openmm_system()
    context = openmm.Context(made, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(system.positions)
    return context.getState(energy=True).getPotentialEnergy()._value


def expected():
    x6 = (SIGMA / DISTANCE) ** 6
    return 4 * EPSILON * (x6 * x6 - x6) - COULOMB * CHARGE**2 / DISTANCE


def read(kind, files, **options):
    if kind == "gromacs":
        return System.from_gromacs(files / "a.top", files / "a.gro", **options)
    if kind == "charmm":
        return System.from_charmm(files / "a.psf", files / "a.prm", files / "a.pdb", **options)
    return System.from_amber(files / "a.prmtop", files / "a.inpcrd", **options)


@pytest.mark.parametrize("kind", ["gromacs", "charmm", "amber"])
def test_energy_of_two_atoms(kind, files):
    system = read(kind, files, temperature=120, hydrogen_mass=3)
    assert energy(system) == pytest.approx(expected(), rel=1e-5)
    assert system.box is None and system.temperature == 120 and system.timestep == 0.004
    assert [atom.element.symbol for atom in system.topology.atoms] == ["Ar", "Ar"]


@pytest.mark.filterwarnings("ignore:Non-optimal GB parameters")  # argon has none of its own
@pytest.mark.parametrize("kind", ["charmm", "amber"])
def test_implicit_solvent_has_the_radii_of_the_files(kind, files):
    vacuum, wet = (read(kind, files, solvent=solvent) for solvent in ("vacuum", "obc2"))
    made = wet.openmm_system()
    force = next(f for f in made.getForces() if isinstance(f, openmm.GBSAOBCForce))
    assert force.getParticleParameters(0)[0]._value == pytest.approx(CHARGE)
    assert force.getSurfaceAreaEnergy()._value == pytest.approx(2.25936)
    if kind == "amber":
        radii = [force.getParticleParameters(i)[1]._value for i in range(2)]
        assert radii == pytest.approx([0.18, 0.16]) and force.getParticleParameters(1)[2] == pytest.approx(0.7)
    assert energy(wet) < energy(vacuum)


def test_a_box_makes_it_periodic(files):
    system = System.from_gromacs(files / "a.top", files / "box.gro")
    np.testing.assert_array_equal(system.box, 3 * np.eye(3))
    made = system.openmm_system()
    assert made.usesPeriodicBoundaryConditions()
    assert System.from_gromacs(files / "a.top", files / "box.gro", solvent="vacuum").box is None


def test_xml_of_openmm(files, examples):
    pdb = app.PDBFile(str(examples / "ala2/top.pdb"))
    made = app.ForceField("amber99sb.xml").createSystem(pdb.topology, constraints=app.HBonds)
    text = openmm.XmlSerializer.serialize(made)
    (files / "system.xml").write_text(text)
    from_file = System.from_xml(files / "system.xml", examples / "ala2/top.pdb")
    assert from_file.xml == System.from_openmm(made, pdb.topology, pdb.positions).xml
    assert System.from_xml(text, examples / "ala2/top.pdb").xml == from_file.xml
    with pytest.raises(TopologyError, match="22 particles, the structure 2 atoms"):
        System.from_xml(text, files / "a.pdb")
    (files / "integrator.xml").write_text(openmm.XmlSerializer.serialize(openmm.VerletIntegrator(0.001)))
    with pytest.raises(ForceFieldError, match="holds VerletIntegrator, not a System"):
        System.from_xml(files / "integrator.xml", files / "a.pdb")
    (files / "torn.xml").write_text(text[:300])
    with pytest.raises(ForceFieldError, match=r"torn\.xml cannot be read as OpenMM's XML"):
        System.from_xml(files / "torn.xml", files / "a.pdb")


@pytest.mark.parametrize("kind", ["gromacs", "charmm", "amber"])
def test_water_is_not_added(kind, files):
    with pytest.raises(ParameterError, match="water is not added"):
        read(kind, files, solvent="tip3p")


def test_bad_files(files):
    with pytest.raises(TopologyError, match=r"no\.prmtop does not exist"):
        System.from_amber(files / "no.prmtop", files / "a.inpcrd")
    with pytest.raises(TopologyError, match=r"no\.inpcrd does not exist"):
        System.from_amber(files / "a.prmtop", files / "no.inpcrd")
    with pytest.raises(ForceFieldError, match=r"a\.pdb cannot be used as an Amber topology"):
        System.from_amber(files / "a.pdb", files / "a.inpcrd")
    (files / "needs.top").write_text('#include "gone.itp"\n' + TOP)
    with pytest.raises(ForceFieldError, match=r"gone\.itp"):
        System.from_gromacs(files / "needs.top", files / "a.gro")
    (files / "one.gro").write_text("argon\n    1\n    1AR     AR    1   0.000   0.000   0.000\n   0 0 0\n")
    with pytest.raises(TopologyError, match="positions are 1 x 3, the topology has 2 atoms"):
        System.from_gromacs(files / "a.top", files / "one.gro")
    (files / "other.prm").write_text(PRM.replace("\nAR 0.0", "\nKR 0.0").replace("MASS  1 AR", "MASS  1 KR"))
    with pytest.raises(ForceFieldError, match=r"a\.psf cannot be used as a CHARMM PSF"):
        System.from_charmm(files / "a.psf", [files / "other.prm"], files / "a.pdb")
    (files / "a.what").write_text("")
    with pytest.raises(TopologyError, match=r"a\.what is of no known kind"):
        System.from_amber(files / "a.prmtop", files / "a.what")
