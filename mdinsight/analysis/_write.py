"""The output folder: whole or absent, never half of an old and half of a new analysis."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdinsight import msm, plots
from mdinsight.analysis._summary import markdown, to_dict
from mdinsight.errors import OutputError
from mdinsight.words import some

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mdinsight.analysis._pipeline import Analysis

_log = logging.getLogger(__name__)
_MARK = "summary.json"
_OURS = {_MARK, "summary.md", "report.html", "config.yaml", "figures", "structures", "models"}


def _is_ours(name: str) -> bool:
    return name in _OURS


def reserve(out: str | os.PathLike[str], force: bool = False, is_ours: Callable[[str], bool] = _is_ours) -> Path:
    """Check, before the work begins, that a folder can be written; nothing is changed.

    Parameters
    ----------
    out
        The folder. It may stand there already if it is empty, or, with ``force``, if it holds an analysis and nothing else.
    force
        Whether an analysis that stands there may be replaced.
    is_ours
        Whether something of that name is part of what is replaced.

    Raises
    ------
    OutputError
        If it cannot be written, or holds something that would be lost.
    """
    try:
        folder = Path(out).expanduser().resolve()
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{out} is a file; give a folder")
        if folder.is_dir() and any(folder.iterdir()):
            _check_replaceable(folder, out, force, is_ours)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder.parent) as handle:
            handle.write(b"x")
        if folder.is_dir() and not os.access(folder, os.W_OK):
            raise PermissionError(13, "permission denied")
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"cannot write {out}: {error.strerror}; give a folder that you can write to (--out)"
        ) from None
    return folder


def _check_replaceable(folder: Path, out: str | os.PathLike[str], force: bool, is_ours: Callable[[str], bool]) -> None:
    """A folder that is not empty may be replaced only if all that is in it was written by an analysis."""
    others = sorted(path.name for path in folder.iterdir() if not is_ours(path.name))
    try:
        content = json.loads((folder / _MARK).read_text())
        ours = isinstance(content, dict) and "mdinsight" in content
    except (OSError, ValueError):
        ours = False
    if others or not ours:
        which = f" ({some(others)})" if others else ""
        raise OutputError(f"{out} holds files that are no analysis of mdinsight{which}; give another folder")
    if not force:
        raise OutputError(
            f"{out} holds an analysis already; give another folder, or --force (force=True) to replace it"
        )


def write(
    found: Analysis, out: str | os.PathLike[str], force: bool = False, on_step: Callable[[str], None] | None = None
) -> Path:
    """Write everything that was found; with ``force`` an analysis in the folder is replaced, once the new one is whole.

    The folder holds ``summary.md`` and ``summary.json``, ``report.html``, ``config.yaml``, ``figures/``, ``structures/`` (each
    macrostate as PDB and XTC, and which file and frame each structure is) and ``models/`` (``mdi.load`` reads them).

    Raises
    ------
    OutputError
        If it cannot be written, or holds something else; what stood there before is left as it was.
    """
    from mdinsight.report import write as write_report

    say = on_step or (lambda text: None)
    with in_place(out, force) as (build, folder):
        files: dict[str, str] = {"report.html": "everything on one page, to keep or to send"}
        say("drawing figures")
        files |= _figures(found, build / "figures")
        say("writing structures and models")
        files |= _structures(found, build / "structures")
        files |= _models(found, build / "models")
        (build / "config.yaml").write_text(found.config.relative_to(folder).to_yaml())
        files["config.yaml"] = "the settings; `mdinsight analyze config.yaml` repeats the analysis"
        files[_MARK] = "every figure with its interval, for programs"
        write_report(
            build / "report.html", *found.parts(), title="What is slow", text=found.summary(), drawings=_combined(found)
        )
        (build / "summary.md").write_text(markdown(found, files))
        (build / _MARK).write_text(json.dumps(to_dict(found), indent=1, allow_nan=False) + "\n")
    return folder


@contextmanager
def in_place(
    out: str | os.PathLike[str], force: bool, is_ours: Callable[[str], bool] = _is_ours
) -> Iterator[tuple[Path, Path]]:
    """A folder to write in, and the one that it becomes, whole, when the block ends; when that raises nothing is changed.

    Raises
    ------
    OutputError
        As :func:`reserve`, and if the disk is full.
    """
    folder = reserve(out, force, is_ours)
    build = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}.", dir=folder.parent))
    try:
        yield build, folder
        reserve(out, force, is_ours)  # again: another process may have written there in the meantime
        _put_in_place(build, folder)
    except OSError as error:
        why = (
            str(error).replace(str(build), str(out)) if isinstance(error, OutputError) else error.strerror or str(error)
        )
        text = why if str(out) in why else f"cannot write {out}: {why}; make room, or choose another folder"
        raise OutputError(text) from error
    finally:
        shutil.rmtree(build, ignore_errors=True)


def _put_in_place(build: Path, folder: Path) -> None:
    build.chmod(0o755)
    if not folder.exists():
        build.rename(folder)
        return
    if not any(folder.iterdir()):  # perhaps a mount point, which cannot be renamed
        for name in sorted(
            os.listdir(build), key=lambda name: name == _MARK
        ):  # the mark of a whole analysis comes last
            (build / name).rename(folder / name)
        return
    old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    folder.rename(old)
    try:
        build.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _figures(found: Analysis, folder: Path) -> dict[str, str]:
    """Draw what there is; returns what each file shows."""
    return draw_all(drawings(found), folder)


def draw_all(listed: list[tuple[str, str, Callable[[], Axes | Figure]]], folder: Path) -> dict[str, str]:
    """Draw figures given as (name, caption, drawing) into a new folder; returns what each file shows."""
    from matplotlib import pyplot

    folder.mkdir()
    done: dict[str, str] = {}
    for name, about, drawing in listed:
        drawn: Any = drawing()
        figure = drawn if hasattr(drawn, "savefig") else drawn.figure
        figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
        pyplot.close(figure)
        done[f"figures/{name}.png"] = about
    return done


def drawings(found: Analysis) -> list[tuple[str, str, Callable[[], Axes | Figure]]]:
    """Name, caption and drawing of each figure of an analysis."""
    lag, plane = found.model.lag, found.coordinates.n_columns > 1
    listed: list[tuple[str, str, Callable[[], Axes | Figure]]] = [
        ("free_energy", "free energy over the slow coordinates", lambda: plots.free_energy(found.surface)),
        (
            "implied_timescales",
            "implied timescales against the lag",
            lambda: plots.implied_timescales(found.timescales, lag),
        ),
        ("coordinate", f"what makes up {found.coordinates.names[0]}", lambda: plots.explanation(found.cv)),
        ("traces", f"{found.coordinates.names[0]} in time", lambda: plots.traces(found.coordinates)),
        ("spectrum", "timescales of the model", lambda: plots.spectrum(found.model)),
    ]
    if plane and len(found.trajectories) > 1:
        listed.insert(1, ("free_energy_error", "how well it is known", lambda: plots.free_energy_error(found.surface)))
    scan, states, test, flux = found.scan, found.macrostates, found.chapman_kolmogorov, found.flux
    if scan is not None:
        listed.append(("scores", "cross-validated score of the coordinates", lambda: plots.scores(scan)))
        listed.append(
            ("coordinate_timescales", "timescales of the coordinates", lambda: plots.coordinate_timescales(scan))
        )
    if states is not None:
        if plane:
            listed.append(
                (
                    "states",
                    "where the macrostates lie",
                    lambda: plots.states_on_plane(found.coordinates, states, found.dtrajs),
                )
            )
        listed.append(("exchange", "populations and mean first passage times", lambda: plots.exchange(states)))
        listed.append(("populations", "populations of the macrostates", lambda: plots.populations(states)))
    if test is not None:
        listed.append(
            ("chapman_kolmogorov", "does the model predict longer times", lambda: plots.chapman_kolmogorov(test))
        )
    if flux is not None and plane:
        listed.append(
            (
                "committor",
                "the way of the slowest process, from A (more populated) to B",
                lambda: plots.committor(flux, found.model, macrostates=states),
            )
        )
    if getattr(found.cv, "training", None) is not None:
        listed.append(("training", "training of the network", lambda: plots.training(found.cv)))
    return listed


def _combined(found: Analysis) -> list[tuple[str, Callable[[], Axes | Figure]]]:
    """The figures that need more than one part, for the top of the report."""
    wanted = ("states", "committor")
    return [(about, drawing) for name, about, drawing in drawings(found) if name in wanted]


def _structures(found: Analysis, folder: Path) -> dict[str, str]:
    if found.macrostates is None or not found.config.structures:
        return {}
    written = msm.write_structures(
        folder,
        found.trajectories,
        found.dtrajs,
        found.model,
        found.macrostates,
        n=found.config.structures,
        seed=found.config.seed,
    )
    return {str(Path("structures") / Path(path).name): _about(Path(path)) for path in written}


def _about(path: Path) -> str:
    kinds = {".csv": "which file and frame each structure is", ".pdb": "the first few of the structures in the XTC"}
    return kinds.get(path.suffix, "structures drawn by their weight, the most representative first")


def _models(found: Analysis, folder: Path) -> dict[str, str]:
    from mdinsight.records import Model

    folder.mkdir()
    row = {"coordinate": found.cv, "states": found.dtrajs.definition, "markov": found.model}
    done = {}
    for name, model in row.items():
        if not isinstance(model, Model):
            continue
        try:
            model.save(folder / f"{name}.mdi")
        except TypeError as error:  # a user's own function is code, which is not saved
            _log.warning("the %s model is not saved: %s", name, error)
            continue
        done[f"models/{name}.mdi"] = f"the frozen {type(model).__name__}, read by mdi.load"
    return done
