"""What mlcolvar, deeptime and PLUMED made comes in as the same numbers."""

from __future__ import annotations

import math
import warnings

import deeptime
import numpy as np
import pytest
import torch
from torch import nn

from mdinsight import units
from mdinsight.bias._colvar import read_colvar, read_trace
from mdinsight.bias._coordinate import Coordinate
from mdinsight.bias._definitions import Metadynamics
from mdinsight.bias._exchange import from_deeptime, from_mlcolvar
from mdinsight.bias._hills import Hills, read_hills, write_hills
from mdinsight.bias._states import start
from mdinsight.bias._trace import Trace
from mdinsight.errors import BiasError, DataWarning, FormatError, NonFiniteError, ParameterError, SelectionError
from mdinsight.features import Distances, Torsions

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


# mlcolvar: modules of the structure that its documentation gives, and by the same names


class Normalization(nn.Module):
    def __init__(self, mean, range):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("range", torch.tensor(range))

    def forward(self, x):
        return x.sub(self.mean).div(self.range)


class FeedForward(nn.Module):
    def __init__(self, *parts):
        super().__init__()
        self.nn = nn.Sequential(*parts)

    def forward(self, x):
        return self.nn(x)


class TICA(nn.Module):
    def __init__(self, evecs, mean):
        super().__init__()
        self.register_buffer("evecs", torch.tensor(evecs))
        self.register_buffer("mean", torch.tensor(mean))

    def forward(self, x):
        return torch.matmul(x.sub(self.mean), self.evecs)


class LDA(nn.Module):
    def __init__(self, evecs):
        super().__init__()
        self.register_buffer("evecs", torch.tensor(evecs))

    def forward(self, x):
        return torch.matmul(x, self.evecs)


class Shifted_Softplus(nn.Softplus):
    def forward(self, x):
        return super().forward(x) - math.log(2.0) / self.beta


class Custom_Sigmoid(nn.Module):
    p = 3

    def forward(self, x):
        return 1 / (1 + torch.exp(-self.p * x))


class Blocks(nn.Module):
    """The blocks that are there, one after another, between preprocessing and postprocessing."""

    BLOCKS = ("norm_in", "nn", "tica", "lda", "sigmoid")

    def __init__(self, preprocessing=None, postprocessing=None, **blocks):
        super().__init__()
        self.preprocessing, self.postprocessing = preprocessing, postprocessing
        for name, block in blocks.items():
            setattr(self, name, block)

    def forward(self, x):
        for name in ("preprocessing", *self.BLOCKS, "postprocessing"):
            block = getattr(self, name, None)
            x = x if block is None else block(x)
        return x


class AutoEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm_in = _norm(4)
        self.encoder = FeedForward(nn.Linear(4, 6), nn.Tanh())
        self.mean_nn, self.log_var_nn = nn.Linear(6, 2), nn.Linear(6, 2)
        self.decoder = FeedForward(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 4))

    def forward(self, x):
        return self.mean_nn(self.encoder(self.norm_in(x)))


rng = np.random.default_rng(11)


def _norm(n):
    return Normalization(rng.normal(size=n).astype(np.float32), rng.uniform(0.5, 2.0, size=n).astype(np.float32))


def _single(*shape):
    return rng.normal(size=shape).astype(np.float32)


def _coordinates():
    torch.manual_seed(0)
    batch = nn.BatchNorm1d(6)
    batch.running_mean.normal_()
    return {
        "DeepTICA": Blocks(
            norm_in=_norm(4),
            nn=FeedForward(nn.Linear(4, 6), Shifted_Softplus(), nn.Linear(6, 3)),
            tica=TICA(_single(3, 2), _single(3)),
        ),
        "DeepTDA": Blocks(
            norm_in=_norm(4),
            nn=FeedForward(nn.Linear(4, 6), nn.ReLU(True), nn.Dropout(0.3), batch, nn.Linear(6, 1)),
            postprocessing=_norm(1),
        ),
        "DeepLDA": Blocks(nn=FeedForward(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), lda=LDA(_single(3, 1))),
        "Committor": Blocks(
            nn=FeedForward(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)),
            sigmoid=Custom_Sigmoid(),
            preprocessing=_norm(4),
        ),
        "VAE": AutoEncoder(),
    }


@pytest.mark.parametrize("name", _coordinates())
def test_mlcolvar_coordinate_has_the_same_values(name, tmp_path):
    cv = _coordinates()[name]
    given = from_mlcolvar(cv, None)
    x = _single(50, 4)
    with torch.no_grad():
        wanted = cv.eval()(torch.tensor(x)).numpy()
    np.testing.assert_allclose(given.transform(x.astype(float)), wanted, atol=1e-5 * np.abs(wanted).max())
    torch.jit.save(torch.jit.trace(cv, torch.tensor(x[:2])), tmp_path / "model.ptc")
    from_file = from_mlcolvar(tmp_path / "model.ptc", None)
    np.testing.assert_allclose(from_file.transform(x.astype(float)), wanted, atol=1e-5 * np.abs(wanted).max())
    assert from_file.summary().splitlines()[0].endswith("given (TorchScript model.ptc)")


def test_mlcolvar_coordinate_on_a_molecule(ala2):
    cv = _coordinates()["DeepTICA"]
    given = from_mlcolvar(cv, Torsions("phi psi"), topology=ala2, names=["slow", "next"])
    X = Torsions("phi psi").transform(ala2)
    with torch.no_grad():
        wanted = cv(torch.tensor(X[0], dtype=torch.float32)).numpy()
    np.testing.assert_allclose(given.transform(X)[0], wanted, atol=1e-5 * np.abs(wanted).max())
    assert given.get_feature_names_out().tolist() == ["slow", "next"]


def test_mlcolvar_block_that_is_not_known_is_named(tmp_path):
    class PairwiseDistances(nn.Module):
        def forward(self, x):
            return x

    cv = Blocks(preprocessing=PairwiseDistances(), nn=FeedForward(nn.Linear(4, 1)))
    with pytest.raises(ParameterError, match="PairwiseDistances is no part that can be read"):
        from_mlcolvar(cv, None)
    (tmp_path / "torn.ptc").write_bytes(b"PK not a model")
    with pytest.raises(FormatError, match="no TorchScript file"):
        from_mlcolvar(tmp_path / "torn.ptc", None)
    with pytest.raises(ParameterError, match="ndarray is no coordinate"):
        from_mlcolvar(np.zeros(3), None)


# deeptime


@pytest.fixture(scope="module")
def torsions(ala2):
    return Torsions("phi psi").transform(ala2)


def _double(series):
    return [np.asarray(array, dtype=np.float64) for array in series]


@pytest.mark.parametrize("kind", ["TICA", "VAMP", "mean kept", "estimator"])
def test_linear_coordinate_of_deeptime_has_the_same_values(torsions, kind):
    data = _double(torsions)
    if kind == "mean kept":
        cov = deeptime.covariance.Covariance(lagtime=2, compute_c0t=True, compute_ctt=True, remove_data_mean=False)
        estimator = deeptime.decomposition.VAMP(dim=2).fit(cov.fit(data).fetch_model())
    else:
        method = deeptime.decomposition.VAMP if kind == "VAMP" else deeptime.decomposition.TICA
        estimator = method(lagtime=2, dim=2, scaling="kinetic_map" if kind == "TICA" else None).fit(data)
    model = estimator.fetch_model()
    given = from_deeptime(estimator if kind == "estimator" else model, torsions)
    np.testing.assert_allclose(given.transform(torsions)[0], model.transform(data[0]), rtol=1e-9, atol=1e-9)
    assert given.summary().splitlines()[0].endswith("2 coordinates, given (deeptime CovarianceKoopmanModel)")
    assert given.explain(top=1).coordinates[0].features[0].share > 0.25
    assert Coordinate.of(given).dim == 2


def test_vampnet_of_deeptime_has_the_same_values(torsions):
    torch.manual_seed(3)
    lobe = deeptime.util.torch.MLP(
        units=[4, 8, 6, 2], nonlinearity=nn.ELU, initial_batchnorm=True, output_nonlinearity=nn.Softmax
    )
    estimator = deeptime.decomposition.deep.VAMPNet(lobe=lobe, learning_rate=1e-3)
    data = deeptime.util.data.TimeLaggedDataset(torsions[0][:-2].astype(np.float32), torsions[0][2:].astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(torch.utils.data.DataLoader(data, batch_size=256), n_epochs=1)
        model = estimator.fetch_model()
        given = from_deeptime(model, torsions)
        wanted = model.transform(torsions[0].astype(np.float32))
    np.testing.assert_allclose(given.transform(torsions)[0], wanted, atol=1e-5)
    np.testing.assert_allclose(given.transform(torsions)[0].sum(axis=1), 1.0)


def test_what_deeptime_made_of_functions_is_refused(torsions):
    observables = deeptime.basis.Monomials(p=2, d=4)
    model = (
        deeptime.decomposition.VAMP(lagtime=2, observable_transform=observables).fit(_double(torsions)).fetch_model()
    )
    with pytest.raises(ParameterError):
        from_deeptime(model, torsions)
    with pytest.raises(ParameterError, match="call fit first"):
        from_deeptime(deeptime.decomposition.TICA(lagtime=1), torsions)
    with pytest.raises(ParameterError, match="neither a TICA"):
        from_deeptime(deeptime.clustering.KMeans(2).fit(_double(torsions)), torsions)
    with pytest.raises(ParameterError, match="takes 4 columns, the features have 2"):
        model = deeptime.decomposition.TICA(lagtime=2).fit(_double(torsions)).fetch_model()
        from_deeptime(model, torsions.select("*phi*"))
    squares = deeptime.decomposition.VAMP(lagtime=2, observable_transform=np.square).fit(_double(torsions))
    with pytest.raises(ParameterError, match="not linear in the features"):
        from_deeptime(squares, torsions)


# PLUMED


def _hills_text(rows, biasf=10, kind="stretched-gaussian", names=("phi", "d")):
    head = f"#! FIELDS time {' '.join(names)} {' '.join(f'sigma_{n}' for n in names)} height biasf\n#! SET multivariate false\n"
    head += f"#! SET kerneltype {kind}\n#! SET min_phi -pi\n#! SET max_phi pi\n"
    return head + "".join(" " + " ".join(f"{x:.17g}" for x in (*row, biasf)) + "\n" for row in rows)


# time, phi, d, sigma_phi, sigma_d, height as PLUMED writes it
ROWS = np.array(
    [
        [1.0, 3.0, 0.5, 0.3, 0.05, 1.3],
        [2.0, -3.0, 0.55, 0.3, 0.05, 1.2],
        [3.0, 1.0, 0.4, 0.3, 0.05, 1.25],
        [4.0, 2.9, 0.52, 0.3, 0.05, 1.1],
    ]
)


def _by_hand(rows, points, factor, stretched):
    total = np.zeros(len(points))
    for _, phi, d, width, narrow, height in rows:
        angle = np.angle(np.exp(1j * (points[:, 0] - phi)))
        half = 0.5 * (angle / width) ** 2 + 0.5 * ((points[:, 1] - d) / narrow) ** 2
        edge = math.exp(-6.25)
        kernel = (np.exp(-half) - edge) / (1 - edge) if stretched else np.exp(-half)
        total += np.where(half < 6.25, height * factor * kernel, 0.0)
    return total


@pytest.mark.parametrize("kind", ["gaussian", "stretched-gaussian"])
@pytest.mark.parametrize("biasf", [10, 1])
def test_energy_of_hills_is_that_of_plumed(tmp_path, kind, biasf):
    (tmp_path / "HILLS").write_text(_hills_text(ROWS, biasf, kind))
    hills = read_hills(tmp_path / "HILLS")
    assert hills.names == ("phi", "d") and hills.periods == (2 * math.pi, None)
    factor = 0.9 if biasf == 10 else 1.0
    np.testing.assert_allclose(hills.heights, ROWS[:, 5] * factor)
    points = np.column_stack([rng.uniform(-4, 4, 500), rng.uniform(0.3, 0.7, 500)])
    wanted = _by_hand(ROWS, points, factor, kind.startswith("stretched"))
    assert (wanted > 0.1).sum() > 30
    np.testing.assert_allclose(hills.potential(points), wanted, atol=1e-12)
    until = _by_hand(ROWS[:2], points, factor, kind.startswith("stretched"))
    np.testing.assert_allclose(hills.potential(points, until=2.5), until, atol=1e-12)
    scale = 10 / 9 if biasf == 10 else 1.0
    np.testing.assert_allclose(hills.free_energy(points), scale * (wanted.max() - wanted), atol=1e-12)


def test_hills_are_written_and_read_to_the_same_numbers(tmp_path):
    (tmp_path / "HILLS").write_text(_hills_text(ROWS))
    hills = read_hills(tmp_path / "HILLS")
    again = read_hills(write_hills(hills, tmp_path / "again"))
    for name in ("time", "centers", "sigmas"):
        np.testing.assert_array_equal(getattr(again, name), getattr(hills, name))
    np.testing.assert_allclose(again.heights, hills.heights, rtol=1e-15)
    assert (again.names, again.periods, again.biasfactor, again.stretched) == (
        hills.names,
        hills.periods,
        10.0,
        True,
    )


def test_restart_and_torn_lines(tmp_path):
    text = _hills_text(ROWS[:2])
    header = _hills_text([])
    (tmp_path / "HILLS").write_text(
        text + " 2.5 1.0 0.4" + header + _hills_text(ROWS[2:])[len(header) :] + " 5 1.0 0.4 0.3 0.0"
    )
    with pytest.warns(DataWarning, match="2 torn lines left out"):
        hills = read_hills(tmp_path / "HILLS")
    np.testing.assert_array_equal(hills.time, ROWS[:, 0])
    # a whole number of columns, yet no end of line: the last number may be torn
    (tmp_path / "HILLS").write_text(_hills_text(ROWS).rstrip("\n"))
    with pytest.warns(DataWarning, match="1 torn line left out"):
        assert len(read_hills(tmp_path / "HILLS")) == 3
    (tmp_path / "HILLS").write_text(text + " 2.5 1.0\n" + header + _hills_text(ROWS[2:])[len(header) :])
    with pytest.warns(DataWarning, match="line 8"):
        assert len(read_hills(tmp_path / "HILLS")) == 4


def test_walkers_are_put_in_time_order(tmp_path):
    (tmp_path / "HILLS.0").write_text(_hills_text(ROWS[::2]))
    (tmp_path / "HILLS.1").write_text(_hills_text(ROWS[1::2]))
    hills = read_hills([tmp_path / "HILLS.0", tmp_path / "HILLS.1"])
    np.testing.assert_array_equal(hills.centers, ROWS[:, 1:3])
    assert hills.walker.tolist() == [0, 1, 0, 1]


def test_file_that_is_no_hills_is_refused(tmp_path):
    path = tmp_path / "HILLS"
    cases = [
        (_hills_text(ROWS[:1]).replace("height", "weight"), FormatError, "no HILLS file"),
        (_hills_text(ROWS[:1]).replace("multivariate false", "multivariate true"), FormatError, "ADAPTIVE"),
        (_hills_text(ROWS[:1]) + " 1 2 3\n" + _hills_text(ROWS)[-60:], FormatError, "line 7: not one number"),
        (_hills_text(ROWS[:1]) + " 2 nan 0.5 0.3 0.05 1 10\n", NonFiniteError, "line 7: phi is not finite"),
        (_hills_text(ROWS[:1]) + " 2 1.0x 0.5 0.3 0.05 1 10\n", FormatError, "1.0x"),
        (
            _hills_text(ROWS[:1]) + _hills_text(ROWS[1:]).replace("min_phi -pi", "min_phi 0"),
            FormatError,
            "split the file",
        ),
        ("1 2 3\n", FormatError, "no table of PLUMED"),
        ("", FormatError, "no line '#! FIELDS'"),
    ]
    for text, error, message in cases:
        path.write_text(text)
        with pytest.raises(error, match=message):
            read_hills(path)
    with pytest.raises(FormatError, match="no file"):
        read_hills(tmp_path / "absent")
    path.write_text(_hills_text(ROWS[:1]))
    (tmp_path / "other").write_text(_hills_text(ROWS[:1], names=("phi", "e")))
    with pytest.raises(FormatError, match="different headers"):
        read_hills([path, tmp_path / "other"])


def _run(n=60):
    """Hills as our own metadynamics deposits them, with its bias and c(t) after each."""
    state = start(Metadynamics(2.0, sigma=(0.35,), biasfactor=6.0), 300.0, (2 * math.pi,))
    draw = np.random.default_rng(2)
    rows, offsets = [], []
    for i in range(n):
        point = np.array([math.remainder(draw.normal(-1.0, 0.8), 2 * math.pi)])
        deposit = state.deposit(point)
        rows.append([float(i + 1), *deposit])
        offsets.append(state.offset())
    return state, np.array(rows), np.array(offsets)


def test_hills_become_the_bias_that_deposited_them(ala2):
    state, rows, offsets = _run()
    phi = Torsions("phi", raw=True)
    hills = Hills(("phi",), (2 * math.pi,), rows[:, 0], rows[:, 1:2], rows[:, 2:3], rows[:, 3], 6.0, np.zeros(60))
    model = hills.to_bias(phi, ala2, temperature=300)
    s = np.linspace(-math.pi, math.pi, 101)[:, None]
    np.testing.assert_allclose(model.potential(s), state.energies(s), atol=1e-9)
    np.testing.assert_allclose(hills.offsets(300), offsets, atol=1e-9)
    # PLUMED's kernels end at 3.5 widths, ours at 4.5
    assert np.abs(model.potential(s) - hills.potential(s)).max() < 0.004 * rows[:, 3].sum()
    for coordinate in (Distances([[4, 16]]), Torsions("phi psi", raw=True)):
        with pytest.raises(BiasError, match="give the one that PLUMED biased"):
            hills.to_bias(coordinate, ala2)


COLVAR = """#! FIELDS time phi d metad.bias metad.rct uw.bias
#! SET min_phi -pi
#! SET max_phi pi
 0.0 1.0 0.5 0.0 0.0 0.0
 0.5 1.5 0.6 1.0 0.2 0.1
 1.0 2.0 0.7 2.0 0.4 0.2
 1.5 2.5 0.8 3.0 0.6 0.3
"""


def test_colvar_as_time_series(tmp_path):
    path = tmp_path / "COLVAR"
    path.write_text(COLVAR)
    series = read_colvar(path)
    assert series.names == ("phi", "d", "metad.bias", "metad.rct", "uw.bias")
    assert series.dt == 0.5 and series.columns[0].period == 2 * math.pi and series.columns[1].period is None
    np.testing.assert_array_equal(series[0][:, 1], [0.5, 0.6, 0.7, 0.8])
    two = read_colvar([path, path], columns=["d"])
    assert len(two) == 2 and two.names == ("d",)
    with pytest.raises(SelectionError, match="no column e"):
        read_colvar(path, columns=["e"])


def test_rows_computed_again_after_a_restart_are_replaced(tmp_path):
    path = tmp_path / "COLVAR"
    again = (
        COLVAR.split(" 0.0 1.0")[0] + " 1.0 9.0 0.9 2.5 0.5 0.0\n 1.5 9.5 0.9 3.5 0.7 0.0\n 2.0 9.9 0.9 4.5 0.9 0.0\n"
    )
    path.write_text(COLVAR + again)
    with pytest.warns(DataWarning, match="2 rows left out"):
        series = read_colvar(path)
    np.testing.assert_array_equal(series[0][:, 0], [1.0, 1.5, 9.0, 9.5, 9.9])


def test_trace_of_metadynamics(tmp_path):
    path = tmp_path / "COLVAR"
    path.write_text(COLVAR)
    trace = read_trace([path, path], ["phi"], temperature=300, timestep=0.002)
    assert isinstance(trace, Trace) and trace.periods == (2 * math.pi,)
    assert trace.walker.tolist() == [0] * 4 + [1] * 4
    assert trace.step.tolist() == [0, 250, 500, 750] * 2
    np.testing.assert_array_equal(trace.bias[:4], [0, 1, 2, 3])
    np.testing.assert_array_equal(trace.fixed[:4], [0, 0.1, 0.2, 0.3])
    np.testing.assert_array_equal(trace.offset[:4], [0, 0.2, 0.4, 0.6])
    kT = units.GAS_CONSTANT * 300
    np.testing.assert_allclose(trace.log_weights()[:4], np.array([0, 0.9, 1.8, 2.7]) / kT)
    with pytest.warns(DataWarning, match=r"uw.rct is not there"):
        both = read_trace(path, ["phi"], temperature=300, adaptive=["metad", "uw"])
    np.testing.assert_allclose(both.bias, [0, 1.1, 2.2, 3.3])


def test_trace_of_opes_has_no_offset(tmp_path):
    path = tmp_path / "COLVAR"
    path.write_text(COLVAR.replace("metad.bias metad.rct", "b.bias b.rct").replace("uw.bias", "b.zed"))
    trace = read_trace(path, ["phi", "d"], temperature=300)
    np.testing.assert_array_equal(trace.bias, [0, 1, 2, 3])
    np.testing.assert_array_equal(trace.offset, 0.0)
    np.testing.assert_array_equal(trace.fixed, 0.0)


def test_offset_that_was_not_printed_comes_from_the_hills(tmp_path):
    _, rows, offsets = _run(5)
    hills = Hills(("phi",), (2 * math.pi,), rows[:, 0], rows[:, 1:2], rows[:, 2:3], rows[:, 3], 6.0, np.zeros(5))
    path = tmp_path / "COLVAR"
    path.write_text("#! FIELDS time phi metad.bias\n" + "".join(f" {t} 0.1 1.0\n" for t in (0.5, 1.0, 1.5, 3.0, 9.0)))
    trace = read_trace(path, ["phi"], temperature=300, hills=hills)
    # PLUMED prints a step before it deposits in it
    np.testing.assert_allclose(trace.offset, [0.0, 0.0, offsets[0], offsets[1], offsets[4]], atol=1e-9)
    with pytest.warns(DataWarning, match=r"metad.rct is not there"):
        np.testing.assert_array_equal(read_trace(path, ["phi"], temperature=300).offset, 0.0)
    path.write_text("#! FIELDS time phi\n 0 1\n")
    with pytest.raises(FormatError, match=r"no column such as opes.bias"):
        read_trace(path, ["phi"], temperature=300)
