"""The table of layers: one Line-API widget, so that a cursor step costs a hundred bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.actions import table_bindings
from tui.panes.strips import changed_span, strip_of
from tui.panes.table_rows import (
    GUTTER,
    Columns,
    Followed,
    Palette,
    RowFacts,
    header_segments,
    plan_columns,
    row_segments,
)
from tui.state.finding import matches
from tui.state.run_view import RunView
from tui.state.table_look import TableLook
from tui.theme import HUES

_HEADER = 1
_EMPTY = (
    "",
    "  What the model would say after every layer appears here, row by row.",
    "",
    "  r    run the question           a    run all presets on this picture",
    "  e    edit the prompt            [ ]  step through the preset prompts",
    "  o    open a picture or a session",
    "  M    choose another model",
    "  ?    help, with every key",
)


class LensTable(ScrollView, can_focus=True):
    """Rows as plain data in, strips out; only what looks different is drawn again."""

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [*table_bindings()]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--text",
        "table--faint",
        "table--header",
        "table--bar",
        "table--answer",
        "table--answer-bar",
        "table--struck",
        "table--cursor",
        *(f"table--{kind}-{index}" for kind in ("hue", "hue-bar") for index in range(1, HUES + 1)),
    }

    @dataclass
    class CursorMoved(Message):
        """The cursor is on another row."""

        row: int

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__(id="table")
        self.cursor = 0
        self.touched = False
        """The user has moved the cursor; until then it may be put where it is useful."""
        self._ascii = ascii_only
        self._only_edge = False
        self._chosen = TableLook()
        self._first_column = 0
        self._followed: Followed | None = None
        self._facts: list[RowFacts] = []
        self._strips: dict[int, tuple[RowFacts, Strip]] = {}
        self._palette: Palette | None = None
        self._columns: Columns | None = None

    @property
    def columns(self) -> Columns:
        """The columns at the present width."""
        width = self.size.width
        if self._columns is None or self._columns.width != width:
            self._strips.clear()
            self._columns = self._plan(self._first_column)
        return self._columns

    def show(self, run: RunView | None, look: TableLook) -> None:
        """Show a run as it is now; call it again whenever it has changed."""
        self._whole_again()
        followed = _followed(run) if run else None
        whole = replace(look, find="") != replace(self._chosen, find="") or _title(
            followed
        ) != _title(self._followed)
        self._chosen, self._followed = look, followed
        if whole:
            self._forget_look()
        before = len(self._facts)
        self._facts = _facts_of(run, look, followed) if run else []
        size = Size(0, len(self._facts) + _HEADER if run else 0)
        if size != self.virtual_size:
            self.virtual_size = size
        self._say_place()
        self.cursor = min(self.cursor, max(len(self._facts) - 1, 0))
        if whole or len(self._facts) != before:
            self._strips.clear()
            self.refresh()
        else:
            self._refresh_changed()

    def watch_has_focus(self, has_focus: bool) -> None:
        """With the focus only the upper edge looks different: the rows are not written again."""
        self._only_edge = True
        super().watch_has_focus(has_focus)
        self.call_after_refresh(self._whole_again)

    def refresh(
        self,
        *regions: Region,
        repaint: bool = True,
        layout: bool = False,
        recompose: bool = False,
    ) -> Self:
        """Redraw some regions, or everything."""
        if self._only_edge and not (regions or layout or recompose):
            regions = (Region(-1, -1, self.size.width + 2, 1),)
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def _whole_again(self) -> None:
        self._only_edge = False

    def put_cursor(self, row: int) -> None:
        """Move the cursor to a row, into view if need be; never animated."""
        last = len(self._facts) - 1
        row = min(max(row, 0), max(last, 0))
        if last < 0 or row == self.cursor:
            return
        old, self.cursor = self.cursor, row
        if not self._reveal(row, jump=abs(row - old) > 1):
            self._refresh_gutter(old, row)
        self.post_message(self.CursorMoved(row))

    def reveal_row(self, row: int) -> None:
        """Scroll so that a row can be seen, without moving the cursor."""
        self._reveal(row, jump=False)

    def action_cursor(self, step: int) -> None:
        """Move the cursor by rows."""
        self.touched = True
        self.put_cursor(self.cursor + step)

    def action_page(self, pages: float) -> None:
        """Move the cursor by pages."""
        self.touched = True
        self.put_cursor(self.cursor + round(pages * max(self._visible_rows - 1, 1)))

    def action_edge(self, side: int) -> None:
        """Move the cursor to the first or the last row."""
        self.touched = True
        self.put_cursor(0 if side < 0 else len(self._facts) - 1)

    def action_columns(self, step: int) -> None:
        """Show later or earlier token columns, where not all fit."""
        columns = self._plan(self._first_column + step)
        if columns.first != self._first_column:
            self._first_column = columns.first
            self._forget_look()
            self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse points."""
        offset = event.get_content_offset(self)
        if offset is None or offset.y < _HEADER:
            return
        row = offset.y - _HEADER + self.scroll_offset.y
        if row < len(self._facts):
            self.touched = True
            self.put_cursor(row)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Say which rows can be seen: a scrollbar would cost a column, and a second layout."""
        super().watch_scroll_y(old_value, new_value)
        self._say_place()

    def on_resize(self) -> None:
        """The columns depend on the width; the cursor stays in view."""
        self._forget_look()
        self._say_place()
        self.call_after_refresh(self._reveal, self.cursor, jump=False)

    def notify_style_update(self) -> None:
        """The theme has changed."""
        super().notify_style_update()
        if not self._only_edge:
            self._palette = None
            self._forget_look()

    def render_line(self, y: int) -> Strip:
        """Draw a line of the screen: the header, or a row behind its gutter."""
        width = self.size.width
        palette = self._colours()
        if not self._facts:
            line = _EMPTY[y] if y < len(_EMPTY) else ""
            return strip_of([(line[:width], palette.faint)], width, palette.text)
        if y < _HEADER:
            header = header_segments(self.columns, palette, self._followed, ascii_only=self._ascii)
            return strip_of(header, width, palette.text)
        row = y - _HEADER + self.scroll_offset.y
        if row >= len(self._facts):
            return Strip.blank(width, palette.text)
        body = self._body(row)
        marker = (">" if self._ascii else "▌") if row == self.cursor else " "
        return Strip([Segment(marker, palette.cursor), *body], width)

    @property
    def _visible_rows(self) -> int:
        return max(self.scrollable_content_region.height - _HEADER, 1)

    def _plan(self, first: int) -> Columns:
        chosen = self._chosen
        return plan_columns(self.size.width, chosen.top_k, first, chosen.figures)

    def _body(self, row: int) -> Strip:
        facts = self._facts[row]
        cached = self._strips.get(row)
        if cached is not None and cached[0] == facts:
            return cached[1]
        palette = self._colours()
        segments = row_segments(facts, self.columns, palette, ascii_only=self._ascii)
        strip = strip_of(segments, max(self.size.width - GUTTER, 0), palette.text)
        self._strips[row] = (facts, strip)
        return strip

    def _refresh_changed(self) -> None:
        """Redraw the cells of visible rows that look different now."""
        top = self.scroll_offset.y
        regions: list[Region] = []
        for row in range(top, min(top + self._visible_rows, len(self._facts))):
            cached = self._strips.get(row)
            span = changed_span(cached[1] if cached else None, self._body(row))
            if span is not None:
                y = row - top + _HEADER
                regions.append(Region(GUTTER + span[0], y, span[1] - span[0], 1))
        if regions:
            self.refresh(*regions)

    def _refresh_gutter(self, *rows: int) -> None:
        top = self.scroll_offset.y
        regions = [
            Region(0, row - top + _HEADER, GUTTER, 1)
            for row in rows
            if 0 <= row - top < self._visible_rows
        ]
        if regions:
            self.refresh(*regions)

    def _reveal(self, row: int, *, jump: bool) -> bool:
        """Scroll a row into view, half a page at a time; return whether that was needed.

        Textual repaints the whole viewport for every scrolled line, so a held key would write
        megabytes if each step scrolled by one.
        """
        height = self._visible_rows
        top = self.scroll_offset.y
        if top <= row < top + height:
            return False
        half = max(height // 2, 1)
        if row < top:
            target = row if jump else row - half + 1
        else:
            target = row - height + (1 if jump else half)
        limit = max(len(self._facts) - height, 0)
        self.scroll_to(y=min(max(target, 0), limit), animate=False, immediate=True, force=True)
        return True

    def _say_place(self) -> None:
        top, height, rows = self.scroll_offset.y, self._visible_rows, len(self._facts)
        place = "" if rows <= height else f"{top}-{min(top + height, rows) - 1} of {rows - 1}"
        if self.border_subtitle != place:
            self.border_subtitle = place

    def _forget_look(self) -> None:
        self._columns = None
        self._strips.clear()

    def _colours(self) -> Palette:
        if self._palette is None:
            base = self.rich_style
            self._palette = Palette(
                text=self._component("text", base),
                faint=self._component("faint", base),
                header=self._component("header", base),
                bar=self._component("bar", base),
                answer=self._component("answer", base),
                answer_bar=self._component("answer-bar", base),
                struck=self._component("struck", base),
                cursor=self._component("cursor", base),
                hues=self._numbered("hue", base),
                hue_bars=self._numbered("hue-bar", base),
            )
        return self._palette

    def _numbered(self, name: str, base: Style) -> tuple[Style, ...]:
        return tuple(self._component(f"{name}-{index}", base) for index in range(1, HUES + 1))

    def _component(self, name: str, base: Style) -> Style:
        return base + self.get_component_rich_style(f"table--{name}")


def _facts_of(run: RunView, look: TableLook, followed: Followed | None) -> list[RowFacts]:
    answer = run.answer
    layers = run.run.layers
    readings = {reading.layer: reading for reading in run.rows}
    struck = run.refused is not None
    formation = run.formation
    hues = run.hues
    facts: list[RowFacts] = []
    before: int | None = None
    for layer in range(layers + 1):
        reading = readings.get(layer)
        top = reading.top if reading else ()
        leader = top[0].id if top else None
        facts.append(
            RowFacts(
                layer=layer,
                layers=layers,
                reading=reading,
                answer=answer.id if answer else None,
                formation=formation,
                changed=leader != before,
                hues={token.id: hues[token.id] for token in top if token.id in hues},
                followed=_place_in(followed, layer),
                find=look.find if any(matches(token, look.find) for token in top) else "",
                struck=struck,
                out_normed=layer == layers and not run.run.question.norm,
            )
        )
        before = leader
    return facts


def _followed(run: RunView) -> Followed | None:
    """The token that the user has tracked last."""
    tracked = [token for token in run.run.tracked if token.why == "user"]
    if not tracked:
        return None
    last = tracked[-1]
    return Followed(last.text, run.hues.get(last.id), last.probability, last.rank)


def _title(followed: Followed | None) -> tuple[str, int | None] | None:
    return (followed.text, followed.hue) if followed else None


def _place_in(
    followed: Followed | None, layer: int
) -> tuple[float | None, int | None, int | None] | None:
    if followed is None or layer >= len(followed.probability):
        return None
    return followed.probability[layer], followed.rank[layer], followed.hue
