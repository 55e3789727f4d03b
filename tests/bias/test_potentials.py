"""What all potentials have in common: slopes, NaN, saved states, walkers, frozen ones; umbrellas and walls."""

import math

import numpy as np
import pytest
from openmm import unit

import mdinsight as mdi
from mdinsight.bias import (
    OPES,
    BiasModel,
    Coordinate,
    Fixed,
    LowerWall,
    Metadynamics,
    Umbrella,
    UpperWall,
    umbrella_windows,
)
from mdinsight.bias._live import FARTHEST
from mdinsight.bias._states import arrays_of, restore, restore_all, start, start_all
from mdinsight.errors import BiasError, DegenerateError, NonFiniteError, ParameterError

P = 2 * math.pi
SPACES = [(None,), (P,), (None, P), (P, P), (P, None, P), (None, P, None, P)]
ADAPTIVE = [
    Metadynamics(height=2.0, sigma=0.7, pace=1),
    OPES(40.0, sigma=0.7, pace=1),
    OPES(40.0, sigma=0.4, pace=1, explore=True),
]


def grown(definition, periods, n=30, seed=0):
    state = start(definition, 300.0, periods)
    rng = np.random.default_rng(seed)
    for _ in range(n):
        state.deposit(rng.uniform(-2.5, 2.5, len(periods)))
    return state


def by_differences(state, points, h=1e-6):
    columns = []
    for shift in h * np.eye(points.shape[1]):
        columns.append((state.energies(points + shift) - state.energies(points - shift)) / (2 * h))
    return np.column_stack(columns)


@pytest.mark.parametrize("periods", SPACES, ids=lambda p: "".join("p" if x else "f" for x in p))
@pytest.mark.parametrize("definition", ADAPTIVE, ids=["metadynamics", "opes", "explore"])
def test_slopes_are_the_derivatives_of_the_energy(definition, periods):
    state = grown(definition.replace(sigma=1.2) if len(periods) == 4 else definition, periods, n=12)
    points = np.random.default_rng(1).uniform(-4, 4, (200, len(periods)))
    slopes = state.slopes(points)
    assert np.abs(slopes).max() > 0.1
    np.testing.assert_allclose(slopes, by_differences(state, points), atol=2e-7 * np.abs(slopes).max() + 1e-7)


@pytest.mark.parametrize("kind", [Umbrella, LowerWall, UpperWall])
def test_restraints_are_harmonic_on_their_side(kind):
    state = start(kind(at=(0.5, -1.0), kappa=(10.0, 20.0)), 300.0, (None, None))
    points = np.random.default_rng(0).uniform(-3, 3, (100, 2))
    d = points - [0.5, -1.0]
    d = {Umbrella: d, LowerWall: np.minimum(d, 0), UpperWall: np.maximum(d, 0)}[kind]
    np.testing.assert_allclose(state.energies(points), 5 * d[:, 0] ** 2 + 10 * d[:, 1] ** 2, rtol=1e-14)
    np.testing.assert_allclose(state.slopes(points), d * [10.0, 20.0], rtol=1e-14)


def test_an_umbrella_on_a_circle_pulls_to_the_nearest_image():
    state = start(Umbrella(at=3.0, kappa=2.0), 300.0, (P,))
    d = P - 6.0
    assert state.energy(np.array([-3.0])) == pytest.approx(d * d, abs=1e-12)
    assert state.slopes(np.array([[-3.0]]))[0, 0] == pytest.approx(2.0 * d, abs=1e-12)


def test_a_wall_on_a_circle_is_refused():
    with pytest.raises(ParameterError, match="UpperWall on phi: it is periodic"):
        start(UpperWall(at=1.0, kappa=10.0), 300.0, (P,), names=("phi",))


def test_windows_stand_evenly():
    windows = umbrella_windows(-1.0, 1.0, 5, "10 kcal/mol", on=1)
    assert [w.at for w in windows] == [(-1.0,), (-0.5,), (0.0,), (0.5,), (1.0,)]
    assert {w.kappa for w in windows} == {(41.84,)} and {w.on for w in windows} == {(1,)}
    assert umbrella_windows((0, 1), (2, 5), 3, 1.0)[1].at == (1.0, 3.0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: OPES(0.0), "barrier=0 kJ/mol is not positive"),
        (lambda: OPES("40 ps"), "is not an energy"),
        (lambda: OPES(40.0, pace=0), "pace=0"),
        (lambda: OPES(40.0, pace=1.5), "pace=1.5"),
        (lambda: OPES(40.0, sigma=(0.1, -0.1)), "sigma=.* is not positive"),
        (lambda: OPES(40.0, biasfactor=1.0), "biasfactor=1.0 is not above 1"),
        (lambda: OPES(40.0, biasfactor=math.inf), "does not go with measured widths"),
        (lambda: OPES(40.0, biasfactor=math.inf, sigma=0.1, explore=True), "does not go with explore"),
        (lambda: OPES(40.0, on=(0, 0)), "does not name coordinates"),
        (lambda: OPES(np.array([40.0, 50.0])), "barrier=.* is not an energy"),
        (lambda: OPES(40.0, biasfactor=True), "biasfactor=True is not above 1"),
        (lambda: OPES(40.0, biasfactor=math.nan), "biasfactor=nan is not above 1"),
        (lambda: OPES(40.0, explore="no"), "explore='no' is neither True nor False"),
        (lambda: OPES(40.0, on=1.5), "on=1.5 does not name coordinates"),
        (lambda: OPES(40.0, on=True), "on=True does not name coordinates"),
        (lambda: OPES(40.0, on=((0,), 1)), "does not name coordinates"),
        (lambda: Metadynamics(sigma="12"), "sigma='12' is no number"),
        (lambda: Metadynamics(sigma=True), "sigma=True is no number"),
        (lambda: Umbrella(at=((0.0,), 1.0), kappa=1.0), "Umbrella.at=.* is no number"),
        (lambda: Umbrella(at=3 * unit.kelvin, kappa=1.0), "Umbrella.at=3 K is not in rad or nm"),
        (lambda: Umbrella(at=0.0, kappa=3 * unit.nanometer), "Umbrella.kappa=3 nm is not in kJ/mol over rad"),
        (lambda: start(Metadynamics(sigma=7.0), 300.0, (P,), names=("phi",)), "a width of 7 is flat on phi"),
        (lambda: start(OPES(40.0, sigma=1e9), 300.0, (P,), names=("phi",)), r"a width of 1e\+09 is flat on phi"),
        (lambda: Metadynamics(height=-1.0), "height=-1 kJ/mol is not positive"),
        (lambda: Metadynamics(sigma=math.nan), "sigma=nan is no number"),
        (lambda: Umbrella(at=0.0, kappa=0.0), "kappa=0.0 is not positive"),
        (lambda: Umbrella(at=(0.0, 1.0), kappa=(1.0, 1.0, 1.0)), "at has 2 numbers and kappa 3"),
        (lambda: umbrella_windows(0, 1, 1, 1.0), "n=1 is no number of windows"),
        (lambda: Fixed("bias.mdi"), "Fixed takes a BiasModel"),
        (lambda: start(OPES(2.0), 300.0, (None,)), "barrier=2 kJ/mol is no more than kT=2.49"),
        (lambda: start(OPES(40.0), -300.0, (None,)), "temperature=-300"),
        (lambda: start(OPES(40.0, sigma=(0.1, 0.1)), 300.0, (None,)), "2 widths for 1 coordinates"),
        (lambda: start(OPES(40.0), 300.0, (None,) * 5), "give 1 to 4"),
        (
            lambda: start_all([OPES(40.0, on=2)], 300.0, (None, None), names=("a", "b")),
            r"coordinates are 0 to 1 \(a, b\)",
        ),
    ],
)
def test_bad_parameters_are_named(make, says):
    with pytest.raises(ParameterError, match=says):
        make()


def test_definitions_are_records():
    assert OPES("40 kJ/mol") == OPES(40.0) and OPES("40 kJ/mol").hash == OPES(40.0).hash
    assert OPES("10 kcal/mol").barrier == pytest.approx(41.84)
    assert Metadynamics(biasfactor=None) == Metadynamics(biasfactor=math.inf)
    assert OPES(40.0, biasfactor=np.int64(10)) == OPES(40.0, biasfactor=np.float32(10)) == OPES(40.0, biasfactor=10.0)
    assert OPES(40.0, on=np.array([0, 1])).on == (0, 1)
    assert OPES(40.0, on=1).on == (1,) and OPES(40.0) != OPES(40.0, explore=True)


def test_quantities_are_taken_in_their_units():
    kcal = 1.0 * unit.kilocalories_per_mole
    assert Metadynamics(sigma=0.3 * unit.radian) == Metadynamics(sigma=0.3)
    assert OPES(40.0, sigma=(90 * unit.degree, 0.1)).sigma == pytest.approx((math.pi / 2, 0.1))
    mixed = Umbrella(at=(90 * unit.degree, 2 * unit.angstrom), kappa=(kcal / unit.radian**2, kcal / unit.angstrom**2))
    assert mixed.at == pytest.approx((math.pi / 2, 0.2)) and mixed.kappa == pytest.approx((4.184, 418.4))
    assert Umbrella(at=[1.0, 2.0] * unit.angstrom, kappa=10 * kcal).at == pytest.approx((0.1, 0.2))


@pytest.mark.parametrize("periods", [(None,), (P, None)])
@pytest.mark.parametrize("definition", [d.replace(sigma=None, pace=20) for d in ADAPTIVE])
def test_a_restored_state_goes_on_bit_for_bit(definition, periods):
    rng = np.random.default_rng(3)
    dim = len(periods)

    def go_on(state, walk):
        for number, s in enumerate(walk, 1):
            state.observe(s)
            if number % 2 == 0:
                state.deposit(s)

    walk = np.cumsum(rng.normal(0, 0.2, (900, dim)), axis=0)
    for cut in (50, 400):  # while the widths are measured, and after
        one = start(definition, 300.0, periods)
        go_on(one, walk[:cut])
        two = restore(definition, 300.0, periods, one.arrays())
        go_on(one, walk[cut:])
        go_on(two, walk[cut:])
        assert one.n_deposits == two.n_deposits > 300
        for name, array in one.arrays().items():
            assert array.tobytes() == two.arrays()[name].tobytes(), name
        points = rng.uniform(-5, 5, (100, dim))
        assert one.energies(points).tobytes() == two.energies(points).tobytes()
        assert one.offset() == two.offset()


def test_a_state_of_another_potential_is_refused():
    arrays = grown(ADAPTIVE[0], (None,)).arrays()
    with pytest.raises(BiasError, match="give the potential that it was made with"):
        restore(ADAPTIVE[1], 300.0, (None,), arrays)


@pytest.mark.parametrize("definition", ADAPTIVE)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_never_enters(definition, bad):
    state = grown(definition, (None, P))
    before = {name: array.tobytes() for name, array in state.arrays().items()}
    with pytest.raises(NonFiniteError, match="coordinate 1 is"):
        state.deposit(np.array([0.0, bad]))
    with pytest.raises(NonFiniteError, match="coordinate 0 is"):
        state.deposit_many([np.zeros(2), np.array([bad, 0.0])])
    made = start(definition, 300.0, (None, P)).deposit(np.zeros(2))
    for place in range(len(made)):
        torn = made.copy()
        torn[place] = bad
        with pytest.raises(NonFiniteError, match="not applied"):
            state.apply(torn)
    with pytest.raises(BiasError, match="it has 5 numbers"):
        state.apply(made[:-1])
    assert {name: array.tobytes() for name, array in state.arrays().items()} == before
    adaptive = start(definition.replace(sigma=None), 300.0, (None, P))
    with pytest.raises(NonFiniteError):
        adaptive.observe(np.array([0.0, bad]))
    assert not any(array.any() for array in adaptive.arrays()["widths"])


@pytest.mark.parametrize("definition", ADAPTIVE)
def test_energy_at_nan_is_nan(definition):
    state = grown(definition, (None, P))
    assert np.isnan(state.energies(np.array([[np.nan, 0.0], [0.0, np.nan]]))).all()
    assert np.isnan(state.slopes(np.array([[0.0, np.nan]]))).all()


@pytest.mark.parametrize("definition", ADAPTIVE)
def test_walkers_that_apply_the_same_deposits_have_the_same_bias(definition):
    rng = np.random.default_rng(5)
    one, two = start(definition, 300.0, (None, P)), start(definition, 300.0, (None, P))
    for _ in range(50):
        two.apply(one.deposit(rng.uniform(-2, 2, 2)))
    points = rng.uniform(-3, 3, (50, 2))
    assert one.energies(points).tobytes() == two.energies(points).tobytes()


@pytest.mark.parametrize("definition", ADAPTIVE)
def test_walkers_at_one_moment_deposit_from_the_same_bias(definition):
    state, alone = grown(definition, (None,), n=5), grown(definition, (None,), n=5)
    made = state.deposit_many([np.zeros(1), np.zeros(1), np.ones(1)])
    assert state.n_deposits == 8
    assert made[0].tobytes() == made[1].tobytes() == alone.deposit(np.zeros(1)).tobytes()


@pytest.mark.parametrize("definition", [d.replace(sigma=None, pace=20) for d in ADAPTIVE])
def test_each_walker_measures_its_own_width(definition):
    state = start(definition, 300.0, (None,))
    rng = np.random.default_rng(0)
    window = 200 // state.observe_every  # ten paces
    for number in range(1, window + 1):
        for walker, (place, width) in enumerate([(0.0, 0.1), (10.0, 0.2)]):
            state.observe(np.array([place + rng.normal(0, width)]), walker)
        made = state.deposit_many([np.zeros(1), np.full(1, 10.0)])
        assert [len(m) for m in made] == ([3, 3] if number == window else [0, 0])
    assert made[1][1] / made[0][1] == pytest.approx(2.0, rel=0.5)  # not 5, the distance between the walkers
    assert made[0][1] < 0.2 * math.sqrt(16.04)


@pytest.mark.parametrize("definition", [d.replace(sigma=None, pace=20) for d in ADAPTIVE])
def test_a_constant_coordinate_is_named(definition):
    state = start(definition, 300.0, (None, P), names=("distance", "psi"))
    rng = np.random.default_rng(0)
    for _ in range(200 // state.observe_every):
        state.observe(np.array([rng.normal(), 1.25 + 1e-8 * rng.normal()]))
    with pytest.raises(DegenerateError, match=r"psi is constant: it stayed at 1.25 .* leave it out"):
        state.deposit(np.array([0.0, 1.25]))


@pytest.mark.parametrize("definition", ADAPTIVE[:2])
def test_energy_is_constant_outside_of_the_span(definition):
    state = grown(definition, (None, P))
    low, high = state.span()
    assert low[1] == -math.pi and high[1] == math.pi
    points = np.array([[low[0] - 1e-6, 0.0], [high[0] + 1e-6, 1.0], [1e6, 0.0]])
    np.testing.assert_allclose(state.energies(points), state.outside, atol=1e-10)
    assert not state.slopes(points).any()
    assert (state.widths() > 0).all() and (state.widths() <= 0.7).all()


def test_a_fixed_bias_is_evaluated_on_its_axes_and_not_changed(ala2):
    coordinate = Coordinate.of(mdi.features.Torsions("phi psi", raw=True), ala2[0].topology)
    potentials = (OPES(40.0, sigma=0.3, on=1), Umbrella(at=0.0, kappa=3.0, on=0))
    states = start_all(potentials, 300.0, coordinate.periods)
    rng = np.random.default_rng(0)
    for _ in range(20):
        states[0].deposit(rng.uniform(-3, 3, 1))
    model = BiasModel(coordinate, potentials, 300.0, arrays_of(potentials, states))
    points = rng.uniform(-3, 3, (50, 2))
    expected = states[0].energies(points[:, 1:]) + 1.5 * points[:, 0] ** 2
    np.testing.assert_allclose(model.potential(points), expected, rtol=1e-13)

    outer = (Fixed(model), Metadynamics(sigma=0.3))
    live = start_all(outer, 310.0, coordinate.periods)
    assert [(s.source, s.frozen, s.axes, s.pace) for s in live] == [
        (0, True, (1,), None),
        (0, True, (0,), None),
        (1, False, (0, 1), 500),
    ]
    np.testing.assert_allclose(sum(s.energies(points[:, list(s.axes)]) for s in live[:2]), expected, rtol=1e-13)
    with pytest.raises(BiasError, match="frozen OPES"):
        live[0].deposit(np.zeros(1))
    live[2].deposit(np.zeros(2))
    again = restore_all(outer, 310.0, coordinate.periods, arrays_of(outer, live))
    np.testing.assert_array_equal(again[2].energies(points), live[2].energies(points))
    np.testing.assert_array_equal(again[0].energies(points[:, 1:]), live[0].energies(points[:, 1:]))


def held(state):
    """Copies of what the compiled step reads, and what it reads."""
    return state.header, state.data, state.header.tobytes(), state.data.tobytes()


@pytest.mark.parametrize("definition", ADAPTIVE)
def test_who_holds_the_arrays_from_before_they_grew_has_the_potential_as_it_was(definition):
    state = start(definition.replace(sigma=0.1), 300.0, (None, P))
    rng = np.random.default_rng(0)
    replaced = 0
    for number in range(150):
        header, data, was_header, was_data = held(state)
        state.deposit(np.array([0.5 * number, rng.uniform(-3, 3)]))
        if state.data is not data:
            replaced += 1
            assert state.header is not header
            assert (header.tobytes(), data.tobytes()) == (was_header, was_data)
    assert replaced > 1


@pytest.mark.parametrize("definition", ADAPTIVE)
def test_deposits_of_a_moment_are_prepared_and_then_cannot_fail(definition, monkeypatch):
    one, two = grown(definition, (None, P)), grown(definition, (None, P))
    points = [np.array([20.0 * n, 1.0]) for n in range(100)]
    where = np.random.default_rng(2).uniform(-4, 4, (200, 2))
    before = one.energies(where).tobytes(), one.n_deposits, one.offset()
    prepared = one.prepare_many(points)
    assert (one.energies(where).tobytes(), one.n_deposits, one.offset()) == before
    ready = one.header, one.data
    for deposit in prepared:
        one.apply(deposit)
    assert (one.header is ready[0]) and (one.data is ready[1])  # the room was made before
    made = two.deposit_many(points)
    assert [m.tobytes() for m in made] == [m.tobytes() for m in prepared]
    for name, array in one.arrays().items():
        assert array.tobytes() == two.arrays()[name].tobytes(), name


@pytest.mark.parametrize("definition", ADAPTIVE)
def test_of_the_deposits_of_a_moment_all_are_made_or_none(definition):
    state = grown(definition, (None, P))
    kept = held(state)
    before = {name: array.tobytes() for name, array in state.arrays().items()}
    far = {"Metadynamics": (ParameterError, 1e9, "use OPES"), "OPES": (BiasError, 1e13, "too far out")}
    error, value, says = far[type(definition).__name__]
    with pytest.raises(error, match=says):
        state.deposit_many([np.array([50.0, 0.0]), np.array([value, 0.0])])
    assert {name: array.tobytes() for name, array in state.arrays().items()} == before
    assert state.header is kept[0] and state.data is kept[1] and held(state)[2:] == kept[2:]


@pytest.mark.parametrize("period", [None, P])
@pytest.mark.parametrize("definition", ADAPTIVE)
def test_a_coordinate_too_far_out_is_named(definition, period):
    state = start(definition, 300.0, (period,), names=("distance",))
    made = state.deposit(np.zeros(1))
    before = {name: array.tobytes() for name, array in state.arrays().items()}
    for value in (1e13, -3e16, 1e18, 1e200, 1.7e308):
        with pytest.raises(BiasError, match=r"distance is .* too far out .* a wall, bias another coordinate"):
            state.deposit(np.array([value]))
        with pytest.raises(BiasError, match=r"distance is .* too far out"):
            state.apply(np.array([value, *made[1:]]))
    assert {name: array.tobytes() for name, array in state.arrays().items()} == before
    energies = state.energies(np.array([[1e13], [-3e16], [1e18], [1e200], [1e308], [-np.inf]]))
    assert np.isfinite(energies[:3]).all()  # in bounds, whatever place on a circle that is


@pytest.mark.parametrize("definition", ADAPTIVE)
def test_just_not_too_far_out_a_deposit_is_where_it_should_be(definition):
    sigma = 0.5  # whole multiples of its half are floats even there
    center = np.array([0.9 * FARTHEST * sigma // 1])
    state, near = (start(definition.replace(sigma=sigma), 300.0, (None,)) for _ in range(2))
    state.deposit(center)
    near.deposit(np.zeros(1))
    shifts = np.linspace(-3, 3, 25)[:, None]
    np.testing.assert_allclose(state.energies(center + shifts), near.energies(shifts), atol=2e-3 * 40)
