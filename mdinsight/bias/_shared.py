"""One bias of walkers in several processes, by way of a folder; no MPI, and no process waits for another.

Every walker writes what it deposited since its last exchange as an immutable file with the next number, and takes in the
new files of the others, ordered by (number, walker). Nothing of a file that is torn, of another run, or not finite enters
the bias.

What was published stands, since others may have read it. A walker that is killed and resumed from its saved state makes the
steps after that again. At each deposit and each exchange for which there is a file of its own already, it goes by the file: it
takes the deposit from there instead of making one, and reads just the files of others that are named there. So each deposit
of a walker exists once, none is lost, and where MD is reproducible the resumed run is the same as one never killed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight.bias import _deposit_file as files
from mdinsight.bias._claim import Claim
from mdinsight.bias._deposit_file import DepositFile, Entry
from mdinsight.errors import BiasError, DataWarning, FormatError, NonFiniteError, ParameterError, warn_user
from mdinsight.files import write_text

if TYPE_CHECKING:
    from mdinsight.bias._live import State
    from mdinsight.bias._sampler import Sampler

_log = logging.getLogger(__name__)
_TWINS = 10  # files of each other walker that are compared with one's own: same moves show from the first deposit


class SharedBias:
    """A walker's end of a shared bias.

    Parameters
    ----------
    folder
        The same for all walkers; made if it is not there.
    walker
        This one's number, from 0; it belongs to one process at a time.
    identity
        What must be the same for all walkers: texts and numbers by what they are, for the message if they are not.
    every
        Steps between exchanges.

    Raises
    ------
    BiasError
        If the folder is of another run, or the number is taken; says what differs, or by which process.
    OutputError
        If the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], walker: int, identity: dict[str, Any], every: int) -> None:
        self.folder = Path(folder).resolve()
        self.walker, self.every = walker, every
        self.run = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self._agree(identity)
        own = files.path_of(self.folder, walker, 0).parent
        self._claim = Claim(own / "lock", f"walker {walker} of {self.folder}")
        for left in own.glob(".*.dep.*"):  # of a process that was killed while it wrote
            left.unlink(missing_ok=True)
        self._queue: list[Entry] = []
        self._next = 0
        self._cursor: dict[int, int] = {}
        self._left_out: dict[tuple[int, int], tuple[int, int] | None] = {}
        self._ahead = self._published()
        self._told = False

    @classmethod
    def of(
        cls, sampler: Sampler, folder: str | os.PathLike[str] | None, walker: int, every: int | None
    ) -> SharedBias | None:
        """For a sampler; None without a folder."""
        from mdinsight.bias._checks import whole

        walker = whole("walker", walker, 0, "number of a walker")
        if folder is None:
            if every is not None:
                raise ParameterError(
                    "exchange= is for a bias that processes share; give shared= a folder, or leave it out"
                )
            return None
        paces = [state.pace for state in sampler.states if state.pace is not None]
        if not paces:
            raise ParameterError("nothing is deposited, so there is nothing to share; leave shared= out")
        identity = {
            "the coordinate": f"{', '.join(sampler.coordinate.names)} ({sampler.coordinate.hash})",
            "the potentials": [f"{potential!r} ({potential.hash})" for potential in sampler.potentials],
            "the temperature": sampler.temperature,
            "the seed of the run": int(sampler.seed),
            "the system (its forces or parameters)": sampler.system_hash,
        }
        if sampler.continued:
            identity["the bias that it begins with"] = sampler.start.hash
        return cls(folder, walker, identity, 10 * max(paces) if every is None else whole("exchange", every))

    def close(self) -> None:
        """Give the walker's number back; otherwise that happens when the process ends."""
        self._claim.release()

    def __repr__(self) -> str:
        return f"<SharedBias: {who(self.saved())}, in {self.folder}>"

    # -- depositing and exchanging -------------------------------------------------------------------------------------

    def prepared(self, state: State, s: np.ndarray, step: int) -> np.ndarray:
        """The deposit to be made at s; one that was published before is taken as it was."""
        if self._ahead is not None and step <= self._ahead.step:
            return self._earlier(self._ahead, step, state.source)
        return state.prepare_many([s])[0]

    def keep(self, state: State, deposit: np.ndarray, step: int) -> None:
        """Keep a deposit that was made for the others, unless they have it."""
        if deposit.size and (self._ahead is None or step > self._ahead.step):
            self._queue.append(Entry(step, state.source, deposit))

    def exchange(self, states: Sequence[State], step: int) -> bool:
        """Publish what was deposited since the last time and take in what others did; whether the bias changed.

        Raises
        ------
        OutputError
            If the file cannot be written. The deposits are kept, and written at the next exchange.
        ParameterError
            If another walker makes the same moves.
        """
        if self._ahead is not None:
            return self._again(states, step)
        found, cursor, left_out = self._look()
        if found or self._queue:
            done = tuple((file.walker, file.sequence) for file in found)
            files.write(self.folder, DepositFile(self.run, self.walker, self._next, step, done, tuple(self._queue)))
            self._queue = []
            self._next += 1
        self._cursor, self._left_out = cursor, left_out
        return self._apply(states, found)

    def _again(self, states: Sequence[State], step: int) -> bool:
        """An exchange that was made before, by a process that was killed after it: the same again."""
        changed, last = False, -1
        while self._ahead is not None and self._ahead.step <= step:
            last = self._ahead.step
            changed |= self._apply(states, [file for key in self._ahead.read for file in self._named(*key)])
            self._queue = [entry for entry in self._queue if entry.step > last]
            self._next += 1
            self._ahead = self._published()
        if self._ahead is None and last < step:
            changed |= self.exchange(states, step)
        return changed

    def _apply(self, states: Sequence[State], found: Sequence[DepositFile]) -> bool:
        adaptive = {state.source: state for state in states if state.pace is not None}
        changed = False
        for file in found:
            for number, entry in enumerate(file.entries):
                try:
                    if entry.potential not in adaptive:
                        raise BiasError(f"there is no potential number {entry.potential} to deposit on")
                    adaptive[entry.potential].apply(entry.deposit)
                    changed = True
                except (BiasError, NonFiniteError) as error:
                    path = files.path_of(self.folder, file.walker, file.sequence)
                    _warn(f"deposit {number} of {path} is left out of the bias: {error}")
        return changed

    # -- files ---------------------------------------------------------------------------------------------------------

    def _agree(self, identity: dict[str, Any]) -> None:
        """Refuse the folder of another run, by the description that its first walker wrote."""
        ours = self.folder / f"run-{self.run[:16]}.json"
        for path in self.folder.glob("run-*.json"):
            if path.name == ours.name:
                continue
            try:
                theirs = dict(json.loads(path.read_text()))
            except (OSError, ValueError):
                theirs = {}
            unlike = [
                f"{key} was {theirs[key]}, here it is {value}"
                for key, value in identity.items()
                if theirs.get(key, value) != value
            ]
            raise BiasError(
                f"{self.folder} holds the bias of another run ({path.name}): "
                f"{'; '.join(unlike) or 'its description cannot be read'}. Give all walkers the same, or another folder"
            )
        if not ours.exists():
            write_text(ours, json.dumps(identity, indent=1) + "\n")

    def _published(self) -> DepositFile | None:
        """The next file of one's own, if it was written before."""
        try:
            return files.read(self.folder, self.run, self.walker, self._next)
        except FileNotFoundError:
            return None
        except FormatError as error:
            path = files.path_of(self.folder, self.walker, self._next)
            _warn(f"{path} is written again: {error}")
            return None

    def _earlier(self, ahead: DepositFile, step: int, potential: int) -> np.ndarray:
        """What was deposited at this step by a process that was killed after it had published that."""
        if not self._told:
            _warn(
                f"walker {self.walker} has deposited at step {step} before, in {self.folder}. What was published there stands; "
                "it deposits again from where its files end. A run to be begun anew needs a new folder"
            )
        self._told = True
        made = [entry.deposit for entry in ahead.entries if (entry.step, entry.potential) == (step, potential)]
        return made[0] if made else np.zeros(0)

    def _others(self) -> list[int]:
        """The other walkers; the folder holds one folder for each, so that this stays short."""
        found = []
        for entry in os.scandir(self.folder):
            number = entry.name.removeprefix("walker-")
            if entry.name.startswith("walker-") and number.isdigit() and int(number) != self.walker:
                found.append(int(number))
        return sorted(found)

    def _look(self) -> tuple[list[DepositFile], dict[int, int], dict[tuple[int, int], tuple[int, int] | None]]:
        """New files of others, and how far they are read then; nothing is changed here, so that it can be done again."""
        cursor, left_out = dict(self._cursor), dict(self._left_out)
        found = []
        for key, before in self._left_out.items():
            if files.signature(files.path_of(self.folder, *key)) != before:
                found += self._read(*key, left_out)
        for walker in self._others():
            number = cursor.get(walker, 0)
            # a missing one is passed over if the next is there: somebody removed it
            while any(files.signature(files.path_of(self.folder, walker, number + i)) for i in (0, 1)):
                found += self._read(walker, number, left_out)
                number += 1
            cursor[walker] = number
        found.sort(key=lambda file: (file.sequence, file.walker))
        for file in found:
            self._refuse_twin(file)
        return found, cursor, left_out

    def _read(
        self, walker: int, number: int, left_out: dict[tuple[int, int], tuple[int, int] | None]
    ) -> list[DepositFile]:
        path = files.path_of(self.folder, walker, number)
        before = files.signature(path)
        try:
            file = files.read(self.folder, self.run, walker, number)
        except (FormatError, FileNotFoundError) as error:
            why = "it is missing" if isinstance(error, FileNotFoundError) else str(error)
            _warn(f"{path} is left out of the bias: {why}. It is read if it changes")
            left_out[walker, number] = before
            return []
        left_out.pop((walker, number), None)
        return [file]

    def _named(self, walker: int, number: int) -> list[DepositFile]:
        """A file of another walker that was taken in before."""
        for skipped in range(self._cursor.get(walker, 0), number):
            self._left_out[walker, skipped] = None
        self._cursor[walker] = max(self._cursor.get(walker, 0), number + 1)
        return self._read(walker, number, self._left_out)

    def _refuse_twin(self, file: DepositFile) -> None:
        if not file.content or file.sequence > min(_TWINS, self._next):
            return
        ours = tuple(self._queue)
        if file.sequence < self._next:
            try:
                ours = files.read(self.folder, self.run, self.walker, file.sequence).entries
            except (FormatError, FileNotFoundError):
                return
        if files.content_of(ours) == file.content:
            raise ParameterError(
                f"walkers {self.walker} and {file.walker} deposit the same numbers, so they make the same moves. Give each "
                "integrator.setRandomNumberSeed(sampler.walker_seed()) before its Simulation is made, and begin in a new folder"
            )

    # -- saving --------------------------------------------------------------------------------------------------------

    def saved(self) -> dict[str, Any]:
        """What a resumed walker needs: what it has read and written, and what it has not written yet."""
        queue = self._queue
        return {
            "walker": self.walker,
            "every": self.every,
            "next": self._next,
            "cursor": np.array(sorted(self._cursor.items()), np.int64).reshape(-1, 2),
            "left_out": np.array(sorted(self._left_out), np.int64).reshape(-1, 2),
            "queue": np.array([(e.step, e.potential, len(e.deposit)) for e in queue], np.int64).reshape(-1, 3),
            "deposits": np.concatenate([e.deposit for e in queue]) if queue else np.zeros(0),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from there.

        Raises
        ------
        BiasError
            If the folder is not the one in which the walker has published.
        """
        last = files.path_of(self.folder, self.walker, saved["next"] - 1)
        if saved["next"] and not last.exists():
            raise BiasError(f"{last} is missing, which this walker has written; give shared= the folder of the run")
        self._next = saved["next"]
        self._cursor = {int(walker): int(number) for walker, number in saved["cursor"]}
        self._left_out = {(int(walker), int(number)): None for walker, number in saved["left_out"]}
        ends = np.cumsum(saved["queue"][:, 2])
        parts = np.split(np.array(saved["deposits"]), ends[:-1]) if len(ends) else []
        rows = [(int(step), int(potential)) for step, potential, _ in saved["queue"]]
        self._queue = [Entry(*row, part) for row, part in zip(rows, parts, strict=True)]
        self._ahead = self._published()
        self._told = True
        if self._ahead is not None:
            _log.info("walker %d has published more than it has saved; that stands", self.walker)


def who(saved: dict[str, Any]) -> str:
    """Which walker a saved state is of, for messages."""
    return f"walker {saved['walker']} of a shared bias exchanged every {saved['every']} steps" if saved else "alone"


def _warn(text: str) -> None:
    warn_user(text, DataWarning)
