"""The columns of an answer: the best token of every row at every generated token."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.views.answer.along import Along
from tui.views.answer.answer_rows import HEAD, AnswerFacts, columns_of, head_segments
from tui.views.grid.grid_rows import EACH, LEFT, columns_in, first_visible, row_segments
from tui.widgets.explaining import Caption, Kind
from tui.widgets.heat_look import SHADE_CLASSES, HeatLook, heat_look, shades_css
from tui.widgets.row_list import RowList
from tui.widgets.styles import Segments, Styles


class AnswerGrid(RowList, can_focus=False, inherit_bindings=False):
    """Shows the steps of an answer; the screen moves its cursor."""

    BINDINGS: ClassVar[list[BindingType]] = []
    COMPONENT_CLASSES: ClassVar[set[str]] = {*SHADE_CLASSES}
    DEFAULT_CSS = shades_css("AnswerGrid")

    @dataclass
    class CellPicked(Message):
        """A cell has been clicked, or a token in the head."""

        step: int
        row: int | None

    def __init__(self, along: Along, *, ascii_only: bool) -> None:
        super().__init__(ascii_only=ascii_only)
        self._along = along
        self._facts: AnswerFacts | None = None
        self._first = 0
        self._look: HeatLook | None = None

    def show(self) -> None:
        """Show the steps as they are now, with the cursor at its place."""
        self._facts = self._facts_now()
        self.put_cursor(self._along.row)
        self.refresh_rows()

    @property
    def count(self) -> int:
        """Return the number of rows."""
        return self._along.run.run.layers + 1

    @property
    def head_height(self) -> int:
        """Return the lines of the head."""
        return HEAD

    def captions(self) -> Iterable[Caption]:
        """Return what the lines of the head are called, and the formation rows in the last one; the
        rest are tokens."""
        yield from (Caption(line, 0, LEFT) for line in range(HEAD) if self._facts)
        yield Caption(HEAD - 1, LEFT, kind=Kind.MARKS)

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the tokens' numbers, their texts or their formation rows."""
        if self._facts is None:
            return []
        return head_segments(self._facts, self._along.steps, line, styles, ascii_only=self._ascii)

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw one row."""
        if self._facts is None:
            return []
        if self._look is None:
            self._look = heat_look(self, ascii_only=self._ascii)
        here = row == self._along.row
        return row_segments(self._facts, row, here, styles, self._look, ascii_only=self._ascii)

    def on_click(self, event: events.Click) -> None:
        """Tell the screen which cell has been clicked; it moves the cursor."""
        event.prevent_default()
        offset, facts = event.get_content_offset(self), self._facts
        if offset is None or facts is None or offset.x < LEFT:
            return
        index, row = (offset.x - LEFT) // EACH, offset.y - HEAD + self.scroll_offset.y
        if index < len(facts.visible):
            wanted = row if offset.y >= HEAD and row < self.count else None
            self.post_message(self.CellPicked(facts.visible[index].first, wanted))

    def on_resize(self) -> None:
        """Show as many columns as fit."""
        super().on_resize()
        self.call_after_refresh(self.show)

    def notify_style_update(self) -> None:
        """Redraw with the colours of the new theme."""
        super().notify_style_update()
        self._look = None

    def _facts_now(self) -> AnswerFacts:
        along, count = self._along, columns_in(self.size.width)
        steps = along.steps
        # A growing answer scrolls by half of the columns at once, since each scroll draws them all.
        room = count // 2 if steps.count > count else 0
        self._first = first_visible(self._first, along.step, count, steps.count + room)
        return AnswerFacts(
            tokens=(),
            spans=columns_of(steps.count),
            first=self._first,
            count=count,
            place=along.step,
            read=-1,
            rows=self.count,
            cells=steps,
            hues=along.hues,
            heat=along.heat,
            struck=steps.failed is not None,
            answers=steps.tokens,
        )
