"""What an analysis is told: a frozen, validated object, the same from YAML, from Python and from the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mdinsight import configs, units
from mdinsight.errors import ParameterError

Lag = int | str
"""A number of frames, or a time such as ``"10 ps"``."""


class TrajectoryConfig(configs.Section):
    """Which files, and which of their frames."""

    files: tuple[str, ...] = Field(description="paths or globs")
    top: str | tuple[str, ...] | None = Field(
        None, description="a topology for all files, or a list with one for each entry"
    )
    start: int = Field(0, ge=0, description="first frame of each file")
    stop: int | None = Field(None, description="frame of each file to stop before")
    stride: int = Field(1, ge=1, description="take every n-th frame")
    dt: str | float | None = Field(None, description="time between frames, e.g. '2 ps'")
    resample: str | float | None = Field(None, description="one saving interval for all files, e.g. '10 ps'")


class CVConfig(configs.Section):
    """The slow coordinates."""

    method: Literal["tica", "vamp", "vampnet", "pca"] = "tica"
    lag: Lag | Literal["auto"] = Field("auto", description="an int (frames), a time such as '10 ps', or 'auto'")
    dim: int | Literal["auto"] = Field("auto", description="a number of coordinates, or 'auto'")
    folds: int = Field(5, ge=2, description="folds of the cross-validation")


class StatesConfig(configs.Section):
    """The discretisation."""

    method: Literal["kmeans", "minibatch", "regular"] = "kmeans"
    n: int | Literal["auto"] = Field("auto", description="number of microstates, or 'auto'; of 'regular' the most")
    dmin: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="of 'regular': least distance of two centres"
    )


class MSMConfig(configs.Section):
    """The Markov model."""

    lag: Lag | Literal["auto"] = Field("auto", description="an int (frames), a time such as '10 ps', or 'auto'")
    macrostates: int | Literal["auto"] = Field("auto", description="a number of at least 2, or 'auto'")
    samples: int = Field(100, ge=20, description="posterior samples")


class Config(configs.Section):
    """A whole analysis; read one with :meth:`read`, or make one out of plain data with :meth:`parse`.

    ``features`` is ``"auto"`` or a list of feature kinds: ``"torsions"``, ``{"torsions": "phi psi"}`` or
    ``{"contacts": {"scheme": "ca"}}``.
    """

    trajectories: TrajectoryConfig
    features: Literal["auto"] | tuple[str | dict[str, Any], ...] = Field(
        "auto", description="'auto', or a list such as [{torsions: phi psi}]"
    )
    cv: CVConfig = CVConfig()
    states: StatesConfig = StatesConfig()
    msm: MSMConfig = MSMConfig()
    temperature: float | str = Field(300.0, description="in K")
    structures: int = Field(20, ge=0, description="frames written of each macrostate")
    seed: int = Field(7, ge=0, description="a non-negative int")
    workers: int | None = Field(None, ge=1, description="a number of threads of at least 1; default one a core")

    @classmethod
    def parse(cls, content: Mapping[str, Any], source: str = "the configuration") -> Config:
        """Validate plain data.

        Raises
        ------
        ParameterError
            Naming every key that is unknown (with the nearest known one) or has a value it cannot have.
        """
        if not isinstance(content, Mapping):
            raise ParameterError(f"{source} is a {type(content).__name__}, not a mapping; of a file, use Config.read")
        config = configs.validated(cls, _normal(content), source)
        units.temperature(config.temperature)
        if config.states.method == "regular" and config.states.dmin is None:
            raise ParameterError(
                f"{source}: states.method='regular' needs states.dmin, the least distance of two centres"
            )
        if config.cv.method == "pca" and config.cv.lag != "auto":
            raise ParameterError(f"{source}: cv.lag={config.cv.lag!r}, but PCA has no lag; leave it out, or use tica")
        if not config.trajectories.files:
            raise ParameterError(f"{source}: trajectories.files is empty; name at least one file or glob")
        for name, value, least in (("states.n", config.states.n, 2), ("msm.macrostates", config.msm.macrostates, 2)):
            if value != "auto" and value < least:
                raise ParameterError(f"{source}: {name}={value} is too few; give at least {least}, or 'auto'")
        if config.cv.dim != "auto" and config.cv.dim < 1:
            raise ParameterError(f"{source}: cv.dim={config.cv.dim} is too few; give at least 1, or 'auto'")
        return config

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Config:
        """Read YAML. Paths in it (of files, topologies and references) are relative to the file's own folder.

        Raises
        ------
        ParameterError
            If the file is missing, is no YAML, or does not validate.
        """
        content = configs.read_yaml(path, "the configuration", "'trajectories: [FILE]' and 'top: FILE'")
        return cls.parse(content, str(path))._with_paths(configs.placed_in(Path(path).parent))

    def relative_to(self, folder: str | os.PathLike[str]) -> Config:
        """The same configuration with paths (relative ones are to the working directory) as seen from a folder."""
        return self._with_paths(lambda name: os.path.relpath(os.path.expanduser(name), folder))

    def to_yaml(self) -> str:
        """The configuration as YAML; :meth:`read` gives it back."""
        return configs.written(self)

    def _with_paths(self, place: Callable[[str], str]) -> Config:
        files = self.trajectories
        top = (
            files.top
            if files.top is None
            else place(files.top)
            if isinstance(files.top, str)
            else tuple(map(place, files.top))
        )
        changed = files.model_copy(update={"files": tuple(map(place, files.files)), "top": top})
        features = configs.features_placed(self.features, place)
        return self.model_copy(update={"trajectories": changed, "features": features})


def _normal(content: Mapping[str, Any]) -> dict[str, Any]:
    """The short forms written out: a file for a list of files, lists as tuples, an empty section as its defaults."""
    done = {str(key): value for key, value in content.items()}
    for section in ("cv", "states", "msm"):
        if done.get(section, 0) is None:
            del done[section]
    given = done.get("trajectories")
    if isinstance(given, (str, os.PathLike, list, tuple)):
        given = {"files": given, "top": done.pop("top", None)}
    if isinstance(given, Mapping):
        given = dict(given)
        if "files" in given:
            given["files"] = _names(given["files"], always=True)
        if "top" in given:
            given["top"] = _names(given["top"], always=False)
        done["trajectories"] = given
    if "features" in done:
        done["features"] = configs.features_of(done["features"])
    return done


def _names(value: Any, always: bool) -> Any:
    if isinstance(value, (str, os.PathLike)):
        return (os.fspath(value),) if always else os.fspath(value)
    if isinstance(value, (list, tuple)):
        return tuple(os.fspath(item) if isinstance(item, os.PathLike) else item for item in value)
    return value
