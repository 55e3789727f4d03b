"""Processes that share one bias through a folder: nothing lost, nothing twice, nothing foreign; also when they are killed."""

from __future__ import annotations

import json
import os
import resource
import runpy
import shutil
import signal
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mdinsight.bias import _deposit_file as files
from mdinsight.bias._shared import SharedBias
from mdinsight.errors import BiasError, DataWarning, FormatError, OutputError, ParameterError

MD = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("md_process.py"))))
STEPS = 6000
GRID = np.stack(np.meshgrid(np.linspace(-3, 3, 25), np.linspace(-3, 3, 25)), -1).reshape(-1, 2)


def process(folder, walker, potentials="metadynamics", **options):
    """A walker in a process of its own, stepping."""
    asked = {
        "file": str(folder / f"walker{walker}.run"),
        "shared": str(folder / "shared"),
        "walker": walker,
        "potentials": potentials,
        "exchange": 500,
        "steps": STEPS,
        "save_every": 1500,
    }
    made = MD.process(json.dumps(asked | options))
    assert made.stdout.readline() == "ready\n", made.stderr.read()
    return made


def finish(made):
    _, errors = made.communicate()
    assert made.returncode == 0, errors


def published(folder):
    """Headers of all files."""
    return [json.loads(path.read_bytes().split(b"\n")[1]) for path in sorted(folder.glob("shared/walker-*/*.dep"))]


def entries(folder):
    return [(f["walker"], step, potential) for f in published(folder) for step, potential, _ in f["deposits"]]


def up_to_date(folder, walker, potentials="metadynamics", **options):
    """A walker's run as it was saved last, once it has read what there is."""
    sampler, simulation = MD.start(potentials, shared=folder / "shared", walker=walker, exchange=500, **options)
    sampler.load(folder / f"walker{walker}.run", simulation)
    sampler.exchange(simulation)
    sampler.shared.close()
    return sampler


def test_two_processes_build_one_bias(tmp_path):
    both = [process(tmp_path, walker, "two", global_seed=7) for walker in (0, 1)]
    for made in both:
        finish(made)
    first, second = (up_to_date(tmp_path, walker, "two") for walker in (0, 1))
    wanted = [(w, step, p) for w in (0, 1) for p, pace in ((0, 50), (2, 100)) for step in range(pace, STEPS + 1, pace)]
    assert sorted(entries(tmp_path)) == sorted(wanted)
    # which OPES kernels are merged, and how much each is shrunk, depends on the order in which they come; of hills it is rounding
    for number, tolerance in ((0, 1.0), (2, 1e-9)):
        here, there = first.states[number], second.states[number]
        assert here.n_deposits == there.n_deposits == 2 * STEPS // here.pace
        s = np.linspace(-3, 3, 61)[:, None]
        one, two = here.energies(s), there.energies(s)
        assert np.ptp(one) > 5.0
        visited = one > one.max() - 15.0
        np.testing.assert_allclose(one[visited], two[visited], atol=tolerance)
    same_hills(first.states[2], second.states[2])
    assert set(first.trace.walker) == {0} and set(second.trace.walker) == {1}


def same_hills(first, second):
    np.testing.assert_array_equal(*(state.hills[np.lexsort(state.hills.T)] for state in (first, second)))


def test_a_killed_walker_neither_loses_nor_repeats_a_deposit(tmp_path):
    rng = np.random.default_rng(3)
    steps = 4 * STEPS
    other = process(tmp_path, 1, steps=steps)
    # once before anything is saved and once after, always with more published than saved
    for save_every, wanted in ((steps, 3), (3000, 14)):
        made = process(tmp_path, 0, steps=steps, save_every=save_every)
        while len(list(tmp_path.glob("shared/walker-000/*.dep"))) < wanted:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.02))
        made.send_signal(signal.SIGKILL)
        made.wait()
    finish(process(tmp_path, 0, steps=steps))
    finish(other)
    assert sorted(entries(tmp_path)) == [(w, step, 0) for w in (0, 1) for step in range(50, steps + 1, 50)]
    read = [(f["walker"], *key) for f in published(tmp_path) for key in map(tuple, f["read"])]
    assert len(set(read)) == len(read)
    first, second = (up_to_date(tmp_path, walker).states[0] for walker in (0, 1))
    same_hills(first, second)
    np.testing.assert_allclose(first.energies(GRID), second.energies(GRID), atol=1e-9)


@pytest.mark.parametrize("potentials", ["metadynamics", "opes"])
def test_resumed_after_publishing_is_bit_for_bit_the_run_never_killed(tmp_path, potentials):
    """On the Reference platform; the other's files arrive while the walker runs."""
    prepared = tmp_path / "prepared"
    finish(process(tmp_path, 1, potentials))
    shutil.copytree(tmp_path / "shared", prepared)
    shutil.rmtree(tmp_path / "shared")
    ends = []
    for name, die in (("whole", False), ("killed", True)):
        folder = tmp_path / name
        later = prepared / "walker-001"
        shutil.copytree(prepared, folder, ignore=lambda _, names: [n for n in names if n.endswith(".dep")])

        def arrive(numbers, folder=folder, later=later):
            for number in numbers:
                shutil.copy(later / f"walker-001-{number:06d}.dep", folder / "walker-001")

        sampler, simulation = MD.start(potentials, shared=folder, walker=0, exchange=500)
        sampler.step(simulation, 1200)
        arrive((0, 1, 2))
        sampler.step(simulation, 550)
        sampler.save(tmp_path / "run", simulation)
        sampler.step(simulation, 500)
        arrive((3, 4))
        sampler.step(simulation, 900)
        if die:
            sampler.shared.close()  # all that the process published stays, all that it had in memory goes
            arrive((5, 6, 7, 8))  # what came later must not be read earlier
            sampler, simulation = MD.start(potentials, shared=folder, walker=0, exchange=500)
            sampler.load(tmp_path / "run", simulation)
            sampler.step(simulation, 1400)
        else:
            arrive((5, 6, 7, 8))
        sampler.step(simulation, 1000)
        ends.append((sampler, simulation))
    (whole, first), (killed, second) = ends
    assert whole.model.hash == killed.model.hash
    assert whole.states[0].n_deposits > 100
    np.testing.assert_array_equal(MD.positions(first), MD.positions(second))
    assert whole.trace.hash == killed.trace.hash
    for path in (tmp_path / "whole/walker-000").glob("*.dep"):
        assert path.read_bytes() == (tmp_path / "killed/walker-000" / path.name).read_bytes()


@pytest.fixture
def pair(tmp_path):
    """Two walkers of one process, to exchange by hand."""
    made = [MD.start(shared=tmp_path, walker=walker, exchange=10_000) for walker in (0, 1)]
    yield made
    for sampler, _ in made:
        sampler.shared.close()


def exchange(made):
    sampler, simulation = made
    sampler.exchange(simulation)
    return sampler.states[0].hills


def test_a_bad_file_never_enters_the_bias(tmp_path, pair):
    first, second = pair
    for _ in range(4):
        first[0].step(first[1], 100)
        exchange(first)
    paths = [files.path_of(tmp_path, 0, number) for number in range(4)]
    whole = [path.read_bytes() for path in paths]
    good = [files.read(tmp_path, first[0].shared.run, 0, number) for number in range(4)]
    paths[0].write_bytes(whole[0][:-9])
    bad = good[1].entries[0].deposit.copy()
    bad[0] = np.nan
    files.write(tmp_path, good[1]._replace(entries=(good[1].entries[0]._replace(deposit=bad), *good[1].entries[1:])))
    files.write(tmp_path, good[2]._replace(run="0" * 64))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hills = exchange(second)
    told = [str(item.message) for item in caught if item.category is DataWarning]
    assert len(told) == 3
    for path, text, why in zip(paths[:3], told, ("torn", "NaN", "another run"), strict=True):
        assert str(path) in text and why in text
    np.testing.assert_array_equal(hills, [entry.deposit for entry in good[3].entries])
    # said once; and taken in when it is whole
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(exchange(second)) == 2
        for path, content in zip(paths, whole, strict=True):
            path.write_bytes(content)
        hills = exchange(second)
    assert len(hills) == 8
    np.testing.assert_array_equal(np.sort(hills, 0), np.sort(exchange(first), 0))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"\n\n", "no file of deposits"),
        (b"mdinsight deposits 1 00\n{}\n", "checksum"),
        (b"\x00" * 500, "no file"),
    ],
)
def test_junk_is_refused(tmp_path, content, why):
    path = files.path_of(tmp_path, 2, 0)
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(FormatError, match=why):
        files.read(tmp_path, "run", 2, 0)


def test_a_removed_file_is_named_and_passed_over(tmp_path, pair):
    first, second = pair
    for _ in range(3):
        first[0].step(first[1], 100)
        exchange(first)
    gone = files.path_of(tmp_path, 0, 1)
    kept = gone.read_bytes()
    gone.unlink()
    with pytest.warns(DataWarning, match="000001.dep is left out of the bias: it is missing"):
        assert len(exchange(second)) == 4
    gone.write_bytes(kept)
    assert len(exchange(second)) == 6


def test_a_deposit_that_the_potential_refuses_is_left_out(tmp_path, pair):
    first, second = pair
    first[0].step(first[1], 100)
    exchange(first)
    good = files.read(tmp_path, first[0].shared.run, 0, 0)
    wrong = (good.entries[0]._replace(deposit=np.ones(3)), good.entries[1]._replace(potential=4))
    files.write(tmp_path, good._replace(entries=(*wrong, *good.entries)))
    with pytest.warns(DataWarning) as caught:
        hills = exchange(second)
    assert [str(item.message).split(":")[1][:28] for item in caught] == [
        " a deposit of shape (3,) is ",
        " there is no potential numbe",
    ]
    np.testing.assert_array_equal(hills, [entry.deposit for entry in good.entries])


def test_a_walker_belongs_to_one_process(tmp_path):
    made = process(tmp_path, 0, steps=10_000_000)
    try:
        with pytest.raises(
            BiasError, match=rf"walker 0 of .* is already run by process {made.pid} on .* remove .*lock"
        ):
            MD.start(shared=tmp_path / "shared", walker=0)
    finally:
        made.kill()
        made.wait()
    sampler, _ = MD.start(shared=tmp_path / "shared", walker=0)  # a killed one's number is free
    with pytest.raises(BiasError, match=f"process {os.getpid()}"):
        MD.start(shared=tmp_path / "shared", walker=0)
    sampler.shared.close()
    lock = tmp_path / "shared/walker-000/lock"
    assert lock.read_text() == ""
    lock.write_text("elsewhere 12 2026-01-01T00:00:00\n")
    with pytest.raises(BiasError, match="process 12 on elsewhere, since 2026"):
        MD.start(shared=tmp_path / "shared", walker=0)
    lock.unlink()
    MD.start(shared=tmp_path / "shared", walker=0)[0].shared.close()


def test_the_folder_of_another_run_is_refused(tmp_path):
    MD.start(shared=tmp_path, walker=0)
    for options, what in (
        ({"temperature": 310.0}, "the temperature was 300.0, here it is 310.0"),
        ({"seed": 5}, "the seed of the run was 0, here it is 5"),
        ({"potentials": "opes"}, "the potentials was .*Metadynamics.*, here it is .*OPES"),
        ({"system": MD.molecule("amber14/protein.ff14SB.xml")[1]}, "the system"),
    ):
        with pytest.raises(BiasError, match=f"holds the bias of another run .*{what}"):
            MD.start(shared=tmp_path, walker=1, **options)
    MD.start(shared=tmp_path, walker=1)


def test_twins_are_refused(tmp_path):
    """Walkers that were given the same random seed by hand: all that one deposits the other does too."""
    first, simulation = MD.start(shared=tmp_path, walker=0, exchange=500, seeds=[11])
    first.step(simulation, 1000)
    # made only now, because all contexts of the Reference platform in one process draw from one stream of random numbers
    second, simulation = MD.start(shared=tmp_path, walker=1, exchange=500, seeds=[11])
    with pytest.raises(ParameterError, match=r"walkers 1 and 0 .* the same moves.*walker_seed"):
        second.step(simulation, 500)
    assert first.walker_seed() != second.walker_seed()


def test_full_disk(tmp_path, pair):
    """A disk without room raises; what was deposited is published later."""
    first, second = pair
    first[0].step(first[1], 500)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
        with pytest.raises(OutputError, match=r"cannot write .*walker-000-000000\.dep"):
            exchange(first)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in (tmp_path / "walker-000").iterdir()] == ["lock"]
    assert first[0].states[0].n_deposits == 10
    first[0].step(first[1], 100)
    np.testing.assert_array_equal(exchange(first), exchange(second))
    assert len(exchange(second)) == 12


def test_begun_anew_in_the_same_folder(tmp_path):
    """What was published stands, and the user is told."""
    sampler, simulation = MD.start(shared=tmp_path, exchange=500)
    sampler.step(simulation, 1000)
    hills = sampler.states[0].hills
    sampler.shared.close()
    sampler, simulation = MD.start(shared=tmp_path, exchange=500, seeds=[99])
    with pytest.warns(DataWarning, match="walker 0 has deposited at step 50 before") as caught:
        sampler.step(simulation, 1500)
    assert len(caught) == 1
    assert sampler.states[0].n_deposits == 30
    np.testing.assert_array_equal(sampler.states[0].hills[:20], hills)


def test_what_is_not_yet_published_is_saved(tmp_path):
    sampler, simulation = MD.start(shared=tmp_path / "shared", exchange=500)
    sampler.step(simulation, 730)
    sampler.save(tmp_path / "run", simulation)
    sampler.shared.close()
    sampler, simulation = MD.start(shared=tmp_path / "shared", exchange=500)
    sampler.load(tmp_path / "run", simulation)
    sampler.step(simulation, 270)
    made = [
        entry for number in (0, 1) for entry in files.read(sampler.shared.folder, sampler.shared.run, 0, number).entries
    ]
    assert [entry.step for entry in made] == list(range(50, 1001, 50))
    np.testing.assert_array_equal(sampler.states[0].hills, [entry.deposit for entry in made])


def test_resumed_with_another_folder(tmp_path):
    sampler, simulation = MD.start(shared=tmp_path / "one", exchange=500)
    sampler.step(simulation, 1000)
    sampler.save(tmp_path / "run", simulation)
    for options, what in (
        ({"shared": tmp_path / "two", "exchange": 500}, "walker-000-000001.dep is missing.*give shared= the folder"),
        ({"shared": tmp_path / "two", "exchange": 100}, "every 500 steps, now it is walker 0 .* every 100 steps"),
        ({"shared": tmp_path / "two", "exchange": 500, "walker": 4}, "was walker 0 .*, now it is walker 4"),
        ({}, "was walker 0 of a shared bias .*, now it is alone"),
    ):
        other, again = MD.start(**options)
        with pytest.raises(BiasError, match=what):
            other.load(tmp_path / "run", again)
        if other.shared is not None:
            other.shared.close()


def test_parameters(tmp_path):
    with pytest.raises(ParameterError, match="nothing is deposited"):
        MD.start([MD.mdi.bias.Umbrella(at=0.0, kappa=1.0)], shared=tmp_path)
    with pytest.raises(ParameterError, match="give shared= a folder"):
        MD.start(exchange=10)
    with pytest.raises(ParameterError, match="walker=-1"):
        MD.start(shared=tmp_path, walker=-1)
    sampler, simulation = MD.start()
    with pytest.raises(ParameterError, match="not shared"):
        sampler.exchange(simulation)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        MD.start(shared=tmp_path / "file")
    sampler, simulations = MD.start(n=2, shared=tmp_path / "folder")
    with pytest.raises(ParameterError, match="runs one walker"):
        sampler.step(simulations, 10)
    assert repr(sampler.shared).startswith("<SharedBias: walker 0 of a shared bias exchanged every 500 steps")
    assert isinstance(sampler.shared, SharedBias)
