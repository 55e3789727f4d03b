"""Figures: each takes a frozen model and ``ax=``, draws with units and intervals, and returns the axes.

>>> ax = mdi.plots.implied_timescales(mdi.msm.implied_timescales(dtrajs))
>>> ax.figure.savefig("timescales.png")
"""

from mdinsight.plots._bias import bias_in_time, bias_potential, biased_run, convergence, overlap
from mdinsight.plots._coordinates import coordinate_timescales, explanation, scores, traces, training
from mdinsight.plots._kinetics import chapman_kolmogorov, exchange, implied_timescales, populations, spectrum
from mdinsight.plots._landscape import committor, free_energy, free_energy_error, states_on_plane
from mdinsight.plots._loop import rounds, walkers
from mdinsight.plots._states import passage_times, run_surface, state_populations

__all__ = [
    "bias_in_time",
    "bias_potential",
    "biased_run",
    "chapman_kolmogorov",
    "committor",
    "convergence",
    "coordinate_timescales",
    "exchange",
    "explanation",
    "free_energy",
    "free_energy_error",
    "implied_timescales",
    "overlap",
    "passage_times",
    "populations",
    "rounds",
    "run_surface",
    "scores",
    "spectrum",
    "state_populations",
    "states_on_plane",
    "traces",
    "training",
    "walkers",
]
