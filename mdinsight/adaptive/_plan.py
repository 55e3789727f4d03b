"""The plan of a run: frozen, validated, echoed into the run, and compared when the run is taken up again."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from mdinsight import cvs, units
from mdinsight.adaptive._ensemble import WeightedEnsemble
from mdinsight.adaptive._explore import Exploration, Hot, Plain
from mdinsight.adaptive._policies import LeastCounts
from mdinsight.adaptive._policy import Policy
from mdinsight.bias import OPES, Potential
from mdinsight.engine import System
from mdinsight.errors import MdinsightError, ParameterError, PlanError
from mdinsight.features import Definition, Features, default_for
from mdinsight.records import Model, Record, plain
from mdinsight.words import some

FRAMES_PER_LAG = 10
SHARE = 0.2
"""Part of the budget that the last swarms of a biased run get, half of it for the first of their two rounds."""
LEARNERS = ("TICA", "VAMP", "VAMPNet")
_MANY_RESIDUES = 12
"""More residues than these are not heated by default: what unfolds at 1500 K is not found again at 300 K."""


class Learner(Record):
    """A kind of coordinate and its parameters: what makes a fresh estimator for every round.

    Parameters
    ----------
    kind
        ``"TICA"``, ``"VAMP"`` or ``"VAMPNet"``.
    parameters
        Of that class. What is left out has its default there, but ``lag`` and ``dim``, which are then chosen; ``seed`` is the
        plan's. So a learner that was spelled out is the one that was left to its defaults.

    Raises
    ------
    PlanError
        If the kind or a parameter is not known.
    """

    kind: str
    parameters: dict[str, Any]

    def __post_init__(self) -> None:
        if self.kind not in LEARNERS:
            raise PlanError(f"cv={self.kind!r} is no kind of slow coordinate; give one of {', '.join(LEARNERS)}")
        known = {n: p.default for n, p in inspect.signature(getattr(cvs, self.kind)).parameters.items() if n != "seed"}
        given = {name: value for name, value in self.parameters.items() if name != "seed" and value is not None}
        wrong = [name for name in given if name not in known]
        if wrong:
            raise PlanError(f"cv: {self.kind} has no parameter {some(wrong)}; it takes {', '.join(known)}")
        object.__setattr__(self, "parameters", {**known, "lag": "auto", "dim": "auto", **given})
        super().__post_init__()

    @classmethod
    def of(cls, estimator: Any) -> Learner:
        """From an estimator such as ``TICA(lag="2 ps", dim=2)``.

        Raises
        ------
        PlanError
            If it is no estimator of time-lagged coordinates.
        """
        if isinstance(estimator, Learner):
            return estimator
        kind = type(estimator).__name__
        if kind not in LEARNERS or not hasattr(estimator, "get_params"):
            raise PlanError(
                f"cv={estimator!r} is no estimator of slow coordinates; give {', '.join(LEARNERS)} of mdinsight.cvs"
            )
        return cls(kind, dict(estimator.get_params()))

    def estimator(self, lag: int, dim: Any, seed: int) -> Any:
        """A fresh estimator with this lag (frames) and dimension."""
        return getattr(cvs, self.kind)(**{**self.parameters, "lag": lag, "dim": dim, "seed": seed})


class Stop(Record):
    """When a run has converged. All must hold.

    Parameters
    ----------
    rounds
        Biased rounds in a row without a new state, a new coordinate, or a change of a free energy beyond its interval.
    interval
        kJ/mol: the 95 % interval of every state's free energy is no wider than this on either side.
    """

    rounds: int = 3
    interval: Any = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.rounds, bool) or not isinstance(self.rounds, int) or self.rounds < 1:
            raise ParameterError(f"Stop(rounds={self.rounds!r}) is not a number of rounds; give at least 1")
        object.__setattr__(self, "interval", units.energy(self.interval, "Stop(interval)"))
        if self.interval <= 0:
            raise ParameterError(f"Stop(interval={self.interval:g}) is not positive; give kJ/mol, e.g. 1")
        super().__post_init__()


class Plan(Model):
    """What a run does.

    Parameters
    ----------
    system
        :class:`mdinsight.engine.System`.
    features
        What the coordinate is learned from; ``"auto"`` is :func:`mdinsight.features.default_for`.
    cv
        ``TICA``, ``VAMP`` or ``VAMPNet``; None is ``TICA`` with a lag of a tenth of a swarm trajectory, and the processes that
        are slower than such a trajectory is long, from one to three.
    bias
        :class:`mdinsight.bias.OPES` or ``Metadynamics``; None for adaptive sampling without bias.
    policy
        Where walkers start when the coordinate is new, and where swarms start; without bias, every round. Or a
        :class:`WeightedEnsemble` (without bias).
    explore
        The first round; ``"auto"`` is :class:`Hot` for up to 12 residues, :class:`Plain` for more.
    walkers
        Walkers of a round.
    segment
        Time of one walker in a round.
    swarm
        Time of each trajectory of an unbiased swarm; ``"auto"`` is ten lags, or a tenth of a segment.
    swarms
        Trajectories of a swarm.
    stop
        When the run has converged.
    seed
        Of everything random.

    Raises
    ------
    PlanError, ParameterError
        Naming the parameter, its value and what to give.
    """

    system: System
    features: Any = "auto"
    cv: Any = None
    bias: Any = OPES(barrier=50.0)
    policy: Any = LeastCounts()
    explore: Any = "auto"
    walkers: int = 4
    segment: Any = 200.0
    swarm: Any = "auto"
    swarms: int = 40
    stop: Stop = Stop()
    seed: int = 7

    def __post_init__(self) -> None:
        if not isinstance(self.system, System):
            raise PlanError(
                f"system={type(self.system).__name__} is no system; make one with mdinsight.engine.System.from_pdb"
            )
        self._put("cv", Learner("TICA", {}) if self.cv is None else Learner.of(self.cv))
        self._put("features", self._features())
        if isinstance(self.explore, str) and self.explore == "auto":
            residues = {self.system.topology.atom(int(i)).residue.index for i in self.system.solute}
            self._put("explore", Hot() if len(residues) <= _MANY_RESIDUES else Plain())
        if not isinstance(self.explore, Exploration):
            raise PlanError(f"explore={self.explore!r} is no exploration; give Hot(), Pushed() or Plain()")
        for name, kinds, example in (
            ("bias", (Potential, type(None)), "OPES(barrier=50), Metadynamics(...) or None"),
            ("policy", (Policy, WeightedEnsemble), "LeastCounts(), Uncertainty(), Frontier() or WeightedEnsemble(...)"),
            ("stop", (Stop,), "Stop(rounds=3, interval=1)"),
        ):
            if not isinstance(getattr(self, name), kinds):
                raise PlanError(f"{name}={getattr(self, name)!r} is none; give {example}")
        if self.bias is not None and not self.bias.is_adaptive:
            raise PlanError(f"bias={self.bias!r} does not grow; give OPES(barrier=50) or Metadynamics(...)")
        if self.bias is not None and isinstance(self.policy, WeightedEnsemble):
            raise PlanError(
                "a WeightedEnsemble carries weights of unbiased walkers; give bias=None with it, or another policy"
            )
        for name, least in (("walkers", 1), ("swarms", 5), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise PlanError(f"{name}={value!r} is not possible; give an int of at least {least}")
        self._put("segment", units.time(self.segment, "segment"))
        if self.swarm == "auto":
            given = self.cv.parameters["lag"]
            self._put("swarm", self.segment / 10 if given == "auto" else 10 * units.time(given, "cv.lag"))
        self._put("swarm", units.time(self.swarm, "swarm"))
        self._put("cv", self.cv.replace(parameters={**self.cv.parameters, "lag": self.lag}))
        for name in ("features", "bias", "policy", "explore"):
            _refuse_unsaveable(name, getattr(self, name))
        self._check_towards()
        super().__post_init__()
        self._check_times()

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Plan:
        """A plan that stands in a YAML file, with the keys of :class:`PlanFile`. Paths in it are relative to the file.

        Raises
        ------
        ParameterError
            If the file cannot be read, or has a key that is unknown or a value that cannot be; all of them are named.
        MdinsightError
            If the molecule cannot be built.
        """
        from mdinsight.adaptive._planfile import PlanFile

        return PlanFile.read(path).plan()

    @classmethod
    def parse(cls, content: Mapping[str, Any], source: str = "the plan") -> Plan:
        """A plan out of plain data as a YAML file has it; see :meth:`read`. Paths are relative to the working directory."""
        from mdinsight.adaptive._planfile import PlanFile

        return PlanFile.parse(content, source).plan()

    def to_yaml(self, saved: str = "plan.mdi") -> str:
        """The plan as YAML, nothing left to defaults: what a run says of what it does.

        Parameters
        ----------
        saved
            Where this plan is saved (:meth:`save`), as seen from the YAML file: :meth:`read` takes the molecule from there.
        """
        from mdinsight.adaptive._echo import to_yaml

        return to_yaml(self, saved)

    def _put(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _features(self) -> Features:
        if isinstance(self.features, str) and self.features == "auto":
            return default_for(self.system.topology)
        if not isinstance(self.features, Definition):
            raise PlanError(f"features={self.features!r} are none; give e.g. mdinsight.features.Torsions('phi psi')")
        if self.bias is not None and not self.features.has_gradient:
            raise PlanError(
                f"{self.features.title} has no gradient, so no bias can push along it; leave it out, or bias=None"
            )
        return self.features if isinstance(self.features, Features) else Features((self.features,))

    def _check_towards(self) -> None:
        """What a policy goes towards is one column of this molecule."""
        if "observable" not in getattr(self.policy, "needs", ()):
            return
        who, example = type(self.policy).__name__, "towards=RadiusOfGyration()"
        towards = self.policy.towards
        if towards is None:
            raise PlanError(
                f"policy={who} needs to know where to go; give e.g. {who}({example}), features of one column"
            )
        try:
            names = [column.name for column in towards.columns(self.system.topology)]
        except MdinsightError as error:
            raise PlanError(f"policy={who}: towards={towards.title} does not fit the molecule: {error}") from error
        if len(names) != 1:
            raise PlanError(
                f"policy={who}: towards={towards.title} has {len(names)} columns ({some(names)}); it takes one number for each "
                f"frame: choose one, e.g. with .select({names[0]!r})"
            )

    def _check_times(self) -> None:
        if self.segment < 10 * self.system.timestep:
            raise PlanError(f"segment={units.format_time(self.segment)} is shorter than ten steps; give e.g. '200 ps'")
        if self.lag * 3 > self.swarm * 1.001:
            raise PlanError(
                f"swarm={units.format_time(self.swarm)} is too short for the lag of {units.format_time(self.lag)}; give at least "
                f"{units.format_time(3 * self.lag)}, better {units.format_time(10 * self.lag)}"
            )

    # -- what follows ----------------------------------------------------------------------------------------------------

    @property
    def lag(self) -> float:
        """Lag time of the coordinate, ps."""
        given = self.cv.parameters["lag"]
        return self.swarm / 10 if given == "auto" else units.time(given, "cv.lag")

    @property
    def swarm_stride(self) -> int:
        """Steps between saved frames of a swarm."""
        return max(1, round(self.lag / FRAMES_PER_LAG / self.system.timestep))

    @property
    def swarm_steps(self) -> int:
        """Steps of each trajectory of a swarm."""
        return self.swarm_stride * max(3, round(self.swarm / self.system.timestep / self.swarm_stride))

    @property
    def swarm_dt(self) -> float:
        """ps between frames of a swarm."""
        return self.swarm_stride * self.system.timestep

    @property
    def lag_frames(self) -> int:
        """Lag in frames of a swarm."""
        return max(1, round(self.lag / self.swarm_dt))

    @property
    def stride(self) -> int:
        """Steps between saved frames of a walker: the pace of its bias, else 1 ps."""
        pace = getattr(self.bias, "pace", None)
        every = int(pace) if pace else max(1, round(1.0 / self.system.timestep))
        return min(every, max(1, round(self.segment / self.system.timestep / 10)))

    @property
    def segment_steps(self) -> int:
        """Steps of a walker in a round."""
        return self.stride * max(1, round(self.segment / self.system.timestep / self.stride))

    @property
    def explore_span(self) -> float:
        """ps of each walker of the first round."""
        span = self.explore.span
        return self.segment / 2 if span is None else span

    def ps(self, steps: int) -> float:
        """Steps as time."""
        return steps * self.system.timestep

    @property
    def least_budget(self) -> float:
        """ps of the first exploration, the first swarm, one round and the last swarms."""
        from mdinsight.adaptive._cost import least

        return least(self)

    def check_budget(self, ps: float) -> None:
        """Refuse a budget that does not pay for one round.

        Raises
        ------
        PlanError
            Saying what one round takes.
        """
        if ps < self.least_budget:
            from mdinsight.adaptive._cost import least_words

            raise PlanError(
                f"budget={units.format_time(ps)} does not pay for one round of this plan, which takes "
                f"{units.format_time(self.least_budget)} ({least_words(self)}); give more, fewer walkers (--walkers, walkers=), "
                "or shorter segments (--segment, segment=)"
            )

    def identity(self) -> dict[str, Any]:
        """The plan as plain data; large parts (the system) by name and hash."""
        system = self.system
        return {
            "system": {
                **system.description,
                "atoms": system.n_atoms,
                **{name: getattr(system, name) for name in ("temperature", "timestep", "friction", "platform", "hash")},
            },
            "features": " + ".join(f"{item!r}" for item in self.features.items),
            "features_hash": self.features.hash,
            "cv": {"kind": self.cv.kind, **_plain(self.cv.parameters)},
            **{name: _named(getattr(self, name)) for name in ("bias", "policy", "explore", "stop")},
            **{name: getattr(self, name) for name in ("walkers", "segment", "swarm", "swarms", "seed")},
        }


def _refuse_unsaveable(name: str, value: Any) -> None:
    """A plan is saved with its run, and read by other processes: what these could not read is refused at once."""
    if isinstance(value, tuple):
        for item in value:
            _refuse_unsaveable(name, item)
    if not isinstance(value, Record):
        return
    kind = type(value)
    home = kind.home if kind.home.split(".")[0] == "mdinsight" else ""
    if not home or getattr(importlib.import_module(home), kind.__qualname__, None) is not kind:
        raise PlanError(
            f"{name}={kind.__name__} is a class of {kind.__module__}; a plan is saved with its run and read by other processes, "
            "which know the classes of mdinsight alone: add it there (docs/adding_a_policy.md says how), or take one of those"
        )
    if value.unsaveable:
        raise PlanError(f"{name}: {value.unsaveable}")
    for part in fields(value):  # type: ignore[arg-type]
        _refuse_unsaveable(name, getattr(value, part.name))


def _named(record: Any) -> Any:
    if record is None:
        return "none"
    content = {part.name: getattr(record, part.name) for part in fields(record)}  # type: ignore[arg-type]
    features = {name: _features_told(value) for name, value in content.items() if isinstance(value, Features)}
    return {"kind": type(record).__name__, **plain(content), **features}


def _features_told(features: Features) -> dict[str, str]:
    return {"columns": " + ".join(f"{item!r}" for item in features.items), "hash": features.hash}


def _plain(value: Any) -> Any:
    """JSON types."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return repr(value)
