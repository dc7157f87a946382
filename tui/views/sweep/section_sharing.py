"""A section of a report as it is copied and exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.sweeps.section import Section
from engine.tables import Column, Table
from tui.sharing.report_markdown import section_markdown
from tui.sharing.section_lines import sections_text


def section_text(sections: Sequence[Section], style: str, *, ascii_only: bool) -> str:
    """Return sections as Markdown or as text."""
    if style == "markdown":
        return "\n".join(section_markdown(section, {}) for section in sections)
    return sections_text(sections, ascii_only=ascii_only)


def table_of(section: Section, index: int | None) -> Table:
    """Return one of a section's tables, with the section's title; its words, a line each, where it
    has none."""
    if index is None or index >= len(section.tables):
        words = (section.words, *section.notes)
        return Table(section.title, (Column("text"),), tuple((line,) for line in words if line))
    table = section.tables[index]
    of = f", table {index + 1}" if len(section.tables) > 1 else ""
    title = f"{section.title}{of}" + (f": {table.title}" if table.title else "")
    return replace(table, title=title)
