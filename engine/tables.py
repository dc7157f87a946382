"""Tables without a look: typed columns and rows of plain values.

Whoever shows one decides how: `tui.sharing` has a renderer for the terminal, for plain text,
Markdown, CSV and JSON lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "token", "count", "number", "share"]
"""What the cells of a column hold.

text: words of ours or of the user's; token: the text of a token, exactly as it is stored; count: a
whole number; number: any other number, with its unit in the column's title; share: 0 to 1, shown
as a percentage.
"""

Cell = str | int | float | None
"""None: not known, or not a number."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    """A word for files: CSV heads and JSON keys."""
    kind: Kind = "text"
    title: str = ""
    """What stands above it for people; the name where it is empty."""

    @property
    def head(self) -> str:
        """What stands above the column for people."""
        return self.title or self.name


@dataclass(frozen=True)
class Table:
    """A title, columns, and rows with a cell for every column."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    """Sentences that belong below it."""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.title}: a row has not one cell for every column")


def text_table(heads: Iterable[str], rows: Iterable[Iterable[str]], title: str = "") -> Table:
    """A table whose cells are words already."""
    columns = tuple(Column(head) for head in heads)
    return Table(title, columns, tuple(tuple(row) for row in rows))
