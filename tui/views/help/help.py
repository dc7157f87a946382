"""The help: the glossary, every key, and how to read the table."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.actions.keymap import Keymap
from tui.text.show import plain_line
from tui.views.help.help_text import Section, help_sections, matching
from tui.widgets.captions import put_title
from tui.widgets.find_line import FindLine

_KEYS_WIDTH = 20


class Help(ModalScreen[None]):
    """Shows the sections one below the other; what is typed after a slash filters them."""

    IS_EXPLAINED: ClassVar[bool] = False
    AUTO_FOCUS = ""  # the line that filters is hidden at first
    CSS = """
    Help .dialog { padding: 0 1; height: 90%; max-height: 90%; }
    Help.-ascii .dialog { border: ascii $primary; }
    Help VerticalScroll { height: 1fr; scrollbar-size-vertical: 1; }
    Help Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "dismiss", show=False),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
        Binding("pagedown,space,ctrl+f", "page(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("g,home", "edge(-1)", show=False),
        Binding("G,end", "edge(1)", show=False),
        Binding("slash", "filter", show=False),
        Binding("tab", "section(1)", show=False, priority=True),
        Binding("shift+tab", "section(-1)", show=False, priority=True),
    ]

    def __init__(self, keymap: Keymap, *, terms: Collection[str] = (), ascii_only: bool) -> None:
        """With `terms`, only these terms of the glossary are shown."""
        super().__init__()
        self._sections = help_sections(keymap, ascii_only=ascii_only)
        self._terms = terms
        self._wanted = ""
        self._ascii = ascii_only
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out the sections, each in a part of its own, and the line that filters."""
        with Vertical(classes="dialog wide-dialog") as box:
            box.border_subtitle = "/ filters, tab next section, jk scroll, q closes"
            with VerticalScroll() as page:
                page.can_focus = False
                for _ in self._sections:
                    yield Static(markup=False)
            yield FindLine()

    def on_mount(self) -> None:
        """Show everything."""
        self._show()

    def _show(self) -> None:
        shown = {
            section.title: section
            for section in matching(self._sections, self._wanted, self._terms)
        }
        for part, section in zip(self.query(".dialog Static"), self._sections, strict=False):
            found = shown.get(section.title)
            part.display = found is not None
            if found is not None and isinstance(part, Static):
                part.update(self._drawn(found))
        names = [name for name in shown if shown[name].entries]
        title = "help" if not self._wanted else f"help, /{self._wanted}"
        if not names:
            title = f"{title}: nothing says so"
        put_title(self.query_one(".dialog"), plain_line(title, ascii_only=self._ascii))

    def _drawn(self, section: Section) -> Content:
        parts: list[tuple[str, str]] = [(f"{section.title}\n", "bold $primary")]
        for entry in section.entries:
            text = plain_line(entry.text, ascii_only=self._ascii)
            if entry.is_key:
                parts += [(f"  {entry.name:<{_KEYS_WIDTH}}", "$answer"), (f"{text}\n", "")]
            elif entry.name:
                name = plain_line(entry.name, ascii_only=self._ascii)
                parts += [(f"{name}  ", "$answer"), (f"{text}\n", "")]
            else:
                parts.append((f"{text}\n\n", ""))
        return Content.assemble(*parts, "\n")

    def action_filter(self) -> None:
        """Open the line into which a filter is typed."""
        self.query_one(FindLine).open()

    @on(FindLine.Typed)
    def _filter_typed(self, message: FindLine.Typed) -> None:
        message.stop()
        self._wanted, self._terms = message.wanted, ()
        self._page.scroll_home(animate=False)
        self._show()

    @on(FindLine.Closed)
    def _filter_closed(self, message: FindLine.Closed) -> None:
        message.stop()
        self.set_focus(None)
        if not message.kept:
            self._wanted = ""
            self._show()

    @property
    def _page(self) -> VerticalScroll:
        return self.query_one(VerticalScroll)

    def action_section(self, step: int) -> None:
        """Scroll to the next or the previous section."""
        top = self._page.scroll_offset.y
        starts = [part.virtual_region.y for part in self._page.query(Static) if part.display]
        ahead = [y for y in starts if (y > top if step > 0 else y < top)]
        if ahead:
            self._page.scroll_to(y=ahead[0] if step > 0 else ahead[-1], animate=False)

    def action_scroll(self, step: int) -> None:
        """Scroll by lines, without animation."""
        self._page.scroll_relative(y=step, animate=False)

    def action_page(self, step: int) -> None:
        """Scroll by pages."""
        self._page.scroll_relative(y=step * max(self._page.size.height - 2, 1), animate=False)

    def action_edge(self, side: int) -> None:
        """Scroll to the beginning or the end."""
        y = 0 if side < 0 else self._page.max_scroll_y
        self._page.scroll_to(y=y, animate=False)
