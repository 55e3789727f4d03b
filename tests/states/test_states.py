"""Clustering: the right cells, the same ones whatever the seed's environment, and errors that name the cause."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from mdinsight import seeds
from mdinsight.errors import DegenerateError, NonFiniteError, NotFittedError, ParameterError
from mdinsight.records import load
from mdinsight.series import Column, Origin, TimeSeries
from mdinsight.states import Clustering, KMeans, MiniBatchKMeans, RegularSpace, as_discrete

CENTERS = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])


@pytest.fixture(scope="module")
def blobs() -> TimeSeries:
    rng = np.random.default_rng(0)
    arrays = [CENTERS[rng.integers(4, size=700)] + rng.normal(0, 0.3, (700, 2)) for _ in range(3)]
    columns = (Column("TIC 1"), Column("TIC 2"))
    origins = [Origin(f"{i}.xtc", start=10, step=2) for i in range(3)]
    return TimeSeries([a.astype(np.float32) for a in arrays], dt=2.0, columns=columns, origins=origins)


@pytest.mark.parametrize("estimator", [KMeans(4, seed=3), MiniBatchKMeans(4, seed=3), RegularSpace(dmin=3.0)])
def test_blobs_are_found(blobs: TimeSeries, estimator) -> None:
    dtrajs = estimator.fit_transform(blobs)
    assert estimator.model.n_states == 4
    own = np.argmin(((blobs.concatenated()[:, None] - CENTERS) ** 2).sum(-1), axis=1)
    found = dtrajs.concatenated()[:, 0]
    assert len(set(zip(own, found, strict=True))) == 4  # one to one
    assert dtrajs.names == ("state",) and dtrajs[0].dtype == np.int32
    assert dtrajs.dt == 2.0 and dtrajs.origins == blobs.origins
    assert dtrajs.definition == estimator.model
    np.testing.assert_array_equal(estimator.transform(blobs)[1], dtrajs[1])


def test_kmeans_centres_are_the_means_of_their_cells(blobs: TimeSeries) -> None:
    model = KMeans(12, seed=1).fit(blobs).model
    states, rows = model.transform(blobs).concatenated()[:, 0], blobs.concatenated().astype(float)
    means = np.array([rows[states == k].mean(axis=0) for k in range(12)])
    np.testing.assert_allclose(means, model.centers, atol=0.02)
    assert model.inertia == pytest.approx(((rows - model.centers[states]) ** 2).sum())


def test_seed_decides_and_threads_do_not(blobs: TimeSeries) -> None:
    models = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            models.append(KMeans(30, seed=5).fit(blobs).model)
    assert models[0].hash == models[1].hash
    assert KMeans(30, seed=6).fit(blobs).model.hash != models[0].hash
    assert MiniBatchKMeans(30, seed=5).fit(blobs).model == MiniBatchKMeans(30, seed=5).fit(blobs).model


def test_transform_does_not_depend_on_workers(blobs: TimeSeries) -> None:
    model = KMeans(25, seed=0).fit(blobs).model
    whole = model.transform(blobs).concatenated()
    for workers in (1, 2, 3):
        np.testing.assert_array_equal(model.transform(blobs, workers=workers).concatenated(), whole)


def test_regular_space_keeps_its_distance(blobs: TimeSeries) -> None:
    centers = RegularSpace(dmin=0.7).fit(blobs).model.centers
    distances = np.linalg.norm(centers[:, None] - centers, axis=-1)
    assert distances[~np.eye(len(centers), dtype=bool)].min() >= 0.7
    rows = blobs.concatenated()
    assert np.linalg.norm(rows[:, None] - centers, axis=-1).min(axis=1).max() <= 0.7
    searched = RegularSpace(max_states=40).fit(blobs).model.centers
    assert 25 < len(searched) <= 40
    assert len(RegularSpace(max_states=9).fit([np.repeat([0.0, 1.0, 2.0], 9)]).model.centers) == 3
    with pytest.raises(ParameterError, match="max_states=5"):
        RegularSpace(dmin=0.1, max_states=5).fit(blobs)
    with pytest.raises(ParameterError, match="dmin"):
        RegularSpace(dmin=0.0).fit(blobs)


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
def test_more_states_than_points(kind) -> None:
    points = np.repeat(np.array([[0.0], [1.0], [2.0]]), 50, axis=0)
    assert kind(3).fit(points).model.n_states == 3
    with pytest.raises(DegenerateError, match="only 3 distinct points"):
        kind(4).fit(points)
    with pytest.raises(ParameterError, match="n_states"):
        kind(0).fit(points)


def test_bad_input(blobs: TimeSeries) -> None:
    bad = blobs[0].copy()
    bad[17, 1] = np.nan
    with pytest.raises(NonFiniteError, match="frame 17"):
        KMeans(3).fit([bad])
    model = KMeans(3).fit(blobs).model
    with pytest.raises(ParameterError, match="2 columns, these data have 1"):
        model.transform([blobs[0][:, :1]])
    with pytest.raises(NotFittedError):
        _ = KMeans(3).model
    other = TimeSeries(blobs.arrays, definition=model)
    on_other = model.replace(coordinate=model)
    assert on_other.transform(other).n_frames == blobs.n_frames
    with pytest.raises(ParameterError, match="another coordinate"):
        on_other.transform(TimeSeries(blobs.arrays, definition=on_other))


def test_conventions_and_saving(blobs: TimeSeries, tmp_path) -> None:
    estimator = KMeans(5, seed=2)
    assert clone(estimator).get_params() == estimator.get_params()
    assert list(estimator.get_feature_names_out()) == ["state"]
    model = estimator.fit(blobs).model
    again = load(model.save(tmp_path / "states.model"))
    assert isinstance(again, Clustering) and again.hash == model.hash
    np.testing.assert_array_equal(again.transform(blobs)[2], model.transform(blobs)[2])
    assert model.settings["n_states"] == 5 and model.columns == blobs.columns


def test_as_discrete() -> None:
    given = TimeSeries([np.array([[0], [2]], dtype=np.int32)], dt=5.0, origins=[Origin("a.xtc")])
    discrete = as_discrete(given)
    assert discrete.dt == 5.0 and discrete.n_states == 3 and discrete.origins[0].file == "a.xtc"
    np.testing.assert_array_equal(discrete.histogram(), [1, 0, 1])
    assert as_discrete(discrete) is discrete
    assert as_discrete([0, 1, 1]).n_frames == 3
    assert as_discrete(np.array([0.0, 4.0])).arrays[0].dtype == np.int32
    assert [len(a) for a in as_discrete([np.array([0, 1]), np.array([1.0])])] == [2, 1]


@pytest.mark.parametrize(
    ("dtrajs", "words"),
    [
        ([np.array([0, 1, -1, -1])], "state -1 is negative \\(2 such frames\\)"),
        ([np.array([0.5, 1.0])], "no whole number"),
        ([np.zeros((4, 2), dtype=int)], "these have 2"),
        ("abc", "got 'abc'"),
        ([], "at least one"),
        ([np.array([], dtype=int)], "no frames"),
    ],
)
def test_as_discrete_refuses(dtrajs, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        as_discrete(dtrajs)


def test_seeds_are_branches() -> None:
    assert seeds.integer(1, "states.kmeans") != seeds.integer(1, "states.minibatch")
