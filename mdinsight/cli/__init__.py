"""The command line: parse, call the public API, print."""

from mdinsight.cli._main import main

__all__ = ["main"]
