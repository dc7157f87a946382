"""The prompt editor."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import TextArea

from tui.text.show import stand_in_text
from tui.widgets.line_entry import KeysInOrder


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

    def on_mount(self) -> None:
        """Put the cursor at the end."""
        self.move_cursor(self.document.end)

    def get_line(self, line_index: int) -> Text:
        """Return a line as it is displayed."""
        line = super().get_line(line_index)
        return Text(stand_in_text(line.plain), end="", no_wrap=True)

    def put(self, text: str) -> None:
        """Replace the prompt and put the cursor at its end."""
        self.load_text(text)
        self.move_cursor(self.document.end)
