"""Features: frames to named columns. A kind is one kernel with value and gradient; ``a + b`` is the union of two.

>>> feats = Torsions("phi psi") + Distances("name CA")
>>> X = feats.transform(trajs)  # doctest: +SKIP
"""

from __future__ import annotations

from mdinsight.features._alignment import RMSD, Positions, Reference
from mdinsight.features._angles import Angles
from mdinsight.features._base import Definition, Feature, Features
from mdinsight.features._bound import Bound
from mdinsight.features._cache import FEATURES_VERSION, clear_cache
from mdinsight.features._contacts import Contacts
from mdinsight.features._distances import Distances
from mdinsight.features._function import Code, Function
from mdinsight.features._jit import jit
from mdinsight.features._mdtraj import SASA, HydrogenBonds, SecondaryStructure
from mdinsight.features._named import default_for, from_names
from mdinsight.features._run import kernel_code, run_kernel
from mdinsight.features._shape import RadiusOfGyration
from mdinsight.features._stream import FeatureStream, streams, sweep
from mdinsight.features._torsions import Torsions
from mdinsight.files import cache_folder

__all__ = [
    "FEATURES_VERSION",
    "RMSD",
    "SASA",
    "Angles",
    "Bound",
    "Code",
    "Contacts",
    "Definition",
    "Distances",
    "Feature",
    "FeatureStream",
    "Features",
    "Function",
    "HydrogenBonds",
    "Positions",
    "RadiusOfGyration",
    "Reference",
    "SecondaryStructure",
    "Torsions",
    "cache_folder",
    "clear_cache",
    "default_for",
    "from_names",
    "jit",
    "kernel_code",
    "run_kernel",
    "streams",
    "sweep",
]
