"""What an analysis is told: a frozen, validated object, the same from YAML, from Python and from the command line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mdinsight import units
from mdinsight.errors import ParameterError

Lag = int | str
"""A number of frames, or a time such as ``"10 ps"``."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrajectoryConfig(_Section):
    """Which files, and which of their frames."""

    files: tuple[str, ...] = Field(description="paths or globs")
    top: str | tuple[str, ...] | None = Field(None, description="topology: one for all files, or one for each entry")
    start: int = Field(0, ge=0, description="first frame of each file")
    stop: int | None = Field(None, description="frame of each file to stop before")
    stride: int = Field(1, ge=1, description="take every n-th frame")
    dt: str | float | None = Field(None, description="time between frames, where the files do not say")
    resample: str | float | None = Field(None, description="one saving interval for all files")


class CVConfig(_Section):
    """The slow coordinates."""

    method: Literal["tica", "vamp", "vampnet", "pca"] = "tica"
    lag: Lag | Literal["auto"] = "auto"
    dim: int | Literal["auto"] = "auto"
    folds: int = Field(5, ge=2, description="folds of the cross-validation")


class StatesConfig(_Section):
    """The discretisation."""

    method: Literal["kmeans", "minibatch", "regular"] = "kmeans"
    n: int | Literal["auto"] = Field("auto", description="number of microstates; of 'regular' the most there may be")
    dmin: float | None = Field(
        None, gt=0, description="'regular': least distance of two centres, in units of the coordinates"
    )


class MSMConfig(_Section):
    """The Markov model."""

    lag: Lag | Literal["auto"] = "auto"
    macrostates: int | Literal["auto"] = "auto"
    samples: int = Field(100, ge=20, description="posterior samples")


class Config(_Section):
    """A whole analysis.

    ``features`` is ``"auto"`` or a list of feature kinds: ``"torsions"``, ``{"torsions": "phi psi"}`` or
    ``{"contacts": {"scheme": "ca"}}``.
    """

    trajectories: TrajectoryConfig
    features: Literal["auto"] | tuple[str | dict[str, Any], ...] = "auto"
    cv: CVConfig = CVConfig()
    states: StatesConfig = StatesConfig()
    msm: MSMConfig = MSMConfig()
    temperature: float | str = 300.0
    structures: int = Field(20, ge=0, description="frames written of each macrostate")
    seed: int = Field(7, ge=0)
    workers: int | None = Field(None, ge=1, description="threads; default one a core")

    @classmethod
    def parse(cls, content: Mapping[str, Any], source: str = "the configuration") -> Config:
        """Validate plain data.

        Raises
        ------
        ParameterError
            Naming every key that is unknown (with the nearest known one) or has a value it cannot have.
        """
        content = dict(content)
        if isinstance(content.get("trajectories"), (str, list, tuple)):  # short form: just the files
            files = content["trajectories"]
            content["trajectories"] = {
                "files": (files,) if isinstance(files, str) else tuple(files),
                "top": content.pop("top", None),
            }
        if isinstance(content.get("trajectories"), Mapping) and isinstance(content["trajectories"].get("files"), str):
            content["trajectories"] = {**content["trajectories"], "files": (content["trajectories"]["files"],)}
        try:
            config = cls.model_validate(content)
        except ValidationError as error:
            raise ParameterError(f"{source}: " + "; ".join(_explain(item) for item in error.errors())) from None
        units.temperature(config.temperature)
        if config.states.method == "regular" and config.states.dmin is None:
            raise ParameterError(
                f"{source}: states.method='regular' needs states.dmin, the least distance of two centres"
            )
        if not config.trajectories.files:
            raise ParameterError(f"{source}: trajectories.files is empty; name at least one file or glob")
        return config

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Config:
        """Read YAML. Paths in it are relative to the file's own folder.

        Raises
        ------
        ParameterError
            If the file is missing, is no YAML, or does not validate.
        """
        path = Path(path)
        try:
            content = yaml.safe_load(path.read_text())
        except OSError as error:
            raise ParameterError(f"cannot read the configuration {path}: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ParameterError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
        if not isinstance(content, Mapping):
            raise ParameterError(f"{path} holds no settings; write at least 'trajectories: [FILE]' and 'top: FILE'")
        config = cls.parse(content, str(path))
        return config.model_copy(update={"trajectories": _relative_to(config.trajectories, path.parent)})

    def to_yaml(self) -> str:
        """The configuration as YAML; :meth:`read` gives it back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _relative_to(files: TrajectoryConfig, folder: Path) -> TrajectoryConfig:
    def place(name: str) -> str:
        return str(folder / Path(name).expanduser())

    top = files.top
    if isinstance(top, str):
        top = place(top)
    elif top is not None:
        top = tuple(place(name) for name in top)
    return files.model_copy(update={"files": tuple(place(name) for name in files.files), "top": top})


def _explain(error: Any) -> str:
    names = [
        str(part) for part in error["loc"] if not str(part).startswith(("literal[", "function-", "lax-or", "tuple["))
    ]
    where = ".".join(names)
    if error["type"] == "extra_forbidden":
        section: Any = Config
        for part in names[:-1]:
            section = section.model_fields[part].annotation
        known = list(section.model_fields)
        near = difflib.get_close_matches(names[-1], known, n=1)
        return f"{where} is not a key; " + (
            f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(known)}"
        )
    if error["type"] == "missing":
        return f"{where} is missing"
    return f"{where}={error['input']!r}: {error['msg']}"
