"""Numbers with a sign, a line each: a name, the number and a bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from rich.cells import cell_len
from textual.strip import Strip

from tui.text.numbers import signed_number
from tui.text.show import display_text
from tui.widgets.drawn_lines import DrawnLines
from tui.widgets.signed_bars import signed_bar_segments
from tui.widgets.signed_look import SIGNED_CLASSES, sign_styles, signed_css
from tui.widgets.strips import strip_of
from tui.widgets.styles import Segments

_MOST_NAME: Final = 20
_NUMBER: Final = 7


@dataclass(frozen=True)
class NamedBar:
    """What is shown on one line."""

    name: str
    """Safe for display."""
    value: float
    reason: str = ""
    """What stands in place of the number; untrusted."""
    failed: bool = False


class NamedBars(DrawnLines):
    """Shows a bar for every name."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*SIGNED_CLASSES, "bars--faint", "bars--struck"}
    DEFAULT_CSS = (
        signed_css("NamedBars")
        + "NamedBars > .bars--faint { color: $faint; }\n"
        + "NamedBars > .bars--struck { color: $error; text-style: strike; }\n"
    )

    def __init__(
        self,
        *,
        ascii_only: bool,
        text: Callable[[float | None], str] = signed_number,
        least: float = 0.0,
    ) -> None:
        """`text` writes a number; what fills a side of the bars is at least `least`."""
        super().__init__()
        self._ascii, self._text, self._least = ascii_only, text, least
        self._bars: tuple[NamedBar, ...] = ()
        self._chosen = 0

    def show(self, bars: tuple[NamedBar, ...], chosen: int) -> None:
        """Show these bars; around the chosen one, if there are too many."""
        self._bars, self._chosen = bars, chosen
        self.redraw()

    def draw(self) -> list[Strip]:
        """See `DrawnLines.draw`."""
        width, height, base = self.size.width, self.size.height, self.rich_style
        if not self._bars or not height:
            return []
        faint = base + self.get_component_rich_style("bars--faint")
        struck = base + self.get_component_rich_style("bars--struck")
        negative, positive = sign_styles(self)
        first = min(max(self._chosen - height + 1, 0), max(len(self._bars) - height, 0))
        names = min(max(cell_len(bar.name) for bar in self._bars), _MOST_NAME)
        room = max(width - names - 3 - _NUMBER, 0)
        sizes = [abs(bar.value) for bar in self._bars if bar.value == bar.value]
        most = max([self._least, *sizes])
        lines = []
        for bar in self._bars[first : first + height]:
            name = display_text(bar.name, names, spaces=False, ascii_only=self._ascii)
            line: Segments = [(f" {name} ", base)]
            if bar.reason:
                words = display_text(bar.reason, spaces=False, ascii_only=self._ascii)
                line.append((words, faint))
            elif bar.failed:
                line.append((f"{self._text(bar.value):>{_NUMBER}}", struck))
            else:
                line.append((f"{self._text(bar.value):>{_NUMBER}} ", base))
                looks = (negative, faint, positive)
                value = bar.value if bar.value == bar.value else None
                line += signed_bar_segments(value, most, room, looks, ascii_only=self._ascii)
            lines.append(strip_of(line, width, base))
        return lines
