"""The optional columns of the table of layers, each declared only here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from engine.records import LayerReading, Tracked
from engine.tables import Cell, Column, Place

Value = Callable[[LayerReading, Place | None], Cell]
"""Takes a row and the place in it of the token that the user tracked last; returns the cell."""


@dataclass(frozen=True)
class FigureColumn:
    """One optional column."""

    name: str
    """Its name in config.toml and in dialogs."""
    meaning: str
    width: int
    """Cells on the screen, including the gap before it."""
    column: Column
    """The column as exported tables have it."""
    value: Value


def _answer(row: LayerReading, tracked: Place | None) -> Cell:
    return None if row.answer is None else Place(row.answer.probability, row.answer.rank)


def place_in(tracked: Tracked | None, layer: int) -> Place | None:
    """Return a tracked token's place in a row; None where it is not known."""
    if tracked is None or layer >= len(tracked.probability):
        return None
    return Place(tracked.probability[layer], tracked.rank[layer])


FIGURE_COLUMNS: Final[dict[str, FigureColumn]] = {
    each.name: each
    for each in (
        FigureColumn(
            "entropy",
            "entropy of the row, in nats",
            7,
            Column("entropy", "number"),
            lambda row, _: row.entropy,
        ),
        FigureColumn(
            "rms",
            "size of the residual stream before the norm",
            8,
            Column("rms", "number"),
            lambda row, _: row.rms,
        ),
        FigureColumn(
            "kl",
            "KL of the row to the last row, in nats",
            8,
            Column("kl_to_last", "number", "KL"),
            lambda row, _: row.kl_to_last,
        ),
        FigureColumn(
            "answer",
            "probability and rank of the answer",
            12,
            Column("answer", "place"),
            _answer,
        ),
        FigureColumn(
            "tracked",
            "probability and rank of the token tracked last",
            12,
            Column("tracked", "place"),
            lambda _, tracked: tracked,
        ),
    )
}
"""Name -> column, in the order on the screen."""


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are columns, in the order on the screen."""
    chosen = set(names)
    return tuple(name for name in FIGURE_COLUMNS if name in chosen)
