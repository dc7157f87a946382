"""Numbers with a sign as bars to the left and to the right of an axis. Pure."""

from __future__ import annotations

import math

from rich.style import Style

from tui.widgets.styles import Segments


def signed_bar(value: float | None, most: float, width: int, *, ascii_only: bool) -> str:
    """Return a bar of exactly `width` cells: negative values go to the left of an axis in the
    middle and positive ones to the right, and `most` fills a side.

    It is drawn in half cells (in plain ASCII in whole ones, as `-` and `+`); a value other than 0
    fills at least one of them. None, and what is not finite, leaves the axis alone.
    """
    if width <= 0:
        return ""
    side = (width - 1) // 2
    if ascii_only:
        cells = _filled(value, most, side)
        left, right = "-" * -cells, "+" * cells
    else:
        full, half = divmod(abs(_filled(value, most, side * 2)), 2)
        is_right = value is not None and value > 0
        left = "" if is_right else "▐" * half + "█" * full
        right = "█" * full + "▌" * half if is_right else ""
    return f"{left:>{side}}{'|' if ascii_only else '│'}{right:<{side}}".ljust(width)


def signed_bar_segments(
    value: float | None,
    most: float,
    width: int,
    looks: tuple[Style, Style, Style],
    *,
    ascii_only: bool,
) -> Segments:
    """Return the same in segments; `looks` are the styles of a negative bar, of the axis and of a
    positive bar."""
    text = signed_bar(value, most, width, ascii_only=ascii_only)
    side = max((width - 1) // 2, 0)
    negative, axis, positive = looks
    return [(text[:side], negative), (text[side : side + 1], axis), (text[side + 1 :], positive)]


def _filled(value: float | None, most: float, cells: int) -> int:
    """Return how many of the cells of a side are filled, with the value's sign."""
    if value is None or not math.isfinite(value) or not value or most <= 0 or not cells:
        return 0
    count = min(max(round(min(abs(value) / most, 1.0) * cells), 1), cells)
    return count if value > 0 else -count
