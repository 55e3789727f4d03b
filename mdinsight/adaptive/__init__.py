"""Adaptive: the loop. Learn a coordinate, bias along it, choose where next, until the rare states are found and weighed."""

from __future__ import annotations

__all__: list[str] = []
