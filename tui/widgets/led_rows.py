"""Rows whose cursor the screen moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.widgets.row_list import RowList


class LedRows(RowList, can_focus=False, inherit_bindings=False):
    """Has no keys of its own, and tells the screen which row has been clicked."""

    BINDINGS: ClassVar[list[BindingType]] = []
    HEAD: ClassVar[int] = 1
    """The lines of the head."""

    @dataclass
    class Picked(Message):
        """A row has been clicked, in a column of cells of the list."""

        row: int
        x: int

    @property
    def head_height(self) -> int:
        """See `RowList.head_height`."""
        return self.HEAD

    def on_click(self, event: events.Click) -> None:
        """Tell the screen which row has been clicked; it moves the cursor."""
        event.prevent_default()
        offset = event.get_content_offset(self)
        if offset is None or offset.y < self.HEAD:
            return
        row = offset.y - self.HEAD + self.scroll_offset.y
        if row < self.count:
            self.post_message(self.Picked(row, offset.x))
