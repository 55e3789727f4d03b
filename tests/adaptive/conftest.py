"""One run of all kinds of round, made once, and parts of it as a killed process leaves them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

TASKS = Path(__file__).with_name("loop_tasks.py")


@pytest.fixture(scope="session")
def loop() -> ModuleType:
    """The module of what is run in other processes, for use in this one."""
    spec = importlib.util.spec_from_file_location("loop_tasks", TASKS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["loop_tasks"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def peace(loop: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing ever happened to; to be copied, not to be changed."""
    path = tmp_path_factory.mktemp("loop") / "peace"
    loop.advance(path, loop.tiny())
    return path


@pytest.fixture(scope="session")
def cut(peace: Path) -> Callable[..., Path]:
    """Make a copy of the first rounds of it; of the last of them only so many segments."""

    def make(path: Path, rounds: int, segments: int = 99) -> Path:
        shutil.copytree(peace, path)
        for folder in (path / "segments").iterdir():
            number, _, segment = folder.name[1:].partition("-")
            if number.isdigit() and (int(number), int(segment or -1)) >= (rounds - 1, segments):
                shutil.rmtree(folder)
        return path

    return make


@pytest.fixture(scope="session")
def answer() -> Callable[..., dict]:
    """Run a task of ``loop_tasks.py`` in a process of its own; what it answers."""

    def run(*arguments: object) -> dict:
        command = [sys.executable, "-W", "ignore", str(TASKS), *map(str, arguments)]
        threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(threads, "1"), "PYTHONPATH": str(TASKS.parents[2])}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found: dict = json.loads(done.stdout)
        return found

    return run
