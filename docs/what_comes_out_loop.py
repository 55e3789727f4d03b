"""Draw docs/what_comes_out_loop.png: four figures of the run that README.md shows.

mdinsight sample example_trajs/ala2/top.pdb --forcefield amber99sb --solvent vacuum --seed 1 --out ala2
python docs/what_comes_out_loop.py ala2
"""

import sys
from pathlib import Path

from matplotlib import pyplot

from mdinsight import adaptive, plots

ROOT = Path(__file__).resolve().parent.parent


def main(folder: str) -> None:
    """Draw what a run has found."""
    run = adaptive.look(folder)
    states = run.states()
    figure = pyplot.figure(figsize=(11, 6.6), layout="constrained")
    above, below = figure.subfigures(2, 1)
    plots.rounds(run, ax=above.subplots()).set_title("how it went", loc="left")
    surface, energies, times = below.subplots(1, 3)
    plots.run_surface(states, ax=surface).set_title("where the states are", loc="left")
    plots.state_populations(states, ax=energies).set_title("how rare they are", loc="left")
    energies.legend(loc="upper left", fontsize="x-small")
    plots.passage_times(states, ax=times).set_title("how long a change takes", loc="left")
    figure.savefig(ROOT / "docs/what_comes_out_loop.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main(sys.argv[1])
