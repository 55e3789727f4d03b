"""What ``make demo`` says of alanine dipeptide, against direct counts on (phi, psi) that use nothing of mdinsight.

The rare process, into C7ax (phi > 0) and out of it: transitions between two cores, divided by the time spent. The fast one,
C7eq to C5: mdtraj's torsions on a grid of 15 degrees, transitions counted in each trajectory and symmetrised (detailed
balance), the eigenvalues of the count, and a bootstrap over trajectories.
"""

import mdtraj
import numpy as np
import pytest

from mdinsight import cvs, features, msm, states, trajectories

BINS = 24
GAS_CONSTANT = 8.31446e-3  # kJ/mol/K


def torsions(folder):
    """(phi, psi) of each trajectory, by mdtraj."""
    pairs = []
    for file in sorted(folder.glob("*.xtc")):
        frames = mdtraj.load(str(file), top=str(folder / "top.pdb"))
        pairs.append(np.column_stack([mdtraj.compute_phi(frames)[1][:, 0], mdtraj.compute_psi(frames)[1][:, 0]]))
    return pairs


@pytest.fixture(scope="module")
def slow(examples):
    return torsions(examples / "ala2")


@pytest.fixture(scope="module")
def fast(examples):
    return torsions(examples / "ala2_fast")


def in_c7ax(pair):
    return (pair[:, 0] > 0) & (pair[:, 0] < np.radians(130))


@pytest.fixture(scope="module")
def direct(slow):
    """Events into C7ax and out of it, and the time (ps) spent outside and inside; cores keep recrossings out."""
    into, out, outside, inside = 0, 0, 0.0, 0.0
    for pair in slow:
        core = np.where(
            (pair[:, 0] > 0.6) & (pair[:, 0] < 1.7), 1, np.where((pair[:, 0] < -0.6) | (pair[:, 0] > 2.6), 0, -1)
        )
        visits = core[core >= 0]
        into += int(np.sum(np.diff(visits) == 1))
        out += int(np.sum(np.diff(visits) == -1))
        inside += 16.0 * in_c7ax(pair).sum()
        outside += 16.0 * (~in_c7ax(pair)).sum()
    return into, out, outside, inside


def rates(direct, n=20_000):
    """Draws of both rates, 1/ps: the posterior of a Poisson process given its events and its time."""
    into, out, outside, inside = direct
    rng = np.random.default_rng(5)
    return rng.gamma(into, 1 / outside, n), rng.gamma(out, 1 / inside, n)


def overlap(estimate, draws):
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(estimate.low) <= high and low <= float(estimate.high)


def test_the_events_are_those_of_the_direct_count(analysis, direct):
    into, out, _, _ = direct
    assert (into, out) == (1, 2)
    assert analysis.macrostates.n == 2
    assert analysis.macrostates.crossings.tolist() == [[0, into], [out, 0]]


def test_the_timescale_is_that_of_the_direct_count(analysis, direct):
    k_in, k_out = rates(direct)
    found = analysis.model.timescales(1)[0]
    assert overlap(found, 1 / (k_in + k_out))
    into, out, outside, inside = direct
    expected = 1 / (into / outside + out / inside)
    assert float(found.low) < expected < float(found.high)
    assert float(found.value) == pytest.approx(expected, rel=0.2)


def test_the_exchange_times_are_those_of_the_direct_count(analysis, direct):
    k_in, k_out = rates(direct)
    mfpt = analysis.macrostates.mfpt
    assert overlap(mfpt[0, 1], 1 / k_in) and overlap(mfpt[1, 0], 1 / k_out)


def test_the_population_is_that_of_the_direct_count(analysis, direct):
    k_in, k_out = rates(direct)
    share = k_in / (k_in + k_out)
    found = analysis.macrostates.populations[1]
    assert overlap(found, share)
    into, out, outside, inside = direct
    assert float(found.low) < (into / outside) / (into / outside + out / inside) < float(found.high)


def test_the_published_free_energy_lies_in_the_interval(analysis):
    """9.97 +- 0.23 kJ/mol with OPES, 9.54 +- 0.50 with metadynamics (Invernizzi and Parrinello, 10.1021/acs.jpclett.0c00497)."""
    found = analysis.free_energies()[1]
    assert found.unit == "kJ/mol"
    assert float(found.low) < 9.54 < float(found.high) and float(found.low) < 9.97 < float(found.high)
    population = float(analysis.macrostates.populations.value[1])
    assert float(found.value) == pytest.approx(-GAS_CONSTANT * 300 * np.log(population / (1 - population)), rel=1e-4)


def test_what_rests_on_one_event_is_said_to(analysis):
    """The one thing wrong with these data, and nothing else."""
    failing = [verdict for verdict in analysis.verdicts() if not verdict.holds]
    assert failing and all("one event" in verdict.says or "1 event" in verdict.says for verdict in failing)
    assert all("more trajectories" in verdict.remedy for verdict in failing)


def test_the_slow_coordinate_is_phi(analysis, slow):
    assert analysis.cv.explain(4).coordinates[0].features[0].name == "sin phi ALA2"
    rare = np.concatenate([in_c7ax(pair) for pair in slow])
    assigned = np.concatenate(analysis.macrostates.assign(analysis.dtrajs))
    assert (assigned == rare).mean() > 0.999


def counted(cells, lag):
    count = np.zeros((BINS**2, BINS**2))
    for cell in cells:
        start, end = cell[:-lag], cell[lag:]
        inside = (start >= 0) & (end >= 0)
        np.add.at(count, (start[inside], end[inside]), 1)
    count = count + count.T
    seen = count.sum(axis=1) > 0
    return count[np.ix_(seen, seen)]


def slowest(cells, lag, dt):
    count = counted(cells, lag)
    root = np.sqrt(count.sum(axis=1))
    return -lag * dt / np.log(np.linalg.eigvalsh(count / root[:, None] / root)[-2])


def bootstrap(function, items, n):
    rng = np.random.default_rng(3)
    drawn = [function([items[i] for i in rng.integers(len(items), size=len(items))]) for _ in range(n)]
    return np.quantile(drawn, [0.025, 0.975])


@pytest.fixture(scope="module")
def fast_model(examples):
    """C7eq and C5 alone: the trajectories that never were in C7ax."""
    trajs = trajectories.open(examples / "ala2_fast/*.xtc", top=examples / "ala2_fast/top.pdb")
    X = features.Torsions("phi psi").transform(trajs)
    X = X.take([i for i, array in enumerate(X) if (array[:, X.names.index("sin phi ALA2")] < 0.5).all()])
    Y = cvs.TICA(lag="1 ps", dim=4).fit_transform(X)
    dtrajs = states.KMeans(200, seed=7).fit_transform(Y)
    return X, dtrajs, msm.BayesianMSM(lag="2 ps", seed=7).fit(dtrajs).model


def test_the_fast_process_is_that_of_the_direct_count(fast, fast_model):
    X, _, model = fast_model
    kept = [pair for pair in fast if not in_c7ax(pair).any()]
    assert len(kept) == len(X) >= 6
    cells = [
        np.ravel_multi_index((((pair.T + np.pi) / (2 * np.pi) * BINS).astype(int) % BINS), (BINS, BINS))
        for pair in kept
    ]
    low, high = bootstrap(lambda picked: slowest(picked, model.lag, model.dt), cells, 40)
    found = model.timescales(1)[0]
    assert found.low <= high and low <= found.high
    assert float(found.value) == pytest.approx(slowest(cells, model.lag, model.dt), rel=0.03)


def in_c5(pair):
    """C5 against C7eq: the barrier along psi lies near 115 degrees, and C5 reaches over the edge at 180."""
    return (pair[:, 1] > np.radians(115)) | (pair[:, 1] < np.radians(-120))


def test_the_fast_populations_are_those_of_the_direct_count(fast, fast_model):
    _, dtrajs, model = fast_model
    kept = [pair for pair in fast if not in_c7ax(pair).any()]
    low, high = bootstrap(lambda picked: np.mean(np.concatenate(picked)), [in_c5(pair) for pair in kept], 500)
    flags, numbers = np.concatenate([in_c5(pair) for pair in kept]), dtrajs.concatenated()[:, 0]
    share = np.array([flags[numbers == state].mean() for state in model.active_states])
    ours = np.quantile(model.sample_distributions @ share, [0.025, 0.975])
    assert ours[0] <= high and low <= ours[1]
    assert float(model.stationary_distribution @ share) == pytest.approx(flags.mean(), abs=0.01)
