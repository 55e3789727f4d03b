"""Every format gives the same frames. A new format: add it to ``FILES`` (and to example_trajs/make_formats.py)."""

import subprocess
import sys

import h5py
import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app, unit
from scipy.io import netcdf_file

import mdinsight as mdi
from mdinsight.errors import FormatError, TopologyError
from mdinsight.features import Distances
from mdinsight.trajectories._formats import FORMATS

# suffix -> (error of the coordinates in nm, has times, has a box of its own in each frame, carries its topology)
FILES = {
    ".xtc": (5.1e-4, True, True, False),
    ".trr": (0.0, True, True, False),
    ".dcd": (3e-7, True, True, False),
    ".nc": (3e-7, True, True, False),
    ".h5": (0.0, True, True, True),
    ".h5md": (3e-7, True, True, False),
    ".lammpstrj": (3e-7, True, True, False),
    ".pdb": (5.1e-5, False, False, True),
    ".cif": (5.3e-6, False, False, True),
}


def test_every_format_is_tested():
    assert {suffix for kind in FORMATS for suffix in kind.suffixes} & set(FILES) == set(FILES)
    assert all(set(kind.suffixes) & set(FILES) for kind in FORMATS)


@pytest.mark.parametrize("suffix", FILES)
@pytest.mark.parametrize("name", ["plain", "box"])
def test_same_frames(suffix, name, formats, top, plain, boxed):
    error, has_times, own_box, _ = FILES[suffix]
    expected = plain if name == "plain" else boxed
    trajs = mdi.open(formats / f"{name}{suffix}", top=top)
    assert (len(trajs), trajs.n_frames, trajs.n_atoms, trajs.notes) == (1, 20, 22, ())
    chunk = trajs[0].read_chunk(0, 20)
    np.testing.assert_allclose(chunk.xyz, expected.xyz, rtol=0, atol=error)
    assert chunk.xyz.dtype == np.float32
    assert trajs.has_box == (name == "box")
    if name == "box":
        rows = slice(None) if own_box else slice(0, 1)  # mdtraj writes the first frame's box into PDB and mmCIF
        np.testing.assert_allclose(chunk.box[rows], expected.unitcell_vectors[rows], rtol=0, atol=2e-6)
    else:
        assert chunk.box is None
    if has_times:
        assert trajs.dt == 2.0
        np.testing.assert_allclose(chunk.time, expected.time, rtol=1e-6)
    else:
        assert trajs.dt is None and chunk.time is None


@pytest.mark.parametrize("suffix", FILES)
def test_chosen_frames_and_atoms(suffix, formats, top):
    whole = mdi.open(formats / f"box{suffix}", top=top)[0].read_chunk(0, 20)
    atoms = np.array([3, 4, 8, 15])
    part = mdi.open(formats / f"box{suffix}", top=top, start=3, stop=18, stride=4)[0].read_chunk(1, 4, atoms)
    np.testing.assert_array_equal(part.xyz, whole.xyz[[7, 11, 15]][:, atoms])
    np.testing.assert_array_equal(part.box, whole.box[[7, 11, 15]])


@pytest.mark.parametrize("suffix", [suffix for suffix, row in FILES.items() if row[3]])
def test_own_topology_equals_that_of_the_pdb(suffix, formats, top):
    own = mdi.open(formats / f"plain{suffix}").topologies[0]
    given = mdtraj.load_topology(str(top))
    assert [(a.name, a.element, a.residue.name, a.residue.resSeq) for a in own.atoms] == [
        (a.name, a.element, a.residue.name, a.residue.resSeq) for a in given.atoms
    ]
    bonds = {tuple(sorted((a.index, b.index))) for a, b in own.bonds}
    assert bonds == {tuple(sorted((a.index, b.index))) for a, b in given.bonds}


@pytest.mark.parametrize("suffix", [suffix for suffix, row in FILES.items() if not row[3]])
def test_missing_topology_is_named(suffix, formats):
    with pytest.raises(TopologyError, match=rf"box\{suffix} .* carries no topology; give its topology file"):
        mdi.open(formats / f"box{suffix}")


def test_hdf5_needs_no_pytables(formats):
    code = f"""
import sys
sys.modules["tables"] = None
import mdinsight as mdi
print(mdi.open({str(formats / "box.h5")!r}).n_frames, "MDAnalysis" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["20", "False"], done.stderr


def test_xtc_equals_mdtraj_on_water_like_data_and_stops_at_the_last_atom(water, tmp_path):
    path = tmp_path / "water.xtc"
    water.save_xtc(str(path))
    expected = mdtraj.load(str(path), top=water.topology)
    traj = mdi.open(path, top=water.topology)[0]
    np.testing.assert_array_equal(traj.read_chunk(0, 4).xyz, expected.xyz)
    for atoms in ([0], [0, 1, 2, 17], [899], list(range(0, 900, 7)), list(range(300, 420))):
        np.testing.assert_array_equal(traj.read_chunk(0, 4, atoms).xyz, expected.xyz[:, atoms])


def test_xtc_whose_first_atoms_take_most_of_the_bits(tmp_path):
    """Then the bytes that are fetched for a few atoms alone do not reach, and the whole frame is."""
    rng = np.random.default_rng(3)
    xyz = rng.normal(0, 0.005, (6, 3000, 3)).astype(np.float32)
    xyz[:, :800] = rng.uniform(-50, 50, (6, 800, 3))
    with mdtraj.formats.XTCTrajectoryFile(str(tmp_path / "dense.xtc"), "w") as out:
        out.write(xyz, time=np.arange(6, dtype=np.float32), step=np.arange(6))
    traj = mdi.open(tmp_path / "dense.xtc", top=chain_of(3000))[0]
    whole = traj.read_chunk(0, 6).xyz
    np.testing.assert_allclose(whole, xyz, atol=5.1e-4)
    for last in (1, 300, 799, 801, 1500):
        np.testing.assert_array_equal(traj.read_chunk(1, 6, np.arange(last)).xyz, whole[1:, :last])


@pytest.mark.parametrize("n_atoms", [1, 3, 9, 10, 11])
@pytest.mark.parametrize("size", [1e-2, 1.0, 8e2, 8e3, 9e3])
def test_xtc_of_few_atoms_and_of_large_boxes(n_atoms, size, tmp_path):
    rng = np.random.default_rng(n_atoms)
    xyz = rng.uniform(-size, size, (5, n_atoms, 3)).astype(np.float32)
    xyz[:, 2:] *= 1e-4 if size > 100 else 1.0  # two atoms far away: the coordinates need more than 24 bits each
    xyz[:, 0], xyz[:, -1] = -size, size
    path = tmp_path / "few.xtc"
    with mdtraj.formats.XTCTrajectoryFile(str(path), "w") as out:
        out.write(xyz, time=np.arange(5, dtype=np.float32), step=np.arange(5))
    with mdtraj.formats.XTCTrajectoryFile(str(path)) as file:
        expected = file.read()[0]
    traj = mdi.open(path, top=chain_of(n_atoms))[0]
    np.testing.assert_array_equal(traj.read_chunk(0, 5).xyz, expected)
    np.testing.assert_array_equal(traj.read_chunk(1, 3, [n_atoms - 1]).xyz, expected[1:3, [n_atoms - 1]])


def test_xtc_of_the_large_magic_number(formats, top, tmp_path):
    """GROMACS 2023 writes magic 2023 and a size of 8 bytes for huge systems."""
    data = (formats / "box.xtc").read_bytes()
    at, out = 0, b""
    while at < len(data):
        size = int.from_bytes(data[at + 88 : at + 92], "big")
        end = at + 92 + (size + 3) // 4 * 4
        out += (2023).to_bytes(4, "big") + data[at + 4 : at + 88] + size.to_bytes(8, "big") + data[at + 92 : end]
        at = end
    (tmp_path / "large.xtc").write_bytes(out)
    new, old = (mdi.open(path, top=top)[0].read_chunk(0, 20) for path in (tmp_path / "large.xtc", formats / "box.xtc"))
    np.testing.assert_array_equal(new.xyz, old.xyz)
    np.testing.assert_array_equal(new.box, old.box)


def test_trr_in_double_precision_with_frames_of_velocities_alone(plain, top, tmp_path):
    import struct

    out = b""
    for frame in range(6):
        x = b"" if frame % 2 else plain.xyz[frame].astype(">f8").tobytes()
        v = np.ones((22, 3)).astype(">f8").tobytes()
        sizes = (0, 0, 0, 0, 0, 0, 0, len(x), len(v), 0)
        out += struct.pack(">iii", 1993, 13, 12) + b"GMX_trn_file" + struct.pack(">13i", *sizes, 22, frame, 0)
        out += struct.pack(">dd", frame * 0.5, 0.0) + x + v
    (tmp_path / "double.trr").write_bytes(out)
    trajs = mdi.open(tmp_path / "double.trr", top=top)
    assert (trajs.n_frames, trajs.dt, trajs.has_box) == (3, 1.0, False)
    np.testing.assert_array_equal(trajs[0].read_chunk(0, 3).xyz, plain.xyz[[0, 2, 4]])


def test_dcd_of_either_byte_order_and_of_openmm(formats, top, plain, tmp_path):
    data = (formats / "box.dcd").read_bytes()
    swapped = np.frombuffer(data, "<u4").byteswap()
    raw = bytearray(swapped.tobytes())
    raw[4:8] = b"CORD"
    frame = 56 + 3 * (22 * 4 + 8)
    head = len(data) - 20 * frame
    raw[96:264] = data[96:264] if head > 264 else raw[96:264]
    for i in range(20):  # the unit cell is made of doubles
        at = head + i * frame + 4
        raw[at : at + 48] = np.frombuffer(data[at : at + 48], "<f8").byteswap().tobytes()
    (tmp_path / "big.dcd").write_bytes(bytes(raw))
    big, little = (mdi.open(path, top=top)[0].read_chunk(0, 20) for path in (tmp_path / "big.dcd", formats / "box.dcd"))
    np.testing.assert_array_equal(big.xyz, little.xyz)
    np.testing.assert_array_equal(big.box, little.box)
    np.testing.assert_allclose(big.time, little.time)

    topology = app.PDBFile(str(top)).topology
    topology.setUnitCellDimensions(openmm.Vec3(3, 3, 3) * unit.nanometer)
    with (tmp_path / "openmm.dcd").open("wb") as out:
        dcd = app.DCDFile(out, topology, 0.002 * unit.picosecond, interval=500, firstStep=500)
        for xyz in plain.xyz[:6]:
            dcd.writeModel(xyz * unit.nanometer)
    traj = mdi.open(tmp_path / "openmm.dcd", top=top)[0]
    assert traj.dt == pytest.approx(1.0, rel=1e-6)
    chunk = traj.read_chunk(0, 6)
    np.testing.assert_allclose(chunk.xyz, plain.xyz[:6], atol=3e-7)
    np.testing.assert_allclose(chunk.box, np.broadcast_to(np.eye(3) * 3, (6, 3, 3)), atol=1e-6)
    np.testing.assert_allclose(chunk.time, np.arange(1, 7), rtol=1e-5)


def test_dcd_of_mdtraj_has_no_time_step(boxed, tmp_path):
    path = tmp_path / "m.dcd"
    boxed.save_dcd(str(path))
    trajs = mdi.open(path, top=boxed.topology)
    assert trajs.dt is None
    assert mdi.open(path, top=boxed.topology, dt="2 ps").dt == 2.0
    np.testing.assert_allclose(trajs[0].read_chunk(0, 20).box, boxed.unitcell_vectors, atol=1e-6)


@pytest.mark.parametrize("title", ["Written by LAMMPS", "Cpptraj generated dcd file."])
def test_dcd_of_writers_without_a_time_in_charmm_units(title, formats, top, tmp_path):
    data = bytearray((formats / "plain.dcd").read_bytes())
    data[16:20] = (500).to_bytes(4, "little")
    data[44:48] = np.float32(2.0).tobytes()  # LAMMPS: 2 fs in units real, 1000 times that in units metal
    data[96 + 4 : 96 + 84] = title.encode().ljust(80, b"\0")
    path = tmp_path / "other.dcd"
    path.write_bytes(bytes(data))
    trajs = mdi.open(path, top=top)
    assert trajs.dt is None and trajs[0].times is None
    assert len(trajs.notes) == 1 and title.split()[-1 if "LAMMPS" in title else 0].lower() in trajs.notes[0].lower()
    assert trajs.notes[0].endswith("so the time between frames is not known; give dt=")
    assert mdi.open(path, top=top, dt="1 ps").notes == ()


def test_dcd_with_fixed_atoms_is_refused(formats, top, tmp_path):
    data = bytearray((formats / "plain.dcd").read_bytes())
    data[8 + 32 : 8 + 36] = (5).to_bytes(4, "little")
    (tmp_path / "fixed.dcd").write_bytes(bytes(data))
    with pytest.raises(FormatError, match="5 of its atoms are fixed"):
        mdi.open(tmp_path / "fixed.dcd", top=top)


def test_netcdf_4_is_read_too(boxed, top, tmp_path):
    with h5py.File(tmp_path / "four.nc", "w") as file:
        file["coordinates"] = boxed.xyz * 10
        file["coordinates"].attrs["units"] = "angstrom"
        file["time"] = boxed.time
        file["cell_lengths"] = boxed.unitcell_lengths * 10
        file["cell_angles"] = boxed.unitcell_angles
    chunk = mdi.open(tmp_path / "four.nc", top=top)[0].read_chunk(0, 20)
    np.testing.assert_allclose(chunk.xyz, boxed.xyz, atol=3e-7)
    np.testing.assert_allclose(chunk.box, boxed.unitcell_vectors, atol=1e-6)


def write_netcdf(path, kind, arrays, attributes):
    """A file with a scale_factor: NetCDF-4 by h5py, classic NetCDF by scipy."""
    if kind == "NetCDF-4":
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
                file[name].attrs.update(attributes.get(name, {}))
        return
    with netcdf_file(str(path), "w", version=2) as file:
        for dim, size in (("frame", None), ("atom", 22), ("spatial", 3), ("cell", 3)):
            file.createDimension(dim, size)
        for name, values in arrays.items():
            dims = {"coordinates": ("frame", "atom", "spatial"), "time": ("frame",)}.get(name, ("frame", "cell"))
            variable = file.createVariable(name, "f4" if name != "cell_angles" else "f8", dims)
            variable[:] = values
            for key, value in attributes.get(name, {}).items():
                setattr(variable, key, value)


@pytest.mark.parametrize("kind", ["classic", "NetCDF-4"])
def test_netcdf_scale_factors_are_honoured(kind, boxed, top, tmp_path):
    arrays = {"coordinates": boxed.xyz * 5, "time": boxed.time / 4}
    arrays |= {"cell_lengths": boxed.unitcell_lengths * 20, "cell_angles": boxed.unitcell_angles}
    attributes = {
        "coordinates": {"units": "angstrom", "scale_factor": np.float32(2.0)},
        "cell_lengths": {"units": "angstrom", "scale_factor": np.float32(0.5)},
        "time": {"units": "picosecond", "scale_factor": np.float32(4.0)},
    }
    write_netcdf(tmp_path / "scaled.nc", kind, arrays, attributes)
    traj = mdi.open(tmp_path / "scaled.nc", top=top)[0]
    chunk = traj.read_chunk(0, 20)
    np.testing.assert_allclose(chunk.xyz, boxed.xyz, atol=3e-7)
    np.testing.assert_allclose(chunk.box, boxed.unitcell_vectors, atol=1e-6)
    np.testing.assert_allclose(chunk.time, boxed.time, rtol=1e-6)


def test_h5md_units_are_honoured(plain, top, tmp_path):
    with h5py.File(tmp_path / "u.h5md", "w") as file:
        position = file.create_group("particles/all/position")
        position["value"] = plain.xyz
        position["value"].attrs["unit"] = "nm"
        position["time"] = np.arange(20) * 2000.0
        position["time"].attrs["unit"] = "fs"
        box = file.create_group("particles/all/box")
        box.attrs["boundary"] = ["periodic"] * 3
        box["edges"] = [2.0, 3.0, 4.0]
    trajs = mdi.open(tmp_path / "u.h5md", top=top)
    chunk = trajs[0].read_chunk(0, 20)
    assert trajs.dt == 2.0
    np.testing.assert_array_equal(chunk.xyz, plain.xyz)
    np.testing.assert_allclose(chunk.box, np.broadcast_to(np.diag([2.0, 3.0, 4.0]), (20, 3, 3)))
    with h5py.File(tmp_path / "u.h5md", "a") as file:
        file["particles/all/position/value"].attrs["unit"] = "furlong"
    with pytest.raises(FormatError, match="furlong"):
        mdi.open(tmp_path / "u.h5md", top=top)


def test_lammps_scaled_coordinates_and_missing_times(formats, top, boxed, tmp_path):
    scaled = mdi.open(formats / "box_scaled.lammpstrj", top=top)[0].read_chunk(0, 20)
    np.testing.assert_allclose(scaled.xyz, boxed.xyz, atol=1e-6)
    text = (formats / "box.lammpstrj").read_text().replace("ITEM: UNITS\nreal\n", "")
    (tmp_path / "no_units.lammpstrj").write_text(text)
    trajs = mdi.open(tmp_path / "no_units.lammpstrj", top=top)
    assert trajs.dt is None and trajs.n_frames == 20
    np.testing.assert_allclose(trajs[0].read_chunk(0, 20).xyz, boxed.xyz, atol=1e-6)
    (tmp_path / "lj.lammpstrj").write_text("ITEM: UNITS\nlj\n" + text)
    with pytest.raises(FormatError, match="units are 'lj'"):
        mdi.open(tmp_path / "lj.lammpstrj", top=top)


SLAB = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp {flag}
0 10
0 10
0 10
ITEM: ATOMS id xs ys zs
1 0.5 0.05 0.05
2 0.5 0.95 0.95
"""


@pytest.mark.parametrize("flag", ["ff", "ss", "fm"])
def test_a_lammps_slab_is_not_wrapped_across_its_surfaces(flag, tmp_path):
    (tmp_path / "slab.lammpstrj").write_text(SLAB.format(flag=flag))
    trajs = mdi.open(tmp_path / "slab.lammpstrj", top=chain_of(2))
    check_slab(trajs)
    (tmp_path / "bulk.lammpstrj").write_text(SLAB.format(flag="pp"))
    bulk = mdi.open(tmp_path / "bulk.lammpstrj", top=chain_of(2))
    assert not bulk.notes
    np.testing.assert_allclose(bulk[0].read_chunk(0, 1).box[0], np.eye(3), atol=1e-6)


def test_an_h5md_slab_is_not_wrapped_across_its_surfaces(tmp_path):
    with h5py.File(tmp_path / "slab.h5md", "w") as file:
        group = file.create_group("particles/all")
        group["position/value"] = np.array([[[0.5, 0.05, 0.05], [0.5, 0.95, 0.95]]], np.float32)
        group["position/value"].attrs["unit"] = "nm"
        group["box/edges"] = np.ones(3)
        group["box/edges"].attrs["unit"] = "nm"
        group["box"].attrs["boundary"] = [b"periodic", b"periodic", b"none"]
    check_slab(mdi.open(tmp_path / "slab.h5md", top=chain_of(2)))


def check_slab(trajs):
    """Two atoms 0.1 nm apart along y through the boundary, 0.9 nm along z."""
    assert "periodic along x and y only; along z nothing is wrapped" in trajs.notes[0]
    np.testing.assert_allclose(trajs[0].read_chunk(0, 1).box[0], np.diag([1.0, 1.0, 1000.0]), rtol=1e-6)
    distance = Distances(pairs=[[0, 1]]).transform(trajs).arrays[0][0, 0]
    assert distance == pytest.approx(np.hypot(0.1, 0.9), abs=1e-6)


def test_pdb_alternate_locations_times_and_boxes(top, plain, tmp_path):
    model = [line for line in top.read_text().splitlines() if line.startswith(("ATOM", "HETATM"))]
    out = []
    for number in range(3):
        out += [f"TITLE     frame t= {number * 5.0:.5f} step= {number}"]
        out += [f"CRYST1{20.0 + number:9.3f}{30.0:9.3f}{40.0:9.3f}  90.00  90.00  90.00 P 1           1"]
        out += [f"MODEL     {number + 1:4d}"]
        for atom, line in enumerate(model):
            xyz = "".join(f"{value * 10:8.3f}" for value in plain.xyz[number, atom])
            line = line[:30] + xyz + line[54:]
            if atom == 4:
                out += [line[:16] + "A" + line[17:], line[:16] + "B" + line[17:30] + f"{9.999:8.3f}" * 3 + line[54:]]
            else:
                out.append(line)
        out.append("ENDMDL")
    (tmp_path / "alt.pdb").write_text("\n".join([*out, "END", ""]))
    trajs = mdi.open(tmp_path / "alt.pdb")
    chunk = trajs[0].read_chunk(0, 3)
    assert trajs.dt == 5.0
    np.testing.assert_allclose(chunk.xyz, plain.xyz[:3], atol=5.1e-5)
    np.testing.assert_allclose(chunk.box[:, 0, 0], [2.0, 2.1, 2.2], atol=1e-6)


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_waters_numbered_anew_after_9999_are_all_there(tmp_path, suffix):
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for number in range(10_050):
        residue = topology.add_residue("HOH", chain, resSeq=number % 10_000)
        for name, element in (
            ("O", mdtraj.element.oxygen),
            ("H1", mdtraj.element.hydrogen),
            ("H2", mdtraj.element.hydrogen),
        ):
            topology.add_atom(name, element, residue)
    xyz = np.arange(3 * topology.n_atoms).reshape(1, -1, 3) % 997 / 10
    path = tmp_path / f"waters{suffix}"
    mdtraj.Trajectory(xyz, topology).save(str(path))
    trajs = mdi.open(path)
    assert (trajs.n_atoms, trajs[0].topology.n_residues) == (30_150, 10_050)
    np.testing.assert_allclose(trajs[0].read_chunk(0, 1).xyz, xyz, atol=1e-4)


def test_a_pdb_of_one_model_needs_no_end(top, plain, tmp_path):
    lines = [line for line in top.read_text().splitlines() if line.startswith(("ATOM", "HETATM", "TER"))]
    (tmp_path / "one.pdb").write_text("\n".join(lines) + "\n")
    trajs = mdi.open([tmp_path / "one.pdb", top])
    assert [traj.n_frames for traj in trajs] == [1, 1] and trajs.dt is None
    np.testing.assert_array_equal(trajs[0].read_chunk(0, 1).xyz, mdtraj.load(str(top)).xyz)


def chain_of(n_atoms):
    topology = mdtraj.Topology()
    residue = topology.add_residue("UNK", topology.add_chain())
    for number in range(n_atoms):
        topology.add_atom(f"C{number}", mdtraj.element.carbon, residue)
    return topology
