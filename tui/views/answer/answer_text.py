"""The text of an answer, each token tinted by a number of it."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip

from tui.state.tints import Tint
from tui.views.answer.along import Along
from tui.views.answer.text_lines import TextLine, line_of, text_lines
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.heat_look import SHADE_CLASSES, HeatLook, heat_look, shades_css
from tui.widgets.strips import strip_of
from tui.widgets.styles import Segments

_REVERSED = Style(reverse=True)


class AnswerText(DrawnLines):
    """Shows as many lines of the answer as it has room for, around the token under the cursor.
    Where there are no colours to tint with, a line of signs stands below every line."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*SHADE_CLASSES, "answer-text--faint"}
    DEFAULT_CSS = (
        "AnswerText { height: 2; }\n"
        "AnswerText > .answer-text--faint { color: $faint; }\n" + shades_css("AnswerText")
    )

    class TokenPicked(Message):
        """A token has been clicked."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def __init__(self, along: Along, *, ascii_only: bool) -> None:
        super().__init__()
        self._along = along
        self._ascii = ascii_only
        self._first = 0
        self._lines: tuple[TextLine, ...] = ()
        self._of: tuple[object, int, int] | None = None
        """What the lines were broken for: the steps, their version and the width."""

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`."""
        width, height, steps = self.size.width, self.size.height, self._along.steps
        of = (steps, steps.version, width)
        if of != self._of:
            self._lines = text_lines(
                steps.pieces, width - 1, ended=steps.ended, ascii_only=self._ascii
            )
            self._of = of
        look = heat_look(self, ascii_only=self._ascii)
        tinted = self._along.tint is not Tint.NOTHING
        each = self._lines_each()
        room = max(height // each, 1)
        here = line_of(self._lines, self._along.step)
        if not self._first <= here < self._first + room:
            self._first = here if here < self._first else here - room + 1
        self._first = min(self._first, max(len(self._lines) - room, 0))
        tints = self._along.tint.steps(steps) if tinted else (0,) * steps.count
        strips = []
        for line in self._lines[self._first : self._first + room]:
            strips.append(strip_of(self._words(line, tints, look), width, self.rich_style))
            if each == 2:
                strips.append(strip_of(self._signs(line, tints, look), width, self.rich_style))
        blank = strip_of([], width, self.rich_style)
        return [*strips, *[blank] * max(height - len(strips), 0)]

    def _lines_each(self) -> int:
        """Return how many lines of the screen a line of the answer takes."""
        tinted = self._along.tint is not Tint.NOTHING
        return 1 if heat_look(self, ascii_only=self._ascii).backgrounds or not tinted else 2

    def _words(self, line: TextLine, tints: tuple[int, ...], look: HeatLook) -> Segments:
        segments: Segments = [(" ", self.rich_style)]
        for piece in line:
            style = self.rich_style + look.background(tints[piece.token])
            if piece.token == self._along.step:
                style += _REVERSED
            segments.append((piece.text, style))
        return segments

    def _signs(self, line: TextLine, tints: tuple[int, ...], look: HeatLook) -> Segments:
        faint = self.rich_style + self.get_component_rich_style("answer-text--faint")
        signs = " "
        for piece in line:
            blanks = len(piece.text) - len(piece.text.lstrip())
            sign = look.sign(tints[piece.token]) if piece.begins and piece.width > blanks else ""
            signs += (" " * blanks + sign).ljust(piece.width)
        return [(signs, faint)]

    def on_click(self, event: events.Click) -> None:
        """Tell the screen which token has been clicked."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        index, x = self._first + offset.y // self._lines_each(), 1
        for piece in self._lines[index] if index < len(self._lines) else ():
            if x <= offset.x < x + piece.width:
                self.post_message(self.TokenPicked(piece.token))
                return
            x += piece.width
