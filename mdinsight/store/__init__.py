"""Store: the run directory. A segment in it is committed or absent, and never changed; it knows nothing of science."""

from __future__ import annotations

from mdinsight.store._entry import Entry
from mdinsight.store._store import Store

__all__ = ["Entry", "Store"]
