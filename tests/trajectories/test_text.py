"""Text formats are read in blocks of whole lines: nothing depends on where they are cut, and a file cut short is an error."""

import os
import tracemalloc

import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.errors import TrajectoryError
from mdinsight.trajectories._formats import _text, format_of

SUFFIXES = [".lammpstrj", ".pdb", ".cif"]


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(_text, "BLOCK", 100)


def told(path):
    """All that a scan tells, and the coordinates."""
    kind = format_of(path)
    scan = kind.scan(path)
    frames = kind.read(path, scan, range(scan.n_frames), None)
    layout = {key: np.asarray(value).tolist() for key, value in scan.layout.items()}
    return repr(scan), layout, np.asarray(scan.times).tolist(), frames.xyz.tobytes(), kind.topology(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["plain", "box"])
def test_scan_is_the_same_however_the_file_is_cut_into_blocks(suffix, name, formats, tmp_path, monkeypatch):
    data = (formats / f"{name}{suffix}").read_bytes()
    if suffix == ".lammpstrj":  # a frame that tells its units begins with another line
        head, rest = data[:9000], data[9000:]
        data = head + rest.replace(b"ITEM: TIMESTEP", b"ITEM: UNITS\nreal\nITEM: TIMESTEP", 3)
    path = tmp_path / f"file{suffix}"
    for content in (data, data[:-700], data[:9000] + data[9100:]):
        path.write_bytes(content)
        monkeypatch.setattr(_text, "BLOCK", 1 << 20)
        expected = told(path)
        for block in (7, 100, 8191):
            monkeypatch.setattr(_text, "BLOCK", block)
            assert told(path) == expected


def test_blocks_are_whole_lines_and_the_whole_file(tmp_path, monkeypatch):
    data = b"one\ntwo\n\n" + b"x" * 500 + b"\n" + b"y" * 3000 + b"\nlast"
    (tmp_path / "text").write_bytes(data)
    monkeypatch.setattr(_text, "LONGEST", 1000)
    for block in (1, 5, 64, 10_000):
        monkeypatch.setattr(_text, "BLOCK", block)
        with _text.Lines(tmp_path / "text") as lines:
            found = list(lines.blocks())
            assert b"".join(text for _, text in found) == data
            assert [start for start, _ in found] == np.cumsum([0, *(len(text) for _, text in found[:-1])]).tolist()
            short = [text for start, text in found if start + len(text) <= 510]  # lines that are not too long
            assert all(text.endswith(b"\n") for text in short)
            assert b"".join(text for _, text in lines.blocks(4, 30)) == data[4:30]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_short_after_it_was_opened_is_an_error(suffix, formats, top, tmp_path):
    path = tmp_path / f"short{suffix}"
    path.write_bytes((formats / f"box{suffix}").read_bytes())
    kind = format_of(path)
    scan = kind.scan(path)
    traj = mdi.open(path, top=top)[0]
    os.truncate(path, path.stat().st_size // 2)
    for read in (lambda: kind.read(path, scan, range(20), None), lambda: traj.read_chunk(0, 20)):
        with pytest.raises(TrajectoryError, match="was changed since it was opened"):
            read()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_short_while_it_is_scanned_is_an_error(suffix, formats, tmp_path, tiny):
    path = tmp_path / f"short{suffix}"
    path.write_bytes((formats / f"box{suffix}").read_bytes())
    with _text.Lines(path) as lines:
        blocks = lines.blocks()
        next(blocks)
        os.truncate(path, 150)
        with pytest.raises(TrajectoryError, match="was changed since it was opened"):
            list(blocks)


BOUNDS = "ITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
FRAMES = {  # what opens a frame, the line of an atom, what closes a frame
    ".lammpstrj": (
        f"ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2000\n{BOUNDS}ITEM: ATOMS id x y z\n",
        "{} 1.0 2.0 3.0\n",
        "",
    ),
    ".pdb": ("MODEL        1\n", "ATOM  {:5d}  CA  ALA A   1       1.000   2.000   3.000\n", "ENDMDL\n"),
}


@pytest.mark.parametrize("suffix", FRAMES)
def test_memory_of_a_scan_does_not_grow_with_the_file(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(_text, "BLOCK", 1 << 14)
    begin, line, end = FRAMES[suffix]
    path = tmp_path / f"long{suffix}"
    path.write_text((begin + "".join(line.format(i) for i in range(2000)) + end) * 80)
    format_of(path).scan(path)
    tracemalloc.start()
    try:
        assert format_of(path).scan(path).n_frames == 80
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 4
    finally:
        tracemalloc.stop()
