"""What was passed over or chosen when a model was loaded, in full."""

from __future__ import annotations

from textual.content import Content

from engine.records import ModelCard
from tui.text.show import plain_line
from tui.widgets.text_page import TextPage

_MOST_SHOWN = 20_000
"""Characters: a session file may hold more, but nobody reads them here."""


class ModelNotes(TextPage):
    """Shows the notes on a model, one paragraph each."""

    HEADING = "notes on the model"

    def __init__(self, card: ModelCard, *, ascii_only: bool) -> None:
        super().__init__()
        self._card = card
        self._ascii = ascii_only

    def text(self) -> Content:
        """Return the model's name, then its notes."""
        parts = [(f"{self._safe(self._card.name)}\n", "bold $primary")]
        room = _MOST_SHOWN
        for note in self._card.notes:
            if room <= 0:
                break
            parts.append((f"\n{self._safe(note[:room])}\n", "$foreground"))
            room -= max(len(note), 1)
        return Content.assemble(*parts)

    def _safe(self, text: str) -> str:
        return plain_line(text, ascii_only=self._ascii)
