"""A list that can be sorted and filtered by any of its columns, and the screen around it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from textual import events, on
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from tui.state.listing import Field, Order, listed, next_order
from tui.widgets.explaining import Caption
from tui.widgets.find_line import FindLine
from tui.widgets.row_list import RowList
from tui.widgets.styles import Segments, Styles

Result = TypeVar("Result")


class ListedRows(RowList):
    """Shows the items that its order lets pass; subclasses supply fields, items and the drawing.

    `items` are those listed now.
    """

    fields: ClassVar[Sequence[Field[Any]]] = ()

    def __init__(self, *, ascii_only: bool, order: Order | None = None) -> None:
        super().__init__(ascii_only=ascii_only)
        self.order = order or Order()
        self.items: list[Any] = []
        self._heads: list[tuple[int, int, str]] = []
        """The first and the last cell of each column, and the field by which it sorts."""

    @property
    @abstractmethod
    def every(self) -> Sequence[Any]:
        """All items, in the list's own order."""

    @property
    def count(self) -> int:
        """Return the number of items that are listed."""
        return len(self.items)

    @property
    def head_height(self) -> int:
        """Return 1 for the line of column names."""
        return 1

    @property
    def chosen(self) -> Any:
        """The item under the cursor, or None."""
        return self.items[self.cursor] if self.cursor < len(self.items) else None

    def refresh_rows(self) -> None:
        """List the items again, and draw what has changed."""
        self.items = listed(self.every, self.fields, self.order)
        super().refresh_rows()

    def put_order(self, order: Order) -> None:
        """Sort and filter otherwise; the cursor stays on its item where that is still listed."""
        chosen, self.order = self.chosen, order
        self.refresh_rows()
        if chosen in self.items:
            self.put_cursor(self.items.index(chosen))

    def head(self, columns: Sequence[tuple[str, str, int]], styles: Styles) -> Segments:
        """Draw column names: each with the field by which a click sorts, and its width; a negative
        width stands for one that is aligned to the right."""
        segments: Segments = []
        self._heads, at = [], 0
        for title, field, width in columns:
            is_sorting = bool(field) and field == self.order.by
            up, down = ("^", "v") if self._ascii else ("↑", "↓")
            text = title + (down if self.order.descending else up) * is_sorting
            cells = abs(width)
            text = text[:cells].rjust(cells) if width < 0 else text[:cells].ljust(cells)
            segments.append((text, styles.cursor if is_sorting else styles.faint))
            self._heads.append((at, at + cells - 1, field))
            at += cells
        return segments

    def captions(self) -> Iterable[Caption]:
        """Return where the names of the columns are; without items there is a sentence."""
        return [Caption(0)] if self.count else []

    def cursor_column(self) -> int | None:
        """Return the last cell of the sorting column, where a name that is aligned to the right
        ends; None in the list's own order."""
        by = self.order.by
        return next((end for _, end, field in self._heads if by and field == by), None)

    def on_click(self, event: events.Click) -> None:
        """Sort by the column whose name is clicked; a second click turns the order round."""
        offset = event.get_content_offset(self)
        event.prevent_default()  # else the base class would be called once more
        if offset is None or offset.y >= self.head_height:
            super().on_click(event)
            return
        names = [field for at, _, field in self._heads if at <= offset.x and field]
        if names and event.button == 1:
            event.stop()  # the other buttons explain the column
            turned = self.order.by == names[-1] and not self.order.descending
            self.put_order(replace(self.order, by=names[-1], descending=turned))
            self.place_changed()


class ListScreen(ModalScreen[Result]):
    """The keys that sort and filter, and the line into which a filter is typed."""

    SCOPED_CSS = False  # subclasses are meant, too
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", show=False),
        Binding("o", "sort(1)", show=False),
        Binding("O", "turn", show=False),
    ]

    @property
    @abstractmethod
    def rows(self) -> ListedRows:
        """The list."""

    @abstractmethod
    def order_changed(self) -> None:
        """React to another order or filter."""

    def action_filter(self) -> None:
        """Open the line into which the filter is typed."""
        self.query_one(FindLine).open()

    def action_sort(self, step: int) -> None:
        """Sort by the next column."""
        self._put(next_order(self.rows.order, self.rows.fields, step))

    def action_turn(self) -> None:
        """Turn the order round."""
        order = self.rows.order
        by = order.by or self.rows.fields[0].name
        self._put(replace(order, by=by, descending=not order.descending))

    def _put(self, order: Order) -> None:
        self.rows.put_order(order)
        self.order_changed()

    @on(FindLine.Typed)
    def _filter_typed(self, message: FindLine.Typed) -> None:
        message.stop()
        self._put(replace(self.rows.order, wanted=message.wanted))

    @on(FindLine.Closed)
    def _filter_closed(self, message: FindLine.Closed) -> None:
        message.stop()
        self.set_focus(self.rows)
        if not message.kept:
            self._put(replace(self.rows.order, wanted=""))
