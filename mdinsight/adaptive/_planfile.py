"""A plan as plain data: read from YAML, or given as one makes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator

from mdinsight import configs, units
from mdinsight.adaptive import _kinds as kinds
from mdinsight.adaptive._molecule import Molecule
from mdinsight.adaptive._plan import Plan

BUDGET = "10 ns"
"""Simulated time where nobody says how much."""

_Time = str | float
_Named = str | dict[str, Any]


class PlanFile(configs.Section):
    """A plan as it stands in a file: the names and values of a :class:`Plan`, and the budget, which is no part of it.

    Everything but ``system`` has the defaults of :class:`Plan`. Read one with :meth:`read`, or make one out of plain data with
    :meth:`parse`; :meth:`plan` builds the molecule.
    """

    system: Molecule = Field(description="a section such as {pdb: FILE} or {sequence: AAA}")
    features: Literal["auto"] | tuple[str | dict[str, Any], ...] = Field(
        "auto", description="'auto', or a list such as [{torsions: phi psi}]"
    )
    cv: _Named | None = Field(None, description="tica, vamp or vampnet, or {method: tica, lag: 2 ps, dim: 2}")
    bias: _Named = Field("opes", description="opes, metadynamics or none, or {method: opes, barrier: 40}")
    policy: _Named = Field("least_counts", description="a name such as least_counts, or {frontier: {ceiling: 30}}")
    explore: _Named = Field("auto", description="auto, hot, pushed or plain, or {hot: {time: 50 ps}}")
    walkers: int = Field(4, ge=1, description="a number of walkers, at least 1")
    segment: _Time = Field("200 ps", description="the time of one walker in a round, e.g. '200 ps'")
    swarm: _Time = Field("auto", description="the time of each swarm trajectory, e.g. '20 ps', or 'auto'")
    swarms: int = Field(40, ge=5, description="a number of trajectories, at least 5")
    stop: dict[str, Any] = Field({}, description="{rounds: 3, interval: 1}, when the run has converged")
    seed: int = Field(7, ge=0, description="a non-negative int")
    budget: _Time = Field(BUDGET, description="simulated time in all, e.g. '10 ns'")

    @field_validator("segment", "swarm", "budget")
    @classmethod
    def _times(cls, value: _Time, info: Any) -> _Time:
        if (value != "auto" or info.field_name != "swarm") and units.time(value, info.field_name) <= 0:
            raise ValueError(f"{info.field_name}={value!r} is not positive; write e.g. '200 ps'")
        return value

    @field_validator("features")
    @classmethod
    def _features(cls, value: Any) -> Any:
        kinds.features_of(value)
        return value

    @field_validator("cv", "bias", "policy", "explore", "stop")
    @classmethod
    def _named(cls, value: Any, info: Any) -> Any:
        if value is not None:
            _MADE[info.field_name](value)
        return value

    @classmethod
    def parse(cls, content: Mapping[str, Any], source: str = "the plan") -> Self:
        """Validate plain data; paths in it are relative to the working directory.

        Raises
        ------
        ParameterError
            Naming every key that is unknown (with the nearest known one) or has a value it cannot have.
        """
        return configs.validated(cls, _normal(content, os.fspath), source)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read YAML. Paths in it are relative to the file's own folder.

        Raises
        ------
        ParameterError
            If the file is missing, is no YAML, or does not validate.
        """
        content = configs.read_yaml(path, "the plan", "'system: {pdb: FILE}'")
        folder = Path(path).parent

        def place(name: str) -> str:
            return os.path.join(folder, os.path.expanduser(name))

        return configs.validated(cls, _normal(content, place), str(path))

    def plan(self) -> Plan:
        """The plan, with the molecule built.

        Raises
        ------
        MdinsightError
            If the molecule cannot be built, or the plan cannot be carried out; see :class:`Plan`.
        """
        given = self.model_fields_set - {"system", "budget"}
        parts = {name: getattr(self, name) for name in given if getattr(self, name) is not None}
        made = {name: _MADE[name](value) if name in _MADE else value for name, value in parts.items()}
        return Plan(system=self.system.build(), **made)


_MADE: dict[str, Callable[[Any], Any]] = {
    "features": kinds.features_of,
    "cv": kinds.cv_of,
    "bias": kinds.bias_of,
    "policy": kinds.policy_of,
    "explore": kinds.exploration_of,
    "stop": kinds.stop_of,
}


def _normal(content: Any, place: Callable[[str], str]) -> Any:
    """The short forms written out, and paths placed."""
    if not isinstance(content, Mapping):
        return content
    done = {str(key): value for key, value in content.items()}
    for section in ("cv", "policy", "explore", "stop", "features"):
        if done.get(section, 0) is None:
            del done[section]  # an empty section is its defaults
    if "features" in done:
        done["features"] = _saved_placed(configs.features_of(done["features"]), place)
    if isinstance(done.get("policy"), Mapping):
        done["policy"] = {str(key): _policy_placed(str(key), value, place) for key, value in done["policy"].items()}
    if isinstance(done.get("system"), Mapping):
        done["system"] = Molecule.normal(done["system"], place)
    return done


def _saved_placed(features: Any, place: Callable[[str], str]) -> Any:
    if not isinstance(features, tuple):
        return features
    entries = configs.features_placed(features, place)
    return tuple({"saved": place(e["saved"])} if isinstance(e, dict) and "saved" in e else e for e in entries)


def _policy_placed(name: str, arguments: Any, place: Callable[[str], str]) -> Any:
    if name == "saved" and isinstance(arguments, str):
        return place(arguments)
    if isinstance(arguments, Mapping) and "towards" in arguments:
        return {**arguments, "towards": _saved_placed(configs.features_of(arguments["towards"]), place)}
    return arguments
