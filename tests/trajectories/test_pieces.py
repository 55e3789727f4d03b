"""Gaps, steps back and repeated frames in time: no piece holds two frames that are not one time step apart."""

import mdtraj
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mdtraj.formats import TRRTrajectoryFile, XTCTrajectoryFile

import mdinsight as mdi
from mdinsight.errors import DataWarning
from mdinsight.trajectories._pieces import cut

SINGLE = 2.0**-24


def spans(times, error=SINGLE):
    found = cut(np.asarray(times, np.float64), range(len(times)), error)
    return [(piece.frames.start, piece.frames[-1] + 1, piece.frames.step, piece.dt) for piece in found.pieces], found


def single(times):
    return np.asarray(times, np.float32).astype(np.float64)


def test_even_times_are_one_piece():
    for dt in (0.002, 0.1, 0.2, 1.0, 2.5, 50.0):
        for start in (0.0, 1.0, 123.4):
            assert spans(single(start + dt * np.arange(5000)))[0] == [(0, 5000, 1, dt)]


@pytest.mark.parametrize("dt", [0.02, 0.1, 1.0, 4.0])
@pytest.mark.parametrize("begin", [1e5, 3e6, 5e7])
def test_noise_of_float32_at_large_times_is_no_gap(dt, begin):
    times = single(begin + dt * np.arange(20_000))
    pieces, found = spans(times)
    assert len(pieces) == 1 and not found.repeated
    if 20_000 * dt > 1e3 * begin * SINGLE:
        assert pieces[0][3] == pytest.approx(dt, rel=1e-2)


def test_gap_step_back_and_repeated_frame():
    even = 2.0 * np.arange(10)
    pieces, found = spans(np.concatenate([even, even + 50, even + 20]))
    assert pieces == [(0, 10, 1, 2.0), (10, 20, 1, 2.0), (20, 30, 1, 2.0)]
    assert [(b.frame, b.before, b.after) for b in found.breaks] == [(10, 18.0, 50.0), (20, 68.0, 20.0)]
    assert "steps back" in found.breaks[1].what and "goes from 18 to 50 ps" in found.breaks[0].what
    pieces, found = spans(np.concatenate([even, even + 18]))  # the last frame is written again
    assert pieces == [(0, 10, 1, 2.0), (11, 20, 1, 2.0)]
    assert found.repeated == (10,) and not found.breaks


def test_every_frame_written_twice():
    pieces, found = spans(np.repeat(2.0 * np.arange(10), 2))
    assert pieces == [(0, 19, 2, 2.0)] and len(found.repeated) == 10


def test_two_saving_intervals_in_one_file():
    pieces, _ = spans(np.concatenate([np.arange(100.0), 99 + 5.0 * np.arange(1, 51)]))
    assert pieces == [(0, 100, 1, 1.0), (100, 150, 1, 5.0)]


def test_times_that_say_nothing():
    pieces, found = spans(np.zeros(7))
    assert pieces == [(0, 7, 1, None)] and found.no_clock
    assert spans([3.0])[0] == [(0, 1, 1, None)]
    assert cut(None, range(4), 0.0).pieces[0].frames == range(4)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    jumps=st.lists(st.sampled_from([-1000.0, -7.0, 0.0, 0.4, 1.7, 3.0, 500.0]), min_size=8, max_size=8),
    dt=st.sampled_from([0.2, 1.0, 2.5]),
)
def test_any_file_is_cut_into_even_pieces_that_hold_every_frame(lengths, jumps, dt):
    times, now = [], 100.0
    for length, jump in zip(lengths, jumps, strict=False):
        times += [now + dt * i for i in range(length)]
        now = times[-1] + jump * dt
    times = single(times)
    found = cut(times, range(len(times)), SINGLE)
    seen = sorted([frame for piece in found.pieces for frame in piece.frames] + list(found.repeated))
    assert seen == list(range(len(times))) or found.no_clock
    for piece in found.pieces:
        steps = np.diff(times[list(piece.frames)])
        if len(steps) and not found.no_clock:
            np.testing.assert_allclose(steps, piece.dt, rtol=0.02, atol=1e-3)


@pytest.fixture
def broken(plain, tmp_path):
    """A file with a gap after frame 9 and a repeated frame 15."""
    frames = mdtraj.Trajectory(plain.xyz[[*range(15), 14, *range(15, 20)]], plain.topology)
    frames.time = np.array([*range(10), *range(20, 25), 24, *range(25, 30)], float) * 2.0
    frames.save_xtc(str(tmp_path / "broken.xtc"))
    return tmp_path / "broken.xtc"


def test_a_file_with_a_gap_is_opened_as_several_trajectories(broken, top, plain):
    with pytest.warns(DataWarning) as caught:
        trajs = mdi.open(broken, top=top)
    texts = [str(item.message) for item in caught]
    assert texts == list(trajs.notes)
    assert texts[0].endswith("1 frame with the time of the frame before left out (frame 15)")
    assert texts[1].endswith("the time goes from 18 to 40 ps at frame 10; it is opened as 3 trajectories")
    assert [traj.label for traj in trajs] == ["broken.xtc[0:10]", "broken.xtc[10:15]", "broken.xtc[16:21]"]
    assert [(traj.n_frames, traj.dt, traj.index) for traj in trajs] == [(10, 2.0, 0), (5, 2.0, 1), (5, 2.0, 2)]
    assert [(traj.origin.start, traj.origin.step) for traj in trajs] == [(0, 1), (10, 1), (16, 1)]
    np.testing.assert_allclose(np.concatenate([chunk.xyz for chunk in trajs.iter_chunks(4)]), plain.xyz, atol=1e-6)
    np.testing.assert_array_equal(trajs[2].read_chunk(1, 3).time, [52.0, 54.0])
    assert "in 3 pieces" in str(trajs) and "note: " in str(trajs)


def test_a_stride_does_not_cross_a_gap(broken, top):
    with pytest.warns(DataWarning):
        trajs = mdi.open(broken, top=top, stride=3)
    assert trajs.dt == 6.0
    assert [list(traj.times) for traj in trajs] == [[0, 6, 12, 18], [40, 46], [50, 56]]


def test_start_and_stop_can_leave_the_gap_out(broken, top):
    trajs = mdi.open(broken, top=top, stop=10)
    assert len(trajs) == 1 and trajs.n_frames == 10 and not trajs.notes


def test_a_given_dt_does_not_hide_the_gap(broken, top):
    with pytest.warns(DataWarning):
        trajs = mdi.open(broken, top=top, dt="10 ps")
    assert trajs.dt == 10.0 and [traj.n_frames for traj in trajs] == [10, 5, 5]


def test_times_all_zero_ask_for_dt(plain, top, tmp_path):
    frames = mdtraj.Trajectory(plain.xyz, plain.topology, time=np.zeros(20))
    frames.save_xtc(str(tmp_path / "zero.xtc"))
    with pytest.warns(DataWarning, match="all its frames have the same time"):
        trajs = mdi.open(tmp_path / "zero.xtc", top=top)
    assert trajs.dt is None and trajs[0].times is None
    trajs = mdi.open(tmp_path / "zero.xtc", top=top, dt=2.0)
    assert trajs.dt == 2.0
    np.testing.assert_array_equal(trajs[0].times, 2.0 * np.arange(20))


def without(times, *missing):
    return np.delete(times, missing)


@pytest.mark.parametrize(("begin", "dt"), [(1e7, 2.0), (1.2e7, 2.0), (1e7, 10.0), (1e6, 0.5), (1e5, 0.1), (3e7, 10.0)])
def test_one_missing_or_repeated_frame_at_long_times(begin, dt):
    times = begin + dt * np.arange(1001)
    assert spans(single(times))[0] == [(0, 1001, 1, dt)]
    pieces, found = spans(single(without(times, 500)))
    assert [piece[:3] for piece in pieces] == [(0, 500, 1), (500, 1000, 1)] and len(found.breaks) == 1
    assert [piece[3] for piece in pieces] == pytest.approx([dt, dt], rel=1e-9)
    pieces, found = spans(single(np.insert(times, 500, times[500])))
    assert [piece[:3] for piece in pieces] == [(0, 501, 1), (502, 1002, 1)]
    assert found.repeated == (501,) and not found.breaks


def test_step_numbers_tell_what_the_times_cannot():
    steps = 500 * np.arange(1001)
    times = 1e8 + 1.0 * np.arange(1001)  # 32-bit times are 8 ps apart there
    for rows in (np.arange(1001), without(np.arange(1001), 500)):
        found = cut(single(times[rows]), range(len(rows)), SINGLE, steps[rows].astype(np.int32))
        wanted = [1001] if len(rows) == 1001 else [500, 500]
        assert [len(piece.frames) for piece in found.pieces] == wanted
    repeated = np.insert(np.arange(1001), 500, 500)
    found = cut(single(times[repeated]), range(1002), SINGLE, steps[repeated].astype(np.int32))
    assert found.repeated == (501,) and not found.breaks


def test_step_numbers_beyond_32_bits_wrap_around():
    steps = (1 << 31) - 50_000 + 500 * np.arange(1001)
    found = cut(single(4e6 + np.arange(1001)), range(1001), SINGLE, steps.astype(np.uint32).astype(np.int32))
    assert [(piece.frames, piece.dt) for piece in found.pieces] == [(range(1001), 1.0)]


def test_frames_numbered_instead_of_steps_do_not_hide_a_gap():
    times = without(1e7 + 2.0 * np.arange(1001), 500)
    found = cut(single(times), range(1000), SINGLE, np.arange(1000, dtype=np.int32))
    assert [len(piece.frames) for piece in found.pieces] == [500, 500]
    found = cut(single(times), range(1000), SINGLE, np.ones(1000, np.int32))
    assert [len(piece.frames) for piece in found.pieces] == [500, 500]


@pytest.mark.parametrize("suffix", ["xtc", "trr"])
def test_a_file_of_gromacs_at_ten_microseconds(plain, top, tmp_path, suffix):
    kind = {"xtc": XTCTrajectoryFile, "trr": TRRTrajectoryFile}[suffix]
    rows = without(np.arange(41), 20)
    with kind(str(tmp_path / f"late.{suffix}"), "w") as out:
        xyz, extra = plain.xyz[rows % 20], [] if suffix == "xtc" else [np.zeros(40, np.float32)]
        times, steps = (1e7 + 0.5 * rows).astype(np.float32), (1_000_000_000 + 250 * rows).astype(np.int32)
        out.write(xyz, times, steps, np.broadcast_to(np.zeros((3, 3), np.float32), (40, 3, 3)).copy(), *extra)
    with pytest.warns(DataWarning, match="opened as 2 trajectories"):
        trajs = mdi.open(tmp_path / f"late.{suffix}", top=top)
    assert [traj.n_frames for traj in trajs] == [20, 20]
