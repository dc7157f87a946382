"""What else a sweep has read of an item that is opened, above its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from textual.widgets import Static

from engine.errors import typed_line
from tui.sharing.report_lines import report_lines
from tui.views.sweep.page import Page
from tui.widgets.later import draw_later

if TYPE_CHECKING:
    from engine.sweeps.records import SweepItem


class ItemView(Page):
    """Shows the answers in full and what was read by depth; closing it leaves the run."""

    def __init__(self, item: SweepItem, *, ascii_only: bool) -> None:
        super().__init__(f"item {item.item}", ascii_only=ascii_only)
        self._item = item
        self._width = 0

    def on_mount(self) -> None:
        """Name the keys."""
        self.name_keys("jk scroll, q closes and shows its rows")

    def on_resize(self) -> None:
        """Show it again, since the columns depend on the width."""
        draw_later(self, self._show)

    def _show(self) -> None:
        width = self.page_width
        if width == self._width:
            return
        from engine.sweeps.item_report import item_sections
        from engine.sweeps.report import rows_that_fit

        self._width = width
        try:
            shown = item_sections(self._item, rows_that_fit(width))
            self.query_one(Static).update(Group(*report_lines(shown, ascii_only=self._ascii)))
        except Exception as error:  # its rows are shown all the same
            self.say(f"what was read of it cannot be shown ({typed_line(error)})")
