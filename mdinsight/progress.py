"""Progress: anything with the call of ``tqdm(iterable, total=..., desc=...)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from mdinsight.errors import ParameterError

T = TypeVar("T")

Progress = bool | Callable[..., Iterable[Any]]
"""False: silent. True: a tqdm bar. A callable: used as ``tqdm`` would be."""

_GIVE = "give True, False, or what is called as tqdm(iterable, total=..., desc=...) and gives the items back, such as tqdm.tqdm"


def check_progress(progress: Any) -> None:
    """Refuse what shows no progress, where it is given.

    Raises
    ------
    ParameterError
        Naming the value and what is allowed.
    """
    if isinstance(progress, bool):
        return
    if not callable(progress):
        raise ParameterError(f"progress={progress!r} shows nothing; {_GIVE}")
    try:
        signature = inspect.signature(progress)
    except (TypeError, ValueError):  # of what is written in C it may not be known
        return
    try:
        signature.bind([], total=1, desc="")
    except TypeError as error:
        raise ParameterError(f"progress={_name(progress)} cannot be called as tqdm is ({error}); {_GIVE}") from None


def track(items: Iterable[T], progress: Progress, total: int | None = None, desc: str = "") -> Iterable[T]:
    """The items, shown as they pass.

    Raises
    ------
    ParameterError
        If the progress shows nothing.
    """
    check_progress(progress)
    if progress is False:
        return items
    if progress is True:
        from tqdm.auto import tqdm

        return tqdm(items, total=total, desc=desc, leave=False)
    try:
        shown = progress(items, total=total, desc=desc)  # type: ignore[operator]
    except ImportError as error:  # tqdm.notebook needs ipywidgets, and looks for it only here
        raise ParameterError(f"progress={_name(progress)} cannot be shown: {error}; give True, or tqdm.tqdm") from error
    if not isinstance(shown, Iterable):
        raise ParameterError(f"progress={_name(progress)} gave {shown!r} and not the items; {_GIVE}")
    return shown


def _name(progress: Any) -> str:
    return str(getattr(progress, "__qualname__", None) or repr(progress))
