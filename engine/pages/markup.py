"""Tables and text as HTML in which nothing that comes from a session is markup.

For where no script runs: notebooks, and a page opened without JavaScript.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Collection
from typing import Final

from engine.numbers import figure, number
from engine.tables import Candidate, Cell, Column, Place, Table

_VISIBLE: Final = {" ": "␣", "\n": "↵", "\t": "⇥"}
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_LONGEST: Final = 2000
_BAR: Final = (60, 10)
"""Width and height of a full bar, in pixels."""


def escaped(text: str) -> str:
    """Return running text as HTML. What cannot be seen, or reorders its neighbours, is spelled
    out."""
    return html.escape("".join(_spelled(char) for char in text[:_LONGEST]))


def token(text: str) -> str:
    """Return a token as HTML, with visible blanks, in an element that bidirectional text does not
    leave."""
    shown = "".join(_VISIBLE.get(char) or _spelled(char) for char in text[:_LONGEST]) or '""'
    return f"<bdi>{html.escape(shown)}</bdi>"


def bar(share: float, look: str = "") -> str:
    """Return a bar for a share from 0 to 1, which needs no style sheet."""
    width, height = _BAR
    filled = max(1.0, min(share, 1.0) * width) if share > 0 else 0.0
    return (
        f'<svg class="bar {look}" width="{width}" height="{height}" aria-hidden="true">'
        f'<rect width="{filled:.1f}" height="{height}" fill="currentColor"/></svg>'
    )


def table_html(table: Table, gold: Collection[tuple[int, int]] = ()) -> str:
    """Return a table with its title and notes. Candidates in the cells `gold`, pairs of the index
    of a row and of a column, get the class `answer`: two tokens may have the same text."""
    title = f"<caption>{escaped(table.title)}</caption>" if table.title else ""
    heads = "".join(f"<th{_side(column)}>{_head(column)}</th>" for column in table.columns)
    lines = []
    for at, row in enumerate(table.rows):
        pairs = enumerate(zip(row, table.columns, strict=True))
        cells = "".join(
            f"<td{_side(column)}>{_cell(cell, column, (at, place) in gold)}</td>"
            for place, (cell, column) in pairs
        )
        lines.append(f"<tr>{cells}</tr>")
    notes = "".join(f"<p>{escaped(note)}</p>" for note in table.notes)
    head, body = f"<thead><tr>{heads}</tr></thead>", f"<tbody>{''.join(lines)}</tbody>"
    return f"<table>{title}{head}{body}</table>{notes}"


def _side(column: Column) -> str:
    return ' class="right"' if column.is_right else ""


def _head(column: Column) -> str:
    return token(column.head) if column.is_of_a_token else escaped(column.head)


def _cell(cell: Cell, column: Column, is_gold: bool) -> str:
    match cell:
        case None:
            return "–"
        case Candidate():
            look = "answer" if is_gold else ""
            share = figure(cell.probability).strip().replace("<", "&lt;")
            return (
                f'<span class="{look}">{token(cell.token)} {bar(cell.probability)} {share}</span>'
            )
        case Place():
            if cell.probability is None:
                return "–"
            rank = "" if cell.rank is None else f" #{cell.rank}"
            return escaped(figure(cell.probability).strip() + rank)
        case str():
            return token(cell) if column.kind == "token" else escaped(cell)
    if column.kind == "share":
        return escaped(figure(cell).strip())
    if column.kind == "count":
        return str(int(cell))
    return number(cell) if column.decimals is None else f"{cell:z.{column.decimals}f}"


def _spelled(char: str) -> str:
    if char in "\n\t" or unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )
