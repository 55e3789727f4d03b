"""The identity of a user's function: of what is loaded, not of the file that it was loaded from."""

from __future__ import annotations

import builtins
import dis
import hashlib
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

_HIDDEN = frozenset({"eval", "exec", "globals", "locals", "vars", "open", "input", "__import__", "getattr"})
"""Builtins by which a function gets at what its code does not tell."""


class _UnknownError(Exception):
    """Something whose content cannot be told."""


def code_identity(function: Callable[..., Any]) -> str | None:
    """SHA-256 of a function's byte code, defaults, closure, and of every global that it reads; None if that tells not all.

    Told are numbers, strings and tuples of them by value, functions by their code, and what belongs to the standard
    library or an installed package by name and version. A list, an array, an object, or a module of the user's own is
    not: its content may change without a sign.
    """
    digest = hashlib.sha256()
    try:
        for token in _tokens(function, set()):
            digest.update(f"{len(token)} {token}\n".encode())
    except _UnknownError:
        return None
    return digest.hexdigest()


def _tokens(value: Any, seen: set[int]) -> Iterator[str]:
    if value is None or value is Ellipsis or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        yield f"{type(value).__name__} {value!r}"
    elif isinstance(value, tuple):
        yield f"tuple {len(value)}"
        for item in value:
            yield from _tokens(item, seen)
    elif isinstance(value, frozenset):
        yield f"frozenset {sorted('|'.join(_tokens(item, seen)) for item in value)}"
    elif isinstance(value, types.CodeType):
        yield from _of_code(value, seen)
    elif isinstance(value, types.ModuleType):
        yield f"module {value.__name__} {_version(value.__name__)}"
    elif _belongs(value):
        yield f"{value.__module__}.{value.__qualname__} {_version(value.__module__)}"
    elif isinstance(value, np.ufunc):
        yield f"ufunc {value.__name__} {np.__version__}"
    elif isinstance(getattr(value, "py_func", None), types.FunctionType):  # compiled by numba
        yield from _of_function(value.py_func, seen)
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value, seen)
    else:
        raise _UnknownError


def _of_function(function: types.FunctionType, seen: set[int]) -> Iterator[str]:
    yield f"function {function.__module__}.{function.__qualname__}"
    if id(function) in seen:
        return
    seen.add(id(function))
    yield from _of_code(function.__code__, seen)
    yield from _tokens(function.__defaults__, seen)
    yield from _tokens(tuple(sorted((function.__kwdefaults__ or {}).items())), seen)
    for cell in function.__closure__ or ():
        try:
            content = cell.cell_contents
        except ValueError:
            raise _UnknownError from None
        yield from _tokens(content, seen)
    for name in sorted(_globals(function.__code__)):
        if name in function.__globals__:
            yield f"global {name}"
            yield from _tokens(function.__globals__[name], seen)
        elif name in _HIDDEN or not hasattr(builtins, name):
            raise _UnknownError


def _of_code(code: types.CodeType, seen: set[int]) -> Iterator[str]:
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    yield f"code {code.co_code.hex()} {names} {counts}"
    yield from _tokens(code.co_consts, seen)


def _globals(code: types.CodeType) -> set[str]:
    """Names of the globals that code reads, nested functions included."""
    found: set[str] = set()
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            raise _UnknownError
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            found.add(str(step.argval))
        if step.opname == "IMPORT_NAME":
            _version(str(step.argval))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _globals(constant)
    return found


def _belongs(value: Any) -> bool:
    """Whether a class or function is what an installed module has under its name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module not in sys.modules:
        return False
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    try:
        return found is value and bool(_version(module))
    except _UnknownError:
        return False


def _version(name: str) -> str:
    """Version of the installed package, or of Python, that a module belongs to."""
    top = name.split(".")[0]
    if top in sys.stdlib_module_names and top != "__main__":
        return sys.version
    module = sys.modules.get(top)
    file = getattr(module, "__file__", None)
    if top != "mdinsight" and (not file or not {"site-packages", "dist-packages"} & set(Path(file).parts)):
        raise _UnknownError
    changed = Path(file).stat().st_mtime_ns if file and Path(file).is_file() else 0  # a new installation
    return f"{getattr(module, '__version__', '')} {changed}"
