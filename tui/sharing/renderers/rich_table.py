"""Tables for the terminal, through rich; markup in cells is not interpreted."""

from __future__ import annotations

from rich.box import ASCII2, SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from engine.tables import Table
from tui.sharing.renderers.cells import head, shown


def rich_table(table: Table, *, ascii_only: bool = False) -> RichTable:
    """Return a table that folds long cells; the caller shows the title and notes."""
    box = ASCII2 if ascii_only else SIMPLE_HEAD
    drawn = RichTable(box=box, padding=(0, 1, 0, 0), header_style="dim", show_edge=False)
    for column in table.columns:
        drawn.add_column(
            Text(head(column, ascii_only=ascii_only)),
            justify="right" if column.is_right else "left",
            overflow="fold",
        )
    for row in table.rows:
        cells = zip(row, table.columns, strict=True)
        drawn.add_row(*(Text(shown(cell, column, ascii_only=ascii_only)) for cell, column in cells))
    return drawn
