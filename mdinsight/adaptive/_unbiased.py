"""Adaptive sampling without bias: relearn, choose by policy, run, count."""

from __future__ import annotations

from mdinsight.adaptive._history import Decision, History
from mdinsight.adaptive._plan import Plan
from mdinsight.records import Model


def unbiased_round(plan: Plan, history: History) -> tuple[Decision, dict[str, Model]]:
    """The next round of walkers without bias, and the models that go with its decision."""
    raise NotImplementedError
