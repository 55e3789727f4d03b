"""``mdinsight sample``, ``status``, ``verify`` and ``report``: a run begun, taken up, and looked at."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mdinsight.cli._common import Terminated, interruptible, show_log
from mdinsight.cli._molecule import content_of
from mdinsight.errors import ConnectivityError, DegenerateError, ParameterError
from mdinsight.words import counted

if TYPE_CHECKING:
    from mdinsight.adaptive import Run
    from mdinsight.adaptive._planfile import PlanFile
    from mdinsight.engine import System

_OF_THE_RUN = ("budget", "workers", "devices", "dask")


@click.command()
@click.argument("file", required=False)
@click.option(
    "--sequence",
    metavar="LETTERS",
    help="A peptide, e.g. YYDPETGTWY; ace-AAA-nme has capped ends.",
)
@click.option("--coords", metavar="FILE", help="Coordinates, for a topology that has none (prmtop, top, psf, xml).")
@click.option("--parameters", multiple=True, metavar="FILE", help="CHARMM parameter files, of a psf; may repeat.")
@click.option("--out", metavar="FOLDER", help="The run.  [default: the molecule's name, and -run]")
@click.option("--budget", metavar="TIME", help="Simulated time in all.  [default: 10 ns]")
@click.option("--forcefield", metavar="NAME", multiple=True, help="A name or file; may repeat.  [default: amber14]")
@click.option("--solvent", help="vacuum, obc2, gbn2, tip3p, ...  [default: obc2]")
@click.option("--temperature", metavar="K", help="[default: 300]")
@click.option("--timestep", metavar="TIME", help="[default: 2 fs, or 4 fs with --hydrogen-mass 3]")
@click.option("--hydrogen-mass", type=float, metavar="U", help="Mass of the hydrogens; 3 allows 4 fs.")
@click.option("--platform", help="A platform of OpenMM.  [default: the fastest here]")
@click.option("--features", multiple=True, metavar="KIND[=ARG]", help="e.g. 'torsions=phi psi'; may repeat.")
@click.option("--cv", type=click.Choice(["tica", "vamp", "vampnet"]), help="The coordinate.  [default: tica]")
@click.option("--cv-lag", metavar="TIME", help="Its lag time.  [default: a tenth of a swarm trajectory]")
@click.option("--dim", type=int, help="Number of coordinates.  [default: chosen]")
@click.option("--bias", type=click.Choice(["opes", "metadynamics", "none"]), help="[default: opes]")
@click.option("--barrier", metavar="KJ/MOL", help="The highest barrier that OPES shall cross.  [default: 50]")
@click.option("--policy", metavar="NAME", help="Where walkers start: least_counts, frontier, uncertainty, ...")
@click.option("--explore", metavar="NAME", help="The first round: hot, pushed or plain.  [default: by the size]")
@click.option("--walkers", type=int, help="Walkers of a round.  [default: 4]")
@click.option("--segment", metavar="TIME", help="Time of a walker in a round.  [default: 200 ps]")
@click.option("--swarm", metavar="TIME", help="Time of a swarm trajectory.  [default: a tenth of a segment]")
@click.option("--swarms", type=int, help="Trajectories of a swarm.  [default: 40]")
@click.option("--seed", type=int, help="Seed of everything random.  [default: 7]")
@click.option("--workers", type=int, help="Processes on this machine.  [default: one a core or GPU]")
@click.option("--devices", metavar="LIST", help="GPUs to use, by their numbers, e.g. 0,2.  [default: all]")
@click.option("--dask", metavar="ADDRESS", help="Run on the workers of a Dask scheduler, e.g. tcp://host:8786.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.pass_context
def sample(ctx: click.Context, file: str | None, out: str | None, quiet: bool, **options: Any) -> None:
    """Find the rare conformations of a molecule: how rare each is, how fast it is reached, and its structures.

    FILE is a structure (PDB, mmCIF), a topology with --coords (Amber, Gromacs, CHARMM, a System of OpenMM), a plan (YAML), or the
    folder of a run, which goes on. Stopped or killed, the same command goes on where it was.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as in analyze: Ctrl-C is not for libraries that are being loaded
    from mdinsight import adaptive  # noqa: F401

    show_log()
    given = {name: value for name, value in options.items() if value not in (None, ())}
    job = _Job(given, quiet)
    try:
        with interruptible():
            job.find(file, out)
            job.work()
    except KeyboardInterrupt as stopped:
        click.echo(f"\n{job.how_to_resume()}", err=True)
        ctx.exit(128 + (signal.SIGTERM if isinstance(stopped, Terminated) else signal.SIGINT))


class _Job:
    """One call of ``mdinsight sample``."""

    def __init__(self, options: dict[str, Any], quiet: bool) -> None:
        self.for_run = {name: options.pop(name) for name in _OF_THE_RUN if name in options}
        self.options = options
        self.quiet = quiet
        self.budget: Any = self.for_run.get("budget")
        self.devices: Any = "auto"
        self.run: Run | None = None

    def find(self, file: str | None, out: str | None) -> None:
        """The run: taken up if its folder was given or there is one, else begun."""
        from mdinsight import adaptive, units
        from mdinsight.store import Store

        if self.budget is not None:
            units.time(self.budget, "--budget")
        if self.for_run.get("workers", 1) < 1:
            raise ParameterError(f"--workers {self.for_run['workers']} is not a number of processes; give at least 1")
        for name, what in (("workers", "processes"), ("devices", "GPUs")):
            if {name, "dask"} <= self.for_run.keys():
                raise ParameterError(
                    f"--{name} are {what} of this machine, and do not go with --dask; give one of the two"
                )
        self.devices = _devices(self.for_run.get("devices", "auto"))
        if file is not None and Path(file).is_dir():
            self._refuse_options(file, out)
            self.run = adaptive.open(file)
        else:
            written = self._written(file)
            plan = written.plan()
            folder = out or _folder_of(written, file)
            if self.budget is None and "budget" in written.model_fields_set:
                self.budget = written.budget
            if not Store.exists(folder):  # what can be refused is refused before there is a folder
                if "dask" not in self.for_run:  # whose workers have platforms of their own
                    plan.system.chosen_platform()
                plan.check_budget(units.time(written.budget if self.budget is None else self.budget, "budget"))
            self.run = adaptive.open(folder, plan)
        if self.budget is None:
            self.budget = self.run.budget or 10_000.0

    def _written(self, file: str | None) -> PlanFile:
        from mdinsight.adaptive._planfile import PlanFile

        sequence, coords = self.options.pop("sequence", None), self.options.pop("coords", None)
        parameters = self.options.pop("parameters", ())
        if file is None or not file.lower().endswith((".yaml", ".yml")):
            return PlanFile.parse(content_of(file, sequence, coords, parameters, self.options), "the command line")
        others = {"sequence": sequence, "coords": coords, "parameters": parameters, **self.options}
        wrong = _flags(name for name, value in others.items() if value)
        if wrong:
            raise ParameterError(f"a plan stands alone; write {wrong} into {file}")
        return PlanFile.read(file)

    def _refuse_options(self, folder: str, out: str | None) -> None:
        wrong = _flags([*self.options, *(["out"] if out else [])])
        if wrong:
            raise ParameterError(f"the run {folder} has a plan, which stays; leave out {wrong}, or begin a new run")

    def work(self) -> None:
        """Go on until the end, and write what came out."""
        from mdinsight import units
        from mdinsight.adaptive import dask_executor

        run = self._run
        with run.store.lock():
            pass  # who is refused reads no more than that
        if not self.quiet:
            click.echo(_about(run), err=True)
        with ExitStack() as stack:
            workers = self.for_run.get("workers")
            if "dask" in self.for_run:
                workers = stack.enter_context(dask_executor(self.for_run["dask"], folder=run.store.path))
            end = run.advance(self.budget, workers=workers, progress=not self.quiet, devices=self.devices)
        _show_results(run, self.quiet)
        click.echo(f"\n{end.says}")
        if end.more is not None:
            budget = max(end.more, 2 * units.time(self.budget), 2 * run.history.ps)
            click.echo(f"Go on with\n  {_command(run, {**self.for_run, 'budget': units.format_time(budget)})}")

    @property
    def _run(self) -> Run:
        if self.run is None:
            raise ParameterError("there is no run yet; find it first")
        return self.run

    def how_to_resume(self) -> str:
        """What to say when it was interrupted."""
        from mdinsight import units

        if self.run is None:
            return "interrupted before it began; give the same command again"
        done, number = self.run.history.ps, len(self.run.history.pieces())
        kept = f"{units.format_time(done)} in {number} segments are safe" if number else "no segment was finished yet"
        command = _command(self.run, {**self.for_run, "budget": self.budget})
        return f"interrupted; {kept}; what was not finished is run again. Go on with\n  {command}"


def _folder_of(written: PlanFile, file: str | None) -> str:
    """The default name of a run."""
    name = written.system.source[1] if file is None else Path(file).stem
    return f"{name}-run"


def _devices(given: str) -> Any:
    """``"0,2"`` as numbers."""
    if given == "auto":
        return given
    try:
        return [int(word) for word in given.split(",")]
    except ValueError:
        raise ParameterError(f"--devices {given} is no list of GPUs; give their numbers, e.g. 0,2") from None


def _flags(names: Any) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _command(run: Run, options: dict[str, Any]) -> str:
    """The command that goes on with a run."""
    from mdinsight import units

    words = ["mdinsight", "sample", _shown(run)]
    for name, value in options.items():
        text = units.format_time(value) if name == "budget" and not isinstance(value, str) else str(value)
        words += [f"--{name}", text]
    return shlex.join(words)


def _shown(run: Run) -> str:
    """The folder of a run as one would type it."""
    path = run.store.path
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _about(run: Run) -> str:
    """What a run does, in a few lines."""
    from mdinsight import units
    from mdinsight.adaptive._echo import short

    system, plan = run.plan.system, run.plan
    made = dict(system.description)
    first = ", ".join(made.pop(key) for key in ("source", "forcefield", "solvent") if key in made)
    features = " + ".join(short(item) for item in plan.features.items)
    bias = "no bias" if plan.bias is None else short(plan.bias)
    done = run.history.ps
    begun = f"taken up at {units.format_time(done)}" if run.history.decisions else "begun"
    lines = [
        f"{first}: {system.n_atoms} atoms, {system.temperature:g} K, steps of {units.format_time(system.timestep)}",
        *_free_ends(system),
        *(f"{key}: {value}" for key, value in made.items()),
        f"{features}; {plan.cv.kind}; {bias}; {counted(plan.walkers, 'walker')} of {units.format_time(plan.segment)}",
        f"{_shown(run)}: {begun}; to look at it: mdinsight status {shlex.quote(_shown(run))}",
    ]
    return "\n".join(f"  {line}" for line in lines)


def _free_ends(system: System) -> list[str]:
    """Of a peptide built from its sequence: whether its ends are charged, which short ones fold by."""
    sequence = system.description.get("source", "")
    if not sequence.isalpha() or not sequence.isupper():
        return []
    return [f"its ends are free and charged; to cap them: --sequence ace-{sequence}-nme"]


def _show_results(run: Run, quiet: bool = False) -> None:
    """The states, or how far the run is where they cannot be weighed yet; and everything written into its folder."""
    from mdinsight.analysis import write_run

    try:
        click.echo(str(run.states()))
    except (DegenerateError, ConnectivityError) as error:
        click.echo(str(run.status()))
        click.echo(f"no table of states: {error}")
    folder = write_run(run, on_step=None if quiet else lambda text: click.echo(f"  {text}", err=True))
    shown = os.path.relpath(folder)
    click.echo(f"\nEverything is in {shown}: start with {shown}/summary.md or {shown}/report.html")


_run = click.argument("run")


@click.command()
@_run
@click.option("--watch", is_flag=True, help="Look again every few seconds, for as long as somebody works on it.")
@click.option("--every", type=click.FloatRange(min=0.2), default=3.0, show_default=True, help="Seconds between looks.")
def status(run: str, watch: bool, every: float) -> None:
    """Say how far a run is, also while another process works on it.

    RUN is the folder of a run.
    """
    from mdinsight.adaptive import Status

    last = ""
    with suppress(KeyboardInterrupt):  # how one stops watching
        while True:
            now = Status.of(run)
            if str(now) != last:
                click.echo(f"\x1b[H\x1b[2J{now}" if watch and sys.stdout.isatty() else str(now))
                last = str(now)
            if not (watch and now.worker):
                return
            time.sleep(every)


@click.command()
@_run
@click.pass_context
def verify(ctx: click.Context, run: str) -> None:
    """Read every file of a run again and compare it with its checksum. Exit code 1 if anything was damaged.

    RUN is the folder of a run.
    """
    from mdinsight.store import Store

    store = Store(Path(run).absolute(), {}, read_only=True) if Store.exists(run) else Store.open(run)
    verdicts = store.verify(progress=sys.stderr.isatty())
    wrong = [verdict for verdict in verdicts if not verdict.holds]
    for verdict in wrong:
        click.echo(str(verdict))
    if wrong:
        click.echo(f"{counted(len(wrong), 'part')} of {len(verdicts)} {'is' if len(wrong) == 1 else 'are'} damaged")
        ctx.exit(1)
    click.echo(f"{run} is whole: all {len(verdicts)} parts are as they were written")


@click.command()
@_run
def report(run: str) -> None:
    """Write the results of a run again.

    RUN is the folder of a run.
    """
    from mdinsight.adaptive import look

    _show_results(look(run))
