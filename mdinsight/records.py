"""Records and models: immutable values with a content hash, saved as JSON and arrays, never as pickle.

A record is a frozen dataclass whose fields are numbers, strings, None, tuples, dicts with string keys, arrays and other
records. A model is a record that an estimator's ``fit`` made: it can be saved, and loads in a new process to the same
numbers and the same hash. The saved name of a class is where a user imports it from (``mdinsight.cvs.LinearCV``), so private
modules may move.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import io
import json
import os
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, dataclass_transform

import numpy as np

from mdinsight.errors import ModelFileError, ParameterError
from mdinsight.files import atomic

FORMAT = 1
_HEADER = "model.json"


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(dataclasses.field,))
class Record:
    """Base of every immutable value. A subclass is a frozen dataclass without being decorated as one.

    Arrays are copied and made read-only; lists become tuples. Two records are equal if their content is.
    """

    home: ClassVar[str] = ""
    """The public module that a saved record is loaded from; by default the room that the class stands in."""
    _names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "home" not in cls.__dict__:
            cls.home = ".".join(cls.__module__.split(".")[:2])
        dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
        cls._names = tuple(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        for name in self._names:
            given = getattr(self, name)
            frozen = _freeze(given)
            if frozen is not given:
                object.__setattr__(self, name, frozen)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            _lock(state.get(field.name))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the class name and the content: the same in every process and on every platform."""
        digest = hashlib.sha256()
        arrays: list[np.ndarray] = []
        digest.update(json.dumps(_encode(self, arrays), sort_keys=True, separators=(",", ":")).encode())
        for array in arrays:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self.hash == other.hash

    def __hash__(self) -> int:
        return int(self.hash[:15], 16)

    @property
    def unsaveable(self) -> str:
        """Why this record, and any model that holds it, cannot be saved; empty if it can."""
        return ""

    def __repr__(self) -> str:
        fields = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{name}={_short(value)}' for name, value in fields)})"

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def to_dict(self) -> dict[str, Any]:
        """The content as plain JSON types, arrays as lists; for summaries, not for loading."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}  # type: ignore[arg-type]


class Model(Record):
    """Base of every fitted model."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model to one file (a zip of JSON and ``.npy`` arrays), whole or not at all.

        Raises
        ------
        OutputError
            If the file cannot be written.
        ParameterError
            If the model holds something that cannot be saved, such as a user's function.
        """
        _refuse_unsaveable(self)
        arrays: list[np.ndarray] = []
        content = _encode(self, arrays)
        header = {"format": FORMAT, "hash": self.hash, "model": content}
        with atomic(path) as handle, zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as archive:
            _put(archive, _HEADER, json.dumps(header, indent=1).encode())
            for number, array in enumerate(arrays):
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                _put(archive, f"{number}.npy", buffer.getvalue())
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a model that :meth:`save` wrote.

        Raises
        ------
        ModelFileError
            If the file is missing, torn, was changed, or holds another kind of model.
        """
        model = load(path)
        if not isinstance(model, cls):
            raise ModelFileError(f"{path} holds a {type(model).__name__}, not a {cls.__name__}")
        return model


def load(path: str | os.PathLike[str]) -> Model:
    """Read any saved model; see :meth:`Model.load`."""
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read(_HEADER))
            count = sum(name.endswith(".npy") for name in archive.namelist())
            arrays = [np.load(io.BytesIO(archive.read(f"{i}.npy")), allow_pickle=False) for i in range(count)]
    except FileNotFoundError:
        raise ModelFileError(f"no model at {path}") from None
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
        raise ModelFileError(f"{path} is no whole saved model ({error}); save it again") from error
    if header.get("format") != FORMAT:
        raise ModelFileError(f"{path} is of model format {header.get('format')}; this version reads format {FORMAT}")
    model = _decode(header["model"], arrays)
    if not isinstance(model, Model) or model.hash != header["hash"]:
        raise ModelFileError(f"{path} does not match the hash that it was saved with; it was changed, save it again")
    return model


def _short(value: Any) -> str:
    """A field as it is shown: what is large by its size."""
    if isinstance(value, np.ndarray):
        return repr(value.tolist()) if value.size <= 6 else f"<array {'x'.join(map(str, value.shape))}>"
    if isinstance(value, (tuple, dict)) and len(repr(value)) > 120:
        return f"<{len(value)} items>"
    return repr(value)


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name)  # a fixed date: the same model is the same file
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)


_PLAIN = frozenset({str, int, float, bool, type(None)})


def _freeze(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN or (
        kind is tuple and _PLAIN.issuperset(map(type, value))
    ):  # nearly all of a long list of columns
        return value
    if isinstance(value, np.ndarray):
        if value.flags.writeable or value.base is not None:
            value = np.array(value)
        value.flags.writeable = False
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return tuple(_freeze(item) for item in value)
    if isinstance(value, dict):
        return {key: _freeze(item) for key, item in value.items()}
    return value


def _lock(value: Any) -> None:
    """Arrays that come out of a pickle are made read-only again."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    elif isinstance(value, (tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            _lock(item)


def _encode(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, Record):
        fields = {f.name: _encode(getattr(value, f.name), arrays) for f in dataclasses.fields(value)}  # type: ignore[arg-type]
        return {"record": f"{value.home}.{type(value).__qualname__}", "fields": fields}
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError(f"an array of {value.dtype} cannot be part of a model")
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, tuple):
        return [_encode(item, arrays) for item in value]
    if isinstance(value, dict):
        return {"dict": {str(key): _encode(item, arrays) for key, item in value.items()}}
    if isinstance(value, float) and not np.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be part of a model")


def _decode(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item, arrays) for item in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "dict" in value:
        return {key: _decode(item, arrays) for key, item in value["dict"].items()}
    if "float" in value:
        return float(value["float"])
    module, _, name = value["record"].rpartition(".")
    if module != "mdinsight" and not module.startswith("mdinsight."):
        raise ModelFileError(f"a model may only hold records of mdinsight, not {value['record']}")
    kind = getattr(importlib.import_module(module), name, None)
    if not (isinstance(kind, type) and issubclass(kind, Record)):
        raise ModelFileError(f"{value['record']} is not known to this version")
    return kind(**{key: _decode(item, arrays) for key, item in value["fields"].items()})


def _refuse_unsaveable(value: Any) -> None:
    if isinstance(value, (tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            _refuse_unsaveable(item)
    elif isinstance(value, Record):
        if value.unsaveable:
            raise ParameterError(value.unsaveable)
        for field in dataclasses.fields(value):  # type: ignore[arg-type]
            _refuse_unsaveable(getattr(value, field.name))


def plain(value: Any) -> Any:
    """Plain JSON types: arrays as lists, records as dicts, what is not finite as None."""
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
