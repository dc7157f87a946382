"""One line of cells."""

from __future__ import annotations

from typing import Final

from tui.terminal.cells import SECOND_HALF
from tui.terminal.pens import PLAIN, Pen, blank_pen

UNKNOWN: Final = "\0"
"""A cell of which nothing is known."""


class Row:
    """Characters and pens, column by column."""

    __slots__ = ("characters", "pens")

    def __init__(self, width: int) -> None:
        self.characters, self.pens = [UNKNOWN] * width, [PLAIN] * width

    def put(self, x: int, end: int, characters: list[str], pens: list[Pen]) -> bool:
        """Replace the cells from `x` to `end`, and return whether that changed any. Of a wide
        character that loses one half, the other becomes a blank."""
        mine = self.characters
        if x == end or (mine[x:end] == characters and self.pens[x:end] == pens):
            return False
        if mine[x] == SECOND_HALF:
            self._blank(x - 1)
        mine[x:end], self.pens[x:end] = characters, pens
        if end < len(mine) and mine[end] == SECOND_HALF:
            self._blank(end)
        return True

    def become(self, other: Row) -> None:
        """Take over the cells of another row."""
        self.characters[:], self.pens[:] = other.characters, other.pens

    def _blank(self, x: int) -> None:
        self.characters[x], self.pens[x] = " ", blank_pen(self.pens[x])
