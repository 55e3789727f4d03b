"""A linear bias made of OpenMM's own forces: the same numbers as the kernels, and forces that are its energy's."""

from __future__ import annotations

import math

import mdtraj
import numpy as np
import openmm
import openmm.app
import pytest

import mdinsight as mdi
from mdinsight.bias._coordinate import Coordinate
from mdinsight.bias._definitions import OPES, LowerWall, Metadynamics, Umbrella, UpperWall
from mdinsight.bias._native import NativeForce, native_form
from mdinsight.bias._native_terms import native_forces, native_reason
from mdinsight.bias._sampler import Sampler
from mdinsight.bias._states import start
from mdinsight.bias._tables import PADDING, tabulate
from mdinsight.errors import DegenerateError, NonFiniteError, ParameterError
from mdinsight.features import Angles, Contacts, Distances, RadiusOfGyration, Torsions

TAU = 2.0 * math.pi
PLATFORMS = {"Reference": 1e-10, "CPU": 1e-5}


@pytest.fixture(scope="module")
def frames(examples):
    """A few frames, with and without a box."""
    files = {
        "vacuum": ("ala2/ala2-00.xtc", "ala2/top.pdb"),
        "box": ("ala2_water/ala2_water-00.xtc", "ala2_water/top.pdb"),
    }
    return {name: mdtraj.load(examples / xtc, top=examples / top)[:300] for name, (xtc, top) in files.items()}


def context(n_atoms, forces, box, platform="Reference"):
    system = openmm.System()
    for _ in range(n_atoms):
        system.addParticle(1.0)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
    for group, force in enumerate(forces):
        force.setForceGroup(group)
        system.addForce(force)
    made = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform(platform))
    made.system = system  # type: ignore[attr-defined]
    return made


def energy_and_gradient(made, xyz, groups=-1):
    made.setPositions(xyz)
    state = made.getState(energy=True, forces=True, groups=groups)
    return state.getPotentialEnergy()._value, -state.getForces(asNumpy=True)._value


def frame_of(trajectory, number):
    box = None if trajectory.unitcell_vectors is None else trajectory.unitcell_vectors[number].astype(float)
    return trajectory.xyz[number].astype(float), box


def check_terms(bound, matrix, mean, trajectory, platform, shift=None):
    """Values and gradients of native forces against those of the kernels."""
    _, box = frame_of(trajectory, 0)
    native = native_forces(bound, matrix, mean, box is not None)
    for dim, one in enumerate(native):
        made = context(bound.n_atoms, one.forces, box, platform)
        for number in (0, 7):
            xyz, box = frame_of(trajectory, number)
            if box is not None:
                made.setPeriodicBoxVectors(*box)
                xyz = xyz if shift is None else xyz + shift @ box
            value, gradient = energy_and_gradient(made, xyz)
            wanted = (bound.value(xyz, box) - mean) @ matrix[:, dim]
            by_atoms = bound.vjp(xyz, matrix[:, dim], box)
            np.testing.assert_allclose(value + one.constant, wanted, rtol=PLATFORMS[platform])
            np.testing.assert_allclose(gradient, by_atoms, atol=PLATFORMS[platform] * np.abs(by_atoms).max())
    return native


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("where", ["vacuum", "box"])
def test_hundreds_of_terms_give_the_kernels_numbers(frames, where, platform):
    """Molecules broken across the boundary, and distances between any two atoms of the box, make no difference."""
    trajectory, rng = frames[where], np.random.default_rng(1)
    n = trajectory.n_atoms
    choose = lambda count, size, among: [rng.choice(among, size, replace=False) for _ in range(count)]  # noqa: E731
    features = (
        Torsions(np.array(choose(100, 4, 22)))
        + Distances(np.array(choose(60, 2, n)))
        + Angles(np.array(choose(20, 3, 22)))
        + Distances(np.array(choose(10, 2, 22)), periodic=False)
    )
    bound = features.bind(trajectory.topology)
    matrix, mean = rng.normal(size=(bound.n_columns, 2)), rng.normal(size=bound.n_columns)
    matrix[rng.random(matrix.shape) < 0.1] = 0.0
    native = check_terms(bound, matrix, mean, trajectory, platform, rng.integers(-2, 3, size=(n, 3)))
    if where == "box":
        assert [len(one.forces) for one in native] == [4, 4]  # distances with images and without are two forces
    torsions = native[0].forces[0]
    pairs = matrix[:200, 0].reshape(100, 2)
    assert torsions.getNumTorsions() == np.count_nonzero(pairs.any(axis=1))


def test_contacts_of_one_pair_of_atoms(examples):
    trajectory = mdtraj.load(examples / "ala3/ala3-00.xtc", top=examples / "ala3/top.pdb")[:10]
    features = Contacts([[1, 2], [1, 3], [2, 3]], scheme="ca", cutoff=0.5) + Contacts(
        [[1, 3]], scheme="ca", kind="distance"
    )
    bound = features.bind(trajectory.topology)
    matrix = np.array([[0.3, -1.2, 0.0, 2.0], [0.0, 1.0, 0.7, 0.0]]).T
    native = check_terms(bound, matrix, np.array([0.5, 0.1, 0.2, 0.3]), trajectory, "Reference")
    assert [len(one.forces) for one in native] == [2, 1]
    many = Contacts([[1, 3]], scheme="closest-heavy").bind(trajectory.topology)
    assert "scheme='ca'" in native_reason(many, np.ones((1, 1)), np.zeros(1))


def test_in_a_tilted_box_vectors_shorter_than_half_its_height_agree(frames):
    """A truncated octahedron: OpenMM's rounded image is the nearest one at such distances."""
    trajectory, rng = frames["vacuum"][:8], np.random.default_rng(2)
    edge = 2.4
    box = np.array([[1, 0, 0], [1 / 3, 8**0.5 / 3, 0], [-1 / 3, 2**0.5 / 3, (2 / 3) ** 0.5]]) * edge
    trajectory.unitcell_vectors = np.repeat(box[None], len(trajectory), axis=0).astype(np.float32)
    reach = 0.5 * edge * (2 / 3) ** 0.5
    pairs = np.array([(i, j) for i in range(22) for j in range(i)])
    lengths = np.linalg.norm(trajectory.xyz[:, pairs[:, 0]] - trajectory.xyz[:, pairs[:, 1]], axis=2).max(axis=0)
    features = Distances(pairs[lengths < reach]) + Torsions("phi psi")
    bound = features.bind(trajectory.topology)
    shift = rng.integers(-2, 3, size=(22, 3))
    check_terms(bound, rng.normal(size=(bound.n_columns, 1)), np.zeros(bound.n_columns), trajectory, "Reference", shift)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("where", ["vacuum", "box"])
def test_a_fitted_coordinate_equals_its_transform(frames, examples, where, platform):
    """Two components of a PCA, from the saved file through features and model, and inside OpenMM."""
    folder = {"vacuum": "ala2", "box": "ala2_water"}[where]
    trajs = mdi.open(examples / folder / f"{folder}-00.xtc", top=examples / folder / "top.pdb")
    features = Torsions("phi psi") + Distances("backbone")
    model = mdi.cvs.PCA(dim=2).fit(features.transform(trajs)).model
    coordinate = Coordinate.of(model)
    wanted = coordinate.transform(trajs).arrays[0]
    bound = coordinate.bind(frames[where].topology)
    xyz, box = frame_of(frames[where], 0)
    force = NativeForce(bound, [], box is not None)
    made = context(len(xyz), [force.force], box, platform)
    for number in range(0, 40, 8):
        xyz, box = frame_of(frames[where], number)
        if box is not None:
            made.setPeriodicBoxVectors(*box)
        made.setPositions(xyz)
        np.testing.assert_allclose(force.values(made), bound.value(xyz, box), rtol=PLATFORMS[platform], atol=1e-12)
        np.testing.assert_allclose(force.values(made), wanted[number], rtol=1e-5, atol=1e-6)  # features are float32


POTENTIALS = {
    "one periodic": (Torsions("phi", raw=True), [0.3]),
    "two periodic": (Torsions("phi psi", raw=True), [0.35, 0.35]),
    "one distance": (Distances([[1, 10]]), [0.03]),
    "mixed": (Torsions("phi", raw=True) + Distances([[1, 10]]), [0.4, 0.04]),
    "three mixed": (Torsions("phi psi", raw=True) + Distances([[1, 10]]), [0.9, 0.9, 0.1]),
}


def live(definition, coordinate, axes=None, temperature=300.0):
    """A potential as the sampler starts it."""
    axes = tuple(range(coordinate.dim)) if axes is None else tuple(axes)
    state = start(definition, temperature, tuple(coordinate.periods[i] for i in axes), 0)
    state.axes = axes
    return state


@pytest.mark.parametrize("kind", ["metadynamics", "opes"])
@pytest.mark.parametrize("which", POTENTIALS)
def test_the_table_follows_the_potential(frames, which, kind):
    """Energy of the table against that of the potential, on visited frames, after it grew twice."""
    features, sigma = POTENTIALS[which]
    trajectory = frames["vacuum"]
    coordinate = Coordinate.of(features, trajectory.topology)
    bound = coordinate.bind(trajectory.topology)
    definition = (
        Metadynamics(height=1.2, sigma=tuple(sigma)) if kind == "metadynamics" else OPES(30.0, sigma=tuple(sigma))
    )
    state = live(definition, coordinate)
    force = NativeForce(bound, [state], False)
    made = context(22, [force.force], None)
    xyz = trajectory.xyz.astype(float)
    s = np.array([bound.value(one) for one in xyz])
    assert energy_and_gradient(made, xyz[0])[0] == pytest.approx(state.energy(s[0]), abs=1e-9)  # nothing deposited
    for begin, stop in ((0, 2), (2, 250)):
        for number in range(begin, stop):
            state.deposit(s[number])
        force.update(made)
        energies = state.energies(s)
        assert np.ptp(energies) > 0.5
        errors, off, slopes = [], [], []
        for number in range(0, 300, 10):
            value, gradient = energy_and_gradient(made, xyz[number])
            wanted = bound.vjp(xyz[number], state.slopes(s[[number]])[0])
            errors.append(abs(value - energies[number]))
            off.append(np.abs(gradient - wanted).max())
            slopes.append(np.abs(wanted).max())
            assert force.covers(s[number])
        # OPES bends within a fraction of a width where a lone kernel ends, which no table of a fair size follows
        lone = kind == "opes" and stop == 2
        assert np.median(errors) < 1e-3
        assert max(errors) < (1.0 if lone else 2e-3)
        assert np.median(off) < 5e-3 * max(slopes)
        assert lone or max(off) < 5e-3 * max(slopes)
    assert not force.covers(np.full(coordinate.dim, np.nan))


@pytest.mark.parametrize("explore", [False, True])
@pytest.mark.parametrize("periods", [(None,), (TAU, None), (TAU, 2.0, TAU)])
def test_nodes_hold_the_potentials_energy(periods, explore):
    """Kernels summed onto the nodes, some wider than half a period, against the potential node by node."""
    rng = np.random.default_rng(3)
    state = start(OPES(20.0, sigma=[0.8, 0.5, 0.9][: len(periods)], explore=explore), 300.0, periods, 0)
    for row in rng.uniform(-3.0, 3.0, (12, len(periods))):
        state.deposit(row)
    table = tabulate(state, "OPES")
    padding = 0 if table.wraps else PADDING
    nodes = [
        axis.spacing * (axis.first + np.arange(n) - (padding if axis.period else 0))
        for axis, n in zip(table.axes, table.values.shape, strict=True)
    ]
    points = np.column_stack([line.ravel() for line in np.meshgrid(*nodes, indexing="ij")])
    np.testing.assert_allclose(table.values.ravel() + table.outside, state.energies(points), atol=1e-8)
    assert np.ptp(table.values) > 1.0


@pytest.mark.parametrize("platform", PLATFORMS)
def test_forces_are_the_differences_of_the_energy(frames, ala2_water, platform):
    """A bias, an umbrella and walls on two linear coordinates and a torsion, in a box."""
    trajectory = frames["box"]
    features = Torsions("phi psi") + Distances("backbone") + Angles([[4, 6, 8], [6, 8, 14]])
    model = mdi.cvs.PCA(dim=2).fit(features.transform(ala2_water)).model
    coordinate = Coordinate.of([model, Torsions("phi", raw=True)], trajectory.topology)
    bound = coordinate.bind(trajectory.topology)
    s = coordinate.transform(ala2_water).arrays[0]
    middle, spread = s.mean(axis=0), s.std(axis=0)
    states = [
        live(Metadynamics(height=2.0, sigma=tuple(0.5 * spread[[0, 2]])), coordinate, (0, 2)),
        live(OPES(40.0, sigma=spread[1]), coordinate, (1,)),
        live(Umbrella(middle[1] + spread[1], 20.0), coordinate, (1,)),
        live(LowerWall(tuple(middle[:2] + spread[:2]), 30.0), coordinate, (0, 1)),
        live(Umbrella(3.0, 15.0), coordinate, (2,)),
    ]
    for state in states[:2]:
        for row in s[::10]:
            state.deposit(row[list(state.axes)])
    xyz, box = frame_of(trajectory, 3)
    force = NativeForce(bound, states, True)
    made = context(len(xyz), [force.force], box, platform)
    value, gradient = energy_and_gradient(made, xyz)
    s = bound.value(xyz, box)
    assert value == pytest.approx(sum(one.energy(s[list(one.axes)]) for one in states), abs=1e-3)
    wanted = np.zeros(bound.dim)
    for one in states:
        wanted[list(one.axes)] += one.slopes(s[None, list(one.axes)])[0]
    by_atoms = bound.vjp(xyz, wanted, box)
    np.testing.assert_allclose(gradient, by_atoms, atol=5e-3 * np.abs(by_atoms).max())
    for atom in bound.atoms[:12]:
        for axis in range(3):
            move = np.zeros_like(xyz)
            move[atom, axis] = 1e-5
            ends = [energy_and_gradient(made, xyz + sign * move)[0] for sign in (1.0, -1.0)]
            assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(gradient[atom, axis], abs=1e-5 * np.abs(gradient).max())


@pytest.mark.parametrize("kind", ["metadynamics", "umbrella"])
def test_nothing_happens_at_the_seam(kind):
    """A torsion turned through 180 degrees: energy and force there are the same from both sides."""
    features = Torsions([[0, 1, 2, 3]], raw=True) + Distances([[0, 3]])
    topology = mdtraj.Topology()
    residue = topology.add_residue("X", topology.add_chain())
    for _ in range(4):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    coordinate = Coordinate.of(features, topology)
    bound = coordinate.bind(topology)
    if kind == "metadynamics":
        state = live(Metadynamics(height=1.2, sigma=(0.3, 0.05)), coordinate)
    else:
        state = live(Umbrella((3.0, 0.3), (50.0, 1000.0)), coordinate)

    def bent(angle):
        along = np.array([[0.1, 0.1, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.15], [0.0, 0.0, 0.15]])
        along[3] += 0.1 * np.array([math.cos(angle + math.pi / 4), math.sin(angle + math.pi / 4), 0.2])
        return along

    s = np.array([bound.value(bent(angle)) for angle in np.linspace(0.0, TAU, 50)])
    assert {round(abs(value), 2) for value in s[[0, 25], 0]} & {0.0}
    if kind == "metadynamics":
        for near in (24, 25, 26, 27):
            state.deposit(s[near])
    force = NativeForce(bound, [state], False)
    made = context(4, [force.force], None)
    seam = next(
        a for a in np.linspace(0.0, TAU, 100_001) if bound.value(bent(a))[0] * bound.value(bent(a + TAU / 1e5))[0] < -1
    )
    sides = [energy_and_gradient(made, bent(seam + shift)) for shift in (0.0, TAU / 1e5)]
    assert bound.value(bent(seam))[0] * bound.value(bent(seam + TAU / 1e5))[0] < -9.0
    assert sides[0][0] > 0.5
    assert sides[1][0] == pytest.approx(sides[0][0], abs=1e-2)
    scale = np.abs(sides[0][1]).max()
    np.testing.assert_allclose(sides[1][1], sides[0][1], atol=2e-3 * scale)
    assert sides[0][0] == pytest.approx(state.energy(bound.value(bent(seam))), abs=1e-3)


def test_outside_of_its_table_a_bias_is_constant_until_it_grows(frames):
    """A coordinate that leaves the table feels what the potential says there, and what is deposited there next."""
    xyz = frames["vacuum"].xyz[0].astype(float)
    coordinate = Coordinate.of(Distances([[1, 10]]), frames["vacuum"].topology)
    bound = coordinate.bind(frames["vacuum"].topology)
    state = live(OPES(30.0, sigma=0.01), coordinate)
    force = NativeForce(bound, [state], False)
    made = context(22, [force.force], None)
    state.deposit(bound.value(xyz))
    force.update(made)
    far = xyz.copy()
    far[10] += 3.0
    value, gradient = energy_and_gradient(made, far)
    assert value == pytest.approx(state.energy(bound.value(far)), abs=1e-9)
    assert not gradient.any()
    assert force.covers(bound.value(far))
    state.deposit(bound.value(far))
    assert not force.covers(bound.value(far))
    force.update(made)
    assert force.covers(bound.value(far))
    assert energy_and_gradient(made, far)[0] == pytest.approx(state.energy(bound.value(far)), abs=1e-3)
    made.reinitialize(True)
    assert energy_and_gradient(made, far)[0] == pytest.approx(state.energy(bound.value(far)), abs=1e-3)


def test_restraints_are_formulas(frames):
    """Umbrella and walls exactly, on chosen coordinates; two contexts of one system."""
    trajectory = frames["vacuum"]
    coordinate = Coordinate.of(Torsions("phi", raw=True) + Distances([[1, 10], [1, 4]]), trajectory.topology)
    bound = coordinate.bind(trajectory.topology)
    s = np.array([bound.value(xyz) for xyz in trajectory.xyz.astype(float)])
    middle = s.mean(axis=0)
    states = [
        live(Umbrella(3.1, 40.0), coordinate, (0,)),
        live(LowerWall((middle[1], middle[2]), 3000.0), coordinate, (1, 2)),
        live(UpperWall(middle[1], 2000.0), coordinate, (1,)),
    ]
    force = NativeForce(bound, states, False)
    made = context(22, [force.force], None)
    for xyz, here in zip(trajectory.xyz.astype(float), s, strict=True):
        value, gradient = energy_and_gradient(made, xyz)
        slope = np.zeros(3)
        for state in states:
            slope[list(state.axes)] += state.slopes(here[None, list(state.axes)])[0]
        assert value == pytest.approx(sum(state.energy(here[list(state.axes)]) for state in states), rel=1e-10)
        np.testing.assert_allclose(gradient, bound.vjp(xyz, slope), atol=1e-7)


def test_what_has_no_native_form_is_named(ala2, frames):
    topology = frames["vacuum"].topology
    network = mdi.cvs.VAMPNet(lag=1, dim=1, epochs=1).fit(Torsions("phi psi").transform(ala2[:2])).model
    assert "not linear" in native_form(Coordinate.of(network).bind(topology))
    shape = Coordinate.of(RadiusOfGyration(), topology).bind(topology)
    assert "RadiusOfGyration" in native_form(shape)
    with pytest.raises(ParameterError, match="RadiusOfGyration"):
        NativeForce(shape, [], False)
    four = Coordinate.of(Torsions("phi psi", raw=True) + Distances([[1, 10], [2, 9]]), topology)
    state = live(Metadynamics(sigma=0.3), four)
    assert native_form(four.bind(topology), [live(Umbrella(0.0, 1.0), four)]) is None
    assert "4 coordinates" in native_form(four.bind(topology), [state])
    angle = Torsions("phi psi", raw=True).bind(topology)
    assert native_reason(angle, np.eye(2), np.zeros(2)) is None
    for matrix, mean in ((np.ones((2, 1)), np.zeros(2)), (2 * np.eye(2), np.zeros(2)), (np.eye(2), np.ones(2))):
        assert "raw=False" in native_reason(angle, matrix, mean)
    with pytest.raises(ParameterError, match="do not fit"):
        native_reason(angle, np.eye(3), np.zeros(3))
    with pytest.raises(DegenerateError, match="weight on none"):
        native_forces(Torsions("phi").bind(topology), np.zeros((2, 1)), np.zeros(2), False)


def test_bad_numbers_are_refused(frames):
    topology = frames["vacuum"].topology
    coordinate = Coordinate.of(Distances([[1, 10], [2, 9]]), topology)
    bound = coordinate.bind(topology)
    state = live(OPES(30.0, sigma=1e-5), coordinate)
    force = NativeForce(bound, [state], False)
    made = context(22, [force.force], None)
    xyz = frames["vacuum"].xyz.astype(float)
    for number in (0, 1, 2):
        state.deposit(bound.value(xyz[number]))
    with pytest.raises(ParameterError, match="larger widths"):
        force.update(made)
    made.setPositions(xyz[0] * np.nan)
    with pytest.raises(NonFiniteError, match="finite"):
        force.values(made)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_molecular_dynamics_under_it_follows_its_deposits(examples, platform):
    """The energy that OpenMM computes during a run is that of the potentials after every deposit, and restraints hold."""
    pdb = openmm.app.PDBFile(str(examples / "ala2/top.pdb"))
    system = openmm.app.ForceField("amber99sb.xml").createSystem(pdb.topology, constraints=openmm.app.HBonds)
    potentials = [OPES(30.0, pace=20, sigma=0.3, on=0), Umbrella(2.0, 200.0, on=1), UpperWall(0.5, 5000.0, on=2)]
    features = Torsions("phi psi", raw=True) + Distances([[1, 10]])
    sampler = Sampler(system, pdb.topology, features, potentials, seed=3, form="native")
    integrator = openmm.LangevinMiddleIntegrator(300.0, 10.0, 0.002)
    integrator.setRandomNumberSeed(sampler.walker_seed())
    simulation = openmm.app.Simulation(pdb.topology, system, integrator, openmm.Platform.getPlatform(platform))
    simulation.context.setPositions(pdb.positions)
    group = 1 << sampler.force.getForceGroup()
    for _ in range(10):
        sampler.step(simulation, 20)
        state = simulation.context.getState(positions=True, energy=True, groups=group)
        s = sampler.bound.value(state.getPositions(asNumpy=True)._value)
        wanted = sum(one.energy(s[list(one.axes)]) for one in sampler.states)
        assert state.getPotentialEnergy()._value == pytest.approx(wanted, abs=2e-2)
    assert sampler.states[0].n_deposits == 10
    sampler.step(simulation, 400)
    rows = sampler.trace.s[-15:]
    assert np.abs(np.angle(np.exp(1j * (rows[:, 1] - 2.0)))).mean() < 0.4
    assert rows[:, 2].mean() < 0.55
