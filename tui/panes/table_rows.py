"""How one row of the lens is laid out in cells; pure, so that it can be tested without an app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rich.style import Style

from engine.records import LayerReading, Token
from tui.numbers import FIGURE_WIDTH, figure
from tui.panes.bars import probability_bar
from tui.show import fit_pieces, show_pieces

Segments = list[tuple[str, Style]]

GUTTER: Final = 1
_LAYER: Final = 8  # "12 out  " or " 0 emb  "
_MARK: Final = 2
_ENTROPY: Final = 7
_WIDE_GAP_FROM: Final = 24
_LEAST_TOKEN: Final = 5
_WISHED_TOKEN: Final = 9
_LEAST_BAR: Final = 3
_MOST_BAR: Final = 16


@dataclass(frozen=True)
class Palette:
    """The styles of the table, from the theme."""

    text: Style
    faint: Style
    header: Style
    bar: Style
    answer: Style
    answer_bar: Style
    struck: Style
    cursor: Style


@dataclass(frozen=True)
class Columns:
    """Which token columns are shown, and how wide their parts are."""

    width: int
    first: int
    count: int
    token: int
    bar: int
    gap: int

    @property
    def each(self) -> int:
        """Cells of one token column, the gap behind it included."""
        return self.token + (self.bar + 1 if self.bar else 0) + FIGURE_WIDTH + 1 + self.gap


@dataclass(frozen=True)
class RowFacts:
    """Everything that the look of one row depends on."""

    layer: int
    layers: int
    reading: LayerReading | None
    answer: int | None = None
    """Id of the answer, once known."""
    formation: int | None = None
    struck: bool = False
    out_normed: bool = False
    """The run has no norm, and this, its last row, is the model's own all the same."""


def plan_columns(width: int, top_k: int, first: int = 0) -> Columns:
    """Return the columns for a table of `width` cells: as many tokens as fit, bars as wide as
    they may be, and the rest for the text."""
    room = max(width - GUTTER - _LAYER - _MARK - _ENTROPY, 0)
    narrowest = _LEAST_TOKEN + 1 + FIGURE_WIDTH + 1
    count = max(1, min(top_k, room // narrowest))
    first = max(0, min(first, top_k - count))
    each = room // count
    gap = 2 if each >= _WIDE_GAP_FROM else 1
    spare = each - gap - FIGURE_WIDTH - 1
    bar = 0
    if spare > _WISHED_TOKEN + _LEAST_BAR:
        beyond = spare - 1 - _WISHED_TOKEN - _LEAST_BAR
        bar = min(_LEAST_BAR + beyond * 2 // 3, _MOST_BAR)
    token = max(spare - (bar + 1 if bar else 0), 1)
    return Columns(width, first, count, token, bar, gap)


def header_segments(columns: Columns, palette: Palette, *, ascii_only: bool) -> Segments:
    """Return the line above the rows."""
    text = " " * GUTTER + "layer".rjust(5).ljust(_LAYER + _MARK)
    for index in range(columns.first, columns.first + columns.count):
        text += _ordinal(index + 1).ljust(columns.each)
    room = columns.width - _ENTROPY
    return [(text[:room].ljust(room) + "entropy".rjust(_ENTROPY), palette.header)]


def row_segments(
    facts: RowFacts, columns: Columns, palette: Palette, *, ascii_only: bool
) -> Segments:
    """Return one row without its gutter."""
    reading = facts.reading
    layer = f"{facts.layer:>3} {_layer_word(facts):<{_LAYER - 4}}"
    if reading is None:
        dot = "." if ascii_only else "·"
        return [(layer + " " * _MARK + dot, palette.faint)]
    faint = palette.struck if facts.struck else palette.faint
    segments: Segments = [(layer, faint), *_mark(facts, palette, ascii_only)]
    for index in range(columns.first, columns.first + columns.count):
        token = reading.top[index] if index < len(reading.top) else None
        segments += _token(token, facts, columns, palette, ascii_only)
    used = GUTTER + _LAYER + _MARK + columns.count * columns.each
    entropy = "-" if reading.entropy is None else f"{reading.entropy:.2f}"
    approximate = ("~" if ascii_only else "≈") if reading.approximate else " "
    room = max(columns.width - used - 1, 0)
    return [*segments, (entropy.rjust(room)[-room:] if room else "", faint), (approximate, faint)]


def _layer_word(facts: RowFacts) -> str:
    if facts.layer == facts.layers:
        return "own" if facts.out_normed else "out"
    return "emb" if facts.layer == 0 else ""


def _mark(facts: RowFacts, palette: Palette, ascii_only: bool) -> Segments:
    """The answer is top-1 from the formation row (a dot) to the end (a line)."""
    if facts.formation is None or facts.layer < facts.formation or facts.struck:
        return [(" " * _MARK, palette.faint)]
    if facts.layer == facts.formation:
        return [(("*" if ascii_only else "●").ljust(_MARK), palette.answer)]
    return [(("|" if ascii_only else "│").ljust(_MARK), palette.answer_bar)]


def _token(
    token: Token | None, facts: RowFacts, columns: Columns, palette: Palette, ascii_only: bool
) -> Segments:
    if token is None:
        return [(" " * columns.each, palette.faint)]
    is_answer = token.id == facts.answer
    text_style, bar_style = palette.text, palette.bar
    if is_answer:
        text_style, bar_style = palette.answer, palette.answer_bar
    if facts.struck:
        text_style = bar_style = palette.struck
    shown = fit_pieces(
        show_pieces(token.text, ascii_only=ascii_only), columns.token, ascii_only=ascii_only
    )
    segments: Segments = [("".join(piece.text for piece in shown) + " ", text_style)]
    if columns.bar:
        bar = probability_bar(token.probability, columns.bar, ascii_only=ascii_only)
        segments.append((bar + " ", bar_style))
    segments.append((figure(token.probability), text_style))
    segments.append((" " * columns.gap, palette.text))
    return segments


def _ordinal(number: int) -> str:
    ending = (
        "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    )
    return f"{number}{ending}"
