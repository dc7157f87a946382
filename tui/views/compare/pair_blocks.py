"""The columns beside the tokens of two runs: what changes between them; pure, so that they can be
tested without an app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.style import Style

from engine.tables import Cell, Place
from tui.state.columns import FIGURE_COLUMNS
from tui.state.pair_figures import both_figures, has_difference
from tui.text.numbers import FIGURE_WIDTH, figure, number
from tui.text.numbers import signed_figure as signed_number
from tui.text.show import display_text
from tui.views.compare.pair_columns import CHANGE, Room, diverging_bar, signed_figure
from tui.views.compare.pair_rows import PairRows
from tui.views.table.table_rows import place_text
from tui.widgets.styles import Segments, Styles

_POINTS_FROM: Final = 16
"""Cells of a column of differences from which its heading has room for the word points."""
_SHARE: Final = FIGURE_WIDTH + 1
_NUMBER: Final = 7
_PLACE: Final = 12


@dataclass(frozen=True)
class Block:
    """A column, or several that belong together."""

    name: str
    """What it is called where it does not fit."""
    room: Room
    heading: Callable[[Styles], Segments]
    cells: Callable[[int, Styles], Segments]
    """Takes a row of the comparison."""
    tracked: str = ""
    """The tracked token that it is of, as the heading writes it; empty for every other column."""


def change_block(rows: PairRows, index: int, bar: int) -> Block:
    """Return the column of the difference of a token's probabilities, with a bar of so many
    cells; the token is one of those of the comparison, by its index."""
    token = rows.compared.tokens[index]
    width = CHANGE + bar + 1

    def heading(styles: Styles) -> Segments:
        unit = " points" if width >= _POINTS_FROM else " pt"
        shown = _named(token.text, width - 3 - len(unit), rows)
        title = ("d " if rows.ascii_only else "Δ ") + shown + unit
        return [(_filled(title, width), rows.token_style(token, styles)[0])]

    def cells(row: int, styles: Styles) -> Segments:
        difference = rows.compared.rows[row].changes[index].difference
        if difference is None:
            return [("-".rjust(CHANGE - 1).ljust(width), styles.faint)]
        drawn = diverging_bar(difference, bar, ascii_only=rows.ascii_only)
        return [(f"{signed_figure(difference)} {drawn} ", rows.token_style(token, styles)[0])]

    return Block(token.text, Room(width, True), heading, cells)


def tracked_block(rows: PairRows, index: int, *, ranks: bool) -> Block:
    """Return the columns of a tracked token: its probability on both sides, with its rank if that
    is wanted, and the difference in points."""
    token = rows.compared.tokens[index]
    each = _PLACE if ranks else _SHARE
    shown = _named(token.text, 2 * each - 1, rows)

    def heading(styles: Styles) -> Segments:
        delta = ("d pt" if rows.ascii_only else "Δ pt").rjust(CHANGE - 1) + " "
        return [(_filled(shown, 2 * each) + delta, rows.token_style(token, styles)[0])]

    def cells(row: int, styles: Styles) -> Segments:
        change = rows.compared.rows[row].changes[index]
        style = rows.token_style(token, styles)[0]
        places = (Place(change.left, change.left_rank), Place(change.right, change.right_rank))
        text = "".join(_share(place, ranks=ranks).ljust(each) for place in places)
        difference = change.difference
        points = "-".rjust(CHANGE - 1) if difference is None else signed_figure(difference)
        return [(f"{text}{points} ", style)]

    return Block(token.text, Room(2 * each + CHANGE, False), heading, cells, shown)


def figure_block(rows: PairRows, name: str) -> Block:
    """Return the columns of a figure that every row has: of both sides, and the difference where
    it means something."""
    column = FIGURE_COLUMNS[name]
    compared = rows.compared
    is_place = column.column.kind == "place"
    each = _PLACE if is_place else _NUMBER
    differs = has_difference(name, compared)
    width = 2 * each + (CHANGE if differs else 0) + 1

    def heading(styles: Styles) -> Segments:
        answer = rows.sides[0].answer_name
        head = f"{answer}'s p" if name == "answer" else column.column.head
        unit = ("d" if rows.ascii_only else "Δ") + (" pt" if is_place else "")
        delta = unit.rjust(CHANGE) if differs else ""
        return [(f" {head}".ljust(2 * each) + delta + " ", styles.faint)]

    def cells(row: int, styles: Styles) -> Segments:
        both = both_figures(name, compared.rows[row], compared)
        text = "".join(_figure(name, cell, each) for cell in (both.left, both.right))
        if differs:
            text += _difference(both.difference, is_place=is_place).rjust(CHANGE)
        return [(text + " ", _plain(rows, styles))]

    return Block(name, Room(width, False), heading, cells)


def _plain(rows: PairRows, styles: Styles) -> Style:
    return styles.struck if any(side.refused for side in rows.sides) else styles.text


def _figure(name: str, cell: Cell, each: int) -> str:
    if isinstance(cell, Place):
        return (" " + _share(cell, ranks=True)).ljust(each)
    if isinstance(cell, float) and name == "entropy":
        return f"{cell:.2f}".rjust(each)
    return number(cell if isinstance(cell, float) else None).rjust(each)


def _share(place: Place, *, ranks: bool) -> str:
    if place.probability is None:
        return "-".rjust(FIGURE_WIDTH)
    return place_text(place) if ranks else figure(place.probability)


def _difference(difference: float | None, *, is_place: bool) -> str:
    if difference is None:
        return "-"
    return signed_figure(difference) if is_place else signed_number(difference)


def _named(text: str, room: int, rows: PairRows) -> str:
    return display_text(text, room, ascii_only=rows.ascii_only).rstrip()


def _filled(text: str, width: int) -> str:
    return text + " " * max(width - cell_len(text), 0)
