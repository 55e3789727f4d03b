"""A plan written as YAML, so that a run says what it does."""

from __future__ import annotations

from typing import Any

import yaml

from mdinsight import units
from mdinsight.adaptive import _kinds as kinds
from mdinsight.adaptive._plan import Plan
from mdinsight.errors import MdinsightError
from mdinsight.features import Definition, Features, from_names
from mdinsight.records import Record


def to_yaml(plan: Plan, saved: str) -> str:
    """See :meth:`Plan.to_yaml`."""
    content = {
        "system": {"saved": saved},
        "features": _features(plan, saved),
        "cv": _cv(plan),
        "bias": "none" if plan.bias is None else {"method": _name(plan.bias), **kinds.arguments_of(plan.bias)},
        "policy": _policy(plan, saved),
        "explore": _single(plan.explore),
        "walkers": plan.walkers,
        "segment": _time(plan.segment),
        "swarm": _time(plan.swarm),
        "swarms": plan.swarms,
        "stop": {"rounds": plan.stop.rounds, "interval": plan.stop.interval},
        "seed": plan.seed,
    }
    return _about(plan) + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def short(record: Record) -> str:
    """A record in a few words: ``OPES(barrier=50)``."""
    arguments = (
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value!r}"
        for name, value in kinds.arguments_of(record).items()
    )
    return f"{type(record).__name__}({', '.join(arguments)})"


def _about(plan: Plan) -> str:
    """The molecule in words, as comments: ``saved`` alone says little."""
    system = plan.system
    lines = [f"{name}: {text}" for name, text in system.description.items()]
    lines += [
        f"{system.n_atoms} atoms, {system.temperature:g} K, steps of {units.format_time(system.timestep)}, "
        f"friction {system.friction:g}/ps" + (f", platform {system.platform}" if system.platform else ""),
    ]
    return "".join(f"# {' '.join(line.split())}\n" for line in lines)


def _features(plan: Plan, saved: str) -> list[Any]:
    """The features by name, or, where names do not say it all, where they are saved."""
    return _by_name(plan.features) or [{"saved": saved}]


def _by_name(definition: Definition) -> list[Any]:
    """Features by name; nothing where names do not say it all."""
    given = definition if isinstance(definition, Features) else Features((definition,))
    entries = [{_name(item): kinds.arguments_of(item)} for item in given.items]
    try:
        same = from_names(entries).hash == given.hash
    except (MdinsightError, TypeError):
        same = False
    return entries if same else []


def _policy(plan: Plan, saved: str) -> str | dict[str, Any]:
    towards = getattr(plan.policy, "towards", None)
    if towards is None:
        return _single(plan.policy)
    entries = _by_name(towards)
    if not entries:
        return {"saved": saved}
    return {_name(plan.policy): {**kinds.arguments_of(plan.policy), "towards": entries}}


def _cv(plan: Plan) -> dict[str, Any]:
    given = {key: kinds.as_lists(value) for key, value in plan.cv.parameters.items()}
    return {"method": kinds.name_of(plan.cv.kind), **given, "lag": _time(plan.lag)}


def _single(record: Record) -> str | dict[str, Any]:
    arguments = kinds.arguments_of(record)
    if arguments.get("time", "auto") != "auto":
        arguments["time"] = _time(arguments["time"])
    return {_name(record): arguments} if arguments else _name(record)


def _name(record: Record) -> str:
    return kinds.name_of(type(record).__name__)


def _time(ps: float) -> str:
    """A time that reads back to the same number."""
    return f"{int(ps) if float(ps).is_integer() else repr(float(ps))} ps"
