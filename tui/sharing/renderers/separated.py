"""Tables as CSV and TSV: values in full, for other programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator

from engine.tables import Candidate, Cell, Column, Place, Table


def separated(table: Table, mark: str) -> str:
    """Return a line of column names and one line per row, without title and notes.

    Cells are written exactly as they are, even if they begin with = or another sign that a
    spreadsheet would take for a formula: a sign put before them would be read back as part of the
    text. Import such columns as text.
    """
    heads = _line(names(table.columns), mark)
    lines = [_line(values(row, table.columns), mark) for row in table.rows]
    return "".join(f"{line}\n" for line in (heads, *lines))


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
