"""A segment does what it says, leaves whole files, and gives the same bytes again."""

import hashlib
import json
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cloudpickle
import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app, unit

import mdinsight as mdi
from mdinsight.bias import OPES, BiasModel, Coordinate, Metadynamics, Trace
from mdinsight.engine._machine import Machine
from mdinsight.engine._segment import Segment, deposits_of, run
from mdinsight.engine._system import System
from mdinsight.errors import InstabilityError, NonFiniteError, OutputError, ParameterError, TopologyError
from mdinsight.features import Distances, Torsions
from mdinsight.units import GAS_CONSTANT

TORSIONS = Torsions("phi psi", raw=True)


@pytest.fixture(scope="module")
def ala2(examples):
    pdb = app.PDBFile(str(examples / "ala2/top.pdb"))
    made = app.ForceField("amber99sb.xml").createSystem(pdb.topology, constraints=app.HBonds)
    return System.from_openmm(made, pdb.topology, pdb.positions, friction=5.0, platform="Reference")


def oscillators(n, friction, timestep=0.002, omega=50.0):
    """Particles in harmonic wells: k = m omega^2, in 1/ps."""
    system, topology = openmm.System(), app.Topology()
    force = openmm.CustomExternalForce("0.5*k*(x^2+y^2+z^2)")
    force.addGlobalParameter("k", 40.0 * omega**2)
    chain = topology.addChain()
    for i in range(n):
        system.addParticle(40.0)
        force.addParticle(i, [])
        topology.addAtom("Ar", app.Element.getBySymbol("Ar"), topology.addResidue("Ar", chain))
    system.addForce(force)
    return System.from_openmm(system, topology, np.zeros((n, 3)), 300.0, timestep, friction, "Reference")


def argon(n=3, barostat=True, pressure=50.0):
    """A box of LJ particles under pressure."""
    system, topology = openmm.System(), app.Topology()
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(0.5)
    chain, box = topology.addChain(), n * 0.4
    for _ in range(n**3):
        system.addParticle(39.9)
        force.addParticle(0, 0.34, 0.99)
        topology.addAtom("Ar", app.Element.getBySymbol("Ar"), topology.addResidue("Ar", chain))
    system.addForce(force)
    if barostat:
        system.addForce(openmm.MonteCarloBarostat(pressure, 300.0, 5))
    grid = 0.4 * np.stack(np.meshgrid(*[np.arange(n)] * 3), -1).reshape(-1, 3)
    vectors = np.eye(3) * box
    system.setDefaultPeriodicBoxVectors(*vectors)
    return System.from_openmm(system, topology, grid, 300.0, 0.004, 2.0, "Reference", box=vectors)


def swarm(system, n=3, steps=60, stride=20, seed=5, **options):
    chosen = {"name": "test", "kind": "swarm", "positions": np.repeat(system.positions[None], n, 0)} | options
    return Segment(steps=steps, stride=stride, seed=seed, **({"temperature": system.temperature} | chosen))


def biased(system, potential, steps=400, stride=30, bias=None, **options):
    model = bias or BiasModel.empty(Coordinate.of(TORSIONS, system.topology), potential, system.temperature)
    return swarm(system, 1, steps - steps % stride, stride, kind="biased", bias=model, **options)


def folder_of(tmp_path, name="out"):
    (tmp_path / name).mkdir()
    return tmp_path / name


def frames(system, folder):
    paths = sorted(folder.glob("traj-*.xtc"))
    return mdi.open(paths, top=system.topology)


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


# -- what is written ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("with_start", "two_way"), [(False, False), (True, False), (False, True)])
def test_files(ala2, tmp_path, monkeypatch, with_start, two_way):
    monkeypatch.setenv("MDINSIGHT_CACHE", str(tmp_path / "cache"))
    features = Torsions("phi psi") + Distances("name CA C N")
    segment = swarm(ala2, with_start=with_start, two_way=two_way, features=features)
    folder = folder_of(tmp_path)
    info = run(ala2, segment, folder)
    assert not (tmp_path / "cache").exists()
    names = ["end.npz", "features.npy", "lengths.npy", *(f"traj-{k:04d}.xtc" for k in range(3))]
    assert sorted(path.name for path in folder.iterdir()) == names
    n = 7 if two_way else 3 + with_start
    assert info == {
        "trajectories": 3,
        "frames": 3 * n,
        "steps": 360 if two_way else 180,
        "ps": pytest.approx(0.72 if two_way else 0.36),
        "platform": "Reference",
        "openmm": openmm.Platform.getOpenMMVersion(),
    }
    assert json.loads(json.dumps(info)) == info
    assert (info["frames"], info["steps"]) == (3 * segment.n_frames, segment.total_steps)
    trajs = frames(ala2, folder)
    first = -0.12 if two_way else 0.0 if with_start else 0.04
    for trajectory in trajs:
        assert np.allclose(trajectory.times, first + 0.04 * np.arange(n), atol=1e-6)
        assert trajectory.dt == pytest.approx(0.04) and not trajectory.has_box
    lengths = np.load(folder / "lengths.npy")
    assert lengths.dtype == np.int64 and lengths.tolist() == [n] * 3
    values = np.load(folder / "features.npy")
    assert values.dtype == np.float64
    assert np.array_equal(values, np.vstack(features.transform(trajs, cache=False).arrays))
    end = np.load(folder / "end.npz")
    assert sorted(end.files) == ["positions", "velocities"]
    xyz = [trajectory.read().xyz for trajectory in trajs]
    assert np.allclose(end["positions"], [x[-1] for x in xyz], atol=6e-4)
    assert np.allclose(end["velocities"].std(), np.sqrt(2.5 / 6.5), rtol=0.9)
    if with_start or two_way:
        start = [x[n // 2 if two_way else 0] for x in xyz]
        assert np.allclose(start, segment.positions, atol=2e-3)  # put right for the constraints
    assert not np.allclose(xyz[0], xyz[1], atol=0.01)


def test_a_coordinate_is_computed_on_the_frames(ala2, tmp_path, examples):
    trajs = mdi.open(sorted((examples / "ala2").glob("*.xtc"))[:2], top=examples / "ala2/top.pdb")
    model = mdi.cvs.TICA(lag=2, dim=1).fit(Torsions("phi psi").transform(trajs)).model
    both = Coordinate.of([model, TORSIONS.select("phi*")], ala2.topology)
    for number, (what, columns) in enumerate(((model, 1), (both, 2))):
        folder = folder_of(tmp_path, str(number))
        run(ala2, swarm(ala2, features=what), folder)
        values = np.load(folder / "features.npy")
        assert values.shape == (9, columns)
        source = Torsions("phi psi").transform(frames(ala2, folder)) if what is model else frames(ala2, folder)
        again = np.vstack(what.transform(source).arrays)
        assert np.allclose(values, again, atol=1e-6)


def test_large_frames_are_written_in_pieces(tmp_path, monkeypatch, ala2):
    from mdinsight.engine import _output

    whole, pieces = folder_of(tmp_path, "whole"), folder_of(tmp_path, "pieces")
    segment = swarm(ala2, 2, 100, 5, two_way=True)
    run(ala2, segment, whole)
    monkeypatch.setattr(_output, "_IN_MEMORY", 3 * 22 * 12)
    run(ala2, segment, pieces)
    assert digests(whole) == digests(pieces)


def test_periodic_boxes(tmp_path):
    system = argon()
    folder = folder_of(tmp_path)
    boxes = np.repeat(np.eye(3)[None] * 1.21, 2, 0)
    boxes[1] *= 1.02
    run(system, swarm(system, 2, 400, 20, with_start=True, boxes=boxes), folder)
    trajs, end = frames(system, folder), np.load(folder / "end.npz")
    for number, trajectory in enumerate(trajs):
        chunk = trajectory.read_chunk(0, trajectory.n_frames)
        assert np.allclose(chunk.box[0], boxes[number], atol=1e-5)
        assert len(np.unique(chunk.box[:, 0, 0])) > 5  # the barostat moves
        assert np.allclose(chunk.box[-1], end["boxes"][number], atol=1e-5)
    # nothing is wrapped: a particle that left the box goes on outside
    jumps = np.abs(np.diff(trajs[0].read().xyz, axis=0)).max()
    assert jumps < 0.3 < 1.2


def test_a_hot_segment_is_hot_and_keeps_its_volume(tmp_path):
    system = argon()
    folder = folder_of(tmp_path)
    run(system, swarm(system, 4, 600, 100, temperature=900.0), folder)
    end = np.load(folder / "end.npz")
    assert np.array_equal(end["boxes"], np.repeat(system.box[None], 4, 0))
    energy = 0.5 * 39.9 * (end["velocities"] ** 2).mean() * 3  # of a particle; 324 velocities
    assert energy == pytest.approx(1.5 * GAS_CONSTANT * 900, rel=4 * np.sqrt(2 / 324))


# -- physics -----------------------------------------------------------------------------------------------------------


def test_the_path_through_a_start_has_no_kink(tmp_path):
    """Without friction each frame follows from its neighbours: x(-1) + x(1) = (2 - (omega dt)^2) x(0), at the start too."""
    system = oscillators(4, friction=1e-12)  # under ten atoms XTC holds floats
    start = np.random.default_rng(1).normal(0, 0.01, (1, 4, 3))
    folder = folder_of(tmp_path)
    run(system, swarm(system, 1, 20, 1, positions=start, two_way=True), folder)
    x = frames(system, folder)[0].read().xyz.astype(float)
    assert len(x) == 41 and np.allclose(x[20], start[0], atol=1e-8)
    assert np.allclose(x[2:] + x[:-2], (2 - 0.1**2) * x[1:-1], atol=2e-8)
    # velocities are those of half a step before: the same again out of the frames
    again = folder_of(tmp_path, "again")
    velocities = (x[21:22] - x[20:21]) / 0.002 + 50.0**2 * 0.002 * x[20:21]
    run(system, swarm(system, 1, 20, 1, positions=x[20:21], velocities=velocities), again)
    assert np.allclose(frames(system, again)[0].read().xyz, x[21:], atol=1e-6)


def test_two_way_paths_are_those_of_long_md(tmp_path):
    """Correlations across the start, as of a long run and as the theory of the damped oscillator has them."""
    omega, gamma, dt = 50.0, 40.0, 0.004
    system = oscillators(60, gamma, dt, omega)
    width = np.sqrt(system.kT / 40.0) / omega
    starts = np.random.default_rng(2).normal(0, width, (50, 60, 3))
    folder, long = folder_of(tmp_path), folder_of(tmp_path, "long")
    run(system, swarm(system, positions=starts, steps=24, stride=3, two_way=True), folder)
    run(system, swarm(system, positions=starts[:1], steps=9000, stride=3), long)
    paths = np.array([t.read().xyz for t in frames(system, folder)]).astype(float) / width
    x = frames(system, long)[0].read().xyz.astype(float)[20:] / width
    middle = 8
    for lag in (1, 2, 4, 6):
        t = 3 * dt * lag
        damped = np.sqrt(omega**2 - gamma**2 / 4)
        exact = np.exp(-gamma * t / 2) * (np.cos(damped * t) + gamma / (2 * damped) * np.sin(damped * t))
        reference = (x[lag:] * x[:-lag]).mean()
        assert reference == pytest.approx(exact, abs=0.03)
        for before in {lag, 0, lag // 2}:  # all before, all after, and across the start
            across = (paths[:, middle - before] * paths[:, middle - before + lag]).mean()
            assert across == pytest.approx(reference, abs=0.04), (lag, before)


def test_velocities_are_maxwells_and_fulfil_the_constraints(ala2, tmp_path):
    system = ala2.replace(friction=1e-9, timestep=1e-6)
    folder = folder_of(tmp_path)
    run(system, swarm(system, 60, 1, 1, temperature=500.0), folder)
    v = np.load(folder / "end.npz")["velocities"]
    masses = np.array([atom.element.mass for atom in ala2.topology.atoms])
    kinetic = 0.5 * (masses[:, None] * v**2).sum((1, 2))
    n = 3 * 22 - 12 - 3  # the motion of the centre of mass is removed
    assert kinetic.mean() == pytest.approx(0.5 * n * GAS_CONSTANT * 500, rel=4 * np.sqrt(2 / n / 60))
    bonds = [(a.index, b.index) for a, b in ala2.topology.bonds if "H" in (a.element.symbol, b.element.symbol)]
    assert len(bonds) == 12
    for a, b in bonds:
        along = ((v[:, a] - v[:, b]) * (ala2.positions[a] - ala2.positions[b])).sum(-1)
        assert np.abs(along).max() < 1e-3


def test_a_segment_goes_on_from_the_end_of_another(ala2, tmp_path):
    """Without friction, two of 50 steps are one of 100."""
    system = ala2.replace(friction=1e-12)
    whole, first, second = (folder_of(tmp_path, name) for name in ("whole", "first", "second"))
    run(system, swarm(system, 2, 100, 50), whole)
    run(system, swarm(system, 2, 50, 50), first)
    end = np.load(first / "end.npz")
    run(system, swarm(system, steps=50, stride=50, positions=end["positions"], velocities=end["velocities"]), second)
    for name in ("positions", "velocities"):
        assert np.allclose(np.load(whole / "end.npz")[name], np.load(second / "end.npz")[name], atol=2e-4)


# -- the same again ----------------------------------------------------------------------------------------------------


def test_the_same_bytes_again_and_in_another_process(ala2, tmp_path):
    segments = {
        "swarm": swarm(ala2, two_way=True, features=Torsions("phi psi")),
        "opes": biased(ala2, OPES(barrier=30.0, pace=20), features=TORSIONS),
        "metadynamics": biased(ala2, Metadynamics(sigma=0.3, pace=20), seed=9),
    }
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        for name, segment in segments.items():
            a, b, c = (folder_of(tmp_path, f"{name}-{i}") for i in "abc")
            info = run(ala2, segment, a)
            assert run(ala2, segment, b) == info == pool.submit(run, ala2, segment, c).result()
            assert digests(a) == digests(b) == digests(c)
    argons = argon()
    a, b = folder_of(tmp_path, "a"), folder_of(tmp_path, "b")
    for folder in (a, b):  # a barostat draws numbers as well
        run(argons, swarm(argons, 2), folder)
    assert digests(a) == digests(b)


def test_another_seed_is_another_path(ala2, tmp_path):
    ends = []
    for seed in (1, 2):
        folder = folder_of(tmp_path, str(seed))
        run(ala2, swarm(ala2, seed=seed), folder)
        ends.append(np.load(folder / "end.npz")["positions"])
    assert np.abs(ends[0] - ends[1]).max() > 0.01
    assert np.abs(ends[0][0] - ends[0][1]).max() > 0.01


def test_cpu_platform_takes_its_properties(ala2, tmp_path):
    system = ala2.replace(platform="CPU")
    folders = [folder_of(tmp_path, name) for name in "ab"]
    for folder in folders:
        assert run(system, swarm(system), folder, {"Threads": "1", "DeviceIndex": "0"})["platform"] == "CPU"
    assert digests(folders[0]) == digests(folders[1])
    machine = Machine(system, swarm(system), tmp_path, {"Threads": "2", "DeviceIndex": "0"})
    platform = machine.context.getPlatform()
    assert platform.getPropertyValue(machine.context, "Threads") == "2"
    assert platform.getPropertyValue(machine.context, "DeterministicForces") == "true"


@pytest.mark.parametrize("module", [pickle, cloudpickle])
def test_pickles_are_small_and_come_back_the_same(ala2, module):
    segment = biased(ala2, OPES(barrier=30.0), features=TORSIONS)
    assert ala2.topology is not None and ala2.hash and segment.hash  # what is kept once computed
    for value in (ala2, segment, swarm(ala2, 50)):
        data = module.dumps(value)
        back = module.loads(data)
        assert back.hash == value.hash and type(back) is type(value)
        assert not back.positions.flags.writeable
        assert len(data) < value.positions.nbytes + 100_000


# -- bias --------------------------------------------------------------------------------------------------------------


def test_the_rows_of_the_trace_are_the_frames(ala2, tmp_path):
    folder = folder_of(tmp_path)
    segment = biased(
        ala2, [OPES(barrier=30.0, pace=20, on=0), Metadynamics(sigma=0.3, pace=35, on=1)], features=TORSIONS
    )
    run(ala2, segment, folder)
    trace, model = Trace.load(folder / "trace.mdi"), BiasModel.load(folder / "bias.mdi")
    trajectory = frames(ala2, folder)[0]
    assert len(trace) == trajectory.n_frames == 390 // 30
    assert np.array_equal(trace.rows_at(trajectory.times), np.arange(13))
    assert np.array_equal(trace.step, 30 * np.arange(1, 14))
    away = np.abs(np.load(folder / "features.npy") - trace.s)
    assert np.minimum(away, 2 * np.pi - away).max() < 0.02  # the frames are rounded to 0.001 nm
    deposits = deposits_of(folder)
    assert [rows.shape[1] for rows in deposits] == [3, 3] and len(deposits[1]) == 390 // 35
    assert mdi.bias._merge.merged(segment.bias, [deposits], [model]).hash == model.hash
    assert np.ptp(trace.bias) > 0.5


def test_walkers_go_on_from_a_common_bias(ala2, tmp_path):
    from mdinsight.bias._merge import merged

    base = biased(ala2, OPES(barrier=30.0, pace=20, sigma=0.2)).bias
    ends, deposits = [], []
    for number in range(2):
        folder = folder_of(tmp_path, f"0-{number}")
        run(ala2, biased(ala2, None, bias=base, seed=number), folder)
        ends.append(BiasModel.load(folder / "bias.mdi"))
        deposits.append(deposits_of(folder))
    both = merged(base, deposits, ends)
    assert both.states()[0].n_deposits == 2 * (390 // 20)
    folder = folder_of(tmp_path, "1-0")
    run(ala2, biased(ala2, None, bias=both, seed=7, steps=60, stride=10), folder)
    trace = Trace.load(folder / "trace.mdi")
    assert np.allclose(trace.bias[:1], both.potential(trace.s[:1]), rtol=1e-9)  # before the first new deposit
    assert BiasModel.load(folder / "bias.mdi").states()[0].n_deposits == both.states()[0].n_deposits + 3


def test_a_bias_in_a_periodic_box(tmp_path):
    system = argon()
    pair = Coordinate.of(Distances([[0, 26]]), system.topology)
    segment = swarm(
        system, 1, 100, 10, kind="biased", bias=BiasModel.empty(pair, OPES(barrier=20.0, pace=10, sigma=0.02))
    )
    folder = folder_of(tmp_path)
    run(system, segment.replace(features=pair), folder)
    assert np.allclose(np.load(folder / "features.npy"), Trace.load(folder / "trace.mdi").s, atol=3e-3)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["swarm", "two_way", "biased"])
def test_a_molecule_that_explodes_is_kept_for_inspection(ala2, tmp_path, kind):
    hot = ala2.replace(timestep=0.006)
    if kind == "biased":
        segment = biased(hot, OPES(barrier=30.0, pace=20), steps=3000, stride=5)
    else:
        segment = swarm(hot, 2, 3000, 5, two_way=kind == "two_way")
    folder = folder_of(tmp_path)
    with pytest.raises(
        InstabilityError, match=r"segment test, trajectory 0, broke down by step \d+ .*take a smaller time step"
    ):
        run(hot, segment, folder)
    told = json.loads((folder / "segment.json").read_text())
    assert told["seed"] == segment.seed and told["hash"] == segment.hash and told["kind"] == segment.kind
    assert 5 < told["step"] < 3000 and "NaN" in told["what happened"]
    state = openmm.XmlSerializer.deserialize((folder / "state.xml").read_text())
    system = openmm.XmlSerializer.deserialize((folder / "system.xml").read_text())
    positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    assert system.getNumParticles() == 22
    assert np.allclose(positions, segment.positions[0], atol=2e-3) and np.isfinite(positions).all()
    assert np.abs(state.getVelocities(asNumpy=True)._value).max() > 0
    assert (folder / "traj-0000.xtc").stat().st_size > 0  # the frames before
    assert not list(folder.parent.glob("broken*"))


def test_atoms_on_top_of_each_other(ala2, tmp_path):
    positions = np.repeat(ala2.positions[None], 2, 0)
    positions[1, 5] = positions[1, 11]  # the two oxygens
    folder = folder_of(tmp_path)
    with pytest.raises(InstabilityError, match="trajectory 1, broke down by step 0 forwards"):
        run(ala2, swarm(ala2, positions=positions), folder)
    assert json.loads((folder / "segment.json").read_text())["trajectory"] == 1
    assert mdi.open(folder / "traj-0000.xtc", top=ala2.topology).n_frames == 3


def test_a_box_that_collapses(tmp_path):
    system = argon(pressure=1e6)
    folder = folder_of(tmp_path)
    with pytest.raises(InstabilityError, match="box size has decreased"):
        run(system, swarm(system, 1, 2000, 20), folder)
    assert (folder / "state.xml").exists()


LIMITED = """
import pickle, resource, sys
from pathlib import Path
from mdinsight.engine._machine import Machine
from mdinsight.engine._segment import run
system, segment = pickle.loads(Path(sys.argv[1]).read_bytes())
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    run(system, segment, sys.argv[2])
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("limit", "options", "message"),
    [
        (4_000, {"steps": 400, "stride": 1}, "XTC write error"),
        (4_200, {"steps": 25, "stride": 1}, "of 25 frames"),  # the last part goes to the disk when the file is closed
        (60_000, {"steps": 1, "stride": 1, "n": 100}, "cannot write into"),  # end.npz
    ],
)
def test_no_room_on_the_disk(ala2, tmp_path, limit, options, message):
    """Files may not grow beyond a limit; when it closes a file, the library that writes XTC does not tell."""
    (tmp_path / "job").write_bytes(pickle.dumps((ala2, swarm(ala2, **({"n": 1} | options)))))
    folder = folder_of(tmp_path)
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "job"), str(folder), str(limit)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment()).stdout
    assert said.startswith("OutputError") and message in said and "make room" in said, said


def _environment():
    import os

    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_a_folder_that_is_none_or_in_use(ala2, tmp_path):
    with pytest.raises(OutputError, match=r"cannot write into .*nowhere: No such file"):
        run(ala2, swarm(ala2), tmp_path / "nowhere")
    (tmp_path / "left").write_text("x")
    with pytest.raises(OutputError, match=r"is not empty \(it holds left\)"):
        run(ala2, swarm(ala2), tmp_path)


REFUSED = [
    ({"steps": 50}, r"steps=50 is no multiple of stride=20.*steps=40"),
    ({"steps": 0}, "steps=0 is no number of steps"),
    ({"stride": 2.0}, "stride=2.0 is no number of steps"),
    ({"kind": "fast"}, "kind='fast'; known are explore, swarm, biased"),
    ({"name": ""}, "name='' of a segment is no text"),
    ({"seed": -1}, "seed=-1 is not a seed"),
    ({"temperature": 0}, "temperature=0 is not positive"),
    ({"positions": np.zeros((22, 3))}, r"positions are of shape \(22, 3\); give \(n_traj, n_atoms, 3\)"),
    ({"positions": np.zeros((0, 22, 3))}, r"positions are of shape \(0, 22, 3\); give at least one"),
    ({"positions": "none"}, "positions of type str are no numbers"),
    ({"velocities": np.zeros((2, 22, 3))}, r"velocities are of shape \(2, 22, 3\); give \(3, 22, 3\)"),
    ({"boxes": np.zeros((3, 3))}, r"boxes are of shape \(3, 3\); give \(3, 3, 3\)"),
    ({"two_way": "yes"}, "two_way='yes' is neither"),
    ({"features": "phi"}, "features=str are no features"),
    ({"kind": "biased"}, "kind='biased' and no bias"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_no_segment_can_be(ala2, change, message):
    with pytest.raises(ParameterError, match=message):
        swarm(ala2, **change)


def test_what_no_segment_with_a_bias_can_be(ala2):
    good = biased(ala2, OPES(barrier=30.0))
    for change, message in (
        ({"kind": "swarm"}, "kind='swarm' and a bias"),
        ({"positions": np.zeros((2, 22, 3))}, "a bias and 2 trajectories"),
        ({"with_start": True}, "with_start=True"),
        ({"two_way": True}, "two_way=True"),
        ({"temperature": 310.0}, "is at 310 K, its bias was made for 300 K"),
        ({"bias": OPES(barrier=30.0)}, "bias=OPES is no BiasModel"),
    ):
        with pytest.raises(ParameterError, match=message):
            good.replace(**change)
    assert good.replace(kind="explore").bias is good.bias


def test_what_is_not_finite(ala2):
    bad = np.repeat(ala2.positions[None], 3, 0)
    bad[1, 3, 2] = np.nan
    with pytest.raises(NonFiniteError, match="positions of trajectory 1 are NaN"):
        swarm(ala2, positions=bad)


def test_a_segment_of_another_system_is_refused_before_it_runs(ala2, tmp_path):
    system = argon(barostat=False)
    folder = folder_of(tmp_path)
    with pytest.raises(ParameterError, match="has 27 atoms, the system 22"):
        run(ala2, swarm(system), folder)
    with pytest.raises(ParameterError, match="has boxes, the system has no periodic boundaries"):
        run(ala2, swarm(ala2, boxes=np.repeat(np.eye(3)[None], 3, 0)), folder)
    with pytest.raises((TopologyError, mdi.errors.SelectionError)):
        run(system, swarm(system, features=TORSIONS), folder)
    assert not list(folder.iterdir())


def test_an_mdtraj_reader_reads_it_too(ala2, tmp_path):
    folder = folder_of(tmp_path)
    run(ala2, swarm(ala2, two_way=True), folder)
    trajectory = mdtraj.load(str(folder / "traj-0000.xtc"), top=ala2.topology)
    assert np.allclose(trajectory.time, 0.04 * np.arange(-3, 4))
