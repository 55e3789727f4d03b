"""Slow coordinates: fit PCA, TICA, VAMP or a VAMPnet, score them, and say what they mean.

>>> tica = mdi.cvs.TICA(lag="10 ps", dim=2).fit(X)
>>> print(tica.model.explain(top=5))
>>> Y = tica.transform(X)

Data larger than memory are fitted as a stream, ``TICA("10 ps").fit(features.stream(trajs))``, and several estimators in one pass
over the files with ``fit_together``. A network or a matrix found elsewhere becomes a coordinate with ``from_layers``,
``from_torch`` or ``from_linear``.
"""

from mdinsight.cvs._explain import CoordinateMeaning, Explanation, FeatureShare, ResidueShare
from mdinsight.cvs._layers import from_layers, from_linear
from mdinsight.cvs._linear import PCA, TICA, VAMP
from mdinsight.cvs._models import CVModel, LinearCV
from mdinsight.cvs._modules import from_torch
from mdinsight.cvs._network import NetworkCV, Training
from mdinsight.cvs._scan import Scan, scan
from mdinsight.cvs._scoring import Score, score_cv
from mdinsight.cvs._together import fit_together
from mdinsight.cvs._vampnet import VAMPNet

__all__ = [
    "PCA",
    "TICA",
    "VAMP",
    "CVModel",
    "CoordinateMeaning",
    "Explanation",
    "FeatureShare",
    "LinearCV",
    "NetworkCV",
    "ResidueShare",
    "Scan",
    "Score",
    "Training",
    "VAMPNet",
    "fit_together",
    "from_layers",
    "from_linear",
    "from_torch",
    "scan",
    "score_cv",
]
