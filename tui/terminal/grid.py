"""A grid that knows what the terminal shows, and how it is made to show what was composed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.color import ColorSystem
from rich.segment import Segment

from tui.terminal.cells import SECOND_HALF, cells_of
from tui.terminal.encoding import Piece, pieces_of, shortest
from tui.terminal.pens import Pen
from tui.terminal.row import Row

_MOST_KNOWN: Final = 2000
"""How many strips are kept as cells."""


class Grid:
    """Cells as they were composed, and as the terminal shows them.

    `paint` changes the first, `patch` returns what takes the terminal to it. Between frames the
    terminal holds the plain pen.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._composed = [Row(width) for _ in range(height)]
        self._shown = [Row(width) for _ in range(height)]
        self._touched: set[int] = set()
        self._known: dict[
            int, tuple[Iterable[Segment], ColorSystem, tuple[list[str], list[Pen]]]
        ] = {}

    def paint(
        self,
        x: int,
        y: int,
        segments: Iterable[Segment],
        system: ColorSystem,
        end: int | None = None,
    ) -> int:
        """Compose segments from column `x` of line `y` on, up to column `end`, and return where
        they end; what lies outside is cut off. A wide character that begins before the end is
        composed whole."""
        if not 0 <= y < self.height or not 0 <= x < self.width:
            return x
        characters, pens = self._cells(segments, system)
        kept = len(characters)
        if end is not None and end - x < kept:
            kept = max(end - x, 0) + (characters[max(end - x, 0)] == SECOND_HALF)
        kept = min(kept, self.width - x)
        if kept < len(characters):
            cut = characters[kept] == SECOND_HALF
            characters, pens = characters[:kept], pens[:kept]
            if cut:
                characters[-1] = " "
        end = x + kept
        if self._composed[y].put(x, end, characters, pens):
            self._touched.add(y)
        return end

    def _cells(
        self, segments: Iterable[Segment], system: ColorSystem
    ) -> tuple[list[str], list[Pen]]:
        """Return the cells of a strip. Widgets hand out the same strips for as long as what they
        draw stays the same, so they are kept; by identity, since a strip has no cheap hash."""
        known = self._known.get(id(segments))
        if known is not None and known[0] is segments and known[1] is system:
            return known[2]
        cells = cells_of(segments, system)
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        self._known[id(segments)] = (segments, system, cells)
        return cells

    def forget(self) -> None:
        """Note that the terminal may show anything: the next patch writes every cell."""
        self._shown = [Row(self.width) for _ in range(self.height)]
        self._touched = set(range(self.height))

    def patch(self) -> str:
        """Return what has to be written so that the terminal shows what was composed; the cursor
        is then anywhere. What is returned is taken for shown."""
        pieces: list[Piece] = []
        for y in sorted(self._touched):
            pieces += pieces_of(y, self._composed[y], self._shown[y])
        text = shortest(pieces, self._composed)
        for y in self._touched:
            self._shown[y].become(self._composed[y])
        self._touched.clear()
        return text
