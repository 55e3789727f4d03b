"""Walkers of one process share a bias: each deposits once per pace, and never because somebody asked for an energy."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.errors import BiasError, InstabilityError, ParameterError

MD = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("md_process.py"))))
TAU = 2.0 * np.pi


@pytest.mark.parametrize("form", ["compiled", "native"])
def test_each_walker_deposits_once_per_pace_where_it_is(form):
    sampler, pair = MD.start("metadynamics", n=2, form=form)
    for steps in (37, 1, 463, 250, 260):  # however the steps are cut
        sampler.step(pair, steps)
    assert [walker.currentStep for walker in pair] == [1011, 1011]
    hills = sampler.states[0].hills
    assert len(hills) == sampler.states[0].n_deposits == 2 * 20
    trace = sampler.trace
    assert sorted(zip(trace.step, trace.walker, strict=True)) == [(s, w) for s in range(50, 1011, 50) for w in (0, 1)]
    order = np.lexsort((trace.walker, trace.step))
    apart = hills[:, :2] - trace.s[order]
    np.testing.assert_allclose(apart - TAU * np.round(apart / TAU), 0.0, atol=1e-12)
    # both of a pace are made from the bias before either: well-tempered heights, by hand
    heights = 1.0 * np.exp(-trace.bias[order] / (9.0 * sampler.kT))
    np.testing.assert_allclose(hills[:, 2 + 2], heights, rtol=1e-9)
    assert hills[0, -1] == hills[1, -1] == 1.0


def test_opes_counts_both():
    sampler, pair = MD.start([mdi.bias.OPES(barrier=30.0, sigma=0.2, pace=50)], n=2)
    sampler.step(pair, 1000)
    assert sampler.states[0].n_deposits == 40


@pytest.mark.parametrize(("potentials", "paces"), [("measured", 10), ("opes", 10)])
def test_each_walker_measures_its_own_width(potentials, paces):
    """Both begin to deposit when both have measured, at the end of the first ten paces."""
    sampler, pair = MD.start(potentials, n=2)
    sampler.step(pair, 50 * paces - 1)
    assert sampler.states[0].n_deposits == 0
    sampler.step(pair, 1)
    assert sampler.states[0].n_deposits == 2
    sampler.step(pair, 500)
    assert sampler.states[0].n_deposits == 22


@pytest.mark.parametrize("form", ["compiled", "native"])
def test_asking_for_energies_changes_nothing(form):
    ends = []
    for asks in (0, 7):
        sampler, pair = MD.start("metadynamics", n=2, form=form)
        for _ in range(9):
            sampler.step(pair, 45)
            for walker in pair:
                for _ in range(asks):
                    walker.context.getState(energy=True, forces=True)
        ends.append((sampler.model.hash, sampler.trace.hash, *(MD.positions(walker).tobytes() for walker in pair)))
    assert ends[0] == ends[1]


@pytest.mark.parametrize(("form", "tolerance"), [("compiled", 1e-9), ("native", 0.02)])
def test_the_force_in_every_walker_is_that_of_the_shared_bias(form, tolerance):
    sampler, pair = MD.start("metadynamics", n=2, form=form)
    sampler.step(pair, 1000)
    found = []
    for walker in pair:
        state = walker.context.getState(energy=True, positions=True, groups={sampler.force.getForceGroup()})
        s = sampler.bound.value(state.getPositions(asNumpy=True)._value)
        found.append(float(sampler.model.potential(s[None])[0]))
        assert state.getPotentialEnergy()._value == pytest.approx(found[-1], abs=tolerance)
    assert max(found) > 3.0


def test_same_seeds_are_refused():
    sampler, pair = MD.start("metadynamics", n=2, seeds=[5, 5])
    with pytest.raises(ParameterError, match=r"walkers 0 and 1 have the same random seed 5.*walker_seed"):
        sampler.step(pair, 100)
    assert pair[0].currentStep == 0
    samplers = [MD.start("metadynamics", seed=run)[0] for run in (0, 1)]
    seeds = {each.walker_seed(walker) for each in samplers for walker in range(50)}
    assert len(seeds) == 100


def test_walkers_that_do_not_belong_together_are_refused():
    sampler, pair = MD.start("metadynamics", n=2)
    pair[0].step(300)
    with pytest.raises(ParameterError, match=r"different steps \[0, 300\]"):
        sampler.step(pair, 10)
    sampler, pair = MD.start("metadynamics", n=2)
    pair[1].integrator.setTemperature(350.0)
    with pytest.raises(BiasError, match="350 K, the bias was made for 300 K"):
        sampler.step(pair, 10)


@pytest.mark.parametrize("form", ["compiled", "native"])
def test_a_broken_walker_never_enters_the_bias(form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sampler, pair = MD.start("metadynamics", n=2, form=form)
    sampler.step(pair, 230)
    before, rows = sampler.model.hash, len(sampler.trace)
    broken = MD.positions(pair[1]).copy()
    broken[6] = np.nan
    pair[1].context.setPositions(broken)
    with pytest.raises(
        InstabilityError, match=r"walker 1 broke down at step \d+.*Saved as .*Nothing of it entered the bias"
    ):
        sampler.step(pair, 100)
    assert sampler.model.hash == before and len(sampler.trace) == rows
    assert np.isfinite(sampler.states[0].energies(np.zeros((1, 2)))).all()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) == 2 and files[0] == "broken-walker1-last-sound.xml"
    sound = MD.openmm.XmlSerializer.deserialize((tmp_path / files[0]).read_text())
    assert np.isfinite(sound.getPositions(asNumpy=True)._value).all()
