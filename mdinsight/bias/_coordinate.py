"""A frozen coordinate to be biased: one to four numbers of a frame, each with its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mdtraj
import numpy as np

from mdinsight.bias._program import PythonProgram, program_for
from mdinsight.cvs import CVModel, LinearCV, NetworkCV
from mdinsight.errors import DegenerateError, ParameterError, TopologyError
from mdinsight.features import Bound, Definition, Features
from mdinsight.records import Model, Record
from mdinsight.series import Column, TimeSeries
from mdinsight.words import some

MOST = 4


class Piece(Record):
    """Part of a coordinate: features, and the model of them; ``cv`` None where their columns are the coordinates."""

    features: Model
    cv: Model | None
    names: tuple[str, ...]
    periods: tuple[float | None, ...]


class Coordinate(Model):
    """What a bias acts on: frozen coordinates of one or more features, with a content hash.

    Make one with :meth:`of`. Its hash does not depend on how the atoms are numbered, so a coordinate that was learned on
    the solute alone is the same one in the solvated system.
    """

    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, thing: Any, topology: Any = None) -> Coordinate:
        """A coordinate out of whatever is one.

        Parameters
        ----------
        thing
            A fitted model (``TICA(...).fit(X).model``); features whose columns are themselves the coordinates, such as
            ``Torsions("phi psi", raw=True)``, which are periodic; a Coordinate; or a list of these. Four numbers at most.
        topology
            An ``mdtraj.Topology``, or anything that has one. Needed for features alone.

        Raises
        ------
        GradientError
            If a feature has no gradient; the message says what to use instead.
        DegenerateError
            If the coordinate is the same for every frame.
        ParameterError
            If it is no coordinate, or has more than four numbers.
        """
        if isinstance(thing, Coordinate):
            return thing
        if isinstance(thing, (list, tuple)) and thing:
            pieces = tuple(piece for item in thing for piece in cls.of(item, topology).pieces)
        elif isinstance(thing, CVModel):
            pieces = (_fitted(thing),)
        elif isinstance(thing, Definition):
            pieces = (_columns(thing, topology),)
        else:
            raise ParameterError(
                f"{type(thing).__name__} is no coordinate; give a fitted model (TICA(...).fit(X).model), features whose columns "
                "are the coordinates, or a list of these"
            )
        if len({piece.hash for piece in pieces}) < len(pieces):
            raise ParameterError("the same coordinate stands twice in the list; give each once")
        dim = sum(len(piece.names) for piece in pieces)
        if dim > MOST:
            raise ParameterError(
                f"the coordinate has {dim} numbers ({some([n for p in pieces for n in p.names])}); a bias takes at most {MOST}: "
                "fit a coordinate with dim=2, or select columns"
            )
        return cls(pieces)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each number, such as ``"TIC 1"``; one that occurs twice is told by a number."""
        seen: dict[str, int] = {}
        out = []
        for name in (name for piece in self.pieces for name in piece.names):
            seen[name] = seen.get(name, 0) + 1
            out.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
        return tuple(out)

    @property
    def periods(self) -> tuple[float | None, ...]:
        """The period of each number, None for one that is not periodic."""
        return tuple(period for piece in self.pieces for period in piece.periods)

    @property
    def dim(self) -> int:
        """How many numbers it has."""
        return len(self.names)

    def bind(self, topology: Any, name: str = "") -> BoundCoordinate:
        """The coordinate for one topology.

        Raises
        ------
        TopologyError
            If the topology lacks what the coordinate was fitted on; the message says what differs.
        """
        bounds = tuple(_bound(piece, topology, name) for piece in self.pieces)
        return BoundCoordinate(self, bounds)

    def transform(self, trajs: Any, progress: Any = False) -> TimeSeries:
        """The coordinates of every frame, as :class:`~mdinsight.TimeSeries` of shape (n_frames, dim) float64 arrays."""
        series = []
        for piece in self.pieces:
            features: Any = piece.features
            x = features.transform(trajs, progress=progress)
            series.append(x if piece.cv is None else piece.cv.transform(x))  # type: ignore[attr-defined]
        arrays = [np.hstack(rows).astype(np.float64) for rows in zip(*(s.arrays for s in series), strict=True)]
        columns = [
            Column(name, kind="cv", period=period) for name, period in zip(self.names, self.periods, strict=True)
        ]
        return series[0].with_arrays(arrays, columns, self)

    def __repr__(self) -> str:
        return f"<Coordinate: {', '.join(self.names)}; {self.hash[:12]}>"


class BoundCoordinate:
    """A coordinate bound to one topology; ``bounds`` are the bound features of each piece."""

    def __init__(self, coordinate: Coordinate, bounds: Sequence[Bound]) -> None:
        self.coordinate = coordinate
        self.bounds = tuple(bounds)
        self.pieces = tuple((bound, piece.cv) for bound, piece in zip(self.bounds, coordinate.pieces, strict=True))
        self.atoms = np.unique(np.concatenate([bound.atoms for bound in self.bounds]))
        self.n_atoms = self.bounds[0].n_atoms
        self.dim = coordinate.dim
        self._program = program_for(self)

    def program(self) -> Any:
        """A new compiled step for this coordinate, with buffers of its own."""
        return program_for(self)

    @property
    def compiled(self) -> bool:
        """Whether all of it runs compiled; a user's function of frames does not."""
        return not isinstance(self._program, PythonProgram)

    def value(self, xyz: np.ndarray, box: np.ndarray | None = None) -> np.ndarray:
        """Coordinates (dim,) of one frame (n_atoms, 3) of the whole topology in nm; ``box`` (3, 3) holds vectors as rows."""
        self._program.place(self._whole(xyz)[self.atoms], box)
        self._program.coordinates()
        return np.array(self._program.s)

    def vjp(self, xyz: np.ndarray, cotangent: np.ndarray, box: np.ndarray | None = None) -> np.ndarray:
        """Gradient (n_atoms, 3) of cotangent . coordinates, per nm."""
        self._program.place(self._whole(xyz)[self.atoms], box)
        self._program.coordinates()
        self._program.slope[:] = np.asarray(cotangent, np.float64).reshape(self.dim)
        self._program.pull()
        out = np.zeros((self.n_atoms, 3))
        out[self.atoms] = self._program.grad
        return out

    def _whole(self, xyz: np.ndarray) -> np.ndarray:
        frame = np.asarray(xyz, np.float64)
        if frame.shape != (self.n_atoms, 3):
            raise ParameterError(f"xyz has shape {frame.shape}; the topology needs ({self.n_atoms}, 3)")
        return frame


def _fitted(cv: CVModel) -> Piece:
    if cv.features is None:
        raise ParameterError(
            f"this {cv.kind} model was fitted on plain arrays, so how to compute its columns from atoms is not known; "
            "fit it on features.transform(trajectories)"
        )
    _refuse_without_gradient(cv.features)
    jumping = [column.name for column in cv.columns if column.period is not None]
    if jumping:
        raise ParameterError(
            f"{some(jumping)} jump by a period, so a coordinate that mixes them jumps too and has no force there; "
            "fit it on sine and cosine (Torsions without raw=True)"
        )
    constant = _constant(cv)
    names = tuple(str(name) for name in cv.get_feature_names_out())
    if constant:
        raise DegenerateError(
            f"{some([names[i] for i in constant])} of this {cv.kind} model is the same for every frame; fit it with a smaller dim"
        )
    return Piece(cv.features, cv, names, (None,) * cv.dim)


def _constant(cv: CVModel) -> list[int]:
    if isinstance(cv, LinearCV):
        return [i for i in range(cv.dim) if not np.any(cv.matrix[:, i])]
    if isinstance(cv, NetworkCV):
        dead = not np.any(cv.scale) or any(not np.any(weight) for weight in cv.weights)
        return [i for i in range(cv.dim) if dead or not np.any(cv.head[:, i])]
    return []


def _columns(definition: Definition, topology: Any) -> Piece:
    _refuse_without_gradient(definition)
    if topology is None:
        raise ParameterError(f"{definition.title} as a coordinate needs topology=, to know which columns it has")
    columns = definition.columns(_topology(topology) if type(topology).__module__.startswith("openmm") else topology)
    whole = isinstance(definition, Features) and len(definition.keys) == len(columns)
    fixed = definition if whole else definition.fixed(columns)
    return Piece(fixed, None, tuple(c.name for c in columns), tuple(c.period for c in columns))


def _refuse_without_gradient(definition: Any) -> None:
    if definition.has_gradient:
        return
    for item in definition.items:
        if item is definition:
            raise item.gradient_error()
        _refuse_without_gradient(item)


def _bound(piece: Piece, topology: Any, name: str) -> Bound:
    features: Any = piece.features
    found = topology if isinstance(topology, mdtraj.Topology) else _topology(topology)
    bound: Bound = features.bind(found, name)
    wanted = piece.cv.columns if piece.cv is not None else None  # type: ignore[attr-defined]
    if wanted is not None:
        ours = {column.key: column for column in bound.columns}
        order = [column.key for column in wanted]
        if [column.key for column in bound.columns] != order and set(order) <= set(ours):
            bound = bound.aligned(order)
        theirs, names = [column.name for column in wanted], [column.name for column in bound.columns]
    else:
        theirs, names = list(piece.names), [column.name for column in bound.columns]
    if theirs != names:
        unlike = [f"{a!r} there is {b!r} here" for a, b in zip(theirs, names, strict=False) if a != b]
        unlike = unlike or [f"{len(theirs)} columns there, {len(names)} here"]
        raise TopologyError(
            f"{bound.labels} is not what the coordinate was made for: {some(unlike)}. "
            "Use the topology it was fitted on (solvent may differ), or fit it anew"
        )
    return bound


def _topology(thing: Any) -> mdtraj.Topology:
    if hasattr(thing, "topology") and isinstance(thing.topology, mdtraj.Topology):
        return thing.topology
    if type(thing).__module__.startswith("openmm"):
        return mdtraj.Topology.from_openmm(thing if not hasattr(thing, "topology") else thing.topology)
    raise ParameterError(f"expected an mdtraj or OpenMM topology, got {type(thing).__name__}")
