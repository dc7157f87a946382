"""A dialog that asks for one line of text."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from tui.text.show import display_text, stand_in_text
from tui.widgets.captions import put_subtitle, put_title
from tui.widgets.line_entry import LineEntry

_MOST_TITLE = 48


class LineInput(ModalScreen[str | None]):
    """Returns the line as typed, or None if the user leaves it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", show=False)]
    CSS = """
    LineInput .dialog { height: auto; }
    LineInput.-ascii .dialog { border: ascii $primary; }
    LineInput Input { height: 1; border: none; background: $panel; padding: 0 1; }
    """

    def __init__(
        self,
        title: str,
        value: str = "",
        *,
        keys: str = "enter keeps it, esc leaves it",
        ascii_only: bool = False,
    ) -> None:
        super().__init__()
        self._title = title
        self._value = value
        self._keys = keys
        self._ascii = ascii_only
        self.set_class(ascii_only, "-ascii")

    def compose(self) -> ComposeResult:
        """Lay out the line with its current text."""
        with Vertical(classes="dialog") as box:
            title = display_text(self._title, _MOST_TITLE, spaces=False, ascii_only=self._ascii)
            put_title(box, title.rstrip())
            put_subtitle(box, self._keys)
            yield LineEntry(stand_in_text(self._value), select_on_focus=False, compact=True)

    def on_mount(self) -> None:
        """Put the cursor at the end of the line."""
        line = self.query_one(Input)
        line.cursor_blink = False
        line.cursor_position = len(line.value)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        """Make pasted text safe: it may contain characters that control the terminal."""
        safe = stand_in_text(event.value)
        if safe != event.value:
            event.input.value = safe
        self.changed()
        put_subtitle(self.query_one(Vertical), self._keys)

    @on(Input.Submitted)
    def _taken(self, event: Input.Submitted) -> None:
        unchanged = event.value == stand_in_text(self._value)
        line = self._value if unchanged else event.value
        objection = self.objection(line)
        if objection:
            put_subtitle(self.query_one(Vertical), objection)
        else:
            self.dismiss(line)

    def changed(self) -> None:
        """React to a change of the line; a subclass may."""

    def objection(self, line: str) -> str:
        """Return why a line cannot be taken, which a subclass may know; nothing if it can."""
        return ""
