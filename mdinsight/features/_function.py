"""A user's own function of frames as a feature."""

from __future__ import annotations

import hashlib
import inspect
import sys
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.features._base import Feature
from mdinsight.features._labels import Labels
from mdinsight.features._parts import TrajectoryPart
from mdinsight.features._selection import as_selection
from mdinsight.records import Record
from mdinsight.series import Column


class Code(Record):
    """A callable with the identity of its content. It lives in memory: a model that holds one cannot be saved."""

    identity: str
    name: str
    known: bool

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Code:
        """Wrap a callable."""
        identity = code_identity(function)
        name = getattr(function, "__qualname__", type(function).__qualname__)
        code = cls(identity or f"not identified {uuid.uuid4().hex}", name, identity is not None)
        object.__setattr__(code, "_function", function)
        return code

    @property
    def unsaveable(self) -> str:
        """Why it cannot be saved."""
        return (
            f"a model that holds the function {self.name!r} cannot be saved, since code is not part of a file; "
            "save it without Function features, or compute them anew and pass them as arrays"
        )

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)  # type: ignore[attr-defined]


class Function(Feature):
    """A function of your own: ``function(frames)`` of an ``mdtraj.Trajectory`` returns (n_frames, n_columns) numbers.

    Parameters
    ----------
    function
        Called on chunks of frames, in several threads: each row must depend on its own frame alone.
    names
        A name for each column it returns.
    atoms
        The atoms that it is given.
    gradient
        ``gradient(frame, cotangent)``, of one frame and (n_columns,) numbers: the (n_atoms, 3) derivative of
        cotangent . values. Without it the feature has no gradient.

    Notes
    -----
    The content is identified by the function's module, name and source and the source of the file that it stands in.
    A lambda, a closure, a callable object, and a function typed at a prompt that uses other functions of the prompt
    cannot be identified so; their results are not cached on disk. A Function cannot be saved in a model.
    """

    function: Any
    names: Any
    atoms: Any = "all"
    gradient: Any = None

    def __post_init__(self) -> None:
        for name in ("function", "gradient"):
            value = getattr(self, name)
            if value is None and name == "gradient":
                continue
            if not callable(value):
                raise ParameterError(f"Function: {name}={value!r} cannot be called")
            object.__setattr__(self, name, value if isinstance(value, Code) else Code.of(value))
        names = (self.names,) if isinstance(self.names, str) else tuple(self.names)
        if not names or len(set(names)) < len(names) or not all(isinstance(n, str) for n in names):
            raise ParameterError(f"Function: names={self.names!r}; give each column a name of its own")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "atoms", as_selection(self.atoms))
        super().__post_init__()

    @property
    def title(self) -> str:
        """``Function('name')``."""
        return f"Function({self.function.name!r})"

    @property
    def has_gradient(self) -> bool:
        """Whether a gradient was given."""
        return self.gradient is not None

    @property
    def cacheable(self) -> bool:
        """Whether the function's content could be identified."""
        return bool(self.function.known)

    @property
    def instead(self) -> str:
        """What to do to bias it."""
        return "give Function(..., gradient=...)"

    def parts(self, labels: Labels) -> list[Any]:
        """The function bound to its atoms."""
        atoms = np.unique(labels.select(self.atoms, self.title))
        if len(atoms) == 0:
            raise labels.none(self.title)
        key = self.function.identity[:24]
        columns = tuple(Column(name, "function", (), (), f"function {name} {key}") for name in self.names)
        topology = labels.topology.subset(atoms)
        count = len(columns)
        return [
            TrajectoryPart(self, columns, atoms, topology, self.function, tuple(range(count)), count, self.gradient)
        ]


def code_identity(function: Callable[..., Any]) -> str | None:
    """SHA-256 of where a function stands and of its source; None if its content cannot be told from that."""
    if not isinstance(function, types.FunctionType) or function.__name__ == "<lambda>" or function.__closure__:
        return None
    try:
        source = inspect.getsource(function)
        file = Path(inspect.getsourcefile(function) or "")
    except (OSError, TypeError):
        return None
    digest = hashlib.sha256(f"{function.__module__}.{function.__qualname__}\n{source}".encode())
    defaults = (function.__defaults__, function.__kwdefaults__)
    if any(not isinstance(d, (int, float, str, bool, type(None))) for d in _flat(defaults)):
        return None
    digest.update(repr(defaults).encode())
    module = sys.modules.get(function.__module__)
    whole = getattr(module, "__file__", None)
    if whole and file.is_file() and Path(whole).resolve() == file.resolve():
        digest.update(file.read_bytes())  # helpers and constants beside the function count as well
        return digest.hexdigest()
    used = (function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__)
    return digest.hexdigest() if all(isinstance(value, types.ModuleType) for value in used) else None


def _flat(defaults: tuple[Any, Any]) -> list[Any]:
    return [*(defaults[0] or ()), *(defaults[1] or {}).values()]
