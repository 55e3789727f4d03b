"""The PLUMED input says the same numbers: its lines are evaluated by what PLUMED's manual and source define them to be."""

from __future__ import annotations

import math
import re

import mdtraj
import numpy as np
import pytest
import torch

from mdinsight import cvs
from mdinsight.bias._coordinate import Coordinate
from mdinsight.bias._definitions import OPES, Fixed, LowerWall, Metadynamics, Umbrella, UpperWall
from mdinsight.bias._model import BiasModel
from mdinsight.bias._plumed import to_plumed
from mdinsight.bias._states import arrays_of, start, start_all
from mdinsight.bias._torchscript import to_torchscript
from mdinsight.errors import BiasError, DataWarning, ParameterError
from mdinsight.features import Angles, Contacts, Distances, RadiusOfGyration, Torsions

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


def _actions(path):
    """(label, name, keywords, flags) of each action; ``...`` opens and closes those of several lines."""
    found, open_ = [], None
    for line in path.read_text().splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if open_ is not None:
            if words == ["..."]:
                found.append(open_)
                open_ = None
            else:
                open_ += words
        elif words[-1] == "...":
            open_ = words[:-1]
        else:
            found.append(words)
    assert open_ is None
    for words in found:
        label = words.pop(0)[:-1] if words[0].endswith(":") else ""
        keywords = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        yield label, words[0], keywords, [word for word in words[1:] if "=" not in word]


def _vectors(traj, pairs, periodic):
    return mdtraj.compute_displacements(traj, np.array(pairs), periodic=periodic).astype(np.float64)


def _torsion(traj, atoms, periodic):
    """As src/tools/Torsion.cpp of PLUMED: the vectors point backwards, and the sine has a minus."""
    i, j, k, l = atoms  # noqa: E741
    v1, v2, v3 = np.moveaxis(_vectors(traj, [(j, i), (k, j), (l, k)], periodic), 1, 0)
    axis = v2 / np.linalg.norm(v2, axis=1, keepdims=True)
    a, b = np.cross(axis, v1), np.cross(v3, axis)
    return np.arctan2(-np.sum(np.cross(a, b) * axis, axis=1), np.sum(a * b, axis=1))


def _angle(traj, atoms, periodic):
    i, j, k = atoms
    u, v = np.moveaxis(_vectors(traj, [(j, i), (j, k)], periodic), 1, 0)
    return np.arccos(np.sum(u * v, axis=1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1))


def _function(text, x):
    names = {"x": x, **{name: getattr(np, name) for name in ("cos", "sin", "exp", "log")}}
    return eval(text.replace("^", "**"), {"__builtins__": {}}, names)


def evaluate(path, traj):
    """Values of every label of an input for the frames of a trajectory."""
    values = {}
    for label, name, keywords, flags in _actions(path):
        args = [values[a] for a in keywords.get("ARG", "").split(",") if a in values]
        numbers = {k: np.array(v.split(","), float) for k, v in keywords.items() if re.fullmatch(r"[-+0-9.e,]+", v)}
        atoms = [int(a) - 1 for a in keywords.get("ATOMS", "").split(",") if a]
        periodic = "NOPBC" not in flags
        if name == "TORSION":
            values[label] = _torsion(traj, atoms, periodic)
        elif name == "DISTANCE":
            values[label] = np.linalg.norm(_vectors(traj, [atoms], periodic)[:, 0], axis=1)
        elif name == "ANGLE":
            values[label] = _angle(traj, atoms, periodic)
        elif name == "CUSTOM":
            assert keywords["PERIODIC"] == "NO" and len(args) == 1
            values[label] = _function(keywords["FUNC"], args[0])
        elif name == "COMBINE":
            assert keywords["PERIODIC"] == "NO" and len(args) == len(keywords["ARG"].split(","))
            n = len(args)
            c, p = numbers.get("COEFFICIENTS", np.ones(n)), numbers.get("PARAMETERS", np.zeros(n))
            assert len(c) == len(p) == n
            values[label] = sum(ci * (x - pi) for ci, x, pi in zip(c, args, p, strict=True))
        elif name == "PYTORCH_MODEL":
            module = torch.jit.load(path.parent / keywords["FILE"])
            out = module(torch.tensor(np.column_stack(args), dtype=torch.float32))
            assert out.dtype == torch.float32
            for i, column in enumerate(out.numpy().T.astype(float)):
                values[f"{label}.node-{i}"] = column
        elif name in ("RESTRAINT", "UPPER_WALLS", "LOWER_WALLS"):
            values[f"{label}.bias"] = _harmonic(name, keywords, args, numbers)
    return values


def _harmonic(name, keywords, args, numbers):
    """kappa/2 (s - a)^2 of a restraint, kappa |s - a|^2 of a wall; torsions (raw ones) to the nearest image."""
    total = 0.0
    for i, (arg, x) in enumerate(zip(keywords["ARG"].split(","), args, strict=True)):
        d = x - numbers["AT"][i]
        if arg.startswith("phi") or arg.startswith("psi"):
            d = (d + math.pi) % (2 * math.pi) - math.pi
        if name == "RESTRAINT":
            total = total + 0.5 * numbers["KAPPA"][i] * d**2
        else:
            outside = np.maximum(d if name == "UPPER_WALLS" else -d, 0.0)
            total = total + numbers["KAPPA"][i] * outside ** numbers["EXP"][i]
    return total


@pytest.fixture(scope="module")
def frames(examples):
    """Some frames of alanine dipeptide in water, moved so that the border of the box cuts the molecule."""
    top = examples / "ala2_water/top.pdb"
    traj = mdtraj.load(sorted((examples / "ala2_water").glob("*.xtc"))[0], top=top)[::8]
    lengths = traj.unitcell_lengths[:, None]
    traj.xyz = (traj.xyz - traj.xyz[:, 8:9]) % lengths
    spread = np.ptp(traj.xyz[:, :22], axis=1)
    assert (spread.max(axis=1) > 0.5 * lengths.min()).all()
    return traj


FEATURES = {
    "torsions": Torsions("phi psi"),
    "mixed": Torsions("phi psi") + Distances("resname ALA and name CA CB N C O") + Angles([[4, 6, 8], [6, 8, 14]]),
    "contacts": Contacts([[0, 2], [0, 1]]) + Contacts([[0, 2]], kind="distance", soft_min=True) + Torsions("psi"),
    "no box": Torsions("phi", periodic=False) + Distances([[4, 16], [1, 18]], periodic=False),
}


@pytest.mark.parametrize("name", FEATURES)
def test_linear_coordinate_has_the_same_values(frames, tmp_path, name):
    features = FEATURES[name]
    X = features.transform(frames, cache=False)
    model = cvs.PCA(2).fit(X).model
    path = to_plumed(model, frames.topology, folder=tmp_path)
    values = evaluate(path, frames)
    wanted = Coordinate.of(model).transform(frames)[0]
    for label, column in zip(("PC_1", "PC_2"), wanted.T, strict=True):
        # features are single precision where they are stored
        np.testing.assert_allclose(values[label], column, atol=3e-6 * max(1.0, np.abs(column).max()))
    assert values["PC_1"].std() > 1e-3
    printed = list(_actions(path))[-1]
    assert printed[1] == "PRINT" and printed[2]["ARG"] == "PC_1,PC_2" and printed[2]["FILE"] == "COLVAR"


def test_columns_without_weight_are_not_computed(frames, tmp_path):
    features = Torsions("phi psi") + Distances("resname ALA and name CA CB N")
    matrix = np.zeros((7, 1))
    matrix[[1, 5], 0] = 1.5, -2.0
    model = cvs.from_linear(features, matrix, topology=frames)
    kinds = [name for _, name, _, _ in _actions(to_plumed(model, frames.topology, folder=tmp_path))]
    assert kinds == ["TORSION", "CUSTOM", "DISTANCE", "COMBINE", "PRINT"]


def test_network_goes_through_torchscript(frames, tmp_path):
    features = Torsions("phi psi") + Distances("resname ALA and name CA CB N")
    X = features.transform(frames, cache=False)
    rng = np.random.default_rng(0)
    model = cvs.from_layers(
        X,
        [rng.normal(size=(7, 6)), rng.normal(size=(6, 2))],
        [rng.normal(size=6), np.zeros(2)],
        ["tanh", "identity"],
        names=["a", "b"],
    )
    values = evaluate(to_plumed(model, frames.topology, folder=tmp_path), frames)
    wanted = model.transform(X)[0]
    np.testing.assert_allclose(values["a"], wanted[:, 0], atol=1e-5)
    np.testing.assert_allclose(values["b"], wanted[:, 1], atol=1e-5)


@pytest.mark.parametrize("activation", cvs._network.KNOWN)
def test_torchscript_equals_the_model_in_both_precisions(tmp_path, activation):
    rng = np.random.default_rng(1)
    weights, biases = [rng.normal(size=(4, 5)), rng.normal(size=(5, 3))], [rng.normal(size=5), rng.normal(size=3)]
    model = cvs.from_layers(
        None,
        weights,
        biases,
        [activation, activation],
        shift=rng.normal(size=4),
        scale=rng.uniform(1, 3, size=4),
        head=rng.normal(size=(3, 2)),
        head_mean=rng.normal(size=3),
    )
    module = torch.jit.load(to_torchscript(model, tmp_path / "cv.ptc"))
    x = rng.normal(size=(10, 4))
    t = torch.tensor(x, requires_grad=True)
    out = module(t)
    np.testing.assert_allclose(out.detach().numpy(), model.values(x), rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad(out[3, 1], t)
    np.testing.assert_allclose(gradient[3].numpy(), model.value_and_vjp(x[3], [0.0, 1.0])[1], rtol=1e-9, atol=1e-9)
    single = module(torch.tensor(x[:1], dtype=torch.float32))
    assert single.dtype == torch.float32 and single.shape == (1, 2)
    np.testing.assert_allclose(single.numpy(), model.values(x[:1]), rtol=1e-4, atol=1e-4)


def test_linear_one_as_torchscript(tmp_path):
    rng = np.random.default_rng(2)
    model = cvs.from_linear(None, rng.normal(size=(4, 2)), rng.normal(size=4))
    module = torch.jit.load(to_torchscript(model, tmp_path / "cv.ptc"))
    x = rng.normal(size=(10, 4))
    np.testing.assert_allclose(module(torch.tensor(x)).numpy(), model.values(x), rtol=1e-12)
    with pytest.raises(ParameterError, match="cannot be written as TorchScript"):
        to_torchscript(Torsions("phi"), tmp_path / "cv.ptc")


def test_restraints_have_the_same_energy(frames, tmp_path):
    raw = Torsions("phi psi", raw=True)
    made = Coordinate.of([raw, Distances([[4, 16]])], frames.topology)
    s = made.transform(frames)[0]
    middle = float(np.median(s[:, 2]))
    bias = [
        Umbrella((3.0, -2.5), (10.0, 20.0), on=(0, 1)),
        LowerWall(middle + 0.01, "5000 kJ/mol", on=2),
        UpperWall(middle - 0.01, 3000.0, on=2),
    ]
    values = evaluate(to_plumed(made, frames.topology, bias, folder=tmp_path), frames)
    states = start_all(bias, 300.0, made.periods)
    for state, label in zip(states, ("restraint", "lower_walls", "upper_walls"), strict=True):
        energies = state.energies(np.ascontiguousarray(s[:, list(state.axes)]))
        assert energies.max() > 0.1
        assert state is states[0] or energies.min() == 0.0
        np.testing.assert_allclose(values[f"{label}.bias"], energies, rtol=1e-4, atol=1e-3)


def test_metadynamics_and_opes_in_plumeds_words(frames, tmp_path):
    raw = Torsions("phi psi", raw=True)
    bias = [
        Metadynamics("0.3 kcal/mol", sigma=0.35, biasfactor=8, pace=250),
        OPES("10 kcal/mol", pace=400, on=1),
        OPES(30.0, sigma=0.15, explore=True, biasfactor=12, on=(0,)),
        Metadynamics(1.0, sigma=(0.1, 0.2), biasfactor=None),
    ]
    path = to_plumed(raw, frames.topology, bias, temperature=310, folder=tmp_path, stride=50)
    actions = {label: (name, keywords, flags) for label, name, keywords, flags in _actions(path)}
    name, words, flags = actions["metad"]
    assert (name, flags) == ("METAD", ["CALC_RCT"])
    assert (words["ARG"], words["SIGMA"], words["PACE"]) == (
        "phi_ALA2,psi_ALA2",
        "0.34999999999999998,0.34999999999999998",
        "250",
    )
    assert (
        float(words["HEIGHT"]) == pytest.approx(0.3 * 4.184) and words["BIASFACTOR"] == "8" and words["TEMP"] == "310"
    )
    assert (words["GRID_MIN"], words["GRID_MAX"], words["FILE"]) == ("-pi,-pi", "pi,pi", "HILLS")
    name, words, flags = actions["opes"]
    assert name == "OPES_METAD" and words["ARG"] == "psi_ALA2" and float(words["BARRIER"]) == pytest.approx(41.84)
    assert words["FILE"] == "KERNELS" and not {"SIGMA", "BIASFACTOR"} & set(words)
    name, words, flags = actions["opes_2"]
    assert (name, words["ARG"], words["BIASFACTOR"], words["FILE"]) == (
        "OPES_METAD_EXPLORE",
        "phi_ALA2",
        "12",
        "KERNELS_2",
    )
    _, words, flags = actions["metad_2"]
    assert "BIASFACTOR" not in words and flags == [] and words["FILE"] == "HILLS_2"
    printed = actions[""][1]["ARG"].split(",")
    assert {"metad.bias", "metad.rct", "opes.bias", "opes.neff", "opes_2.bias", "metad_2.bias"} <= set(printed)
    assert "metad_2.rct" not in printed


def test_grid_of_a_coordinate_without_a_period_must_be_given(frames, tmp_path):
    distance = Distances([[4, 16]])
    plain = to_plumed(distance, frames.topology, Metadynamics(sigma=0.02), folder=tmp_path).read_text()
    assert "GRID_MIN=" not in plain and "costs time" in plain
    gridded = to_plumed(
        distance, frames.topology, Metadynamics(sigma=0.02), folder=tmp_path, grid=[(0.2, 1.5)]
    ).read_text()
    assert "GRID_MIN=0.20000000000000001" in gridded and "CALC_RCT" in gridded


def _frozen(made):
    rng = np.random.default_rng(5)
    potential = Metadynamics(2.0, sigma=(0.4,) * made.dim)
    state = start(potential, 300.0, made.periods)
    for point in rng.uniform(-3, 3, size=(30, made.dim)):
        state.deposit(point)
    return BiasModel(made, (potential,), 300.0, arrays_of((potential,), (state,)))


@pytest.mark.parametrize("kinds", ["phi", "phi psi"])
def test_frozen_bias_is_the_same_on_the_grid_of_external(frames, tmp_path, kinds):
    made = Coordinate.of(Torsions(kinds, raw=True), frames.topology)
    model = _frozen(made)
    path = to_plumed(made, frames.topology, model, folder=tmp_path)
    label, _, words, _ = next(action for action in _actions(path) if action[1] == "EXTERNAL")
    lines = (tmp_path / words["FILE"]).read_text().splitlines()
    names = words["ARG"].split(",")
    assert lines[0].split()[2:] == [*names, f"{label}.bias", *(f"der_{name}" for name in names)]
    constants = dict(line.split()[2:] for line in lines if line.startswith("#! SET"))
    n = [int(constants[f"nbins_{name}"]) for name in names]
    assert {constants[f"{what}_{name}"] for name in names for what in ("min", "max", "periodic")} == {
        "-pi",
        "pi",
        "true",
    }
    rows = np.loadtxt(lines)
    assert len(rows) == math.prod(n)
    # the first coordinate runs fastest and starts at -pi, the end of the period is left out
    np.testing.assert_allclose(rows[: n[0], 0], -math.pi + np.arange(n[0]) * 2 * math.pi / n[0], atol=1e-12)
    dim = made.dim
    np.testing.assert_allclose(rows[:, dim], model.potential(np.ascontiguousarray(rows[:, :dim])), atol=1e-10)
    step, at = 1e-6, np.arange(0, len(rows), 97)
    for i, shift in enumerate(step * np.eye(dim)):
        up, down = (model.potential(np.ascontiguousarray(rows[at, :dim] + sign * shift)) for sign in (1, -1))
        np.testing.assert_allclose(rows[at, dim + 1 + i], (up - down) / (2 * step), atol=1e-4)
    assert np.abs(rows[:, dim]).max() > 1.0
    assert sum(not line.strip() for line in lines) == (0 if dim == 1 else n[1] - 1)


def test_frozen_bias_of_several_potentials_without_a_period(frames, tmp_path):
    made = Coordinate.of(Distances([[4, 16]]), frames.topology)
    potentials = (OPES(20.0, sigma=0.03, pace=1), UpperWall(0.6, 100.0))
    states = start_all(potentials, 300.0, made.periods)
    for x in np.append(np.linspace(0.3, 0.5, 10), np.full(60, float(np.median(made.transform(frames)[0])))):
        states[0].deposit(np.array([x]))
    model = BiasModel(made, potentials, 300.0, arrays_of(potentials, states))
    path = to_plumed(made, frames.topology, Fixed(model), folder=tmp_path)
    values = evaluate(path, frames)
    lines = (tmp_path / "external.grid").read_text().splitlines()
    constants = dict(line.split()[2:] for line in lines if line.startswith("#! SET"))
    rows = np.loadtxt(lines)
    low, high = (float(value) for key, value in constants.items() if key.startswith(("min_", "max_")))
    assert (rows[0, 0], rows[-1, 0], len(rows)) == (pytest.approx(low), pytest.approx(high), 1001)
    assert {v for k, v in constants.items() if k.startswith(("nbins", "periodic"))} == {"1001", "false"}
    assert low < 0.1 and high > 0.7
    s = made.transform(frames)[0]
    between = np.interp(s[:, 0], rows[:, 0], rows[:, 1])
    np.testing.assert_allclose(values["upper_walls.bias"] + between, model.potential(s), atol=0.02)
    assert np.ptp(between) > 1.0


def test_bias_too_narrow_for_the_grid_is_said(frames, tmp_path):
    made = Coordinate.of(Torsions("phi psi", raw=True), frames.topology)
    potential = Metadynamics(40.0, sigma=(0.02, 0.02))
    state = start(potential, 300.0, made.periods)
    state.deposit(np.array([0.012, 0.0]))
    model = BiasModel(made, (potential,), 300.0, arrays_of((potential,), (state,)))
    with pytest.warns(DataWarning, match="misses the bias by up to"):
        to_plumed(made, frames.topology, model, folder=tmp_path)


def test_frozen_bias_is_refused_on_another_coordinate(frames, tmp_path):
    model = _frozen(Coordinate.of(Torsions("phi", raw=True), frames.topology))
    with pytest.raises(BiasError, match="the frozen bias is of the coordinate"):
        to_plumed(Torsions("psi", raw=True), frames.topology, Fixed(model), folder=tmp_path)


def test_what_plumed_cannot_say_is_refused_by_name(frames, tmp_path):
    cases = [
        (RadiusOfGyration("protein"), None, r"RadiusOfGyration.*has no form in PLUMED"),
        (Contacts([[0, 2]], kind="distance"), None, "gradient that jumps"),
        (Torsions("phi", raw=True), Metadynamics(), "give sigma"),
        (Torsions("phi", raw=True), UpperWall(1.0, 10.0), "is periodic, so a wall"),
        (Torsions("phi", raw=True), Umbrella(1.0, 10.0, on=1), "counted from 0"),
        (Torsions("phi", raw=True), Umbrella((1.0, 2.0), 10.0), "2 numbers for 1 coordinates"),
        (Torsions("phi", raw=True), "opes", "str is no potential"),
    ]
    for coordinate, bias, message in cases:
        with pytest.raises(ParameterError, match=message):
            to_plumed(coordinate, frames.topology, bias, folder=tmp_path)
    with pytest.raises(ParameterError, match="stride=0"):
        to_plumed(Torsions("phi", raw=True), frames.topology, folder=tmp_path, stride=0)
