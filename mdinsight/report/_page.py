"""The HTML page itself: one file, no script, nothing fetched."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from mdinsight.results import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CSS = """
body{font:16px/1.5 system-ui,sans-serif;color:#1c2127;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.7rem;margin-bottom:.2rem}h2{font-size:1.25rem;margin-top:2.2rem;border-bottom:1px solid #cfd6dd}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .8rem;text-align:right;border-bottom:1px solid #e3e7eb}th{font-weight:600}
th:first-child,td:first-child,.words th,.words td{text-align:left}.words td:first-child{white-space:nowrap}
div.table{overflow-x:auto}table:not(.words) td{white-space:nowrap}
pre{background:#f4f6f8;padding:.8rem 1rem;overflow-x:auto;font-size:.85rem;white-space:pre-wrap}
figure{margin:1rem 0}figure img{max-width:100%}figcaption{color:#4a5563;font-size:.9rem}
.figures{display:flex;flex-wrap:wrap;gap:1rem}.figures figure{flex:1 1 26rem}
li.ok::marker{content:"\\2713\\00a0\\00a0";color:#2c6e3f}li.no::marker{content:"\\2717\\00a0\\00a0";color:#a4161a}
li.no{color:#7a1015}footer{margin-top:3rem;color:#4a5563;font-size:.85rem}
@media print{body{max-width:none}figure{break-inside:avoid}}
"""


def page(title: str, lead: str, sections: Iterable[str], footer: str) -> str:
    """The whole page out of its sections."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_CSS}</style></head><body>'
        f"<h1>{escape(title)}</h1><p>{escape(lead)}</p>{''.join(sections)}<footer>{escape(footer)}</footer></body></html>\n"
    )


def section(title: str, *content: str) -> str:
    """A headed section."""
    return f"<section><h2>{escape(title)}</h2>{''.join(content)}</section>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def preformatted(text: str) -> str:
    """Text in fixed width, as it is printed."""
    return f"<pre>{escape(text)}</pre>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], words: bool = False) -> str:
    """A table; the first column is text, the others figures, or with ``words`` text, too. Nothing in the head, no head."""
    kind = ' class="words"' if words else ""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    top = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="table"><table{kind}>{top}<tbody>{body}</tbody></table></div>'


def verdicts(found: Sequence[Verdict]) -> str:
    """The verdicts as a list, what does not hold first."""
    items = [_item(verdict) for verdict in sorted(found, key=lambda verdict: verdict.holds)]
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _item(verdict: Verdict) -> str:
    return f'<li class="{"ok" if verdict.holds else "no"}">{escape(verdict.sentence)}.</li>'


def without(content: str, said: Iterable[Verdict]) -> str:
    """A section without the verdicts that the page has said just above it."""
    for verdict in said:
        content = content.replace(_item(verdict), "")
    return content.replace("<ul></ul>", "")


def figure(drawing: Figure, caption: str) -> str:
    """A figure, embedded."""
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def figures(drawn: Iterable[str]) -> str:
    """Several figures side by side."""
    return f'<div class="figures">{"".join(drawn)}</div>'
