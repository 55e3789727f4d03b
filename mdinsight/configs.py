"""Settings that a user writes down: validated sections, faults in words, and YAML with paths relative to its file."""

from __future__ import annotations

import difflib
import glob
import os
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mdinsight.errors import ParameterError

S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """A frozen group of settings that takes no key but its own, and no value of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def validated(section: type[S], content: Any, source: str) -> S:
    """Plain data as a section.

    Raises
    ------
    ParameterError
        Naming every key that is unknown (with the nearest known one) or has a value that it cannot have.
    """
    if not isinstance(content, Mapping):
        raise ParameterError(f"{source} is a {type(content).__name__}, not a mapping of keys to values")
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise ParameterError(f"{source}: {_explain(section, error)}") from None


def nearest(name: str, known: Iterable[str], what: str = "the keys are") -> str:
    """What to say of an unknown name: the nearest known one, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"{what} {', '.join(names) or 'none'}"


def read_yaml(path: str | os.PathLike[str], what: str, example: str) -> Mapping[str, Any]:
    """The settings in a YAML file.

    Parameters
    ----------
    path
        The file.
    what
        What it is, in messages: ``"the plan"``.
    example
        What to write at least, for a file that holds no settings.

    Raises
    ------
    ParameterError
        If the file is missing, is no YAML, gives a key twice, or holds no settings.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(), Loader=_Loader)
    except OSError as error:
        raise ParameterError(f"cannot read {what} {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path} is not YAML: {_told(error, path)}") from None
    if not isinstance(content, Mapping):
        raise ParameterError(f"{path} holds no settings; write at least {example}")
    return content


def _told(error: Exception, path: Path) -> str:
    """What is wrong in a file, on one line."""
    return " ".join(str(error).split()).replace('in "<unicode string>"', f"in {path.name}")


def written(section: Section) -> str:
    """A section as YAML that reads back to the same."""
    return yaml.safe_dump(section.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def placed_in(folder: str | os.PathLike[str]) -> Callable[[str], str]:
    """What makes a path or glob that is relative to a folder one that is relative to the working directory."""
    base = os.fspath(folder)

    def place(name: str) -> str:
        name = os.path.expanduser(name)
        return os.path.join(glob.escape(base) if glob.has_magic(name) else base, name)

    return place


def features_of(given: Any) -> Any:
    """The short forms of a list of features written out: one kind for a list of it, a list as a tuple."""
    if isinstance(given, (list, tuple)):
        return tuple(given)
    if isinstance(given, dict) or (isinstance(given, str) and given != "auto"):
        return (given,)
    return given


def features_placed(features: Any, place: Callable[[str], str]) -> Any:
    """Features with the paths of their reference structures placed."""
    return features if features == "auto" else tuple(_feature_placed(entry, place) for entry in features)


def _feature_placed(entry: str | dict[str, Any], place: Callable[[str], str]) -> str | dict[str, Any]:
    if isinstance(entry, str):
        return entry
    done: dict[str, Any] = {}
    for kind, value in entry.items():
        if kind in ("rmsd", "positions") and isinstance(value, str):
            value = place(value)
        elif isinstance(value, dict) and isinstance(value.get("reference"), str):
            value = {**value, "reference": place(value["reference"])}
        done[kind] = value
    return done


def _explain(section: type[Section], error: ValidationError) -> str:
    """Every fault once, by the name of the key."""
    found: dict[str, str] = {}
    for item in error.errors():
        names, parent, field = _place(section, item["loc"])
        where = ".".join(names)
        about = getattr(field, "description", None)
        if item["type"] == "extra_forbidden":
            found.setdefault(where, f"{where} is not a key; {nearest(names[-1], parent.model_fields)}")
        elif item["type"] == "missing":
            found.setdefault(where, f"{where} is missing")
        elif item["type"] == "value_error":  # raised by a section's own check, in words
            says = str(item["ctx"]["error"])
            found.setdefault(where, says if says.startswith(where) else f"{where}: {says}")
        else:
            found.setdefault(where, f"{where}={item['input']!r} is not possible ({about or item['msg']})")
    return "; ".join(found.values())


def _place(section: type[Section], loc: Iterable[int | str]) -> tuple[list[str], Any, Any]:
    """The names of the keys on the way to a fault, the section that it stands in, and the field."""
    names: list[str] = []
    here: Any = section
    parent, field = here, None
    for part in loc:
        known = getattr(here, "model_fields", {})
        if not known:
            break  # inside a value: the branches of a union, the items of a list
        names.append(str(part))
        parent, field = here, known.get(str(part))
        here = None if field is None else _section_in(field.annotation)
    return names, parent, field


def _section_in(annotation: Any) -> Any:
    """The section that a field holds: itself, or the one beside None."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return next((kind for kind in typing.get_args(annotation) if hasattr(kind, "model_fields")), annotation)
    return annotation


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(
                f"{', '.join(map(repr, twice))} is given twice in the section that begins in line {line}"
            )
        return super().construct_mapping(node, deep)
