"""Structures of the macrostates: the right frames, by their weight, superposed, and with their source."""

from __future__ import annotations

import csv
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from mdinsight import trajectories
from mdinsight.errors import OutputError, ParameterError
from mdinsight.msm import BayesianMSM, MarkovModel, write_structures
from mdinsight.msm._structures import draw_frames
from mdinsight.series import TimeSeries
from mdinsight.states import as_discrete

PEPTIDE = """\
ATOM      1  N   ALA A   1       0.000   0.000   0.000  1.00  0.00           N
ATOM      2  CA  ALA A   1       1.458   0.000   0.000  1.00  0.00           C
ATOM      3  C   ALA A   1       2.009   1.420   0.000  1.00  0.00           C
ATOM      4  O   ALA A   1       1.251   2.390   0.000  1.00  0.00           O
ATOM      5  CB  ALA A   1       1.988  -0.773  -1.199  1.00  0.00           C
{more}END
"""
WATER = "HETATM    6  O   HOH B   2       9.000   9.000   9.000  1.00  0.00           O\n"


def files(folder: Path, name: str, water: bool, seeds: range) -> tuple[list[Path], Path]:
    """Trajectories whose CB stands at one of two heights: state 0 or 1; every frame is turned at random."""
    top = folder / f"{name}.pdb"
    top.write_text(PEPTIDE.format(more=WATER if water else ""))
    first = mdtraj.load(str(top))
    paths = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        xyz = np.repeat(first.xyz, 200, axis=0) + rng.normal(0, 0.002, (200, first.n_atoms, 3))
        xyz[:, 4, 2] += np.where(heights(seed), 0.24, 0.0)
        turn = np.linalg.qr(rng.normal(size=(200, 3, 3)))[0]
        turn *= np.linalg.det(turn)[:, None, None]
        moved = mdtraj.Trajectory(np.einsum("tai,tij->taj", xyz, turn) + 3, first.topology, time=np.arange(200) * 2.0)
        paths.append(folder / f"{name}-{seed}.xtc")
        moved.save(str(paths[-1]))
    return paths, top


def heights(seed: int) -> np.ndarray:
    return (np.arange(200) // (10 + 5 * (seed % 3)) % 3 == 2).astype(int)


def case(folder: Path, names: tuple[str, ...] = ("pep",)) -> tuple[trajectories.Trajectories, TimeSeries, MarkovModel]:
    paths, tops, states = [], [], []
    for number, name in enumerate(names):
        found, top = files(folder, name, water=number == 1, seeds=range(3 * number, 3 * number + 3))
        paths += found
        tops += [top] * 3
        states += [heights(seed) for seed in range(3 * number, 3 * number + 3)]
    trajs = trajectories.open([str(path) for path in paths], top=[str(top) for top in tops])
    dtrajs = TimeSeries(states, dt=2.0, origins=[trajectory.origin for trajectory in trajs])
    return trajs, dtrajs, BayesianMSM(1, n_samples=10).fit(dtrajs).model


def height(structures: mdtraj.Trajectory) -> np.ndarray:
    """Distance of CB from the plane of N, CA, C: the same in any frame of reference."""
    a, b, c, cb = (structures.xyz[:, i].astype(float) for i in (0, 1, 2, 4))
    normal = np.cross(a - b, c - b)
    return ((cb - b) * normal).sum(axis=1) / np.linalg.norm(normal, axis=1)


def test_the_right_frames_with_their_source(tmp_path: Path) -> None:
    trajs, dtrajs, model = case(tmp_path)
    macrostates = model.pcca(2)
    written = write_structures(tmp_path / "out", trajs, dtrajs, model, macrostates, n=8, seed=1)
    assert [path.suffix for path in written] == [".pdb", ".xtc", ".pdb", ".xtc", ".csv"]
    share = float(macrostates.populations.value[0])
    assert written[0].name == f"macrostate_0_{share:.2f}.pdb"
    rows = list(csv.DictReader(written[-1].read_text().splitlines()))
    assert len(rows) == 16 and len({(row["file"], row["frame"]) for row in rows}) == 16
    for number in range(2):
        pdb = mdtraj.load(str(written[2 * number]))
        xtc = mdtraj.load(str(written[2 * number + 1]), top=pdb.topology)
        assert (pdb.n_frames, xtc.n_frames) == (5, 8)
        np.testing.assert_allclose(pdb.xyz, xtc.xyz[:5], atol=2e-3)
        mine = [row for row in rows if row["structures"] == written[2 * number + 1].name]
        states = set(macrostates.sets[number])
        for place, row in enumerate(mine):
            assert int(row["frame_in_structures"]) == place and int(row["state"]) in states
            source = mdtraj.load_frame(row["file"], int(row["frame"]), top=str(tmp_path / "pep.pdb"))
            np.testing.assert_allclose(height(source), height(xtc[place]), atol=3e-3)
            assert mdtraj.rmsd(source, xtc, place)[0] < 2e-3
        # the first is the medoid: least mean RMSD of the backbone to the others; all superposed on it, the nearest first
        backbone = [0, 1, 2, 3]
        apart = np.array([mdtraj.rmsd(xtc, xtc, i, atom_indices=backbone) for i in range(8)])
        assert np.argmin(apart.mean(axis=1)) == 0 or apart.mean(axis=1)[0] - apart.mean(axis=1).min() < 2e-4
        assert (np.diff(apart[0]) > -3e-4).all()
        moved = xtc.xyz[:, backbone] - xtc.xyz[:1, backbone]
        assert np.sqrt((moved**2).sum(-1).mean(-1)).max() < 0.02


def test_several_topologies_have_their_own_files_without_water(tmp_path: Path) -> None:
    trajs, dtrajs, model = case(tmp_path, ("pep", "wet"))
    written = write_structures(tmp_path / "out", trajs, dtrajs, model, model.pcca(2), n=30)
    names = [path.name for path in written if path.suffix == ".pdb"]
    assert len(names) == 4 and sum("topology_1" in name for name in names) == 2
    wet = next(path for path in written if path.name.endswith("topology_1.pdb"))
    assert mdtraj.load(str(wet)).n_atoms == 5
    everything = write_structures(tmp_path / "all", trajs, dtrajs, model, model.pcca(2), n=30, atoms="all")
    wet = next(path for path in everything if path.name.endswith("topology_1.pdb"))
    assert mdtraj.load(str(wet)).n_atoms == 6


def test_draws_follow_the_weights_without_repeats(chain, simulate) -> None:
    discrete = as_discrete([simulate(chain[0], 3000, seed=i) for i in range(2)])
    model = BayesianMSM(1, n_samples=5).fit(discrete).model
    macrostates = model.pcca(2)
    # every frame of state 2 is made ten times as heavy
    weights = [np.where(a == 2, 10.0, 1.0) * w for a, w in zip(discrete, model.frame_weights(discrete), strict=True)]
    macrostate = int(macrostates.assignments[2])
    drawn = draw_frames(discrete, weights, macrostates, macrostate, 500, seed=3)
    assert len({(frame.trajectory, frame.row) for frame in drawn}) == 500
    assert all(discrete.arrays[frame.trajectory][frame.row] == frame.state for frame in drawn)
    table = macrostates.memberships[:, macrostate]
    mass = np.bincount(np.concatenate(discrete.arrays), np.concatenate(weights)) * table
    firsts = [draw_frames(discrete, weights, macrostates, macrostate, 1, seed)[0].state for seed in range(400)]
    np.testing.assert_allclose(np.bincount(firsts, minlength=3) / 400, mass / mass.sum(), atol=0.07)


def test_the_same_for_a_seed(tmp_path: Path) -> None:
    trajs, dtrajs, model = case(tmp_path)
    tables = [
        write_structures(tmp_path / str(i), trajs, dtrajs, model, model.pcca(2), n=4, seed=seed)[-1].read_text()
        for i, seed in enumerate((5, 5, 6))
    ]
    assert tables[0] == tables[1] != tables[2]


def test_refusals(tmp_path: Path) -> None:
    trajs, dtrajs, model = case(tmp_path)
    macrostates = model.pcca(2)
    with pytest.raises(ParameterError, match="2 discrete trajectories do not fit 3"):
        write_structures(tmp_path / "out", trajs, dtrajs[:2], model, macrostates)
    with pytest.raises(ParameterError, match="199"):
        write_structures(tmp_path / "out", trajs, [a[:199] for a in dtrajs], model, macrostates)
    with pytest.raises(ParameterError, match="not the file"):
        write_structures(tmp_path / "out", trajs, dtrajs.take([1, 0, 2]), model, macrostates)
    with pytest.raises(ParameterError, match="n=0"):
        write_structures(tmp_path / "out", trajs, dtrajs, model, macrostates, n=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        write_structures(tmp_path / "file" / "out", trajs, dtrajs, model, macrostates)
