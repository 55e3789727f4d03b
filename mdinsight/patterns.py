"""Names chosen by patterns, as a shell does."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

from mdinsight.errors import ParameterError, SelectionError


def check_patterns(patterns: Sequence[Any]) -> None:
    """Refuse what are no patterns.

    Raises
    ------
    ParameterError
        If there is none, or one is no string.
    """
    if not patterns:
        raise ParameterError("select() was given no pattern; name at least one column, such as select('phi*')")
    for pattern in patterns:
        if isinstance(pattern, (list, tuple, set)):
            each = ", ".join(map(repr, pattern)) or "'phi*'"
            raise ParameterError(f"select({pattern!r}): give the patterns one by one: select({each})")
        if not isinstance(pattern, str):
            raise ParameterError(f"select({pattern!r}): a pattern is a string, such as 'phi*'")


def match_names(names: Sequence[str], patterns: Sequence[str]) -> list[int]:
    """Numbers of the names that match any pattern (``*`` and ``?`` as in a shell).

    Raises
    ------
    ParameterError
        If there is no pattern, or one is no string.
    SelectionError
        If a pattern matches none of the names.
    """
    check_patterns(patterns)
    keep: set[int] = set()
    for pattern in patterns:
        found = _matches(names, pattern)
        if not found:
            some = ", ".join(map(repr, names[:6])) + (", ..." if len(names) > 6 else "")
            wider = f"; try {f'*{pattern}*'!r}" if _matches(names, f"*{pattern}*") else ""
            raise SelectionError(f"no column matches {pattern!r}; the columns are {some}{wider}")
        keep |= found
    return sorted(keep)


def _matches(names: Sequence[str], pattern: str) -> set[int]:
    return {i for i, name in enumerate(names) if name == pattern or fnmatch.fnmatchcase(name, pattern)}
