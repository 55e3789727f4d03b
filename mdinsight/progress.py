"""Progress: anything with the call of ``tqdm(iterable, total=..., desc=...)``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

Progress = bool | Callable[..., Iterable[Any]]
"""False: silent. True: a tqdm bar. A callable: used as ``tqdm`` would be."""


def track(items: Iterable[T], progress: Progress, total: int | None = None, desc: str = "") -> Iterable[T]:
    """The items, shown as they pass."""
    if progress is False:
        return items
    if progress is True:
        from tqdm.auto import tqdm

        return tqdm(items, total=total, desc=desc, leave=False)
    return progress(items, total=total, desc=desc)
