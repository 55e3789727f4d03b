"""Draw docs/what_comes_out.png: four figures of the analysis that ``make demo`` runs."""

from pathlib import Path

from matplotlib import pyplot

from mdinsight import analysis, plots

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Analyse alanine dipeptide and draw."""
    files = {"files": [str(ROOT / "example_trajs/ala2/*.xtc")], "top": str(ROOT / "example_trajs/ala2/top.pdb")}
    found = analysis.run(analysis.Config.parse({"trajectories": files}))
    figure, panels = pyplot.subplots(2, 2, figsize=(9.5, 7.4), layout="constrained")
    plots.free_energy(found.surface, ax=panels[0, 0]).set_title("where it is", loc="left")
    plots.implied_timescales(found.timescales, found.model.lag, ax=panels[0, 1]).set_title("how slow", loc="left")
    plots.states_on_plane(found.coordinates, found.macrostates, found.dtrajs, ax=panels[1, 0])
    panels[1, 0].set_title("long-lived states", loc="left")
    plots.exchange(found.macrostates, ax=panels[1, 1]).set_title("their weight and exchange", loc="left")
    figure.savefig(ROOT / "docs/what_comes_out.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
