import numpy as np
import pytest

from mdinsight.errors import LagError, NonFiniteError, ParameterError, SelectionError
from mdinsight.series import Column, Origin, TimeSeries, as_series


@pytest.fixture
def series():
    arrays = [np.arange(20.0).reshape(10, 2), 100 + np.arange(8.0).reshape(4, 2)]
    return TimeSeries(
        arrays, "2 ps", [Column("cos phi ALA2"), Column("sin phi ALA2")], [Origin("a.xtc"), Origin("b.xtc", 50, 5)]
    )


def test_a_lagged_pair_never_crosses_the_end_of_a_trajectory(series):
    for chunk in (1, 3, 100):
        pairs = [(x, y) for a, b in series.lagged_pairs(3, chunk) for x, y in zip(a, b, strict=True)]
        assert len(pairs) == 7 + 1
        assert all((y - x == 6).all() for x, y in pairs)
        assert all((x < 100).all() == (y < 100).all() for x, y in pairs)


def test_a_lag_longer_than_every_trajectory_is_refused(series):
    assert series.lag_frames("18 ps") == 9
    with pytest.raises(LagError, match=r"20 ps is not shorter than the longest of the 2 trajectories \(20 ps\)"):
        series.lag_frames("20 ps")
    with pytest.raises(LagError, match=r"lag=12 frames \(24 ps\) is not shorter .* \(10 frames \(20 ps\)\)"):
        series.lag_frames(12)


def test_a_bad_value_is_named_by_file_frame_and_column(series):
    arrays = [np.array(a) for a in series]
    arrays[1][2, 1] = np.nan
    with pytest.raises(NonFiniteError, match=r"b\.xtc, frame 60: column 'sin phi ALA2' is nan"):
        TimeSeries(arrays, 2.0, series.columns, series.origins)
    arrays[1][2, 1] = np.inf
    with pytest.raises(NonFiniteError, match="inf"):
        TimeSeries(arrays, 2.0, series.columns, series.origins)


def test_columns_are_selected_by_name(series):
    assert series.select("cos*").names == ("cos phi ALA2",)
    assert np.array_equal(series.select("sin*")[0], series[0][:, 1:])
    with pytest.raises(SelectionError, match=r"no column matches 'psi\*'; the columns are 'cos phi ALA2'"):
        series.select("psi*")
    with pytest.raises(SelectionError, match=r"try '\*ALA2\*'$"):
        series.select("ALA2")
    for patterns, words in (
        ([["cos*", "sin*"]], r"one by one: select\('cos\*', 'sin\*'\)"),
        ([[]], "one by one"),
        ([3], "a pattern is a string"),
        ([], "no pattern"),
    ):
        with pytest.raises(ParameterError, match=words):
            series.select(*patterns)


def test_taking_trajectories_keeps_where_they_came_from(series):
    again = series.take([1, 1, 0])
    assert [o.file for o in again.origins] == ["b.xtc", "b.xtc", "a.xtc"] and again.dt == 2.0
    assert series[1:].n_frames == 4


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [np.zeros((3, 2)), np.zeros((3, 1))],
        [np.zeros((0, 2))],
        [np.array(["a"])],
        [np.zeros((2, 2, 2))],
        "x.xtc",
        3,
    ],
)
def test_what_is_no_series_is_refused(bad):
    with pytest.raises(ParameterError):
        as_series(bad)


def test_plain_arrays_are_welcome():
    assert as_series(np.zeros(5)).n_columns == 1
    assert as_series([np.zeros((5, 3)), np.zeros((2, 3))]).n_frames == 7
