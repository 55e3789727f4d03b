"""How far the frames of the pieces are apart: what the files tell, what was given, and what the rows have in common."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mdtraj

from mdinsight import units
from mdinsight.errors import DataWarning, LagError, ParameterError, warn_user
from mdinsight.trajectories._pieces import Piece
from mdinsight.trajectories._sources import Source
from mdinsight.words import counted

_SAME = 1e-3
"""Relative difference of two time steps that counts as rounding."""


@dataclass(frozen=True)
class Part:
    """One piece of one source, before the stride is chosen."""

    source: Source
    topology: mdtraj.Topology
    piece: Piece
    label: str

    @property
    def has_clock(self) -> bool:
        """Whether the times of the file mean something."""
        return self.piece.dt is not None or len(self.piece.frames) == 1


def resampled(part: Part, resample: Any, step: float | None) -> int:
    """The stride that brings a piece to the interval asked for."""
    wanted = units.time(resample, "resample")
    if len(part.piece.frames) == 1:
        return 1
    own = step if step is not None else part.piece.dt
    if own is None:
        raise LagError(f"resample={resample!r} needs the time step of {part.label}, which is not known; give dt=")
    every = round(wanted / own)
    if every < 1 or abs(wanted / own - every) > _SAME * every:
        raise LagError(
            f"resample={resample!r} is no multiple of the {units.format_time(own)} between the frames of {part.label}; "
            f"the nearest is {units.format_time(max(1, every) * own)}"
        )
    return every


def common_step(parts: list[Part], strides: list[int], step: float | None) -> float | None:
    """The time between rows, the same for all.

    Raises
    ------
    ParameterError
        If two pieces have different ones.
    """
    if step is not None:
        return step * max(strides)
    many = [(part, every) for part, every in zip(parts, strides, strict=True) if len(part.piece.frames) > 1]
    if not many:
        return None
    first, first_stride = max(many, key=lambda pair: len(pair[0].piece.frames))
    reference = None if first.piece.dt is None else first.piece.dt * first_stride
    for part, every in many:
        own = None if part.piece.dt is None else part.piece.dt * every
        if own is None and reference is None:
            continue
        if own is None or reference is None:
            known, unknown = (first, part) if own is None else (part, first)
            raise ParameterError(
                f"{known.label} has a time step of {units.format_time(known.piece.dt or 0.0, 6)} and {unknown.label} has none; "
                "give dt= with the step that holds for all, or open them apart"
            )
        slack = (part.piece.slack + first.piece.slack) * every
        if abs(own - reference) > _SAME * reference + slack:
            raise ParameterError(
                f"{first.label} is saved every {units.format_time(reference / first_stride, 6)}, "
                f"{part.label} every {units.format_time(own / every, 6)}; {_fitting(many)}, or open them apart"
            )
    return reference


def _fitting(many: list[tuple[Part, int]]) -> str:
    """The least time that is a multiple of all the pieces' steps, and leaves two frames of each."""
    steps = [part.piece.dt for part, _ in many if part.piece.dt is not None]
    exact = [Fraction(f"{step:.6g}") for step in steps]
    least = Fraction(math.lcm(*(s.numerator for s in exact)), math.gcd(*(s.denominator for s in exact)))
    shortest = min(len(part.piece.frames) * part.piece.dt for part, _ in many if part.piece.dt is not None)
    if least >= shortest:
        return "no resample= brings them together that leaves two frames of each; leave some out"
    return f"give resample={units.format_time(float(least), 6)!r} or a multiple of it"


def note_overrides(parts: list[Part], step: float, notes: list[str]) -> None:
    """Tell where files carry another time step than the one that was given."""
    other: dict[Source, Part] = {}
    for part in parts:
        own = part.piece.dt
        if own is not None and not part.source.scan.time_note and abs(own - step) > _SAME * own + part.piece.slack:
            other.setdefault(part.source, part)
    if other:
        first = next(iter(other.values()))
        more = f" (and so in {counted(len(other) - 1, 'more file')})" if len(other) > 1 else ""
        tell(
            f"{first.source.path or first.label}: its frames are {units.format_time(first.piece.dt or 0.0, 6)} apart by its own "
            f"times{more}; dt= overrides them with {units.format_time(step, 6)}; leave dt= out if the files are right",
            notes,
        )


def note_single(parts: list[Part], strides: list[int], what: str, notes: list[str]) -> None:
    """Tell where the stride leaves one frame of many."""
    single = [p for p, every in zip(parts, strides, strict=True) if 1 < len(p.piece.frames) <= every]
    if single:
        most = max(len(part.piece.frames) for part in single)
        tell(
            f"{what} leaves one frame of {len(single)} of {counted(len(parts), 'trajectory')} (the longest of them has {most}); "
            "one frame shows no change in time",
            notes,
        )


def note_continuations(parts: list[Part], notes: list[str]) -> None:
    """Tell where a file begins with the very time at which the one before it ends."""
    found = []
    for left, right in itertools.pairwise(parts):
        before, after = left.source.scan.times, right.source.scan.times
        if left.source is right.source or left.topology is not right.topology or before is None or after is None:
            continue
        last, first = before[left.piece.frames[-1]], after[right.piece.frames[0]]
        if len(left.piece.frames) > 1 and last == first and first > before[left.piece.frames[0]]:
            found.append(right.label)
    if found:
        some = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        notes.append(
            f"{some}: begins at the time at which the file before it ends; if it continues that one, a frame counts twice"
        )


def tell(text: str, notes: list[str]) -> None:
    """Note something about the data, and warn of it."""
    notes.append(text)
    warn_user(text, DataWarning)
