"""A bias that goes on from another, and one bias out of walkers that knew nothing of each other."""

import math

import mdtraj
import numba
import numpy as np
import openmm
import pytest
from openmm import app

from mdinsight.bias import OPES, BiasModel, Metadynamics, Sampler, Umbrella
from mdinsight.bias._grid import grid_energy
from mdinsight.bias._kernels import kernels_energy
from mdinsight.bias._live import GRID
from mdinsight.bias._merge import merged
from mdinsight.errors import BiasError, ParameterError
from mdinsight.features import Distances, Torsions
from mdinsight.units import GAS_CONSTANT

KT = 300.0 * GAS_CONSTANT
TOP = "example_trajs/ala2/top.pdb"


@numba.njit
def _well(x):
    """In kT: wells at -1 and 1, 8 kT high, the right one 2 kT up."""
    return 8.0 * (x * x - 1.0) ** 2 + 1.0 * x


@numba.njit
def _langevin(x, n, step, kT, code, header, data, noise):
    """Overdamped Langevin, Metropolis adjusted, so that no time step shows."""
    slope, at = np.zeros(1), np.zeros(1)
    energy, force = 0.0, 0.0
    for k in range(-1, n):
        new = x if k < 0 else x + step * force + math.sqrt(2.0 * step) * noise[k, 0]
        at[0], slope[0] = new, 0.0
        bias = grid_energy(at, header, data, slope) if code == GRID else kernels_energy(at, header, data, slope)
        there = _well(new) + bias / kT
        drift = -(32.0 * new * (new * new - 1.0) + 1.0) - slope[0] / kT
        if k < 0:
            energy, force = there, drift
            continue
        forth, back = new - x - step * force, x - new - step * drift
        log_ratio = energy - there - (back * back - forth * forth) / (4.0 * step)
        if math.log(noise[k, 1]) < log_ratio:
            x, energy, force = new, there, drift
    return x


def _walk(model, x, n_deposits, rng):
    """One walker on a copy of the bias: its end, its deposits, where it got to, and rows (x, log weight)."""
    state = model.states()[0]
    state.relocate()
    made, rows = [], []
    stride = state.observe_every or state.pace
    for block in range(1, n_deposits * state.pace // stride + 1):
        noise = np.column_stack([rng.standard_normal(stride), rng.random(stride)])
        x = _langevin(x, stride, 0.005, state.kT, state.code, state.header, state.data, noise)
        state.observe(np.array([x]))
        if block * stride % state.pace == 0:
            rows.append((x, (state.energy(np.array([x])) - state.offset()) / KT))
            deposit = state.deposit(np.array([x]))
            if deposit.size:
                made.append(deposit)
    end = model.replace(arrays=(state.arrays(),))
    return end, [np.array(made).reshape(-1, 3)], x, rows


@pytest.fixture(scope="module")
def topology():
    return mdtraj.load_topology(TOP)


@pytest.fixture(scope="module")
def empty(topology):
    return lambda potential: BiasModel.empty(Distances([[0, 1]]), potential, 300.0, topology)


def _difference(x, log_weights):
    weights = np.exp(log_weights - np.max(log_weights))
    return float(np.log(weights[x < 0].sum() / weights[x >= 0].sum()))


GRID_X = np.linspace(-2.0, 2.0, 4001)
EXACT = _difference(GRID_X, -np.array([_well(x) for x in GRID_X]))
POTENTIALS = {
    "OPES": OPES(barrier=10 * KT, pace=100, sigma=0.15),
    "OPES, measured": OPES(barrier=10 * KT, pace=100),
    "OPES-explore, measured": OPES(barrier=10 * KT, pace=100, explore=True),
    "metadynamics": Metadynamics(height=0.25 * KT, sigma=0.1, biasfactor=8, pace=100),
    "metadynamics, measured": Metadynamics(height=0.25 * KT, biasfactor=8, pace=100),
}


@pytest.mark.parametrize("name", POTENTIALS)
def test_rounds_of_four_walkers_give_the_free_energy(empty, name):
    """Walkers that are merged after each round, and start where the last round ended; three of them on one side."""
    found = []
    for seed in range(4):
        rng = np.random.default_rng([seed, 77])
        model, places, frames = empty(POTENTIALS[name]), [-1.0, -1.0, -1.0, 1.0], []
        for number in range(60):
            walks = [_walk(model, x, 20, rng) for x in places]
            model = merged(model, [made for _, made, _, _ in walks], [end for end, _, _, _ in walks])
            places = [x for _, _, x, _ in walks]
            frames += [row for *_, rows in walks for row in rows] if number >= 15 else []
        state = model.states()[0]
        x, log_weights = np.array(frames).T
        own = _difference(GRID_X, -state.free_energy(GRID_X[:, None]) / KT)
        found.append((own, _difference(x, log_weights)))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / 2
    assert (error < 0.3).all()
    assert (np.abs(mean - EXACT) < 3.2 * error + 0.15).all(), (EXACT, mean, error)


@pytest.mark.parametrize("name", POTENTIALS)
def test_one_walker_merged_is_its_own_bias_bit_for_bit(empty, name):
    rng = np.random.default_rng(3)
    model = empty(POTENTIALS[name])
    for n in (5, 30, 7):  # the first is too short for widths to be measured
        end, made, *_ = _walk(model, -1.0, n, rng)
        model = merged(model, [made], [end])
        assert model.hash == end.hash
    assert model.states()[0].n_deposits > 20


def test_deposits_are_applied_in_the_order_of_time_and_each_once(empty):
    rng = np.random.default_rng(4)
    base = empty(POTENTIALS["metadynamics"])
    walks = [_walk(base, x, n, rng) for x, n in ((-1.0, 3), (1.0, 1), (-0.9, 2))]
    a, b, c = (made[0] for _, made, _, _ in walks)
    model = merged(base, [made for _, made, _, _ in walks], [end for end, *_ in walks])
    assert np.array_equal(model.states()[0].hills, np.array([a[0], b[0], c[0], a[1], c[1], a[2]]))
    with pytest.raises(BiasError, match="the bias of walker 0 holds 3 deposits"):
        merged(model, [walks[0][1]], [walks[0][0]])  # they are in it already


def test_widths_are_pooled_and_what_the_walkers_began_with_counts_once(empty):
    rng = np.random.default_rng(5)
    base = empty(POTENTIALS["OPES, measured"])
    for _ in range(2):
        walks = [_walk(base, x, 40, rng) for x in (-1.0, 1.0)]
        model = merged(base, [made for _, made, _, _ in walks], [end for end, *_ in walks])
        counts = [m.arrays[0]["widths"][:, 0].sum() for m in (base, *(end for end, *_ in walks), model)]
        assert counts[3] == counts[1] + counts[2] - counts[0]
        assert len(model.arrays[0]["widths"]) == 1
        base = model
    count, _, squares = base.arrays[0]["widths"][0]
    assert count == 4 * 40 * 20
    width = math.sqrt(squares / count / base.states()[0].gamma)
    assert 0.125 / 1.5 < width < 2 * 0.125  # of a well: 1/sqrt(64), less the window's mean, and wider under the bias


def test_walkers_too_short_to_measure_pool_what_they_saw(empty):
    rng = np.random.default_rng(6)
    for name in ("OPES, measured", "metadynamics, measured"):
        base = empty(POTENTIALS[name])
        for n, seen in ((3, 6), (2, 10)):  # paces; ten are needed
            walks = [_walk(base, -1.0, n, rng) for _ in range(2)]
            base = merged(base, [made for _, made, _, _ in walks], [end for end, *_ in walks])
            assert base.arrays[0]["widths"][0, 0] == seen * 20
            assert base.states()[0].n_deposits == 0
        _, made, *_ = _walk(base, 1.0, 3, rng)
        assert len(made[0]) == 3  # from the first pace on
        assert 0.3 * 0.125 < made[0][0, 1] < 4 * 0.125


def test_metadynamics_goes_on_with_the_narrowest_width(empty):
    rng = np.random.default_rng(7)
    base = empty(POTENTIALS["metadynamics, measured"])
    walks = [_walk(base, x, 14, rng) for x in (-1.0, 1.0, -1.0)]
    model = merged(base, [made for _, made, _, _ in walks], [end for end, *_ in walks])
    own = [made[0][0, 1] for _, made, _, _ in walks]
    assert len(set(own)) == 3
    assert model.arrays[0]["sigma"][0] == min(own)
    assert sorted(set(model.states()[0].hills[:, 1])) == sorted(own)  # each hill as its walker felt it
    at = np.linspace(-1.6, 1.6, 50)[:, None]
    direct = sum(h * np.exp(-0.5 * ((at[:, 0] - c) / w) ** 2) for c, w, h in model.states()[0].hills)
    assert np.allclose(model.states()[0].energies(at), direct, atol=0.02 * direct.max())


# -- in a sampler ------------------------------------------------------------------------------------------------------


def _sampler(potentials=None, temperature=..., seed=1, coordinate="torsions", steps=0, **options):
    pdb = app.PDBFile(TOP)
    system = app.ForceField("amber99sb.xml").createSystem(pdb.topology, constraints=app.HBonds, removeCMMotion=False)
    chosen = Torsions("phi psi", raw=True) if coordinate == "torsions" else coordinate
    sampler = Sampler(system, mdtraj.Topology.from_openmm(pdb.topology), chosen, potentials, temperature, **options)
    integrator = openmm.LangevinMiddleIntegrator(sampler.temperature, 5.0, 0.002)
    integrator.setRandomNumberSeed(seed)
    simulation = app.Simulation(pdb.topology, system, integrator, openmm.Platform.getPlatform("Reference"))
    simulation.context.setPositions(pdb.positions)
    simulation.context.setVelocitiesToTemperature(sampler.temperature, seed)
    if steps:
        sampler.step(simulation, steps)
    return sampler, simulation


TWO = [
    OPES(barrier=30.0, pace=50, on=0),
    Umbrella(at=0.5, kappa=3.0, on=1),
    Metadynamics(height=1.0, pace=70, on=(0, 1)),
]


def test_a_sampler_begins_with_the_bias_of_another():
    first, _ = _sampler(TWO, steps=2000)
    second, _ = _sampler(start=first.model, seed=2, coordinate=None, steps=600)
    assert second.states[0].n_deposits == first.states[0].n_deposits + 600 // 50
    assert second.states[2].n_deposits == first.states[2].n_deposits + 600 // 70
    hills = first.states[2].hills
    assert np.array_equal(second.states[2].hills[: len(hills)], hills)
    for sampler, before in ((first, BiasModel.empty(first.coordinate, TWO)), (second, first.model)):
        opes, metadynamics = sampler.deposits()
        assert opes.shape[1] == 3 and metadynamics.shape[1] == 5
        assert merged(before, [sampler.deposits()], [sampler.model]).hash == sampler.model.hash
    assert np.array_equal(second.deposits()[1], second.states[2].hills[len(hills) :])
    trace = second.trace  # its weights come from frames of this run and all hills, those it began with too
    assert trace.step[0] == 50 and np.isfinite(trace.log_weights()).all()


def test_the_trace_of_a_run_that_goes_on_counts_the_hills_it_began_with():
    hills = Metadynamics(height=1.0, sigma=0.3, pace=50)
    first, _ = _sampler(hills, steps=3000)
    second, simulation = _sampler(start=first.model, seed=2)
    at_start = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value
    s = first.bound.value(at_start)
    sampler_energy = first.model.potential(s[None])[0]
    assert sampler_energy > 1.0
    energy = simulation.context.getState(energy=True, groups={second.force.getForceGroup()}).getPotentialEnergy()._value
    assert energy == pytest.approx(sampler_energy, rel=1e-6)
    second.step(simulation, 1000)
    assert second.trace.bias[0] == pytest.approx(first.model.potential(second.trace.s[:1])[0], rel=1e-9)
    assert second.trace.offset.min() > 0.5 * first.trace.offset[-1] > 0


def test_a_start_that_is_of_something_else_is_refused_by_name():
    start = _sampler(TWO, 310.0)[0].model
    with pytest.raises(BiasError, match=r"the list of potentials is .*Metadynamics.* there it is .*OPES"):
        _sampler(Metadynamics(), start=start)
    with pytest.raises(BiasError, match=r"the temperature is 300\.0 K, there it is 310\.0 K"):
        _sampler(temperature=300.0, start=start)
    with pytest.raises(BiasError, match=r"the coordinate is phi .* there it is phi"):
        _sampler(start=start, coordinate=Torsions("phi", raw=True))
    with pytest.raises(ParameterError, match="start=float"):
        _sampler(start=1.0)
    with pytest.raises(ParameterError, match="potentials=None; give one or more"):
        _sampler()
    assert _sampler(TWO, 310.0, start=start)[0].model.hash == start.hash


def test_walkers_of_different_runs_are_not_merged(empty):
    rng = np.random.default_rng(8)
    base = empty(POTENTIALS["OPES"])
    end, made, *_ = _walk(base, -1.0, 3, rng)
    other = empty(POTENTIALS["metadynamics"])
    with pytest.raises(BiasError, match="walker 0 cannot go on with the bias: the list of potentials"):
        merged(other, [made], [end])
    with pytest.raises(ParameterError, match="deposits of 2 walkers and 1 biases"):
        merged(base, [made, made], [end])
    with pytest.raises(ParameterError, match="deposits of 0 walkers"):
        merged(base, [], [])
    with pytest.raises(BiasError, match="walker 0 has deposits on 0 potentials"):
        merged(base, [[]], [end])
