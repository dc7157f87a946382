"""How long loading a model took, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.events import ModelReady
from engine.system.phases import TOTAL

_SHORTEST_TOLD: Final = 0.05
"""Seconds: in one line, what is shorter is left out."""


def timing_lines(seconds: Mapping[str, float]) -> list[str]:
    """Return one line per phase of `LoadedModel.seconds`, then what belongs to none, then the
    total."""
    phases = {name: value for name, value in seconds.items() if name != TOTAL}
    total = seconds.get(TOTAL, sum(phases.values()))
    rows = {**phases, "other": max(total - sum(phases.values()), 0.0), TOTAL: total}
    return [f"{name:<10} {value:8.2f} s" for name, value in rows.items()]


def loaded_line(ready: ModelReady) -> str | None:
    """Return such as "loaded in 7.1 s: importing 1.2, reading 4.0", or None where it is not known
    what took how long."""
    if not ready.phases:
        return None
    told = ", ".join(
        f"{name} {value:.1f}" for name, value in ready.phases.items() if value >= _SHORTEST_TOLD
    )
    return f"loaded in {ready.seconds:.1f} s" + (f": {told}" if told else "")
