"""A system is a value: it keeps its atoms and forces, says the same hash in every process, and refuses what cannot be."""

from __future__ import annotations

import subprocess
import sys

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app, unit

import mdinsight as mdi
from mdinsight.engine import System
from mdinsight.errors import NonFiniteError, ParameterError, TopologyError

MAKE = """
import sys
from openmm import app
from mdinsight.engine import System
pdb = app.PDBFile(sys.argv[1])
made = app.ForceField("amber99sb.xml").createSystem(pdb.topology, constraints=app.HBonds)
print(System.from_openmm(made, pdb.topology, pdb.positions).hash)
"""


@pytest.fixture(scope="module")
def pdb(examples):
    return app.PDBFile(str(examples / "ala2/top.pdb"))


@pytest.fixture(scope="module")
def made(pdb):
    return app.ForceField("amber99sb.xml").createSystem(pdb.topology, constraints=app.HBonds)


@pytest.fixture(scope="module")
def ala2(pdb, made):
    return System.from_openmm(made, pdb.topology, pdb.positions)


def test_fields(ala2, pdb):
    assert ala2.n_atoms == 22 and ala2.box is None and ala2.platform == ""
    assert ala2.positions.dtype == np.float64
    np.testing.assert_array_equal(ala2.positions, np.array(pdb.getPositions(asNumpy=True)._value))
    assert ala2.kT == pytest.approx(2.4943, abs=1e-4)
    assert ala2.degrees_of_freedom == 3 * 22 - 12 - 3
    assert ala2.n_solute == 22


def test_energy_is_that_of_the_system_given(ala2, made):
    def energy(system):
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(ala2.positions)
        return context.getState(energy=True).getPotentialEnergy()._value

    assert energy(ala2.openmm_system()) == energy(made)


def test_topologies_come_back(ala2, pdb):
    ours = ala2.openmm_topology()
    for a, b in zip(ours.atoms(), pdb.topology.atoms(), strict=True):
        assert (a.name, a.element, a.id, a.residue.name, a.residue.id, a.residue.chain.id) == (
            (b.name, b.element, b.id, b.residue.name, b.residue.id, b.residue.chain.id)
        )
    pairs = [[(a.index, b.index) for a, b in t.bonds()] for t in (ours, pdb.topology)]
    assert pairs[0] == pairs[1]
    assert ala2.topology == mdtraj.Topology.from_openmm(pdb.topology)


def test_same_hash_in_another_process(ala2, examples):
    run = [sys.executable, "-c", MAKE, str(examples / "ala2/top.pdb")]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == ala2.hash


def test_saved_and_loaded(ala2, tmp_path):
    again = mdi.load(ala2.save(tmp_path / "system.mdi"))
    assert isinstance(again, System) and again.hash == ala2.hash
    assert again.topology == ala2.topology


def test_with_positions_is_another_system(ala2):
    moved = ala2.with_positions(ala2.positions * unit.nanometer + 1.0 * unit.angstrom)
    np.testing.assert_allclose(moved.positions, ala2.positions + 0.1)
    assert moved.hash != ala2.hash and moved.xml == ala2.xml


def test_positions_of_other_atoms_are_refused(made, pdb, ala2):
    with pytest.raises(TopologyError, match=r"21 x 3.*22 atoms"):
        System.from_openmm(made, pdb.topology, ala2.positions[:-1])
    broken = ala2.positions.copy()
    broken[8, 1] = np.nan
    with pytest.raises(NonFiniteError, match=r"CA of ALA 2 \(chain A, atom 8\)"):
        System.from_openmm(made, pdb.topology, broken)


def test_topology_of_other_atoms_is_refused(made, pdb, ala2):
    part = mdtraj.Topology.from_openmm(pdb.topology).subset(range(21))
    with pytest.raises(TopologyError, match="22 particles, the structure 21 atoms"):
        System.from_openmm(made, part, ala2.positions[:-1])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"temperature": -1}, "temperature"),
        ({"timestep": 0}, "timestep"),
        ({"friction": "much"}, "friction"),
        ({"platform": 3}, "platform"),
    ],
)
def test_conditions_that_cannot_be(made, pdb, wrong, says):
    with pytest.raises(ParameterError, match=says):
        System.from_openmm(made, pdb.topology, pdb.positions, **wrong)


def test_platform(ala2):
    assert ala2.chosen_platform() == "Reference"
    assert ala2.replace(platform="CPU").chosen_platform() == "CPU"
    with pytest.raises(ParameterError, match="'Cuda' is not on this machine, which has Reference"):
        ala2.replace(platform="Cuda").chosen_platform()
