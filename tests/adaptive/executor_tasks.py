"""Tasks that worker processes run: they import this module, so it holds nothing of the tests."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from mdinsight.errors import InstabilityError


def square(payload, slot):
    return payload**2


def slow_square(payload, slot):
    time.sleep(0.4)
    return payload**2, os.getpid()


def where(payload, slot):
    return os.getpid(), {name: value for name, value in os.environ.items() if name.endswith("_THREADS")}


def killed_once(payload, slot):
    """Kills its worker with SIGKILL in its first attempt."""
    number, marker = payload
    if marker is not None and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def poison(payload, slot):
    """Kills its worker whenever it is asked to; the others take a moment, so that they are under way at that time."""
    number, how, log = payload
    if how is not None:
        with open(log, "a") as file:
            file.write("x")
        os.kill(os.getpid(), how)
    time.sleep(0.1)
    return number


def breaks_down(payload, slot):
    """MD that breaks down, for odd numbers."""
    if payload % 2:
        raise InstabilityError(f"walker {payload} broke down")
    return payload


class Unportable(Exception):
    """An error that pickles, and cannot be made again from what was pickled."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def raises_unportable(payload, slot):
    raise Unportable("this", "that")


def holds_slot(payload, slot):
    """Takes the slot for itself by making a folder, which fails if another task holds it."""
    folder = Path(payload) / f"device-{slot['DeviceIndex']}"
    folder.mkdir()
    time.sleep(0.02)
    folder.rmdir()
    return slot["DeviceIndex"]


def sleep(payload, slot):
    Path(payload, f"{os.getpid()}").touch()
    time.sleep(60)


def main_of(payload, slot):
    return getattr(sys.modules["__main__"], "__file__", None)


def interrupted(payload, slot):
    """Presses Ctrl-C, if it is told to."""
    if payload:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    return payload
