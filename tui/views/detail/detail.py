"""The detail of the layer under the cursor: its top tokens, as many as fit, and its figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.strip import Strip
from textual.widget import Widget

from tui.state.run_view import KEPT, RunView
from tui.text.show import plain_line
from tui.views.detail.detail_captions import detail_captions
from tui.views.detail.detail_rows import DetailLook, capacity, detail_lines
from tui.widgets.captions import put_subtitle
from tui.widgets.explaining import Caption
from tui.widgets.strips import redraw_changes, strip_of
from tui.widgets.styles import Segments
from tui.widgets.view_context import ViewContext

Place = tuple[str, int, int]
"""A run's id, a position and a row."""


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
        self._asked: dict[Place, int] = {}
        """How many tokens have been asked for of a row."""
        self._run: RunView | None = None
        self._row = 0
        self._first = 0
        """How many of the top tokens are scrolled out above."""
        self._most = KEPT
        """How far the shown row is read at most; twice as far on request."""
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
        if self._run is not None and (run is None or _place(run, row) != self._here):
            self._leave_depth(self._run)
        self._run, self._row = run, row
        self._redraw()

    def scroll_tokens(self, pages: float) -> str:
        """Scroll through the tokens of the row, reading more where it holds too few; beyond KEPT of
        them, twice as many each time that the end is reached. Return what there is to say about it,
        such as why it is not possible."""
        run, before, room = self._run, self._skipped, self.capacity
        reading = run.reading(self._row) if run is not None else None
        if run is None or reading is None or not room:
            return "no tokens to scroll through"
        step = round(pages * room) or (1 if pages > 0 else -1)
        held, said = len(reading.top), ""
        if step > 0 and before + room >= self._limit:
            if self._limit == run.own.vocabulary:
                return f"these are all {held:,} tokens of the vocabulary"
            reason = self._asker.why_not(run)
            if reason:
                return f"these are the first {held:,} tokens of this row; {reason}"
            self._most *= 2
            run.keep_whole(run.run.position, (self._row - 1, self._row))
            said = f"reading the first {self._limit:,} tokens of this row"
        self._first = min(max(before + step, 0), max(self._limit - room, 0))
        self._redraw()
        is_asked = self._asked.get(self._here, 0) >= self._wanted
        if self._skipped != before or self._first == before or is_asked:
            return said
        self._first = before
        reason = self._asker.why_not(run) or "the model is busy"
        return f"the run holds {held:,} tokens of this row; {reason}"

    @property
    def _skipped(self) -> int:
        """How many tokens are scrolled out now: as many as are wanted, if so many are known."""
        reading = self._run.reading(self._row) if self._run is not None else None
        held = len(reading.top) if reading is not None else 0
        return min(self._first, max(held - self.capacity, 0))

    @property
    def _here(self) -> Place:
        assert self._run is not None
        return _place(self._run, self._row)

    @property
    def _limit(self) -> int:
        """How many tokens of the shown row there are at most, by what is known."""
        vocabulary = self._run.own.vocabulary if self._run is not None else None
        return self._most if vocabulary is None else min(self._most, vocabulary)

    @property
    def _wanted(self) -> int:
        """How many tokens are to be read: those that are shown and those above them; beyond KEPT
        all up to the limit at once."""
        shown = self._first + self.capacity
        return shown if shown <= KEPT else self._limit

    def _leave_depth(self, run: RunView) -> None:
        """Forget what lies beyond KEPT of the row that was shown, now or once it arrives."""
        if self._most > KEPT:
            self._most, self._first = KEPT, min(self._first, max(KEPT - self.capacity, 0))
            self._asked = {place: min(count, KEPT) for place, count in self._asked.items()}
            run.keep_whole()

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
        run = self._run
        if run is None:
            return
        for row in (self._row - 1, self._row):
            known, wanted, place = run.reading(row), self._wanted, _place(run, row)
            if known is None or wanted <= max(len(known.top), self._asked.get(place, 0)):
                continue
            if self._asker.deepen(run, row, wanted):
                self._asked[place] = wanted  # only once: a small vocabulary may have no more

    def captions(self) -> Iterable[Caption]:
        """Return those of the shown row."""
        reading = self._run.reading(self._row) if self._run is not None else None
        if reading is None:
            return ()
        return detail_captions(self.size, len(reading.top), self._skipped)

    def render_line(self, y: int) -> Strip:
        """Draw a line from what `show` has prepared."""
        if len(self._strips) != self.size.height:
            self._strips = self._draw()
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(self.size.width, self.rich_style)

    def on_hide(self) -> None:
        """Forget what lies beyond KEPT of the row that was shown."""
        if self._run is not None:
            self._leave_depth(self._run)

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
        put_subtitle(self, f"{first + 1:,}-{last:,} of {held:,}" if first else "")

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


def _place(run: RunView, row: int) -> Place:
    return run.run.id, run.run.position, row
