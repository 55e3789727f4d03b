"""What the tests of the whole loop run in other processes, to be killed: ``python loop_tasks.py TASK ARGUMENTS``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

import mdinsight as mdi
from mdinsight import adaptive
from mdinsight.adaptive import Run as Run  # all of it is loaded before anything is forked or timed
from mdinsight.bias import OPES
from mdinsight.engine import System
from mdinsight.errors import MdinsightError, OutputError, StoreError
from mdinsight.results import all_hold
from mdinsight.store import Store

TOP = Path(__file__).parents[2] / "example_trajs/ala2/top.pdb"
BUDGET = "60 ps"
MOMENTS = ("creating", "preparing", "deciding", "starting", "running", "committing")
ATOM = 8
"""The alpha carbon."""
_MANIFEST = "MANIFEST.json"


def molecule(timestep: Any = 2.0) -> System:
    """Alanine dipeptide in vacuum, on the platform whose arithmetic repeats."""
    return System.from_pdb(
        TOP, forcefield="amber99sb", solvent="vacuum", temperature=300, timestep=f"{timestep} fs", platform="Reference"
    )


def marked(axis: str = "x", sign: int = 1, at: float = 1e6) -> System:
    """The same molecule, adrift, whose forces are NaN where one atom is farther out than a place on an axis, else unchanged."""
    import openmm

    plain = molecule()
    system = plain.openmm_system()
    for number in reversed(range(system.getNumForces())):
        if isinstance(system.getForce(number), openmm.CMMotionRemover):
            system.removeForce(number)
    force = openmm.CustomExternalForce(f"1e-30*sqrt({float(at)!r} - ({sign})*{axis})")
    force.addParticle(ATOM)
    system.addForce(force)
    return System.from_openmm(
        system, plain.topology, plain.positions, temperature=300, timestep="2 fs", platform="Reference"
    )


def tiny(**given: Any) -> adaptive.Plan:
    """A run of all kinds of round in a few seconds."""
    usual = {
        "bias": OPES(barrier=40, pace=50),
        "segment": "4 ps",
        "swarm": "1 ps",
        "swarms": 6,
        "walkers": 2,
        "seed": 3,
    }
    usual |= {"features": mdi.features.Torsions("phi psi")}
    return adaptive.Plan(**({"system": molecule()} | usual | given))


def content(run: str | Path) -> dict[str, str]:
    """SHA-256 of every file of a run, by its name in the run, but the lock and work in progress."""
    root = Path(run)
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != ".lock")
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if ".staging" not in path.parts
    }


def moment(run: str | Path) -> str:
    """What a run was at when it was killed, from what it left in its folder.

    ``deciding`` is reading and computing between two rounds; ``starting``: a round is decided, and no segment of it begun, as
    while workers start; ``committing``: a folder is sealed and not yet in its place.
    """
    root = Path(run)
    segments, staging = root / "segments", root / ".staging"
    if not (root / "run.json").exists():
        return "creating"
    try:
        staged = sorted(os.listdir(staging))
        if any((staging / name / _MANIFEST).exists() or _decision(name) for name in staged):
            return "committing"
        if any(re.match(r"r\d{4}-", name) for name in staged):
            return "running"
    except FileNotFoundError:
        staged = []
    if not (segments / "start").exists():
        return "preparing" if (segments / "plan").exists() else "creating"
    rounds = sorted(name for name in os.listdir(segments) if re.fullmatch(r"r\d{4}", name))
    if not rounds:
        return "deciding"
    tasks = json.loads((segments / rounds[-1] / "decision.json").read_text())["tasks"]
    there = [name for home in ("segments", "quarantine") for name in _names(root / home)]
    missing = [f"{rounds[-1]}-{number:03d}" for number in range(len(tasks))]
    return "starting" if any(name not in there for name in missing) else "deciding"


def _decision(staged: str) -> bool:
    return re.fullmatch(r"(r\d{4}|start|plan)-[0-9a-f]{12}", staged) is not None and staged[:5] != "start"


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.exists() else []


# -- in processes of their own -------------------------------------------------------------------------------------------


def forked(task: Callable[[], None]) -> int:
    """A child that has all imported already, the leader of a group of its own. Nothing that a fork breaks has begun yet."""
    assert len(os.listdir("/proc/self/task")) == 1, "no thread may run when a process is forked"
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        task()
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)


def advance(run: str | Path, plan: adaptive.Plan | None, workers: Any = 1, budget: Any = BUDGET) -> None:
    """Begin a run, or take it up, and go on to its end."""
    adaptive.open(run, plan).advance(budget, workers=workers, progress=False, devices="auto")


def workers_of(pid: int) -> list[psutil.Process]:
    """The worker processes of a run, without what Python starts beside them."""
    with contextlib.suppress(psutil.Error):
        return [p for p in psutil.Process(pid).children() if "spawn_main" in " ".join(p.cmdline())]
    return []


def killed(run: Path, plan: adaptive.Plan, workers: int, who: str, rng: random.Random, latest: float) -> dict[str, Any]:
    """Let a run go on and kill it at a random moment; what was found, or that it came to its end before.

    ``who``: "group", all its processes at once; "parent" alone, whose workers have to end by themselves; "worker", twice one of
    the workers alone, after which the run has to go on.
    """
    pid = forked(lambda: advance(run, plan, workers))
    found: dict[str, Any] = {"who": who, "moments": [], "signal": None, "orphans": []}
    for _ in range(2 if who == "worker" else 1):
        _random_moment(pid, run, who, rng, latest)
        victims = workers_of(pid)
        if who == "worker":
            for victim in rng.sample(victims, min(1, len(victims))):
                found["moments"].append(moment(run))
                with contextlib.suppress(psutil.Error):
                    victim.kill()
            continue
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if who == "group" else os.kill)(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        found["signal"] = os.WTERMSIG(status)
        found["moments"].append(moment(run))
        if who == "parent":  # the run is resumed at once; that its workers end is looked at later
            found["orphans"] = [victim.pid for victim in victims]
    else:
        found["status"] = status
    return found


def _random_moment(pid: int, run: Path, who: str, rng: random.Random, latest: float) -> None:
    """Wait for any moment, or for a random instant of something that is too short to be hit by chance."""
    if who in ("parent", "worker"):  # those that are about to be orphaned or killed have to be there
        _waited(pid, lambda: bool(workers_of(pid)))
    aims = MOMENTS[2:] if (run / "segments/start").exists() else MOMENTS[:2]
    aim, delay, began = rng.choice(("any", "any", *aims)), rng.uniform(0.0, latest), time.monotonic()
    if aim == "any":
        _waited(pid, lambda: time.monotonic() - began > delay)
    elif _waited(pid, lambda: moment(run) == aim or time.monotonic() - began > 2 * latest):
        time.sleep(delay * {"running": 0.2, "starting": 0.3, "deciding": 0.1, "preparing": 0.1}.get(aim, 0.0))


def _waited(pid: int, until: Callable[[], bool]) -> bool:
    """Wait for a moment; false if the process ended before."""
    while not until():
        with contextlib.suppress(ChildProcessError):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return False
        time.sleep(0.0003)
    return True


def state(run: Path) -> dict[str, Any]:
    """What somebody finds who looks at the run: what is committed, whether it is whole, and whether its status can be read."""
    if not (Path(run) / "segments/plan").exists():
        return {"names": [], "whole": True, "rounds": 0}
    seen = adaptive.look(run)
    return {"names": seen.store.names(), "whole": all_hold(seen.verify()), "rounds": seen.status().rounds}


def kill_until_done(
    run: Path, plan: adaptive.Plan, workers: int, who: str, rng: random.Random, latest: float, most: int
) -> list[dict[str, Any]]:
    """Kill and resume, over and over; after ``most`` kills it may end in peace."""
    found: list[dict[str, Any]] = []
    while len(found) < most:
        one = killed(run, plan, workers, who, rng, latest)
        found.append({**one, **state(run)})
        if "status" in one:
            break
    if not found or "status" not in found[-1]:
        status = os.waitpid(forked(lambda: advance(run, plan, workers)), 0)[1]
        found.append({"who": "nobody", "moments": [], "signal": None, "orphans": [], "status": status, **state(run)})
    return found


def random_kills(path: str, *kinds: str) -> dict[str, Any]:
    """Runs that are killed, and one that is not; what each has in the end.

    Each kind is ``workers:who:latest:most:seed``.
    """
    plan, folder = tiny(), Path(path)
    assert os.waitpid(forked(lambda: advance(folder / "peace", plan)), 0)[1] == 0
    runs = []
    for kind in kinds:
        workers, who, latest, most, seed = kind.split(":")
        run = folder / f"run-{seed}"
        kills = kill_until_done(run, plan, int(workers), who, random.Random(int(seed)), float(latest), int(most))
        runs.append({"kills": kills, "content": content(run)})
    orphans = [pid for run in runs for kill in run["kills"] for pid in kill["orphans"]]
    end = time.monotonic() + 10.0
    while any(map(_alive, orphans)) and time.monotonic() < end:
        time.sleep(0.05)
    peace = adaptive.look(folder / "peace")
    return {
        "peace": content(folder / "peace"),
        "kinds": [decision.kind for decision in peace.history.decisions],
        "runs": runs,
        "orphans": [len(orphans), sum(map(_alive, orphans))],
    }


def interrupted(path: str, workers: str, latest: str, most: str) -> dict[str, Any]:
    """Ctrl-C at random moments, to all processes as a terminal sends it, until the run is done; how each attempt ended."""
    plan, run, rng, found = tiny(), Path(path), random.Random(7), []

    def attempt() -> None:
        try:
            advance(run, plan, int(workers))
        except KeyboardInterrupt:
            free = not Store.exists(run) or Store.open(run).holder() is None
            os._exit(42 if free and not workers_of(os.getpid()) else 43)

    for _ in range(int(most)):
        pid = forked(attempt)
        _waited(pid, (run / ".lock").exists)
        _random_moment(pid, run, "group", rng, float(latest))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGINT)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found.append(code)
        if code == 0:
            break
    else:
        advance(run, plan)
    return {"codes": found, "content": content(run)}


def second(path: str) -> dict[str, Any]:
    """A run that another process works on: whether it can be taken too, and what can be seen of it."""
    plan, run = tiny(), Path(path)
    pid = forked(lambda: advance(run, plan))
    try:
        _waited(pid, lambda: moment(run) == "running")
        os.kill(pid, signal.SIGSTOP)
        began, refused = time.monotonic(), ""
        try:
            advance(run, plan)
        except StoreError as error:
            refused = str(error)
        seconds = time.monotonic() - began
        seen = adaptive.look(run)
        return {
            "pid": pid,
            "refused": refused,
            "seconds": seconds,
            "worker": seen.status().worker,
            "whole": all_hold(seen.verify()),
        }
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def unprivileged(path: str) -> dict[str, Any]:
    """Look at a run that may only be read."""
    adaptive.look(path).states()  # imports what this user may read, and the other perhaps not
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):  # a root without capabilities is bound by permissions as it is
            os.setgid(65534)
            os.setuid(65534)
    seen = adaptive.look(path)
    found = {
        "status": str(seen.status()),
        "states": len(seen.states()),
        "whole": all_hold(seen.verify()),
        "refused": "",
    }
    try:
        adaptive.open(path).advance(BUDGET, workers=1, progress=False)
    except MdinsightError as error:
        found["refused"] = f"{type(error).__name__}: {error}"
    return found


def full_disk(path: str) -> dict[str, Any]:
    """Fill the disk at another moment of the run each time, make room, go on. Who may not mount gets a limit instead."""
    folder = Path(path)
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)]
    mounted = bool(shutil.which("mount")) and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        return {"mounted": mounted, **_fill(folder, mounted)}
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path, mounted: bool) -> dict[str, Any]:
    run, ballast, errors, states = adaptive.open(folder / "run", tiny()), folder / "ballast", [], []
    for moments in range(1, 50):
        told = 0

        def full(status: adaptive.Status, last: int = 1 + (moments - 1) % 7) -> None:
            nonlocal told
            told += 1
            if told == last and mounted:
                with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as handle:
                    while handle.write(b"b" * 4096):
                        pass
            elif told == last:
                resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))

        try:
            run.advance(BUDGET, workers=1, progress=full)
            break
        except OutputError as error:
            errors.append(str(error))
        finally:
            ballast.unlink(missing_ok=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        states.append({"names": run.store.names(), "whole": all_hold(run.verify()), "free": run.store.holder() is None})
    return {"errors": errors, "states": states, "content": content(folder / "run")}


def _alive(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(process.cmdline())
    except psutil.Error:
        return False


if __name__ == "__main__":
    answer: Mapping[str, Any] | list[Any] | None = globals()[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(answer))
