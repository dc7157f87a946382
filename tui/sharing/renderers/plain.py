"""Tables as plain aligned text, as commands print them and as they are copied as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from engine.tables import Candidate, Cell, Column, Table
from tui.sharing.renderers.cells import head, shown
from tui.text.bars import probability_bar
from tui.text.numbers import FIGURE_WIDTH, figure
from tui.text.show import display_text

_GAP = "  "
_WIDEST = 40
"""Most cells of a column whose width depends on its contents; longer ones are cut."""


class PlainRows:
    """Lines of a table with fixed column widths, so that rows can be printed as they arrive."""

    def __init__(
        self,
        columns: Sequence[Column],
        widths: Sequence[int],
        *,
        bar: int = 0,
        ascii_only: bool = False,
    ) -> None:
        """`widths` are in cells; `bar` is the part of them that a candidate's bar takes."""
        self._columns = tuple(columns)
        self._widths = tuple(widths)
        self._bar = bar
        self._ascii = ascii_only

    def head(self) -> str:
        """Return the names of the columns."""
        heads = [head(column, ascii_only=self._ascii) for column in self._columns]
        return self._line(heads).rstrip()

    def row(self, cells: Sequence[Cell]) -> str:
        """Return the line of a row; every column has exactly its given width."""
        texts = [
            self._candidate(cell, width)
            if column.kind == "candidate"
            else shown(cell, column, ascii_only=self._ascii)
            for cell, column, width in zip(cells, self._columns, self._widths, strict=True)
        ]
        return self._line(texts)

    def _line(self, texts: Sequence[str]) -> str:
        return _GAP.join(
            self._fitted(text, width, column.is_right)
            for text, width, column in zip(texts, self._widths, self._columns, strict=True)
        )

    def _fitted(self, text: str, width: int, right: bool) -> str:
        missing = width - cell_len(text)
        if missing < 0:
            return display_text(text, width, spaces=False, ascii_only=self._ascii)
        return " " * missing + text if right else text + " " * missing

    def _candidate(self, cell: Cell, width: int) -> str:
        """Return a token with its bar and probability."""
        if not isinstance(cell, Candidate):
            return " " * width
        room = width - self._bar - FIGURE_WIDTH - 2
        text = display_text(cell.token, room, ascii_only=self._ascii)
        bar = probability_bar(cell.probability, self._bar, ascii_only=self._ascii)
        return f"{text} {bar} {figure(cell.probability)}"


def plain_lines(table: Table, *, ascii_only: bool = False) -> list[str]:
    """Return the title, the headings, one line per row and the notes, without trailing blanks."""
    heads = [head(column, ascii_only=ascii_only) for column in table.columns]
    widths = [
        min(
            max(
                cell_len(title),
                *(cell_len(shown(row[index], column, ascii_only=ascii_only)) for row in table.rows),
                FIGURE_WIDTH + 3 if column.kind == "candidate" else 1,
            ),
            _WIDEST,
        )
        for index, (title, column) in enumerate(zip(heads, table.columns, strict=True))
    ]
    rows = PlainRows(table.columns, widths, ascii_only=ascii_only)
    lines = [display_text(table.title, spaces=False, ascii_only=ascii_only)] if table.title else []
    lines += [rows.head(), *(rows.row(row) for row in table.rows)]
    lines += [display_text(note, spaces=False, ascii_only=ascii_only) for note in table.notes]
    return [line.rstrip() for line in lines]
