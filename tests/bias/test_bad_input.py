"""What is no bias, no coordinate, no run or no state is refused by name, and nothing is lost by the refusal."""

from __future__ import annotations

import copy
import gc
import math
import os
import resource
import signal
import warnings

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app, unit

from mdinsight import bias, cvs
from mdinsight.bias._states import start
from mdinsight.errors import (
    BiasError,
    DegenerateError,
    GradientError,
    InstabilityError,
    MdinsightError,
    ModelFileError,
    NonFiniteError,
    OutputError,
    ParameterError,
    SelectionError,
    TopologyError,
)
from mdinsight.features import SASA, Contacts, Distances, HydrogenBonds, Torsions

KCAL = unit.kilocalories_per_mole
ANGLES = Torsions("phi psi", raw=True)


@pytest.fixture(scope="module")
def molecule(examples):
    return app.PDBFile(str(examples / "ala2/top.pdb"))


@pytest.fixture(scope="module")
def bare(molecule):
    """The system as XML: much cheaper to read than to make."""
    system = app.ForceField("amber99sb.xml").createSystem(molecule.topology, constraints=app.HBonds)
    return openmm.XmlSerializer.serialize(system)


@pytest.fixture
def system(bare):
    return openmm.XmlSerializer.deserialize(bare)


@pytest.fixture
def sampler(system, molecule):
    """Makes one on the molecule's torsions."""

    def make(potentials, *args, coordinate=ANGLES, topology=molecule.topology, **others):
        return bias.Sampler(system, topology, coordinate, potentials, *args, **others)

    return make


@pytest.fixture
def simulate(system, molecule):
    def make(seed=1):
        integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.002)
        integrator.setRandomNumberSeed(seed)
        platform = openmm.Platform.getPlatformByName("Reference")
        simulation = app.Simulation(molecule.topology, system, integrator, platform)
        simulation.context.setPositions(molecule.positions)
        simulation.context.setVelocitiesToTemperature(300.0, seed)
        return simulation

    return make


class Pair:
    """Two free atoms that can be put at any distance."""

    def __init__(self, potentials, **others):
        topology = mdtraj.Topology()
        residue = topology.add_residue("AR2", topology.add_chain())
        self.system = openmm.System()
        for name in "AB":
            topology.add_atom(name, mdtraj.element.argon, residue)
            self.system.addParticle(40.0)
        self.sampler = bias.Sampler(self.system, topology, Distances([[0, 1]]), potentials, **others)
        integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.002)
        integrator.setRandomNumberSeed(5)
        platform = openmm.Platform.getPlatformByName("Reference")
        self.simulation = app.Simulation(topology.to_openmm(), self.system, integrator, platform)
        self.put(0.3)

    def put(self, r):
        self.simulation.context.setPositions([[0, 0, 0], [r, 0, 0]])
        self.simulation.context.setVelocities(np.zeros((2, 3)))

    def energies(self, r):
        """Of the bias at a distance: by the force in the system, and by the states."""
        self.put(r)
        groups = {self.sampler.force.getForceGroup()}
        inside = self.simulation.context.getState(energy=True, groups=groups).getPotentialEnergy()._value
        return inside, sum(state.energy(np.array([r])) for state in self.sampler.states)


# -- potentials ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, 1.5, 500.0, "500", None, True])
@pytest.mark.parametrize("kind", [bias.Metadynamics, lambda pace: bias.OPES(40, pace=pace)])
def test_a_pace_that_is_none(kind, value):
    with pytest.raises(ParameterError, match=r"pace=.* is no number of steps; give an int of at least 1"):
        kind(pace=value)


@pytest.mark.parametrize("value", [0, -0.1, (0.1, 0.0), "0.3", [], (0.1, None), math.nan, math.inf])
def test_a_width_that_is_none(value):
    for make in (
        bias.Metadynamics,
        lambda sigma: bias.OPES(40, sigma=sigma),
        lambda sigma: bias.OPES(40, sigma_min=sigma),
    ):
        with pytest.raises(ParameterError, match=r"sigma.*=.* is (not positive|no number); give"):
            make(sigma=value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "barrier=None is not an energy"),
        ([40], "barrier="),
        ("40", "write e.g. '50 kJ/mol'"),
        ("40 K", "write e.g. '50 kJ/mol'"),
        (40 * unit.kelvin, "give it in kJ/mol"),
        (-40, "is not positive"),
        (math.nan, "is not finite"),
    ],
)
def test_a_barrier_that_is_no_energy(value, says):
    with pytest.raises(ParameterError, match=says):
        bias.OPES(value)


def test_a_barrier_against_the_temperature(sampler):
    with pytest.raises(ParameterError, match=r"barrier=2 kJ/mol is no more than kT=2\.49 kJ/mol"):
        sampler(bias.OPES(2.0))
    with pytest.raises(ParameterError, match="too high to be crossed"):
        sampler(bias.OPES(1e6))


def test_quantities_are_what_their_units_say(sampler):
    made = sampler([bias.OPES(10 * KCAL), bias.Metadynamics("0.5 kcal/mol", on=0)], 300 * unit.kelvin)
    assert made.temperature == 300.0
    assert made.potentials[0].barrier == pytest.approx(41.84)
    assert made.potentials[1].height == pytest.approx(2.092)


@pytest.mark.parametrize("value", [0, -300, None, "300", math.nan, 300 * KCAL, "300 kJ/mol"])
def test_a_temperature_that_is_none(sampler, value):
    with pytest.raises(ParameterError, match="temperature="):
        sampler(bias.OPES(40), value)


@pytest.mark.parametrize("value", [0, 1, 0.5, -3, "10", math.nan, True])
def test_a_bias_factor_that_is_none(value):
    with pytest.raises(ParameterError, match=r"biasfactor=.* is not above 1; give e\.g\. 10"):
        bias.Metadynamics(biasfactor=value)


@pytest.mark.parametrize("value", ["phi", -1, (), (0, 0), (0, 1.5)])
def test_on_that_names_no_coordinates(value):
    with pytest.raises(ParameterError, match="does not name coordinates; give their numbers"):
        bias.Umbrella(0.0, 10.0, on=value)


@pytest.mark.parametrize("on", [2, (0, 5)])
def test_on_beyond_the_coordinates(sampler, on):
    with pytest.raises(ParameterError, match=r"Umbrella: on=.* but the coordinates are 0 to 1 \(phi ALA2, psi ALA2\)"):
        sampler(bias.Umbrella(0.0, 10.0, on=on))


@pytest.mark.parametrize("value", [None, "x", math.nan, [[1, 2]], True, ()])
def test_a_restraint_at_no_place(value):
    with pytest.raises(ParameterError, match=r"Umbrella\.at=.* is no number"):
        bias.Umbrella(value, 10.0)


@pytest.mark.parametrize("value", [None, "x", 0, -1, math.inf])
def test_a_restraint_of_no_strength(value):
    with pytest.raises(ParameterError, match="kappa"):
        bias.Umbrella(0.0, value)


def test_numbers_that_do_not_fit_the_coordinates(sampler):
    for potential in (
        bias.Metadynamics(sigma=(0.1, 0.2, 0.3)),
        bias.OPES(40, sigma=(0.1, 0.2, 0.3)),
        bias.Umbrella((0.0, 0.0, 0.0), 1.0),
        bias.Umbrella(0.0, (1.0, 2.0, 3.0)),
    ):
        with pytest.raises(ParameterError, match=r"3 (numbers|widths) for 2 coordinates"):
            sampler(potential)


def test_a_wall_on_a_periodic_coordinate(sampler):
    with pytest.raises(
        ParameterError, match="phi ALA2: it is periodic, so nothing lies beyond a wall; use an Umbrella"
    ):
        sampler(bias.UpperWall(1.0, 10.0))


@pytest.mark.parametrize("value", ["OPES", [None], [bias.OPES], [5]])
def test_what_is_no_potential(sampler, value):
    with pytest.raises(ParameterError, match="give one or more of OPES"):
        sampler(value)


@pytest.mark.parametrize("value", [None, 5, "bias.mdi"])
def test_a_frozen_bias_that_is_none(value):
    with pytest.raises(ParameterError, match="Fixed takes a BiasModel"):
        bias.Fixed(value)


# -- coordinates and systems ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feature", "instead"),
    [
        (SASA(), "use Contacts"),
        (HydrogenBonds(), "use Distances"),
        (Contacts("name CA or name C", kind="hard"), "use kind='smooth'"),
    ],
)
def test_a_feature_without_a_gradient(sampler, feature, instead):
    with pytest.raises(GradientError, match=instead) as caught:
        sampler(bias.OPES(40), coordinate=feature)
    assert type(feature).__name__ in str(caught.value)
    with pytest.raises(GradientError, match=instead):
        sampler(bias.OPES(40), coordinate=[ANGLES, Distances([[0, 1]]) + feature])


@pytest.mark.parametrize("pair", [[0, 22], [0, -1], [5, 10**6]])
def test_atoms_that_are_not_in_the_system(sampler, pair):
    with pytest.raises(SelectionError, match=r"names atoms .*the topology \(22 atoms\)"):
        sampler(bias.OPES(40), coordinate=Distances([pair]))


def test_torsions_that_are_not_in_the_system(sampler):
    with pytest.raises(TopologyError, match="finds none in the topology"):
        sampler(bias.OPES(40), coordinate=Torsions("chi1", raw=True))


@pytest.mark.parametrize("value", [None, "phi", 5, [], [None], np.zeros(3), cvs.TICA(lag=1)])
def test_what_is_no_coordinate(sampler, value):
    with pytest.raises(ParameterError, match="is no coordinate; give a fitted model"):
        sampler(bias.OPES(40), coordinate=value)


def test_five_coordinates(sampler):
    with pytest.raises(ParameterError, match=r"has 5 numbers.*at most 4"):
        sampler(bias.OPES(40), coordinate=[ANGLES, Distances([[0, 5], [0, 6], [0, 7]])])


def test_a_coordinate_without_weights(sampler, ala2):
    nothing = cvs.from_linear(Torsions("phi psi"), np.zeros((4, 1)), topology=ala2[0].topology)
    with pytest.raises(DegenerateError, match="is the same for every frame"):
        sampler(bias.OPES(40), coordinate=nothing)


@pytest.mark.parametrize("kind", [bias.Metadynamics, lambda pace: bias.OPES(40, pace=pace)])
def test_a_coordinate_that_is_constrained(sampler, simulate, kind):
    """Found when its width is measured; what ran until then is not lost."""
    made = sampler(kind(pace=10), coordinate=Distances([[0, 1]]))
    simulation = simulate()
    with pytest.raises(DegenerateError, match=r"distance .* is constant: it stayed at 0\.109"):
        made.step(simulation, 500)
    assert made.states[0].n_deposits == 0
    assert made.trace.step.tolist() == list(range(10, simulation.currentStep + 1, 10))


@pytest.mark.parametrize("value", [None, "top.pdb", 5])
def test_what_is_no_topology(sampler, value):
    with pytest.raises(ParameterError, match="give an OpenMM or mdtraj topology"):
        sampler(bias.OPES(40), topology=value)


def test_a_topology_of_other_residues(sampler, ala2):
    """A coordinate fitted on another peptide of as many atoms."""
    other = ala2[0].topology.copy()
    other.residue(1).name = "GLY"
    model = cvs.from_linear(Torsions("phi psi"), np.eye(4)[:, :2], topology=other)
    with pytest.raises(TopologyError, match=r"(ALA2.*GLY2|GLY2.*ALA2)"):
        sampler(bias.OPES(40), coordinate=model)


@pytest.mark.parametrize(
    "others",
    [
        {"every": 0},
        {"every": "2"},
        {"record": 0},
        {"record": 1.5},
        {"form": "fast"},
        {"form": None},
        {"walker": -1},
        {"exchange": 5},
    ],
)
def test_options_of_the_sampler(sampler, others):
    with pytest.raises(ParameterError, match=next(iter(others))):
        sampler(bias.OPES(40), **others)


@pytest.mark.parametrize("seed", [None, "a", -1, 1.5])
def test_a_seed_that_is_none(sampler, seed):
    with pytest.raises(ParameterError, match="not a seed; give a non-negative int"):
        sampler(bias.OPES(40), seed=seed).walker_seed()


# -- running -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [-1, 10.0, "10", None])
def test_steps_that_are_none(sampler, simulate, steps):
    made, simulation = sampler(bias.OPES(40)), simulate()
    with pytest.raises(ParameterError, match=r"steps=.* is no number of steps"):
        made.step(simulation, steps)
    assert simulation.currentStep == 0


def test_a_run_that_does_not_begin_at_zero(sampler, simulate):
    """Deposits and rows stand at whole multiples of their strides, wherever the count begins."""
    made, simulation = sampler(bias.Metadynamics(sigma=0.3, pace=10), record=5), simulate()
    simulation.currentStep = 1_000_003
    made.step(simulation, 30)
    assert made.trace.step.tolist() == [1_000_005 + 5 * i for i in range(6)]
    assert made.states[0].n_deposits == 3


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 torn"])
def test_a_file_of_another_kind(sampler, simulate, tmp_path, content):
    made, simulation = sampler(bias.OPES(40)), simulate()
    (tmp_path / "run.mdi").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"run\.mdi is no whole saved model"):
        made.run(simulation, 100, tmp_path / "run.mdi")
    assert (tmp_path / "run.mdi").read_bytes() == content
    assert simulation.currentStep == 0


def test_files_of_other_models(sampler, simulate, tmp_path):
    made, simulation = sampler(bias.OPES(40)), simulate()
    with pytest.raises(ModelFileError, match=r"no model at .*none\.mdi"):
        made.load(tmp_path / "none.mdi", simulation)
    made.trace.save(tmp_path / "trace.mdi")
    with pytest.raises(ModelFileError, match="holds a Trace, not a SavedRun"):
        made.load(tmp_path / "trace.mdi", simulation)


def test_a_folder_that_is_not_there_is_made(sampler, simulate, tmp_path):
    made = sampler(bias.OPES(40, sigma=0.2, pace=10))
    made.run(simulate(), 40, tmp_path / "new" / "deep" / "run.mdi")
    assert bias.SavedRun.load(tmp_path / "new/deep/run.mdi").md[0].step == 40


def test_a_folder_that_cannot_be_written(sampler, simulate, tmp_path):
    made, simulation = sampler(bias.OPES(40)), simulate()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose a folder that you can write to"):
        made.save(tmp_path / "file" / "run.mdi", simulation)


def test_a_full_disk(sampler, simulate, tmp_path):
    """The save before stands, the run in memory goes on, and what it had is saved once there is room."""
    made, simulation = sampler(bias.OPES(40, sigma=0.2, pace=10)), simulate()
    file = tmp_path / "run.mdi"
    made.run(simulation, 100, file)
    before = file.read_bytes()
    ignored, limit = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limit[1]))
        made.step(simulation, 100)
        with pytest.raises(OutputError, match=r"cannot write .*run\.mdi"):
            made.save(file, simulation)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.mdi"]
    made.save(file, simulation)
    saved = bias.SavedRun.load(file)
    assert saved.trace.step.tolist() == list(range(10, 201, 10))
    assert saved.model.hash == made.model.hash


@pytest.mark.parametrize("atom", [6, 20])
@pytest.mark.parametrize("form", ["compiled", "native"])
def test_nan_of_any_atom(sampler, simulate, tmp_path, monkeypatch, form, atom):
    """Atom 20 is none of the coordinate's, but its NaN reaches them through the other forces."""
    monkeypatch.chdir(tmp_path)
    made, simulation = sampler(bias.OPES(40, sigma=0.2, pace=10), form=form), simulate()
    made.step(simulation, 20)
    before = made.model.hash
    xyz = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value.copy()
    xyz[atom] = np.nan
    simulation.context.setPositions(xyz)
    for _ in range(2):
        with pytest.raises(InstabilityError, match=r"broke down at step .*atoms have NaN positions.*Saved as"):
            made.step(simulation, 20)
    assert made.model.hash == before
    assert np.isfinite(made.trace.s).all()


def test_a_full_disk_while_a_broken_walker_is_saved(sampler, simulate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made, simulation = sampler(bias.OPES(40)), simulate()
    simulation.context.setPositions(np.full((22, 3), np.nan))
    ignored, limit = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limit[1]))
        with pytest.raises(InstabilityError, match="Its state could not be saved"):
            made.step(simulation, 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert os.listdir(tmp_path) == []


# -- a coordinate that runs away -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["compiled", "native"])
@pytest.mark.parametrize("potential", [bias.Metadynamics(sigma=0.1, pace=5), bias.OPES(40, sigma=0.1, pace=5)])
def test_the_grid_follows_the_coordinate(potential, form):
    """The force in the system is that of the potential wherever the run has gone, and hills far out are as good as others."""
    pair = Pair(potential, form=form)
    pair.sampler.step(pair.simulation, 20)
    for r in (3.0, 40.0, 1000.0):
        pair.put(r)
        pair.sampler.step(pair.simulation, 10)
        for place in (0.3, 0.5 * r, r, r + 0.05, 2 * r):
            inside, direct = pair.energies(place)
            assert inside == pytest.approx(direct, abs=1e-9 if form == "compiled" else 0.02)
    assert pair.sampler.states[0].n_deposits == 10
    # at 2000 nm there is nothing
    assert pair.energies(2000.0)[1] == pair.sampler.states[0].outside


def test_a_grid_too_large_is_refused_and_nothing_clipped():
    pair = Pair(bias.Metadynamics(sigma=0.01, pace=10, height=2.0))
    pair.sampler.step(pair.simulation, 50)
    before, points = pair.sampler.model.hash, np.linspace(0.2, 0.4, 7)
    energies = [pair.energies(r)[1] for r in points]
    pair.put(1e6)
    with pytest.raises(
        ParameterError, match=r"grid of the hills would need .* MB; give a larger sigma, walls .* or use OPES"
    ):
        pair.sampler.step(pair.simulation, 50)
    assert pair.sampler.model.hash == before
    assert [pair.energies(r)[1] for r in points] == energies
    assert [pair.energies(r)[0] for r in points] == pytest.approx(energies, abs=1e-12)
    pair.put(0.3)
    pair.sampler.step(pair.simulation, 50)
    assert pair.sampler.states[0].n_deposits > 5


@pytest.mark.parametrize("period", [None, 2 * math.pi])
@pytest.mark.parametrize("potential", [bias.Metadynamics(sigma=0.3), bias.OPES(40, sigma=0.3)])
def test_energies_of_any_number_at_all(potential, period):
    """Compiled code reads by address: no number may lead it astray."""
    state = start(potential, 300.0, (period,))
    state.deposit(np.array([0.1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = np.array([1e5, 1e17, -1e300, np.inf, -np.inf, np.nan, 5e-324])[:, None]
        energies = state.energies(points)
    assert np.isnan(energies[-2])
    assert np.isfinite(energies[[0, 1, 2, 6]]).all()
    before = state.arrays()
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(NonFiniteError, match="coordinate 0 is"):
            state.deposit(np.array([bad]))
    for name, array in state.arrays().items():
        assert np.array_equal(array, before[name])


# -- memory --------------------------------------------------------------------------------------------------------------


def test_the_force_lives_on_without_the_sampler(sampler, simulate):
    made = sampler([bias.Metadynamics(sigma=0.2, pace=5), bias.OPES(40, sigma=0.2, pace=5)])
    simulation, group = simulate(), made.force.getForceGroup()
    made.step(simulation, 100)
    positions = simulation.context.getState(positions=True).getPositions()
    expected = made.model.potential(made.coordinate.bind(made.topology).value(np.array(positions._value))[None])[0]
    del made
    gc.collect()
    rubbish = [np.full(4096, np.nan) for _ in range(200)]
    found = simulation.context.getState(energy=True, groups={group}).getPotentialEnergy()._value
    assert found == pytest.approx(expected, rel=1e-9)
    simulation.step(50)
    del rubbish


@pytest.mark.parametrize("form", ["compiled", "native"])
def test_contexts_made_anew(sampler, simulate, form):
    made = sampler(bias.Metadynamics(sigma=0.2, pace=5), form=form)
    simulation = simulate()
    made.step(simulation, 50)
    simulation.context.reinitialize(preserveState=True)
    made.step(simulation, 50)
    groups = {made.force.getForceGroup()}
    inside = simulation.context.getState(energy=True, groups=groups).getPotentialEnergy()._value
    xyz = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value
    assert inside == pytest.approx(
        made.states[0].energy(made.bound.value(xyz)), abs=1e-9 if form == "compiled" else 0.01
    )
    assert made.states[0].n_deposits == 20


def test_a_live_bias_is_not_copied_in_silence(sampler, system):
    sampler(bias.OPES(40))
    with pytest.raises(openmm.OpenMMException, match="could not be pickled"):
        copy.deepcopy(system)


def test_a_box_that_changes_changes_the_bias():
    """By the nearest image in the box of the moment, as a barostat's trial moves need it."""
    topology = mdtraj.Topology()
    residue = topology.add_residue("AR2", topology.add_chain())
    system, nonbonded = openmm.System(), openmm.NonbondedForce()
    for name in "AB":
        topology.add_atom(name, mdtraj.element.argon, residue)
        system.addParticle(40.0)
        nonbonded.addParticle(0.0, 1.0, 0.0)
    nonbonded.setNonbondedMethod(nonbonded.CutoffPeriodic)
    nonbonded.setCutoffDistance(0.5)
    system.addForce(nonbonded)
    system.setDefaultPeriodicBoxVectors([2, 0, 0], [0, 2, 0], [0, 0, 2])
    for form in ("compiled", "native"):
        bare = copy.deepcopy(system)
        bias.Sampler(bare, topology, Distances([[0, 1]]), bias.Umbrella(0.25, 1000.0), form=form)
        context = openmm.Context(bare, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
        context.setPositions([[0, 0, 0], [1.9, 0, 0]])
        for length, r in ((2.0, 0.1), (2.2, 0.3), (3.0, 1.1)):
            context.setPeriodicBoxVectors([length, 0, 0], [0, 2, 0], [0, 0, 2])
            energy = context.getState(energy=True).getPotentialEnergy()._value
            assert energy == pytest.approx(500.0 * (r - 0.25) ** 2, rel=1e-6)


# -- what was recorded ---------------------------------------------------------------------------------------------------


def built_up(bare, molecule):
    """A bias of hills and a restraint, in a system of its own."""
    potentials = [bias.Metadynamics(sigma=0.3, pace=10, height=2.0), bias.Umbrella(1.0, 3.0, on=1)]
    made = bias.Sampler(openmm.XmlSerializer.deserialize(bare), molecule.topology, ANGLES, potentials)
    for s in np.random.default_rng(1).uniform(-math.pi, math.pi, (40, 2)):
        made.states[0].deposit(s)
    return made.model


def test_what_each_column_of_the_trace_adds_up(sampler, simulate, bare, molecule):
    """A frozen bias, a restraint and two potentials that grow at different paces, one on the coordinates in another order."""
    frozen = built_up(bare, molecule)
    potentials = [
        bias.Fixed(frozen),
        bias.Metadynamics(sigma=0.2, pace=30, height=1.0, on=0),
        bias.OPES(30, pace=20, sigma=0.2, on=(1, 0)),
        bias.Umbrella(0.5, 7.0, on=0),
    ]
    made = sampler(potentials, record=10)
    simulation = simulate()
    for _ in range(18):
        before, offset = made.model, sum(state.offset() for state in made.states)
        made.step(simulation, 10)
        trace = made._recorder.recorded()
        s = trace.s[-1]
        d = (s[0] - 0.5 + math.pi) % (2 * math.pi) - math.pi
        fixed = frozen.potential(s[None])[0] + 3.5 * d * d
        assert trace.fixed[-1] == pytest.approx(fixed, rel=1e-12)
        assert trace.bias[-1] == pytest.approx(before.potential(s[None])[0] - fixed, abs=1e-9)
        assert trace.offset[-1] == pytest.approx(offset, abs=1e-12)
    assert [state.n_deposits for state in made.states if state.pace] == [180 // 30, 180 // 20]


@pytest.fixture(scope="module")
def trace():
    pair = Pair(bias.Umbrella(0.3, 1000.0), record=10)
    pair.sampler.step(pair.simulation, 3000)
    return pair.sampler.trace


def test_a_trace_without_rows(trace):
    empty, name = trace.take(slice(0, 0)), trace.names[0]
    for ask in (
        bias.frame_weights,
        bias.free_energy_surface,
        lambda empty: bias.free_energy_difference(empty, {name: (0, 0.3)}, {name: (0.3, 9)}),
        lambda empty: bias.convergence(empty, {name: (0, 0.3)}, {name: (0.3, 9)}),
    ):
        with pytest.raises(ParameterError, match="the trace has no rows; run the biased simulation first"):
            ask(empty)


def test_states_that_overlap(trace):
    name = trace.names[0]
    with pytest.raises(ParameterError, match=r"A and B have [\d ,]+ frames in common"):
        bias.free_energy_difference(trace, {name: (0, 0.32)}, {name: (0.3, 9)})


@pytest.mark.parametrize("gone", ["A", "B"])
def test_a_state_never_visited(trace, gone):
    """A bound on one side, and the verdict says so."""
    seen, unseen = {trace.names[0]: (0, 9)}, {trace.names[0]: (50, 60)}
    found = bias.free_energy_difference(trace, *((unseen, seen) if gone == "A" else (seen, unseen)))
    assert np.isinf(found.value)
    assert np.isinf(found.low) != np.isinf(found.high)
    (verdict,) = found.verdicts()
    assert not verdict.holds
    assert f"{gone} was never visited" in str(verdict)
    neither = bias.free_energy_difference(trace, {trace.names[0]: (60, 70)}, unseen)
    assert np.isnan(neither.value)
    assert "A and B were never visited" in str(neither.verdicts()[0])


@pytest.mark.parametrize(
    "state",
    [
        None,
        "x",
        5,
        {"zz": (0, 1)},
        {0: 5},
        {0: (1, 0)},
        {0: ("a", "b")},
        {0: (0, math.nan)},
        lambda s: 5,
        lambda s: s,
        [True],
    ],
)
def test_what_is_no_state(trace, state):
    if isinstance(state, dict) and 0 in state:
        state = {trace.names[0]: state[0]}
    with pytest.raises(MdinsightError, match=r"^A"):
        bias.free_energy_difference(trace, state, {trace.names[0]: (0.3, 9)})


@pytest.mark.parametrize("discard", ["x", 1.0, -0.1, math.nan, True])
def test_a_fraction_that_is_none(trace, discard):
    name = trace.names[0]
    with pytest.raises(ParameterError, match=r'discard=.*give a number from 0 to 1, or "auto"'):
        bias.free_energy_difference(trace, {name: (0, 0.3)}, {name: (0.3, 9)}, discard=discard)


def test_values_that_a_frozen_bias_refuses(sampler):
    model = sampler(bias.Umbrella(0.0, 10.0)).model
    for bad in (None, "x", np.zeros((3, 3)), np.array([["a", "b"]]), np.zeros((0, 2))):
        with pytest.raises(ParameterError):
            model.potential(bad)
    for bad in (np.nan, np.inf):
        with pytest.raises(NonFiniteError, match="frame 1"):
            model.potential(np.array([[0.0, 0.0], [0.0, bad]]))


@pytest.mark.parametrize(
    ("energies", "others", "says"),
    [
        (np.zeros((2, 5)), {"counts": [2, 2]}, "do not sum to 5 frames"),
        (np.zeros((2, 5)), {"state": [0, 0, 1, 1, 2]}, "there are 2 states"),
        (np.zeros((2, 5)), {}, "give state=.*or counts="),
        (np.zeros(5), {"counts": [5]}, "energies have shape"),
        (np.zeros((2, 5)), {"counts": [2, 3], "runs": [0.5] * 5}, "runs has shape"),
    ],
)
def test_mbar_of_what_does_not_fit(energies, others, says):
    with pytest.raises(ParameterError, match=says):
        bias.mbar(energies, temperature=300, **others)


def test_mbar_of_energies_that_are_not_finite():
    energies = np.zeros((2, 5))
    energies[1, 3] = np.inf
    with pytest.raises(NonFiniteError, match="the bias of state 1 is inf for frame 3"):
        bias.mbar(energies, counts=[2, 3], temperature=300)


def test_states_of_mbar_that_share_no_frames():
    """The figure is there, and the verdict says that it means nothing."""
    energies = np.array([[0, 0, 0, 1e5, 1e5], [1e5, 1e5, 1e5, 0, 0]])
    found = bias.mbar(energies, counts=[3, 2], temperature=300)
    overlap = found.verdicts()[0]
    assert not overlap.holds
    assert "2 groups" in str(overlap)


def test_a_bias_of_another_coordinate(sampler, bare, molecule):
    frozen = built_up(bare, molecule)
    with pytest.raises(BiasError, match="a bias is bound to the coordinate it was made on"):
        sampler(bias.Fixed(frozen), coordinate=Torsions("psi", raw=True))
