"""What the tests of the store run in other processes, to be killed: ``python run_tasks.py TASK ARGUMENTS``, answers as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mdinsight
from mdinsight.errors import MdinsightError, StoreError
from mdinsight.results import all_hold
from mdinsight.store._store import Store

IDENTITY = {"plan": {"walkers": 2, "segment": 200.0}, "seed": 7}
ROOM = Path(mdinsight.__file__).parent / "store"
TRACED = (*(str(path) for path in ROOM.glob("*.py") if path.name != "_content.py"), shutil.__file__)


def content(number: int, file: int) -> bytes:
    return random.Random(1000 * number + file).randbytes(20_000 + 5_000 * file)


def commit_one(store: Store, number: int, home: str = "commit"):
    name = f"r{number // 4:04d}-w{number % 4:02d}"
    folder = store.stage(name)
    for file in range(3):
        (folder / f"traj-{file:04d}.xtc").write_bytes(content(number, file))
    return getattr(store, home)(name, folder, {"number": number, "steps": 500, "energy": -1.5 * number})


def opened(path: Path) -> Store:
    return Store.open(path) if Store.exists(path) else Store.create(path, IDENTITY)


def work(path: Path, goal: int, committed: Callable[[int], None] = lambda number: None) -> None:
    """Create or resume the run, and commit what is missing of it."""
    store = opened(path)
    with store.lock():
        store.clean()
        for number in range(len(store.names()), goal):
            commit_one(store, number)
            committed(number)


def forked(task: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            task()
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    return pid


def state(path: Path) -> dict:
    """What somebody finds who opens the run after a kill."""
    if not Store.exists(path):
        return {"run": False, "names": [], "whole": True, "unfinished": 0, "free": True}
    store = Store.open(path, read_only=True)
    with Store.open(path).lock():
        pass
    return {
        "run": True,
        "names": store.names(),
        "whole": all_hold(store.verify()) and all(store.entry(name).info["steps"] == 500 for name in store.names()),
        "unfinished": len(list((path / ".staging").iterdir())) if (path / ".staging").exists() else 0,
    }


def random_kills(path: str, kills: str, goal: str, latest: str) -> list[dict]:
    """SIGKILL a run at random moments, resume it each time, and let it end in peace at last."""
    folder, rng, found = Path(path), random.Random(20261), []
    for _ in range(int(kills)):
        reader, writer = os.pipe()
        pid = forked(lambda end=writer: work(folder, 10**6, lambda number: os.write(end, b".")))
        os.close(writer)
        time.sleep(rng.uniform(0.002, float(latest)))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        with os.fdopen(reader, "rb") as pipe:
            told = len(pipe.read())
        found.append({"told": told, "signal": os.WTERMSIG(status), **state(folder)})
    work(folder, int(goal))
    return found


def _until_line(last: int) -> Callable:
    """A trace function that kills this process before the line of the store that comes after ``last`` others."""
    seen = 0

    def trace(frame, event, argument):
        nonlocal seen
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            seen += 1
            if seen > last:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def small_run(folder: Path) -> None:
    """All that a run does to its folder, once: create, lock, reserve, stage, commit, quarantine, discard, clean."""
    store = opened(folder)
    with store.lock():
        store.clean()
        store.reserve(10_000)
        if not store.has("r0000-w00"):
            commit_one(store, 0)
        if "r0000-w01" not in store.quarantined():
            commit_one(store, 1, "quarantine")
        store.discard(store.stage("r0000-w02"))


def kills_at_each_line(path: str, step: str) -> list[dict]:
    """SIGKILL a small run before each line (or each ``step``-th) that it goes through; look at it, then resume it."""
    found = []
    for last in range(0, 100_000, int(step)):
        folder = Path(path) / f"run-{last:05d}"

        def traced(run: Path = folder, last: int = last) -> None:
            sys.settrace(_until_line(last))
            small_run(run)

        _, status = os.waitpid(forked(traced), 0)
        if os.WIFEXITED(status):
            found.append({"line": last, "exit": os.WEXITSTATUS(status)})
            return found
        found.append({"line": last, **state(folder)})
        small_run(folder)
    raise AssertionError("the run never ended")


def hold(path: str) -> None:
    """Hold the lock, with a forked child that lives on when this process is killed."""
    with Store.open(path).lock():
        orphan = forked(lambda: time.sleep(60))
        print(json.dumps(orphan), flush=True)
        time.sleep(60)


def count(path: str, times: str) -> int:
    """Add one to a number in a file, so often, each time under the lock; gives how often it was refused."""
    store, refused, done = Store.open(path), 0, 0
    number = Path(path) / ".number"
    while done < int(times):
        try:
            with store.lock():
                before = int(number.read_text())
                time.sleep(0.001)
                number.write_text(str(before + 1))
                done += 1
        except StoreError:
            refused += 1
    return refused


def commit_many(path: str, goal: str, start: str) -> list[str]:
    """Commit the same segments as another process does, beginning at the same moment."""
    time.sleep(max(0.0, float(start) - time.time()))
    store = Store.open(path)
    return [commit_one(store, number).hash for number in range(int(goal))]


def limited(path: str, limit: str) -> list[str]:
    """Commit, reserve and lock where no file may be larger than ``limit`` bytes."""
    store, errors = Store.open(path), []
    staged = store.stage("r0000-w01")
    (staged / "small.npy").write_bytes(b"x" * 10)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    for task in (
        lambda: store.commit("r0000-w01", staged, {"long": "y" * int(limit)}),
        lambda: store.reserve(1_000_000),
    ):
        try:
            task()
        except MdinsightError as error:
            errors.append(f"{type(error).__name__}: {error}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.commit("r0000-w01", staged, {"long": "y" * int(limit)})
    return [*errors, *map(str, store.verify())]


def unprivileged(path: str) -> list[str]:
    """Try to work on a run, and to create one, where this user may only read."""
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):  # a root without capabilities is bound by permissions as it is
            os.setgid(65534)
            os.setuid(65534)
    store, errors = Store.open(path), []
    for task in (
        lambda: store.lock().__enter__(),
        lambda: store.stage("r0001-w00"),
        lambda: Store.create(Path(path) / "new", {}),
    ):
        try:
            task()
        except MdinsightError as error:
            errors.append(f"{type(error).__name__}: {error}")
    return [*errors, *store.names(), *map(str, store.verify())]


def _mounted(folder: Path, size: str) -> bool:
    try:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
        return subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def full_disk(path: str) -> dict:
    """Fill a small disk while committing; look, make room, go on. Without the right to mount, a limit of size plays the disk."""
    folder = Path(path)
    mounted = _mounted(folder, "1m")
    try:
        return _fill(folder, mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path, mounted: bool) -> dict:
    ballast, rest = folder / "ballast", folder / "rest"
    ballast.write_bytes(b"b" * 300_000)
    store = Store.create(folder / "run", IDENTITY)
    commit_one(store, 0)
    staged = store.stage("r0009-w00")
    (staged / "a.npy").write_bytes(b"a" * 9)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
    worker = ""
    for number in range(1, 40):
        try:
            commit_one(store, number)
        except OSError as error:  # of the worker that writes its own file
            worker = error.strerror or ""
            break
    with contextlib.suppress(OSError), rest.open("wb", buffering=0) as handle:
        while handle.write(b"r" * 4096):
            pass
    errors = []
    for task in (lambda: store.commit("r0009-w00", staged, {"steps": 500}), lambda: store.reserve(500_000)):
        try:
            task()
        except MdinsightError as error:
            errors.append(f"{type(error).__name__}: {error}")
    with store.lock():
        full = state_names(store)
    ballast.unlink()
    rest.unlink()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.commit("r0009-w00", staged, {"steps": 500})
    store.reserve(50_000)
    after = state_names(Store.open(folder / "run"))
    return {"mounted": mounted, "worker": worker, "errors": errors, "full": full, "after": after}


def state_names(store: Store) -> dict:
    return {"names": store.names(), "whole": all_hold(store.verify())}


if __name__ == "__main__":
    answer = globals()[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(answer))
