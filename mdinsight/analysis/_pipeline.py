"""The whole row: trajectories, features, coordinates, states, model; every choice that is left open is made and explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdinsight import cvs, features, msm, states, trajectories, units
from mdinsight.analysis._config import Config
from mdinsight.errors import DegenerateError, LagError, ParameterError
from mdinsight.progress import Progress
from mdinsight.results import Estimate, Verdict
from mdinsight.series import TimeSeries
from mdinsight.words import counted

OnStep = Callable[[str], None]


@dataclass(frozen=True)
class Analysis:
    """All that an analysis found, each part the object that its room made.

    Attributes
    ----------
    config
        What was asked for.
    trajectories, features, series
        The data set, the frozen features, and their values (n_frames, n_features) for each trajectory.
    scan
        Scores of the coordinates by lag and dimension; None where both were given (or for PCA).
    cv, coordinates
        The frozen coordinates and their values (n_frames, dim) for each trajectory.
    dtrajs
        State numbers of each frame; ``dtrajs.definition`` is the frozen clustering.
    timescales
        Implied timescales against the lag.
    model, macrostates, chapman_kolmogorov
        The Bayesian Markov model, its long-lived states, and its test; the latter two are None where there is no slow process.
    surface
        Free energy over the first two coordinates.
    flux
        Reactive flux from the more to the less populated end of the slowest process; None where there are no macrostates.
    temperature
        In K.
    """

    config: Config
    trajectories: trajectories.Trajectories
    features: features.Features
    series: TimeSeries
    scan: cvs.Scan | None
    cv: cvs.CVModel
    coordinates: TimeSeries
    dtrajs: TimeSeries
    timescales: msm.ImpliedTimescales
    model: msm.MarkovModel
    macrostates: msm.Macrostates | None
    chapman_kolmogorov: msm.ChapmanKolmogorov | None
    surface: msm.FreeEnergySurface
    flux: msm.Flux | None
    temperature: float

    def parts(self) -> tuple[Any, ...]:
        """The parts in the order of the row, as :func:`mdinsight.report.write` takes them; what is absent is left out."""
        row = (
            self.trajectories,
            self.features,
            self.scan,
            self.cv,
            self.coordinates,
            self.surface,
            self.timescales,
            self.model,
            self.macrostates,
            self.flux,
            self.chapman_kolmogorov,
        )
        return tuple(part for part in row if part is not None)

    def verdicts(self) -> tuple[Verdict, ...]:
        """Whether each step holds, in the order of the row."""
        found: list[Verdict] = [] if self.scan is None else [self.scan.verdict]
        for part in (self.timescales, self.model, self.macrostates, self.chapman_kolmogorov):
            if part is not None:
                found.extend(part.verdicts())
        return tuple(found)

    def free_energies(self) -> Estimate | None:
        """Free energy of each macrostate above the most populated one, in kJ/mol, (n,)."""
        if self.macrostates is None:
            return None
        return free_energies(self.model, self.macrostates, self.temperature)

    def summary(self) -> str:
        """The result in words."""
        from mdinsight.analysis._summary import text

        return text(self)


def free_energies(model: msm.MarkovModel, macrostates: msm.Macrostates, temperature: float) -> Estimate:
    """-RT ln(p_i / p_0) with the interval over the model's samples, in kJ/mol; macrostate 0 is the most populated."""

    def above_first(populations: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return -units.GAS_CONSTANT * temperature * np.log(populations / populations[..., :1])

    samples = model.sample_distributions @ macrostates.memberships
    return Estimate.from_samples(above_first(macrostates.populations.value), above_first(samples), "kJ/mol")


def run(config: Config, on_step: OnStep | None = None, progress: Progress = False) -> Analysis:
    """Run the whole row.

    Parameters
    ----------
    config
        What to do; everything but the files has a default.
    on_step
        Called with a line of text as each step begins or has made a choice.
    progress
        False, True (bars) or anything called as ``tqdm``.

    Raises
    ------
    MdinsightError
        Of the room where the data do not allow the step.
    """
    if not isinstance(config, Config):
        raise ParameterError(
            f"run needs a Config, got a {type(config).__name__}; make one with Config.parse or Config.read"
        )
    say = on_step or (lambda text: None)
    temperature = units.temperature(config.temperature)
    trajs = _open(config, progress)
    _check_lags(config, trajs)
    say(f"opened {counted(len(trajs), 'trajectory')}, {trajs.n_frames} frames")
    feats, series = _features_of(config, trajs, progress)
    say(f"computed {counted(series.n_columns, 'feature')}")
    estimator, found = _coordinates(config, series, progress)
    cv = estimator.fit(series).model
    coordinates = cv.transform(series)
    say(_chosen(cv))
    dtrajs = _cluster(config, coordinates)
    say(f"assigned {dtrajs.definition.n_states} states")  # type: ignore[union-attr]
    timescales, lag = _msm_lag(config, dtrajs, progress)
    say(f"Markov model at lag {units.format_lag(lag, dtrajs.dt)}")
    model = msm.BayesianMSM(lag=lag, n_samples=config.msm.samples, seed=config.seed).fit(dtrajs).model
    macrostates = _macrostates(config, model)
    test = None if macrostates is None else msm.chapman_kolmogorov(model, dtrajs, macrostates.n)
    if test is not None:
        say(f"found {macrostates.n} long-lived states")  # type: ignore[union-attr]
    surface = msm.free_energy_surface(
        coordinates.select(*coordinates.names[:2]),
        temperature=temperature,
        seed=config.seed,
        model=model,
        dtrajs=dtrajs,
    )
    return Analysis(
        config=config,
        trajectories=trajs,
        features=feats,
        series=series,
        scan=found,
        cv=cv,
        coordinates=coordinates,
        dtrajs=dtrajs,
        timescales=timescales,
        model=model,
        macrostates=macrostates,
        chapman_kolmogorov=test,
        surface=surface,
        flux=None if macrostates is None else _slowest_flux(model, macrostates),
        temperature=temperature,
    )


def _open(config: Config, progress: Progress) -> trajectories.Trajectories:
    given = config.trajectories
    top: Any = list(given.top) if isinstance(given.top, tuple) else given.top
    return trajectories.open(
        list(given.files),
        top=top,
        stride=given.stride,
        start=given.start,
        stop=given.stop,
        dt=given.dt,
        resample=given.resample,
        progress=progress,
    )


def _check_lags(config: Config, trajs: trajectories.Trajectories) -> None:
    """Refuse a lag that cannot be, before the expensive work."""
    longest = max(t.n_frames for t in trajs)
    for name, lag in (("cv.lag", config.cv.lag), ("msm.lag", config.msm.lag)):
        if lag != "auto" and units.lag_frames(lag, trajs.dt, name) >= longest:
            raise LagError(
                f"{name}={lag!r} is not shorter than the longest trajectory ({units.format_lag(longest, trajs.dt)}); "
                "take a shorter lag, a smaller stride or longer trajectories"
            )
    if longest < 2:
        raise LagError("every trajectory is a single frame; take a smaller stride, or longer trajectories")


def _features_of(
    config: Config, trajs: trajectories.Trajectories, progress: Progress
) -> tuple[features.Features, TimeSeries]:
    chosen = (
        features.default_for(trajs.topologies[0]) if config.features == "auto" else features.from_names(config.features)
    )
    return chosen, chosen.transform(trajs, workers=config.workers, progress=progress)


def lag_candidates(series: TimeSeries, most: int = 8) -> list[int]:
    """Lags from one frame up to a fifth of the median trajectory, in even ratios."""
    longest = max(1, int(np.median([len(array) for array in series])) // 5)
    return sorted({round(lag) for lag in np.geomspace(1, min(longest, 500), most)})


def _coordinates(config: Config, series: TimeSeries, progress: Progress) -> tuple[Any, cvs.Scan | None]:
    """The estimator with lag and dimension as given, or as the scan chose them, and the scan."""
    given = config.cv
    if given.method == "pca":
        return cvs.PCA(dim=2 if given.dim == "auto" else given.dim), None
    if given.method == "vampnet":
        lag: Any = lag_candidates(series)[:2][-1] if given.lag == "auto" else given.lag
        return cvs.VAMPNet(lag=lag, dim=2 if given.dim == "auto" else given.dim, seed=config.seed), None
    kind = {"tica": cvs.TICA, "vamp": cvs.VAMP}[given.method]
    if given.lag != "auto" and given.dim != "auto":
        return kind(lag=given.lag, dim=given.dim), None
    lags: Sequence[Any] = lag_candidates(series) if given.lag == "auto" else [given.lag]
    if (
        given.lag == "auto" and len(series) < given.folds
    ):  # folds are blocks then, each longer than the lag, a lag apart
        lags = [lag for lag in lags if 5 * given.folds * lag <= series.n_frames] or lags[:1]
    dims = range(1, min(10, series.n_columns) + 1) if given.dim == "auto" else [given.dim]
    found = cvs.scan(kind(lag=lags[0]), series, lags, dims, given.folds, config.seed, config.workers, progress)
    # A plane is what a figure shows and costs the discretisation little, so one coordinate alone is not taken by default.
    dim = max(found.dim, min(2, series.n_columns)) if given.dim == "auto" else given.dim
    return kind(lag=found.lag, dim=dim), found


def _chosen(cv: cvs.CVModel) -> str:
    if cv.lag == 0:
        return f"{cv.kind} with {counted(cv.dim, 'coordinate')}"
    return f"{cv.kind} with {counted(cv.dim, 'coordinate')} at lag {units.format_lag(cv.lag, cv.dt)}"


def _cluster(config: Config, coordinates: TimeSeries) -> TimeSeries:
    """The states; by default as many as the square root of the number of frames, from 20 to 200."""
    given = config.states
    if given.method == "regular" and given.dmin is not None:
        most = 1000 if given.n == "auto" else given.n
        return states.RegularSpace(dmin=given.dmin, max_states=most).fit_transform(coordinates)
    n = _number_of_states(coordinates) if given.n == "auto" else given.n
    kind = states.KMeans if given.method == "kmeans" else states.MiniBatchKMeans
    return kind(n, seed=config.seed).fit_transform(coordinates)


def _number_of_states(coordinates: TimeSeries) -> int:
    """The square root of the number of frames, from 20 to 200, but no more than a fifth of the distinct points."""
    rows = coordinates.concatenated()
    distinct = len(np.unique(rows[:: max(1, len(rows) // 20_000)], axis=0))
    most = distinct if distinct < 20 else max(20, distinct // 5)
    return max(2, min(int(np.clip(np.sqrt(len(rows)), 20, 200)), most))


def _msm_lag(config: Config, dtrajs: TimeSeries, progress: Progress) -> tuple[msm.ImpliedTimescales, int]:
    found = msm.implied_timescales(
        dtrajs, lag_candidates(dtrajs), seed=config.seed, workers=config.workers, progress=progress
    )
    return found, found.choose_lag() if config.msm.lag == "auto" else dtrajs.lag_frames(config.msm.lag, "msm.lag")


def _macrostates(config: Config, model: msm.MarkovModel) -> msm.Macrostates | None:
    """The long-lived states; by default None where no process is slower than the lag."""
    if config.msm.macrostates != "auto":
        return model.pcca(config.msm.macrostates)
    if model.n_states < 2 or not float(model.timescales(1).value[0]) > model.step:
        return None
    try:
        return model.pcca()
    except DegenerateError:
        return None


def _slowest_flux(model: msm.MarkovModel, macrostates: msm.Macrostates) -> msm.Flux:
    """Between the cores of the two macrostates that the slowest process separates most."""
    low, high = (np.searchsorted(macrostates.active_states, end) for end in model.slowest_ends())
    weights = macrostates.memberships * model.stationary_distribution[:, None]
    lean = (weights[high].sum(axis=0) - weights[low].sum(axis=0)) / weights.sum(axis=0)
    source, target = int(np.argmin(lean)), int(np.argmax(lean))
    if macrostates.populations.value[source] < macrostates.populations.value[target]:
        source, target = target, source
    return model.tpt(macrostates.cores[source], macrostates.cores[target])
