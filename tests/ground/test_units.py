import pytest
from hypothesis import given
from hypothesis import strategies as st
from openmm import unit

from mdinsight import units
from mdinsight.errors import LagError, ParameterError


@pytest.mark.parametrize(
    ("value", "ps"),
    [
        ("10 ns", 1e4),
        ("10ns", 1e4),
        ("2.5e-1 us", 2.5e5),
        (" 4 fs ", 4e-3),
        ("1 µs", 1e6),
        (7, 7.0),
        (1.5 * unit.nanosecond, 1500.0),
    ],
)
def test_a_time_in_ps(value, ps):
    assert units.time(value) == pytest.approx(ps, rel=1e-15)


def test_lengths_energies_temperatures():
    assert units.length("8 A") == pytest.approx(0.8)
    assert units.length(3 * unit.angstrom) == pytest.approx(0.3)
    assert units.energy("1 kcal/mol") == 4.184
    assert units.temperature(300 * unit.kelvin) == 300.0


@pytest.mark.parametrize("value", ["10 m", "ns", "", "ten ps", "10 nm", None, True, [1], 3 * unit.kelvin])
def test_what_is_no_time_is_refused_with_its_name(value):
    with pytest.raises(ParameterError, match="lag"):
        units.time(value, "lag")


@pytest.mark.parametrize("value", [0, -1.0, "-5 K"])
def test_a_temperature_is_positive(value):
    with pytest.raises(ParameterError, match="positive"):
        units.temperature(value)


@given(st.integers(1, 10_000), st.sampled_from([0.002, 0.1, 1.0, 2.0, 7.5, 50.0]))
def test_a_lag_in_time_is_the_lag_in_frames(frames, dt):
    assert units.lag_frames(f"{frames * dt:.12g} ps", dt) == frames
    assert units.lag_frames(frames, dt) == frames


@pytest.mark.parametrize(
    ("lag", "dt", "says"),
    [
        ("3 ps", 2.0, "no multiple"),
        ("1 ps", 2.0, "nearest is 2 ps"),
        (0, 2.0, "positive"),
        (-3, None, "positive"),
        (2.0, 2.0, "frames or ps"),
        ("4 ps", None, "no time step"),
    ],
)
def test_a_lag_that_does_not_fit_says_why(lag, dt, says):
    with pytest.raises(LagError, match=says):
        units.lag_frames(lag, dt)


@pytest.mark.parametrize(
    ("ps", "text"),
    [(1500.0, "1.5 ns"), (0.002, "2 fs"), (999.99, "1 ns"), (2e6, "2 us"), (0.0, "0 ps"), (12.345, "12.3 ps")],
)
def test_a_time_is_written_in_the_unit_that_reads_best(ps, text):
    assert units.format_time(ps) == text
