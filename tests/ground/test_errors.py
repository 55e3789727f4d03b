"""Whatever is warned of, the warning names the line of whoever called."""

import inspect
import threading
import warnings

import mdtraj
import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.errors import DataWarning, MdinsightWarning, warn_user

FEATURES = mdi.features.Distances([[0, 1], [2, 20]])


@pytest.fixture
def damaged(tmp_path):
    """Trajectories of 20 and 15 frames; frame 12 of the first cannot be decoded."""
    rng = np.random.default_rng(0)
    topology = mdtraj.Topology()
    residue = topology.add_residue("UNK", topology.add_chain())
    for _ in range(22):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    paths = []
    for number, n_frames in enumerate((20, 15)):
        xyz = rng.normal(size=(n_frames, 22, 3)).astype(np.float32)
        paths.append(tmp_path / f"{number}.xtc")
        with mdtraj.formats.XTCTrajectoryFile(str(paths[-1]), "w") as out:
            out.write(xyz, time=2.0 * np.arange(n_frames), step=np.arange(n_frames))
    data = bytearray(paths[0].read_bytes())
    at, frame = 0, 0
    while frame < 12:
        at += 92 + (int.from_bytes(data[at + 88 : at + 92], "big") + 3) // 4 * 4
        frame += 1
    data[at + 92 : at + 120] = b"\xff" * 28
    paths[0].write_bytes(bytes(data))
    return paths, topology


def lines(function):
    """File and text of the line that each warning names."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    caught = [item for item in caught if issubclass(item.category, MdinsightWarning)]
    assert caught
    source = inspect.getsource(inspect.getmodule(lines)).splitlines()
    assert {item.filename for item in caught} == {__file__}
    return {source[item.lineno - 1].strip() for item in caught}


def test_opening_a_torn_file(damaged):
    (_, path), top = damaged
    path.write_bytes(path.read_bytes()[:-10])

    def user():
        mdi.open(path, top=top, progress=True)  # here

    assert lines(user) == {"mdi.open(path, top=top, progress=True)  # here"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pass_over_a_corrupt_file(damaged, workers, tmp_path):
    trajs = mdi.open(damaged[0], top=damaged[1])

    def transform():
        FEATURES.transform(trajs, workers=workers, cache=False, progress=True)  # transform

    def fit():
        stream = FEATURES.stream(trajs, workers=workers, cache=tmp_path)
        mdi.cvs.TICA(lag="2 ps", dim=1).fit(stream)  # fit

    def fit_together():
        jobs = [(mdi.cvs.PCA(dim=1), FEATURES), (mdi.cvs.TICA(lag="2 ps", dim=1), FEATURES)]
        mdi.cvs.fit_together(jobs, trajs, workers, cache=False)  # together

    for user, word in ((transform, "# transform"), (fit, "# fit"), (fit_together, "# together")):
        (line,) = lines(user)
        assert line.endswith(word)


def test_what_an_estimator_leaves_out(damaged):
    trajs = mdi.open(damaged[0], top=damaged[1], stop=10)
    X = FEATURES.transform(trajs, cache=False)
    X = X.with_arrays([X[0], X[1][:3]])

    def lag():
        mdi.cvs.TICA(lag="10 ps", dim=1).fit(X)  # lag

    def constant():
        Y = X.with_arrays([np.column_stack([array[:, 0], np.ones(len(array))]) for array in X.arrays])
        mdi.cvs.PCA(dim=1).fit_transform(Y)  # constant

    def steps():
        mdi.states.KMeans(3, seed=1, max_iter=1).fit(X)  # steps

    for user, word in ((lag, "# lag"), (constant, "# constant"), (steps, "# steps")):
        assert {line.rpartition("#")[2] for line in lines(user)} == {word[1:]}


def test_in_a_thread_of_a_pool_the_place_that_warns_is_named():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = threading.Thread(target=warn_user, args=("text", DataWarning))
        thread.start()
        thread.join()
    assert len(caught) == 1 and caught[0].lineno > 1
