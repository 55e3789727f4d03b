"""A coordinate inside MD is the one of the analysis: same numbers, right gradients, refused where it has none."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mdinsight import cvs
from mdinsight.bias._coordinate import Coordinate
from mdinsight.bias._program import Program, PythonProgram
from mdinsight.errors import DegenerateError, GradientError, ModelFileError, ParameterError, TopologyError
from mdinsight.features import (
    RMSD,
    SASA,
    Angles,
    Contacts,
    Distances,
    Function,
    Positions,
    RadiusOfGyration,
    Torsions,
)

ACTIVATIONS = ("identity", "tanh", "elu", "silu", "softmax", "relu", "leaky_relu", "softplus", "sigmoid", "gelu")

KINDS = {
    "torsions": lambda frame: Torsions("phi psi"),
    "raw torsions": lambda frame: Torsions("phi psi", raw=True),
    "distances": lambda frame: Distances("not symbol H and not water").select("*CA*"),
    "angles": lambda frame: Angles([[4, 6, 8], [0, 4, 21]]),
    "contacts": lambda frame: Contacts([[0, 1], [1, 2], [0, 2]]),
    "residue distances": lambda frame: Contacts([[0, 1], [0, 2]], kind="distance", soft_min=True),
    "rmsd": lambda frame: RMSD(frame, "element C and not water"),
    "positions": lambda frame: Positions(frame, "element C and not water"),
    "rg": lambda frame: RadiusOfGyration("not water"),
    "union": lambda frame: Distances("element O and not water") + Torsions("psi") + RadiusOfGyration("not water"),
}


def network(features, topology, activation="tanh", dim=2, seed=1):
    """A small random network on the features."""
    rng = np.random.default_rng(seed)
    n = len(features.columns(topology))
    widths = (n, 7, 5, dim)
    weights = [rng.normal(size=(a, b)) / np.sqrt(a) for a, b in pairwise(widths)]
    biases = [rng.normal(size=b) * 0.3 for b in widths[1:]]
    return cvs.from_layers(
        features,
        weights,
        biases,
        [activation, activation, "identity"],
        topology=topology,
        shift=rng.normal(size=n) * 0.1,
        scale=rng.uniform(0.5, 1.5, n),
    )


def linear(features, topology, dim=2, seed=2):
    rng = np.random.default_rng(seed)
    n = len(features.columns(topology))
    return cvs.from_linear(features, rng.normal(size=(n, dim)), rng.normal(size=n), topology=topology)


def differences(bound, xyz, cotangent, box, atoms, step=1e-5):
    grad = np.zeros((len(atoms), 3))
    for row, atom in enumerate(atoms):
        for c in range(3):
            up, down = xyz.copy(), xyz.copy()
            up[atom, c] += step
            down[atom, c] -= step
            change = bound.value(up, box) - bound.value(down, box)
            for k, period in enumerate(bound.coordinate.periods):
                if period:
                    change[k] -= period * np.round(change[k] / period)
            grad[row, c] = cotangent @ change / (2 * step)
    return grad


@pytest.fixture(scope="module", params=["ala2", "ala2_water"])
def trajectories(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("wrap", [linear, network])
@pytest.mark.parametrize("kind", KINDS)
def test_value_is_that_of_the_analysis_and_gradient_its_derivative(trajectories, kind, wrap):
    frame = trajectories[0].read([3])
    topology = frame.topology
    features = KINDS[kind](trajectories[0].read([0]))  # another frame: at distance zero an RMSD has a kink
    if kind == "raw torsions":
        coordinate = Coordinate.of(features, topology)
    else:
        coordinate = Coordinate.of(wrap(features, topology), topology)
    bound = coordinate.bind(topology)
    assert isinstance(bound._program, Program)
    xyz = frame.xyz[0].astype(np.float64)
    box = None if frame.unitcell_vectors is None else frame.unitcell_vectors[0].astype(np.float64)
    analysed = coordinate.transform(trajectories[:1])[0][3]
    assert bound.value(xyz, box) == pytest.approx(analysed, rel=1e-5, abs=2e-6)
    cotangent = np.array([0.7, -1.3])
    grad = bound.vjp(xyz, cotangent, box)
    chosen = bound.atoms[:: max(1, len(bound.atoms) // 5)]
    numerical = differences(bound, xyz, cotangent, box, chosen)
    assert grad[chosen] == pytest.approx(numerical, rel=1e-5, abs=1e-6 * np.abs(numerical).max())
    others = np.setdiff1d(np.arange(topology.n_atoms), bound.atoms)
    assert not grad[others].any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_the_same_inside_md(ala2, activation):
    frame = ala2[0].read([0])
    features = Distances("element C") + Torsions("phi psi")
    model = network(features, frame.topology, activation)
    x = features.bind(frame.topology).value(frame.xyz[0].astype(np.float64))
    value, by_columns = model.value_and_vjp(x, np.array([1.0, -2.0]))
    bound = Coordinate.of(model).bind(frame.topology)
    assert bound.value(frame.xyz[0]) == pytest.approx(value, rel=1e-12)
    expected = features.bind(frame.topology).vjp(frame.xyz[0].astype(np.float64), by_columns)
    assert bound.vjp(frame.xyz[0], [1.0, -2.0]) == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_columns_in_another_order_than_their_features(ala2):
    """A model whose columns stand in another order (common columns of several topologies) is computed in its own order."""
    frame = ala2[0].read([0])
    features = Torsions("phi psi") + Distances("element O")
    columns = features.columns(frame.topology)
    shuffled = [columns[i] for i in (3, 0, 4, 2, 1)]
    rng = np.random.default_rng(0)
    matrix, mean = rng.normal(size=(5, 1)), rng.normal(size=5)
    model = cvs.from_linear(features, matrix, mean, topology=frame.topology)
    moved = model.replace(columns=tuple(shuffled), features=features.fixed(shuffled))
    xyz = frame.xyz[0].astype(np.float64)
    x = features.bind(frame.topology).value(xyz)[[3, 0, 4, 2, 1]]
    bound = Coordinate.of(moved).bind(frame.topology)
    assert bound.value(xyz) == pytest.approx((x - mean) @ matrix, rel=1e-12)
    assert bound.vjp(xyz, [1.0])[bound.atoms] == pytest.approx(
        differences(bound, xyz, np.ones(1), None, bound.atoms), rel=1e-5, abs=1e-6
    )


def test_several_coordinates_of_different_kinds(ala2):
    frame = ala2[0].read([5])
    top, xyz = frame.topology, frame.xyz[0].astype(np.float64)
    one, two = linear(Torsions("phi psi"), top, 1), network(Distances("element C"), top, dim=1)
    raw = Torsions("phi", raw=True)
    together = Coordinate.of([one, raw, two], top)
    assert together.names[0] == one.get_feature_names_out()[0]
    assert together.periods == (None, pytest.approx(2 * np.pi), None)
    apart = [Coordinate.of(thing, top).bind(top).value(xyz)[0] for thing in (one, raw, two)]
    assert together.bind(top).value(xyz) == pytest.approx(apart, rel=1e-14)
    assert together.transform(ala2[:1])[0][5] == pytest.approx(apart, rel=1e-5, abs=1e-6)


def test_a_function_of_the_user_runs_beside_compiled_kinds(ala2):
    frame = ala2[0].read([0])
    top, xyz = frame.topology, frame.xyz[0].astype(np.float64)

    def height(frames):
        return frames.xyz[:, 8, 2] ** 2

    def slope(frame, cotangent):
        out = np.zeros((frame.n_atoms, 3))
        out[8, 2] = 2 * frame.xyz[0, 8, 2] * cotangent[0]
        return out

    features = Function(height, "height", gradient=slope) + Torsions("phi")
    bound = Coordinate.of(linear(features, top)).bind(top)
    assert isinstance(bound._program, PythonProgram)
    grad = bound.vjp(xyz, [1.0, 0.5])
    numerical = differences(bound, xyz, np.array([1.0, 0.5]), None, bound.atoms[:9], step=1e-3)
    assert grad[bound.atoms[:9]] == pytest.approx(numerical, rel=1e-3, abs=2e-3)


def test_learned_on_the_solute_bound_in_solvent(ala2, ala2_water):
    """The same coordinate, hash included, whether or not there is water."""
    model = linear(Torsions("phi psi"), ala2[0].topology)
    dry, wet = Coordinate.of(model), Coordinate.of(model, ala2_water[0].topology)
    assert dry.hash == wet.hash
    assert Coordinate.of(Torsions("phi", raw=True), ala2[0].topology).hash == (
        Coordinate.of(Torsions("phi", raw=True), ala2_water[0].topology).hash
    )
    wet.bind(ala2_water[0].topology)


def test_saved_and_loaded(ala2, tmp_path):
    coordinate = Coordinate.of(
        [linear(Torsions("phi psi"), ala2[0].topology, 1), Torsions("phi", raw=True)], ala2[0].topology
    )
    coordinate.save(tmp_path / "coordinate.mdi")
    assert Coordinate.load(tmp_path / "coordinate.mdi").hash == coordinate.hash
    (tmp_path / "torn.mdi").write_bytes((tmp_path / "coordinate.mdi").read_bytes()[:-40])
    with pytest.raises(ModelFileError):
        Coordinate.load(tmp_path / "torn.mdi")


class TestRefused:
    def test_no_gradient(self, ala2):
        with pytest.raises(GradientError, match=r"SASA.*no gradient"):
            Coordinate.of(SASA(), ala2[0].topology)
        with pytest.raises(GradientError, match="kind='smooth'"):
            Coordinate.of(Torsions("phi", raw=True) + Contacts([[0, 1]], kind="hard"), ala2[0].topology)

    def test_fitted_on_one_without_gradient(self, ala2):
        X = (Torsions("phi psi") + SASA()).transform(ala2[:2])
        with pytest.raises(GradientError, match="SASA"):
            Coordinate.of(cvs.PCA(dim=1).fit(X).model)

    def test_fitted_on_arrays(self):
        model = cvs.PCA(dim=1).fit(np.random.default_rng(0).normal(size=(100, 3))).model
        with pytest.raises(ParameterError, match="fitted on plain arrays"):
            Coordinate.of(model)

    def test_a_mixture_of_angles_that_jump(self, ala2):
        X = Torsions("phi psi", raw=True).transform(ala2[:1])
        with pytest.raises(ParameterError, match="sine and cosine"):
            Coordinate.of(cvs.PCA(dim=1).fit(X).model)

    def test_constant(self, ala2):
        top = ala2[0].topology
        with pytest.raises(DegenerateError, match="same for every frame"):
            Coordinate.of(cvs.from_linear(Torsions("phi"), np.array([[1.0, 0.0], [2.0, 0.0]]), topology=top))

    def test_too_many(self, ala2):
        with pytest.raises(ParameterError, match="has 9 numbers"):
            Coordinate.of(Distances("element C").select("*CH3*", "*CB*"), ala2[0].topology)

    def test_nothing_of_the_kind(self):
        with pytest.raises(ParameterError, match="ndarray is no coordinate"):
            Coordinate.of(np.zeros(3))

    def test_features_alone_need_a_topology(self):
        with pytest.raises(ParameterError, match="topology="):
            Coordinate.of(Torsions("phi", raw=True))

    def test_another_molecule(self, ala2, ala3):
        model = linear(Torsions("phi psi"), ala3[0].topology)
        with pytest.raises(TopologyError, match="lacks 8 of the 12 columns"):
            Coordinate.of(model).bind(ala2[0].topology)

    def test_a_mutant(self, ala2):
        model = linear(Torsions("phi psi"), ala2[0].topology)
        mutant = ala2[0].topology.copy()
        mutant.residue(1).name = "SER"
        with pytest.raises(TopologyError, match=r"'cos phi ALA2' there is 'cos phi SER2' here"):
            Coordinate.of(model).bind(mutant)

    def test_wrong_shape(self, ala2):
        bound = Coordinate.of(Torsions("phi", raw=True), ala2[0].topology).bind(ala2[0].topology)
        with pytest.raises(ParameterError, match=r"needs \(22, 3\)"):
            bound.value(np.zeros((21, 3)))


def test_triclinic_box_and_a_molecule_across_its_edge(ala2_water):
    """Moving atoms by box vectors changes neither value nor gradient."""
    frame = ala2_water[0].read([0])
    xyz = frame.xyz[0].astype(np.float64)
    box = np.array([[1.9, 0.0, 0.0], [0.5, 1.8, 0.0], [-0.4, 0.6, 1.7]])
    bound = Coordinate.of(network(KINDS["union"](frame), frame.topology)).bind(frame.topology)
    moved = xyz + np.random.default_rng(0).integers(-2, 3, (len(xyz), 3)) @ box
    assert bound.value(moved, box) == pytest.approx(bound.value(xyz, box), rel=1e-10)
    assert bound.vjp(moved, [1, 2], box) == pytest.approx(bound.vjp(xyz, [1, 2], box), rel=1e-8, abs=1e-9)


def test_names_told_apart(ala2):
    top = ala2[0].topology
    twice = Coordinate.of([linear(Torsions("phi"), top, 1), linear(Torsions("psi"), top, 1)])
    assert len(set(twice.names)) == 2
