"""A list of rows with a cursor, drawn line by line: the base of the table of layers and of
dialogs with many rows. A step of the cursor writes about a hundred bytes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.theme import HUES
from tui.widgets.explaining import Caption
from tui.widgets.strips import changed_span, strip_of
from tui.widgets.styles import GUTTER, Segments, Styles

_KINDS = ("text", "faint", "answer", "answer-bar", "bar", "good", "error", "struck", "cursor")


class RowList(ScrollView, can_focus=True):
    """Draws a fixed head and scrolling rows; subclasses supply their content."""

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "cursor(1)", show=False),
        Binding("k,up", "cursor(-1)", show=False),
        Binding("pagedown,ctrl+f", "page(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("ctrl+d", "page(0.5)", show=False),
        Binding("ctrl+u", "page(-0.5)", show=False),
        Binding("g,home", "edge(-1)", show=False),
        Binding("G,end", "edge(1)", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"rows--{kind}" for kind in _KINDS),
        *(f"rows--{kind}-{index}" for kind in ("hue", "hue-bar") for index in range(1, HUES + 1)),
    }
    DEFAULT_CSS = """
    RowList {
        height: 1fr;
        background: $background;
        scrollbar-size: 0 0;
        & > .rows--text { color: $foreground; }
        & > .rows--faint { color: $faint; }
        & > .rows--answer { color: $answer; text-style: bold; }
        & > .rows--answer-bar { color: $answer-bar; }
        & > .rows--bar { color: $bar; }
        & > .rows--good { color: $success; }
        & > .rows--error { color: $error; }
        & > .rows--struck { color: $error; text-style: strike; }
        & > .rows--cursor { color: $primary; text-style: bold; }
        & > .rows--hue-1 { color: $hue-1; }
        & > .rows--hue-2 { color: $hue-2; }
        & > .rows--hue-3 { color: $hue-3; }
        & > .rows--hue-4 { color: $hue-4; }
        & > .rows--hue-5 { color: $hue-5; }
        & > .rows--hue-6 { color: $hue-6; }
        & > .rows--hue-7 { color: $hue-7; }
        & > .rows--hue-8 { color: $hue-8; }
        & > .rows--hue-bar-1 { color: $hue-bar-1; }
        & > .rows--hue-bar-2 { color: $hue-bar-2; }
        & > .rows--hue-bar-3 { color: $hue-bar-3; }
        & > .rows--hue-bar-4 { color: $hue-bar-4; }
        & > .rows--hue-bar-5 { color: $hue-bar-5; }
        & > .rows--hue-bar-6 { color: $hue-bar-6; }
        & > .rows--hue-bar-7 { color: $hue-bar-7; }
        & > .rows--hue-bar-8 { color: $hue-bar-8; }
    }
    """

    class Touched(Message):
        """The user has moved the cursor."""

    class PlaceChanged(Message):
        """The visible rows have changed."""

    class Chosen(Message):
        """The row under the cursor was clicked again."""

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self.cursor = 0
        self._gutter = (" ", 0)
        """What stands in the gutter of every row but the cursor's, and from which row on."""
        self._ascii = ascii_only
        self._strips: dict[int, Strip] = {}
        """Row -> its strip; the lines of the head are numbered from -1 downwards."""
        self._looks: dict[int, object] = {}
        """Row -> what its strip was drawn from."""
        self._drawn_width = 0
        self._styles: Styles | None = None

    @property
    def ascii_only(self) -> bool:
        """Whether only ASCII is drawn."""
        return self._ascii

    @property
    @abstractmethod
    def count(self) -> int:
        """Return the number of rows."""

    @property
    @abstractmethod
    def head_height(self) -> int:
        """Return the number of fixed lines above the rows."""

    @abstractmethod
    def draw_head(self, line: int, width: int, styles: Styles) -> Segments:
        """Draw one line of the head."""

    @abstractmethod
    def draw_row(self, row: int, width: int, styles: Styles) -> Segments:
        """Draw one row, without the gutter."""

    def captions(self) -> Iterable[Caption]:
        """Return where the names of the columns are: in every line of the head."""
        return [Caption(line) for line in range(self.head_height)]

    @property
    def line_count(self) -> int:
        """Return how many lines the rows take: one each, unless some are folded."""
        return self.count

    def line_of(self, row: int) -> int:
        """Return the line on which a row is, counted from the first row's."""
        return row

    def row_on(self, line: int) -> int:
        """Return the row on a line, counted from the first row's."""
        return line

    def look_of(self, key: int) -> object:
        """Return everything on which the drawing of a row (or, numbered from -1 downwards, a line
        of the head) depends, besides the width and the theme: as long as it is equal, the line is
        not drawn again. None where that is not known."""
        return None

    def touch(self) -> None:
        """React to the user's moving the cursor."""
        self.post_message(self.Touched())

    def place_changed(self) -> None:
        """React to a change of the visible rows."""
        self.post_message(self.PlaceChanged())

    def refresh_rows(self) -> None:
        """Draw the rows again after a change; those that look the same are not redrawn."""
        size, virtual_size = self.size, Size(0, self.line_count + self.head_height)
        if virtual_size != self.virtual_size:
            self.virtual_size = virtual_size
        moved = self.cursor
        self.cursor = min(self.cursor, max(self.count - 1, 0))
        if moved != self.cursor:
            self._refresh_gutter(moved, self.cursor)
        old, self._strips = self._strips, {}
        looks, self._looks = self._looks, {}
        if self._drawn_width != size.width:
            self._drawn_width, looks = size.width, {}
        top, head = self.scroll_offset.y, self.head_height
        regions: list[Region] = []
        for y in range(size.height):
            key = self._key(y, head, top)
            look = self.look_of(key)
            if look is not None and look == looks.get(key):
                self._strips[key], self._looks[key] = old[key], look
                continue
            left = GUTTER if key >= 0 else 0
            span = changed_span(old.get(key), self._draw_line(key, look, size.width))
            if span is not None:
                regions.append(Region(left + span[0], y, span[1] - span[0], 1))
        if regions:
            self.refresh(*regions)

    def forget_rows(self) -> None:
        """Draw everything again."""
        self._forget_strips()
        self.refresh()

    def mark_gutter(self, mark: str, first: int = 0) -> None:
        """Put a mark of one cell into the gutter of every row from `first` on; only the gutter is
        redrawn."""
        if (mark, first) != self._gutter:
            self._gutter = (mark, first)
            self.refresh(Region(0, self.head_height, GUTTER, self._visible_rows))

    def mark_of(self, row: int) -> str:
        """Return what stands in the gutter of a row if the cursor is not there."""
        mark, first = self._gutter
        return mark if first <= row < self.count else " "

    def put_cursor(self, row: int) -> None:
        """Move the cursor to a row, scrolling without animation if necessary."""
        row = min(max(row, 0), max(self.count - 1, 0))
        if row == self.cursor:
            return
        old, self.cursor = self.cursor, row
        if not self._reveal(row, jump=abs(self.line_of(row) - self.line_of(old)) > 1):
            self._refresh_gutter(old, row)

    def action_cursor(self, step: int) -> None:
        """Move the cursor by rows."""
        self.touch()
        self._go_to_line(self.line_of(self.cursor) + step)

    def action_page(self, pages: float) -> None:
        """Move the cursor by pages."""
        self.touch()
        step = round(pages * max(self._visible_rows - 1, 1))
        self._go_to_line(self.line_of(self.cursor) + step)

    def action_edge(self, side: int) -> None:
        """Move the cursor to the first or the last row."""
        self.touch()
        self._go_to_line(0 if side < 0 else self.line_count - 1)

    def _go_to_line(self, line: int) -> None:
        self.put_cursor(self.row_on(min(max(line, 0), max(self.line_count - 1, 0))))

    def on_click(self, event: events.Click) -> None:
        """Move the cursor to the clicked row; a click on the cursor's row chooses it."""
        offset = event.get_content_offset(self)
        if offset is None or offset.y < self.head_height:
            return
        line = offset.y - self.head_height + self.scroll_offset.y
        if line >= self.line_count:
            return
        row = self.row_on(line)
        self.touch()
        if row == self.cursor:
            self.post_message(self.Chosen())
        self.put_cursor(row)

    def on_resize(self) -> None:
        """Keep the cursor visible."""
        self.virtual_size = Size(0, self.line_count + self.head_height)
        self.call_after_refresh(self._settle)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Report which rows are visible."""
        super().watch_scroll_y(old_value, new_value)
        self.place_changed()

    def notify_style_update(self) -> None:
        """Redraw with the colours of the new theme."""
        super().notify_style_update()
        self._styles = None
        self._forget_strips()

    def render_line(self, y: int) -> Strip:
        """Draw a line of the head, or a row with its gutter."""
        key = self._key(y, self.head_height, self.scroll_offset.y)
        strip = self._strip(key)
        if key < 0:
            return strip
        if key == self.cursor and key < self.count:
            gutter = Segment(">" if self._ascii else "▌", self._colours().cursor)
        else:
            gutter = Segment(self.mark_of(key), self._colours().faint)
        return Strip([gutter, *strip], self.size.width)

    def _key(self, y: int, head: int, top: int) -> int:
        """Return what is on a line of the widget: a row, or, numbered from -1 downwards, a line of
        the head."""
        if y < head:
            return -1 - y
        line = y - head + top
        return self.row_on(line) if line < self.line_count else self.count + line

    def _settle(self) -> None:
        self._reveal(self.cursor, jump=False)
        self.place_changed()

    def _strip(self, key: int) -> Strip:
        width = self.size.width
        if self._drawn_width != width:
            self._drawn_width = width
            self._forget_strips()
        if key not in self._strips:
            return self._draw_line(key, self.look_of(key), width)
        return self._strips[key]

    def _draw_line(self, key: int, look: object, width: int) -> Strip:
        styles = self._colours()
        if key < 0:
            segments = self.draw_head(-1 - key, width, styles)
        else:
            width = max(width - GUTTER, 0)
            segments = self.draw_row(key, width, styles) if key < self.count else []
        self._strips[key] = strip = strip_of(segments, width, styles.text)
        self._looks[key] = look
        return strip

    def _forget_strips(self) -> None:
        self._strips.clear()
        self._looks.clear()

    @property
    def _visible_rows(self) -> int:
        return max(self.scrollable_content_region.height - self.head_height, 1)

    def _refresh_gutter(self, *rows: int) -> None:
        top = self.scroll_offset.y
        regions = [
            Region(0, line - top + self.head_height, GUTTER, 1)
            for line in map(self.line_of, rows)
            if 0 <= line - top < self._visible_rows
        ]
        if regions:
            self.refresh(*regions)

    def _reveal(self, row: int, *, jump: bool) -> bool:
        """Scroll a row into view, half a page at a time; return whether that was necessary.

        Textual repaints the whole viewport for every scrolled line, so a held key would write
        megabytes if each step scrolled by one.
        """
        height, top, line = self._visible_rows, self.scroll_offset.y, self.line_of(row)
        if top <= line < top + height:
            return False
        half = max(height // 2, 1)
        if line < top:
            target = line if jump else line - half + 1
        else:
            target = line - height + (1 if jump else half)
        limit = max(self.line_count - height, 0)
        self.scroll_to(y=min(max(target, 0), limit), animate=False, immediate=True, force=True)
        return True

    def _colours(self) -> Styles:
        if self._styles is None:
            base = self.rich_style
            found = {
                kind: base + self.get_component_rich_style(f"rows--{kind}")
                for kind in (
                    *_KINDS,
                    *(f"hue-{index}" for index in range(1, HUES + 1)),
                    *(f"hue-bar-{index}" for index in range(1, HUES + 1)),
                )
            }
            self._styles = Styles(
                **{kind.replace("-", "_"): found[kind] for kind in _KINDS},
                hues=tuple(found[f"hue-{index}"] for index in range(1, HUES + 1)),
                hue_bars=tuple(found[f"hue-bar-{index}"] for index in range(1, HUES + 1)),
            )
        return self._styles


def place_text(rows: RowList) -> str:
    """Return which rows are visible, in words; empty if all are."""
    top, height = rows.scroll_offset.y, max(rows.size.height - rows.head_height, 1)
    if rows.line_count <= height:
        return ""
    return f"{top + 1}-{min(top + height, rows.line_count)} of {rows.line_count}"
