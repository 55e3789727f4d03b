"""Cutting a file at gaps in time into pieces whose frames are evenly spaced."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from mdinsight.trajectories._formats import SINGLE

TOLERANCE = 0.01
"""A step that differs from the others by more than this part of it (and by more than times are exact to) is a gap."""
_AROUND = 5
"""Times before and after a step that tell whether it is noise or a gap."""


@dataclass(frozen=True)
class Piece:
    """Frames ``frames`` (a range of frame numbers of the file) that are ``dt`` ps apart (None: not known)."""

    frames: range
    dt: float | None
    slack: float = 0.0
    """How far the stored times may put ``dt`` off, in ps."""


@dataclass(frozen=True)
class Break:
    """Why a piece ended before the file did: the time goes from ``before`` to ``after`` ps at frame ``frame``."""

    frame: int
    before: float
    after: float

    @property
    def what(self) -> str:
        """In words."""
        if self.after < self.before:
            return f"the time steps back from {self.before:.10g} to {self.after:.10g} ps at frame {self.frame}"
        return f"the time goes from {self.before:.10g} to {self.after:.10g} ps at frame {self.frame}"


@dataclass(frozen=True)
class Cut:
    """A file cut into pieces."""

    pieces: tuple[Piece, ...]
    breaks: tuple[Break, ...] = ()
    repeated: tuple[int, ...] = ()
    """Frames left out because the frame before them has the same time."""
    no_clock: bool = False
    """The file's times say nothing: all of them are the same."""


def cut(times: np.ndarray | None, frames: range, error: float, numbers: np.ndarray | None = None) -> Cut:
    """Cut the frames of a file where their times are not evenly spaced.

    A 32-bit time has a resolution of 1 ps at 10 microseconds, so there a missing frame hardly shows in the time. Where
    the times are those of the step numbers, to rounding, the step numbers decide.

    Parameters
    ----------
    times
        Time in ps of every frame of the file, None where it has none.
    frames
        The frames to use, consecutive.
    error
        Relative error of a stored time.
    numbers
        Number of the integration step of every frame of the file (int32, may wrap around), None where it has none.
    """
    if times is None or len(frames) < 2:
        return Cut((Piece(frames, None),))
    used = times[frames.start : frames.stop]
    if _plainly_even(used, error, None if numbers is None else numbers[frames.start : frames.stop]):
        return Cut((Piece(frames, _step(used, error), _slack(used, error)),))
    steps = np.diff(used)
    noise = _noise(used, error)
    if (np.abs(steps) <= noise).all() and abs(used[-1] - used[0]) <= noise.max():
        return Cut((Piece(frames, None),), no_clock=True)
    clock, exact = _clock(used, error, None if numbers is None else numbers[frames.start : frames.stop])
    same = np.concatenate([[False], _repeated(clock, exact)])
    kept = np.flatnonzero(~same)
    pieces: list[Piece] = []
    for first, after in _even_runs(kept, clock[kept], exact):
        rows = kept[first:after]
        stride = int(rows[1] - rows[0]) if len(rows) > 1 else 1
        span = range(frames.start + int(rows[0]), frames.start + int(rows[-1]) + 1, stride)
        pieces.append(Piece(span, _step(used[rows], error), _slack(used[rows], error)))
    breaks = []
    for left, right in itertools.pairwise(pieces):
        end, begin = float(times[left.frames[-1]]), float(times[right.frames[0]])
        step = float(clock[right.frames[0] - frames.start] - clock[left.frames[-1] - frames.start])
        near = TOLERANCE * left.dt + 2.1 * exact * abs(end) if left.dt else 0.0
        if right.frames[0] - left.frames[-1] > 1 and left.dt and abs(step - left.dt) < near:
            continue  # only a repeated frame stood between them
        breaks.append(Break(right.frames[0], end, begin))
    return Cut(tuple(pieces), tuple(breaks), tuple(int(i) + frames.start for i in np.flatnonzero(same)))


def _plainly_even(times: np.ndarray, error: float, numbers: np.ndarray | None) -> bool:
    """Whether the steps are so alike, and so much larger than the noise of the times, that there can be no gap."""
    steps = np.diff(times)
    least, most = float(steps.min()), float(steps.max())
    noise = 4.0 * error * float(max(abs(times[0]), abs(times[-1]))) + 1e-12
    if not (least > 0.0 and most - least < 0.2 * TOLERANCE * least and noise < 0.5 * least):
        return False
    if numbers is None:
        return True
    jumps = np.diff(numbers)  # of the frames' numbers: where they wrap around, the jump is another one
    return bool((jumps == jumps[0]).all())


def _slack(times: np.ndarray, error: float) -> float:
    return 4.0 * error * float(np.abs(times).max()) / max(1, len(times) - 1)


def _noise(times: np.ndarray, error: float) -> np.ndarray:
    size = np.abs(times)
    return 2.0 * error * (size[1:] + size[:-1]) + 1e-12


def _rounding(times: np.ndarray, error: float) -> np.ndarray:
    """How far rounding alone may put the step between two stored times off."""
    each = error * np.abs(times) + 1e-12
    if error == SINGLE:  # half the distance to the next 32-bit number, which the relative error bounds from above
        each = 0.5 * np.spacing(np.abs(times).astype(np.float32)).astype(np.float64) + 1e-12
    return each[1:] + each[:-1]


def _clock(times: np.ndarray, error: float, numbers: np.ndarray | None) -> tuple[np.ndarray, float]:
    """The times out of the step numbers where both agree, and their relative error; else the times as they are.

    Many writers number the frames instead of the steps; then the two disagree wherever the times show a gap.
    """
    if numbers is None:
        return times, error
    jumps = np.diff(numbers.astype(np.int64))
    jumps += np.where(jumps < -(1 << 31), 1 << 32, 0)  # the 32-bit number wrapped around
    steps = np.diff(times)
    forward = jumps > 0
    if not forward.any() or not steps[forward].sum() > 0:
        return times, error
    size = float(steps[forward].sum() / jumps[forward].sum())
    if (np.abs(steps - size * jumps) > 1.01 * _rounding(times, error) + 1e-6 * np.abs(steps)).any():
        return times, error
    return times[0] + size * np.concatenate([[0], np.cumsum(jumps)]), 1e-12


def _repeated(times: np.ndarray, error: float) -> np.ndarray:
    """Whether a frame has the time of the one before it; (n - 1,)."""
    steps, noise = np.diff(times), _noise(times, error)
    typical = _lower_median(steps[steps > 0]) if (steps > 0).any() else 0.0
    nearly = (np.abs(steps) <= noise) & (typical > 4 * noise)
    return nearly | ((steps == 0) & (typical > 1.5 * _rounding(times, error)))


def _lasting(times: np.ndarray, even: np.ndarray, typical: float, error: float) -> np.ndarray:
    """Which of the steps that noise may have made are gaps after all: all the times behind them are shifted.

    Noise of one time is gone in the next step; a missing frame puts off all that follow.
    """
    steps, rounding = np.diff(times), _rounding(times, error)
    usual = even & (np.abs(steps - typical) <= rounding + TOLERANCE * typical)
    size = float(steps[usual].mean()) if usual.any() else typical
    found = np.zeros(len(steps), bool)
    for k in np.flatnonzero(even & (np.abs(steps - size) > 1.05 * rounding + TOLERANCE * size)).tolist():
        low, high = max(0, k - _AROUND + 1), min(len(times), k + 1 + _AROUND)
        late = times[low:high] - size * np.arange(low, high)
        shift = np.median(late[k + 1 - low :]) - np.median(late[: k + 1 - low])
        found[k] = abs(shift) > max(0.5 * size, 1.05 * rounding[k])
    return found


def _lower_median(values: np.ndarray) -> float:
    return float(np.sort(values)[(len(values) - 1) // 2])


def _even_runs(kept: np.ndarray, times: np.ndarray, error: float) -> list[tuple[int, int]]:
    """Runs [first, after) of rows of even spacing in time and in frame number; together they hold every row."""
    if len(kept) == 1:
        return [(0, 1)]
    steps, jumps, noise = np.diff(times), np.diff(kept), _noise(times, error)
    forward = steps > 0
    if not forward.any():
        return [(i, i + 1) for i in range(len(kept))]
    typical = _lower_median(steps[forward])
    jump = int(_lower_median(jumps[forward]))
    even = forward & (np.abs(steps - typical) <= TOLERANCE * typical + noise) & (jumps == jump)
    even |= (np.abs(steps - typical) <= noise) & (jumps == jump)  # steps too small for the times to tell
    even &= ~_lasting(times, even, typical, error)
    uneven = np.append(np.flatnonzero(~even), len(even))
    runs: list[tuple[int, int]] = []
    first = 0
    while first < len(kept):
        stop = int(uneven[np.searchsorted(uneven, first)]) if first < len(even) else first
        if stop > first or first >= len(even):
            runs.append((first, stop + 1))
            first = stop + 1
            continue
        after = first  # a stretch of other spacing: cut it by its own typical step
        while after < len(even) and not even[after]:
            after += 1
        end = after if after < len(even) else len(kept)
        inner = _even_runs(kept[first:end], times[first:end], error) if end < len(kept) or first > 0 else None
        runs += [(a + first, b + first) for a, b in inner] if inner else [(i, i + 1) for i in range(first, end)]
        first = end
    return runs


def _step(times: np.ndarray, error: float) -> float | None:
    """The time step, rounded to the fewest digits that the times allow."""
    if len(times) < 2:
        return None
    exact = float(times[-1] - times[0]) / (len(times) - 1)
    slack = max(2.0 * error * float(np.abs(times).max()) / (len(times) - 1), 1e-9 * exact)
    for digits in range(1, 12):
        rounded = float(f"{exact:.{digits}g}")
        if abs(rounded - exact) <= slack:
            return rounded
    return exact
