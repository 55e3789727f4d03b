"""The base of every estimator: scikit-learn's conventions, and ``fit`` makes a frozen model."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
from sklearn.base import BaseEstimator

from mdinsight.errors import NotFittedError
from mdinsight.records import Model

M = TypeVar("M", bound=Model)


class Estimator(BaseEstimator, Generic[M]):
    """An estimator stores its parameters unmodified in the constructor; ``fit`` sets ``model_`` and returns self."""

    model_: M

    @property
    def model(self) -> M:
        """The frozen model.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        """
        try:
            return self.model_
        except AttributeError:
            raise NotFittedError(f"this {type(self).__name__} has no model yet; call fit(...) first") from None

    def settings(self) -> dict[str, Any]:
        """The parameters as they stand in a model: plain numbers and strings."""
        return {name: _plain(value) for name, value in self.get_params(deep=False).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    return str(value)
