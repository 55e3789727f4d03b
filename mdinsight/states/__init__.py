"""States: slow coordinates to discrete trajectories.

>>> dtrajs = mdi.states.KMeans(200, seed=7).fit_transform(Y)

An estimator partitions the space of the coordinates; ``fit`` makes a frozen :class:`Clustering` whose ``transform``
numbers the nearest centre of each frame. The result is a ``TimeSeries`` of one int32 column named ``"state"``.
"""

from __future__ import annotations

from mdinsight.states._clustering import Clustering
from mdinsight.states._discrete import Discrete, as_discrete
from mdinsight.states._estimators import KMeans, MiniBatchKMeans, RegularSpace

__all__ = ["Clustering", "Discrete", "KMeans", "MiniBatchKMeans", "RegularSpace", "as_discrete"]
