"""Systems out of what a user has: the right energy, what is missing completed and said, the same bytes each time."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys

import numpy as np
import openmm
import pytest
from openmm import app

from mdinsight.engine import System, _caps
from mdinsight.errors import ForceFieldError, NonFiniteError, ParameterError, TopologyError

DIGEST = """
import sys
from mdinsight.engine import System
print(System.from_pdb(sys.argv[1], sys.argv[2], sys.argv[3]).hash)
"""


def evaluate(openmm_system, positions):
    """Energy (kJ/mol) and forces (kJ/mol/nm) on the Reference platform."""
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(openmm_system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def write(path, system, keep=lambda atom: True, header=""):
    """A PDB of some atoms of a system."""
    modeller = app.Modeller(system.openmm_topology(), system.positions * openmm.unit.nanometer)
    modeller.delete([atom for atom in modeller.topology.atoms() if not keep(atom)])
    with open(path, "w") as handle:
        handle.write(header)
        app.PDBFile.writeFile(modeller.topology, modeller.positions, handle, keepIds=True)
    return path


def heavy(atom):
    return atom.element is not app.element.hydrogen


@pytest.fixture(scope="module")
def chignolin():
    return System.from_sequence("YYDPETGTWY")


@pytest.fixture(scope="module")
def top(examples):
    return examples / "ala2/top.pdb"


@pytest.mark.parametrize("model", ["obc2", "gbn2", "obc1", "hct"])
def test_implicit_solvent_is_that_of_openmm(chignolin, model):
    """Energy and forces of ``implicit/*.xml``; OBC2 as the native force, which is made differently."""
    ours = System.from_sequence("YYDPETGTWY", solvent=model).openmm_system()
    field = app.ForceField("amber14-all.xml", f"implicit/{model}.xml")
    theirs = field.createSystem(chignolin.openmm_topology(), constraints=app.HBonds)
    names = {type(force).__name__ for force in ours.getForces()}
    assert ("GBSAOBCForce" in names) == (model == "obc2")
    energy, forces = evaluate(ours, chignolin.positions)
    expected, expected_forces = evaluate(theirs, chignolin.positions)
    assert energy == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(forces, expected_forces, atol=1e-5 * np.abs(expected_forces).max())


def test_a_whole_molecule_stays_as_it_is(top):
    system = System.from_pdb(top, "amber99sb", "vacuum")
    pdb = app.PDBFile(str(top))
    np.testing.assert_array_equal(system.positions, pdb.getPositions(asNumpy=True)._value)
    assert "completed" not in system.description
    assert [atom.name for atom in system.topology.atoms] == [atom.name for atom in pdb.topology.atoms()]
    expected = app.ForceField("amber99sb.xml").createSystem(pdb.topology, constraints=app.HBonds)
    assert evaluate(system.openmm_system(), system.positions)[0] == evaluate(expected, system.positions)[0]
    assert system.timestep == 0.002 and system.openmm_system().getNumConstraints() == 12


def test_missing_hydrogens_and_atoms_are_added_and_said(chignolin, tmp_path):
    gone = {"CG", "CD1", "CD2", "CE1", "CE2", "CZ", "OH"}
    path = write(tmp_path / "part.pdb", chignolin, lambda a: heavy(a) and not (a.residue.id == "2" and a.name in gone))
    system = System.from_pdb(path, solvent="vacuum")
    said = system.description["completed"]
    assert "73 hydrogens added at pH 7" in said and "OH" in said and "residue TYR 2 of chain A" in said
    assert system.n_atoms == chignolin.n_atoms
    kept = [
        a.index
        for a in chignolin.topology.atoms
        if a.element.symbol != "H" and (a.residue.index != 1 or a.name not in gone)
    ]
    ours = {(a.residue.index, a.name): system.positions[a.index] for a in system.topology.atoms}
    for index in kept:  # what was there has not moved
        atom = chignolin.topology.atom(index)
        np.testing.assert_allclose(ours[atom.residue.index, atom.name], chignolin.positions[index], atol=1e-4)


@pytest.mark.parametrize(("forcefield", "solvent"), [("charmm36", "vacuum"), ("amber14", "tip3p")])
def test_same_bytes_in_every_process(chignolin, top, tmp_path, forcefield, solvent):
    """Though OpenMM places hydrogens and ions at random, and numbers CHARMM's atom types by the hash of strings."""

    def end(atom):
        return heavy(atom) and int(atom.residue.id) > 8

    path = top if forcefield == "charmm36" else write(tmp_path / "heavy.pdb", chignolin, end)
    state = random.getstate()
    here = System.from_pdb(path, forcefield, solvent)
    assert random.getstate() == state
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    run = [sys.executable, "-c", DIGEST, str(path), forcefield, solvent]
    there = subprocess.run(run, capture_output=True, text=True, check=True, env=environment)
    assert there.stdout.strip() == here.hash


def test_charmm_takes_caps_for_patches(top):
    """CHARMM36's own alanine dipeptide: charges of its topology file; atoms and residues as in the PDB."""
    system = System.from_pdb(top, "charmm36", "vacuum")
    made = system.openmm_system()
    nonbonded = next(f for f in made.getForces() if isinstance(f, openmm.NonbondedForce))
    charges = [nonbonded.getParticleParameters(i)[0]._value for i in range(22)]
    named = {(a.residue.name, a.name): q for a, q in zip(system.topology.atoms, charges, strict=True)}
    assert named["ACE", "C"] == pytest.approx(0.51) and named["NME", "N"] == pytest.approx(-0.47)
    assert sum(charges) == pytest.approx(0.0, abs=1e-9)
    # types are numbered otherwise than OpenMM does
    field = _caps.CapsAsPatches(app.ForceField("charmm36.xml"))
    expected = evaluate(field.createSystem(system.openmm_topology(), constraints=app.HBonds), system.positions)
    energy, forces = evaluate(made, system.positions)
    assert energy == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(forces, expected[1], rtol=1e-9, atol=1e-6)


def test_explicit_solvent(chignolin, tmp_path):
    path = write(tmp_path / "part.pdb", chignolin, lambda a: int(a.residue.id) > 7)
    system = System.from_pdb(path, solvent="tip3p", padding="0.95 nm", ionic_strength=0.5, hydrogen_mass=3)
    made = system.openmm_system()
    charge = sum(
        f.getParticleParameters(i)[0]._value
        for f in made.getForces()
        if isinstance(f, openmm.NonbondedForce)
        for i in range(f.getNumParticles())
    )
    assert charge == pytest.approx(0.0, abs=1e-6)
    assert made.usesPeriodicBoundaryConditions() and system.box is not None
    np.testing.assert_array_equal(system.box, np.diag(np.diag(system.box)))
    residues = [residue.name for residue in system.topology.residues]
    waters = residues.count("HOH")
    salt = min(residues.count("NA"), residues.count("CL"))
    assert salt / waters * 55.4 == pytest.approx(0.5, abs=0.05)
    density = waters / np.prod(np.diag(system.box))
    assert 25 < density < 33.4  # molecules a nm^3, less what the peptide takes
    assert {residues[system.topology.atom(int(i)).residue.index] for i in system.solute} == {"THR", "TRP", "TYR"}
    assert system.timestep == 0.004 and not any("Barostat" in f.getName() for f in made.getForces())


def test_hydrogen_mass_is_moved_not_made(top):
    light, heavier = (System.from_pdb(top, solvent="vacuum", hydrogen_mass=mass) for mass in (None, 3.0))
    masses = [
        [s.getParticleMass(i)._value for i in range(22)] for s in (light.openmm_system(), heavier.openmm_system())
    ]
    assert sum(masses[0]) == pytest.approx(sum(masses[1]))
    assert masses[1][1] == 3.0 and (light.timestep, heavier.timestep) == (0.002, 0.004)
    assert System.from_pdb(top, hydrogen_mass=3.0, timestep="3 fs").timestep == pytest.approx(0.003)


def test_water_in_the_file(examples):
    wet = examples / "ala2_water/top.pdb"
    dry = System.from_pdb(wet, "amber99sb", "obc2")
    assert dry.n_atoms == 22 and dry.box is None and "water" in dry.description["dropped"]
    assert dry.openmm_topology().getPeriodicBoxVectors() is None
    kept = System.from_pdb(wet, "amber99sb", "tip3p")
    pdb = app.PDBFile(str(wet))
    assert kept.n_atoms == pdb.topology.getNumAtoms() and kept.n_solute == 22
    np.testing.assert_allclose(kept.box, pdb.topology.getPeriodicBoxVectors()._value)
    four = System.from_pdb(
        wet, "amber99sb", "tip4pew"
    )  # water of another model: sites are added to the one that is there
    assert four.n_atoms - 22 == (kept.n_atoms - 22) * 4 // 3


def test_mmcif(top, tmp_path):
    pdb = app.PDBFile(str(top))
    with open(tmp_path / "top.cif", "w") as handle:
        app.PDBxFile.writeFile(pdb.topology, pdb.positions, handle, keepIds=True)
    system = System.from_pdb(tmp_path / "top.cif", "amber99sb", "vacuum")
    other = System.from_pdb(top, "amber99sb", "vacuum")
    energies = [evaluate(s.openmm_system(), s.positions)[0] for s in (system, other)]
    assert energies[0] == pytest.approx(energies[1], rel=1e-9)  # the bonds come in another order
    np.testing.assert_allclose(system.positions, np.array(pdb.positions._value), atol=1e-9)


def test_a_system_goes_to_another_process(top):
    system = System.from_pdb(top, "amber99sb", "vacuum")
    assert system.topology.n_atoms == 22
    assert pickle.loads(pickle.dumps(system)).hash == system.hash  # noqa: S301


def test_an_end_that_cannot_be_parametrised_is_capped(tmp_path):
    """Amber has no neutral aspartic and glutamic acid at the ends of a chain."""
    path = write(tmp_path / "dae.pdb", System.from_sequence("DAE", solvent="vacuum"), heavy)
    acid = System.from_pdb(path, solvent="vacuum", ph=1.0)
    assert [residue.name for residue in acid.topology.residues] == ["ACE", "ASP", "ALA", "GLU", "NME"]
    assert "ACE put on the start of chain A; NME put on the end of chain A" in acid.description["completed"]
    neutral = System.from_pdb(path, solvent="vacuum", ph=7.0)
    assert [residue.name for residue in neutral.topology.residues] == ["ASP", "ALA", "GLU"]


def test_a_modified_residue_becomes_the_standard_one(tmp_path):
    path = write(tmp_path / "met.pdb", System.from_sequence("AMA", solvent="vacuum"), heavy)
    text = (
        path.read_text().replace("MET", "MSE").replace(" SD  MSE", "SE   MSE").replace("           S", "          SE")
    )
    path.write_text(text)
    system = System.from_pdb(path, solvent="vacuum")
    assert [residue.name for residue in system.topology.residues] == ["ALA", "MET", "ALA"]
    assert "residue MSE 2 of chain A replaced by MET" in system.description["completed"]


def test_gaps(chignolin, tmp_path):
    def keep(atom):
        return heavy(atom) and atom.residue.id != "5"

    path = write(tmp_path / "gap.pdb", chignolin, keep)
    with pytest.raises(ForceFieldError, match=r"gap between residue PRO 4 of chain A and residue THR 6 of chain A"):
        System.from_pdb(path)
    seqres = "SEQRES   1 A   10  TYR TYR ASP PRO GLU THR GLY THR TRP TYR\n"
    system = System.from_pdb(write(tmp_path / "known.pdb", chignolin, keep, seqres))
    assert (
        system.n_atoms == chignolin.n_atoms and "GLU built into the gap of chain A" in system.description["completed"]
    )


LIGAND = "HETATM  {}  C1  LIG B   5      30.000  30.000  {}  1.00  0.00           C\n"


def test_an_unknown_residue_is_named(chignolin, tmp_path):
    path = write(tmp_path / "ligand.pdb", chignolin)
    lines = (
        path.read_text().replace("END\n", "")
        + LIGAND.format(900, "30.000")
        + LIGAND.format(901, "31.300").replace("C1", "C2")
    )
    path.write_text(lines + "END\n")
    with pytest.raises(
        ForceFieldError, match=r"residue LIG 5 of chain B is not known .*amber14-all\.xml.*LIG\.xml.*openmmforcefields"
    ):
        System.from_pdb(path)


def test_not_completed_where_that_is_refused(chignolin, tmp_path):
    path = write(tmp_path / "heavy.pdb", chignolin, heavy)
    with pytest.raises(ForceFieldError, match=r"residue TYR 1 of chain A.*complete=True"):
        System.from_pdb(path, complete=False)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"forcefield": "amber41"}, ForceFieldError, r"'amber41'.*amber14"),
        ({"forcefield": "amber14-al.xml"}, ForceFieldError, r"amber14-all\.xml"),
        ({"forcefield": 7}, ForceFieldError, "no force field"),
        ({"forcefield": ("amber14-all.xml", "implicit/obc2.xml")}, ForceFieldError, "implicit solvent of its own"),
        ({"solvent": "obc3"}, ParameterError, "nearest is 'opc3'"),
        ({"solvent": "tip3"}, ParameterError, "nearest is 'tip3p'"),
        ({"solvent": "tip3p", "padding": 0.3}, ParameterError, r"nm narrow, less than twice the cutoff"),
        ({"ionic_strength": 0.1}, ParameterError, "needs explicit solvent"),
        ({"temperature": 0}, ParameterError, "temperature"),
        ({"hydrogen_mass": 6}, ParameterError, "hydrogen_mass=6"),
        ({"ph": "acid"}, ParameterError, "ph='acid'"),
        ({"timestep": "-2 fs"}, ParameterError, "timestep"),
    ],
)
def test_what_cannot_be_is_refused(top, options, error, says):
    with pytest.raises(error, match=says):
        System.from_pdb(top, **options)


def test_files_that_are_none(tmp_path):
    with pytest.raises(TopologyError, match=r"nowhere\.pdb does not exist"):
        System.from_pdb(tmp_path / "nowhere.pdb")
    (tmp_path / "nan.pdb").write_text(LIGAND.format(900, "   nan"))
    with pytest.raises(NonFiniteError, match=r"nan\.pdb: atom C1 of residue LIG 5 of chain B"):
        System.from_pdb(tmp_path / "nan.pdb")
    (tmp_path / "empty.pdb").write_text("")
    with pytest.raises(TopologyError, match=r"empty\.pdb"):
        System.from_pdb(tmp_path / "empty.pdb")


def test_a_broken_force_field_file(top, tmp_path):
    (tmp_path / "own.xml").write_text("<ForceField><AtomTypes>")
    with pytest.raises(ForceFieldError, match=r"own\.xml cannot be read"):
        System.from_pdb(top, ("amber14-all.xml", str(tmp_path / "own.xml")))
