"""What a biased run gave, on one page."""

import numpy as np
import pytest

import mdinsight as mdi
from mdinsight import seeds
from mdinsight.bias._states import start_all
from mdinsight.units import GAS_CONSTANT

kT = GAS_CONSTANT * 300
A, B = {"x": (-9.0, 0.0)}, {"x": (0.0, 9.0)}


@pytest.fixture(scope="module")
def trace():
    rng = seeds.generator(2, "report")
    s = np.where(np.cumsum(rng.random(1500) < 0.05) % 2, 1.0, -1.0) + 0.2 * rng.normal(size=1500)
    steps = 500 * np.arange(1, 1501)
    zero = np.zeros(1500)
    energy = np.where(s > 0, 2 * kT, 0.0)
    return mdi.bias.Trace(
        ("x",), (None,), 300.0, zero.astype(int), steps, steps * 0.002, s[:, None], energy, zero, zero
    )


def test_a_biased_run_makes_a_report(trace, tmp_path):
    dF = mdi.bias.free_energy_difference(trace, A, B)
    settled = mdi.bias.convergence(trace, A, B)
    surface = mdi.bias.free_energy_surface(trace, bins=20)
    text = mdi.report.write(tmp_path / "bias.html", trace, dF, settled, surface).read_text()
    for heading in (
        "Biased run",
        "Free energy difference",
        "How the free energy difference settled",
        "Free energy at 300 K",
    ):
        assert f"<h2>{heading}</h2>" in text
    assert f"<td>{dF}</td>" in text and f"<td>{settled.halves[0]}</td>" in text
    assert f"{dF.events[0]}, {dF.events[1]}" in text
    assert text.count("<img ") == 4  # coordinate, bias, convergence, surface
    for verdict in (*settled.verdicts(), *surface.verdicts()):
        assert verdict.says in text


def test_what_does_not_hold_is_said_once_at_the_top(trace, tmp_path):
    once = trace.replace(s=np.where(np.arange(1500) < 900, -1.0, 1.0)[:, None])
    settled = mdi.bias.convergence(once, A, B, discard=0.0)
    failing = [v for v in settled.verdicts() if not v.holds]
    assert {v.subject for v in failing} >= {"transitions", "interval"}
    text = mdi.report.write(tmp_path / "bias.html", settled.difference, settled).read_text()
    top = text.split("<h2>Free energy difference</h2>")[0]
    assert f"{len(failing)} of the checks below do not hold" in top
    for verdict in failing:
        assert top.count(verdict.says) == 1


def test_windows_put_together_are_a_table_and_their_overlap(tmp_path):
    rng = seeds.generator(5, "windows")
    x = np.concatenate([rng.normal(centre, 0.5, 300) for centre in (0.0, 0.5, 1.0)])
    energies = np.array([2 * kT * (x - centre) ** 2 for centre in (0.0, 0.5, 1.0)])
    found = mdi.bias.mbar(energies, counts=[300, 300, 300], temperature=300)
    text = mdi.report.write(tmp_path / "r.html", found).read_text()
    for i, free in enumerate(found.free_energies):
        assert f"<tr><td>{i}</td><td>300</td><td>{free:.3g}</td></tr>" in text
    assert text.count("<img ") == 1 and "3 states share their frames" in text


def test_a_frozen_bias_names_its_coordinate_and_potentials(ala2, tmp_path):
    coordinate = mdi.bias.Coordinate.of(mdi.features.Torsions("phi", raw=True), ala2[0].topology)
    potentials = (mdi.bias.Metadynamics(height=2.0, sigma=0.3), mdi.bias.Umbrella(0.5, 1.0))
    states = start_all(potentials, 300.0, coordinate.periods, names=coordinate.names)
    states[0].deposit(np.zeros(1))
    model = mdi.bias.BiasModel(coordinate, potentials, 300.0, tuple(state.arrays() for state in states))
    text = mdi.report.write(tmp_path / "r.html", model).read_text()
    assert coordinate.names[0] in text and "Metadynamics(" in text and "Umbrella(" in text
    assert text.count("<img ") == 1
    walls = mdi.bias.BiasModel(coordinate, potentials[1:], 300.0, ({},))
    assert mdi.report.write(tmp_path / "r.html", walls).read_text().count("<img ") == 0
