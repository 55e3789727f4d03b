"""What is no cache and no progress is refused where it is given."""

from __future__ import annotations

import pytest

from mdinsight.errors import CacheWarning, ParameterError
from mdinsight.features import Torsions


def test_an_unwritable_folder_of_the_environment_is_told_as_that(frames, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MDINSIGHT_CACHE", str(tmp_path / "file"))
    with pytest.warns(CacheWarning, match="set MDINSIGHT_CACHE to a folder that can be written"):
        Torsions("phi").transform(frames)


@pytest.mark.parametrize("cache", [None, 5, b"x", "True", "false", "none", ""])
def test_what_is_no_cache_folder(cache, frames, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for ask in (Torsions("phi").transform, Torsions("phi").stream):
        with pytest.raises(ParameterError, match=f"cache={cache!r} is no folder; give True .*, False"):
            ask(frames, cache=cache)
    Torsions("phi").transform(frames, cache="./none")
    assert [path.name for path in tmp_path.iterdir()] == ["none"]


@pytest.mark.parametrize("progress", [None, "yes", lambda done, total: None])
def test_what_shows_no_progress(progress, frames):
    for ask in (Torsions("phi").transform, Torsions("phi").stream):
        with pytest.raises(ParameterError, match=r"progress=.* tqdm\(iterable"):
            ask(frames, cache=False, progress=progress)
