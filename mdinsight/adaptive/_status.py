"""How far a run is: what ``mdinsight status`` shows, and what is shown while it runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mdinsight import units
from mdinsight.adaptive._ledger import Ledger, seen
from mdinsight.words import counted

if TYPE_CHECKING:
    from mdinsight.adaptive._run import Run


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes
    ----------
    rounds, segments, broken
        Numbers of decisions and of committed and quarantined segments.
    ps
        Simulated time, everything counted.
    kind, says
        The round that is under way or was the last, and what it does.
    left
        Segments of it that are still to be made.
    states
        Metastable states found so far, None before any is known.
    free_energy, low, high
        kJ/mol of each state relative to the most populated, with the 95 % interval; empty before anything can be weighed.
    tests
        Tests of convergence: name, whether it holds, what it says.
    learned
        What was last said of the coordinate.
    worker
        Who works on the run now; empty if nobody does.
    """

    rounds: int
    segments: int
    broken: int
    ps: float
    kind: str
    says: str
    left: int
    states: int | None = None
    free_energy: tuple[float | None, ...] = ()
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    tests: tuple[tuple[str, bool, str], ...] = ()
    learned: str = ""
    worker: str = ""

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Status:
        """How far the run in a folder is, without loading what it is made of: as ``look(path).status()``, in a part of its time.

        Raises
        ------
        StoreError, PlanError
            If the folder is no run, or one that was never begun.
        """
        return status_of(Ledger(seen(path)))

    @property
    def line(self) -> str:
        """In one line; rounds are numbered from 0, as their folders are."""
        found = "" if self.states is None else f", {counted(self.states, 'state')}"
        energies = [f"{f:.1f}" for f in self.free_energy if f is not None and f != 0.0]
        more = f", F {', '.join(energies[:4])} kJ/mol" if energies else ""
        return f"round {max(0, self.rounds - 1)}, {units.format_time(self.ps)}{found}{more}: {self.kind}, {self.says}"

    def __str__(self) -> str:
        lines = [
            f"{counted(self.rounds, 'round')}, {counted(self.segments, 'segment')}, {units.format_time(self.ps)} simulated"
            + (f", {self.broken} broken down (see quarantine/)" if self.broken else ""),
        ]
        if self.worker:
            which = f"round {max(0, self.rounds - 1)}, " if self.rounds else ""
            lines.append(f"now: {which}{self.kind}, {self.says}" + (f"; {self.left} to go" if self.left else ""))
        if self.learned:
            lines.append(f"coordinate: {self.learned}")
        if self.states is not None:
            lines.append(f"states found: {self.states}")
        for number, (f, low, high) in enumerate(zip(self.free_energy, self.low, self.high, strict=True)):
            if (f, low, high) != (0.0, 0.0, 0.0):
                lines.append(f"  state {number + 1}: F = {_number(f)} kJ/mol [{_number(low)}, {_number(high)}]")
        lines += [f"{'ok' if holds else 'NO'}: {name}: {says}" for name, holds, says in self.tests]
        lines.append(f"at work: {self.worker}" if self.worker else "nobody works on it now")
        return "\n".join(lines)


def status_of(history: Ledger) -> Status:
    """Read it from the store."""
    store = history.store
    decisions = history.decisions
    pieces = history.pieces()
    broken = len(store.quarantined())
    if not decisions:
        return Status(0, 0, broken, 0.0, "preparing", "the first structure", 0, worker=store.holder() or "")
    last = decisions[-1]
    found: dict[str, Any] = next((d.found for d in reversed(decisions) if d.found is not None), {})
    weighed: dict[str, Any] = next((d.found for d in reversed(decisions) if d.found and "free_energy" in d.found), {})
    if len(weighed.get("free_energy", ())) != found.get("states"):
        weighed = {}  # of other states than those that are known now
    free = weighed.get("free_energy", [])
    order = sorted(range(len(free)), key=lambda i: (free[i] is None, free[i] or 0.0))  # as in the table of states
    learned = next((d.learned["says"] for d in reversed(decisions) if d.learned is not None), "")
    return Status(
        len(decisions),
        len(pieces),
        broken,
        history.ps,
        last.kind,
        last.says,
        len(history.missing(last)),
        found.get("states"),
        tuple(free[i] for i in order),
        tuple(weighed["low"][i] for i in order),
        tuple(weighed["high"][i] for i in order),
        tuple((name, bool(holds), says) for name, (holds, says) in found.get("tests", {}).items()),
        learned,
        store.holder() or "",
    )


class Teller:
    """Shows how far a run is while it runs; a context manager that is called with what is being done."""

    def __init__(self, run: Run, progress: bool | Callable[..., Any], budget: float) -> None:
        self._run, self._progress, self._budget = run, progress, budget
        self._began: tuple[float, float] | None = None
        self._lines = sys.stderr.isatty()
        self._last = ""

    def __enter__(self) -> Teller:
        return self

    def __call__(self, says: str) -> None:
        """Something was done."""
        if self._progress is False:
            return
        status = status_of(self._run.history)
        if callable(self._progress):
            self._progress(status)
            return
        self._show(
            f"{status.line}{self._left(status.ps)}"
            if says != "deciding"
            else f"round {status.rounds}: learning, deciding"
        )

    def _left(self, ps: float) -> str:
        """Time that the rest of the budget takes at the pace so far."""
        now = time.monotonic()
        if self._began is None:
            self._began = (now, ps)
            return ""
        done = ps - self._began[1]
        if done <= 0 or ps > 0.98 * self._budget:  # what is left then is to learn and to weigh
            return ""
        seconds = (now - self._began[0]) * max(0.0, self._budget - ps) / done
        return f" (at most {_clock(seconds)} left)"

    def _show(self, text: str) -> None:
        if text == self._last:
            return
        self._last = text
        if self._lines:
            sys.stderr.write(f"\r\x1b[2K  {text[: _width()]}")
        else:
            sys.stderr.write(f"  {text}\n")
        sys.stderr.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lines and self._last:
            sys.stderr.write("\n")
            sys.stderr.flush()


def _width() -> int:
    import shutil

    return max(20, shutil.get_terminal_size().columns - 3)


def _clock(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {int(seconds % 60):02d} s" if minutes else f"{int(seconds)} s"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
