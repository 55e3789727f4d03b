"""The group of commands, ``mdinsight analyze`` and ``mdinsight info``."""

from __future__ import annotations

import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import click

from mdinsight._version import __version__
from mdinsight.cli._common import named_features
from mdinsight.cli._sample import report, sample, status, verify
from mdinsight.errors import MdinsightError, ParameterError


class _Group(click.Group):
    """Prints errors and warnings as a line each; a traceback only on request."""

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("once")
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except (click.exceptions.ClickException, click.exceptions.Exit, click.Abort):
                raise
            except KeyboardInterrupt:
                click.echo("interrupted; nothing was written", err=True)
                ctx.exit(130)
            except MdinsightError as error:
                if ctx.params.get("traceback"):
                    raise
                click.echo(f"error: {error}", err=True)
                ctx.exit(2)
            except Exception as error:
                if ctx.params.get("traceback"):
                    raise
                click.echo(
                    f"error: {type(error).__name__}: {error}\nThis is a fault of mdinsight; "
                    "run 'mdinsight --traceback ...' again and report what it prints",
                    err=True,
                )
                ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mdinsight")
@click.option("--traceback", is_flag=True, help="Show the whole traceback of an error.")
def main(traceback: bool) -> None:
    """Slow coordinates, long-lived states and rare conformations of molecular dynamics."""


for _command in (sample, status, verify, report):
    main.add_command(_command)

_files = click.argument("files", nargs=-1, required=True)
_top = click.option("--top", help="Topology (PDB, GRO, prmtop, ...), where the trajectories hold none.")
_dt = click.option("--dt", metavar="TIME", help="Time between frames, where the files do not say.")


@main.command()
@_files
@_top
@_dt
def info(files: tuple[str, ...], top: str | None, dt: str | None) -> None:
    """Say what trajectories hold: frames, time step, box, gaps, torn ends. Reads no coordinates."""
    from mdinsight.trajectories import open

    click.echo(str(open(list(files), top=top, dt=dt)))


@main.command()
@_files
@_top
@click.option("--out", default="mdinsight-out", show_default=True, help="Folder for everything that comes out.")
@click.option("--force", is_flag=True, help="Replace the analysis that stands in the folder.")
@click.option(
    "--features",
    multiple=True,
    metavar="KIND[=ARG]",
    help="e.g. 'torsions=phi psi' or 'distances=name CA'; may repeat.",
)
@click.option("--cv", type=click.Choice(["tica", "vamp", "vampnet", "pca"]), help="Slow coordinates.  [default: tica]")
@click.option("--cv-lag", metavar="TIME", help="Lag time of the coordinates, e.g. '20 ps'.  [default: chosen]")
@click.option("--dim", type=int, help="Number of coordinates.  [default: chosen by cross-validation]")
@click.option("--states", type=int, help="Number of microstates.  [default: by the amount of data]")
@click.option(
    "--lag", metavar="TIME", help="Lag time of the Markov model.  [default: where the timescales have converged]"
)
@click.option("--macrostates", type=int, help="Number of long-lived states.  [default: by the gap of the timescales]")
@click.option("--temperature", type=float, help="In K, for free energies.  [default: 300]")
@click.option("--start", type=int, help="First frame of each file.")
@click.option("--stop", type=int, help="Frame of each file to stop before.")
@click.option("--stride", type=int, help="Take every n-th frame.")
@click.option("--resample", metavar="TIME", help="One saving interval for files that have different ones.")
@_dt
@click.option("--seed", type=int, help="Seed of everything random.  [default: 7]")
@click.option("--workers", type=int, help="Threads.  [default: one a core]")
@click.option("--quiet", is_flag=True, help="No progress.")
def analyze(files: tuple[str, ...], top: str | None, out: str, force: bool, quiet: bool, **options: Any) -> None:
    """Find the slow coordinates, the long-lived states and how fast they exchange.

    FILES are trajectories or globs (quote them: the order is then natural), or one CONFIG.yaml.
    """
    signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # Ctrl-C in the middle of loading a library would crash in it, or be lost
    from mdinsight import analysis

    signal.signal(signal.SIGINT, signal.default_int_handler)
    config = _config(files, top, options)
    folder = analysis.reserve(out, force=force)
    steps = (lambda text: None) if quiet else (lambda text: click.echo(f"  {text}", err=True))
    result = analysis.run(config, on_step=steps, progress=not quiet and sys.stderr.isatty())
    analysis.write(result, folder, force, on_step=steps)
    click.echo(result.summary())
    click.echo(f"\nEverything is in {out}: start with {Path(out) / 'summary.md'} or {Path(out) / 'report.html'}")


def _config(files: tuple[str, ...], top: str | None, options: dict[str, Any]) -> Any:
    from mdinsight.analysis import Config

    changes = {key: value for key, value in options.items() if value not in (None, ())}
    if any(name.endswith((".yaml", ".yml")) for name in files):
        if len(files) > 1 or top or changes:
            given = [f"--{key.replace('_', '-')}" for key in changes] + (["--top"] if top else [])
            raise ParameterError(
                f"a configuration file stands alone; write {', '.join(given) or 'the other files'} into {files[0]}"
            )
        return Config.read(files[0])
    content: dict[str, Any] = {"trajectories": {"files": files, "top": top}, "cv": {}, "states": {}, "msm": {}}
    places = {
        "cv": ("cv", "method"),
        "cv_lag": ("cv", "lag"),
        "dim": ("cv", "dim"),
        "states": ("states", "n"),
        "lag": ("msm", "lag"),
        "macrostates": ("msm", "macrostates"),
        "start": ("trajectories", "start"),
        "stop": ("trajectories", "stop"),
        "stride": ("trajectories", "stride"),
        "resample": ("trajectories", "resample"),
        "dt": ("trajectories", "dt"),
    }
    for key, value in changes.items():
        if key == "features":
            content["features"] = named_features(value)
        elif key in places:
            section, name = places[key]
            content[section][name] = int(value) if name == "lag" and value.isascii() and value.isdigit() else value
        else:
            content[key] = value
    return Config.parse(content, "the command line")


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    from mdinsight.errors import MdinsightWarning

    if issubclass(category, MdinsightWarning):
        click.echo(f"warning: {message}", err=True)
