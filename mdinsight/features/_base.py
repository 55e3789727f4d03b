"""A feature is a frozen definition; bound to a topology it is kernels with their index arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mdtraj
import numpy as np

from mdinsight.errors import GradientError, ParameterError, TopologyError
from mdinsight.features._labels import Labels
from mdinsight.features._parts import AnyPart, restricted
from mdinsight.parallel import Workers
from mdinsight.patterns import check_patterns, match_names
from mdinsight.progress import Progress
from mdinsight.records import Model
from mdinsight.series import Column, TimeSeries

if TYPE_CHECKING:
    from mdinsight.features._bound import Bound
    from mdinsight.features._stream import FeatureStream


class Definition(Model):
    """What one feature and a union of features have in common: they bind to a topology and transform trajectories."""

    @property
    def items(self) -> tuple[Definition, ...]:
        """The features that the columns come from, in order."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """How errors call it."""
        return type(self).__name__

    @property
    def has_gradient(self) -> bool:
        """Whether every column has a gradient, so that the features can be biased."""
        return all(item.has_gradient for item in self.items)

    @property
    def cacheable(self) -> bool:
        """Whether the content can be identified, so that results can be kept on disk."""
        return all(item.cacheable for item in self.items)

    def parts(self, labels: Labels) -> list[AnyPart]:
        """The bound kernels for a topology."""
        raise NotImplementedError

    def __add__(self, other: Definition) -> Features:
        if not isinstance(other, Definition):
            return NotImplemented
        pieces: list[Definition] = []
        for side in (self, other):
            plain = isinstance(side, Features) and not side.patterns and not side.keys
            pieces.extend(side.items if plain else (side,))
        return Features(tuple(pieces))

    def __radd__(self, other: object) -> Definition:
        return self if other == 0 else NotImplemented  # so that sum([...]) works

    def select(self, *patterns: str) -> Features:
        """Only the columns whose names match any of the patterns (``*``, ``?`` as in a shell) are computed."""
        check_patterns(patterns)
        return Features((self,), patterns)

    def fixed(self, columns: Sequence[Column]) -> Features:
        """Exactly these columns, found by their keys in whatever topology: what a coordinate fitted on them needs."""
        return Features(self.items, (), tuple(c.key for c in columns), tuple(c.name for c in columns))

    def bind(self, topology: Any, name: str = "") -> Bound:
        """The kernels with their index arrays for one topology.

        Parameters
        ----------
        topology
            An ``mdtraj.Topology``, or anything that has one as ``.topology``.
        name
            What errors call the topology.

        Raises
        ------
        TopologyError, SelectionError
            If a feature finds nothing in this topology.
        """
        from mdinsight.features._bound import Bound

        found = topology if isinstance(topology, mdtraj.Topology) else getattr(topology, "topology", None)
        if not isinstance(found, mdtraj.Topology):
            raise ParameterError(f"bind needs an mdtraj.Topology, got {type(topology).__name__}")
        labels = Labels(found, name)
        return Bound(self, self.parts(labels), labels)

    def columns(self, topology: Any) -> tuple[Column, ...]:
        """The columns for a topology, or those common to all topologies of a data set."""
        from mdinsight.features._bound import bind_all

        return bind_all(self, topology)[0].columns

    def get_feature_names_out(self, topology: Any) -> np.ndarray:
        """Names of the columns, as scikit-learn gives them."""
        return np.array([column.name for column in self.columns(topology)], dtype=object)

    def describe(self, topology: Any) -> list[str]:
        """One line for each column: its name, kind, unit and atoms."""
        from mdinsight.features._bound import bind_all

        bound = bind_all(self, topology)[0]
        return [_line(column, bound.labels) for column in bound.columns]

    def transform(
        self,
        trajs: Any,
        workers: Workers = None,
        chunk: int | None = None,
        cache: bool | str | Path = True,
        progress: Progress = False,
    ) -> TimeSeries:
        """Compute the features of every frame.

        Parameters
        ----------
        trajs
            What ``mdinsight.open`` gives, or one ``mdtraj.Trajectory``.
        workers
            Number of threads, or an executor; None: one a core. The result is the same for any number.
        chunk
            Frames read at a time; by default about 16 MB of coordinates. The result is the same for any number.
        cache
            True: results are kept in, and taken from, the user's cache folder (or ``MDINSIGHT_CACHE``); a path: that
            folder; False: neither.
        progress
            True for a bar, or anything that is called like ``tqdm``.

        Returns
        -------
        TimeSeries
            One float32 array (n_frames, n_columns) a trajectory. Its ``definition`` holds exactly the columns computed.
            Where a frame turns out to be corrupt, the array ends before it, and a ``DataWarning`` counts what is lost.

        Raises
        ------
        NonFiniteError
            If coordinates or results are NaN or infinite; the message names file and frame.
        TopologyError
            If a feature finds nothing in a topology, or the topologies have no column in common.
        """
        from mdinsight.features._transform import transform

        return transform(self, trajs, workers, chunk, cache, progress)

    def stream(
        self, trajs: Any, workers: Workers = None, cache: bool | str | Path = True, progress: Progress = False
    ) -> FeatureStream:
        """The features of every frame as a stream, for data larger than memory: nothing is read yet.

        >>> stream = Torsions("phi psi").stream(trajs)  # doctest: +SKIP
        >>> tica = mdi.cvs.TICA("10 ps").fit(stream)  # doctest: +SKIP

        Parameters
        ----------
        trajs
            What ``mdinsight.open`` gives, or one ``mdtraj.Trajectory``.
        workers
            Number of threads, or an executor (processes, or a Dask client's); None: one thread a core. The result is the same
            for any number.
        cache
            As for :meth:`transform`. With it the first pass keeps the features on disk, and later ones read them there.
        progress
            True for a bar in each pass, or anything that is called like ``tqdm``.

        Raises
        ------
        TopologyError
            If a feature finds nothing in a topology, or the topologies have no column in common.
        """
        from mdinsight.features._stream import stream

        return stream(self, trajs, workers, cache, progress)


class Feature(Definition):
    """Base of every feature kind. A subclass adds its fields, ``parts`` and where need be ``has_gradient``."""

    @property
    def items(self) -> tuple[Definition, ...]:
        """The feature itself."""
        return (self,)

    @property
    def has_gradient(self) -> bool:
        """Whether the kind's kernel gives a gradient."""
        return True

    @property
    def cacheable(self) -> bool:
        """Whether the content can be identified, so that results can be kept on disk."""
        return True

    @property
    def instead(self) -> str:
        """What to bias instead of a kind that has no gradient."""
        return "choose a kind that has one, such as Torsions, Distances or Contacts(kind='smooth')"

    def gradient_error(self) -> GradientError:
        """The error for a kind that has no gradient."""
        return GradientError(f"{self.title} has no gradient, so it cannot be biased; {self.instead}")


class Features(Definition):
    """A union of features: their columns one after another, a column that two of them share once.

    ``patterns`` restricts it to columns by name (see ``select``); ``keys`` fixes the columns exactly, with the
    ``names`` that they had when they were fixed.
    """

    items: tuple[Definition, ...] = ()  # type: ignore[assignment]
    patterns: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        items = self.items if isinstance(self.items, (list, tuple)) else (self.items,)
        if not items or not all(isinstance(item, Definition) for item in items):
            raise ParameterError("Features needs at least one feature, such as Torsions('phi psi')")
        super().__post_init__()

    @property
    def title(self) -> str:
        """The features joined by a plus."""
        return " + ".join(item.title for item in self.items)

    @cached_property
    def has_gradient(self) -> bool:  # type: ignore[override]
        """Whether every feature has a gradient."""
        return all(item.has_gradient for item in self.items)

    def select(self, *patterns: str) -> Features:
        """Only the columns whose names match any of the patterns; see :meth:`Definition.select`.

        Raises
        ------
        SelectionError
            If the columns are fixed and a pattern matches none of them.
        """
        if not self.keys:
            return super().select(*patterns)
        keep = match_names(self.names, patterns)
        return self.replace(keys=tuple(self.keys[i] for i in keep), names=tuple(self.names[i] for i in keep))

    def parts(self, labels: Labels) -> list[AnyPart]:
        """The bound kernels, each column once, restricted where ``patterns`` or ``keys`` say so."""
        parts = [part for item in self.items for part in item.parts(labels)]
        if len(parts) == 1 and not self.keys and not self.patterns:
            return parts
        return self._restricted(parts, labels)

    def _restricted(self, every: list[AnyPart], labels: Labels) -> list[AnyPart]:
        parts: list[AnyPart] = []
        seen: set[str] = set()
        for part in every:
            keep = [i for i, column in enumerate(part.columns) if column.key not in seen]
            seen.update(column.key for column in part.columns)
            parts.append(part if len(keep) == len(part.columns) else part.take(keep))
        if self.keys:
            return self._by_key(parts, seen, labels)
        if self.patterns:
            columns = [column for part in parts for column in part.columns]
            chosen = {columns[i].key for i in match_names([column.name for column in columns], self.patterns)}
            return restricted(parts, chosen)
        return [part for part in parts if part.columns]

    def _by_key(self, parts: list[AnyPart], found: set[str], labels: Labels) -> list[AnyPart]:
        missing = [name for key, name in zip(self.keys, self.names, strict=True) if key not in found]
        if missing:
            raise TopologyError(
                f"{labels} lacks {len(missing)} of the {len(self.keys)} columns that these features were fixed to, "
                f"the first is {missing[0]!r}; use the topology they were made for, or features that both have"
            )
        return restricted(parts, set(self.keys))


def reference_tag(*contents: object) -> str:
    """A short identity of what a column's key must tell apart (a reference structure, a cutoff)."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content.tobytes() if isinstance(content, np.ndarray) else repr(content).encode())
    return digest.hexdigest()[:10]


def _line(column: Column, labels: Labels) -> str:
    atoms = " ".join(labels.atom(i) for i in column.atoms[:6])
    more = f" and {len(column.atoms) - 6} more" if len(column.atoms) > 6 else ""
    unit = f" ({column.unit})" if column.unit else ""
    return (
        f"{column.name}: {column.kind}{unit}; atoms {atoms}{more}" if atoms else f"{column.name}: {column.kind}{unit}"
    )
