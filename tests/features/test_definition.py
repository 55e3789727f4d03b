"""Definitions: names, keys, unions, selection, several topologies, saving, errors."""

from __future__ import annotations

import pickle
import warnings

import mdtraj
import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.errors import DataWarning, ModelFileError, ParameterError, SelectionError, TopologyError, TrajectoryError
from mdinsight.features import (
    RMSD,
    SASA,
    Angles,
    Contacts,
    Distances,
    Features,
    Function,
    HydrogenBonds,
    Positions,
    RadiusOfGyration,
    SecondaryStructure,
    Torsions,
)
from mdinsight.series import Column


def test_names_and_residues(frames):
    columns = (Torsions("phi psi") + Distances([[8, 18]])).columns(frames.topology)
    assert [c.name for c in columns] == [
        "cos phi ALA2",
        "sin phi ALA2",
        "cos psi ALA2",
        "sin psi ALA2",
        "distance ALA2-CA - NME3-C"
        if frames.topology.atom(18).name == "C"
        else f"distance ALA2-CA - {_name(frames, 18)}",
    ]
    assert columns[0].residues == ("ACE1", "ALA2") and columns[0].kind == "phi"
    assert columns[0].key == "cos phi 0:2"
    assert Torsions("phi", raw=True).columns(frames)[0].period == 2 * np.pi
    assert all(name.isascii() for name in Features((Torsions(), Distances("all"))).get_feature_names_out(frames))


def _name(frames, atom):
    found = frames.topology.atom(atom)
    return f"{found.residue}-{found.name}"


def test_chain_letters_only_where_chains_are_several(make_peptide):
    one = make_peptide("ALA ARG ALA")
    water = _with_water(one)
    assert Torsions("psi").columns(water.topology)[0].name == "cos psi ALA1"
    two = one.stack(one)
    names = Torsions("psi").get_feature_names_out(two.topology)
    letters = [str(chain.chain_id or chain.index) for chain in two.topology.chains]
    if len(set(letters)) < 2:
        letters = ["0", "1"]
    assert names[0] == f"cos psi {letters[0]}:ALA1" and names[4] == f"cos psi {letters[1]}:ALA1"
    assert len(set(names)) == len(names) == 8


def _with_water(trajectory):
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    residue = topology.add_residue("HOH", chain, resSeq=1)
    for name, element in (
        ("O", mdtraj.element.oxygen),
        ("H1", mdtraj.element.hydrogen),
        ("H2", mdtraj.element.hydrogen),
    ):
        topology.add_atom(name, element, residue)
    return trajectory.stack(mdtraj.Trajectory(np.zeros((trajectory.n_frames, 3, 3), np.float32), topology))


def test_union_counts_a_shared_column_once(frames):
    union = Torsions("phi") + Torsions("phi psi") + Distances([[0, 4]])
    assert union.get_feature_names_out(frames).tolist() == [
        "cos phi ALA2",
        "sin phi ALA2",
        "cos psi ALA2",
        "sin psi ALA2",
        f"distance {_name(frames, 0)} - {_name(frames, 4)}",
    ]
    parts = [union.items[i].transform(frames, cache=False)[0] for i in (1, 2)]
    np.testing.assert_array_equal(union.transform(frames, cache=False)[0], np.hstack(parts))
    assert sum([Torsions("phi"), Torsions("psi")]) == Torsions("phi") + Torsions("psi")


def test_two_columns_of_one_name_are_told_apart(frames):
    two = RMSD(frames[0], "element C") + RMSD(frames[9], "element C")
    assert two.get_feature_names_out(frames).tolist() == ["rmsd (element C)", "rmsd (element C) #2"]


def test_selecting_computes_just_these_columns(frames):
    everything = Torsions("phi psi") + Distances("all") + Positions(frames[2], "element C") + SASA("all")
    whole = everything.transform(frames[:5], cache=False)
    patterns = ["sin p?i*", "distance *-CA - *", "y *", "sasa ALA2"]
    chosen = everything.select(*patterns)
    some = chosen.transform(frames[:5], cache=False)
    expected = whole.select(*patterns)
    assert some.names == expected.names and 5 < len(some.names) < len(whole.names)
    np.testing.assert_array_equal(some[0], expected[0])
    distances = [part for part in chosen.bind(frames).parts if isinstance(part.feature, Distances)]
    assert len(distances[0].index) == sum(name.startswith("distance") for name in some.names)
    again = some.definition.select("y*").transform(frames[:5], cache=False)
    np.testing.assert_array_equal(again[0], whole.select("y *")[0])
    assert expected.definition.columns(frames) == some.columns


def test_selecting_what_is_not_there(frames):
    with pytest.raises(SelectionError, match=r"no column matches 'chi\*'.*cos phi ALA2"):
        Torsions("phi").select("chi*").columns(frames)
    with pytest.raises(ParameterError, match="no pattern"):
        Torsions("phi").select()
    for features in (Torsions("phi"), Torsions("phi").transform(frames, cache=False).definition):
        with pytest.raises(ParameterError, match=r"give the patterns one by one: select\('a', 'b'\)"):
            features.select(["a", "b"])


def test_several_topologies_keep_what_they_have_in_common(make_peptide):
    wild, mutant = make_peptide("ALA ARG LYS ALA"), make_peptide("ALA GLY LYS ALA", seed=1)
    features = Torsions("phi psi chi1") + Distances("name CA or name CB")
    with pytest.warns(DataWarning, match=r"(\d+) of (\d+) columns are not in all 2 topologies") as caught:
        series = features.transform([wild, mutant], cache=False)
    assert len([w for w in caught if issubclass(w.category, DataWarning)]) == 1
    assert "cos phi ARG2" in series.names and "cos chi1 ARG2" not in series.names and "cos chi1 LYS3" in series.names
    for trajectory, array in zip((wild, mutant), series, strict=True):
        alone = features.transform(trajectory, cache=False)
        keys = [c.key for c in alone.columns]
        np.testing.assert_array_equal(array, alone[0][:, [keys.index(c.key) for c in series.columns]])
    with pytest.raises(TopologyError, match="no column that is common"):
        Torsions("chi1").transform([make_peptide("ARG ALA"), make_peptide("ALA ARG")], cache=False)


def test_a_pair_given_twice_counts_once_in_several_topologies(frames):
    other = frames[:]
    other.topology = frames.topology.copy()
    other.topology.residue(0).resSeq = 77
    twice = Distances(pairs=[[0, 5], [5, 0], [8, 9], [9, 8], [6, 8]])
    with pytest.warns(DataWarning, match="2 of 4 columns"):
        X = twice.transform([frames, other], cache=False)
    alone = Distances(pairs=[[8, 9], [6, 8]]).transform(frames, cache=False)
    assert X.names == alone.names
    assert all(np.array_equal(array, alone[0]) for array in X)


def test_fixed_columns_bind_to_a_mutant_in_the_same_order(make_peptide):
    wild, mutant = make_peptide("ALA ARG LYS ALA"), make_peptide("ALA GLY LYS ALA")
    definition = Torsions("phi psi").transform(wild, cache=False).definition
    assert definition.get_feature_names_out(mutant)[0] == "cos psi ALA1"
    assert [c.key for c in definition.columns(mutant)] == list(definition.keys)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        series = definition.transform([wild, mutant], cache=False)
    assert series.definition == definition
    with pytest.raises(TopologyError, match=r"lacks 4 of the \d+ columns.*'cos chi1 ARG2'"):
        Torsions("chi1 chi2").transform(wild, cache=False).definition.bind(mutant)


def test_atoms_in_another_order_are_found_by_key(make_peptide):
    peptide = make_peptide("ALA ARG ALA")
    other = mdtraj.Topology()
    chain = other.add_chain()
    order = []
    for residue in peptide.topology.residues:
        new = other.add_residue(residue.name, chain, resSeq=residue.resSeq)
        for atom in sorted(residue.atoms, key=lambda a: a.name):
            order.append(atom.index)
            other.add_atom(atom.name, atom.element, new)
    shuffled = mdtraj.Trajectory(peptide.xyz[:, order], other)
    features = Distances("name CA or name CB or name N")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        series = features.transform([peptide, shuffled], cache=False)
    kept = {frozenset(c.residues) for c in series.columns}
    assert len(kept) == 6
    np.testing.assert_array_equal(series[0], series[1])


ALL = {
    "torsions": lambda f: Torsions("phi psi chi1", quadruplets=[[0, 4, 6, 8]]),
    "distances": lambda f: Distances("name CA", [0, 4, 20], exclude=0),
    "contacts": lambda f: Contacts("all", kind="hard", cutoff="4 angstrom"),
    "angles": lambda f: Angles([[0, 4, 6]]),
    "rmsd": lambda f: RMSD(f[1], "element C"),
    "positions": lambda f: Positions(f[1], [0, 4, 6, 8], align="element C"),
    "rg": lambda f: RadiusOfGyration("all"),
    "sasa": lambda f: SASA("all", mode="total"),
    "hbonds": lambda f: HydrogenBonds("all"),
    "dssp": lambda f: SecondaryStructure("all", simplified=False),
    "union": lambda f: Torsions("phi") + Distances("name CA", "element O"),
    "selected": lambda f: (Torsions("phi psi") + RMSD(f[1], "element C")).select("sin*", "rmsd*"),
    "fixed": lambda f: Torsions("phi psi").fixed(Torsions("psi").columns(f)),
}


@pytest.mark.parametrize("kind", ALL)
def test_saved_and_loaded(kind, frames, tmp_path):
    feature = ALL[kind](frames)
    loaded = mdi.load(feature.save(tmp_path / "features"))
    assert loaded.hash == feature.hash and loaded == feature and type(loaded) is type(feature)
    assert ALL[kind](frames).hash == feature.hash
    if kind not in ("contacts", "dssp"):  # neighbours alone and no whole residue but one: nothing to bind to here
        np.testing.assert_array_equal(
            loaded.transform(frames[:4], cache=False)[0], feature.transform(frames[:4], cache=False)[0]
        )


def test_every_setting_is_part_of_the_hash(frames):
    variants = [
        Torsions("phi"),
        Torsions("psi"),
        Torsions("phi", raw=True),
        Torsions("phi", periodic=False),
        Distances("name CA"),
        Distances("name CA", exclude=1),
        Distances("name CB"),
        Contacts(),
        Contacts(cutoff=0.5),
        Contacts(kind="hard"),
        Contacts(scheme="ca"),
        RMSD(frames[0], "element C"),
        RMSD(frames[1], "element C"),
        Positions(frames[0], "element C"),
    ]
    assert len({v.hash for v in variants}) == len(variants)
    assert Torsions("phi psi") + Distances("all") == Torsions("phi psi") + Distances("all")


def test_a_function_cannot_be_saved(frames, tmp_path):
    features = Torsions("phi") + Function(_first_x, "x")
    with pytest.raises(ParameterError, match=r"_first_x.*cannot be saved"):
        features.save(tmp_path / "features")
    assert not (tmp_path / "features").exists()
    with pytest.raises(ModelFileError):
        mdi.load(tmp_path / "features")


def _first_x(frames):
    return frames.xyz[:, 0, 0]


def test_describe(frames, ala2):
    lines = (Torsions("phi") + Distances([[8, 16]])).describe(ala2)
    assert lines[0] == "cos phi ALA2: phi; atoms ACE1-C ALA2-N ALA2-CA ALA2-C"
    assert "distance (nm)" in lines[2]
    assert Torsions("phi").describe(frames.topology) == lines[:2]


def test_exclude_counts_neighbours_in_sequence(make_peptide):
    topology = make_peptide("ALA ARG LYS SER ALA").topology
    apart = {}
    for exclude in range(4):
        pairs = [c.atoms for c in Distances("name CA", exclude=exclude).columns(topology)]
        apart[exclude] = min(topology.atom(j).residue.index - topology.atom(i).residue.index for i, j in pairs)
    assert apart == {0: 1, 1: 2, 2: 3, 3: 4}
    assert len(Contacts(exclude=0).columns(topology)) == 10
    assert len(Contacts().columns(topology)) == 3  # |i - j| > 2, as in mdtraj
    assert len(Contacts("resid 0", "resid 2 to 4").columns(topology)) == 2
    assert len(Distances("name CA", "name CA or name CB").columns(topology)) == 5 * 4 // 2 + 25


@pytest.mark.parametrize(
    ("feature", "error", "message"),
    [
        (lambda: Torsions("chi1"), TopologyError, r"Torsions\('chi1'\) finds none in .*residues are ACE1 ALA2 NME3"),
        (lambda: Torsions("gamma"), ParameterError, r"gamma is no torsion; known are phi psi"),
        (lambda: Distances("name XX"), SelectionError, r"Distances\('name XX'\).*matches none"),
        (lambda: Distances("name CA"), TopologyError, r"Distances\('name CA'\) finds none"),
        (lambda: Distances(), ParameterError, "either a selection"),
        (lambda: Distances([[0, 99]]), SelectionError, r"0\.\.99"),
        (lambda: Distances([[0.5, 1]]), ParameterError, r"whole numbers of shape \(n, 2\)"),
        (lambda: Distances("all", exclude=-1), ParameterError, "exclude=-1"),
        (lambda: Contacts(), TopologyError, r"Contacts.*exclude=2 no pair of residues"),
        (lambda: Contacts("ca"), ParameterError, "'ca' is a scheme; did you mean scheme='ca'"),
        (lambda: Contacts(kind="fuzzy"), ParameterError, "'fuzzy'; known are distance, hard, smooth"),
        (lambda: Contacts(kind="hard", soft_min=True), ParameterError, "kind='smooth'"),
        (lambda: Contacts(cutoff="3 ps"), ParameterError, "'3 ps' is not a length"),
        (lambda: Contacts([[0, 7]]), TopologyError, r"residues 0\.\.7"),
        (lambda: Angles([[0, 1]]), ParameterError, r"\(n, 3\)"),
        (lambda: RMSD("nowhere.pdb"), TrajectoryError, "nowhere"),
        (lambda: RadiusOfGyration("name XX"), SelectionError, "RadiusOfGyration"),
        (lambda: SASA(mode="half"), ParameterError, "mode='half'"),
        (lambda: Function(3, "x"), ParameterError, "cannot be called"),
        (lambda: Function(_first_x, ["x", "x"]), ParameterError, "name of its own"),
        (lambda: Features(()), ParameterError, "at least one feature"),
    ],
)
def test_errors_name_the_feature_and_what_to_do(feature, error, message, frames):
    with pytest.raises(error, match=message):
        feature().bind(frames.topology)


def test_references(frames, make_peptide, tmp_path):
    with pytest.raises(ParameterError, match="40 frames; give one"):
        RMSD(frames, "element C")
    frames[0].save(tmp_path / "one.pdb")
    from_file = RMSD(tmp_path / "one.pdb", "element C")
    np.testing.assert_allclose(from_file.reference.xyz, RMSD(frames[0], "element C").reference.xyz, atol=1e-4)
    with pytest.raises(ParameterError, match="at least 3"):
        RMSD(frames[0], "element O")
    renumbered = frames[0].topology.copy()
    for residue in renumbered.residues:
        residue.resSeq += 40
    other = mdtraj.Trajectory(frames.xyz[:3], renumbered)
    same = RMSD(frames[0], "element C").transform(other, cache=False)[0]
    np.testing.assert_array_equal(same, RMSD(frames[0], "element C").transform(frames[:3], cache=False)[0])
    with pytest.raises(TopologyError, match=r"the selection is \d+ atoms of .* and 6 of the reference"):
        RMSD(frames[0], "element C").bind(make_peptide("ALA ARG").topology)


def test_wrong_shapes(frames):
    bound = Torsions("phi").bind(frames)
    xyz = frames.xyz[0]
    with pytest.raises(ParameterError, match=r"\(21, 3\); .* needs \(22, 3\)"):
        bound.value(xyz[:21])
    with pytest.raises(ParameterError, match="3 cotangents for 2 columns"):
        bound.vjp(xyz, np.ones(3))
    with pytest.raises(ParameterError, match="box has shape"):
        bound.value(xyz, np.ones(3))


def numbered(make_peptide, numbers):
    peptide = make_peptide(" ".join(["ALA"] * len(numbers)))
    for residue, number in zip(peptide.topology.residues, numbers, strict=True):
        residue.resSeq = number
    return peptide


def test_torsions_across_missing_residues_are_left_out(make_peptide):
    peptide = numbered(make_peptide, [1, 2, 4, 5, 9, 10])
    with pytest.warns(DataWarning) as caught:
        found = Torsions("phi psi omega", raw=True).transform(peptide, cache=False)
    assert [column.name for column in found.columns] == [
        *("psi ALA1", "omega ALA1", "phi ALA2", "psi ALA4", "omega ALA4", "phi ALA5"),
        *("psi ALA9", "omega ALA9", "phi ALA10"),
    ]
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "psi ALA2, omega ALA2, phi ALA4, psi ALA5 and 2 more left out" in text and "quadruplets=" in text
    atoms = [peptide.topology.select(f"index {i}")[0] for i in mdtraj.compute_psi(peptide)[0][1]]
    assert Torsions([atoms]).transform(peptide, cache=False).n_columns == 2


def test_insertion_codes_and_wrapped_numbers_are_no_jump(make_peptide):
    for numbers in ([51, 52, 52, 52, 53], [9998, 9999, 0, 1, 2], [7, 7, 7, 7, 7]):
        peptide = numbered(make_peptide, numbers)
        assert Torsions("phi psi", raw=True).transform(peptide, cache=False).n_columns == 8


def test_a_pdb_with_a_missing_residue(examples, tmp_path):
    whole = mdtraj.load(str(examples / "ala3/top.pdb"))
    gap = whole.atom_slice([atom.index for atom in whole.topology.atoms if atom.residue.index != 2])
    gap.save_pdb(str(tmp_path / "gap.pdb"))
    with pytest.warns(DataWarning, match="psi ALA2, phi ALA4 left out"):
        found = Torsions("phi psi", raw=True).transform(mdi.open(tmp_path / "gap.pdb"), cache=False)
    assert [column.name for column in found.columns] == ["phi ALA2", "psi ALA4"]


def test_columns_are_made_when_they_are_asked_for_and_are_those_of_the_topology_as_it_was(frames):
    heavy = [atom.index for atom in frames.topology.atoms if atom.element.symbol != "H"]
    for features in (Distances(heavy), Contacts(pairs=[[0, 2], [2, 0], [1, 2]])):
        expected = features.columns(frames.topology)
        X = features.transform(frames, cache=False)
        part = X.take([0])
        sent = pickle.loads(pickle.dumps(X))  # noqa: S301
        renamed = frames.topology.copy()
        bound = features.bind(renamed)
        for atom in renamed.atoms:
            atom.name = f"X{atom.index}"
        for residue in renamed.residues:
            residue.name, residue.resSeq = "UNK", 1
        assert X.columns == part.columns == sent.columns == bound.columns == expected
        assert X.definition == sent.definition == features.fixed(expected)
        assert len({column.name for column in expected}) == len(expected) == X.n_columns
        for column in expected:
            assert column == Column(
                **{f: getattr(column, f) for f in ("name", "kind", "atoms", "residues", "key", "unit")}
            )
