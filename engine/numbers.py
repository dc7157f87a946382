"""Compact formatting of measured values, wherever they are shown."""

from __future__ import annotations

from typing import Final

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


def ordinal(place: int) -> str:
    """Return 1st, 2nd, 3rd and so on."""
    teen = place % 100 in (11, 12, 13)
    return f"{place}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(place % 10, 'th')}"
