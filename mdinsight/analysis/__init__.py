"""The whole row as one call: trajectories in, a validated Markov model out, and the folder that holds it; also of a run.

>>> import mdinsight as mdi
>>> config = mdi.analysis.Config.parse({"trajectories": "ala2/*.xtc", "top": "ala2/top.pdb"})
>>> result = mdi.analysis.run(config)
>>> mdi.analysis.write(result, "out")
"""

from mdinsight.analysis._config import Config
from mdinsight.analysis._pipeline import Analysis, run
from mdinsight.analysis._sampled import write_run
from mdinsight.analysis._summary import to_dict as summarise
from mdinsight.analysis._write import reserve, write

__all__ = ["Analysis", "Config", "reserve", "run", "summarise", "write", "write_run"]
