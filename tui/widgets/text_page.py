"""A page of text over the main screen."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static


class TextPage(ModalScreen[None]):
    """Shows a text in a scrolling box; a subclass supplies the text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss", show=False),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
    ]
    HEADING: ClassVar[str] = ""

    def compose(self) -> ComposeResult:
        """Lay out the text."""
        with VerticalScroll(classes="dialog wide-dialog") as box:
            box.border_title = self.HEADING
            box.border_subtitle = "esc closes"
            yield Static(self.text(), markup=False)

    def text(self) -> Content:
        """Return the text to show."""
        raise NotImplementedError

    def action_scroll(self, step: int) -> None:
        """Scroll by lines, without animation."""
        self.query_one(VerticalScroll).scroll_relative(y=step, animate=False)
