"""A sweep's report as renderables, for the terminal and for the explorer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import ASCII2, SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from engine.sweeps.report import Section, Table
from tui.text.show import plain_line


def report_lines(
    sections: Sequence[Section], *, ascii_only: bool = False
) -> Iterator[RenderableType]:
    """Yield what is to be printed, one below the other."""
    for section in sections:
        yield Text()
        yield Text(plain_line(section.title, ascii_only=ascii_only), style="bold")
        yield Text(plain_line(section.words, ascii_only=ascii_only))
        for table in section.tables:
            yield _table(table, ascii_only)
        for note in section.notes:
            yield Text(f"  {plain_line(note, ascii_only=ascii_only)}")


def _table(table: Table, ascii_only: bool) -> RichTable:
    box = ASCII2 if ascii_only else SIMPLE_HEAD
    drawn = RichTable(box=box, padding=(0, 1, 0, 0), header_style="dim", show_edge=False)
    for index, head in enumerate(table.heads):
        drawn.add_column(
            Text(plain_line(head, ascii_only=ascii_only)),
            justify="right" if index else "left",
            overflow="fold",
        )
    for row in table.rows:
        drawn.add_row(*(Text(plain_line(cell, ascii_only=ascii_only)) for cell in row))
    return drawn
