"""A run: created or taken up, advanced, and looked at."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mdinsight import engine, units, words
from mdinsight._version import __version__
from mdinsight._worker import prepare, simulate
from mdinsight.adaptive._executors import Counts, Pool, slot_properties
from mdinsight.adaptive._history import DECISION, PLAN, START, Decision, History
from mdinsight.adaptive._ledger import seen
from mdinsight.adaptive._plan import Plan
from mdinsight.adaptive._rounds import End, Next, decide
from mdinsight.adaptive._states import States, states_of
from mdinsight.adaptive._status import Status, status_of
from mdinsight.adaptive._tasks import segment
from mdinsight.adaptive._unbiased import markov_model
from mdinsight.errors import MdinsightError, ModelFileError, ParameterError, PlanError
from mdinsight.files import write_text
from mdinsight.msm import MarkovModel
from mdinsight.parallel import Workers
from mdinsight.progress import Progress
from mdinsight.results import Verdict
from mdinsight.store import Store

_log = logging.getLogger(__name__)


class Run:
    """A run of the loop in a folder; made by :func:`open`.

    Attributes
    ----------
    plan
        What it does.
    store
        The run directory.
    history
        What is committed.
    """

    def __init__(self, store: Store, plan: Plan) -> None:
        self.store = store
        self.plan = plan
        self.history = History(store, plan)

    def __repr__(self) -> str:
        done = self.history.decisions
        return f"<Run {self.store.path}: {words.counted(len(done), 'round')}, {units.format_time(self.history.ps)}>"

    def advance(
        self,
        budget: Any,
        workers: Workers = None,
        progress: Progress | Callable[[Status], None] = True,
        devices: Any = "auto",
    ) -> End:
        """Go on until the run has converged or the budget is spent. Safe to kill: called again, it goes on.

        Parameters
        ----------
        budget
            Simulated time in all, what was simulated before included: ``"20 ns"``.
        workers
            A number of processes (None: one a core, but no more than walkers; 1: no other process), or any
            ``concurrent.futures.Executor``, which is not shut down.
        progress
            True: a line on the terminal. Or a function that is called with a :class:`Status` whenever something is done.
        devices
            GPU indices to use, by default all.

        Returns
        -------
        End
            Whether it has converged, and why it stopped.

        Raises
        ------
        StoreError
            If another process works on the run.
        PlanError
            If the budget does not pay for one round.
        OutputError
            If the disk is full; what is committed stays, and the run goes on when there is room.
        WorkerError
            If workers keep dying.
        """
        limit = units.time(budget, "budget")
        if not self.history.decisions:
            self.plan.check_budget(limit)
        with self.store.lock(), _teller(self, progress, limit) as tell:
            self.store.clean()
            tell("starting")
            with self._pool(workers, devices) as pool:
                self._begin(pool if isinstance(workers, Executor) else Pool(1))  # this machine is free for it alone
                # of the last round where the process was killed; of any where a damaged segment was taken out to be made again
                for decision in [d for d in self.history.decisions if self.history.missing(d)]:
                    self._work(pool, decision, tell)
                while True:
                    tell("deciding")
                    following = decide(self.plan, self.history, limit)
                    if isinstance(following, End):
                        tell(following.says)
                        return following
                    self._commit(following, limit)
                    self._work(pool, following.decision, tell)

    @property
    def budget(self) -> float | None:
        """ps of simulation in all that the last round was decided for; None before the first."""
        done = self.history.decisions
        return float(self.store.entry(done[-1].name).info["budget"]) if done else None

    def states(self) -> States:
        """The states found so far: population, free energy and exchange times with intervals, structures."""
        return states_of(self.plan, self.history)

    def markov_model(self) -> MarkovModel:
        """A Bayesian Markov model of all unbiased trajectories: what a run without bias gives instead of :meth:`states`."""
        return markov_model(self.plan, self.history)

    def status(self) -> Status:
        """How far the run is; reads only, also while another process works on it."""
        return status_of(self.history)

    def verify(self, progress: Progress = False) -> list[Verdict]:
        """Read every committed file again and compare it with its checksum."""
        return self.store.verify(progress)

    # -- within ----------------------------------------------------------------------------------------------------------

    def _begin(self, pool: Pool) -> None:
        """The prepared system, committed once."""

        def done(name: str, folder: str) -> None:
            self.store.commit(name, Path(folder), {"kind": "start"})

        if not self.store.has(START):
            pool.run(prepare, [(START, (str(self.store.path), START, self.plan.system, self.plan.seed))], done)

    def _commit(self, following: Next, budget: float) -> None:
        decision = following.decision
        with _staged(self.store, decision.name) as folder:
            write_text(folder / DECISION, decision.to_json())
            for name, model in following.models.items():
                model.save(folder / f"{name}.mdi")
            self.store.commit(decision.name, folder, {"kind": decision.kind, "says": decision.says, "budget": budget})

    def _pool(self, workers: Workers, devices: Any) -> Pool:
        if isinstance(workers, Executor):  # which has machines of its own, and these their platform
            return Pool(workers, folder=self.store.path)
        if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
            raise ParameterError(
                f"workers={workers!r} is not a number of processes; give at least 1, None for one a core, or an executor"
            )
        platform = self.plan.system.chosen_platform()
        most = engine.cores_or_devices(platform) if workers is None else workers
        count = max(1, min(most, self.plan.walkers))
        return Pool(count, slots=slot_properties(platform, count, devices, engine.device_count(platform)))

    def _work(self, pool: Pool, decision: Decision, tell: Callable[[str], None]) -> None:
        todo = self.history.missing(decision)
        self.store.reserve(_bytes(self.plan, decision, todo))

        def done(name: str, result: Mapping[str, Any]) -> None:
            folder = Path(result["folder"])
            if result["broken"]:
                self.store.quarantine(name, folder, {"kind": "broken", "says": result["broken"], **result["info"]})
                _log.warning("%s broke down and was set aside: %s", name, result["broken"])
            else:
                self.store.commit(name, folder, result["info"])
            tell(decision.says)

        def counted(counts: Counts) -> None:
            tell(decision.says)

        path, start = str(self.store.path), self.history.start
        jobs = [(decision.task_name(i), (path, start, segment(self.plan, self.history, decision, i))) for i in todo]
        pool.run(simulate, jobs, done, progress=counted)


def open(path: str | os.PathLike[str], plan: Plan | None = None) -> Run:
    """Create a run, or take one up.

    Parameters
    ----------
    path
        The run's folder.
    plan
        What it shall do. Of a run that exists it must be the plan that it was begun with; None takes that.

    Raises
    ------
    PlanError
        If the run was begun with another plan; every difference is named.
    StoreError
        If the folder is no run, and there is no plan to begin one; if it holds something else; if it is of another version.
    """
    if Store.exists(path):
        store = Store.open(path)
        if plan is not None:
            if store.has(PLAN):
                _plan_of(store)  # one of another version says so, and not how the words for the same plan differ
            store.check(plan.identity())
    elif plan is None:
        store = Store.open(path)  # says what is there instead
    else:
        store = Store.create(path, plan.identity())
    if not store.has(PLAN):
        if plan is None:
            raise PlanError(f"the run {path} was never begun; give the plan that it was created with")
        with store.lock(), _staged(store, PLAN) as folder:
            plan.save(folder / "plan.mdi")
            write_text(folder / "plan.yaml", plan.to_yaml())
            store.commit(PLAN, folder, {"kind": "plan"})
    return Run(store, _plan_of(store))


def look(path: str | os.PathLike[str]) -> Run:
    """A run to be looked at only (status, states, verify), also while another process works on it."""
    store = seen(path)
    return Run(store, _plan_of(store))


def _plan_of(store: Store) -> Plan:
    try:
        return Plan.load(store.entry(PLAN).file("plan.mdi"))
    except ModelFileError as error:
        made = json.loads((store.path / "run.json").read_text())["mdinsight"]
        raise PlanError(
            f"the run {store.path} was begun by mdinsight {made}, and this is {__version__}, which does not read its plan "
            f"as it was saved ({error}); unless `mdinsight verify` says that it is damaged, go on with that version, or begin "
            "a new run in another folder"
        ) from error


@contextmanager
def _staged(store: Store, name: str) -> Iterator[Path]:
    """A staged folder that is committed in the block; what is left of it if that fails does not fill the disk any further."""
    folder = store.stage(name)
    try:
        yield folder
    except BaseException:
        with suppress(MdinsightError):
            store.discard(folder)
        raise


def _bytes(plan: Plan, decision: Decision, todo: list[int]) -> int:
    """What the segments will take on the disk, roughly but not too little."""
    total = 1 << 20
    columns = len(plan.features.columns(plan.system.topology))
    for number in todo:
        task = decision.tasks[number]
        frames = task["n"] * (task["steps"] // task["stride"] + 1) * (2 if task.get("two_way") else 1)
        total += frames * (6 * plan.system.n_atoms + 8 * columns + 64) + task["n"] * plan.system.n_atoms * 60
    return total


def _teller(run: Run, progress: Any, budget: float) -> Any:
    from mdinsight.adaptive._status import Teller

    return Teller(run, progress, budget)
