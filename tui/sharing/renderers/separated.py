"""Tables as CSV and TSV: values in full, for other programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator

from engine.tables import Candidate, Cell, Column, Place, Table, harmless


def separated(table: Table, mark: str, *, raw: bool = False) -> str:
    """Return a line of column names and one line per row, without title and notes.

    A text that a spreadsheet would take for a formula has an apostrophe in front, unless `raw`;
    numbers are left as they are.
    """
    heads: list[str | int | float | None] = [*names(table.columns)]
    rows = [heads, *(_values(row, table.columns, raw) for row in table.rows)]
    if not raw:
        rows[0] = [harmless(head) if isinstance(head, str) else head for head in heads]
    return "".join(f"{_line(row, mark)}\n" for row in rows)


def names(columns: Iterable[Column]) -> list[str]:
    """Return the column names; a candidate and a place have two each."""
    found: list[str] = []
    for column in columns:
        if column.kind == "candidate":
            found += [column.name, f"{column.name}_probability"]
        elif column.kind == "place":
            found += [f"{column.name}_probability", f"{column.name}_rank"]
        else:
            found.append(column.name)
    return found


def values(row: Iterable[Cell], columns: Iterable[Column]) -> list[str | int | float | None]:
    """Return the values of a row in the order of `names`; None where one is not known."""
    return [value for cell, column in zip(row, columns, strict=True) for value in _of(cell, column)]


def _values(
    row: Iterable[Cell], columns: Iterable[Column], raw: bool
) -> list[str | int | float | None]:
    """Return the values of a row as they are written; figures are numbers, though formatted."""
    found: list[str | int | float | None] = []
    for cell, column in zip(row, columns, strict=True):
        keeps = raw or column.kind == "figure"
        found += [
            harmless(value) if isinstance(value, str) and not keeps else value
            for value in _of(cell, column)
        ]
    return found


def _of(cell: Cell, column: Column) -> Iterator[str | int | float | None]:
    if isinstance(cell, Candidate | Place):
        yield from cell
    elif column.kind in ("candidate", "place"):
        yield from (None, None)
    else:
        yield cell if not isinstance(cell, float) or math.isfinite(cell) else None


def _line(fields: Iterable[object], mark: str) -> str:
    # The csv writer quotes \r and \n only if they occur in its own line ending.
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=mark, lineterminator="\r\n").writerow(fields)
    return buffer.getvalue().removesuffix("\r\n")
