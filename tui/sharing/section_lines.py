"""Sections of a report as lines of text whose tables are as wide as they are: nothing is cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len, chop_cells

from engine.sweeps.section import Section
from engine.tables import Table
from tui.sharing.renderers.cells import head, shown
from tui.text.show import plain_line

TEXT_WIDTH = 100
"""Cells after which words are wrapped where there is no page that decides it."""
_GAP = "  "
_WIDEST = 60
"""A cell of a table that is wider goes on in the line below."""


@dataclass(frozen=True)
class PageLine:
    """A line of a page."""

    text: str
    kind: Literal["title", "words", "head", "cells", "note", "blank"]
    table: int | None = None
    """Which of the section's tables it belongs to."""
    names: int = 0
    """How many of its first characters name the line; they stay when a table scrolls sideways."""
    width: int = 0
    """How many cells the table is wide; 0 for what is no table."""


def section_lines(section: Section, width: int, *, ascii_only: bool = False) -> list[PageLine]:
    """Return a section as lines: words wrapped to a page of so many cells, tables at full width."""

    def wrapped(text: str, indent: str = "") -> list[str]:
        line = plain_line(text, ascii_only=ascii_only)
        return [indent + part for part in _wrapped(line, max(width - len(indent), 8))]

    lines = [PageLine("", "blank")]
    lines += [PageLine(text, "title") for text in wrapped(section.title)]
    lines += [PageLine(text, "words") for text in wrapped(section.words) if section.words]
    for index, table in enumerate(section.tables):
        lines.append(PageLine("", "blank", index))
        if table.title:
            lines += [PageLine(text, "words", index) for text in wrapped(table.title)]
        lines += _table_lines(table, index, width, ascii_only)
    if section.tables and section.notes:
        lines.append(PageLine("", "blank"))
    for note in section.notes:
        lines += [PageLine(text, "note") for text in wrapped(note, "  ")]
    return lines


def sections_text(sections: Sequence[Section], *, ascii_only: bool = False) -> str:
    """Return sections as plain text, with every column of every table."""
    lines = [
        line.text.rstrip()
        for section in sections
        for line in section_lines(section, TEXT_WIDTH, ascii_only=ascii_only)
    ]
    return "\n".join(lines).strip("\n") + "\n"


def _table_lines(table: Table, index: int, width: int, ascii_only: bool) -> Iterator[PageLine]:
    heads = [head(column, ascii_only=ascii_only) for column in table.columns]
    rows = [
        [
            chop_cells(shown(cell, column, ascii_only=ascii_only), _WIDEST) or [""]
            for cell, column in zip(row, table.columns, strict=True)
        ]
        for row in table.rows
    ]
    widths = [
        max(cell_len(name), *(cell_len(part) for row in rows for part in row[at]), 1)
        for at, name in enumerate(heads)
    ]
    whole = sum(widths) + len(_GAP) * (len(widths) - 1)
    count = _names(table, widths, width)

    def line(parts: Sequence[str], kind: Literal["head", "cells"]) -> PageLine:
        fitted = [
            _padded(part, cells, column.is_right)
            for part, cells, column in zip(parts, widths, table.columns, strict=True)
        ]
        names = len(_GAP.join([*fitted[:count], ""])) if count else 0
        return PageLine(_GAP.join(fitted), kind, index, names, whole)

    yield line(heads, "head")
    yield line([("-" if ascii_only else "─") * cells for cells in widths], "head")
    for row in rows:
        for at in range(max(map(len, row))):
            yield line([parts[at] if at < len(parts) else "" for parts in row], "cells")


def _names(table: Table, widths: Sequence[int], width: int) -> int:
    """Of how many first columns a line's names are: those with words, unless they would take more
    than half of the page."""
    used = count = 0
    for column, cells in zip(table.columns, widths, strict=True):
        used += cells + len(_GAP)
        if column.is_right or used > width // 2:
            break
        count += 1
    return count


def _padded(text: str, width: int, is_right: bool) -> str:
    blank = " " * (width - cell_len(text))
    return blank + text if is_right else text + blank


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Yield the words in lines of at most so many cells; a longer word is broken."""
    line = ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if cell_len(joined) <= width:
            line = joined
            continue
        if line:
            yield line
        *whole, line = chop_cells(word, width) or [""]
        yield from whole
    if line:
        yield line
