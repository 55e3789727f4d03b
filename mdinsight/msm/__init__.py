"""Markov models: discrete trajectories to timescales, populations and rates, each with an interval.

>>> model = mdi.msm.BayesianMSM(lag="20 ps", seed=7).fit(dtrajs).model
>>> print(model.summary())
"""

from __future__ import annotations

from mdinsight.msm._chapman import ChapmanKolmogorov, chapman_kolmogorov
from mdinsight.msm._connectivity import Connectivity, Gap
from mdinsight.msm._estimators import BayesianMSM, MaximumLikelihoodMSM
from mdinsight.msm._flux import Flux, Pathway
from mdinsight.msm._hidden import HiddenMarkovModel, HiddenMSM
from mdinsight.msm._implied import ImpliedTimescales, implied_timescales
from mdinsight.msm._macrostates import Macrostates
from mdinsight.msm._markov import MarkovModel
from mdinsight.msm._passage import committor
from mdinsight.msm._structures import write_structures
from mdinsight.msm._surface import FreeEnergySurface, free_energy_surface
from mdinsight.msm._swarm_model import SwarmModel, SwarmTimescales, swarm_model, swarm_timescales
from mdinsight.msm._swarm_passage import Passage, swarm_passage
from mdinsight.msm._swarm_paths import Swarms, swarms
from mdinsight.msm._swarm_weights import StratumWeights, stratum_weights

__all__ = [
    "BayesianMSM",
    "ChapmanKolmogorov",
    "Connectivity",
    "Flux",
    "FreeEnergySurface",
    "Gap",
    "HiddenMSM",
    "HiddenMarkovModel",
    "ImpliedTimescales",
    "Macrostates",
    "MarkovModel",
    "MaximumLikelihoodMSM",
    "Passage",
    "Pathway",
    "StratumWeights",
    "SwarmModel",
    "SwarmTimescales",
    "Swarms",
    "chapman_kolmogorov",
    "committor",
    "free_energy_surface",
    "implied_timescales",
    "stratum_weights",
    "swarm_model",
    "swarm_passage",
    "swarm_timescales",
    "swarms",
    "write_structures",
]
