"""What else a sweep has read of an item that is opened, above its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import typed_line
from tui.views.sweep.page import Page

if TYPE_CHECKING:
    from engine.sweeps.records import SweepItem


class ItemView(Page):
    """Shows the answers in full and what was read by depth; closing it leaves the run."""

    def __init__(self, item: SweepItem, *, ascii_only: bool) -> None:
        super().__init__(f"item {item.item}", ascii_only=ascii_only)
        self._item = item

    def on_mount(self) -> None:
        """Show it."""
        from engine.sweeps.item_report import item_sections
        from engine.sweeps.report import EVERY_ROW

        try:
            self.put(item_sections(self._item, EVERY_ROW))
        except Exception as error:  # its rows are shown all the same
            self.say(f"what was read of it cannot be shown ({typed_line(error)})")
