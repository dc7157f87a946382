"""Lays out the grid's head and rows in cells; pure, so that it can be tested without an app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.style import Style

from engine.records import PromptToken
from tui.state.grid_cells import Cells, GridCell
from tui.state.heats import Heat
from tui.state.prompt_spans import Span, Spans
from tui.text.show import display_text
from tui.widgets.heat_look import HeatLook
from tui.widgets.places import PICTURE, READ, READ_ASCII, SINK, SINK_ASCII
from tui.widgets.styles import GUTTER, Segments, Styles

CELL: Final = 9
"""Cells of text in a column; one more, before it, is for the cursor."""
EACH: Final = CELL + 1
_LAYER: Final = 4  # "12  "
LEFT: Final = _LAYER + GUTTER
"""Cells before the first column."""

CURSOR, CURSOR_ASCII = "▌", ">"


@dataclass(frozen=True)
class GridFacts:
    """Everything on which the drawing of the grid depends, except its width and colours."""

    tokens: Sequence[PromptToken]
    spans: Spans
    first: int
    """The index of the first visible span."""
    count: int
    """How many spans are visible at most."""
    place: int
    """The position under the cursor."""
    read: int
    """The run's own position."""
    rows: int
    cells: Cells | None = None
    hues: Mapping[int, int] = field(default_factory=dict)
    answer: int | None = None
    heat: Heat = Heat.PROBABILITY
    word: int | None = None
    """The token whose probability is the heat."""
    struck: bool = False

    @property
    def visible(self) -> tuple[Span, ...]:
        """The spans that have a column."""
        return self.spans.all[self.first : self.first + self.count]

    def shown(self, row: int, span: Span) -> tuple[GridCell | None, int]:
        """Return the cell that a column shows, and the step of its heat. A folded picture shows
        the patch under the cursor, or else the token that is best at most of its patches."""
        cells = self.cells
        if cells is None:
            return None, 0
        position = self.place if span.first <= self.place <= span.last else span.first
        if span.folded and position != self.place:
            found = cells.common(row, span.first, span.last)
            return (found[0], 0) if found is not None else (None, 0)
        return cells.cell(row, position), self.step(row, position)

    def answer_at(self, position: int) -> int | None:
        """Return the token that is drawn in the answer's colour at a position."""
        return self.answer

    def step(self, row: int, position: int) -> int:
        """Return the step of a cell's heat."""
        return self.heat.step(heat_of(self.cells, self.heat, self.word, row, position))


def heat_of(
    cells: Cells | None, heat: Heat, word: int | None, row: int, position: int
) -> float | None:
    """Return the value that a cell's colour shows; None where it is not known."""
    cell = cells.cell(row, position) if cells is not None else None
    if cells is None or cell is None:
        return None
    match heat:
        case Heat.PROBABILITY:
            return cell.probability
        case Heat.ENTROPY:
            return cell.entropy
        case Heat.KL:
            return cell.kl
        case Heat.WORD:
            return None if word is None else cells.word(word, row, position)


def columns_in(width: int) -> int:
    """Return how many columns fit into a list of this width."""
    return max((width - LEFT) // EACH, 1)


def first_visible(first: int, here: int, count: int, total: int) -> int:
    """Return the first visible column such that the cursor's is visible: it stays as it is while
    that holds, since every scroll draws all of the grid."""
    first = min(max(first, 0), max(total - count, 0))
    if first <= here < first + count:
        return first
    wanted = here - count + 1 if here < first else here
    return min(max(wanted, 0), max(total - count, 0))


def head_segments(
    facts: GridFacts, line: int, width: int, styles: Styles, *, ascii_only: bool
) -> Segments:
    """Return a line of the head: the positions with their marks, or the input tokens."""
    name = "row" if line else "at"
    segments: Segments = [(" " * GUTTER + name.rjust(3) + " ", styles.faint)]
    for span in facts.visible:
        here = span.first <= facts.place <= span.last
        mark = (CURSOR_ASCII if ascii_only else CURSOR) if here else " "
        segments.append((mark, styles.cursor))
        text = _position(facts, span, ascii_only) if line == 0 else _token(facts, span, ascii_only)
        style = styles.text if line else styles.faint
        if line == 0 and span.first <= facts.read <= span.last:
            style = styles.answer
        elif line and facts.tokens[span.first].part == "template":
            style = styles.faint
        segments.append((text, style))
    return segments


def _position(facts: GridFacts, span: Span, ascii_only: bool) -> str:
    here = span.first <= facts.place <= span.last
    text = str(facts.place if here else span.first)
    if span.folded and not here:
        text = f"{span.first}-{span.last}"
    if span.first <= facts.read <= span.last:
        text = f"{READ_ASCII if ascii_only else READ}{text}"
    sinks = facts.cells.sinks if facts.cells is not None else frozenset()
    if any(span.first <= sink <= span.last for sink in sinks):
        text += SINK_ASCII if ascii_only else SINK
    return text[:CELL].ljust(CELL)


def _token(facts: GridFacts, span: Span, ascii_only: bool) -> str:
    token = facts.tokens[span.first]
    if token.kind != "image":
        return display_text(token.text, CELL, ascii_only=ascii_only)
    if not span.folded:
        return ("[patch]" if ascii_only else f"{PICTURE} patch").ljust(CELL)
    here = span.first <= facts.place <= span.last
    count = f"{facts.place - span.first + 1}/{span.count}" if here else f"{span.count}"
    text = f"[{count}]" if ascii_only else f"{PICTURE} {count}"
    return text[:CELL].ljust(CELL)


def row_segments(
    facts: GridFacts, row: int, cursor: bool, styles: Styles, look: HeatLook, *, ascii_only: bool
) -> Segments:
    """Return a row without its gutter; `cursor` says whether it is the cursor's."""
    segments: Segments = [(f"{row:>3} ", styles.faint)]
    for span in facts.visible:
        cell, step = facts.shown(row, span)
        here = cursor and span.first <= facts.place <= span.last
        mark, style = look.sign(step if cell is not None else 0), styles.faint
        if here:
            mark, style = CURSOR_ASCII if ascii_only else CURSOR, styles.cursor
        segments.append((mark, style))
        segments.append(_cell(facts, span, cell, step, styles, look, ascii_only))
    return segments


def _cell(
    facts: GridFacts,
    span: Span,
    cell: GridCell | None,
    step: int,
    styles: Styles,
    look: HeatLook,
    ascii_only: bool,
) -> tuple[str, Style]:
    if cell is None:
        return " " * CELL, styles.text
    text = display_text(cell.text, CELL, ascii_only=ascii_only)
    style = styles.of_hue(facts.hues.get(cell.id))[0]
    if cell.id == facts.answer_at(span.first):
        style = styles.answer
    if facts.struck:
        style = styles.struck
    return text, style + look.background(step)
