"""Networks and matrices found elsewhere: the same numbers as where they come from, and clear words where a fit is missing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import mdinsight as mdi
from mdinsight import cvs
from mdinsight.cvs._network import _BACKWARD, _FORWARD, KNOWN
from mdinsight.errors import NonFiniteError, ParameterError, SelectionError
from mdinsight.features import Distances, Torsions

TORCH = {
    "tanh": torch.tanh,
    "elu": torch.nn.functional.elu,
    "silu": torch.nn.functional.silu,
    "softmax": lambda z: torch.softmax(z, -1),
    "identity": lambda z: z * 1.0,
    "relu": torch.relu,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "softplus": torch.nn.functional.softplus,
    "sigmoid": torch.sigmoid,
    "gelu": torch.nn.functional.gelu,
}
rng = np.random.default_rng(3)


@pytest.fixture(scope="module")
def torsions(ala2):
    return Torsions("phi psi").transform(ala2)


def _layers(widths, seed=0):
    draw = np.random.default_rng(seed)
    pairs = list(itertools.pairwise(widths))
    return [draw.normal(size=p) / np.sqrt(p[0]) for p in pairs], [draw.normal(size=p[1]) for p in pairs]


def test_every_activation_is_known_to_this_test():
    assert set(TORCH) == set(KNOWN)


@pytest.mark.parametrize("name", KNOWN)
def test_activation_and_its_gradient_are_those_of_pytorch(name):
    z = np.concatenate(
        [rng.normal(size=(50, 7)) * 4, np.full((1, 7), -700.0), np.full((1, 7), 700.0), np.zeros((1, 7))]
    )
    g = rng.normal(size=z.shape)
    t = torch.tensor(z, requires_grad=True)
    out = TORCH[name](t)
    out.backward(torch.tensor(g))
    a = _FORWARD[name](z)
    # torch's softplus is linear beyond 20, which differs by 2e-9 from the function itself
    tolerance = 1e-8 if name == "softplus" else 1e-12
    np.testing.assert_allclose(a, out.detach().numpy(), rtol=tolerance, atol=1e-14)
    np.testing.assert_allclose(_BACKWARD[name](z, a, g), t.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", KNOWN)
def test_network_equals_pytorch_with_its_gradient(name):
    weights, biases = _layers((4, 6, 5, 2))
    shift, scale = rng.normal(size=4), rng.uniform(0.5, 2, size=4)
    head, head_mean = rng.normal(size=(2, 3)), rng.normal(size=2)
    model = cvs.from_layers(
        None, weights, biases, [name, name, "identity"], shift=shift, scale=scale, head=head, head_mean=head_mean
    )
    x, cotangent = rng.normal(size=4), rng.normal(size=3)
    t = torch.tensor(x, requires_grad=True)
    a = (t - torch.tensor(shift)) * torch.tensor(scale)
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        a = a @ torch.tensor(w) + torch.tensor(b)
        a = TORCH[name](a) if i < 2 else a
    out = (a - torch.tensor(head_mean)) @ torch.tensor(head)
    out.backward(torch.tensor(cotangent))
    value, gradient = model.value_and_vjp(x, cotangent)
    np.testing.assert_allclose(value, out.detach().numpy(), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(gradient, t.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_coordinate_on_a_topology_knows_its_columns(ala2, torsions):
    weights, biases = _layers((4, 8, 2))
    model = cvs.from_layers(Torsions("phi psi"), weights, biases, ["tanh", "identity"], topology=ala2, names=["a", "b"])
    assert model.columns == torsions.columns
    assert model.features.transform(ala2).columns == torsions.columns
    by_hand = np.tanh(torsions[0].astype(float) @ weights[0] + biases[0]) @ weights[1] + biases[1]
    y = model.transform(torsions)
    np.testing.assert_allclose(y[0], by_hand, rtol=1e-12)
    assert y.names == ("a", "b")
    assert list(model.get_feature_names_out()) == ["a", "b"]
    with pytest.raises(SelectionError, match="missing"):
        model.transform(Distances("name CA CB N C").transform(ala2))
    same = [cvs.from_layers(f, weights, biases, ["tanh", "identity"]) for f in (model.features, torsions, model)]
    for other in same:
        np.testing.assert_array_equal(other.transform(torsions)[0], y[0])


def test_saved_and_loaded_to_the_same_numbers(torsions, tmp_path):
    weights, biases = _layers((4, 3, 1))
    for model in (
        cvs.from_layers(torsions, weights, biases, ["gelu", "sigmoid"]),
        cvs.from_linear(torsions, rng.normal(size=(4, 2)), rng.normal(size=4)),
    ):
        model.save(tmp_path / "cv.model")
        again = mdi.load(tmp_path / "cv.model")
        assert again.hash == model.hash
        np.testing.assert_array_equal(again.transform(torsions)[1], model.transform(torsions)[1])


def test_what_a_given_coordinate_says_of_itself(ala2, torsions):
    weights, biases = _layers((4, 8, 2))
    model = cvs.from_layers(Torsions("phi psi"), weights, biases, ["tanh", "identity"], topology=ala2)
    assert model.summary() == "network: 4 columns -> 2 coordinates, given (layers)"
    assert model.verdicts() == ()
    for call in (model.timescales, lambda: model.kinetic_variance, lambda: model.score_cv(torsions), model.estimator):
        with pytest.raises(ParameterError, match="given, not fitted"):
            call()
    with pytest.raises(ParameterError, match="without data"):
        model.explain()
    # what the message recommends works
    assert cvs.TICA(2, 2).fit(model.transform(torsions)).model.timescales().value[0] > 0


def test_force_that_jumps_is_said(torsions):
    weights, biases = _layers((4, 8, 2))
    (verdict,) = cvs.from_layers(torsions, weights, biases, ["relu", "identity"]).verdicts()
    assert not verdict.holds
    assert "relu has a kink" in verdict.says


def test_explained_by_the_column_that_it_reads(torsions):
    weights = [np.zeros((4, 3)), np.ones((3, 1))]
    weights[0][2] = 1.0
    model = cvs.from_layers(torsions, weights, [np.zeros(3), np.zeros(1)], ["tanh", "identity"])
    first = model.explain(top=1).coordinates[0].features[0]
    assert (first.name, first.share) == (torsions.names[2], 1.0)
    assert first.correlation > 0.9
    assert model.n_frames == torsions.n_frames


def test_linear_one_has_the_shares_of_the_fit_that_it_came_from(torsions):
    pca = cvs.PCA(2).fit(torsions).model
    given = cvs.from_linear(torsions, pca.matrix, pca.mean, X=torsions)
    np.testing.assert_allclose(given.shares, pca.shares, atol=1e-10)
    np.testing.assert_allclose(given.correlations, pca.correlations, atol=1e-10)
    np.testing.assert_array_equal(given.transform(torsions)[0], pca.transform(torsions)[0])
    _, gradient = given.value_and_vjp(torsions[0][5], [1.0, 2.0])
    np.testing.assert_allclose(gradient, pca.matrix @ [1.0, 2.0])
    assert given.summary() == "linear: 4 columns -> 2 coordinates, given (matrix)"


class Wrapped(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


class Skipping(Wrapped):
    def forward(self, x):
        return x + self.inner(x)


def _trained_norm(width):
    norm = torch.nn.BatchNorm1d(width)
    draw = torch.Generator().manual_seed(width)
    for tensor in (norm.running_mean, norm.weight.data, norm.bias.data):
        tensor.copy_(torch.randn(width, generator=draw))
    norm.running_var.copy_(torch.rand(width, generator=draw) + 0.5)
    return norm


def _modules():
    nn = torch.nn
    inner = nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Dropout(0.5), _trained_norm(6))
    return {
        "plain": nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)),
        "nested": nn.Sequential(_trained_norm(4), nn.Linear(4, 6), nn.SiLU(), inner, nn.Linear(6, 3, bias=False)),
        "ends in an activation": Wrapped(nn.Sequential(nn.Linear(4, 5), nn.ELU(), nn.Linear(5, 3), nn.Softmax(dim=1))),
        "softplus": nn.Sequential(nn.Softplus(beta=2.5), nn.Linear(4, 5), nn.Softplus(), nn.Sigmoid(), nn.Linear(5, 1)),
        "relu": nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 5), nn.LeakyReLU(), nn.Identity()),
        "linear alone": nn.Linear(4, 2),
        "double": nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double(),
    }


@pytest.mark.parametrize("name", _modules())
@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_module_becomes_layers_with_the_same_values(name, scripted):
    torch.manual_seed(1)
    module = _modules()[name].train()
    given = torch.jit.script(module) if scripted else module
    model = cvs.from_torch(given, None)
    assert module.training and all(part.training for part in module.modules())
    x = rng.normal(size=(20, 4)) * 2
    with torch.no_grad():
        wanted = module.double().eval()(torch.tensor(x)).numpy()
    np.testing.assert_allclose(model.transform(x), wanted, rtol=1e-9, atol=1e-9)
    assert all(isinstance(w, np.ndarray) for w in model.weights)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GRU(4, 2)), r"1 \(GRU\) is no part that can be read"),
        (torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ELU(0.5)), r"1 \(ELU\): alpha=0.5 is not supported"),
        (torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LeakyReLU(0.2)), r"negative_slope=0.2"),
        (torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GELU(approximate="tanh")), "approximate='tanh'"),
        (
            torch.nn.Sequential(torch.nn.BatchNorm1d(4, track_running_stats=False), torch.nn.Linear(4, 4)),
            "other frames",
        ),
        (Skipping(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())), "something else than its parts"),
        (torch.nn.Sequential(torch.nn.Tanh()), "no Linear part"),
    ],
)
def test_module_that_cannot_be_read_is_refused_by_name(module, message):
    with pytest.raises(ParameterError, match=message):
        cvs.from_torch(module, None)


def test_bad_input_is_named(ala2, torsions):
    weights, biases = _layers((4, 8, 2))
    good = ["tanh", "identity"]
    cases = [
        (lambda: cvs.from_layers(Torsions("phi psi"), weights, biases, good), "give topology="),
        (lambda: cvs.from_layers(Torsions("phi"), weights, biases, good, topology=ala2), "takes 4 columns"),
        (lambda: cvs.from_layers("phi", weights, biases, good), "features is a str"),
        (lambda: cvs.from_layers(torsions, weights, biases, ["tanh"]), "1 activations"),
        (lambda: cvs.from_layers(torsions, weights, biases, ["tanh", "mish"]), "'mish' is no activation"),
        (lambda: cvs.from_layers(torsions, [w.T for w in weights], biases, good), "must be transposed"),
        (lambda: cvs.from_layers(torsions, weights, biases, good, shift=np.zeros(3)), "shift has shape"),
        (lambda: cvs.from_layers(torsions, weights, biases, good, head=np.eye(3)), "head has shape"),
        (lambda: cvs.from_layers(torsions, weights, biases, good, names=["a", "a"]), "a name of its own"),
        (lambda: cvs.from_linear(torsions, np.zeros((4, 0))), "matrix has shape"),
    ]
    for call, message in cases:
        with pytest.raises(ParameterError, match=message):
            call()
    with pytest.raises(NonFiniteError, match="the training diverged"):
        cvs.from_layers(torsions, [weights[0] * np.nan, weights[1]], biases, good)
