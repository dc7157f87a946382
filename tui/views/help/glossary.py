"""The glossary over the main screen, with the same terms as `docs/glossary.md`."""

from __future__ import annotations

from textual.content import Content

from tui.text.glossary import OWN, STANDARD
from tui.text.show import plain_line
from tui.widgets.text_page import TextPage


class Glossary(TextPage):
    """Shows the meaning of the terms on the screen."""

    HEADING = "glossary"

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._ascii = ascii_only

    def text(self) -> Content:
        """Return Lenscope's own terms, then those of the field."""
        parts: list[tuple[str, str]] = []
        for title, terms in (("Lenscope's own", OWN), ("Terms of the field", STANDARD)):
            parts.append((f"{title}\n\n", "bold $primary"))
            for term in terms:
                parts.append((f"{plain_line(term.word, ascii_only=self._ascii)}  ", "$answer"))
                meaning = plain_line(term.meaning, ascii_only=self._ascii)
                parts.append((f"{meaning}\n\n", "$foreground"))
        return Content.assemble(*parts)
