"""Lays out one row of the table in cells; pure, so that it can be tested without an app."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from msgspec import structs
from rich.cells import cell_len
from rich.style import Style

from engine.records import LayerReading, Token
from engine.tables import Place
from tui.state.columns import FIGURE_COLUMNS
from tui.state.finding import matches
from tui.text.bars import probability_bar
from tui.text.numbers import FIGURE_WIDTH, figure, number, ordinal
from tui.text.show import display_text, plain_line
from tui.widgets.styles import FOUND, GUTTER, Segments, Styles

_LAYER: Final = 8  # "12 out  " or " 0 emb  "
_MARK: Final = 2
MARKS: Final = _LAYER + _MARK
"""Cells at the beginning of a row that hold its number and its marks."""
_APPROXIMATE: Final = 1
_WIDE_GAP_FROM: Final = 24
_LEAST_TOKEN: Final = 5
_WISHED_TOKEN: Final = 9
_LEAST_BAR: Final = 3
_SHORT_TOKEN: Final = 8
_SHORT_BAR: Final = 2
"""What a narrow column has room for."""
_MOST_BAR: Final = 16


@dataclass(frozen=True)
class Columns:
    """The visible token columns and the widths of their parts."""

    width: int
    first: int
    count: int
    token: int
    bar: int
    gap: int
    figures: tuple[str, ...] = ("entropy",)
    """The optional columns that fit, in order."""

    @property
    def each(self) -> int:
        """Cells of one token column, including the gap after it."""
        return self.token + (self.bar + 1 if self.bar else 0) + FIGURE_WIDTH + 1 + self.gap

    @property
    def figures_width(self) -> int:
        """Cells of the optional columns, including the sign of an approximate row before them."""
        return max(_widths(self.figures), _APPROXIMATE)


@dataclass(frozen=True)
class Followed:
    """The tracked token whose rank and probability have a column."""

    text: str
    hue: int | None
    probability: tuple[float | None, ...]
    rank: tuple[int | None, ...]


@dataclass(frozen=True)
class RowFacts:
    """Everything on which the drawing of one row depends."""

    layer: int
    layers: int
    reading: LayerReading | None
    answer: int | None = None
    """The answer's id, once it is known."""
    formation: int | None = None
    changed: bool = True
    """Whether top-1 differs from that of the row before; true for the first row."""
    hues: Mapping[int, int] = field(default_factory=dict)
    """Token id -> hue, for the tokens in this row."""
    followed: tuple[Place | None, int | None] = (None, None)
    """The followed token's place in this row, and its hue."""
    find: str = ""
    struck: bool = False
    out_normed: bool = False
    """Whether this is the last row of a run without norm, which still is the model's own output."""
    instead: str = ""
    """What to say in a row that has not been read."""
    until: int | None = None
    """The last of the rows that are folded into this one; None where none is."""


def plan_columns(
    width: int, top_k: int, first: int = 0, figures: tuple[str, ...] = ("entropy",)
) -> Columns:
    """Return the columns for a table of `width` cells: as many tokens as fit, the widest
    possible bars, and the rest for the text. Optional columns give way to the first token."""
    narrowest = _LEAST_TOKEN + 1 + FIGURE_WIDTH + 1
    free = width - GUTTER - _LAYER - _MARK
    kept: list[str] = []
    for name in figures:
        if free - _widths([*kept, name]) >= narrowest:
            kept.append(name)
    room = max(free - max(_widths(kept), _APPROXIMATE), 0)
    count = max(1, min(top_k, room // narrowest))
    first = max(0, min(first, top_k - count))
    each = room // count
    gap = 2 if each >= _WIDE_GAP_FROM else 1
    spare = each - gap - FIGURE_WIDTH - 1
    bar = 0
    if spare > _WISHED_TOKEN + _LEAST_BAR:
        beyond = spare - 1 - _WISHED_TOKEN - _LEAST_BAR
        bar = min(_LEAST_BAR + (beyond * 2 + 2) // 3, _MOST_BAR)
    elif spare > _SHORT_TOKEN + _SHORT_BAR:
        bar = spare - _SHORT_TOKEN - 1
    token = max(spare - (bar + 1 if bar else 0), 1)
    return Columns(width, first, count, token, bar, gap, tuple(kept))


def _widths(names: Iterable[str]) -> int:
    return sum(FIGURE_COLUMNS[name].width for name in names)


def header_segments(
    columns: Columns,
    styles: Styles,
    followed: Followed | None,
    *,
    answer_name: str = "answer",
    ascii_only: bool,
) -> Segments:
    """Return the column names; `answer_name` is what the answer is called at this position."""
    text = " " * GUTTER + "layer".rjust(5).ljust(_LAYER + _MARK)
    for index in range(columns.first, columns.first + columns.count):
        text += ordinal(index + 1).ljust(columns.each)
    room = columns.width - columns.figures_width
    segments: Segments = [(text[:room].ljust(room), styles.faint)]
    for name in columns.figures:
        column = FIGURE_COLUMNS[name]
        width = column.width - (name != "entropy")
        if name == "tracked" and followed is not None:
            title = display_text(followed.text, ascii_only=ascii_only)
            if cell_len(title) > width:
                title = display_text(followed.text, width, ascii_only=ascii_only)
            # It is right-aligned, like the figures below it.
            title = " " * (1 + width - cell_len(title)) + title
            segments.append((title, styles.of_hue(followed.hue)[0]))
        else:
            head = answer_name if name == "answer" else column.column.head
            segments.append((head.rjust(column.width), styles.faint))
    return segments if columns.figures else [*segments, (" " * _APPROXIMATE, styles.faint)]


def visible_facts(facts: RowFacts, columns: Columns) -> RowFacts:
    """Return the facts without what these columns do not show: rows for which they are equal look
    alike."""
    reading = facts.reading
    if reading is None:
        return replace(
            facts, answer=None, formation=None, changed=True, hues={}, followed=_NOT_FOLLOWED,
            find="", struck=False,
        )  # fmt: skip
    figures, formation = columns.figures, facts.formation
    top = reading.top[: columns.first + columns.count]
    ids = {token.id for token in top}
    if formation is not None and formation != facts.layer:
        formation = facts.layer - 1 if formation < facts.layer else None
    return replace(
        facts,
        reading=structs.replace(
            reading,
            top=top,
            kl_to_last=reading.kl_to_last if "kl" in figures else None,
            answer=reading.answer if "answer" in figures else None,
        ),
        answer=facts.answer if facts.answer in ids else None,
        formation=formation,
        hues={token: hue for token, hue in facts.hues.items() if token in ids},
        followed=facts.followed if "tracked" in figures else _NOT_FOLLOWED,
        instead="",
    )


def row_segments(
    facts: RowFacts, columns: Columns, styles: Styles, *, ascii_only: bool
) -> Segments:
    """Return one row without its gutter."""
    reading = facts.reading
    layer = f"{facts.layer:>3} {_layer_word(facts):<{_LAYER - 4}}"
    if reading is None:
        dot = plain_line(facts.instead, ascii_only=ascii_only) or ("." if ascii_only else "·")
        return [(layer + " " * _MARK + dot, styles.faint)]
    faint = styles.struck if facts.struck else styles.faint
    segments: Segments = [(layer, faint), *_mark(facts, styles, ascii_only)]
    for index in range(columns.first, columns.first + columns.count):
        token = reading.top[index] if index < len(reading.top) else None
        segments += _token(token, facts, columns, styles, ascii_only)
    used = GUTTER + _LAYER + _MARK + columns.count * columns.each
    segments.append((" " * max(columns.width - columns.figures_width - used, 0), faint))
    sign = ("~" if ascii_only else "≈") if reading.approximate else " "
    for name in columns.figures:
        text, style = _figure(name, facts, reading, styles, faint)
        # Every figure has a blank before it; the first blank is used by the sign.
        segments.append((sign + text[1:], style))
        sign = " "
    return segments if columns.figures else [*segments, (sign, faint)]


def _figure(
    name: str, facts: RowFacts, reading: LayerReading, styles: Styles, faint: Style
) -> tuple[str, Style]:
    column = FIGURE_COLUMNS[name]
    place, hue = facts.followed
    value = column.value(reading, place)
    style = faint
    if isinstance(value, Place):
        text = place_text(value)
        if not facts.struck:
            style = styles.answer_bar if name == "answer" else styles.of_hue(hue)[0]
    elif isinstance(value, float) and name == "entropy":
        text = f"{value:.2f}"
    else:
        text = number(value if isinstance(value, float) else None)
    return text.rjust(column.width), style


def place_text(place: Place) -> str:
    """Return a probability, and the rank in five cells."""
    if place.probability is None:
        return "-"
    rank = place.rank
    shown = "" if rank is None else f"#{rank}" if rank < 10000 else f"#{rank // 1000}k"
    return f"{figure(place.probability)} {shown:<5}"


def _layer_word(facts: RowFacts) -> str:
    if facts.until is not None:
        return f"-{facts.until}"
    if facts.layer == facts.layers:
        return "own" if facts.out_normed else "out"
    return "emb" if facts.layer == 0 else ""


def _mark(facts: RowFacts, styles: Styles, ascii_only: bool) -> Segments:
    """Return the mark beside a row: a ring where top-1 changes and dashes while it stays; from
    the formation row on, a dot and a line."""
    if facts.struck:
        return [(" " * _MARK, styles.faint)]
    if facts.formation is None or facts.layer < facts.formation:
        ring, dashes = ("o", ":") if ascii_only else ("○", "╎")
        return [((ring if facts.changed else dashes).ljust(_MARK), styles.faint)]
    dot, line = ("*", "|") if ascii_only else ("●", "│")
    if facts.layer == facts.formation:
        return [(dot.ljust(_MARK), styles.answer)]
    return [(line.ljust(_MARK), styles.answer_bar)]


def _token(
    token: Token | None, facts: RowFacts, columns: Columns, styles: Styles, ascii_only: bool
) -> Segments:
    if token is None:
        return [(" " * columns.each, styles.faint)]
    text_style, bar_style = styles.of_hue(facts.hues.get(token.id))
    if token.id == facts.answer:
        text_style, bar_style = styles.answer, styles.answer_bar
    if facts.struck:
        text_style = bar_style = styles.struck
    text = display_text(token.text, columns.token, ascii_only=ascii_only)
    found = bool(facts.find) and matches(token, facts.find)
    segments: Segments = [(text, text_style + FOUND if found else text_style), (" ", text_style)]
    if columns.bar:
        bar = probability_bar(token.probability, columns.bar, ascii_only=ascii_only)
        segments.append((bar + " ", bar_style))
    segments.append((figure(token.probability), text_style))
    segments.append((" " * columns.gap, styles.text))
    return segments


_NOT_FOLLOWED: Final[tuple[Place | None, int | None]] = (None, None)
