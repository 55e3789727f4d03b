"""Likely mistakes in what a feature is given: each is refused, and the error says what to write."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest

import mdinsight as mdi
from mdinsight.errors import ParameterError, TopologyError
from mdinsight.features import (
    RMSD,
    Angles,
    Contacts,
    Distances,
    Positions,
    RadiusOfGyration,
    SecondaryStructure,
    Torsions,
    from_names,
)

KINDS = {
    "Torsions": (lambda f, **given: Torsions("phi", **given), ("raw", "periodic")),
    "Distances": (lambda f, **given: Distances("name CA", **given), ("periodic",)),
    "Contacts": (lambda f, **given: Contacts(**given), ("soft_min", "periodic")),
    "Angles": (lambda f, **given: Angles([[0, 4, 6]], **given), ("periodic",)),
    "RMSD": (lambda f, **given: RMSD(f[0], "element C", **given), ("periodic",)),
    "Positions": (lambda f, **given: Positions(f[0], "element C", **given), ("periodic",)),
    "RadiusOfGyration": (lambda f, **given: RadiusOfGyration(**given), ("mass_weighted", "periodic")),
    "SecondaryStructure": (lambda f, **given: SecondaryStructure(**given), ("simplified",)),
}


@pytest.mark.parametrize("value", ["no", 0, 1.0, []])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, (_, names) in KINDS.items() for name in names])
def test_a_flag_is_true_or_false(kind, name, value, frames):
    make = KINDS[kind][0]
    with pytest.raises(ParameterError) as caught:
        make(frames, **{name: value})
    assert str(caught.value).startswith(f"{kind}: {name}={value!r} is neither True nor False; write {name}=True")
    for flag in (True, False):
        assert make(frames, **{name: np.bool_(flag)}).hash == make(frames, **{name: flag}).hash


def test_soft_min_may_be_left_to_the_kind():
    assert Contacts(soft_min=None).soft_min is True and Contacts(kind="hard", soft_min=None).soft_min is False


@pytest.mark.parametrize("kind", [Distances, Contacts])
@pytest.mark.parametrize("value", [1.5, "1", True, -1, None])
def test_exclude_is_a_whole_number(kind, value):
    with pytest.raises(ParameterError, match=f"{kind.__name__}: exclude={value!r} is no number of neighbours; give a"):
        kind("name CA", exclude=value)
    assert kind("name CA", exclude=np.int64(1)).hash == kind("name CA", exclude=1).hash


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Torsions("phi", "psi"),
        lambda: Torsions("phi", True, "psi"),
        lambda: Torsions(["phi", "psi"]),
        lambda: Torsions(np.array(["phi", "psi"])),
        lambda: Torsions("phi, psi"),
        lambda: Torsions("phi,psi"),
        lambda: Torsions("Phi PSI"),
        lambda: from_names([{"torsions": ["phi", "psi"]}]),
    ],
)
def test_names_of_torsions_are_one_string(wrong):
    with pytest.raises(ParameterError, match=r"Torsions\('phi psi'\)$"):
        wrong()


@pytest.mark.parametrize(
    ("wrong", "told", "right"),
    [
        (lambda: Torsions([[4, 6, 8]]), "[[4, 6, 8]]", Torsions(quadruplets=[[4, 6, 8, 14]])),
        (lambda: Torsions([[4, 6, 8, 14], [0]]), "[[4, 6, 8, 14], [0]]", Torsions("phi psi")),
        (lambda: Distances(pairs="0-1"), "'0-1'", Distances(pairs=[[0, 5], [3, 8]])),
        (lambda: Distances(np.ones((3, 2))), "shape (3, 2) and type float64", Distances("name CA")),
        (lambda: Contacts([1, 2, 3]), "[1, 2, 3]", Contacts(pairs=[[0, 5], [3, 8]])),
        (lambda: Contacts([1, 2, 3]), "[1, 2, 3]", Contacts("resid 1 2 3", exclude=0)),
        (lambda: Angles([4, 6]), "[4, 6]", Angles(triplets=[[4, 6, 8]])),
    ],
)
def test_a_wrong_table_is_answered_by_a_right_one(wrong, told, right):
    with pytest.raises(ParameterError) as caught:
        wrong()
    message = str(caught.value)
    assert told in message
    examples = message.split("such as ")[1:]
    assert right in [eval(text.split(", or ")[0]) for text in examples]


def test_rows_of_unequal_length_are_no_selection():
    with pytest.raises(ParameterError, match="a selection is a string such as 'name CA'"):
        Distances([[0, 1], [2]])


@pytest.mark.parametrize("kind", [RMSD, Positions])
def test_a_reference_of_many_frames_says_how_to_take_one(kind, examples):
    pattern, top = examples / "ala2_fast/*.xtc", examples / "ala2_fast/top.pdb"
    reference = mdi.open(pattern, top=top)
    for given in (reference, reference[0], reference[0].read([0, 1])):
        with pytest.raises(ParameterError, match=f"{kind.__name__}: the reference has .* give one, such as ") as caught:
            kind(given, "element C")
        advice = str(caught.value).split("such as ")[1]
        one = eval(advice, {"reference": given})
        assert isinstance(one, mdtraj.Trajectory) and one.n_frames == 1
        assert kind(one, "element C") == kind(reference[0].read([0]), "element C")


def test_a_file_of_many_frames_says_how_to_take_one(frames, tmp_path):
    frames[:3].save_pdb(str(tmp_path / "three.pdb"))
    with pytest.raises(ParameterError, match=r"has 3 frames; give one, such as ") as caught:
        RMSD(tmp_path / "three.pdb", "element C")
    one = eval(str(caught.value).split("such as ")[1], {"mdinsight": mdi})
    np.testing.assert_allclose(
        RMSD(one, "element C").reference.xyz, RMSD(frames[0], "element C").reference.xyz, atol=1e-4
    )


def test_contacts_of_a_short_peptide_say_what_to_write(make_peptide, frames):
    short = make_peptide("ALA ARG ALA").topology
    with pytest.raises(TopologyError, match="with exclude=2 no pair of residues is left; write exclude=0"):
        Contacts().bind(short)
    assert len(Contacts(exclude=0).columns(short)) == 3
    for exclude in (0, 2):  # of the dipeptide one residue has an atom CA: exclude=0 alone would not help
        with pytest.raises(TopologyError, match=r"with an atom CA are taken; .*Contacts\('all', exclude=0\)$"):
            Contacts(exclude=exclude).bind(frames.topology)
    assert len(Contacts("all", exclude=0).columns(frames.topology)) == 3
