"""Compact formatting of measured values on the terminal."""

from __future__ import annotations

import math
from typing import Final

from engine.numbers import FIGURE_WIDTH, figure, number, ordinal
from engine.records import Run

__all__ = [
    "FIGURE_WIDTH",
    "count_of_runs",
    "figure",
    "number",
    "ordinal",
    "signed_figure",
    "signed_number",
    "total_seconds",
]

_VANISHED: Final = 1e-98
"""Below this a number with a sign is 0: its exponent would have three figures."""


def signed_figure(value: float | None) -> str:
    """Return a number with its sign in at most six characters; a dash for what is no number."""
    if value is None or not math.isfinite(value):
        return "-"
    size = abs(value)
    if size < _VANISHED:
        return "0"
    if 0.005 <= size < 99.995:
        return f"{value:+.2f}"
    if 1 <= size < 99_999.5:
        return f"{value:+.0f}"
    mantissa, exponent = f"{value:+.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def signed_number(value: float | None) -> str:
    """Return a number with its sign, however small it is; a dash for what is no number."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{'+' if value > 0 else ''}{number(value)}"


def total_seconds(run: Run) -> float | None:
    """Return how many seconds the pass took, including the lens, or None."""
    if not run.seconds:
        return None
    return run.seconds.get("total", sum(run.seconds.values()))


def count_of_runs(count: int) -> str:
    """Return such as "1 run", "2 runs"."""
    return f"{count} run" if count == 1 else f"{count} runs"
