"""The parts of a plan by name, as they stand in YAML: a name, or a name and the arguments of the class behind it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from mdinsight import configs, cvs, units
from mdinsight.adaptive._ensemble import WeightedEnsemble
from mdinsight.adaptive._explore import Hot, Plain, Pushed
from mdinsight.adaptive._frontier import Frontier
from mdinsight.adaptive._plan import Learner, Stop
from mdinsight.adaptive._policies import FAST, Diverse, Equilibrium, LeastCounts, Stratified
from mdinsight.adaptive._uncertainty import Uncertainty
from mdinsight.bias import OPES, Metadynamics
from mdinsight.errors import ParameterError
from mdinsight.features import from_names
from mdinsight.records import Record, load

Kinds = Mapping[str, Callable[..., Any]]

CVS: Kinds = {"tica": cvs.TICA, "vamp": cvs.VAMP, "vampnet": cvs.VAMPNet}
BIASES: Kinds = {"opes": OPES, "metadynamics": Metadynamics}
POLICIES: Kinds = {
    "least_counts": LeastCounts,
    "uncertainty": Uncertainty,
    "frontier": Frontier,
    "fast": FAST,
    "diverse": Diverse,
    "stratified": Stratified,
    "equilibrium": Equilibrium,
    "weighted_ensemble": WeightedEnsemble,
}
EXPLORATIONS: Kinds = {"hot": Hot, "pushed": Pushed, "plain": Plain}

_BARRIER = 50.0
"""kJ/mol; of OPES where none is named."""


def cv_of(given: Any) -> Learner:
    """``"tica"`` or ``{"method": "tica", "lag": "2 ps", "dim": 2}``.

    Raises
    ------
    ParameterError
        If the method, an argument, the lag or the dimension is none; an unknown name with the nearest known one.
    """
    name, arguments = _method(given, CVS, "coordinate")
    _check(CVS[name], arguments)
    if "seed" in arguments:
        raise ParameterError("'seed' is not an argument here; the seed of the plan is that of everything random")
    lag, dim = arguments.setdefault("lag", "auto"), arguments.setdefault("dim", "auto")
    if lag != "auto" and not isinstance(lag, str):
        raise ParameterError(f"lag={lag!r} could be frames or ps; write a time such as '{lag} ps', or 'auto'")
    if lag != "auto" and units.time(lag, "lag") <= 0:
        raise ParameterError(f"lag={lag!r} is not positive; write a time such as '2 ps', or 'auto'")
    if dim != "auto" and (isinstance(dim, bool) or not isinstance(dim, int) or dim < 1):
        raise ParameterError(f"dim={dim!r} is not a number of coordinates; write at least 1, or 'auto'")
    return Learner(CVS[name].__name__, arguments)


def bias_of(given: Any) -> Any:
    """``"none"``, ``"opes"`` or ``{"method": "opes", "barrier": 40}``; None is no bias."""
    if given == "none" or (isinstance(given, Mapping) and given.get("method") == "none"):
        if given != "none" and len(given) > 1:
            others = ", ".join(str(key) for key in given if key != "method")
            raise ParameterError(f"no bias has no {others}; leave that out, or name a method")
        return None
    name, arguments = _method(given, BIASES, "bias", also=("none",))
    if name == "opes":
        arguments.setdefault("barrier", _BARRIER)
    return _made(BIASES[name], arguments)


def policy_of(given: Any) -> Any:
    """``"least_counts"``, ``{"frontier": {"ceiling": 30}}`` or ``{"saved": "plan.mdi"}``: that of a plan that was saved."""
    if isinstance(given, Mapping) and set(given) == {"saved"}:
        return getattr(load(given["saved"]), "policy", None)
    name, arguments = _single(given, POLICIES, "policy")
    if "towards" in arguments:
        arguments["towards"] = features_of(arguments["towards"])
    made = _made(POLICIES[name], arguments)
    if "observable" in getattr(made, "needs", ()) and made.towards is None:
        raise ParameterError(
            f"{name!r} needs to know where to go; write {name}: {{towards: radius_of_gyration}} into a plan, features of one "
            "column; or take 'frontier', 'uncertainty' or 'least_counts'"
        )
    return made


def features_of(given: Any) -> Any:
    """``"auto"``, or a list such as ``[{"torsions": "phi psi"}]`` or ``[{"saved": "features.mdi"}]``."""
    if isinstance(given, str):
        return given
    saved = given[0].get("saved") if len(given) == 1 and isinstance(given[0], dict) else None
    if saved is None:
        return from_names(given)
    found = load(saved)
    return getattr(found, "features", found)


def exploration_of(given: Any) -> Any:
    """``"hot"`` or ``{"hot": {"temperature": 900, "time": "50 ps"}}``; ``"auto"`` stays."""
    if given == "auto":
        return given
    name, arguments = _single(given, EXPLORATIONS, "exploration", also=("auto",))
    return _made(EXPLORATIONS[name], arguments)


def stop_of(given: Any) -> Stop:
    """``{"rounds": 3, "interval": 1}``."""
    if not isinstance(given, Mapping):
        raise ParameterError(f"{given!r} is no mapping; write e.g. {{rounds: 3, interval: 1}}")
    made: Stop = _made(Stop, dict(given))
    return made


def name_of(kind: str) -> str:
    """The name of a class in a file: ``least_counts`` of ``LeastCounts``."""
    found = {made.__name__: name for kinds in (CVS, BIASES, POLICIES, EXPLORATIONS) for name, made in kinds.items()}
    return found.get(kind) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower()


def arguments_of(record: Record) -> dict[str, Any]:
    """The arguments of a record that are not its class's defaults."""
    values = {
        name: (getattr(record, name), p.default) for name, p in inspect.signature(type(record)).parameters.items()
    }
    return {name: as_lists(value) for name, (value, default) in values.items() if value != default}


def as_lists(value: Any) -> Any:
    """Tuples as lists, as YAML has them."""
    return [as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def _method(given: Any, kinds: Kinds, what: str, also: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    """``{"method": name, ...}``, or the name alone."""
    if isinstance(given, str):
        given = {"method": given}
    if not isinstance(given, Mapping) or not isinstance(given.get("method"), str):
        first = next(iter(kinds))
        raise ParameterError(f"{given!r} names no method; write {first}, or method: {first} and its arguments")
    return _known(given["method"], kinds, what, also), {str(k): v for k, v in given.items() if k != "method"}


def _single(given: Any, kinds: Kinds, what: str, also: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    """``{name: {...}}``, or the name alone."""
    if isinstance(given, str):
        given = {given: {}}
    if not isinstance(given, Mapping) or len(given) != 1:
        first = next(iter(kinds))
        raise ParameterError(f"{given!r} names no {what}; write one, e.g. {first}, or {first}: {{its arguments}}")
    name, arguments = next(iter(given.items()))
    name = _known(name, kinds, what, also)
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, Mapping):
        names = _parameters(kinds[name])
        example = f"write {name}: {{{names[0]}: {arguments!r}}}" if names else "it takes none"
        raise ParameterError(f"the arguments of {name!r} have names; {example}")
    return name, {str(key): value for key, value in arguments.items()}


def _known(name: Any, kinds: Kinds, what: str, also: tuple[str, ...]) -> str:
    if name not in kinds:
        hint = configs.nearest(str(name), (*kinds, *also), "known are")
        raise ParameterError(f"{name!r} is not {'an' if what[0] in 'aeiou' else 'a'} {what}; {hint}")
    return str(name)


def _made(kind: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    _check(kind, arguments)
    return kind(**arguments)


def _check(kind: Callable[..., Any], arguments: dict[str, Any]) -> None:
    known = _parameters(kind)
    for key in arguments:
        if key not in known:
            raise ParameterError(
                f"{key!r} is not an argument of {kind.__name__}; {configs.nearest(key, known, 'it takes')}"
            )


def _parameters(kind: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(kind).parameters)
