import html
from html.parser import HTMLParser

import pytest

import mdinsight as mdi
from mdinsight.errors import OutputError, ParameterError


class Page(HTMLParser):
    """What a page holds, and whether every tag is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.headings, self.images, self.scripts, self.links = [], [], [], 0, []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "img":
            self.images.append(values)
        self.scripts += tag == "script"
        self.links += [v for k, v in attributes if k in ("src", "href")]
        if tag not in ("img", "meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


def read(path):
    page = Page()
    page.feed(path.read_text())
    page.close()
    assert page.open == []
    return page


def test_the_page_holds_every_part_and_nothing_from_elsewhere(analysis, tmp_path):
    path = mdi.report.write(tmp_path / "report.html", *analysis.parts(), title="Alanine & co")
    page = read(path)
    assert page.headings[0] == "Alanine & co"
    for part in ("Trajectories", "Features", "Implied timescales", "Long-lived states", "Chapman-Kolmogorov test"):
        assert part in page.headings
    assert page.scripts == 0 and len(page.images) >= 8
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert all(image["alt"] for image in page.images)


def test_the_parts_of_the_first_script_make_a_report(analysis, tmp_path):
    path = mdi.report.write(tmp_path / "r.html", analysis.trajectories, analysis.features, analysis.cv, analysis.model)
    assert len(read(path).headings) >= 5
    text = path.read_text()
    assert str(analysis.model.timescales(1)[0]) in text


def test_what_does_not_hold_stands_at_the_top(analysis, tmp_path):
    text = mdi.report.write(tmp_path / "r.html", analysis.model).read_text()
    failing = [v for v in analysis.model.verdicts() if not v.holds]
    assert ("What does not hold" in text) == bool(failing)
    assert ("All checks hold" in text) == (not failing)


def test_what_cannot_be_shown_is_refused(analysis, tmp_path):
    with pytest.raises(ParameterError, match="cannot show a int"):
        mdi.report.write(tmp_path / "r.html", 3)
    with pytest.raises(ParameterError, match="at least one part"):
        mdi.report.write(tmp_path / "r.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        mdi.report.write(tmp_path / "file" / "r.html", analysis.model)
    assert not (tmp_path / "r.html").exists()


def test_the_first_section_does_not_repeat_what_the_summary_says(analysis, tmp_path):
    states, found = analysis.macrostates, analysis.macrostates.verdicts()
    said = found[0]
    text = mdi.report.write(tmp_path / "r.html", states, text=f"Summary:\n{said}").read_text()
    assert text.count(html.escape(said.sentence)) == 1
    for other in found[1:]:
        assert html.escape(other.sentence) in text
    text = mdi.report.write(tmp_path / "r.html", analysis.trajectories, states, text=f"{said}").read_text()
    assert text.count(html.escape(said.sentence)) == 2  # further down it stands beside its figures
    failing = [verdict for verdict in found if not verdict.holds]
    text = mdi.report.write(tmp_path / "r.html", states).read_text()
    assert failing and all(text.count(html.escape(verdict.sentence)) == 1 for verdict in found)


def test_figures_with_their_intervals_do_not_break_over_lines(analysis, tmp_path):
    text = mdi.report.write(tmp_path / "r.html", analysis.macrostates).read_text()
    assert "table:not(.words) td{white-space:nowrap}" in text and '<div class="table"><table>' in text
