"""Engine: a system made ready for MD, and ONE segment of MD at a time."""

from __future__ import annotations

__all__: list[str] = []
