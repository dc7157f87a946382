"""What is known of the layer under the cursor: its top-10, and the figures of the row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from engine.records import LayerReading, Token
from tui.numbers import figure, number
from tui.panes.bars import line_bar
from tui.panes.strips import changed_span, strip_of
from tui.panes.table_rows import Segments
from tui.show import display_text
from tui.state.run_view import RunView

TOP = 10
_TWO_COLUMNS_FROM = 64
_AROUND_TOKEN = 20
"""Cells of an entry beside its token and its bar."""
_LEAST_TOKEN, _MOST_TOKEN = 4, 20
_LEAST_BAR, _MOST_BAR = 4, 16


@dataclass(frozen=True)
class _Look:
    text: Style
    faint: Style
    answer: Style


class Detail(Widget):
    """Draws only the cells that differ from the row shown before."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "detail--faint",
        "detail--answer",
    }

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__(id="detail")
        self._ascii = ascii_only
        self._run: RunView | None = None
        self._row = 0
        self._strips: list[Strip] = []
        self._look: _Look | None = None

    def show(self, run: RunView | None, row: int) -> None:
        """Show a row of a run."""
        self._run, self._row = run, row
        before, self._strips = self._strips, self._draw()
        if len(before) != len(self._strips):
            self.refresh()
            return
        regions = []
        for y, (old, new) in enumerate(zip(before, self._strips, strict=True)):
            span = changed_span(old, new)
            if span is not None:
                regions.append(Region(span[0], y, span[1] - span[0], 1))
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        """Draw a line from what `show` has prepared."""
        if len(self._strips) != self.size.height:
            self._strips = self._draw()
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(self.size.width, self.rich_style)

    def on_resize(self) -> None:
        """The lines depend on the size."""
        self._strips = []

    def notify_style_update(self) -> None:
        """The theme has changed."""
        super().notify_style_update()
        self._look = None
        self._strips = []

    def _draw(self) -> list[Strip]:
        look = self._colours()
        size = self.size
        lines = self._lines(look, size.width)
        lines += [[] for _ in range(size.height - len(lines))]
        return [strip_of(line, size.width, look.text) for line in lines[: size.height]]

    def _lines(self, look: _Look, width: int) -> list[Segments]:
        reading = self._reading()
        if self._run is None or reading is None:
            waiting = self._run is not None
            return [[(" not read" if waiting else " nothing read yet", look.faint)]]
        answer = self._run.answer
        top = reading.top[:TOP]
        columns = 1 if self.size.height > TOP or width < _TWO_COLUMNS_FROM else 2
        half = -(-len(top) // columns)
        each = width // columns
        lines = [self._summary(reading, look)]
        for index in range(half):
            line: Segments = []
            for place in range(index, len(top), half):
                is_answer = answer is not None and top[place].id == answer.id
                line.append(self._entry(place, top[place], each, is_answer, look))
            lines.append(line)
        return lines

    def _reading(self) -> LayerReading | None:
        rows = self._run.rows if self._run else []
        return next((row for row in rows if row.layer == self._row), None)

    def _summary(self, reading: LayerReading, look: _Look) -> Segments:
        gap = "   "
        facts = [f" layer {reading.layer:<3}"]
        facts.append(f"entropy {number(reading.entropy):<7}")
        facts.append(f"rms {number(reading.rms):<7}")
        if reading.answer is not None:
            rank = f"{reading.answer.rank:<6}"
            facts.append(f"answer rank {rank} {figure(reading.answer.probability).strip()}")
        if reading.approximate:
            sign = "~" if self._ascii else "≈"
            reason = display_text(reading.approximate, spaces=False, ascii_only=self._ascii)
            facts.append(f"{sign} {reason}")
        return [(gap.join(facts), look.faint)]

    def _entry(
        self, place: int, token: Token, width: int, is_answer: bool, look: _Look
    ) -> tuple[str, Style]:
        """One token: place, text, id, figure, bar. All in one style: each change of style costs
        forty bytes, and a rest of the cursor must stay cheap."""
        room = width - _AROUND_TOKEN
        token_width = max(min(room - _LEAST_BAR, _MOST_TOKEN), _LEAST_TOKEN)
        bar_width = max(min(room - token_width, _MOST_BAR), 0)
        shown = display_text(token.text, token_width, ascii_only=self._ascii)
        bar = line_bar(token.probability, bar_width, ascii_only=self._ascii)
        text = f"{place + 1:>3} {shown} {token.id:>7} {figure(token.probability)} {bar} "
        return text, look.answer if is_answer else look.text

    def _colours(self) -> _Look:
        if self._look is None:
            base = self.rich_style
            self._look = _Look(
                text=base,
                faint=base + self.get_component_rich_style("detail--faint"),
                answer=base + self.get_component_rich_style("detail--answer"),
            )
        return self._look
