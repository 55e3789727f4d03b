"""A report: everything that was found, on one HTML page to keep or to send.

>>> mdi.report.write("ala2.html", trajs, feats, tica.model, msm)
"""

from mdinsight.report._write import write

__all__ = ["write"]
