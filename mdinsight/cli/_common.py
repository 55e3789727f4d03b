"""What the commands share."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click


class Terminated(KeyboardInterrupt):
    """SIGTERM: what a cluster sends to a job whose time is up. It ends the work as Ctrl-C does."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt inside the block and SIGTERM raises :class:`Terminated`; only the first one counts."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)  # a second one would break what the first has begun to end
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            if signal.getsignal(each) is stop:
                signal.signal(each, handler)


def named_features(texts: Iterable[str]) -> tuple[str | dict[str, str], ...]:
    """``KIND[=ARG]`` as a configuration has it."""
    return tuple({kind: argument} if eq else kind for kind, eq, argument in (text.partition("=") for text in texts))


def show_log() -> None:
    """What mdinsight logs as a warning is said on the screen, a line each."""
    logger = logging.getLogger("mdinsight")
    if not any(isinstance(handler, _Echo) for handler in logger.handlers):
        logger.addHandler(_Echo(logging.WARNING))


class _Echo(logging.Handler):
    def emit(self, record: Any) -> None:
        click.echo(f"warning: {record.getMessage()}", err=True)
