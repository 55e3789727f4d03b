"""What may be given to ``mdi.open``, what comes out, and what every wrong input is told."""

import pickle
import shutil
import subprocess
import sys

import mdtraj
import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.errors import (
    DataWarning,
    FormatError,
    LagError,
    ParameterError,
    SelectionError,
    TopologyError,
    TrajectoryError,
)
from mdinsight.trajectories import Trajectories, load_topology, select_atoms, topology_hash


@pytest.fixture
def folder(plain, tmp_path):
    """Three files of 1 ps and one of 2 ps."""
    for name in ("run-10", "run-9", "run-1"):
        mdtraj.Trajectory(plain.xyz, plain.topology, time=np.arange(20.0)).save_xtc(str(tmp_path / f"{name}.xtc"))
    mdtraj.Trajectory(plain.xyz, plain.topology, time=2 * np.arange(20.0)).save_xtc(str(tmp_path / "slow.xtc"))
    return tmp_path


def test_globs_are_sorted_naturally_and_lists_keep_their_order(folder, top):
    trajs = mdi.open(str(folder / "run-*.xtc"), top=str(top))
    assert [traj.label for traj in trajs] == ["run-1.xtc", "run-9.xtc", "run-10.xtc"]
    assert isinstance(trajs[1:], Trajectories) and [traj.index for traj in trajs[1:]] == [0, 1]
    nested = mdi.open([folder / "run-10.xtc", [str(folder / "run-[19].xtc")]], top=top)
    assert [traj.label for traj in nested] == ["run-10.xtc", "run-1.xtc", "run-9.xtc"]


def test_stride_start_stop(folder, top):
    trajs = mdi.open(folder / "run-1.xtc", top=top, start=2, stop=-3, stride=4)
    assert (trajs.n_frames, trajs.dt) == (4, 4.0)
    np.testing.assert_array_equal(trajs[0].times, [2, 6, 10, 14])
    origin = trajs[0].origin
    assert (origin.file, origin.start, origin.step) == (str(folder / "run-1.xtc"), 2, 4)
    assert [origin.frame(row) for row in range(4)] == [2, 6, 10, 14]


def test_resample_brings_files_together(folder, top):
    files = [folder / "run-1.xtc", folder / "slow.xtc"]
    with pytest.raises(ParameterError) as caught:
        mdi.open(files, top=top)
    assert str(caught.value).startswith("run-1.xtc is saved every 1 ps, slow.xtc every 2 ps; give resample='2 ps'")
    trajs = mdi.open(files, top=top, resample="4 ps")
    assert trajs.dt == 4.0 and [traj.n_frames for traj in trajs] == [5, 10]
    with pytest.raises(LagError, match=r"resample='3 ps' is no multiple of the 2 ps between the frames of slow.xtc"):
        mdi.open(files, top=top, resample="3 ps")
    with pytest.raises(ParameterError, match="give one of them"):
        mdi.open(files, top=top, resample="4 ps", stride=2)


def test_dt_is_given_or_overridden(formats, folder, top):
    assert mdi.open(formats / "plain.pdb", dt="2 ps").dt == 2.0
    told = r"run-1\.xtc: its frames are 1 ps apart by its own times; dt= overrides them with 500 ps"
    with pytest.warns(DataWarning, match=told):
        trajs = mdi.open(folder / "run-1.xtc", top=top, dt="0.5 ns", stride=2)
    assert trajs.dt == 1000.0
    np.testing.assert_array_equal(trajs[0].read_chunk(1, 3).time, [1000.0, 2000.0])
    assert len(trajs.notes) == 1 and mdi.open(folder / "run-1.xtc", top=top, dt=1.0005).notes == ()
    with pytest.warns(DataWarning, match=r"slow\.xtc: its frames are 2 ps apart by its own times; dt="):
        assert mdi.open([folder / "run-1.xtc", folder / "slow.xtc"], top=top, dt=1.0).dt == 1.0
    with pytest.warns(DataWarning, match=r"run-1\.xtc: .* \(and so in 2 more files\)") as caught:
        mdi.open([folder / "run-*.xtc", formats / "plain.pdb"], top=top, dt="2 ps")
    assert len(caught) == 1
    with pytest.raises(ParameterError, match=r"run-1\.xtc has a time step of 1 ps and plain\.pdb has none; give dt="):
        mdi.open([folder / "run-1.xtc", formats / "plain.pdb"], top=top)
    with pytest.raises(LagError, match="which is not known; give dt="):
        mdi.open(formats / "plain.pdb", resample="2 ps")


def test_the_least_interval_that_fits_all_is_named(plain, top, tmp_path):
    def saved(name, dt, n_frames=20):
        mdtraj.Trajectory(plain.xyz[:n_frames], plain.topology, time=np.arange(n_frames, dtype=float) * dt).save_trr(
            str(tmp_path / name)
        )
        return tmp_path / name

    files = [saved("a.trr", 0.5), saved("b.trr", 0.75), saved("c.trr", 0.2)]
    with pytest.raises(ParameterError, match="give resample='3 ps' or a multiple of it"):
        mdi.open(files, top=top)
    assert mdi.open(files, top=top, resample="3 ps").dt == 3.0
    with pytest.raises(ParameterError, match=r"a\.trr is saved every 500 fs, b\.trr every 750 fs; .*'1\.5 ps'"):
        mdi.open(files[:2], top=top, stride=3)
    with pytest.raises(ParameterError, match="no resample= brings them together that leaves two frames of each"):
        mdi.open([files[1], saved("d.trr", 0.5, 3)], top=top)


def test_a_stride_that_leaves_one_frame_is_told_and_spans_nothing(folder, top):
    files = [folder / "run-1.xtc", folder / "run-9.xtc"]
    with pytest.warns(DataWarning, match=r"stride=20 leaves one frame of 2 of 2 trajectories \(.* has 20\)") as caught:
        trajs = mdi.open(files, top=top, stride=20)
    assert len(caught) == 1 and len(trajs.notes) == 1
    assert str(trajs).splitlines()[0] == "2 trajectories, 2 frames"
    assert "1 frame each" in str(trajs) and "run-1.xtc: 1 frame, 22 atoms" in repr(trajs[0])
    assert (
        str(mdi.open(files, top=top, stride=19)).splitlines()[0]
        == "2 trajectories, 4 frames, 19 ps apart, 38 ps in all"
    )
    with pytest.warns(DataWarning, match="resample='30 ps' leaves one frame of 1 of 1 trajectory"):
        mdi.open(files[0], top=top, resample="30 ps")
    assert mdi.open(files[0], top=top, stop=1).notes == ()


def test_a_trajectory_that_is_not_there_is_told(folder, top):
    trajs = mdi.open(folder / "run-*.xtc", top=top)
    for ask in (lambda: trajs[9], lambda: trajs.load(9)):
        with pytest.raises(IndexError, match="no trajectory 9; this data set has 3 trajectories, counted from 0"):
            ask()
    assert trajs[-1].label == "run-10.xtc" and len(list(trajs)) == 3


def test_a_topology_among_the_paths_is_told(folder, top, formats, monkeypatch):
    shutil.copy(top, folder / "z.pdb")
    for path in (folder / "[rz]*-*.xtc", folder / "z.pdb"):
        assert mdi.open(path, top=folder / "z.pdb", dt=1.0).notes == ()
    monkeypatch.chdir(folder)
    with pytest.warns(DataWarning, match=r"z\.pdb is the topology \(top=\) and among the paths") as caught:
        trajs = mdi.open([str(folder / "run*"), folder / "z.pdb"], top="z.pdb")
    assert len(caught) == len(trajs.notes) == 1 and len(trajs) == 4
    assert mdi.open([formats / "plain.h5", formats / "box.h5"], top=formats / "plain.h5").notes == ()


def test_several_topologies(folder, top, water, tmp_path):
    water.time = np.arange(4.0)
    water.save_xtc(str(tmp_path / "water.xtc"))
    water[0].save_pdb(str(tmp_path / "water.pdb"))
    trajs = mdi.open([folder / "run-*.xtc", tmp_path / "water.xtc"], top=[top, tmp_path / "water.pdb"])
    assert [topology.n_atoms for topology in trajs.topologies] == [22, 900]
    assert trajs[0].topology is trajs[2].topology is trajs.topologies[0]
    assert trajs.n_frames == 64 and not trajs.has_box
    with pytest.raises(TopologyError, match="different numbers of atoms"):
        _ = trajs.n_atoms
    text = str(trajs)
    assert text.splitlines()[0] == "4 trajectories, 64 frames, 1 ps apart, 60 ps in all"
    assert "topology 0: 22 atoms, 3 residues (ACE ALA NME)" in text
    assert "run-1.xtc ... run-10.xtc: 3 files, XTC, 20 frames each, no box" in text
    assert "water.xtc: 1 file, XTC, 4 frames, box" in text
    assert [chunk.xyz.shape for chunk in trajs.iter_chunks(atoms="name O")] == [(20, 2, 3)] * 3 + [(4, 300, 3)]


def test_equal_topologies_from_different_files_are_one(formats, top):
    trajs = mdi.open([formats / "plain.pdb", formats / "plain.cif"])
    assert len(trajs.topologies) == 1
    assert topology_hash(load_topology(formats / "plain.h5")) == topology_hash(load_topology(top))
    other = load_topology(top).copy()
    other.atom(0).name = "X"
    assert topology_hash(other) != topology_hash(load_topology(top))


def test_labels_tell_files_of_one_name_apart(folder, top, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(folder / "run-1.xtc", tmp_path / name / "traj.xtc")
    trajs = mdi.open(str(tmp_path / "?" / "traj.xtc"), top=top)
    assert [traj.label for traj in trajs] == ["a/traj.xtc", "b/traj.xtc"]
    assert trajs[0].fingerprint != mdi.open(folder / "slow.xtc", top=top)[0].fingerprint


def test_a_file_given_twice_is_used_once(folder, top):
    with pytest.warns(DataWarning, match="given twice; it is used once"):
        trajs = mdi.open([folder / "run-1.xtc", folder / "run-?.xtc"], top=top)
    assert [traj.label for traj in trajs] == ["run-1.xtc", "run-9.xtc"]


def test_a_file_that_continues_another_is_noted(plain, top, tmp_path):
    for number in range(2):
        time = np.arange(20.0) + 19 * number
        mdtraj.Trajectory(plain.xyz, plain.topology, time=time).save_xtc(str(tmp_path / f"part{number}.xtc"))
    trajs = mdi.open(str(tmp_path / "part*.xtc"), top=top)
    assert len(trajs.notes) == 1 and "part1.xtc: begins at the time at which the file before it ends" in trajs.notes[0]


def test_an_mdtraj_trajectory_in_memory(boxed):
    trajs = mdi.open(boxed)
    assert (trajs.n_frames, trajs.dt, trajs.has_box, trajs[0].path) == (20, 2.0, True, None)
    chunk = trajs[0].read_chunk(3, 7, "name C")
    atoms = boxed.topology.select("name C")
    np.testing.assert_array_equal(chunk.xyz, boxed.xyz[3:7][:, atoms])
    np.testing.assert_allclose(chunk.box, boxed.unitcell_vectors[3:7])
    changed = boxed.slice(range(20), copy=True)
    changed.xyz[4, 3, 1] += 0.1
    assert mdi.open(changed)[0].fingerprint != trajs[0].fingerprint == mdi.open([boxed])[0].fingerprint
    assert len(mdi.open([boxed[:10], boxed[10:]])) == 2


@pytest.mark.parametrize("where", ["file", "memory"])
def test_an_mdanalysis_universe(where, formats, top, boxed, tmp_path):
    import MDAnalysis

    shutil.copy(formats / "box.trr", tmp_path)  # MDAnalysis writes its offsets beside the file
    universe = MDAnalysis.Universe(str(top), str(tmp_path / "box.trr"))
    if where == "memory":
        universe.transfer_to_memory()
    universe.trajectory[5]
    trajs = mdi.open(universe)
    assert (trajs.n_frames, trajs.n_atoms, trajs.has_box) == (20, 22, True)
    assert trajs.dt == pytest.approx(2.0)
    given = load_topology(top)
    assert [(a.name, a.element, a.residue.name) for a in trajs[0].topology.atoms] == [
        (a.name, a.element, a.residue.name) for a in given.atoms
    ]
    chunk = trajs[0].read_chunk(4, 20, [8, 1])
    np.testing.assert_allclose(chunk.xyz, boxed.xyz[4:20][:, [8, 1]], atol=2e-7)
    np.testing.assert_allclose(chunk.box, boxed.unitcell_vectors[4:20], atol=2e-6)
    assert universe.trajectory.ts.frame == 5
    assert mdi.open(universe)[0].fingerprint == trajs[0].fingerprint
    assert mdi.open([universe, formats / "box.trr"], top=[None, top]).n_frames == 40


def test_a_universe_with_a_gap_is_told_when_it_is_read(top, plain, tmp_path):
    import MDAnalysis

    time = 2.0 * np.array([*range(10), *range(30, 40)])
    mdtraj.Trajectory(plain.xyz, plain.topology, time=time).save_trr(str(tmp_path / "gap.trr"))
    trajs = mdi.open(MDAnalysis.Universe(str(top), str(tmp_path / "gap.trr")))
    with pytest.raises(TrajectoryError, match=r"frame 10: its time is 60 ps, .* cuts at gaps"):
        trajs[0].read_chunk(0, 20)


def test_progress_is_anything_like_tqdm(folder, top):
    seen = []

    def bar(items, total=None, desc=""):
        for item in items:
            seen.append((total, desc))
            yield item

    mdi.open(str(folder / "run-*.xtc"), top=top, progress=bar)
    assert seen == [(3, "opening")] * 3


def test_mdanalysis_is_not_imported(formats, top):
    code = f"import sys, mdinsight as m; m.open({str(formats / 'box.xtc')!r}, top={str(top)!r}); "
    done = subprocess.run([sys.executable, "-c", code + "print('MDAnalysis' in sys.modules)"], capture_output=True)
    assert done.stdout.strip() == b"False", done.stderr


def refused(error, match, paths, top=None, **options):
    with pytest.raises(error, match=match):
        mdi.open(paths, top=top, **options)


def test_wrong_paths(folder, top, tmp_path):
    refused(TrajectoryError, r"no file matches .*none\*\.xtc", str(tmp_path / "none*.xtc"), top)
    refused(TrajectoryError, r"absent\.xtc does not exist", tmp_path / "absent.xtc", top)
    refused(TrajectoryError, r"is a folder; name the files in it", tmp_path, top)
    (tmp_path / "empty.xtc").touch()
    refused(TrajectoryError, r"empty\.xtc is empty", tmp_path / "empty.xtc", top)
    (tmp_path / "notes.docx").write_text("x")
    refused(FormatError, r"'\.docx' is not known; read are XTC \(\.xtc\), TRR .*mmCIF", tmp_path / "notes.docx", top)
    (tmp_path / "nosuffix").write_text("x")
    refused(FormatError, "it has no suffix", tmp_path / "nosuffix", top)
    refused(ParameterError, "no trajectory was given", [], top)
    refused(ParameterError, "empty list", [[]], top)
    refused(ParameterError, "^3 is no trajectory; give a path", 3, top)
    refused(ParameterError, r"^an array of shape \(9, 22, 3\) is no trajectory", np.zeros((9, 22, 3)), top)
    refused(ParameterError, "^an object of type dict is no trajectory", dict.fromkeys(range(999)), top)


@pytest.mark.parametrize("suffix", [".xtc", ".trr", ".dcd", ".nc", ".h5", ".h5md", ".lammpstrj", ".pdb", ".cif"])
def test_a_file_that_is_not_what_its_suffix_says(suffix, top, tmp_path):
    (tmp_path / f"text{suffix}").write_text("These are my notes about the simulation.\n" * 40)
    refused(FormatError, rf"text\{suffix} is no .* file", tmp_path / f"text{suffix}", top)


def test_wrong_topologies(folder, top, water, tmp_path):
    run = folder / "run-1.xtc"
    water[0].save_pdb(str(tmp_path / "water.pdb"))
    refused(TopologyError, r"run-1\.xtc has 22 atoms, .*water\.pdb has 900", run, tmp_path / "water.pdb")
    refused(TopologyError, r"run-1\.xtc \(XTC\) carries no topology; give its topology file", run)
    refused(
        TopologyError, r"absent\.pdb does not exist \(looked from .*\); check the path", run, tmp_path / "absent.pdb"
    )
    refused(TopologyError, r"top=an array of shape \(4, 3\) is no topology", run, np.zeros((4, 3)))
    refused(TopologyError, r"is a folder", run, tmp_path)
    (tmp_path / "empty.pdb").touch()
    refused(TopologyError, r"empty\.pdb is empty", run, tmp_path / "empty.pdb")
    for name in ("bad.prmtop", "bad.pdb", "bad.gro", "bad.xyzzy", "bad.h5"):
        (tmp_path / name).write_text("no topology\n")
        refused(TopologyError, rf"the topology .*{name} cannot be read", run, tmp_path / name)
    refused(TopologyError, "the topology .*slow.xtc", run, folder / "slow.xtc")
    refused(TopologyError, "is no topology; give a path", run, 7)
    refused(ParameterError, "2 topologies for 3 entries", [run] * 3, [top, top])


def test_wrong_numbers(folder, top):
    run = folder / "run-1.xtc"
    refused(ParameterError, "stride=0 is no number of frames", run, top, stride=0)
    refused(ParameterError, r"has 20 frames; start=25, stop=None leaves none", run, top, start=25)
    refused(ParameterError, "dt=0 is not positive", run, top, dt=0)
    refused(ParameterError, "dt='3 apples' is not a time", run, top, dt="3 apples")
    refused(ParameterError, "resample='x' is not a time", run, top, resample="x")


def test_topologies_are_those_of_mdtraj(top):
    for path in [top, *(top.parents[1]).glob("*/top.pdb")]:
        assert load_topology(path) == mdtraj.load_topology(str(path))


def test_trajectories_go_to_another_process(folder, top):
    traj = mdi.open(folder / "run-1.xtc", top=top)[0]
    copy = pickle.loads(pickle.dumps(traj))  # noqa: S301
    np.testing.assert_array_equal(copy.read_chunk(2, 5).xyz, traj.read_chunk(2, 5).xyz)


def test_select_atoms(top):
    topology = load_topology(top)
    np.testing.assert_array_equal(select_atoms(topology, "name CA"), topology.select("name CA"))
    np.testing.assert_array_equal(select_atoms(topology, [5, 2]), [5, 2])
    np.testing.assert_array_equal(select_atoms(topology, None), np.arange(22))
    np.testing.assert_array_equal(select_atoms(topology, np.arange(22) % 7 == 0), [0, 7, 14, 21])
    for selection, match in [
        ("name XX", r"'name XX' matches none of the 22 atoms \(residues ACE, ALA, NME\)"),
        ("name ===", "'name ===' cannot be read: "),
        ("name CA and", "cannot be read: it ends too early; an example"),
        ("name ca", r"matches none .*; did you mean CA$"),
        ([], "empty"),
        ([22], "atom 22 does not exist; the topology has atoms 0 to 21"),
        ([-1], "atom -1 does not exist"),
        ([3, 3], "atom 3 is chosen twice"),
        ([0.5], "no atom indices"),
        (np.ones(5, bool), "mask of 5 atoms"),
    ]:
        with pytest.raises(SelectionError, match=match):
            select_atoms(topology, selection)


def test_times_that_mdtraj_made_up_are_noted(plain):
    made_up = mdtraj.Trajectory(plain.xyz, plain.topology)
    trajs = mdi.open(made_up)
    assert trajs.dt == 1.0
    assert trajs.notes == (
        "object 0: its times are 0, 1, 2, ... ps, which mdtraj makes up for files without times; give dt=",
    )
    assert mdi.open(made_up, dt="2 ps").notes == () and mdi.open(plain).notes == ()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"start": 1.5}, "start=1.5 is no frame number"),
        ({"start": None}, "start=None"),
        ({"start": True}, "start=True"),
        ({"stop": "10"}, "stop='10'"),
        ({"stop": 2.0}, "stop=2.0"),
        ({"resample": float("inf")}, "resample=inf"),
        ({"resample": float("nan")}, "resample=nan"),
        ({"resample": 0}, "resample=0"),
        ({"resample": "-4 ps"}, "resample='-4 ps'"),
        ({"dt": float("inf")}, "dt=inf"),
        ({"dt": float("nan")}, "dt=nan"),
    ],
)
def test_numbers_that_are_none(wrong, match, folder, top):
    with pytest.raises(ParameterError, match=match):
        mdi.open(folder / "run-1.xtc", top=top, **wrong)
    assert mdi.open(folder / "run-1.xtc", top=top, start=np.int64(3), stop=np.int32(9)).n_frames == 6


def test_home_is_meant_by_a_tilde_everywhere(folder, top, monkeypatch):
    shutil.copy(top, folder / "home.pdb")
    monkeypatch.setenv("HOME", str(folder))
    assert mdi.open("~/run-1.xtc", top="~/home.pdb").n_frames == 20
    assert load_topology("~/home.pdb").n_atoms == 22


@pytest.mark.parametrize("name", ["set[1]", "a*b", "what?"])
def test_a_folder_whose_name_looks_like_a_pattern(name, folder, top):
    inner = folder / name / "deep"
    inner.mkdir(parents=True)
    for number in (1, 10):
        shutil.copy(folder / "run-1.xtc", inner / f"r{number}.xtc")
    assert [t.label for t in mdi.open(str(inner / "*.xtc"), top=top)] == ["r1.xtc", "r10.xtc"]
    assert len(mdi.open(str(folder / name / "*" / "r[12]*.xtc"), top=top)) == 2
    assert len(mdi.open(str(inner / "r1.xtc"), top=top)) == 1
    assert len(mdi.open(str(folder / "*" / "deep" / "*.xtc"), top=top)) == 2


def test_a_topology_that_needs_a_package_that_is_not_there(tmp_path, capfd):
    import importlib.util

    (tmp_path / "bad.mol2").write_text("@<TRIPOS>MOLECULE\njunk\n")
    needed = "the package pandas is needed" if importlib.util.find_spec("pandas") is None else "cannot be read: ."
    with pytest.raises(TopologyError, match=rf"bad\.mol2 .*{needed}"):
        load_topology(tmp_path / "bad.mol2")
    assert capfd.readouterr() == ("", "")
