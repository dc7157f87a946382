"""The lines above the table: what is compared, and which runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.strip import Strip

from tui.text.show import display_text
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.explaining import Caption, Kind
from tui.widgets.strips import strip_of


class HeadLines(DrawnLines):
    """Shows lines of words, each cut to the width; the first one is strong."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"head--strong", "head--faint"}
    DEFAULT_CSS = """
    HeadLines {
        width: 100%;
        & > .head--strong { color: $answer; text-style: bold; }
        & > .head--faint { color: $faint; }
    }
    """

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._ascii = ascii_only
        self._lines: tuple[str, ...] = ()

    def show(self, *lines: str) -> None:
        """Show these lines, which must be safe for display."""
        self._lines = lines
        self.redraw()

    def captions(self) -> Iterable[Caption]:
        """Return all lines."""
        return [Caption(line, kind=Kind.WORDS) for line in range(len(self._lines))]

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`."""
        width, base = self.size.width, self.rich_style
        drawn = []
        for at, line in enumerate(self._lines):
            style = base + self.get_component_rich_style(f"head--{'faint' if at else 'strong'}")
            shown = display_text(line, max(width - 1, 0), spaces=False, ascii_only=self._ascii)
            drawn.append(strip_of([(" " + shown, style)], width, base))
        return drawn
