"""Probabilities drawn as bars of a few cells."""

from __future__ import annotations

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def probability_bar(probability: float, width: int, *, ascii_only: bool = False) -> str:
    """Return a bar of exactly `width` cells for a probability from 0 to 1.

    A probability above zero always fills something, and only 1 fills the last cell.
    """
    share = min(max(probability, 0.0), 1.0)
    if ascii_only:
        cells = _steps(share, width)
        return ("#" * cells).ljust(width, "-") if width else ""
    steps = _steps(share, width * 8)
    full, rest = divmod(steps, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def line_bar(probability: float, width: int, *, ascii_only: bool = False) -> str:
    """Return a thin bar of exactly `width` cells, in half cells; a small probability may draw
    nothing.

    It looks right in the colour of the text beside it, which saves a change of style.
    """
    if ascii_only:
        return probability_bar(probability, width, ascii_only=True)
    full, half = divmod(_steps(probability, width * 2) if probability * width >= 0.25 else 0, 2)
    return ("━" * full + "╸" * half).ljust(width)


def _steps(share: float, most: int) -> int:
    if most <= 0 or share <= 0:
        return 0
    if share >= 0.9995:
        return most
    return min(max(round(share * most), 1), most - 1) if most > 1 else round(share)
