"""prepared(): minimised, at its temperature, the same bytes from the same seed; what cannot be is an error by name."""

from __future__ import annotations

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app, unit

from mdinsight.engine import System
from mdinsight.errors import InstabilityError, ParameterError


@pytest.fixture(scope="module")
def ala2(examples):
    return System.from_pdb(examples / "ala2/top.pdb", "amber99sb", "vacuum", platform="Reference")


def energy(system, positions=None):
    """kJ/mol, on the Reference platform."""
    made = system.openmm_system()
    context = openmm.Context(made, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(system.positions if positions is None else positions)
    return context.getState(energy=True).getPotentialEnergy()._value


def test_same_seed_same_bytes(ala2):
    first, again, other = ala2.prepared(5), ala2.prepared(5), ala2.prepared(6)
    assert first.hash == again.hash
    np.testing.assert_array_equal(first.positions, again.positions)
    assert np.abs(first.positions - other.positions).max() > 1e-3
    assert first.xml == ala2.xml and first.temperature == ala2.temperature
    assert "10 ps at 300 K" in first.description["prepared"]


def test_minimised_only(ala2):
    rng = np.random.default_rng(0)
    shaken = ala2.with_positions(ala2.positions + rng.normal(0, 0.01, ala2.positions.shape))
    ready = shaken.prepared(1, equilibrate=0)
    assert energy(ready) < energy(shaken) - 50
    again = ready.prepared(1, equilibrate=0)
    assert energy(again) == pytest.approx(energy(ready), abs=0.5)


def test_energy_after_equilibration_is_thermal(ala2):
    """The mean of potential energy above the minimum is about half kT for each degree of freedom (equipartition)."""
    minimum = energy(ala2.prepared(1, equilibrate=0))
    above = [energy(ala2.prepared(seed, equilibrate="2 ps")) - minimum for seed in range(40)]
    assert np.mean(above) == pytest.approx(ala2.degrees_of_freedom * ala2.kT / 2, rel=0.25)


def argon(n=125, density=21.0, **conditions):
    """Liquid argon: (n_atoms, 3) on a lattice, `density` atoms a nm^3."""
    side = (n / density) ** (1 / 3)
    topology, made, force = app.Topology(), openmm.System(), openmm.NonbondedForce()
    chain = topology.addChain()
    for _ in range(n):
        topology.addAtom("Ar", app.element.argon, topology.addResidue("AR", chain))
        made.addParticle(39.9)
        force.addParticle(0.0, 0.3405, 0.996)
    force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(0.75)
    made.addForce(force)
    box = np.eye(3) * side
    m = round(n ** (1 / 3))
    xyz = np.stack(np.meshgrid(*[np.arange(m)] * 3), -1).reshape(-1, 3)[:n] * (side / m)
    return System.from_openmm(made, topology, xyz, box=box, **conditions)


def test_box_goes_to_the_density_of_the_liquid():
    """Argon at 90 K from a box that is 40 % too large in volume: liquid near 20.5 atoms a nm^3 (1.36 g/cm^3)."""
    gas = argon(density=15.0, temperature=90, timestep=0.01)
    ready = gas.prepared(2, equilibrate="60 ps")
    density = gas.n_atoms / np.linalg.det(ready.box)
    assert 19.0 < density < 22.0
    assert not any("Barostat" in name for name in _forces(ready))
    np.testing.assert_array_equal(ready.box, np.diag(np.diag(ready.box)))


def _forces(system):
    made = system.openmm_system()
    return [force.getName() for force in made.getForces()]


def test_a_box_narrower_than_the_cutoff_is_refused():
    with pytest.raises(ParameterError, match=r"box is 1\.44 nm narrow, less than twice the cutoff of 0\.75 nm"):
        argon(n=64, density=21.4)


def test_overlap_is_named():
    liquid = argon()
    xyz = liquid.positions.copy()
    xyz[9] = xyz[4]
    with pytest.raises(InstabilityError, match=r"nearest atoms are Ar of AR 5 .* and Ar of AR 10 .* 0 nm apart"):
        liquid.with_positions(xyz).prepared(1)


def test_a_step_that_is_too_long(ala2):
    with pytest.raises(InstabilityError, match=r"equilibration broke down.*smaller step than 20 fs"):
        ala2.replace(timestep=0.02).prepared(1)


@pytest.mark.parametrize("time", ["-1 ps", "long"])
def test_times_that_cannot_be(ala2, time):
    with pytest.raises(ParameterError, match="equilibrate"):
        ala2.prepared(1, equilibrate=time)


def test_disulfides_come_back(tmp_path):
    """A bond between residues that is no peptide bond, in OpenMM's and mdtraj's topology."""
    topology = app.Topology()
    chain = topology.addChain("X")
    made = openmm.System()
    sulfurs = []
    for number in (3, 8):
        residue = topology.addResidue("CYX", chain, str(number), "A" if number == 8 else "")
        sulfurs.append(topology.addAtom("SG", app.element.sulfur, residue, str(100 + number)))
        made.addParticle(32.06)
    topology.addBond(*sulfurs, app.topology.Single, 1)
    system = System.from_openmm(made, topology, [[0, 0, 0], [0.2, 0, 0]] * unit.nanometer)
    bonds = list(system.openmm_topology().bonds())
    assert [(a.index, b.index) for a, b in bonds] == [(0, 1)]
    assert (bonds[0].type, bonds[0].order) == (app.topology.Single, 1)
    residues = list(system.openmm_topology().residues())
    assert [(r.id, r.insertionCode, r.chain.id) for r in residues] == [("3", "", "X"), ("8", "A", "X")]
    assert system.topology == mdtraj.Topology.from_openmm(topology)
