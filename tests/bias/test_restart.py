"""A run killed and resumed is the run never killed; what does not fit, or is torn, is refused; a full disk loses nothing."""

from __future__ import annotations

import json
import os
import resource
import runpy
import signal
import time
import warnings
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.errors import BiasError, DataWarning, ModelFileError, OutputError
from mdinsight.features import Torsions

MD = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("md_process.py"))))


@pytest.fixture(scope="module")
def server():
    """Starts processes at once, so that there can be many."""
    made = MD.process()
    yield made
    made.stdin.close()
    made.wait()
    assert made.returncode == 0, made.stderr.read()


def ask(server, after=None, **asked):
    """Run in a process, killed so many seconds after it is ready to step: exit status, -9 if it was killed, and seconds."""
    server.stdin.write(json.dumps(asked) + "\n")
    server.stdin.flush()
    pid = int(server.stdout.readline().split()[1])
    line = server.stdout.readline()
    begin = time.perf_counter()
    if line == "ready\n":
        if after is not None:
            time.sleep(after)
            with suppress(ProcessLookupError):  # it has come to its end
                os.kill(pid, signal.SIGKILL)
        line = server.stdout.readline()
    return int(line.split()[1]), time.perf_counter() - begin


@pytest.mark.parametrize(
    ("potentials", "form", "steps"),
    [
        ("metadynamics", "compiled", 8000),
        ("opes", "compiled", 8000),
        ("two", "compiled", 5000),
        ("metadynamics", "native", 4000),
        ("opes", "native", 2000),
    ],
)
def test_killed_at_random_and_resumed_is_bit_for_bit_the_same(tmp_path, server, potentials, form, steps):
    rng = np.random.default_rng(5)
    asked = {"potentials": potentials, "form": form, "steps": steps, "save_every": 333}
    whole, killed = tmp_path / "whole.run", tmp_path / "killed.run"
    ended, seconds = ask(server, file=str(whole), **asked)
    assert ended == 0
    died = [ask(server, rng.uniform(0.02, 0.15) * seconds, file=str(killed), **asked)[0] for _ in range(6)]
    assert died.count(-9) >= 3 and set(died) <= {-9, 0}
    assert ask(server, file=str(killed), **asked)[0] == 0
    first, second = mdi.bias.SavedRun.load(whole), mdi.bias.SavedRun.load(killed)
    assert len(first.trace) == steps // 50
    assert first.trace.bias.max() - first.trace.bias.min() > 2.0
    assert first.trace.hash == second.trace.hash
    assert first.model.hash == second.model.hash
    np.testing.assert_array_equal(first.md[0].positions, second.md[0].positions)
    np.testing.assert_array_equal(first.md[0].velocities, second.md[0].velocities)
    assert (first.md[0].step, first.md[0].time) == (second.md[0].step, second.md[0].time)


def test_walkers_of_one_process_resume_bit_for_bit(tmp_path):
    ends = []
    for resumed in (False, True):
        sampler, pair = MD.start("measured", n=2)
        sampler.step(pair, 1030)
        sampler.save(tmp_path / "run", pair)
        if resumed:
            sampler.step(pair, 400)
            sampler, pair = MD.start("measured", n=2)
            sampler.load(tmp_path / "run", pair)
        sampler.step(pair, 700)
        ends.append((sampler, pair))
    (first, one), (second, two) = ends
    assert first.model.hash == second.model.hash
    assert first.trace.hash == second.trace.hash
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(MD.positions(a), MD.positions(b))


def test_the_same_sampler_goes_back(tmp_path):
    """Loading into a Sampler that has gone on forgets what it did since."""
    for form in ("compiled", "native"):
        sampler, simulation = MD.start("metadynamics", form=form)
        sampler.step(simulation, 500)
        sampler.save(tmp_path / "run", simulation)
        sampler.step(simulation, 300)
        model, trace, xyz = sampler.model.hash, sampler.trace.hash, MD.positions(simulation)
        sampler.load(tmp_path / "run", simulation)
        assert sampler.states[0].n_deposits == 10 and len(sampler.trace) == 10
        sampler.step(simulation, 300)
        assert (sampler.model.hash, sampler.trace.hash) == (model, trace)
        np.testing.assert_array_equal(MD.positions(simulation), xyz)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A short run on disk."""
    file = tmp_path_factory.mktemp("saved") / "ala2.run"
    sampler, simulation = MD.start("metadynamics")
    sampler.run(simulation, 500, file)
    return file


def test_what_differs_is_named(saved):
    hotter = MD.molecule("amber14/protein.ff14SB.xml")[1]
    flat = mdi.bias.Metadynamics(height=1.0, sigma=0.3, biasfactor=None, pace=50)
    for options, what in (
        ({"temperature": 310.0}, "the temperature was 300.0, now it is 310.0"),
        ({"potentials": "opes"}, r"the potentials was \(Metadynamics\(.*\),\), now it is \(OPES"),
        ({"potentials": flat}, "the potentials was .*biasfactor=10.0.*, now it is .*biasfactor=inf"),
        ({"seed": 4}, "the seed was 0, now it is 4"),
        ({"every": 2}, "every was 1, now it is 2"),
        ({"record": 10}, "record was 50, now it is 10"),
        ({"form": "native"}, "the form of the force was compiled, now it is native"),
        ({"system": hotter}, r"the system \(its forces or parameters\) was"),
        ({"n": 2}, "the number of walkers was 1, now it is 2"),
    ):
        sampler, simulation = MD.start(**({"potentials": "metadynamics"} | options))
        before = sampler.model.hash
        with pytest.raises(BiasError, match=f"ala2.run cannot be taken up: {what}"):
            sampler.load(saved, simulation)
        assert sampler.model.hash == before and len(sampler.trace) == 0


def test_a_bias_is_refused_on_another_coordinate(saved):
    pdb, system = MD.molecule()
    topology = MD.mdtraj.Topology.from_openmm(pdb.topology)
    potential = MD.POTENTIALS["metadynamics"]()
    sampler = mdi.bias.Sampler(system, topology, Torsions("psi", raw=True), potential)
    simulation = MD.app.Simulation(pdb.topology, system, MD.openmm.LangevinMiddleIntegrator(300.0, 5.0, 0.002))
    with pytest.raises(BiasError, match=r"the coordinate was phi ALA2, psi ALA2 .*, now it is psi ALA2 \("):
        sampler.load(saved, simulation)


def test_an_unlike_barostat_seed_is_the_same_system():
    hashes = []
    for seed in (1, 2):
        _, system = MD.molecule()
        barostat = MD.openmm.MonteCarloBarostat(1.0, 300.0)
        barostat.setRandomNumberSeed(seed)
        system.addForce(barostat)
        hashes.append(MD.mdi.bias._checks.system_hash(system))
    assert hashes[0] == hashes[1]


def test_torn_or_changed(saved, tmp_path):
    whole = saved.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 255
    sampler, simulation = MD.start("metadynamics")
    for content in (whole[:-40], whole[: len(whole) // 2], b"", bytes(changed)):
        (tmp_path / "torn.run").write_bytes(content)
        with pytest.raises(ModelFileError, match=r"torn\.run"):
            sampler.run(simulation, 1000, tmp_path / "torn.run")
        assert simulation.currentStep == 0
    with pytest.raises(ModelFileError, match="no model at"):
        sampler.load(tmp_path / "none.run", simulation)


def test_a_full_disk_leaves_what_was_saved(tmp_path):
    file = tmp_path / "ala2.run"
    sampler, simulation = MD.start("metadynamics")
    sampler.run(simulation, 500, file)
    before = file.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limit[1]))
        with pytest.raises(OutputError, match=r"cannot write .*ala2\.run: File too large"):
            sampler.run(simulation, 1000, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["ala2.run"]
    # nothing is lost in memory either: with room again it is saved as it stands
    done = simulation.currentStep
    assert done > 500 and sampler.states[0].n_deposits == done // 50
    sampler.save(file, simulation)
    again, other = MD.start("metadynamics")
    again.load(file, other)
    assert other.currentStep == done and again.model.hash == sampler.model.hash


def test_a_run_goes_on_on_another_platform(saved):
    sampler, simulation = MD.start("metadynamics", platform="CPU")
    with pytest.warns(DataWarning, match=r"walker 0: .*made by OpenMM .* on Reference.*other random numbers"):
        sampler.load(saved, simulation)
    run = mdi.bias.SavedRun.load(saved)
    np.testing.assert_allclose(MD.positions(simulation), run.md[0].positions, atol=1e-6)
    assert (simulation.currentStep, simulation.context.getStepCount()) == (500, 500)
    assert simulation.context.getTime()._value == pytest.approx(1.0)
    sampler.step(simulation, 125)
    assert sampler.states[0].n_deposits == 12
    assert list(sampler.trace.step) == list(range(50, 601, 50))


def test_running_to_the_same_end_again_does_nothing(saved, tmp_path):
    sampler, simulation = MD.start("metadynamics")
    file = tmp_path / "again.run"
    file.write_bytes(saved.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler.run(simulation, 500, file)
    assert simulation.currentStep == 500 and file.read_bytes() == saved.read_bytes()
