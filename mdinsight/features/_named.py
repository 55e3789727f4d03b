"""Features by name, as they stand in a configuration, and the default choice for a molecule."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import mdtraj

from mdinsight.errors import ParameterError, TopologyError
from mdinsight.features._alignment import RMSD, Positions
from mdinsight.features._angles import Angles
from mdinsight.features._base import Feature, Features
from mdinsight.features._contacts import Contacts
from mdinsight.features._distances import Distances
from mdinsight.features._mdtraj import SASA, HydrogenBonds, SecondaryStructure
from mdinsight.features._shape import RadiusOfGyration
from mdinsight.features._torsions import Torsions

KINDS: dict[str, Callable[..., Feature]] = {
    "torsions": Torsions,
    "distances": Distances,
    "contacts": Contacts,
    "angles": Angles,
    "rmsd": RMSD,
    "positions": Positions,
    "radius_of_gyration": RadiusOfGyration,
    "sasa": SASA,
    "hydrogen_bonds": HydrogenBonds,
    "secondary_structure": SecondaryStructure,
}
_MOST_ATOMS = 60
"""Up to here all pairs of heavy atoms are few enough to be the default of a molecule without a backbone."""


def from_names(specification: Sequence[str | dict[str, Any]]) -> Features:
    """The feature set that a configuration names.

    Parameters
    ----------
    specification
        Entries such as ``"torsions"``, ``{"torsions": "phi psi"}`` or ``{"contacts": {"scheme": "ca"}}``.

    Raises
    ------
    ParameterError
        If the list is empty, or a kind or one of its arguments is not known (with the nearest known one).
    """
    entries = [pair for entry in specification for pair in ({entry: None} if isinstance(entry, str) else entry).items()]
    if not entries:
        raise ParameterError("features is an empty list; name at least one kind, or write 'auto'")
    return Features(tuple(_feature(name, arguments) for name, arguments in entries))


def default_for(topology: mdtraj.Topology) -> Features:
    """The default: backbone torsions and chi1 of a peptide or protein, all heavy-atom distances of another small molecule.

    Raises
    ------
    ParameterError
        If neither is at hand; the message says to name the features.
    """
    present = [name for name in ("phi", "psi", "chi1") if _has_torsion(topology, name)]
    if "phi" in present or "psi" in present:
        return Features((Torsions(" ".join(present)),))
    solute = [
        a.index for a in topology.atoms if not a.residue.is_water and a.element is not None and a.element.number > 1
    ]
    if 2 <= len(solute) <= _MOST_ATOMS:
        return Features((Distances("not water and mass > 2"),))
    raise ParameterError(
        f"no default features for {topology}: it has no backbone torsions and {len(solute)} heavy atoms; name some, "
        f"e.g. features: [{{distances: 'name CA'}}] (kinds: {', '.join(KINDS)})"
    )


def _has_torsion(topology: mdtraj.Topology, name: str) -> bool:
    try:
        return bool(Torsions(name).columns(topology))
    except TopologyError:
        return False


def _feature(name: str, arguments: Any) -> Feature:
    kind = KINDS.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, KINDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the kinds are {', '.join(KINDS)}"
        raise ParameterError(f"features: {name!r} is not a kind of feature; {hint}")
    signature = inspect.signature(kind)
    known = list(signature.parameters)
    needed = [key for key, parameter in signature.parameters.items() if parameter.default is inspect.Parameter.empty]
    if not isinstance(arguments, dict):
        given = () if arguments is None else (arguments,)
        if len(needed) > len(given):
            raise ParameterError(f"features.{name} needs {needed[0]}; write {name}: {{{needed[0]}: ...}}")
        return kind(*given)
    for key in arguments:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known) or 'none'}"
            raise ParameterError(f"features.{name}: {key!r} is not an argument; {hint}")
    missing = [key for key in needed if key not in arguments]
    if missing:
        raise ParameterError(f"features.{name} needs {missing[0]}; write {name}: {{{missing[0]}: ...}}")
    return kind(**arguments)
