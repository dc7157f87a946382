"""The glossary over the main screen: the same words as `docs/glossary.md`."""

from __future__ import annotations

from textual.content import Content

from tui.text.glossary import OWN, STANDARD
from tui.text.show import plain_line
from tui.widgets.text_page import TextPage


class Glossary(TextPage):
    """What every word on the screen means."""

    HEADING = "glossary"

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._ascii = ascii_only

    def text(self) -> Content:
        """Return the terms of the field, then Lenscope's own."""
        parts: list[tuple[str, str]] = []
        for title, terms in (("Lenscope's own", OWN), ("Terms of the field", STANDARD)):
            parts.append((f"{title}\n\n", "bold $primary"))
            for term in terms:
                parts.append((f"{plain_line(term.word, ascii_only=self._ascii)}  ", "$answer"))
                meaning = plain_line(term.meaning, ascii_only=self._ascii)
                parts.append((f"{meaning}\n\n", "$foreground"))
        return Content.assemble(*parts)
