"""The grid: the best token of every row at every position."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.timer import Timer

from engine.events import Event
from tui.state.grid_cells import GridCell
from tui.state.heats import Heat
from tui.state.run_view import RunView
from tui.text.numbers import figure, number
from tui.text.show import display_text
from tui.views.grid.filling import Filling
from tui.views.grid.grid_rows import (
    EACH,
    LEFT,
    GridFacts,
    columns_in,
    first_visible,
    head_segments,
    heat_of,
    row_segments,
)
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.explaining import Caption
from tui.widgets.heat_look import SHADE_CLASSES, HeatLook, heat_look, shades_css
from tui.widgets.places import PlaceChosen
from tui.widgets.row_list import RowList
from tui.widgets.styles import Segments, Styles
from tui.widgets.view_context import ViewContext

_HEAD = 2
_MOST_TOKEN = 16


class GridView(RowList):
    """Shows rows x positions; the cursor's row is the table's, and its column the position."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l,right", "column(1)", show=False),
        Binding("h,left", "column(-1)", show=False),
        Binding("enter", "app.do('unfold')", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {*SHADE_CLASSES}
    DEFAULT_CSS = shades_css("GridView")

    def __init__(self, context: ViewContext, method: str) -> None:
        super().__init__(ascii_only=context.ascii_only)
        self._filling = Filling(context)
        self.heat = Heat.PROBABILITY
        self._unfolded = False
        self._run: RunView | None = None
        self._place = 0
        self._chosen: PlaceChosen | None = None
        """The last place that the user has gone to here."""
        self._first = 0
        self._facts: GridFacts | None = None
        self._look: HeatLook | None = None
        self._due: Timer | None = None

    # ------------------------------------------------------------------ what is shown

    def show(self, run: RunView | None, row: int) -> None:
        """Show a run's grid, with the cursor in this row, and ask for what is missing of it."""
        before = self._run.own.run.id if self._run is not None else None
        self._run = run
        if run is not None and run.own.run.id != before:
            self._place = run.run.position
        elif self._is_ahead:
            row = self.cursor
        self._follow(row)
        self._draw()
        super().put_cursor(row)
        self._mark()

    def put_place(self, position: int, *, unfolded: bool) -> None:
        """Mark a position, before its rows have been read; show the picture as one column, or as
        one for each patch."""
        if self._is_ahead:
            position = self._place
        if (position, unfolded) != (self._place, self._unfolded):
            self._place, self._unfolded = position, unfolded
            self._draw()

    def next_heat(self) -> None:
        """Colour the cells by the next measure."""
        self.heat = self.heat.next
        self._follow(self.cursor)
        self._draw()

    def hear(self, events: Sequence[Event]) -> None:
        """Note how requests have ended; what has arrived is shown by `show`."""
        self._filling.hear(events)

    def on_hide(self) -> None:
        """Ask for nothing that cannot be seen."""
        self._stop_waiting()
        self._filling.forget()

    @property
    def word(self) -> tuple[int, str] | None:
        """The token whose probability can be the heat: the one that was tracked last, or else the
        answer."""
        run = self._run
        if run is None:
            return None
        tracked = (*run.own.run.tracked, *run.run.tracked)
        last = next((known for known in reversed(tracked) if known.why == "user"), None)
        if last is not None:
            return last.id, last.text
        answer = run.own.answer
        return None if answer is None else (answer.id, answer.text)

    # ------------------------------------------------------------------ rows

    @property
    def count(self) -> int:
        """Return the number of rows in the run, including those not read yet."""
        return self._facts.rows if self._facts is not None else 0

    @property
    def head_height(self) -> int:
        """Return the lines of the head: the positions, and the input tokens."""
        return _HEAD

    def captions(self) -> Iterable[Caption]:
        """Return what the positions and the rows are called; the rest are tokens."""
        return [Caption(line, 0, LEFT) for line in range(self.head_height) if self._facts]

    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw the positions or the input tokens."""
        if self._facts is None:
            return [(" nothing read yet" if line == 0 else "", styles.faint)]
        return head_segments(self._facts, line, width, styles, ascii_only=self._ascii)

    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw one row."""
        if self._facts is None:
            return []
        look = self._heat_look()
        return row_segments(
            self._facts, row, row == self.cursor, styles, look, ascii_only=self._ascii
        )

    def place_changed(self) -> None:
        """Say what the cell under the cursor holds, and what is under way."""
        self._caption()

    def notify_style_update(self) -> None:
        """Redraw with the colours of the new theme."""
        super().notify_style_update()
        self._look = None

    def on_resize(self) -> None:
        """Show as many columns as fit."""
        self.call_after_refresh(self._draw)

    # ------------------------------------------------------------------ moving

    def action_cursor(self, step: int) -> None:
        """Move the cursor by rows."""
        self._go_to_row(self.cursor + step)

    def action_page(self, pages: float) -> None:
        """Move the cursor by pages."""
        self._go_to_row(self.cursor + round(pages * max(self._visible_rows - 1, 1)))

    def action_edge(self, side: int) -> None:
        """Move the cursor to the first or the last row."""
        self._go_to_row(0 if side < 0 else self.count - 1)

    def action_column(self, step: int) -> None:
        """Move the cursor by positions."""
        if self._facts is not None:
            self._go_to(self._facts.spans.step(self._place, step), None)

    def on_click(self, event: events.Click) -> None:
        """Go to the clicked cell; a click in the head only goes to the position."""
        event.prevent_default()
        offset, facts = event.get_content_offset(self), self._facts
        if offset is None or facts is None:
            return
        row = offset.y - _HEAD + self.scroll_offset.y
        wanted = row if offset.y >= _HEAD and row < self.count else None
        index = (offset.x - LEFT) // EACH
        visible = facts.visible
        position = self._place
        if offset.x >= LEFT and index < len(visible):
            span = visible[index]
            position = self._place if span.first <= self._place <= span.last else span.first
        self._go_to(position, wanted)

    def _go_to_row(self, row: int) -> None:
        row = min(max(row, 0), max(self.count - 1, 0))
        if row != self.cursor:
            self._go_to(self._place, row)

    def _go_to(self, position: int, row: int | None) -> None:
        """Go to a place here at once, since the next key may come before the message."""
        if row is not None:
            super().put_cursor(row)
        self._place = position
        self._draw()
        self._chosen = PlaceChosen(position, row)
        self.post_message(self._chosen)

    @property
    def _is_ahead(self) -> bool:
        """Whether the app has yet to go where the user has gone here: what it shows until then is
        of the place before, from which the next key must not start."""
        return self._chosen is not None and not self._chosen.taken

    # ------------------------------------------------------------------ drawing

    def _mark(self) -> None:
        """Draw the cursor's cell, and say what it holds."""
        self.refresh_rows()
        self._caption()

    def _draw(self) -> None:
        run = self._run
        self._facts = None if run is None else self._facts_of(run)
        self.refresh_rows()
        self._caption()

    def _facts_of(self, run: RunView) -> GridFacts:
        own = run.own
        spans = own.prompt_spans(unfolded=self._unfolded)
        count = columns_in(self.size.width)
        self._first = first_visible(self._first, spans.index(self._place), count, len(spans))
        cells, word = own.cells, self.word
        return GridFacts(
            tokens=own.run.tokens,
            spans=spans,
            first=self._first,
            count=count,
            place=self._place,
            read=own.run.position,
            rows=own.run.layers + 1,
            cells=cells,
            hues=own.hues,
            answer=own.answer.id if own.answer is not None else None,
            heat=self.heat,
            word=word[0] if word is not None else None,
            struck=own.refused is not None or (cells is not None and cells.failed is not None),
        )

    def _follow(self, row: int) -> None:
        """Ask for what is missing, now or as soon as the pace allows."""
        self._stop_waiting()
        run, word = self._run, self.word
        if run is None or not self.display:
            return
        token = word[0] if word is not None else None
        wait = self._filling.follow(run, row, self.heat, token, self._visible())
        if wait is not None:
            self._due = self.set_timer(wait, lambda: self._follow(self.cursor))

    def _visible(self) -> tuple[int, ...]:
        """The positions of the columns on the screen; of a folded picture the one under the cursor,
        or its first."""
        facts = self._facts
        if facts is None:
            return ()
        shown = facts.spans.all[facts.first : facts.first + facts.count]
        return tuple(
            self._place if span.first <= self._place <= span.last else span.first for span in shown
        )

    def _stop_waiting(self) -> None:
        if self._due is not None:
            self._due.stop()
            self._due = None

    def _caption(self) -> None:
        run, facts = self._run, self._facts
        if run is None or facts is None:
            return
        caption, word = self.heat.caption, self.word
        if self.heat is Heat.WORD and word is not None:
            caption = f"{display_text(word[1], ascii_only=self._ascii)[:_MOST_TOKEN]}: {caption}"
        filling, cells = self._filling, run.own.cells
        cell = cells.cell(self.cursor, self._place) if cells is not None else None
        name = "grid" if run.run.question.norm else "grid, norm off"
        title = f"{name}, {caption}"
        limit = filling.limit(run)
        if limit:
            title = f"grid of what is visible: {limit}"
        if cells is not None and cells.failed:
            title = f"grid: {cells.failed}"
        elif filling.progress and not limit:
            title = f"{name}, {filling.progress}"
        elif filling.reason and cell is not None:
            title += f": {filling.reason}"
        put_title(self, self._fitted(title))
        put_subtitle(
            self, self._fitted(filling.reason if cell is None else self._cell_words(facts, cell))
        )

    def _fitted(self, text: str) -> str:
        """Return a line of the border; Textual would cut it with a sign that is no ASCII."""
        shown = display_text(text, spaces=False, ascii_only=self._ascii)
        room = max(self.size.width - 4, 1)
        if cell_len(shown) <= room:
            return shown
        return display_text(text, room, spaces=False, ascii_only=self._ascii).rstrip()

    def _cell_words(self, facts: GridFacts, cell: GridCell) -> str:
        """Return what a cell holds, each in a width of its own: a step changes few characters."""
        figures: dict[str, float | None] = {"entropy": cell.entropy, "rms": cell.rms}
        if self.heat is Heat.KL:
            figures = {"KL": cell.kl, **figures}
        elif self.heat is Heat.WORD:
            place = (self.cursor, self._place)
            figures = {"word": heat_of(facts.cells, self.heat, facts.word, *place), **figures}
        shown = display_text(cell.text, _MOST_TOKEN, ascii_only=self._ascii)
        words = [f"row {self.cursor:<2}", shown, figure(cell.probability)]
        return "  ".join([*words, *(f"{name} {number(of):<7}" for name, of in figures.items())])

    def _heat_look(self) -> HeatLook:
        if self._look is None:
            self._look = heat_look(self, ascii_only=self._ascii)
        return self._look
