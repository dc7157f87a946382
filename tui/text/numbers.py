"""Compact formatting of measured values."""

from __future__ import annotations

import math
from typing import Final

from engine.records import Run

FIGURE_WIDTH: Final = 5


def figure(probability: float) -> str:
    """Return a probability as a percentage, `FIGURE_WIDTH` cells wide, right-aligned."""
    if probability >= 0.9995:
        text = "100%"
    elif probability >= 0.09995:
        text = f"{probability * 100:.1f}%"
    elif probability >= 0.00005:
        text = f"{probability * 100:.2f}%"
    else:
        text = "<.01%" if probability > 0 else "0%"
    return text.rjust(FIGURE_WIDTH)


def number(value: float | None, missing: str = "-") -> str:
    """Return a measured value in few characters, or `missing` for None."""
    if value is None:
        return missing
    if value == 0:
        return "0"
    if 0.01 <= abs(value) < 100000:
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def signed_figure(value: float | None) -> str:
    """Return a number with its sign in at most six characters; a dash for what is no number."""
    if value is None or not math.isfinite(value):
        return "-"
    size = abs(value)
    if size == 0:
        return "0"
    if size < 0.005:
        return "+<.01" if value > 0 else "-<.01"
    if size < 99.995:
        return f"{value:+.2f}"
    if size < 99_999.5:
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


def ordinal(place: int) -> str:
    """Return 1st, 2nd, 3rd and so on."""
    teen = place % 100 in (11, 12, 13)
    return f"{place}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(place % 10, 'th')}"


def count_of_runs(count: int) -> str:
    """Return such as "1 run", "2 runs"."""
    return f"{count} run" if count == 1 else f"{count} runs"
