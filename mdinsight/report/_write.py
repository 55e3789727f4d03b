"""Write the page."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mdinsight._version import __version__
from mdinsight.errors import ParameterError
from mdinsight.files import write_text
from mdinsight.report import _loop, _page  # noqa: F401 - _loop adds sections
from mdinsight.report._sections import draw, section
from mdinsight.results import Verdict


def write(
    path: str | os.PathLike[str],
    *parts: Any,
    title: str = "mdinsight report",
    text: str = "",
    drawings: Sequence[tuple[str, Callable[[], Any]]] = (),
) -> Path:
    """One self-contained HTML page (no script, nothing fetched) out of the parts of an analysis.

    Parameters
    ----------
    path
        The file.
    parts
        Any of: trajectories, features, a scan of coordinates, a coordinate model, coordinates, a free energy surface, implied
        timescales, a Markov model, macrostates, a reactive flux, a Chapman-Kolmogorov test; of a biased run its trace, a bias
        model, a free energy difference, its convergence, and what :func:`mdinsight.bias.mbar` gave; of the loop its states
        (``run.states()``) and the run. Each becomes a section, in the order given; what does not hold stands at the top.
    title
        Its headline.
    text
        What stands at the top, as it is printed, instead of what does not hold. The first section repeats no verdict of the top.
    drawings
        Captions and functions that draw further figures (axes or a figure), for the top.

    Raises
    ------
    ParameterError
        If no part is given, or one is of no kind that a report shows.
    OutputError
        If the file cannot be written.
    """
    if not parts:
        raise ParameterError("a report needs at least one part; give e.g. the trajectories and a Markov model")
    # a convergence repeats the verdicts of its difference
    made = list({v.sentence: v for part in parts for v in _verdicts(part)}.values())
    failing = [v for v in made if not v.holds]
    lead = f"{len(failing)} of the checks below do not hold." if failing else "All checks hold." if made else ""
    top = [_page.section("Summary", _page.preformatted(text.strip()))] if text else []
    if failing and not text:
        top.append(_page.section("What does not hold", _page.verdicts(failing)))
    if drawings:
        top.append(
            _page.figures([draw(drawing, f"{caption[:1].upper()}{caption[1:]}.") for caption, drawing in drawings])
        )
    sections = [section(part) for part in parts]
    summary = " ".join(text.split())
    said = [v for v in made if " ".join(v.sentence.split()) in summary] if text else failing
    sections[0] = _page.without(sections[0], said)  # it comes right below
    return write_text(path, _page.page(title, lead, [*top, *sections], f"Made by mdinsight {__version__}."))


def _verdicts(part: Any) -> tuple[Verdict, ...]:
    single = getattr(part, "verdict", None)
    if isinstance(single, Verdict):
        return (single,)
    several = getattr(part, "verdicts", None)
    return tuple(several()) if callable(several) else ()
