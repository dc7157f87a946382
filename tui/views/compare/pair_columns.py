"""Column widths of two runs side by side, and how a difference is drawn; pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from tui.text.numbers import FIGURE_WIDTH, figure

CHANGE: Final = 7
"""Cells of a signed figure and the blank after it."""
_LAYER: Final = 4
_TWO_LAYERS: Final = 8
_LEAST_SIDE: Final = 17
_SIDE_WITH_BAR: Final = 22
"""Cells of a side whose token has a bar: columns beyond the first give way to it."""
_WISHED_TOKEN: Final = 9
_MOST_BAR: Final = 12


@dataclass(frozen=True)
class PairColumns:
    """Column widths in cells."""

    layer: int
    first: int
    """How many tokens of each side are scrolled out at the left."""
    count: int
    """Tokens on each side."""
    token: int
    bar: int
    mark: int
    blocks: range
    """Which of the columns beside the tokens are shown."""

    @property
    def each(self) -> int:
        """Cells of one token, including the blank after it."""
        return self.token + 1 + (self.bar + 1 if self.bar else 0) + FIGURE_WIDTH + 1

    @property
    def side(self) -> int:
        """Cells of one run's tokens."""
        return self.count * self.each


class Room(NamedTuple):
    """What a column beside the tokens needs."""

    width: int
    """In cells, including the blank after it."""
    essential: bool
    """Whether bars give way to it."""


@dataclass(frozen=True)
class Scrolled:
    """How far the columns are scrolled."""

    tokens: int = 0
    blocks: int = 0


NOT_SCROLLED: Final = Scrolled()


def bar_of_change(width: int) -> int:
    """Return the cells of the bar of a difference in a table of `width` cells; an odd number."""
    return min(5 + 2 * max((width - 80) // 20, 0), 13)


def plan_pair(
    width: int,
    blocks: Sequence[Room],
    wide_layer: bool,
    top_k: int = 3,
    scrolled: Scrolled = NOT_SCROLLED,
) -> PairColumns:
    """Return the columns that fit into `width` cells: one token on each side and the first of the
    blocks, the columns beside the tokens; then essential blocks, bars, other blocks, more tokens.

    `wide_layer` says whether two numbers of layers stand before a row.
    """
    layer = _TWO_LAYERS if wide_layer else _LAYER
    mark = 11 if width >= 110 else 5
    free = width - layer - mark

    def fit(first: int, last: int) -> bool:
        needed = blocks[first:last]
        is_least = len(needed) < 2 or all(block.essential for block in needed)
        least = _LEAST_SIDE if is_least else _SIDE_WITH_BAR
        return free - sum(block.width for block in needed) >= 2 * least

    first = min(max(scrolled.blocks, 0), max(len(blocks) - 1, 0))
    last = min(first + 1, len(blocks))
    while last < len(blocks) and fit(first, last + 1):
        last += 1
    while first > 0 and last == len(blocks) and fit(first - 1, last):
        first -= 1  # no room is left empty at the right
    side = max((free - sum(block.width for block in blocks[first:last])) // 2, _LEAST_SIDE)
    count = max(1, min(top_k, side // (_LEAST_SIDE + 3)))
    tokens = min(max(scrolled.tokens, 0), max(top_k - count, 0))
    spare = side // count - FIGURE_WIDTH - 2
    bar = min(max(3, (spare - _WISHED_TOKEN) // 2), _MOST_BAR) if spare >= 12 else 0
    token = min(max(spare - (bar + 1 if bar else 0), 1), 24)
    return PairColumns(layer, tokens, count, token, bar, mark, range(first, last))


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
