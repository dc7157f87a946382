"""Column widths of two runs side by side, and how a difference is drawn; pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tui.text.numbers import FIGURE_WIDTH, figure

CHANGE: Final = 7
"""Cells of a signed figure and the blank after it."""
_LAYER: Final = 4
_TWO_LAYERS: Final = 8
_LEAST_SIDE: Final = 17
_WISHED_TOKEN: Final = 9
_MOST_BAR: Final = 12


@dataclass(frozen=True)
class PairColumns:
    """Column widths in cells."""

    layer: int
    count: int
    """Tokens on each side."""
    token: int
    bar: int
    mark: int
    change_bar: int

    @property
    def each(self) -> int:
        """Cells of one token, including the blank after it."""
        return self.token + 1 + (self.bar + 1 if self.bar else 0) + FIGURE_WIDTH + 1

    @property
    def side(self) -> int:
        """Cells of one run's tokens."""
        return self.count * self.each

    @property
    def change(self) -> int:
        """Cells of one answer's difference."""
        return CHANGE + self.change_bar + 1


def plan_pair(width: int, answers: int, by_depth: bool, top_k: int = 3) -> PairColumns:
    """Return the columns that fit into `width` cells: at least one token on each side, then
    bars, then more tokens."""
    layer = _TWO_LAYERS if by_depth else _LAYER
    wide = width >= 110
    mark = 11 if wide else 5
    change_bar = min(5 + 2 * max((width - 80) // 20, 0), 13)
    room = width - layer - mark - answers * (CHANGE + change_bar + 1)
    side = max(room // 2, _LEAST_SIDE)
    count = max(1, min(top_k, side // (_LEAST_SIDE + 3)))
    spare = side // count - FIGURE_WIDTH - 2
    bar = min(max(3, (spare - _WISHED_TOKEN) // 2), _MOST_BAR) if spare >= 12 else 0
    token = min(max(spare - (bar + 1 if bar else 0), 1), 24)
    return PairColumns(layer, count, token, bar, mark, change_bar)


def diverging_bar(share: float, width: int, *, ascii_only: bool = False) -> str:
    """Return a bar of exactly `width` cells (an odd number), drawn in half cells from the
    middle: to the right for a gain, to the left for a loss."""
    side = width // 2
    halves = min(round(abs(share) * side * 2), side * 2)
    full, half = divmod(halves, 2)
    if ascii_only:
        line, middle, ends = "=", "|", ("-", "-")
    else:
        line, middle, ends = "━", "│", ("╺", "╸")
    if share < 0:
        return (ends[0] * half + line * full).rjust(side) + middle + " " * side
    return " " * side + middle + (line * full + ends[1] * half).ljust(side)


def signed_figure(difference: float) -> str:
    """Return a difference of probabilities in percentage points, six cells wide; the heading says
    what it is, since a difference in per cent would be another number."""
    if abs(difference) < 0.00005:
        return "0".rjust(CHANGE - 1)
    sign = "+" if difference > 0 else "-"
    return (sign + figure(abs(difference)).strip().rstrip("%")).rjust(CHANGE - 1)
