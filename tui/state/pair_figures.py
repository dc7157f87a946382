"""The optional columns of the table of layers, for two runs side by side. Independent of
Textual."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.records import LayerReading
from engine.tables import Cell, Place
from tui.state.columns import FIGURE_COLUMNS
from tui.state.comparing import AlignedRow, AlignedRuns

TRACKED = "tracked"
"""The column that a comparison shows of every tracked token, and not only of the last one."""


@dataclass(frozen=True)
class BothFigures:
    """A figure of both runs in a row."""

    left: Cell
    right: Cell
    difference: float | None
    """The right run's less the left run's; None where one is not known, or where a difference has
    no meaning."""


def figure_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the optional columns that have figures of a row, and not of a tracked token."""
    return tuple(name for name in names if name != TRACKED)


def has_difference(name: str, compared: AlignedRuns) -> bool:
    """Return whether a difference of a figure of two runs means something: the residual streams of
    two models have no common scale, and the probabilities of two answers are not of one thing."""
    if name == "rms":
        return not compared.by_text
    if name == "answer":
        return len(compared.answers) == 1
    return True


def both_figures(name: str, row: AlignedRow, compared: AlignedRuns) -> BothFigures:
    """Return a figure of both runs in a row."""
    left, right = _figure(name, row.left), _figure(name, row.right)
    one, other = _number(left), _number(right)
    difference = None
    if one is not None and other is not None and has_difference(name, compared):
        difference = other - one
    return BothFigures(left, right, difference)


def _figure(name: str, reading: LayerReading | None) -> Cell:
    return None if reading is None else FIGURE_COLUMNS[name].value(reading, None)


def _number(cell: Cell) -> float | None:
    value = cell.probability if isinstance(cell, Place) else cell
    return float(value) if isinstance(value, int | float) else None
