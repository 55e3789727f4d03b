"""Frozen coordinates: saved and loaded elsewhere to the same numbers, differentiated, explained, checked for their columns."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import mdinsight
from mdinsight import cvs
from mdinsight.errors import ParameterError, SelectionError
from mdinsight.series import Column, Origin, TimeSeries

ESTIMATORS = {
    "PCA": cvs.PCA(2),
    "TICA": cvs.TICA("4 ps", 2),
    "VAMP": cvs.VAMP(2, 2),
    "SRV": cvs.VAMPNet("4 ps", 2, seeds=2, epochs=3, layers=(8, 6), activation="silu"),
    "states": cvs.VAMPNet(2, 3, kind="states", seeds=1, epochs=3, layers=(7,), activation="elu"),
    "tanh": cvs.VAMPNet(2, 1, seeds=1, epochs=2, layers=(5,)),
}


@pytest.fixture(scope="module")
def models(named):
    return {name: estimator.fit(named).model for name, estimator in ESTIMATORS.items()}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_loads_in_a_new_process_to_the_same_numbers_and_hash(models, named, name, tmp_path):
    model = models[name]
    model.save(tmp_path / "cv.model")
    np.save(tmp_path / "x.npy", named[0])
    code = (
        "import sys, numpy as np, mdinsight as mdi\n"
        f"model = mdi.load({str(tmp_path / 'cv.model')!r})\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, model.transform(np.load({str(tmp_path / 'x.npy')!r})))\n"
        "print(model.hash, model.timescales() if model.lag else '', 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    times = model.timescales() if model.lag else ""
    assert done.stdout.strip() == f"{model.hash} {times} False"
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model.transform(named[0]))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_gradient_is_that_of_finite_differences(models, named, name):
    model = models[name]
    x = named[2][40].astype(np.float64)
    cotangent = np.linspace(-1.0, 2.0, model.dim)
    value, gradient = model.value_and_vjp(x, cotangent)
    np.testing.assert_allclose(value, model.transform(named[2])[40], rtol=1e-12, atol=1e-12)
    step = 1e-6
    numeric = [
        (model.values((x + e)[None]) - model.values((x - e)[None]))[0] @ cotangent / (2 * step)
        for e in step * np.eye(len(x))
    ]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_transform_gives_what_it_was_given(models, named, name):
    model = models[name]
    series = named.with_arrays(named.arrays, named.columns)
    out = model.transform(series)
    assert isinstance(out, TimeSeries)
    assert out.dt == named.dt
    assert out.origins == named.origins
    assert out.definition == model
    assert out.names == tuple(model.get_feature_names_out())
    assert {column.kind for column in out.columns} == {"cv"}
    array = model.transform(named[1])
    assert array.shape == (len(named[1]), model.dim)
    np.testing.assert_allclose(out[1], array, rtol=1e-12, atol=1e-12)
    assert isinstance(model.transform(list(named.arrays)), TimeSeries)


def test_names_of_the_coordinates(models):
    names = {name: models[name].get_feature_names_out()[0] for name in ESTIMATORS}
    assert names == {
        "PCA": "PC 1",
        "TICA": "TIC 1",
        "VAMP": "VAMP 1",
        "SRV": "SRV 1",
        "states": "soft state 1",
        "tanh": "SRV 1",
    }


def test_provenance_reaches_the_coordinate(mixed, named):
    origins = [Origin(f"run{i}.xtc", start=10, step=5) for i in range(len(mixed))]
    definition = cvs.PCA(2).fit(mixed).model  # any frozen model stands for the features
    series = TimeSeries(mixed, 2.0, named.columns, origins, definition)
    fitted = cvs.TICA("4 ps").fit(series)
    assert fitted.model.features == definition
    assert fitted.transform(series).origins[3].frame(7) == 45
    assert (fitted.model.lag, fitted.model.dt) == (2, 2.0)


def test_other_columns_are_refused_by_name(models, named):
    model = models["TICA"]
    swapped = [named.columns[i] for i in (1, 0, 2, 3, 4)]
    with pytest.raises(SelectionError, match="column 0 is 'cos phi ALA2', the model has 'sin phi ALA2'"):
        model.transform(TimeSeries(named.arrays, named.dt, swapped))
    renamed = [*named.columns[:4], Column("chi1 LEU9", "chi1")]
    with pytest.raises(SelectionError, match=r"missing are 'd\(ALA3, GLY4\)'; not known to the model are 'chi1 LEU9'"):
        model.transform(TimeSeries(named.arrays, named.dt, renamed))
    with pytest.raises(SelectionError, match="missing are 'sin psi ALA3'"):
        model.transform(named.select("*phi*", "d*"))
    with pytest.raises(SelectionError, match="the data have 2 columns, this TICA model was fitted on 5"):
        model.transform(named[0][:, :2])


def test_columns_of_a_mutant_match_by_key(named):
    def keyed(residue):
        return [c.replace(name=c.name.replace("ALA", residue), key=f"key {i}") for i, c in enumerate(named.columns)]

    model = cvs.TICA(2).fit(TimeSeries(named.arrays, 2.0, keyed("ALA"))).model
    mutant = model.transform(TimeSeries(named.arrays, 2.0, keyed("SER")))
    np.testing.assert_array_equal(mutant[0], model.transform(named[0]))


def test_pca_says_that_it_has_no_timescales(models):
    for ask in ("timescales", "kinetic_variance"):
        with pytest.raises(ParameterError, match="PCA has no lag"):
            getattr(models["PCA"], ask) if ask == "kinetic_variance" else models["PCA"].timescales()
    with pytest.raises(ParameterError, match="use cumulative_kinetic_variance"):
        _ = models["TICA"].explained_variance_ratio
    assert models["PCA"].verdicts() == ()


def test_timescales_are_in_ps_and_hold_the_truth(models, mixed):
    times = models["TICA"].timescales(5)
    assert times.unit == "ps"
    assert times[0].contains(80.0)
    assert times[1].contains(30.0)
    frames = cvs.TICA(2, dim=2).fit(mixed).model.timescales()
    assert frames.unit == "frames"
    np.testing.assert_allclose(frames.value * 2.0, times.value[:2], rtol=1e-4)


def test_a_model_rebuilds_its_estimator(models):
    for name, model in models.items():
        again = model.estimator()
        assert type(again) is type(ESTIMATORS[name])
        assert again.get_params() == ESTIMATORS[name].get_params()


def test_settings_may_be_numpy_numbers(mixed):
    model = cvs.TICA(np.int64(2), dim=np.int32(2), epsilon=np.float64(1e-5)).fit(mixed).model
    assert model.estimator().get_params()["lag"] == 2
    assert model.hash == mdinsight.cvs.TICA(2, dim=2, epsilon=1e-5).fit(mixed).model.hash


def test_explain_finds_the_column_that_moves():
    generator = np.random.default_rng(5)
    slow = np.cumsum(generator.standard_normal(3000)) / 20
    noise = generator.standard_normal((3000, 3))
    arrays = [np.column_stack([noise[:, 0], slow, noise[:, 1], slow + 0.01 * noise[:, 2]])]
    columns = [
        Column("phi ALA1", residues=("ALA1",)),
        Column("d(ALA2, ALA3)", residues=("ALA2", "ALA3")),
        Column("psi ALA1", residues=("ALA1",)),
        Column("chi1 ALA3", residues=("ALA3",)),
    ]
    series = TimeSeries(arrays, 1.0, columns)
    explained = cvs.TICA(5, dim=1).fit(series).model.explain(top=2)
    first = explained.coordinates[0]
    # The two columns are nearly copies of each other and share the coordinate between them.
    assert {f.name for f in first.features} == {"d(ALA2, ALA3)", "chi1 ALA3"}
    for feature in first.features:
        assert feature.share == pytest.approx(0.5, abs=0.03)
        assert abs(feature.correlation) > 0.99
    assert [r.name for r in first.residues] == ["ALA3", "ALA2", "ALA1"]
    assert first.residues[0].share == pytest.approx(0.75, abs=0.03)
    assert len(explained.table) == 2
    text = str(explained)
    assert "TIC 1  (timescale" in text
    assert "residues: ALA3 7" in text
    assert "2 others" in text


@pytest.mark.parametrize("name", ESTIMATORS)
def test_shares_sum_to_one_and_correlations_are_those_of_numpy(models, named, name):
    model = models[name]
    np.testing.assert_allclose(model.shares.sum(axis=0), 1.0)
    assert model.shares.min() >= 0.0
    x, y = named.concatenated(), model.transform(named).concatenated()
    expected = np.corrcoef(x.T, y.T)[:5, 5:]
    # TICA's and VAMP's come from the pairs, the networks' from a sample of frames.
    np.testing.assert_allclose(model.correlations, expected, atol=1e-6 if name == "PCA" else 0.05)


def test_a_networks_share_is_its_gradient(models, named):
    model = models["SRV"]
    rows = np.concatenate([x[:: named.n_frames // 2000] for x in named]).astype(float)
    slopes = np.mean([np.abs(model.value_and_vjp(x, [0.0, 1.0])[1]) for x in rows], axis=0) * model.deviations
    np.testing.assert_allclose(model.shares[:, 1], slopes / slopes.sum(), rtol=1e-9)


def test_explain_refuses_a_senseless_top(models):
    with pytest.raises(ParameterError, match="top=0"):
        models["TICA"].explain(top=0)


def test_verdicts_say_when_the_data_are_too_short(autoregressive):
    short = cvs.TICA(5, dim=1).fit(autoregressive(2000, [300.0], 2)).model
    assert not short.verdicts()[1].holds
    assert "longer trajectories" in str(short.verdicts()[1])
    long = cvs.TICA(5, dim=1).fit([autoregressive(2000, [20.0], i) for i in range(16)]).model
    assert all(verdict.holds for verdict in long.verdicts())
    rare = [0.3 * autoregressive(600, [2.0], i) for i in range(16)]
    rare[5][:, 0] += np.where(np.arange(600) < 300, 3.0, -3.0)
    (visits,) = [v for v in cvs.TICA(5, dim=1).fit(rare).model.verdicts() if v.subject == "visits to the slow process"]
    assert not visits.holds
    nothing = cvs.TICA(50, dim=1).fit([autoregressive(2000, [2.0], i) for i in range(16)]).model
    assert not nothing.verdicts()[0].holds


def test_many_short_trajectories_do_not_add_up_to_a_long_one():
    """2000 trajectories of 50 frames, all started in one of two states that exchange with t = 333 frames."""
    generator = np.random.default_rng(0)
    state, frames = np.zeros(2000), []
    for _ in range(50):
        frames.append(state)
        stay = generator.random(2000) < np.where(state == 0, 0.999, 0.998)
        state = np.where(stay, state, 1 - state)
    x = [row[:, None] + 0.01 * generator.standard_normal((50, 1)) for row in np.transpose(frames)]
    model = cvs.TICA(lag=10, dim=1).fit(x).model
    verdict = {verdict.subject: verdict for verdict in model.verdicts()}["length of the data"]
    assert model.block_frames == 50
    assert float(model.timescales(1).high[0]) < 333  # what the verdict warns of
    assert not verdict.holds
    assert "pieces of about 50 frames" in verdict.says and "longer trajectories" in verdict.remedy
