"""A page of a report on the whole screen, which scrolls."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.text.show import plain_line
from tui.widgets.captions import put_subtitle, put_title


class Page(ModalScreen[bool]):
    """Shows a page; returns False when it is closed."""

    SCOPED_CSS = False  # the scope would be the name of a subclass
    CSS = """
    Page.-ascii .dialog { border: ascii $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(False)", show=False),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
        Binding("pagedown,space,ctrl+f", "page(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("g,home", "edge(-1)", show=False),
        Binding("G,end", "edge(1)", show=False),
    ]

    def __init__(self, title: str, first: str = "", *, ascii_only: bool) -> None:
        """`first` is what it shows until something else is put there."""
        super().__init__()
        self._title, self._first = title, first
        self._ascii = ascii_only
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out a scrolling page."""
        with VerticalScroll(classes="dialog whole-dialog") as box:
            put_title(box, plain_line(self._title, ascii_only=self._ascii))
            yield Static(self._first, markup=False)

    @property
    def page_width(self) -> int:
        """How wide its text is, in cells; 0 before it is laid out."""
        return self.query_one(Static).size.width

    def say(self, text: str) -> None:
        """Show one line."""
        self.query_one(Static).update(plain_line(text, ascii_only=self._ascii))

    def name_keys(self, keys: str) -> None:
        """Say below the page which keys there are."""
        put_subtitle(self.query_one(VerticalScroll), keys)

    def action_scroll(self, step: int) -> None:
        """Scroll by lines, without animation."""
        self.query_one(VerticalScroll).scroll_relative(y=step, animate=False)

    def action_page(self, step: int) -> None:
        """Scroll by pages."""
        box = self.query_one(VerticalScroll)
        box.scroll_relative(y=step * max(box.size.height - 2, 1), animate=False)

    def action_edge(self, side: int) -> None:
        """Scroll to the beginning or the end."""
        box = self.query_one(VerticalScroll)
        box.scroll_to(y=0 if side < 0 else box.max_scroll_y, animate=False)
