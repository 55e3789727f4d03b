"""Frames that turn out to be corrupt when they are read: those before them are used, and one warning says so."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import h5py
import mdtraj
import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.errors import CorruptFrameError, DataWarning, NonFiniteError, TopologyError, TrajectoryError
from mdinsight.features import Distances, RadiusOfGyration, Torsions


@pytest.fixture
def formats(examples) -> Path:
    return examples / "formats"


def broken_xtc(source: Path, path: Path, frame: int) -> Path:
    """A copy whose frame has bytes of 255 where its bits begin."""
    data, at = bytearray(source.read_bytes()), 0
    for _ in range(frame):
        at += 92 + (int.from_bytes(data[at + 88 : at + 92], "big") + 3) // 4 * 4
    data[at + 92 : at + 120] = b"\xff" * 28
    path.write_bytes(bytes(data))
    return path


def broken_h5md(source: Path, path: Path, frame: int) -> Path:
    """Compressed positions, two frames a chunk; the chunk of one frame is garbage."""
    shutil.copy(source, path)
    with h5py.File(path, "r+") as file:
        group = next(iter(file["particles"].values()))["position"]
        xyz, attributes = group["value"][:], dict(group["value"].attrs)
        del group["value"]
        data = group.create_dataset("value", data=xyz, chunks=(2, *xyz.shape[1:]), compression="gzip")
        data.attrs.update(attributes)
        chunk = data.id.get_chunk_info(frame // 2)
    with path.open("r+b") as handle:
        handle.seek(chunk.byte_offset + 2)
        handle.write(b"\x00\xff" * 20)
    return path


@pytest.mark.parametrize("chunk", [None, 1, 3, 5])
@pytest.mark.parametrize("suffix", [".xtc", ".h5md"])
def test_frames_before_a_corrupt_one_are_used(suffix, chunk, formats, tmp_path):
    make = {".xtc": broken_xtc, ".h5md": broken_h5md}[suffix]
    bad, good = make(formats / f"box{suffix}", tmp_path / f"bad{suffix}", 12), formats / "box.trr"
    whole = mdi.open([formats / f"box{suffix}", good], top=formats / "top.pdb")
    trajs = mdi.open([bad, good], top=formats / "top.pdb")
    features = Torsions("phi psi") + Distances("element C")
    expected = features.transform(whole, cache=False)
    for _ in range(2):  # the second time the whole one comes out of the cache
        with pytest.warns(DataWarning) as caught:
            found = features.transform(trajs, chunk=chunk, cache=tmp_path)
        assert len(caught) == 1
        said = str(caught[0].message)
        assert f"bad{suffix}, frame 12: " in said and "stop=12" in said
        assert "the 12 frames before it are used, 8 frames lost" in said
        assert [len(array) for array in found] == [12, 20]
        np.testing.assert_array_equal(found[0], expected[0][:12])
        np.testing.assert_array_equal(found[1], expected[1])
        assert found.origins[0].frame(11) == 11
    with pytest.raises(CorruptFrameError, match=r"frame 12: .*stop=12") as error:
        list(trajs.iter_chunks(6))
    assert error.value.frame == 12
    cut = mdi.open(bad, top=formats / "top.pdb", stop=12)
    np.testing.assert_array_equal(features.transform(cut, cache=False)[0], expected[0][:12])


def test_with_a_stride_the_rows_before_the_corrupt_frame(formats, tmp_path):
    bad = broken_xtc(formats / "box.xtc", tmp_path / "bad.xtc", 12)
    whole = Torsions("phi").transform(mdi.open(formats / "box.xtc", top=formats / "top.pdb"), cache=False)[0]
    hit = mdi.open(bad, top=formats / "top.pdb", start=2, stride=5)
    with pytest.warns(DataWarning, match="the 2 frames before it are used, 2 frames lost"):
        found = Torsions("phi").transform(hit, cache=False)
    np.testing.assert_array_equal(found[0], whole[[2, 7]])
    missed = mdi.open(bad, top=formats / "top.pdb", start=1, stride=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(Torsions("phi").transform(missed, cache=False)[0], whole[1::2])
    with pytest.raises(CorruptFrameError, match="frame 12"):
        Torsions("phi").transform(mdi.open(bad, top=formats / "top.pdb", start=12), cache=False)


@pytest.mark.parametrize("value", [3e6, -2e5, np.nan])
def test_absurd_coordinates_are_refused(value, formats, tmp_path):
    frames = mdtraj.load(str(formats / "plain.trr"), top=str(formats / "top.pdb"))
    frames.xyz[13, 8, 2] = value
    frames.save_dcd(str(tmp_path / "far.dcd"))
    trajs = mdi.open(tmp_path / "far.dcd", top=formats / "top.pdb", dt=2)
    with pytest.raises(NonFiniteError, match=r"far\.dcd, frame 13: z of atom 8 .*stop=13"):
        Torsions("phi").transform(trajs, cache=False)


@pytest.mark.parametrize("suffix", [".dcd", ".nc", ".xtc", ".trr", ".h5", ".lammpstrj"])
def test_a_file_replaced_after_it_was_opened_is_refused(suffix, formats, tmp_path):
    path = tmp_path / f"now{suffix}"
    shutil.copy(formats / f"plain{suffix}", path)
    trajs = mdi.open(path, top=formats / "top.pdb", dt=2)
    before = trajs[0].read_chunk(0, 20).xyz
    os.utime(path)  # only touched: it is the same
    np.testing.assert_array_equal(trajs[0].read_chunk(0, 20).xyz, before)
    changed = bytearray(path.read_bytes())
    at = len(changed) - 30
    changed[at] ^= 1
    path.write_bytes(bytes(changed))
    with pytest.raises(TrajectoryError, match=r"was changed since it was opened; open it again"):
        trajs[0].read_chunk(0, 3)


@pytest.mark.parametrize("suffix", [".xtc", ".dcd", ".nc", ".trr"])
def test_a_file_that_grows_after_it_was_opened_is_read_on(suffix, formats, tmp_path):
    whole = (formats / f"plain{suffix}").read_bytes()
    path = tmp_path / f"grows{suffix}"
    if suffix == ".nc":
        short = whole[:4] + (12).to_bytes(4, "big") + whole[8 : len(whole) - 8 * (4 + 22 * 12)]
    elif suffix == ".dcd":
        # A frame of 22 atoms is three records of 96 bytes; mdtraj's own title differs from one write to the next.
        short = whole[:8] + (12).to_bytes(4, "little") + whole[12 : len(whole) - 8 * 288]
    else:
        frames = mdtraj.load(str(formats / f"plain{suffix}"), top=str(formats / "top.pdb"))[:12]
        frames.save(str(path))
        short = path.read_bytes()
        mdtraj.load(str(formats / f"plain{suffix}"), top=str(formats / "top.pdb")).save(str(path))
        whole = path.read_bytes()
    path.write_bytes(short)
    traj = mdi.open(path, top=formats / "top.pdb", dt=2)[0]
    before = traj.read_chunk(0, 12).xyz
    path.write_bytes(whole)
    np.testing.assert_array_equal(traj.read_chunk(0, 12).xyz, before)


def test_a_change_in_the_middle_is_no_cached_result(formats, examples, tmp_path):
    """Size and time of change are as before, as after a copy that keeps times."""
    path, top = tmp_path / "middle.dcd", examples / "ala2/top.pdb"
    frames = mdtraj.load(str(next(iter(sorted((examples / "ala2").glob("*.xtc"))))), top=str(top))[:400]
    frames.save_dcd(str(path))
    stamp = path.stat()
    first = Torsions("phi").transform(mdi.open(path, top=top, dt=2), cache=tmp_path)[0]
    frames.xyz[150:250] = frames.xyz[150:250][::-1]
    frames.save_dcd(str(path))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stamp.st_size, stamp.st_mtime_ns)
    again = Torsions("phi").transform(mdi.open(path, top=top, dt=2), cache=tmp_path)[0]
    np.testing.assert_array_equal(again[150:250], first[150:250][::-1])


def test_the_whole_analysis_goes_on_with_the_frames_before(examples, tmp_path):
    files = sorted((examples / "ala2_fast").glob("*.xtc"))[:3]
    bad = broken_xtc(files[0], tmp_path / "bad.xtc", 3000)
    top, out = examples / "ala2_fast/top.pdb", tmp_path / "out"
    content = {"trajectories": {"files": [str(bad), str(files[1]), str(files[2])], "top": str(top), "stride": 4}}
    small = {"cv": {"lag": 1, "dim": 2}, "states": {"n": 30}, "msm": {"samples": 20, "macrostates": 2}}
    with pytest.warns(DataWarning, match=r"bad\.xtc, frame 3000: .*the 750 frames before it are used"):
        found = mdi.analysis.run(mdi.analysis.Config.parse({**content, **small}))
    mdi.msm.write_structures(out, found.trajectories, found.dtrajs, found.model, found.macrostates, n=5)
    assert len(found.dtrajs[0]) == 750 < found.trajectories[0].n_frames
    assert mdi.analysis.summarise(found)["data"]["n_frames"] == sum(len(array) for array in found.dtrajs)
    assert len(list(out.glob("*.xtc"))) == 2


def test_radius_of_gyration_of_beads_whose_masses_are_not_known(tmp_path):
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for name in ("BB", "SC", "BB"):
        topology.add_atom(name, mdtraj.element.virtual, topology.add_residue("BEA", chain))
    frames = mdtraj.Trajectory(np.random.default_rng(0).normal(size=(5, 3, 3)), topology)
    with pytest.raises(TopologyError, match=r"masses of 3 atoms .* are not known.*mass_weighted=False"):
        RadiusOfGyration("all").transform(frames, cache=False)
    found = RadiusOfGyration("all", mass_weighted=False).transform(frames, cache=False)[0][:, 0]
    np.testing.assert_allclose(found, np.sqrt(frames.xyz.var(axis=1).sum(axis=1)), rtol=1e-5)
    water = mdtraj.Topology()
    residue = water.add_residue("HOH", water.add_chain())
    for symbol in ("O", "H", "H"):
        water.add_atom(symbol, mdtraj.element.get_by_symbol(symbol), residue)
    water.add_atom("M", mdtraj.element.virtual, residue)  # a site without mass
    four = mdtraj.Trajectory(np.random.default_rng(1).normal(size=(5, 4, 3)), water)
    found = RadiusOfGyration("all", periodic=False).transform(four, cache=False)
    without = RadiusOfGyration([0, 1, 2], periodic=False).transform(four, cache=False)
    np.testing.assert_allclose(found[0], without[0], rtol=1e-6)
