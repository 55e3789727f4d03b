"""Damage: verify reads every byte again and names what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdinsight.errors import StoreError
from mdinsight.store._store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "run", {"seed": 7})


def committed(store: Store, *names: str) -> None:
    for name in names:
        folder = store.stage(name)
        (folder / "traj.bin").write_bytes(b"0123456789")
        (folder / "trace.bin").write_bytes(b"abc")
        store.commit(name, folder, {"steps": 500, "of": name})


def wrong(store: Store) -> list[str]:
    return [str(verdict) for verdict in store.verify() if not verdict.holds]


def test_verify_says_ok_of_what_is_whole(store: Store):
    committed(store, "r0000-w00", "r0000-w01")
    seen: list = []
    verdicts = store.verify(progress=lambda items, **_: (seen.append(item) or item for item in items))
    assert [str(verdict) for verdict in verdicts] == [
        "ok: run.json: as written when the run was created",
        "ok: segments/r0000-w00: 2 files, 13 bytes, as committed",
        "ok: segments/r0000-w01: 2 files, 13 bytes, as committed",
    ]
    assert len(seen) == 2
    store.stage("r0000-w00")
    note = store.verify()[-1]
    assert note.holds and "1 unfinished segment (r0000-w00-" in note.says


def test_each_byte_of_a_segment_is_watched(store: Store):
    committed(store, "r0000-w00")
    folder = store.path / "segments/r0000-w00"
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            found = wrong(store)
            assert len(found) == 1 and f"segments/r0000-w00/{path.name}" in found[0], at
        path.write_bytes(whole)
    assert wrong(store) == []


def test_each_kind_of_damage_is_named(store: Store):
    committed(store, *(f"r0000-w{number:02d}" for number in range(6)))
    segments = store.path / "segments"
    (segments / "r0000-w00/traj.bin").unlink()
    (segments / "r0000-w01/traj.bin").write_bytes(b"0123")
    (segments / "r0000-w02/more.bin").write_bytes(b"x")
    manifest = segments / "r0000-w03/MANIFEST.json"
    manifest.write_bytes(manifest.read_bytes()[:50])
    (segments / "r0000-w04/MANIFEST.json").unlink()
    (segments / "r0000-w05").rename(segments / "r0000-w06")
    (segments / "stray.txt").write_text("x")
    found = dict(zip(range(7), wrong(store), strict=True))
    for number, (subject, says) in enumerate(
        [
            ("r0000-w00/traj.bin", "is missing"),
            ("r0000-w01/traj.bin", "has 4 bytes, had 10 when it was committed"),
            ("r0000-w02/more.bin", "was not there when the segment was committed"),
            ("r0000-w03/MANIFEST.json", "is torn"),
            ("r0000-w04/MANIFEST.json", "has no MANIFEST.json"),
            ("r0000-w06/MANIFEST.json", "is the segment 'r0000-w05' under another name"),
            ("stray.txt", "is no folder"),
        ]
    ):
        assert found[number].startswith(f"NO: segments/{subject}: ") and says in found[number]
        assert any(remedy in found[number].lower() for remedy in ("bring it back", "move it out", "name it that"))
    reader = Store.open(store.path)
    assert reader.names() == ["r0000-w00", "r0000-w01", "r0000-w02", "r0000-w03", "r0000-w04", "r0000-w06"]
    for name, says in (("r0000-w00", "is missing"), ("r0000-w01", "has 4 bytes"), ("r0000-w03", "torn")):
        with pytest.raises(StoreError, match=says):
            reader.entry(name)
    with pytest.raises(StoreError, match=r"has no MANIFEST\.json"):
        committed(store, "r0000-w04")  # what is damaged is not overwritten either


def test_an_entry_that_was_read_before_is_read_again_when_it_changed(store: Store):
    committed(store, "r0000-w00")
    assert store.entry("r0000-w00") is store.entry("r0000-w00")
    manifest = store.path / "segments/r0000-w00/MANIFEST.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(StoreError, match="was changed after it was written"):
        store.entry("r0000-w00")
