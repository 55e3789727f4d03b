"""k-means of a stream: scikit-learn's centres from the same start, for any number of workers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans as Theirs

import mdinsight as mdi
from mdinsight.errors import DegenerateError, ParameterError, StatisticsWarning
from mdinsight.features import Torsions
from mdinsight.series import TimeSeries
from mdinsight.states import KMeans, MiniBatchKMeans, RegularSpace, as_discrete
from mdinsight.states._lloyd import Cells, Sample, lloyd


@pytest.fixture(scope="module")
def trajs(examples):
    return mdi.open(sorted((examples / "ala2_fast").glob("*.xtc"))[:2], top=examples / "ala2_fast/top.pdb", stride=2)


@pytest.fixture(scope="module")
def stream(trajs):
    return Torsions("phi psi").stream(trajs)


@pytest.fixture(scope="module")
def rows(stream):
    return stream.load().concatenated().astype(np.float64)


@pytest.mark.parametrize("n_states", [2, 15, 60])
def test_centres_are_scikit_learns_from_the_same_start(stream, rows, n_states):
    start = rows[:: len(rows) // n_states][:n_states]
    theirs = Theirs(n_states, init=start, n_init=1, tol=1e-4, algorithm="lloyd").fit(rows)
    ours = lloyd(stream, start, 300)
    np.testing.assert_allclose(ours.centers, theirs.cluster_centers_, atol=1e-10)
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-10) and ours.converged


def test_an_empty_cell_is_given_the_row_farthest_from_its_centre():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 0.1, (300, 2)), rng.normal(5, 0.1, (300, 2)), [[9.0, 9.0]]])
    start = np.array([[0.0, 0.0], [5.0, 5.0], [100.0, 100.0]])
    theirs = Theirs(3, init=start, n_init=1).fit(x)
    ours = lloyd(TimeSeries([x[:250], x[250:]]), start, 300)
    np.testing.assert_allclose(ours.centers, theirs.cluster_centers_, atol=1e-10)


def test_any_number_of_workers_gives_the_same_bits(trajs):
    models = [KMeans(20, seed=3).fit(Torsions("phi psi").stream(trajs, workers=n)).model for n in (1, 2)]
    assert models[0].hash == models[1].hash


def test_a_stream_as_small_as_the_sample_starts_as_in_memory(stream, rows):
    streamed = KMeans(12, seed=1).fit(stream)
    memory = KMeans(12, seed=1).fit(stream.load())
    assert streamed.model.inertia == pytest.approx(memory.model.inertia, rel=0.02)
    dtrajs = streamed.transform(stream)
    np.testing.assert_array_equal(dtrajs.concatenated(), streamed.transform(stream.load()).concatenated())
    assert dtrajs.origins == stream.origins and streamed.model.coordinate == stream.definition
    assert KMeans(12, seed=1, n_init=3).fit(stream).model.inertia <= streamed.model.inertia


def test_the_sample_is_evenly_spaced(stream, rows):
    sample = Sample(stream, 1000)
    stream.sweep([sample])
    np.testing.assert_array_equal(sample.rows, rows[:: -(-len(rows) // 1000)])


def test_mini_batches_come_near_k_means(stream):
    exact = KMeans(12, seed=1).fit(stream).model
    small = MiniBatchKMeans(12, seed=1).fit(stream).model
    assert small.n_states == 12 and exact.inertia <= 1.02 * small.inertia < 1.3 * exact.inertia
    cells = Cells(small.centers)
    stream.sweep([cells])
    assert cells.counts.sum() == stream.n_frames and small.inertia == cells.inertia


def test_what_cannot_be_done_says_what_to_do(stream, trajs, monkeypatch):
    with pytest.raises(
        ParameterError, match=r"RegularSpace needs the coordinates in memory.*model\.transform\(stream\)"
    ):
        RegularSpace(1.0).fit(stream)
    with pytest.warns(StatisticsWarning, match="max_iter=2"):
        KMeans(30, max_iter=2).fit(stream)
    one = mdi.open(trajs[0].path, top=trajs[0].topology, stop=5)
    with pytest.raises(DegenerateError, match="only 5 distinct points"):
        KMeans(6).fit(Torsions("phi").stream(one))
    monkeypatch.setattr("mdinsight.states._estimators._SAMPLE_BYTES", 10 * 8 * stream.n_columns)
    for estimator in (KMeans(12), MiniBatchKMeans(12)):
        with pytest.raises(
            DegenerateError, match=r"the \d+ rows that the start is drawn from .* are only \d+ distinct"
        ):
            estimator.fit(stream)
    for data in (stream, stream.definition, trajs):
        with pytest.raises(ParameterError, match="cluster first"):
            as_discrete(data)
    with pytest.raises(ParameterError, match="workers='all'"):
        KMeans(3).fit(stream).model.transform(stream, workers="all")
