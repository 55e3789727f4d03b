"""What a run writes down about itself: plain JSON, the same bytes for the same content, and differences in words."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from mdinsight.errors import ParameterError, StoreError

FORMAT = 1
"""The layout of run directories that this version writes and reads."""

_ABSENT: Any = object()
_LONG = 60


class FrozenDict(dict[str, Any]):
    """A dict that refuses to be changed; JSON and pickle take it as a dict."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("what is committed does not change; make a copy with dict(...) and change that")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return FrozenDict, (dict(self),)


def frozen(value: Any) -> Any:
    """A copy of plain JSON that cannot be changed: dicts frozen, lists as tuples."""
    if isinstance(value, Mapping):
        return FrozenDict({key: frozen(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    return value


def plain_json(value: Any, where: str) -> Any:
    """A copy in plain JSON types; NumPy scalars and arrays become numbers and lists.

    Raises
    ------
    ParameterError
        If something in it is of another type or not finite; the message says where it stands.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Mapping):
        odd = [key for key in value if not isinstance(key, str)]
        if odd:
            raise ParameterError(f"{where} has the key {odd[0]!r}; JSON takes only text as keys, so write it as text")
        return {key: plain_json(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(item, f"{where}.{number}") for number, item in enumerate(value)]
    if isinstance(value, np.ndarray):
        return plain_json(value.tolist(), where)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            raise ParameterError(f"{where} is {float(value)}, which JSON cannot hold; write None or a text instead")
        return float(value)
    raise ParameterError(
        f"{where} is a {type(value).__name__}; give plain JSON: dict, list, text, number, bool or None"
    )


def sealed(content: Mapping[str, Any]) -> bytes:
    """Plain JSON as the bytes of a file, with its own hash in it; sorted, so the same content is the same bytes."""
    body = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    whole = {**content, "hash": hashlib.sha256(body.encode()).hexdigest()}
    return (json.dumps(whole, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def unsealed(data: bytes, what: object, remedy: str) -> dict[str, Any]:
    """The content of a file that :func:`sealed` made, without the hash.

    Raises
    ------
    StoreError
        If it is torn, if any byte of it was changed, or if it is of another format.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{what} is torn ({error}); {remedy}") from error
    if not isinstance(content, dict) or "format" not in content:
        raise StoreError(f"{what} is not what its name says (no format is written in it); {remedy}")
    if content["format"] != FORMAT:
        made = f", written by mdinsight {content['mdinsight']}" if "mdinsight" in content else ""
        raise StoreError(
            f"{what} is of format {content['format']!r}{made}; this version reads format {FORMAT}: "
            "use the version of mdinsight that wrote it, or begin a new run"
        )
    content.pop("hash", None)
    if sealed(content) != data:
        raise StoreError(f"{what} was changed after it was written; {remedy}")
    return content


def differences(was: Any, now: Any, where: str = "") -> list[str]:
    """Each difference between two values of plain JSON, as ``key.path: was A, is now B``.

    Dicts, and lists that hold dicts or lists, are compared item by item; a list of numbers or words is one value.
    300 and 300.0 are the same number.
    """
    keys = _keys(was, now)
    if keys:
        lines = (differences(_item(was, key), _item(now, key), f"{where}.{key}" if where else key) for key in keys)
        return [line for group in lines for line in group]
    if _same(was, now):
        return []
    where = where or "the whole"
    if was is _ABSENT:
        return [f"{where}: was not there, is now {_cut(_text(now), 0)}"]
    if now is _ABSENT:
        return [f"{where}: was {_cut(_text(was), 0)}, is gone"]
    before, after = _text(was), _text(now)
    pairs = enumerate(zip(before, after, strict=False))
    first = next((i for i, (a, b) in pairs if a != b), min(len(before), len(after)))
    return [f"{where}: was {_cut(before, first)}, is now {_cut(after, first)}"]


def _keys(was: Any, now: Any) -> Iterable[str]:
    """The keys or numbers of the items to compare one by one; nothing if the two are to be compared as they are."""
    sides = [side for side in (was, now) if side is not _ABSENT]
    if all(isinstance(side, dict) for side in sides):
        return sorted({key for side in sides for key in side})
    nested = (isinstance(item, (dict, list)) for side in sides if isinstance(side, list) for item in side)
    if all(isinstance(side, list) for side in sides) and any(nested):
        return [str(number) for number in range(max(len(side) for side in sides))]
    return ()


def _item(side: Any, key: str) -> Any:
    if isinstance(side, dict):
        return side.get(key, _ABSENT)
    if isinstance(side, list) and int(key) < len(side):
        return side[int(key)]
    return _ABSENT


def _same(was: Any, now: Any) -> bool:
    if isinstance(was, list) and isinstance(now, list):
        return len(was) == len(now) and all(map(_same, was, now))
    if isinstance(was, bool) or isinstance(now, bool):
        return was is now
    return bool(was == now)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _cut(text: str, first: int) -> str:
    """A long text around its first difference, so that two long values never look alike."""
    start = max(0, first - _LONG // 3) if len(text) > _LONG else 0
    end = start + _LONG
    return re.sub(r"\s+", " ", ("..." if start else "") + text[start:end] + ("..." if end < len(text) else ""))
