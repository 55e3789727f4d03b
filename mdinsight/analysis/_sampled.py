"""The results of a run of the loop as a folder: whole or absent, written again whenever asked."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mdinsight import plots
from mdinsight.adaptive import Run, States
from mdinsight.analysis._sampled_summary import Found, markdown, text, to_dict
from mdinsight.analysis._write import draw_all, in_place
from mdinsight.errors import DegenerateError, MdinsightError
from mdinsight.records import Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESULTS = "results"
_log = logging.getLogger(__name__)
_OURS = {
    *("summary.md", "summary.json", "report.html", "figures", "weights.npz", "plan.yaml"),
    *("plan.mdi", "coordinate.mdi", "bias.mdi", "states.mdi"),
}
_PDB = re.compile(r"state-\d+\.pdb")


def _is_ours(name: str) -> bool:
    return name in _OURS or bool(_PDB.fullmatch(name))


def write_run(
    run: Run, folder: str | os.PathLike[str] | None = None, on_step: Callable[[str], None] | None = None
) -> Path:
    """Write what a run has found so far; results that stand in the folder are replaced, once the new ones are whole.

    The folder holds ``summary.md`` and ``summary.json``, ``report.html``, ``state-1.pdb`` and so on, ``figures/``,
    ``weights.npz`` (file, frame, weight, state and coordinate of every weighted frame), ``coordinate.mdi``, ``bias.mdi`` and
    ``states.mdi`` (``mdi.load`` reads them), and the plan. A run that has no weighed state yet has a summary that says what is
    known, and why not more.

    Parameters
    ----------
    run
        What :func:`mdinsight.adaptive.open` or ``look`` gave; also while another process works on it.
    folder
        By default ``results`` in the run's own folder.
    on_step
        Called with a few words before each step.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        If it cannot be written, or holds something else; what stood there before is left as it was.
    """
    from mdinsight.report import write as write_report

    say = on_step or (lambda words: None)
    say("weighing the states")
    found = _found(run)
    out = run.store.path / RESULTS if folder is None else folder
    with in_place(out, True, _is_ours) as (build, place):
        files = {"report.html": "everything on one page, to keep or to send"}
        say("writing structures and weights")
        if found.states is not None:
            files |= _structures(found.states, build)
            files |= _weights(found.states, build / "weights.npz")
        files |= _models(run, build)
        say("drawing figures")
        files |= draw_all(_drawings(run, found.states), build / "figures")
        parts = [run] if found.states is None else [found.states, run]
        write_report(build / "report.html", *parts, title=found.title, text=text(found))
        files["summary.json"] = "every figure with its interval, for programs"
        (build / "summary.md").write_text(markdown(found, files), encoding="utf-8")
        content = json.dumps(to_dict(found, files), indent=1, allow_nan=False, ensure_ascii=False)
        (build / "summary.json").write_text(content + "\n", encoding="utf-8")
    return place


def _found(run: Run) -> Found:
    try:
        return Found(run, run.states(), "")
    except DegenerateError as error:
        return Found(run, None, str(error))


def _structures(states: States, build: Path) -> dict[str, str]:
    about = "structures drawn by their weight, the most typical first"
    names = [path.name for path in states.write_structures(build)]
    return {name: f"state {name[6:-4]} ({states.words[int(name[6:-4]) - 1]}): {about}" for name in names}


def _weights(states: States, path: Path) -> dict[str, str]:
    """Where each weighted frame stands, and what it weighs."""
    weighted, root = states.weighted, states.history.store.path
    names = [str(piece.file(0).relative_to(root)) for piece in weighted.pieces]
    files, number = np.unique(names, return_inverse=True)
    with path.open("wb") as handle:
        np.savez_compressed(
            handle,
            files=files,
            file_index=number[weighted.piece].astype(np.int32),
            frame=weighted.frame.astype(np.int64),
            weight=weighted.model.weights,
            log_weight=weighted.model.log_weights,
            state=(states.assigned + 1).astype(np.int32),
            coordinate=states.values(),
        )
    about = (
        "all weighted frames: files (names, relative to the run), and for each frame file_index (its place "
        "among them, from 0), frame, weight (sum 1), log_weight, state (1 is the most populated) and coordinate"
    )
    return {path.name: about}


def _models(run: Run, build: Path) -> dict[str, str]:
    history, done = run.history, {}
    models: dict[str, tuple[Model | None, str]] = {}
    if history.decisions:
        models["coordinate"] = (history.coordinate(history.decisions[-1].version), "the coordinate in force")
    last = next((d for d in reversed(history.decisions) if d.kind == "biased" and history.pieces([d])), None)
    if last is not None:
        models["bias"] = (history.bias_after(last), "the bias after the last biased round")
        about = "what assigns values of the coordinate to metastable states"
        models["states"] = (history.model(last, "states"), about)
    for name, (model, about) in models.items():
        if model is not None:
            model.save(build / f"{name}.mdi")
            done[f"{name}.mdi"] = f"{about}, read by mdi.load"
    if hasattr(run.plan, "to_yaml"):
        try:
            (build / "plan.yaml").write_text(run.plan.to_yaml(), encoding="utf-8")
            run.plan.save(build / "plan.mdi")
        except MdinsightError as error:  # a user's own function is code, which is not saved
            _log.warning("the plan is not written as YAML: %s", error)
        else:
            done["plan.yaml"] = "the plan, nothing left to defaults; `mdinsight sample plan.yaml` repeats the run"
            done["plan.mdi"] = "the molecule and the rest of the plan as plan.yaml refers to it"
    return done


def _drawings(run: Run, states: States | None) -> list[tuple[str, str, Callable[[], Axes | Figure]]]:
    """Name, caption and drawing of each figure that there is something for."""
    listed: list[tuple[str, str, Callable[[], Axes | Figure]]] = []
    if states is not None:
        listed += [
            (
                "free_energies",
                "free energies of the states, from the biased walkers and from the unbiased swarms alone",
                lambda: plots.state_populations(states),
            ),
            ("surface", "free energy along the learned coordinate, with the states", lambda: plots.run_surface(states)),
        ]
        if np.isfinite(states.passage_times.value).any():
            listed.append(("passage_times", "mean first passage times", lambda: plots.passage_times(states)))
        listed.append(("coordinate", "what makes up the coordinate", lambda: plots.explanation(states.coordinate)))
    if run.history.decisions:
        listed.append(("rounds", "how the states developed", lambda: plots.rounds(run)))
    if any(decision.kind == "biased" and run.history.pieces([decision]) for decision in run.history.decisions):
        listed.append(("walkers", "the walkers under bias in time", lambda: plots.walkers(run)))
    return listed
