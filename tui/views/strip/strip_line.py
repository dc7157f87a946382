"""Lays out the prompt on one line; pure, so that it can be tested without an app."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.style import Style

from engine.records import PromptToken
from tui.state.prompt_spans import Span, Spans
from tui.text.show import display_text
from tui.widgets.places import PICTURE, READ, READ_ASCII, SINK, SINK_ASCII
from tui.widgets.styles import Segments

_MOST_TOKEN: Final = 24
"""Cells of one token; more of it is shown in the message line."""
_EDGE: Final = 2
"""Cells at either end, for the sign that the prompt goes on."""

_SIGNS: Final = {
    "template": ("", ""),
    "system": ("{", "}"),
    "picture": ("", ""),
    "prompt": ("«", "»"),
    "prefix": ("(", ")"),
    "answer": ("[", "]"),
}
"""What stands around the tokens of a part, so that parts can be told apart without colours."""
_SIGNS_ASCII: Final = {**_SIGNS, "prompt": ("<<", ">>")}


@dataclass(frozen=True)
class StripLook:
    """The styles of the strip, from the theme."""

    text: Style
    faint: Style
    system: Style
    picture: Style
    prefix: Style
    mark: Style
    answer: Style

    def of(self, part: str) -> Style:
        """Return the style of a part of the prompt."""
        return {
            "template": self.faint,
            "system": self.system,
            "picture": self.picture,
            "prefix": self.prefix,
            "answer": self.answer,
        }.get(part, self.text)


@dataclass(frozen=True)
class StripLine:
    """What is visible of a prompt."""

    segments: Segments
    first: int
    """The index of the first visible span."""
    places: tuple[tuple[int, int, int], ...]
    """Of each visible span: its first cell, the cell after it, and its first position."""

    def position_at(self, x: int) -> int | None:
        """Return the position of the token drawn in a cell; None where there is none."""
        return next((position for left, right, position in self.places if left <= x < right), None)


class StripText:
    """Says how every span of a prompt looks; only those that are asked for are made."""

    def __init__(
        self,
        tokens: Sequence[PromptToken],
        spans: Spans,
        read: int,
        sinks: Collection[int],
        *,
        ascii_only: bool,
    ) -> None:
        """`read` is the run's own position."""
        self.tokens, self.spans = tokens, spans
        self._read, self._sinks, self.ascii_only = read, sinks, ascii_only
        self._known: dict[int, tuple[str, str, str]] = {}

    def pieces(self, index: int, position: int) -> tuple[str, str, str]:
        """Return what stands before a span, its text and what stands after it."""
        span = self.spans.all[index]
        inside = span.folded and span.first <= position <= span.last
        if inside:
            return self._pieces(index, span, self._folded(span, position))
        if index not in self._known:
            self._known[index] = self._pieces(index, span, self._text(span))
        return self._known[index]

    def width(self, index: int, position: int) -> int:
        """Return how many cells a span takes."""
        return sum(cell_len(piece) for piece in self.pieces(index, position))

    def _pieces(self, index: int, span: Span, text: str) -> tuple[str, str, str]:
        signs = (_SIGNS_ASCII if self.ascii_only else _SIGNS)[span.part]
        read = span.first <= self._read <= span.last
        before = (READ_ASCII if self.ascii_only else READ) if read else " "
        if index == 0 or self.spans.all[index - 1].part != span.part:
            before += signs[0]
        after = (SINK_ASCII if self.ascii_only else SINK) if self._is_sink(span) else ""
        end = index + 1 == len(self.spans) or self.spans.all[index + 1].part != span.part
        return before, text, after + (signs[1] if end else "")

    def _is_sink(self, span: Span) -> bool:
        if not span.folded:
            return span.first in self._sinks
        return any(span.first <= sink <= span.last for sink in self._sinks)

    def _text(self, span: Span) -> str:
        if span.folded:
            return self._folded(span, None)
        token = self.tokens[span.first]
        if token.kind == "image":
            return "[patch]" if self.ascii_only else PICTURE
        text = display_text(token.text, ascii_only=self.ascii_only)
        if cell_len(text) > _MOST_TOKEN:
            return display_text(token.text, _MOST_TOKEN, ascii_only=self.ascii_only).rstrip()
        return text

    def _folded(self, span: Span, position: int | None) -> str:
        count = f"{span.count}" if position is None else f"{position - span.first + 1}/{span.count}"
        return f"[{count} patches]" if self.ascii_only else f"{PICTURE} {count}"


def strip_line(
    text: StripText, position: int, first: int, width: int, look: StripLook, *, reach: int = 0
) -> StripLine:
    """Return the line of `width` cells that shows a position; `first` is the span that was the
    first before, and stays it as long as the position is visible. Tokens before `reach` are struck
    out."""
    if not text.spans or width <= 2 * _EDGE + 1:
        return StripLine([], 0, ())
    here = text.spans.index(position)
    first = _first_visible(text, position, here, first, width - 2 * _EDGE)
    more, less = ("...", "...") if text.ascii_only else ("…", "…")
    segments: Segments = [((less[:_EDGE] if first else "").ljust(_EDGE), look.faint)]
    places: list[tuple[int, int, int]] = []
    x, index, count = _EDGE, first, len(text.spans)
    while index < count:
        before, shown, after = text.pieces(index, position)
        wide = text.width(index, position)
        if x + wide > width - _EDGE and index > first:
            break
        style = look.of(text.spans.all[index].part)
        if text.tokens[text.spans.all[index].first].kind == "special":
            style += Style(italic=True)
        if text.spans.all[index].last < reach:
            style += Style(strike=True)
        marked = style + Style(reverse=True) if index == here else style
        sign = look.mark if before[:1].strip() else style
        segments += [(before[:1], sign), (before[1:], style), (shown, marked), (after, style)]
        places.append((x, x + wide, text.spans.all[index].first))
        x += wide
        index += 1
    if index < count:
        segments += [(" " * max(width - 1 - x, 0), look.faint), (more[:1], look.faint)]
    return StripLine(segments, first, tuple(places))


def _first_visible(text: StripText, position: int, here: int, first: int, room: int) -> int:
    """Return the first span to draw: the one before while that shows the position; else another,
    which will stay for some steps."""
    first = min(first, len(text.spans) - 1)
    if first <= here:
        used = 0
        for index in range(first, here + 1):
            used += text.width(index, position)
            if used > room:
                break
        else:
            return first
    # Most of the line is free for what comes next on the side to which the cursor goes.
    start, used = _back(text, position, here, 0, room // 4 if here >= first else room * 3 // 4)
    # What is left free at the end of the prompt is used for what comes before.
    for index in range(here + 1, len(text.spans)):
        used += text.width(index, position)
        if used > room:
            return start
    return _back(text, position, start - 1, used, room)[0]


def _back(text: StripText, position: int, last: int, used: int, room: int) -> tuple[int, int]:
    """Return the first of the spans up to `last` that fit beside what is used, or the one after it;
    and how much is used then. The span under the cursor is always one of them."""
    start = last
    while start >= 0:
        wide = text.width(start, position)
        if used + wide > room and used:
            break
        used += wide
        start -= 1
    return start + 1, used
