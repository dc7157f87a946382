"""The columns that the table of layers can have beside its tokens; each is declared here alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from engine.records import LayerReading, Tracked
from engine.tables import Cell, Column, Place

Value = Callable[[LayerReading, Place | None], Cell]
"""From a row, and where the token that the user tracked last stands in it, to what stands in the
column."""


@dataclass(frozen=True)
class FigureColumn:
    """One column by choice."""

    name: str
    """In config.toml, and where it is chosen."""
    meaning: str
    width: int
    """Cells on the screen, a gap before it included."""
    column: Column
    """How tables have it."""
    value: Value


def _answer(row: LayerReading, tracked: Place | None) -> Cell:
    return None if row.answer is None else Place(row.answer.probability, row.answer.rank)


def place_in(tracked: Tracked | None, layer: int) -> Place | None:
    """Return where a tracked token stands in a row; None where that is not known."""
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
"""By name, in the order of the columns."""


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the names that are columns, in the order of the columns."""
    chosen = set(names)
    return tuple(name for name in FIGURE_COLUMNS if name in chosen)
