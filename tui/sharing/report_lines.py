"""A sweep's report as rich renderables, for the terminal and the explorer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from engine.sweeps.section import Section
from tui.sharing.renderers.rich_table import rich_table
from tui.text.show import plain_line


def report_lines(
    sections: Sequence[Section], *, ascii_only: bool = False
) -> Iterator[RenderableType]:
    """Yield the renderables to print, from top to bottom."""
    for section in sections:
        yield Text()
        yield Text(plain_line(section.title, ascii_only=ascii_only), style="bold")
        yield Text(plain_line(section.words, ascii_only=ascii_only))
        for table in section.tables:
            yield rich_table(table, ascii_only=ascii_only)
        for note in section.notes:
            yield Text(f"  {plain_line(note, ascii_only=ascii_only)}")
