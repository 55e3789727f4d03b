"""A plan as YAML: the same object as in Python, echoed into the run, its faults named all at once."""

import json
import zipfile

import pytest

import mdinsight as mdi
from mdinsight import adaptive
from mdinsight.adaptive import Frontier, Hot, LeastCounts, Plan, Pushed, Stop
from mdinsight.adaptive._planfile import PlanFile
from mdinsight.engine import System
from mdinsight.errors import ParameterError, PlanError

GRO = (
    "argon\n    2\n    1AR     AR    1   0.000   0.000   0.000\n    2AR     AR    2   0.400   0.000   0.000\n   0 0 0\n"
)
TOP = """\
[ defaults ]
1 2 no 1.0 1.0
[ atomtypes ]
Ar 18 39.948 0.0 A 0.34 0.996
[ moleculetype ]
argon 1
[ atoms ]
1 Ar 1 AR AR 1 0.0 39.948
[ system ]
argon
[ molecules ]
argon 2
"""


@pytest.fixture(scope="module")
def system(examples):
    return System.from_pdb(examples / "ala2/top.pdb", forcefield="amber99sb", solvent="vacuum")


@pytest.fixture(scope="module")
def section(examples):
    return {"pdb": str(examples / "ala2/top.pdb"), "forcefield": "amber99sb", "solvent": "vacuum"}


def test_a_plan_that_names_only_the_molecule_has_the_defaults_of_python(system, section):
    assert Plan.parse({"system": section}).identity() == Plan(system).identity()


def test_every_key_means_what_it_means_in_python(system, section):
    content = {
        "system": section,
        "features": [{"distances": "not element H"}, "torsions"],
        "cv": {"method": "vampnet", "lag": "2 ps", "dim": 2, "epochs": 20},
        "bias": {"method": "metadynamics", "height": "0.5 kcal/mol", "sigma": 0.1, "biasfactor": 8, "pace": 250},
        "policy": {"frontier": {"ceiling": 30}},
        "explore": {"hot": {"temperature": 900, "time": "50 ps"}},
        "walkers": 3,
        "segment": "0.1 ns",
        "swarm": "30 ps",
        "swarms": 12,
        "stop": {"rounds": 2, "interval": "0.5 kcal/mol"},
        "seed": 11,
        "budget": "3 ns",
    }
    features = mdi.features.Distances("not element H") + mdi.features.Torsions()
    made = Plan(
        system,
        features,
        cv=mdi.adaptive.Learner("VAMPNet", {"lag": "2 ps", "dim": 2, "epochs": 20}),
        bias=mdi.bias.Metadynamics(height="0.5 kcal/mol", sigma=0.1, biasfactor=8, pace=250),
        policy=Frontier(ceiling=30),
        explore=Hot(900, "50 ps"),
        walkers=3,
        segment="100 ps",
        swarm="30 ps",
        swarms=12,
        stop=Stop(2, "0.5 kcal/mol"),
        seed=11,
    )
    assert Plan.parse(content).identity() == made.identity()
    assert PlanFile.parse(content).budget == "3 ns"  # which is no part of the plan


@pytest.mark.parametrize(
    ("short", "made"),
    [
        ({"bias": "none"}, {"bias": None}),
        ({"bias": {"method": "opes", "explore": True}}, {"bias": mdi.bias.OPES(50.0, explore=True)}),
        ({"policy": "least_counts", "explore": "pushed"}, {"policy": LeastCounts(), "explore": Pushed()}),
        ({"cv": None, "stop": None, "explore": {"hot": None}}, {}),
    ],
)
def test_short_forms(system, section, short, made):
    assert Plan.parse({"system": section, **short}).identity() == Plan(system, **made).identity()


def test_paths_are_relative_to_the_file(examples, system, tmp_path, monkeypatch):
    folder = tmp_path / "plans"
    (folder / "in").mkdir(parents=True)
    (folder / "in/top.pdb").write_bytes((examples / "ala2/top.pdb").read_bytes())
    plan = {"system": {"pdb": "in/top.pdb", "forcefield": "amber99sb", "solvent": "vacuum"}}
    plan["features"] = ["torsions", {"rmsd": {"reference": "in/top.pdb", "selection": "not element H"}}]
    (folder / "plan.yaml").write_text(json.dumps(plan))
    monkeypatch.chdir(tmp_path)
    read = Plan.read("plans/plan.yaml")
    assert read.system.hash == system.hash
    assert [type(item).__name__ for item in read.features.items] == ["Torsions", "RMSD"]


def test_a_force_field_file_beside_the_plan_is_found(examples, tmp_path):
    field = '<ForceField><Include file="amber99sb.xml"/></ForceField>'
    (tmp_path / "mine.xml").write_text(field)
    molecule = {"pdb": str(examples / "ala2/top.pdb"), "forcefield": "mine.xml", "solvent": "vacuum"}
    (tmp_path / "plan.yaml").write_text(json.dumps({"system": molecule}))
    assert Plan.read(tmp_path / "plan.yaml").system.description["forcefield"] == "mine.xml"


def test_every_source_reaches_its_reader(system, section, examples, tmp_path):
    (tmp_path / "a.top").write_text(TOP)
    (tmp_path / "a.gro").write_text(GRO)
    (tmp_path / "a.xml").write_text(system.xml)
    system.save(tmp_path / "a.mdi")

    def built(**content):
        return PlanFile.parse({"system": content}).system.build()

    top, gro, xml, pdb = (str(tmp_path / name) for name in ("a.top", "a.gro", "a.xml", "b.pdb"))
    (tmp_path / "b.pdb").write_bytes((examples / "ala2/top.pdb").read_bytes())
    assert built(top=top, gro=gro, temperature=90).hash == System.from_gromacs(top, gro, 90).hash
    assert built(xml=xml, structure=pdb).hash == System.from_xml(xml, pdb).hash
    assert built(saved=str(tmp_path / "a.mdi")).hash == system.hash
    sequence = built(sequence="AG", solvent="vacuum", caps=True, hydrogen_mass=3, temperature="310 K")
    assert (
        sequence.hash == System.from_sequence("AG", "amber14", "vacuum", 310, caps=True, hydrogen_mass=3).hash
        and sequence.timestep == 0.004
    )
    for content in ({"prmtop": top, "coordinates": gro}, {"psf": top, "parameters": xml, "coordinates": pdb}):
        with pytest.raises(
            mdi.errors.ForceFieldError, match=r"a\.top cannot be used as (an Amber topology|a CHARMM PSF)"
        ):
            built(**content)


PLANS = [
    {},
    {"features": [{"torsions": "phi psi chi1"}, {"distances": {"selection": "element O", "exclude": 1}}]},
    {"features": ["torsions"], "cv": {"method": "vamp", "dim": 2, "lag": "1.7 ps"}, "segment": "33.3 ps"},
    {"bias": {"method": "metadynamics", "biasfactor": float("inf"), "sigma": [0.2, 0.3]}},
    {"bias": "none", "policy": {"weighted_ensemble": {"bins": [0.0, 1.0, 2.5], "per_bin": 3}}},
    {
        "bias": "none",
        "policy": {"fast": {"towards": [{"torsions": {"kinds": "phi", "raw": True}}], "direction": "min"}},
    },
    {"explore": {"pushed": {"barrier": 40, "time": "12.5 ps"}}, "stop": {"interval": "1 kcal/mol"}},
]


@pytest.mark.parametrize("content", PLANS, ids=[str(list(p)) for p in PLANS])
def test_the_echo_of_a_plan_reads_back_to_the_same_plan(section, content, tmp_path):
    plan = Plan.parse({"system": section, **content})
    plan.save(tmp_path / "plan.mdi")
    (tmp_path / "plan.yaml").write_text(plan.to_yaml())
    again = Plan.read(tmp_path / "plan.yaml")
    assert again.identity() == plan.identity() and again.features.hash == plan.features.hash


TORSIONS = mdi.features.Torsions("phi psi")


@pytest.mark.parametrize(
    "chosen", [lambda s: TORSIONS.select("sin*"), lambda s: TORSIONS.fixed(TORSIONS.columns(s)[1:])]
)
def test_features_that_names_do_not_say_are_taken_from_the_saved_plan(system, chosen, tmp_path):
    plan = Plan(system, chosen(system.topology))
    plan.save(tmp_path / "plan.mdi")
    (tmp_path / "plan.yaml").write_text(plan.to_yaml())
    assert Plan.read(tmp_path / "plan.yaml").features.hash == plan.features.hash
    assert Plan.parse({"system": {"saved": str(tmp_path / "plan.mdi")}}).features.hash != plan.features.hash


def test_what_is_chosen_by_itself_and_the_same_spelled_out_are_one_plan(system, tmp_path):
    """Two ways to say the same count as the same plan: a run takes up either, and their hashes are equal."""
    short = Plan(system)
    tica = mdi.cvs.TICA(lag="2 ps", dim="auto")  # a tenth of a swarm trajectory, which is a tenth of 200 ps
    torsions = mdi.features.Torsions("phi psi")
    for spelled in (
        Plan(system, cv=tica),
        Plan(system, torsions, tica, explore=Hot(), swarm="20 ps"),
        Plan(system, mdi.features.Features((torsions,)), mdi.adaptive.Learner("TICA", {"lag": 2.0, "epsilon": 1e-6})),
    ):
        assert spelled.identity() == short.identity() and spelled.hash == short.hash
    assert short.lag == 2.0 and short.identity()["cv"]["lag"] == 2.0
    run = mdi.adaptive.open(tmp_path / "run", short)
    assert mdi.adaptive.open(tmp_path / "run", Plan(system, torsions, tica)).plan.hash == run.plan.hash == short.hash


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: mdi.adaptive.Learner("TIKA", {}), "cv='TIKA' is no kind of slow coordinate; give one of TICA"),
        (lambda: mdi.adaptive.Learner("TICA", {"lagg": 2}), "TICA has no parameter lagg; it takes lag, dim"),
    ],
)
def test_a_learner_that_is_none_is_named(make, says):
    with pytest.raises(PlanError, match=says):
        make()


def test_a_saved_plan_that_this_version_reads_otherwise_is_refused_with_the_reason(system, tmp_path):
    """As an earlier version saved it, whose plans left to chance what is now resolved: another content, another hash."""
    Plan(system).save(tmp_path / "now.mdi")
    store = mdi.store.Store.create(tmp_path / "run", {"cv": "as it was said then"})
    folder = store.stage("plan")
    with zipfile.ZipFile(tmp_path / "now.mdi") as now, zipfile.ZipFile(folder / "plan.mdi", "w") as then:
        for name in now.namelist():
            data = now.read(name).replace(b'"lag": 2.0', b'"lag": "auto"')
            then.writestr(name, data.replace(Plan(system).hash.encode(), b"0" * 64))
    store.commit("plan", folder, {"kind": "plan"})
    says = r"was begun by mdinsight \S+, and this is .* go on with that version, or begin a new run"
    for take in (adaptive.look, adaptive.open, lambda path: adaptive.open(path, Plan(system))):
        with pytest.raises(PlanError, match=says):
            take(tmp_path / "run")


FAST = mdi.adaptive.FAST
PHI = mdi.features.Torsions("phi", raw=True)


class Mine(mdi.adaptive.Policy):
    """A user's own, which no other process could read from a saved plan."""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"policy": Mine()}, r"policy=Mine is a class of \S+; .*docs/adding_a_policy.md"),
        ({"policy": FAST()}, r"policy=FAST needs to know where to go; give e.g. FAST\(towards="),
        (
            {"policy": FAST(towards=mdi.features.Torsions("phi psi"))},
            r"has 4 columns \(cos phi ALA2, .*select\('cos phi",
        ),
        (
            {"policy": FAST(towards=mdi.features.Torsions("chi1"))},
            r"policy=FAST: towards=Torsions\('chi1'\) does not fit the molecule",
        ),
        ({"policy": FAST(towards=mdi.features.Function(len, names=["n"]))}, r"policy: a model that holds the function"),
        (
            {"features": mdi.features.Function(len, names=["n"]), "bias": None},
            r"features: a model that holds the function",
        ),
    ],
)
def test_what_could_not_be_saved_or_evaluated_is_refused_when_the_plan_is_made(system, given, says):
    with pytest.raises(PlanError, match=says):
        Plan(system, **given)


def test_where_fast_goes_is_a_part_of_the_plan(system, section, tmp_path):
    plan = Plan(system, policy=FAST(towards=PHI))
    parsed = Plan.parse(
        {"system": section, "policy": {"fast": {"towards": {"torsions": {"kinds": "phi", "raw": True}}}}}
    )
    assert parsed.identity() == plan.identity()
    other = Plan(system, policy=FAST(towards=mdi.features.RadiusOfGyration()))
    assert plan.identity()["policy"]["towards"]["columns"].startswith("Torsions(kinds='phi'")
    assert other.identity()["policy"]["towards"]["columns"].startswith("RadiusOfGyration(")
    chosen = Plan(system, policy=FAST("min", towards=mdi.features.Torsions("phi psi").select("sin phi*")))
    chosen.save(tmp_path / "plan.mdi")  # names do not say it: it is taken from the saved plan
    (tmp_path / "plan.yaml").write_text(chosen.to_yaml())
    assert Plan.read(tmp_path / "plan.yaml").identity() == chosen.identity()


def test_a_run_holds_its_plan_as_yaml_and_begins_another_from_it(section, tmp_path):
    plan = Plan.parse({"system": section, "seed": 5})
    mdi.adaptive.open(tmp_path / "run", plan)
    (tmp_path / "run").rename(tmp_path / "moved")
    told = tmp_path / "moved/segments/plan/plan.yaml"
    assert "amber99sb" in told.read_text() and "seed: 5" in told.read_text()
    assert Plan.read(told).identity() == plan.identity()


def test_all_faults_are_named_at_once_with_the_nearest_key(section):
    content = {
        "system": {**section, "forcefeild": "amber14", "temperature": -3},
        "wlakers": 3,
        "features": ["torsion"],
        "cv": {"method": "tika"},
        "bias": {"method": "opes", "barier": 40},
        "policy": "least_count",
        "explore": {"hot": {"tme": "5 ps"}},
        "stop": {"round": 3},
        "swarms": 2,
        "segment": "200 pz",
        "seed": "seven",
    }
    with pytest.raises(ParameterError) as raised:
        PlanFile.parse(content, "my.yaml")
    text = str(raised.value)
    assert text.startswith("my.yaml: ") and "\n" not in text
    for near in ("forcefield", "walkers", "torsions", "tica", "barrier", "least_counts", "time", "rounds"):
        assert f"did you mean {near!r}?" in text
    for value in ("temperature=-3", "swarms=2", "segment='200 pz'", "seed='seven'"):
        assert value in text


BAD = [
    ({}, "system is missing"),
    ({"system": {}}, "names no molecule"),
    ({"system": {"pdb": "a.pdb", "sequence": "AAA"}}, "names pdb and sequence"),
    ({"system": {"prmtop": "a.prmtop"}}, "prmtop needs coordinates"),
    ({"system": {"psf": "a.psf"}}, "psf needs parameters and coordinates"),
    ({"system": {"sequence": "AAA", "complete": True}}, "complete cannot go with sequence"),
    ({"system": {"xml": "a.xml", "structure": "a.pdb", "solvent": "obc2"}}, "solvent cannot go with xml"),
    ({"system": {"sequence": True}}, "in quotes"),  # YES is a peptide, and yes in YAML
    ({"system": "a.pdb"}, "{pdb: FILE}"),
    ({"bias": None}, "opes, metadynamics or none"),
    ({"bias": {"barrier": 40}}, "names no method"),
    ({"bias": {"method": "opes", "barrier": -3}}, "barrier=-3 kJ/mol is not positive"),
    ({"bias": {"method": "opes", "height": 1}}, "'height' is not an argument of OPES"),
    ({"cv": {"method": "tica", "lag": 2}}, "could be frames or ps"),
    ({"cv": {"method": "tica", "dim": 0}}, "dim=0"),
    ({"cv": {"method": "vampnet", "seed": 3}}, "the seed of the plan"),
    ({"policy": "fast"}, "'fast' needs to know where to go; write fast: {towards:"),
    ({"policy": {"fast": {"towards": "radius_gyration"}}}, "did you mean 'radius_of_gyration'?"),
    ({"policy": {"frontier": 30}}, "write frontier: {ceiling: 30}"),
    ({"policy": {"frontier": {}, "diverse": {}}}, "names no policy"),
    ({"stop": 3}, "{rounds: 3, interval: 1}"),
    ({"segment": "auto"}, "segment='auto'"),
    ({"budget": "-1 ns"}, "budget='-1 ns' is not positive"),
    ({"walkers": 2.5}, "walkers=2.5"),
    ({"walkers": True}, "walkers=True"),
]


@pytest.mark.parametrize(("content", "says"), BAD, ids=[says for _, says in BAD])
def test_what_a_plan_cannot_say(content, says):
    molecule = {} if "system" in content or not content else {"system": {"sequence": "AAA"}}
    with pytest.raises(ParameterError) as raised:
        PlanFile.parse({**molecule, **content})
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("system: {pdb: a.pdb}\nseed: 3\nseed: 4\n", "'seed' is given twice"),
        ("system: [", "is not YAML"),
        ("", "holds no settings"),
        ("- a\n", "holds no settings"),
    ],
)
def test_a_file_that_is_no_plan(text, says, tmp_path):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(ParameterError, match=says):
        PlanFile.read(tmp_path / "plan.yaml")
    with pytest.raises(ParameterError, match=r"cannot read the plan .*none\.yaml"):
        PlanFile.read(tmp_path / "none.yaml")


def test_a_budget_below_one_round_is_refused_before_the_molecule_is_prepared(section, tmp_path):
    plan = Plan.parse({"system": section, "walkers": 2, "segment": "100 ps", "swarms": 10})
    run = mdi.adaptive.open(tmp_path / "run", plan)
    with pytest.raises(
        PlanError, match=r"budget=399 ps .* takes 533 ps"
    ):  # 2 x 50 + 10 x 10 + 2 x 100, and two-way swarms
        run.advance("399 ps", workers=1, progress=False)
    assert run.store.names() == ["plan"]
    with pytest.raises(ParameterError, match="workers=0"):
        run.advance("1 ns", workers=0, progress=False)
