"""The first two thousand of the damaged files of ``benchmarks/fuzz_xtc.py``, and damage of particular kinds."""

import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from mdinsight.errors import CorruptFrameError, TrajectoryError
from mdinsight.trajectories._formats.xtc import XTC


@pytest.fixture(scope="module")
def fuzz(benchmark_script):
    return benchmark_script("fuzz_xtc")


def test_damaged_files(fuzz, tmp_path):
    counts = Counter(fuzz.outcome(case, tmp_path) for case in range(2000))
    wrong = {key: n for key, n in counts.items() if key[1] in fuzz.WRONG}
    assert not wrong
    assert sum(n for (_, what), n in counts.items() if what in ("damage told", "frame refused")) > 1000


@pytest.mark.parametrize("name", [0, 1, 2, 3, 4])
def test_a_file_cut_short_after_the_scan_is_told(name, fuzz, tmp_path):
    whole = fuzz.wholes()[name]
    path = tmp_path / "a.xtc"
    path.write_bytes(whole.data)
    scan = XTC().scan(path)
    os.truncate(path, whole.offsets[4] + 30)
    np.testing.assert_array_equal(XTC().read(path, scan, range(4), None).xyz, whole.xyz[:4])
    with pytest.raises(TrajectoryError, match=r"changed since it was opened \(frame 4 is not all there\)"):
        XTC().read(path, scan, range(5), None)
    path.write_bytes(whole.data[: whole.offsets[3]] + bytes(4) + whole.data[whole.offsets[3] + 4 :])
    with pytest.raises(TrajectoryError, match=r"changed since it was opened \(frame 3 is another one\)"):
        XTC().read(path, scan, range(5), None)


@pytest.mark.parametrize("field, value", [(56, 0.0), (56, -1.0), (56, float("nan")), (56, float("inf")), (56, 1e-38)])
def test_a_precision_that_is_none(field, value, fuzz, tmp_path):
    whole = fuzz.wholes()[2]
    data, path = bytearray(whole.data), tmp_path / "a.xtc"
    data[whole.offsets[2] + field : whole.offsets[2] + field + 4] = np.array(value, ">f4").tobytes()
    path.write_bytes(bytes(data))
    scan = XTC().scan(path)
    for atoms in (None, np.arange(9)):
        with pytest.raises(CorruptFrameError, match="frame 2: ") as caught:
            XTC().read(path, scan, range(5), atoms)
        assert caught.value.frame == 2


def test_a_frame_that_is_cut_short_while_it_is_read_does_not_kill_the_process(fuzz, tmp_path):
    """A file that is mapped would: looking at a page behind its end is a signal that no program outlives."""
    whole = fuzz.wholes()[2]
    path = tmp_path / "a.xtc"
    code = f"""
import os, threading
import numpy as np
from pathlib import Path
from mdinsight.errors import MdinsightError
from mdinsight.trajectories._formats.xtc import XTC
path = Path({str(path)!r})
data = Path({str(tmp_path / "whole.xtc")!r}).read_bytes()
path.write_bytes(data)
scan = XTC().scan(path)
done = threading.Event()
def cut():
    while not done.is_set():
        os.truncate(path, 5000)
        with path.open("r+b") as out:
            out.write(data)
thread = threading.Thread(target=cut)
thread.start()
read = told = 0
for _ in range(300):
    try:
        XTC().scan(path)
        XTC().read(path, scan, range(scan.n_frames), None)
        read += 1
    except MdinsightError:
        told += 1
done.set()
thread.join()
print(read + told)
"""
    (tmp_path / "whole.xtc").write_bytes(whole.data * 40)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.split() == ["300"], (run.returncode, run.stderr)
