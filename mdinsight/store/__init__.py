"""Store: the run directory. A segment in it is committed or absent, and never changed; it knows nothing of science."""

from __future__ import annotations

__all__: list[str] = []
