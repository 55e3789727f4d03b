"""What ``make demo`` says of alanine dipeptide, against a direct count on (phi, psi) that uses nothing of mdinsight.

The count: mdtraj's torsions on a grid of 15 degrees, transitions counted at the model's lag in each trajectory and symmetrised
(detailed balance), eigenvalues of the count; its interval is a bootstrap over trajectories. C7ax (phi > 0), which is left but
never entered, is not part of it, as it is not part of the model.
"""

import mdtraj
import numpy as np
import pytest

from mdinsight.analysis import Config, run

BINS = 24


@pytest.fixture(scope="module")
def torsions(examples):
    files = sorted((examples / "ala2").glob("*.xtc"))
    pairs = []
    for file in files:
        frames = mdtraj.load(str(file), top=str(examples / "ala2/top.pdb"))
        pairs.append(np.column_stack([mdtraj.compute_phi(frames)[1][:, 0], mdtraj.compute_psi(frames)[1][:, 0]]))
    return pairs


@pytest.fixture(scope="module")
def grid(torsions):
    """The cell of each frame; -1 in C7ax, which lies at 0 < phi < 130 degrees."""
    cells = []
    for pair in torsions:
        i, j = (np.clip(((pair.T + np.pi) / (2 * np.pi) * BINS).astype(int), 0, BINS - 1)).tolist()
        cell = np.array(i) * BINS + np.array(j)
        cells.append(np.where((pair[:, 0] > 0) & (pair[:, 0] < 2.27), -1, cell))
    return cells


def counted(cells, lag):
    count = np.zeros((BINS**2, BINS**2))
    for cell in cells:
        start, end = cell[:-lag], cell[lag:]
        inside = (start >= 0) & (end >= 0)
        np.add.at(count, (start[inside], end[inside]), 1)
    count = count + count.T
    seen = count.sum(axis=1) > 0
    return count[np.ix_(seen, seen)], np.flatnonzero(seen)


def slowest(cells, lag, dt):
    count, _ = counted(cells, lag)
    root = np.sqrt(count.sum(axis=1))
    values = np.linalg.eigvalsh(count / root[:, None] / root)
    return -lag * dt / np.log(values[-2])


def bootstrap(function, items, n=60):
    rng = np.random.default_rng(3)
    drawn = [function([items[i] for i in rng.integers(len(items), size=len(items))]) for _ in range(n)]
    return np.quantile(drawn, [0.025, 0.975])


def test_the_timescale_is_that_of_the_direct_count(examples, grid):
    """With all four coordinates: the two that are chosen by default lose 2 % of this fast process."""
    files = {"files": [str(examples / "ala2/*.xtc")], "top": str(examples / "ala2/top.pdb")}
    analysis = run(Config.parse({"trajectories": files, "cv": {"lag": 1, "dim": 4}}))
    lag, dt = analysis.model.lag, analysis.model.dt
    low, high = bootstrap(lambda cells: slowest(cells, lag, dt), grid)
    found = analysis.model.timescales(1)[0]
    assert found.low <= high and low <= found.high, (str(found), low, high)
    assert float(found.value) == pytest.approx(slowest(grid, lag, dt), rel=0.05)


def in_c5(pair):
    """C5 against C7eq: the barrier along psi lies near 120 degrees, and C5 reaches over the edge at 180."""
    return (pair[:, 1] > np.radians(115)) | (pair[:, 1] < np.radians(-120))


def test_the_populations_are_those_of_the_direct_count(analysis, torsions, grid):
    inside = [cell >= 0 for cell in grid]
    counts = [(np.sum(in_c5(pair) & ok), np.sum(ok)) for pair, ok in zip(torsions, inside, strict=True)]
    low, high = bootstrap(lambda picked: sum(a for a, _ in picked) / max(1, sum(b for _, b in picked)), counts, 500)
    states = np.concatenate([array[:, 0] for array in analysis.dtrajs])
    flags = np.concatenate([in_c5(pair) for pair in torsions])
    share = np.array([flags[states == state].mean() for state in analysis.model.active_states])
    samples = analysis.model.sample_distributions @ share
    ours = np.quantile(samples, [0.025, 0.975])
    assert ours[0] <= high and low <= ours[1], (ours, low, high)
    assert float(analysis.model.stationary_distribution @ share) == pytest.approx(
        sum(a for a, _ in counts) / sum(b for _, b in counts), abs=0.01
    )


def test_the_rare_state_is_named_and_not_weighed(analysis, torsions):
    """C7ax is left but never entered: the model leaves it out and says which files it is in and what to do."""
    states = np.concatenate([array[:, 0] for array in analysis.dtrajs])
    phi = np.concatenate([pair[:, 0] for pair in torsions])
    rare = (phi > 0.5) & (phi < 1.8)
    assert rare.sum() > 10_000
    assert np.isin(states[rare], analysis.model.active_states).mean() < 0.01
    verdict = next(v for v in analysis.model.verdicts() if v.subject == "connected set")
    assert not verdict.holds
    for part in ("left but never entered", "ala2-02.xtc", "ala2-10.xtc", "start new trajectories"):
        assert part in verdict.says + verdict.remedy


def test_the_coordinates_are_made_of_the_torsions_of_the_alanine(analysis):
    meaning = analysis.cv.explain(4).coordinates
    assert meaning[0].features[0].name == "sin phi ALA2"  # TIC 1: phi, into C7ax
    assert meaning[0].residues[0].name == "ALA2"
