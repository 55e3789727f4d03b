"""Adaptive: the loop. Learn a coordinate, bias along it, choose where next, until the rare states are found and weighed.

>>> plan = Plan(system=System.from_pdb("molecule.pdb", solvent="obc2"))  # doctest: +SKIP
>>> run = open("runs/molecule", plan)  # doctest: +SKIP
>>> run.advance(budget="20 ns")  # doctest: +SKIP
>>> print(run.states())  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdinsight.adaptive._dask import dask_executor
    from mdinsight.adaptive._ensemble import WeightedEnsemble, bins_of, resample
    from mdinsight.adaptive._explore import Exploration, Hot, Plain, Pushed
    from mdinsight.adaptive._frames import Frames
    from mdinsight.adaptive._frontier import Frontier
    from mdinsight.adaptive._history import Decision, History, Piece
    from mdinsight.adaptive._isomers import Isomers
    from mdinsight.adaptive._kinetics import Kinetics, Strata
    from mdinsight.adaptive._learn import Metastable
    from mdinsight.adaptive._plan import Learner, Plan, Stop
    from mdinsight.adaptive._planfile import PlanFile
    from mdinsight.adaptive._policies import FAST, Diverse, Equilibrium, LeastCounts, Stratified
    from mdinsight.adaptive._policy import Policy
    from mdinsight.adaptive._rounds import End
    from mdinsight.adaptive._run import Run, look, open
    from mdinsight.adaptive._states import States
    from mdinsight.adaptive._status import Status
    from mdinsight.adaptive._uncertainty import EigenvalueVariance, Uncertainty, eigenvalue_variance
    from mdinsight.adaptive._walkers import Ensemble, Iteration, PassageTime, mfpt, weighted_ensemble

__all__ = [
    "FAST",
    "Decision",
    "Diverse",
    "EigenvalueVariance",
    "End",
    "Ensemble",
    "Equilibrium",
    "Exploration",
    "Frames",
    "Frontier",
    "History",
    "Hot",
    "Isomers",
    "Iteration",
    "Kinetics",
    "Learner",
    "LeastCounts",
    "Metastable",
    "PassageTime",
    "Piece",
    "Plain",
    "Plan",
    "PlanFile",
    "Policy",
    "Pushed",
    "Run",
    "States",
    "Status",
    "Stop",
    "Strata",
    "Stratified",
    "Uncertainty",
    "WeightedEnsemble",
    "bins_of",
    "dask_executor",
    "eigenvalue_variance",
    "look",
    "mfpt",
    "open",
    "resample",
    "weighted_ensemble",
]

_HOMES = {
    "_dask": "dask_executor",
    "_ensemble": "WeightedEnsemble bins_of resample",
    "_explore": "Exploration Hot Plain Pushed",
    "_frames": "Frames",
    "_frontier": "Frontier",
    "_history": "Decision History Piece",
    "_isomers": "Isomers",
    "_kinetics": "Kinetics Strata",
    "_learn": "Metastable",
    "_plan": "Learner Plan Stop",
    "_planfile": "PlanFile",
    "_policies": "FAST Diverse Equilibrium LeastCounts Stratified",
    "_policy": "Policy",
    "_rounds": "End",
    "_run": "Run look open",
    "_states": "States",
    "_status": "Status",
    "_uncertainty": "EigenvalueVariance Uncertainty eigenvalue_variance",
    "_walkers": "Ensemble Iteration PassageTime mfpt weighted_ensemble",
}


def __getattr__(name: str) -> Any:
    """Load a part when it is first used: who only looks how far a run is does not wait for what simulates and learns."""
    home = next((home for home, names in _HOMES.items() if name in names.split()), None)
    if home is None:
        raise AttributeError(f"module 'mdinsight.adaptive' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mdinsight.adaptive.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
