"""VAMPnets: the ceiling that linear methods miss, no torch in the model, no global state touched, seeds reported."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from deeptime.data import sqrt_model

from mdinsight import cvs
from mdinsight.cvs._blocks import Block
from mdinsight.cvs._network import Training
from mdinsight.cvs._scoring import model_score
from mdinsight.errors import DataWarning, LagError, ParameterError
from mdinsight.series import TimeSeries

CEILING = 1.81  # 1 + 0.9^2: the hidden states' eigenvalue is 0.9, t = 9.491 frames


@pytest.fixture(scope="module")
def square_root():
    return sqrt_model(10_000, seed=4)[1].astype(np.float32)


@pytest.fixture(scope="module")
def unseen():
    return TimeSeries([sqrt_model(100_000, seed=5)[1]])


@pytest.fixture(scope="module")
def fitted(square_root):
    return {
        "states": cvs.VAMPNet(1, dim=2, kind="states", seeds=2, epochs=40).fit(square_root).model,
        "coordinates": cvs.VAMPNet(1, dim=1, seeds=2, epochs=40).fit(square_root).model,
    }


@pytest.mark.parametrize("kind", ["states", "coordinates"])
def test_comes_within_0_05_of_the_ceiling_on_unseen_data(fitted, unseen, kind):
    score = model_score(fitted[kind], unseen, [Block(0, 0, 100_000)], 1)
    assert CEILING - 0.05 < score < CEILING + 0.02
    assert fitted[kind].timescales().value[0] == pytest.approx(9.491, rel=0.15)


def test_linear_vamp_does_not(square_root, unseen):
    model = cvs.VAMP(1, dim=2).fit(square_root).model
    assert model_score(model, unseen, [Block(0, 0, 100_000)], 1) == pytest.approx(1.281, abs=0.03)


def test_states_are_memberships(fitted, square_root):
    chi = fitted["states"].transform(square_root)
    assert chi.shape == (10_000, 2)
    assert chi.min() >= 0.0
    np.testing.assert_allclose(chi.sum(axis=1), 1.0, rtol=1e-12)
    assert np.mean(chi.max(axis=1) > 0.9) > 0.8
    assert len(fitted["states"].timescales()) == 1  # two states, one process


def test_coordinates_are_ordered_and_orthonormal(mixed):
    model = cvs.VAMPNet(2, dim=3, seeds=1, epochs=10, layers=(16,)).fit(mixed).model
    x = np.concatenate([model.transform(a[:-2]) for a in mixed])
    y = np.concatenate([model.transform(a[2:]) for a in mixed])
    both, later = np.concatenate([x, y]), np.concatenate([y, x])
    np.testing.assert_allclose(both.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(both.T @ both / len(both), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(both.T @ later / len(both), np.diag(model.eigenvalues), atol=1e-6)
    assert np.all(np.diff(np.abs(model.eigenvalues)) <= 0)
    # Linear processes: the network finds what TICA finds, and by the variational principle no more than is there.
    truth = np.exp(-2 / np.array([40.0, 15.0, 5.0]))
    np.testing.assert_allclose(model.eigenvalues, truth, atol=0.06)


def as_torch(model):
    layers = {"tanh": torch.nn.Tanh(), "elu": torch.nn.ELU(), "silu": torch.nn.SiLU()}
    layers |= {"softmax": torch.nn.Softmax(dim=1), "identity": torch.nn.Identity()}
    modules = []
    for weight, bias, name in zip(model.weights, model.biases, model.activations, strict=True):
        linear = torch.nn.Linear(*weight.shape, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(weight.T))
            linear.bias.copy_(torch.tensor(bias))
        modules += [linear, layers[name]]
    return torch.nn.Sequential(*modules)


@pytest.mark.parametrize("kind", ["states", "coordinates"])
@pytest.mark.parametrize("activation", ["tanh", "elu", "silu"])
def test_forward_and_gradient_equal_torch(named, kind, activation):
    model = cvs.VAMPNet(2, 2, kind=kind, activation=activation, layers=(9, 5), seeds=1, epochs=2).fit(named).model
    net = as_torch(model)
    x = torch.tensor(named[0][:50].astype(np.float64), requires_grad=True)
    out = (
        net((x - torch.tensor(model.shift)) * torch.tensor(model.scale)) - torch.tensor(model.head_mean)
    ) @ torch.tensor(model.head)
    np.testing.assert_allclose(model.transform(named[0][:50]), out.detach().numpy(), rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(out[:, 1].sum(), x)
    np.testing.assert_allclose(model.jacobian(named[0][:50])[:, 1], gradient.numpy(), rtol=1e-10, atol=1e-12)


def test_a_seed_gives_the_same_model_and_another_seed_another(named):
    def fit(seed):
        return cvs.VAMPNet(2, 2, seeds=2, seed=seed, epochs=3, layers=(6,)).fit(named).model

    assert fit(3).hash == fit(3).hash
    assert fit(3).weights[0][0, 0] != fit(4).weights[0][0, 0]


def test_more_seeds_do_not_change_the_first_ones(named):
    few, many = (cvs.VAMPNet(2, 2, seeds=n, epochs=3, layers=(6,)).fit(named).model.training for n in (1, 3))
    np.testing.assert_array_equal(few.curves[0], many.curves[0])


def test_global_state_is_left_alone(named):
    torch.manual_seed(11)
    legacy = np.random.mtrand._rand  # the generator behind np.random's functions
    before = torch.get_rng_state(), legacy.get_state()[1].copy(), torch.get_default_dtype(), torch.get_num_threads()
    cvs.VAMPNet(2, 1, seeds=1, epochs=1, layers=(4,)).fit(named)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(legacy.get_state()[1], before[1])
    assert (torch.get_default_dtype(), torch.get_num_threads()) == before[2:]


def test_the_best_seed_by_validation_is_kept_and_all_are_reported(fitted):
    training = fitted["states"].training
    assert training.validation.shape == training.train.shape == training.epochs.shape == (2,)
    assert training.chosen == int(np.argmax(training.validation))
    for score, epoch, curve in zip(training.validation, training.epochs, training.curves, strict=True):
        assert curve[epoch - 1] == curve.max() == score
    assert training.success_rate == 1.0
    assert "2 of 2 seeds" in str(fitted["states"].verdicts()[0])
    assert training.n_validation < training.n_train
    assert "one part in 5 held out" in training.split


def test_the_part_held_out_holds_the_slow_process(autoregressive):
    # Two of ten trajectories swing between two states; the others stay. Held out at random, eight times of ten nothing is seen.
    series = [0.3 * autoregressive(600, [2.0, 2.0], i) for i in range(10)]
    for i in (3, 7):
        series[i][:, 0] += np.where(np.arange(600) // 150 % 2 == 0, 2.0, -2.0)
    for seed in range(4):
        model = cvs.VAMPNet(2, dim=1, seeds=1, seed=seed, epochs=30, layers=(8,)).fit(series).model
        assert model.training.linear_validation > 1.6
        assert model.training.linear_train > 1.6
        assert model.training.validation[0] > 1.6


def test_training_stops_early(named):
    training = cvs.VAMPNet(2, 1, seeds=1, epochs=60, patience=2, layers=(32,)).fit(named).model.training
    assert len(training.curves[0]) == min(int(training.epochs[0]) + 2, 60)


def test_success_rate_counts_the_seeds_near_the_best():
    def training(*scores, linear=(1.2, 1.2)):
        return Training(
            np.array(scores),
            np.array(scores),
            np.ones(3, int),
            (),
            int(np.nanargmax(scores)),
            0.03,
            linear[0],
            linear[1],
            9,
            9,
            "",
        )

    assert training(1.80, 1.78, 1.40).success_rate == pytest.approx(2 / 3)
    assert training(1.80, 1.78, 1.40).verdict.holds
    assert training(1.80, np.nan, 1.40).success_rate == pytest.approx(1 / 3)
    assert not training(1.80, np.nan, 1.40).verdict.holds
    assert "hardly show" in training(1.80, 1.78, 1.79, linear=(1.95, 1.01)).verdict.says


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "soft"}, "kind='soft' is not known; take one of 'coordinates', 'states'"),
        ({"activation": "relu"}, "activation='relu'"),
        ({"dim": 0.9}, "dim=0.9 must be an int"),
        ({"dim": 1, "kind": "states"}, "dim=1 must be an int of at least 2"),
        ({"layers": (32, 0)}, "layers=0"),
        ({"seeds": 0}, "seeds=0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"validation": 0.9}, "validation=0.9"),
        ({"lag": 2.0}, "lag=2.0 could be frames or ps"),
    ],
)
def test_bad_parameters_are_named(named, settings, message):
    with pytest.raises(ParameterError, match=message):
        cvs.VAMPNet(**({"lag": 2} | settings)).fit(named)


def test_too_short_for_a_validation_set():
    with pytest.raises(LagError, match="cannot be split"):
        cvs.VAMPNet(20).fit(np.random.default_rng(0).standard_normal((50, 2)))


def test_short_trajectories_are_counted_once(named):
    with pytest.warns(DataWarning, match="1 of 7 trajectories") as caught:
        cvs.VAMPNet(4, 1, seeds=1, epochs=1, layers=(4,)).fit([*named, named[0][:3]])
    assert len(caught) == 1
