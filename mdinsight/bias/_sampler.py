"""Runs a bias: adds its force to a System, steps simulations, deposits once per pace, records, saves and goes on."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdinsight import seeds, units
from mdinsight.bias import _checks
from mdinsight.bias._definitions import Potential
from mdinsight.bias._force import Callback, python_force
from mdinsight.bias._live import State
from mdinsight.bias._merge import begin
from mdinsight.bias._model import BiasModel
from mdinsight.bias._record import Recorder
from mdinsight.bias._save import SavedRun, md_state, restore_md
from mdinsight.bias._shared import SharedBias
from mdinsight.bias._states import arrays_of
from mdinsight.bias._trace import Trace
from mdinsight.errors import BiasError, InstabilityError, MdinsightError, NonFiniteError, ParameterError, is_interrupt
from mdinsight.progress import Progress, track

_log = logging.getLogger(__name__)


class Sampler:
    """A bias on a frozen coordinate in OpenMM.

    Parameters
    ----------
    system
        The ``openmm.System``. The force of the bias is added to it, so make the Sampler before the Simulation.
    topology
        OpenMM or mdtraj topology of the system.
    coordinate
        What to bias: a fitted model, features whose columns are the coordinates, or a list of these; see
        :meth:`Coordinate.of`.
    potentials
        One or more of :class:`OPES`, :class:`Metadynamics`, :class:`Umbrella`, :class:`LowerWall`, :class:`UpperWall`,
        :class:`Fixed`.
    temperature
        K, the same as the integrator's; by default 300, or that of ``start``.
    start
        The bias that another run had built up, as :attr:`model` or :func:`merged` has it: the run goes on depositing on it.
        Coordinate, potentials and temperature are its own, and may be left out.
    seed
        Of the run; each walker's own seed follows from it, see :meth:`walker_seed`.
    every
        The force of the bias acts in every so-many-th step, that many times as strong (multiple time stepping). 1 is right
        unless the coordinate costs more than a few percent of a step.
    form
        ``"compiled"``: the coordinate's kernels, network and bias in one compiled call on its atoms alone. ``"native"``: OpenMM
        forces in a CustomCVForce, for linear coordinates. ``"auto"``: compiled on the CPU; on a GPU, where both are
        possible and ``positions`` are given, whichever proves the faster there.
    record
        Steps between rows of the trace; by default the pace of the deposition.
    platform, positions
        Where ``form="auto"`` is to try both forms.
    shared, walker, exchange
        A folder in which processes share one bias, the number of this one's walker in it, from 0, and the steps between
        exchanges (by default 10 paces). All else must be the same for all, the seed too.
    aside
        Folder in which the state of a walker that breaks down is saved; by default that of the saved run, else the working
        directory.

    Raises
    ------
    GradientError, TopologyError, ParameterError, DegenerateError
        If the coordinate cannot be biased in this system; the message says why and what to do.
    BiasError
        If coordinate, potentials or temperature are given and are not those of ``start``; the message names which.

    Examples
    --------
    >>> sampler = mdi.bias.Sampler(system, topology, tica.model, mdi.bias.OPES(barrier="40 kJ/mol"))  # doctest: +SKIP
    >>> simulation = app.Simulation(topology, system, integrator)  # doctest: +SKIP
    >>> sampler.run(simulation, 5_000_000, "ala2.run")  # doctest: +SKIP
    >>> sampler.trace.log_weights()  # doctest: +SKIP
    """

    def __init__(
        self,
        system: Any,
        topology: Any,
        coordinate: Any = None,
        potentials: Potential | Sequence[Potential] | None = None,
        temperature: Any = ...,
        *,
        start: BiasModel | None = None,
        seed: int = 0,
        every: int = 1,
        form: str = "auto",
        record: int | None = None,
        platform: Any = None,
        positions: Any = None,
        shared: str | os.PathLike[str] | None = None,
        walker: int = 0,
        exchange: int | None = None,
        aside: str | os.PathLike[str] = "",
    ) -> None:
        self.topology = _checks.topology_of(topology)
        self.start = begin(start, coordinate, potentials, temperature, self.topology)
        self.coordinate, self.potentials = self.start.coordinate, self.start.potentials
        self.temperature = self.start.temperature
        self.continued = start is not None
        self.seed = seed
        self.walker = walker
        self.walker_seed()  # refuses what is no seed
        self.every = _checks.whole("every", every)
        self.system = system  # OpenMM owns the force, so the system must live as long as the sampler
        _checks.system_fits(system, self.topology)
        _checks.stride(system, self.every)
        _checks.same_coordinate(self.potentials, self.coordinate)
        self.bound = self.coordinate.bind(self.topology, "the system's topology")
        self.system_hash = _checks.system_hash(system)
        self.states = self.start.states()
        for state in self.states:
            state.relocate()
        self.pace = _checks.common_pace(self.states)
        self.record = _checks.whole("record", record) if record is not None else self.pace or 500
        self._adaptive = [state for state in self.states if state.pace is not None]
        self._program = self.bound.program()
        self._program.bind(self.states)
        self._recorder = Recorder(self.coordinate, self.temperature)
        self._last: dict[int, Any] = {}
        self._done = 0
        self._broken = ""
        self._aside = Path(aside)
        self._deposits: dict[int, list[np.ndarray]] = {state.source: [] for state in self._adaptive}
        self._stepping = threading.Lock()
        self._periodic = bool(system.usesPeriodicBoundaryConditions())
        self._native: Any = None
        self._callback: Callback | None = None
        self.form = _checks.choose_form(self, system, form, platform, positions)
        if self.form == "native":
            from mdinsight.bias._native import NativeForce

            self._native = NativeForce(self.bound, self.states, self._periodic)
            self.force = self._native.force
        else:
            driven = self.bound.program()
            driven.bind(self.states)
            self._driven = driven
            self._callback = Callback(driven, self._periodic, self.every)
            self.force = python_force(self._callback, self.bound.atoms)
        self.shared = SharedBias.of(self, shared, walker, exchange)
        self.force.setForceGroup(_checks.free_group(system))
        system.addForce(self.force)

    # -- what there is -------------------------------------------------------------------------------------------------

    @property
    def kT(self) -> float:
        """kJ/mol."""
        return units.GAS_CONSTANT * self.temperature

    @property
    def model(self) -> BiasModel:
        """The bias as it stands, frozen."""
        return BiasModel(self.coordinate, self.potentials, self.temperature, arrays_of(self.potentials, self.states))

    @property
    def trace(self) -> Trace:
        """What was recorded: coordinates and energies of the bias, a row every ``record`` steps of each walker.

        Its ``offset`` is the c(t) of metadynamics that follows from all frames so far; 0 for other potentials.
        """
        return self._recorder.reweighted(self.states)

    def deposits(self) -> list[np.ndarray]:
        """What the walkers of this Sampler have deposited since it was made, or since :meth:`load`: what :func:`merged` takes.

        Returns
        -------
        list of ndarray of shape (n_deposits, length)
            One for each adaptive potential, in the order of ``potentials``; rows in the order in which they were made.
        """
        lengths = {state.source: 2 * state.dim + 1 for state in self._adaptive}
        return [np.array(made).reshape(-1, lengths[source]) for source, made in self._deposits.items()]

    def walker_seed(self, walker: int | None = None) -> int:
        """The seed for a walker's integrator, by default this process's: a function of the run's seed and the walker alone."""
        number = _checks.whole("walker", self.walker if walker is None else walker, least=0, what="number of a walker")
        return max(1, seeds.integer(self.seed, "walker", number))

    def is_in(self, context: Any) -> bool:
        """Whether the force acts in an ``openmm.Context``: not if that was made before the Sampler."""
        from openmm import OpenMMException

        before = 0 if self._callback is None else self._callback.calls
        try:
            context.getState(energy=True, groups={self.force.getForceGroup()})
        except OpenMMException as error:  # NaN is told of when it is stepped on
            if "positions have not been set" in str(error):
                raise
        if self._callback is not None:
            return self._callback.calls > before
        try:
            self._native.values(context)
        except NonFiniteError:
            return True
        except OpenMMException:
            return False
        return True

    def __repr__(self) -> str:
        kinds = ", ".join(type(potential).__name__ for potential in self.potentials)
        return f"<Sampler: {kinds} on {', '.join(self.coordinate.names)}, {self.form}, every {self.every}>"

    # -- running -------------------------------------------------------------------------------------------------------

    def step(self, simulation: Any, steps: int, progress: Progress = False) -> None:
        """Advance one simulation, or several walkers that share the bias, by a number of steps each.

        Parameters
        ----------
        simulation
            An ``openmm.app.Simulation`` of the system, or a list of them: walkers, stepped one after another.
        steps
            MD steps of each walker.
        progress
            True for a bar.

        Raises
        ------
        InstabilityError
            If positions or energies are not finite; the state is saved aside first. No such frame enters the bias.
        """
        steps = _checks.whole("steps", steps, least=0)
        walkers = list(simulation) if isinstance(simulation, (list, tuple)) else [simulation]
        if not self._stepping.acquire(blocking=False):
            raise BiasError(
                "this Sampler is stepping in another thread; give each thread, or process, a Sampler of its own"
            )
        try:
            if self._broken:
                raise BiasError(f"the force could not follow the bias ({self._broken}); go on from the last saved run")
            _checks.walkers(walkers, self)
            self._go(walkers, steps, progress)
        finally:
            self._stepping.release()

    def _go(self, walkers: list[Any], steps: int, progress: Progress) -> None:
        done = min(int(walker.currentStep) for walker in walkers)
        end = done + steps
        if done > self._done and self._is_stop(done):
            self._visit(
                walkers, _checks.steps_from(walkers, self._done)
            )  # an interrupt came between a step and its visit
        stops = self._stops(done, end)
        first = next(iter(self._stops(done, end)), end)
        if len(walkers) > 1 and max(int(walker.currentStep) for walker in walkers) > first:
            _checks.steps_from(walkers, self._done)  # no interrupt leaves walkers so far apart
        _checks.steps_from(walkers[:1], self._done)
        total = None if progress is False else sum(1 for _ in self._stops(done, end))
        for stop in track(stops, progress, total=total, desc="MD"):
            for number, walker in enumerate(walkers):
                self._advance(walker, number, stop - int(walker.currentStep))
            self._visit(walkers, stop)

    def run(
        self,
        simulation: Any,
        steps: int,
        file: str | os.PathLike[str],
        save_every: int | None = None,
        progress: Progress = False,
    ) -> None:
        """Go on until the simulation has made ``steps`` steps, saving on the way; begins from ``file`` if that exists.

        So the same call again after a crash, or after ``kill -9``, goes on where it was saved last.

        Parameters
        ----------
        simulation
            As for :meth:`step`.
        steps
            Steps altogether, those of earlier calls included.
        file
            Where bias and MD state are saved, together and whole.
        save_every
            Steps between saves; by default a twentieth of all.
        progress
            True for a bar that counts the saves.
        """
        steps = _checks.whole("steps", steps, least=0)
        every = _checks.whole("save_every", save_every) if save_every is not None else max(1, math.ceil(steps / 20))
        path = _checks.file_name(file)
        self._aside = path.parent
        if path.exists():
            self.load(path, simulation)
        else:
            self.save(
                path, simulation
            )  # a folder that cannot be written shows now, not after the first part of the run
        first = simulation[0] if isinstance(simulation, (list, tuple)) else simulation
        done = int(first.currentStep)
        ends = [*range((done // every + 1) * every, steps, every), steps] if done < steps else []
        for end in track(ends, progress, desc="MD, saved"):
            self.step(simulation, end - int(first.currentStep))
            if self.shared is not None and end == steps:
                self.exchange(simulation)
            self.save(path, simulation)

    def exchange(self, simulation: Any) -> None:
        """Publish to the other processes what was not yet, and take in what they have published; :meth:`step` does so by itself.

        Raises
        ------
        OutputError
            If the disk is full. Nothing is lost: what was not written is kept, and written at the next exchange.
        """
        if self.shared is None:
            raise ParameterError("this bias is not shared with other processes; give the Sampler shared= a folder")
        try:
            self.shared.exchange(self.states, int(simulation.currentStep))
        finally:
            self._changed([simulation])

    def _intervals(self) -> set[int]:
        """Steps between what there is to do."""
        intervals = {self.record} if self.shared is None else {self.record, self.shared.every}
        for state in self._adaptive:
            intervals |= {every for every in (state.pace, state.observe_every) if every}
        return intervals

    def _is_stop(self, step: int) -> bool:
        return any(step % every == 0 for every in self._intervals())

    def _stops(self, done: int, end: int) -> Iterator[int]:
        """Steps at which there is something to do, and the end."""
        while done < end:
            done = min(end, *((done // every + 1) * every for every in self._intervals()))
            yield done

    def _advance(self, walker: Any, number: int, steps: int) -> None:
        from openmm import OpenMMException

        if steps <= 0:
            return
        try:
            if self._callback is not None:
                self._callback.impulses = True
            walker.step(steps)
        except (OpenMMException, ValueError, InstabilityError) as error:
            text = str(error)
            if is_interrupt(error):
                raise KeyboardInterrupt from error
            if not any(word in text for word in ("NaN", "nan", "bias is", "infinite")):
                raise
            raise self._broke_down(walker, number, text) from error
        finally:
            if self._callback is not None:
                self._callback.impulses = False

    def _broke_down(self, walker: Any, number: int, text: str) -> InstabilityError:
        last = self._last.get(number)
        return InstabilityError(_checks.set_aside(walker, self.walker + number, last, text, self._aside))

    def _visit(self, walkers: Sequence[Any], done: int) -> None:
        """Between steps: look at the coordinates, record, deposit. What can fail comes before anything is changed."""
        at = []
        for number, walker in enumerate(walkers):
            try:
                at.append(self._look(walker, number))
            except NonFiniteError as error:
                raise self._broke_down(walker, number, str(error)) from error
        if done % self.record == 0 and done > self._recorder.last:
            for number, (walker, s) in enumerate(zip(walkers, at, strict=True)):
                time = walker.context.getTime()
                self._recorder.add(self.walker + number, done, time.value_in_unit(time.unit), s, self.states)
            self._recorder.last = done
        for state in self._adaptive:
            if state.observe_every and done % state.observe_every == 0:
                for number, s in enumerate(at):
                    state.observe(s[list(state.axes)], number)
        due = [state for state in self._adaptive if state.pace and done % state.pace == 0]
        made = [(state, self._prepared(state, at, done)) for state in due]
        try:
            for state, deposits in made:
                for deposit in deposits:
                    state.apply(deposit)
                    if deposit.size:
                        self._deposits[state.source].append(deposit)
                    if self.shared is not None:
                        self.shared.keep(state, deposit, done)
        finally:
            self._done = done
            if due or (self._native is not None and not all(self._native.covers(s) for s in at)):
                self._changed(walkers)
        if self.shared is not None and done % self.shared.every == 0:
            self.exchange(walkers[0])

    def _prepared(self, state: State, at: Sequence[np.ndarray], done: int) -> list[np.ndarray]:
        points = [s[list(state.axes)] for s in at]
        if self.shared is None:
            return state.prepare_many(points)
        return [self.shared.prepared(state, points[0], done)]

    def _look(self, walker: Any, number: int) -> np.ndarray:
        """The coordinates now; this asks OpenMM for positions, not energies, so the bias is not evaluated."""
        state = walker.context.getState(positions=True, velocities=True)
        xyz = state.getPositions(asNumpy=True)._value[self.bound.atoms]
        box = state.getPeriodicBoxVectors(asNumpy=True)._value if self._periodic else None
        self._program.place(xyz, box)
        self._program.coordinates()
        s = np.array(self._program.s)
        if not np.isfinite(s).all():
            raise NonFiniteError(f"{self.coordinate.names[int(np.argmin(np.isfinite(s)))]} is not finite")
        self._last[number] = state
        return s

    def _changed(self, walkers: Sequence[Any]) -> None:
        self._program.bind(self.states)
        if self._native is None:
            self._driven.bind(self.states)
        else:
            try:
                self._native.update(*(walker.context for walker in walkers))
            except MdinsightError as error:
                self._broken = str(error)
                raise

    # -- saving --------------------------------------------------------------------------------------------------------

    def save(self, file: str | os.PathLike[str], simulation: Any) -> Path:
        """Write bias, trace and MD state of all walkers to one file, whole or not at all.

        Raises
        ------
        OutputError
            If the disk is full or the folder cannot be written; what was saved before is left as it was.
        """
        walkers = list(simulation) if isinstance(simulation, (list, tuple)) else [simulation]
        run = SavedRun(
            self.model,
            self.seed,
            self.every,
            self.record,
            self.form,
            self.system_hash,
            self._recorder.recorded(),
            md_state(walkers),
            {} if self.shared is None else self.shared.saved(),
        )
        return run.save(file)

    def load(self, file: str | os.PathLike[str], simulation: Any) -> None:
        """Take up a run that :meth:`save` wrote, bias and MD state; the simulations must be of this Sampler's system.

        Raises
        ------
        BiasError
            If the run was made with another coordinate, potential, temperature, seed, stride or system; names what differs.
        ModelFileError
            If the file is torn or was changed.
        """
        walkers = list(simulation) if isinstance(simulation, (list, tuple)) else [simulation]
        run = SavedRun.load(file)
        run.check(self, len(walkers), file)
        if self.shared is not None:
            self.shared.restore(run.shared)
        self.states = run.model.states()
        self._adaptive = [state for state in self.states if state.pace is not None]
        self._deposits = {state.source: [] for state in self._adaptive}
        self._recorder.take_up(run.trace, run.md[0].step)
        self._done, self._broken = run.md[0].step, ""
        if self._native is not None:
            self._native.states = self.states
        restore_md(walkers, run.md)
        self._changed(walkers)
