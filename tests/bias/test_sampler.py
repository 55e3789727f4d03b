"""A bias in OpenMM: its force is its energy's, it samples what it should, and it stops for what it must not swallow."""

from __future__ import annotations

import math
import threading
from contextlib import suppress

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app, unit
from scipy.integrate import quad

from mdinsight import bias, cvs, units
from mdinsight.errors import BiasError, InstabilityError, ModelFileError, OutputError, ParameterError, TopologyError
from mdinsight.features import Distances, Function, Torsions

KT = units.GAS_CONSTANT * 300.0


@pytest.fixture(scope="module")
def molecule(examples):
    return app.PDBFile(str(examples / "ala2/top.pdb"))


def vacuum(molecule):
    return app.ForceField("amber99sb.xml").createSystem(molecule.topology, constraints=app.HBonds)


def simulate(molecule, system, seed=1, temperature=300.0, platform="Reference", step=0.002):
    integrator = openmm.LangevinMiddleIntegrator(temperature, 1.0, step)
    integrator.setRandomNumberSeed(seed)
    simulation = app.Simulation(molecule.topology, system, integrator, openmm.Platform.getPlatformByName(platform))
    simulation.context.setPositions(molecule.positions)
    simulation.context.setVelocitiesToTemperature(300.0, seed)
    return simulation


def slow(topology):
    """A linear coordinate of two numbers."""
    matrix = np.array([[1.0, 0.2], [0.5, -1.0], [0.3, 0.4], [-0.8, 0.9]])
    return cvs.from_linear(Torsions("phi psi"), matrix, topology=topology)


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
@pytest.mark.parametrize("form", ["compiled", "native"])
def test_forces_of_the_bias_are_the_derivative_of_its_energy(molecule, ala2, form, platform):
    """After some deposits, in the running system: central differences of the energy of its force group."""
    system = vacuum(molecule)
    potentials = [bias.Metadynamics(height=3.0, sigma=0.3, pace=20), bias.Umbrella(0.1, 30.0, on=1)]
    sampler = bias.Sampler(system, molecule.topology, slow(ala2[0].topology), potentials, form=form)
    simulation = simulate(molecule, system, platform=platform)
    sampler.step(simulation, 200)
    assert sampler.states[0].n_deposits == 10
    context, group = simulation.context, {sampler.force.getForceGroup()}
    state = context.getState(positions=True, forces=True, energy=True, groups=group)
    xyz = state.getPositions(asNumpy=True)._value.copy()
    forces = state.getForces(asNumpy=True)._value
    energy = state.getPotentialEnergy()._value
    s = sampler.bound.value(xyz)
    direct = sum(potential.energy(s[list(potential.axes)]) for potential in sampler.states)
    assert energy == pytest.approx(direct, rel=1e-9 if form == "compiled" else 2e-3)
    assert energy == pytest.approx(sampler.model.potential(s[None])[0], rel=1e-9 if form == "compiled" else 2e-3)
    step = 1e-4 if platform == "Reference" else 1e-3
    for atom in (4, 6, 8, 14):
        for axis in range(3):
            values = []
            for sign in (1, -1):
                moved = xyz.copy()
                moved[atom, axis] += sign * step
                context.setPositions(moved)
                values.append(context.getState(energy=True, groups=group).getPotentialEnergy()._value)
            numerical = -(values[0] - values[1]) / (2 * step)
            assert forces[atom, axis] == pytest.approx(numerical, rel=2e-4, abs=2e-4 * np.abs(forces).max())


def test_both_forms_are_one_bias(molecule, ala2):
    """The same run, to the rounding of a few steps, whichever form the force has."""
    ends = {}
    for form in ("compiled", "native"):
        system = vacuum(molecule)
        umbrella = bias.Umbrella((0.2, -0.4), 80.0)
        sampler = bias.Sampler(system, molecule.topology, slow(ala2[0].topology), umbrella, form=form)
        simulation = simulate(molecule, system)
        sampler.step(simulation, 100)
        ends[form] = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value
    assert ends["native"] == pytest.approx(ends["compiled"], abs=1e-9)


class TestEnsemble:
    """Two free particles whose distance is restrained: the density of r is r^2 exp(-V(r)/kT), known exactly."""

    AT, KAPPA = 0.3, 2000.0

    @pytest.fixture
    def pair(self):
        topology = mdtraj.Topology()
        residue = topology.add_residue("AR2", topology.add_chain())
        for name in ("A", "B"):
            topology.add_atom(name, mdtraj.element.argon, residue)
        return topology

    def moments(self):
        def density(r):
            return r * r * math.exp(-0.5 * self.KAPPA * (r - self.AT) ** 2 / KT)

        norm, mean, square = (quad(lambda r, n=n: density(r) * r**n, 0.1, 0.6)[0] for n in (0, 1, 2))
        return mean / norm, math.sqrt(square / norm - (mean / norm) ** 2)

    @pytest.mark.parametrize("every", [1, 2, 5])
    def test_is_unchanged_by_multiple_time_steps(self, pair, every):
        system = openmm.System()
        for _ in range(2):
            system.addParticle(40.0)
        umbrella = bias.Umbrella(self.AT, self.KAPPA)
        sampler = bias.Sampler(system, pair, Distances([[0, 1]]), umbrella, every=every, record=20)
        integrator = openmm.LangevinMiddleIntegrator(300.0, 5.0, 0.002)
        integrator.setRandomNumberSeed(3)
        simulation = app.Simulation(
            pair.to_openmm(), system, integrator, openmm.Platform.getPlatformByName("Reference")
        )
        simulation.context.setPositions([[0, 0, 0], [0.3, 0, 0]])
        sampler.step(simulation, 400_000)
        r = sampler.trace.s[100:, 0]
        mean, deviation = self.moments()
        blocks = r[: len(r) // 40 * 40].reshape(40, -1)
        error = blocks.mean(axis=1).std(ddof=1) / math.sqrt(40)
        spread = blocks.std(axis=1).std(ddof=1) / math.sqrt(40)
        assert error < 0.05 * deviation
        assert abs(r.mean() - mean) < 4 * error
        assert abs(r.std() - deviation) < 4 * spread + 0.01 * deviation

    def test_weights_take_the_restraint_away(self, pair):
        """Reweighted, the restrained run gives the unrestrained density r^2 within the range that it visited."""
        system = openmm.System()
        for _ in range(2):
            system.addParticle(40.0)
        sampler = bias.Sampler(system, pair, Distances([[0, 1]]), bias.Umbrella(self.AT, 500.0), record=20)
        integrator = openmm.LangevinMiddleIntegrator(300.0, 5.0, 0.002)
        integrator.setRandomNumberSeed(4)
        simulation = app.Simulation(
            pair.to_openmm(), system, integrator, openmm.Platform.getPlatformByName("Reference")
        )
        simulation.context.setPositions([[0, 0, 0], [0.3, 0, 0]])
        sampler.step(simulation, 600_000)
        trace = sampler.trace
        r, weights = trace.s[100:, 0], np.exp(trace.log_weights()[100:])
        near, far = (r > 0.22) & (r < 0.30), (r > 0.30) & (r < 0.38)
        ratio = weights[near].sum() / weights[far].sum()
        exact = (0.30**3 - 0.22**3) / (0.38**3 - 0.30**3)
        assert ratio == pytest.approx(exact, rel=0.1)


class TestRecord:
    def test_rows_and_deposits_once_per_pace(self, molecule, ala2):
        system = vacuum(molecule)
        sampler = bias.Sampler(
            system, molecule.topology, slow(ala2[0].topology), bias.Metadynamics(sigma=0.3, pace=30), record=20
        )
        simulation = simulate(molecule, system)
        for steps in (7, 23, 1, 59, 30):
            sampler.step(simulation, steps)
            simulation.context.getState(energy=True, forces=True)
        assert sampler.trace.step.tolist() == [20, 40, 60, 80, 100, 120]
        assert sampler.states[0].n_deposits == 4
        assert sampler.trace.time == pytest.approx(sampler.trace.step * 0.002)

    def test_the_bias_in_the_trace_is_the_one_before_the_deposit(self, molecule, ala2):
        system = vacuum(molecule)
        sampler = bias.Sampler(
            system, molecule.topology, slow(ala2[0].topology), bias.Metadynamics(sigma=0.3, pace=10, height=2.0)
        )
        simulation = simulate(molecule, system)
        before = sampler.model
        for _ in range(5):
            sampler.step(simulation, 10)
            assert sampler.trace.bias[-1] == pytest.approx(before.potential(sampler.trace.s[-1:])[0], abs=1e-12)
            before = sampler.model
        assert before.potential(sampler.trace.s[-1:])[0] > 1.0

    def test_the_coordinate_recorded_is_that_of_the_analysis(self, molecule, ala2, tmp_path):
        system = vacuum(molecule)
        sampler = bias.Sampler(system, molecule.topology, slow(ala2[0].topology), bias.OPES(30, pace=50))
        simulation = simulate(molecule, system)
        simulation.reporters.append(app.DCDReporter(str(tmp_path / "run.dcd"), 50))
        sampler.step(simulation, 1000)
        del simulation.reporters[:]
        import mdinsight as mdi

        trajs = mdi.open(tmp_path / "run.dcd", top=ala2[0].topology)
        assert sampler.coordinate.transform(trajs)[0] == pytest.approx(sampler.trace.s, rel=1e-5, abs=2e-6)
        assert sampler.model.potential_of(trajs)[0] == pytest.approx(
            sampler.model.potential(sampler.trace.s), rel=1e-4, abs=1e-4
        )


class TestStops:
    def test_nan_positions(self, molecule, ala2, tmp_path, monkeypatch):
        """The state is saved aside, the message says where, and nothing of it enters the bias."""
        monkeypatch.chdir(tmp_path)
        system = vacuum(molecule)
        sampler = bias.Sampler(
            system, molecule.topology, slow(ala2[0].topology), bias.Metadynamics(sigma=0.3, pace=10), form="compiled"
        )
        simulation = simulate(molecule, system)
        sampler.step(simulation, 40)
        before = sampler.model.hash
        xyz = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value.copy()
        xyz[6, 1] = np.nan
        simulation.context.setPositions(xyz)
        with pytest.raises(InstabilityError, match=r"walker 0 broke down at step 4.*Saved as .*broken-walker0"):
            sampler.step(simulation, 40)
        assert sampler.model.hash == before
        assert len(sampler.trace) == 4
        sound = openmm.XmlSerializer.deserialize((tmp_path / "broken-walker0-last-sound.xml").read_text())
        assert np.isfinite(sound.getPositions(asNumpy=True)._value).all()

    def test_blown_up_by_too_long_a_step(self, molecule, ala2, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        system = vacuum(molecule)
        sampler = bias.Sampler(system, molecule.topology, slow(ala2[0].topology), bias.Metadynamics(sigma=0.3, pace=10))
        simulation = simulate(molecule, system, step=0.02)
        with pytest.raises(InstabilityError, match="smaller time step"):
            sampler.step(simulation, 5000)
        assert np.isfinite(sampler.trace.s).all()

    def test_another_temperature(self, molecule, ala2):
        system = vacuum(molecule)
        sampler = bias.Sampler(system, molecule.topology, slow(ala2[0].topology), bias.OPES(30), temperature=310)
        with pytest.raises(BiasError, match="integrator runs at 300 K, the bias was made for 310 K"):
            sampler.step(simulate(molecule, system), 10)

    def test_another_topology(self, molecule, ala2_water):
        with pytest.raises(TopologyError, match="22 particles"):
            bias.Sampler(vacuum(molecule), ala2_water[0].topology, Torsions("phi", raw=True), bias.OPES(30))

    def test_a_frozen_bias_of_another_coordinate(self, molecule, ala2):
        top = ala2[0].topology
        sampler = bias.Sampler(vacuum(molecule), top, slow(top), bias.OPES(30))
        with pytest.raises(BiasError, match="frozen bias acts on"):
            bias.Sampler(vacuum(molecule), top, Torsions("phi psi", raw=True), bias.Fixed(sampler.model))

    def test_values_of_another_coordinate(self, molecule, ala2):
        top = ala2[0].topology
        model = bias.Sampler(vacuum(molecule), top, slow(top), bias.OPES(30)).model
        other = Torsions("phi psi", raw=True).transform(ala2[:1])
        with pytest.raises(BiasError, match="another coordinate"):
            model.potential(other)
        with pytest.raises(ParameterError, match="3 columns"):
            model.potential(np.zeros((5, 3)))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"every": 0}, "every=0"),
            ({"record": 0}, "record=0"),
            ({"temperature": -5}, "temperature=-5"),
            ({"form": "magic"}, "form='magic'"),
            ({"every": 2, "form": "native"}, "not possible"),
        ],
    )
    def test_parameters(self, molecule, ala2, arguments, message):
        with pytest.raises(ParameterError, match=message):
            bias.Sampler(vacuum(molecule), molecule.topology, slow(ala2[0].topology), bias.OPES(30), **arguments)

    def test_steps_apart_with_a_barostat(self, molecule, ala2):
        system = vacuum(molecule)
        system.addForce(openmm.MonteCarloBarostat(1.0, 300.0))
        with pytest.raises(ParameterError, match="every=1"):
            bias.Sampler(system, molecule.topology, slow(ala2[0].topology), bias.OPES(30), every=2)

    def test_serialising_the_system(self, molecule, ala2):
        """The force holds addresses of this process; written to a file they would be wrong, so it refuses."""
        system = vacuum(molecule)
        bias.Sampler(system, molecule.topology, slow(ala2[0].topology), bias.OPES(30), form="compiled")
        with pytest.raises(Exception, match="could not be pickled"):
            openmm.XmlSerializer.serialize(system)


class TestFeelsTheBias:
    """A run without the bias that its weights suppose would be wrong in silence; each way into one is refused."""

    @pytest.fixture(params=["compiled", "native"])
    def made(self, request, molecule, ala2):
        system = vacuum(molecule)
        return lambda before=None: (
            bias.Sampler(
                system, molecule.topology, slow(ala2[0].topology), bias.Umbrella((0.2, -0.4), 80.0), form=request.param
            )
            if before is None
            else (
                before(system),
                bias.Sampler(
                    system,
                    molecule.topology,
                    slow(ala2[0].topology),
                    bias.Umbrella((0.2, -0.4), 80.0),
                    form=request.param,
                ),
            )
        )

    def test_simulation_made_before(self, molecule, made):
        simulation, sampler = made(lambda system: simulate(molecule, system))
        with pytest.raises(BiasError, match="Make the Sampler first"):
            sampler.step(simulation, 10)

    def test_simulation_of_another_system(self, molecule, made):
        sampler = made()
        with pytest.raises(BiasError, match="another System"):
            sampler.step(simulate(molecule, vacuum(molecule)), 10)

    def test_integrator_that_leaves_the_force_out(self, molecule, made):
        sampler = made()
        integrator = openmm.MTSLangevinIntegrator(300.0, 1.0, 0.002, [(0, 1)])
        simulation = app.Simulation(molecule.topology, sampler.system, integrator)
        simulation.context.setPositions(molecule.positions)
        with pytest.raises(BiasError, match=r"leaves out force group 31"):
            sampler.step(simulation, 10)
        simulation = simulate(molecule, sampler.system)
        simulation.integrator.setIntegrationForceGroups({0})
        with pytest.raises(BiasError, match="leaves out force group 31"):
            sampler.step(simulation, 10)

    def test_integrator_that_knows_the_group(self, molecule, made):
        sampler = made()
        integrator = openmm.MTSLangevinIntegrator(300.0, 1.0, 0.004, [(31, 1), (0, 2)])
        integrator.setRandomNumberSeed(2)
        simulation = app.Simulation(
            molecule.topology, sampler.system, integrator, openmm.Platform.getPlatformByName("Reference")
        )
        simulation.context.setPositions(molecule.positions)
        sampler.step(simulation, 5000)
        assert sampler.trace.s[4:].mean(axis=0) == pytest.approx([0.2, -0.4], abs=0.5)

    def test_second_sampler_on_one_system(self, molecule, ala2, made):
        sampler = made()
        with pytest.raises(ParameterError, match="already holds the bias"):
            bias.Sampler(sampler.system, molecule.topology, slow(ala2[0].topology), bias.OPES(30))

    def test_no_positions(self, molecule, made):
        sampler = made()
        integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.002)
        with pytest.raises(ParameterError, match="no positions"):
            sampler.step(app.Simulation(molecule.topology, sampler.system, integrator), 10)

    def test_atoms_in_another_order(self, molecule, ala2):
        top = ala2[0].topology
        order = [i for residue in top.residues for i in reversed([atom.index for atom in residue.atoms])]
        turned = _reordered(top, order)
        with pytest.raises(TopologyError, match=r"atom 1 of the topology is .*same order"):
            bias.Sampler(vacuum(molecule), turned, Torsions("phi", raw=True), bias.OPES(30))

    def test_heavy_hydrogens_are_no_other_order(self, molecule, ala2):
        system = app.ForceField("amber99sb.xml").createSystem(
            molecule.topology, constraints=app.HBonds, hydrogenMass=4.0 * unit.dalton
        )
        bias.Sampler(system, ala2[0].topology, Torsions("phi", raw=True), bias.OPES(30))

    @pytest.mark.parametrize("thermostat", ["Andersen", "MTS"])
    def test_another_temperature_by_another_thermostat(self, molecule, ala2, thermostat):
        system = vacuum(molecule)
        if thermostat == "Andersen":
            system.addForce(openmm.AndersenThermostat(400.0, 1.0))
            integrator = openmm.VerletIntegrator(0.002)
        else:
            integrator = openmm.MTSLangevinIntegrator(400.0, 1.0, 0.002, [(31, 1), (0, 1)])
        sampler = bias.Sampler(system, molecule.topology, slow(ala2[0].topology), bias.OPES(30))
        simulation = app.Simulation(molecule.topology, system, integrator)
        simulation.context.setPositions(molecule.positions)
        with pytest.raises(BiasError, match="400 K, the bias was made for 300 K"):
            sampler.step(simulation, 10)


def _reordered(topology, order):
    made = mdtraj.Topology()
    chain = made.add_chain()
    residues = {}
    for i in order:
        atom = topology.atom(i)
        if atom.residue.index not in residues:
            residues[atom.residue.index] = made.add_residue(atom.residue.name, chain, atom.residue.resSeq)
        made.add_atom(atom.name, atom.element, residues[atom.residue.index])
    return made


class TestSteps:
    def test_minimised_with_the_plain_force(self, molecule, ala2):
        """Impulses are for MD; a minimiser sees the bias itself, whatever ``every``."""
        ends = []
        for every in (1, 3):
            system = vacuum(molecule)
            umbrella = bias.Umbrella((0.2, -0.4), 80.0)
            bias.Sampler(system, molecule.topology, slow(ala2[0].topology), umbrella, every=every)
            simulation = simulate(molecule, system)
            simulation.minimizeEnergy()
            ends.append(simulation.context.getState(energy=True).getPotentialEnergy()._value)
        assert ends[1] == pytest.approx(ends[0], abs=1e-6)

    def test_set_back_or_used_for_another_simulation(self, molecule, ala2):
        system = vacuum(molecule)
        sampler = bias.Sampler(system, molecule.topology, slow(ala2[0].topology), bias.Metadynamics(sigma=0.3, pace=10))
        simulation = simulate(molecule, system)
        sampler.step(simulation, 100)
        simulation.currentStep = 0
        for at_zero in (simulation, simulate(molecule, system)):
            with pytest.raises(ParameterError, match=r"stands at step 0, this Sampler has .* up to step 100"):
                sampler.step(at_zero, 10)
        assert len(sampler.trace) == 10

    def test_one_simulation_twice(self, molecule, ala2):
        system = vacuum(molecule)
        sampler = bias.Sampler(system, molecule.topology, slow(ala2[0].topology), bias.OPES(30))
        simulation = simulate(molecule, system)
        with pytest.raises(ParameterError, match="twice"):
            sampler.step([simulation, simulation], 10)

    @pytest.mark.parametrize(("steps", "message"), [(200.0, "steps=200.0"), ("200", "steps='200'"), (-5, "steps=-5")])
    def test_steps_of_a_run_are_looked_at_first(self, molecule, ala2, tmp_path, steps, message):
        system = vacuum(molecule)
        sampler = bias.Sampler(system, molecule.topology, slow(ala2[0].topology), bias.OPES(30))
        with pytest.raises(ParameterError, match=message):
            sampler.run(simulate(molecule, system), steps, tmp_path / "a.run")
        assert not (tmp_path / "a.run").exists()

    def test_a_file_that_cannot_be_written_shows_before_the_first_step(self, molecule, ala2, tmp_path):
        system = vacuum(molecule)
        sampler = bias.Sampler(system, molecule.topology, slow(ala2[0].topology), bias.OPES(30))
        simulation = simulate(molecule, system)
        (tmp_path / "a file").write_text("")
        with pytest.raises(OutputError):
            sampler.run(simulation, 1000, tmp_path / "a file" / "a.run")
        assert simulation.currentStep == 0
        with pytest.raises(ParameterError, match="file=None"):
            sampler.run(simulation, 1000, None)

    def test_two_threads(self, molecule, ala2):
        """One sampler steps in one thread; simulations stepped by themselves in two threads feel the right force."""
        system = vacuum(molecule)
        sampler = bias.Sampler(system, molecule.topology, slow(ala2[0].topology), bias.Umbrella((0.2, -0.4), 80.0))
        simulations = [simulate(molecule, system, seed=seed, platform="CPU") for seed in (1, 2)]
        group = {sampler.force.getForceGroup()}
        told = []

        def work(simulation):
            for _ in range(300):
                state = simulation.context.getState(positions=True, energy=True, groups=group)
                s = slow_value(sampler, state.getPositions(asNumpy=True)._value)
                told.append((state.getPotentialEnergy()._value, 40.0 * float(((s - [0.2, -0.4]) ** 2).sum())))
                simulation.integrator.step(1)

        def slow_value(sampler, xyz):
            features = Torsions("phi psi").bind(ala2[0].topology).value(xyz)
            return slow(ala2[0].topology).value_and_vjp(features, np.zeros(2))[0]

        threads = [threading.Thread(target=work, args=(simulation,)) for simulation in simulations]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        energies, direct = np.array(told).T
        assert len(energies) == 600
        assert energies == pytest.approx(direct, rel=1e-6, abs=1e-6)
        sampler._stepping.acquire()
        with pytest.raises(BiasError, match="another thread"):
            sampler.step(simulations[0], 1)

    def test_an_interrupt_loses_no_deposit(self, molecule, ala2):
        """Stopped wherever it may be, stepped on: as many rows and deposits as without."""
        system = vacuum(molecule)
        sampler = bias.Sampler(system, molecule.topology, slow(ala2[0].topology), bias.Metadynamics(sigma=0.3, pace=10))
        simulation = simulate(molecule, system)
        look, calls = sampler._look, []

        def interrupted(*arguments):
            calls.append(1)
            if len(calls) % 3 == 0:
                raise KeyboardInterrupt
            return look(*arguments)

        sampler._look = interrupted
        while simulation.currentStep < 300:
            with suppress(KeyboardInterrupt):
                sampler.step(simulation, 300 - simulation.currentStep)
        sampler._look = look
        sampler.step(simulation, 0)
        assert sampler.trace.step.tolist() == list(range(10, 301, 10))
        assert sampler.states[0].n_deposits == 30


def test_a_users_function_is_biased_too(molecule):
    """A coordinate in plain Python, with its gradient, takes the same way but for speed."""

    def extent(frames):
        return np.linalg.norm(frames.xyz[:, 18] - frames.xyz[:, 1], axis=1)

    def slope(frame, cotangent):
        out = np.zeros((frame.n_atoms, 3))
        d = frame.xyz[0, 18] - frame.xyz[0, 1]
        out[18], out[1] = cotangent[0] * d / np.linalg.norm(d), -cotangent[0] * d / np.linalg.norm(d)
        return out

    feature = Function(extent, "extent", gradient=slope)
    ends = []
    for features in (feature, Distances([[1, 18]])):
        system = vacuum(molecule)
        sampler = bias.Sampler(system, molecule.topology, features, bias.Umbrella(0.5, 5000.0), record=10)
        simulation = simulate(molecule, system)
        sampler.step(simulation, 60)
        ends.append(sampler.trace.s[-1, 0])
    assert ends[0] == pytest.approx(ends[1], abs=1e-4)


def test_a_frozen_bias_goes_on_as_it_was(molecule, ala2, tmp_path):
    top = ala2[0].topology
    system = vacuum(molecule)
    first = bias.Sampler(system, top, slow(top), bias.Metadynamics(height=3.0, sigma=0.3, pace=20))
    first.step(simulate(molecule, system), 400)
    model = bias.BiasModel.load(first.model.save(tmp_path / "bias.mdi"))
    assert model.hash == first.model.hash
    system = vacuum(molecule)
    second = bias.Sampler(system, top, slow(top), [bias.Fixed(model), bias.OPES(30, pace=50)], record=10)
    simulation = simulate(molecule, system)
    second.step(simulation, 100)
    trace = second.trace
    assert trace.fixed == pytest.approx(model.potential(trace.s), rel=1e-12)
    assert trace.fixed.max() > 1.0
    (tmp_path / "bias.mdi").write_bytes(b"nothing")
    with pytest.raises(ModelFileError):
        bias.BiasModel.load(tmp_path / "bias.mdi")


def test_a_box_that_changes(ala2_water, examples):
    """Under a barostat the coordinate is taken in the box of each moment."""
    pdb = app.PDBFile(str(examples / "ala2_water/top.pdb"))
    system = app.ForceField("amber99sb.xml", "tip3p.xml").createSystem(
        pdb.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.8 * unit.nanometer, constraints=app.HBonds
    )
    system.addForce(openmm.MonteCarloBarostat(1.0, 300.0, 5))
    pairs = [[4, 300], [8, 600], [6, 450]]  # across molecules, so that images matter
    sampler = bias.Sampler(system, pdb.topology, Distances(pairs), bias.Umbrella(0.5, 20.0), record=5)
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.002)
    simulation = app.Simulation(pdb.topology, system, integrator, openmm.Platform.getPlatformByName("CPU"))
    simulation.context.setPositions(pdb.positions)
    boxes = set()
    for _ in range(4):
        sampler.step(simulation, 15)
        state = simulation.context.getState(positions=True, energy=True, groups={sampler.force.getForceGroup()})
        xyz = state.getPositions(asNumpy=True)._value
        box = state.getPeriodicBoxVectors(asNumpy=True)._value
        boxes.add(round(float(box[0, 0]), 9))
        frame = mdtraj.Trajectory(xyz[None].astype(np.float32), ala2_water[0].topology)
        frame.unitcell_vectors = box[None].astype(np.float32)
        expected = mdtraj.compute_distances(frame, pairs)[0]
        assert sampler.trace.s[-1] == pytest.approx(expected, rel=1e-5)
        direct = 0.5 * 20.0 * float(((expected - 0.5) ** 2).sum())
        assert state.getPotentialEnergy()._value == pytest.approx(direct, rel=1e-4)
    assert len(boxes) > 1
