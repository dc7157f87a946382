"""The detail of the layer under the cursor: its top tokens, as many as fit, and its figures."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.strip import Strip
from textual.widget import Widget

from tui.state.run_view import RunView
from tui.text.show import plain_line
from tui.views.detail.detail_rows import MOST, DetailLook, capacity, detail_lines
from tui.widgets.captions import put_subtitle
from tui.widgets.strips import redraw_changes, strip_of
from tui.widgets.styles import Segments
from tui.widgets.view_context import ViewContext


class Detail(Widget):
    """Shows the layer detail; only the cells that differ from the last shown row are drawn."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "detail--faint",
        "detail--answer",
    }

    def __init__(self, context: ViewContext) -> None:
        super().__init__()
        self._ascii = context.ascii_only
        self._asker = context.asker
        self._deepened: set[tuple[str, int, int, int]] = set()
        self._run: RunView | None = None
        self._row = 0
        self._first = 0
        """How many of the top tokens are scrolled out above."""
        self._strips: list[Strip] = []
        self._drawn: object = None
        """The facts from which the strips were drawn."""
        self._look: DetailLook | None = None

    @property
    def capacity(self) -> int:
        """How many tokens fit."""
        return capacity(*self.size)

    def show(self, run: RunView | None, row: int) -> None:
        """Show a row of a run."""
        if run is None or self._run is None or run.run.id != self._run.run.id:
            self._first = 0
        self._run, self._row = run, row
        self._redraw()

    def scroll_tokens(self, pages: float) -> str:
        """Scroll through the tokens of the row, reading more where it holds too few; return why
        that is not possible, or nothing."""
        run, before, room = self._run, self._skipped, self.capacity
        reading = run.reading(self._row) if run is not None else None
        if run is None or reading is None or not room:
            return "no tokens to scroll through"
        step = round(pages * room) or (1 if pages > 0 else -1)
        self._first = min(max(before + step, 0), MOST - room)
        self._redraw()
        if self._first == before:
            return f"no more than {MOST} tokens of a row are shown" if step > 0 else ""
        if self._skipped != before or self._wish(self._row) in self._deepened:
            return ""
        self._first = before
        reason = self._asker.why_not(run)
        return f"the run holds {len(reading.top)} tokens of this row; {reason}" if reason else ""

    @property
    def _skipped(self) -> int:
        """How many tokens are scrolled out now: as many as are wanted, if so many are known."""
        reading = self._run.reading(self._row) if self._run is not None else None
        held = len(reading.top) if reading is not None else 0
        return min(self._first, max(held - self.capacity, 0))

    def _wish(self, row: int) -> tuple[str, int, int, int]:
        run = self._run
        assert run is not None
        return run.run.id, run.run.position, row, self._first + self.capacity

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll through the tokens."""
        event.stop()
        self.scroll_tokens(0.25)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll back."""
        event.stop()
        self.scroll_tokens(-0.25)

    def _redraw(self) -> None:
        self._deepen()
        if self._strips and self._facts() == self._drawn:
            return
        before, self._strips = self._strips, self._draw()
        redraw_changes(self, before, self._strips)

    def _deepen(self) -> None:
        """Request more of a row's tokens if more fit than the run holds, and as many of the row
        before, to show how far tokens have moved."""
        run, room = self._run, self.capacity
        if run is None:
            return
        for row in (self._row - 1, self._row):
            known = run.reading(row)
            wish, wanted = self._wish(row), self._first + room
            if known is None or wanted <= len(known.top) or wish in self._deepened:
                continue
            if self._asker.deepen(run, row, wanted):
                self._deepened.add(wish)  # only once: a small vocabulary may have no more

    def render_line(self, y: int) -> Strip:
        """Draw a line from what `show` has prepared."""
        if len(self._strips) != self.size.height:
            self._strips = self._draw()
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(self.size.width, self.rich_style)

    def on_resize(self) -> None:
        """Draw the lines again for the new size."""
        self._strips = []

    def notify_style_update(self) -> None:
        """Redraw with the colours of the new theme."""
        super().notify_style_update()
        self._look = None
        self._strips = []

    def _facts(self) -> object:
        """Return everything on which the drawing depends, besides the theme."""
        run, row = self._run, self._row
        if run is None:
            return self.size, self._missing
        answer = run.answer
        return (
            self.size,
            self._skipped,
            self._missing,
            run.reading(row),
            run.reading(row - 1),
            answer.id if answer is not None else None,
            run.answer_name,
        )

    def _draw(self) -> list[Strip]:
        self._drawn = self._facts()
        self._say_place()
        look = self._colours()
        size = self.size
        lines = self._lines(look)
        lines += [[] for _ in range(size.height - len(lines))]
        return [strip_of(line, size.width, look.text) for line in lines[: size.height]]

    def _say_place(self) -> None:
        """Say in the lower border which tokens are shown, once they are not the first."""
        reading = self._run.reading(self._row) if self._run is not None else None
        first = self._skipped
        held = len(reading.top) if reading is not None else 0
        last = min(first + self.capacity, held)
        put_subtitle(self, f"{first + 1}-{last} of {held}" if first else "")

    def _lines(self, look: DetailLook) -> list[Segments]:
        reading = self._run.reading(self._row) if self._run else None
        if self._run is None or reading is None:
            return [[(self._missing, look.faint)]]
        answer = self._run.answer
        return detail_lines(
            reading,
            self._run.reading(self._row - 1),
            answer.id if answer else None,
            self.size,
            look,
            first=self._skipped,
            answer_name=self._run.answer_name,
            ascii_only=self._ascii,
        )

    @property
    def _missing(self) -> str:
        if self._run is None:
            return " nothing read yet"
        return f" {plain_line(self._run.blank, ascii_only=self._ascii) or 'not read'}"

    def _colours(self) -> DetailLook:
        if self._look is None:
            base = self.rich_style
            self._look = DetailLook(
                text=base,
                faint=base + self.get_component_rich_style("detail--faint"),
                answer=base + self.get_component_rich_style("detail--answer"),
            )
        return self._look
