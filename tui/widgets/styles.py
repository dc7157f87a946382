"""The styles of rows, and the type of a row before it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rich.style import Style

Segments = list[tuple[str, Style]]

FOUND: Final = Style(reverse=True)
"""Marks a token that has been found."""

GUTTER: Final = 1
"""Cells before each row, for the cursor."""


@dataclass(frozen=True)
class Styles:
    """The styles of a list of rows, from the theme."""

    text: Style
    faint: Style
    answer: Style
    answer_bar: Style
    bar: Style
    good: Style
    error: Style
    struck: Style
    cursor: Style
    hues: tuple[Style, ...]
    """Styles of tokens that are top-1 somewhere, by hue."""
    hue_bars: tuple[Style, ...]

    def of_hue(self, hue: int | None) -> tuple[Style, Style]:
        """Return the styles of a token's text and of its bar."""
        if hue is None:
            return self.text, self.bar
        return self.hues[hue % len(self.hues)], self.hue_bars[hue % len(self.hue_bars)]
