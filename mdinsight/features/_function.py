"""A user's own function of frames as a feature."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.features._base import Feature
from mdinsight.features._code import code_identity
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
    def unchanged(self) -> bool:
        """Whether the content could be told, and is still the same: a global may have another value by now."""
        return self.known and code_identity(self._function) == self.identity  # type: ignore[attr-defined]

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
    The content is identified by the function's code as it is loaded, its defaults and closure, and the functions,
    numbers, strings and tuples of them that it reads from its module. One that reads anything else (a list, an array, an
    object, a module that is not installed) cannot be identified so, nor a callable object; its results are not cached
    on disk. A Function cannot be saved in a model.
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
        """Whether the function's content can be identified."""
        return bool(self.function.unchanged)

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
