"""Table cells as readable text; untrusted text is made safe here."""

from __future__ import annotations

from engine.tables import Candidate, Cell, Column, Place
from tui.text.numbers import figure, number
from tui.text.show import display_text, plain_line


def shown(cell: Cell, column: Column, *, ascii_only: bool = False) -> str:
    """Return a cell as one printable line of its natural width; a dash where its value is not
    known."""
    match cell:
        case None:
            return "-"
        case Candidate():
            return f"{display_text(cell.token, ascii_only=ascii_only)} {percent(cell.probability)}"
        case Place():
            return place(cell)
        case str() if column.kind == "token":
            return display_text(cell, ascii_only=ascii_only)
        case str():
            return plain_line(cell, ascii_only=ascii_only)
    if column.kind == "share":
        return percent(cell)
    if column.kind == "count":
        return str(int(cell))
    return number(cell) if column.decimals is None else f"{cell:z.{column.decimals}f}"


def head(column: Column, *, ascii_only: bool = False) -> str:
    """Return the heading of a column."""
    return display_text(column.head, spaces=column.is_of_a_token, ascii_only=ascii_only)


def percent(probability: float) -> str:
    """Return a probability as a percentage."""
    return figure(probability).strip()


def place(cell: Place) -> str:
    """Return a probability with its rank."""
    if cell.probability is None:
        return "-"
    return percent(cell.probability) + ("" if cell.rank is None else f" (rank {cell.rank})")
