"""Progress is shown by anything like tqdm; what is not is told what to give."""

from __future__ import annotations

import pytest
from tqdm import tqdm

from mdinsight.errors import ParameterError
from mdinsight.progress import check_progress, track


def test_the_items_pass_through_whatever_shows_them():
    def plain(items, total=None, desc=""):
        return list(items)

    for progress in (False, True, tqdm, plain, lambda items, **_: items):
        check_progress(progress)
        assert list(track(iter(range(3)), progress, total=3, desc="x")) == [0, 1, 2]


@pytest.mark.parametrize(
    ("progress", "match"),
    [
        (None, "progress=None shows nothing; give True, False"),
        ("yes", "progress='yes' shows nothing"),
        (1, "progress=1 shows nothing"),
        (lambda share: None, "cannot be called as tqdm is .*'total'"),
        (lambda items, total, desc: None, "gave None and not the items"),
    ],
)
def test_what_shows_nothing_is_refused(progress, match):
    with pytest.raises(ParameterError, match=match):
        track([1], progress, total=1, desc="x")


def test_a_bar_that_lacks_a_package_says_so():
    def bar(items, total=None, desc=""):
        raise ImportError("IProgress not found. Please update jupyter and ipywidgets.")

    with pytest.raises(ParameterError, match=r"bar cannot be shown: IProgress not found.* give True, or tqdm\.tqdm"):
        track([1], bar)
