"""The detail of the layer under the cursor: its top tokens, as many as fit, and its figures."""

from __future__ import annotations

from typing import ClassVar

from textual.strip import Strip
from textual.widget import Widget

from tui.state.run_view import RunView
from tui.text.show import plain_line
from tui.views.detail.detail_rows import DetailLook, capacity, detail_lines
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
        self._run, self._row = run, row
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
            wish = (run.run.id, run.run.position, row, room)
            if known is None or room <= len(known.top) or wish in self._deepened:
                continue
            if self._asker.deepen(run, row, room):
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
            self._missing,
            run.reading(row),
            run.reading(row - 1),
            answer.id if answer is not None else None,
            run.answer_name,
        )

    def _draw(self) -> list[Strip]:
        self._drawn = self._facts()
        look = self._colours()
        size = self.size
        lines = self._lines(look)
        lines += [[] for _ in range(size.height - len(lines))]
        return [strip_of(line, size.width, look.text) for line in lines[: size.height]]

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
