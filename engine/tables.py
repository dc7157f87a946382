"""Tables without a look: typed columns and rows of plain values.

Whoever shows one decides how: `tui.sharing.renderers` has five renderers, for the terminal, plain
text, Markdown, CSV and JSON lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["text", "figure", "token", "count", "number", "share", "candidate", "place"]
"""What the cells of a column hold.

text: words, ours or foreign; figure: words that stand for a number ("12.3 %"); token: the text of a
token, exactly as it is stored; count: a whole number; number: any other number, its unit in the
column's title; share: 0 to 1, shown as a percentage; candidate and place: see below.
"""


class Candidate(NamedTuple):
    """A token and its probability."""

    token: str
    probability: float


class Place(NamedTuple):
    """Where a token stands in a row."""

    probability: float | None
    rank: int | None


Cell = str | int | float | Candidate | Place | None
"""None: not known, or not a number."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    """A word for files: CSV heads and JSON keys."""
    kind: Kind = "text"
    title: str = ""
    """What stands above it for people; the name where it is empty."""
    decimals: int | None = None
    """Of a number; None shows three significant figures."""
    is_of_a_token: bool = False
    """Whether the title is the text of a token."""

    @property
    def head(self) -> str:
        """What stands above the column for people."""
        return self.title or self.name

    @property
    def is_right(self) -> bool:
        """Whether its cells are aligned to the right, as numbers are."""
        return self.kind not in ("text", "token", "candidate")


@dataclass(frozen=True)
class Table:
    """A title, columns, and rows with a cell for every column."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    """Sentences that belong below it."""

    @property
    def heads(self) -> tuple[str, ...]:
        """What stands above the columns."""
        return tuple(column.head for column in self.columns)

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.title}: a row has not one cell for every column")


def figures_table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table whose cells are words already: what a row is about, then figures."""
    columns = tuple(Column(head, "figure" if index else "text") for index, head in enumerate(heads))
    return Table("", columns, tuple(tuple(row) for row in rows))
