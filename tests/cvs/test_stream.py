"""Fits of streams equal those of the same rows in memory, for any number and kind of workers, together or alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from sklearn.base import clone

import mdinsight as mdi
from mdinsight.cvs import PCA, TICA, VAMP, VAMPNet, _linear, fit_together
from mdinsight.cvs._decompose import Modes
from mdinsight.errors import ParameterError, SelectionError
from mdinsight.features import Distances, Function, Torsions
from mdinsight.states import KMeans

TORSIONS, DISTANCES = Torsions("phi psi"), Distances("element C")
BOTH = TORSIONS + DISTANCES


@pytest.fixture(scope="module")
def trajs(examples):
    files = sorted((examples / "ala2_fast").glob("*.xtc"))[:3]
    return [
        *mdi.open(files[:2], top=examples / "ala2_fast/top.pdb"),
        *mdi.open(files[2], top=examples / "ala2_fast/top.pdb", stop=100),
    ]


@pytest.fixture(scope="module")
def memory(trajs):
    return BOTH.transform(trajs, cache=False)


def same(found, expected, rtol=1e-10):
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(found.matrix, expected.matrix, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(found.samples, expected.samples, rtol=1e-7, atol=1e-9)
    assert (found.columns, found.features, found.lag, found.dt) == (
        expected.columns, expected.features, expected.lag, expected.dt,
    )  # fmt: skip
    assert (found.n_frames, found.n_blocks, found.block_frames) == (
        expected.n_frames, expected.n_blocks, expected.block_frames,
    )  # fmt: skip


# a lag of 1500 frames is longer than the pieces would be, 4000 leaves pairs in one half of a trajectory
@pytest.mark.parametrize("estimator", [PCA(), TICA(20), VAMP(20), TICA(1500), VAMP(4000), TICA(99)])
def test_a_stream_is_fitted_as_its_rows_in_memory(estimator, trajs, memory):
    expected = clone(estimator).fit(memory).model
    models = [clone(estimator).fit(BOTH.stream(trajs, workers=n, cache=False)).model for n in (1, 2, 5)]
    same(models[0], expected)
    assert models[0].hash == models[1].hash == models[2].hash  # to the last bit


def test_no_pair_crosses_the_end_of_a_trajectory(examples):
    # Each swings in antiphase with itself at the lag and begins where the one before it ended: a crossing pair would show.
    topology = mdtraj.load_topology(str(examples / "ala2_fast/top.pdb"))
    xyz = np.zeros((3, 1500, topology.n_atoms, 3), np.float32)
    xyz[:, :, 0, 0] = np.tile([1.0, -1.0], 750)
    xyz[1] *= -1.0
    stream = Function(first_x, "x").stream([mdtraj.Trajectory(x, topology) for x in xyz], cache=False)
    np.testing.assert_allclose(TICA(1, dim=1).fit(stream).model.eigenvalues, [-1.0], atol=1e-12)


def first_x(frames):
    return frames.xyz[:, 0, 0]


def test_several_are_fitted_in_one_pass(trajs, memory, tmp_path):
    counted.seen = []
    x = Function(counted, "x")
    jobs = [(TICA(20), TORSIONS + x), (PCA(), BOTH), (VAMP(5), x + DISTANCES), (TICA(9), BOTH)]
    fitted = fit_together(jobs, trajs, cache=tmp_path)
    together, counted.seen = counted.seen, []
    TICA(20).fit((TORSIONS + x).stream(trajs, cache=False))
    # as for one alone: pieces overlap by the longest lag
    assert sum(together) == sum(counted.seen) < 1.05 * memory.n_frames
    assert fitted == tuple(estimator for estimator, _ in jobs)
    for estimator, features in jobs:
        same(estimator.model, clone(estimator).fit(features.transform(trajs, cache=False)).model)
    counted.seen = []
    again = fit_together(
        [(TICA(20, dim=1, scaling=None), TORSIONS + x), (TICA(40), x + DISTANCES)], trajs, cache=tmp_path
    )
    assert counted.seen == []
    np.testing.assert_array_equal(again[0].model.eigenvalues, jobs[0][0].model.eigenvalues)


def counted(frames):
    counted.seen.append(len(frames.xyz))
    return frames.xyz[:, 0, 0]


def test_a_second_fit_needs_no_pass(trajs, tmp_path, monkeypatch):
    first = TICA(20).fit(BOTH.stream(trajs, cache=tmp_path)).model
    stream = BOTH.stream(trajs, cache=tmp_path)
    monkeypatch.setattr(stream, "sweep", None)
    assert TICA(20).fit(stream).model == first
    np.testing.assert_array_equal(TICA(20, dim=4, scaling=None).fit(stream).model.eigenvalues, first.eigenvalues)
    with pytest.raises(TypeError):
        TICA(21).fit(stream)


@pytest.mark.parametrize("estimator", [TICA(20), VAMP(20)])
def test_a_second_fit_resamples_only_what_was_not(estimator, trajs, tmp_path, monkeypatch):
    resamplings, bootstrap = [], _linear.bootstrap
    monkeypatch.setattr(_linear, "bootstrap", lambda *args: resamplings.append(args) or bootstrap(*args))

    def fit(cache=tmp_path, **changed):
        return clone(estimator).set_params(**changed).fit(BOTH.stream(trajs, cache=cache)).model

    first = fit()
    assert first.samples.shape == (100, len(first.eigenvalues)) and len(resamplings) == 1
    assert fit() == first and len(resamplings) == 1
    for number, changed in enumerate(({"seed": 1}, {"n_bootstrap": 50}, {"epsilon": 1e-3}), 2):
        model = fit(**changed)
        assert len(resamplings) == number and len(model.samples) == changed.get("n_bootstrap", 100)
        assert model == fit(cache=False, **changed)
        assert len(resamplings) == number + 1
        resamplings.pop()
    assert fit() == first and len(resamplings) == 4
    np.testing.assert_array_equal(fit(dim=1, scaling="kinetic_map").samples, first.samples)
    assert len(resamplings) == 4
    for entry in tmp_path.rglob("*.npy"):  # sums, resamplings and features, each of them damaged alone
        content = entry.read_bytes()
        entry.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
        assert fit() == first
    assert len(resamplings) == 5


def test_resamplings_are_of_the_class_that_solved(trajs, tmp_path):
    first = TICA(20).fit(BOTH.stream(trajs, cache=tmp_path)).model
    other = Halved(20).fit(BOTH.stream(trajs, cache=tmp_path)).model
    np.testing.assert_allclose(other.samples, first.samples / 2)


class Halved(TICA):
    def modes(self, moments):
        found = super().modes(moments)
        return Modes(found.values / 2, found.left, found.right)


def test_sets_computed_together_give_the_bits_that_the_cache_gives(trajs, tmp_path):
    jobs = [(PCA(), BOTH), (VAMP(5), DISTANCES + TORSIONS)]
    first = fit_together(jobs, trajs, cache=tmp_path)
    models = [estimator.model for estimator in first]
    for entry in tmp_path.rglob("*.npy"):
        if np.load(entry).dtype == np.float64:
            entry.unlink()
    again = fit_together([(clone(e), f) for e, f in jobs], trajs, cache=tmp_path)
    assert [estimator.model for estimator in again] == models


@pytest.mark.parametrize(
    ("jobs", "words"),
    [
        ([], "at least one pair"),
        ([(VAMPNet(2), TORSIONS)], "VAMPNet.*features.transform"),
        ([(KMeans(5), TORSIONS)], r"KMeans\(...\).fit\(features.stream\(trajs\)\)"),
        ([(TORSIONS, TICA(2))], r"got Torsions where an estimator stands; give pairs of \(estimator, features\)"),
        ({TICA(2): TORSIONS}, "needs a list, got dict; give pairs"),
        ([(PCA(), TORSIONS), (TICA(10**6), TORSIONS)], r"TICA: lag=1000000 frames \("),
        ([(TICA(2), np.zeros((5, 2)))], "features for TICA, got ndarray"),
        ([TICA(2)], "needs features for TICA, got NoneType"),
    ],
)
def test_what_cannot_be_fitted_together(jobs, words, trajs):
    with pytest.raises(ParameterError, match=words):
        fit_together(jobs, trajs)


def test_what_is_no_data_yet(trajs):
    with pytest.raises(ParameterError, match=r"makes the stream for PCA itself.*stream\.definition"):
        fit_together([(PCA(), TORSIONS.stream(trajs, cache=False))], trajs)
    for data in (TORSIONS, trajs, trajs[0]):
        with pytest.raises(ParameterError, match=r"compute features first, and give features\.stream\(trajs\)"):
            TICA(2).fit(data)


def test_no_lag_is_refused_before_a_pass(trajs):
    message = r"TICA: lag=None is no lag time; give .* such as TICA\(lag='10 ps'\)"
    with pytest.raises(ParameterError, match=message):
        TICA(lag=None).fit(BOTH.stream(trajs, cache=False))
    with pytest.raises(ParameterError, match=message):
        fit_together([(TICA(lag=None), TORSIONS), (PCA(), TORSIONS)], trajs)


def test_a_stream_is_transformed_and_scored(trajs, memory):
    stream = BOTH.stream(trajs, cache=False)
    model = TICA(20).fit(memory).model
    found, expected = model.transform(stream), model.transform(memory)
    assert found.names == expected.names and found.origins == expected.origins and found.definition == model
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    ours, theirs = model.score_cv(stream, folds=3), model.score_cv(memory, folds=3)
    np.testing.assert_allclose(ours.test_folds, theirs.test_folds, rtol=1e-9)
    with pytest.raises(
        SelectionError, match="the columns of the data are not those that this TICA model was fitted on"
    ):
        model.score_cv(TORSIONS.stream(trajs, cache=False), folds=3)
    pca = mdi.cvs.score_cv(PCA(), stream, folds=3, lag=20)
    np.testing.assert_allclose(pca.test_folds, mdi.cvs.score_cv(PCA(), memory, folds=3, lag=20).test_folds, rtol=1e-9)


def test_a_dask_cluster_gives_the_same(trajs, memory, tmp_path):
    distributed = pytest.importorskip("distributed")
    expected = TICA(20).fit(BOTH.stream(trajs, workers=2, cache=False)).model
    with (
        distributed.LocalCluster(
            2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path / "dask"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        stream = BOTH.stream(trajs, workers=client.get_executor(), cache=tmp_path / "cache")
        model = TICA(20).fit(stream).model
        same(model, expected, 1e-12)
        assert (
            len(list((tmp_path / "cache").rglob("*.npy"))) == 3 + 2
        )  # written by the workers, moments and resamplings
        Y = model.transform(stream)
        np.testing.assert_allclose(Y[2], model.transform(memory)[2], rtol=1e-10, atol=1e-12)
        shifted = Function(lambda frames: frames.xyz[:, 0, 0] + 1.0, "x").stream(
            trajs, workers=client.get_executor(), cache=False
        )
        np.testing.assert_allclose(PCA().fit(shifted).model.n_frames, memory.n_frames)
    with pytest.raises(ParameterError, match="the executor of this stream is closed"):
        PCA().fit(shifted)


def test_files_to_a_model_load_no_library_that_is_not_needed(examples, tmp_path):
    code = (
        "import sys, mdinsight as mdi\n"
        f"trajs = mdi.open({str(examples / 'ala2_fast/ala2_fast-00.xtc')!r}, top={str(examples / 'ala2_fast/top.pdb')!r})\n"
        "stream = mdi.features.Torsions('phi psi').stream(trajs)\n"
        "mdi.cvs.TICA(20).fit(stream).model.transform(stream)\n"
        "print(sorted(set('torch deeptime matplotlib MDAnalysis pymbar distributed'.split()) & set(sys.modules)))"
    )
    root = Path(mdi.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
