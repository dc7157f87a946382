"""Tables without formatting: typed columns and rows of plain values.

`tui.sharing.renderers` has five renderers, which format them for the terminal or as plain text,
Markdown, CSV or JSON lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["text", "figure", "token", "count", "number", "share", "candidate", "place"]
"""What the cells of a column hold.

- text: any words
- figure: a number that is already formatted ("12.3 %")
- token: the text of a token, exactly as it is stored
- count: an integer
- number: any other number, whose unit is in the column's title
- share: 0 to 1, shown as a percentage
- candidate: a `Candidate`
- place: a `Place`
"""


FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a text begins with that a spreadsheet takes for a formula: OWASP's list of signs, the last
four in full width."""


def harmless(text: str) -> str:
    """A text for a spreadsheet: with an apostrophe in front where it would run as a formula."""
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text


class Candidate(NamedTuple):
    """A token and its probability."""

    token: str
    probability: float


class Place(NamedTuple):
    """Where a token stands in a row."""

    probability: float | None
    rank: int | None


Cell = str | int | float | Candidate | Place | None
"""None stands for a value that is unknown or not a number."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    """An identifier for CSV headers and JSON keys."""
    kind: Kind = "text"
    title: str = ""
    """The column header for people; the name is used if it is empty."""
    decimals: int | None = None
    """How many decimals to show for numbers; None shows three significant figures."""
    is_of_a_token: bool = False
    """Whether the title is the text of a token."""

    @property
    def head(self) -> str:
        """The column header for people."""
        return self.title or self.name

    @property
    def is_right(self) -> bool:
        """Whether cells are right-aligned, as numbers are."""
        return self.kind not in ("text", "token", "candidate")


@dataclass(frozen=True)
class Table:
    """A title, columns, and rows with one cell for every column. Raises ValueError for a row of
    another length."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    """Sentences to show below the table."""

    @property
    def heads(self) -> tuple[str, ...]:
        """The column headers for people."""
        return tuple(column.head for column in self.columns)

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.title}: a row has not one cell for every column")


def figures_table(heads: Iterable[str], rows: Iterable[Iterable[str]], names: int = 1) -> Table:
    """A table whose cells are already formatted: the first columns, so many as `names`, are text
    that names the line, the others figures."""
    columns = tuple(
        Column(head, "figure" if index >= names else "text") for index, head in enumerate(heads)
    )
    return Table("", columns, tuple(tuple(row) for row in rows))
