"""Tables as Markdown, escaped so that every cell is rendered literally."""

from __future__ import annotations

import re
from typing import Final

from engine.tables import Candidate, Cell, Column, Table
from tui.sharing.renderers.cells import head, percent, shown
from tui.text.show import display_text, plain_line

# All characters with a meaning in Markdown. The pipe becomes an entity: not every renderer knows
# \\|.
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>()#+.!~$-])")
_NUMBERS: Final = frozenset({"count", "number", "share", "place"})
"""Kinds of cells that are left as they are: they hold no untrusted text and nothing that
Markdown interprets."""


def markdown_table(table: Table, *, ascii_only: bool = False) -> str:
    """Return the columns and rows; the caller shows the title and notes."""
    heads = [literally(head(column, ascii_only=ascii_only)) for column in table.columns]
    rule = ["---:" if column.is_right else "---" for column in table.columns]
    lines = [heads, rule]
    for row in table.rows:
        pairs = zip(row, table.columns, strict=True)
        lines.append([_cell(cell, column, ascii_only) for cell, column in pairs])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def escaped(text: str) -> str:
    """Return running text, escaped so that Markdown renders it literally."""
    return literally(plain_line(text))


def literally(shown_text: str) -> str:
    """Return text on one line, escaped so that Markdown renders it literally."""
    shown_text = shown_text.replace("&", "&amp;")
    return _SPECIAL.sub(r"\\\1", shown_text).replace("|", "&#124;")


def _cell(cell: Cell, column: Column, ascii_only: bool) -> str:
    if isinstance(cell, Candidate):
        token = literally(display_text(cell.token, ascii_only=ascii_only))
        return f"{token} {_number(percent(cell.probability))}"
    if cell is None and column.kind == "candidate":
        return ""
    text = shown(cell, column, ascii_only=ascii_only)
    return _number(text) if column.kind in _NUMBERS else literally(text)


def _number(text: str) -> str:
    return text.replace("<", "&lt;")
