"""Compact formatting of measured values on the terminal."""

from __future__ import annotations

from engine.numbers import FIGURE_WIDTH, figure, number, ordinal
from engine.records import Run

__all__ = ["FIGURE_WIDTH", "count_of_runs", "figure", "number", "ordinal", "total_seconds"]


def total_seconds(run: Run) -> float | None:
    """Return how many seconds the pass took, including the lens, or None."""
    if not run.seconds:
        return None
    return run.seconds.get("total", sum(run.seconds.values()))


def count_of_runs(count: int) -> str:
    """Return such as "1 run", "2 runs"."""
    return f"{count} run" if count == 1 else f"{count} runs"
