"""The table of two runs as it is searched."""

from __future__ import annotations

from collections.abc import Sequence

from tui.state.finding import Hit, PairFound, found_words
from tui.state.table_look import TableLook
from tui.text.show import display_text
from tui.views.compare.pair_table import PairTable
from tui.widgets.find_line import FindLine


class PairSearched:
    """Finds tokens on either side."""

    def __init__(self, table: PairTable, find_line: FindLine) -> None:
        self._table = table
        self._find_line = find_line

    @property
    def find_line(self) -> FindLine:
        """See `tui.widgets.two_runs.Searched`."""
        return self._find_line

    @property
    def cursor(self) -> int:
        """See `Searched`."""
        return self._table.cursor

    @property
    def held(self) -> int:
        """See `Searched`."""
        sides = self._table.rows.sides
        return max((len(row.top) for side in sides for row in side.rows), default=0)

    def hits(self, wanted: str) -> Sequence[Hit]:
        """See `Searched`."""
        return [Hit(pair.row, self._words(pair)) for pair in self._table.found(wanted)]

    def _words(self, pair: PairFound) -> str:
        """Return what has been found in a row: token, row, and on which side at which rank."""
        row = self._table.rows.compared.rows[pair.row]
        layers = dict.fromkeys((row.left_layer, row.right_layer))
        parts, before = [f"row {'/'.join(map(str, layers))}"], ""
        for side, found in (("left", pair.left), ("right", pair.right)):
            if found is None:
                continue
            shown = display_text(found.token.text, ascii_only=self._table.ascii_only)
            parts.append((f"{shown} " if shown != before else "") + found_words(found, side))
            before = shown
        return ", ".join(parts)

    def mark(self, look: TableLook) -> None:
        """See `Searched`."""
        self._table.show(*self._table.rows.sides, look)

    def go(self, row: int) -> None:
        """See `Searched`."""
        self._table.put_cursor(row)

    def set_open(self, is_open: bool) -> None:
        """See `Searched`."""
        if not is_open:
            self._table.screen.set_focus(self._table)
