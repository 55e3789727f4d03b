"""The version: of the installed distribution, which takes it from the git tag."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mdinsight")
except PackageNotFoundError:  # the source tree itself, not installed
    __version__ = "0.0.0+unknown"
