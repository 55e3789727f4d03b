"""What a coordinate means: the features, and so the residues, that make it up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mdinsight.errors import ParameterError
from mdinsight.records import Record
from mdinsight.results import Estimate
from mdinsight.words import counted

if TYPE_CHECKING:
    from mdinsight.cvs._models import CVModel


class FeatureShare(Record):
    """One feature's part in a coordinate."""

    name: str
    residues: tuple[str, ...]
    share: float
    """Part of the coordinate that the column makes; not negative, the shares of all columns sum to one."""
    correlation: float
    """Pearson correlation of the column with the coordinate."""


class ResidueShare(Record):
    """One residue's part in a coordinate: the shares of its columns; a column of several residues is split evenly."""

    name: str
    share: float


class CoordinateMeaning(Record):
    """One coordinate: its timescale in words, its largest features and all residues that have a part in it."""

    name: str
    timescale: str
    features: tuple[FeatureShare, ...]
    residues: tuple[ResidueShare, ...]


class Explanation(Record):
    """Which features, and so which residues, make up each coordinate; ``str()`` is a table to read.

    For linear coordinates a share is the relative weight of Johnson (doi 10.1207/S15327906MBR3501_1), which divides
    what correlated columns have in common between them. For networks it is mean |gradient| x standard deviation over
    the data.
    """

    kind: str
    coordinates: tuple[CoordinateMeaning, ...]
    top: int
    n_features: int

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row for each coordinate and feature shown: coordinate, feature, residues, share, correlation."""
        return [
            {
                "coordinate": c.name,
                "feature": f.name,
                "residues": ", ".join(f.residues),
                "share": f.share,
                "correlation": f.correlation,
            }
            for c in self.coordinates
            for f in c.features
        ]

    def __str__(self) -> str:
        width = max((len(f.name) for c in self.coordinates for f in c.features), default=7)
        lines: list[str] = []
        for c in self.coordinates:
            lines.append(c.name + (f"  ({c.timescale})" if c.timescale else ""))
            lines.append(f"  {'feature':<{width}}  share  correlation")
            lines += [f"  {f.name:<{width}}  {f.share:5.0%}  {f.correlation:+.2f}" for f in c.features]
            rest = 1.0 - sum(f.share for f in c.features)
            if self.n_features > len(c.features):
                others = counted(self.n_features - len(c.features), "other")
                lines.append(f"  {others:<{width}}  {max(rest, 0.0):5.0%}")
            if c.residues:
                lines.append("  residues: " + ", ".join(f"{r.name} {r.share:.0%}" for r in c.residues[: self.top]))
        return "\n".join(lines)


def explain(model: CVModel, top: int) -> Explanation:
    """Build the explanation from what the fit stored."""
    if isinstance(top, bool) or not isinstance(top, (int, np.integer)) or top < 1:
        raise ParameterError(f"top={top!r} is not a number of features to show; give at least 1")
    times = model.timescales() if model.lag else None
    coordinates = []
    for j, name in enumerate(model.get_feature_names_out()):
        shares, correlations = model.shares[:, j], model.correlations[:, j]
        order = np.argsort(-shares, kind="stable")[:top]
        features = tuple(
            FeatureShare(model.columns[i].name, model.columns[i].residues, float(shares[i]), float(correlations[i]))
            for i in order
        )
        # Soft states are not processes, so they have no timescale each.
        paired = times is not None and model.kind != "VAMPNet states" and j < len(times)
        timescale = _timescale(times[j]) if times is not None and paired else ""
        coordinates.append(CoordinateMeaning(str(name), timescale, features, _by_residue(model, shares)))
    return Explanation(model.kind, tuple(coordinates), int(top), model.n_features)


def _timescale(figure: Estimate) -> str:
    return f"timescale {figure}" if np.isfinite(figure.value) else "no timescale"


def _by_residue(model: CVModel, shares: np.ndarray) -> tuple[ResidueShare, ...]:
    total: dict[str, float] = {}
    for column, share in zip(model.columns, shares, strict=True):
        for residue in column.residues:
            total[residue] = total.get(residue, 0.0) + float(share) / len(column.residues)
    return tuple(ResidueShare(name, share) for name, share in sorted(total.items(), key=lambda item: -item[1]))
