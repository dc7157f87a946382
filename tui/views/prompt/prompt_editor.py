"""The prompt editor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.segment import Segment
from rich.text import Text
from textual.strip import Strip
from textual.widgets import TextArea

from tui.text.show import stand_in_text
from tui.widgets.captions import put_subtitle
from tui.widgets.line_entry import KeysInOrder

_KEYS = "ctrl+r runs, enter breaks the line"
_FEW_KEYS = "ctrl+r runs"


class PromptEditor(KeysInOrder, TextArea):
    """A text area that never passes a control character to the terminal.

    A prompt may come from someone else's session file; it is asked unchanged, and only its display
    is made safe.
    """

    TYPES_ITSELF = frozenset({"enter"})

    def __init__(self, text: str, *, blink: bool) -> None:
        super().__init__(text, id="prompt", soft_wrap=True, show_line_numbers=False, compact=True)
        self.cursor_blink = blink
        self.highlight_cursor_line = False
        self._given, self._as_held = text, self.text
        self._instead: list[Text] | None = None

    @property
    def prompt(self) -> str:
        """The prompt. Until the user edits it, it is exactly what was put here, although a text
        area turns every kind of line break into the same one."""
        text = self.text
        return self._given if text == self._as_held else text

    def on_mount(self) -> None:
        """Put the cursor at the end."""
        self.move_cursor(self.document.end)

    def on_focus(self) -> None:
        """Say which keys act here."""
        put_subtitle(self, _KEYS if self.size.width >= len(_KEYS) + 2 else _FEW_KEYS)

    def on_blur(self) -> None:
        """Say nothing any more."""
        put_subtitle(self, "")

    def get_line(self, line_index: int) -> Text:
        """Return a line as it is displayed."""
        line = super().get_line(line_index)
        return Text(stand_in_text(line.plain), end="", no_wrap=True)

    def render_line(self, y: int) -> Strip:
        """Draw a line of the prompt, or of the one that is shown instead."""
        if self._instead is None:
            return super().render_line(y)
        text = self._instead[y].plain if y < len(self._instead) else ""
        strip = Strip([Segment(text, self.rich_style)])
        return strip.adjust_cell_length(self.size.width, self.rich_style)

    def put(self, text: str) -> None:
        """Replace the prompt and put the cursor at its end."""
        self.load_text(text)
        self._given, self._as_held = text, self.text
        self.move_cursor(self.document.end)

    @contextmanager
    def showing(self, prompt: str) -> Iterator[None]:
        """Show another prompt meanwhile, without touching what the user has typed."""
        safe = "\n".join(map(stand_in_text, prompt.splitlines()))
        self._instead = list(Text(safe).wrap(self.app.console, max(self.size.width, 1)))
        self.refresh()
        try:
            yield
        finally:
            self._instead = None
            self.refresh()
