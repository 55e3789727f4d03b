"""``mdinsight sample`` and its kin, as a user runs them: begun, looked at, interrupted, taken up, refused."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

import mdinsight as mdi
from mdinsight.adaptive import Plan
from mdinsight.cli import main
from mdinsight.cli._sample import _free_ends

PLAN = {
    "system": {"pdb": "ala2.pdb", "forcefield": "amber99sb", "solvent": "vacuum"},
    "walkers": 2,
    "segment": "60 ps",
    "swarm": "2 ps",
    "swarms": 8,
    "explore": {"hot": {"time": "5 ps"}},
    "budget": "400 ps",
}
RUN = [sys.executable, "-c", "from mdinsight.cli import main; main(prog_name='mdinsight')"]


def begun(*arguments, cwd, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
    return subprocess.Popen([*RUN, *map(str, arguments)], cwd=cwd, **pipes, **options)


def here(folder, *arguments):
    """The command line in this process, in a folder."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.chdir(folder):
            return CliRunner().invoke(main, [str(a) for a in arguments], prog_name="mdinsight")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def until(process, what):
    """Wait for something that the process is to do."""
    for _ in range(2000):
        if what():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def content(folder):
    names = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, examples):
    folder = tmp_path_factory.mktemp("sample")
    shutil.copy(examples / "ala2/top.pdb", folder / "ala2.pdb")
    (folder / "plan.yaml").write_text(json.dumps(PLAN))  # JSON is YAML
    return folder


@pytest.fixture(scope="module")
def story(folder):
    """A run that is looked at and interrupted, and taken up by the command that it says."""
    first = begun("sample", "plan.yaml", "--workers", 1, cwd=folder)
    until(first, (folder / "plan-run/segments/r0001-000").exists)
    first.send_signal(signal.SIGSTOP)  # so that it is not done before the others have begun
    status = here(folder, "status", "plan-run")
    second = here(folder, "sample", "plan.yaml", "--workers", 1)
    first.send_signal(signal.SIGCONT)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=60)
    kept = content(folder / "plan-run/segments")
    words = shlex.split(said.strip().splitlines()[-1])
    resumed = here(folder, *words[1:])
    return SimpleNamespace(
        pid=first.pid,
        code=first.returncode,
        said=said,
        status=status,
        second=second,
        kept=kept,
        words=words,
        resumed=resumed,
    )


def test_a_run_is_looked_at_while_another_process_works_on_it(story):
    assert story.status.exit_code == 0
    assert f"at work: process {story.pid} on " in story.status.output
    assert "now: " in story.status.output and "segments, " in story.status.output


def test_a_second_process_is_refused(story):
    assert story.second.exit_code == 2
    assert f"is in use by process {story.pid} on " in story.second.output
    assert "Traceback" not in story.second.output and "taken up" not in story.second.output


def test_ctrl_c_says_the_command_that_goes_on(story):
    assert story.code == 130
    assert (
        "segments are safe; what was not finished is run again. Go on with" in story.said
        and "Traceback" not in story.said
    )
    assert story.words[:3] == ["mdinsight", "sample", "plan-run"]
    assert story.words[3:] == ["--workers", "1", "--budget", "400 ps"]


def test_what_was_interrupted_and_taken_up_is_the_run_that_never_was(story, folder):
    assert story.resumed.exit_code == 0, story.resumed.output
    assert "taken up at" in story.resumed.output
    assert "the budget of 400 ps is spent" in story.resumed.output
    done = content(folder / "plan-run/segments")
    assert all(done[name] == data for name, data in story.kept.items())
    whole = mdi.adaptive.open(folder / "whole", Plan.read(folder / "plan.yaml"))
    whole.advance("400 ps", workers=1, progress=False)
    again = content(folder / "whole/segments")
    assert set(again) == set(done) and len(again) > 100
    assert [name for name in again if again[name] != done[name]] == []


def test_sigterm_ends_a_job_and_its_workers(folder):
    """A cluster sends it to all processes of the job."""
    arguments = ["--sequence", "A", "--solvent", "vacuum", "--walkers", 2, "--segment", "1 ns", "--seed", 3]
    job = begun("sample", *arguments, "--workers", 2, "--budget", "9 ns", cwd=folder, start_new_session=True)
    until(job, (folder / "A-run/segments/r0000").exists)
    time.sleep(1.0)
    os.killpg(job.pid, signal.SIGTERM)
    _, err = job.communicate(timeout=60)  # which ends only when the workers have closed the pipe as well
    assert job.returncode == 143 and "Traceback" not in err
    assert err.strip().splitlines()[-1] == "  mdinsight sample A-run --budget '9 ns' --workers 2"
    with mdi.store.Store.open(folder / "A-run").lock():
        pass


@pytest.fixture
def cli(folder):
    return lambda *arguments: here(folder, *arguments)


def test_the_end_is_told_and_a_larger_budget_goes_on(cli, story, folder):
    shutil.copytree(folder / "plan-run", folder / "more")
    again = cli("sample", "more", "--workers", 1, "--quiet")
    assert again.exit_code == 0 and "the budget of 400 ps is spent" in again.output  # the budget that it had
    assert "mdinsight sample more --workers 1 --budget '800 ps'" in again.output
    assert again.stderr == ""
    before = mdi.adaptive.look(folder / "more").status().ps
    less = cli("sample", "more", "--workers", 1, "--budget", "100 ps", "--quiet")
    assert "ps are done already, and the budget counts all of it: 100 ps are not enough" in less.output
    words = shlex.split(less.output.strip().splitlines()[-1])
    assert mdi.units.time(words[words.index("--budget") + 1]) >= 2 * before - 1
    larger = cli("sample", "more", "--workers", 1, "--budget", "800 ps", "--quiet")  # as it said
    assert larger.exit_code == 0
    assert before + 60 < mdi.adaptive.look(folder / "more").status().ps


def test_verify_finds_what_was_damaged(cli, story, folder):
    whole = cli("verify", "plan-run")
    assert whole.exit_code == 0 and "plan-run is whole" in whole.output
    shutil.copytree(folder / "plan-run", folder / "damaged")
    file = folder / "damaged/segments/r0002-000/traj-0000.xtc"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    found = cli("verify", "damaged")
    assert found.exit_code == 1 and "segments/r0002-000/traj-0000.xtc: was changed" in found.output
    (folder / "damaged/run.json").write_text("{}")
    assert cli("verify", "damaged").exit_code == 1


def test_status_and_report_of_a_run_that_nobody_works_on(cli, story):
    told = cli("status", "plan-run", "--watch")  # ends, since nothing will change
    assert told.exit_code == 0 and "nobody works on it now" in told.output and "now: " not in told.output
    assert cli("report", "plan-run").exit_code == 0


def test_a_changed_plan_is_refused_naming_the_differences(cli, story, folder):
    changed = {**PLAN, "walkers": 3, "seed": 8, "system": {**PLAN["system"], "temperature": 310}}
    (folder / "changed.yaml").write_text(json.dumps(changed))
    result = cli("sample", "changed.yaml", "--out", "plan-run")
    assert result.exit_code == 2
    for line in ("walkers: was 2, is now 3", "seed: was 7, is now 8", "system.temperature: was 300.0, is now 310.0"):
        assert line in result.output


def test_a_number_alone_is_in_the_unit_that_the_option_says(cli, story):
    given = ["ala2.pdb", "--forcefield", "amber99sb", "--solvent", "vacuum", "--temperature", "310", "--barrier", "40"]
    result = cli("sample", *given, "--out", "plan-run")
    assert "system.temperature: was 300.0, is now 310.0" in result.output
    assert "bias.barrier: was 50.0, is now 40.0" in result.output
    assert "write e.g. '300 K'" in cli("sample", "ala2.pdb", "--temperature", "warm").output


def test_free_ends_of_a_sequence_are_told():
    free, capped = (mdi.engine.System.from_sequence(text, solvent="vacuum") for text in ("AA", "ace-AA-nme"))
    assert _free_ends(free) == ["its ends are free and charged; to cap them: --sequence ace-AA-nme"]
    assert _free_ends(capped) == []


def test_another_version_of_the_store_is_refused(cli, story, folder):
    shutil.copytree(folder / "plan-run", folder / "old")
    told = json.loads((folder / "old/run.json").read_text())
    (folder / "old/run.json").write_text(json.dumps({**told, "format": 99}))
    for command in ("sample", "status"):
        result = cli(command, "old")
        assert result.exit_code == 2 and "is of format 99" in result.output


BAD = [
    (["sample"], "no molecule is given"),
    (["sample", "none.pdb"], "none.pdb does not exist"),
    (["sample", "notes.txt"], "notes.txt is of no known kind"),
    (["sample", "ala2.pdb", "--sequence", "AAA"], "two molecules"),
    (["sample", "lig.pdb"], "is not known to the force field amber14 (amber14-all.xml)"),
    (["sample", "--sequence", "AABA"], "letter 3 of the sequence 'AABA', 'B', is no amino acid"),
    (
        ["sample", "ala2.pdb", "--budget", "1 ns"],
        "does not pay for one round of this plan, which takes 2.5 ns (first exploration 400 ps, first swarm 800 ps, "
        "4 walkers 800 ps, two-way swarms 500 ps); give more, fewer walkers (--walkers",
    ),
    (["sample", "ala2.pdb", "--budget", "much"], "--budget='much'"),
    (["sample", "ala2.pdb", "--workers", "0"], "--workers 0"),
    (["sample", "ala2.pdb", "--workers", "2", "--dask", "tcp://h:1"], "do not go with --dask"),
    (["sample", "ala2.pdb", "--devices", "0", "--dask", "tcp://h:1"], "--devices are GPUs of this machine"),
    (["sample", "ala2.pdb", "--devices", "first"], "--devices first is no list of GPUs"),
    (["sample", "ala2.pdb", "--platform", "Abacus"], "'Abacus' is not on this machine"),
    (["sample", "ala2.pdb", "--forcefield", "amber98sb"], "amber99sb"),
    (["sample", "ala2.pdb", "--solvent", "tip3"], "the nearest is 'tip3p'"),
    (["sample", "ala2.pdb", "--policy", "frontiers"], "did you mean 'frontier'"),
    (["sample", "ala2.pdb", "--bias", "none", "--barrier", "30"], "no bias has no barrier"),
    (["sample", "ala2.pdb", "--features", "sasa"], "has no gradient"),
    (["sample", "ala2.pdb", "--features", "torsion"], "did you mean 'torsions'"),
    (["sample", "ala2.pdb", "--segment", "10 fs"], "segment=10 fs is shorter than ten steps"),
    (["sample", "ala2.pdb", "--coords", "ala2.pdb"], "which has coordinates"),
    (["sample", "a.psf"], "give the file that has, with --coords"),
    (["sample", "a.psf", "--coords", "ala2.pdb"], "with --parameters"),
    (["sample", "a.gro"], "give the topology (.top)"),
    (["sample", "a.top", "--coords", "ala2.pdb"], "a.top cannot be used as an Amber topology"),  # by its first bytes
    (["sample", "a.top", "--coords", "ala2.pdb", "--forcefield", "amber14"], "forcefield cannot go with prmtop"),
    (["sample", "ala2.pdb", "--explore", "warm"], "'warm' is not an exploration"),
    (["sample", "torn.yaml"], "in torn.yaml, line 2"),
    (["sample", "bad.yaml"], "walkres is not a key; did you mean 'walkers'?"),
    (["sample", "bad.yaml", "--seed", "3", "--cv-lag", "2 ps"], "write --seed, --cv-lag into bad.yaml"),
    (["sample", "notes"], "notes is no run directory"),
    (["status", "notes"], "notes is no run directory"),
    (["verify", "notes"], "notes is no run directory"),
    (["report", "none"], "it does not exist"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_is_named_in_a_line(cli, folder, arguments, says):
    (folder / "notes.txt").write_text("hello")
    (folder / "notes").mkdir(exist_ok=True)
    (folder / "notes/more.txt").write_text("hello")
    (folder / "lig.pdb").write_text((folder / "ala2.pdb").read_text().replace("ALA", "LIG"))
    (folder / "bad.yaml").write_text("system: {sequence: AAA}\nwalkres: 3\n")
    (folder / "torn.yaml").write_text("system: {sequence: AAA\nwalkers: 3\n")
    (folder / "a.top").write_text("%VERSION  VERSION_STAMP = V0001.000\n")
    for name in ("a.psf", "a.gro"):
        (folder / name).touch()
    before = sorted(folder.iterdir())
    result = cli(*arguments)
    assert result.exit_code == 2
    errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and says in errors[0]
    assert "Traceback" not in result.output and "fault of mdinsight" not in result.output
    assert sorted(folder.iterdir()) == before  # nothing was begun


def test_a_run_that_has_a_plan_takes_no_other(cli, story):
    result = cli("sample", "plan-run", "--walkers", "8", "--out", "elsewhere")
    assert result.exit_code == 2 and "leave out --walkers, --out" in result.output
